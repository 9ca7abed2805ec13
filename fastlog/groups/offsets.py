"""The offsets of one group: what was committed, and what of it has outlived its use (KIP-211). Pure.

Offsets of a group with members stay, but for topics that none of them subscribes to. Those of a group that stands empty go
`retention_ms` after it became empty, those of consumers that assign partitions to themselves so long after their commit. A commit
may bring a time of its own (OffsetCommit versions 2 to 4), which then counts alone.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final, NamedTuple

NO_EXPIRY: Final = -1

TopicPartition = tuple[str, int]


class CommittedOffset(NamedTuple):
    """What a group committed for one partition. Times are wall time."""

    offset: int
    leader_epoch: int
    metadata: str
    commit_timestamp_ms: int
    expire_timestamp_ms: int = NO_EXPIRY


class Offsets:
    """The offsets of one group, by topic and partition."""

    __slots__ = ("by_topic",)

    def __init__(self) -> None:
        self.by_topic: dict[str, dict[int, CommittedOffset]] = {}
        """For reading alone."""

    def __bool__(self) -> bool:
        return bool(self.by_topic)

    def get(self, topic: str, partition: int) -> CommittedOffset | None:
        """Return what was committed for a partition."""
        return self.by_topic.get(topic, {}).get(partition)

    def put(self, topic: str, partition: int, offset: CommittedOffset) -> None:
        """Take over a commit."""
        self.by_topic.setdefault(topic, {})[partition] = offset

    def drop(self, topic: str, partition: int) -> None:
        """Forget a partition; one that is not there is fine."""
        of_topic = self.by_topic.get(topic)
        if of_topic is not None and of_topic.pop(partition, None) is not None and not of_topic:
            del self.by_topic[topic]

    def partitions(self) -> list[TopicPartition]:
        """Return all partitions that something was committed for."""
        return [(topic, partition) for topic, of_topic in self.by_topic.items() for partition in of_topic]

    def expired(
        self,
        now_ms: int,
        retention_ms: int,
        *,
        empty_since_ms: int | None = None,
        subscribed: Container[str] = (),
    ) -> list[TopicPartition]:
        """Return what is past its time; counted from `empty_since_ms` where that is given, else from each commit.

        Topics in `subscribed` are in use and stay.
        """
        found: list[TopicPartition] = []
        for topic, of_topic in self.by_topic.items():
            if topic in subscribed:
                continue
            for partition, one in of_topic.items():
                since_ms = one.commit_timestamp_ms if empty_since_ms is None else max(empty_since_ms, one.commit_timestamp_ms)
                is_over = now_ms >= since_ms + retention_ms
                if one.expire_timestamp_ms != NO_EXPIRY:
                    is_over = now_ms >= one.expire_timestamp_ms
                if is_over:
                    found.append((topic, partition))
        return found
