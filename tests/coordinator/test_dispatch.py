"""Transcripts of clients at a coordinator: what each asks, and what each is sent, in order. `tests/scripts/coordinator/*.txt`.

A line without an indent is done; the indented lines below it say what was sent to whom. `FASTLOG_REWRITE=1` writes those anew.
"""

import os
import pathlib

import pytest
from memory_machine import Machine

from fastlog.coordinator import requests
from fastlog.coordinator.acl import Entry, write_acl
from fastlog.coordinator.dispatch import MAX_ANSWERS_BYTES, MAX_IDENTITIES, MAX_IDENTITY_BYTES, Client, Dispatcher, NotServed
from fastlog.coordinator.jute import Reader, Writer
from fastlog.coordinator.protocol import Op
from fastlog.coordinator.service import Coordinator
from fastlog.coordinator.watches import EventType

SCRIPTS = pathlib.Path(__file__).parent.parent / "scripts" / "coordinator"
MODES = {"ephemeral": 1, "sequential": 2, "both": 3, "container": 4, "ttl": 5}
WATCHES = {"children": 1, "data": 2, "any": 3, "persistent": 4, "recursive": 5}
STAT_BYTES = 68


class Caller:
    """A client of the script: makes requests, reads what it is sent."""

    def __init__(self, player, name):
        self.player, self.name = player, name
        self.client = Client("10.0.0.1", self.hear, self.hear, lambda: self.say("finished"), self.closed)
        self.asked = {}
        self.xid = 0
        self.greeted = False

    def say(self, what):
        self.player.said.append(f"{self.name} <- {what}")

    def closed(self, reason):
        self.say(f"closed: {reason}")
        self.player.dispatcher.gone(self.client)

    def ask(self, op, body=b"", xid=None):
        if xid is None:
            self.xid += 1
            xid = self.xid
        self.asked[xid] = op
        head = Writer()
        head.integer(xid)
        head.integer(op)
        try:
            self.player.dispatcher.handle(self.client, head.to_bytes() + body)
        except NotServed as error:
            self.say(f"not served: {error}")

    def hear(self, frame):
        assert int.from_bytes(frame[:4], "big") == len(frame) - 4
        fields = Reader(frame, 4)
        if not self.greeted:
            self.greeted = True
            answer = requests.decode_connect_answer(frame[4:])
            self.password = answer.password
            self.session = answer.session_id
            self.say(f"connected timeout={answer.timeout_ms}" if answer.timeout_ms else "the session is over")
            return
        xid, zxid, code = requests.decode_head(fields)
        if xid == requests.EVENT_XID:
            kind, state, path = fields.integer(), fields.integer(), fields.string()
            assert (code, state) == (0, 3)
            self.say(f"event {EventType(kind).name} {path}" + (f" zxid={zxid}" if zxid != -1 else ""))
            return
        shown = f"error {code}" if code else self.shown(self.asked[xid], fields)
        assert not fields.remaining
        self.say(f"{xid} zxid={zxid} {shown}".rstrip())

    def stat(self, fields):
        czxid, mzxid, _, _ = (fields.long() for _ in range(4))
        version, cversion, aversion, owner = fields.integer(), fields.integer(), fields.integer(), fields.long()
        size, children, pzxid = fields.integer(), fields.integer(), fields.long()
        own = {0: "", self.session: " mine"}.get(owner, " another's")
        return f"[c{czxid} m{mzxid} p{pzxid} v{version},{cversion},{aversion} {size}b {children}n{own}]"

    def names(self, fields):
        return " ".join(fields.vector(Reader.string, 4)) or "none"

    def shown(self, op, fields):
        if op in (Op.CREATE, Op.SYNC):
            return fields.string()
        if op in (Op.CREATE2, Op.CREATE_CONTAINER, Op.CREATE_TTL):
            return f"{fields.string()} {self.stat(fields)}"
        if op in (Op.SET_DATA, Op.SET_ACL, Op.EXISTS):
            return self.stat(fields)
        if op == Op.GET_DATA:
            return f"{fields.buffer()} {self.stat(fields)}"
        if op in (Op.GET_CHILDREN, Op.GET_EPHEMERALS):
            return self.names(fields)
        if op == Op.GET_CHILDREN2:
            return f"{self.names(fields)} {self.stat(fields)}"
        if op == Op.GET_ACL:
            entries = fields.vector(lambda one: Entry(one.integer(), one.string(), one.string()), 12)
            return f"{' '.join(f'{entry.scheme}:{entry.id}:{entry.permissions}' for entry in entries)} {self.stat(fields)}"
        if op in (Op.GET_ALL_CHILDREN_NUMBER, Op.ADD_WATCH):
            return str(fields.integer())
        if op == Op.WHO_AM_I:
            return " ".join(":".join(one) for one in fields.vector(lambda one: (one.string(), one.string()), 8))
        if op in (Op.MULTI, Op.MULTI_READ):
            parts = []
            while not (head := (fields.integer(), fields.boolean(), fields.integer()))[1]:
                parts.append(f"error {fields.integer()}" if head[0] == -1 else self.shown(head[0], fields) or "ok")
            return "; ".join(parts)
        return ""


def acl_of(text):
    """world:anyone:31,digest:u:hash:1 -> entries"""
    return [Entry(int(one.rpartition(":")[2]), *one.rpartition(":")[0].split(":", 1)) for one in text.split(",") if one]


class Player:
    def __init__(self):
        self.machine = Machine()
        self.callers = {}
        self.said = []
        self.start()

    def start(self):
        machine = self.machine
        self.coordinator = Coordinator(machine.reactor, machine.disk, machine.flusher, machine.random, "/c")
        self.dispatcher = Dispatcher(machine.reactor, self.coordinator, machine.random)

    def play(self, line):
        self.said = []
        word, *rest = line.split()
        if word == "connect":
            self.connect(*rest)
        elif word == "drop":
            self.dispatcher.gone(self.callers[rest[0]].client)
        elif word == "advance":
            self.advance(int(rest[0]))
        elif word == "hold":
            self.machine.flusher.held = True
        elif word == "release":
            self.machine.flusher.release()
        elif word == "restart":
            self.machine = Machine(self.machine.disk.synced_contents())
            self.start()
        else:
            self.request(self.callers[word], *rest)
        self.machine.settle()
        return self.said

    def advance(self, milliseconds):
        """Let time pass as a reactor without input lives it: from deadline to deadline."""
        machine, end_ns = self.machine, self.machine.clock.now_ns + milliseconds * 1_000_000
        while (deadline_ns := machine.reactor.next_deadline_ns()) is not None and deadline_ns <= end_ns:
            machine.reactor.run_turn()
        machine.clock.now_ns = end_ns
        machine.reactor.run_turn() if deadline_ns is not None and deadline_ns <= end_ns else None
        machine.reactor.now_ns = end_ns

    def connect(self, name, *options):
        wanted = dict(option.split("=", 1) for option in options)
        caller = Caller(self, name)
        before = self.callers.get(wanted.get("as", ""))
        session, password = (before.session, before.password) if before else (0, bytes(16))
        if "password" in wanted:
            password = wanted["password"].encode()
        self.callers[name] = caller
        try:
            self.dispatcher.connect(
                caller.client,
                requests.encode_connect(int(wanted.get("zxid", 0)), int(wanted.get("timeout", 4000)), session, password),
            )
        except NotServed as error:
            caller.say(f"not served: {error}")

    def request(self, caller, what, *arguments):
        getattr(self, f"do_{what}")(caller, *arguments)

    def path(self, *values):
        out = Writer()
        for value in values:
            match value:
                case bool():
                    out.boolean(value)
                case int():
                    out.integer(value)
                case str():
                    out.string(value)
                case bytes() | None:
                    out.buffer(value)
                case [*entries] if not entries or isinstance(entries[0], Entry):
                    write_acl(out, tuple(entries))
        return out.to_bytes()

    def created(self, path, *options):
        wanted = dict(option.partition("=")[::2] for option in options)
        mode = next((MODES[one] for one in wanted if one in MODES), 0)
        acl = acl_of(wanted.get("acl", "world:anyone:31"))
        body = self.path(path, wanted.get("data", "").encode(), acl, mode)
        if mode == MODES["ttl"]:
            return Op.CREATE_TTL, body + int(wanted["ttl"]).to_bytes(8, "big")
        return (Op.CREATE_CONTAINER if mode == MODES["container"] else Op.CREATE2 if "stat" in wanted else Op.CREATE), body

    def part(self, what, *arguments):
        if what == "create":
            return self.created(*arguments)
        if what == "set":
            return Op.SET_DATA, self.path(arguments[0], arguments[1].encode(), int(arguments[2]))
        if what == "get":
            return Op.GET_DATA, self.path(arguments[0], "watch" in arguments)
        if what == "ls":
            return Op.GET_CHILDREN, self.path(arguments[0], "watch" in arguments)
        return {"delete": Op.DELETE, "check": Op.CHECK}[what], self.path(arguments[0], int(arguments[1]))

    def do_create(self, caller, *arguments):
        caller.ask(*self.created(*arguments))

    def do_set(self, caller, path, data, version="-1"):
        caller.ask(*self.part("set", path, data, version))

    def do_delete(self, caller, path, version="-1"):
        caller.ask(*self.part("delete", path, version))

    def do_check(self, caller, path, version="-1"):
        caller.ask(*self.part("check", path, version))

    def do_multi(self, caller, *words):
        self.together(caller, Op.MULTI, words)

    def do_ask(self, caller, *words):
        self.together(caller, Op.MULTI_READ, words)

    def together(self, caller, op, words):
        out = []
        for text in " ".join(words).split("; "):
            if text:
                kind, body = self.part(*text.split())
                out.append(self.path(int(kind), False, -1) + body)
        caller.ask(op, b"".join(out) + self.path(-1, True, -1))

    def do_get(self, caller, path, *options):
        caller.ask(Op.GET_DATA, self.path(path, "watch" in options))

    def do_exists(self, caller, path, *options):
        caller.ask(Op.EXISTS, self.path(path, "watch" in options))

    def do_ls(self, caller, path, *options):
        caller.ask(Op.GET_CHILDREN2 if "stat" in options else Op.GET_CHILDREN, self.path(path, "watch" in options))

    def do_getacl(self, caller, path):
        caller.ask(Op.GET_ACL, self.path(path))

    def do_setacl(self, caller, path, acl, version="-1"):
        caller.ask(Op.SET_ACL, self.path(path, acl_of(acl), int(version)))

    def do_auth(self, caller, scheme, credentials):
        caller.ask(Op.AUTH, self.path(0, scheme, credentials.encode()), xid=-4)

    def do_whoami(self, caller):
        caller.ask(Op.WHO_AM_I)

    def do_sync(self, caller, path):
        caller.ask(Op.SYNC, self.path(path))

    def do_ping(self, caller):
        caller.ask(Op.PING, xid=-2)

    def do_close(self, caller):
        caller.ask(Op.CLOSE_SESSION)

    def do_ephemerals(self, caller, prefix):
        caller.ask(Op.GET_EPHEMERALS, self.path(prefix))

    def do_count(self, caller, path):
        caller.ask(Op.GET_ALL_CHILDREN_NUMBER, self.path(path))

    def do_addwatch(self, caller, path, mode):
        caller.ask(Op.ADD_WATCH, self.path(path, int(mode)))

    def do_checkwatch(self, caller, path, kind):
        caller.ask(Op.CHECK_WATCHES, self.path(path, WATCHES[kind]))

    def do_unwatch(self, caller, path, kind):
        caller.ask(Op.REMOVE_WATCHES, self.path(path, WATCHES[kind]))

    def do_rewatch(self, caller, zxid, *lists):
        wanted = {one.partition("=")[0]: one.partition("=")[2].split(",") for one in lists}
        is_second = "persistent" in wanted or "recursive" in wanted
        body = int(zxid).to_bytes(8, "big")
        for kind in ("data", "exist", "child", *(("persistent", "recursive") if is_second else ())):
            body += self.path(len(wanted.get(kind, ())), *wanted.get(kind, ()))
        caller.ask(Op.SET_WATCHES2 if is_second else Op.SET_WATCHES, body, xid=-8)

    def do_raw(self, caller, op, body=""):
        caller.ask(int(op), bytes.fromhex(body))


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
            said += [f"  {what}" for what in player.play(line)]
    if os.environ.get("FASTLOG_REWRITE"):
        script.write_text("\n".join(said) + "\n")
    assert said == written


def test_there_are_transcripts():
    assert {path.stem for path in SCRIPTS.glob("*.txt")} >= {"sessions", "watches", "multi", "lists", "requests"}


@pytest.fixture
def player():
    played = Player()
    played.play("connect a timeout=60000")
    return played


def test_a_name_is_short(player):
    assert player.play(f"a auth digest {'n' * (MAX_IDENTITY_BYTES - 29)}:secret") == ["a <- -4 zxid=1"]
    assert player.play(f"a auth digest {'n' * (MAX_IDENTITY_BYTES - 28)}:secret") == [
        "a <- -4 zxid=1 error -115",
        "a <- finished",
    ]


@pytest.mark.parametrize("request_", ["create /n acl={}", "setacl /there {}", "multi create /m; create /n acl={}; delete /m 0"])
def test_what_auth_stands_for_makes_no_request_too_large_for_the_journal(player, request_):
    """A hundred names for each entry would: such a record is not read again, and takes the whole journal with it."""
    player.play("a create /there")
    for number in range(MAX_IDENTITIES):
        player.play(f"a auth digest {number}{'n' * 900}:secret")
    before = player.coordinator.tree.zxid
    many = ",".join(f"auth::{bits}" for bits in range(32)) * 2
    failed = "error 0; error -114; error -2" if request_.startswith("multi") else "error -114"
    assert player.play(f"a {request_.format(many)}") == [f"a <- 2 zxid={before} {failed}"]
    assert "/n" not in player.coordinator.tree
    assert " error " not in player.play(f"a {request_.format('auth::31,auth::1')}")[0]
    state = dict(player.coordinator.tree.nodes)
    player.play("restart")
    assert dict(player.coordinator.tree.nodes) == state


def test_many_questions_are_answered_up_to_a_bound(player):
    player.play(f"a create /large data={'x' * 1_000_000}")
    enough = MAX_ANSWERS_BYTES // 1_000_100
    assert player.play("a ask " + "; ".join(["get /large"] * enough))[0].count("b'xxx") == enough
    assert player.play("a ask " + "; ".join(["get /large"] * (enough + 1))) == ["a <- 3 zxid=2 error -5"]
    assert player.play("a ask get /") == ["a <- 4 zxid=2 b'' [c0 m0 p2 v0,0,0 0b 2n]"]
