"""What every run has: time, wires, a machine with the program under test, the faults that befall it, and an end.

A run has two parts. While there is traffic, faults come one after another, each once there was enough of it since the last was
over. Then everything heals, and what is left is checked as a whole. What traffic is, who makes it, which faults there are beside
those of the machine, the wires and the clients, and what must hold, is a subclass's business (`log_world`, `coordinator.world`,
`groups.world`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, NamedTuple, TypeVar

from fastlog.sim.entropy import Entropy
from fastlog.sim.fault import Fault, FaultTable
from fastlog.sim.machine import Machine, Program
from fastlog.sim.network import SimulatedNetwork, Wires
from fastlog.sim.process import Process
from fastlog.sim.scheduler import NANOSECONDS_PER_MILLISECOND, NANOSECONDS_PER_SECOND, Scheduler
from fastlog.sim.trace import Trace
from fastlog.sim.violation import Verdict, Violation

if TYPE_CHECKING:
    from fastlog.env import Environment

P = TypeVar("P", bound=Program)

WALL_START_MS = 1_750_000_000_000
MOST_STEPS = 60_000
STEPS_PER_LOOK = 16
"""How often the end of a run's part is looked for: looking costs more than a step."""
TRAFFIC_LIMIT_NS = 300 * NANOSECONDS_PER_SECOND
DRAIN_LIMIT_NS = 60 * NANOSECONDS_PER_SECOND
LEAST_DOWN_NS = 20 * NANOSECONDS_PER_MILLISECOND
MOST_DOWN_NS = 1_500 * NANOSECONDS_PER_MILLISECOND
MOST_RECOVERY_OPERATIONS = 100
"""A second crash, in the middle of recovery or soon after it, comes within so many disk operations."""
MOST_JUMP_MS = 3_600_000


class Outcome(NamedTuple):
    """What became of a run. `thin`: there was too little traffic for its faults to harm; such a run doesn't count."""

    seed: int
    kind: str
    violation: Violation | None
    digest: str
    events: int
    counts: dict[str, int]
    """How much of what there was, in words for the summary."""
    faults: tuple[str, ...]
    thin: bool
    virtual_ns: int


class World(Generic[P]):
    """One run of one seed. A subclass sets `verdict` and `machine` when it is made."""

    KIND: ClassVar[str]
    verdict: Verdict
    machine: Machine[P]

    def __init__(self, seed: int, faults: FaultTable, printer: Callable[[str], object] | None) -> None:
        self.seed = seed
        self.trace = Trace(printer)
        self._root = Entropy(seed)
        """Each part of the world gets its own stream of chance from here, in a fixed order."""
        self._entropy = self._root.fork("world")
        self.scheduler = Scheduler(self._root.fork("order"), self.trace)
        self.wires = Wires(self.scheduler, self._root.fork("wires"), self.trace)
        self._fault_table = faults
        self.faults: Sequence[Fault] = ()
        self.struck: list[str] = []
        self._waiting_faults: list[Fault] = []
        self._fault_is_on = False
        self._traffic_at_last_fault = 0
        self._restart_pending = False
        self._was_lost = False
        self._must_check = False
        self._thin = False
        self._crashes_are_over = False
        self._turns_seen = -1

    # ---- for those who make a world

    def _draw_faults(self) -> None:
        self.faults = self._fault_table.draw(self._root.fork("faults"))
        self._waiting_faults = list(self.faults)

    def _make_machine(self, name: str, make_program: Callable[[Environment], P]) -> None:
        self.machine = Machine(
            name, self.scheduler, self.wires, self._root.fork("machine"), self.trace, WALL_START_MS, make_program
        )
        self.machine.on_crash = self._crashed
        self.machine.on_mistake = self.verdict.mistake
        self.machine.before_power_loss = self._before_power_loss

    def client_process(self, name: str) -> Process:
        """Return a new process on a machine of its own, without a disk."""
        process = Process(name, self.scheduler, self._entropy.fork(name), WALL_START_MS)
        network = SimulatedNetwork(self.wires, process, name)
        process.boot(network, network.has_ready)
        return process

    # ---- what a kind of world says

    def _counts(self) -> dict[str, int]:
        """Return how much of what there was."""
        raise NotImplementedError

    def _says(self) -> str:
        """Return what the timeline begins with beside the seed and the faults."""
        return ""

    def _play(self) -> None:
        """Run from the start to the end, `_step_until` by `_step_until`; raise a Violation where one is found."""
        raise NotImplementedError

    def _traffic(self) -> int:
        """Return how much traffic there was as yet, in the units of `Fault.after`."""
        raise NotImplementedError

    def _needs_traffic(self, missing: int) -> None:
        """Take it that the next fault waits for so much more traffic."""

    def _look(self, program: P) -> None:
        """Look at the program after a turn of its process, while it is ready."""

    def _check_restart(self) -> None:
        """Look at what a restarted program has found, once it is ready."""

    def _before_loss(self) -> None:
        """Take note of what the machine has for certain: it is about to lose its power, or its disk has failed."""

    def _clients(self) -> Sequence[Process]:
        """Return the clients' processes that faults may befall."""
        return ()

    def _client_crashed(self, process: Process) -> None:
        """Take it that a client's process was killed."""
        raise NotImplementedError

    def _strike_elsewhere(self, fault: Fault) -> None:
        """Let a fault come that only this kind of world knows; `_over` follows."""
        raise NotImplementedError

    # ---- running

    def run(self) -> Outcome:
        """Run to the end, or to the first violation."""
        violation: Violation | None = None
        try:
            self.trace.record("world", f"seed {self.seed} {self._says()}faults {[fault.kind for fault in self.faults]}")
            self._play()
        except Violation as found:
            violation = found
        violation = self.verdict.violation or violation
        if violation is not None:
            self.trace.record("checker", str(violation))
        return Outcome(
            self.seed,
            self.KIND,
            violation,
            self.trace.digest(),
            self.trace.count,
            self._counts(),
            tuple(self.struck),
            self._thin,
            self.scheduler.now_ns,
        )

    def _heal_for_good(self) -> None:
        """End what faults have left, and let none come any more."""
        self.trace.record("world", "heals for good")
        self._heal()
        self._crashes_are_over = True
        self.machine.faults.strike_after_operations = -1

    def _stop_cleanly(self) -> None:
        """Stop the machine's program and wait for it."""
        stopped: list[bool] = []
        self.machine.stop(lambda: stopped.append(True))
        self._step_until(lambda: bool(stopped), DRAIN_LIMIT_NS, "a clean stop")

    def _step_until(self, condition: Callable[[], bool], limit_ns: int, what: str, kind: str = "stuck") -> None:
        """Run until `condition` holds; a violation of `kind` when that takes too long."""
        end_ns = self.scheduler.now_ns + limit_ns
        while self.scheduler.steps % STEPS_PER_LOOK or not condition():
            if self.scheduler.now_ns > end_ns or self.scheduler.steps > MOST_STEPS:
                raise Violation(kind, f"{what} did not come to an end in {limit_ns / 1e9:.0f} s and {MOST_STEPS} steps")
            if not self.scheduler.step():
                raise Violation("stuck", f"nothing happens any more, and {what} did not come to an end")
            if self.verdict.violation is not None:
                raise self.verdict.violation
            self._after_step()

    def _after_step(self) -> None:
        process, program = self.machine.process, self.machine.program
        if process is None or program is None or process.turns == self._turns_seen or not program.is_ready():
            return
        self._turns_seen = process.turns
        if self._must_check:
            self._restarted()
        self._look(program)
        if self._waiting_faults and not self._fault_is_on:
            fault = self._waiting_faults[0]
            missing = fault.after - (self._traffic() - self._traffic_at_last_fault)
            if missing <= 0:
                self._strike(self._waiting_faults.pop(0))
            else:
                self._needs_traffic(missing)

    def _faults_are_over(self) -> bool:
        return not self._waiting_faults and not self._fault_is_on

    # ---- faults

    def _strike(self, fault: Fault) -> None:
        """Let a fault come; `_over` follows, at once or later."""
        self._fault_is_on = True
        self.struck.append(fault.kind)
        self.trace.record("world", f"{fault.kind} for {fault.duration_ns / 1e6:.0f} ms")
        machine, faults, later = self.machine, self.machine.faults, self.scheduler.after
        match fault.kind:
            case "kill":
                machine.kill()
            case "lose":
                machine.lose()
            case "kill in a write" | "lose in a write":
                machine.strike_within(fault.operations, machine=fault.kind == "lose in a write")
                later(fault.duration_ns + NANOSECONDS_PER_SECOND, self._strike_anyway)
            case "stop":
                machine.stop(self._stopped)
            case "reset":
                self.wires.reset_one()
                self._over()
            case "cut":
                self.wires.cut(fault.duration_ns)
                later(fault.duration_ns, self._over)
            case "disk full":
                drive = machine.drive
                drive.capacity_bytes = drive.used_bytes() + self._entropy.below(3_000)
                later(fault.duration_ns, self._healed)
            case "short writes":
                faults.short_write_percent = 30
                later(fault.duration_ns, self._healed)
            case "slow disk":
                faults.slow_percent = 20
                later(fault.duration_ns, self._healed)
            case "write errors":
                faults.write_error_percent = 20
                later(fault.duration_ns, self._reboot)
            case "read errors":
                faults.read_error_percent = 20
                later(fault.duration_ns, self._reboot)
            case "sync errors" | "sync errors, bare restart":
                faults.sync_error_percent = 30
                later(fault.duration_ns, self._reboot if fault.kind == "sync errors" else self._restart_bare)
            case "clock jump":
                if machine.process is not None:
                    machine.process.clock.jump(self._entropy.between(-MOST_JUMP_MS, MOST_JUMP_MS))
                self._over()
            case "pause":
                process = machine.process
                assert process is not None
                process.pause()
                later(fault.duration_ns, self._go_on, process)
            case "client pause" | "client crash" | "client clock jump":
                clients = self._clients()
                if clients:
                    self._strike_client(self._entropy.choose(clients), fault)
                self._over()
            case _:
                self._strike_elsewhere(fault)

    def _strike_client(self, process: Process, fault: Fault) -> None:
        """Let a fault of a client come; the next one does not wait until it is over."""
        match fault.kind:
            case "client pause":
                process.pause()
                self.scheduler.after(fault.duration_ns, process.resume)
            case "client crash":
                process.kill()
                self._client_crashed(process)
            case "client clock jump":
                process.clock.jump(self._entropy.between(-MOST_JUMP_MS, MOST_JUMP_MS))

    def _go_on(self, process: Process) -> None:
        process.resume()
        self._over()

    def _over(self) -> None:
        self._fault_is_on = False
        self._traffic_at_last_fault = self._traffic()

    def _heal(self) -> None:
        self.machine.faults.heal()
        self.machine.drive.capacity_bytes = None

    def _healed(self) -> None:
        self._heal()
        self._over()

    def _strike_anyway(self) -> None:
        """End the process now when too little was written for the crash to come by itself."""
        if self._fault_is_on and self.machine.faults.strike_after_operations > 0:
            self.machine.kill()

    def _reboot(self) -> None:
        """Restart a machine whose disk has failed: what a failed sync dropped is gone."""
        self._heal()
        if self.machine.is_up:
            self.machine.lose()

    def _restart_bare(self) -> None:
        """Restart the process alone where syncs have failed: the page cache may still show what the drive does not have."""
        self._heal()
        if not self.machine.is_up:
            return
        if self.machine.drive.is_doomed():
            self._before_power_loss()  # a failed sync has lost as much
        self.scheduler.after(self._entropy.between(0, 2 * MOST_DOWN_NS), self.machine.drive.evict)
        self.machine.kill()

    def _stopped(self) -> None:
        self._must_check = True
        self._restart_later()

    def _crashed(self) -> None:
        self._turns_seen = -1
        self._must_check = True
        self._restart_later()

    def _before_power_loss(self) -> None:
        self._was_lost = True
        self._before_loss()

    def _restart_later(self) -> None:
        if not self._restart_pending:
            self._restart_pending = True
            self.scheduler.after(self._entropy.between(LEAST_DOWN_NS, MOST_DOWN_NS), self._restart)

    def _restart(self) -> None:
        self._restart_pending = False
        self.machine.start()
        if self._entropy.chance(30) and not self._crashes_are_over:
            self.machine.strike_within(self._entropy.between(1, MOST_RECOVERY_OPERATIONS), machine=self._entropy.chance(50))

    def _restarted(self) -> None:
        self._must_check = False
        if self._entropy.chance(50):
            self.machine.faults.strike_after_operations = -1
        self._check_restart()
        self._was_lost = False
        if self._fault_is_on:
            self._over()
