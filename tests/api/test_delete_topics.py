"""The expected codes are those with which Kafka 4.3.1 answered the same requests."""

import pytest

from fastlog.wire.messages.create_topics import CreateTopicsRequest
from fastlog.wire.messages.delete_topics import DeleteTopicsRequest

State = DeleteTopicsRequest.DeleteTopicState


@pytest.fixture
def topics(broker):
    """Two topics and their ids by name."""
    return make(broker, "a", "b")


def make(broker, *names):
    wanted = [CreateTopicsRequest.CreatableTopic(name=name, num_partitions=2, replication_factor=1) for name in names]
    answer = broker.call(CreateTopicsRequest(topics=wanted, timeout_ms=2_000), 7).topics
    assert [one.error_code for one in answer] == [0] * len(names)
    return {one.name: one.topic_id for one in answer}


def delete(broker, *states, timeout_ms=2_000):
    answer = broker.call(DeleteTopicsRequest(topics=list(states), timeout_ms=timeout_ms), 6)
    return [(one.name, one.topic_id, one.error_code) for one in answer.responses]


def test_by_name_and_by_id(broker, topics):
    assert delete(broker, State(name="a"), State(topic_id=topics["b"])) == [("a", topics["a"], 0), ("b", topics["b"], 0)]
    assert dict(broker.node.view.image.topics) == {}
    assert len(broker.node.partitions) == len(broker.node.logs) == 0
    assert make(broker, "a")["a"] != topics["a"]


@pytest.mark.parametrize("version", range(1, 6))
def test_older_versions_name_topics(broker, topics, version):
    answer = broker.call(DeleteTopicsRequest(topic_names=["a", "nope"], timeout_ms=2_000), version).responses
    assert sorted((one.name, one.error_code) for one in answer) == [("a", 0), ("nope", 3)]


def test_what_is_refused(broker, topics):
    other = b"x" * 16
    for states, expected in (
        ([State(name="nope")], [("nope", bytes(16), 3)]),
        ([State(name="a b"), State(name="")], [("a b", bytes(16), 3), ("", bytes(16), 3)]),
        ([State(topic_id=other)], [(None, other, 100)]),
        ([State(name="a", topic_id=topics["a"])], [("a", topics["a"], 42)]),
        ([State()], [(None, bytes(16), 42)]),
        ([State(name="a"), State(name="a")], [("a", bytes(16), 42)]),
        ([State(name="__cluster_metadata")], [("__cluster_metadata", bytes(16), 3)]),
        ([], []),
    ):
        assert delete(broker, *states) == expected
    by_both = delete(broker, State(name="a"), State(topic_id=topics["a"]))
    assert [code for _, _, code in by_both] == [42, 42]
    assert sorted(broker.node.view.image.topics) == ["a", "b"]


def test_without_time_nothing_is_begun(broker, topics):
    assert delete(broker, State(name="a"), timeout_ms=0)[0][2] == 7
    assert sorted(broker.node.view.image.topics) == ["a", "b"]


def test_deletion_can_be_disabled(new_broker):
    broker = new_broker({"delete.topic.enable": "false"}).start()
    topics = make(broker, "a")
    assert delete(broker, State(name="a"), State(topic_id=topics["a"])) == [("a", bytes(16), 73), (None, topics["a"], 73)]
    answer = broker.call(DeleteTopicsRequest(topic_names=["a"], timeout_ms=2_000), 2).responses
    assert [one.error_code for one in answer] == [42]
    assert list(broker.node.view.image.topics) == ["a"]


@pytest.mark.parametrize("how", ["kill", "lose", "stop"])
def test_a_deleted_topic_stays_away(broker, topics, how):
    delete(broker, State(name="a"))
    broker.restart(how)
    assert list(broker.node.view.image.topics) == ["b"]
    assert sorted((log.topic, log.partition) for log in broker.node.logs) == [("b", 0), ("b", 1)]


class Forbidding:
    def authorize(self, context, operation, resource_type, resource_name):
        return (operation, resource_name) not in ((6, "a"), (8, "b"))

    def throttle(self, context, quota, amount):
        return 0


def test_who_may_not_delete_or_see(broker, topics):
    broker.node._server.policy = Forbidding()
    broker._peer = None
    assert delete(broker, State(name="a"))[0][2] == 29
    assert delete(broker, State(topic_id=topics["a"]))[0][2] == 29
    assert delete(broker, State(topic_id=topics["b"])) == [(None, topics["b"], 100)]
    assert sorted(broker.node.view.image.topics) == ["a", "b"]
