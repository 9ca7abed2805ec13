"""`fastlog coordinator` beside a real standalone ZooKeeper: start, memory, writes and reads with 1 and 16 clients.

usage: PYTHONPATH=. python bench/coordinator/run.py [--rounds N] [--seconds S] [--zookeeper-jars DIR]

Both sync each write before its answer, on the same disk. Clients are raw connections of one process, each with one request of 100
bytes of data at a time. The contestants take turns; medians of the rounds are printed, latencies in milliseconds.
"""

from __future__ import annotations

import argparse
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

from bench.real_kafka import free_port
from fastlog.coordinator import requests
from fastlog.coordinator.tree import Create, SetData

DATA = b"x" * 100
READY_S = 60.0
IDLE_S = 1.0
CLIENTS = (1, 16)


def framed(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def receive(connection: socket.socket) -> bytes:
    data = b""
    while len(data) < 4 or len(data) < 4 + struct.unpack(">i", data[:4])[0]:
        part = connection.recv(65536)
        assert part, "the server closed the connection"
        data += part
    return data


def attach(port: int, timeout_s: float = READY_S) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(framed(requests.encode_connect(0, 30_000, 0, requests.NO_PASSWORD)))
    receive(connection)
    return connection


def start(command: list[str], port: int) -> tuple[subprocess.Popen[bytes], float]:
    """Start a server; return it and the seconds until a first session is open."""
    began = time.perf_counter()
    # Without the variable by which some environments keep Python from storing what it compiled: users have that stored.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    while True:
        try:
            attach(port, 0.5).close()  # a ZooKeeper that is still starting takes connections and says nothing
            return process, time.perf_counter() - began
        except (OSError, AssertionError):
            assert process.poll() is None and time.perf_counter() - began < READY_S
            time.sleep(0.005)


def resident_mb(pid: int) -> float:
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


def load(port: int, count: int, frame: bytes, seconds: float) -> tuple[float, float, float]:
    """Return requests a second, and the median and 99th percentile of the latency."""
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
    return len(latencies) / seconds, 1000 * latencies[len(latencies) // 2], 1000 * latencies[len(latencies) * 99 // 100]


def measure(command: list[str], port: int, seconds: float) -> dict[str, float]:
    process, ready_s = start(command, port)
    try:
        time.sleep(IDLE_S)
        found = {"start, s": ready_s, "idle, MB": resident_mb(process.pid)}
        with attach(port) as connection:
            connection.sendall(framed(requests.encode_request(1, requests.Write((Create("/bench", DATA),)))))
            receive(connection)
        for what, request in (("writes", requests.Write((SetData("/bench", DATA),))), ("reads", requests.Get("/bench"))):
            for count in CLIENTS:
                load(port, count, framed(requests.encode_request(1, request)), seconds / 4)
                rate, median, tail = load(port, count, framed(requests.encode_request(1, request)), seconds)
                name = f"{what}, {count} clients"
                found |= {f"{name}, a second": rate, f"{name}, p50": median, f"{name}, p99": tail}
        found["loaded, MB"] = resident_mb(process.pid)
        return found
    finally:
        process.terminate()
        process.wait(timeout=60)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--zookeeper-jars", type=pathlib.Path)
    options = parser.parse_args()
    rounds: dict[str, list[dict[str, float]]] = {"fastlog": [], "ZooKeeper": []}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as directory:
            port = free_port()
            command = [sys.executable, "-m", "fastlog", "coordinator", "--port", str(port), "--data", directory]
            rounds["fastlog"].append(measure(command, port, options.seconds))
        if options.zookeeper_jars is None:
            continue
        with tempfile.TemporaryDirectory() as directory:
            port = free_port()
            config = pathlib.Path(directory, "zoo.cfg")
            config.write_text(
                f"tickTime=2000\ndataDir={directory}/data\nclientPort={port}\nclientPortAddress=127.0.0.1\n"
                "maxClientCnxns=0\nadmin.enableServer=false\n"
            )
            java = ["java", "-cp", f"{options.zookeeper_jars}/*"]
            command = [*java, "org.apache.zookeeper.server.ZooKeeperServerMain", str(config)]
            rounds["ZooKeeper"].append(measure(command, port, options.seconds))
    print(f"{'':32}{'fastlog':>12}{'ZooKeeper':>12}{'ratio':>8}")
    for name in rounds["fastlog"][0]:
        ours = statistics.median(one[name] for one in rounds["fastlog"])
        if rounds["ZooKeeper"]:
            real = statistics.median(one[name] for one in rounds["ZooKeeper"])
            print(f"{name:32}{ours:12.3f}{real:12.3f}{ours / real:8.2f}")
        else:
            print(f"{name:32}{ours:12.3f}")


if __name__ == "__main__":
    main()
