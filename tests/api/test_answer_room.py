"""A small request that asks for much: what finds room is answered, and the rest is refused by itself."""

import pytest

from fastlog import errors
from fastlog.api import answer_room, describe_configs
from fastlog.api.answer_room import AnswerRoom
from fastlog.api.encoded import Portions
from fastlog.api.server import FAIR_SHARE_BYTES, MOST_OVERDRAWN, Limits
from fastlog.errors import InvalidRequest
from fastlog.wire.messages.create_topics import CreateTopicsRequest
from fastlog.wire.messages.describe_configs import DescribeConfigsRequest, DescribeConfigsResponse
from fastlog.wire.messages.describe_groups import DescribeGroupsRequest
from fastlog.wire.messages.describe_producers import DescribeProducersRequest
from fastlog.wire.messages.find_coordinator import FindCoordinatorRequest
from fastlog.wire.messages.join_group import JoinGroupRequest
from fastlog.wire.messages.list_groups import ListGroupsRequest, ListGroupsResponse
from fastlog.wire.messages.offset_commit import OffsetCommitRequest
from fastlog.wire.messages.offset_fetch import OffsetFetchRequest
from fastlog.wire.messages.sync_group import SyncGroupRequest

INVALID_REQUEST = errors.InvalidRequest.code


@pytest.fixture
def little_room(monkeypatch):
    """Leave an answer room for 10,000 bytes."""
    monkeypatch.setattr(answer_room, "MAX_ANSWER_BYTES", 10_000)


@pytest.fixture
def grouped(new_broker):
    """A broker with a topic and a group that has committed 4,000 bytes of metadata for each of its two partitions."""
    broker = new_broker({"group.initial.rebalance.delay.ms": "0"}).start()
    topic = CreateTopicsRequest.CreatableTopic(name="t", num_partitions=2, replication_factor=1)
    assert broker.call(CreateTopicsRequest(topics=[topic], timeout_ms=5_000), 7).topics[0].error_code == 0
    assert broker.call(FindCoordinatorRequest(coordinator_keys=["g"]), 4).coordinators[0].error_code == 0
    partitions = [
        OffsetCommitRequest.OffsetCommitRequestPartition(
            partition_index=index, committed_offset=7, committed_metadata="m" * 4_000
        )
        for index in range(2)
    ]
    commit = OffsetCommitRequest(
        group_id="g", topics=[OffsetCommitRequest.OffsetCommitRequestTopic(name="t", partitions=partitions)]
    )
    broker.call(commit, 8)
    return broker


def test_the_first_thing_finds_room_whatever_its_size(little_room):
    room = AnswerRoom()
    room.take(20_000)
    for more in (room.check, lambda: room.take(0)):
        with pytest.raises(InvalidRequest):
            more()


def test_what_finds_no_room_ends_it(little_room):
    room = AnswerRoom()
    room.take(5_000, 2)
    room.check()
    with pytest.raises(InvalidRequest):
        room.take(4_500)
    with pytest.raises(InvalidRequest):
        room.check()


@pytest.mark.parametrize("version", range(1, 5))
def test_portions_are_the_message_that_they_stand_for(version):
    results = [DescribeConfigsResponse.DescribeConfigsResult(resource_name=f"t{index}", resource_type=2) for index in range(300)]
    for counts in ((), (0,), (1,), (126,), (127, 1), (130, 0, 170)):
        portions = Portions(DescribeConfigsResponse(throttle_time_ms=5), "results", version)
        taken = 0
        for count in counts:
            assert portions.add(results[taken : taken + count]) >= 0
            taken += count
        whole = DescribeConfigsResponse(throttle_time_ms=5, results=results[:taken]).encode(version)
        assert b"".join(portions.answer().encode_parts(version)) == whole


@pytest.mark.parametrize("version", [1, 4])
def test_many_resources_are_answered_as_few_are(grouped, monkeypatch, version):
    request = DescribeConfigsRequest(
        resources=[
            DescribeConfigsRequest.DescribeConfigsResource(resource_type=2, resource_name=name) for name in ("t", "no") * 4
        ],
        include_synonyms=True,
    )
    few = grouped.call(request, version)
    monkeypatch.setattr(describe_configs, "RESOURCES_AT_ONCE", 3)
    assert grouped.call(request, version) == few
    assert [one.error_code for one in few.results] == [0, 3] * 4


def test_options_asked_for_again_and_again(grouped, little_room):
    count = 50
    resource = DescribeConfigsRequest.DescribeConfigsResource(resource_type=4, resource_name="1")
    results = grouped.call(DescribeConfigsRequest(resources=[resource] * count), 4).results
    told = [one for one in results if not one.error_code]
    assert len(results) == count and len(told) == describe_configs.RESOURCES_AT_ONCE
    assert {one.error_code for one in results[len(told) :]} == {INVALID_REQUEST}
    assert "ask for less at a time" in results[-1].error_message


def test_offsets_asked_for_again_and_again(grouped, little_room):
    for topics in (
        None,
        [OffsetFetchRequest.OffsetFetchRequestTopics(name="t", partition_indexes=[0, 1])],
    ):
        asked = OffsetFetchRequest.OffsetFetchRequestGroup(group_id="g", topics=topics)
        first, *others = grouped.call(OffsetFetchRequest(groups=[asked] * 5), 8).groups
        assert [one.committed_offset for one in first.topics[0].partitions] == [7, 7]
        assert [(one.error_code, one.topics) for one in others] == [(INVALID_REQUEST, [])] * 4


def test_a_group_asked_for_again_and_again(grouped, little_room):
    protocols = [JoinGroupRequest.JoinGroupRequestProtocol(name="range", metadata=b"m" * 4_000)]
    joined = grouped.call(
        JoinGroupRequest(
            group_id="g", session_timeout_ms=60_000, rebalance_timeout_ms=60_000, protocol_type="consumer", protocols=protocols
        ),
        3,
    )
    assert joined.error_code == 0
    assigned = [SyncGroupRequest.SyncGroupRequestAssignment(member_id=joined.member_id, assignment=b"a" * 500)]
    synced = grouped.call(SyncGroupRequest(group_id="g", generation_id=1, member_id=joined.member_id, assignments=assigned), 3)
    assert synced.error_code == 0
    described = grouped.call(DescribeGroupsRequest(groups=["g"] * 5), 5).groups
    assert [(one.error_code, len(one.members)) for one in described] == [(0, 1)] * 2 + [(INVALID_REQUEST, 0)] * 3


def test_producers_asked_for_again_and_again(grouped, monkeypatch):
    asked = DescribeProducersRequest(topics=[DescribeProducersRequest.TopicRequest(name="t", partition_indexes=[0, 1])])
    assert [one.error_code for one in grouped.call(asked, 0).topics[0].partitions] == [0, 0]
    monkeypatch.setattr(answer_room, "MAX_ANSWER_BYTES", 0)
    assert [one.error_code for one in grouped.call(asked, 0).topics[0].partitions] == [INVALID_REQUEST] * 2


def test_clients_that_read_no_large_answers_are_closed_before_they_take_all_memory(make_rig):
    limit_bytes = 4 * FAIR_SHARE_BYTES
    rig = make_rig(limits=Limits(queued_max_request_bytes=limit_bytes))
    rig.on_list_groups = lambda context, request: ListGroupsResponse(
        groups=[ListGroupsResponse.ListedGroup(group_id="g" * 30_000) for _ in range(2 * FAIR_SHARE_BYTES // 30_000)]
    )
    silent = [rig.connect() for _ in range(12)]
    most_bytes = 0
    for client in silent:
        client.transport.room = 0
        client.send(ListGroupsRequest(), 3)
        rig.settle()
        most_bytes = max(most_bytes, rig.server.held_bytes)
        rig.clock.now_ns += 1_000_000
    assert limit_bytes < most_bytes <= (MOST_OVERDRAWN + 1) * limit_bytes
    closed = [client.closed for client in silent]
    assert any(closed) and closed == sorted(closed, reverse=True) and not closed[-1], "the most silent go first"
    reader = rig.connect()
    assert len(reader.ask(ListGroupsRequest(), 3).groups) == 2 * FAIR_SHARE_BYTES // 30_000
