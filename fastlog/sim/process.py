"""A simulated process: a reactor with its clock, and everything that a kill takes from the world.

A process runs in turns. A turn happens at one instant of virtual time; what it cost (a base cost, and what
disk work added through `spend`) passes before the next one, and the process sees its own clock move while it spends. A kill comes
between two turns or in the middle of a disk operation; there it travels up as `ProcessKilled`, past every handler of the
product's code, and from then on nothing that the dead process's code still does (its `finally` clauses) reaches the world.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fastlog.env.reactor import Reactor
from fastlog.sim.clock import SimulatedClock

if TYPE_CHECKING:
    from fastlog.env import Network
    from fastlog.sim.entropy import Entropy
    from fastlog.sim.scheduler import Scheduler

LEAST_TURN_NS = 2_000
MOST_TURN_NS = 60_000


class ProcessKilled(BaseException):
    """The process that made this call is no more. Not an `Exception`: nobody may handle it and go on."""


class Process:
    """One process of a simulated machine. `on_killed` listeners run once, when it is killed or has ended."""

    def __init__(self, name: str, scheduler: Scheduler, entropy: Entropy, wall_start_ms: int) -> None:
        self.name = name
        self.alive = True
        self.scheduler = scheduler
        self.clock = SimulatedClock(self, wall_start_ms, origin_ns=entropy.below(1 << 40))
        self.reactor: Reactor
        self.network: Network
        self.ahead_ns = 0
        self.turns = 0
        self.on_killed: list[Callable[[], object]] = []
        self.on_died_in_turn: Callable[[], object] = lambda: None
        """Called after a turn in the middle of which the process was killed."""
        self._busy_until_ns = 0
        self._wake_ns: int | None = None
        self._is_touched = True
        self._is_paused = False
        self._entropy = entropy
        self._has_ready: Callable[[], bool] = lambda: False

    def boot(self, network: Network, has_ready: Callable[[], bool]) -> None:
        """Give the process its network and reactor and let it take turns. `has_ready`: a poll would return something."""
        self.network = network
        self._has_ready = has_ready
        self.reactor = Reactor(self.clock, network)
        self.scheduler.add(self)

    def touch(self) -> None:
        """Note that something has happened to the process that may cause a turn: whoever reaches into it from outside says so."""
        self._is_touched = True

    def wake_ns(self) -> int | None:
        """Return the virtual time of the next turn as things stand, None when only the outside can cause one."""
        if self._is_paused:
            return None
        if self._is_touched:
            self._is_touched = False
            if self._has_ready():
                self._wake_ns = self._busy_until_ns
            else:
                deadline_ns = self.reactor.next_deadline_ns()
                self._wake_ns = None if deadline_ns is None else max(deadline_ns - self.clock.origin_ns, self._busy_until_ns)
        return self._wake_ns

    def run_turn(self) -> None:
        """Run one turn of the reactor and let its cost pass."""
        self.ahead_ns = 0
        try:
            self.reactor.run_turn()
        except ProcessKilled:
            self.on_died_in_turn()
        finally:
            cost_ns = self.ahead_ns + self._entropy.between(LEAST_TURN_NS, MOST_TURN_NS)
            self._busy_until_ns = self.scheduler.now_ns + cost_ns
            self.ahead_ns = 0
            self.turns += 1
            self._is_touched = True

    def pause(self) -> None:
        """Take no turns until `resume`, as after SIGSTOP: the world goes on, and so do both clocks."""
        self._is_paused = True

    def resume(self) -> None:
        """Go on after a pause; without one this does nothing."""
        self._is_paused = False
        self.touch()

    @property
    def busy_ns(self) -> int:
        """How long what it did last still takes it: its own clock was as far ahead then."""
        return max(0, self._busy_until_ns - self.scheduler.now_ns)

    def spend(self, cost_ns: int) -> None:
        """Let virtual time pass for this process inside its turn."""
        self.ahead_ns += cost_ns

    def check_alive(self) -> None:
        """Stop the caller when it runs on behalf of a dead process."""
        if not self.alive:
            raise ProcessKilled(self.name)

    def kill(self) -> None:
        """End the process at once; a second time does nothing."""
        if not self.alive:
            return
        self.alive = False
        self.scheduler.remove(self)
        for listener in self.on_killed:
            listener()
        self.on_killed.clear()
