"""`fastlog dump` beside Kafka's DumpLogSegments, over a directory that a real Kafka of this run wrote: they see the same."""

from __future__ import annotations

import json
import pathlib
import random
import re
import subprocess
import sys

import pytest
from confluent_kafka import Producer

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(300)]

ROOT = pathlib.Path(__file__).parents[2]
RECORDS = 3000
KAFKAS_ORDER = (
    "base_offset", "last_offset", "count", "base_sequence", "last_sequence", "producer_id", "is_transactional", "is_control",
    "position", "max_timestamp_ms", "size_bytes", "codec", "crc",
)  # fmt: skip


def dumped(*arguments):
    finished = subprocess.run(
        [sys.executable, "-m", "fastlog", "dump", "--json", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (finished.returncode, finished.stderr) == (0, ""), finished.stdout[-2000:]
    return [json.loads(line) for line in finished.stdout.splitlines()]


def produce(bootstrap, codec):
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": codec,
            "linger.ms": 5,
            "batch.num.messages": 100,
            "enable.idempotence": True,
        }
    )
    chance = random.Random(codec)
    for number in range(RECORDS):
        producer.produce("dumped", chance.randbytes(10 + number % 700), key=str(number), partition=0)
        if number % 200 == 0:
            producer.flush()
    assert producer.flush(60) == 0


def test_a_directory_of_kafka(java, real_kafka, tmp_path):
    data = tmp_path / "kafka"
    with real_kafka(data, **{"log.segment.bytes": 1 << 20, "log.index.interval.bytes": 512, "num.partitions": 1}) as bootstrap:
        for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
            produce(bootstrap, codec)
        while_it_runs = dumped(data)
    assert sum(item["kind"] == "batch" for item in while_it_runs) > 50
    items = dumped(data)
    partition = data / "dumped-0"
    logs = sorted(partition.glob("*.log"))
    assert len(logs) > 2
    ours = [item for item in items if item["file"].startswith(str(partition))]

    said = java.dump(logs)
    theirs = re.findall(
        r"^baseOffset: (\d+) lastOffset: (\d+) count: (\d+) baseSequence: (-?\d+) lastSequence: (-?\d+) producerId: (-?\d+) .*"
        r"isTransactional: (\w+) isControl: (\w+) .*?position: (\d+) \w+: (\d+) size: (\d+) "
        r"magic: 2 compresscodec: (\w+) crc: (\d+)",
        said,
        flags=re.M,
    )
    assert len(theirs) > 50
    assert theirs == [tuple(str(batch[name]).lower() for name in KAFKAS_ORDER) for batch in ours if batch["kind"] == "batch"]
    entries = re.findall(r"^offset: (\d+) position: (\d+)$", java.dump(sorted(partition.glob("*.index"))), flags=re.M)
    assert len(entries) > 10
    assert entries == [(str(item["offset"]), str(item["position"])) for item in ours if item["kind"] == "index entry"]
    times = re.findall(r"^timestamp: (\d+) offset: (\d+)$", java.dump(sorted(partition.glob("*.timeindex"))), flags=re.M)
    assert times == [(str(item["timestamp_ms"]), str(item["offset"])) for item in ours if item["kind"] == "time index entry"]
    producers = re.findall(
        r"^producerId: (\d+) .*lastSequence: (\d+) lastOffset: (\d+)", java.dump(sorted(partition.glob("*.snapshot"))), flags=re.M
    )
    assert len(producers) >= 5
    assert producers == [
        (str(item["producer_id"]), str(item["last_sequence"]), str(item["last_offset"]))
        for item in ours
        if item["kind"] == "producer"
    ]


def test_a_real_kafka_s_segment_that_was_broken(java, real_kafka, tmp_path):
    data = tmp_path / "kafka"
    with real_kafka(data, **{"num.partitions": 1}) as bootstrap:
        produce(bootstrap, "lz4")
    (log,) = (data / "dumped-0").glob("*.log")
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    finished = subprocess.run(
        [sys.executable, "-m", "fastlog", "dump", "--problems", log], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 1
    assert re.search(r"^  PROBLEM at \d+: CRC mismatch$", finished.stdout, flags=re.M), finished.stdout
