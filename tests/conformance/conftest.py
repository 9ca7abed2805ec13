"""Real clients against a real broker: every test here talks to `fastlog up`, started as a person would start it."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import client_matrix
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition
from ports import answers_api_versions, free_port
from zookeeper_servers import OwnCoordinator, ZooKeeper

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
CACHE = ROOT / ".cache"
STOP_TIMEOUT_S = 30


VERSIONS: dict[str, str] = {}
"""Versions of the clients that this run drove, as they told them."""
OUTCOMES: dict[str, str] = {}
"""Outcome of each cell of the matrix that this run tested, by the test's id."""


TABLES: dict[str, list[str]] = {}
"""What tests found out that people want to read, by its title: printed at the end of the run."""


@pytest.fixture(scope="session")
def show() -> Callable[[str, list[str]], None]:
    """Return a function that has lines printed at the end of the run, under a title."""
    return TABLES.__setitem__


def cell_id(client: str, feature: str) -> str:
    """Return the test id of a cell."""
    return f"{client}-{feature}".replace(" ", "-")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what became of each cell."""
    if "::test_client[" in report.nodeid and (report.when == "call" or report.failed):
        OUTCOMES[report.nodeid.partition("[")[2].removesuffix("]")] = "yes" if report.passed else "FAILED"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the matrix of this run; what it didn't test stays empty. Then whatever else tests have to show."""
    for title, lines in TABLES.items():
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.write_line(line)
    if not OUTCOMES:
        return

    def cell(client: str, feature: str) -> str:
        return OUTCOMES.get(cell_id(client, feature), "" if feature in client_matrix.CLIENTS[client].features else "–")

    terminalreporter.section("clients")
    terminalreporter.write_line(client_matrix.render(cell))
    terminalreporter.write_line("versions: " + ", ".join(f"{client} {version}" for client, version in VERSIONS.items()))


class Broker:
    """One `fastlog up` process over a data directory that outlives it."""

    def __init__(self, data: pathlib.Path, arguments: tuple[str, ...] = ()) -> None:
        self.data = data
        self.arguments = arguments
        self.port = 0
        self.process: subprocess.Popen[str] | None = None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def log_directory(self) -> pathlib.Path:
        """Where the partition directories are."""
        return self.data / "broker-1"

    def start(self) -> None:
        command = [sys.executable, "-m", "fastlog", "up", "--port", str(self.port), "--data", str(self.data), *self.arguments]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("ready "):
            self.kill()
            pytest.fail(f"the broker said {line!r} in place of ready")
        fields = dict(field.split("=", 1) for field in line.split()[1:])
        self.port = int(fields["bootstrap"].rsplit(":", 1)[1])

    def kill(self) -> None:
        """End the process as `kill -9` does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self._reap()

    def stop(self) -> None:
        """End the process as Ctrl-C does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self._reap()

    def _reap(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.wait(STOP_TIMEOUT_S)
        self.process.stdout.close()
        self.process = None

    def topic(self, name: str, partitions: int = 1, *options: str) -> None:
        command = ["topic", "create", name, "--partitions", str(partitions), *options, "--bootstrap", self.bootstrap]
        subprocess.run([sys.executable, "-m", "fastlog", *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


@pytest.fixture
def broker(tmp_path: pathlib.Path) -> Iterator[Broker]:
    started = Broker(tmp_path / "data")
    started.start()
    yield started
    if started.process is not None:
        started.stop()


@pytest.fixture
def open_broker() -> Iterator[Callable[..., Broker]]:
    """Return a function that starts a broker over a data directory."""
    opened: list[Broker] = []

    def start(data: pathlib.Path, *arguments: str) -> Broker:
        opened.append(Broker(data, arguments))
        opened[-1].start()
        return opened[-1]

    yield start
    for one in opened:
        if one.process is not None:
            one.stop()


@pytest.fixture
def read_all() -> Callable[..., list[Message]]:
    """Return a function that reads a whole topic through librdkafka, partition after partition, by assignment."""

    def read(broker: Broker, topic: str) -> list[Message]:
        consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "unused", "enable.auto.commit": False})
        try:
            partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
            records: list[Message] = []
            for partition in sorted(partitions):
                _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)
                consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
                next_offset = 0
                while next_offset < end:
                    batch = consumer.consume(min(10_000, end - next_offset), timeout=30)
                    assert batch, f"{topic}-{partition} came to a halt at offset {next_offset} of {end}"
                    for message in batch:
                        assert message.error() is None, message.error()
                    next_offset = batch[-1].offset() + 1
                    records += batch
            return records
        finally:
            consumer.close()

    return read


class Driver:
    """One client's program (see `clients/`): requests go in, a line each, and answers come out."""

    def __init__(self, command: Sequence[str], directory: pathlib.Path, log: pathlib.Path) -> None:
        self.log = log
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                command, cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )

    def answer(self, operation: str, **parameters: object) -> dict[str, Any]:
        """Have an operation done, and return its answer, be it `ok` or `error`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"op": operation, **parameters}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            pytest.fail(f"the driver ended: {self.log.read_text()[-4_000:]}")
        return json.loads(line)  # type: ignore[no-any-return]

    def __call__(self, operation: str, **parameters: object) -> dict[str, Any]:
        """Have an operation done; its failure is the test's."""
        answer = self.answer(operation, **parameters)
        assert "ok" in answer, f"{operation}: {answer}\n{self.log.read_text()[-2_000:]}"
        return answer["ok"]  # type: ignore[no-any-return]

    def refused(self, operation: str, **parameters: object) -> dict[str, object]:
        """Ask for what cannot be done, and return the error that the client tells of: its Kafka `code` and `message`."""
        answer = self.answer(operation, **parameters)
        assert "error" in answer, f"{operation}: {str(answer)[:2_000]}"
        return answer["error"]  # type: ignore[no-any-return]

    def end(self) -> None:
        """Close its input, upon which it ends."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="session")
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for all tests that keep to topics of their own."""
    started = Broker(tmp_path_factory.mktemp("shared") / "data")
    started.start()
    yield started
    started.stop()


@pytest.fixture(scope="session")
def drivers(shared_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Driver]]:
    """Return a function that returns the running driver of a client, by the client's name in the matrix."""
    logs = tmp_path_factory.mktemp("drivers")
    running: dict[str, Driver] = {}

    def driver(client: str) -> Driver:
        found = running.get(client)
        if found is None or found.process.poll() is not None:
            command, directory = driver_command(client)
            found = Driver([*command, shared_broker.bootstrap], directory, logs / f"{client.replace(' ', '-')}.log")
            VERSIONS[client] = str(found("version")["version"])
            running[client] = found
        return found

    yield driver
    for one in running.values():
        one.end()


@pytest.fixture
def start_driver(tmp_path: pathlib.Path) -> Iterator[Callable[[str, Broker], Driver]]:
    """Return a function that starts a client's driver in a new process; it ends with the test."""
    started: list[Driver] = []

    def start(client: str, broker: Broker) -> Driver:
        command, directory = driver_command(client)
        started.append(Driver([*command, broker.bootstrap], directory, tmp_path / f"driver-{len(started)}.log"))
        return started[-1]

    yield start
    for one in started:
        one.end()


JAVASCRIPT = {"kafkajs": "kafkajs_driver.js", "confluent-kafka-javascript": "confluent_driver.js"}


def driver_command(client: str) -> tuple[list[str], pathlib.Path]:
    """Return how a client's driver is started, and where; `make conformance` has built it."""
    python = HERE / "clients" / "python"
    scripts = {
        "confluent-kafka": "confluent_kafka_driver.py",
        "kafka-python 3": "kafka_python_driver.py",
        "aiokafka": "aiokafka_driver.py",
        "kcat": "kcat_driver.py",
    }
    if client in scripts:
        return [sys.executable, scripts[client]], python
    if client == "kafka-python 2.3":
        return [str(CACHE / "kafka-python-2.3" / "bin" / "python"), "kafka_python_driver.py"], python
    if client.startswith("Java"):
        # Version 3.9's jar goes before the others, which bring what it needs.
        jars = [*jars_of_3_9()] if client == "Java 3.9" else []
        class_path = ":".join(map(str, [*jars, CACHE / "java-driver", f"{kafka_jars()}/*"]))
        return ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", class_path, "ClientDriver"], ROOT
    if client in JAVASCRIPT:
        packages = CACHE / "javascript" / "node_modules"
        return ["env", f"NODE_PATH={packages}", "node", JAVASCRIPT[client]], HERE / "clients" / "javascript"
    if client == "rskafka":
        return [str(CACHE / "rust" / "debug" / "rskafka-driver")], ROOT
    return [str(CACHE / "go-driver"), client], ROOT


def kafka_jars() -> pathlib.Path:
    """Return the directory of Kafka's jars."""
    return pathlib.Path(os.environ.get("KAFKA_JARS", CACHE / "kafka-jars"))


def jars_of_3_9() -> list[pathlib.Path]:
    """Return the jar of Kafka 3.9's clients, which goes before those of `kafka_jars`."""
    return sorted(pathlib.Path(os.environ.get("KAFKA_3_9_JARS", CACHE / "kafka-3.9-jars")).glob("kafka-clients-3.9*.jar"))


class Java:
    """Kafka's own programs, from the jars that `make conformance` fetched, and those of `java/` compiled against them."""

    def __init__(self, jars: pathlib.Path, classes: pathlib.Path | None = None) -> None:
        self.class_path = [f"{jars}/*"]
        if classes is not None:
            sources = [str(source) for source in sorted((HERE / "java").glob("*.java"))]
            subprocess.run(["javac", "-cp", f"{jars}/*", "-d", str(classes), *sources], check=True)
            self.class_path.insert(0, str(classes))

    def command(self, main: str, *arguments: object, first_jars: Sequence[pathlib.Path] = ()) -> list[str]:
        class_path = ":".join([*map(str, first_jars), *self.class_path])
        # They end before the second compiler's work would pay.
        return ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", class_path, main, *map(str, arguments)]

    def run(
        self, main: str, *arguments: object, first_jars: Sequence[pathlib.Path] = (), **options: object
    ) -> subprocess.CompletedProcess[str]:
        finished = subprocess.run(  # type: ignore[call-overload]
            self.command(main, *arguments, first_jars=first_jars),
            check=False,
            **{"capture_output": True, "text": True, "timeout": 110, **options},
        )
        assert finished.returncode == 0, f"{main}: exit {finished.returncode}\n{finished.stdout}\n{finished.stderr}"
        return finished  # type: ignore[no-any-return]

    def dump(self, files: Sequence[pathlib.Path], *options: str) -> str:
        """Return what DumpLogSegments prints of files, once it has nothing to complain about."""
        listed = ",".join(map(str, files))
        dumped = self.run("org.apache.kafka.tools.DumpLogSegments", "--files", listed, *options)
        # It expects every file to begin with offset 0 and says so of segments that Kafka itself wrote.
        complaints = re.sub(r"Non-consecutive offsets in \S+\n(  -1 is followed by [1-9]\d*\n)", "", dumped.stderr)
        assert complaints == "", complaints
        assert "mismatch" not in dumped.stdout.lower()
        assert "not valid" not in dumped.stdout.lower()
        return dumped.stdout


@pytest.fixture(scope="session")
def java(tmp_path_factory: pytest.TempPathFactory) -> Java:
    jars = kafka_jars()
    assert list(jars.glob("kafka-clients-*.jar")), f"no Kafka jars in {jars}: run `make conformance`"
    return Java(jars, tmp_path_factory.mktemp("classes"))


@pytest.fixture(scope="session")
def kafka_zk_jars() -> pathlib.Path:
    """Return the directory of the jars of Kafka 3.9, the last one that runs on a ZooKeeper."""
    jars = pathlib.Path(os.environ.get("KAFKA_ZK_JARS", CACHE / "kafka-zk-jars"))
    assert list(jars.glob("zookeeper-3*.jar")), f"no Kafka with ZooKeeper in {jars}: run `make conformance`"
    return jars


@pytest.fixture(params=["4", "3.9"])
def either_java(request: pytest.FixtureRequest, java: Java, kafka_zk_jars: pathlib.Path) -> Java:
    """Return Kafka's programs of version 4, then those of 3.9 (without what `java/` has)."""
    return java if request.param == "4" else Java(kafka_zk_jars)


@pytest.fixture
def real_kafka(java: Java, tmp_path: pathlib.Path) -> object:
    """Return a context manager that runs a real Kafka (KRaft) on a data directory and yields its bootstrap address."""

    @contextlib.contextmanager
    def run(data: pathlib.Path, **properties: object) -> Iterator[str]:
        port, controller_port = free_port(), free_port()
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": data,
            "offsets.topic.replication.factor": 1,
            **properties,
        }
        file = tmp_path / "kafka.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        if not (data / "meta.properties").exists():
            java.run("kafka.tools.StorageTool", "format", "-t", "AAAAAAAAQACAAAAAAAAAAA", "-c", file)
        with (tmp_path / "kafka.out").open("w") as out:
            process = subprocess.Popen(java.command("kafka.Kafka", file), stdout=out, stderr=out)
            try:
                while not answers_api_versions(port):
                    assert process.poll() is None, (tmp_path / "kafka.out").read_text()
                    time.sleep(0.1)
                yield f"127.0.0.1:{port}"
            finally:
                process.terminate()
                process.wait(timeout=60)

    return run


@pytest.fixture(params=[ZooKeeper, OwnCoordinator], ids=["zookeeper", "own"])
def zookeeper(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[ZooKeeper]:
    """Return a real ZooKeeper, then our own coordinator: those who use them are to see no difference."""
    started = request.param(tmp_path / "zookeeper").start()
    yield started
    started.end()


def real_files() -> list[pathlib.Path]:
    """Return text files that every Debian-like machine has, a slim one too: package logs and package databases."""
    places = ["/var/log/dpkg.log", "/var/lib/dpkg/status", "/var/log/apt/history.log", "/usr/share/common-licenses/GPL-3"]
    found = [pathlib.Path(place) for place in places if pathlib.Path(place).is_file()]
    for kind in ("*.md5sums", "*.list"):
        found += sorted(pathlib.Path("/var/lib/dpkg/info").glob(kind))
    return [path for path in found if path.stat().st_size > 0]


@pytest.fixture(scope="session")
def real_records() -> list[tuple[bytes, bytes]]:
    """Return (key, value) pairs: the file's name and line number's last digits as key, the line with its end as value."""
    records: list[tuple[bytes, bytes]] = []
    for path in real_files():
        for number, line in enumerate(path.read_bytes().splitlines(keepends=True)):
            records.append((f"{path.name}:{number % 97}".encode(), line))
    assert len(records) > 5_000, "this machine has no package files to use as real input"
    return records[:60_000]
