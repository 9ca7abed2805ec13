"""What a broker that is not the controller does with the metadata: it follows what the controller writes, by watches.

It reads brokers, topics and the states of partitions, makes its own replicas what the states say, and publishes the image. A
topic is read again as a whole when anything of it was written; however many events there are before the line comes to it, one
look is enough. Rules:

* What is read here is written by the controller alone; nothing is decided.
* A state that names this broker as the leader counts only when it was written after this incarnation of the broker
  registered: an older one was meant for an earlier incarnation, and the controller is about to write the next (see
  `controller`).
* Logs of a topic go when its znode has gone, or has another id.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Final, Protocol

from fastlog.coordinator.client import CoordinatorClient, WatchCallback
from fastlog.coordinator.watches import EventType, WatchEvent
from fastlog.env.reactor import Pending
from fastlog.errors import KafkaError
from fastlog.metadata import layout
from fastlog.metadata.controller import Change
from fastlog.metadata.image import Topic
from fastlog.metadata.view import ClusterView

logger = logging.getLogger(__name__)

Flow = Generator[Pending[Any], Any, None]

_UNREGISTERED: Final = -1


class Reader(Protocol):
    """How the metadata is read; the driver reads it the same way for the controller."""

    def read_brokers(self, watch: WatchCallback) -> Flow:
        """Read who is registered and publish it; `watch` is told when somebody comes or goes."""

    def read_topics(
        self, names: Sequence[str], watch: WatchCallback | None = None
    ) -> Generator[Pending[Any], Any, dict[str, Topic]]:
        """Read topics; `watch` is told of every later change to what was read."""

    def tell(self, changes: Sequence[Change]) -> Flow:
        """Make this broker's replicas what `changes` say."""

    def forget(self, topics: Sequence[Topic]) -> Flow:
        """Stop topics on this broker and put their logs out of reach."""


class Follower:
    """Follows the controller for one broker. Its flows are events in the driver's line, `handle` puts one there."""

    def __init__(
        self,
        client: CoordinatorClient,
        view: ClusterView,
        broker_id: int,
        reader: Reader,
        handle: Callable[[Callable[[], Flow]], object],
    ) -> None:
        self._client = client
        self._view = view
        self._broker_id = broker_id
        self._reader = reader
        self._handle = handle
        self._is_following = False
        self._look_is_due = False
        self._touched: dict[str, None] = {}
        """Topics of which something was written; with "" the list of them."""

    def stop(self) -> None:
        """Follow no more: watches that are still left tell nobody."""
        self._is_following = False

    def follow(self) -> Flow:
        """Read everything, and go on with every change from here on."""
        self._is_following = True
        yield from self._reader.read_brokers(self._brokers_moved)
        yield from self._catch_up(None)

    # ---- events ----

    def _brokers_moved(self, event: WatchEvent) -> None:
        if self._is_following:
            self._handle(self._read_brokers)

    def _moved(self, event: WatchEvent) -> None:
        """Something of a topic was written, or a topic came or went."""
        self._touched[event.path.removeprefix(layout.TOPICS).partition("/")[2].partition("/")[0]] = None
        if event.type is EventType.DELETED:
            self._touched[""] = None
        if self._is_following and not self._look_is_due:
            self._look_is_due = True
            self._handle(self._look)

    def _read_brokers(self) -> Flow:
        if self._is_following:
            yield from self._reader.read_brokers(self._brokers_moved)

    def _look(self) -> Flow:
        self._look_is_due = False
        touched, self._touched = self._touched, {}
        if self._is_following:
            yield from self._catch_up(touched)

    # ---- reading and carrying out ----

    def _catch_up(self, touched: Iterable[str] | None) -> Flow:
        """Read the topics that are new, and those of `touched` (None: all) again, and bring this broker to what they say."""
        names, _ = yield self._client.children(layout.TOPICS, self._moved)
        known = self._view.image.topics
        again = known if touched is None else touched
        topics = yield from self._reader.read_topics([name for name in names if name in again or name not in known], self._moved)
        there = set(names)
        gone = [topic for name, topic in known.items() if name not in there or (name in topics and topics[name].id != topic.id)]
        if gone:
            self._view.publish(self._view.image.without_topics(topic.name for topic in gone))
            try:
                yield from self._reader.forget(gone)
            except KafkaError as error:  # the cluster has forgotten them, so nobody asks for what is left of them here
                logger.error("of deleted topics something is left on this broker: %s", error)
        if topics:
            yield from self._reader.tell(list(self._own_changes(topics.values())))
            self._view.publish(self._view.image.with_topics(topics.values()))

    def _own_changes(self, topics: Iterable[Topic]) -> Iterable[Change]:
        own = self._view.image.brokers.get(self._broker_id)
        registered_zxid = _UNREGISTERED if own is None else own.epoch
        for topic in topics:
            for index, partition in enumerate(topic.partitions):
                is_ours = partition.exists and self._broker_id in partition.replicas
                if is_ours and (partition.leader != self._broker_id or partition.written_zxid > registered_zxid):
                    yield Change(topic, index, partition)
