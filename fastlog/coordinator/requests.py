"""ZooKeeper's wire protocol as its client sees it: what requests look like, what answers and events hold. Pure.

Source: ZooKeeper's `zookeeper.jute` and the wire behaviour of ZooKeeper 3.8 and 3.9. Every frame has its size in front of it
(four bytes, not seen here). A connection begins with one connect record each way; from then on a request is its xid, its type
and its body, and an answer is the xid, the zxid that the server had carried out when it answered, an error code, and the body
where there was no error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from fastlog.coordinator.acl import write_acl
from fastlog.coordinator.errors import MultiFailed, NoNode, error_for_code
from fastlog.coordinator.jute import JuteError, Reader, Writer
from fastlog.coordinator.tree import Check, Create, Created, Delete, Operation, Result, SetAcl, SetData, Stat
from fastlog.coordinator.watches import EventType, WatchEvent

EVENT_XID: Final = -1
PING_XID: Final = -2
SET_WATCHES_XID: Final = -8
"""Xids that stand outside the order of requests and answers."""

PASSWORD_BYTES: Final = 16
NO_PASSWORD: Final = bytes(PASSWORD_BYTES)

OK: Final = 0

_DELETE: Final = 2
_EXISTS: Final = 3
_GET_DATA: Final = 4
_SET_DATA: Final = 5
_SET_ACL: Final = 7
_PING: Final = 11
_GET_CHILDREN_WITH_STAT: Final = 12
_CHECK: Final = 13
_MULTI: Final = 14
_CREATE_WITH_STAT: Final = 15
_CREATE_CONTAINER: Final = 19
_CREATE_WITH_TTL: Final = 21
_SET_WATCHES: Final = 101
_CLOSE_SESSION: Final = -11
_ERROR: Final = -1

_EPHEMERAL: Final = 1
_SEQUENTIAL: Final = 2
_CONTAINER: Final = 4
_TTL: Final = 5
_LEAST_STRING_BYTES: Final = 4


class Get(NamedTuple):
    """Ask for a znode's data and stat."""

    path: str
    watch: bool = False


class Exists(NamedTuple):
    """Ask for a znode's stat, None when it is not there."""

    path: str
    watch: bool = False


class Children(NamedTuple):
    """Ask for the names of a znode's children, and its own stat."""

    path: str
    watch: bool = False


class Write(NamedTuple):
    """Carry operations out, all or none."""

    operations: tuple[Operation, ...]


class Close(NamedTuple):
    """End the session."""


Request = Get | Exists | Children | Write | Close
Answer = tuple[bytes | None, Stat] | Stat | tuple[list[str], Stat] | list[Result] | None


class ConnectAnswer(NamedTuple):
    """What a server says first. A timeout of 0 means that the session is over."""

    timeout_ms: int
    session_id: int
    password: bytes


class AnswerHead(NamedTuple):
    """What every answer and event begins with."""

    xid: int
    zxid: int
    error: int


# ---- requests ---------------------------------------------------------------------------------------------------------------


def encode_connect(last_zxid: int, timeout_ms: int, session_id: int, password: bytes) -> bytes:
    """Return the record that opens a session (id 0) or attaches to one."""
    out = Writer()
    out.integer(0)  # the protocol's version
    out.long(last_zxid)
    out.integer(timeout_ms)
    out.long(session_id)
    out.buffer(password)
    out.boolean(False)  # a server that can only be read is of no use
    return out.to_bytes()


def encode_request(xid: int, request: Request) -> bytes:
    """Return a request's frame."""
    out = Writer()
    out.integer(xid)
    match request:
        case Get(path, watch):
            _question(out, _GET_DATA, path, watch)
        case Exists(path, watch):
            _question(out, _EXISTS, path, watch)
        case Children(path, watch):
            _question(out, _GET_CHILDREN_WITH_STAT, path, watch)
        case Write(operations):
            if _goes_alone(operations):
                out.integer(_type_of(operations[0]))
                _operation(out, operations[0])
            else:
                out.integer(_MULTI)
                for operation in operations:
                    _multi_head(out, _type_of(operation), is_last=False)
                    _operation(out, operation)
                _multi_head(out, _ERROR, is_last=True)
        case Close():
            out.integer(_CLOSE_SESSION)
    return out.to_bytes()


def encode_ping() -> bytes:
    """Return the frame that keeps a session alive."""
    out = Writer()
    out.integer(PING_XID)
    out.integer(_PING)
    return out.to_bytes()


def encode_set_watches(last_zxid: int, data: Sequence[str], exist: Sequence[str], child: Sequence[str]) -> bytes:
    """Return the frame that leaves watches again on a new connection; what happened since `last_zxid` is told at once."""
    out = Writer()
    out.integer(SET_WATCHES_XID)
    out.integer(_SET_WATCHES)
    out.long(last_zxid)
    for paths in (data, exist, child):
        out.integer(len(paths))
        for path in paths:
            out.string(path)
    return out.to_bytes()


def _question(out: Writer, kind: int, path: str, watch: bool) -> None:
    out.integer(kind)
    out.string(path)
    out.boolean(watch)


def _goes_alone(operations: Sequence[Operation]) -> bool:
    """Tell whether a write needs no multi around it; a check is nothing outside of one."""
    return len(operations) == 1 and not isinstance(operations[0], Check)


def _type_of(operation: Operation) -> int:
    match operation:
        case Create(container=True):
            return _CREATE_CONTAINER
        case Create(ttl_ms=ttl_ms):
            return _CREATE_WITH_TTL if ttl_ms else _CREATE_WITH_STAT
        case Delete():
            return _DELETE
        case SetData():
            return _SET_DATA
        case SetAcl():
            return _SET_ACL
        case Check():
            return _CHECK


def _type_of_result(operation: Operation) -> int:
    """Return the type that an operation's result has within a multi: a create of any kind that tells a stat is one."""
    return _CREATE_WITH_STAT if isinstance(operation, Create) else _type_of(operation)


def _operation(out: Writer, operation: Operation) -> None:
    out.string(operation.path)
    match operation:
        case Create(_, data, ephemeral, sequential, acl, container, ttl_ms):
            out.buffer(data)
            write_acl(out, acl)
            if container:
                out.integer(_CONTAINER)
            elif ttl_ms:
                out.integer(_TTL + sequential)
                out.long(ttl_ms)
            else:
                out.integer(_EPHEMERAL * ephemeral | _SEQUENTIAL * sequential)
        case SetData(_, data, version):
            out.buffer(data)
            out.integer(version)
        case SetAcl(_, acl, version):
            write_acl(out, acl)
            out.integer(version)
        case Delete(_, version) | Check(_, version):
            out.integer(version)


def _multi_head(out: Writer, kind: int, *, is_last: bool) -> None:
    out.integer(kind)
    out.boolean(is_last)
    out.integer(-1)


# ---- answers and events -----------------------------------------------------------------------------------------------------


def decode_connect_answer(data: bytes) -> ConnectAnswer:
    """Return what a server says first; JuteError."""
    fields = Reader(data)
    fields.integer()
    timeout_ms, session_id, password = fields.integer(), fields.long(), fields.buffer() or b""
    if fields.remaining:  # servers before 3.4 don't say whether they can only be read
        fields.boolean()
    return ConnectAnswer(timeout_ms, session_id, password)


def decode_head(fields: Reader) -> AnswerHead:
    """Read what an answer or an event begins with; JuteError."""
    return AnswerHead(fields.integer(), fields.long(), fields.integer())


def decode_event(fields: Reader) -> WatchEvent | None:
    """Read an event; None for one that is not about a znode. JuteError."""
    kind, _, path = fields.integer(), fields.integer(), fields.string()
    try:
        return WatchEvent(EventType(kind), path)
    except ValueError:
        return None


def decode_answer(request: Request, error: int, fields: Reader) -> Answer:
    """Return what a request has brought; raises the CoordinatorError that the server answered, or JuteError."""
    if error != OK:
        refusal = error_for_code(error, _path_of(request))
        if isinstance(request, Exists) and isinstance(refusal, NoNode):
            return None
        raise refusal
    match request:
        case Get():
            return fields.buffer(), _stat(fields)
        case Exists():
            return _stat(fields)
        case Children():
            names = fields.vector(Reader.string, _LEAST_STRING_BYTES)
            return sorted(names), _stat(fields)
        case Write(operations):
            if _goes_alone(operations):
                return [_result(operations[0], fields)]
            return _results(operations, fields)
        case Close():
            return None


def _results(operations: Sequence[Operation], fields: Reader) -> list[Result]:
    """Read the answer to a multi: a result for each operation, or an error for each where one of them failed."""
    results: list[Result] = []
    errors: list[int] = []
    for operation in operations:
        kind, is_last, _ = fields.integer(), fields.boolean(), fields.integer()
        if is_last:
            raise JuteError(f"a multi of {len(operations)} operations has fewer results")
        if kind == _ERROR:
            errors.append(fields.integer())
        elif kind == _type_of_result(operation):
            results.append(_result(operation, fields))
        else:
            raise JuteError(f"a result of type {kind} to an operation of type {_type_of(operation)}")
    if (fields.integer(), fields.boolean(), fields.integer())[1] is not True:
        raise JuteError(f"a multi of {len(operations)} operations has more results")
    if not errors:
        return results
    index = next((index for index, code in enumerate(errors) if code not in (OK, MultiFailed.code)), 0)
    error = error_for_code(errors[index], operations[index].path)
    raise error if len(operations) == 1 else MultiFailed(index, error)


def _result(operation: Operation, fields: Reader) -> Result:
    match operation:
        case Create():
            return Created(fields.string(), _stat(fields))
        case SetData() | SetAcl():
            return _stat(fields)
        case Delete() | Check():
            return None


def _stat(fields: Reader) -> Stat:
    czxid, mzxid, ctime_ms, mtime_ms = fields.long(), fields.long(), fields.long(), fields.long()
    version, cversion, aversion, owner = fields.integer(), fields.integer(), fields.integer(), fields.long()
    data_length, num_children, pzxid = fields.integer(), fields.integer(), fields.long()
    return Stat(czxid, mzxid, ctime_ms, mtime_ms, version, cversion, aversion, owner, data_length, num_children, pzxid)


def _path_of(request: Request) -> str:
    match request:
        case Get(path, _) | Exists(path, _) | Children(path, _):
            return path
        case Write(operations):
            return operations[0].path if operations else ""
        case Close():
            return ""
