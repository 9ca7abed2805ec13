"""What members of type `consumer` tell each other through the broker: their topics, and who owns what (KIP-429's formats).

Kafka's range assignment: of each topic, the members that want it, in the order of their ids, get neighbouring partitions, the
first ones one more where it doesn't divide. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final

from fastlog.errors import CorruptMessage, DecodeError
from fastlog.wire.messages.consumer_protocol_assignment import ConsumerProtocolAssignment
from fastlog.wire.messages.consumer_protocol_subscription import ConsumerProtocolSubscription

VERSION: Final = 1
_VERSION: Final = struct.Struct(">h")

TopicPartition = tuple[str, int]


def encode_subscription(topics: Sequence[str]) -> bytes:
    """Return what a member says that wants topics."""
    return _VERSION.pack(VERSION) + ConsumerProtocolSubscription(topics=list(topics)).encode(VERSION)


def decode_subscription(data: bytes) -> list[str]:
    """Return the topics that a member wants; CorruptMessage when it doesn't say."""
    try:
        version = min(_VERSION.unpack_from(data)[0], ConsumerProtocolSubscription.MAX_VERSION)
        return ConsumerProtocolSubscription.decode(data, version, _VERSION.size).topics
    except (DecodeError, struct.error) as error:
        raise CorruptMessage(f"a member's subscription cannot be read: {error}") from None


def encode_assignment(partitions: Sequence[TopicPartition]) -> bytes:
    """Return what a member is told that owns partitions."""
    by_topic: dict[str, list[int]] = {}
    for topic, partition in partitions:
        by_topic.setdefault(topic, []).append(partition)
    assigned = [ConsumerProtocolAssignment.TopicPartition(topic=topic, partitions=indexes) for topic, indexes in by_topic.items()]
    return _VERSION.pack(VERSION) + ConsumerProtocolAssignment(assigned_partitions=assigned).encode(VERSION)


def decode_assignment(data: bytes) -> list[TopicPartition]:
    """Return the partitions that a member owns; none where nothing was said. CorruptMessage when it cannot be read."""
    if not data:
        return []
    try:
        version = min(_VERSION.unpack_from(data)[0], ConsumerProtocolAssignment.MAX_VERSION)
        found = ConsumerProtocolAssignment.decode(data, version, _VERSION.size)
    except (DecodeError, struct.error) as error:
        raise CorruptMessage(f"a member's assignment cannot be read: {error}") from None
    return [(one.topic, partition) for one in found.assigned_partitions for partition in one.partitions]


def assign_ranges(wanted: Mapping[str, Sequence[str]], counts: Mapping[str, int]) -> dict[str, list[TopicPartition]]:
    """Return what each member (id -> topics it wants) owns; `counts` are the topics' partitions."""
    owned: dict[str, list[TopicPartition]] = {member: [] for member in wanted}
    for topic, count in counts.items():
        members = sorted(member for member, topics in wanted.items() if topic in topics)
        first = 0
        for place, member in enumerate(members):
            share = count // len(members) + (place < count % len(members))
            owned[member] += [(topic, partition) for partition in range(first, first + share)]
            first += share
    return owned
