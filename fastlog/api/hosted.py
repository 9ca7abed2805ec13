"""From what a request calls a partition to the partition, or to the error code that says why there is none here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastlog.errors import NotLeaderOrFollower, UnknownTopicId, UnknownTopicOrPartition

if TYPE_CHECKING:
    from fastlog.metadata.view import ClusterView


def why_not_hosted(view: ClusterView, topic: str | bytes, index: int) -> int:
    """Return the error code for a partition that isn't hosted here, of a topic given by its name or its id (KIP-516).

    A partition that the cluster has elsewhere is NOT_LEADER_OR_FOLLOWER: the client's metadata are old.
    """
    image = view.image
    if isinstance(topic, bytes):
        name = image.topic_names.get(topic)
        if name is None:
            return UnknownTopicId.code
        topic = name
    if image.partition(topic, index) is not None:
        return NotLeaderOrFollower.code
    return UnknownTopicOrPartition.code
