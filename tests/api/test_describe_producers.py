"""DescribeProducers. The expected answers are those of Kafka 4.3.1."""

import errno

import pytest

from fastlog.api.context import AllowAll
from fastlog.api.describe_producers import DescribeProducersHandler
from fastlog.wire.messages.describe_producers import DescribeProducersRequest

T0 = 1_700_000_000_000
FIELDS = ("producer_id", "producer_epoch", "last_sequence", "last_timestamp", "coordinator_epoch", "current_txn_start_offset")


@pytest.fixture
def serve(make_rig):
    def make(**options):
        rig = make_rig(**options)
        rig.registry.add(DescribeProducersHandler(rig.partitions, rig.view).api())
        rig.add_topic("t", 2)
        return rig.connect()

    return make


def request(*topics):
    return DescribeProducersRequest(
        topics=[DescribeProducersRequest.TopicRequest(name=name, partition_indexes=list(indexes)) for name, indexes in topics]
    )


def ask(client, *topics):
    """Return [(topic, [(partition, error, whether there is a text, producers)])]."""
    return [
        (
            topic.name,
            [
                (
                    one.partition_index,
                    one.error_code,
                    one.error_message is not None,
                    [tuple(getattr(producer, name) for name in FIELDS) for producer in one.active_producers],
                )
                for one in topic.partitions
            ],
        )
        for topic in client.ask(request(*topics), 0).topics
    ]


def test_producers_and_their_last_batches(serve, batch, produce_request):
    client = serve()
    producer = {"producer_id": 7, "producer_epoch": 2}
    for sequence, values in ((0, [b"a", b"b"]), (2, [b"c"])):
        produced = batch(*values, timestamp_ms=T0 + sequence, base_sequence=sequence, **producer)
        client.ask(produce_request({"t": {0: produced}}), 9)
    client.ask(produce_request({"t": {0: batch(b"x"), 1: batch(b"y")}}), 9)
    described = (0, 0, False, [(7, 2, 2, T0 + 2, -1, -1)])
    assert ask(client, ("t", [0, 1, 0])) == [("t", [described, (1, 0, False, []), described])]
    assert ask(client) == []
    assert ask(client, ("t", [])) == [("t", [])]


def test_a_first_batch_that_failed_is_nobodys(serve, batch, produce_request):
    client = serve()
    client.rig.disk.fail_writes("/t-0/", errno.ENOSPC)
    answer = client.ask(produce_request({"t": {0: batch(b"a", producer_id=7, producer_epoch=0, base_sequence=0)}}), 9)
    assert answer.responses[0].partition_responses[0].error_code == 56
    assert ask(client, ("t", [0])) == [("t", [(0, 0, False, [])])]


def test_what_is_staged_in_the_same_turn_is_not_told(serve, batch):
    client = serve()
    partition = client.rig.partitions.get("t", 0)
    from fastlog._core import Slice

    produced = batch(b"a", producer_id=7, producer_epoch=0, base_sequence=0)
    assert partition.append(Slice(bytearray(produced)), 1).error == 0
    assert partition.active_producers() == []
    client.rig.settle()
    assert [producer_id for producer_id, _ in partition.active_producers()] == [7]


def test_errors_are_each_partitions_own(serve):
    client = serve()
    assert ask(client, ("t", [9]), ("gone", [0]), ("", [0]), ("a b", [0])) == [
        ("t", [(9, 3, True, [])]),
        ("gone", [(0, 3, True, [])]),
        ("", [(0, 17, True, [])]),
        ("a b", [(0, 17, True, [])]),
    ]
    client.rig.partitions.get("t", 1).become(2, 1, (1, 2), (1, 2))
    assert ask(client, ("t", [1, 0])) == [("t", [(1, 6, True, []), (0, 0, False, [])])]


class Forbidding(AllowAll):
    def authorize(self, context, operation, resource_type, resource_name):
        return (operation, resource_name) != (3, "t")


def test_who_may_not_read(serve):
    assert ask(serve(policy=Forbidding()), ("t", [0])) == [("t", [(0, 29, True, [])])]


def test_an_exception_is_told_to_every_partition(serve, monkeypatch, caplog):
    monkeypatch.setattr("fastlog.api.describe_producers.DescribeProducersHandler._look", lambda *arguments: 1 / 0)
    assert ask(serve(), ("t", [0, 1])) == [("t", [(0, -1, True, []), (1, -1, True, [])])]
    assert "DescribeProducers version 0" in caplog.text
