"""What is in the coordinator's files, and what is wrong with them, without a coordinator: nothing here changes a byte.

Items are as in `fastlog.storage.inspection`: dicts with `kind`, `file` and what there is to say; of kind "problem", what is
wrong. The rules are the journal's own (`journal.py`): a torn tail of the last file is no fault, as nobody was told of it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, Final

from fastlog.coordinator import journal
from fastlog.coordinator.jute import JuteError
from fastlog.coordinator.records import FORMAT, decode_transaction
from fastlog.coordinator.tree import CloseSession, OpenSession, Operation, Transaction
from fastlog.env import Disk

Item = dict[str, Any]
ZXID_DIGITS: Final = 16


def _zxid_in(name: str, prefix: str) -> int | None:
    digits = name.removeprefix(prefix)
    if digits == name or len(digits) != ZXID_DIGITS or not set(digits) <= set("0123456789abcdef"):
        return None
    return int(digits, 16)


def is_coordinator(found: list[str]) -> bool:
    """Tell whether a directory with these names is a coordinator's."""
    return any(_zxid_in(name, journal.JOURNAL_PREFIX) is not None for name in found)


def inspect_file(disk: Disk, path: str, *, is_last: bool = True) -> Iterator[Item] | None:
    """Return the items of a journal file or a snapshot, told by its name; None for any other."""
    name = path.rpartition("/")[2]
    first_zxid = _zxid_in(name, journal.JOURNAL_PREFIX)
    if first_zxid is not None:
        return _journal(disk, path, first_zxid, is_last=is_last)
    zxid = _zxid_in(name, journal.SNAPSHOT_PREFIX)
    return None if zxid is None else _snapshot(disk, path, zxid)


def inspect_directory(disk: Disk, path: str) -> Iterator[Item]:
    """Yield the snapshots and journal files of a coordinator's directory."""
    found = disk.list_directory(path)
    journals = [name for name in found if _zxid_in(name, journal.JOURNAL_PREFIX) is not None]
    for name in sorted(found, key=lambda name: (name in journals, name)):
        items = inspect_file(disk, f"{path}/{name}", is_last=name == journals[-1])
        yield from items if items is not None else iter([{"kind": "unknown", "file": f"{path}/{name}"}])


def _problem(path: str, position: int, reason: str) -> Item:
    return {"kind": "problem", "file": path, "reason": reason, "position": position}


def _snapshot(disk: Disk, path: str, zxid: int) -> Iterator[Item]:
    yield {"kind": "coordinator snapshot", "file": path, "size_bytes": disk.size_bytes(path)}
    try:
        tree = journal.load_snapshot(disk, path)
    except journal.CorruptJournal as error:
        yield _problem(path, error.position, error.reason)
        return
    if tree.zxid != zxid:
        yield _problem(path, 0, f"the snapshot is of zxid {tree.zxid:#x}")
    for session_id, session in sorted(tree.sessions.items()):
        yield {"kind": "session", "file": path, "session_id": session_id, "timeout_ms": session.timeout_ms}
    for name, node in sorted(tree.nodes.items()):
        yield {"kind": "znode", "file": path, "path": name, **node._asdict()}


def _journal(disk: Disk, path: str, first_zxid: int, *, is_last: bool) -> Generator[Item, None, None]:
    data = journal.read_whole(disk, path)
    yield {"kind": "journal", "file": path, "size_bytes": len(data)}
    position, last_zxid = 0, first_zxid - 1
    while position < len(data) or position == 0:
        frame = journal.read_frame(data, position)
        if isinstance(frame, str):
            if is_last and not journal.has_witness(data, position):
                yield {"kind": "torn tail", "file": path, "position": position, "size_bytes": len(data) - position}
            else:
                yield _problem(path, position, frame)
            return
        item: Item = {
            "kind": "frame",
            "file": path,
            "position": position,
            "zxid": frame.zxid,
            "synced_position": frame.synced_position,
        }
        if (frame.kind == journal.HEAD) is not (position == 0) or (position == 0 and frame.payload != FORMAT.to_bytes(4, "big")):
            yield _problem(path, position, f"not the head of a journal of format {FORMAT}")
            return
        if frame.zxid != last_zxid + (frame.kind == journal.TRANSACTION):
            yield _problem(path, position, f"zxid {frame.zxid:#x} follows {last_zxid:#x}")
        last_zxid = frame.zxid
        if frame.kind == journal.TRANSACTION:
            try:
                yield item | _transaction(decode_transaction(frame.payload))
            except JuteError as error:
                yield _problem(path, position, f"transaction {frame.zxid:#x}: {error}")
        else:
            yield item | {"holds": "head" if frame.kind == journal.HEAD else "end"}
        position = frame.end


def _transaction(transaction: Transaction) -> Item:
    about: Item = {"time_ms": transaction.time_ms, "session_id": transaction.session_id}
    request = transaction.request
    if isinstance(request, OpenSession):
        return about | {"holds": "open session", "opened": request.session_id, "timeout_ms": request.timeout_ms}
    if isinstance(request, CloseSession):
        return about | {"holds": "close session", "closed": request.session_id}
    return about | {"holds": "transaction", "operations": [_operation(operation) for operation in request]}


def _operation(operation: Operation) -> Item:
    return {"operation": type(operation).__name__, **operation._asdict()}
