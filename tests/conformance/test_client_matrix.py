"""Every client with every feature that it has: what is expected stands here once, each client's driver only obeys.

A driver (`clients/`) reads one JSON request a line and answers each; `clients/python/driver.py` says how. What a client is not
listed with in `tests/support/client_matrix.py` it does not have.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from typing import Any

import client_matrix
import pytest

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(240)]

Record = dict[str, Any]
FIRST_TIMESTAMP_MS = 1_700_000_000_000
LARGE_RECORD_BYTES = 700_000


def b64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def record(key: bytes | None, value: bytes | None, *headers: tuple[str, bytes | None]) -> Record:
    return {"key": b64(key), "value": b64(value), "headers": [[name, b64(header)] for name, header in headers]}


def shapes(client: str) -> list[Record]:
    """Return every shape that a record can have, as far as the client can say it: null and empty, binary, headers, large."""
    has = client_matrix.CLIENTS[client].features
    with_headers: list[tuple[str, bytes | None]] = [("h", b"1")]
    if client not in client_matrix.NO_EMPTY_HEADERS:
        with_headers.insert(0, ("empty", b""))
    if client not in client_matrix.NO_REPEATED_HEADERS:
        with_headers.append(("h", b"2"))
    if "null-header" in has:
        with_headers.append(("none", None))
    large = random.Random(1).randbytes(LARGE_RECORD_BYTES // 2) + bytes(LARGE_RECORD_BYTES // 2)
    records = [
        record(None, b"only a value"),
        record(b"key", b"value"),
        record(b"key", None),
        record(b"k\x00\xff", bytes(range(256)), *with_headers),
        record(b"large", large),
        record("schlüssel".encode(), "wert ✓".encode()),
    ]
    if client not in client_matrix.NO_EMPTY_BYTES:
        records.append(record(b"", b""))
    return records


def timed_records(count: int) -> list[Record]:
    """Return records a second apart."""
    return [{**record(b"k%d" % n, b"value %d" % n), "timestamp": FIRST_TIMESTAMP_MS + 1_000 * n} for n in range(count)]


def content(answer: dict[str, Any]) -> list[Record]:
    """Return records as they were given: without what the log added."""
    return [{name: one[name] for name in ("key", "value", "headers")} for one in answer["records"]]


class Cell:
    """One client on one feature: its driver, another one to check it by, and a topic of its own."""

    def __init__(self, client: str, feature: str, drivers: Callable[[str], Any], broker: Any) -> None:
        self.client = client
        self.feature = feature
        self.broker = broker
        self.topic = f"{client}-{feature}".replace(" ", "-")
        self.has = client_matrix.CLIENTS[client].features
        self.best_codec = next(codec for codec in reversed(client_matrix.CODECS) if f"produce-{codec}" in self.has)
        self.ask = drivers(client)
        self.drivers = drivers
        self.reference = drivers("kafka-python 3" if client == "confluent-kafka" else "confluent-kafka")

    def make_topic(self, partitions: int = 1, configs: dict[str, str] | None = None) -> None:
        self.reference("create_topic", topic=self.topic, partitions=partitions, configs=configs or {})

    def produce(
        self, records: list[Record], *, by: Any = None, codec: str = "none", acks: str = "all", idempotent: bool = False
    ) -> Any:
        ask = by or self.ask
        return ask("produce", topic=self.topic, partition=0, codec=codec, acks=acks, idempotent=idempotent, records=records)

    def consume(self, count: int, *, by: Any = None, **start: int) -> Any:
        return (by or self.ask)("consume", topic=self.topic, partition=0, count=count, **start)

    def options(self) -> dict[str, str]:
        """Return the topic's options, by the other client."""
        return self.reference("describe_configs", type="topic", name=self.topic)["configs"]


def round_trip(cell: Cell, **how: Any) -> None:
    """Produce and consume by the client, then read the same by another client."""
    records = shapes(cell.client)
    cell.make_topic()
    offsets = cell.produce(records, **how)["offsets"]
    assert offsets in (None, list(range(len(records))))
    read = cell.consume(len(records))
    assert content(read) == records
    assert [one["offset"] for one in read["records"]] == list(range(len(records)))
    assert content(cell.consume(len(records), by=cell.reference)) == records


def check_null_header(cell: Cell) -> None:
    records = [record(b"k", b"v", ("none", None), ("one", b"1"))]
    cell.make_topic()
    cell.produce(records)
    assert content(cell.consume(1)) == records
    assert content(cell.consume(1, by=cell.reference)) == records


def check_acks_0(cell: Cell) -> None:
    """Nothing is answered, so what arrived is seen by reading it."""
    records = shapes(cell.client)
    cell.make_topic()
    cell.produce(records, acks="0")
    assert content(cell.consume(len(records), by=cell.reference)) == records


def check_produce_error(cell: Cell) -> None:
    cell.make_topic(configs={"max.message.bytes": "1000"})
    failed = cell.ask.refused(
        "produce",
        topic=cell.topic,
        partition=0,
        codec="none",
        acks="all",
        idempotent=False,
        records=[record(None, random.Random(2).randbytes(5_000))],
    )
    assert failed["code"] == 10, failed
    assert cell.reference("list_offset", topic=cell.topic, partition=0, at="latest") == {"offset": 0}


def check_consume_offset(cell: Cell) -> None:
    records = timed_records(50)
    cell.make_topic()
    cell.produce(records, by=cell.reference, codec=cell.best_codec)
    read = cell.consume(20, offset=30)["records"]
    assert [one["offset"] for one in read] == list(range(30, 50))
    assert [one["value"] for one in read] == [one["value"] for one in records[30:]]
    assert [one["timestamp"] for one in read] == [one["timestamp"] for one in records[30:]]


def check_consume_time(cell: Cell) -> None:
    cell.make_topic()
    cell.produce(timed_records(50), by=cell.reference)
    read = cell.consume(10, time=FIRST_TIMESTAMP_MS + 39_500)["records"]
    assert [one["offset"] for one in read] == list(range(40, 50))


def check_list_offsets(cell: Cell) -> None:
    cell.make_topic()
    cell.produce(timed_records(20), by=cell.reference)
    asked = {"earliest": 0, "latest": 20, FIRST_TIMESTAMP_MS + 6_500: 7}
    assert {at: cell.ask("list_offset", topic=cell.topic, partition=0, at=at)["offset"] for at in asked} == asked


def check_keyed(cell: Cell) -> None:
    """Keys keep to their partitions from producer to producer, and to those that Java's gives them where a client means to."""

    def places(ask: Any, topic: str) -> dict[str, int]:
        cell.reference("create_topic", topic=topic, partitions=6, configs={})
        for first in range(0, 300, 100):
            records = [record(b"key %d" % (n % 60), b"%d" % n) for n in range(first, first + 100)]
            ask("produce", topic=topic, partition=None, codec="none", acks="all", idempotent=False, records=records)
        found: dict[str, int] = {}
        numbers = []
        for partition in range(6):
            count = cell.reference("list_offset", topic=topic, partition=partition, at="latest")["offset"]
            read = cell.reference("consume", topic=topic, partition=partition, count=count)["records"]
            values = [int(base64.b64decode(one["value"])) for one in read]
            assert values and values == sorted(values)
            numbers += values
            for one in read:
                assert found.setdefault(one["key"], partition) == partition
        assert sorted(numbers) == list(range(300))
        return found

    placed = places(cell.ask, cell.topic)
    if cell.client in client_matrix.MURMUR2:
        assert placed == places(cell.drivers("Java 4"), f"{cell.topic}-java")


def check_create_topic(cell: Cell) -> None:
    cell.ask("create_topic", topic=cell.topic, partitions=3, configs={})
    assert len(cell.reference("describe_topic", topic=cell.topic)["partitions"]) == 3


def check_create_topic_options(cell: Cell) -> None:
    cell.ask("create_topic", topic=cell.topic, partitions=1, configs={"retention.ms": "12345678"})
    assert cell.options()["retention.ms"] == "12345678"


def check_create_topic_error(cell: Cell) -> None:
    cell.make_topic()
    again = cell.ask.refused("create_topic", topic=cell.topic, partitions=1, configs={})
    assert again["code"] == 36, again
    if "create-topic-options" in cell.has:
        wrong = cell.ask.refused("create_topic", topic=f"{cell.topic}-2", partitions=1, configs={"retention.ms": "much"})
        assert wrong["code"] == 40, wrong


def check_list_topics(cell: Cell) -> None:
    """Whether a client tells of Kafka's internal topics too is its own affair."""
    cell.make_topic()
    answers = (ask("list_topics")["topics"] for ask in (cell.ask, cell.reference))
    listed, expected = ([name for name in names if not name.startswith("__")] for names in answers)
    assert cell.topic in listed
    assert listed == expected


def check_describe_topic(cell: Cell) -> None:
    cell.make_topic(partitions=4)
    assert cell.ask("describe_topic", topic=cell.topic) == {"partitions": [[n, 1, [1], [1]] for n in range(4)]}


def check_delete_topic(cell: Cell) -> None:
    cell.make_topic()
    assert cell.topic in cell.reference("list_topics")["topics"]
    cell.ask("delete_topic", topic=cell.topic)
    assert cell.topic not in cell.reference("list_topics")["topics"]


def check_create_partitions(cell: Cell) -> None:
    cell.make_topic(partitions=2)
    cell.ask("create_partitions", topic=cell.topic, total=5)
    assert len(cell.reference("describe_topic", topic=cell.topic)["partitions"]) == 5
    fewer = cell.ask.refused("create_partitions", topic=cell.topic, total=3)
    assert fewer["code"] == 37, fewer


def check_delete_records(cell: Cell) -> None:
    cell.make_topic()
    cell.produce(timed_records(10), by=cell.reference)
    answer = cell.ask("delete_records", topic=cell.topic, partition=0, before=4)
    assert answer["low_watermark"] in (4, None)
    assert cell.reference("list_offset", topic=cell.topic, partition=0, at="earliest") == {"offset": 4}
    assert [one["offset"] for one in cell.consume(6)["records"]] == list(range(4, 10))


def check_describe_cluster(cell: Cell) -> None:
    described = cell.ask("describe_cluster")
    assert described["brokers"] == [[1, "127.0.0.1", cell.broker.port]]
    assert described.get("controller", 1) == 1
    assert described.get("cluster_id") in (None, cell.reference("describe_cluster")["cluster_id"])


def check_describe_configs(cell: Cell) -> None:
    cell.make_topic(configs={"segment.bytes": "1234567"})
    of_topic = cell.ask("describe_configs", type="topic", name=cell.topic)["configs"]
    assert of_topic["segment.bytes"] == "1234567"
    assert of_topic["cleanup.policy"] == "delete"
    of_broker = cell.ask("describe_configs", type="broker", name="1")["configs"]
    assert of_broker["broker.id"] == "1"
    assert of_broker["num.partitions"] == "1"


def check_alter_configs(cell: Cell) -> None:
    """What is not named goes back to its default, unless the client names all that it finds."""
    cell.make_topic(configs={"segment.bytes": "1234567"})
    cell.ask("alter_configs", type="topic", name=cell.topic, set={"retention.ms": "7654321"})
    options = cell.options()
    kept = "1234567" if cell.client in client_matrix.KEEPS_OPTIONS else "1073741824"
    assert (options["retention.ms"], options["segment.bytes"]) == ("7654321", kept)


def check_incremental_alter_configs(cell: Cell) -> None:
    cell.make_topic(configs={"segment.bytes": "1234567", "max.message.bytes": "54321"})
    cell.ask(
        "incremental_alter_configs", type="topic", name=cell.topic, set={"retention.ms": "7654321"}, delete=["segment.bytes"]
    )
    options = cell.options()
    assert (options["retention.ms"], options["segment.bytes"]) == ("7654321", "1073741824")
    assert options["max.message.bytes"] == "54321"


def check_describe_log_dirs(cell: Cell) -> None:
    cell.make_topic(partitions=2)
    cell.produce(timed_records(10), by=cell.reference)
    sizes = cell.ask("describe_log_dirs")["partitions"]
    log = cell.broker.log_directory / f"{cell.topic}-0" / f"{0:020}.log"
    assert sizes[f"{cell.topic}-0"] == log.stat().st_size > 0
    assert sizes[f"{cell.topic}-1"] == 0


def check_describe_producers(cell: Cell) -> None:
    cell.make_topic()
    cell.produce(timed_records(10), by=cell.reference, idempotent=True)
    assert cell.ask("describe_producers", topic=cell.topic, partition=0) == {"producers": [[0, 9]]}


def check_list_config_resources(cell: Cell) -> None:
    cell.make_topic()
    resources = cell.ask("list_config_resources")["resources"]
    assert cell.topic in resources["topic"]
    assert resources["broker"] == ["1"]


GROUP_SESSION_MS = 20_000
JOINED_WITHIN_POLLS = 60


def make_group(cell: Cell) -> str:
    """Make a group that nobody is in, with offset 4 of the topic's first partition; return its name."""
    cell.make_topic(partitions=2)
    cell.produce(timed_records(10), by=cell.reference)
    group = f"group-of-{cell.topic}"
    cell.reference("alter_group_offset", group=group, topic=cell.topic, partition=0, offset=4)
    return group


def check_list_groups(cell: Cell) -> None:
    group = make_group(cell)
    assert group in cell.ask("list_groups")["groups"]


def check_describe_group(cell: Cell) -> None:
    """One that is empty, and the same with a member."""
    group = make_group(cell)
    assert cell.ask("describe_group", group=group) == {"state": "Empty", "members": 0}
    member = cell.ask if cell.client in client_matrix.READS_ITS_OWN_MEMBERS else cell.reference
    member("group_join", group=group, topic=cell.topic, session_ms=GROUP_SESSION_MS, heartbeat_ms=1_000)
    try:
        for _ in range(JOINED_WITHIN_POLLS):
            if member("group_poll", ms=500)["owned"]:
                break
        assert cell.ask("describe_group", group=group) == {"state": "Stable", "members": 1}
    finally:
        member("group_leave")


def check_group_offset(cell: Cell) -> None:
    group = make_group(cell)
    asked = {"group": group, "topic": cell.topic}
    assert [cell.ask("group_offset", **asked, partition=index)["offset"] for index in range(2)] == [4, None]


def check_alter_group_offset(cell: Cell) -> None:
    """Of a group that is there, and of one that comes about by it."""
    for group in (make_group(cell), f"new-group-of-{cell.topic}"):
        cell.ask("alter_group_offset", group=group, topic=cell.topic, partition=0, offset=7)
        assert cell.reference("group_offset", group=group, topic=cell.topic, partition=0) == {"offset": 7}


def check_delete_group_offset(cell: Cell) -> None:
    group = make_group(cell)
    cell.reference("alter_group_offset", group=group, topic=cell.topic, partition=1, offset=0)
    cell.ask("delete_group_offset", group=group, topic=cell.topic, partition=0)
    assert cell.reference("group_offset", group=group, topic=cell.topic, partition=0) == {"offset": None}
    assert cell.reference("group_offset", group=group, topic=cell.topic, partition=1) == {"offset": 0}


def check_delete_group(cell: Cell) -> None:
    group = make_group(cell)
    assert group in cell.reference("list_groups")["groups"]
    cell.ask("delete_group", group=group)
    assert group not in cell.reference("list_groups")["groups"]


CHECKS: dict[str, Callable[[Cell], None]] = {
    **{f"produce-{codec}": lambda cell, codec=codec: round_trip(cell, codec=codec) for codec in client_matrix.CODECS},
    "null-header": check_null_header,
    "acks-0": check_acks_0,
    "acks-1": lambda cell: round_trip(cell, acks="1"),
    "idempotent": lambda cell: round_trip(cell, idempotent=True, codec=cell.best_codec),
    "produce-error": check_produce_error,
    "consume-offset": check_consume_offset,
    "consume-time": check_consume_time,
    "list-offsets": check_list_offsets,
    "keyed": check_keyed,
    "create-topic": check_create_topic,
    "create-topic-options": check_create_topic_options,
    "create-topic-error": check_create_topic_error,
    "list-topics": check_list_topics,
    "describe-topic": check_describe_topic,
    "delete-topic": check_delete_topic,
    "create-partitions": check_create_partitions,
    "delete-records": check_delete_records,
    "describe-cluster": check_describe_cluster,
    "describe-configs": check_describe_configs,
    "alter-configs": check_alter_configs,
    "incremental-alter-configs": check_incremental_alter_configs,
    "list-config-resources": check_list_config_resources,
    "describe-log-dirs": check_describe_log_dirs,
    "describe-producers": check_describe_producers,
    "list-groups": check_list_groups,
    "describe-group": check_describe_group,
    "group-offset": check_group_offset,
    "alter-group-offset": check_alter_group_offset,
    "delete-group-offset": check_delete_group_offset,
    "delete-group": check_delete_group,
}


@pytest.mark.parametrize(("client", "feature"), client_matrix.cells(CHECKS), ids=lambda name: name.replace(" ", "-"))
def test_client(client, feature, drivers, shared_broker) -> None:
    CHECKS[feature](Cell(client, feature, drivers, shared_broker))
