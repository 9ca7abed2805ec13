"""A simulated machine that runs one program: what outlives a process (drive, locks), and how processes come and go on it.

A process ends in one of three ways: cleanly (`stop`), killed (its memory is gone, the page cache stays), or with the machine
(`lose`: what was not synced may be gone as well, and the boot id changes). A crash can also be armed to strike in the middle of
a disk operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from fastlog.sim.disk import DiskAccess, DiskFaults, SimulatedDisk
from fastlog.sim.drive import Drive
from fastlog.sim.flusher import SimulatedFlusher
from fastlog.sim.network import SimulatedNetwork, Wires
from fastlog.sim.process import Process

if TYPE_CHECKING:
    from fastlog.env import Clock, Disk, Environment, Flusher, Network, Random
    from fastlog.env.reactor import Reactor
    from fastlog.sim.entropy import Entropy
    from fastlog.sim.scheduler import Scheduler
    from fastlog.sim.trace import Trace


class PartitionState(NamedTuple):
    """The offsets of one partition, each its own thing."""

    topic: str
    partition: int
    log_start_offset: int
    last_stable_offset: int
    high_watermark: int
    log_end_offset: int


class Program(Protocol):
    """What runs on a machine: made in a new process's first moment."""

    def is_ready(self) -> bool:
        """Tell whether clients can be served."""

    def stop(self, stopped: Callable[[], None]) -> None:
        """Begin a clean stop; call `stopped` when nothing is left to do."""


class BrokerProgram(Program, Protocol):
    """A broker, as the checker looks at it."""

    def partition_states(self) -> Iterable[PartitionState]:
        """Return what each partition is now."""


P = TypeVar("P", bound=Program)


class SimulatedEnvironment:
    """Implements `env.Environment`: the seam as one process gets it."""

    def __init__(self, process: Process, disk: Disk, flusher: Flusher, random: Random) -> None:
        self.reactor: Reactor = process.reactor
        self.clock: Clock = process.clock
        self.network: Network = process.network
        self.disk = disk
        self.flusher = flusher
        self.random = random


def _raise(error: BaseException) -> None:
    raise error


class Machine(Generic[P]):
    """One machine. `make_program` is called for each process; `on_crash` after each end that nobody asked for."""

    def __init__(
        self,
        name: str,
        scheduler: Scheduler,
        wires: Wires,
        entropy: Entropy,
        trace: Trace,
        wall_start_ms: int,
        make_program: Callable[[Environment], P],
    ) -> None:
        self.name = name
        self.drive = Drive(name)
        self.faults = DiskFaults()
        self.process: Process | None = None
        self.program: P | None = None
        self.on_crash: Callable[[], None] = lambda: None
        self.before_power_loss: Callable[[], None] = lambda: None
        self.on_mistake: Callable[[BaseException], None] = _raise
        """Told of each exception that the program let escape from one of its callbacks, its boot included."""
        self._scheduler = scheduler
        self._wires = wires
        self._entropy = entropy
        self._trace = trace
        self._wall_ms = wall_start_ms
        self._make_program = make_program
        self._locks: dict[int, Process] = {}
        self._starts = 0

    @property
    def is_up(self) -> bool:
        """Tell whether a process runs, ready or not."""
        return self.process is not None

    def is_ready(self) -> bool:
        """Tell whether a process runs and can serve clients."""
        return self.process is not None and self.program is not None and self.program.is_ready()

    def start(self) -> None:
        """Start a process and let its program boot in the first turn."""
        if self.process is not None:
            raise RuntimeError(f"{self.name} runs already")
        self._starts += 1
        self._trace.record(self.name, f"starts, boot {self.drive.boots}, start {self._starts}")
        entropy = self._entropy.fork(f"start {self._starts}")
        process = self.process = Process(self.name, self._scheduler, entropy.fork("process"), self._wall_ms)
        network = SimulatedNetwork(self._wires, process, self.name)
        process.boot(network, network.has_ready)
        process.on_died_in_turn = self._crashed
        process.reactor.on_unhandled = self.on_mistake
        access = DiskAccess(self.drive, process, self.faults, entropy.fork("disk"), self._trace)
        environment = SimulatedEnvironment(
            process,
            SimulatedDisk(access, self._locks),
            SimulatedFlusher(process, entropy.fork("flusher")),
            entropy.fork("random"),
        )

        def boot() -> None:
            self.program = self._make_program(environment)

        process.reactor.call_soon(boot)

    def kill(self) -> None:
        """End the process at once, as SIGKILL does."""
        self._end("killed")
        self._crashed()

    def lose(self) -> None:
        """End the machine at once, as a loss of power does."""
        self._lose()
        self._crashed()

    def strike_within(self, operations: int, *, machine: bool) -> None:
        """Let a kill, or the loss of the machine, come in the middle of the disk operation so many from now."""
        self.faults.strike_after_operations = operations
        self.faults.strike = self._lose if machine else self._kill_within

    def stop(self, stopped: Callable[[], None]) -> None:
        """Stop cleanly; `stopped` is called when the process has ended."""
        process, program = self.process, self.program
        if process is None or program is None:
            raise RuntimeError(f"{self.name} does not run")
        self._trace.record(self.name, "is asked to stop")

        def ended() -> None:
            if self.process is process:
                self._end("stopped")
                stopped()

        def begin() -> None:
            program.stop(end_soon)

        def end_soon() -> None:
            self._scheduler.after(0, ended)

        process.reactor.call_soon(begin)
        process.touch()

    def _kill_within(self) -> None:
        self._end("killed in the middle of a disk operation")

    def _lose(self) -> None:
        network = self.process.network if self.process is not None else None
        if isinstance(network, SimulatedNetwork):
            network.vanish()
        self._end("lost")
        self.before_power_loss()
        self.drive.lose_power(self._entropy)

    def _end(self, how: str) -> None:
        self.faults.strike_after_operations = -1
        self._trace.record(self.name, how)
        process, self.process, self.program = self.process, None, None
        if process is not None:
            self._wall_ms = process.clock.wall_offset_ms
            process.kill()

    def _crashed(self) -> None:
        self.on_crash()
