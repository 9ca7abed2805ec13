"""What the classic protocol of groups speaks of: members, what they ask and what they are told. Values, no decisions."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from fastlog.errors import NONE

UNKNOWN_MEMBER_ID: Final = ""
NO_GENERATION: Final = -1


class Protocol(NamedTuple):
    """A way to share partitions that a member speaks, with what it tells the others about itself (opaque to the broker)."""

    name: str
    metadata: bytes


class JoinRequest(NamedTuple):
    """What a member says when it joins. Times are milliseconds."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    protocol_type: str
    protocols: tuple[Protocol, ...]
    session_timeout_ms: int
    rebalance_timeout_ms: int
    requires_known_member_id: bool = True
    """Whether a member without an id is first given one and has to ask again (KIP-394)."""
    skips_assignment: bool = True
    """Whether a leader that comes back may be told not to assign anything (KIP-814)."""


class JoinedMember(NamedTuple):
    """One member as the leader is told of it."""

    member_id: str
    instance_id: str | None
    metadata: bytes


class JoinAnswer(NamedTuple):
    """The answer to a join."""

    member_id: str
    error: int = NONE
    generation: int = NO_GENERATION
    protocol_type: str | None = None
    protocol_name: str | None = None
    leader_id: str = ""
    skip_assignment: bool = False
    members: tuple[JoinedMember, ...] = ()


class SyncAnswer(NamedTuple):
    """The answer to a sync: what the member is to own, in the protocol's own bytes."""

    error: int = NONE
    protocol_type: str | None = None
    protocol_name: str | None = None
    assignment: bytes = b""


class MemberSnapshot(NamedTuple):
    """One member as it is stored."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    metadata: bytes
    assignment: bytes


class GroupSnapshot(NamedTuple):
    """A group as it is stored: whole generations, never a rebalance under way."""

    protocol_type: str
    generation: int
    protocol_name: str | None
    leader_id: str | None
    members: tuple[MemberSnapshot, ...]


class Member:
    """A member of a group.

    `awaiting_join` and `awaiting_sync` are the tokens of requests that wait for their answers. `session_deadline_ms` is when it
    is taken for dead; None while an answer is owed to it, as it cannot send heartbeats meanwhile.
    """

    __slots__ = (
        "assignment",
        "awaiting_join",
        "awaiting_sync",
        "client_host",
        "client_id",
        "instance_id",
        "is_new",
        "member_id",
        "protocols",
        "rebalance_timeout_ms",
        "session_deadline_ms",
        "session_timeout_ms",
    )

    def __init__(self, member_id: str, request: JoinRequest, assignment: bytes = b"") -> None:
        self.member_id = member_id
        self.instance_id = request.instance_id
        self.client_id = request.client_id
        self.client_host = request.client_host
        self.protocols = request.protocols
        self.session_timeout_ms = request.session_timeout_ms
        self.rebalance_timeout_ms = request.rebalance_timeout_ms
        self.assignment = assignment
        self.awaiting_join: Any = None
        self.awaiting_sync: Any = None
        self.is_new = False
        self.session_deadline_ms: int | None = None

    def metadata_for(self, protocol: str | None) -> bytes:
        """Return what the member says of itself in a protocol; nothing in one that it does not speak."""
        return next((one.metadata for one in self.protocols if one.name == protocol), b"")
