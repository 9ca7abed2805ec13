"""Kafka's own Java programs, and a directory that a real Kafka broker wrote."""

from __future__ import annotations

import re
import shutil

import pytest

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(300)]

RECORDS = 50_000


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_producer_and_consumer_performance(broker, java, codec) -> None:
    broker.topic("perf", 3)
    properties = [f"bootstrap.servers={broker.bootstrap}", f"compression.type={codec}", "acks=all"]
    produce = ["--topic", "perf", "--num-records", RECORDS, "--record-size", 100, "--throughput", -1]
    produced = java.run("org.apache.kafka.tools.ProducerPerformance", *produce, "--command-property", *properties)
    assert re.search(rf"^{RECORDS} records sent, .* ms max latency", produced.stdout, re.M), produced.stdout

    consume = ["--bootstrap-server", broker.bootstrap, "--topic", "perf", "--num-records", RECORDS, "--timeout", 20_000]
    consumed = java.run("org.apache.kafka.tools.AssignedConsumerPerformance", *consume)
    columns = consumed.stdout.strip().splitlines()[-1].split(", ")
    assert int(columns[4]) == RECORDS, consumed.stdout


def test_dump_log_segments_reads_every_file(broker, java) -> None:
    small_segments = ["-o", "segment.bytes=1048576", "-o", "index.interval.bytes=1024"]
    broker.topic("dumped", 2, *small_segments)
    properties = [f"bootstrap.servers={broker.bootstrap}", "batch.size=8000"]
    produce = ["--topic", "dumped", "--num-records", RECORDS, "--record-size", 100, "--throughput", -1]
    java.run("org.apache.kafka.tools.ProducerPerformance", *produce, "--command-property", *properties)
    broker.stop()

    for partition in (0, 1):
        directory = broker.log_directory / f"dumped-{partition}"
        logs = sorted(directory.glob("*.log"))
        assert len(logs) > 1, "the run was meant to roll segments"
        for kind in ("*.log", "*.index", "*.timeindex", "*.snapshot"):
            files = sorted(directory.glob(kind))
            assert files, f"no {kind} in {directory}"
            java.dump(files, "--deep-iteration")
        for kind in ("*.index", "*.timeindex"):
            for file in sorted(directory.glob(kind)):
                assert "passed sanity check" in java.dump([file], "--index-sanity-check")


@pytest.mark.parametrize("stop", ["clean", "live"])
def test_a_directory_that_real_kafka_wrote_is_read_whole(
    java, real_kafka, open_broker, read_all, tmp_path, stop, real_records
) -> None:
    """Real Kafka writes records with every codec; its directory, stopped or copied live, opens."""
    from confluent_kafka import Producer

    written: dict[str, list[bytes]] = {}
    kafka_data, data = tmp_path / "kafka", tmp_path / "data"
    with real_kafka(kafka_data, **{"log.segment.bytes": 1 << 20, "num.partitions": 1}) as bootstrap:
        for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
            producer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "enable.idempotence": codec == "lz4"})
            values = [value for _, value in real_records[:8_000]]
            for value in values:
                producer.produce(f"from-kafka-{codec}", value)
                producer.poll(0)
            assert producer.flush(60) == 0
            written[f"from-kafka-{codec}"] = values
        if stop == "live":  # what Kafka is about to rename may be gone before it is copied
            shutil.copytree(kafka_data, data / "broker-1", ignore=shutil.ignore_patterns("*.tmp", "*.part"))
    if stop == "clean":
        shutil.copytree(kafka_data, data / "broker-1")

    broker = open_broker(data)
    try:
        for topic, values in written.items():
            assert [record.value() for record in read_all(broker, topic)] == values
    finally:
        broker.stop()
