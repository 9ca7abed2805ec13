"""ListOffsets: ends, times, and what each version may ask for."""

import pytest

from fastlog import codecs
from fastlog._core import BatchBuilder, crc32c
from fastlog.api.context import AllowAll
from fastlog.api.list_offsets import SEARCHES_PER_TURN
from fastlog.errors import (
    CorruptMessage,
    FencedLeaderEpoch,
    InvalidRequest,
    TopicAuthorizationFailed,
    UnknownTopicOrPartition,
    UnsupportedVersion,
)
from fastlog.wire.messages.list_offsets import ListOffsetsRequest

T0 = 1_700_000_000_000
VERSIONS = range(1, 12)


def ask(client, version, *asked, epoch=-1, isolation_level=0):
    """Ask for (topic, partition, timestamp)s and return (error, timestamp, offset, leader epoch) of each."""
    topics = [
        ListOffsetsRequest.ListOffsetsTopic(
            name=topic,
            partitions=[
                ListOffsetsRequest.ListOffsetsPartition(partition_index=index, timestamp=timestamp, current_leader_epoch=epoch)
            ],
        )
        for topic, index, timestamp in asked
    ]
    request = ListOffsetsRequest(replica_id=-1, topics=topics, isolation_level=isolation_level, timeout_ms=0)
    answer = client.ask(request, version)
    return [(one.error_code, one.timestamp, one.offset, one.leader_epoch) for topic in answer.topics for one in topic.partitions]


@pytest.fixture
def client(rig, batch, produce_request):
    """A client of a broker whose topic t has three records, a second apart, in two batches."""
    rig.add_topic("t", 2)
    client = rig.connect()
    client.ask(produce_request({"t": {0: batch(b"a", timestamp_ms=T0)}}), 9)
    builder = BatchBuilder()
    builder.append(T0 + 2000, None, b"b")
    builder.append(T0 + 1000, None, b"c")
    client.ask(produce_request({"t": {0: builder.build()}}), 9)
    return client


@pytest.mark.parametrize("version", VERSIONS)
def test_ends_and_times(client, version):
    epoch = 0 if version >= 4 else -1
    assert ask(client, version, ("t", 0, -1), ("t", 0 + 1, -2)) == [(0, -1, 3, epoch), (0, -1, 0, epoch)]
    assert ask(client, version, ("t", 0, T0)) == [(0, T0, 0, epoch)]
    assert ask(client, version, ("t", 0, T0 + 1)) == [(0, T0 + 2000, 1, epoch)]
    assert ask(client, version, ("t", 0, T0 + 2001)) == [(0, -1, -1, -1)]
    assert ask(client, version, ("t", 1, T0)) == [(0, -1, -1, -1)]


@pytest.mark.parametrize("version", VERSIONS)
def test_special_timestamps_have_their_first_versions(client, version):
    answers = {-3: (7, (0, T0 + 2000, 1, 0)), -4: (8, (0, -1, 0, 0)), -5: (9, (0, -1, -1, -1)), -6: (11, (0, -1, -1, -1))}
    for timestamp, (since, answer) in answers.items():
        expected = answer if version >= since else (UnsupportedVersion.code, -1, -1, -1)
        assert ask(client, version, ("t", 0, timestamp)) == [expected], timestamp
    assert ask(client, version, ("t", 0, -7)) == [(UnsupportedVersion.code, -1, -1, -1)]


def test_errors_are_each_partitions_own(client):
    assert [one[0] for one in ask(client, 5, ("t", 0, -1), ("t", 9, -1), ("gone", 0, -1))] == [
        0,
        UnknownTopicOrPartition.code,
        UnknownTopicOrPartition.code,
    ]
    assert [one[0] for one in ask(client, 5, ("t", 0, -1), ("t", 0, -2), ("t", 1, -1))] == [
        InvalidRequest.code,
        InvalidRequest.code,
        0,
    ]
    client.rig.partitions.by_name["t", 0].become(1, 3, (1,), (1,))
    assert ask(client, 5, ("t", 0, -1), epoch=2)[0][0] == FencedLeaderEpoch.code
    assert ask(client, 5, ("t", 0, -1), isolation_level=1)[0][:3] == (0, -1, 3)


def test_a_partition_that_is_asked_for_twice_is_answered_once(client):
    asked = [ListOffsetsRequest.ListOffsetsPartition(partition_index=index, timestamp=-1) for index in (0, 1, 0)]
    request = ListOffsetsRequest(topics=[ListOffsetsRequest.ListOffsetsTopic(name="t", partitions=asked)])
    (topic,) = client.ask(request, 5).topics
    assert [(one.partition_index, one.error_code) for one in topic.partitions] == [(0, InvalidRequest.code), (1, 0)]


@pytest.mark.parametrize("codec", [codecs.GZIP, codecs.ZSTD])
def test_compressed_batches_are_looked_into_and_damaged_ones_refused(rig, produce_request, codec, caplog):
    rig.add_topic("t", 2)
    client = rig.connect()
    builder = BatchBuilder()
    for second in range(5):
        builder.append(T0 + second * 1000, None, b"x" * 50)
    good = builder.build(codecs.compress(codec, builder.payload()), codec)
    bad = builder.build(b"this is not compressed at all", codec)
    client.ask(produce_request({"t": {0: good, 1: bad}}), 9)
    assert ask(client, 5, ("t", 0, T0 + 2500)) == [(0, T0 + 3000, 3, 0)]
    assert ask(client, 5, ("t", 1, T0 + 2500))[0][0] == CorruptMessage.code
    assert len(caplog.records) == 1


class Deny(AllowAll):
    def authorize(self, context, operation, resource_type, resource_name):
        return operation != 8 or resource_name != "secret"


def test_topics_that_may_not_be_described(make_rig):
    rig = make_rig(policy=Deny())
    rig.add_topic("secret")
    rig.add_topic("t")
    answers = ask(rig.connect(), 5, ("secret", 0, -1), ("t", 0, -1))
    assert [one[0] for one in answers] == [TopicAuthorizationFailed.code, 0]


def test_an_exception_is_told_to_every_partition(client, monkeypatch, caplog):
    monkeypatch.setattr("fastlog.api.list_offsets.ListOffsetsHandler._look", lambda *arguments: 1 / 0)
    assert [one[0] for one in ask(client, 5, ("t", 0, -1), ("t", 1, -1))] == [-1, -1]
    assert "ListOffsets version 5" in caplog.text


def test_a_topic_of_which_nothing_is_asked_is_not_told_of(client):
    topics = [ListOffsetsRequest.ListOffsetsTopic(name=name) for name in ("t", "nowhere")]
    assert client.ask(ListOffsetsRequest(replica_id=-1, topics=topics), 5).topics == []


def lying_batch(timestamp_ms):
    """Return a batch whose header says that a record is from `timestamp_ms`, which none is."""
    builder = BatchBuilder()
    builder.append(T0, None, b"old")
    data = bytearray(builder.build())
    data[35:43] = timestamp_ms.to_bytes(8, "big")
    data[17:21] = crc32c(data[21:]).to_bytes(4, "big")
    return bytes(data)


def test_batches_that_say_they_are_newer_than_their_records_hold_up_nobody(rig, client, batch, produce_request):
    """A gigabyte of them would stop the broker for minutes."""
    rig.add_topic("u")
    for _ in range(30):
        client.ask(produce_request({"u": {0: lying_batch(T0 + 5000)}}), 9)
    client.ask(produce_request({"u": {0: batch(b"new", timestamp_ms=T0 + 5000)}}), 9)
    other = rig.connect()
    other.ask(produce_request({"t": {1: batch(b"x")}}), 9)
    asked = [
        ListOffsetsRequest.ListOffsetsTopic(
            name="u", partitions=[ListOffsetsRequest.ListOffsetsPartition(partition_index=0, timestamp=T0 + 1)]
        )
    ]
    client.send(ListOffsetsRequest(replica_id=-1, topics=asked), 5)
    answers = 0
    while not (found := client.answers()):
        other.send(produce_request({"t": {1: batch(b"x")}}), 9)
        rig.turn()
        answers += len(other.answers())
    ((_, answer),) = found
    assert (answer.topics[0].partitions[0].timestamp, answer.topics[0].partitions[0].offset) == (T0 + 5000, 30)
    assert answers >= 30, "others are served between its steps"


def test_a_search_ends_with_its_client(rig, client, produce_request):
    rig.add_topic("u")
    for _ in range(30):
        client.ask(produce_request({"u": {0: lying_batch(T0 + 5000)}}), 9)
    asked = [
        ListOffsetsRequest.ListOffsetsTopic(
            name="u", partitions=[ListOffsetsRequest.ListOffsetsPartition(partition_index=0, timestamp=T0 + 1)]
        )
    ]
    client.send(ListOffsetsRequest(replica_id=-1, topics=asked), 5)
    for _ in range(3):
        rig.turn()
    client.transport.ended = True
    for _ in range(3):
        rig.turn()
    assert client.closed
    assert rig.reactor.next_deadline_ns() > rig.clock.now_ns, "nothing is left to do"


def test_many_partitions_are_searched_some_a_turn(rig, client):
    rig.add_topic("many", 3 * SEARCHES_PER_TURN)
    topics = [
        ListOffsetsRequest.ListOffsetsTopic(
            name="many",
            partitions=[
                ListOffsetsRequest.ListOffsetsPartition(partition_index=index, timestamp=T0)
                for index in range(3 * SEARCHES_PER_TURN)
            ],
        )
    ]
    client.send(ListOffsetsRequest(replica_id=-1, topics=topics), 5)
    turns = 0
    while not (answers := client.answers()):
        rig.turn()
        turns += 1
    assert turns > 3
    assert [one.error_code for one in answers[0][1].topics[0].partitions] == [0] * 3 * SEARCHES_PER_TURN
