"""The literals below are what Kafka 3.9.1 in ZooKeeper mode wrote, read back by a ZooKeeper client."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlog.metadata import layout
from fastlog.metadata.image import Broker, Endpoint, Partition

KAFKA_BROKER = (
    b'{"features":{},"listener_security_protocol_map":{"PLAINTEXT":"PLAINTEXT"},"endpoints":["PLAINTEXT://127.0.0.1:39492"],'
    b'"jmx_port":-1,"port":39492,"host":"127.0.0.1","version":5,"timestamp":"1795372163970"}'
)
KAFKA_TOPIC = (
    b'{"partitions":{"0":[1],"1":[1],"2":[1]},"topic_id":"FtlDJIbUTFKFk_zR-cvEBA","adding_replicas":{},'
    b'"removing_replicas":{},"version":3}'
)
KAFKA_STATE = b'{"controller_epoch":1,"leader":1,"version":1,"leader_epoch":0,"isr":[1]}'
KAFKA_CONTROLLER = b'{"version":2,"brokerid":1,"timestamp":"1795372164121","kraftControllerEpoch":-1}'
KAFKA_CONFIG = b'{"version":1,"config":{"cleanup.policy":"compact","retention.ms":"1000"}}'
KAFKA_BROKER_CONFIG = b'{"version":1,"config":{"log.retention.ms":"7"}}'
KAFKA_CONFIG_CHANGE = b'{"version":2,"entity_path":"topics/conf"}'
KAFKA_CLUSTER_ID = b'{"version":"1","id":"W9xFwbjfREqsSjM9Rjxkbw"}'
KAFKA_PRODUCER_IDS = b'{"version":1,"broker":1,"block_start":"0","block_end":"999"}'
KAFKA_FEATURE = b'{"features":{},"version":2,"status":1}'
KAFKA_PATHS = (
    "/admin /admin/delete_topics /brokers /brokers/ids /brokers/seqid /brokers/topics /cluster /config /config/brokers "
    "/config/changes /config/clients /config/ips /config/topics /config/users /consumers /isr_change_notification "
    "/latest_producer_id_block /log_dir_event_notification"
)

ENDPOINT = Endpoint("PLAINTEXT", "127.0.0.1", 39492)
TOPIC_ID = layout.id_from_text("FtlDJIbUTFKFk_zR-cvEBA")
STATE = Partition((1,), leader=1, leader_epoch=0, isr=(1,), controller_epoch=1, znode_version=0, written_zxid=38)


def test_writes_what_kafka_writes():
    assert layout.encode_broker([ENDPOINT], 1795372163970) == KAFKA_BROKER
    assert layout.encode_topic(TOPIC_ID, [(1,), (1,), (1,)]) == KAFKA_TOPIC
    assert layout.encode_state(STATE) == KAFKA_STATE
    assert layout.encode_controller(1, 1795372164121) == KAFKA_CONTROLLER
    assert layout.encode_controller_epoch(1) == b"1"
    assert layout.encode_config({"retention.ms": "1000", "cleanup.policy": "compact"}) == KAFKA_CONFIG
    assert layout.encode_config({}) == b'{"version":1,"config":{}}'
    assert layout.encode_config({"log.retention.ms": "7"}) == KAFKA_BROKER_CONFIG
    assert layout.encode_config_change(layout.topic_entity("conf")) == KAFKA_CONFIG_CHANGE
    assert layout.encode_cluster_id("W9xFwbjfREqsSjM9Rjxkbw") == KAFKA_CLUSTER_ID
    assert layout.encode_producer_ids(layout.ProducerIdBlock(1, 0, 999)) == KAFKA_PRODUCER_IDS
    assert layout.encode_feature() == KAFKA_FEATURE
    assert " ".join(sorted(layout.PERSISTENT_PATHS)) == KAFKA_PATHS


def test_reads_what_kafka_writes():
    assert layout.decode_broker(1, 25, KAFKA_BROKER) == Broker(1, 25, (ENDPOINT,))
    assert layout.decode_topic("plain", KAFKA_TOPIC) == (TOPIC_ID, ((1,), (1,), (1,)))
    assert layout.decode_state("plain", 0, (1,), KAFKA_STATE, 0, 38) == STATE
    assert layout.decode_controller(KAFKA_CONTROLLER) == 1
    assert layout.decode_controller_epoch(b"1") == 1
    assert layout.decode_config(layout.topic_entity("conf"), KAFKA_CONFIG) == {
        "cleanup.policy": "compact",
        "retention.ms": "1000",
    }
    assert layout.decode_config(layout.broker_entity(1), KAFKA_BROKER_CONFIG) == {"log.retention.ms": "7"}
    assert layout.decode_config_change("/c", KAFKA_CONFIG_CHANGE) == layout.topic_entity("conf")
    old = b'{"version":1,"entity_type":"topics","entity_name":"conf"}'
    assert layout.decode_config_change("/c", old) == layout.topic_entity("conf")
    assert layout.decode_cluster_id(KAFKA_CLUSTER_ID) == "W9xFwbjfREqsSjM9Rjxkbw"
    assert layout.decode_producer_ids(KAFKA_PRODUCER_IDS) == layout.ProducerIdBlock(1, 0, 999)
    assert layout.decode_producer_ids(None) is None


def test_paths_are_kafkas():
    assert layout.broker_path(1) == "/brokers/ids/1"
    assert layout.topic_path("t") == "/brokers/topics/t"
    assert layout.partitions_path("t") == "/brokers/topics/t/partitions"
    assert layout.partition_path("t", 11) == "/brokers/topics/t/partitions/11"
    assert layout.state_path("t", 11) == "/brokers/topics/t/partitions/11/state"
    assert layout.topic_config_path("t") == "/config/topics/t"
    assert layout.broker_entity(1).path == "/config/brokers/1"
    assert layout.broker_entity(None).path == "/config/brokers/<default>"
    assert layout.CONFIG_CHANGE == "/config/changes/config_change_"
    assert layout.delete_topic_path("t") == "/admin/delete_topics/t"


def test_parents_come_first():
    seen = {""}
    for path in layout.PERSISTENT_PATHS:
        assert path.rpartition("/")[0] in seen
        seen.add(path)


def test_partitions_may_come_in_any_order_and_without_a_topic_id():
    partitions = b",".join(b'"%d":[1]' % index for index in (4, 5, 6, 7, 8, 9, 2, 3))
    data = b'{"partitions":{"11":[3,1],"0":[1],"1":[2],' + partitions + b',"10":[2,3]},"version":1}'
    topic_id, assignment = layout.decode_topic("wide", data)
    assert topic_id is None
    assert (assignment[1], assignment[10], assignment[11]) == ((2,), (2, 3), (3, 1))


def test_a_broker_with_many_listeners_and_a_rack():
    endpoints = (Endpoint("INSIDE", "::1", 9094, "SSL"), Endpoint("OUT", "example.org", 9092, "PLAINTEXT"))
    data = layout.encode_broker(endpoints, 5, rack="r1")
    fields = json.loads(data)
    assert fields["endpoints"] == ["INSIDE://[::1]:9094", "OUT://example.org:9092"]
    assert (fields["host"], fields["port"], fields["rack"]) == ("example.org", 9092, "r1")
    assert layout.decode_broker(3, 9, data) == Broker(3, 9, endpoints, "r1")
    only_tls = json.loads(layout.encode_broker(endpoints[:1], 5))
    assert (only_tls["host"], only_tls["port"]) == (None, -1)


@pytest.mark.parametrize(
    ("decode", "data"),
    [
        (lambda data: layout.decode_topic("t", data), b'{"partitions":{"0":[1],"2":[1]}}'),
        (lambda data: layout.decode_topic("t", data), b'{"partitions":{"0":["1"]}}'),
        (lambda data: layout.decode_topic("t", data), b'{"partitions":{"x":[1]}}'),
        (lambda data: layout.decode_topic("t", data), b'{"partitions":[1]}'),
        (lambda data: layout.decode_topic("t", data), b'{"partitions":{"0":[1]},"topic_id":"short"}'),
        (lambda data: layout.decode_topic("t", data), b"[1]"),
        (lambda data: layout.decode_topic("t", data), None),
        (lambda data: layout.decode_state("t", 0, (1,), data, 0, 0), b'{"leader":1,"leader_epoch":0,"isr":[1]}'),
        (
            lambda data: layout.decode_state("t", 0, (1,), data, 0, 0),
            b'{"leader":true,"leader_epoch":0,"isr":[1],"controller_epoch":1}',
        ),
        (layout.decode_controller, b"{}"),
        (layout.decode_controller_epoch, b"one"),
        (layout.decode_controller_epoch, None),
        (lambda data: layout.decode_broker(1, 1, data), b'{"endpoints":["nonsense"]}'),
        (lambda data: layout.decode_broker(1, 1, data), b'{"endpoints":3}'),
        (lambda data: layout.decode_config(layout.topic_entity("t"), data), b'{"config":{"a":1}}'),
        (lambda data: layout.decode_config_change("/c", data), b'{"version":2,"entity_path":"topics"}'),
        (lambda data: layout.decode_config_change("/c", data), b'{"version":1,"entity_type":3,"entity_name":"t"}'),
        (layout.decode_cluster_id, b'{"id":""}'),
        (layout.decode_producer_ids, b'{"broker":1}'),
        (layout.decode_controller, b'{"brokerid":"--5"}'),
        (layout.decode_controller, b'{"brokerid":2147483648}'),
        (layout.decode_controller, b'{"brokerid":' + b"[" * 100_000),
        (layout.decode_controller, b'{"brokerid":' + b"9" * 5000 + b"}"),
        (layout.decode_controller_epoch, b"9" * 5000),
        (layout.decode_controller_epoch, b"\xff"),
        (lambda data: layout.decode_broker(1, 1, data), b'{"endpoints":["PLAINTEXT://h:' + b"9" * 5000 + b'"]}'),
        (lambda data: layout.decode_topic("t", data), b'{"partitions":{"' + b"9" * 5000 + b'":[1]}}'),
        (lambda data: layout.decode_topic("t", data), b'{"partitions":{"0":[1],"00":[2]}}'),
        (lambda data: layout.decode_topic("t", data), b'{"partitions":{"0":[2147483648]}}'),
        (layout.decode_producer_ids, b'{"broker":1,"block_start":"9223372036854775808","block_end":5}'),
    ],
)
def test_nonsense_is_refused_by_its_path(decode, data):
    with pytest.raises(layout.BadZnode, match=r"coordinator: /\S+ (has|holds|is) "):
        decode(data)


@given(st.binary(min_size=16, max_size=16))
def test_ids_come_back(identifier):
    text = layout.id_to_text(identifier)
    assert len(text) == 22
    assert layout.id_from_text(text) == identifier


@given(st.binary(min_size=16, max_size=16))
def test_random_ids_are_version_4_uuids_that_kafka_may_have_made(random_bytes):
    made = layout.id_from_random(random_bytes)
    if made is not None:
        assert (made[6] >> 4, made[8] >> 6) == (4, 2)
        assert not layout.id_to_text(made).startswith("-")
    else:
        assert random_bytes[0] >> 2 == 62


@pytest.mark.parametrize(
    "text", ["", "a", "W9xFwbjfREqsSjM9Rjxkb", "W9xFwbjfREqsSjM9Rjxkbw==", "W9xFwbjf REqsSjM9Rjxkbw", "é" * 22]
)
def test_ids_that_are_none(text):
    with pytest.raises(ValueError):
        layout.id_from_text(text)
