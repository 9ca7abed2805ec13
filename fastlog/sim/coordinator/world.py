"""A world of one coordinator: the server on a machine, workers in processes of their own, and what befalls both.

Traffic is writes acknowledged and reads answered. When everything has healed the clients rest until every session without a
client has ended, and read once more; then the server is stopped, and started again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from fastlog.coordinator.process import CoordinatorOptions
from fastlog.sim.coordinator.checker import CoordinatorChecker
from fastlog.sim.coordinator.journal_reader import JournalReader
from fastlog.sim.coordinator.program import SimulatedCoordinator
from fastlog.sim.coordinator.worker import TIMEOUTS_MS, Worker
from fastlog.sim.fault import COORDINATOR_FAULTS
from fastlog.sim.scheduler import NANOSECONDS_PER_MILLISECOND
from fastlog.sim.world import DRAIN_LIMIT_NS, LEAST_DOWN_NS, MOST_DOWN_NS, TRAFFIC_LIMIT_NS, World

if TYPE_CHECKING:
    from fastlog.env import Environment
    from fastlog.sim.process import Process

COORDINATOR = "coordinator"
PORT = 2181
DATA = "/data/coordinator"
JOURNAL_FILE_BYTES = (1_500, 6_000, 30_000)
MOST_WORKERS = 3
MORE_TRAFFIC = 20
LEAST_WRITES = 20
LEAST_EVENTS = 3
"""A run with less acknowledged or told doesn't count."""
QUIET_NS = (max(TIMEOUTS_MS) + 1_500) * NANOSECONDS_PER_MILLISECOND


class CoordinatorWorld(World[SimulatedCoordinator]):
    """One run of one seed."""

    KIND: ClassVar = "coordinator"

    def __init__(self, seed: int, printer: Callable[[str], object] | None = None) -> None:
        super().__init__(seed, COORDINATOR_FAULTS, printer)
        self._draw_faults()
        self.checker = self.verdict = CoordinatorChecker()
        self._journal_file_bytes = self._entropy.choose(JOURNAL_FILE_BYTES)
        self._make_machine(COORDINATOR, self._make_program)
        self._reader = JournalReader(self.machine.drive, DATA)
        self._workers_made = 0
        self._errors_at_start = 0
        self.workers: dict[str, Worker | None] = {}
        """By their names; None for one whose process has crashed and is not there again."""
        for number in range(self._entropy.between(2, MOST_WORKERS)):
            self.workers[f"worker{number}"] = None

    def _make_program(self, environment: Environment) -> SimulatedCoordinator:
        process = self.machine.process
        assert process is not None
        self._errors_at_start = self.machine.faults.errors_injected
        options = CoordinatorOptions(host=COORDINATOR, port=PORT, data=DATA, journal_file_bytes=self._journal_file_bytes)
        return SimulatedCoordinator(environment, options, partial(self._ended, process))

    def _ended(self, process: Process, reason: str) -> None:
        """Take it that the coordinator ends its process, for a disk that has failed or is full."""
        self.trace.record(COORDINATOR, f"ends: {reason}")
        if self.machine.faults.errors_injected == self._errors_at_start and self.machine.drive.capacity_bytes is None:
            self.checker.fail("mistake", f"the coordinator ends by itself: {reason}")
        self.scheduler.after(0, self._end, process)

    def _end(self, process: Process) -> None:
        if self.machine.process is process:
            self.machine.kill()

    def _start_worker(self, name: str) -> None:
        self._workers_made += 1
        process = self.client_process(name)
        entropy = self._entropy.fork(f"{name} {self._workers_made}")
        self.workers[name] = Worker(f"{name}.{self._workers_made}", process, self.checker, entropy, (COORDINATOR, PORT))

    # ---- running

    def _counts(self) -> dict[str, int]:
        checker = self.checker
        return {
            "writes acknowledged": checker.acknowledged_count,
            "refused": checker.refused_count,
            "reads answered": checker.read_count,
            "watches told": checker.told_count,
            "sessions expired": checker.expired_count,
            "unanswered transactions forgotten": checker.forgotten_count,
            "journal files": len(self._reader.files),
            "snapshots": len(self._reader.snapshots),
        }

    def _play(self) -> None:
        self.machine.start()
        for name in self.workers:
            self._start_worker(name)
        self._step_until(self._faults_are_over, TRAFFIC_LIMIT_NS, "the faults")
        enough = self._traffic() + MORE_TRAFFIC
        self._step_until(lambda: self._traffic() >= enough, TRAFFIC_LIMIT_NS, "the traffic")
        self._heal_for_good()
        self._step_until(lambda: self.machine.is_ready() and None not in self.workers.values(), DRAIN_LIMIT_NS, "the restarts")
        for worker in self._living():
            worker.process.resume()
            worker.rest()
        self._step_until(lambda: all(one.is_idle for one in self._living()), DRAIN_LIMIT_NS, "the workers")
        quiet_ns = self.scheduler.now_ns + QUIET_NS
        self._step_until(lambda: self.scheduler.now_ns >= quiet_ns, DRAIN_LIMIT_NS, "the quiet")
        last = [worker.read_all() for worker in self._living()]
        self._step_until(lambda: all(one.done for one in last), DRAIN_LIMIT_NS, "the last reads")
        program = self.machine.program
        assert program is not None
        self.checker.finish(self._living(), program.tree)
        self._thin = self.checker.acknowledged_count < LEAST_WRITES or self.checker.told_count < LEAST_EVENTS
        self._stop_cleanly()
        self._must_check = True
        self.machine.start()
        self._step_until(lambda: not self._must_check, DRAIN_LIMIT_NS, "the last start")

    def _living(self) -> list[Worker]:
        return [worker for worker in self.workers.values() if worker is not None]

    def _traffic(self) -> int:
        return self.checker.acknowledged_count + self.checker.read_count

    def _look(self, program: SimulatedCoordinator) -> None:
        self.checker.journaled(self._reader.read_on(), self.scheduler.now_ns)

    def _check_restart(self) -> None:
        program = self.machine.program
        assert program is not None
        self.checker.restarted(self._reader.read_again(), program.tree, self.scheduler.now_ns)

    # ---- faults

    def _clients(self) -> list[Process]:
        return [worker.process for worker in self._living()]

    def _client_crashed(self, process: Process) -> None:
        self.workers[process.name] = None
        self.scheduler.after(self._entropy.between(LEAST_DOWN_NS, MOST_DOWN_NS), self._start_worker, process.name)
