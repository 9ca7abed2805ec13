"""`fastlog coordinator` beside a real standalone ZooKeeper: start, memory, writes and reads with 1 and 16 clients.

usage: PYTHONPATH=. python bench/coordinator/run.py [--rounds N] [--seconds S] [--znodes N]
           [--zookeeper-distribution DIR] [--zookeeper-jars DIR]

ZooKeeper comes in two forms, and each has ratios of its own:

* *as started* is what runs after its distribution's `zkServer.sh start`, the thing that `fastlog coordinator` stands in for: all
  jars of the distribution, its sample configuration, its logging to a file, a heap of at most 1000 MB, JMX, the AdminServer, the
  heap dump options. Addresses are of the loopback alone, and the time that the script itself takes is not counted.
* *stripped* is as little of ZooKeeper as serves: no AdminServer, no JMX, no logging, and none of the jars that these need.

All sync each write before its answer, on the same disk. Start is the time from exec until a first session is open; memory is read
from /proc/PID/smaps_rollup a second later. Clients are raw connections of one process, each with one request of 100 bytes of data
at a time, beside so many znodes of 100 bytes as `--znodes` says. In the end the server is killed, and the time until it serves
again is taken. The contestants take turns; medians of the rounds are printed, latencies in milliseconds. What an interpreter
takes that does nothing is printed too: below that no fastlog gets.
"""

from __future__ import annotations

import argparse
import getpass
import os
import pathlib
import selectors
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from bench.memory import memory_mb
from bench.real_kafka import free_port
from fastlog.coordinator import requests
from fastlog.coordinator.tree import Create, SetData

DATA = b"x" * 100
READY_S = 60.0
TRY_S = 0.001
ANSWER_S = 0.02
MULTI_ZNODES = 100
ZNODES_PER_PARENT = 2000
IDLE_S = 1.0
CLIENTS = (1, 16)
# What the command `fastlog` does that pip 26 installs.
COMMAND = "import sys; from fastlog.__main__ import main; sys.exit(main())"
AIMS = {
    "start, s": ("at most", 1 / 20),
    "idle, MB": ("at most", 1 / 10),
    "... anonymous, MB": ("at most", 1 / 10),
    "loaded, MB": ("at most", 1 / 10),
    "writes, 1 clients, a second": ("at least", 1.0),
    "writes, 16 clients, a second": ("at least", 1.0),
    "reads, 1 clients, a second": ("at least", 0.5),
    "reads, 16 clients, a second": ("at least", 0.5),
}
"""How fastlog's figure is to be to ZooKeeper's."""
# What conf/zoo_sample.cfg sets, but for the directory and the addresses.
SAMPLE_CONFIGURATION = "tickTime=2000\ninitLimit=10\nsyncLimit=5\n"
# What conf/logback.xml has logged, and where: all from INFO on, on the console, which the script redirects to a file.
LOGBACK = """<configuration>
  <appender name="CONSOLE" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{ISO8601} [myid:%X{myid}] - %-5p [%t:%C{1}@%L] - %m%n</pattern></encoder>
    <filter class="ch.qos.logback.classic.filter.ThresholdFilter"><level>INFO</level></filter>
  </appender>
  <root level="INFO"><appender-ref ref="CONSOLE" /></root>
</configuration>
"""

Prepare = Callable[[pathlib.Path], tuple[list[str], int]]


def framed(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def receive(connection: socket.socket) -> bytes:
    data = b""
    while len(data) < 4 or len(data) < 4 + struct.unpack(">i", data[:4])[0]:
        part = connection.recv(65536)
        assert part, "the server closed the connection"
        data += part
    return data


def greet(port: int) -> socket.socket:
    """Connect, and ask for a session."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=READY_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(framed(requests.encode_connect(0, 30_000, 0, requests.NO_PASSWORD)))
    return connection


def attach(port: int) -> socket.socket:
    connection = greet(port)
    receive(connection)
    return connection


def start(command: list[str], port: int, output: pathlib.Path) -> tuple[subprocess.Popen[bytes], float]:
    """Start a server; return it and the seconds until a first session is open.

    A ZooKeeper that is still starting takes connections and forgets them: who gets no answer soon tries another one besides.
    """
    # Without the variable by which some environments keep Python from storing what it compiled: users have that stored. And
    # without what setuptools does at every start where it is installed: it is to build with, and new environments have none.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["SETUPTOOLS_USE_DISTUTILS"] = "stdlib"
    began = time.perf_counter()
    with output.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
    with selectors.DefaultSelector() as selector:
        while True:
            assert process.poll() is None and time.perf_counter() - began < READY_S, output.read_text()
            try:
                selector.register(greet(port), selectors.EVENT_READ)
            except OSError:
                time.sleep(TRY_S)
                continue
            for key, _ in selector.select(ANSWER_S):
                connection: socket.socket = key.fileobj  # type: ignore[assignment]
                selector.unregister(connection)
                with connection:
                    try:
                        receive(connection)
                    except (OSError, AssertionError):
                        continue
                ready_s = time.perf_counter() - began
                for waiting in list(selector.get_map().values()):
                    waiting.fileobj.close()  # type: ignore[union-attr]
                return process, ready_s


def fill(connection: socket.socket, znodes: int) -> None:
    """Create so many znodes, some in each multi."""
    for first in range(0, znodes, MULTI_ZNODES):
        parent = f"/bench/{first // ZNODES_PER_PARENT}"
        creations = [Create(f"{parent}/{number}", DATA) for number in range(first, min(first + MULTI_ZNODES, znodes))]
        if first % ZNODES_PER_PARENT == 0:
            creations.insert(0, Create(parent, b""))
        ask(connection, requests.Write(tuple(creations)))


def ask(connection: socket.socket, request: requests.Request) -> None:
    connection.sendall(framed(requests.encode_request(1, request)))
    assert struct.unpack_from(">i", receive(connection), 16)[0] == 0


def load(port: int, count: int, frame: bytes, seconds: float) -> tuple[float, float, float, float]:
    """Return requests a second, and of the latency the median, the 99th percentile and the greatest."""
    selector = selectors.DefaultSelector()
    sent: dict[socket.socket, float] = {}
    connections = [attach(port) for _ in range(count)]
    for connection in connections:
        selector.register(connection, selectors.EVENT_READ)
        sent[connection] = time.perf_counter()
        connection.sendall(frame)
    latencies = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for key, _ in selector.select(1):
            ready: socket.socket = key.fileobj  # type: ignore[assignment]
            answer = receive(ready)
            assert struct.unpack_from(">i", answer, 16)[0] == 0
            latencies.append(time.perf_counter() - sent[ready])
            sent[ready] = time.perf_counter()
            ready.sendall(frame)
    selector.close()
    for connection in connections:
        connection.close()
    latencies.sort()
    middle, tail, longest = latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100], latencies[-1]
    return len(latencies) / seconds, 1000 * middle, 1000 * tail, 1000 * longest


def measure(prepare: Prepare, seconds: float, znodes: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="bench-coordinator-") as directory:
        command, port = prepare(pathlib.Path(directory))
        process, ready_s = start(command, port, pathlib.Path(directory, "output"))
        try:
            found = {"start, s": ready_s, **measure_running(process.pid, port, seconds, znodes)}
            process.kill()
            process.wait(timeout=60)
            process, found["start after kill -9, s"] = start(command, port, pathlib.Path(directory, "output"))
            return found
        finally:
            process.terminate()
            process.wait(timeout=60)


def measure_running(pid: int, port: int, seconds: float, znodes: int) -> dict[str, float]:
    time.sleep(IDLE_S)
    idle = memory_mb(pid)
    found = {"idle, MB": idle["resident_mb"], "... anonymous, MB": idle["anonymous_mb"]}
    with attach(port) as connection:
        ask(connection, requests.Write((Create("/bench", DATA),)))
        fill(connection, znodes)
    for what, request in (("writes", requests.Write((SetData("/bench", DATA),))), ("reads", requests.Get("/bench"))):
        for count in CLIENTS:
            load(port, count, framed(requests.encode_request(1, request)), seconds / 4)
            rate, median, tail, longest = load(port, count, framed(requests.encode_request(1, request)), seconds)
            name = f"{what}, {count} clients"
            found |= {f"{name}, a second": rate, f"{name}, p50": median, f"{name}, p99": tail, f"{name}, longest": longest}
    found["loaded, MB"] = memory_mb(pid)["resident_mb"]
    return found


def fastlog(directory: pathlib.Path) -> tuple[list[str], int]:
    port = free_port()
    return [sys.executable, "-c", COMMAND, "coordinator", "--port", str(port), "--data", f"{directory}/data"], port


def as_started(jars: pathlib.Path) -> Prepare:
    """ZooKeeper with its distribution's jars, as `zkServer.sh start` runs it there."""

    def prepare(directory: pathlib.Path) -> tuple[list[str], int]:
        port = free_port()
        (directory / "conf").mkdir()
        (directory / "logs").mkdir()
        (directory / "conf/logback.xml").write_text(LOGBACK)
        config = directory / "conf/zoo.cfg"
        config.write_text(
            f"{SAMPLE_CONFIGURATION}dataDir={directory}/data\nclientPort={port}\nclientPortAddress=127.0.0.1\n"
            f"admin.serverPort={free_port()}\nadmin.serverAddress=127.0.0.1\n"
        )
        # The script puts each jar before those that it found earlier, and all of them before the directory of the configuration.
        classes = ":".join([*sorted(map(str, jars.glob("*.jar")), reverse=True), str(config.parent)])
        command = ["java", f"-Dzookeeper.log.dir={directory}/logs"]
        command += [f"-Dzookeeper.log.file=zookeeper-{getpass.getuser()}-server-{socket.gethostname()}.log"]
        command += ["-XX:+HeapDumpOnOutOfMemoryError", "-XX:OnOutOfMemoryError=kill -9 %p", "-cp", classes, "-Xmx1000m"]
        command += ["-Dcom.sun.management.jmxremote", "-Dcom.sun.management.jmxremote.local.only=false"]
        return [*command, "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(config)], port

    return prepare


def stripped(jars: pathlib.Path) -> Prepare:
    """ZooKeeper's server and nothing else, with jars that have no logging."""

    def prepare(directory: pathlib.Path) -> tuple[list[str], int]:
        port = free_port()
        config = directory / "zoo.cfg"
        config.write_text(
            f"tickTime=2000\ndataDir={directory}/data\nclientPort={port}\nclientPortAddress=127.0.0.1\n"
            "maxClientCnxns=0\nadmin.enableServer=false\n"
        )
        return ["java", "-cp", f"{jars}/*", "org.apache.zookeeper.server.ZooKeeperServerMain", str(config)], port

    return prepare


def bare_interpreter_mb() -> dict[str, float]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        time.sleep(IDLE_S)
        found = memory_mb(process.pid)
        process.communicate(b"\n")
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--znodes", type=int, default=0, help="how many others are there")
    parser.add_argument("--zookeeper-distribution", type=pathlib.Path, help="the jars of ZooKeeper's distribution")
    parser.add_argument("--zookeeper-jars", type=pathlib.Path, help="the jars of ZooKeeper without logging")
    options = parser.parse_args()
    contestants: dict[str, Prepare] = {"fastlog": fastlog}
    if options.zookeeper_distribution is not None:
        contestants["ZooKeeper as started"] = as_started(options.zookeeper_distribution)
    if options.zookeeper_jars is not None:
        contestants["ZooKeeper stripped"] = stripped(options.zookeeper_jars)
    measure(fastlog, 0.1, 0)  # the first start of an installation compiles Python's modules
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    for _ in range(options.rounds):
        for name, prepare in contestants.items():
            rounds[name].append(measure(prepare, options.seconds, options.znodes))
    medians = {name: {row: statistics.median(one[row] for one in found) for row in found[0]} for name, found in rounds.items()}
    ours = medians.pop("fastlog")
    print(f"{'':30}{'fastlog':>12}" + "".join(f"{name:>22}{'ratio':>8}" for name in medians))
    for row, value in ours.items():
        print(f"{row:30}{value:12.3f}" + "".join(f"{real[row]:22.3f}{value / real[row]:8.3f}" for real in medians.values()))
    bare = bare_interpreter_mb()
    print(f"a Python that does nothing, MB: {bare['resident_mb']:.1f}, anonymous {bare['anonymous_mb']:.1f}")
    for name, real in medians.items():
        for row, (kind, bound) in AIMS.items():
            ratio = ours[row] / real[row]
            reached = ratio <= bound if kind == "at most" else ratio >= bound
            print(f"{name}, {row}: {kind} {bound:.2f} of it: {'reached' if reached else 'NOT reached'} ({ratio:.3f})")


if __name__ == "__main__":
    main()
