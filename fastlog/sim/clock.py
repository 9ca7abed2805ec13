"""Simulated time of one process: monotonic time that starts anywhere, wall time that faults may make jump."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastlog.sim.process import Process

NANOSECONDS_PER_MILLISECOND = 1_000_000


class SimulatedClock:
    """Implements `env.Clock` on the scheduler's virtual time plus what the process spent in its present turn."""

    def __init__(self, process: Process, wall_start_ms: int, origin_ns: int) -> None:
        self.origin_ns = origin_ns
        self.wall_offset_ms = wall_start_ms
        self._process = process

    def _elapsed_ns(self) -> int:
        return self._process.scheduler.now_ns + self._process.ahead_ns

    def wall_ms(self) -> int:
        return self.wall_offset_ms + self._elapsed_ns() // NANOSECONDS_PER_MILLISECOND

    def monotonic_ns(self) -> int:
        return self.origin_ns + self._elapsed_ns()

    def jump(self, delta_ms: int) -> None:
        """Set the wall clock forward or back; monotonic time goes on as it went."""
        self.wall_offset_ms += delta_ms
