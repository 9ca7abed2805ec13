"""The topic `__consumer_offsets`: which of its partitions a group belongs to, and how it is made when it is first needed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, NamedTuple

from fastlog.errors import CoordinatorNotAvailable, TopicAlreadyExists
from fastlog.metadata.topic_plan import TopicWish

if TYPE_CHECKING:
    from fastlog.env.reactor import Flow, Pending, Reactor
    from fastlog.metadata.driver import ControllerDriver
    from fastlog.metadata.image import Topic
    from fastlog.metadata.topic_plan import TopicPlanner
    from fastlog.metadata.view import ClusterView

OFFSETS_TOPIC: Final = "__consumer_offsets"
_UTF_16: Final = f"utf-16-{sys.byteorder[0]}e"


def java_hash(text: str) -> int:
    """Return Java's `String.hashCode` of a text, as a signed int of 32 bits."""
    value = 0
    for unit in memoryview(text.encode(_UTF_16, "surrogatepass")).cast("H"):
        value = (31 * value + unit) & 0xFFFF_FFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def partition_of(group_id: str, partition_count: int) -> int:
    """Return the partition that keeps a group."""
    return (java_hash(group_id) & 0x7FFF_FFFF) % partition_count


class OffsetsTopicOptions(NamedTuple):
    """How the topic is made."""

    partitions: int
    replication_factor: int
    segment_bytes: int


class OffsetsTopic:
    """Makes the topic when it is first needed; everybody who asks meanwhile waits for the same."""

    def __init__(
        self,
        reactor: Reactor,
        view: ClusterView,
        planner: TopicPlanner,
        driver: ControllerDriver,
        options: OffsetsTopicOptions,
    ) -> None:
        self._reactor = reactor
        self._view = view
        self._planner = planner
        self._driver = driver
        self._options = options
        self._being_made: Pending[Topic] | None = None

    def ensure(self) -> Pending[Topic]:
        """Complete with the topic, when it is there. Raises what keeps it from being made."""
        if self._being_made is None:
            self._being_made = self._reactor.spawn(self._ensure())
            self._being_made.then(self._made)
        return self._being_made

    def _made(self, _: Pending[Topic]) -> None:
        self._being_made = None

    def _ensure(self) -> Flow[Topic]:
        image = self._view.image
        found = image.topics.get(OFFSETS_TOPIC)
        if found is None:
            options = self._options
            # Nothing in it may go by its age: a commit stands until another takes its place.
            wish = TopicWish(
                OFFSETS_TOPIC,
                options.partitions,
                options.replication_factor,
                options={"retention.ms": "-1", "segment.bytes": str(options.segment_bytes)},
            )
            try:
                found = yield self._driver.create_topic(self._planner.plan(image, wish))
            except TopicAlreadyExists:
                found = self._view.image.topics.get(OFFSETS_TOPIC)
                if found is None:
                    raise CoordinatorNotAvailable(f"Another broker is making the topic {OFFSETS_TOPIC}.") from None
        return found
