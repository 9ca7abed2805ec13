"""The expected codes are those with which Kafka 4.3.1 answered the same requests."""

import pytest

from fastlog.api.create_topics import TOPICS_PER_TURN, CreateTopicsHandler
from fastlog.metadata.topic_plan import TopicPlanner
from fastlog.wire.messages.create_topics import CreateTopicsRequest
from fastlog.wire.messages.metadata import MetadataRequest

Topic = CreateTopicsRequest.CreatableTopic


def topic(name, partitions=-1, factor=-1, assignment=(), options=()):
    return Topic(
        name=name,
        num_partitions=partitions,
        replication_factor=factor,
        assignments=[
            CreateTopicsRequest.CreatableReplicaAssignment(partition_index=index, broker_ids=list(brokers))
            for index, brokers in assignment
        ],
        configs=[CreateTopicsRequest.CreatableTopicConfig(name=name, value=value) for name, value in options],
    )


def create(broker, *topics, version=7, validate_only=False, timeout_ms=2_000):
    request = CreateTopicsRequest(topics=list(topics), timeout_ms=timeout_ms, validate_only=validate_only)
    return broker.call(request, version).topics


def names(broker):
    return [one.name for one in broker.call(MetadataRequest(topics=None), 12).topics]


def test_a_created_topic_is_described_and_there(broker):
    created = create(broker, topic("t", 3, 1, options=[("retention.ms", "5000")]))[0]
    assert (created.error_code, created.error_message, created.num_partitions, created.replication_factor) == (0, None, 3, 1)
    described = broker.call(MetadataRequest(topics=[MetadataRequest.MetadataRequestTopic(name="t")]), 12).topics[0]
    assert described.topic_id == created.topic_id != bytes(16)
    assert [(one.partition_index, one.leader_id, one.error_code) for one in described.partitions] == [
        (0, 1, 0),
        (1, 1, 0),
        (2, 1, 0),
    ]
    assert broker.node.partitions.get("t", 2).is_leader
    assert broker.node.partitions.get("t", 0).log.config.retention_ms == 5000


def test_options_are_told_with_where_they_come_from(new_broker):
    broker = new_broker({"log.retention.bytes": "77", "num.partitions": "4"}).start()
    created = create(broker, topic("t", options=[("retention.ms", "5000")]))[0]
    assert created.num_partitions == 4
    told = {one.name: (one.value, one.config_source) for one in created.configs}
    assert told["retention.ms"] == ("5000", 1)
    assert told["retention.bytes"] == ("77", 4)
    assert told["cleanup.policy"] == ("delete", 5)
    assert told["segment.ms"] == ("604800000", 5)
    assert list(told) == sorted(told)


@pytest.mark.parametrize("version", [2, 4, 5, 7])
def test_many_topics_are_planned_and_told_over_several_turns(broker, version, monkeypatch):
    count = 3 * TOPICS_PER_TURN + 1
    turns, ends = [], []
    plan, created = TopicPlanner.plan, CreateTopicsHandler._created

    def planned(*arguments):
        turns.append(("plan", len(ends)))
        return plan(*arguments)

    def told(*arguments):
        turns.append(("tell", len(ends)))
        return created(*arguments)

    monkeypatch.setattr(TopicPlanner, "plan", planned)
    monkeypatch.setattr(CreateTopicsHandler, "_created", told)
    broker.node.environment.reactor.at_turn_end(lambda: ends.append(None))
    wanted = [topic(f"t{number:03}" if number % 7 else f"not/{number:03}", 1, 1) for number in range(count)]
    answers = create(broker, *wanted, topic("twice"), topic("twice"), version=version, validate_only=version == 4)
    assert [one.name for one in answers] == [*(one.name for one in wanted), "twice"]
    assert [one.error_code for one in answers] == [*(0 if number % 7 else 17 for number in range(count)), 42]
    assert max(turns.count(turn) for turn in turns) <= TOPICS_PER_TURN
    if version >= 5:
        assert {len(one.configs or ()) > 10 for one in answers if not one.error_code} == {True}
    assert len(names(broker)) == (0 if version == 4 else count - len(range(0, count, 7)))


@pytest.mark.parametrize("version", range(2, 8))
def test_every_version(broker, version):
    created = create(broker, topic("t", 1, 1), version=version)[0]
    assert (created.name, created.error_code) == ("t", 0)
    assert created.num_partitions == (1 if version >= 5 else -1)
    assert (created.topic_id != bytes(16)) is (version >= 7)
    assert create(broker, topic("t", 1, 1), version=version)[0].error_code == 36


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (topic(""), 17),
        (topic("."), 17),
        (topic(".."), 17),
        (topic("x" * 250), 17),
        (topic("a b"), 17),
        (topic("a/../b"), 17),
        (topic("__cluster_metadata"), 42),
        (topic("there"), 36),
        (topic("t_h.ere"), 17),
        (topic("n", 0, 1), 37),
        (topic("n", -2, 1), 37),
        (topic("n", 10_001, 1), 44),
        (topic("n", 2**31 - 1, 1), 44),
        (topic("n", 1, 0), 38),
        (topic("n", 1, -2), 38),
        (topic("n", 1, 2), 38),
        (topic("n", 0, 0), 38),
        (topic("n", 0, 1, options=[("nope", "1")]), 40),
        (topic("a b", 0, 0), 17),
        (topic("there", 0, 0), 36),
        (topic("n", 1, assignment=[(0, [1])]), 42),
        (topic("n", factor=1, assignment=[(0, [1])]), 42),
        (topic("n", assignment=[(0, [1]), (2, [1])]), 39),
        (topic("n", assignment=[(1, [1])]), 39),
        (topic("n", assignment=[(0, [1]), (0, [1])]), 39),
        (topic("n", assignment=[(0, [1, 1])]), 39),
        (topic("n", assignment=[(0, [9])]), 39),
        (topic("n", assignment=[(0, [])]), 39),
        (topic("n", assignment=[(-1, [1])]), 39),
        (topic("n", options=[("nope", "1")]), 40),
        (topic("n", options=[("retention.ms", "soon")]), 40),
        (topic("n", options=[("retention.ms", None)]), 40),
        (topic("n", options=[("log.retention.ms", "1")]), 40),
        (topic("n", options=[("segment.index.bytes", "13")]), 40),
        (topic("n", options=[("cleanup.policy", "compact")]), 40),
    ],
)
@pytest.mark.parametrize("validate_only", [False, True])
def test_what_is_refused(broker, wrong, code, validate_only):
    create(broker, topic("there"), topic("t.h_ere"))
    answer = create(broker, wrong, topic("fine"), validate_only=validate_only)
    assert (answer[0].name, answer[0].error_code) == (wrong.name, code)
    assert answer[0].error_message
    assert answer[1].error_code == (44 if code == 44 else 0), "each topic stands for itself"
    assert wrong.name not in names(broker) or wrong.name == "there"


@pytest.mark.parametrize(
    ("option", "value"), [("nope", "1"), ("retention.ms", "soon"), ("cleanup.policy", "compact"), ("segment.bytes", "-1")]
)
def test_a_wrong_option_is_named(broker, option, value):
    answer = create(broker, topic("t", options=[("flush.messages", "9"), (option, value)]))[0]
    assert answer.error_code == 40
    assert option in answer.error_message


def test_topics_of_one_request(broker):
    answer = create(broker, topic("d"), topic("d"), topic("q.r"), topic("q_r"), topic("e", 2, 1))
    codes = {one.name: one.error_code for one in answer}
    assert codes == {"d": 42, "q.r": 0, "q_r": 0, "e": 0}
    assert sorted(names(broker)) == ["e", "q.r", "q_r"]
    assert create(broker) == []


def test_the_last_of_equal_options_counts(broker):
    created = create(broker, topic("t", options=[("retention.ms", "1"), ("retention.ms", "2")]))[0]
    assert {one.name: one.value for one in created.configs}["retention.ms"] == "2"


def test_only_validated_topics_are_not_made(broker):
    answer = create(broker, topic("t", 2, 1), validate_only=True)[0]
    assert (answer.error_code, answer.num_partitions) == (0, 2)
    assert names(broker) == []
    assert len(broker.node.logs) == 0


@pytest.mark.parametrize("timeout_ms", [0, -1])
def test_without_time_nothing_is_begun(broker, timeout_ms):
    assert create(broker, topic("t"), timeout_ms=timeout_ms)[0].error_code == 7
    assert names(broker) == []


def test_a_topic_that_takes_too_long_is_answered_in_time_and_made_later(broker):
    broker.machine.drive.capacity_bytes = 0
    answer = create(broker, topic("t"), timeout_ms=500)[0]
    assert (answer.error_code, answer.error_message != "") == (7, True)
    assert names(broker) == []
    broker.machine.drive.capacity_bytes = None
    broker.run_until(lambda: "t" in broker.node.view.image.topics)
    assert names(broker) == ["t"]


def test_a_manual_assignment(broker):
    created = create(broker, topic("t", assignment=[(1, [1]), (0, [1])]))[0]
    assert (created.error_code, created.num_partitions, created.replication_factor) == (0, 2, 1)


class Forbidding:
    """A policy that forbids some operations on some resources."""

    def __init__(self, *forbidden):
        self.forbidden = forbidden

    def authorize(self, context, operation, resource_type, resource_name):
        return (operation, resource_name) not in self.forbidden

    def throttle(self, context, quota, amount):
        return 0


def test_who_may_not_create_or_describe(broker):
    broker.node._server.policy = Forbidding((5, "kafka-cluster"), (5, "secret"), (10, "mute"))
    broker._peer = None
    answer = create(broker, topic("secret"), topic("own"), topic("mute", 2, 1))
    assert [(one.name, one.error_code, one.topic_config_error_code) for one in answer] == [
        ("secret", 29, 0),
        ("own", 0, 0),
        ("mute", 0, 29),
    ]
    assert (answer[2].configs, answer[2].num_partitions) == (None, -1)
    assert sorted(names(broker)) == ["mute", "own"]
