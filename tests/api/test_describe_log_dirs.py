"""DescribeLogDirs. The expected answers are those of Kafka 4.3.1."""

import errno

import pytest

from fastlog.api.context import AllowAll
from fastlog.api.describe_log_dirs import DescribeLogDirsHandler
from fastlog.wire.messages.describe_log_dirs import DescribeLogDirsRequest


@pytest.fixture
def serve(make_rig, batch, produce_request):
    """Return a client of a broker with topics a and b (two partitions), and a batch in a-0."""

    def make(**options):
        rig = make_rig(**options)
        rig.registry.add(DescribeLogDirsHandler(rig.reactor, rig.logs, lambda path: f"/whole{path}").api())
        rig.add_topic("a")
        rig.add_topic("b", 2)
        client = rig.connect()
        client.produced = batch(b"value")
        client.ask(produce_request({"a": {0: client.produced}}), 9)
        return client

    return make


def call(client, topics, version=5):
    asked = topics and [
        DescribeLogDirsRequest.DescribableLogDirTopic(topic=name, partitions=list(indexes)) for name, indexes in topics
    ]
    return client.ask(DescribeLogDirsRequest(topics=asked), version)


def sizes(answer):
    """Return {(topic, partition): size} of an answer's only directory."""
    (result,) = answer.results
    return {(topic.name, one.partition_index): one.partition_size for topic in result.topics for one in topic.partitions}


@pytest.mark.parametrize("version", range(1, 6))
def test_every_version(serve, version):
    client = serve()
    answer = call(client, None, version)
    assert answer.error_code == 0
    assert sizes(answer) == {("a", 0): len(client.produced), ("b", 0): 0, ("b", 1): 0}
    (result,) = answer.results
    assert (result.error_code, result.log_dir, result.is_cordoned) == (0, f"/whole{client.rig.directory}", False)
    assert {(one.offset_lag, one.is_future_key) for topic in result.topics for one in topic.partitions} == {(0, False)}
    if version >= 4:
        assert 0 <= result.usable_bytes <= result.total_bytes > 0
    else:
        assert (result.total_bytes, result.usable_bytes) == (-1, -1)


def test_what_is_asked_for(serve):
    client = serve()
    assert sizes(call(client, [("b", [1, 1]), ("a", [0, 7]), ("nope", [0])])) == {("b", 1): 0, ("a", 0): len(client.produced)}
    assert sizes(call(client, [("b", [1]), ("b", [0])])) == {("b", 0): 0, ("b", 1): 0}
    assert sizes(call(client, [])) == sizes(call(client, [("b", [])])) == {}


def test_a_fenced_directory_lists_nothing(serve):
    client = serve()
    client.rig.partitions.get("a", 0).log.directory.fail("test", OSError(errno.EIO, "broken"))
    answer = call(client, None)
    (result,) = answer.results
    assert (answer.error_code, result.error_code, result.topics, result.total_bytes) == (0, 56, [], -1)


def test_a_file_system_that_does_not_answer(serve, monkeypatch, caplog):
    client = serve()

    def fail(path):
        raise OSError(errno.ESTALE, "stale")

    monkeypatch.setattr(client.rig.disk, "space_bytes", fail, raising=False)
    answer = call(client, [("a", [0])])
    assert sizes(answer) == {("a", 0): len(client.produced)}
    assert (answer.results[0].total_bytes, answer.results[0].usable_bytes) == (-1, -1)
    assert "stale" in caplog.text


def test_through_the_whole_broker(broker):
    answer = broker.call(DescribeLogDirsRequest(topics=None), 5)
    (result,) = answer.results
    assert (result.log_dir, result.topics) == (broker.DATA, [])
    assert 0 < result.usable_bytes <= result.total_bytes == 1 << 40


class Forbidding(AllowAll):
    def authorize(self, context, operation, resource_type, resource_name):
        return operation != 8


@pytest.mark.parametrize(("version", "code"), [(2, 0), (3, 31), (5, 31)])
def test_who_may_not_look(serve, version, code):
    answer = call(serve(policy=Forbidding()), None, version)
    assert (answer.error_code, answer.results) == (code, [])
