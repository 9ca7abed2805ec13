"""Where the cluster's metadata lies in the coordinator, and as what JSON: as Kafka 3.9 in ZooKeeper mode writes it. Pure.

Checked against the znodes of a running Kafka 3.9.1 (`tests/metadata/test_layout.py`). Writers give the fields in Kafka's order,
without blanks. Readers are lenient in what Kafka's are (unknown fields, older versions without a topic id), and raise BadZnode on
everything else: what lies there was written by others.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from fastlog.errors import FastlogError
from fastlog.metadata.image import Broker, Endpoint, Partition

BROKER_IDS: Final = "/brokers/ids"
TOPICS: Final = "/brokers/topics"
TOPIC_CONFIGS: Final = "/config/topics"
BROKER_CONFIGS: Final = "/config/brokers"
CONFIG_CHANGES: Final = "/config/changes"
DELETE_TOPICS: Final = "/admin/delete_topics"
CONTROLLER: Final = "/controller"
CONTROLLER_EPOCH: Final = "/controller_epoch"
CLUSTER_ID: Final = "/cluster/id"
FEATURE: Final = "/feature"
PRODUCER_IDS: Final = "/latest_producer_id_block"

PERSISTENT_PATHS: Final = (
    "/consumers",
    "/brokers",
    "/brokers/ids",
    "/brokers/topics",
    "/config",
    "/config/changes",
    "/admin",
    "/admin/delete_topics",
    "/brokers/seqid",
    "/isr_change_notification",
    "/latest_producer_id_block",
    "/log_dir_event_notification",
    "/config/topics",
    "/config/clients",
    "/config/users",
    "/config/brokers",
    "/config/ips",
    "/cluster",
)
"""What a broker makes sure of at its start, parents first. These znodes have no data."""

ALL_BROKERS: Final = "<default>"
"""What stands in the place of a broker's id where options are every broker's."""

CONFIG_CHANGE: Final = f"{CONFIG_CHANGES}/config_change_"
"""How the paths of announced changes begin; the coordinator numbers them."""

FIRST_CONTROLLER_EPOCH: Final = 0
"""What `/controller_epoch` holds before the first election."""

_TOPIC_ID_BYTES: Final = 16
_INT_MAX: Final = (1 << 31) - 1
_LONG_MAX: Final = (1 << 63) - 1
_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}")
_RESERVED_TOPIC_IDS: Final = (bytes(16), bytes(15) + b"\x01")


class BadZnode(FastlogError):
    """A znode does not hold what Kafka writes there; names the path."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"coordinator: {path} {reason}")
        self.path = path


class Entity(NamedTuple):
    """Something that has options of its own: a kind (`topics`, `brokers`) and a name."""

    kind: str
    name: str

    @property
    def path(self) -> str:
        """The path of its options."""
        return f"/config/{self.kind}/{self.name}"


def topic_entity(topic: str) -> Entity:
    """Return a topic as something that has options."""
    return Entity("topics", topic)


def broker_entity(broker_id: int | None) -> Entity:
    """Return a broker, or all of them where no id is given, as something that has options."""
    return Entity("brokers", ALL_BROKERS if broker_id is None else str(broker_id))


class ProducerIdBlock(NamedTuple):
    """A range of producer ids given to one broker; both ends are in it."""

    broker: int
    first: int
    last: int


# ---- paths ----------------------------------------------------------------------------------------------------------------


def broker_path(broker_id: int) -> str:
    """Return the path of a broker's registration."""
    return f"{BROKER_IDS}/{broker_id}"


def topic_path(topic: str) -> str:
    """Return the path of a topic's assignment."""
    return f"{TOPICS}/{topic}"


def partitions_path(topic: str) -> str:
    """Return the path of a topic's partitions."""
    return f"{TOPICS}/{topic}/partitions"


def partition_path(topic: str, partition: int) -> str:
    """Return the path of one partition."""
    return f"{TOPICS}/{topic}/partitions/{partition}"


def state_path(topic: str, partition: int) -> str:
    """Return the path of a partition's leader and ISR."""
    return f"{TOPICS}/{topic}/partitions/{partition}/state"


def topic_config_path(topic: str) -> str:
    """Return the path of a topic's own options."""
    return topic_entity(topic).path


def delete_topic_path(topic: str) -> str:
    """Return the path of the wish that a topic be deleted."""
    return f"{DELETE_TOPICS}/{topic}"


# ---- ids ------------------------------------------------------------------------------------------------------------------


def id_to_text(identifier: bytes) -> str:
    """Return Kafka's 22 characters for 16 bytes: URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(identifier).decode().rstrip("=")


def id_from_text(text: str) -> bytes:
    """Return the 16 bytes of an id; ValueError when it is none."""
    if not text.isascii() or not text.replace("-", "a").replace("_", "a").isalnum():
        raise ValueError(f"{text!r} is no id")
    identifier = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if len(identifier) != _TOPIC_ID_BYTES:
        raise ValueError(f"{text!r} is no id of {_TOPIC_ID_BYTES} bytes")
    return identifier


def id_from_random(random_bytes: bytes) -> bytes | None:
    """Make an id (a version 4 UUID) of 16 random bytes; None for one not to be used: reserved, or its text begins with '-'."""
    identifier = bytearray(random_bytes)
    identifier[6] = identifier[6] & 0x0F | 0x40
    identifier[8] = identifier[8] & 0x3F | 0x80
    made = bytes(identifier)
    return None if made in _RESERVED_TOPIC_IDS or id_to_text(made).startswith("-") else made


# ---- writing --------------------------------------------------------------------------------------------------------------


def _json(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()


def encode_broker(endpoints: Sequence[Endpoint], timestamp_ms: int, rack: str | None = None) -> bytes:
    """Return what `/brokers/ids/N` holds. `host` and `port` are for clients of old and name a PLAINTEXT listener."""
    plain = next((endpoint for endpoint in endpoints if endpoint.protocol == "PLAINTEXT"), None)
    fields: dict[str, Any] = {
        "features": {},
        "listener_security_protocol_map": {endpoint.listener: endpoint.protocol for endpoint in endpoints},
        "endpoints": [f"{endpoint.listener}://{_bracketed(endpoint.host)}:{endpoint.port}" for endpoint in endpoints],
        "jmx_port": -1,
        "port": plain.port if plain else -1,
        "host": plain.host if plain else None,
        "version": 5,
        "timestamp": str(timestamp_ms),
    }
    if rack is not None:
        fields["rack"] = rack
    return _json(fields)


def encode_topic(topic_id: bytes, assignment: Sequence[Sequence[int]]) -> bytes:
    """Return what `/brokers/topics/T` holds: each partition's replicas, the preferred one first."""
    return _json(
        {
            "partitions": {str(index): list(replicas) for index, replicas in enumerate(assignment)},
            "topic_id": id_to_text(topic_id),
            "adding_replicas": {},
            "removing_replicas": {},
            "version": 3,
        }
    )


def encode_state(partition: Partition) -> bytes:
    """Return what a partition's `state` holds."""
    return _json(
        {
            "controller_epoch": partition.controller_epoch,
            "leader": partition.leader,
            "version": 1,
            "leader_epoch": partition.leader_epoch,
            "isr": list(partition.isr),
        }
    )


def encode_controller(broker_id: int, timestamp_ms: int) -> bytes:
    """Return what `/controller` holds."""
    return _json({"version": 2, "brokerid": broker_id, "timestamp": str(timestamp_ms), "kraftControllerEpoch": -1})


def encode_controller_epoch(epoch: int) -> bytes:
    """Return what `/controller_epoch` holds."""
    return str(epoch).encode()


def encode_config(config: Mapping[str, str]) -> bytes:
    """Return what `/config/topics/T` and `/config/brokers/N` hold."""
    return _json({"version": 1, "config": dict(sorted(config.items()))})


def encode_config_change(entity: Entity) -> bytes:
    """Return what announces that something's options are other ones now."""
    return _json({"version": 2, "entity_path": f"{entity.kind}/{entity.name}"})


def encode_cluster_id(cluster_id: str) -> bytes:
    """Return what `/cluster/id` holds."""
    return _json({"version": "1", "id": cluster_id})


def encode_feature() -> bytes:
    """Return what `/feature` holds: finalized features are enabled, and there are none."""
    return _json({"features": {}, "version": 2, "status": 1})


def encode_producer_ids(block: ProducerIdBlock) -> bytes:
    """Return what `/latest_producer_id_block` holds."""
    return _json({"version": 1, "broker": block.broker, "block_start": str(block.first), "block_end": str(block.last)})


# ---- reading --------------------------------------------------------------------------------------------------------------


def _object(path: str, data: bytes | None) -> dict[str, Any]:
    try:
        fields = json.loads(data or b"")
    except (ValueError, RecursionError) as error:
        raise BadZnode(path, f"is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise BadZnode(path, "is not a JSON object")
    return fields


def _is_integer(value: Any, most: int = _INT_MAX) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -most - 1 <= value <= most


def _integer(path: str, fields: Mapping[str, Any], name: str, most: int = _INT_MAX) -> int:
    value = fields.get(name)
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if not _is_integer(value, most):
        raise BadZnode(path, f"has no number {name!r}")
    assert isinstance(value, int)
    return value


def _integers(path: str, value: Any, what: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(map(_is_integer, value)):
        raise BadZnode(path, f"has no list of numbers {what!r}")
    return tuple(value)


def decode_broker(broker_id: int, epoch: int, data: bytes | None) -> Broker:
    """Return the broker that `/brokers/ids/N` describes; `epoch` is the znode's czxid."""
    path = broker_path(broker_id)
    fields = _object(path, data)
    protocols = fields.get("listener_security_protocol_map", {})
    texts = fields.get("endpoints", [])
    if not isinstance(protocols, dict) or not isinstance(texts, list):
        raise BadZnode(path, "has no endpoints")
    endpoints = []
    for text in texts:
        listener, _, rest = str(text).partition("://")
        host, _, port = rest.rpartition(":")
        if not listener or not _PORT.fullmatch(port):
            raise BadZnode(path, f"has the endpoint {text!r}")
        host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        endpoints.append(Endpoint(listener, host, int(port), str(protocols.get(listener, listener))))
    rack = fields.get("rack")
    return Broker(broker_id, epoch, tuple(endpoints), None if rack is None else str(rack))


def decode_topic(topic: str, data: bytes | None) -> tuple[bytes | None, tuple[tuple[int, ...], ...]]:
    """Return a topic's id (None when an old Kafka wrote it) and each partition's replicas."""
    path = topic_path(topic)
    fields = _object(path, data)
    partitions = fields.get("partitions")
    if not isinstance(partitions, dict):
        raise BadZnode(path, "has no partitions")
    by_index = {}
    for index, replicas in partitions.items():
        if not _INDEX.fullmatch(index):
            raise BadZnode(path, f"has a partition {index!r}")
        by_index[int(index)] = _integers(path, replicas, f"partitions.{index}")
    if sorted(by_index) != list(range(len(by_index))):
        raise BadZnode(path, f"has partitions {sorted(by_index)}")
    text = fields.get("topic_id")
    try:
        topic_id = None if text is None else id_from_text(str(text))
    except ValueError as error:
        raise BadZnode(path, f"has a bad topic id: {error}") from None
    return topic_id, tuple(by_index[index] for index in range(len(by_index)))


def decode_state(
    topic: str, index: int, replicas: tuple[int, ...], data: bytes | None, znode_version: int, written_zxid: int
) -> Partition:
    """Return the partition whose `state` holds `data`; version and mzxid are the znode's."""
    path = state_path(topic, index)
    fields = _object(path, data)
    return Partition(
        replicas,
        _integer(path, fields, "leader"),
        _integer(path, fields, "leader_epoch"),
        _integers(path, fields.get("isr"), "isr"),
        _integer(path, fields, "controller_epoch"),
        znode_version,
        written_zxid,
    )


def decode_controller(data: bytes | None) -> int:
    """Return the id of the broker that is the controller."""
    return _integer(CONTROLLER, _object(CONTROLLER, data), "brokerid")


def decode_controller_epoch(data: bytes | None) -> int:
    """Return the controller epoch."""
    text = (data or b"").decode("ascii", "replace").strip()
    if not _INTEGER.fullmatch(text) or not _is_integer(int(text)):
        raise BadZnode(CONTROLLER_EPOCH, f"holds {data!r} and no number")
    return int(text)


def decode_config(entity: Entity, data: bytes | None) -> dict[str, str]:
    """Return the options of a topic or broker."""
    config = _object(entity.path, data).get("config")
    if not isinstance(config, dict) or not all(isinstance(value, str) for value in config.values()):
        raise BadZnode(entity.path, "has no config")
    return config


def decode_config_change(path: str, data: bytes | None) -> Entity:
    """Return whose options an announcement is about; version 1, of old Kafkas, tells kind and name apart."""
    fields = _object(path, data)
    if fields.get("version") == 1:
        kind, name = fields.get("entity_type"), fields.get("entity_name")
    else:
        kind, _, name = str(fields.get("entity_path")).partition("/")
    if not isinstance(kind, str) or not isinstance(name, str) or not kind or not name:
        raise BadZnode(path, "has no entity")
    return Entity(kind, name)


def decode_cluster_id(data: bytes | None) -> str:
    """Return the cluster's id."""
    cluster_id = _object(CLUSTER_ID, data).get("id")
    if not isinstance(cluster_id, str) or not cluster_id:
        raise BadZnode(CLUSTER_ID, "has no id")
    return cluster_id


def decode_producer_ids(data: bytes | None) -> ProducerIdBlock | None:
    """Return the block given out last, None before the first."""
    if not data:
        return None
    fields = _object(PRODUCER_IDS, data)
    return ProducerIdBlock(*(_integer(PRODUCER_IDS, fields, name, _LONG_MAX) for name in ("broker", "block_start", "block_end")))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
