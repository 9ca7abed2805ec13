"""The one source of chance of a simulation: SplitMix64, the same on every machine, Python version and hash seed.

Each part of a simulation draws from a stream of its own (`fork`), so that one part drawing more often leaves the others alone.
Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators" (OOPSLA 2014).
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import Any, TypeVar
from zlib import crc32

T = TypeVar("T")

_MASK_64 = (1 << 64) - 1
_GOLDEN_GAMMA = 0x9E3779B97F4A7C15


class Entropy:
    """A stream of uniform draws. Implements `env.Random`."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK_64

    def next_64(self) -> int:
        """Return a uniform integer in [0, 2**64)."""
        self._state = z = (self._state + _GOLDEN_GAMMA) & _MASK_64
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK_64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK_64
        return z ^ (z >> 31)

    def fork(self, name: str) -> Entropy:
        """Return an independent stream that depends on this one's seed and `name`."""
        return Entropy(self.next_64() ^ (crc32(name.encode()) * _GOLDEN_GAMMA))

    def below(self, bound: int) -> int:
        """Return an integer in [0, bound); the bias is under bound / 2**64."""
        return (self.next_64() * bound) >> 64

    def between(self, low: int, high: int) -> int:
        """Return an integer in [low, high]."""
        return low + ((self.next_64() * (high - low + 1)) >> 64)

    def chance(self, percent: float) -> bool:
        """Tell true in `percent` of 100 draws."""
        return self.next_64() < percent * (1 << 64) / 100

    def choose(self, options: Sequence[T]) -> T:
        """Return one of `options`."""
        return options[self.below(len(options))]

    def shuffle(self, items: MutableSequence[Any]) -> None:
        """Put items into a uniformly drawn order."""
        for last in range(len(items) - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]

    def random_bytes(self, count: int) -> bytes:
        """Return `count` bytes."""
        words = (count + 7) // 8
        return b"".join(self.next_64().to_bytes(8, "little") for _ in range(words))[:count]
