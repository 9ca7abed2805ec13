"""The keys and values of `__consumer_offsets`, in Kafka's own formats: field tables as for messages of the wire.

A key or value is an int16 version and the fields in that version. Of keys the version says what the record is: 0 and 1 an
offset, 2 a group of the classic protocol; more belong to other protocols. What is written is readable by every Kafka since 2.1:
offsets in version 3 (1 with a time of expiry of its own), groups in version 3.
"""

from __future__ import annotations

from fastlog.wire.schema import EMPTY, ZERO_UUID, Field, Message, Struct


class OffsetCommitKey(Message):
    """Whose offset, of which partition."""

    MIN_VERSION = 0
    MAX_VERSION = 1
    __slots__ = ("group", "partition", "topic")
    FIELDS = (
        Field("group", "string", "0+", default=""),
        Field("topic", "string", "0+", default=""),
        Field("partition", "int32", "0+", default=0),
    )

    def __init__(self, *, group: str = "", topic: str = "", partition: int = 0) -> None:
        self.group = group
        self.topic = topic
        self.partition = partition


class OffsetCommitValue(Message):
    """An offset that was committed, versions 0 to 4."""

    MIN_VERSION = 0
    MAX_VERSION = 4
    FLEXIBLE_SINCE = 4
    __slots__ = ("commit_timestamp", "expire_timestamp", "leader_epoch", "metadata", "offset", "topic_id")
    FIELDS = (
        Field("offset", "int64", "0+", default=0),
        Field("leader_epoch", "int32", "3+", default=-1, ignorable=True),
        Field("metadata", "string", "0+", default=""),
        Field("commit_timestamp", "int64", "0+", default=0),
        Field("expire_timestamp", "int64", "1", default=-1, ignorable=True),
        Field("topic_id", "uuid", "4+", tagged="4+", tag=0, default=ZERO_UUID, ignorable=True),
    )

    def __init__(
        self,
        *,
        offset: int = 0,
        leader_epoch: int = -1,
        metadata: str = "",
        commit_timestamp: int = 0,
        expire_timestamp: int = -1,
        topic_id: bytes = ZERO_UUID,
    ) -> None:
        self.offset = offset
        self.leader_epoch = leader_epoch
        self.metadata = metadata
        self.commit_timestamp = commit_timestamp
        self.expire_timestamp = expire_timestamp
        self.topic_id = topic_id


class GroupMetadataKey(Message):
    """Which group."""

    MIN_VERSION = 2
    MAX_VERSION = 2
    __slots__ = ("group",)
    FIELDS = (Field("group", "string", "2+", default=""),)

    def __init__(self, *, group: str = "") -> None:
        self.group = group


class GroupMetadataValue(Message):
    """A generation of a classic group, versions 0 to 4."""

    class MemberMetadata(Struct):
        """One member."""

        __slots__ = (
            "assignment",
            "client_host",
            "client_id",
            "group_instance_id",
            "member_id",
            "rebalance_timeout",
            "session_timeout",
            "subscription",
        )
        FIELDS = (
            Field("member_id", "string", "0+", default=""),
            Field("group_instance_id", "string", "3+", nullable="3+", ignorable=True),
            Field("client_id", "string", "0+", default=""),
            Field("client_host", "string", "0+", default=""),
            Field("rebalance_timeout", "int32", "1+", default=-1, ignorable=True),
            Field("session_timeout", "int32", "0+", default=0),
            Field("subscription", "bytes", "0+", default=b""),
            Field("assignment", "bytes", "0+", default=b""),
        )

        def __init__(
            self,
            *,
            member_id: str = "",
            group_instance_id: str | None = None,
            client_id: str = "",
            client_host: str = "",
            rebalance_timeout: int = -1,
            session_timeout: int = 0,
            subscription: bytes = b"",
            assignment: bytes = b"",
        ) -> None:
            self.member_id = member_id
            self.group_instance_id = group_instance_id
            self.client_id = client_id
            self.client_host = client_host
            self.rebalance_timeout = rebalance_timeout
            self.session_timeout = session_timeout
            self.subscription = subscription
            self.assignment = assignment

    MIN_VERSION = 0
    MAX_VERSION = 4
    FLEXIBLE_SINCE = 4
    __slots__ = ("current_state_timestamp", "generation", "leader", "members", "protocol", "protocol_type")
    FIELDS = (
        Field("protocol_type", "string", "0+", default=""),
        Field("generation", "int32", "0+", default=0),
        Field("protocol", "string", "0+", nullable="0+", default=""),
        Field("leader", "string", "0+", nullable="0+", default=""),
        Field("current_state_timestamp", "int64", "2+", default=-1, ignorable=True),
        Field("members", "[]MemberMetadata", "0+"),
    )

    def __init__(
        self,
        *,
        protocol_type: str = "",
        generation: int = 0,
        protocol: str | None = "",
        leader: str | None = "",
        current_state_timestamp: int = -1,
        members: list[GroupMetadataValue.MemberMetadata] = EMPTY,
    ) -> None:
        self.protocol_type = protocol_type
        self.generation = generation
        self.protocol = protocol
        self.leader = leader
        self.current_state_timestamp = current_state_timestamp
        self.members: list[GroupMetadataValue.MemberMetadata] = [] if members is EMPTY else members
