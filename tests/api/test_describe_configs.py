"""Options told: what is expected is what Kafka 4.3.1 answered to the same requests, for the options that both have."""

import pytest

from fastlog.config import OPTIONS, TOPIC_OPTIONS
from fastlog.wire.messages.create_topics import CreateTopicsRequest
from fastlog.wire.messages.describe_configs import DescribeConfigsRequest
from fastlog.wire.messages.list_config_resources import ListConfigResourcesRequest

TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP = 2, 4, 8, 16, 32


def create(broker, name, **options):
    configs = [
        CreateTopicsRequest.CreatableTopicConfig(name=option.replace("_", "."), value=value) for option, value in options.items()
    ]
    topic = CreateTopicsRequest.CreatableTopic(name=name, num_partitions=1, replication_factor=1, configs=configs)
    (created,) = broker.call(CreateTopicsRequest(topics=[topic], timeout_ms=5_000), 7).topics
    assert created.error_code == 0, created.error_message


def describe(broker, *resources, keys=None, synonyms=True, documentation=False, version=4):
    request = DescribeConfigsRequest(
        resources=[
            DescribeConfigsRequest.DescribeConfigsResource(resource_type=kind, resource_name=name, configuration_keys=keys)
            for kind, name in resources
        ],
        include_synonyms=synonyms,
        include_documentation=documentation,
    )
    return broker.call(request, version).results


def entries(broker, kind, name, **how):
    (result,) = describe(broker, (kind, name), **how)
    assert (result.error_code, result.error_message, result.resource_type, result.resource_name) == (0, "", kind, name)
    return {entry.name: entry for entry in result.configs}


def synonyms_of(entry):
    return [(one.name, one.value, one.source) for one in entry.synonyms]


def test_a_topic_with_an_option_of_its_own(broker):
    create(broker, "t", retention_ms=" 5000 ")
    told = entries(broker, TOPIC, "t")
    assert list(told) == sorted(TOPIC_OPTIONS)
    own = told["retention.ms"]
    assert (own.value, own.config_source, own.config_type) == ("5000", 1, 5)
    assert (own.read_only, own.is_sensitive, own.documentation) == (False, False, None)
    assert synonyms_of(own) == [("retention.ms", "5000", 1)]
    size = told["segment.bytes"]
    assert (size.value, size.config_source, size.config_type) == ("1073741824", 5, 3)
    assert synonyms_of(size) == [("log.segment.bytes", "1073741824", 5)]
    age = told["segment.ms"]  # log.roll.ms has no default, and what stands in for it is not told
    assert (age.value, age.config_source, synonyms_of(age)) == ("604800000", 5, [])
    assert (told["cleanup.policy"].config_type, told["preallocate"].config_type, told["compression.type"].config_type) == (
        7,
        1,
        2,
    )
    assert told["preallocate"].value == "false"


def test_a_broker_with_options_of_its_file(new_broker):
    broker = new_broker(
        {"log.retention.minutes": "5", "log.roll.ms": "9", "num.partitions": "4", "message.max.bytes": "2000"}
    ).start()
    told = entries(broker, BROKER, "1")
    assert list(told) == sorted(OPTIONS)

    def facts(name):
        entry = told[name]
        return entry.value, entry.config_source, entry.read_only, synonyms_of(entry)

    assert facts("num.partitions") == ("4", 4, True, [("num.partitions", "4", 4), ("num.partitions", "1", 5)])
    assert facts("log.retention.ms") == (None, 5, False, [])
    assert facts("log.retention.minutes") == (
        "5",
        4,
        True,
        [("log.retention.minutes", "5", 4), ("log.retention.hours", "168", 5)],
    )
    assert facts("log.retention.hours") == ("168", 5, True, [("log.retention.hours", "168", 5)])
    assert facts("log.roll.ms")[3] == [("log.roll.ms", "9", 4), ("log.roll.hours", "168", 5)]
    assert facts("message.max.bytes")[1:3] == (4, False)
    assert (told["listener.security.protocol.map"].config_type, told["log.dir"].config_type) == (2, 7)
    create(broker, "t")
    topic = entries(broker, TOPIC, "t")
    assert (topic["retention.ms"].value, topic["retention.ms"].config_source) == ("300000", 5)
    assert synonyms_of(topic["segment.ms"]) == [("log.roll.ms", "9", 4), ("log.roll.hours", "168", 5)]
    assert (topic["max.message.bytes"].value, topic["max.message.bytes"].config_source) == ("2000", 4)


def test_what_is_asked_for_is_told(broker):
    create(broker, "t")
    assert list(entries(broker, TOPIC, "t", keys=["segment.ms", "nope", "retention.ms"])) == ["retention.ms", "segment.ms"]
    assert len(entries(broker, TOPIC, "t", keys=[])) == len(TOPIC_OPTIONS)
    assert not any(entry.synonyms for entry in entries(broker, TOPIC, "t", synonyms=False).values())
    assert all(entry.documentation for entry in entries(broker, BROKER, "1", documentation=True).values())
    assert entries(broker, BROKER, "") == {}
    twice = describe(broker, (TOPIC, "t"), (TOPIC, "t"), keys=["segment.ms"])
    assert [[entry.name for entry in one.configs] for one in twice] == [["segment.ms"]] * 2


@pytest.mark.parametrize("version", range(1, 5))
def test_every_version(broker, version):
    create(broker, "t", retention_ms="7")
    entry = entries(broker, TOPIC, "t", version=version)["retention.ms"]
    assert (entry.value, entry.config_source, synonyms_of(entry)) == ("7", 1, [("retention.ms", "7", 1)])
    assert entry.config_type == (5 if version >= 3 else 0)


@pytest.mark.parametrize(
    ("kind", "name", "code"),
    [
        (TOPIC, "nope", 3),
        (TOPIC, "a b", 17),
        (TOPIC, "", 17),
        (BROKER, "7", 42),
        (BROKER, "-1", 42),
        (BROKER, "x", 42),
        (BROKER, "٣", 42),
        (0, "x", 42),
        (3, "x", 42),
        (99, "x", 42),
        (BROKER_LOGGER, "", 42),
        (BROKER_LOGGER, "7", 42),
        (GROUP, "", 42),
        (CLIENT_METRICS, "", 42),
    ],
)
def test_what_is_refused_harms_nobody_else(broker, kind, name, code):
    refused, other = describe(broker, (kind, name), (BROKER, "1"))
    assert (refused.error_code, refused.resource_type, refused.resource_name, refused.configs) == (code, kind, name, [])
    assert refused.error_message
    assert other.error_code == 0 and other.configs


class Nobody:
    def authorize(self, context, operation, resource_type, resource_name):
        return operation != 10

    def throttle(self, context, quota, amount):
        return 0


def test_who_may_not_look(broker):
    create(broker, "t")
    broker.node._server.policy = Nobody()
    broker._peer = None
    assert [one.error_code for one in describe(broker, (TOPIC, "t"), (TOPIC, "nope"), (BROKER, "1"))] == [29, 29, 31]
    assert broker.call(ListConfigResourcesRequest(), 1).error_code == 31


def test_resources_are_listed(broker):
    create(broker, "u")
    create(broker, "t")

    def listed(*types, version=1):
        answer = broker.call(ListConfigResourcesRequest(resource_types=list(types)), version)
        return answer.error_code, [(one.resource_type, one.resource_name) for one in answer.config_resources]

    assert listed() == (0, [(BROKER_LOGGER, "1"), (BROKER, "1"), (TOPIC, "t"), (TOPIC, "u")])
    assert listed(BROKER_LOGGER) == (0, [(BROKER_LOGGER, "1")])
    assert listed(TOPIC) == (0, [(TOPIC, "t"), (TOPIC, "u")])
    assert listed(BROKER) == (0, [(BROKER, "1")])
    assert listed(CLIENT_METRICS, GROUP) == (0, [])
    assert listed(99) == listed(0) == listed(TOPIC, 1) == (35, [])
    assert listed(version=0) == (0, [])
