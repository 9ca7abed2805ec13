"""How transactions and znodes look in the journal and in snapshots. Pure; jute fields, operations under ZooKeeper's type codes.

Format 2. A transaction is: zxid, time, session id, type; then for a multi a vector of typed operations. A change of any layout
here wants a new format number in the journal's and the snapshot's head.
"""

from __future__ import annotations

from fastlog.coordinator.acl import OPEN_ACL, Acl, read_acl, shared, write_acl
from fastlog.coordinator.jute import JuteError, Reader, Writer
from fastlog.coordinator.tree import (
    Check,
    CloseSession,
    Create,
    Delete,
    OpenSession,
    Operation,
    SetAcl,
    SetData,
    Transaction,
    Znode,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


FORMAT: Final = 2

_CREATE: Final = 1
_DELETE: Final = 2
_SET_DATA: Final = 5
_SET_ACL: Final = 7
_CHECK: Final = 13
_MULTI: Final = 14
_OPEN_SESSION: Final = -10
_CLOSE_SESSION: Final = -11

_EPHEMERAL: Final = 1
_SEQUENTIAL: Final = 2
_CONTAINER: Final = 4

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
        out.buffer(request.password)
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
        case Create(path, data, ephemeral, sequential, acl, container, ttl_ms):
            out.integer(_CREATE)
            out.string(path)
            out.buffer(data)
            out.integer(_EPHEMERAL * ephemeral | _SEQUENTIAL * sequential | _CONTAINER * container)
            _write_acl(out, acl)
            out.long(ttl_ms)
        case Delete(path, version):
            out.integer(_DELETE)
            out.string(path)
            out.integer(version)
        case SetData(path, data, version):
            out.integer(_SET_DATA)
            out.string(path)
            out.buffer(data)
            out.integer(version)
        case SetAcl(path, acl, version):
            out.integer(_SET_ACL)
            out.string(path)
            _write_acl(out, acl)
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
        request = OpenSession(fields.long(), fields.integer(), fields.buffer() or b"")
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
        acl, ttl_ms = _read_acl(fields), fields.long()
        return Create(path, data, bool(flags & _EPHEMERAL), bool(flags & _SEQUENTIAL), acl, bool(flags & _CONTAINER), ttl_ms)
    if kind == _DELETE:
        return Delete(path, fields.integer())
    if kind == _SET_DATA:
        return SetData(path, fields.buffer(), fields.integer())
    if kind == _SET_ACL:
        return SetAcl(path, _read_acl(fields), fields.integer())
    if kind == _CHECK:
        return Check(path, fields.integer())
    raise JuteError(f"unknown operation type {kind}")


def _write_acl(out: Writer, acl: Acl) -> None:
    """Append a list; the open one, which nearly all znodes have, is written as an empty one."""
    write_acl(out, () if acl == OPEN_ACL else acl)


def _read_acl(fields: Reader) -> Acl:
    acl = read_acl(fields)
    return shared(acl) if acl else OPEN_ACL


def encode_znode(out: Writer, path: str, node: Znode) -> None:
    """Append one znode of a snapshot."""
    out.string(path)
    out.buffer(node.data)
    _write_acl(out, node.acl)
    out.longs(node[2:])


def decode_znode(fields: Reader) -> tuple[str, Znode]:
    """Read one znode of a snapshot."""
    path, data, acl = fields.string(), fields.buffer(), _read_acl(fields)
    return path, Znode(data, acl, *fields.longs(9))
