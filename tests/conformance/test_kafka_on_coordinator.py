"""Real Apache Kafka 3.9.1 in ZooKeeper mode on `fastlog coordinator`, with two brokers, one of which is killed."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from ports import answers_api_versions, free_port

ROOT = pathlib.Path(__file__).parent.parent.parent
DEADLINE_S = 90
RECORDS = 500


@pytest.fixture
def coordinator(tmp_path: pathlib.Path) -> Iterator[str]:
    """Start a coordinator and return its address; it must still be well when the test is over."""
    command = [sys.executable, "-m", "fastlog", "coordinator", "--port", "0", "--data", str(tmp_path / "coordinator")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.fullmatch(r"ready coordinator=(\S+) coordinator_pid=(\d+)\n", process.stdout.readline())
        assert found
        assert int(found[2]) == process.pid
        yield found[1]
        assert process.poll() is None
        process.terminate()
        assert process.wait(timeout=30) == 0


@pytest.fixture
def kafkas(
    coordinator: str, tmp_path: pathlib.Path, kafka_zk_jars: pathlib.Path
) -> Iterator[list[tuple[str, subprocess.Popen[bytes]]]]:
    """Start two brokers of Kafka 3.9.1 and return the address and process of each."""
    started: list[tuple[str, subprocess.Popen[bytes]]] = []
    for number in (1, 2):
        port = free_port()
        settings = {
            "broker.id": number,
            "zookeeper.connect": coordinator,
            "zookeeper.session.timeout.ms": 6000,
            "listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "log.dirs": tmp_path / f"kafka-{number}",
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 2,
        }
        file = tmp_path / f"{number}.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        with (tmp_path / f"kafka-{number}.out").open("w") as out:
            command = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", f"{kafka_zk_jars}/*", "kafka.Kafka", str(file)]
            started.append((f"127.0.0.1:{port}", subprocess.Popen(command, stdout=out, stderr=out)))
    try:
        deadline = time.monotonic() + DEADLINE_S
        for number, (address, process) in enumerate(started, 1):
            while not answers_api_versions(int(address.rpartition(":")[2])):
                assert process.poll() is None, (tmp_path / f"kafka-{number}.out").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.2)
        yield started
    finally:
        for _, process in started:
            process.kill()
            process.wait(timeout=30)


def produce(bootstrap: str, first: int) -> None:
    failed: list[object] = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "delivery.timeout.ms": DEADLINE_S * 1000})
    for number in range(first, first + RECORDS):
        producer.produce(
            "t",
            b"record %d" % number,
            partition=number % 2,
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )
    assert producer.flush(DEADLINE_S) == 0
    assert not failed, failed[:3]


def consume(bootstrap: str, count: int) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition("t", partition, OFFSET_BEGINNING) for partition in (0, 1)])
        values: list[bytes] = []
        deadline = time.monotonic() + DEADLINE_S
        while len(values) < count and time.monotonic() < deadline:
            values += [message.value() for message in consumer.consume(1000, timeout=1) if message.error() is None]
        return sorted(values)
    finally:
        consumer.close()


def leaders(bootstrap: str) -> list[int]:
    partitions = AdminClient({"bootstrap.servers": bootstrap}).list_topics("t", timeout=30).topics["t"].partitions
    return [partitions[index].leader for index in sorted(partitions)]


def wait_for_leaders(bootstrap: str, expected: list[int]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while sorted(found := leaders(bootstrap)) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


@pytest.mark.timeout(360)
def test_kafka_makes_topics_serves_clients_and_elects_a_leader_after_kill_9(
    kafkas: list[tuple[str, subprocess.Popen[bytes]]], coordinator: str
) -> None:
    both = ",".join(address for address, _ in kafkas)
    admin = AdminClient({"bootstrap.servers": both})
    deadline = time.monotonic() + DEADLINE_S
    while len(admin.list_topics(timeout=30).brokers) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    admin.create_topics([NewTopic("t", 2, 2)])["t"].result(DEADLINE_S)
    wait_for_leaders(both, [1, 2])
    produce(both, 0)
    assert len(consume(both, RECORDS)) == RECORDS
    kafkas[0][1].kill()
    kafkas[0][1].wait(timeout=30)
    left = kafkas[1][0]
    wait_for_leaders(left, [2, 2])
    produce(left, RECORDS)
    assert consume(left, 2 * RECORDS) == sorted(b"record %d" % number for number in range(2 * RECORDS))
