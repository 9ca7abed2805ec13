"""Random operations on `fastlog coordinator` and on a real ZooKeeper at once: answers, stats and events are the same.

Two sessions on each side do what Hypothesis thinks of, byte for byte the same requests. What is compared is everything that
comes back: error codes, bodies, watch events with their order, connections that are closed. Left out are times; session ids
are compared by whose they are, and zxids by their order (a real ZooKeeper also numbers what it refuses). A fixed number of
walks is made, the same ones in each run; `MODEL_EXAMPLES=N` makes N others (`make soak-coordinator`).
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import time
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, Final

import pytest
import zookeeper_wire as wire
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from zookeeper_servers import OwnCoordinator, ZooKeeper
from zookeeper_wire import Answer, Closed, Connection, Event, Stat

EXAMPLES_IN_CI: Final = 60
STEPS: Final = 40
SESSION_MS: Final = 60_000
SESSIONS: Final = 2
WAIT_S: Final = 60
NO_NODE: Final = -101
NO_AUTH: Final = -102
REAP_INTERVAL_MS: Final = 50
TTL_MS: Final = 3_600_000

NAMES: Final = ["", "/a", "/b", "/a/a", "/a/b", "/a/a/a", "/s-", "/a/s-", "/s-0000000000", "/a/s-0000000001"]
STRANGE: Final = [
    "/",
    "//",
    "/a/",
    "/a//b",
    "/./a",
    "/a/..",
    "/a/.",
    "/...",
    "/\0",
    "/\x7f",
    "/ü",
    "/\u200b",
    "/\ufff0",
    "/zookeeper",
]
ABSOLUTE: Final = ["/", "a", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"]
ACLS: Final[list[list[wire.Entry] | None]] = [
    wire.WORLD,
    [(1, "world", "anyone")],
    [(27, "world", "anyone"), (4, "digest", "alice:x")],
    [(31, "auth", "")],
    [(31, "auth", "somebody")],
    [(1, "world", "anyone"), (31, "auth", "")],
    [(31, "ip", "127.0.0.1")],
    [(3, "ip", "10.0.0.0/8"), (16, "ip", "127.0.0.0/8")],
    [(31, "ip", "127.0.0.1/33")],
    [(31, "ip", "nowhere")],
    [(0, "world", "anyone")],
    [(63, "world", "anyone")],
    [(31, "world", "somebody")],
    [(31, "digest", "nobody")],
    [(31, "strange", "x")],
    [(31, "sasl", "x")],
    [(31, "x509", "x")],
    [(31, "digest", "a:b:c")],
    [(31, "digest", "a:b:")],
    [(31, "digest", "a:")],
    [(31, "digest", ":b")],
    [(31, "digest", ":")],
    [(31, "digest", "")],
    [(31, "ip", "127.0.0.1/")],
    [(31, "ip", "127.0.0.1/0")],
    [(31, "ip", "127.0.0.1/-1")],
    [(31, "ip", "127.0.0.1/+8")],
    [(31, "ip", "127.0.0.1/ 8")],
    [(31, "ip", "127.0.0.1/1_0")],
    [(31, "ip", "127.0.0.01")],
    [(31, "ip", "127.0.1")],
    [(31, "ip", "127.0.0.1/8/8")],
    [(31, "ip", "")],
    [(31, "world", "anyone"), (31, "world", "anyone"), (1, "world", "anyone")],
    [],
    None,
]
USERS: Final = [b"alice:secret", b"bob:", b"carol", b"alice:other"]

paths = st.sampled_from([*NAMES, *NAMES, *NAMES, *STRANGE]).map(lambda name: (True, name)) | st.sampled_from(ABSOLUTE).map(
    lambda name: (False, name)
)
plain_paths = st.sampled_from(NAMES).map(lambda name: (True, name))
mostly_plain = plain_paths | plain_paths | paths
versions = st.sampled_from([-1, -1, -1, 0, 0, 1, 2, 7, -2])
contents = st.sampled_from([b"", b"x", b"data", None, b"\xff\0"])
WITHOUT_ONE: Final = [[(31 - bit, "world", "anyone")] for bit in (1, 2, 4, 8, 16)]
lists = st.sampled_from([wire.WORLD] * 20 + ACLS + WITHOUT_ONE * 2)
modes = st.sampled_from([0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 7, -1])
ttls = st.sampled_from([TTL_MS, TTL_MS, TTL_MS + 1, 0, -1, 0xFF_FFFF_FFFF, 1 << 40, (1 << 63) - 1])
sessions = st.integers(0, SESSIONS - 1)
creates = st.sampled_from([wire.CREATE, wire.CREATE2, wire.CREATE2, wire.CREATE_CONTAINER, wire.CREATE_TTL])
write_operations = st.one_of(
    st.tuples(creates, mostly_plain, contents, lists, modes, ttls),
    st.tuples(creates, mostly_plain, contents, lists, modes, ttls),
    st.tuples(st.just(wire.DELETE), mostly_plain, versions),
    st.tuples(st.just(wire.SET_DATA), mostly_plain, contents, versions),
)
in_multi = write_operations.filter(
    lambda operation: None not in operation[3:4]
)  # an absent list there is a mistake of a real one's
multi_operations = in_multi | st.tuples(st.just(wire.CHECK), mostly_plain, versions)


class Side:
    """One of the two servers, its sessions, and what was seen of it."""

    def __init__(self, server: ZooKeeper) -> None:
        self.server = server
        self.connections = [Connection(server.port, SESSION_MS) for _ in range(SESSIONS)]
        self.owners = [connection.session_id for connection in self.connections]

    def owner(self, session_id: int) -> object:
        """Return whose session this is; what is no session's stands for itself."""
        return f"session {self.owners.index(session_id)}" if session_id in self.owners else session_id

    def of_stat(self, stat: Stat) -> Stat:
        return stat._replace(czxid=0, mzxid=0, pzxid=0, owner=self.owner(stat.owner))  # type: ignore[arg-type]

    def comparable(self, value: Any, zxids: list[int]) -> Any:
        """Return a body with zxids taken out (they are put into `zxids`), and session ids by whose they are."""
        if isinstance(value, Stat):
            zxids += [value.czxid, value.mzxid, value.pzxid]
            return self.of_stat(value)
        if isinstance(value, Event):
            if value.zxid > 0:
                zxids.append(value.zxid)
            return value._replace(zxid=min(value.zxid, 1))
        if isinstance(value, list | tuple):
            return [self.comparable(one, zxids) for one in value]
        return value


class Order:
    """Zxids of both sides that were seen at the same place: one side's order is the other's."""

    def __init__(self) -> None:
        self.pairs: list[tuple[int, int]] = []

    def __call__(self, ours: int, real: int) -> None:
        at = bisect_left(self.pairs, (ours, real))
        if at < len(self.pairs) and self.pairs[at] == (ours, real):
            return
        before, after = self.pairs[at - 1 : at], self.pairs[at : at + 1]
        assert all(one[0] < ours and one[1] < real for one in before), f"{before} before {(ours, real)}"
        assert all(one[0] > ours and one[1] > real for one in after), f"{after} after {(ours, real)}"
        self.pairs.insert(at, (ours, real))


class Both(RuleBasedStateMachine):
    """The same operations on both."""

    servers: tuple[ZooKeeper, ZooKeeper]
    walks = 0

    def __init__(self) -> None:
        super().__init__()
        Both.walks += 1
        self.base = f"/walk-{Both.walks}"
        self.sides = [Side(server) for server in self.servers]
        self.order = Order()
        self.order(0, 0)
        self.container: str | None = None
        self.marks: list[tuple[int, int]] = [(0, 0)]
        self.ask(0, wire.CREATE2, wire.create(self.base))

    # ---- asking both, and comparing ----

    def at(self, path: tuple[bool, str]) -> str:
        return self.base + path[1] if path[0] else path[1]

    def ask(
        self, session: int, op: int, body: bytes | tuple[bytes, bytes] = b"", xid: int | None = None, *, sort: bool = False
    ) -> Any:
        """Ask both sides; return the answer (without zxids), or None where both have closed the connection.

        `sort`: events come in any order, since several things happen at once.
        """
        bodies = body if isinstance(body, tuple) else (body, body)
        answers: list[Answer | None] = []
        for side, one in zip(self.sides, bodies, strict=True):
            try:
                answers.append(side.connections[session].ask(op, one, xid))
            except Closed:
                answers.append(None)
        ours, real = answers
        if ours is None or real is None:
            assert ours == real, f"answer to {op}: {ours} here, {real} there"
            self.compare_events(sort=sort, left_out=session)
            self.attach(session)
            return None
        gone = op == wire.CLOSE_SESSION or (op == wire.AUTH and ours.error != 0)
        zxids: tuple[list[int], list[int]] = [], []
        told = [
            side.comparable([answer.error, answer.body], found)
            for side, answer, found in zip(self.sides, (ours, real), zxids, strict=True)
        ]
        assert told[0] == told[1], f"answer to {op}: {ours} here, {real} there"
        for pair in zip(*zxids, strict=True):
            self.order(*pair)
        self.compare_events(sort=sort, left_out=session if gone else None)
        if gone:
            for side in self.sides:
                with pytest.raises(Closed):
                    side.connections[session].receive()
            self.attach(session)
        self.compare_zxids(ours.zxid, real.zxid, max(zxids[0], default=0))
        self.settle()
        return ours

    def error_of(self, session: int, path: str) -> int:
        """Return what becomes of a look at a znode; it changes nothing, so one side is asked."""
        return self.sides[0].connections[session].ask(wire.EXISTS, wire.question(path, False)).error

    def compare_zxids(self, ours: int, real: int, shown: int) -> None:
        """Compare the zxids that answers have in front; `shown` is the largest in our answer."""
        if not real:  # to credentials it tells none
            return
        before = self.marks[-1]
        assert ours >= before[0] and real >= before[1], f"zxids {ours}, {real} after {before}"
        assert ours == before[0] or real > before[1], f"zxids {ours}, {real} after {before}"
        assert shown <= ours, f"{shown:#x} is shown under zxid {ours:#x}"
        self.marks.append((ours, real))

    def compare_events(self, *, sort: bool = False, left_out: int | None = None) -> None:
        for number in range(SESSIONS):
            if number == left_out:
                continue
            found: list[list[Any]] = []
            zxids: tuple[list[int], list[int]] = [], []
            raw = []
            for side, seen in zip(self.sides, zxids, strict=True):
                side.connections[number].ping()
                events = side.connections[number].take_events()
                raw.append(events)
                found.append(side.comparable(sorted(events) if sort else events, seen))
            assert found[0] == found[1], f"events of session {number}: {raw[0]} here, {raw[1]} there"
            for pair in zip(*zxids, strict=True):
                self.order(*pair)

    def settle(self) -> None:
        """Wait until an empty container is gone on both sides."""
        if self.container is None:
            return
        for side in self.sides:
            deadline = time.monotonic() + WAIT_S
            while True:
                answer = side.connections[0].ask(wire.EXISTS, wire.question(self.container, False))
                if answer.error or answer.body.num_children or not answer.body.cversion:
                    break
                assert time.monotonic() < deadline, f"container {self.container} stays"
                time.sleep(0.01)
        if answer.error == NO_NODE:
            self.container = None
            self.compare_events()

    # ---- connections ----

    def attach(self, session: int) -> None:
        """Connect anew after a connection has ended: to the session, or where that is over too, to a new one."""
        over = []
        for side in self.sides:
            before = side.connections[session]
            before.close()
            again = Connection(side.server.port, SESSION_MS, session_id=before.session_id, password=before.password)
            over.append(again.timeout_ms <= 0)
            if over[-1]:
                again.close()
                again = Connection(side.server.port, SESSION_MS)
                side.owners[session] = again.session_id
            side.connections[session] = again
        assert over[0] == over[1], f"session is over: {over[0]} here, {over[1]} there"

    @rule(session=sessions)
    def move(self, session: int) -> None:
        """Connect anew to the same session: its watches are gone, its ephemerals are not."""
        self.attach(session)

    @rule(session=sessions)
    def close_session(self, session: int) -> None:
        self.ask(session, wire.CLOSE_SESSION, sort=True)

    @rule(
        session=sessions, user=st.sampled_from(USERS), scheme=st.sampled_from(["digest", "digest", "digest", "ip", "strange", ""])
    )
    def auth(self, session: int, user: bytes, scheme: str) -> None:
        self.ask(session, wire.AUTH, wire.auth(scheme, user), wire.AUTH_XID)

    # ---- writes ----

    def operation(self, kind: int, path: tuple[bool, str], *more: Any, in_multi: bool = False) -> tuple[int, bytes]:
        name = self.at(path)
        if kind in (wire.DELETE, wire.CHECK):
            return kind, wire.numbered(name, *more)
        if kind == wire.SET_DATA:
            return kind, wire.set_data(name, *more)
        data, acl, mode, ttl_ms = more
        if kind == wire.CREATE_TTL and mode <= wire.CONTAINER:
            mode = wire.TTL + mode % 2  # others end a real ZooKeeper
        if kind == wire.CREATE_CONTAINER or (in_multi and mode == wire.CONTAINER):  # elsewhere the mode makes none
            acl = wire.WORLD  # or nobody could see whether it is to go
            is_there = self.error_of(0, name) != NO_NODE
            if self.container is not None or (in_multi and is_there):  # no two may go, in an order that is nobody's matter
                kind, mode = wire.CREATE, wire.PERSISTENT
            elif mode not in (wire.SEQUENTIAL, wire.EPHEMERAL_SEQUENTIAL) and not is_there:
                self.container = name
        return kind, wire.create(name, data, acl, mode, ttl_ms if kind == wire.CREATE_TTL else None)

    @rule(session=sessions, operation=write_operations)
    def write(self, session: int, operation: tuple[Any, ...]) -> None:
        self.ask(session, *self.operation(*operation))

    @rule(session=sessions, operations=st.lists(write_operations, min_size=3, max_size=5))
    def write_several(self, session: int, operations: list[tuple[Any, ...]]) -> None:
        for operation in operations:
            self.ask(session, *self.operation(*operation))

    @rule(session=sessions, operations=st.lists(multi_operations, max_size=4))
    def multi(self, session: int, operations: list[tuple[Any, ...]]) -> None:
        self.ask(session, wire.MULTI, wire.multi([self.operation(*one, in_multi=True) for one in operations]))

    @rule(session=sessions, path=plain_paths, acl=st.sampled_from(ACLS), version=versions)
    def set_acl(self, session: int, path: tuple[bool, str], acl: list[wire.Entry] | None, version: int) -> None:
        acl = wire.WORLD if self.at(path) == self.container else acl
        self.ask(session, wire.SET_ACL, wire.set_acl(self.at(path), acl, version))

    # ---- reads ----

    @rule(
        session=sessions,
        path=mostly_plain,
        watch=st.booleans(),
        op=st.sampled_from([wire.EXISTS, wire.GET_DATA, wire.GET_CHILDREN, wire.GET_CHILDREN2]),
    )
    def read(self, session: int, path: tuple[bool, str], watch: bool, op: int) -> None:
        if op in (wire.GET_CHILDREN, wire.GET_CHILDREN2) and self.at(path) == "/":
            watch = False  # other walks' znodes are there
        self.ask(session, op, wire.question(self.at(path), watch))

    @rule(
        session=sessions,
        path=mostly_plain,
        op=st.sampled_from([wire.GET_ACL, wire.SYNC, wire.GET_ALL_CHILDREN_NUMBER, wire.GET_EPHEMERALS]),
    )
    def ask_more(self, session: int, path: tuple[bool, str], op: int) -> None:
        self.ask(session, op, wire.text(self.at(path)))

    @rule(
        session=sessions,
        questions=st.lists(st.tuples(st.sampled_from([wire.GET_DATA, wire.GET_CHILDREN]), mostly_plain), max_size=4),
    )
    def multi_read(self, session: int, questions: list[tuple[int, tuple[bool, str]]]) -> None:
        self.ask(session, wire.MULTI_READ, wire.multi([(op, wire.question(self.at(path), False)) for op, path in questions]))

    @rule(session=sessions)
    def who_am_i(self, session: int) -> None:
        self.ask(session, wire.WHO_AM_I)

    # ---- watches ----

    @rule(session=sessions, path=mostly_plain, mode=st.sampled_from([0, 1, 0, 1, 2, -1]))
    def add_watch(self, session: int, path: tuple[bool, str], mode: int) -> None:
        self.ask(session, wire.ADD_WATCH, wire.numbered(self.at(path), mode), wire.SET_WATCHES_XID)

    @rule(
        session=sessions,
        path=plain_paths,
        kind=st.sampled_from([1, 2, 3, 3, 4, 5, 0, 6]),
        op=st.sampled_from([wire.CHECK_WATCHES, wire.REMOVE_WATCHES]),
    )
    def without_watch(self, session: int, path: tuple[bool, str], kind: int, op: int) -> None:
        self.ask(session, op, wire.numbered(self.at(path), kind))

    @rule(session=sessions, ago=st.integers(1, 20), five=st.booleans(), data=st.data())
    def set_watches(self, session: int, ago: int, five: bool, data: st.DataObject) -> None:
        marks = self.marks[-min(ago, len(self.marks))]
        some = st.lists(st.sampled_from(NAMES), max_size=2, unique=True)
        drawn = [[self.base + name for name in data.draw(some)] for _ in range(5 if five else 3)]
        # Of a znode that the client may not read a real one tells here what it keeps to itself elsewhere.
        groups = [[path for path in group if self.error_of(session, path) != NO_AUTH] for group in drawn]
        groups[1] = [path for path in groups[1] if path not in groups[0]]
        bodies = tuple(struct.pack(">q", mark) + b"".join(map(wire.texts, groups)) for mark in marks)
        self.ask(session, wire.SET_WATCHES2 if five else wire.SET_WATCHES, bodies, wire.SET_WATCHES_XID)  # type: ignore[arg-type]

    # ---- at the end of a walk ----

    def teardown(self) -> None:
        for side in self.sides:
            for connection in side.connections:
                with contextlib.suppress(Closed):
                    connection.ask(wire.CLOSE_SESSION)
                connection.close()


class QuickZooKeeper(ZooKeeper):
    """A real ZooKeeper that looks for empty containers as often as our own is told to."""

    options = ("-Dznode.container.checkIntervalMs=50", "-Dznode.container.maxPerMinute=1000000")


class QuickCoordinator(OwnCoordinator):
    """`fastlog coordinator` that looks for empty containers as often."""

    def command(self) -> list[str]:
        program = (
            "from fastlog.coordinator import service; from fastlog.__main__ import main\n"
            f"service.REAP_INTERVAL_MS = {REAP_INTERVAL_MS}; main()"
        )
        return [sys.executable, "-c", program, *super().command()[3:]]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ZooKeeper, ZooKeeper]]:
    directory = tmp_path_factory.mktemp("model")
    servers = QuickCoordinator(directory / "ours"), QuickZooKeeper(directory / "real", tickTime=3000)
    try:
        yield servers[0].start(), servers[1].start()
    finally:
        for server in servers:
            server.end()


@pytest.mark.timeout(0 if "MODEL_EXAMPLES" in os.environ else 1_200)
def test_random_operations(both: tuple[ZooKeeper, ZooKeeper]) -> None:
    asked = int(os.environ.get("MODEL_EXAMPLES", "0"))

    class Machine(Both):
        servers = both

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=asked or EXAMPLES_IN_CI,
            stateful_step_count=STEPS,
            derandomize=not asked,
            deadline=None,
            database=None,
            phases=[Phase.generate] if not asked else [Phase.generate, Phase.shrink],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
