"""kcat, confluent-kafka and kafka-python: each produces with every codec it has and reads back."""

from __future__ import annotations

import subprocess

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from kafka import KafkaConsumer, KafkaProducer
from kafka import TopicPartition as KafkaPythonPartition

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(180)]

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
# Every shape a record can have: null and empty keys and values, headers with null and binary values, a large value.
SHAPES: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]] = [
    (None, b"only a value", []),
    (b"key", b"value", []),
    (b"key", None, []),
    (b"", b"", []),
    (b"k\x00\xff", bytes(range(256)), [("h", b"1"), ("h", b"2"), ("none", None), ("empty", b"")]),
    (b"large", b"x" * 700_000, []),
]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("idempotent", [False, True])
def test_confluent_kafka_round_trip(broker, codec, idempotent) -> None:
    broker.topic("shapes")
    offsets: list[int] = []

    def on_delivery(error: object, message: object) -> None:
        assert error is None
        offsets.append(message.offset())  # type: ignore[attr-defined]

    settings = {"bootstrap.servers": broker.bootstrap, "compression.type": codec, "enable.idempotence": idempotent}
    producer = Producer(settings)
    for key, value, headers in SHAPES:
        producer.produce("shapes", value, key, headers=headers, on_delivery=on_delivery)
    assert producer.flush(30) == 0
    assert offsets == list(range(len(SHAPES)))

    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "unused", "enable.auto.commit": False})
    consumer.assign([TopicPartition("shapes", 0, 0)])
    messages = [consumer.poll(30) for _ in SHAPES]
    consumer.close()
    assert [m.error() for m in messages] == [None] * len(SHAPES)
    assert [(m.key(), m.value(), m.headers() or []) for m in messages] == SHAPES
    assert [m.offset() for m in messages] == list(range(len(SHAPES)))


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("idempotent", [False, True])
def test_kafka_python_round_trip(broker, codec, idempotent) -> None:
    broker.topic("shapes")
    producer = KafkaProducer(
        bootstrap_servers=broker.bootstrap, compression_type=codec, enable_idempotence=idempotent, acks="all"
    )
    # This client takes no null header values.
    shapes = [(key, value, [one for one in headers if one[1] is not None]) for key, value, headers in SHAPES]
    futures = [producer.send("shapes", value, key, headers) for key, value, headers in shapes]
    assert [future.get(30).offset for future in futures] == list(range(len(SHAPES)))
    producer.close()

    partition = KafkaPythonPartition("shapes", 0)
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, consumer_timeout_ms=30_000, enable_auto_commit=False)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    records = [next(consumer) for _ in SHAPES]
    assert [(r.key, r.value, list(r.headers)) for r in records] == shapes
    assert consumer.end_offsets([partition]) == {partition: len(SHAPES)}
    middle = records[3].timestamp
    assert consumer.offsets_for_times({partition: middle})[partition].timestamp == middle
    consumer.close()


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_kcat_round_trip(broker, codec) -> None:
    broker.topic("lines")
    lines = "".join(f"key{number}:line number {number}\n" for number in range(1_000))
    kcat = ["kcat", "-b", broker.bootstrap, "-t", "lines"]
    subprocess.run([*kcat, "-P", "-K:", "-z", codec], input=lines, text=True, check=True, timeout=60)
    consume = [*kcat, "-C", "-K:", "-e", "-q", "-o", "beginning"]
    assert subprocess.run(consume, check=True, capture_output=True, text=True, timeout=60).stdout == lines
    one = subprocess.run(
        [*kcat, "-C", "-e", "-q", "-o", "500", "-c", "1", "-f", "%o %k %s"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert one.stdout == "500 key500 line number 500"


def test_kcat_lists_the_cluster_and_creates_a_topic_by_producing(broker) -> None:
    subprocess.run(
        ["kcat", "-b", broker.bootstrap, "-P", "-t", "made-by-producing"], input="hello\n", text=True, check=True, timeout=60
    )
    listed = subprocess.run(["kcat", "-b", broker.bootstrap, "-L"], check=True, capture_output=True, text=True, timeout=60).stdout
    assert 'topic "made-by-producing" with 1 partitions' in listed
    assert f"at {broker.bootstrap}" in listed


def test_admin_clients_create_describe_and_delete(broker) -> None:
    from confluent_kafka.admin import AdminClient, NewTopic
    from confluent_kafka.error import KafkaException

    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    created = admin.create_topics([NewTopic("made", 5, 1), NewTopic("not/a/name", 1, 1)])
    assert created["made"].result(30) is None
    with pytest.raises(KafkaException, match="TOPIC_EXCEPTION"):
        created["not/a/name"].result(30)
    with pytest.raises(KafkaException, match="TOPIC_ALREADY_EXISTS"):
        admin.create_topics([NewTopic("made", 5, 1)])["made"].result(30)
    assert len(admin.list_topics("made", timeout=30).topics["made"].partitions) == 5
    assert [node.port for node in admin.describe_cluster().result(30).nodes] == [broker.port]
    assert admin.delete_topics(["made"])["made"].result(30) is None
    assert "made" not in admin.list_topics(timeout=30).topics
