"""Groups of real clients: members share, come, go and die; nothing is skipped, nothing read twice that was committed."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPythonPartition

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(180)]

ROOT = pathlib.Path(__file__).parent.parent.parent
PARTITIONS = 6
OFFSETS_PARTITIONS = 16
"""As many as `fastlog up` gives the topic of offsets; a group lies on that of its name's hash."""
SESSION_MS = 6_000
PATIENCE_S = 60


class ConfluentMember:
    """A member by librdkafka."""

    def __init__(self, bootstrap: str, group: str, **more: Any) -> None:
        self.consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "session.timeout.ms": SESSION_MS,
                "heartbeat.interval.ms": 300,
                "topic.metadata.refresh.interval.ms": 1000,
                **more,
            }
        )
        self.consumer.subscribe(["shared"])

    def poll(self) -> list[tuple[int, int]]:
        read = []
        for message in self.consumer.consume(500, 0.1):
            assert message.error() is None, message.error()
            read.append((message.partition(), message.offset()))
        return read

    def owns(self) -> list[int]:
        return sorted(one.partition for one in self.consumer.assignment())

    def commit(self) -> None:
        self.consumer.commit(asynchronous=False)

    def leave(self) -> None:
        self.consumer.close()


class KafkaPythonMember:
    """A member by kafka-python."""

    def __init__(self, bootstrap: str, group: str) -> None:
        self.consumer = KafkaConsumer(
            "shared",
            bootstrap_servers=bootstrap,
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=300,
        )

    def poll(self) -> list[tuple[int, int]]:
        polled = self.consumer.poll(timeout_ms=500)
        return [(one.partition, one.offset) for records in polled.values() for one in records]

    def owns(self) -> list[int]:
        return sorted(one.partition for one in self.consumer.assignment())

    def commit(self) -> None:
        self.consumer.commit()

    def leave(self) -> None:
        self.consumer.close(autocommit=False)


MEMBERS = {
    "confluent-kafka": ConfluentMember,
    "confluent-kafka, cooperative": lambda bootstrap, group: ConfluentMember(
        bootstrap, group, **{"partition.assignment.strategy": "cooperative-sticky"}
    ),
    "kafka-python": KafkaPythonMember,
}


def produce(bootstrap: str, first: int, count: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    for number in range(first, first + count):
        producer.produce("shared", b"%d" % number, key=b"key%d" % (number % 100), partition=number % PARTITIONS)
    assert producer.flush(30) == 0


def settle(members: list[Any], read: Counter[tuple[int, int]], done: Callable[[], bool]) -> None:
    """Have all poll, beside each other, until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    with ThreadPoolExecutor(len(members)) as threads:
        while not done():
            assert time.monotonic() < deadline, [member.owns() for member in members]
            for polled in threads.map(lambda member: member.poll(), members):
                read.update(polled)


def shared_among(members: list[Any]) -> Callable[[], bool]:
    """Return whether each partition has exactly one owner, and each member some."""

    def is_shared() -> bool:
        owned = [member.owns() for member in members]
        return all(owned) and sorted(itertools.chain.from_iterable(owned)) == list(range(PARTITIONS))

    return is_shared


@pytest.mark.parametrize("kind", MEMBERS)
def test_members_share_come_and_go(broker, kind) -> None:
    broker.topic("shared", PARTITIONS)
    produce(broker.bootstrap, 0, 600)
    make = MEMBERS[kind]
    read: Counter[tuple[int, int]] = Counter()
    members = [make(broker.bootstrap, "g"), make(broker.bootstrap, "g")]
    settle(members, read, shared_among(members))
    settle(members, read, lambda: len(read) == 600)
    for member in members:
        member.commit()
    committed = set(read)

    read = Counter()
    members.append(make(broker.bootstrap, "g"))
    settle(members, read, shared_among(members))
    members.pop(0).leave()
    settle(members, read, shared_among(members))
    produce(broker.bootstrap, 600, 60)
    settle(members, read, lambda: len(read) >= 60)
    assert len(read) == 60
    assert not committed & set(read), "read again although it was committed"
    for member in members:
        member.commit()
        member.leave()

    # Another group reads all from the start; this one goes on where it was.
    other: Counter[tuple[int, int]] = Counter()
    another = make(broker.bootstrap, "another")
    settle([another], other, lambda: len(other) == 660)
    another.leave()
    produce(broker.bootstrap, 660, 6)
    read.clear()
    again = make(broker.bootstrap, "g")
    settle([again], read, lambda: len(read) >= 6)
    assert sorted(read) == [(partition, 110) for partition in range(PARTITIONS)]
    again.leave()


KILLED = """
import sys
from confluent_kafka import Consumer
consumer = Consumer({"bootstrap.servers": sys.argv[1], "group.id": "g", "auto.offset.reset": "earliest",
                     "enable.auto.commit": False, "session.timeout.ms": 6000, "heartbeat.interval.ms": 300})
consumer.subscribe(["shared"])
while True:
    consumer.poll(0.05)
    if len(consumer.assignment()) == 3:
        print("ready", flush=True)
"""


def test_a_killed_member_is_replaced_within_the_session_timeout(broker) -> None:
    broker.topic("shared", PARTITIONS)
    member = ConfluentMember(broker.bootstrap, "g")
    killed = subprocess.Popen([sys.executable, "-c", KILLED, broker.bootstrap], stdout=subprocess.PIPE, text=True)
    try:
        settle([member], Counter(), lambda: len(member.owns()) == 3)
        assert killed.stdout is not None
        assert killed.stdout.readline() == "ready\n"
    finally:
        killed.kill()
        killed.wait()
        killed.stdout.close()
    killed_at = time.monotonic()
    settle([member], Counter(), lambda: len(member.owns()) == PARTITIONS)
    assert time.monotonic() - killed_at < 3 * SESSION_MS / 1000
    member.leave()


def test_groups_and_offsets_survive_kill_9_of_the_broker(broker) -> None:
    broker.topic("shared", PARTITIONS)
    produce(broker.bootstrap, 0, 60)
    member = ConfluentMember(broker.bootstrap, "g")
    read: Counter[tuple[int, int]] = Counter()
    settle([member], read, lambda: len(read) == 60)
    member.commit()
    broker.kill()
    broker.start()
    produce(broker.bootstrap, 60, 60)
    settle([member], read, lambda: len(read) == 120)
    assert max(read.values()) == 1, "it went on where it was"
    member.commit()
    member.leave()
    later = KafkaConsumer(bootstrap_servers=broker.bootstrap, group_id="g", enable_auto_commit=False)
    assert [later.committed(KafkaPythonPartition("shared", one)) for one in range(PARTITIONS)] == [20] * PARTITIONS
    later.close()


def test_a_static_member_comes_back_without_a_rebalance(broker) -> None:
    broker.topic("shared", PARTITIONS)
    names = [{"group.instance.id": "one"}, {"group.instance.id": "two"}]
    first, second = (ConfluentMember(broker.bootstrap, "g", **name) for name in names)
    settle([first, second], Counter(), shared_among([first, second]))
    owned = first.owns()
    first.consumer.unassign()
    first.leave()  # a static member's close does not leave the group
    again = ConfluentMember(broker.bootstrap, "g", **names[0])
    settle([again, second], Counter(), shared_among([again, second]))
    assert again.owns() == owned
    again.leave()
    second.leave()


def test_admin_clients_see_and_delete_groups(broker) -> None:
    from confluent_kafka import ConsumerGroupTopicPartitions
    from confluent_kafka.admin import AdminClient

    broker.topic("shared", PARTITIONS)
    member = ConfluentMember(broker.bootstrap, "g")
    settle([member], Counter(), lambda: len(member.owns()) == PARTITIONS)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    [listed] = admin.list_consumer_groups(request_timeout=20).result(30).valid
    assert (listed.group_id, listed.state.name) == ("g", "STABLE")
    described = admin.describe_consumer_groups(["g"], request_timeout=20)["g"].result(30)
    assert [len(one.assignment.topic_partitions) for one in described.members] == [PARTITIONS]
    with pytest.raises(Exception, match="NON_EMPTY_GROUP"):
        admin.delete_consumer_groups(["g"], request_timeout=20)["g"].result(30)
    member.leave()
    wanted = ConsumerGroupTopicPartitions("g", [TopicPartition("shared", 1, 5)])
    [altered] = admin.alter_consumer_group_offsets([wanted]).values()
    assert altered.result(30).topic_partitions[0].error is None
    [fetched] = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions("g")]).values()
    assert [(one.partition, one.offset) for one in fetched.result(30).topic_partitions] == [(1, 5)]
    admin.delete_consumer_groups(["g"], request_timeout=20)["g"].result(30)
    assert admin.list_consumer_groups(request_timeout=20).result(30).valid == []


class JavaMember:
    """A member by kafka-clients; what it prints is read by a thread."""

    def __init__(self, command: list[str]) -> None:
        self.owned: list[int] = []
        self.read: list[tuple[int, int]] = []
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=self._listen)
        self.reader.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            kind, *numbers = line.split()
            if kind == "owns":
                self.owned = [int(number) for number in numbers]
            else:
                self.read.append((int(numbers[0]), int(numbers[1])))

    def poll(self) -> list[tuple[int, int]]:
        time.sleep(0.1)
        read, self.read = self.read, []
        return read

    def owns(self) -> list[int]:
        return self.owned

    def leave(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("stop")
        self.process.stdin.close()
        assert self.process.wait(60) == 0
        self._end()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self._end()

    def _end(self) -> None:
        self.reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.mark.parametrize("version", ["4", "3.9"])
def test_java_members_share_and_one_is_killed(broker, java, version) -> None:
    first_jars = []
    if version == "3.9":
        place = pathlib.Path(os.environ.get("KAFKA_3_9_JARS", ROOT / ".cache" / "kafka-3.9-jars"))
        first_jars = sorted(place.glob("kafka-clients-3.9*.jar"))
        assert first_jars
    broker.topic("shared", PARTITIONS)
    produce(broker.bootstrap, 0, 60)
    command = java.command("GroupMember", broker.bootstrap, "g", "shared", first_jars=first_jars)
    members = [JavaMember(command), JavaMember(command)]
    try:
        read: Counter[tuple[int, int]] = Counter()
        settle(members, read, shared_among(members))
        settle(members, read, lambda: len(read) == 60)
        members.pop().kill()
        settle(members, read, shared_among(members))
        assert members[0].owns() == list(range(PARTITIONS))
        settle(members, read, lambda: len(read) == 60)
        produce(broker.bootstrap, 60, 6)
        settle(members, read, lambda: len(read) == 66)
        members.pop().leave()
    finally:
        for member in members:
            member.kill()
    later = ConfluentMember(broker.bootstrap, "g")
    committed = later.consumer.committed([TopicPartition("shared", one) for one in range(PARTITIONS)], timeout=30)
    assert [one.offset for one in committed] == [11] * PARTITIONS
    later.leave()


def test_kafkas_command_lists_describes_resets_and_deletes(broker, java) -> None:
    broker.topic("shared", PARTITIONS)
    produce(broker.bootstrap, 0, 60)
    member = ConfluentMember(broker.bootstrap, "g")
    read: Counter[tuple[int, int]] = Counter()
    settle([member], read, lambda: len(read) == 60)
    member.commit()

    def command(*arguments: str) -> str:
        tool = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
        return str(java.run(tool, "--bootstrap-server", broker.bootstrap, *arguments).stdout)

    assert {"g", "Stable"} <= set(command("--list", "--state").split())
    rows = [line.split() for line in command("--describe", "--group", "g").splitlines() if line.startswith("g ")]
    assert sorted((row[1], row[2], row[3], row[4], row[5]) for row in rows) == [
        ("shared", str(one), "10", "10", "0") for one in range(PARTITIONS)
    ]
    assert "range" in command("--describe", "--group", "g", "--state")
    member.leave()
    reset = command("--reset-offsets", "--group", "g", "--topic", "shared", "--to-offset", "4", "--execute")
    assert len([line for line in reset.splitlines() if line.split()[:1] == ["g"] and line.split()[-1] == "4"]) == PARTITIONS
    deleted = command("--delete-offsets", "--group", "g", "--topic", "shared:0")
    assert "Successful" in deleted
    rows = [line.split() for line in command("--describe", "--group", "g", "--offsets").splitlines() if line.startswith("g ")]
    assert sorted(row[2] for row in rows if row[3] == "4") == ["1", "2", "3", "4", "5"]
    assert "successful" in command("--delete", "--group", "g")
    assert "g" not in command("--list").split()


def test_kafkas_formatters_read_the_topic_of_offsets(broker, java) -> None:
    broker.topic("shared", PARTITIONS)
    produce(broker.bootstrap, 0, 60)
    member = ConfluentMember(broker.bootstrap, "g")
    read: Counter[tuple[int, int]] = Counter()
    settle([member], read, lambda: len(read) == 60)
    member.commit()

    def printed(formatter: str) -> list[dict[str, Any]]:
        # The group's own partition to its end: elsewhere lies what the reading consumer's own group writes.
        said = java.run(
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            *("--bootstrap-server", broker.bootstrap, "--topic", "__consumer_offsets"),
            *("--partition", ord("g") % OFFSETS_PARTITIONS, "--offset", "earliest", "--timeout-ms", 10_000),
            *("--formatter", f"org.apache.kafka.tools.consumer.{formatter}"),
        ).stdout
        found, decoder = [], json.JSONDecoder()
        while "{" in said:  # one behind the other, without anything between them
            one, end = decoder.raw_decode(said := said[said.index("{") :])
            found.append(one)
            said = said[end:]
        return found

    offsets = printed("OffsetsMessageFormatter")
    seen = {(one["key"]["data"]["topic"], one["key"]["data"]["partition"]): one["value"]["data"]["offset"] for one in offsets}
    assert seen == {("shared", one): 10 for one in range(PARTITIONS)}
    groups = printed("GroupMetadataMessageFormatter")
    assert groups[0]["key"]["data"]["group"] == "g"
    assert [len(one["value"]["data"]["members"]) for one in groups][-1] == 1
    member.leave()
