"""The programs of `examples/java` and `examples/python`, as somebody runs them who has just read about Kafka."""

from __future__ import annotations

import dataclasses
import pathlib
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest

from fastlog import _core
from fastlog.client.blocking import Client
from fastlog.client.groups import Groups

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(180)]

ROOT = pathlib.Path(__file__).parent.parent.parent
TOPIC, GROUP, PARTITIONS = "my-topic", "my-group", 6
PATIENCE_S = 60
SENT = re.compile(r"sent: partition=(\d+) offset=(\d+)")
RECEIVED = re.compile(r"received: partition=(\d+) offset=(\d+) key=(\S*) value=(.*)")
LOGGED = re.compile(r"\d{4}-\d{2}-\d{2}T\S+ +[A-Z]+ ")
"""A line of Spring's log, which goes to standard output too."""


class Program:
    """A running program; what it prints is read by a thread."""

    def __init__(self, command: list[str], errors: pathlib.Path) -> None:
        self.errors = errors
        with errors.open("a") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out, text=True, encoding="utf-8"
            )
        self.lines: queue.Queue[str] = queue.Queue()
        self.sent: list[tuple[int, int]] = []
        self.received: list[tuple[int, int, str, str]] = []
        self.thread = threading.Thread(target=self._listen)
        self.thread.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))

    def read(self) -> None:
        """Sort what has been printed since the last call."""
        while not self.lines.empty():
            line = self.lines.get()
            if found := SENT.fullmatch(line):
                self.sent.append((int(found[1]), int(found[2])))
            elif found := RECEIVED.fullmatch(line):
                self.received.append((int(found[1]), int(found[2]), found[3], found[4]))
            else:
                assert LOGGED.match(line), f"it printed {line!r}"

    def say(self, messages: list[tuple[str, str]]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{key} {value}\n" for key, value in messages))
        self.process.stdin.flush()

    def end(self, number: signal.Signals | None = signal.SIGTERM) -> int:
        """Close its input, send it a signal, and return its exit code."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        self.thread.join()
        self.process.stdout.close()
        self.read()
        return code


@dataclasses.dataclass
class Kind:
    """How an example is started. In Java both halves are one program, and a JVM that was asked to end says 143."""

    produce: list[str]
    consume: list[str]
    end_code: int = 0

    @property
    def is_one_program(self) -> bool:
        return self.produce == self.consume


def kind_of(name: str, bootstrap: str) -> Kind:
    if name == "java":
        jar = ROOT / ".cache" / "spring" / "logs.jar"
        assert jar.exists(), f"no {jar}: run `make conformance`"
        encoding = ["-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8"]  # whatever the locale: the second since Java 19
        java = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", *encoding, "-jar", str(jar)]
        command = [*java, f"--kafka.bootstrap-servers={bootstrap}"]
        return Kind(command, command, 128 + signal.SIGTERM)
    script = str(ROOT / "examples" / "python" / f"{name}_logs.py")
    where = ["--bootstrap", bootstrap]
    return Kind([sys.executable, script, "produce", *where], [sys.executable, script, "consume", *where])


@pytest.fixture
def start(tmp_path: pathlib.Path) -> Iterator[Callable[[list[str]], Program]]:
    """Start programs that are over when the test is."""
    started: list[Program] = []

    def start_one(command: list[str]) -> Program:
        started.append(Program(command, tmp_path / f"{len(started)}.err"))
        return started[-1]

    yield start_one
    for one in started:
        if one.process.poll() is None:
            one.end(signal.SIGKILL)


def until(programs: list[Program], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        errors = [one.errors.read_text()[-2_000:] for one in programs]
        assert time.monotonic() < deadline, (errors, [(one.sent, one.received) for one in programs])
        for one in programs:
            one.read()
        time.sleep(0.05)


def owners(bootstrap: str) -> dict[int, str]:
    """Return who owns each partition in a group that is settled, nothing while it is not."""
    with Client(bootstrap) as client:
        group = client.wait(Groups(client.cluster).describe(GROUP))
    if group.state != "Stable":
        return {}
    return {partition: one.member_id for one in group.members for _, partition in one.owns}


@pytest.mark.parametrize("name", ["java", "confluent_kafka", "kafka_python", "aiokafka"])
def test_what_is_sent_is_received_shared_and_gone_on_with(broker, start, name) -> None:
    broker.topic(TOPIC, PARTITIONS)
    kind = kind_of(name, broker.bootstrap)

    def produce(messages: list[tuple[str, str]], consumers: list[Program]) -> list[tuple[int, int]]:
        """Send messages, and return partition and offset as the callbacks told of them."""
        program = consumers[0] if kind.is_one_program else start(kind.produce)
        before = len(program.sent)
        program.say(messages)
        if kind.is_one_program:
            until(consumers, lambda: len(program.sent) == before + len(messages))
        else:
            assert program.end(None) == 0, program.errors.read_text()
        return program.sent[before:]

    # One instance gets everything, and each callback has told the truth.
    messages = [(f"key{number % 20}", f"the value {number}, æøå") for number in range(100)]
    first = start(kind.consume)
    sent = produce(messages, [first])
    until([first], lambda: len(first.received) == 100)
    assert sorted(sent) == sorted((partition, offset) for partition, offset, _, _ in first.received)
    by_partition: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for key, value in messages:
        by_partition[_core.partition_for_key(key.encode(), PARTITIONS)].append((key, value))
    for partition, expected in by_partition.items():
        of_partition = [one for one in first.received if one[0] == partition]
        assert of_partition == [(partition, offset, *message) for offset, message in enumerate(expected)]

    # Two instances share: each partition's records come out of one of them, in order, and none of them twice.
    second = start(kind.consume)
    until([first, second], lambda: len(owners(broker.bootstrap)) == PARTITIONS)
    until([first, second], lambda: len(set(owners(broker.bootstrap).values())) == 2)
    del first.received[:]
    sent = produce(messages, [first, second])
    until([first, second], lambda: len(first.received) + len(second.received) >= 100)
    assert sorted(sent) == sorted((one[0], one[1]) for one in first.received + second.received)
    of_first, of_second = ({one[0] for one in program.received} for program in (first, second))
    assert not of_first & of_second
    assert of_first | of_second == set(by_partition)

    # Whoever is asked to end has committed; what comes meanwhile is read by the next one, and nothing of before.
    assert [one.end() for one in (first, second)] == [kind.end_code] * 2
    with Client(broker.bootstrap) as client, client.producer() as producer:
        for number in range(PARTITIONS):
            producer.send(TOPIC, b"meanwhile", key=b"none", partition=number)
    third = start(kind.consume)
    until([third], lambda: len(third.received) >= PARTITIONS)
    sent = produce([("key1", "the last")], [third])
    until([third], lambda: len(third.received) >= PARTITIONS + 1)
    assert sorted(third.received[:-1]) == [
        (number, 2 * len(by_partition[number]), "none", "meanwhile") for number in range(PARTITIONS)
    ]
    assert third.received[-1] == (*sent[0], "key1", "the last")
    assert third.end() == kind.end_code


def test_the_producer_in_java_prints_why_a_message_could_not_be_sent(broker, start) -> None:
    broker.topic(TOPIC, 1, "-o", "max.message.bytes=1000")
    kind = kind_of("java", broker.bootstrap)
    program = start(kind.produce)
    program.say([("key", "x" * 2_000)])
    until([program], lambda: "RecordTooLargeException" in program.errors.read_text())
    program.say([("key", "small")])
    until([program], lambda: len(program.received) == 1 and len(program.sent) == 1)
    assert program.sent == [(0, 0)]
    assert program.end() == kind.end_code
