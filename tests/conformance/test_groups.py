"""Groups of real clients: members share, come, go and die; nothing is skipped, nothing read twice that was committed.

Every client that the matrix lists with groups goes through the same checks, each of its members in a process of its own
(`clients/python/driver.py` says what a driver does as a member). What must hold of every record that a member is handed stands
in `Group`: a partition's new reader begins at the commit, and whoever reads it goes on offset by offset.
"""

from __future__ import annotations

import base64
import itertools
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import client_matrix
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(180)]

PARTITIONS = 6
KEYS = 40
OFFSETS_PARTITIONS = 16
"""As many as `fastlog up` gives the topic of offsets; a group lies on that of its name's hash."""
SESSION_MS = 6_000
"""The shortest that brokers allow; a member sends a dozen heartbeats in that time, so that a busy machine loses none."""
HEARTBEAT_MS = 500
REBALANCE_MS = 10_000
"""What a rebalance may take on a busy machine, beyond the session timeout that it had to wait for."""
POLL_MS = 200
PATIENCE_S = 60
TAKEOVERS: list[str] = []
"""How long it took with each client until a killed member's partitions had other owners, to be shown at the end of the run."""


class Member:
    """One process that is a member of a group, and what it last said that it owns."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.owned: list[int] = []
        self.kept: set[int] = set()
        """What is left of a set of partitions when all is taken away that it once did not own since."""


class Group:
    """A group's members, and what is known of each partition: what is committed, who reads it, and where that goes on."""

    def __init__(self, name: str, topic: str, start: Callable[[], Any], produce: Any, *, idempotent: bool = True) -> None:
        self.name = name
        self.topic = topic
        self.start = start
        self.produce_by = produce
        self.idempotent = idempotent
        self.members: list[Member] = []
        self.produced = 0
        self.read: dict[tuple[int, int], tuple[bytes, bytes]] = {}
        self.committed: dict[int, int] = defaultdict(int)
        self.readers: dict[int, Member] = {}
        self.next: dict[int, int] = defaultdict(int)
        self.again = 0
        """How many records were read that had been read before."""
        self._polled = threading.Lock()

    def produce(self, count: int) -> None:
        """Produce records with keys; the client chooses their partitions."""
        numbers = range(self.produced, self.produced + count)
        records = [{"key": b64(b"key%d" % (n % KEYS)), "value": b64(b"%d" % n), "headers": []} for n in numbers]
        how = {
            "codec": "none",
            "acks": "all",
            "idempotent": self.idempotent,
        }  # a producer may send again what is not acknowledged
        self.produce_by("produce", topic=self.topic, partition=None, records=records, **how)
        self.produced += count

    def join(self, driver: Any = None, **options: Any) -> Member:
        """Make a process a member, a new one if none is given."""
        member = Member(driver or self.start())
        where = {"group": self.name, "topic": self.topic, "session_ms": SESSION_MS, "heartbeat_ms": HEARTBEAT_MS}
        member.driver("group_join", **where, **options)
        self.members.append(member)
        return member

    def leave(self, member: Member) -> None:
        self._forget(member)
        member.driver("group_leave")

    def kill(self, member: Member) -> None:
        """End a member's process as `kill -9` does."""
        self._forget(member)
        member.driver.process.kill()
        member.driver.process.wait()

    def _forget(self, gone: Member) -> None:
        self.members.remove(gone)
        for partition in [one for one, reader in self.readers.items() if reader is gone]:
            del self.readers[partition]
            self.next[partition] = self.committed[partition]

    def poll(self) -> None:
        """Poll all members, beside each other."""
        with ThreadPoolExecutor(len(self.members)) as threads:
            list(threads.map(self._poll, self.members))

    def _poll(self, member: Member) -> None:
        said = member.driver("group_poll", ms=POLL_MS)
        with self._polled:
            member.owned = said["owned"]
            member.kept.intersection_update(member.owned)
            for partition, offset, key, value in said["records"]:
                goes_on = self.readers.get(partition) is member and offset == self.next[partition]
                assert goes_on or offset == self.committed[partition], (
                    f"{self.name}: {self.topic}-{partition} at {offset}, after {self.next[partition]} and a commit of"
                    f" {self.committed[partition]}"
                )
                self.readers[partition], self.next[partition] = member, offset + 1
                self.again += (partition, offset) in self.read
                self.read[partition, offset] = base64.b64decode(key), base64.b64decode(value)

    def until(self, done: Callable[[], bool]) -> None:
        """Have all poll until something is so."""
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < deadline, ([member.owned for member in self.members], dict(self.next), self.produced)
            self.poll()

    def settle(self) -> None:
        """Wait until each partition has exactly one owner, and no member more than its share."""
        share = PARTITIONS // len(self.members)

        def is_shared() -> bool:
            owned = [member.owned for member in self.members]
            return all(len(one) == share for one in owned) and sorted(itertools.chain(*owned)) == list(range(PARTITIONS))

        self.until(is_shared)

    def read_all(self) -> None:
        """Wait until the members have read all there is, and see that it is what was produced, in order, by key."""
        self.until(lambda: sum(self.next.values()) >= self.produced)
        assert sorted(int(value) for _, value in self.read.values()) == list(range(self.produced))
        place: dict[bytes, int] = {}
        last: dict[bytes, int] = {}
        for (partition, _), (key, value) in sorted(self.read.items()):
            assert place.setdefault(key, partition) == partition, f"{key!r} on two partitions"
            assert last.get(key, -1) < int(value), f"{key!r} out of order"
            last[key] = int(value)
        assert set(place.values()) == set(range(PARTITIONS))

    def commit(self, *members: Member) -> None:
        """Have members, or all, commit what they have read."""
        for member in members or self.members:
            self.until(lambda member=member: self._has_committed(member))

    def _has_committed(self, member: Member) -> bool:
        if "ok" not in member.driver.answer("group_commit"):
            return False  # it is being rebalanced
        for partition in member.owned:
            if self.readers.get(partition) is member:
                self.committed[partition] = self.next[partition]
        return True

    @property
    def uncommitted(self) -> dict[int, int]:
        """How many records of each partition were read, but not committed."""
        return {one: self.next[one] - self.committed[one] for one in self.next if self.next[one] > self.committed[one]}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def check_share(group: Group, tell: Callable[[float], None]) -> None:
    """Members come, leave and are killed; each time every partition gets exactly one owner again, who goes on at the commit."""
    processes = [group.start() for _ in range(3)]
    first, second = group.join(processes[0]), group.join(processes[1])
    group.settle()
    group.produce(300)
    group.read_all()
    group.commit()

    third = group.join(processes[2])
    group.settle()
    group.produce(60)
    group.read_all()
    group.commit()

    group.leave(first)
    group.settle()
    group.produce(60)
    group.read_all()
    group.commit(third)
    assert set(group.uncommitted) == set(second.owned)

    killed = time.monotonic()
    group.kill(second)
    group.settle()
    took_s = time.monotonic() - killed
    tell(took_s)
    assert took_s * 1_000 < SESSION_MS + REBALANCE_MS
    group.produce(60)
    group.read_all()
    group.commit()

    group.join(processes[0])
    group.settle()
    group.produce(60)
    group.read_all()


def check_resume(group: Group, _: object) -> None:
    """A restarted member goes on at the commit; another group reads all from the start."""
    member, restarted = group.join(), group.start()
    group.settle()
    group.produce(120)
    group.read_all()
    group.commit()
    group.produce(60)
    group.read_all()
    assert sum(group.uncommitted.values()) == 60
    group.leave(member)
    group.join(restarted)
    group.read_all()
    group.commit()

    other = Group(f"{group.name}-other", group.topic, group.start, group.produce_by)
    other.produced = group.produced
    other.join(member.driver)
    other.read_all()
    group.produce(60)
    group.read_all()


def check_cooperative(group: Group, _: object) -> None:
    """Those who stay give up only what goes to the one who comes."""
    first, second = group.join(cooperative=True), group.join(cooperative=True)
    group.settle()
    group.produce(120)
    group.read_all()
    group.commit()
    before = [set(member.owned) for member in (first, second)]
    for member in (first, second):
        member.kept.update(member.owned)
    group.join(cooperative=True)
    group.settle()
    for member, owned in zip((first, second), before, strict=True):
        assert member.kept == set(member.owned) < owned
    group.produce(60)
    group.read_all()


def check_static(group: Group, _: object) -> None:
    """A member with a name of its own comes back to what it had, and the others notice nothing."""
    first, second = group.join(instance="one"), group.join(instance="two")
    group.settle()
    group.produce(60)
    group.read_all()
    group.commit()
    owned = first.owned
    second.kept.update(second.owned)
    again = group.start()
    again("version")  # once it runs, it joins well within the session that the other leaves behind
    group.leave(first)  # closes it; a static member does not leave its group by that
    first = group.join(again, instance="one")
    group.settle()
    assert first.owned == owned
    assert second.kept == set(second.owned)
    group.produce(60)
    group.read_all()


CHECKS = {
    "group-share": check_share,
    "group-resume": check_resume,
    "group-cooperative": check_cooperative,
    "group-static": check_static,
}


@pytest.mark.parametrize(
    ("client", "feature"), client_matrix.cells(client_matrix.GROUPS), ids=lambda name: name.replace(" ", "-")
)
def test_client(client, feature, start_driver, drivers, shared_broker, show) -> None:
    topic = f"{client}-{feature}".replace(" ", "-")
    shared_broker.topic(topic, PARTITIONS)

    def tell(took_s: float) -> None:
        TAKEOVERS.append(f"{client}: {took_s:.1f} s")
        show("from a member's kill -9 until others said that they own its partitions", TAKEOVERS)

    idempotent = "idempotent" in client_matrix.CLIENTS[client].features
    group = Group(topic, topic, lambda: start_driver(client, shared_broker), drivers(client), idempotent=idempotent)
    CHECKS[feature](group, tell)


@pytest.fixture
def group(broker, start_driver) -> Group:
    """Return a group on a broker that it has for itself, by librdkafka."""
    broker.topic("shared", PARTITIONS)
    return Group("g", "shared", lambda: start_driver("confluent-kafka", broker), start_driver("confluent-kafka", broker))


def test_groups_and_offsets_survive_kill_9_of_the_broker(broker, group, start_driver) -> None:
    member = group.join()
    group.settle()
    group.produce(60)
    group.read_all()
    group.commit()
    broker.kill()
    broker.start()
    group.produce(60)
    group.read_all()
    assert group.again == 0, "it went on where it was"
    group.commit()
    group.leave(member)
    group.produce(60)
    group.join(start_driver("kafka-python 3", broker))
    group.read_all()
    assert group.again == 0


def test_admin_clients_see_and_delete_groups(broker, group) -> None:
    member = group.join()
    group.settle()
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    [listed] = admin.list_consumer_groups(request_timeout=20).result(30).valid
    assert (listed.group_id, listed.state.name) == ("g", "STABLE")
    described = admin.describe_consumer_groups(["g"], request_timeout=20)["g"].result(30)
    assert [len(one.assignment.topic_partitions) for one in described.members] == [PARTITIONS]
    with pytest.raises(Exception, match="NON_EMPTY_GROUP"):
        admin.delete_consumer_groups(["g"], request_timeout=20)["g"].result(30)
    group.leave(member)
    wanted = ConsumerGroupTopicPartitions("g", [TopicPartition("shared", 1, 5)])
    [altered] = admin.alter_consumer_group_offsets([wanted]).values()
    assert altered.result(30).topic_partitions[0].error is None
    [fetched] = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions("g")]).values()
    assert [(one.partition, one.offset) for one in fetched.result(30).topic_partitions] == [(1, 5)]
    admin.delete_consumer_groups(["g"], request_timeout=20)["g"].result(30)
    assert admin.list_consumer_groups(request_timeout=20).result(30).valid == []


def test_kafkas_command_lists_describes_resets_and_deletes(broker, group, java) -> None:
    member = group.join()
    group.settle()
    group.produce(60)
    group.read_all()
    group.commit()

    def command(*arguments: str) -> str:
        tool = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
        return str(java.run(tool, "--bootstrap-server", broker.bootstrap, *arguments).stdout)

    assert {"g", "Stable"} <= set(command("--list", "--state").split())
    rows = [line.split() for line in command("--describe", "--group", "g").splitlines() if line.startswith("g ")]
    assert sorted((row[1], row[2], row[3], row[4], row[5]) for row in rows) == [
        ("shared", str(one), str(group.committed[one]), str(group.next[one]), "0") for one in range(PARTITIONS)
    ]
    assert "range" in command("--describe", "--group", "g", "--state")
    group.leave(member)
    reset = command("--reset-offsets", "--group", "g", "--topic", "shared", "--to-offset", "4", "--execute")
    assert len([line for line in reset.splitlines() if line.split()[:1] == ["g"] and line.split()[-1] == "4"]) == PARTITIONS
    deleted = command("--delete-offsets", "--group", "g", "--topic", "shared:0")
    assert "Successful" in deleted
    rows = [line.split() for line in command("--describe", "--group", "g", "--offsets").splitlines() if line.startswith("g ")]
    assert sorted(row[2] for row in rows if row[3] == "4") == ["1", "2", "3", "4", "5"]
    assert "successful" in command("--delete", "--group", "g")
    assert "g" not in command("--list").split()


def test_kafkas_formatters_read_the_topic_of_offsets(broker, group, java) -> None:
    member = group.join()
    group.settle()
    group.produce(60)
    group.read_all()
    group.commit()

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

    with ThreadPoolExecutor() as threads:
        offsets, groups = threads.map(printed, ("OffsetsMessageFormatter", "GroupMetadataMessageFormatter"))
    seen = {(one["key"]["data"]["topic"], one["key"]["data"]["partition"]): one["value"]["data"]["offset"] for one in offsets}
    assert seen == {("shared", one): group.committed[one] for one in range(PARTITIONS)}
    assert groups[0]["key"]["data"]["group"] == "g"
    assert [len(one["value"]["data"]["members"]) for one in groups][-1] == 1
    group.leave(member)
