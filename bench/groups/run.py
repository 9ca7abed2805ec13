"""Consumer groups of fastlog and of a real Kafka, in turns: rebalances of 100 members, and commits of offsets a second.

usage: PYTHONPATH=. python bench/groups/run.py [--rounds N] [--seconds S] [--kafka-jars DIR]

Both keep groups in a `__consumer_offsets` of 16 partitions with one replica, and begin a first rebalance without delay. All
members are raw connections of this one process, so that no client's speed decides:

* N join, each with the id that it was given before: until every member has its assignment in one generation of N;
* one more joins, one leaves: from that request until all who stay have their assignment in the generation that follows. The
  others learn of it by their next heartbeat, which they send at once, where a client would wait for seconds;
* commits: of one partition each, a group for each connection, with one or 16 requests in flight on it.

The contestants take turns after a round that doesn't count. Medians of the rounds are printed, and the median of their ratios;
more than 1 says that fastlog does better. On a machine that is busy with something else, a broker of one thread waits for its
turn where one of many threads does not: leave two cores to it.
"""

from __future__ import annotations

import argparse
import contextlib
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
from collections.abc import Callable, Iterator

from bench.real_kafka import SILENT, answers, prepare
from fastlog.client.assignments import encode_assignment, encode_subscription
from fastlog.client.blocking import Client
from fastlog.errors import MemberIdRequired, RebalanceInProgress
from fastlog.wire.frames import encode_request
from fastlog.wire.messages.find_coordinator import FindCoordinatorRequest, FindCoordinatorResponse
from fastlog.wire.messages.heartbeat import HeartbeatRequest
from fastlog.wire.messages.join_group import JoinGroupRequest, JoinGroupResponse
from fastlog.wire.messages.leave_group import LeaveGroupRequest
from fastlog.wire.messages.offset_commit import OffsetCommitRequest
from fastlog.wire.messages.sync_group import SyncGroupRequest

MEMBERS = 100
CYCLES = 5
"""Times that one more joins and leaves in a round."""
OFFSETS_PARTITIONS = 16
TOPIC = "bench"
COMMIT_LOADS = [(1, 1), (1, 16), (16, 1), (16, 16)]
"""(Connections, requests in flight on each)."""
STEP_TIMEOUT_S = 60.0
# The last versions whose answers begin with the error at a place of its own: int32 correlation id, int32 throttle time.
JOIN, SYNC, HEARTBEAT, LEAVE, COMMIT, FIND = 5, 3, 3, 2, 7, 2
ERROR_AT = 8
READ_BYTES = 1 << 18


def text_at(frame: bytes, at: int) -> tuple[str, int]:
    end = at + 2 + int.from_bytes(frame[at : at + 2], "big")
    return frame[at + 2 : end].decode(), end


def frames_of(connection: socket.socket, held: bytearray) -> Iterator[bytes]:
    """Receive once; yield the whole frames that there are, without their sizes."""
    received = connection.recv(READ_BYTES)
    if not received:
        raise SystemExit("the broker closed a connection")
    held += received
    while len(held) >= 4 and len(held) >= 4 + int.from_bytes(held[:4], "big"):
        size = int.from_bytes(held[:4], "big")
        yield bytes(held[4 : 4 + size])
        del held[: 4 + size]


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=STEP_TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class Member:
    """One member: whatever it is answered leads to its next request, until it has its assignment."""

    def __init__(self, group: Group, number: int) -> None:
        self.group = group
        self.number = number
        self.member_id = ""
        self.generation = -1
        """The one in which it has its assignment, -1 while it has none."""
        self.connection = connect(group.port)
        self._held = bytearray()
        self._joined = -1
        self._answered: Callable[[bytes], None] = self._on_id

    def _send(self, frame: bytes, answered: Callable[[bytes], None]) -> None:
        self._answered = answered
        self.connection.sendall(frame)

    def receive(self) -> None:
        for frame in frames_of(self.connection, self._held):
            self._answered(frame)

    def introduce(self) -> None:
        """Ask for a member id, by a join without one (KIP-394)."""
        self.join()
        self._answered = self._on_id

    def _on_id(self, frame: bytes) -> None:
        _, at = text_at(frame, ERROR_AT + 6)
        _, at = text_at(frame, at)
        self.member_id, _ = text_at(frame, at)
        if struct.unpack_from(">h", frame, ERROR_AT)[0] != MemberIdRequired.code:
            raise SystemExit("a member was let in without an id")

    def join(self) -> None:
        self.generation = -1
        protocol = JoinGroupRequest.JoinGroupRequestProtocol(name="range", metadata=self.group.subscription)
        request = JoinGroupRequest(
            group_id=self.group.name,
            session_timeout_ms=60_000,
            rebalance_timeout_ms=60_000,
            member_id=self.member_id,
            protocol_type="consumer",
            protocols=[protocol],
        )
        self._send(encode_request(request, JOIN, 1, "bench"), self._on_join)

    def _on_join(self, frame: bytes) -> None:
        error, self._joined = struct.unpack_from(">hi", frame, ERROR_AT)
        _, at = text_at(frame, ERROR_AT + 6)
        leader, _ = text_at(frame, at)
        check(error, "JoinGroup")
        assignments = []
        if leader == self.member_id:
            members = JoinGroupResponse.decode(frame, JOIN, 4).members
            self.group.sizes[self._joined] = len(members)
            assignments = [
                SyncGroupRequest.SyncGroupRequestAssignment(
                    member_id=one.member_id, assignment=encode_assignment([(TOPIC, number)])
                )
                for number, one in enumerate(members)
            ]
        request = SyncGroupRequest(
            group_id=self.group.name, generation_id=self._joined, member_id=self.member_id, assignments=assignments
        )
        self._send(encode_request(request, SYNC, 1, "bench"), self._on_sync)

    def _on_sync(self, frame: bytes) -> None:
        (error,) = struct.unpack_from(">h", frame, ERROR_AT)
        if error == RebalanceInProgress.code:
            self.join()
            return
        check(error, "SyncGroup")
        self.generation = self._joined
        if self.group.sizes[self.generation] != self.group.target:
            self.heartbeat()

    def heartbeat(self) -> None:
        request = HeartbeatRequest(group_id=self.group.name, generation_id=self.generation, member_id=self.member_id)
        self._send(encode_request(request, HEARTBEAT, 1, "bench"), self._on_heartbeat)

    def _on_heartbeat(self, frame: bytes) -> None:
        (error,) = struct.unpack_from(">h", frame, ERROR_AT)
        if error == RebalanceInProgress.code:
            self.join()
            return
        check(error, "Heartbeat")
        if self.group.sizes[self.generation] != self.group.target:
            self.heartbeat()

    def leave(self) -> None:
        request = LeaveGroupRequest(group_id=self.group.name, member_id=self.member_id)
        self._send(
            encode_request(request, LEAVE, 1, "bench"), lambda frame: check(*struct.unpack_from(">h", frame, 8), "LeaveGroup")
        )


class Group:
    """Members that are driven until all of them are stable in one generation of `target`."""

    def __init__(self, port: int, name: str) -> None:
        self.port = port
        self.name = name
        self.subscription = encode_subscription([TOPIC])
        self.members: list[Member] = []
        self.sizes: dict[int, int] = {}
        """Members of each generation, as its leader was told."""
        self.target = 0
        self.selector = selectors.DefaultSelector()

    def add(self) -> Member:
        member = Member(self, len(self.members))
        self.members.append(member)
        self.selector.register(member.connection, selectors.EVENT_READ, member)
        return member

    def is_stable(self) -> bool:
        generations = {member.generation for member in self.members}
        return len(generations) == 1 and self.sizes.get(generations.pop()) == self.target

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.perf_counter() + STEP_TIMEOUT_S
        while not condition():
            for key, _ in self.selector.select(1):
                key.data.receive()
            if time.perf_counter() > deadline:
                raise SystemExit("the group did not settle")

    def join(self, count: int) -> float:
        """Have members join; return the seconds until all are stable."""
        fresh = [self.add() for _ in range(count)]
        self.target += count
        stable = self.members[:-count]
        for member in fresh:
            member.introduce()
        self.until(lambda: all(member.member_id for member in fresh))
        began = time.perf_counter()
        for member in fresh:
            member.join()
        for member in stable:
            member.heartbeat()
        self.until(self.is_stable)
        return time.perf_counter() - began

    def leave(self) -> float:
        """Have the last member leave; return the seconds until the others are stable."""
        self.target -= 1
        gone = self.members.pop()
        began = time.perf_counter()
        gone.leave()
        gone.receive()
        for member in self.members:
            member.heartbeat()
        self.until(self.is_stable)
        taken_s = time.perf_counter() - began
        self.selector.unregister(gone.connection)
        gone.connection.close()
        return taken_s

    def close(self) -> None:
        while self.members:
            member = self.members.pop()
            member.leave()
            member.receive()
            member.connection.close()
        self.selector.close()


def check(error: int, what: str) -> None:
    if error:
        raise SystemExit(f"{what} was answered with error {error}")


def rebalances(port: int, name: str) -> dict[str, float]:
    group = Group(port, name)
    all_join_s = group.join(MEMBERS)
    joins, leaves = zip(*((group.join(1), group.leave()) for _ in range(CYCLES)), strict=True)
    group.close()
    return {
        f"{MEMBERS} members join an empty group, ms": 1000 * all_join_s,
        f"one more joins {MEMBERS}, ms": 1000 * statistics.median(joins),
        f"one of {MEMBERS + 1} leaves, ms": 1000 * statistics.median(leaves),
    }


def commit_frame(group: str) -> bytes:
    partition = OffsetCommitRequest.OffsetCommitRequestPartition(partition_index=0, committed_offset=0)
    topic = OffsetCommitRequest.OffsetCommitRequestTopic(name=TOPIC, partitions=[partition])
    return encode_request(OffsetCommitRequest(group_id=group, topics=[topic]), COMMIT, 1, "bench")


def commits(port: int, name: str, count: int, in_flight: int, seconds: float) -> float:
    """Return commits a second."""
    selector = selectors.DefaultSelector()
    held: dict[socket.socket, int] = {}
    frames: dict[socket.socket, bytes] = {}
    answer = b""
    for number in range(count):
        connection = connect(port)
        frame = commit_frame(f"{name}-{number}")
        connection.sendall(frame)  # the first one makes the group, and shows what every answer is
        (size,) = struct.unpack(">i", connection.recv(4, socket.MSG_WAITALL))
        answer = struct.pack(">i", size) + connection.recv(size, socket.MSG_WAITALL)
        check(*struct.unpack_from(">h", answer, len(answer) - 2), "OffsetCommit")
        frames[connection] = frame
        held[connection] = 0
        selector.register(connection, selectors.EVENT_READ)
    expected = answer * in_flight
    done = 0
    began = time.perf_counter()
    for connection, frame in frames.items():
        connection.sendall(frame * in_flight)
    end = began + seconds
    while (now := time.perf_counter()) < end:
        for key, _ in selector.select(1):
            ready: socket.socket = key.fileobj  # type: ignore[assignment]
            received = ready.recv(READ_BYTES)
            at = held[ready]
            if not received or received != (expected + expected)[at : at + len(received)]:
                raise SystemExit("a commit was answered with something else than the first")
            whole, held[ready] = divmod(at + len(received), len(answer))
            done += whole
            if whole:
                ready.sendall(frames[ready] * whole)
    selector.close()
    for connection in frames:
        connection.close()
    return done / (now - began)


def measure(port: int, name: str, seconds: float) -> dict[str, float]:
    found = rebalances(port, name)
    for count, in_flight in COMMIT_LOADS:
        what = f"commits a second, {count} connection{'s' if count > 1 else ''} x {in_flight}"
        found[what] = commits(port, f"{name}-{count}-{in_flight}", count, in_flight, seconds)
    return found


def make_ready(port: int) -> None:
    """Make the topic to commit for, and have the topic of offsets made and loaded."""
    with Client(f"127.0.0.1:{port}") as client:
        client.wait(client.admin().create_topic(TOPIC, partitions=1, replication_factor=1))
    with connect(port) as connection:
        code = -1
        deadline = time.perf_counter() + STEP_TIMEOUT_S
        while code:
            if time.perf_counter() > deadline:
                raise SystemExit(f"there is no coordinator: error {code}")
            connection.sendall(encode_request(FindCoordinatorRequest(key="bench"), FIND, 1, "bench"))
            (size,) = struct.unpack(">i", connection.recv(4, socket.MSG_WAITALL))
            code = FindCoordinatorResponse.decode(connection.recv(size, socket.MSG_WAITALL), FIND, 4).error_code
            time.sleep(0.05)
    for number in range(OFFSETS_PARTITIONS * 4):  # every partition of it, until it is loaded
        with connect(port) as connection:
            code = -1
            while code:
                connection.sendall(commit_frame(f"ready-{number}"))
                (size,) = struct.unpack(">i", connection.recv(4, socket.MSG_WAITALL))
                (code,) = struct.unpack_from(">h", connection.recv(size, socket.MSG_WAITALL), size - 2)


@contextlib.contextmanager
def fastlog_broker(directory: pathlib.Path) -> Iterator[int]:
    # Without the variable by which some environments keep Python from storing what it compiled: users have that stored.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", "fastlog", "up", "--port", "0", "--data", str(directory / "fastlog")]
    settings = [f"offsets.topic.num.partitions={OFFSETS_PARTITIONS}", "group.initial.rebalance.delay.ms=0"]
    command += [word for setting in settings for word in ("-o", setting)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        fields = dict(field.split("=", 1) for field in process.stdout.readline().split()[1:])
        yield int(fields["bootstrap"].rsplit(":", 1)[1])
    finally:
        process.terminate()
        process.wait(timeout=60)


@contextlib.contextmanager
def kafka_broker(directory: pathlib.Path, jars: str) -> Iterator[int]:
    settings: dict[str, object] = {
        "offsets.topic.num.partitions": OFFSETS_PARTITIONS,
        "offsets.topic.replication.factor": 1,
        "group.initial.rebalance.delay.ms": 0,
    }
    command, port = prepare(directory, jars, settings)
    process = subprocess.Popen(command, **SILENT)
    try:
        deadline = time.perf_counter() + STEP_TIMEOUT_S
        while not answers(port):
            if time.perf_counter() > deadline or process.poll() is not None:
                raise SystemExit("Kafka did not start")
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each load of commits lasts")
    parser.add_argument("--kafka-jars", help="a directory with kafka_2.13's jars")
    options = parser.parse_args()
    rounds: dict[str, list[dict[str, float]]] = {"fastlog": []}
    with tempfile.TemporaryDirectory(prefix="bench-groups-") as name, contextlib.ExitStack() as stack:
        directory = pathlib.Path(name)
        ports = {"fastlog": stack.enter_context(fastlog_broker(directory))}
        if options.kafka_jars:
            ports["Kafka"] = stack.enter_context(kafka_broker(directory, options.kafka_jars))
            rounds["Kafka"] = []
        for port in ports.values():
            make_ready(port)
            measure(port, "warm", options.seconds)
        for number in range(options.rounds):
            for contestant in sorted(ports, reverse=number % 2 == 1):
                rounds[contestant].append(measure(ports[contestant], f"round-{number}", options.seconds))
    print(f"{'':44}" + "".join(f"{contestant:>12}" for contestant in rounds) + ("       ratio" if len(rounds) > 1 else ""))
    for what in rounds["fastlog"][0]:
        line = f"{what:44}" + "".join(f"{statistics.median(one[what] for one in found):12,.1f}" for found in rounds.values())
        if len(rounds) > 1:
            pairs = zip(rounds["fastlog"], rounds["Kafka"], strict=True)
            less_is_more = what.endswith(", ms")
            line += f"{statistics.median(k[what] / f[what] if less_is_more else f[what] / k[what] for f, k in pairs):12.2f}"
        print(line)


if __name__ == "__main__":
    main()
