"""The expected codes are those with which Kafka 4.3.1 answered the same requests."""

import pytest

from fastlog.api import metadata as metadata_module
from fastlog.api.context import RequestContext
from fastlog.api.metadata import MetadataHandler
from fastlog.env.reactor import Reactor
from fastlog.metadata.image import Broker, Endpoint, Image, Partition, Topic
from fastlog.metadata.view import ClusterView
from fastlog.wire.messages.create_topics import CreateTopicsRequest
from fastlog.wire.messages.metadata import MetadataRequest, MetadataResponse

NOT_ASKED = -(1 << 31)


def asked(**fields):
    return MetadataRequest.MetadataRequestTopic(**fields)


def ask(broker, topics, version=12, **fields):
    return broker.call(MetadataRequest(topics=topics, **fields), version)


@pytest.fixture
def topic_id(broker):
    wanted = CreateTopicsRequest.CreatableTopic(name="t", num_partitions=2, replication_factor=1)
    return broker.call(CreateTopicsRequest(topics=[wanted], timeout_ms=2_000), 7).topics[0].topic_id


@pytest.mark.parametrize("version", range(14))
def test_every_version(broker, topic_id, version):
    answer = ask(broker, [asked(name="t")], version)
    assert [(one.node_id, one.host, one.port, one.rack) for one in answer.brokers] == [(1, "broker", 9092, None)]
    assert answer.controller_id == (1 if version >= 1 else -1)
    assert answer.cluster_id == (broker.node.view.image.cluster_id if version >= 2 else None)
    topic = answer.topics[0]
    assert (topic.name, topic.error_code, topic.is_internal) == ("t", 0, False)
    assert topic.topic_id == (topic_id if version >= 10 else bytes(16))
    epoch = 0 if version >= 7 else -1
    assert [
        (
            one.error_code,
            one.partition_index,
            one.leader_id,
            one.leader_epoch,
            one.replica_nodes,
            one.isr_nodes,
            one.offline_replicas,
        )
        for one in topic.partitions
    ] == [(0, 0, 1, epoch, [1], [1], []), (0, 1, 1, epoch, [1], [1], [])]


def test_all_or_no_topics(broker, topic_id):
    assert [one.name for one in ask(broker, [], 0).topics] == ["t"]
    assert [one.name for one in ask(broker, None, 1).topics] == ["t"]
    assert [one.name for one in ask(broker, None, 13).topics] == ["t"]
    assert ask(broker, [], 1).topics == []


def test_by_id(broker, topic_id):
    assert [(one.name, one.error_code) for one in ask(broker, [asked(name=None, topic_id=topic_id)]).topics] == [("t", 0)]
    unknown = ask(broker, [asked(name=None, topic_id=b"z" * 16)]).topics
    assert [(one.name, one.topic_id, one.error_code) for one in unknown] == [(None, b"z" * 16, 100)]
    by_both = ask(broker, [asked(name="other", topic_id=topic_id)]).topics
    assert [(one.name, one.error_code) for one in by_both] == [("t", 0)]


@pytest.mark.parametrize("version", [10, 11])
def test_ids_were_not_asked_for_before_version_12(broker, topic_id, version):
    assert ask(broker, [asked(name="t", topic_id=topic_id)], version).topics[0].error_code == 42
    assert ask(broker, [asked(name=None)], version).topics[0].error_code == 42


def test_unknown_illegal_and_repeated_names(broker, topic_id):
    answer = ask(
        broker,
        [asked(name=name) for name in ("t", "nope", "a b", "", "x" * 250, "t", "__cluster_metadata")],
        allow_auto_topic_creation=False,
    )
    assert [(one.name[:9], one.error_code) for one in answer.topics] == [
        ("t", 0),
        ("nope", 3),
        ("a b", 17),
        ("", 17),
        ("xxxxxxxxx", 17),
        ("__cluster", 3),
    ]


def test_a_missing_topic_is_created_and_answered_when_it_can_be_produced_to(new_broker):
    broker = new_broker({"num.partitions": "3"}).start()
    topic = ask(broker, [asked(name="new")]).topics[0]
    assert (topic.error_code, [one.leader_id for one in topic.partitions]) == (0, [1, 1, 1])
    assert broker.node.partitions.get("new", 2).is_leader
    assert ask(broker, [asked(name="old")], 3).topics[0].error_code == 0, "before version 4 clients could not forbid it"


def test_two_who_miss_the_same_topic_both_get_it(broker):
    first, second = broker.peer(), broker.peer()
    request = MetadataRequest(topics=[asked(name="new")])
    answers = [broker.send(request, 12, peer) for peer in (first, second)]
    assert [broker.wait(answer).topics[0].error_code for answer in answers] == [0, 0]


def test_what_is_not_created(new_broker):
    broker = new_broker().start()
    names = ["a b", "__consumer_offsets", "__transaction_state", "__cluster_metadata"]
    answer = ask(broker, [asked(name=name) for name in names])
    assert [(one.error_code, one.is_internal) for one in answer.topics] == [(17, False), (3, True), (3, True), (3, False)]
    ask(broker, [asked(name="a.b")])
    assert ask(broker, [asked(name="a_b")]).topics[0].error_code == 17
    none = new_broker({"auto.create.topics.enable": "false"}).start()
    assert ask(none, [asked(name="t")]).topics[0].error_code == 3
    assert dict(none.node.view.image.topics) == {}
    too_many = new_broker({"default.replication.factor": "2"}).start()
    assert ask(too_many, [asked(name="t")]).topics[0].error_code == 38


def test_a_creation_that_takes_long_is_not_waited_for_too_long(broker):
    broker.machine.drive.capacity_bytes = 0
    assert ask(broker, [asked(name="t")]).topics[0].error_code == 3
    broker.machine.drive.capacity_bytes = None
    broker.run_until(lambda: "t" in broker.node.view.image.topics)
    assert ask(broker, [asked(name="t")]).topics[0].error_code == 0


def test_authorised_operations(broker, topic_id):
    eight = ask(
        broker, [asked(name="t")], 8, include_cluster_authorized_operations=True, include_topic_authorized_operations=True
    )
    assert (eight.cluster_authorized_operations, eight.topics[0].topic_authorized_operations) == (8096, 3576)
    thirteen = ask(broker, [asked(name="t")], 13, include_topic_authorized_operations=True)
    assert thirteen.topics[0].topic_authorized_operations == 3576
    without = ask(broker, [asked(name="t")], 8)
    assert (without.cluster_authorized_operations, without.topics[0].topic_authorized_operations) == (NOT_ASKED, NOT_ASKED)


class Forbidding:
    def __init__(self, *forbidden):
        self.forbidden = forbidden

    def authorize(self, context, operation, resource_type, resource_name):
        return (operation, resource_name) not in self.forbidden

    def throttle(self, context, quota, amount):
        return 0


def test_what_a_principal_may_not_see(broker, topic_id):
    ask(broker, None)  # an answer that is kept must not leak to others
    broker.node._server.policy = Forbidding((8, "t"), (8, "hidden"), (5, "kafka-cluster"), (5, "not-mine"))
    broker._peer = None
    assert ask(broker, None).topics == []
    answer = ask(broker, [asked(name=name) for name in ("t", "hidden", "not-mine", "mine")])
    assert [(one.name, one.error_code, one.topic_id == bytes(16)) for one in answer.topics] == [
        ("t", 29, True),
        ("hidden", 29, True),
        ("not-mine", 29, True),
        ("mine", 0, False),
    ]
    by_id = ask(broker, [asked(name=None, topic_id=topic_id)]).topics[0]
    assert (by_id.name, by_id.error_code) == (None, 100)


# ---- the handler alone, over an image that one broker cannot have ----


class Origin:
    def __init__(self, listener):
        self.listener_name, self.policy = listener, Forbidding()


class Still:
    def monotonic_ns(self):
        return 0


class NoDriver:
    def create_topic(self, topic):
        raise AssertionError("nothing is to be created here")


@pytest.fixture
def cluster():
    inside, outside = Endpoint("IN", "i", 1), Endpoint("OUT", "o", 2)
    partitions = (
        Partition((1, 2), 1, 5, (1, 2), 1, 0, 0),
        Partition((2, 3), 2, 6, (2, 3), 1, 0, 0),
        Partition((3,), -1, 7, (3,), 1, 0, 0),
        Partition((9,)),
    )
    image = Image("c", 2).with_brokers([Broker(1, 1, (inside, outside)), Broker(2, 2, (inside,), "r2")])
    return ClusterView(image.with_topics([Topic("t", b"t" * 16, partitions), Topic("__consumer_offsets", b"c" * 16, ())]))


def answer_of(view, version, listener="IN", topics=None, handler=None):
    handler = handler or MetadataHandler(Reactor(Still(), None), view, None, NoDriver(), auto_create=False)
    context = RequestContext(Origin(listener), 3, version, 7, "client")
    answer = handler.handle(context, MetadataRequest(topics=topics))
    return MetadataResponse.decode(b"".join(answer.encode_parts(version)), version)


def partitions_of(answer):
    return [
        (one.error_code, one.leader_id, one.replica_nodes, one.isr_nodes, one.offline_replicas)
        for one in answer.topics[0].partitions
    ]


def test_partitions_whose_brokers_are_gone(cluster):
    assert partitions_of(answer_of(cluster, 12)) == [
        (0, 1, [1, 2], [1, 2], []),
        (0, 2, [2, 3], [2, 3], [3]),
        (5, -1, [3], [3], [3]),
        (5, -1, [9], [], [9]),
    ]
    assert partitions_of(answer_of(cluster, 0, topics=[])) == [
        (0, 1, [1, 2], [1, 2], []),
        (9, 2, [2], [2], []),
        (5, -1, [], [], []),
        (5, -1, [], [], []),
    ]


@pytest.mark.parametrize(("version", "code"), [(5, 5), (6, 72), (12, 72)])
def test_a_leader_without_the_clients_listener(cluster, version, code):
    answer = answer_of(cluster, version, "OUT")
    assert [(one.node_id, one.host, one.port) for one in answer.brokers] == [(1, "o", 2)]
    assert [(one.error_code, one.leader_id) for one in answer.topics[0].partitions][:2] == [(0, 1), (code, -1)]


def test_racks_and_internal_topics(cluster):
    answer = answer_of(cluster, 12)
    assert [(one.node_id, one.rack) for one in answer.brokers] == [(1, None), (2, "r2")]
    assert [(one.name, one.is_internal) for one in answer.topics] == [("t", False), ("__consumer_offsets", True)]


def test_answers_are_kept_until_the_image_changes_and_within_bounds(cluster, monkeypatch):
    handler = MetadataHandler(Reactor(Still(), None), cluster, None, NoDriver(), auto_create=False)
    encoded = []
    encode_parts = MetadataResponse.encode_parts
    monkeypatch.setattr(
        MetadataResponse, "encode_parts", lambda self, version: encoded.append(version) or encode_parts(self, version)
    )
    first = answer_of(cluster, 12, handler=handler)
    assert answer_of(cluster, 12, handler=handler) == first
    assert encoded == [12]
    answer_of(cluster, 11, handler=handler)
    answer_of(cluster, 12, "OUT", handler=handler)
    answer_of(cluster, 12, topics=[asked(name="t")], handler=handler)
    assert encoded == [12, 11, 12, 12]
    cluster.publish(cluster.image.without_topics(["t"]))
    assert [one.name for one in answer_of(cluster, 12, handler=handler).topics] == ["__consumer_offsets"]
    monkeypatch.setattr(metadata_module, "CACHED_ANSWERS", 3)
    for number in range(10):
        answer_of(cluster, 12, topics=[asked(name=f"unknown{number}")], handler=handler)
    assert len(handler._answers) == 3
    assert handler._answers_bytes == sum(answer.size_bytes for answer in handler._answers.values())
    monkeypatch.setattr(metadata_module, "CACHED_BYTES", 10)
    answer_of(cluster, 12, topics=[asked(name="more")], handler=handler)
    assert (len(handler._answers), handler._answers_bytes) == (0, 0)
