"""The script's part about groups, right and wrong. Each case has a group of its own, or one that it leaves as it was."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

from fastlog.errors import MemberIdRequired, UnknownMemberId
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
"""So long that no member goes while the script runs; rebalances wait as long."""
TOPIC = "read"
COORDINATOR_WITHIN_S = 60
GROUP_OF_EACH_PARTITION = "abcdefghijklmnop"
"""One letter's hash is its number: sixteen in a row are on all of the sixteen partitions."""
ODD = "not / a \n name: \u00fc"
"""Any text names a group in Kafka, unlike a topic."""
LONG = "n" * 32_000
TOO_MUCH = bytes(1_200_000)
"""More than a record of the offsets' topic may have."""
SUBSCRIPTION = struct.pack(">h", 1) + ConsumerProtocolSubscription(topics=[TOPIC]).encode(1)


def join(group: str, member_id: str = "", **fields: Any) -> JoinGroupRequest:
    protocols = fields.pop("protocols", {"range": SUBSCRIPTION})
    fields = {"session_timeout_ms": SESSION_MS, "rebalance_timeout_ms": SESSION_MS, "protocol_type": "consumer", **fields}
    return JoinGroupRequest(
        group_id=group,
        member_id=member_id,
        protocols=[JoinGroupRequest.JoinGroupRequestProtocol(name=name, metadata=data) for name, data in protocols.items()],
        **fields,
    )


def sync(group: str, member_id: str, generation: int = 1, **fields: Any) -> SyncGroupRequest:
    names = {"protocol_type": "consumer", "protocol_name": "range", **fields}
    assignment = names.pop("assignment", b"all")
    mine = SyncGroupRequest.SyncGroupRequestAssignment(member_id=member_id, assignment=assignment)
    return SyncGroupRequest(group_id=group, member_id=member_id, generation_id=generation, assignments=[mine], **names)


def await_coordinator(peer: Peer) -> None:
    """Ask until the topic of offsets is there, and each of its partitions serves groups."""
    until = time.monotonic() + COORDINATOR_WITHIN_S
    while peer.ask(FindCoordinatorRequest(key="any"), 3).error_code or peer.ask(ListGroupsRequest(), 4).error_code:
        assert time.monotonic() < until, "no coordinator"
        time.sleep(0.1)
    for group in GROUP_OF_EACH_PARTITION:
        while peer.ask(HeartbeatRequest(group_id=group, member_id="nobody"), 4).error_code != UnknownMemberId.code:
            assert time.monotonic() < until, f"no coordinator of {group!r}"
            time.sleep(0.1)


def joined(group: str, **fields: Any) -> Callable[[Peer], None]:
    """Return what makes a group with one member that has not yet said who owns what, unless it is there."""

    def make(peer: Peer) -> None:
        if group in peer.remembered:
            return
        asked = peer.ask(join(group, **fields), 5)
        assert asked.error_code == MemberIdRequired.code
        answer = peer.ask(join(group, asked.member_id, **fields), 5)
        assert (answer.error_code, answer.generation_id) == (0, 1)
        peer.remembered[group] = answer.member_id

    return make


def member_of(group: str) -> Callable[[Peer], None]:
    """Return what makes a group with one member that owns everything, unless it is there."""

    def make(peer: Peer) -> None:
        if group not in peer.remembered:
            joined(group)(peer)
            assert peer.ask(sync(group, peer.remembered[group]), 3).error_code == 0

    return make


def static_member_of(group: str) -> Callable[[Peer], None]:
    """Return what makes a group with a static member that came back, and so has another id than at first, unless it is there."""

    def make(peer: Peer) -> None:
        if group in peer.remembered:
            return
        first = peer.ask(join(group, group_instance_id="one"), 5)
        assert first.error_code == 0
        assert peer.ask(sync(group, first.member_id, group_instance_id="one"), 3).error_code == 0
        again = peer.ask(join(group, group_instance_id="one"), 5)
        assert again.error_code == 0
        peer.remembered[group] = again.member_id
        peer.remembered[former(group)] = first.member_id

    return make


def rebalancing(group: str) -> Callable[[Peer], None]:
    """Return what makes a group whose one member is waited for, as another one wants to join, unless it is there."""

    def make(peer: Peer) -> None:
        if group in peer.remembered:
            return
        joined(group)(peer)
        assert peer.ask(sync(group, peer.remembered[group]), 3).error_code == 0
        other = peer.beside()
        asked = other.ask(join(group), 5)
        other.ask(join(group, asked.member_id), 5, answers=False)
        until = time.monotonic() + COORDINATOR_WITHIN_S
        while peer.ask(DescribeGroupsRequest(groups=[group]), 5).groups[0].group_state != "PreparingRebalance":
            assert time.monotonic() < until, f"{group} is not rebalanced"

    return make


def rejoined(group: str) -> Callable[[Peer], None]:
    """Return what makes a group whose one member has joined anew, and not yet said who owns what, unless it is there."""

    def make(peer: Peer) -> None:
        if group not in peer.remembered:
            member_of(group)(peer)
            assert peer.ask(join(group, peer.remembered[group]), 5).generation_id == 2

    return make


def emptied(group: str) -> Callable[[Peer], None]:
    """Return what makes a group whose one member left, unless it is there."""

    def make(peer: Peer) -> None:
        if group not in peer.remembered:
            member_of(group)(peer)
            assert peer.ask(LeaveGroupRequest(group_id=group, member_id=peer.remembered[group]), 2).error_code == 0

    return make


def committed(group: str) -> Callable[[Peer], None]:
    """Return what makes a group that has nothing but an offset."""

    def make(peer: Peer) -> None:
        partition = OffsetCommitRequest.OffsetCommitRequestPartition(
            partition_index=1, committed_offset=3, committed_leader_epoch=0, committed_metadata="note"
        )
        topic = OffsetCommitRequest.OffsetCommitRequestTopic(name=TOPIC, partitions=[partition])
        assert peer.ask(OffsetCommitRequest(group_id=group, topics=[topic]), 8).topics[0].partitions[0].error_code == 0

    return make


def former(group: str) -> str:
    return f"{group}, at first"


def as_member(
    what: str, group: str, build: Callable[[str], Any], make: Callable[[str], Callable[[Peer], None]] = member_of
) -> Case:
    """A case whose message names the group's member."""
    return Case(what, lambda peer: build(peer.remembered.get(group, "somebody")), make(group))


def as_fenced(group: str, build: Callable[[str], Any]) -> Case:
    """A case whose message names a static member by the id that it had before it came back."""
    return Case("a fenced instance", lambda peer: build(peer.remembered.get(former(group), "somebody")), static_member_of(group))


def _find_coordinator(key: int, version: int) -> Iterator[Case]:
    if version >= 4:
        yield said("several groups", FindCoordinatorRequest(coordinator_keys=["a", "b", ""]))
        yield said("odd groups", FindCoordinatorRequest(coordinator_keys=[ODD, LONG]))
        yield said("no keys", FindCoordinatorRequest())
        yield said("an unknown kind", FindCoordinatorRequest(coordinator_keys=["a"], key_type=9))
    else:
        yield said("a group", FindCoordinatorRequest(key="a"))
        yield said("an odd group", FindCoordinatorRequest(key=ODD))
        yield said("no name", FindCoordinatorRequest(key=""))
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
    yield said("an odd name", join(f"{ODD} {version}"))
    yield said("a long name", join(f"{LONG} {version}"))
    yield said("much metadata", join(f"much-{version}", protocols={"range": TOO_MUCH}))
    yield as_member("again", f"again-{version}", lambda me: join(f"again-{version}", me))
    yield as_member("again, before all is shared out", f"new-{version}", lambda me: join(f"new-{version}", me), joined)
    if version >= 5:
        fenced = "truth-static"
        yield said("a static member that nobody knows", join(group, "stranger", group_instance_id="nobody"))
        yield said("a static member", join(f"static-{version}", group_instance_id="one"))
        yield as_fenced(fenced, lambda me: join(fenced, me, group_instance_id="one"))
        yield said("an empty instance", join(f"instance-{version}", group_instance_id=""))


def _sync_group(key: int, version: int) -> Iterator[Case]:
    group = "truth-stable"
    yield as_member("good", f"synced-{version}", lambda me: sync(f"synced-{version}", me), joined)
    yield as_member("again", group, lambda me: sync(group, me))
    yield as_member("a stranger", group, lambda _: sync(group, "stranger"))
    yield as_member("an old generation", group, lambda me: sync(group, me, 0))
    yield as_member("a generation to come", group, lambda me: sync(group, me, 2))
    yield said("nobody's group", sync("nobody's", "stranger"))
    yield said("no group", sync("", "stranger"))
    yield said("an odd name", sync(ODD, "stranger"))
    yield as_member("a rebalance", "truth-rebalancing", lambda me: sync("truth-rebalancing", me), rebalancing)
    much = f"much-to-own-{version}"
    yield as_member("an assignment that is too large", much, lambda me: sync(much, me, assignment=TOO_MUCH), joined)
    loud = f"much-to-say-{version}"
    yield as_member(
        "metadata that is too large", loud, lambda me: sync(loud, me), lambda name: joined(name, protocols={"range": TOO_MUCH})
    )
    if version >= 3:
        yield as_fenced("truth-static", lambda me: sync("truth-static", me, group_instance_id="one"))
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
    yield as_member("a generation to come", group, lambda me: beat(group, me, 2))
    yield as_member("no member", group, lambda _: beat(group, ""))
    yield as_member("a rebalance", "truth-rebalancing", lambda me: beat("truth-rebalancing", me), rebalancing)
    yield as_member("before all is shared out", "truth-joined", lambda me: beat("truth-joined", me), joined)
    yield said("nobody's group", beat("nobody's", "stranger"))
    yield said("no group", beat("", "stranger"))
    yield said("an odd name", beat(ODD, "stranger"))
    if version >= 3:
        yield as_fenced("truth-static", lambda me: beat("truth-static", me, instance="one"))
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
    yield said("an odd name", leave(ODD, "stranger"))
    yield as_member("no member", group, lambda _: leave(group, ""))
    if version >= 3:
        static = f"left-static-{version}"
        yield as_member("nobody", group, lambda _: leave(group))
        yield as_fenced("truth-static", lambda me: leave("truth-static", me, instance="one"))
        yield Case("a static member by its instance", lambda _: leave(static, "", instance="one"), static_member_of(static))
        yield as_member("several strangers", group, lambda _: leave(group, "one", ""))
        yield as_member("an unknown instance", group, lambda _: leave(group, "", instance="nobody"))
    yield as_member("good", group, lambda me: leave(group, me))
    yield said("again", leave(group, "stranger"))


def _offset_commit(key: int, version: int) -> Iterator[Case]:
    group = "truth-stable"

    def commit(group: str, member: str = "", generation: int = -1, *, topic: str = TOPIC, index: int = 0, **more: Any) -> Any:
        metadata, offset = more.pop("metadata", "note"), more.pop("offset", 1)

        def build(peer: Peer) -> OffsetCommitRequest:
            named = {"topic_id": peer.ids.get(topic, NOWHERE)} if version >= 10 else {"name": topic}
            partition = OffsetCommitRequest.OffsetCommitRequestPartition(
                partition_index=index, committed_offset=offset, committed_metadata=metadata
            )
            return OffsetCommitRequest(
                group_id=group,
                member_id=peer.remembered.get({"me": group, "before": former(group)}.get(member), member),
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
    yield Case("a note that is too long, from outside", commit(f"simple-{version}", metadata="x" * 4097))
    yield Case("a negative offset", commit(group, "me", 1, offset=-1), make)
    yield Case("a generation without a member", commit(group, "", 1), make)
    yield Case("a rebalance", commit("truth-rebalancing", "me", 1), rebalancing("truth-rebalancing"))
    yield Case("before all is shared out", commit("truth-joined", "me", 1), joined("truth-joined"))
    yield Case("an odd name", commit(f"{ODD} {version}"))
    yield Case("a long name", commit(f"{LONG} {version}"))
    if version >= 7:
        yield Case("an unknown instance", commit(group, "me", 1, group_instance_id="nobody"), make)
        static = "truth-static"
        yield Case("a fenced instance", commit(static, "before", 1, group_instance_id="one"), static_member_of(static))
        yield Case("a static member", commit(static, "me", 1, group_instance_id="one"), static_member_of(static))
    yield said("no topics", OffsetCommitRequest(group_id="empty-handed"))


def _offset_fetch(key: int, version: int) -> Iterator[Case]:
    make = committed("fetched")

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

    yield Case("some", fetch("fetched", {TOPIC: [0, 1, 7]}), make)
    yield Case("an unknown topic", fetch("fetched", {"nope": [0]}), make)
    yield Case("nobody's group", fetch("nobody's", {TOPIC: [0]}))
    yield Case("no group", fetch("", {TOPIC: [0]}))
    yield Case("an odd name", fetch(ODD, {TOPIC: [0]}))
    yield Case("a negative partition", fetch("fetched", {TOPIC: [-1, 1]}), make)
    yield Case("no topics", fetch("fetched", {}), make)
    yield Case("a group with a member", fetch("truth-stable", {TOPIC: [0]}), member_of("truth-stable"))
    if version >= 2:
        yield Case("all", fetch("fetched", None), make)
        yield Case("all of nobody's group", fetch("nobody's", None))
    if version >= 7:
        yield Case("stable ones", fetch("fetched", {TOPIC: [1]}, require_stable=True), make)
    if version >= 8:
        one = OffsetFetchRequest.OffsetFetchRequestGroup
        yield Case(
            "all of several groups",
            lambda _: OffsetFetchRequest(groups=[one(group_id=name, topics=None) for name in ("fetched", "nobody's", "", ODD)]),
            make,
        )
        yield said("no groups", OffsetFetchRequest())
    if version >= 9:

        def as_somebody(group: str, member: str, epoch: int) -> OffsetFetchRequest:
            return OffsetFetchRequest(groups=[one(group_id=group, member_id=member, member_epoch=epoch, topics=None)])

        yield as_member("a member", "truth-stable", lambda me: as_somebody("truth-stable", me, 1))
        yield as_member("an old generation", "truth-stable", lambda me: as_somebody("truth-stable", me, 0))
        yield as_member("a stranger", "truth-stable", lambda _: as_somebody("truth-stable", "stranger", 1))


def _offset_delete(key: int, version: int) -> Iterator[Case]:
    def delete(group: str, *topics: str) -> OffsetDeleteRequest:
        partition = OffsetDeleteRequest.OffsetDeleteRequestPartition(partition_index=0)
        return OffsetDeleteRequest(
            group_id=group,
            topics=[OffsetDeleteRequest.OffsetDeleteRequestTopic(name=topic, partitions=[partition]) for topic in topics],
        )

    group = "truth-stable"
    yield Case("topics in use, not in use, unknown", lambda _: delete(group, TOPIC, "many", "nope"), member_of(group))
    yield Case("good", lambda _: delete("offset-deleted", TOPIC, "nope"), committed("offset-deleted"))
    yield said("no topics", delete(group))
    yield said("nobody's group", delete("nobody's", TOPIC))
    yield said("no group", delete("", TOPIC))
    yield said("an odd name", delete(ODD, TOPIC))


def _list_groups(key: int, version: int) -> Iterator[Case]:
    yield said("all", ListGroupsRequest())
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
    yield said("none", DescribeGroupsRequest())
    yield Case("one twice, and an odd one", lambda _: DescribeGroupsRequest(groups=[group, ODD, group]), member_of(group))
    for what, name, make in (
        ("one whose member left", "truth-emptied", emptied),
        ("one that has offsets alone", "fetched", committed),
        ("a rebalance", "truth-rebalancing", rebalancing),
        ("before all is shared out", "truth-joined", joined),
        ("before all is shared out anew", "truth-rejoined", rejoined),
        ("a static member", "truth-static", static_member_of),
    ):
        yield Case(what, lambda _, name=name: DescribeGroupsRequest(groups=[name]), make(name))
    if version >= 3:
        yield said("with operations", DescribeGroupsRequest(groups=[group, "nobody's"], include_authorized_operations=True))


def _delete_groups(key: int, version: int) -> Iterator[Case]:
    group = "truth-stable"
    yield Case("with members, and nobody's", lambda _: DeleteGroupsRequest(groups_names=[group, "nobody's"]), member_of(group))
    yield said("no name", DeleteGroupsRequest(groups_names=[""]))
    yield said("none", DeleteGroupsRequest())
    yield said("an odd name", DeleteGroupsRequest(groups_names=[ODD]))
    left, simple = f"deleted-{version}", f"deleted-offsets-{version}"
    yield Case("one whose member left", lambda _: DeleteGroupsRequest(groups_names=[left]), emptied(left))
    yield Case(
        "one that has offsets alone, twice", lambda _: DeleteGroupsRequest(groups_names=[simple, simple]), committed(simple)
    )
    for what, name, make in (
        ("a rebalance", "truth-rebalancing", rebalancing),
        ("before all is shared out", "truth-joined", joined),
    ):
        yield Case(what, lambda _, name=name: DeleteGroupsRequest(groups_names=[name]), make(name))


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
