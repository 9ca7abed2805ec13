"""What a partition's directory holds, read straight from the simulated drive: the checker's view past the broker's back.

Reads Kafka's file layout (`<base offset, 20 digits>.log` and its `.index`), as any tool would. Knows nothing of the broker.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from fastlog import _core
from fastlog.sim.batches import values_of
from fastlog.sim.drive import DirectoryNode, Drive, FileNode

LOG_SUFFIX = ".log"
INDEX_SUFFIX = ".index"
INDEX_ENTRY_BYTES = 8


class LoggedBatch(NamedTuple):
    """One batch of a log. `certain`: its bytes and the names on the way to them survive any loss of power.

    A damaged one has no values: a bit of its records was flipped, and its header is what it was.
    """

    base_offset: int
    last_offset: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    last_sequence: int
    values: list[bytes]
    path: str
    position: int
    size_bytes: int
    certain: bool
    is_damaged: bool


def read_log(drive: Drive, directory: str) -> list[LoggedBatch]:
    """Return the batches of a partition in order, of each segment up to its first invalid byte that is no flipped bit."""
    try:
        names = drive.find_directory(directory).entries
    except OSError:
        return []
    batches: list[LoggedBatch] = []
    for name in sorted(name for name in names if name.endswith(LOG_SUFFIX)):
        node = names[name]
        if isinstance(node, FileNode):
            batches += _read_segment(drive, f"{directory}/{name}", node)
    return batches


def segment_sizes(drive: Drive, directory: str) -> dict[int, int]:
    """Return the size of each segment's log by base offset, in order."""
    entries = drive.find_directory(directory).entries
    return {
        int(name.removesuffix(LOG_SUFFIX)): len(node.cache)
        for name, node in sorted(entries.items(), key=lambda entry: entry[0])
        if name.endswith(LOG_SUFFIX) and isinstance(node, FileNode)
    }


def _read_segment(drive: Drive, path: str, node: FileNode) -> list[LoggedBatch]:
    certain_bytes = node.certain_bytes() if drive.is_durable(path) else 0
    content = bytes(node.cache)
    batches: list[LoggedBatch] = []
    position = 0
    for batch, is_damaged in _batches(content, node.damaged):
        end = position + len(batch)
        batches.append(
            LoggedBatch(
                batch.base_offset,
                batch.last_offset,
                batch.producer_id,
                batch.producer_epoch,
                batch.base_sequence,
                batch.last_sequence,
                [] if is_damaged else values_of(batch),
                path,
                position,
                len(batch),
                end <= certain_bytes,
                is_damaged,
            )
        )
        position = end
    return batches


def _batches(content: bytes, damaged: dict[int, int]) -> Iterator[tuple[_core.Batch, bool]]:
    """Yield each batch that is valid or damaged, and which of both."""
    position = 0
    while True:
        for batch in valid_batches(content[position:]):
            yield batch, False
            position += len(batch)
        end = position + damaged.get(position, 0)
        if not position < end <= len(content):
            return
        yield _core.scan(content[position:end], check_crc=False, check_records=False)[0], True
        position = end


def valid_batches(content: bytes) -> list[_core.Batch]:
    """Return the valid batches that `content` begins with."""
    try:
        return _core.scan(content, allow_partial=True)
    except _core.CorruptBatch as error:
        return _core.scan(content[: error.position], allow_partial=True)  # the position may be inside the invalid batch


def partition_directories(drive: Drive, data_directory: str) -> list[str]:
    """Return the names of the partition directories in a data directory, sorted."""
    entries = drive.find_directory(data_directory).entries
    return sorted(name for name, node in entries.items() if isinstance(node, DirectoryNode) and name.rpartition("-")[2].isdigit())


def wrong_index_entries(drive: Drive, directory: str) -> list[str]:
    """Return what is wrong with a cleanly stopped partition's offset indexes: entries that do not point at their batch."""
    wrong: list[str] = []
    batches = read_log(drive, directory)
    for name, node in sorted(drive.find_directory(directory).entries.items(), key=lambda entry: entry[0]):
        if not name.endswith(INDEX_SUFFIX) or not isinstance(node, FileNode):
            continue
        base_offset = int(name.removesuffix(INDEX_SUFFIX))
        log_path = f"{directory}/{name.removesuffix(INDEX_SUFFIX)}{LOG_SUFFIX}"
        positions = {batch.position: batch.last_offset for batch in batches if batch.path == log_path}
        content = bytes(node.cache)
        for start in range(0, len(content) - INDEX_ENTRY_BYTES + 1, INDEX_ENTRY_BYTES):
            offset = base_offset + int.from_bytes(content[start : start + 4], "big")
            position = int.from_bytes(content[start + 4 : start + INDEX_ENTRY_BYTES], "big")
            if positions.get(position) != offset:
                wrong.append(f"{directory}/{name} entry {start // INDEX_ENTRY_BYTES}: offset {offset} at {position}")
    return wrong
