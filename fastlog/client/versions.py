"""Which versions of each API the client speaks. The rest of the client is written for these and no others.

Produce and Fetch name a topic up to version 12 and give its id from 13 on; requests are filled with both, and the encoder takes
what the version has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastlog.errors import UnsupportedVersion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastlog.wire.schema import Message

SPOKEN: Final[Mapping[int, tuple[int, int]]] = {
    0: (3, 13),  # Produce
    1: (4, 17),  # Fetch
    2: (1, 8),  # ListOffsets
    3: (1, 12),  # Metadata
    8: (2, 9),  # OffsetCommit
    9: (8, 9),  # OffsetFetch: several groups at once
    10: (4, 5),  # FindCoordinator: several keys at once
    11: (5, 9),  # JoinGroup
    12: (3, 4),  # Heartbeat
    13: (3, 5),  # LeaveGroup: several members at once
    14: (3, 5),  # SyncGroup
    15: (5, 6),  # DescribeGroups
    16: (4, 5),  # ListGroups: with states
    19: (2, 7),  # CreateTopics
    20: (1, 5),  # DeleteTopics: a list of names; 6 has structures
    22: (0, 4),  # InitProducerId
    32: (1, 4),  # DescribeConfigs
    37: (0, 3),  # CreatePartitions
    42: (1, 2),  # DeleteGroups
    44: (0, 1),  # IncrementalAlterConfigs
    60: (0, 1),  # DescribeCluster
}


def highest_common_version(request: type[Message], broker: Mapping[int, tuple[int, int]]) -> int:
    """Return the highest version that both speak; UnsupportedVersion says what each has."""
    least, most = SPOKEN[request.API_KEY]
    name = request.__name__.removesuffix("Request")
    if request.API_KEY not in broker:
        raise UnsupportedVersion(f"the broker does not serve {name}")
    low, high = broker[request.API_KEY]
    if max(least, low) > min(most, high):
        raise UnsupportedVersion(f"the broker has {name} {low} to {high}, fastlog's client {least} to {most}")
    return min(most, high)
