"""The cluster as one immutable value: brokers, topics by name and by id, partitions with leader, ISR and epochs. Pure.

A change makes a new image that shares what did not change. Whoever holds an image may read it for as long as it likes;
`generation` grows with each, so that what was computed from one can be kept until the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

NO_LEADER: Final = -1
NO_CONTROLLER: Final = -1
MAX_TOPIC_NAME_LENGTH: Final = 249
_LEGAL_NAME: Final = re.compile(r"[a-zA-Z0-9._-]+")
INTERNAL_TOPICS: Final = ("__consumer_offsets", "__transaction_state", "__share_group_state")
"""Topics that brokers keep for themselves; clients may not write to them."""
METADATA_TOPIC: Final = "__cluster_metadata"
"""Kafka's own metadata log: nobody may have a topic of that name."""


_NOTHING: Final[Mapping[Any, Any]] = MappingProxyType({})


class Endpoint(NamedTuple):
    """Where one listener of a broker is reached."""

    listener: str
    host: str
    port: int
    protocol: str = "PLAINTEXT"


class Broker(NamedTuple):
    """A live broker. Its `epoch` is the zxid of its registration, and so tells its incarnations apart."""

    id: int
    epoch: int
    endpoints: tuple[Endpoint, ...]
    rack: str | None = None

    def endpoint(self, listener: str) -> Endpoint | None:
        """Return where the listener of that name is reached, None when the broker has none."""
        return next((endpoint for endpoint in self.endpoints if endpoint.listener == listener), None)


class Partition(NamedTuple):
    """One partition: who has copies (the first is preferred), who leads, who is in sync.

    `znode_version` is the version of its state's znode, -1 while there is none; `written_zxid` what transaction wrote it last.
    """

    replicas: tuple[int, ...]
    leader: int = NO_LEADER
    leader_epoch: int = -1
    isr: tuple[int, ...] = ()
    controller_epoch: int = -1
    znode_version: int = -1
    written_zxid: int = -1

    @property
    def exists(self) -> bool:
        """Whether a controller has brought it online at least once."""
        return self.znode_version >= 0


class Topic(NamedTuple):
    """A topic: its partitions are numbered from 0; `config` holds its own options as text."""

    name: str
    id: bytes
    partitions: tuple[Partition, ...]
    config: Mapping[str, str] = _NOTHING

    @property
    def is_internal(self) -> bool:
        return self.name in INTERNAL_TOPICS


class Image(NamedTuple):
    """The whole cluster at one moment."""

    cluster_id: str = ""
    controller_id: int = NO_CONTROLLER
    controller_epoch: int = 0
    brokers: Mapping[int, Broker] = _NOTHING
    topics: Mapping[str, Topic] = _NOTHING
    topic_names: Mapping[bytes, str] = _NOTHING
    generation: int = 0

    def topic_by_id(self, topic_id: bytes) -> Topic | None:
        """Return the topic with this id."""
        name = self.topic_names.get(topic_id)
        return None if name is None else self.topics[name]

    def partition(self, topic: str, index: int) -> Partition | None:
        """Return one partition, None when there is none."""
        found = self.topics.get(topic)
        return found.partitions[index] if found is not None and 0 <= index < len(found.partitions) else None

    def with_cluster_id(self, cluster_id: str) -> Image:
        return self._replace(cluster_id=cluster_id, generation=self.generation + 1)

    def with_controller(self, controller_id: int, controller_epoch: int) -> Image:
        return self._replace(controller_id=controller_id, controller_epoch=controller_epoch, generation=self.generation + 1)

    def with_brokers(self, brokers: Iterable[Broker]) -> Image:
        """Return the image with exactly these brokers, by ascending id."""
        by_id = {broker.id: broker for broker in sorted(brokers, key=lambda broker: broker.id)}
        return self._replace(brokers=by_id, generation=self.generation + 1)

    def with_topics(self, topics: Iterable[Topic]) -> Image:
        """Return the image with these topics put in the place of those of the same names, or added."""
        by_name, names = dict(self.topics), dict(self.topic_names)
        for topic in topics:
            before = by_name.get(topic.name)
            if before is not None and before.id != topic.id:
                del names[before.id]
            by_name[topic.name] = topic
            names[topic.id] = topic.name
        return self._replace(topics=by_name, topic_names=names, generation=self.generation + 1)

    def without_topics(self, topics: Iterable[str]) -> Image:
        """Return the image without these topics."""
        by_name, names = dict(self.topics), dict(self.topic_names)
        for name in topics:
            gone = by_name.pop(name, None)
            if gone is not None:
                del names[gone.id]
        return self._replace(topics=by_name, topic_names=names, generation=self.generation + 1)


def why_illegal_name(name: str) -> str | None:
    """Say why a topic cannot be named so, None when it can."""
    if not name:
        return "the topic's name is empty"
    if name in (".", ".."):
        return f"a topic cannot be named {name!r}"
    if len(name) > MAX_TOPIC_NAME_LENGTH:
        return f"the topic's name has {len(name)} characters, at most {MAX_TOPIC_NAME_LENGTH} are allowed"
    if not _LEGAL_NAME.fullmatch(name):
        return f"the topic's name {name!r} has other characters than ASCII letters, digits, '.', '_' and '-'"
    return None


def colliding_name(name: str, existing: Iterable[str]) -> str | None:
    """Return the first existing topic whose metrics would have the same name (there '.' and '_' are one), None without one."""
    if "." not in name and "_" not in name:
        return None
    folded = name.replace(".", "_")
    return next((other for other in existing if other != name and other.replace(".", "_") == folded), None)
