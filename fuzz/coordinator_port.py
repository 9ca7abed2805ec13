"""The coordinator's port under any bytes: a whole coordinator in memory, a connection that sends them, and one that behaves.

What must hold: nothing escapes, and nothing is logged as a mistake; answers are whole frames, one for each request and in the
requests' order, until the connection closes; the other client's requests are answered as ever; and when everything is over,
the journal gives back the tree that the clients saw.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from typing import Any
from zlib import crc32

import zookeeper_wire as wire
from memory_machine import Machine, NoNetwork

from fastlog.coordinator.journal import Journal
from fastlog.coordinator.protocol import EVENT_XID, Op
from fastlog.coordinator.server import CoordinatorServer
from fastlog.coordinator.service import Coordinator
from fastlog.coordinator.words import WORDS
from fastlog.env import READABLE

RAW, GREETED, FRAMED = range(3)
"""How the bytes are sent: as they are, after a greeting, or as requests after one (type, size, body)."""
OPS = [int(op) for op in Op] + [0, 20, 99]
CONNECT = struct.pack(">iqiqi", 0, 0, 10_000, 0, 16) + bytes(16) + b"\0"
DIRECTORY = "/coordinator"
MOST_ANSWERS = 10_000


def framed(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


class Pipe:
    """A connection whose other end is the fuzzer's."""

    peer_host, peer_port = "127.0.0.1", 2

    def __init__(self, step: int) -> None:
        self.step = step
        self.incoming = b""
        self.outgoing = b""
        self.closed = False

    def receive_into(self, buffer: Any) -> int:
        if not self.incoming:
            raise BlockingIOError
        room = memoryview(buffer)
        count = min(len(room), self.step, len(self.incoming))
        room[:count] = self.incoming[:count]
        self.incoming = self.incoming[count:]
        return count

    def send(self, buffers: Any, skip: int = 0) -> int:
        data = b"".join(bytes(one) for one in buffers)[skip:][: 8 * self.step]
        self.outgoing += data
        return len(data)

    def close(self) -> None:
        self.closed = True


class Pipes(NoNetwork):
    """A network of them: what is watched for reading and has something is ready, and so is all that is watched for writing."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self.host, self.port = "127.0.0.1", 1
        self.waiting: list[Pipe] = []
        self.watched: dict[Any, tuple[int, Any]] = {}

    def listen(self, host: str, port: int, backlog: int = 128) -> Pipes:
        return self

    def accept(self) -> Pipe:
        if not self.waiting:
            raise BlockingIOError
        return self.waiting.pop(0)

    def close(self) -> None:
        self.watched.clear()

    def watch(self, endpoint: Any, events: int, callback: Any) -> None:
        self.watched[endpoint] = (events, callback)

    def poll(self, timeout_ns: int | None) -> list[tuple[Any, int]]:
        ready = []
        for endpoint, (events, callback) in list(self.watched.items()):
            if endpoint is self:
                now = events & READABLE if self.waiting else 0
            else:
                now = 0 if endpoint.closed else events & (-1 if endpoint.incoming else ~READABLE)
            if now:
                ready.append((callback, now))
        if not ready:
            super().poll(timeout_ns)
        return ready


class Mistakes(logging.Handler):
    """Makes of a line that tells of our own mistakes an error of the run."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record)


class World:
    """A coordinator, the connection under test and the one that behaves."""

    def __init__(self, step: int) -> None:
        self.machine = Machine()
        self.network = Pipes(self.machine.clock)
        self.machine.reactor.network = self.network
        self.machine.network = self.network
        self.coordinator = Coordinator(
            self.machine.reactor, self.machine.disk, self.machine.flusher, self.machine.random, DIRECTORY
        )
        self.server = CoordinatorServer(self.machine, self.coordinator, DIRECTORY)
        self.server.listen("127.0.0.1", 1)
        self.good = self.connected(100_000)
        self.good.incoming += framed(CONNECT)
        self.settle()
        self.asked = 0
        self.strange = self.connected(step)

    def connected(self, step: int) -> Pipe:
        pipe = Pipe(step)
        self.network.waiting.append(pipe)
        return pipe

    def settle(self) -> None:
        """Run turns until everybody waits for the other, or for time to pass."""
        network, reactor = self.network, self.machine.reactor
        for _ in range(100_000):
            deadline_ns = reactor.next_deadline_ns()
            if not network.waiting and not self.busy() and (deadline_ns is None or deadline_ns > self.machine.clock.now_ns):
                return
            reactor.run_turn()
        raise AssertionError("the server never comes to rest")

    def busy(self) -> bool:
        for endpoint, (events, _) in self.network.watched.items():
            if endpoint is not self.network and not endpoint.closed and (events & ~READABLE or (events and endpoint.incoming)):
                return True
        return False

    def check_the_other(self) -> None:
        """Have the other client ask, and look at its answer."""
        self.asked += 1
        self.good.outgoing = b""
        self.good.incoming += framed(struct.pack(">ii", self.asked, Op.GET_CHILDREN) + wire.question("/", False))
        self.settle()
        assert not self.good.closed
        (size, xid, _, error) = struct.unpack_from(">iiqi", self.good.outgoing)
        assert (size, xid, error) == (len(self.good.outgoing) - 4, self.asked, 0)

    def end(self) -> None:
        """Stop, and hold the journal against the tree."""
        tree = self.coordinator.tree
        self.server.close()
        self.machine.wait(self.coordinator.close())
        journal, again = Journal.open(self.machine.reactor, self.machine.disk, self.machine.flusher, DIRECTORY)
        assert (again.zxid, dict(again.nodes), dict(again.sessions)) == (tree.zxid, dict(tree.nodes), dict(tree.sessions))
        self.machine.wait(journal.close())


def requests_in(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 2 <= len(data):
        op, size = OPS[data[at] % len(OPS)], data[at + 1]
        yield op, data[at + 2 : at + 2 + size]
        at += 2 + size


def check_answers(data: bytes, is_closed: bool, xids: list[int] | None) -> int:
    """Look at what the connection under test was sent after its greeting; return what stands for how far it came."""
    at, index, verdict = 0, 0, 0
    while at < len(data):
        size, xid, _, error = struct.unpack_from(">iiqi", data, at)
        assert 16 <= size <= len(data) - at - 4, f"an answer of {size} bytes at {at} of {len(data)}"
        at += 4 + size
        if xid == EVENT_XID and error == 0 and (xids is None or xids[index : index + 1] != [xid]):
            verdict = verdict * 7 + 1
            continue
        if xids is not None:
            assert xids[index] == xid, f"answer {index} is to {xid}, not to {xids[index]}"
        index += 1
        verdict = verdict * 31 + error * 5 + min(size, 100)
    if xids is not None and not is_closed:
        assert index == len(xids), f"{index} answers to {len(xids)} requests"
    return verdict


def coordinator_port(data: bytes) -> int | None:
    """Send bytes to a coordinator, in pieces of any size."""
    if len(data) < 2:
        return None
    mode, step, stream = data[0] % 3, 1 + data[1], data[2:]
    mistakes = Mistakes()
    logger = logging.getLogger("fastlog.coordinator.server")
    logger.addHandler(mistakes)
    before, logger.propagate = logger.propagate, False
    try:
        world = World(step if mode == RAW else 100 * step)
        pipe = world.strange
        xids: list[int] | None = None
        if mode != RAW:
            pipe.incoming += framed(CONNECT)
            world.settle()
            assert struct.unpack_from(">iii", pipe.outgoing) == (len(pipe.outgoing) - 4, 0, 10_000)
            pipe.outgoing = b""
        if mode == FRAMED:
            xids = []
            for xid, (op, body) in enumerate(requests_in(stream), 1):
                xids.append(xid)
                pipe.incoming += framed(struct.pack(">ii", xid, op) + body)
        else:
            pipe.incoming += stream
        world.settle()
        assert len(pipe.outgoing) <= 100_000 + 200 * len(data)
        verdict = check_answers(pipe.outgoing, pipe.closed, xids) if mode != RAW else crc32(pipe.outgoing[:40]) % 64
        world.check_the_other()
        world.machine.clock.now_ns += 100_000_000_000  # every session is over, every brief znode due
        for _ in range(3):
            world.machine.reactor.run_turn()
        world.settle()
        world.end()
        assert not mistakes.found, mistakes.found[0].exc_info
    finally:
        logger.removeHandler(mistakes)
        logger.propagate = before
    return (mode * 2003 + verdict) % (1 << 31)


def _request(op: int, body: bytes) -> bytes:
    return bytes([OPS.index(op), len(body)]) + body


def seeds() -> Iterator[bytes]:
    """Yield a connect record of each kind, every word, and a request of every type."""
    for word in [*WORDS, b"wxyz"]:
        yield bytes([RAW, 7]) + word
    yield bytes([RAW, 3]) + framed(CONNECT) + framed(struct.pack(">ii", 1, Op.PING))
    yield bytes([RAW, 40]) + framed(CONNECT[:-1])
    yield bytes([RAW, 40]) + framed(struct.pack(">iqiqi", 0, 0, 10_000, 77, 16) + bytes(16) + b"\0")
    acl = [(31, "digest", "a:b"), (1, "ip", "127.0.0.0/8"), (1, "ip", "::1"), (31, "auth", "")]
    groups = b"".join(wire.texts(names) for names in (["/a"], ["/b"], ["/a"], ["/a"], ["/"]))
    questions = wire.multi([(wire.GET_DATA, wire.question("/a", False)), (wire.GET_CHILDREN, wire.question("/", False))])
    writes = wire.multi(
        [
            (wire.CREATE, wire.create("/m", b"x")),
            (wire.CHECK, wire.numbered("/m", 0)),
            (wire.SET_DATA, wire.set_data("/m", None, 0)),
            (wire.CREATE_TTL, wire.create("/t", b"", wire.WORLD, wire.TTL, 9)),
            (wire.DELETE, wire.numbered("/m", 1)),
        ]
    )
    asked = [
        (wire.AUTH, wire.auth("digest", b"ann:secret")),
        (wire.CREATE, wire.create("/a", b"x")),
        (wire.CREATE2, wire.create("/a/e", b"", wire.WORLD, wire.EPHEMERAL_SEQUENTIAL)),
        (wire.CREATE_CONTAINER, wire.create("/c", None, wire.WORLD, wire.CONTAINER)),
        (wire.CREATE_TTL, wire.create("/t", b"", wire.WORLD, wire.TTL, 1)),
        (wire.CREATE, wire.create("/\x01", b"")),
        (wire.EXISTS, wire.question("/b", True)),
        (wire.GET_DATA, wire.question("/a", True)),
        (wire.GET_CHILDREN, wire.question("/a", True)),
        (wire.GET_CHILDREN2, wire.question("/", True)),
        (wire.ADD_WATCH, wire.numbered("/", 1)),
        (wire.ADD_WATCH, wire.numbered("/a", 0)),
        (wire.SET_ACL, wire.set_acl("/a", acl, 0)),
        (wire.GET_ACL, wire.text("/a")),
        (wire.SET_DATA, wire.set_data("/a", b"y", 0)),
        (wire.MULTI, writes),
        (wire.MULTI_READ, questions),
        (wire.SET_WATCHES, struct.pack(">q", 1) + groups),
        (wire.SET_WATCHES2, struct.pack(">q", 2) + groups),
        (wire.CHECK_WATCHES, wire.numbered("/a", 3)),
        (wire.REMOVE_WATCHES, wire.numbered("/a", 5)),
        (wire.GET_EPHEMERALS, wire.text("/")),
        (wire.GET_ALL_CHILDREN_NUMBER, wire.text("/")),
        (wire.SYNC, wire.text("/a")),
        (wire.WHO_AM_I, b""),
        (wire.PING, b""),
        (wire.CHECK, wire.numbered("/a", 1)),
        (wire.DELETE, wire.numbered("/c", -1)),
        (wire.RECONFIG, b""),
        (wire.CLOSE_SESSION, b""),
    ]
    yield bytes([FRAMED, 50]) + b"".join(_request(op, body) for op, body in asked)
    for op, body in asked:
        create = _request(wire.CREATE, wire.create("/a"))
        yield bytes([FRAMED, 1]) + create + _request(op, body)
        yield bytes([GREETED, 5]) + framed(struct.pack(">ii", 1, op) + body)
    yield bytes([FRAMED, 1]) + _request(wire.SASL, b"")
