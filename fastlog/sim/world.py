"""One run: a machine with a broker, producers, a consumer, the faults that befall them, and the checker, all from one seed.

A run has two parts. While there is traffic, faults come one after another, each once enough was acknowledged since the last was
over. Then everything heals: the consumer reads to the end, the broker stops cleanly, and the logs are checked as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from fastlog import _core
from fastlog.sim import ondisk
from fastlog.sim.checker import Checker, Place, Violation
from fastlog.sim.consumer import Consumer
from fastlog.sim.entropy import Entropy
from fastlog.sim.fault import Fault, draw_faults
from fastlog.sim.machine import Machine, ProgramMaker
from fastlog.sim.network import SimulatedNetwork, Wires
from fastlog.sim.process import Process
from fastlog.sim.producer import Producer
from fastlog.sim.scheduler import NANOSECONDS_PER_MILLISECOND, NANOSECONDS_PER_SECOND, Scheduler
from fastlog.sim.trace import Trace

if TYPE_CHECKING:
    from fastlog.sim.ondisk import LoggedBatch

BROKER = "broker"
PORT = 9092
DATA = "/data"
WALL_START_MS = 1_750_000_000_000
MOST_TOPICS = 2
MOST_PARTITIONS = 3
LEAST_BATCHES_MORE = 15
MOST_BATCHES_MORE = 40
SEGMENT_BYTES = (4_000, 10_000, 30_000, 1 << 20)
MOST_STEPS = 60_000
MOST_TIMES_MORE = 10
STEPS_PER_LOOK = 16
"""How often the end of a run's part is looked for: looking costs more than a step."""
TRAFFIC_LIMIT_NS = 300 * NANOSECONDS_PER_SECOND
DRAIN_LIMIT_NS = 60 * NANOSECONDS_PER_SECOND
QUIET_NS = NANOSECONDS_PER_SECOND
"""How long after the last answer what is still under way (batches with acks=0) may take to arrive."""
LEAST_DOWN_NS = 20 * NANOSECONDS_PER_MILLISECOND
MOST_DOWN_NS = 1_500 * NANOSECONDS_PER_MILLISECOND
MOST_RECOVERY_OPERATIONS = 100
"""A second crash, in the middle of recovery or soon after it, comes within so many disk operations."""


PRODUCERS: tuple[tuple[tuple[bool, int], ...], ...] = (
    ((True, -1),),
    ((False, 1),),
    ((False, -1),),
    ((True, -1), (False, 0)),
    ((True, -1), (False, 1)),
)
"""Who produces in a run: (idempotent, acks) of each."""


class Settings(NamedTuple):
    """What a seed draws for its broker: options under Kafka's names, and what the checker must know of them."""

    options: dict[str, str]
    all_flushed: bool
    retention_ms: int = -1
    retention_bytes: int = -1


class Outcome(NamedTuple):
    """What became of a run. `thin`: too little was acknowledged for its faults to come; such a run doesn't count."""

    seed: int
    violation: Violation | None
    digest: str
    events: int
    acknowledged: int
    polled: int
    excused: int
    expired: int
    damage_found: int
    faults: tuple[str, ...]
    thin: bool
    virtual_ns: int


def draw_settings(entropy: Entropy, partitions: int, *, must_roll: bool) -> Settings:
    """Return the options of a run's broker: small segments, so that they roll; now and then a flush before each answer.

    Retention, where there is any, is by time or by size, so that the checker can tell what it may take.
    """
    all_flushed = entropy.chance(30)
    options = {
        "listeners": f"PLAINTEXT://{BROKER}:{PORT}",
        "log.dirs": DATA,
        "log.segment.bytes": str(entropy.choose(SEGMENT_BYTES if not must_roll else SEGMENT_BYTES[:1])),
        "log.index.interval.bytes": str(entropy.choose((0, 500, 4_096))),
        "log.flush.offset.checkpoint.interval.ms": str(entropy.choose((50, 500, 60_000))),
        "num.partitions": str(partitions),
    }
    if all_flushed:
        options["log.flush.interval.messages"] = "1"
    elif entropy.chance(30):
        options["log.flush.interval.messages"] = str(entropy.between(2, 50))
    if entropy.chance(30):
        options["log.flush.interval.ms"] = str(entropy.between(1, 500))
    retention_ms = retention_bytes = -1
    if entropy.chance(40):
        if entropy.chance(50):
            retention_ms = entropy.choose((300, 1_500, 10_000))
        else:
            retention_bytes = entropy.choose((0, 4_000, 12_000))
        options["log.retention.check.interval.ms"] = str(entropy.between(20, 500))
        options["log.segment.delete.delay.ms"] = str(entropy.choose((0, 100, 60_000)))
    options["log.retention.ms"] = str(retention_ms)
    options["log.retention.bytes"] = str(retention_bytes)
    return Settings(options, all_flushed, retention_ms, retention_bytes)


class World:
    """One run of one seed. `make_program(settings, environment)` makes the broker that is under test."""

    def __init__(
        self, seed: int, make_program: Callable[[Settings], ProgramMaker], printer: Callable[[str], object] | None = None
    ) -> None:
        self.seed = seed
        self.trace = Trace(printer)
        entropy = Entropy(seed)
        self._entropy = entropy.fork("world")
        self.scheduler = Scheduler(entropy.fork("order"), self.trace)
        self.wires = Wires(self.scheduler, entropy.fork("wires"), self.trace)
        partitions = self._entropy.between(1, MOST_PARTITIONS)
        self.topics = {f"topic{number}": partitions for number in range(self._entropy.between(1, MOST_TOPICS))}
        self.faults = draw_faults(entropy.fork("faults"))
        self.settings = draw_settings(
            entropy.fork("settings"), partitions, must_roll=any(fault.kind == "bit flip" for fault in self.faults)
        )
        self.checker = Checker(retention_ms=self.settings.retention_ms, retention_bytes=self.settings.retention_bytes)
        self.machine = Machine(
            BROKER,
            self.scheduler,
            self.wires,
            entropy.fork("machine"),
            self.trace,
            WALL_START_MS,
            make_program(self.settings),
        )
        self.machine.on_crash = self._crashed
        self.machine.on_mistake = self.checker.mistake
        self.machine.before_power_loss = self._before_power_loss
        self.producers = self._make_producers(entropy.fork("producers"))
        self.consumer = Consumer(self._client("consumer"), self.checker, entropy.fork("consumer"), (BROKER, PORT), self.topics)
        self.struck: list[str] = []
        self._waiting_faults = list(self.faults)
        self._fault_is_on = False
        self._acknowledged_at_last_fault = 0
        self._restart_pending = False
        self._was_lost = False
        self._must_check = False
        self._thin = False
        self._crashes_are_over = False
        self._turns_seen = -1
        self._times_more = 0

    # ---- making

    def _client(self, name: str) -> Process:
        process = Process(name, self.scheduler, self._entropy.fork(name), WALL_START_MS)
        network = SimulatedNetwork(self.wires, process, name)
        process.boot(network, network.has_ready)
        return process

    def _make_producers(self, entropy: Entropy) -> list[Producer]:
        """Make one or two; those that get acknowledgements send enough for every fault to come."""
        kinds = entropy.choose(PRODUCERS)
        needed = sum(fault.after for fault in self.faults) // sum(acks != 0 for _, acks in kinds)
        return [
            Producer(
                self._client(f"producer{index}"),
                self.checker,
                entropy.fork(f"{index}"),
                (BROKER, PORT),
                self.topics,
                idempotent=idempotent,
                acks=acks,
                batch_count=needed + entropy.between(LEAST_BATCHES_MORE, MOST_BATCHES_MORE),
            )
            for index, (idempotent, acks) in enumerate(kinds)
        ]

    # ---- running

    def run(self) -> Outcome:
        """Run to the end, or to the first violation."""
        violation: Violation | None = None
        try:
            self._run()
        except Violation as found:
            violation = found
        violation = self.checker.violation or violation
        if violation is not None:
            self.trace.record("checker", str(violation))
        return Outcome(
            self.seed,
            violation,
            self.trace.digest(),
            self.trace.count,
            self.checker.acknowledged_count,
            self.checker.polled_count,
            self.checker.excused_count,
            self.checker.expired_count,
            self.checker.damage_found_count,
            tuple(self.struck),
            self._thin,
            self.scheduler.now_ns,
        )

    def _run(self) -> None:
        self.trace.record(
            "world", f"seed {self.seed} options {self.settings.options} faults {[fault.kind for fault in self.faults]}"
        )
        self.machine.start()
        for producer in self.producers:
            producer.start()
        self.consumer.start()
        self._step_until(self._traffic_is_over, TRAFFIC_LIMIT_NS, "the producers")
        self.trace.record("world", "heals for good")
        self._heal()
        self._crashes_are_over = True
        self.machine.faults.strike_after_operations = -1
        quiet_ns = self.scheduler.now_ns + QUIET_NS
        self._step_until(lambda: self.scheduler.now_ns >= quiet_ns and self._is_drained(), DRAIN_LIMIT_NS, "the consumer")
        self._check_retention()
        stopped: list[bool] = []
        self.machine.stop(lambda: stopped.append(True))
        self._step_until(lambda: bool(stopped), DRAIN_LIMIT_NS, "a clean stop")
        self.checker.finish(self._logs())
        for name in ondisk.partition_directories(self.machine.drive, DATA):
            for wrong in ondisk.wrong_index_entries(self.machine.drive, f"{DATA}/{name}"):
                raise Violation("index", wrong)

    def _step_until(self, condition: Callable[[], bool], limit_ns: int, what: str) -> None:
        end_ns = self.scheduler.now_ns + limit_ns
        while self.scheduler.steps % STEPS_PER_LOOK or not condition():
            if self.scheduler.now_ns > end_ns or self.scheduler.steps > MOST_STEPS:
                raise Violation("stuck", f"{what} did not come to an end in {limit_ns / 1e9:.0f} s and {MOST_STEPS} steps")
            if not self.scheduler.step():
                raise Violation("stuck", f"nothing happens any more, and {what} did not come to an end")
            if self.checker.violation is not None:
                raise self.checker.violation
            self._after_step()

    def _after_step(self) -> None:
        process, program = self.machine.process, self.machine.program
        if process is None or program is None or process.turns == self._turns_seen or not program.is_ready():
            return
        self._turns_seen = process.turns
        if self._must_check:
            self._check_restart()
        for state in program.partition_states():
            place = (state.topic, state.partition)
            if state.log_start_offset > self.checker.log_start(place):
                self._expired(place, state.log_start_offset)
            self.checker.state(
                place,
                state.log_start_offset,
                state.last_stable_offset,
                state.high_watermark,
                state.log_end_offset,
            )
        if self._waiting_faults and not self._fault_is_on:
            fault = self._waiting_faults[0]
            missing = fault.after - (self.checker.acknowledged_count - self._acknowledged_at_last_fault)
            if missing <= 0:
                self._strike(self._waiting_faults.pop(0))
            elif self._producers_are_done():
                self._send_more(missing)

    def _send_more(self, missing: int) -> None:
        """Let the producers send more, so that the next fault finds traffic; in vain too often, the run is thin."""
        if self._times_more == MOST_TIMES_MORE:
            self._thin = True
            self._waiting_faults.clear()
            return
        self._times_more += 1
        for producer in self.producers:
            producer.send_more(missing + 1)

    def _producers_are_done(self) -> bool:
        return all(producer.is_done for producer in self.producers)

    def _traffic_is_over(self) -> bool:
        return self._producers_are_done() and not self._waiting_faults and not self._fault_is_on

    def _is_drained(self) -> bool:
        """Tell whether the consumer has read all that the broker holds, acknowledged or not."""
        program = self.machine.program
        if program is None or not program.is_ready():
            return False
        ends = {(state.topic, state.partition): state.log_end_offset for state in program.partition_states()}
        return all(self.consumer.position(place) == end for place, end in ends.items())

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
                    machine.process.clock.jump(self._entropy.between(-1_800_000, 1_800_000))
                self._over()
            case "bit flip":
                self._flip_bit()
                self._over()

    def _flip_bit(self) -> None:
        """Flip a bit of some record in a segment that is written no more, where there is one."""
        sealed = []
        for place, log in self._logs().items():
            sealed += [(place, batch) for batch in log if batch.path != log[-1].path and not batch.is_damaged]
        if not sealed:
            return
        place, batch = self._entropy.choose(sealed)
        node = self.machine.drive.find_file(batch.path)
        at = self._entropy.between(_core.BATCH_OVERHEAD_BYTES, batch.size_bytes - 1)
        self.trace.record("world", f"flips a bit of {batch.path} {batch.position}+{at}")
        self.checker.damaged(batch, place)
        node.damaged[batch.position] = batch.size_bytes
        node.flip(batch.position + at, self._entropy.below(8))
        self.consumer.go_back(place, batch.base_offset)

    def _over(self) -> None:
        self._fault_is_on = False
        self._acknowledged_at_last_fault = self.checker.acknowledged_count

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
        self.checker.machine_lost(self._logs(), self._log_starts())

    def _restart_later(self) -> None:
        if not self._restart_pending:
            self._restart_pending = True
            self.scheduler.after(self._entropy.between(LEAST_DOWN_NS, MOST_DOWN_NS), self._restart)

    def _restart(self) -> None:
        self._restart_pending = False
        self.machine.start()
        if self._entropy.chance(30) and not self._crashes_are_over:
            self.machine.strike_within(self._entropy.between(1, MOST_RECOVERY_OPERATIONS), machine=self._entropy.chance(50))

    def _check_restart(self) -> None:
        """Look at what a restarted broker has found, once it is ready."""
        self._must_check = False
        if self._entropy.chance(50):
            self.machine.faults.strike_after_operations = -1
        starts = self._log_starts()
        for place, start in starts.items():
            if start > self.checker.log_start(place):
                self._expired(place, start)
        ends = self.checker.restarted(self._logs(), starts, lost=self._was_lost, all_flushed=self.settings.all_flushed)
        self.consumer.truncated(ends)
        self._was_lost = False
        if self._fault_is_on:
            self._over()

    def _expired(self, place: Place, log_start: int) -> None:
        """Tell the checker that retention took something; after a loss the size that is left says nothing of what it left."""
        process = self.machine.process
        assert process is not None
        size_bytes = None if self._was_lost else sum(self._segment_sizes(place).values())
        wall_ms = process.clock.wall_ms() + process.busy_ns // NANOSECONDS_PER_MILLISECOND + 1
        self.checker.expired(place, log_start, wall_ms=wall_ms, size_bytes=size_bytes)

    def _check_retention(self) -> None:
        """Look at what is left in the end: what was due when the quiet began is gone by now."""
        process = self.machine.process
        if process is None or "log.retention.check.interval.ms" not in self.settings.options:
            return
        logs, wall_ms = self._logs(), process.clock.wall_ms() - QUIET_NS // NANOSECONDS_PER_MILLISECOND
        for place, log in logs.items():
            sizes = self._segment_sizes(place)
            newest_ms = max((self.checker.timestamp_ms(batch) for batch in log if batch.path == log[0].path), default=wall_ms)
            self.checker.must_have_expired(place, list(sizes.values()), newest_ms, wall_ms)

    def _segment_sizes(self, place: Place) -> dict[int, int]:
        return ondisk.segment_sizes(self.machine.drive, f"{DATA}/{place[0]}-{place[1]}")

    def _log_starts(self) -> dict[Place, int]:
        return {place: min(self._segment_sizes(place), default=0) for place in self._logs()}

    def _logs(self) -> dict[Place, list[LoggedBatch]]:
        logs: dict[Place, list[LoggedBatch]] = {}
        for name in ondisk.partition_directories(self.machine.drive, DATA):
            topic, _, number = name.rpartition("-")
            logs[topic, int(number)] = ondisk.read_log(self.machine.drive, f"{DATA}/{name}")
        return logs


def run_seed(
    seed: int, make_program: Callable[[Settings], ProgramMaker], printer: Callable[[str], object] | None = None
) -> Outcome:
    """Run one seed and return what became of it."""
    return World(seed, make_program, printer).run()
