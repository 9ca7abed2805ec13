"""A member of a group: it joins, shares topics with the others, reads what it owns, commits, and leaves.

A flow on the reactor: join, sync, read from what is committed, heartbeats; when the others rebalance it commits what was handed
out and joins again. Only the end of what a caller has said to be `done` with is committed, so nothing is lost when it ends
halfway.

A static member (KIP-345) has an instance id: it leaves without a word, and whoever comes under its id before its session has
ended takes its place and what it owned, without a rebalance. Of two under one id the older is fenced (FencedInstanceId).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from fastlog.client.assignments import (
    TopicPartition,
    assign_ranges,
    decode_assignment,
    decode_subscription,
    encode_assignment,
    encode_subscription,
)
from fastlog.client.consumer import EARLIEST, LATEST
from fastlog.errors import (
    BrokerNotAvailable,
    CoordinatorLoadInProgress,
    CoordinatorNotAvailable,
    FencedInstanceId,
    GroupIdNotFound,
    IllegalGeneration,
    KafkaError,
    MemberIdRequired,
    NetworkException,
    NotCoordinator,
    RebalanceInProgress,
    RequestTimedOut,
    UnknownMemberId,
    error_for_code,
)
from fastlog.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from fastlog.wire.messages.join_group import JoinGroupRequest, JoinGroupResponse
from fastlog.wire.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse
from fastlog.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse

if TYPE_CHECKING:
    from fastlog.client.cluster import Cluster
    from fastlog.client.groups import Groups
    from fastlog.env.reactor import Flow, Pending

PROTOCOL_TYPE: Final = "consumer"
RANGE: Final = "range"
HEARTBEATS_PER_SESSION: Final = 10
METADATA_AGE_MS: Final = 5_000
"""How often a leader looks whether the topics have got more partitions, which nobody else would share out."""
EXTRA_TIMEOUT_MS: Final = 5_000
NANOSECONDS_PER_MILLISECOND: Final = 1_000_000
_OUT: Final = (UnknownMemberId, GroupIdNotFound, IllegalGeneration, RebalanceInProgress)
"""What says that the generation is over, and the member has to join again."""

_AWAY: Final = (
    *(NetworkException, RequestTimedOut, BrokerNotAvailable),
    *(CoordinatorNotAvailable, CoordinatorLoadInProgress, NotCoordinator),
)
"""What says that there is no coordinator to talk to just now."""


class Reader(Protocol):
    """What a member assigns its partitions to: a `Consumer`, or whatever stands in its place."""

    def assign(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Read these partitions from these offsets on, and no others."""

    def offsets(self, timestamps_ms: Mapping[TopicPartition, int]) -> Pending[dict[TopicPartition, int]]:
        """Find where to begin: EARLIEST or LATEST."""


class Member:
    """One member, reading through a consumer that it assigns."""

    def __init__(
        self,
        cluster: Cluster,
        groups: Groups,
        consumer: Reader,
        group_id: str,
        topics: Sequence[str],
        *,
        session_timeout_ms: int = 10_000,
        rebalance_timeout_ms: int = 60_000,
        begin: int = EARLIEST,
        instance_id: str | None = None,
    ) -> None:
        """`begin` is where to read a partition for which nothing is committed that is still there: EARLIEST or LATEST. With an
        `instance_id` the member is a static one.
        """
        self.member_id = ""
        self.generation = -1
        self.owned: tuple[TopicPartition, ...] = ()
        self.is_reading = False
        """Whether it has been told what it owns, be it nothing, in the group's present generation."""
        self._cluster = cluster
        self._groups = groups
        self._consumer = consumer
        self._group_id = group_id
        self._topics = list(topics)
        self._session_timeout_ms = session_timeout_ms
        self._rebalance_timeout_ms = rebalance_timeout_ms
        self._begin = begin
        self._instance_id = instance_id
        self._done: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._is_leaving = False
        self._shared: dict[str, int] = {}
        """Topic -> partitions, as this member has shared them out as the leader; nothing where another one leads."""
        self._next_look_ns = 0

    def run(self) -> Pending[None]:
        """Take part until `leave`; fails with what cannot be tried again."""
        return self._cluster.reactor.spawn(self._run())

    def done(self, topic: str, partition: int, next_offset: int) -> None:
        """All below an offset has been dealt with: it is committed with the next heartbeat, or before a rebalance."""
        if (topic, partition) in self.owned:
            self._done[topic, partition] = next_offset

    def leave(self) -> Pending[None]:
        """Commit what is done, and leave the group."""
        self._is_leaving = True
        return self._cluster.reactor.spawn(self._leave())

    def _run(self) -> Flow[None]:
        while not self._is_leaving:
            try:
                yield from self._join()
                while not self._is_leaving:
                    yield self._cluster.sleep(self._session_timeout_ms / HEARTBEATS_PER_SESSION)
                    if not self._is_leaving:
                        yield from self._stay()
            except _AWAY:
                yield self._cluster.sleep(self._cluster.retry_backoff_ms)
            except (UnknownMemberId, GroupIdNotFound):
                self.member_id = ""
            except RebalanceInProgress:
                yield from self._commit_before_rebalance()
            except IllegalGeneration:
                pass
            self._forget_assignment()

    def _stay(self) -> Flow[None]:
        """Commit and be heard of. While there is no coordinator it reads on; the next one says whether it still counts."""
        try:
            yield from self._commit()
            yield from self._heartbeat()
            if self._shared and (yield from self._has_outgrown()):
                raise RebalanceInProgress  # a leader that joins again begins one
        except _AWAY:
            pass

    def _has_outgrown(self) -> Flow[bool]:
        """Tell whether the topics that this member shared out as the leader have other partitions by now; looks now and then."""
        if self._now_ns() < self._next_look_ns:
            return False
        self._look_later()
        yield self._cluster.refresh(list(self._shared))
        known = self._cluster.topics
        return any(name in known and len(known[name].leaders) != count for name, count in self._shared.items())

    def _look_later(self) -> None:
        self._next_look_ns = self._now_ns() + METADATA_AGE_MS * NANOSECONDS_PER_MILLISECOND

    def _now_ns(self) -> int:
        return self._cluster.reactor.clock.monotonic_ns()

    def _forget_assignment(self) -> None:
        if not self._is_leaving:
            self.is_reading = False
            self.owned = ()
            self._done.clear()
            self._consumer.assign({})

    def _join(self) -> Flow[None]:
        joined: JoinGroupResponse = yield self._ask_join()
        if joined.error_code == MemberIdRequired.code:
            self.member_id = joined.member_id
            joined = yield self._ask_join()
        if joined.error_code:
            raise error_for_code(joined.error_code)
        self.member_id, self.generation = joined.member_id, joined.generation_id
        assignments: dict[str, list[TopicPartition]] = {}
        self._shared = {}
        if joined.leader == joined.member_id:
            wanted = {one.member_id: decode_subscription(bytes(one.metadata)) for one in joined.members}
            for topic in dict.fromkeys(topic for topics in wanted.values() for topic in topics):
                self._shared[topic] = len((yield self._cluster.topic(topic)).leaders)
            self._look_later()
            assignments = assign_ranges(wanted, self._shared)
        owned = decode_assignment((yield self._ask_sync(assignments)))
        yield from self._begin_reading(owned)

    def _ask_join(self) -> Pending[JoinGroupResponse]:
        def request() -> JoinGroupRequest:
            return JoinGroupRequest(
                group_id=self._group_id,
                member_id=self.member_id,
                group_instance_id=self._instance_id,
                session_timeout_ms=self._session_timeout_ms,
                rebalance_timeout_ms=self._rebalance_timeout_ms,
                protocol_type=PROTOCOL_TYPE,
                protocols=[JoinGroupRequest.JoinGroupRequestProtocol(name=RANGE, metadata=encode_subscription(self._topics))],
            )

        def result(answer: JoinGroupResponse) -> JoinGroupResponse:
            error = error_for_code(answer.error_code) if answer.error_code else None
            if error is not None and error.retriable:
                raise error
            return answer

        timeout_ms = self._rebalance_timeout_ms + EXTRA_TIMEOUT_MS
        return self._groups.ask(self._group_id, request, JoinGroupResponse, result, timeout_ms=timeout_ms)

    def _ask_sync(self, assignments: Mapping[str, Sequence[TopicPartition]]) -> Pending[bytes]:
        def request() -> SyncGroupRequest:
            return SyncGroupRequest(
                group_id=self._group_id,
                generation_id=self.generation,
                member_id=self.member_id,
                group_instance_id=self._instance_id,
                protocol_type=PROTOCOL_TYPE,
                protocol_name=RANGE,
                assignments=[
                    SyncGroupRequest.SyncGroupRequestAssignment(member_id=one, assignment=encode_assignment(owned))
                    for one, owned in assignments.items()
                ],
            )

        def result(answer: SyncGroupResponse) -> bytes:
            if answer.error_code:
                raise error_for_code(answer.error_code)
            return bytes(answer.assignment)

        timeout_ms = self._rebalance_timeout_ms + EXTRA_TIMEOUT_MS
        return self._groups.ask(self._group_id, request, SyncGroupResponse, result, timeout_ms=timeout_ms)

    def _begin_reading(self, owned: Sequence[TopicPartition]) -> Flow[None]:
        committed: dict[TopicPartition, int] = yield self._groups.offsets(self._group_id)
        for topic in dict.fromkeys(topic for topic, _ in owned):
            yield self._cluster.topic(topic)
        first: dict[TopicPartition, int] = yield self._consumer.offsets(dict.fromkeys(owned, EARLIEST))
        end: dict[TopicPartition, int] = yield self._consumer.offsets(dict.fromkeys(owned, LATEST))
        # What was committed may have been deleted since, by its age for example.
        known = {where: committed[where] for where in owned if first[where] <= committed.get(where, -1) <= end[where]}
        begins = first if self._begin == EARLIEST else end
        self.owned = tuple(owned)
        self._committed = dict(known)
        self._done = {where: begins[where] for where in owned if where not in known}
        self._consumer.assign({where: known.get(where, begins[where]) for where in owned})
        self.is_reading = True

    def _heartbeat(self) -> Flow[None]:
        def request() -> HeartbeatRequest:
            return HeartbeatRequest(
                group_id=self._group_id,
                member_id=self.member_id,
                group_instance_id=self._instance_id,
                generation_id=self.generation,
            )

        def result(answer: HeartbeatResponse) -> None:
            if answer.error_code:
                raise error_for_code(answer.error_code)

        yield self._groups.ask(self._group_id, request, HeartbeatResponse, result)

    def _commit(self) -> Flow[None]:
        changed = {where: offset for where, offset in self._done.items() if self._committed.get(where) != offset}
        if changed:
            yield self._groups.commit(
                self._group_id, changed, member_id=self.member_id, generation=self.generation, instance_id=self._instance_id
            )
            self._committed.update(changed)

    def _commit_before_rebalance(self) -> Flow[None]:
        """Commit in the generation that ends; what fails is read again by whoever owns it next."""
        try:
            yield from self._commit()
        except (*_OUT, *_AWAY, FencedInstanceId):
            pass

    def _leave(self) -> Flow[None]:
        identity = LeaveGroupRequest.MemberIdentity(member_id=self.member_id)
        if not identity.member_id:
            return
        with suppress(KafkaError):  # it is read again by whoever owns it next
            yield from self._commit()
        if self._instance_id is not None:
            return  # its place is kept for as long as its session

        def request() -> LeaveGroupRequest:
            return LeaveGroupRequest(group_id=self._group_id, members=[identity])

        with suppress(KafkaError):  # its session ends without it
            yield self._groups.ask(self._group_id, request, LeaveGroupResponse, lambda answer: None, tries=1)
