"""The eleven APIs of groups, asked over the wire of a whole broker on a simulated machine."""

import struct

import pytest

from fastlog import errors
from fastlog._core import BatchBuilder, Slice, crc32c
from fastlog.errors import error_class
from fastlog.groups import coordinator
from fastlog.groups.loading import load_steps
from fastlog.groups.topic import OFFSETS_TOPIC, java_hash, partition_of
from fastlog.wire.messages.consumer_protocol_subscription import ConsumerProtocolSubscription
from fastlog.wire.messages.create_topics import CreateTopicsRequest
from fastlog.wire.messages.delete_groups import DeleteGroupsRequest
from fastlog.wire.messages.delete_topics import DeleteTopicsRequest
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

OPTIONS = {"group.initial.rebalance.delay.ms": "0", "offsets.topic.num.partitions": "4"}
MEMBER_ID_REQUIRED = errors.MemberIdRequired.code


def subscription(*topics):
    return struct.pack(">h", 3) + ConsumerProtocolSubscription(topics=list(topics)).encode(3)


def name_of(error):
    return error_class(error).name if error else "NONE"


class Groups:
    """What a test says about groups, in few words; each answers what is asserted most."""

    def __init__(self, broker):
        self.broker = broker
        self.ask = broker.call

    def find(self, *groups, version=6, key_type=0):
        if version >= 4:
            return self.ask(FindCoordinatorRequest(key_type=key_type, coordinator_keys=list(groups)), version).coordinators
        return self.ask(FindCoordinatorRequest(key_type=key_type, key=groups[0]), version)

    def topic(self, name, partitions=3):
        topic = CreateTopicsRequest.CreatableTopic(name=name, num_partitions=partitions, replication_factor=1)
        answer = self.ask(CreateTopicsRequest(topics=[topic], timeout_ms=5_000), 7)
        assert answer.topics[0].error_code == 0
        return answer.topics[0].topic_id

    def join_request(self, member_id="", group="g", instance_id=None, protocols=None, **more):
        protocols = {"range": subscription("t")} if protocols is None else protocols
        fields = {"protocol_type": "consumer", "session_timeout_ms": 10_000, "rebalance_timeout_ms": 60_000, **more}
        return JoinGroupRequest(
            group_id=group,
            member_id=member_id,
            group_instance_id=instance_id,
            protocols=[JoinGroupRequest.JoinGroupRequestProtocol(name=name, metadata=data) for name, data in protocols.items()],
            **fields,
        )

    def join(self, member_id="", version=9, **more):
        answer = self.ask(self.join_request(member_id, **more), version)
        if answer.error_code == MEMBER_ID_REQUIRED:
            answer = self.ask(self.join_request(answer.member_id, **more), version)
        return answer

    def sync(self, member_id, generation, assignments=None, group="g", version=5, instance_id=None):
        names = {"protocol_type": "consumer", "protocol_name": "range"} if version >= 5 else {}
        return self.ask(
            SyncGroupRequest(
                group_id=group,
                member_id=member_id,
                generation_id=generation,
                group_instance_id=instance_id,
                assignments=[
                    SyncGroupRequest.SyncGroupRequestAssignment(member_id=one, assignment=data)
                    for one, data in (assignments or {}).items()
                ],
                **names,
            ),
            version,
        )

    def member(self, group="g", **more):
        """Join alone and take everything; return (member id, generation)."""
        joined = self.join(group=group, **more)
        assert joined.error_code == 0, name_of(joined.error_code)
        assert self.sync(joined.member_id, joined.generation_id, {joined.member_id: b"all"}, group).error_code == 0
        return joined.member_id, joined.generation_id

    def heartbeat(self, member_id, generation, group="g", version=4, instance_id=None):
        request = HeartbeatRequest(group_id=group, member_id=member_id, generation_id=generation, group_instance_id=instance_id)
        return name_of(self.ask(request, version).error_code)

    def commit(self, offsets, member_id="", generation=-1, group="g", version=9, metadata="", **more):
        """Commit {(topic, partition): offset} and return the errors in that order."""
        topics = [
            OffsetCommitRequest.OffsetCommitRequestTopic(
                **({"topic_id": topic} if version >= 10 else {"name": topic}),
                partitions=[
                    OffsetCommitRequest.OffsetCommitRequestPartition(
                        partition_index=index, committed_offset=offset, committed_metadata=metadata
                    )
                ],
            )
            for (topic, index), offset in offsets.items()
        ]
        request = OffsetCommitRequest(
            group_id=group, member_id=member_id, generation_id_or_member_epoch=generation, topics=topics, **more
        )
        answer = self.ask(request, version)
        return [name_of(one.error_code) for topic in answer.topics for one in topic.partitions]

    def committed(self, group="g", topics=None, version=9):
        """Return {(topic, partition): offset}, or the error's name."""
        if version >= 8:
            asked = topics and [
                OffsetFetchRequest.OffsetFetchRequestTopics(
                    **({"topic_id": topic} if version >= 10 else {"name": topic}), partition_indexes=indexes
                )
                for topic, indexes in topics.items()
            ]
            request = OffsetFetchRequest(groups=[OffsetFetchRequest.OffsetFetchRequestGroup(group_id=group, topics=asked)])
            found = self.ask(request, version).groups[0]
        else:
            asked = topics and [
                OffsetFetchRequest.OffsetFetchRequestTopic(name=topic, partition_indexes=indexes)
                for topic, indexes in topics.items()
            ]
            found = self.ask(OffsetFetchRequest(group_id=group, topics=asked), version)
        if found.error_code:
            return name_of(found.error_code)
        return {
            (topic.topic_id if version >= 10 else topic.name, one.partition_index): one.committed_offset
            for topic in found.topics
            for one in topic.partitions
        }

    def listed(self, version=5, **filters):
        return [(one.group_id, one.group_state) for one in self.ask(ListGroupsRequest(**filters), version).groups]

    def described(self, group="g", version=6):
        return self.ask(DescribeGroupsRequest(groups=[group]), version).groups[0]

    def delete(self, *groups, version=2):
        answer = self.ask(DeleteGroupsRequest(groups_names=list(groups)), version)
        return [name_of(one.error_code) for one in answer.results]

    def leave(self, *members, group="g", version=5):
        identities = [LeaveGroupRequest.MemberIdentity(member_id=one) for one in members]
        return self.ask(LeaveGroupRequest(group_id=group, members=identities), version)


@pytest.fixture
def new_groups(new_broker):
    def make(**options):
        given = {**OPTIONS, **{name.replace("_", "."): value for name, value in options.items()}}
        groups = Groups(new_broker(given).start())
        groups.find("g")
        groups.t = groups.topic("t")
        return groups

    return make


@pytest.fixture
def groups(new_groups):
    return new_groups()


# ---- finding the coordinator -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(7))
def test_the_first_who_asks_gets_a_topic_made(new_broker, version):
    groups = Groups(new_broker(OPTIONS).start())
    assert OFFSETS_TOPIC not in groups.broker.node.view.image.topics
    found = groups.find("g", version=version)
    found = found if version < 4 else found[0]
    assert (found.error_code, found.node_id, found.host, found.port) == (0, 1, "broker", 9092)
    topic = groups.broker.node.view.image.topics[OFFSETS_TOPIC]
    assert len(topic.partitions) == 4
    assert topic.config["retention.ms"] == "-1"


def test_only_groups_have_coordinators(groups):
    assert [name_of(one.error_code) for one in groups.find("a", "b", key_type=1)] == ["INVALID_REQUEST"] * 2
    assert name_of(groups.find("a", version=3, key_type=1).error_code) == "INVALID_REQUEST"


def test_hashes_are_javas():
    assert [java_hash(text) for text in ("", "a", "my-group", "Gruppe-ä", "\N{SLIGHTLY SMILING FACE}")] == [
        0,
        97,
        -1906497762,
        738167026,
        1772965,
    ]
    assert partition_of("Gruppe-ä", 50) == 738167026 % 50


# ---- members -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(10))
def test_a_member_joins_in_every_version(groups, version):
    joined = groups.join(version=version)
    assert (joined.error_code, joined.generation_id, joined.protocol_name) == (0, 1, "range")
    assert joined.leader == joined.member_id
    assert joined.protocol_type == ("consumer" if version >= 7 else None)
    assert [(one.member_id, bytes(one.metadata)) for one in joined.members] == [(joined.member_id, subscription("t"))]
    sync_version = min(version, 5)
    synced = groups.sync(joined.member_id, 1, {joined.member_id: b"mine"}, version=sync_version)
    assert (synced.error_code, bytes(synced.assignment)) == (0, b"mine")
    assert groups.heartbeat(joined.member_id, 1, version=min(version, 4)) == "NONE"
    if version < 3:
        left = groups.ask(LeaveGroupRequest(group_id="g", member_id=joined.member_id), version)
    else:
        left = groups.leave(joined.member_id, version=min(version, 5))
        assert [one.error_code for one in left.members] == [0]
    assert left.error_code == 0
    assert groups.described().group_state == "Empty"


def test_two_members_share_and_learn_of_each_other(groups):
    first, _ = groups.member()
    asked = groups.ask(groups.join_request(), 9)
    waiting = groups.broker.send(groups.join_request(asked.member_id), 9, groups.broker.peer())
    groups.broker.run_until(lambda: groups.heartbeat(first, 1) == "REBALANCE_IN_PROGRESS")
    described = groups.described()
    assert (described.group_state, described.protocol_data) == ("PreparingRebalance", "")
    assert [(bytes(one.member_metadata), bytes(one.member_assignment)) for one in described.members] == [
        (b"", b"all"),
        (b"", b""),
    ]
    joined = groups.join(first)
    other = groups.broker.wait(waiting)
    assert (joined.generation_id, other.generation_id) == (2, 2)
    assert sorted(one.member_id for one in joined.members) == sorted([first, other.member_id])
    assert other.members == []
    groups.sync(first, 2, {first: b"A", other.member_id: b"B"})
    assert bytes(groups.sync(other.member_id, 2).assignment) == b"B"
    described = groups.described()
    assert (described.group_state, described.protocol_type, described.protocol_data) == ("Stable", "consumer", "range")
    assert [(one.member_id, one.client_host, bytes(one.member_assignment)) for one in described.members] == [
        (first, "/client1", b"A"),
        (other.member_id, "/client2", b"B"),
    ]
    assert bytes(described.members[0].member_metadata) == subscription("t")


def test_a_silent_member_is_taken_out(groups):
    groups.member()
    groups.broker.run_until(lambda: groups.described().group_state == "Empty")
    assert groups.broker.node.view.image.topics[OFFSETS_TOPIC]


def test_a_static_member_that_comes_back_takes_its_place_and_fences_its_former_self(groups):
    old, generation = groups.member(instance_id="one")
    back = groups.join(instance_id="one")
    new = back.member_id
    assert (back.error_code, back.generation_id, back.skip_assignment) == (0, generation, True)
    assert new != old
    assert bytes(groups.sync(new, generation, instance_id="one").assignment) == b"all"

    def fenced(one):
        return {
            groups.heartbeat(one, generation, instance_id="one"),
            name_of(groups.sync(one, generation, instance_id="one").error_code),
            name_of(groups.join(one, instance_id="one").error_code),
            *groups.commit({("t", 0): 5}, one, generation, group_instance_id="one"),
        }

    assert fenced(old) == {"FENCED_INSTANCE_ID"}
    assert groups.committed() == {}
    groups.broker.restart("kill")
    groups.broker.run_until(lambda: groups.heartbeat(new, generation, instance_id="one") == "NONE")
    assert groups.heartbeat(old, generation, instance_id="one") == "FENCED_INSTANCE_ID"
    assert groups.commit({("t", 0): 5}, new, generation, group_instance_id="one") == ["NONE"]
    assert [(one.member_id, one.group_instance_id) for one in groups.described().members] == [(new, "one")]
    whoever = LeaveGroupRequest.MemberIdentity(member_id="", group_instance_id="one")
    left = groups.ask(LeaveGroupRequest(group_id="g", members=[whoever]), 5)
    assert [(one.group_instance_id, one.error_code) for one in left.members] == [("one", 0)]
    assert groups.described().group_state == "Empty"


def test_a_static_member_is_waited_for_until_its_session_ends(groups):
    clock = groups.broker.node.environment.clock
    groups.member(instance_id="one", session_timeout_ms=30_000)
    began_ms = clock.wall_ms()
    groups.broker.run_until(lambda: groups.described().group_state == "Empty")
    assert 29_000 <= clock.wall_ms() - began_ms <= 31_000


def test_a_group_is_as_large_as_the_broker_allows(new_groups):
    groups = new_groups(group_max_size="1")
    me, generation = groups.member()
    assert name_of(groups.join().error_code) == "GROUP_MAX_SIZE_REACHED"
    assert groups.heartbeat(me, generation) == "NONE"
    assert groups.member("another")[1] == 1


def test_sessions_are_as_long_as_the_broker_allows(new_groups):
    groups = new_groups(group_min_session_timeout_ms="100", group_max_session_timeout_ms="200")
    for session_timeout_ms in (99, 201):
        assert name_of(groups.join(session_timeout_ms=session_timeout_ms).error_code) == "INVALID_SESSION_TIMEOUT"
    clock = groups.broker.node.environment.clock
    groups.member(session_timeout_ms=100)
    began_ms = clock.wall_ms()
    groups.broker.run_until(lambda: groups.described().group_state == "Empty")
    assert clock.wall_ms() - began_ms < 1_000


@pytest.mark.parametrize("delay_ms", [0, 1_000])
def test_the_first_rebalance_of_a_group_waits_for_more_members(new_groups, delay_ms):
    groups = new_groups(group_initial_rebalance_delay_ms=str(delay_ms))
    clock = groups.broker.node.environment.clock
    began_ms = clock.wall_ms()
    me, _ = groups.member()
    taken_ms = clock.wall_ms() - began_ms
    assert delay_ms <= taken_ms < delay_ms + 500
    groups.join(me)
    assert clock.wall_ms() - began_ms - taken_ms < 500, "later ones don't"


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (lambda g: name_of(g.join("stranger").error_code), "UNKNOWN_MEMBER_ID"),
        (lambda g: name_of(g.join("stranger", group="nobody's").error_code), "UNKNOWN_MEMBER_ID"),
        (lambda g: name_of(g.join(group="").error_code), "INVALID_GROUP_ID"),
        (lambda g: name_of(g.join(session_timeout_ms=5_999).error_code), "INVALID_SESSION_TIMEOUT"),
        (lambda g: name_of(g.join(session_timeout_ms=1_800_001).error_code), "INVALID_SESSION_TIMEOUT"),
        (lambda g: name_of(g.join(protocols={"other": b""}).error_code), "INCONSISTENT_GROUP_PROTOCOL"),
        (lambda g: name_of(g.join(protocol_type="connect").error_code), "INCONSISTENT_GROUP_PROTOCOL"),
        (lambda g: name_of(g.join(protocols={}).error_code), "INCONSISTENT_GROUP_PROTOCOL"),
        (lambda g: name_of(g.sync("stranger", 1).error_code), "UNKNOWN_MEMBER_ID"),
        (lambda g: name_of(g.sync("stranger", 1, group="nobody's").error_code), "UNKNOWN_MEMBER_ID"),
        (lambda g: name_of(g.sync(g.me, 2).error_code), "ILLEGAL_GENERATION"),
        (lambda g: name_of(g.sync(g.me, 1, group="").error_code), "INVALID_GROUP_ID"),
        (lambda g: g.heartbeat("stranger", 1), "UNKNOWN_MEMBER_ID"),
        (lambda g: g.heartbeat(g.me, 0), "ILLEGAL_GENERATION"),
        (lambda g: g.heartbeat(g.me, 1, group="nobody's"), "UNKNOWN_MEMBER_ID"),
        (lambda g: g.heartbeat(g.me, 1, group=""), "INVALID_GROUP_ID"),
        (lambda g: [name_of(one.error_code) for one in g.leave("stranger", "").members], ["UNKNOWN_MEMBER_ID"] * 2),
        (lambda g: [name_of(one.error_code) for one in g.leave("x", group="nobody's").members], ["UNKNOWN_MEMBER_ID"]),
        (lambda g: name_of(g.leave("x", group="").error_code), "INVALID_GROUP_ID"),
        (lambda g: g.commit({("t", 0): 1}, "stranger", 1), ["UNKNOWN_MEMBER_ID"]),
        (lambda g: g.commit({("t", 0): 1}, g.me, 2), ["ILLEGAL_GENERATION"]),
        (lambda g: g.commit({("t", 0): 1}), ["UNKNOWN_MEMBER_ID"]),
        (lambda g: g.commit({("t", 0): 1}, "x", 1, group="nobody's", version=8), ["ILLEGAL_GENERATION"]),
        (lambda g: g.commit({("t", 0): 1}, "x", 1, group="nobody's", version=9), ["GROUP_ID_NOT_FOUND"]),
        (lambda g: g.commit({("t", 0): 1, ("t", 3): 1, ("u", 0): 1}, g.me, 1), ["NONE"] + ["UNKNOWN_TOPIC_OR_PARTITION"] * 2),
        (lambda g: g.commit({("t", 0): 1}, g.me, 1, metadata="x" * 4097), ["OFFSET_METADATA_TOO_LARGE"]),
        (lambda g: g.commit({("t", 0): 1}, g.me, 1, metadata="x" * 4096), ["NONE"]),
        (lambda g: g.commit({(bytes(15) + b"x", 0): 1}, g.me, 1, version=10), ["UNKNOWN_TOPIC_ID"]),
        (lambda g: g.delete("g", "nobody's"), ["NON_EMPTY_GROUP", "GROUP_ID_NOT_FOUND"]),
        (lambda g: (g.described("nobody's").group_state, g.described("nobody's").error_code), ("Dead", 69)),
        (lambda g: (g.described("nobody's", 5).group_state, g.described("nobody's", 5).error_code), ("Dead", 0)),
    ],
)
def test_what_is_wrong_is_answered_as_kafka_does(groups, ask, expected):
    groups.me, _ = groups.member()
    assert ask(groups) == expected


def test_groups_are_listed_by_state_and_type(groups):
    groups.member("mine")
    groups.commit({("t", 0): 1}, group="simple")
    assert sorted(groups.listed()) == [("mine", "Stable"), ("simple", "Empty")]
    assert groups.listed(states_filter=["stable"]) == [("mine", "Stable")]
    assert groups.listed(types_filter=["Consumer"]) == []
    assert len(groups.listed(types_filter=["classic"])) == 2
    assert sorted(one for one, _ in groups.listed(version=0)) == ["mine", "simple"]


# ---- offsets -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(2, 11))
def test_a_member_commits_in_every_version(groups, version):
    me, generation = groups.member()
    topic = groups.t if version >= 10 else "t"
    assert groups.commit({(topic, 0): 5, (topic, 2): 7}, me, generation, version=version) == ["NONE", "NONE"]
    assert groups.committed(topics={"t": [0, 1, 2]}) == {("t", 0): 5, ("t", 1): -1, ("t", 2): 7}


@pytest.mark.parametrize("version", range(1, 11))
def test_offsets_are_fetched_in_every_version(groups, version):
    groups.commit({("t", 1): 11})
    topic = groups.t if version >= 10 else "t"
    assert groups.committed(topics={topic: [1, 2]}, version=version) == {(topic, 1): 11, (topic, 2): -1}
    if version >= 2:
        assert groups.committed(version=version) == {(topic, 1): 11}
    assert groups.committed("nobody's", {topic: [0]}, version) == {(topic, 0): -1}


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_groups_and_offsets_survive_a_restart(groups, how):
    me, generation = groups.member()
    groups.commit({("t", 0): 5}, me, generation, metadata="note")
    groups.commit({("t", 0): 6}, me, generation, metadata="later")
    groups.commit({("t", 1): 1}, group="simple")
    groups.broker.restart(how)
    groups.broker.run_until(lambda: groups.committed() == {("t", 0): 6})
    assert groups.committed("simple") == {("t", 1): 1}
    assert groups.heartbeat(me, generation) == "NONE"
    described = groups.described()
    assert (described.group_state, [one.member_id for one in described.members]) == ("Stable", [me])
    assert bytes(described.members[0].member_assignment) == b"all"
    assert groups.commit({("t", 0): 7}, me, generation) == ["NONE"]


def test_a_deleted_group_stays_deleted(groups):
    groups.commit({("t", 0): 5, ("t", 1): 6}, group="gone")
    groups.commit({("t", 0): 5}, group="kept")
    assert groups.delete("gone") == ["NONE"]
    assert groups.committed("gone") == {}
    assert groups.listed() == [("kept", "Empty")]
    groups.broker.restart("kill")
    groups.broker.run_until(lambda: groups.listed() == [("kept", "Empty")])
    assert groups.committed("gone") == {}


def test_offsets_of_a_deleted_topic_go(groups):
    groups.topic("u")
    groups.commit({("t", 0): 5, ("u", 1): 6})
    topic = DeleteTopicsRequest.DeleteTopicState(name="u")
    assert groups.ask(DeleteTopicsRequest(topics=[topic], timeout_ms=5_000), 6).responses[0].error_code == 0
    assert groups.committed() == {("t", 0): 5}
    groups.broker.restart("kill")
    groups.broker.run_until(lambda: groups.committed() == {("t", 0): 5})


def test_what_goes_is_taken_back_in_the_log(new_groups):
    groups = new_groups(offsets_retention_minutes="1", offsets_retention_check_interval_ms="7000")
    groups.topic("u")
    groups.commit({("t", 0): 1, ("t", 1): 1}, group="deleted")
    me, generation = groups.member("of members")
    groups.commit({("t", 0): 2, ("u", 0): 2}, me, generation, "of members")
    groups.commit({("t", 2): 3}, group="expired", version=4, retention_time_ms=10_000)
    groups.delete("deleted")
    groups.ask(DeleteTopicsRequest(topics=[DeleteTopicsRequest.DeleteTopicState(name="u")], timeout_ms=5_000), 6)
    groups.broker.run_until(lambda: groups.committed("expired") == {})
    stands = {}
    for index in range(4):
        log = groups.broker.node.partitions.get(OFFSETS_TOPIC, index).log
        for _ in load_steps(log, lambda record: stands.update({record[:-1] if len(record) == 4 else record[:1]: record})):
            pass
    taken_back = {key for key, record in stands.items() if record[len(key)] is None}
    assert taken_back == {
        *[("deleted", "t", 0), ("deleted", "t", 1), ("deleted",)],
        ("of members", "u", 0),
        *[("expired", "t", 2), ("expired",)],
    }
    assert stands.keys() - taken_back == {("of members",), ("of members", "t", 0)}


def test_a_commit_may_ask_for_any_retention(new_groups):
    groups = new_groups(offsets_retention_check_interval_ms="7000")
    assert groups.commit({("t", 0): 5}, group="for ever", version=4, retention_time_ms=(1 << 63) - 1) == ["NONE"]
    assert groups.commit({("t", 0): 5}, group="never", version=4, retention_time_ms=-(1 << 63)) == ["NONE"]
    groups.broker.run_until(lambda: groups.committed("never") == {})
    assert groups.committed("for ever") == {("t", 0): 5}


def test_offsets_are_deleted_unless_they_are_in_use(groups):
    groups.topic("u")
    me, generation = groups.member()
    groups.commit({("t", 0): 5, ("u", 0): 6}, me, generation)

    def delete(group, *topics):
        partition = OffsetDeleteRequest.OffsetDeleteRequestPartition(partition_index=0)
        wanted = [OffsetDeleteRequest.OffsetDeleteRequestTopic(name=topic, partitions=[partition]) for topic in topics]
        answer = groups.ask(OffsetDeleteRequest(group_id=group, topics=wanted), 0)
        return name_of(answer.error_code), [name_of(one.error_code) for topic in answer.topics for one in topic.partitions]

    assert delete("g", "t", "u", "v") == ("NONE", ["GROUP_SUBSCRIBED_TO_TOPIC", "NONE", "UNKNOWN_TOPIC_OR_PARTITION"])
    assert groups.committed() == {("t", 0): 5}
    assert delete("nobody's", "t") == ("GROUP_ID_NOT_FOUND", [])
    groups.leave(me)
    assert delete("g", "t") == ("NONE", ["NONE"])
    assert groups.committed() == {}


def test_offsets_expire_when_nobody_uses_them(new_groups):
    groups = new_groups(offsets_retention_minutes="1", offsets_retention_check_interval_ms="7000")
    clock = groups.broker.node.environment.clock
    groups.commit({("t", 0): 1}, group="simple")
    began_ms = clock.wall_ms()
    me, generation = groups.member("used", session_timeout_ms=600_000)
    groups.commit({("t", 0): 2}, me, generation, "used")
    left, generation = groups.member("left")
    groups.commit({("t", 0): 3}, left, generation, "left")
    groups.commit({("t", 0): 4}, group="brief", version=4, retention_time_ms=10_000)
    groups.broker.run_until(lambda: groups.committed("brief") == {})
    assert 10_000 <= clock.wall_ms() - began_ms < 20_000
    groups.broker.run_until(lambda: groups.described("left").group_state == "Empty")
    emptied_ms = clock.wall_ms()
    groups.broker.run_until(lambda: groups.committed("simple") == {})
    assert 60_000 <= clock.wall_ms() - began_ms < 70_000
    groups.broker.run_until(lambda: groups.committed("left") == {}, 2_000_000)
    assert 60_000 - 100 <= clock.wall_ms() - emptied_ms < 70_000
    assert groups.committed("used") == {("t", 0): 2}
    assert groups.listed() == [("used", "Stable")]
    groups.broker.restart("kill")
    groups.broker.run_until(lambda: groups.listed() == [("used", "Stable")])


def test_groups_are_cleaned_up_some_a_turn(new_groups, monkeypatch):
    monkeypatch.setattr(coordinator, "OFFSETS_CLEANED_UP_AT_ONCE", 2)
    groups = new_groups(offsets_retention_check_interval_ms="7000")
    for number in range(12):
        groups.commit({("t", 0): number}, group=f"brief{number}", version=4, retention_time_ms=1_000)
    ends = []
    groups.broker.node.environment.reactor.at_turn_end(lambda: ends.append(len(groups.broker.node._groups._shards)))
    turns = []
    clean_up = coordinator.GroupCoordinator._clean_up_group

    def noted(self, shard, group, wall_ms):
        turns.append(len(ends))
        clean_up(self, shard, group, wall_ms)

    monkeypatch.setattr(coordinator.GroupCoordinator, "_clean_up_group", noted)
    groups.broker.run_until(lambda: groups.listed() == [])
    assert max(turns.count(turn) for turn in turns) == 1, "each has an offset and itself to be looked at"


def test_a_batch_that_nobody_can_open_costs_no_other(groups, caplog):
    """A client that calls itself an admin may write what it likes."""
    where = partition_of("g", 4)
    groups.commit({("t", 0): 5})
    builder = BatchBuilder()
    builder.append(0, b"key", b"value")
    batch = bytearray(builder.build()[:61] + b"no gzip")
    struct.pack_into(">i", batch, 8, len(batch) - 12)
    struct.pack_into(">h", batch, 21, 1)
    struct.pack_into(">I", batch, 17, crc32c(bytes(batch[21:])))
    assert groups.broker.node.partitions.get(OFFSETS_TOPIC, where).append(Slice(batch), -1).error == 0
    groups.commit({("t", 1): 6})
    groups.broker.restart("kill")
    groups.broker.run_until(lambda: groups.committed() == {("t", 0): 5, ("t", 1): 6})
    assert f"{OFFSETS_TOPIC}-{where}: the batch at offset 1 cannot be opened, and is passed over" in caplog.text


@pytest.fixture
def slow_loading(monkeypatch):
    """Loading goes on while the test says so; what is being loaded at the same time is counted."""

    class Loading:
        is_held = True
        under_way = most_under_way = 0

        def steps(self, log, apply):
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            while self.is_held:
                yield
            yield from load_steps(log, apply)
            self.under_way -= 1

    loading = Loading()
    monkeypatch.setattr(coordinator, "load_steps", loading.steps)
    return loading


def test_offsets_of_a_topic_that_is_deleted_while_they_are_loaded_go(groups, slow_loading):
    slow_loading.is_held = False
    groups.topic("u")
    groups.commit({("t", 0): 5, ("u", 1): 6})
    slow_loading.is_held = True
    groups.broker.restart("kill")
    assert groups.committed() == "COORDINATOR_LOAD_IN_PROGRESS"
    topic = DeleteTopicsRequest.DeleteTopicState(name="u")
    assert groups.ask(DeleteTopicsRequest(topics=[topic], timeout_ms=5_000), 6).responses[0].error_code == 0
    slow_loading.is_held = False
    groups.broker.run_until(lambda: groups.committed() == {("t", 0): 5})
    assert slow_loading.most_under_way == 1, "partitions are loaded one after another"


def test_a_mistake_in_loading_is_told_and_keeps_no_other_partition(groups, monkeypatch, caplog):
    groups.commit({("t", 0): 5})
    other = next(name for name in map(str, range(99)) if partition_of(name, 4) != partition_of("g", 4))
    groups.commit({("t", 0): 6}, group=other)
    fails = [True]

    def steps(log, apply):
        if log.partition == partition_of("g", 4) and fails.pop():
            raise ZeroDivisionError("a mistake")
        return load_steps(log, apply)

    monkeypatch.setattr(coordinator, "load_steps", steps)
    groups.broker.restart("kill")
    groups.broker.run_until(lambda: groups.committed(other) == {("t", 0): 6})
    assert groups.committed() == "COORDINATOR_LOAD_IN_PROGRESS"
    assert "cannot be loaded, and are tried again later: a mistake" in caplog.text
    fails.append(False)
    groups.broker.run_until(lambda: groups.committed() == {("t", 0): 5})


def test_who_says_far_more_of_itself_than_can_be_stored_does_not_join(groups):
    """It would never own anything, and what it says would be held for as long as its session lasts."""
    most = groups.broker.node.partitions.get(OFFSETS_TOPIC, partition_of("g", 4)).log.config.max_message_bytes
    for sizes in ([4 * most], [most // 2] * 9):
        protocols = {f"p{number}": b"m" * size for number, size in enumerate(sizes)}
        assert name_of(groups.join(protocols=protocols).error_code) == "INVALID_REQUEST"
    assert groups.listed() == []
    assert name_of(groups.join(protocols={"p": b"m" * most, "q": b"m" * most}).error_code) == "NONE"


def test_a_member_with_the_longest_name_is_one_as_others_are(groups):
    """Its id has more than its name, and is told to the leader: one that no message holds would keep the whole group out."""
    name = "é" * 16_383 + "i"
    me = groups.join(instance_id=name, version=5, group="long")
    assert name_of(me.error_code) == "NONE"
    assert len(me.member_id.encode()) <= 32_767 and me.member_id.startswith("é" * 16_000)
    answer = groups.sync(me.member_id, me.generation_id, {me.member_id: b"all"}, "long", instance_id=name)
    assert name_of(answer.error_code) == "NONE"
    groups.broker.restart("kill")
    groups.broker.run_until(lambda: groups.listed() == [("long", "Stable")])
    assert groups.heartbeat(me.member_id, me.generation_id, "long", instance_id=name) == "NONE"


def test_a_commit_of_many_partitions_goes_in_many_batches(new_groups):
    groups = new_groups(offset_metadata_max_bytes="20000")
    groups.topic("wide", 200)
    wanted = {("wide", index): index for index in range(200)}
    assert groups.commit(wanted, metadata="x" * 15_000) == ["NONE"] * 200
    groups.broker.restart("kill")
    groups.broker.run_until(lambda: groups.committed() == wanted)


def test_what_cannot_be_written_is_not_committed(groups):
    groups.commit({("t", 0): 5})
    log = groups.broker.node.partitions.get(OFFSETS_TOPIC, partition_of("g", 4)).log
    log.configure(log.config.__class__(max_message_bytes=10))
    assert groups.commit({("t", 0): 6}) == ["INVALID_COMMIT_OFFSET_SIZE"]
    assert groups.committed() == {("t", 0): 5}
    joined = groups.join(group="g")
    assert name_of(groups.sync(joined.member_id, 1, {}).error_code) == "UNKNOWN_SERVER_ERROR"


def test_groups_are_served_once_their_partition_could_be_made(new_broker, monkeypatch):
    broker = new_broker(OPTIONS).start()
    groups = Groups(broker)
    groups.topic("t")
    create, logs = broker.node.logs.create, broker.node.logs
    refused = []

    def no_room(topic, *arguments, **options):
        refused.append(topic)
        raise errors.KafkaStorageError("no room")

    monkeypatch.setattr(logs, "create", no_room)
    groups.find("g")
    assert refused == [OFFSETS_TOPIC] * 4
    assert groups.commit({("t", 0): 7}) == ["NOT_COORDINATOR"]
    monkeypatch.setattr(logs, "create", create)
    broker.run_until(lambda: all(logs.get(OFFSETS_TOPIC, index) is not None for index in range(4)))
    broker.run_until(lambda: groups.commit({("t", 0): 7}) == ["NONE"], most_steps=200)
    assert groups.committed() == {("t", 0): 7}
