"""The machine's clocks behind the seam's `Clock`."""

from __future__ import annotations

import time


class SystemClock:
    """Wall time and monotonic time of this machine."""

    __slots__ = ()

    # A builtin in the class is no method: a call costs no Python frame.
    monotonic_ns = staticmethod(time.monotonic_ns)

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000
