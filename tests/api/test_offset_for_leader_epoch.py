"""OffsetForLeaderEpoch. The expected codes are those with which Kafka 4.3.1 answered the same requests."""

import pytest

from fastlog.api.context import AllowAll
from fastlog.api.offset_for_leader_epoch import OffsetForLeaderEpochHandler
from fastlog.wire.messages.offset_for_leader_epoch import OffsetForLeaderEpochRequest


@pytest.fixture
def serve(make_rig, batch, produce_request):
    """Return a client of a broker whose topic t has two records of epoch 0 and one of epoch 3."""

    def make(**options):
        rig = make_rig(**options)
        rig.registry.add(OffsetForLeaderEpochHandler(rig.partitions, rig.view).api())
        partition, _ = rig.add_topic("t", 2)
        client = rig.connect()
        client.ask(produce_request({"t": {0: batch(b"a", b"b")}}), 9)
        partition.become(1, 3, (1,), (1,))
        client.ask(produce_request({"t": {0: batch(b"c")}}), 9)
        return client

    return make


def ask(client, *asked, version=4, replica_id=-1):
    """Ask for (topic, partition, epoch, current epoch)s and return (error, epoch, end offset) of each."""
    topics = [
        OffsetForLeaderEpochRequest.OffsetForLeaderTopic(
            topic=topic,
            partitions=[
                OffsetForLeaderEpochRequest.OffsetForLeaderPartition(
                    partition=index, leader_epoch=epoch, current_leader_epoch=current
                )
            ],
        )
        for topic, index, epoch, current in asked
    ]
    answer = client.ask(OffsetForLeaderEpochRequest(replica_id=replica_id, topics=topics), version)
    return [(one.error_code, one.leader_epoch, one.end_offset) for topic in answer.topics for one in topic.partitions]


@pytest.mark.parametrize("version", [2, 3, 4])
def test_where_epochs_end(serve, version):
    client = serve()
    asked = [("t", 0, epoch, -1) for epoch in (-2, -1, 0, 1, 2, 3, 4)]
    assert ask(client, *asked, version=version) == [
        (0, -2, 0),
        (0, -1, -1),
        (0, 0, 2),
        (0, 0, 2),
        (0, 0, 2),
        (0, 3, 3),
        (0, -1, -1),
    ]
    for replica_id in (-2, 5):
        assert ask(client, ("t", 0, 0, 3), version=version, replica_id=replica_id) == [(0, 0, 2)]


def test_errors_are_each_partitions_own(serve):
    client = serve()
    asked = [
        ("t", 0, 0, 2),
        ("t", 0, 0, 4),
        ("t", 0, 0, -2),
        ("t", 9, 0, -1),
        ("t", -1, 0, -1),
        ("gone", 0, 0, -1),
        ("t", 1, 0, 0),
    ]
    errors = [74, 75, 74, 3, 3, 3]
    assert ask(client, *asked) == [*((error, -1, -1) for error in errors), (0, 0, 0)]
    client.rig.partitions.get("t", 1).become(2, 1, (1, 2), (1, 2))
    assert ask(client, ("t", 1, 0, -1), ("t", 0, 0, -1)) == [(6, -1, -1), (0, 0, 2)]


class Policy(AllowAll):
    def __init__(self, is_broker):
        self._is_broker = is_broker

    def authorize(self, context, operation, resource_type, resource_name):
        return self._is_broker if operation == 9 else resource_name != "t" or operation != 8


@pytest.mark.parametrize(("is_broker", "expected"), [(False, (29, -1, -1)), (True, (0, 3, 3))])
def test_who_may_not_describe_a_topic(serve, is_broker, expected):
    client = serve(policy=Policy(is_broker))
    assert ask(client, ("t", 0, 3, -1)) == [expected]


def test_an_exception_is_told_to_every_partition(serve, monkeypatch, caplog):
    monkeypatch.setattr("fastlog.api.offset_for_leader_epoch.OffsetForLeaderEpochHandler._look", lambda *arguments: 1 / 0)
    assert ask(serve(), ("t", 0, 0, -1), ("t", 1, 0, -1)) == [(-1, -1, -1)] * 2
    assert "OffsetForLeaderEpoch version 4" in caplog.text
