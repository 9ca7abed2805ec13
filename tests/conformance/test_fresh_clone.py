"""The README's first command on a checkout that has nothing built, in an environment that has nothing set."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(600)]

ROOT = pathlib.Path(__file__).parent.parent.parent
# How this machine reaches its package registry is the only thing that a clean environment keeps.
KEPT = re.compile(r"PIP_|SSL_|REQUESTS_|https?_proxy|no_proxy", re.IGNORECASE)


def by_kcat(bootstrap: str) -> None:
    kcat = ["kcat", "-b", bootstrap, "-t", "by-kcat"]
    subprocess.run([*kcat, "-P"], input="hello\n", text=True, check=True, timeout=60)
    consume = [*kcat, "-C", "-e", "-q", "-o", "beginning"]
    assert subprocess.run(consume, check=True, capture_output=True, text=True, timeout=60).stdout == "hello\n"


def by_confluent_kafka(bootstrap: str) -> None:
    from confluent_kafka import Consumer, Producer, TopicPartition

    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce("by-confluent", b"hello", key=b"world")
    assert producer.flush(60) == 0
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition("by-confluent", 0, 0)])
        message = consumer.poll(60)
        assert message is not None
        assert (message.error(), message.key(), message.value()) == (None, b"world", b"hello")
    finally:
        consumer.close()


def by_kafka_python(bootstrap: str) -> None:
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition

    producer = KafkaProducer(bootstrap_servers=bootstrap)
    producer.send("by-kafka-python", b"hello", key=b"world").get(60)
    producer.close()
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, consumer_timeout_ms=60_000)
    consumer.assign([TopicPartition("by-kafka-python", 0)])
    consumer.seek_to_beginning()
    record = next(consumer)
    assert (record.key, record.value) == (b"world", b"hello")
    consumer.close()


def by_kafkas_performance_tools(bootstrap: str, java) -> None:
    count = 20_000
    sizes = ["--topic", "by-java", "--num-records", count]
    rates = ["--record-size", 100, "--throughput", -1, "--command-property", f"bootstrap.servers={bootstrap}"]
    produced = java.run("org.apache.kafka.tools.ProducerPerformance", *sizes, *rates).stdout
    assert f"{count} records sent" in produced
    where = ["--bootstrap-server", bootstrap, "--timeout", 20_000]
    consumed = java.run("org.apache.kafka.tools.AssignedConsumerPerformance", *where, *sizes).stdout
    assert int(consumed.strip().splitlines()[-1].split(", ")[4]) == count


def test_make_up_in_a_fresh_clone_serves_real_clients(tmp_path, java) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, clone], check=True)
    assert not list(clone.glob("fastlog/*.so"))
    python = pathlib.Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    environment = {name: value for name, value in os.environ.items() if KEPT.match(name)}
    environment |= {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path)}
    with (tmp_path / "make.err").open("w+") as errors:
        up = subprocess.Popen(
            ["make", "up", f"PYTHON={python}", "PORT=0"],
            cwd=clone,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        try:
            assert up.stdout is not None
            ready = next((line for line in up.stdout if line.startswith("ready ")), None)
            assert ready is not None, (tmp_path / "make.err").read_text()
            fields = dict(field.split("=", 1) for field in ready.split()[1:])
            by_kcat(fields["bootstrap"])
            by_confluent_kafka(fields["bootstrap"])
            by_kafka_python(fields["bootstrap"])
            by_kafkas_performance_tools(fields["bootstrap"], java)
        finally:
            os.killpg(up.pid, signal.SIGTERM)
            up.wait(60)
            assert up.stdout is not None
            up.stdout.close()
