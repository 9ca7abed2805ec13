"""Who leads a partition, as a client of one listener may know it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastlog.errors import NONE, LeaderNotAvailable, ListenerNotFound
from fastlog.metadata.image import NO_LEADER

if TYPE_CHECKING:
    from fastlog.metadata.image import Image, Partition


def leader_seen(image: Image, partition: Partition, listener: str) -> tuple[int, int]:
    """Return (error code, leader): LEADER_NOT_AVAILABLE when it is dead, LISTENER_NOT_FOUND when it isn't reached that way."""
    leader = image.brokers.get(partition.leader)
    if leader is None:
        return LeaderNotAvailable.code, NO_LEADER
    if leader.endpoint(listener) is None:
        return ListenerNotFound.code, NO_LEADER
    return NONE, partition.leader
