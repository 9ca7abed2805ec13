"""The machine's randomness behind the seam's `Random`."""

from __future__ import annotations

import os


class SystemRandom:
    """Random bytes and integers of the system's generator."""

    __slots__ = ()

    def random_bytes(self, count: int) -> bytes:
        """Return `count` random bytes."""
        return os.urandom(count)

    def below(self, bound: int) -> int:
        """Return a uniform integer in [0, bound); ValueError when `bound` is not positive."""
        if bound <= 0:
            raise ValueError(f"below({bound}): the bound must be positive")
        bits = (bound - 1).bit_length()
        count = (bits + 7) // 8
        while True:  # a draw is kept with a probability of more than one half
            value = int.from_bytes(os.urandom(count), "little") & ((1 << bits) - 1)
            if value < bound:
                return value
