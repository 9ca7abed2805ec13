"""The expected codes are those with which Kafka 4.3.1 answered the same requests."""

import pytest

from fastlog.wire.messages.create_partitions import CreatePartitionsRequest
from fastlog.wire.messages.create_topics import CreateTopicsRequest
from fastlog.wire.messages.metadata import MetadataRequest

Assignment = CreatePartitionsRequest.CreatePartitionsAssignment


def wish(name, count, assignments=None):
    given = None if assignments is None else [Assignment(broker_ids=list(brokers)) for brokers in assignments]
    return CreatePartitionsRequest.CreatePartitionsTopic(name=name, count=count, assignments=given)


def grow(broker, *wishes, version=3, validate_only=False, timeout_ms=2_000):
    request = CreatePartitionsRequest(topics=list(wishes), timeout_ms=timeout_ms, validate_only=validate_only)
    return [(one.name, one.error_code) for one in broker.call(request, version).results]


def leaders(broker, name):
    request = MetadataRequest(topics=[MetadataRequest.MetadataRequestTopic(name=name)])
    (topic,) = broker.call(request, 12).topics
    return [one.leader_id for one in topic.partitions]


@pytest.fixture
def topics(broker):
    """Topics t with two partitions and u with one."""
    wanted = [
        CreateTopicsRequest.CreatableTopic(name=name, num_partitions=count, replication_factor=1)
        for name, count in (("t", 2), ("u", 1))
    ]
    assert [one.error_code for one in broker.call(CreateTopicsRequest(topics=wanted, timeout_ms=2_000), 7).topics] == [0, 0]


@pytest.mark.parametrize("version", range(4))
def test_every_version(broker, topics, version):
    assert grow(broker, wish("t", 3), version=version, validate_only=True) == [("t", 0)]
    assert leaders(broker, "t") == [1, 1]
    assert grow(broker, wish("t", 4), wish("u", 2), version=version) == [("t", 0), ("u", 0)]
    assert (leaders(broker, "t"), leaders(broker, "u")) == ([1] * 4, [1] * 2)
    assert broker.node.partitions.get("t", 3).is_leader
    assert [one.leader_epoch for one in broker.node.view.image.topics["t"].partitions] == [0] * 4
    assert grow(broker, wish("t", 4), version=version) == [("t", 37)]


def test_brokers_may_be_given(broker, topics):
    assert grow(broker, wish("t", 4, [[1], [1]])) == [("t", 0)]
    assert [one.replicas for one in broker.node.view.image.topics["t"].partitions] == [(1,)] * 4


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (wish("t", 2), 37),
        (wish("t", 1), 37),
        (wish("t", 0), 37),
        (wish("t", -1), 37),
        (wish("nope", 2), 3),
        (wish("a b", 2), 3),
        (wish("", 2), 3),
        (wish("__cluster_metadata", 4), 3),
        (wish("t", 4, [[1]]), 39),
        (wish("t", 3, [[1], [1]]), 39),
        (wish("t", 3, []), 39),
        (wish("t", 3, [[]]), 39),
        (wish("t", 3, [[1, 1]]), 39),
        (wish("t", 3, [[9]]), 39),
        (wish("t", 3, [[1, 9]]), 39),
        (wish("t", 3, [[-1]]), 39),
    ],
)
def test_what_is_refused(broker, topics, wrong, code):
    assert grow(broker, wrong, wish("u", 2)) == [(wrong.name, code), ("u", 0)]
    assert leaders(broker, "t") == [1, 1]


def test_a_topic_named_twice_and_too_many_partitions(broker, topics):
    assert grow(broker, wish("t", 3), wish("t", 4), wish("nope", 4), wish("u", 2)) == [("t", 42), ("nope", 3), ("u", 0)]
    assert grow(broker, wish("t", 10_003), validate_only=True) == [("t", 44)]
    assert grow(broker, wish("t", 10_002), validate_only=True) == [("t", 0)]
    assert grow(broker) == []


def test_texts_go_with_errors_that_say_more_than_their_code(broker, topics):
    request = CreatePartitionsRequest(topics=[wish("t", 1), wish("nope", 1)], timeout_ms=2_000)
    assert [one.error_message for one in broker.call(request, 3).results] == [
        "Topic t has 2 partition(s), and 1 would be fewer.",
        None,
    ]


@pytest.mark.parametrize("timeout_ms", [0, -1])
def test_without_time_nothing_is_begun(broker, topics, timeout_ms):
    assert grow(broker, wish("t", 3), timeout_ms=timeout_ms) == [("t", 7)]
    assert leaders(broker, "t") == [1, 1]


@pytest.mark.parametrize("how", ["stop", "kill", "lose"])
def test_partitions_stay(broker, topics, how):
    assert grow(broker, wish("t", 5)) == [("t", 0)]
    broker.restart(how)
    assert leaders(broker, "t") == [1] * 5


class Forbidding:
    def authorize(self, context, operation, resource_type, resource_name):
        return (operation, resource_name) != (7, "t")

    def throttle(self, context, quota, amount):
        return 0


def test_who_may_not_alter(broker, topics):
    broker.node._server.policy = Forbidding()
    broker._peer = None
    assert grow(broker, wish("t", 3), wish("u", 3)) == [("t", 29), ("u", 0)]


def test_where_the_controller_is_another(broker, topics):
    broker.node._driver.is_active = False
    assert grow(broker, wish("t", 3)) == [("t", 41)]
