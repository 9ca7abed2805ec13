"""Options altered by clients. Error codes are those with which Kafka 4.3.1 answered the same requests."""

import logging

import pytest

from fastlog.coordinator.tree import Create, SetData
from fastlog.metadata import layout
from fastlog.wire.messages.alter_configs import AlterConfigsRequest
from fastlog.wire.messages.create_topics import CreateTopicsRequest
from fastlog.wire.messages.describe_configs import DescribeConfigsRequest
from fastlog.wire.messages.incremental_alter_configs import IncrementalAlterConfigsRequest

TOPIC, BROKER, LOGGER = 2, 4, 8
SET, DELETE, APPEND, SUBTRACT = range(4)


def create(broker, name, **options):
    configs = [
        CreateTopicsRequest.CreatableTopicConfig(name=option.replace("_", "."), value=value) for option, value in options.items()
    ]
    topic = CreateTopicsRequest.CreatableTopic(name=name, num_partitions=2, replication_factor=1, configs=configs)
    (created,) = broker.call(CreateTopicsRequest(topics=[topic], timeout_ms=5_000), 7).topics
    assert created.error_code == 0, created.error_message


def increment_request(resources, validate_only=False):
    request = IncrementalAlterConfigsRequest
    return request(
        resources=[
            request.AlterConfigsResource(
                resource_type=kind,
                resource_name=name,
                configs=[request.AlterableConfig(name=name, config_operation=what, value=value) for name, what, value in changes],
            )
            for kind, name, changes in resources
        ],
        validate_only=validate_only,
    )


def increment(broker, kind, name, *changes, validate_only=False, version=1):
    """Alter some options of one resource; return (error code, message)."""
    (answer,) = broker.call(increment_request([(kind, name, changes)], validate_only), version).responses
    assert (answer.resource_type, answer.resource_name) == (kind, name)
    assert (answer.error_message is None) is (answer.error_code == 0)
    return answer.error_code, answer.error_message


def replace(broker, kind, name, *options, validate_only=False, version=2):
    """Replace the options of one resource; return (error code, message)."""
    request = AlterConfigsRequest
    configs = [request.AlterableConfig(name=name, value=value) for name, value in options]
    resource = request.AlterConfigsResource(resource_type=kind, resource_name=name, configs=configs)
    (answer,) = broker.call(request(resources=[resource], validate_only=validate_only), version).responses
    assert (answer.resource_type, answer.resource_name) == (kind, name)
    return answer.error_code, answer.error_message


DONE = (0, None)


def described(broker, kind, name, option):
    """Return (value, source, synonyms) of one option."""
    resource = DescribeConfigsRequest.DescribeConfigsResource(resource_type=kind, resource_name=name, configuration_keys=[option])
    (result,) = broker.call(DescribeConfigsRequest(resources=[resource], include_synonyms=True), 4).results
    if not result.configs:
        return None
    (entry,) = result.configs
    return entry.value, entry.config_source, [(one.name, one.value, one.source) for one in entry.synonyms]


def log_config(broker, topic="t", index=1):
    return broker.node.partitions.get(topic, index).log.config


def test_an_option_is_set_and_deleted(broker):
    create(broker, "t", segment_ms="9")
    assert increment(broker, TOPIC, "t", ("retention.ms", SET, " 7 "), ("segment.ms", DELETE, None)) == DONE
    assert (log_config(broker).retention_ms, log_config(broker).segment_ms) == (7, 604_800_000)
    assert log_config(broker, index=0) == log_config(broker, index=1)
    assert described(broker, TOPIC, "t", "retention.ms") == ("7", 1, [("retention.ms", "7", 1)])
    assert described(broker, TOPIC, "t", "segment.ms") == ("604800000", 5, [])
    assert increment(broker, TOPIC, "t", ("retention.ms", DELETE, "5"), ("nope", DELETE, None)) == DONE
    assert log_config(broker).retention_ms == 604_800_000


@pytest.mark.parametrize("version", [0, 1])
def test_every_version_of_incremental_alterations(broker, version):
    create(broker, "t")
    assert increment(broker, TOPIC, "t", ("retention.ms", SET, "7"), version=version) == DONE
    assert log_config(broker).retention_ms == 7


@pytest.mark.parametrize("version", [0, 1, 2])
def test_options_are_replaced(broker, version):
    create(broker, "t", segment_ms="9")
    assert replace(broker, TOPIC, "t", ("retention.ms", "7"), version=version) == DONE
    assert (log_config(broker).retention_ms, log_config(broker).segment_ms) == (7, 604_800_000)
    assert replace(broker, TOPIC, "t", version=version) == DONE
    assert log_config(broker).retention_ms == 604_800_000


def test_a_list_is_appended_to_and_subtracted_from(broker):
    create(broker, "t")
    assert increment(broker, TOPIC, "t", ("cleanup.policy", APPEND, "delete")) == DONE
    assert described(broker, TOPIC, "t", "cleanup.policy")[:2] == ("delete", 1)
    assert increment(broker, TOPIC, "t", ("cleanup.policy", SUBTRACT, "compact")) == DONE
    assert increment(broker, TOPIC, "t", ("cleanup.policy", SUBTRACT, "delete")) == DONE
    synonyms = [("cleanup.policy", "", 1), ("log.cleanup.policy", "delete", 5)]
    assert described(broker, TOPIC, "t", "cleanup.policy") == ("", 1, synonyms)
    assert log_config(broker).cleanup_policy == ""
    assert increment(broker, TOPIC, "t", ("cleanup.policy", APPEND, "compact"))[0] == 40
    assert increment(broker, TOPIC, "t", ("cleanup.policy", SET, "delete, delete")) == DONE
    assert broker.node.view.image.topics["t"].config == {"cleanup.policy": "delete"}


@pytest.mark.parametrize(
    ("kind", "name", "changes", "code"),
    [
        (TOPIC, "t", [("retention.ms", SET, "x")], 40),
        (TOPIC, "t", [("retention.ms", SET, "")], 40),
        (TOPIC, "t", [("retention.ms", SET, "-2")], 40),
        (TOPIC, "t", [("retention.ms", SET, None)], 42),
        (TOPIC, "t", [("retention.ms", APPEND, "1")], 40),
        (TOPIC, "t", [("retention.ms", SUBTRACT, "1")], 40),
        (TOPIC, "t", [("retention.ms", 9, "1")], 42),
        (TOPIC, "t", [("retention.ms", SET, "1"), ("retention.ms", SET, "2")], 42),
        (TOPIC, "t", [("flush.ms", SET, "1"), ("nope", SET, "2")], 40),
        (TOPIC, "t", [("nope", APPEND, "2")], 40),
        (TOPIC, "t", [("", SET, "2")], 40),
        (TOPIC, "t", [("cleanup.policy", SET, "compact")], 40),
        (TOPIC, "t", [("cleanup.policy", SET, "delete,")], 40),
        (TOPIC, "t", [("log.retention.ms", SET, "2")], 40),
        (TOPIC, "t", [("preallocate", SET, "yes")], 40),
        (TOPIC, "t", [("min.insync.replicas", SET, "0")], 40),
        (TOPIC, "nope", [("retention.ms", SET, "1")], 3),
        (TOPIC, "", [("retention.ms", SET, "1")], 42),
        (TOPIC, "a b", [("retention.ms", SET, "1")], 17),
        (BROKER, "1", [("log.retention.ms", SET, "x")], 42),
        (BROKER, "", [("log.retention.ms", SET, "x")], 42),
        (BROKER, "1", [("log.roll.ms", SET, "0")], 42),
        (BROKER, "1", [("max.connections", SET, "-1")], 42),
        (BROKER, "1", [("num.partitions", SET, "3")], 42),
        (BROKER, "", [("log.retention.hours", SET, "3")], 42),
        (BROKER, "1", [("broker.id", SET, "3")], 42),
        (BROKER, "1", [("advertised.listeners", SET, "PLAINTEXT://h:1")], 42),
        (BROKER, "1", [("log.retention.ms", APPEND, "1")], 40),
        (BROKER, "1", [("retention.ms", SET, "1")], 42),
        (BROKER, "", [("num.io.threads", SET, "1")], 42),
        (BROKER, "7", [("log.retention.ms", SET, "1")], 42),
        (BROKER, "x", [("log.retention.ms", SET, "1")], 42),
        (0, "x", [("log.retention.ms", SET, "1")], 42),
        (LOGGER, "1", [("fastlog.nope", SET, "INFO")], 40),
        (LOGGER, "1", [("concurrent.futures", SET, "INFO")], 40),
        (LOGGER, "1", [("fastlog.storage", SET, "LOUD")], 40),
        (LOGGER, "1", [("fastlog.storage", SET, None)], 40),
        (LOGGER, "1", [("fastlog.storage", APPEND, "INFO")], 42),
        (LOGGER, "1", [("root", DELETE, None)], 42),
        (LOGGER, "7", [("root", SET, "INFO")], 42),
        (LOGGER, "", [("root", SET, "INFO")], 42),
        (16, "x", [("match", SET, "")], 42),
        (32, "x", [("consumer.session.timeout.ms", SET, "1")], 42),
        (99, "x", [], 42),
    ],
)
@pytest.mark.parametrize("validate_only", [False, True])
def test_what_is_refused_changes_nothing_and_harms_nobody_else(broker, kind, name, changes, code, validate_only):
    create(broker, "t")
    create(broker, "other")
    request = increment_request([(kind, name, changes), (TOPIC, "other", [("retention.ms", SET, "1")])], validate_only)
    refused, other = broker.call(request, 1).responses
    assert (refused.error_code, refused.resource_type, refused.resource_name) == (code, kind, name)
    assert refused.error_message
    assert other.error_code == 0
    assert log_config(broker) == type(log_config(broker))()
    assert log_config(broker, "other").retention_ms == (604_800_000 if validate_only else 1)


def test_a_wrong_option_is_named_with_the_reason(broker):
    create(broker, "t")
    for option, says in (
        ("min.cleanable.dirty.ratio", "compaction is not built yet"),
        ("remote.storage.enable", "there is no tiered storage"),
        ("retention.mss", "did you mean retention.ms?"),
    ):
        code, message = increment(broker, TOPIC, "t", (option, SET, "1"))
        assert code == 40 and option in message and says in message
        assert replace(broker, TOPIC, "t", (option, "1")) == (40, message)
    assert increment(broker, BROKER, "1", ("num.partitions", SET, "1"))[1].startswith("num.partitions cannot be changed while")


def test_validated_alone_nothing_changes(broker):
    create(broker, "t", segment_ms="9")
    assert increment(broker, TOPIC, "t", ("retention.ms", SET, "7"), validate_only=True) == DONE
    assert replace(broker, TOPIC, "t", ("retention.ms", "7"), validate_only=True) == DONE
    assert replace(broker, TOPIC, "t", ("retention.ms", "x"), validate_only=True)[0] == 40
    assert increment(broker, BROKER, "", ("log.retention.ms", SET, "7"), validate_only=True) == DONE
    assert (log_config(broker).retention_ms, log_config(broker).segment_ms) == (604_800_000, 9)


def test_a_resource_may_appear_once(broker):
    create(broker, "t")
    answers = broker.call(increment_request([(TOPIC, "t", [("retention.ms", SET, "1")])] * 2), 1).responses
    assert [(one.error_code, one.resource_name) for one in answers] == [(42, "t")] * 2
    assert log_config(broker).retention_ms == 604_800_000


def test_dynamic_options_of_brokers_and_who_wins(new_broker):
    broker = new_broker({"log.retention.hours": "2"}).start()
    create(broker, "t")
    create(broker, "own", retention_ms="4")
    assert increment(broker, BROKER, "", ("log.retention.ms", SET, "777"), ("max.connections", SET, "50")) == DONE
    assert (log_config(broker).retention_ms, log_config(broker, "own").retention_ms) == (777, 4)
    assert broker.node._server.limits.max_connections == 50
    assert increment(broker, BROKER, "1", ("log.retention.ms", SET, "778")) == DONE
    assert log_config(broker).retention_ms == 778
    synonyms = [
        ("log.retention.ms", "778", 2),
        ("log.retention.ms", "777", 3),
        ("log.retention.hours", "2", 4),
        ("log.retention.hours", "168", 5),
    ]
    assert described(broker, BROKER, "1", "log.retention.ms") == ("778", 2, synonyms)
    assert described(broker, TOPIC, "t", "retention.ms") == ("778", 2, synonyms)
    assert described(broker, TOPIC, "own", "retention.ms") == ("4", 1, [("retention.ms", "4", 1), *synonyms])
    assert described(broker, BROKER, "", "log.retention.ms") == ("777", 3, [("log.retention.ms", "777", 3)])
    assert described(broker, BROKER, "", "message.max.bytes") is None
    create(broker, "new")
    assert log_config(broker, "new").retention_ms == 778
    assert increment(broker, BROKER, "1", ("log.retention.ms", DELETE, None)) == DONE
    assert replace(broker, BROKER, "") == DONE
    assert log_config(broker).retention_ms == 7_200_000
    assert broker.node._server.limits.max_connections == 20_000
    assert described(broker, BROKER, "1", "log.retention.ms") == (None, 5, [])


@pytest.mark.parametrize("how", ["stop", "kill", "lose"])
def test_what_was_answered_is_there_after_a_restart(broker, how):
    create(broker, "t")
    assert increment(broker, TOPIC, "t", ("retention.ms", SET, "7")) == DONE
    assert increment(broker, BROKER, "", ("log.segment.bytes", SET, "20000")) == DONE
    assert increment(broker, BROKER, "1", ("message.max.bytes", SET, "3000"), ("producer.id.expiration.ms", SET, "5")) == DONE
    broker.restart(how)
    config = log_config(broker)
    assert (config.retention_ms, config.segment_bytes, config.max_message_bytes) == (7, 20_000, 3_000)
    assert broker.node.logs.config.producer_id_expiration_ms == 5
    assert described(broker, TOPIC, "t", "segment.bytes")[:2] == ("20000", 3)


def test_it_is_written_and_announced_as_kafka_does_it(broker):
    create(broker, "t")
    assert increment(broker, TOPIC, "t", ("retention.ms", SET, "7")) == DONE
    assert increment(broker, TOPIC, "t", ("retention.ms", SET, "7")) == DONE  # nothing to write, nothing to announce
    assert increment(broker, BROKER, "", ("log.retention.ms", SET, "7")) == DONE
    assert increment(broker, BROKER, "1", ("log.retention.ms", SET, "8")) == DONE

    def data(path):
        return broker.wait(broker.node._client.get(path))[0]

    assert data("/config/topics/t") == b'{"version":1,"config":{"retention.ms":"7"}}'
    assert data("/config/brokers/<default>") == b'{"version":1,"config":{"log.retention.ms":"7"}}'
    assert data("/config/brokers/1") == b'{"version":1,"config":{"log.retention.ms":"8"}}'
    names = broker.wait(broker.node._client.children("/config/changes"))[0]
    assert [(name, data(f"/config/changes/{name}")) for name in names] == [
        ("config_change_0000000000", b'{"version":2,"entity_path":"topics/t"}'),
        ("config_change_0000000001", b'{"version":2,"entity_path":"brokers/<default>"}'),
        ("config_change_0000000002", b'{"version":2,"entity_path":"brokers/1"}'),
    ]


def alter_as_another(broker, entity, config):
    """Write and announce options as another broker would."""
    client = broker.node._client
    write = SetData if broker.wait(client.exists(entity.path)) else Create
    announce = Create(layout.CONFIG_CHANGE, layout.encode_config_change(entity), sequential=True)
    broker.wait(client.multi([write(entity.path, layout.encode_config(config)), announce]))


def test_what_others_announce_is_put_in_force(broker):
    create(broker, "t")
    alter_as_another(broker, layout.topic_entity("t"), {"retention.ms": "7"})
    broker.run_until(lambda: log_config(broker).retention_ms == 7)
    alter_as_another(broker, layout.broker_entity(None), {"log.segment.bytes": "20000", "nope": "1", "num.partitions": "9"})
    broker.run_until(lambda: log_config(broker).segment_bytes == 20_000)
    assert described(broker, BROKER, "1", "num.partitions")[:2] == ("1", 5)
    alter_as_another(broker, layout.broker_entity(9), {"log.segment.bytes": "30000"})
    alter_as_another(broker, layout.Entity("users", "u"), {"producer_byte_rate": "1"})
    alter_as_another(broker, layout.topic_entity("nope"), {"retention.ms": "7"})
    alter_as_another(broker, layout.topic_entity("t"), {"cleanup.policy": "compact"})  # meant to be compacted: nothing may go
    broker.run_until(lambda: log_config(broker).retention_ms == -1)
    assert log_config(broker).segment_bytes == 20_000
    assert described(broker, TOPIC, "t", "retention.ms")[0] == "-1"
    assert increment(broker, TOPIC, "t", ("cleanup.policy", DELETE, None)) == DONE
    assert log_config(broker).retention_ms == 604_800_000


def test_two_clients_at_once_both_have_their_way(broker):
    create(broker, "t")
    requests = [increment_request([(TOPIC, "t", [(option, SET, "7")])]) for option in ("retention.ms", "segment.ms", "flush.ms")]
    answers = [broker.send(request, 1, broker.peer()) for request in requests]
    assert [broker.wait(answer).responses[0].error_code for answer in answers] == [0, 0, 0]
    config = log_config(broker)
    assert (config.retention_ms, config.segment_ms, config.flush_ms) == (7, 7, 7)


def test_log_levels(broker, levels_afterwards):
    assert increment(broker, LOGGER, "1", ("fastlog.storage", SET, "DEBUG"), ("root", SET, "ERROR")) == DONE
    assert logging.getLogger("fastlog.storage").level == logging.DEBUG
    assert described(broker, LOGGER, "1", "fastlog.storage") == ("DEBUG", 6, [])
    assert described(broker, LOGGER, "1", "root") == ("ERROR", 6, [])
    assert increment(broker, LOGGER, "1", ("fastlog.storage", DELETE, None)) == DONE
    assert described(broker, LOGGER, "1", "fastlog.storage") == ("ERROR", 6, [])
    for level in ("TRACE", "INFO", "WARN", "FATAL"):
        assert increment(broker, LOGGER, "1", ("fastlog.storage", SET, level)) == DONE
        assert described(broker, LOGGER, "1", "fastlog.storage")[0] == level
    assert increment(broker, LOGGER, "1", ("fastlog.storage", SET, "INFO"), validate_only=True) == DONE
    assert increment(broker, LOGGER, "1", ("fastlog.storage", SET, "INFO"), ("nope", SET, "INFO"))[0] == 40
    assert replace(broker, LOGGER, "1", ("fastlog.storage", "INFO"))[0] == 42
    assert described(broker, LOGGER, "1", "fastlog.storage")[0] == "FATAL"


@pytest.fixture
def levels_afterwards():
    """Give the loggers back the levels that they have now."""
    loggers = [logging.getLogger(), logging.getLogger("fastlog.storage")]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


RESOURCES = ((TOPIC, "t"), (TOPIC, "nope"), (BROKER, "1"), (LOGGER, "1"))


class Nobody:
    def authorize(self, context, operation, resource_type, resource_name):
        return operation != 11

    def throttle(self, context, quota, amount):
        return 0


def test_who_may_not_alter(broker):
    create(broker, "t")
    broker.node._server.policy = Nobody()
    broker._peer = None
    for alter, change in ((increment, ("retention.ms", SET, "7")), (replace, ("retention.ms", "7"))):
        assert [alter(broker, *resource, change)[0] for resource in ((TOPIC, "t"), (TOPIC, "nope"), (BROKER, "1"))] == [
            29,
            29,
            31,
        ]
    assert log_config(broker).retention_ms == 604_800_000


def test_a_full_disk_makes_it_wait_and_nothing_is_in_force_before_it_is_durable(broker):
    create(broker, "t")
    broker.machine.drive.capacity_bytes = 0
    answer = broker.send(increment_request([(TOPIC, "t", [("retention.ms", SET, "7")])]), 1)
    later_ns = broker._scheduler.now_ns + 1_000_000_000
    broker.run_until(lambda: broker._scheduler.now_ns > later_ns)
    assert not answer.done
    assert log_config(broker).retention_ms == 604_800_000
    broker.machine.drive.capacity_bytes = None
    assert broker.wait(answer).responses[0].error_code == 0
    assert log_config(broker).retention_ms == 7
