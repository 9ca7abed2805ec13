"""ZooKeeper's wire protocol as its server sees it: what requests hold, what answers and events look like. Pure.

Source: ZooKeeper's `zookeeper.jute` and the wire behaviour of ZooKeeper 3.8 and 3.9. Every frame has its size in front of it
(four bytes; the encoders here put it there, the decoders get what follows it). A connection begins with one connect record each
way; then a request is its xid, its type and its body, and an answer is the xid, the zxid, an error code, and a body where that
is 0. Bytes behind a body that is whole are left alone, as ZooKeeper does.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence

from fastlog.coordinator.acl import Acl, Identity, read_acl, write_acl
from fastlog.coordinator.errors import Unimplemented
from fastlog.coordinator.jute import JuteError, Reader, Writer
from fastlog.coordinator.tree import Check, Create, Created, Delete, Operation, Result, SetAcl, SetData, Stat
from fastlog.coordinator.watches import WatchEvent
from fastlog.light import IntEnum, NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


EVENT_XID: Final = -1
NO_ZXID: Final = -1
"""What an event tells that happened at a time that nobody knows any more."""
PASSWORD_BYTES: Final = 16
NO_PASSWORD: Final = bytes(PASSWORD_BYTES)

_SYNC_CONNECTED: Final = 3
_ANSWER: Final = struct.Struct(">iiqi")
_ANSWER_HEAD_BYTES: Final = 16
_STAT: Final = struct.Struct(">qqqqiiiqiiq")
_INT: Final = struct.Struct(">i")
_REQUEST_HEAD: Final = struct.Struct(">ii")
_LEAST_STRING_BYTES: Final = 4

_PERSISTENT_MODE: Final = 0
_EPHEMERAL_MODE: Final = 1
_PERSISTENT_SEQUENTIAL_MODE: Final = 2
_EPHEMERAL_SEQUENTIAL_MODE: Final = 3
_CONTAINER_MODE: Final = 4
_TTL_MODE: Final = 5
_TTL_SEQUENTIAL_MODE: Final = 6
_INVALID_TTL_MS: Final = -1


class Op(IntEnum):
    """Types of requests, and of the parts of a multi."""

    CREATE = 1
    DELETE = 2
    EXISTS = 3
    GET_DATA = 4
    SET_DATA = 5
    GET_ACL = 6
    SET_ACL = 7
    GET_CHILDREN = 8
    SYNC = 9
    PING = 11
    GET_CHILDREN2 = 12
    CHECK = 13
    MULTI = 14
    CREATE2 = 15
    RECONFIG = 16
    CHECK_WATCHES = 17
    REMOVE_WATCHES = 18
    CREATE_CONTAINER = 19
    CREATE_TTL = 21
    MULTI_READ = 22
    AUTH = 100
    SET_WATCHES = 101
    SASL = 102
    GET_EPHEMERALS = 103
    GET_ALL_CHILDREN_NUMBER = 104
    SET_WATCHES2 = 105
    ADD_WATCH = 106
    WHO_AM_I = 107
    CLOSE_SESSION = -11
    ERROR = -1


# ---- what requests hold -----------------------------------------------------------------------------------------------------


class Connect(NamedTuple):
    """What a client says first. Session 0 asks for a new one."""

    last_zxid: int
    timeout_ms: int
    session_id: int
    password: bytes
    knows_read_only: bool


class Write(NamedTuple):
    """Operations to be carried out, each with the type under which it is answered; `is_multi` decides how the answer looks."""

    operations: tuple[Operation, ...]
    ops: tuple[Op, ...]
    is_multi: bool


class GetData(NamedTuple):
    """Ask for a znode's data and stat."""

    path: str
    watch: bool


class Exists(NamedTuple):
    """Ask for a znode's stat."""

    path: str
    watch: bool


class GetChildren(NamedTuple):
    """Ask for the names of a znode's children, and for its own stat too when `with_stat`."""

    path: str
    watch: bool
    with_stat: bool


class MultiRead(NamedTuple):
    """Several questions at once, each answered or refused for itself. They leave no watches, whatever they ask for."""

    questions: tuple[GetData | GetChildren, ...]


class GetAcl(NamedTuple):
    """Ask for a znode's access control list and stat."""

    path: str


class Sync(NamedTuple):
    """Wait until everything before is seen; the answer is the path."""

    path: str


class GetEphemerals(NamedTuple):
    """Ask for the session's own ephemeral znodes whose paths begin so."""

    prefix: str


class CountBelow(NamedTuple):
    """Ask how many znodes are below one."""

    path: str


class SetWatches(NamedTuple):
    """Leave watches again on a new connection; what happened since `last_zxid` is told at once."""

    last_zxid: int
    data: list[str]
    exist: list[str]
    child: list[str]
    persistent: list[str]
    recursive: list[str]


class AddWatch(NamedTuple):
    """Watch for good; mode 0 is one znode, mode 1 everything below it too."""

    path: str
    mode: int


class CheckWatches(NamedTuple):
    """Ask whether there is a watch of a kind."""

    path: str
    kind: int


class RemoveWatches(NamedTuple):
    """Remove a connection's watches of a kind from a znode."""

    path: str
    kind: int


class Auth(NamedTuple):
    """Credentials under a scheme."""

    scheme: str
    credentials: bytes


class Ping(NamedTuple):
    """A sign of life."""


class WhoAmI(NamedTuple):
    """Ask for the connection's identities."""


class CloseSession(NamedTuple):
    """End the session."""


class Reconfig(NamedTuple):
    """Change an ensemble's members, of which there are none; what was wanted is not even read."""


class Sasl(NamedTuple):
    """Authenticate by SASL, which is not spoken here."""


Request = (
    Write
    | GetData
    | Exists
    | GetChildren
    | MultiRead
    | GetAcl
    | Sync
    | GetEphemerals
    | CountBelow
    | SetWatches
    | AddWatch
    | CheckWatches
    | RemoveWatches
    | Auth
    | Ping
    | WhoAmI
    | CloseSession
    | Reconfig
    | Sasl
)


# ---- decoding ---------------------------------------------------------------------------------------------------------------


def decode_connect(data: bytes) -> Connect:
    """Return what a client says first; JuteError."""
    fields = Reader(data)
    fields.integer()  # the protocol's version: nobody looks at it
    last_zxid, timeout_ms, session_id = fields.long(), fields.integer(), fields.long()
    password = fields.buffer() or b""
    knows_read_only = fields.remaining > 0  # clients before 3.4 don't say whether a server that can only be read would do
    return Connect(last_zxid, timeout_ms, session_id, password, knows_read_only)


def decode_head(data: bytes) -> tuple[int, int]:
    """Return a request's xid and type; JuteError."""
    if len(data) < _REQUEST_HEAD.size:
        raise JuteError(f"a request of {len(data)} bytes")
    xid, op = _REQUEST_HEAD.unpack_from(data)
    return xid, op


def decode_request(data: bytes, op: int) -> Request:
    """Return the request behind a head; JuteError, Unimplemented."""
    decode = _DECODERS.get(op)
    if decode is None:
        raise Unimplemented(detail=f"request type {op}")
    return decode(Reader(data, _REQUEST_HEAD.size))


def _strings(fields: Reader) -> list[str]:
    return fields.vector(Reader.string, _LEAST_STRING_BYTES, or_none=True)


def _create(fields: Reader, op: Op, *, in_multi: bool) -> Create:
    """Read a create of any type. Of type and mode, which may disagree, ZooKeeper goes by the one here and by the other there."""
    path, data, acl, mode = fields.string(), fields.buffer(), read_acl(fields), fields.integer()
    is_container = op is Op.CREATE_CONTAINER or (in_multi and mode == _CONTAINER_MODE)
    if op is Op.CREATE_TTL:
        ttl_ms = fields.long()
        if mode not in (_TTL_MODE, _TTL_SEQUENTIAL_MODE) or ttl_ms <= 0:
            ttl_ms = _INVALID_TTL_MS
    elif _PERSISTENT_MODE <= mode <= _CONTAINER_MODE:
        ttl_ms = 0
    elif in_multi:
        raise JuteError(f"mode {mode} of a create in a multi")
    else:
        ttl_ms = _INVALID_TTL_MS
    return Create(
        path,
        data,
        mode in (_EPHEMERAL_MODE, _EPHEMERAL_SEQUENTIAL_MODE) and not is_container,
        mode in (_PERSISTENT_SEQUENTIAL_MODE, _EPHEMERAL_SEQUENTIAL_MODE, _TTL_SEQUENTIAL_MODE),
        acl,
        is_container,
        ttl_ms,
    )


def _operation(fields: Reader, op: Op, *, in_multi: bool) -> Operation:
    if op is Op.SET_DATA:
        return SetData(fields.string(), fields.buffer(), fields.integer())
    if op is Op.DELETE:
        return Delete(fields.string(), fields.integer())
    if op is Op.CHECK:
        return Check(fields.string(), fields.integer())
    if op is Op.SET_ACL:
        return SetAcl(fields.string(), read_acl(fields), fields.integer())
    return _create(fields, op, in_multi=in_multi)


_CREATES: Final = (Op.CREATE, Op.CREATE2, Op.CREATE_CONTAINER, Op.CREATE_TTL)
_IN_MULTI: Final = {int(op): op for op in (*_CREATES, Op.DELETE, Op.SET_DATA, Op.CHECK)}


def _alone(op: Op) -> Callable[[Reader], Request]:
    return lambda fields: Write((_operation(fields, op, in_multi=False),), (op,), False)


def _multi(fields: Reader) -> Request:
    operations: list[Operation] = []
    ops: list[Op] = []
    while not (head := (fields.integer(), fields.boolean(), fields.integer()))[1]:
        op = _IN_MULTI.get(head[0])
        if op is None:
            raise JuteError(f"an operation of type {head[0]} in a multi")
        operation = _operation(fields, op, in_multi=True)
        operations.append(operation)
        # Its result is called after what was made, not after what was asked.
        ops.append(Op.CREATE2 if op is Op.CREATE_TTL or (isinstance(operation, Create) and operation.container) else op)
    return Write(tuple(operations), tuple(ops), True)


def _multi_read(fields: Reader) -> Request:
    questions: list[GetData | GetChildren] = []
    while not (head := (fields.integer(), fields.boolean(), fields.integer()))[1]:
        if head[0] == Op.GET_DATA:
            questions.append(_get_data(fields)._replace(watch=False))
        elif head[0] == Op.GET_CHILDREN:
            questions.append(_get_children(fields)._replace(watch=False))
        else:
            raise JuteError(f"an operation of type {head[0]} in a multi of questions")
    return MultiRead(tuple(questions))


def _get_data(fields: Reader) -> GetData:
    return GetData(fields.string(), fields.boolean())


def _get_children(fields: Reader) -> GetChildren:
    return GetChildren(fields.string(), fields.boolean(), False)


def _auth(fields: Reader) -> Request:
    fields.integer()  # a type that nobody uses
    return Auth(fields.string(), fields.buffer() or b"")


def _set_watches(fields: Reader) -> Request:
    return SetWatches(fields.long(), _strings(fields), _strings(fields), _strings(fields), [], [])


def _set_watches2(fields: Reader) -> Request:
    return SetWatches(fields.long(), _strings(fields), _strings(fields), _strings(fields), _strings(fields), _strings(fields))


_DECODERS: Final[dict[int, Callable[[Reader], Request]]] = {
    **{int(op): _alone(op) for op in (*_CREATES, Op.DELETE, Op.SET_DATA, Op.SET_ACL, Op.CHECK)},
    Op.MULTI: _multi,
    Op.MULTI_READ: _multi_read,
    Op.EXISTS: lambda fields: Exists(fields.string(), fields.boolean()),
    Op.GET_DATA: _get_data,
    Op.GET_CHILDREN: _get_children,
    Op.GET_CHILDREN2: lambda fields: GetChildren(fields.string(), fields.boolean(), True),
    Op.GET_ACL: lambda fields: GetAcl(fields.string()),
    Op.SYNC: lambda fields: Sync(fields.string()),
    Op.PING: lambda fields: Ping(),
    Op.RECONFIG: lambda fields: Reconfig(),
    Op.CHECK_WATCHES: lambda fields: CheckWatches(fields.string(), fields.integer()),
    Op.REMOVE_WATCHES: lambda fields: RemoveWatches(fields.string(), fields.integer()),
    Op.AUTH: _auth,
    Op.SASL: lambda fields: Sasl(),
    Op.SET_WATCHES: _set_watches,
    Op.SET_WATCHES2: _set_watches2,
    Op.GET_EPHEMERALS: lambda fields: GetEphemerals(fields.string()),
    Op.GET_ALL_CHILDREN_NUMBER: lambda fields: CountBelow(fields.string()),
    Op.ADD_WATCH: lambda fields: AddWatch(fields.string(), fields.integer()),
    Op.WHO_AM_I: lambda fields: WhoAmI(),
    Op.CLOSE_SESSION: lambda fields: CloseSession(),
}


# ---- encoding ---------------------------------------------------------------------------------------------------------------


def encode_connect_answer(connect: Connect, timeout_ms: int, session_id: int, password: bytes) -> bytes:
    """Return the frame that answers a connect record; a timeout of 0 says that the session is over."""
    body = struct.pack(">iiqi", 0, timeout_ms, session_id, len(password)) + password
    if connect.knows_read_only:
        body += b"\0"  # this server can be written
    return _INT.pack(len(body)) + body


def encode_answer(xid: int, zxid: int, body: bytes = b"", error: int = 0) -> bytes:
    """Return an answer's frame."""
    return _ANSWER.pack(_ANSWER_HEAD_BYTES + len(body), xid, zxid, error) + body


def encode_event(event: WatchEvent, zxid: int) -> bytes:
    """Return the frame of an event and the transaction that it is of, as 3.9 tells it (3.8 told none)."""
    path = event.path.encode()
    return encode_answer(EVENT_XID, zxid, struct.pack(">iii", event.type, _SYNC_CONNECTED, len(path)) + path)


def encode_stat(stat: Stat) -> bytes:
    """Return a stat."""
    return _STAT.pack(*stat)


def encode_buffer(data: bytes | None) -> bytes:
    """Return a buffer, or that there is none."""
    return b"\xff\xff\xff\xff" if data is None else _INT.pack(len(data)) + data


def encode_string(text: str) -> bytes:
    """Return a string."""
    return encode_buffer(text.encode())


def encode_strings(texts: Sequence[str]) -> bytes:
    """Return a vector of strings."""
    return _INT.pack(len(texts)) + b"".join(map(encode_string, texts))


def encode_integer(number: int) -> bytes:
    """Return an integer."""
    return _INT.pack(number)


def encode_acl(acl: Acl) -> bytes:
    """Return an access control list."""
    out = Writer()
    write_acl(out, acl)
    return out.to_bytes()


def encode_identities(identities: Iterable[Identity]) -> bytes:
    """Return a vector of identities, as `whoAmI` answers them."""
    encoded = [encode_string(scheme) + encode_string(name) for scheme, name in identities]
    return _INT.pack(len(encoded)) + b"".join(encoded)


def encode_results(write: Write, results: Sequence[Result]) -> bytes:
    """Return the body that tells the results of a write that was carried out."""
    if not write.is_multi:
        return _result(write.ops[0], results[0])
    parts = [_multi_head(op) + _result(op, result) for op, result in zip(write.ops, results, strict=True)]
    return b"".join(parts) + _MULTI_END


def encode_failed_multi(codes: Iterable[int]) -> bytes:
    """Return the body that tells an error code for each operation of a multi of which nothing was done."""
    return b"".join(_multi_head(Op.ERROR, code) + _INT.pack(code) for code in codes) + _MULTI_END


def encode_multi_read(answers: Iterable[tuple[Op, bytes, int]]) -> bytes:
    """Return the body that tells the answers to several questions, each (type, body, error code)."""
    parts = [_multi_head(Op.ERROR, code) + _INT.pack(code) if code else _multi_head(op) + body for op, body, code in answers]
    return b"".join(parts) + _MULTI_END


def _multi_head(op: Op, error: int = 0) -> bytes:
    return struct.pack(">i?i", op, False, error)


_MULTI_END: Final = struct.pack(">i?i", -1, True, -1)


def _result(op: Op, result: Result) -> bytes:
    if isinstance(result, Created):
        path = encode_string(result.path)
        return path if op is Op.CREATE else path + encode_stat(result.stat)
    return b"" if result is None else encode_stat(result)
