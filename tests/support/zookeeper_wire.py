"""ZooKeeper's wire protocol spoken by hand, so that two servers can be asked the very same bytes and their answers compared.

None of the product's code: what answers are is read here once more, from `zookeeper.jute` (as of 3.9).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

WAIT_S: Final = 60

CREATE, DELETE, EXISTS, GET_DATA, SET_DATA, GET_ACL, SET_ACL, GET_CHILDREN, SYNC = 1, 2, 3, 4, 5, 6, 7, 8, 9
PING, GET_CHILDREN2, CHECK, MULTI, CREATE2, RECONFIG, CHECK_WATCHES, REMOVE_WATCHES = 11, 12, 13, 14, 15, 16, 17, 18
CREATE_CONTAINER, DELETE_CONTAINER, CREATE_TTL, MULTI_READ = 19, 20, 21, 22
AUTH, SET_WATCHES, SASL, GET_EPHEMERALS, GET_ALL_CHILDREN_NUMBER, SET_WATCHES2, ADD_WATCH, WHO_AM_I = range(100, 108)
CREATE_SESSION, CLOSE_SESSION, ERROR = -10, -11, -1

PERSISTENT, EPHEMERAL, SEQUENTIAL, EPHEMERAL_SEQUENTIAL, CONTAINER, TTL, TTL_SEQUENTIAL = range(7)
EVENT_XID, PING_XID, AUTH_XID, SET_WATCHES_XID = -1, -2, -4, -8

Entry = tuple[int, str, str]
WORLD: Final[list[Entry]] = [(31, "world", "anyone")]


class Closed(Exception):
    """The server has closed the connection."""


class Stat(NamedTuple):
    """A znode's stat, times left out."""

    czxid: int
    mzxid: int
    version: int
    cversion: int
    aversion: int
    owner: int
    data_length: int
    num_children: int
    pzxid: int


class Event(NamedTuple):
    """What a watch tells."""

    kind: int
    state: int
    path: str
    zxid: int


class Answer(NamedTuple):
    """What a request has brought: an error code, and what the body says where there is one."""

    error: int
    zxid: int
    body: Any


class Fields:
    """Takes fields off an answer."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, layout: str) -> Any:
        values = struct.unpack_from(">" + layout, self.data, self.at)
        self.at += struct.calcsize(">" + layout)
        return values if len(values) > 1 else values[0]

    def buffer(self) -> bytes | None:
        size = self.take("i")
        if size < 0:
            return None
        self.at += size
        assert self.at <= len(self.data), "a buffer is longer than its answer"
        return self.data[self.at - size : self.at]

    def string(self) -> str | None:
        data = self.buffer()
        return None if data is None else data.decode()

    def strings(self) -> list[str | None]:
        return [self.string() for _ in range(self.take("i"))]

    def stat(self) -> Stat:
        czxid, mzxid, _, _, version, cversion, aversion, owner, length, children, pzxid = self.take("qqqqiiiqiiq")
        return Stat(czxid, mzxid, version, cversion, aversion, owner, length, children, pzxid)

    def entries(self) -> list[Entry]:
        return sorted((self.take("i"), str(self.string()), str(self.string())) for _ in range(self.take("i")))

    def parts(self) -> list[Any]:
        """Read the answer to a multi, of writes or of questions."""
        found = []
        while not (head := self.take("i?i"))[1]:
            found.append((head[0], head[2], self.part(head[0])))
        return [*found, head]

    def part(self, kind: int) -> Any:
        if kind == ERROR:
            return self.take("i")
        if kind == GET_CHILDREN:
            return sorted(map(str, self.strings()))
        return _BODIES[kind](self) if kind in _BODIES else None


_BODIES: Final[dict[int, Callable[[Fields], Any]]] = {
    CREATE: Fields.string,
    CREATE2: lambda fields: (fields.string(), fields.stat()),
    CREATE_CONTAINER: lambda fields: (fields.string(), fields.stat()),
    CREATE_TTL: lambda fields: (fields.string(), fields.stat()),
    EXISTS: Fields.stat,
    GET_DATA: lambda fields: (fields.buffer(), fields.stat()),
    SET_DATA: Fields.stat,
    GET_ACL: lambda fields: (fields.entries(), fields.stat()),
    SET_ACL: Fields.stat,
    GET_CHILDREN: lambda fields: sorted(map(str, fields.strings())),
    GET_CHILDREN2: lambda fields: (sorted(map(str, fields.strings())), fields.stat()),
    SYNC: Fields.string,
    MULTI: Fields.parts,
    MULTI_READ: Fields.parts,
    GET_EPHEMERALS: lambda fields: sorted(map(str, fields.strings())),
    GET_ALL_CHILDREN_NUMBER: lambda fields: fields.take("i"),
    ADD_WATCH: lambda fields: fields.take("i"),
    WHO_AM_I: lambda fields: sorted((str(fields.string()), str(fields.string())) for _ in range(fields.take("i"))),
}
"""How an answer's body is read, by the request's type; of others there is none. What has no order is sorted."""


def text(value: str | None) -> bytes:
    return buffer(None if value is None else value.encode("utf-8", "surrogatepass"))


def buffer(data: bytes | None) -> bytes:
    return struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data


def texts(values: Sequence[str]) -> bytes:
    return struct.pack(">i", len(values)) + b"".join(map(text, values))


def entries(acl: Sequence[Entry] | None) -> bytes:
    if acl is None:
        return struct.pack(">i", -1)
    return struct.pack(">i", len(acl)) + b"".join(struct.pack(">i", bits) + text(scheme) + text(who) for bits, scheme, who in acl)


def create(
    path: str, data: bytes | None = b"", acl: Sequence[Entry] | None = WORLD, mode: int = 0, ttl_ms: int | None = None
) -> bytes:
    """Return the body of a create of any type; `ttl_ms` belongs to createTTL."""
    body = text(path) + buffer(data) + entries(acl) + struct.pack(">i", mode)
    return body if ttl_ms is None else body + struct.pack(">q", ttl_ms)


def numbered(path: str, number: int) -> bytes:
    """Return the body of delete, check, checkWatches, removeWatches, addWatch: a path and an integer."""
    return text(path) + struct.pack(">i", number)


def set_data(path: str, data: bytes | None, version: int) -> bytes:
    return text(path) + buffer(data) + struct.pack(">i", version)


def set_acl(path: str, acl: Sequence[Entry] | None, version: int) -> bytes:
    return text(path) + entries(acl) + struct.pack(">i", version)


def question(path: str, watch: bool) -> bytes:
    return text(path) + struct.pack(">?", watch)


def multi(operations: Sequence[tuple[int, bytes]]) -> bytes:
    """Return the body of a multi of (type, body)."""
    parts = [struct.pack(">i?i", kind, False, -1) + body for kind, body in operations]
    return b"".join(parts) + struct.pack(">i?i", -1, True, -1)


def auth(scheme: str, credentials: bytes) -> bytes:
    return struct.pack(">i", 0) + text(scheme) + buffer(credentials)


class Connection:
    """One connection and its session."""

    def __init__(
        self,
        port: int,
        timeout_ms: int = 30_000,
        *,
        session_id: int = 0,
        password: bytes = bytes(16),
        last_zxid: int = 0,
        read_only: bool | None = False,
    ) -> None:
        """Open a session or attach to one; `read_only` None leaves the flag out, as old clients do."""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = port
        self.events: list[Event] = []
        self.zxid = last_zxid
        self._xid = 0
        flag = b"" if read_only is None else struct.pack(">?", read_only)
        try:
            self.send(struct.pack(">iqiq", 0, last_zxid, timeout_ms, session_id) + buffer(password) + flag)
            fields = Fields(self.receive())
        except Closed:
            self.close()
            raise
        self.version, self.timeout_ms, self.session_id = fields.take("iiq")
        self.password = fields.buffer() or b""
        self.tail = fields.data[fields.at :]

    def send(self, frame: bytes) -> None:
        try:
            self.socket.sendall(struct.pack(">i", len(frame)) + frame)
        except (ConnectionResetError, BrokenPipeError):
            raise Closed from None

    def receive(self) -> bytes:
        (size,) = struct.unpack(">i", self._exactly(4))
        return self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                part = self.socket.recv(size - len(data))
            except ConnectionResetError:
                part = b""
            if not part:
                raise Closed
            data += part
        return data

    def ask(self, op: int, body: bytes = b"", xid: int | None = None) -> Answer:
        """Send a request and wait for its answer; events that come before it are put with the others. Closed."""
        if xid is None:
            self._xid += 1
            xid = self._xid
        self.send(struct.pack(">ii", xid, op) + body)
        while True:
            fields = Fields(self.receive())
            got, zxid, error = fields.take("iqi")
            if got == EVENT_XID:
                kind, state = fields.take("ii")
                self.events.append(Event(kind, state, str(fields.string()), zxid))
                continue
            assert got == xid, (got, xid)
            self.zxid = max(self.zxid, zxid)
            # In 3.9 an error has no body; older servers had one for a multi of questions.
            read = None if error else _BODIES.get(op)
            found = read(fields) if read else None
            assert fields.at == len(fields.data), f"{len(fields.data) - fields.at} bytes too many in the answer to {op}"
            return Answer(error, zxid, found)

    def ping(self) -> None:
        assert self.ask(PING, xid=PING_XID).error == 0

    def take_events(self) -> list[Event]:
        found, self.events = self.events, []
        return found

    def close(self) -> None:
        self.socket.close()
