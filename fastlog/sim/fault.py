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
    "pause",
    "client pause",
    "client crash",
    "client clock jump",
    "client double",
]

NANOSECONDS_PER_MILLISECOND = 1_000_000


class Fault(NamedTuple):
    """One misfortune: it comes once there was so much traffic (`after`) since the one before was over."""

    kind: Kind
    after: int
    duration_ns: int
    operations: int
    """For a crash in a write: in the middle of which disk operation from then on."""


class FaultTable(NamedTuple):
    """The faults of one kind of world, and how they come."""

    weights: tuple[tuple[Kind, int], ...]
    least_traffic: int
    most_traffic: int
    least_faults: int
    most_faults: int
    most_duration_ms: int

    def draw(self, entropy: Entropy) -> list[Fault]:
        """Return the faults of one run, in order."""
        bag = [kind for kind, weight in self.weights for _ in range(weight)]
        return [
            Fault(
                entropy.choose(bag),
                entropy.between(self.least_traffic, self.most_traffic),
                entropy.between(1, self.most_duration_ms) * NANOSECONDS_PER_MILLISECOND,
                entropy.between(1, 40),
            )
            for _ in range(entropy.between(self.least_faults, self.most_faults))
        ]


LOG_FAULTS = FaultTable(
    (
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
    ),
    least_traffic=8,
    most_traffic=30,
    least_faults=1,
    most_faults=3,
    most_duration_ms=400,
)

COORDINATOR_FAULTS = FaultTable(
    (
        ("kill", 3),
        ("kill in a write", 4),
        ("lose", 3),
        ("lose in a write", 6),
        ("stop", 2),
        ("reset", 4),
        ("cut", 3),
        ("disk full", 1),
        ("short writes", 1),
        ("write errors", 1),
        ("read errors", 1),
        ("sync errors", 2),
        ("sync errors, bare restart", 2),
        ("slow disk", 1),
        ("clock jump", 3),
        ("pause", 4),
        ("client pause", 4),
        ("client crash", 4),
        ("client clock jump", 1),
    ),
    least_traffic=10,
    most_traffic=50,
    least_faults=2,
    most_faults=6,
    most_duration_ms=4_500,
)
"""Pauses and cuts are longer than a session now and then."""

GROUP_FAULTS = FaultTable(
    (
        ("kill", 4),
        ("kill in a write", 6),
        ("lose", 3),
        ("lose in a write", 5),
        ("stop", 2),
        ("reset", 8),
        ("cut", 3),
        ("disk full", 2),
        ("short writes", 1),
        ("write errors", 1),
        ("sync errors", 1),
        ("sync errors, bare restart", 1),
        ("slow disk", 1),
        ("clock jump", 2),
        ("pause", 3),
        ("client pause", 6),
        ("client crash", 6),
        ("client clock jump", 1),
        ("client double", 3),
    ),
    least_traffic=5,
    most_traffic=30,
    least_faults=2,
    most_faults=5,
    most_duration_ms=4_500,
)
"""Pauses and cuts are longer than a member's session now and then."""
