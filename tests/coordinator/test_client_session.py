"""The client's session by transcripts: tests/scripts/client_session/*.txt, written anew with FASTLOG_REWRITE=1.

A line at the margin goes into the machine, indented ones are what it then wants done, in order.
"""

import os
import pathlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlog.coordinator import requests
from fastlog.coordinator.client_session import Call, Changed, ClientSession, Drop, Send, Settle, Tell
from fastlog.coordinator.jute import Reader, Writer
from fastlog.coordinator.tree import Check, Create, Delete, SetData, Stat
from fastlog.coordinator.watches import EventType

SCRIPTS = pathlib.Path(__file__).parent.parent / "scripts" / "client_session"
MS = 1_000_000
KINDS = {2: "delete", 3: "exists", 4: "get", 5: "set", 11: "ping", 12: "children", 14: "multi", 15: "create", -11: "close"}
STAT = Stat(3, 5, 0, 0, 2, 0, 0, 0, 5, 0, 3)


def write_stat(out, stat=STAT):
    for value, is_long in zip(stat, (1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1), strict=True):
        (out.long if is_long else out.integer)(value)


def describe_frame(frame, *, is_first):
    """Say what a frame asks for, as a server reads it."""
    fields = Reader(frame)
    if is_first:
        assert fields.integer() == 0
        zxid, timeout, session, password, read_only = (
            fields.long(),
            fields.integer(),
            fields.long(),
            fields.buffer(),
            fields.boolean(),
        )
        fields.end()
        assert len(password) == 16 and not read_only
        return f"connect zxid={zxid} timeout={timeout} session={session} password={password[:1].decode().strip(chr(0)) or 'none'}"
    xid, kind = fields.integer(), fields.integer()
    if kind == 101:
        zxid = fields.long()
        tables = [fields.vector(Reader.string, 4) for _ in range(3)]
        fields.end()
        return f"{xid} set-watches since={zxid} data={tables[0]} exist={tables[1]} children={tables[2]}"
    words = [str(xid), KINDS[kind]]
    if kind in (3, 4, 12):
        words.append(fields.string())
        words += ["watched"] * fields.boolean()
    elif kind in (2, 5, 15):
        words += describe_operation(kind, fields)
    elif kind == 14:
        while True:
            inner, is_last, _ = fields.integer(), fields.boolean(), fields.integer()
            if is_last:
                break
            words += ["|", {**KINDS, 13: "check"}[inner], *describe_operation(inner, fields)]
    fields.end()
    return " ".join(words)


def describe_operation(kind, fields):
    words = [fields.string()]
    if kind in (5, 15):
        words.append(repr(fields.buffer()))
    if kind == 15:
        acl = fields.vector(lambda one: (one.integer(), one.string(), one.string()), 12)
        assert acl == [(31, "world", "anyone")]
        words.append(f"flags={fields.integer()}")
    else:
        words.append(f"version={fields.integer()}")
    return words


class Player:
    """Plays one script into a session and notes what it does."""

    def __init__(self):
        self.session = ClientSession(6_000)
        self.now_ms = 0
        self.watchers = {}
        self.is_first = True

    def watcher(self, name):
        def watch(event):
            raise AssertionError("the session tells nobody by itself")

        watch.name = name
        return self.watchers.setdefault(name, watch)

    def play(self, line):
        """Carry out one line; return what came of it."""
        verb, *words = line.split()
        options = dict(word.split("=", 1) for word in words if "=" in word)
        plain = [word for word in words if "=" not in word]
        now_ns = self.now_ms * MS
        getattr(self, f"do_{verb.replace('-', '_')}")(plain, options, now_ns)
        return list(self.effects())

    def effects(self):
        while self.session.effects:
            match self.session.effects.popleft():
                case Send(frame):
                    yield f"send {describe_frame(frame, is_first=self.is_first)}"
                    self.is_first = False
                case Settle(call, answer, error):
                    said = repr(answer) if error is None else f"{type(error).__name__}({error})"
                    yield f"{call.name} -> {said.replace(repr(STAT), 'STAT')}"
                case Tell(watch, event):
                    yield f"tell {watch.name} {event.type.name} {event.path}"
                case Changed(state):
                    yield f"state {state.value} session={self.session.session_id}"
                case Drop(reason):
                    yield f"drop: {reason}"

    # ---- the connection's side

    def do_at(self, plain, options, now_ns):
        self.now_ms = int(plain[0])
        self.session.tick(self.now_ms * MS)

    def do_begin(self, plain, options, now_ns):
        self.is_first = True
        self.session.begin(now_ns)

    def do_connected(self, plain, options, now_ns):
        self.session.connected(now_ns)

    def do_lost(self, plain, options, now_ns):
        self.session.lost(now_ns)

    # ---- the server's side

    def receive(self, out, now_ns):
        self.session.receive(out.to_bytes(), now_ns)

    def do_greet(self, plain, options, now_ns):
        out = Writer()
        out.integer(0)
        out.integer(int(options["timeout"]))
        out.long(int(options["session"]))
        out.buffer(options.get("password", "p").encode().ljust(16, b"\0"))
        if "old-server" not in plain:
            out.boolean(False)
        self.receive(out, now_ns)

    def head(self, xid, options, error=0):
        out = Writer()
        out.integer(xid)
        out.long(int(options.get("zxid", 0)))
        out.integer(error)
        return out

    def do_answer(self, plain, options, now_ns):
        """Answer a request: `answer XID zxid=N [error=CODE | data=... | names=a,b | stat | created=/path]`."""
        out = self.head(int(plain[0]), options, int(options.get("error", 0)))
        if "data" in options:
            out.buffer(options["data"].encode())
        if "created" in options:
            out.string(options["created"])
        if "names" in options:
            names = [name for name in options["names"].split(",") if name]
            out.integer(len(names))
            for name in names:
                out.string(name)
        if {"data", "names", "created"} & set(options) or "stat" in plain:
            write_stat(out)
        self.receive(out, now_ns)

    def do_answer_multi(self, plain, options, now_ns):
        """Answer a multi: `answer-multi XID zxid=N created=/a stat done` or `errors=0,-103,-2`."""
        out = self.head(int(plain[0]), options)
        results = [(-1, int(code)) for code in options["errors"].split(",")] if "errors" in options else plain[1:]
        for result in results:
            kind = result[0] if isinstance(result, tuple) else {"stat": 5, "deleted": 2, "checked": 13}.get(result, 15)
            out.integer(kind)
            out.boolean(False)
            out.integer(-1)
            if isinstance(result, tuple):
                out.integer(result[1])
            elif kind == 15:
                out.string(result)
                write_stat(out)
            elif kind == 5:
                write_stat(out)
        out.integer(-1)
        out.boolean(True)
        out.integer(-1)
        self.receive(out, now_ns)

    def do_event(self, plain, options, now_ns):
        out = self.head(-1, options)
        out.integer(EventType[plain[0]] if plain[0] in EventType.__members__ else -1)
        out.integer(3)
        out.string(plain[1])
        self.receive(out, now_ns)

    def do_pong(self, plain, options, now_ns):
        self.receive(self.head(-2, options), now_ns)

    def do_watches_set(self, plain, options, now_ns):
        self.receive(self.head(-8, options, int(options.get("error", 0))), now_ns)

    def do_garbage(self, plain, options, now_ns):
        self.session.receive(b"\x00\x00", now_ns)

    # ---- the broker's side

    def submit(self, request, options, now_ns, name):
        watch = self.watcher(options["watch"]) if "watch" in options else None
        call = NamedCall(request, name, watch)
        (self.session.close if isinstance(request, requests.Close) else self.session.submit)(call, now_ns)

    def do_get(self, plain, options, now_ns):
        self.submit(requests.Get(plain[0], "watch" in options), options, now_ns, f"get {plain[0]}")

    def do_exists(self, plain, options, now_ns):
        self.submit(requests.Exists(plain[0], "watch" in options), options, now_ns, f"exists {plain[0]}")

    def do_children(self, plain, options, now_ns):
        self.submit(requests.Children(plain[0], "watch" in options), options, now_ns, f"children {plain[0]}")

    def do_create(self, plain, options, now_ns):
        operation = Create(plain[0], options.get("data", "").encode(), "ephemeral" in plain, "sequential" in plain)
        self.submit(requests.Write((operation,)), options, now_ns, f"create {plain[0]}")

    def do_set(self, plain, options, now_ns):
        operation = SetData(plain[0], options["data"].encode(), int(options.get("version", -1)))
        self.submit(requests.Write((operation,)), options, now_ns, f"set {plain[0]}")

    def do_multi(self, plain, options, now_ns):
        makers = {"create": Create, "delete": Delete, "check": Check, "set": lambda path: SetData(path, b"x", 1)}
        operations = tuple(makers[kind](path) for kind, path in zip(plain[::2], plain[1::2], strict=True))
        self.submit(requests.Write(operations), options, now_ns, "multi")

    def do_close(self, plain, options, now_ns):
        self.submit(requests.Close(), options, now_ns, "close")


class NamedCall(Call):
    __slots__ = ("name",)

    def __init__(self, request, name, watch):
        super().__init__(request, lambda answer, error: None, watch)
        self.name = name


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.txt")), ids=lambda path: path.stem)
def test_transcript(script):
    player = Player()
    said = []
    written = script.read_text().splitlines()
    for line in written:
        if line.startswith("  "):
            continue
        said.append(line)
        if line and not line.startswith("#"):
            said += [f"  {effect}" for effect in player.play(line)]
    if os.environ.get("FASTLOG_REWRITE"):
        script.write_text("\n".join(said) + "\n")
    assert said == written


def test_deadlines_are_kept_without_a_tick_too_many():
    session = ClientSession(6_000, server_count=2)
    assert session.next_deadline_ns() is None
    session.begin(0)
    assert session.next_deadline_ns() == 3_000 * MS
    session.connected(0)
    out = Writer()
    for value in (0, 3_000):
        out.integer(value)
    out.long(7)
    out.buffer(bytes(16))
    session.receive(out.to_bytes(), 500 * MS)
    assert session.next_deadline_ns() == 1_000 * MS, "a third of the session's timeout after what was sent last"
    session.effects.clear()
    session.tick(999 * MS)
    assert not session.effects
    session.tick(1_000 * MS)
    assert [type(effect) for effect in session.effects] == [Send]


def test_the_watches_of_many_znodes_go_out_in_portions():
    session = ClientSession(6_000)
    paths = [f"/{number:0>200}" for number in range(2_000)]
    for number, path in enumerate(paths):
        session._leave(requests.Children(path) if number % 2 else requests.Get(path), print, is_there=True)
    batches = list(session._batches_of_watches())
    assert len(batches) == 4
    assert sorted(path for batch in batches for table in batch for path in table) == sorted(paths)
    for batch in batches:
        assert len(requests.encode_set_watches(1, *batch)) < 140 << 10


@given(st.lists(st.binary(max_size=80), max_size=4), st.integers(0, 3))
def test_whatever_a_server_says_is_an_answer_or_the_end_of_its_connection(frames, asked):
    session = ClientSession(6_000)
    session.begin(0)
    session.connected(0)
    greeting = Writer()
    for write, value in ((greeting.integer, 0), (greeting.integer, 6_000), (greeting.long, 7), (greeting.buffer, bytes(16))):
        write(value)
    session.receive(greeting.to_bytes(), 0)
    waiting = [requests.Get("/a"), requests.Children("/a"), requests.Write((Create("/a"), Delete("/b")))][:asked]
    for request in waiting:
        session.submit(NamedCall(request, "", None), 0)
    for frame in frames:
        session.receive(frame, 0)
        # Heads as a server writes them, so that bodies are read too.
        session.receive(struct.pack(">iqi", 1, 5, 0) + frame, 0)
        session.receive(struct.pack(">iqi", -1, -1, 0) + frame, 0)
    session.lost(0)
    session.begin(0)
    settled = sum(isinstance(effect, Settle) for effect in session.effects)
    assert settled <= asked
