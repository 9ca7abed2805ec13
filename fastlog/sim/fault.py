"""Which misfortunes befall a run, and when: drawn from the seed, in units of traffic, so that each finds something to harm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from fastlog.sim.entropy import Entropy

Kind = Literal[
    "kill",
    "kill in a write",
    "lose",
    "lose in a write",
    "stop",
    "reset",
    "cut",
    "disk full",
    "short writes",
    "write errors",
    "read errors",
    "sync errors",
    "sync errors, bare restart",
    "slow disk",
    "clock jump",
    "bit flip",
]

WEIGHTS: tuple[tuple[Kind, int], ...] = (
    ("kill", 3),
    ("kill in a write", 5),
    ("lose", 3),
    ("lose in a write", 5),
    ("stop", 2),
    ("reset", 3),
    ("cut", 1),
    ("disk full", 2),
    ("short writes", 2),
    ("write errors", 1),
    ("read errors", 1),
    ("sync errors", 1),
    ("sync errors, bare restart", 2),
    ("slow disk", 1),
    ("clock jump", 1),
    ("bit flip", 3),
)
LEAST_TRAFFIC = 8
MOST_TRAFFIC = 30
MOST_FAULTS = 3
NANOSECONDS_PER_MILLISECOND = 1_000_000


class Fault(NamedTuple):
    """One misfortune: it comes once `after` batches were acknowledged since the one before was over."""

    kind: Kind
    after: int
    duration_ns: int
    operations: int
    """For a crash in a write: in the middle of which disk operation from then on."""


def draw_faults(entropy: Entropy) -> list[Fault]:
    """Return the faults of one run, in order. There is always one."""
    bag = [kind for kind, weight in WEIGHTS for _ in range(weight)]
    return [
        Fault(
            entropy.choose(bag),
            entropy.between(LEAST_TRAFFIC, MOST_TRAFFIC),
            entropy.between(1, 400) * NANOSECONDS_PER_MILLISECOND,
            entropy.between(1, 40),
        )
        for _ in range(entropy.between(1, MOST_FAULTS))
    ]
