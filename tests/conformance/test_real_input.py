"""Real files of this machine go in through one client with keys and come back byte for byte through two others."""

from __future__ import annotations

import collections
import pathlib
import struct
import subprocess

import pytest
from confluent_kafka import Producer
from kafka import KafkaConsumer, TopicPartition

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(300)]

PARTITIONS = 7
WHOLE_FILES_MOST = 40
WHOLE_FILE_BYTES_MOST = 900_000  # below what a broker takes unless it is told otherwise
Placed = dict[int, list[tuple[bytes, bytes]]]


def whole_files() -> list[tuple[bytes, bytes]]:
    """Return (path, content) of programs that packages brought: bytes of every kind, from a few to many."""
    programs = [path for path in sorted(pathlib.Path("/usr/bin").iterdir()) if path.is_file() and not path.is_symlink()]
    small = [path for path in programs if path.stat().st_size <= WHOLE_FILE_BYTES_MOST]
    found = [(str(path).encode(), path.read_bytes()) for path in small[:WHOLE_FILES_MOST]]
    assert max(len(content) for _, content in found) > 100_000
    return found


def read_with_kafka_python(bootstrap: str, topic: str) -> Placed:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, consumer_timeout_ms=30_000)
    placed: Placed = {}
    for number in range(PARTITIONS):
        partition = TopicPartition(topic, number)
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        end = consumer.end_offsets([partition])[partition]
        placed[number] = []
        while len(placed[number]) < end:
            record = next(consumer)
            assert record.offset == len(placed[number])
            placed[number].append((record.key, record.value))
    consumer.close()
    return placed


def read_with_kcat(bootstrap: str, topic: str) -> Placed:
    """Read a topic as kcat prints it: sizes first, so that keys and values may hold any byte."""
    command = ["kcat", "-b", bootstrap, "-C", "-t", topic, "-e", "-q", "-o", "beginning", "-f", "%p %o %K %S\n%k%s"]
    printed = subprocess.run(command, check=True, capture_output=True, timeout=120).stdout
    placed: Placed = {number: [] for number in range(PARTITIONS)}
    at = 0
    while at < len(printed):
        end_of_head = printed.index(b"\n", at)
        partition, offset, key_size, value_size = map(int, printed[at:end_of_head].split())
        value_at = end_of_head + 1 + key_size
        assert offset == len(placed[partition])
        placed[partition].append((printed[end_of_head + 1 : value_at], printed[value_at : value_at + value_size]))
        at = value_at + value_size
    return placed


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_real_files_come_back_byte_for_byte_on_javas_partitions(broker, java, real_records, codec) -> None:
    broker.topic("files", PARTITIONS)
    producer = Producer(
        {
            "bootstrap.servers": broker.bootstrap,
            "partitioner": "murmur2_random",
            "compression.type": codec,
            "enable.idempotence": True,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    records = whole_files() + real_records
    for key, value in records:
        producer.produce("files", value, key)
        producer.poll(0)
    assert producer.flush(60) == 0

    keys = b"".join(struct.pack(">i", len(key)) + key for key, _ in records)
    chosen = java.run("Murmur2Partitions", PARTITIONS, input=keys, text=False).stdout.split()
    expected: Placed = collections.defaultdict(list)
    for partition, record in zip(chosen, records, strict=True):
        expected[int(partition)].append(record)
    assert len(expected) == PARTITIONS

    assert read_with_kafka_python(broker.bootstrap, "files") == expected
    assert read_with_kcat(broker.bootstrap, "files") == expected
    broker.kill()
    broker.start()
    assert read_with_kafka_python(broker.bootstrap, "files") == expected
    assert read_with_kcat(broker.bootstrap, "files") == expected
