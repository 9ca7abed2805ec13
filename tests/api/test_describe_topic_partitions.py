"""DescribeTopicPartitions. The expected answers are those of Kafka 4.3.1, but for names that no topic can have."""

import pytest

from fastlog.api.context import AllowAll
from fastlog.api.describe_topic_partitions import DescribeTopicPartitionsHandler
from fastlog.metadata.image import Broker, Endpoint
from fastlog.wire.messages.describe_topic_partitions import DescribeTopicPartitionsRequest

ALL_OPERATIONS = 3576
NOT_TOLD = -(1 << 31)


@pytest.fixture
def serve(make_rig):
    """Return a client of a broker with topics a (one partition), b (four) and cc (three)."""

    def make(limit=2000, **options):
        rig = make_rig(**options)
        rig.registry.add(DescribeTopicPartitionsHandler(rig.view, limit).api())
        rig.view.publish(rig.view.image.with_brokers([Broker(1, 1, (Endpoint("PLAINTEXT", "here", 9092),))]))
        for name, count in (("b", 4), ("a", 1), ("cc", 3)):
            rig.add_topic(name, count)
        return rig.connect()

    return make


@pytest.fixture
def client(serve):
    return serve()


def call(client, names, limit=2000, cursor=None):
    return client.ask(
        DescribeTopicPartitionsRequest(
            topics=[DescribeTopicPartitionsRequest.TopicRequest(name=name) for name in names],
            response_partition_limit=limit,
            cursor=cursor and DescribeTopicPartitionsRequest.Cursor(topic_name=cursor[0], partition_index=cursor[1]),
        ),
        0,
    )


def ask(client, names, limit=2000, cursor=None):
    """Return ([(error, topic, partitions)], next cursor)."""
    answer = call(client, names, limit, cursor)
    following = answer.next_cursor
    return (
        [(one.error_code, one.name, [partition.partition_index for partition in one.partitions]) for one in answer.topics],
        following and (following.topic_name, following.partition_index),
    )


def test_a_topic_in_full(client):
    (topic,) = call(client, ["a"]).topics
    assert (topic.topic_id[:1], topic.is_internal, topic.topic_authorized_operations) == (b"a", False, ALL_OPERATIONS)
    (partition,) = topic.partitions
    assert (partition.error_code, partition.leader_id, partition.leader_epoch) == (0, 1, 0)
    assert (partition.replica_nodes, partition.isr_nodes, partition.offline_replicas) == ([1], [1], [])
    assert (partition.eligible_leader_replicas, partition.last_known_elr) == ([], [])


A, B, CC = (0, "a", [0]), (0, "b", [0, 1, 2, 3]), (0, "cc", [0, 1, 2])


@pytest.mark.parametrize(
    ("names", "limit", "cursor", "expected"),
    [
        ([], 2000, None, ([A, B, CC], None)),
        (["b", "a"], 2000, None, ([A, B], None)),
        (["a", "a"], 2000, None, ([A], None)),
        (["b", "a", "cc"], 2, None, ([A, (0, "b", [0])], ("b", 1))),
        (["cc", "b", "a"], 3, None, ([A, (0, "b", [0, 1])], ("b", 2))),
        ([], 1, None, ([A], ("b", 0))),
        ([], 0, None, ([A], ("b", 0))),
        ([], -1, None, ([A], ("b", 0))),
        (["b"], 4, None, ([B], None)),
        (["b", "cc"], 4, None, ([B], ("cc", 0))),
        (["b", "nope"], 4, None, ([B], ("nope", 0))),
        (["nope"], 2000, None, ([(3, "nope", [])], None)),
        (["a", "nope", "b"], 1, None, ([A], ("b", 0))),
        ([], 2000, ("b", 1), ([(0, "b", [1, 2, 3]), CC], None)),
        (["a", "b", "cc"], 2, ("b", 1), ([(0, "b", [1, 2])], ("b", 3))),
        (["a", "b", "cc"], 2000, ("b", 4), ([(0, "b", []), CC], None)),
        (["a", "b", "cc"], 2000, ("b", 9), ([(0, "b", []), CC], None)),
        ([], 2000, ("bb", 0), ([CC], None)),
        ([], 2000, ("", 0), ([A, B, CC], None)),
        ([], 2000, ("zz", 0), ([], None)),
        (["a", "nope"], 2000, ("nope", 1), ([(3, "nope", [])], None)),
        (["a"], 2000, ("b", 0), ([(42, "a", [])], None)),
        (["cc"], 2000, ("b", 0), ([(42, "cc", [])], None)),
        ([], 2000, ("b", -1), ([], None)),
        (["b"], 2000, ("b", -1), ([(42, "b", [])], None)),
        (["a b", ""], 2000, None, ([(17, "", []), (17, "a b", [])], None)),
    ],
)
def test_portions(client, names, limit, cursor, expected):
    assert ask(client, names, limit, cursor) == expected


def test_cursors_lead_through_everything(client):
    for limit in range(1, 9):
        found, cursor, rounds = [], None, 0
        while rounds == 0 or cursor is not None:
            topics, cursor = ask(client, [], limit, cursor)
            found += [(name, index) for _, name, indexes in topics for index in indexes]
            rounds += 1
        assert found == [("a", 0), *(("b", index) for index in range(4)), *(("cc", index) for index in range(3))]
        assert rounds == -(-8 // limit)


def test_the_brokers_limit_counts_too(serve):
    assert ask(serve(limit=3), ["b"]) == ([(0, "b", [0, 1, 2])], ("b", 3))


def test_topics_and_leaders_that_are_not_there(client):
    rig = client.rig
    internal = call(client, ["__consumer_offsets"]).topics[0]
    assert (internal.error_code, internal.is_internal, internal.topic_authorized_operations) == (3, True, ALL_OPERATIONS)
    rig.view.publish(rig.view.image.with_brokers([Broker(1, 1, (Endpoint("OTHER", "here", 9092),))]))
    (partition,) = call(client, ["a"]).topics[0].partitions
    assert (partition.error_code, partition.leader_id, partition.offline_replicas) == (72, -1, [])
    rig.view.publish(rig.view.image.with_brokers([]))
    (partition,) = call(client, ["a"]).topics[0].partitions
    assert (partition.error_code, partition.leader_id, partition.offline_replicas) == (5, -1, [1])


class Forbidding(AllowAll):
    def authorize(self, context, operation, resource_type, resource_name):
        return (operation, resource_name) != (8, "b")


def test_topics_that_may_not_be_seen(serve):
    client = serve(policy=Forbidding())
    assert ask(client, []) == ([A, CC], None)
    answer = call(client, ["a", "b"]).topics
    assert [(one.error_code, one.name, one.topic_id[:1], one.topic_authorized_operations) for one in answer] == [
        (0, "a", b"a", ALL_OPERATIONS),
        (29, "b", b"\0", NOT_TOLD),
    ]
