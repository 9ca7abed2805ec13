"""The partitions that this broker hosts, found by topic name or by topic id. Owns nothing else, decides nothing."""

from __future__ import annotations

from collections.abc import Iterator

from fastlog.replication.partition import Partition


class PartitionSet:
    """Partitions in the order in which they were added."""

    __slots__ = ("_name_by_id", "by_id", "by_name")

    def __init__(self) -> None:
        self.by_name: dict[tuple[str, int], Partition] = {}
        """(topic, index) -> partition; for reading alone, as `by_id` with the topic's id."""
        self.by_id: dict[tuple[bytes, int], Partition] = {}
        self._name_by_id: dict[bytes, str] = {}

    def add(self, partition: Partition) -> None:
        """Host a partition; ValueError when it is there already, or the topic's name or id is that of another."""
        key = (partition.topic, partition.index)
        if key in self.by_name:
            raise ValueError(f"{partition!r} is hosted already")
        if self._name_by_id.setdefault(partition.topic_id, partition.topic) != partition.topic:
            raise ValueError(f"topic {partition.topic} has the id of {self._name_by_id[partition.topic_id]}")
        self.by_name[key] = partition
        self.by_id[partition.topic_id, partition.index] = partition

    def remove(self, topic: str, index: int) -> Partition | None:
        """Let a partition go and return it; its watchers learn of it. None when it was not here."""
        partition = self.by_name.pop((topic, index), None)
        if partition is not None:
            del self.by_id[partition.topic_id, index]
            if not any(topic_id == partition.topic_id for topic_id, _ in self.by_id):
                del self._name_by_id[partition.topic_id]
            partition.removed()
        return partition

    def get(self, topic: str | bytes, index: int) -> Partition | None:
        """Return the partition of a topic given by its name (str) or id (16 bytes), None when it is not hosted."""
        if isinstance(topic, str):
            return self.by_name.get((topic, index))
        return self.by_id.get((topic, index))

    def topic_name(self, topic_id: bytes) -> str | None:
        """Return the name of a topic of which a partition is hosted."""
        return self._name_by_id.get(topic_id)

    def __iter__(self) -> Iterator[Partition]:
        return iter(list(self.by_name.values()))

    def __len__(self) -> int:
        return len(self.by_name)
