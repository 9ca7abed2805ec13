"""Small files that are replaced as a whole: offset checkpoints, and how any such file is written so that a crash leaves old or
new.

The format is Kafka's: a line with the version (0), a line with the count, then a line an entry. A file that cannot be read that
way raises CorruptRecord; whoever reads it decides whether it can do without (recovery points and high watermarks can).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from fastlog.env import Disk, Flusher
from fastlog.errors import CorruptRecord
from fastlog.storage.steps import Steps, run_now, run_on

if TYPE_CHECKING:
    from fastlog.storage.environment import CallLater

RECOVERY_POINTS = "recovery-point-offset-checkpoint"
LOG_START_OFFSETS = "log-start-offset-checkpoint"
HIGH_WATERMARKS = "replication-offset-checkpoint"

VERSION = 0
TEMPORARY_SUFFIX = ".tmp"
MAX_CHECKPOINT_BYTES = 64 << 20
"""No checkpoint is longer (a million partitions with the longest names fit several times)."""

RETRY_AFTER_MS = 5_000
"""A content that found no room is written again so much later."""

Offsets = dict[tuple[str, int], int]


def format_lines(lines: Sequence[str]) -> bytes:
    """Return a checkpoint file of these entries."""
    return "\n".join([str(VERSION), str(len(lines)), *lines, ""]).encode()


def parse_lines(data: bytes, path: str) -> list[str]:
    """Return the entries of a checkpoint file; CorruptRecord when version or count do not fit. An empty file has none."""
    if not data:
        return []
    try:
        lines = data.decode().splitlines()
        version, count = int(lines[0]), int(lines[1])
    except (ValueError, IndexError) as error:
        raise CorruptRecord(f"{path}: not a checkpoint file: {error}") from None
    entries = [line for line in lines[2:] if line.strip()]
    if version != VERSION:
        raise CorruptRecord(f"{path}: checkpoint version {version} where {VERSION} is known")
    if count != len(entries):
        raise CorruptRecord(f"{path}: {len(entries)} entries where {count} are announced")
    return entries


def format_offsets(offsets: Iterable[tuple[tuple[str, int], int]]) -> bytes:
    """Return an offset checkpoint: `topic partition offset` a line, sorted."""
    return format_lines([f"{topic} {partition} {offset}" for (topic, partition), offset in sorted(offsets)])


def parse_offsets(data: bytes, path: str) -> Offsets:
    """Return the offsets of a checkpoint; CorruptRecord on a line that is none."""
    offsets: Offsets = {}
    for line in parse_lines(data, path):
        fields = line.split()
        try:
            topic, partition, offset = fields[0], int(fields[1]), int(fields[2])
        except (ValueError, IndexError):
            raise CorruptRecord(f"{path}: {line!r} is not 'topic partition offset'") from None
        if offset < 0:
            raise CorruptRecord(f"{path}: offset {offset} of {topic}-{partition} is negative")
        offsets[topic, partition] = offset
    return offsets


def read_file(disk: Disk, path: str) -> bytes | None:
    """Return a small file's bytes, None when it does not exist; CorruptRecord when it is larger than any such file is."""
    try:
        file = disk.open(path, read_only=True)
    except FileNotFoundError:
        return None
    try:
        size = file.size_bytes()
        if size > MAX_CHECKPOINT_BYTES:
            raise CorruptRecord(f"{path}: {size} bytes are more than the {MAX_CHECKPOINT_BYTES} that such a file may have")
        return file.pread(size, 0)
    finally:
        file.close()


def write_steps(disk: Disk, path: str, data: bytes, is_wanted: Callable[[], bool] = lambda: True) -> Steps[None]:
    """Replace a file as a whole: write beside it, sync, rename, sync the directory. Stops before the rename when not wanted."""
    temporary = path + TEMPORARY_SUFFIX
    file = disk.open(temporary, create=True)
    try:
        file.ftruncate(0)
        written = file.pwritev([data], 0) if data else 0
        if written != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), temporary)
        yield file.fdatasync
    finally:
        file.close()
    if not is_wanted():
        return
    disk.rename(temporary, path)
    yield partial(disk.sync_directory, path.rpartition("/")[0] or ".")


def write_unsynced(disk: Disk, path: str, data: bytes) -> None:
    """Write a file in place: for what is of no use when half of it is lost, and is recognised then."""
    file = disk.open(path, create=True)
    try:
        file.ftruncate(0)
        if file.pwritev([data], 0) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    finally:
        file.close()


def write_now(disk: Disk, path: str, data: bytes) -> None:
    """Replace a file as a whole, before returning."""
    run_now(write_steps(disk, path, data))


class CheckpointFile:
    """One checkpoint, written off the broker's thread. Of contents that arrive while one is being written only the last is.

    `on_error` tells whether a later try may succeed: then there is one. `content` is what the file is known to hold at the start,
    None when that is unknown.
    """

    __slots__ = ("_call_later", "_disk", "_flusher", "_next", "_on_error", "_superseded", "_writing", "_written", "path")

    def __init__(
        self,
        disk: Disk,
        flusher: Flusher,
        call_later: CallLater,
        path: str,
        on_error: Callable[[BaseException], bool],
        content: bytes | None = None,
    ) -> None:
        self.path = path
        self._disk = disk
        self._flusher = flusher
        self._call_later = call_later
        self._on_error = on_error
        self._writing = False  # or waiting to write again
        self._superseded = False
        self._next: bytes | None = None
        self._written = content

    def write(self, data: bytes) -> None:
        """Write `data` soon; what is there already is not written again."""
        if self._writing:
            self._next = data
        elif data != self._written and not self._superseded:
            self._writing = True
            self._written = data
            run_on(self._flusher, write_steps(self._disk, self.path, data, self._is_wanted), self._done)

    def _done(self, _: None, error: BaseException | None) -> None:
        if error is not None:
            failed, self._written = self._written, None
            if self._on_error(error) and not self._superseded:
                if self._next is None:
                    self._next = failed
                self._call_later(RETRY_AFTER_MS, self._go_on)
                return
        self._go_on()

    def _go_on(self) -> None:
        self._writing = False
        if self._next is not None:
            data, self._next = self._next, None
            self.write(data)

    def _is_wanted(self) -> bool:
        return not self._superseded

    def write_now(self, data: bytes) -> None:
        """Write `data` before returning, at a close: nothing that was asked for earlier replaces it."""
        self._superseded = True
        self._next = None
        write_now(self._disk, self.path, data)

    def abandon(self) -> None:
        """Write nothing any more, and report no error: the directory is going away."""
        self._superseded = True
        self._next = None
        self._on_error = lambda error: False

    def finish_now(self, data: bytes) -> None:
        """Write `data` before returning, at a close, unless the file is known to hold it."""
        if self._writing or data != self._written:
            self.write_now(data)
