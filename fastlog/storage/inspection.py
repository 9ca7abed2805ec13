"""What is in the files of a data directory, and what is wrong with them, without a broker: nothing here changes a byte.

Every function yields items, in the order of the bytes: a dict with `kind`, the `file` it is of, and what there is to say. Items
of kind "problem" say what is wrong (`reason`, and `position` where one is known); everything else is as it should be. What counts
as wrong is what a start would cut, drop, build anew or disbelieve, and what would hide records from readers.

A log is read batch by batch, indexes and checkpoints before it: what a running broker appends meanwhile never looks like an index
that points past the end. An index is held against the log as the walk passes, so memory is bounded by one batch, the indexes and
the constants here, whatever the length fields say.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from fastlog import codecs
from fastlog._core import BATCH_OVERHEAD_BYTES, Batch, CorruptBatch, File, scan
from fastlog.env import Disk
from fastlog.errors import CorruptRecord, UsageError
from fastlog.properties import parse_properties
from fastlog.storage import aborted_transactions, leader_epochs, meta_properties, names, partition_metadata, producer_state
from fastlog.storage.aborted_transactions import AbortedTransaction
from fastlog.storage.checkpoints import HIGH_WATERMARKS, LOG_START_OFFSETS, RECOVERY_POINTS, Offsets, parse_offsets, read_file

CLEANED_OFFSETS: Final = "cleaner-offset-checkpoint"
CHECKPOINTS: Final = (RECOVERY_POINTS, LOG_START_OFFSETS, HIGH_WATERMARKS, CLEANED_OFFSETS)
WINDOW_BYTES: Final = 1 << 20
MAX_BATCH_BYTES: Final = 128 << 20
"""Longer batches are not looked into: more than any request may carry by default."""
MAX_FAULTS_PER_INDEX: Final = 20
MAX_INDEX_BYTES: Final = 256 << 20
MAX_RELATIVE: Final = (1 << 31) - 1
ZEROS_LOOKED_AT_BYTES: Final = 64 << 10

_OFFSET_ENTRY: Final = struct.Struct(">ii")
_TIME_ENTRY: Final = struct.Struct(">qi")
_LENGTH_POSITION: Final = 8
_MAGIC_POSITION: Final = 16
_PREFIX_BYTES: Final = 12
_MAGIC: Final = 2
_CONTROL_KEY: Final = struct.Struct(">hh")
_CONTROL_VALUE: Final = struct.Struct(">hi")
_CONTROL_TYPES: Final = (
    "abort",
    "commit",
    "leader change",
    "snapshot header",
    "snapshot footer",
    "kraft version",
    "kraft voters",
)
_ABORT: Final = 0
_WAITING_SUFFIXES: Final = (names.DELETED_SUFFIX, names.REPLACEMENT_SUFFIX, ".swap")

Item = dict[str, Any]
Items = Iterator[Item]


def problem(file: str, reason: str, position: int | None = None) -> Item:
    """Return the item that tells of something wrong."""
    found: Item = {"kind": "problem", "file": file, "reason": reason}
    if position is not None:
        found["position"] = position
    return found


# ---- indexes ----


class _OffsetIndexCheck:
    """An offset index, held against the batches of its log as they pass in order."""

    def __init__(self, path: str, base_offset: int, entries: list[tuple[int, int]]) -> None:
        self._path = path
        self._base_offset = base_offset
        self._entries = entries
        self._next = 0
        self.faults = 0

    def batch(self, position: int, batch: Batch) -> Items:
        """Look at the entries up to a batch's position."""
        while self._next < len(self._entries) and self._entries[self._next][1] <= position:
            number, (relative, there) = self._next, self._entries[self._next]
            offset = self._base_offset + relative
            self._next += 1
            if there < position:
                yield from self._fault(number, f"offset {offset} is said to be at position {there}, where no batch begins")
            elif offset < batch.base_offset:
                yield from self._fault(number, f"offset {offset} is before the batch at position {there}, of {_offsets(batch)}")

    def end(self, size: int) -> Items:
        """Say which entries point past the last whole batch."""
        for number in range(self._next, len(self._entries)):
            relative, there = self._entries[number]
            offset = self._base_offset + relative
            yield from self._fault(number, f"offset {offset} is said to be at position {there}, and the batches end at {size}")

    def _fault(self, number: int, reason: str) -> Items:
        self.faults += 1
        if self.faults <= MAX_FAULTS_PER_INDEX:
            yield problem(self._path, reason, number * _OFFSET_ENTRY.size)


class _TimeIndexCheck:
    """A time index, held against the batches of its log as they pass in order."""

    def __init__(self, path: str, base_offset: int, entries: list[tuple[int, int]]) -> None:
        self._path = path
        self._base_offset = base_offset
        self._entries = entries
        self._next = 0
        self._greatest = -1
        self.faults = 0

    def batch(self, batch: Batch) -> Items:
        """Look at the entries up to a batch's last offset."""
        while self._next < len(self._entries) and self._base_offset + self._entries[self._next][1] <= batch.last_offset:
            number, (timestamp_ms, relative) = self._next, self._entries[self._next]
            offset = self._base_offset + relative
            self._next += 1
            if offset < batch.base_offset or timestamp_ms != batch.max_timestamp_ms:
                yield from self._fault(
                    number, f"timestamp {timestamp_ms} is not of the batch with offset {offset}, {batch.max_timestamp_ms} is"
                )
            elif timestamp_ms <= self._greatest:
                yield from self._fault(number, f"timestamp {timestamp_ms} is reached before offset {offset}")
        self._greatest = max(self._greatest, batch.max_timestamp_ms)

    def end(self, next_offset: int) -> Items:
        """Say which entries lie past the last whole batch."""
        for number in range(self._next, len(self._entries)):
            offset = self._base_offset + self._entries[number][1]
            yield from self._fault(number, f"it has offset {offset}, and the batches end at {next_offset}")

    def _fault(self, number: int, reason: str) -> Items:
        self.faults += 1
        if self.faults <= MAX_FAULTS_PER_INDEX:
            yield problem(self._path, reason, number * _TIME_ENTRY.size)


def _index(
    disk: Disk, path: str, base_offset: int, kind: str, layout: struct.Struct
) -> Generator[Item, None, list[tuple[int, int]]]:
    """Yield an index's entries; return those, as the file has them, up to the first that cannot be right."""
    data = _read_all(disk, path, MAX_INDEX_BYTES)
    # A live index of Kafka's ends in zeros that are no entries. An entry may end in zeros, and the first may be nothing else.
    used = -(-len(data.rstrip(b"\0")) // layout.size)
    whole = min(used, len(data) // layout.size)
    yield {"kind": f"{kind} index", "file": path, "size_bytes": len(data), "entries": whole}
    if len(data) % layout.size:
        yield problem(path, f"{len(data)} bytes are no multiple of {layout.size}", whole * layout.size)
    entries: list[tuple[int, int]] = []
    before = (-1, -1)
    for number, (key, value) in enumerate(layout.iter_unpack(data[: whole * layout.size])):
        yield _index_entry(path, number, key, value, base_offset, kind)
        if key <= before[0] or value < before[1] or value < 0:
            yield problem(path, "the entries do not ascend", number * layout.size)
            break
        before = (key, value)
        entries.append(before)
    return entries


def _index_entry(path: str, number: int, key: int, value: int, base_offset: int, kind: str) -> Item:
    if kind == "offset":
        return {"kind": "index entry", "file": path, "entry": number, "offset": base_offset + key, "position": value}
    return {"kind": "time index entry", "file": path, "entry": number, "timestamp_ms": key, "offset": base_offset + value}


def _transaction_index(disk: Disk, path: str) -> Generator[Item, None, list[AbortedTransaction]]:
    """Yield a transaction index's entries, and return them."""
    data = _read_all(disk, path, MAX_INDEX_BYTES)
    yield {"kind": "transaction index", "file": path, "size_bytes": len(data)}
    try:
        entries = aborted_transactions.parse(data, path)
    except CorruptRecord as error:
        yield _said(path, error)
        return []
    for entry in entries:
        yield {"kind": "aborted transaction", "file": path, **entry._asdict()}
        if not entry.first_offset <= entry.last_offset:
            yield problem(path, f"a transaction that ends at {entry.last_offset}, before it begins at {entry.first_offset}")
    for earlier, later in pairwise(entries):
        if later.last_offset <= earlier.last_offset:
            yield problem(path, f"offset {later.last_offset} after {earlier.last_offset}")
    if len(data) % aborted_transactions.ENTRY_BYTES:
        yield problem(
            path, "the last entry is torn", len(data) // aborted_transactions.ENTRY_BYTES * aborted_transactions.ENTRY_BYTES
        )
    return entries


# ---- segments ----


@dataclass(slots=True)
class _Around:
    """What stands around a log file, and what was learned in walking it."""

    epochs: list[tuple[int, int]] = field(default_factory=list)
    next_base_offset: int | None = None
    with_records: bool = False
    epoch_fault_told: bool = False


class _Window:
    """A file's bytes, read some at a time."""

    def __init__(self, file: File, size: int) -> None:
        self._file = file
        self._size = size
        self._data = b""
        self._start = 0

    def read(self, position: int, count: int) -> bytes:
        """Return up to `count` bytes; fewer at the end of the file."""
        at = position - self._start
        if at < 0 or at + count > len(self._data):
            self._data = self._file.pread(min(max(count, WINDOW_BYTES), self._size - position), position)
            self._start, at = position, 0
        return self._data[at : at + count]


def segment(disk: Disk, directory: str, base_offset: int, around: _Around, suffix: str = "") -> Generator[Item, None, int]:
    """Yield the indexes and batches of one segment, held against one another; return the offset behind its last whole batch."""

    def path_of(kind: str) -> str:
        return f"{directory}/{names.offset_file(base_offset, kind)}{suffix}"

    offsets: list[tuple[int, int]] = []
    times: list[tuple[int, int]] = []
    aborted: list[AbortedTransaction] = []
    if disk.exists(path_of(names.OFFSET_INDEX_SUFFIX)):
        offsets = yield from _index(disk, path_of(names.OFFSET_INDEX_SUFFIX), base_offset, "offset", _OFFSET_ENTRY)
    if disk.exists(path_of(names.TIME_INDEX_SUFFIX)):
        times = yield from _index(disk, path_of(names.TIME_INDEX_SUFFIX), base_offset, "time", _TIME_ENTRY)
    if disk.exists(path_of(names.TRANSACTION_INDEX_SUFFIX)):
        aborted = yield from _transaction_index(disk, path_of(names.TRANSACTION_INDEX_SUFFIX))
    offset_check = _OffsetIndexCheck(path_of(names.OFFSET_INDEX_SUFFIX), base_offset, offsets)
    time_check = _TimeIndexCheck(path_of(names.TIME_INDEX_SUFFIX), base_offset, times)
    markers: set[tuple[int, int]] = set()
    log = path_of(names.LOG_SUFFIX)
    last_offset, end, is_whole = base_offset - 1, 0, True
    for position, batch, fault in _batches(disk, log):
        if isinstance(batch, dict):
            is_whole = is_whole and batch["kind"] != "problem"
            yield batch
            continue
        if batch is not None:
            yield _batch_item(log, position, batch)
        if fault is not None:
            yield problem(log, fault.reason, position + fault.position)
            is_whole = False
        if batch is None:
            continue
        yield from _place(log, position, batch, base_offset, last_offset, around)
        yield from offset_check.batch(position, batch)
        yield from time_check.batch(batch)
        last_offset, end = max(last_offset, batch.last_offset), position + batch.size_bytes
        if fault is None:
            yield from _records(log, position, batch, markers, around)
    yield from offset_check.end(end)
    yield from time_check.end(last_offset + 1)
    if is_whole:
        for transaction in aborted:
            if (transaction.producer_id, transaction.last_offset) not in markers:
                yield problem(
                    path_of(names.TRANSACTION_INDEX_SUFFIX),
                    f"producer {transaction.producer_id} has no abort marker at offset {transaction.last_offset}",
                )
    return last_offset + 1


def _batches(disk: Disk, path: str) -> Iterator[tuple[int, Batch | Item | None, CorruptBatch | None]]:
    """Yield (position, batch, what is wrong with it) to the end of what can be followed; items stand in a batch's place."""
    file = disk.open(path, read_only=True)
    try:
        size = file.size_bytes()
        yield 0, {"kind": "segment", "file": path, "size_bytes": size}, None
        window = _Window(file, size)
        position = 0
        while position < size:
            head = window.read(position, BATCH_OVERHEAD_BYTES)
            length = int.from_bytes(head[_LENGTH_POSITION:_PREFIX_BYTES], "big", signed=True)
            batch_bytes = length + _PREFIX_BYTES
            reason = _unfollowable(head, batch_bytes, size - position)
            if reason is not None:
                if not any(window.read(position, ZEROS_LOOKED_AT_BYTES)):
                    reason = "zeros"
                yield position, problem(path, f"{reason}; {size - position} bytes from here on are no batches", position), None
                return
            data = window.read(position, batch_bytes)
            if len(data) < batch_bytes:
                yield position, problem(path, "the file became shorter", position), None
                return
            yield position, *_scanned(data)
            position += batch_bytes
    finally:
        file.close()


def _unfollowable(head: bytes, batch_bytes: int, available: int) -> str | None:
    """Say why what comes behind a header cannot be found; None when it can."""
    if len(head) < BATCH_OVERHEAD_BYTES:
        return "a batch that is cut short"
    if batch_bytes < BATCH_OVERHEAD_BYTES:
        return "batch length below the header's"
    if head[_MAGIC_POSITION] > _MAGIC:
        return f"unknown magic {head[_MAGIC_POSITION]}"
    if batch_bytes > available:
        return f"a batch of {batch_bytes} bytes that is cut short"
    if batch_bytes > MAX_BATCH_BYTES:
        return f"a batch of {batch_bytes} bytes"
    return None


def _scanned(data: bytes) -> tuple[Batch | None, CorruptBatch | None]:
    try:
        return scan(data, compacted=True)[0], None
    except CorruptBatch as error:
        fault = error
    try:
        return scan(data, compacted=True, check_crc=False, check_records=False)[0], fault
    except CorruptBatch:
        return None, fault


def _place(log: str, position: int, batch: Batch, base_offset: int, last_offset: int, around: _Around) -> Items:
    """Say what is wrong with where a batch stands: its offsets among the others', its leader epoch among the epochs."""
    if batch.base_offset <= last_offset:
        where = "the segment" if last_offset < base_offset else f"offset {last_offset + 1}"
        yield problem(log, f"{_offsets(batch)} after the beginning of {where}", position)
    if batch.last_offset - base_offset > MAX_RELATIVE:
        yield problem(log, f"{_offsets(batch)} are further from the segment's first than an index can tell", position)
    if around.next_base_offset is not None and batch.last_offset >= around.next_base_offset:
        yield problem(
            log, f"{_offsets(batch)} reach into the next segment, which begins with {around.next_base_offset}", position
        )
    if around.epochs and not around.epoch_fault_told and batch.leader_epoch >= 0:
        known = bisect_right(around.epochs, batch.base_offset, key=lambda entry: entry[1]) - 1
        if known >= 0 and around.epochs[known][0] != batch.leader_epoch:
            around.epoch_fault_told = True
            yield problem(
                log,
                f"{_offsets(batch)} are of leader epoch {batch.leader_epoch}, and {leader_epochs.FILE_NAME} says "
                f"{around.epochs[known][0]}; further ones are not listed",
                position,
            )


def _offsets(batch: Batch) -> str:
    return f"offsets {batch.base_offset} to {batch.last_offset}"


def _batch_item(log: str, position: int, batch: Batch) -> Item:
    item: Item = {
        "kind": "batch",
        "file": log,
        "position": position,
        "size_bytes": batch.size_bytes,
        "base_offset": batch.base_offset,
        "last_offset": batch.last_offset,
        "count": batch.count,
        "leader_epoch": batch.leader_epoch,
        "codec": codecs.NAMES[batch.codec],
        "timestamp_type": "append" if batch.is_log_append_time else "create",
        "base_timestamp_ms": batch.base_timestamp_ms,
        "max_timestamp_ms": batch.max_timestamp_ms,
        "crc": batch.crc,
    }
    if batch.producer_id >= 0:
        item |= {
            "producer_id": batch.producer_id,
            "producer_epoch": batch.producer_epoch,
            "base_sequence": batch.base_sequence,
            "last_sequence": batch.last_sequence,
        }
    return item | {"is_transactional": batch.is_transactional, "is_control": batch.is_control}


def _records(log: str, position: int, batch: Batch, markers: set[tuple[int, int]], around: _Around) -> Items:
    """Look at a batch's records, compressed ones too, and yield them when they are wanted."""
    if not (batch.codec or batch.is_control or around.with_records):
        return  # the scan has looked at them
    try:
        payload = codecs.decompress(batch.codec, batch.payload) if batch.codec else None
        for record in batch.records(payload):
            item: Item = {
                "kind": "record",
                "file": log,
                "offset": record.offset,
                "timestamp_ms": record.timestamp_ms,
                "sequence": record.sequence,
                "key": None if record.key is None else bytes(record.key),
                "value": None if record.value is None else bytes(record.value),
                "headers": [(name, None if value is None else bytes(value)) for name, value in record.headers],
            }
            if batch.is_control and record.key is not None and len(record.key) >= _CONTROL_KEY.size:
                _, control = _CONTROL_KEY.unpack_from(record.key)
                item["control"] = _CONTROL_TYPES[control] if 0 <= control < len(_CONTROL_TYPES) else control
                if record.value is not None and batch.is_transactional and len(record.value) >= _CONTROL_VALUE.size:
                    item["coordinator_epoch"] = _CONTROL_VALUE.unpack_from(record.value)[1]
                if control == _ABORT and batch.is_transactional:
                    markers.add((batch.producer_id, record.offset))
            if around.with_records:
                yield item
    except CorruptRecord as error:
        yield problem(log, f"the records of {_offsets(batch)}: {error}", position)
    except CorruptBatch as error:
        yield problem(log, f"the records of {_offsets(batch)}, decompressed: {error.reason} at {error.position}", position)


# ---- small files ----


def _snapshot(disk: Disk, path: str, offset: int) -> Items:
    data = read_file(disk, path) or b""
    yield {"kind": "producer snapshot", "file": path, "size_bytes": len(data), "offset": offset}
    for row in producer_state.rows(data, path):
        yield {"kind": "producer", "file": path, **row._asdict()}
        if row.last_offset >= offset:
            yield problem(path, f"producer {row.producer_id} wrote offset {row.last_offset}, past the snapshot's {offset}")


def _leader_epochs(disk: Disk, path: str) -> Generator[Item, None, list[tuple[int, int]]]:
    yield {"kind": "leader epochs", "file": path}
    try:
        entries = leader_epochs.parse(read_file(disk, path) or b"", path)
    except CorruptRecord as error:
        yield _said(path, error)
        return []
    for epoch, start_offset in entries:
        yield {"kind": "leader epoch", "file": path, "leader_epoch": epoch, "start_offset": start_offset}
    return entries


def _checkpoint(disk: Disk, path: str) -> Generator[Item, None, Offsets]:
    yield {"kind": "checkpoint", "file": path}
    try:
        offsets = parse_offsets(read_file(disk, path) or b"", path)
    except CorruptRecord as error:
        yield _said(path, error)
        return {}
    for (topic, partition), offset in sorted(offsets.items()):
        yield {"kind": "checkpointed", "file": path, "topic": topic, "partition": partition, "offset": offset}
    return offsets


def _partition_metadata(disk: Disk, path: str) -> Items:
    topic_id = partition_metadata.parse(read_file(disk, path) or b"", path)
    yield {
        "kind": "partition metadata",
        "file": path,
        "topic_id": None if topic_id is None else partition_metadata.format_topic_id(topic_id),
    }


def _meta_properties(disk: Disk, path: str) -> Items:
    data = read_file(disk, path) or b""
    properties = {item.key: item.value for item in parse_properties(data.decode("utf-8", "replace"), path)}
    yield {"kind": "meta properties", "file": path, **properties}
    meta_properties.parse(data, path)


def _said(path: str, error: Exception) -> Item:
    """Return the problem that an error tells of; the path stands beside it already."""
    return problem(path, str(error).removeprefix(f"{path}: "))


def _guarded(items: Items, path: str) -> Items:
    """Let what a parser refuses be a problem of the file."""
    try:
        yield from items
    except (CorruptRecord, UsageError) as error:
        yield _said(path, error)


def _read_all(disk: Disk, path: str, most_bytes: int) -> bytes:
    file = disk.open(path, read_only=True)
    try:
        return file.pread(min(file.size_bytes(), most_bytes), 0)
    finally:
        file.close()


# ---- what a path is ----


_NAMED: Final[dict[str, Callable[[Disk, str], Items]]] = {
    leader_epochs.FILE_NAME: _leader_epochs,
    partition_metadata.FILE_NAME: _partition_metadata,
    meta_properties.FILE_NAME: _meta_properties,
    **dict.fromkeys(CHECKPOINTS, _checkpoint),
}
_SEGMENT_SUFFIXES: Final = (
    names.LOG_SUFFIX,
    names.OFFSET_INDEX_SUFFIX,
    names.TIME_INDEX_SUFFIX,
    names.TRANSACTION_INDEX_SUFFIX,
)


def inspect_file(disk: Disk, path: str, *, with_records: bool = False) -> Items | None:
    """Return the items of one file, told by its name; None when no file of a data directory has such a name.

    A log or an index is looked at with what lies beside it: all of its segment.
    """
    directory, _, name = path.rpartition("/")
    if name in _NAMED:
        return _guarded(_NAMED[name](disk, path), path)
    waiting = next((suffix for suffix in _WAITING_SUFFIXES if name.endswith(suffix)), "")
    plain = name.removesuffix(waiting)
    offset = names.parse_offset_file(plain, names.SNAPSHOT_SUFFIX)
    if offset is not None:
        return _guarded(_snapshot(disk, path, offset), path)
    for suffix in _SEGMENT_SUFFIXES:
        base_offset = names.parse_offset_file(plain, suffix)
        if base_offset is not None:
            around = _Around(with_records=with_records)
            if disk.exists(f"{directory or '.'}/{names.offset_file(base_offset, names.LOG_SUFFIX)}{waiting}"):
                return segment(disk, directory or ".", base_offset, around, waiting)
            return _lone_index(disk, path, base_offset, suffix)
    return None


def _lone_index(disk: Disk, path: str, base_offset: int, suffix: str) -> Items:
    if suffix == names.OFFSET_INDEX_SUFFIX:
        yield from _index(disk, path, base_offset, "offset", _OFFSET_ENTRY)
    elif suffix == names.TIME_INDEX_SUFFIX:
        yield from _index(disk, path, base_offset, "time", _TIME_ENTRY)
    else:
        yield from _transaction_index(disk, path)
    yield problem(path, "there is no log beside it")


def is_partition(found: list[str]) -> bool:
    """Tell whether a directory with these names is a partition's."""
    return partition_metadata.FILE_NAME in found or any(
        names.parse_offset_file(name, names.LOG_SUFFIX) is not None for name in found
    )


def inspect_partition(disk: Disk, path: str, *, with_records: bool = False) -> Generator[Item, None, int]:
    """Yield all files of a partition's directory, held against one another; return the log's end offset."""
    found = disk.list_directory(path)
    bases = [base for name in found if (base := names.parse_offset_file(name, names.LOG_SUFFIX)) is not None]
    epochs: list[tuple[int, int]] = []
    if leader_epochs.FILE_NAME in found:
        epochs = yield from _leader_epochs(disk, f"{path}/{leader_epochs.FILE_NAME}")
    around = _Around(epochs, with_records=with_records)
    end = 0
    for number, base_offset in enumerate(bases):
        if number and end < base_offset:
            yield {"kind": "gap", "file": path, "from_offset": end, "to_offset": base_offset - 1}
        around.next_base_offset = bases[number + 1] if number + 1 < len(bases) else None
        end = yield from segment(disk, path, base_offset, around)
    of_segments = {names.offset_file(base, suffix) for base in bases for suffix in _SEGMENT_SUFFIXES}
    for name in found:
        if name not in of_segments and name != leader_epochs.FILE_NAME:
            items = inspect_file(disk, f"{path}/{name}", with_records=with_records)
            yield from items if items is not None else _unknown(f"{path}/{name}")
    for epoch, start_offset in epochs:
        if bases and start_offset > end:
            yield problem(
                f"{path}/{leader_epochs.FILE_NAME}", f"epoch {epoch} begins at {start_offset}, and the log ends at {end}"
            )
    return end


def _unknown(path: str) -> Items:
    yield {"kind": "unknown", "file": path}


def inspect_log_directory(
    disk: Disk, path: str, partitions: list[str], others: list[str], *, with_records: bool = False
) -> Items:
    """Yield the files and partitions of a data directory; checkpoints are held against where the logs end.

    `partitions` are the names in it of partitions' directories, `others` those of any other directories, which are left out.
    """
    checkpoints: dict[str, Offsets] = {}
    for name in disk.list_directory(path):
        if name in CHECKPOINTS:
            checkpoints[name] = yield from _checkpoint(disk, f"{path}/{name}")
        elif name not in partitions and name not in others:
            items = inspect_file(disk, f"{path}/{name}", with_records=with_records)
            yield from items if items is not None else _unknown(f"{path}/{name}")
    for name in partitions:
        end = yield from inspect_partition(disk, f"{path}/{name}", with_records=with_records)
        partition = names.parse_partition_directory(name)
        for checkpoint, offsets in checkpoints.items():
            if partition in offsets and offsets[partition] > end:
                yield problem(f"{path}/{checkpoint}", f"{offsets[partition]} for {name}, whose log ends at {end}")
