"""Produce: acks, refusals that harm no one else, timeouts, topic ids, counts."""

import errno

import pytest

from fastlog._core import scan
from fastlog.api.context import AllowAll
from fastlog.errors import (
    CorruptMessage,
    InvalidRecord,
    InvalidRequiredAcks,
    InvalidTopic,
    InvalidTxnState,
    KafkaStorageError,
    MessageTooLarge,
    NotEnoughReplicas,
    NotLeaderOrFollower,
    RequestTimedOut,
    TopicAuthorizationFailed,
    UnknownServerError,
    UnknownTopicId,
    UnknownTopicOrPartition,
)
from fastlog.metadata.image import Partition as ImagePartition
from fastlog.metadata.image import Topic as ImageTopic

VERSIONS = range(3, 14)


def results(answer):
    return {
        (topic.topic_id if topic.name == "" else topic.name, one.index): (one.error_code, one.base_offset)
        for topic in answer.responses
        for one in topic.partition_responses
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_appends_and_answers(rig, batch, produce_request, version):
    [partition] = rig.add_topic("t")
    topic = partition.topic_id if version >= 13 else "t"
    client = rig.connect()
    for acks in (1, -1):
        client.ask(produce_request({topic: {0: batch(b"a", b"b")}}, acks=acks), version)
    answer = client.ask(produce_request({topic: {0: batch(b"c")}}), version)
    assert results(answer) == {(topic, 0): (0, 4)}
    [result] = answer.responses[0].partition_responses
    assert result.log_append_time_ms == -1
    assert result.log_start_offset == (0 if version >= 5 else -1)
    stored = scan(partition.read(0, 1 << 20).records)
    assert [(one.base_offset, one.count, one.leader_epoch) for one in stored] == [(0, 2, 0), (2, 2, 0), (4, 1, 0)]


def test_several_topics_and_partitions_in_one_request(rig, batch, produce_request):
    rig.add_topic("t", 2)
    rig.add_topic("u")
    client = rig.connect()
    client.ask(produce_request({"t": {1: batch(b"x")}}), 9)
    answer = client.ask(produce_request({"t": {0: batch(b"a"), 1: batch(b"b")}, "u": {0: batch(b"c")}}), 9)
    assert results(answer) == {("t", 0): (0, 0), ("t", 1): (0, 1), ("u", 0): (0, 0)}


def corrupt(data, position, value):
    damaged = bytearray(data)
    damaged[position] ^= value
    return bytes(damaged)


def test_what_one_partition_refuses_harms_no_other(rig, batch, produce_request):
    partitions = rig.add_topic("t", 8)
    rig.add_topic("small", max_message_bytes=100)
    good = batch(b"good")
    partitions[5].become(2, 1, (2, 1), (2,))
    answer = rig.connect().ask(
        produce_request(
            {
                "t": {
                    0: corrupt(good, 40, 1),  # CRC
                    1: corrupt(good, 60, 3),  # count
                    2: good[:-1],  # length
                    3: corrupt(good, 7, 1),  # base offset
                    4: good,
                    5: good,  # led by another broker
                    6: good + good,
                    7: None,
                    8: good,  # there is none
                },
                "small": {0: batch(bytes(200))},
                "gone": {0: good},
            }
        ),
        9,
    )
    codes = {key: code for key, (code, _) in results(answer).items()}
    assert codes == {
        ("t", 0): CorruptMessage.code,
        ("t", 1): CorruptMessage.code,
        ("t", 2): CorruptMessage.code,
        ("t", 3): CorruptMessage.code,
        ("t", 4): 0,
        ("t", 5): NotLeaderOrFollower.code,
        ("t", 6): InvalidRecord.code,
        ("t", 7): InvalidRecord.code,
        ("t", 8): UnknownTopicOrPartition.code,
        ("small", 0): MessageTooLarge.code,
        ("gone", 0): UnknownTopicOrPartition.code,
    }
    assert [partition.log.log_end_offset for partition in partitions] == [0, 0, 0, 0, 1, 0, 0, 0]
    messages = [one.error_message for one in answer.responses[0].partition_responses]
    assert messages[4] is None and all(messages[index] for index in (0, 1, 2, 3, 5, 6, 7, 8))


def test_what_is_hosted_elsewhere_and_what_is_unknown(rig, batch, produce_request):
    elsewhere = ImageTopic("far", b"f" * 16, (ImagePartition((2,), 2, 0, (2,)),))
    rig.view.publish(rig.view.image.with_topics([elsewhere]))
    client = rig.connect()
    by_name = client.ask(produce_request({"far": {0: batch(), 1: batch()}}), 9)
    assert results(by_name) == {
        ("far", 0): (NotLeaderOrFollower.code, -1),
        ("far", 1): (UnknownTopicOrPartition.code, -1),
    }
    by_id = client.ask(produce_request({b"f" * 16: {0: batch()}, b"?" * 16: {0: batch()}}), 13)
    assert results(by_id) == {
        (b"f" * 16, 0): (NotLeaderOrFollower.code, -1),
        (b"?" * 16, 0): (UnknownTopicId.code, -1),
    }


@pytest.mark.parametrize("acks", [2, -2, 32767])
def test_other_acks_are_refused(rig, batch, produce_request, acks):
    [partition] = rig.add_topic("t")
    answer = rig.connect().ask(produce_request({"t": {0: batch()}}, acks=acks), 9)
    assert results(answer) == {("t", 0): (InvalidRequiredAcks.code, -1)}
    assert partition.log.log_end_offset == 0


def test_too_few_replicas_in_sync(rig, batch, produce_request):
    [partition] = rig.add_topic("t", min_insync_replicas=2)
    client = rig.connect()
    assert results(client.ask(produce_request({"t": {0: batch()}}, acks=-1), 9)) == {("t", 0): (NotEnoughReplicas.code, -1)}
    assert results(client.ask(produce_request({"t": {0: batch()}}, acks=1), 9)) == {("t", 0): (0, 0)}
    assert partition.log.log_end_offset == 1


def test_acks_0_that_fails_closes_the_connection(rig, batch, produce_request, caplog):
    [partition] = rig.add_topic("t")
    client, other = rig.connect(), rig.connect()
    client.send(produce_request({"t": {0: batch()}}, acks=1), 9)
    client.send(produce_request({"t": {0: batch()}, "gone": {0: batch()}}, acks=0), 9)
    rig.settle()
    assert client.closed and len(client.answers()) == 1
    assert partition.log.log_end_offset == 2
    [record] = caplog.records
    assert "acks=0 to gone-0" in record.getMessage() and "UNKNOWN_TOPIC_OR_PARTITION" in record.getMessage()
    assert results(other.ask(produce_request({"t": {0: batch()}}), 9)) == {("t", 0): (0, 2)}


def test_clients_may_not_write_to_kafkas_own_topics(rig, batch, produce_request):
    rig.add_topic("__consumer_offsets")
    answer = rig.connect().ask(produce_request({"__consumer_offsets": {0: batch()}}), 9)
    assert results(answer) == {("__consumer_offsets", 0): (InvalidTopic.code, -1)}


def test_transactional_batches_are_refused_while_there_are_no_transactions(rig, batch, produce_request):
    [partition] = rig.add_topic("t")
    data = batch(attributes=0x10, producer_id=5, producer_epoch=0, base_sequence=0)
    answer = rig.connect().ask(produce_request({"t": {0: data}}, acks=-1, transactional_id="tx"), 9)
    assert results(answer) == {("t", 0): (InvalidTxnState.code, -1)}
    assert partition.log.log_end_offset == 0


def test_repeated_batches_of_an_idempotent_producer_are_answered_with_their_first_offset(rig, batch, produce_request):
    [partition] = rig.add_topic("t")
    client = rig.connect()
    first = batch(b"a", b"b", producer_id=5, producer_epoch=0, base_sequence=0)
    second = batch(b"c", producer_id=5, producer_epoch=0, base_sequence=2)
    for data in (first, second, first, second):  # all of them in one turn
        client.send(produce_request({"t": {0: data}}), 9)
    rig.settle()
    client.send(produce_request({"t": {0: first}}), 9)
    rig.settle()
    offsets = [answer.responses[0].partition_responses[0].base_offset for _, answer in client.answers()]
    assert offsets == [0, 2, 0, 2, 0]
    assert partition.log.log_end_offset == 3


def test_a_full_disk_fails_the_requests_of_its_turn_and_the_next_one_goes_on(rig, batch, produce_request):
    rig.add_topic("t", 2)
    clients = [rig.connect(), rig.connect()]
    for client in clients:
        client.send(produce_request({"t": {0: batch(), 1: batch()}}), 9)
    rig.disk.fail_writes("/t-0/", errno.ENOSPC)
    rig.settle()
    rig.disk.fail_writes("", 0)
    for client in clients:
        [(_, answer)] = client.answers()
        codes = {key: code for key, (code, _) in results(answer).items()}
        assert codes == {("t", 0): KafkaStorageError.code, ("t", 1): 0}
    assert results(clients[0].ask(produce_request({"t": {0: batch()}}), 9)) == {("t", 0): (0, 0)}


def test_an_exception_while_appending_is_that_partitions_alone(rig, batch, produce_request, monkeypatch, caplog):
    rig.add_topic("t", 2)
    append = rig.partitions.by_name["t", 1].append

    def fail(partition, records, acks):
        if partition.index == 0:
            raise ZeroDivisionError
        return original(partition, records, acks)

    original = type(append.__self__).append
    monkeypatch.setattr(type(append.__self__), "append", fail)
    answer = rig.connect().ask(produce_request({"t": {0: batch(), 1: batch()}}), 9)
    assert results(answer) == {("t", 0): (UnknownServerError.code, -1), ("t", 1): (0, 0)}
    assert len(caplog.records) == 1


class DenyWrites(AllowAll):
    def authorize(self, context, operation, resource_type, resource_name):
        return (operation, resource_type, resource_name) != (4, 2, "secret")


def test_topics_that_may_not_be_written_to(make_rig, batch, produce_request):
    rig = make_rig(policy=DenyWrites())
    [secret] = rig.add_topic("secret")
    rig.add_topic("t")
    answer = rig.connect().ask(produce_request({"secret": {0: batch()}, "t": {0: batch()}}), 9)
    assert results(answer) == {("secret", 0): (TopicAuthorizationFailed.code, -1), ("t", 0): (0, 0)}
    assert secret.log.log_end_offset == 0


# ---- waiting ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("acks", [1, -1])
def test_with_flush_messages_nothing_is_acknowledged_before_its_flush(rig, batch, produce_request, acks):
    rig.add_topic("t", flush_messages=1)
    rig.flusher.held = True
    clients = [rig.connect() for _ in range(3)]
    for client in clients:
        client.send(produce_request({"t": {0: batch()}}, acks=acks), 9)
    rig.settle()
    assert [client.answers() for client in clients] == [[], [], []]
    assert rig.parked_produces.count == 3
    rig.flusher.held = False
    rig.flusher.run()
    rig.settle()
    offsets = [answer.responses[0].partition_responses[0].base_offset for c in clients for _, answer in c.answers()]
    assert offsets == [0, 1, 2]
    assert rig.parked_produces.count == 0


def test_what_is_not_acknowledged_in_time_is_told_so(rig, batch, produce_request):
    [partition] = rig.add_topic("t", flush_messages=1)
    rig.add_topic("u")
    rig.flusher.held = True
    client = rig.connect()
    client.send(produce_request({"t": {0: batch()}, "u": {0: batch()}}, timeout_ms=500), 9)
    rig.settle()
    rig.advance(499)
    assert client.answers() == []
    rig.advance(1)
    [(_, answer)] = client.answers()
    assert results(answer) == {("t", 0): (RequestTimedOut.code, -1), ("u", 0): (0, 0)}
    assert partition.log.log_end_offset == 1 and rig.parked_produces.count == 0
    assert not partition._watchers


def test_a_lost_leader_ends_the_wait(rig, batch, produce_request):
    [partition] = rig.add_topic("t", flush_messages=1)
    rig.flusher.held = True
    client = rig.connect()
    client.send(produce_request({"t": {0: batch()}}, timeout_ms=60_000), 9)
    rig.settle()
    partition.become(2, 1, (2, 1), (2,))
    rig.settle()
    [(_, answer)] = client.answers()
    assert results(answer) == {("t", 0): (NotLeaderOrFollower.code, -1)}


def test_a_failed_flush_ends_the_wait(rig, batch, produce_request):
    [partition] = rig.add_topic("t", flush_messages=1)
    rig.flusher.held = True
    client = rig.connect()
    client.send(produce_request({"t": {0: batch()}}, timeout_ms=60_000), 9)
    rig.settle()
    partition.log.directory.fail("flush", OSError(errno.EIO, "Input/output error"))
    rig.settle()
    [(_, answer)] = client.answers()
    assert results(answer) == {("t", 0): (KafkaStorageError.code, -1)}


def test_a_client_that_goes_leaves_nothing_parked(rig, batch, produce_request):
    [partition] = rig.add_topic("t", flush_messages=1)
    rig.flusher.held = True
    client = rig.connect()
    client.send(produce_request({"t": {0: batch()}}, timeout_ms=2**31 - 1), 9)
    rig.settle()
    client.transport.reset = True
    rig.settle()
    assert client.closed and rig.parked_produces.count == 0 and not partition._watchers


# ---- counts -------------------------------------------------------------------------------------------------------------------


def test_messages_and_bytes_are_counted_per_topic_and_in_all(rig, batch, produce_request):
    rig.add_topic("t", 2)
    rig.add_topic("u")
    client = rig.connect()
    large, small = batch(b"a", b"b", b"c"), batch(b"d")
    for data in ({"t": {0: large, 1: small}, "u": {0: small}}, {"t": {0: small}}, {"t": {0: small[:-1]}, "gone": {0: small}}):
        client.send(produce_request(data), 9)
    rig.settle()
    values = rig.values()

    def value(name, *tags):
        return values[",".join((f"kafka.server:type=BrokerTopicMetrics,name={name}", *tags))]

    assert value("MessagesInPerSec", "topic=t") == 5
    assert value("MessagesInPerSec") == 6
    assert value("BytesInPerSec", "topic=t") == len(large) + 2 * len(small)
    assert value("BytesInPerSec") == len(large) + 3 * len(small)
    assert value("TotalProduceRequestsPerSec", "topic=t") == 3
    assert value("TotalProduceRequestsPerSec") == 3
    assert value("FailedProduceRequestsPerSec", "topic=t") == 1
    assert value("FailedProduceRequestsPerSec") == 2
    rig.topic_metrics.forget("t")
    rig.topic_metrics.forget("t")
    assert not any("topic=t" in name for name in rig.values())
