"""From offsets and groups to the records of `__consumer_offsets`, and back. Pure; the formats are in `schemas`.

What cannot be read is no reason to stop: records of other protocols and of newer versions are left alone, and each that is
damaged is reported by CorruptRecord to whoever reads the log.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from fastlog.errors import CorruptRecord, DecodeError
from fastlog.groups.member import GroupSnapshot, MemberSnapshot
from fastlog.groups.offsets import NO_EXPIRY, CommittedOffset
from fastlog.groups.schemas import GroupMetadataKey, GroupMetadataValue, OffsetCommitKey, OffsetCommitValue

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from fastlog.wire.schema import Message

OFFSET_KEY_VERSIONS: Final = (0, 1)
OFFSET_KEY_VERSION: Final = 1
GROUP_KEY_VERSION: Final = 2
OFFSET_VALUE_VERSION: Final = 3
EXPIRING_OFFSET_VALUE_VERSION: Final = 1
GROUP_VALUE_VERSION: Final = 3

_VERSION: Final = struct.Struct(">h")

KeyAndValue = tuple[bytes, bytes | None]
"""One record: a value of None takes back what the key stood for."""


class OffsetRecord(NamedTuple):
    """An offset was committed, or taken back (None)."""

    group_id: str
    topic: str
    partition: int
    offset: CommittedOffset | None


class GroupRecord(NamedTuple):
    """A group stood so, or was deleted (None). `state_timestamp_ms` is wall time, -1 where old records don't tell it."""

    group_id: str
    snapshot: GroupSnapshot | None
    state_timestamp_ms: int = -1


def offset_record(group_id: str, topic: str, partition: int, offset: CommittedOffset | None) -> KeyAndValue:
    """Return the record of a commit; None takes the offset back."""
    key = _encode(OffsetCommitKey(group=group_id, topic=topic, partition=partition), OFFSET_KEY_VERSION)
    if offset is None:
        return key, None
    version = OFFSET_VALUE_VERSION if offset.expire_timestamp_ms == NO_EXPIRY else EXPIRING_OFFSET_VALUE_VERSION
    value = OffsetCommitValue(
        offset=offset.offset,
        leader_epoch=offset.leader_epoch,
        metadata=offset.metadata,
        commit_timestamp=offset.commit_timestamp_ms,
        expire_timestamp=offset.expire_timestamp_ms,
    )
    return key, _encode(value, version)


def group_record(group_id: str, snapshot: GroupSnapshot | None, state_timestamp_ms: int = -1) -> KeyAndValue:
    """Return the record of a group; None takes the group back."""
    key = _encode(GroupMetadataKey(group=group_id), GROUP_KEY_VERSION)
    if snapshot is None:
        return key, None
    value = GroupMetadataValue(
        protocol_type=snapshot.protocol_type,
        generation=snapshot.generation,
        protocol=snapshot.protocol_name,
        leader=snapshot.leader_id,
        current_state_timestamp=state_timestamp_ms,
        members=[
            GroupMetadataValue.MemberMetadata(
                member_id=one.member_id,
                group_instance_id=one.instance_id,
                client_id=one.client_id,
                client_host=one.client_host,
                rebalance_timeout=one.rebalance_timeout_ms,
                session_timeout=one.session_timeout_ms,
                subscription=one.metadata,
                assignment=one.assignment,
            )
            for one in snapshot.members
        ],
    )
    return key, _encode(value, GROUP_VALUE_VERSION)


def read_record(key: Buffer | None, value: Buffer | None) -> OffsetRecord | GroupRecord | None:
    """Return what a record says; None for one that belongs to no group of the classic protocol. CorruptRecord if damaged."""
    if key is None:
        raise CorruptRecord("a record without a key")
    try:
        version = _version(key)
        if version in OFFSET_KEY_VERSIONS:
            whose = OffsetCommitKey.decode(key, version, _VERSION.size)
            return OffsetRecord(whose.group, whose.topic, whose.partition, None if value is None else _read_offset(value))
        if version == GROUP_KEY_VERSION:
            group_id = GroupMetadataKey.decode(key, version, _VERSION.size).group
            return GroupRecord(group_id, None) if value is None else _read_group(group_id, value)
    except (DecodeError, struct.error) as error:
        raise CorruptRecord(str(error)) from None
    return None


def _version(data: Buffer) -> int:
    version: int = _VERSION.unpack_from(data)[0]
    return version


def _read_offset(value: Buffer) -> CommittedOffset:
    version = _version(value)
    if not OffsetCommitValue.MIN_VERSION <= version <= OffsetCommitValue.MAX_VERSION:
        raise CorruptRecord(f"an offset in version {version}")
    read = OffsetCommitValue.decode(value, version, _VERSION.size)
    return CommittedOffset(read.offset, read.leader_epoch, read.metadata, read.commit_timestamp, read.expire_timestamp)


def _read_group(group_id: str, value: Buffer) -> GroupRecord:
    version = _version(value)
    if not GroupMetadataValue.MIN_VERSION <= version <= GroupMetadataValue.MAX_VERSION:
        raise CorruptRecord(f"a group in version {version}")
    read = GroupMetadataValue.decode(value, version, _VERSION.size)
    members: Sequence[MemberSnapshot] = [
        MemberSnapshot(
            one.member_id,
            one.group_instance_id,
            one.client_id,
            one.client_host,
            one.rebalance_timeout,
            one.session_timeout,
            bytes(one.subscription),
            bytes(one.assignment),
        )
        for one in read.members
    ]
    snapshot = GroupSnapshot(read.protocol_type, read.generation, read.protocol, read.leader, tuple(members))
    return GroupRecord(group_id, snapshot, read.current_state_timestamp)


def _encode(message: Message, version: int) -> bytes:
    return _VERSION.pack(version) + message.encode(version)
