"""DeleteRecords. The expected codes are those with which Kafka 4.3.1 answered the same requests."""

import errno

import pytest

from fastlog.api.context import AllowAll
from fastlog.api.delete_records import DeleteRecordsHandler
from fastlog.wire.messages.delete_records import DeleteRecordsRequest
from fastlog.wire.messages.list_offsets import ListOffsetsRequest


@pytest.fixture
def serve(make_rig):
    """Return a client of a broker whose topic t has two partitions; the first has three records."""

    def make(**options):
        rig = make_rig(**options)
        rig.registry.add(DeleteRecordsHandler(rig.partitions, rig.view).api())
        rig.add_topic("t", 2)
        return rig.connect()

    return make


@pytest.fixture
def client(serve, batch, produce_request):
    made = serve()
    made.ask(produce_request({"t": {0: batch(b"a")}}), 9)
    made.ask(produce_request({"t": {0: batch(b"b", b"c")}}), 9)
    return made


def delete(client, *wishes, version=2, timeout_ms=1000):
    """Ask for (topic, {partition: offset})s and return {topic: [(partition, low watermark, error)]}."""
    topics = [
        DeleteRecordsRequest.DeleteRecordsTopic(
            name=name,
            partitions=[
                DeleteRecordsRequest.DeleteRecordsPartition(partition_index=index, offset=offset) for index, offset in offsets
            ],
        )
        for name, offsets in wishes
    ]
    answer = client.ask(DeleteRecordsRequest(topics=topics, timeout_ms=timeout_ms), version)
    return {
        topic.name: [(one.partition_index, one.low_watermark, one.error_code) for one in topic.partitions]
        for topic in answer.topics
    }


def first_offset(client):
    asked = ListOffsetsRequest.ListOffsetsPartition(partition_index=0, timestamp=-2)
    request = ListOffsetsRequest(topics=[ListOffsetsRequest.ListOffsetsTopic(name="t", partitions=[asked])])
    return client.ask(request, 4).topics[0].partitions[0].offset


@pytest.mark.parametrize("version", range(3))
def test_every_version(client, fetch_request, version):
    assert delete(client, ("t", [(0, 2)]), version=version) == {"t": [(0, 2, 0)]}
    assert first_offset(client) == 2
    answer = client.ask(fetch_request({"t": {0: 1}}), 11)
    assert answer.responses[0].partitions[0].error_code == 1
    assert client.ask(fetch_request({"t": {0: 2}}), 11).responses[0].partitions[0].log_start_offset == 2
    assert delete(client, ("t", [(0, 1)]), version=version) == {"t": [(0, 2, 0)]}, "a start never goes back"
    assert delete(client, ("t", [(0, -1)]), version=version) == {"t": [(0, 3, 0)]}


def test_offsets_that_are_not_there(client):
    assert delete(client, ("t", [(0, 4)])) == {"t": [(0, -1, 1)]}
    assert delete(client, ("t", [(0, -2)]), ("u", [(0, 0)])) == {"t": [(0, -1, 1)], "u": [(0, -1, 3)]}
    assert delete(client, ("t", [(1, 0), (2, 0), (-1, 0)])) == {"t": [(1, 0, 0), (2, -1, 3), (-1, -1, 3)]}
    assert first_offset(client) == 0


def test_of_several_wishes_for_a_partition_the_last_counts(client):
    assert delete(client, ("t", [(0, 2), (0, 1)])) == {"t": [(0, 1, 0)]}
    assert delete(client, ("t", [(0, 3)]), ("t", [(0, 2)]), ("v", [])) == {"t": [(0, 2, 0)]}
    assert delete(client) == {}


@pytest.mark.parametrize("timeout_ms", [0, -1])
def test_the_leader_alone_needs_no_time(client, timeout_ms):
    assert delete(client, ("t", [(0, 2)]), timeout_ms=timeout_ms) == {"t": [(0, 2, 0)]}


def test_whole_segments_below_the_start_go(client, batch, produce_request):
    log = client.rig.partitions.get("t", 0).log
    log.roll()
    client.ask(produce_request({"t": {0: batch(b"d")}}), 9)
    delete(client, ("t", [(0, 3)]))
    assert log.delete_old_segments() == 1
    assert log.segment_base_offsets == [3]


def test_internal_topics_and_compacted_ones_keep_their_records(serve):
    client = serve()
    rig = client.rig
    rig.add_topic("__consumer_offsets")
    assert delete(client, ("__consumer_offsets", [(0, 0)])) == {"__consumer_offsets": [(0, -1, 17)]}
    log = rig.partitions.get("t", 0).log
    object.__setattr__(log.config, "cleanup_policy", "compact")
    assert delete(client, ("t", [(0, 0)])) == {"t": [(0, -1, 44)]}


def test_a_partition_that_is_led_elsewhere_or_cannot_be_used(client):
    rig = client.rig
    rig.partitions.get("t", 1).become(2, 1, (1, 2), (1, 2))
    assert delete(client, ("t", [(1, 0)])) == {"t": [(1, -1, 6)]}
    rig.partitions.get("t", 0).log.directory.fail("test", OSError(errno.EIO, "broken"))
    assert delete(client, ("t", [(0, 1)])) == {"t": [(0, -1, 56)]}


class Forbidding(AllowAll):
    def authorize(self, context, operation, resource_type, resource_name):
        return (operation, resource_name) != (6, "t")


def test_who_may_not_delete(serve):
    client = serve(policy=Forbidding())
    assert delete(client, ("t", [(0, 0)]), ("gone", [(0, 0)])) == {"t": [(0, -1, 29)], "gone": [(0, -1, 3)]}


def test_an_exception_is_told_to_every_partition(client, monkeypatch, caplog):
    monkeypatch.setattr("fastlog.api.delete_records.DeleteRecordsHandler._delete", lambda *arguments: 1 / 0)
    assert delete(client, ("t", [(0, 0), (1, 0)])) == {"t": [(0, -1, -1), (1, -1, -1)]}
    assert "DeleteRecords version 2" in caplog.text
