"""Brokers whose metadata lives in a real ZooKeeper: restarts and pauses of either side, and several brokers on one."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

ROOT = pathlib.Path(__file__).parent.parent.parent
SESSION_TIMEOUT_MS = 3_000
LIMIT_S = 60


class Member:
    """A `fastlog broker` of a cluster on one ZooKeeper."""

    def __init__(self, directory: pathlib.Path, broker_id: int, connect: str) -> None:
        self.data = directory / f"data-{broker_id}"
        self.file = directory / f"server-{broker_id}.properties"
        self.log = directory / f"broker-{broker_id}.log"
        self.connect = connect
        self.broker_id = broker_id
        self.bootstrap = ""
        self.process: subprocess.Popen[str] | None = None

    def begin(self) -> subprocess.Popen[str]:
        port = self.bootstrap.rpartition(":")[2] or "0"
        self.file.write_text(
            f"broker.id={self.broker_id}\nlisteners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs={self.data}\n"
            f"zookeeper.connect={self.connect}\nzookeeper.session.timeout.ms={SESSION_TIMEOUT_MS}\n"
        )
        command = [sys.executable, "-m", "fastlog", "broker", "--config", str(self.file)]
        with self.log.open("a") as log:
            return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)

    def start(self) -> Member:
        self.process = self.begin()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready "), self.log.read_text()
        fields = dict(field.split("=", 1) for field in line.split()[1:])
        assert (fields["coordinator"], fields["coordinator_pid"]) == (self.connect, "none")
        self.bootstrap = fields["bootstrap"]
        return self

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the process and return its exit code."""
        assert self.process is not None
        self.send(number)
        self.send(signal.SIGCONT)
        with self.process:
            code = self.process.wait(LIMIT_S)
        self.process = None
        return code

    def image(self) -> Any:
        return AdminClient({"bootstrap.servers": self.bootstrap}).list_topics(timeout=LIMIT_S)

    def create(self, name: str, partitions: int) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        admin.create_topics([NewTopic(name, partitions, 1)], operation_timeout=30)[name].result(LIMIT_S)


def eventually(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + LIMIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.05)
    return found


def produce(bootstrap: str, topic: str, values: list[bytes]) -> None:
    failed: list[Any] = []
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "partitioner": "murmur2_random"})
    for value in values:
        producer.produce(topic, value, key=value, on_delivery=lambda error, _: failed.append(error) if error else None)
    assert producer.flush(LIMIT_S) == 0
    assert not failed


@pytest.fixture
def member(zookeeper: Any, tmp_path: pathlib.Path) -> Iterator[Callable[..., Member]]:
    made: list[Member] = []

    def make(broker_id: int, root: str = "/kafka/one", directory: pathlib.Path = tmp_path) -> Member:
        made.append(Member(directory, broker_id, zookeeper.address + root))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None:
            one.end(signal.SIGKILL)


@pytest.fixture
def values_of(read_all: Any) -> Callable[..., list[bytes]]:
    return lambda member, topic: sorted(message.value() for message in read_all(member, topic))


def epochs(member: Member, topic: str) -> set[int]:
    """Return the leader epochs of a topic's partitions, as the command line tells them."""
    command = [sys.executable, "-m", "fastlog", "topic", "describe", topic, "--bootstrap", member.bootstrap]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=LIMIT_S).stdout
    return {int(line.split("epoch=")[1].split()[0]) for line in said.splitlines() if "epoch=" in line}


def test_up_on_a_zookeeper_survives_its_restarts(zookeeper, open_broker, tmp_path, read_all):
    broker = open_broker(tmp_path / "data", "--coordinator", zookeeper.address, "-o", "zookeeper.session.timeout.ms=4000")
    assert not (tmp_path / "data/coordinator").exists()
    broker.topic("t", 2)
    produce(broker.bootstrap, "t", [b"before"])
    zookeeper.end()
    produce(broker.bootstrap, "t", [b"without"])  # the metadata stays as it is
    zookeeper.start()
    broker.topic("u", 2)  # asked for again by the command until the controller is back
    produce(broker.bootstrap, "u", [b"after"])
    assert sorted(message.value() for message in read_all(broker, "t")) == [b"before", b"without"]
    broker.stop()
    broker.start()
    assert [message.value() for message in read_all(broker, "u")] == [b"after"]


def test_a_broker_killed_takes_its_own_stale_registration_over(zookeeper, member, values_of):
    one = member(1).start()
    one.create("t", 2)
    produce(one.bootstrap, "t", [b"a", b"b"])
    one.end(signal.SIGKILL)
    one.start()
    assert epochs(one, "t") == {1}, "a new incarnation leads under a new epoch"
    assert values_of(one, "t") == [b"a", b"b"]
    produce(one.bootstrap, "t", [b"c"])
    one.create("u", 1)
    assert one.image().controller_id == 1
    assert one.end() == 0


def test_a_broker_stopped_past_its_session_registers_and_is_elected_again(zookeeper, member, values_of):
    one = member(1).start()
    one.create("t", 1)
    produce(one.bootstrap, "t", [b"a"])
    one.send(signal.SIGSTOP)
    eventually(lambda: b"Ephemeral" in (dump := zookeeper.say(b"dump")) and b"/kafka/one/brokers/ids/1" not in dump)
    one.send(signal.SIGCONT)
    eventually(lambda: b"/kafka/one/brokers/ids/1" in zookeeper.say(b"dump"))
    eventually(lambda: epochs(one, "t") == {1})  # not 2: it is registered before it is elected
    one.create("u", 1)
    produce(one.bootstrap, "t", [b"b"])
    assert values_of(one, "t") == [b"a", b"b"]


def test_two_brokers_share_topics_and_controllership(zookeeper, member, values_of):
    one, two = member(1).start(), member(2).start()
    eventually(lambda: len(one.image().brokers) == len(two.image().brokers) == 2)
    assert one.image().controller_id == two.image().controller_id == 1
    two.create("t", 6)
    for broker in (one, two):
        partitions = eventually(lambda broker=broker: broker.image().topics.get("t")).partitions
        assert {one.leader for one in partitions.values()} == {1, 2}
    values = [b"%d" % number for number in range(2_000)]
    produce(two.bootstrap, "t", values)
    assert len(list(one.data.glob("t-*"))) == len(list(two.data.glob("t-*"))) == 3
    assert values_of(one, "t") == sorted(values)
    consume = [sys.executable, "-m", "fastlog", "consume", "t", "--exit-at-end", "--bootstrap", two.bootstrap]
    consumed = subprocess.run(consume, cwd=ROOT, check=True, capture_output=True, timeout=LIMIT_S).stdout
    assert sorted(consumed.splitlines()) == sorted(values)
    # The controller goes: the other one takes over, and creates topics for itself.
    one.end(signal.SIGKILL)
    eventually(lambda: two.image().controller_id == 2)
    two.create("u", 2)
    produce(two.bootstrap, "u", [b"alone"])
    assert {one.leader for one in two.image().topics["t"].partitions.values()} == {-1, 2}
    # It comes back, and is no controller.
    one.start()
    eventually(lambda: {one.leader for one in two.image().topics["t"].partitions.values()} == {1, 2})
    assert one.image().controller_id == 2
    assert values_of(two, "t") == sorted(values)
    admin = AdminClient({"bootstrap.servers": one.bootstrap})
    admin.delete_topics(["t"], operation_timeout=30)["t"].result(LIMIT_S)
    eventually(lambda: "t" not in one.image().topics and "t" not in two.image().topics)
    for broker in (one, two):
        eventually(lambda broker=broker: not [path for path in broker.data.glob("t-*") if not path.name.endswith("-delete")])
    assert (one.end(), two.end()) == (0, 0)


def test_a_second_broker_of_the_same_number_is_refused(zookeeper, member, tmp_path):
    one = member(1).start()
    (tmp_path / "other").mkdir()
    other = member(1, directory=tmp_path / "other")
    with other.begin() as process:
        assert process.wait(LIMIT_S) == 2
    assert other.log.read_text().splitlines()[-1].startswith("fastlog: broker 1 is registered in the coordinator already")
    assert one.image().controller_id == 1
