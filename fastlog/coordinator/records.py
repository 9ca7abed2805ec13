"""How transactions and znodes look in the journal and in snapshots. Pure; jute fields, operations under ZooKeeper's type codes.

Format 1. A transaction is: zxid, time, session id, type; then for a multi a vector of typed operations. A change of any layout
here wants a new format number in the journal's and the snapshot's head.
"""

from __future__ import annotations

from typing import Final

from fastlog.coordinator.jute import JuteError, Reader, Writer
from fastlog.coordinator.tree import Check, CloseSession, Create, Delete, OpenSession, Operation, SetData, Transaction, Znode

FORMAT: Final = 1

_CREATE: Final = 1
_DELETE: Final = 2
_SET_DATA: Final = 5
_CHECK: Final = 13
_MULTI: Final = 14
_OPEN_SESSION: Final = -10
_CLOSE_SESSION: Final = -11

_EPHEMERAL: Final = 1
_SEQUENTIAL: Final = 2

_LEAST_OPERATION_BYTES: Final = 12


def encode_transaction(transaction: Transaction) -> bytes:
    """Return a transaction's bytes."""
    out = Writer()
    out.long(transaction.zxid)
    out.long(transaction.time_ms)
    out.long(transaction.session_id)
    request = transaction.request
    if isinstance(request, OpenSession):
        out.integer(_OPEN_SESSION)
        out.long(request.session_id)
        out.integer(request.timeout_ms)
    elif isinstance(request, CloseSession):
        out.integer(_CLOSE_SESSION)
        out.long(request.session_id)
    else:
        out.integer(_MULTI)
        out.integer(len(request))
        for operation in request:
            _encode_operation(out, operation)
    return out.to_bytes()


def _encode_operation(out: Writer, operation: Operation) -> None:
    match operation:
        case Create(path, data, ephemeral, sequential):
            out.integer(_CREATE)
            out.string(path)
            out.buffer(data)
            out.integer(_EPHEMERAL * ephemeral | _SEQUENTIAL * sequential)
        case Delete(path, version):
            out.integer(_DELETE)
            out.string(path)
            out.integer(version)
        case SetData(path, data, version):
            out.integer(_SET_DATA)
            out.string(path)
            out.buffer(data)
            out.integer(version)
        case Check(path, version):
            out.integer(_CHECK)
            out.string(path)
            out.integer(version)


def decode_transaction(data: bytes) -> Transaction:
    """Return the transaction that `data` holds; JuteError when it holds none."""
    fields = Reader(data)
    zxid, time_ms, session_id, kind = fields.long(), fields.long(), fields.long(), fields.integer()
    request: tuple[Operation, ...] | OpenSession | CloseSession
    if kind == _OPEN_SESSION:
        request = OpenSession(fields.long(), fields.integer())
    elif kind == _CLOSE_SESSION:
        request = CloseSession(fields.long())
    elif kind == _MULTI:
        request = tuple(fields.vector(_decode_operation, _LEAST_OPERATION_BYTES))
    else:
        raise JuteError(f"unknown transaction type {kind}")
    fields.end()
    return Transaction(zxid, time_ms, session_id, request)


def _decode_operation(fields: Reader) -> Operation:
    kind = fields.integer()
    path = fields.string()
    if kind == _CREATE:
        data, flags = fields.buffer(), fields.integer()
        return Create(path, data, bool(flags & _EPHEMERAL), bool(flags & _SEQUENTIAL))
    if kind == _DELETE:
        return Delete(path, fields.integer())
    if kind == _SET_DATA:
        return SetData(path, fields.buffer(), fields.integer())
    if kind == _CHECK:
        return Check(path, fields.integer())
    raise JuteError(f"unknown operation type {kind}")


def encode_znode(out: Writer, path: str, node: Znode) -> None:
    """Append one znode of a snapshot."""
    out.string(path)
    out.buffer(node.data)
    for number in node[1:]:
        out.long(number)


def decode_znode(fields: Reader) -> tuple[str, Znode]:
    """Read one znode of a snapshot."""
    path, data = fields.string(), fields.buffer()
    czxid, mzxid, pzxid, ctime_ms, mtime_ms, version, created_children, owner = (fields.long() for _ in range(8))
    return path, Znode(data, czxid, mzxid, pzxid, ctime_ms, mtime_ms, version, created_children, owner)
