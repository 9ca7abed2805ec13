"""The script's part about groups, right and wrong. Each case has a group of its own, or one that it leaves as it was."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

from fastlog.errors import MemberIdRequired
from fastlog.wire.messages.consumer_protocol_subscription import ConsumerProtocolSubscription
from fastlog.wire.messages.delete_groups import DeleteGroupsRequest
from fastlog.wire.messages.describe_groups import DescribeGroupsRequest
from fastlog.wire.messages.find_coordinator import FindCoordinatorRequest
from fastlog.wire.messages.heartbeat import HeartbeatRequest
from fastlog.wire.messages.join_group import JoinGroupRequest
from fastlog.wire.messages.leave_group import LeaveGroupRequest
from fastlog.wire.messages.list_groups import ListGroupsRequest
from fastlog.wire.messages.offset_commit import OffsetCommitRequest
from fastlog.wire.messages.offset_delete import OffsetDeleteRequest
from fastlog.wire.messages.offset_fetch import OffsetFetchRequest
from fastlog.wire.messages.sync_group import SyncGroupRequest
from recorded_truth.peer import Peer
from recorded_truth.script import NOWHERE, Case, said

SESSION_MS = 1_800_000
"""So long that no member goes while the script runs."""
TOPIC = "read"
COORDINATOR_WITHIN_S = 30
SUBSCRIPTION = struct.pack(">h", 1) + ConsumerProtocolSubscription(topics=[TOPIC]).encode(1)


def join(group: str, member_id: str = "", **fields: Any) -> JoinGroupRequest:
    protocols = fields.pop("protocols", {"range": SUBSCRIPTION})
    fields = {"session_timeout_ms": SESSION_MS, "rebalance_timeout_ms": 10_000, "protocol_type": "consumer", **fields}
    return JoinGroupRequest(
        group_id=group,
        member_id=member_id,
        protocols=[JoinGroupRequest.JoinGroupRequestProtocol(name=name, metadata=data) for name, data in protocols.items()],
        **fields,
    )


def sync(group: str, member_id: str, generation: int = 1, **fields: Any) -> SyncGroupRequest:
    names = {"protocol_type": "consumer", "protocol_name": "range", **fields}
    mine = SyncGroupRequest.SyncGroupRequestAssignment(member_id=member_id, assignment=b"all")
    return SyncGroupRequest(group_id=group, member_id=member_id, generation_id=generation, assignments=[mine], **names)


def await_coordinator(peer: Peer) -> None:
    """Ask until the topic of offsets is there."""
    until = time.monotonic() + COORDINATOR_WITHIN_S
    while peer.ask(FindCoordinatorRequest(key="any"), 3).error_code or peer.ask(ListGroupsRequest(), 4).error_code:
        assert time.monotonic() < until, "no coordinator"
        time.sleep(0.1)


def member_of(group: str) -> Callable[[Peer], None]:
    """Return what makes a group with one member that owns everything, unless it is there."""

    def make(peer: Peer) -> None:
        if group in peer.remembered:
            return
        asked = peer.ask(join(group), 5)
        assert asked.error_code == MemberIdRequired.code
        joined = peer.ask(join(group, asked.member_id), 5)
        assert (joined.error_code, joined.generation_id) == (0, 1)
        assert peer.ask(sync(group, joined.member_id), 3).error_code == 0
        peer.remembered[group] = joined.member_id

    return make


def as_member(what: str, group: str, build: Callable[[str], Any]) -> Case:
    """A case whose message names the group's member."""
    return Case(what, lambda peer: build(peer.remembered.get(group, "somebody")), member_of(group))


def _find_coordinator(key: int, version: int) -> Iterator[Case]:
    if version >= 4:
        yield said("several groups", FindCoordinatorRequest(coordinator_keys=["a", "b", ""]))
        yield said("no keys", FindCoordinatorRequest())
        yield said("an unknown kind", FindCoordinatorRequest(coordinator_keys=["a"], key_type=9))
    else:
        yield said("a group", FindCoordinatorRequest(key="a"))
        if version:
            yield said("an unknown kind", FindCoordinatorRequest(key="a", key_type=9))


def _join_group(key: int, version: int) -> Iterator[Case]:
    group = "truth-stable"
    yield said("new", join(f"joined-{version}"))
    yield as_member("a stranger", group, lambda _: join(group, "stranger"))
    yield said("a stranger to nobody's group", join("nobody's", "stranger"))
    yield said("no group", join(""))
    yield said("a short session", join("short", session_timeout_ms=5_999))
    yield said("a long session", join("long", session_timeout_ms=SESSION_MS + 1))
    yield said("another protocol", join(group, protocols={"other": b""}))
    yield said("another type", join(group, protocol_type="connect"))
    yield said("no protocols", join(f"bare-{version}", protocols={}))
    yield said("no type", join(f"bare-{version}", protocol_type=""))
    if version >= 5:
        yield said("a static member that nobody knows", join(group, "stranger", group_instance_id="nobody"))


def _sync_group(key: int, version: int) -> Iterator[Case]:
    group = "truth-stable"
    yield as_member("again", group, lambda me: sync(group, me))
    yield as_member("a stranger", group, lambda _: sync(group, "stranger"))
    yield as_member("an old generation", group, lambda me: sync(group, me, 0))
    yield as_member("a generation to come", group, lambda me: sync(group, me, 2))
    yield said("nobody's group", sync("nobody's", "stranger"))
    yield said("no group", sync("", "stranger"))
    if version >= 3:
        yield as_member("an unknown instance", group, lambda me: sync(group, me, group_instance_id="nobody"))
    if version >= 5:
        yield as_member("another type", group, lambda me: sync(group, me, protocol_type="connect"))
        yield as_member("another protocol", group, lambda me: sync(group, me, protocol_name="sticky"))
        yield as_member("no protocol", group, lambda me: sync(group, me, protocol_name=None))


def _heartbeat(key: int, version: int) -> Iterator[Case]:
    group = "truth-stable"

    def beat(group: str, member: str, generation: int = 1, instance: str | None = None) -> HeartbeatRequest:
        return HeartbeatRequest(group_id=group, member_id=member, generation_id=generation, group_instance_id=instance)

    yield as_member("good", group, lambda me: beat(group, me))
    yield as_member("a stranger", group, lambda _: beat(group, "stranger"))
    yield as_member("an old generation", group, lambda me: beat(group, me, 0))
    yield said("nobody's group", beat("nobody's", "stranger"))
    yield said("no group", beat("", "stranger"))
    if version >= 3:
        yield as_member("an unknown instance", group, lambda me: beat(group, me, instance="nobody"))


def _leave_group(key: int, version: int) -> Iterator[Case]:
    def leave(group: str, *members: str, instance: str | None = None) -> LeaveGroupRequest:
        if version < 3:
            return LeaveGroupRequest(group_id=group, member_id=members[0])
        one = LeaveGroupRequest.MemberIdentity
        return LeaveGroupRequest(group_id=group, members=[one(member_id=name, group_instance_id=instance) for name in members])

    group = f"left-{version}"
    yield as_member("a stranger", group, lambda _: leave(group, "stranger"))
    yield said("nobody's group", leave("nobody's", "stranger"))
    yield said("no group", leave("", "stranger"))
    if version >= 3:
        yield as_member("several strangers", group, lambda _: leave(group, "one", ""))
        yield as_member("an unknown instance", group, lambda _: leave(group, "", instance="nobody"))
    yield as_member("good", group, lambda me: leave(group, me))
    yield said("again", leave(group, "stranger"))


def _offset_commit(key: int, version: int) -> Iterator[Case]:
    group = "truth-stable"

    def commit(group: str, member: str = "", generation: int = -1, *, topic: str = TOPIC, index: int = 0, **more: Any) -> Any:
        metadata = more.pop("metadata", "note")

        def build(peer: Peer) -> OffsetCommitRequest:
            named = {"topic_id": peer.ids.get(topic, NOWHERE)} if version >= 10 else {"name": topic}
            partition = OffsetCommitRequest.OffsetCommitRequestPartition(
                partition_index=index, committed_offset=1, committed_metadata=metadata
            )
            return OffsetCommitRequest(
                group_id=group,
                member_id=peer.remembered.get(group, "somebody") if member == "me" else member,
                generation_id_or_member_epoch=generation,
                topics=[OffsetCommitRequest.OffsetCommitRequestTopic(partitions=[partition], **named)],
                **more,
            )

        return build

    make = member_of(group)
    yield Case("a member", commit(group, "me", 1), make)
    yield Case("a stranger", commit(group, "stranger", 1), make)
    yield Case("an old generation", commit(group, "me", 0), make)
    yield Case("a generation to come", commit(group, "me", 2), make)
    yield Case("from outside of a group with members", commit(group), make)
    yield Case("from outside", commit(f"simple-{version}"))
    yield Case("a generation of nobody's group", commit("nobody's", "stranger", 1))
    yield Case("no group", commit("", "stranger", 1))
    yield Case("an unknown topic", commit(group, "me", 1, topic="nope"), make)
    yield Case("an unknown partition", commit(group, "me", 1, index=7), make)
    yield Case("a negative partition", commit(group, "me", 1, index=-1), make)
    yield Case("the longest note", commit(group, "me", 1, metadata="x" * 4096), make)
    yield Case("a note that is too long", commit(group, "me", 1, metadata="x" * 4097), make)
    yield Case("no note", commit(group, "me", 1, metadata=None), make)
    if version >= 7:
        yield Case("an unknown instance", commit(group, "me", 1, group_instance_id="nobody"), make)
    yield said("no topics", OffsetCommitRequest(group_id="empty-handed"))


def _offset_fetch(key: int, version: int) -> Iterator[Case]:
    def committed(peer: Peer) -> None:
        partition = OffsetCommitRequest.OffsetCommitRequestPartition(
            partition_index=1, committed_offset=3, committed_leader_epoch=0, committed_metadata="note"
        )
        topic = OffsetCommitRequest.OffsetCommitRequestTopic(name=TOPIC, partitions=[partition])
        assert peer.ask(OffsetCommitRequest(group_id="fetched", topics=[topic]), 8).topics[0].partitions[0].error_code == 0

    def fetch(group: str, topics: dict[str, list[int]] | None, **more: Any) -> Callable[[Peer], Any]:
        def build(peer: Peer) -> OffsetFetchRequest:
            if version < 8:
                one = OffsetFetchRequest.OffsetFetchRequestTopic
                asked = topics and [one(name=name, partition_indexes=indexes) for name, indexes in topics.items()]
                return OffsetFetchRequest(group_id=group, topics=asked, **more)
            many = OffsetFetchRequest.OffsetFetchRequestTopics
            asked = topics and [
                many(
                    **({"topic_id": peer.ids.get(name, NOWHERE)} if version >= 10 else {"name": name}), partition_indexes=indexes
                )
                for name, indexes in topics.items()
            ]
            return OffsetFetchRequest(groups=[OffsetFetchRequest.OffsetFetchRequestGroup(group_id=group, topics=asked)], **more)

        return build

    yield Case("some", fetch("fetched", {TOPIC: [0, 1, 7]}), committed)
    yield Case("an unknown topic", fetch("fetched", {"nope": [0]}), committed)
    yield Case("nobody's group", fetch("nobody's", {TOPIC: [0]}))
    yield Case("no group", fetch("", {TOPIC: [0]}))
    if version >= 2:
        yield Case("all", fetch("fetched", None), committed)
        yield Case("all of nobody's group", fetch("nobody's", None))
    if version >= 7:
        yield Case("stable ones", fetch("fetched", {TOPIC: [1]}, require_stable=True), committed)


def _offset_delete(key: int, version: int) -> Iterator[Case]:
    def delete(group: str, *topics: str) -> OffsetDeleteRequest:
        partition = OffsetDeleteRequest.OffsetDeleteRequestPartition(partition_index=0)
        return OffsetDeleteRequest(
            group_id=group,
            topics=[OffsetDeleteRequest.OffsetDeleteRequestTopic(name=topic, partitions=[partition]) for topic in topics],
        )

    group = "truth-stable"
    yield Case("topics in use, not in use, unknown", lambda _: delete(group, TOPIC, "many", "nope"), member_of(group))
    yield said("nobody's group", delete("nobody's", TOPIC))
    yield said("no group", delete("", TOPIC))


def _list_groups(key: int, version: int) -> Iterator[Case]:
    if version >= 4:
        yield Case("stable ones", lambda _: ListGroupsRequest(states_filter=["Stable"]), member_of("truth-stable"))
        yield said("dead ones", ListGroupsRequest(states_filter=["dead"]))
        yield said("of a state that isn't there", ListGroupsRequest(states_filter=["nope"]))
    if version >= 5:
        yield said("of another type", ListGroupsRequest(types_filter=["consumer"]))


def _describe_groups(key: int, version: int) -> Iterator[Case]:
    group = "truth-stable"
    yield Case("one", lambda _: DescribeGroupsRequest(groups=[group]), member_of(group))
    yield said("nobody's", DescribeGroupsRequest(groups=["nobody's"]))
    yield said("no name", DescribeGroupsRequest(groups=[""]))
    if version >= 3:
        yield said("with operations", DescribeGroupsRequest(groups=[group, "nobody's"], include_authorized_operations=True))


def _delete_groups(key: int, version: int) -> Iterator[Case]:
    group = "truth-stable"
    yield Case("with members, and nobody's", lambda _: DeleteGroupsRequest(groups_names=[group, "nobody's"]), member_of(group))
    yield said("no name", DeleteGroupsRequest(groups_names=[""]))


GROUP_CASES: dict[int, Callable[[int, int], Iterator[Case]]] = {
    8: _offset_commit,
    9: _offset_fetch,
    10: _find_coordinator,
    11: _join_group,
    12: _heartbeat,
    13: _leave_group,
    14: _sync_group,
    15: _describe_groups,
    16: _list_groups,
    42: _delete_groups,
    47: _offset_delete,
}
