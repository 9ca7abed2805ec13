"""Odd requests, connect records and four-letter words, byte for byte the same to `fastlog coordinator` and a real ZooKeeper.

What differs is listed with its reason (`DIFFERENT`), and nothing else does. Ordinary requests are `test_zookeeper_model.py`'s.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import pytest
import zookeeper_wire as wire
from zookeeper_servers import OwnCoordinator, ZooKeeper
from zookeeper_wire import Closed, Connection, Fields

ANSWERED_XID = 77
LIMIT_BYTES = 0xFFFFF
BOTH_KINDS = wire.multi([(wire.GET_DATA, wire.question("/", False)), (wire.DELETE, wire.numbered("/", 0))])
REQUESTS: dict[str, tuple[int, bytes]] = {
    **{f"type {op} without a body": (op, b"") for op in (*range(1, 10), *range(12, 20), 21, 22, *range(100, 107))},
    **{f"type {op}, which there is not": (op, b"") for op in (-12, -1, 0, 10, 23, 99, 108, 1000)},
    "check alone": (wire.CHECK, wire.numbered("/", 5)),
    "a session within a session": (wire.CREATE_SESSION, struct.pack(">i", 4000)),
    "the servers' own removal of containers": (wire.DELETE_CONTAINER, wire.text("/x")),
    "SASL": (wire.SASL, wire.buffer(b"x")),
    "reconfig": (wire.RECONFIG, wire.text("a") + wire.text("") + wire.text("") + struct.pack(">q", -1)),
    "bytes behind exists": (wire.EXISTS, wire.question("/", True) + b"more"),
    "bytes behind create": (wire.CREATE, wire.create("/more") + b"more"),
    "bytes behind whoAmI": (wire.WHO_AM_I, b"more"),
    "bytes behind closeSession": (wire.CLOSE_SESSION, b"more"),
    "a negative size": (wire.EXISTS, struct.pack(">i", -5)),
    "a size beyond the request": (wire.EXISTS, struct.pack(">i", 1 << 30)),
    "another byte than 0 for true": (wire.EXISTS, wire.text("/") + b"\5"),
    "no UTF-8": (wire.EXISTS, wire.buffer(b"/\xff") + b"\0"),
    "an empty path": (wire.GET_DATA, wire.question("", False)),
    "an empty path to be synced": (wire.SYNC, wire.text("")),
    "a path to be synced that is not there": (wire.SYNC, wire.text("/no")),
    "an absent path to be read": (wire.GET_DATA, wire.text(None) + b"\0"),
    "an absent path to be listed": (wire.GET_CHILDREN, wire.text(None) + b"\0"),
    "an absent path to be deleted": (wire.DELETE, wire.text(None) + struct.pack(">i", 0)),
    "an absent path to be created": (wire.CREATE, wire.text(None) + wire.create("/x")[6:]),
    "an absent beginning of ephemerals": (wire.GET_EPHEMERALS, wire.text(None)),
    "a question among writes": (wire.MULTI, BOTH_KINDS),
    "a write among questions": (wire.MULTI_READ, BOTH_KINDS),
    "another question among questions": (wire.MULTI_READ, wire.multi([(wire.GET_CHILDREN2, wire.question("/", False))])),
    "setACL among writes": (wire.MULTI, wire.multi([(wire.SET_ACL, wire.set_acl("/", wire.WORLD, -1))])),
    "a multi without an end": (wire.MULTI, wire.multi([(wire.DELETE, wire.numbered("/x", 0))])[:-9]),
    "more watches than there are bytes": (wire.SET_WATCHES, struct.pack(">qi", 0, 1 << 20)),
    "absent watches": (wire.SET_WATCHES, struct.pack(">qiii", 0, -1, -1, -1)),
    "a watch on what is no path": (wire.ADD_WATCH, wire.numbered("no path", 0)),
    "the largest request": (wire.CREATE, wire.create("/big", bytes(LIMIT_BYTES - 8 - len(wire.create("/big"))))),
    "a larger one": (wire.CREATE, wire.create("/big", bytes(LIMIT_BYTES - 7 - len(wire.create("/big"))))),
}
CONNECTS: dict[str, dict[str, object]] = {
    **{f"timeout {ms} ms": {"timeout_ms": ms} for ms in (-5, 0, 4_000, 19_000)},
    "without the flag": {"read_only": None},
    "with the flag": {"read_only": True},
    "a client that has seen more": {"last_zxid": 1 << 40},
    "a session that is not there": {"session_id": 5},
    "one, and no password": {"session_id": 5, "password": b""},
    "a new one with a password": {"password": b"short"},
    "a negative one": {"session_id": -1},
}
DIFFERENT = {
    "check alone": "a real one answers that by an error, or not at all; here it is what it is in a multi",
    "type 13 without a body": "the same",
    "type 100 without a body": "the same",
    "type 102 without a body": "the same",
    "type 16 without a body": "that there is nothing to be changed is said without a look at what was wanted",
    "a session within a session": "a real one begins one",
    "the servers' own removal of containers": "a real one lets clients do that",
    "SASL": "a real one without SASL answers nothing to it, and success; here it is refused",
    "no UTF-8": "a real one puts other characters in their place",
    "an empty path": "to a real one that is the root",
    "an absent beginning of ephemerals": "to a real one that is an empty one",
    "absent watches": "a mistake of a real one's; here they are none",
    "timeout -5 ms": "the least is a second here, and two ticks there",
    "timeout 0 ms": "the same",
}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ZooKeeper]]:
    directory = tmp_path_factory.mktemp("wire")
    servers = [OwnCoordinator(directory / "ours"), ZooKeeper(directory / "real")]
    try:
        yield [server.start() for server in servers]
    finally:
        for server in servers:
            server.end()


def answer_to(server: ZooKeeper, op: int, body: bytes) -> object:
    """Return what comes of a request: its xid and error code with the body's size, or that the connection is closed without."""
    connection = Connection(server.port)
    try:
        connection.send(struct.pack(">ii", ANSWERED_XID, op) + body)
        fields = Fields(connection.receive())
        xid, _, error = fields.take("iqi")
        return xid, error, len(fields.data) - fields.at
    except Closed:
        return "closed"
    finally:
        connection.close()


def greeting_of(server: ZooKeeper, **options: object) -> object:
    """Return what a connect record is answered."""
    try:
        connection = Connection(server.port, **{"timeout_ms": 4_000, **options})  # type: ignore[arg-type]
    except Closed:
        return "closed"
    connection.close()
    is_new, size = connection.session_id != 0, len(connection.password)
    return connection.version, connection.timeout_ms, is_new, size, connection.password == bytes(size), connection.tail


def test_odd_requests_and_greetings(both: list[ZooKeeper]) -> None:
    told: list[dict[str, object]] = []
    for server in both:
        told.append({name: answer_to(server, *request) for name, request in REQUESTS.items()})
        told[-1] |= {name: greeting_of(server, **options) for name, options in CONNECTS.items()}
    ours, real = told
    different = {name: f"{ours[name]} here, {real[name]} there" for name in ours if ours[name] != real[name]}
    assert different.keys() == DIFFERENT.keys(), "\n".join(
        f"{name}: {different.get(name, 'no difference any more')}" for name in different.keys() ^ DIFFERENT.keys()
    )


def test_four_letter_words(both: list[ZooKeeper]) -> None:
    """The lines are those that a real one has; it has more of them where it tells of what is not here."""
    holders = [Connection(server.port) for server in both]
    for holder in holders:
        assert holder.ask(wire.CREATE, wire.create("/held", b"", wire.WORLD, wire.EPHEMERAL)).error == 0
        holder.ask(wire.GET_DATA, wire.question("/held", True))
    for word in (b"ruok", b"isro", b"wchs"):
        assert both[0].say(word) == both[1].say(word) != b""

    def shapes(server: ZooKeeper, word: bytes, holder: Connection) -> list[str]:
        text = server.say(word).decode().replace(f"{holder.session_id:x}", "SESSION")
        text = re.sub(r"3\.9\.3-[^\s,]*(, built on .*)?", "VERSION", text)
        return [re.sub(r"\d+(\.\d+)?", "N", line) for line in text.splitlines()]

    for word in (b"srvr", b"stat"):
        ours, real = (shapes(server, word, holder) for server, holder in zip(both, holders, strict=True))
        assert [re.sub("Zxid: .*", "", line) for line in ours] == [re.sub("Zxid: .*", "", line) for line in real]
    for word, key in ((b"mntr", r"zk_\w+"), (b"conf", r"[\w.]+"), (b"envi", r"[\w.]+")):
        ours, real = (
            {found[0] for line in server.say(word).decode().splitlines() if (found := re.match(key, line))} for server in both
        )
        assert ours - {"jute.maxbuffer"} <= real and ours, ours - real
    for server, holder in zip(both, holders, strict=True):
        assert f"sid=0x{holder.session_id:x}," in server.say(b"cons").decode()
        dump = server.say(b"dump").decode()
        assert f"0x{holder.session_id:x}:\n\t/held\n" in dump and "Sessions with Ephemerals (1):" in dump
        holder.ask(wire.CLOSE_SESSION)
        holder.close()


def fields_of(text: bytes) -> list[str]:
    return re.findall(r"\w+(?==)", text.decode())


def test_the_fields_of_a_connection(both: list[ZooKeeper]) -> None:
    """What `cons` says of an attached connection, in its order; a real one has latencies of each connection too."""
    holders = [Connection(server.port) for server in both]
    ours, real = (fields_of(next(line for line in server.say(b"cons").splitlines() if b"sid=" in line)) for server in both)
    assert ours == [name for name in real if name in ours]
    for holder in holders:
        holder.close()
