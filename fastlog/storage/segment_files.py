"""One segment's files: their names, their opening when they are needed, and their way out.

A log has one active segment, always open, and any number of others, opened by the first reader and closed again when
too many are: a broker with many partitions starts quickly and stays within its descriptors.
"""

from __future__ import annotations

import logging
from functools import partial

from fastlog._core import CorruptBatch, File, OffsetIndex, Segment, TimeIndex
from fastlog.env import Disk
from fastlog.storage import aborted_transactions, names
from fastlog.storage.aborted_transactions import AbortedTransaction
from fastlog.storage.checkpoints import read_file
from fastlog.storage.log_config import LogConfig
from fastlog.storage.steps import Steps

logger = logging.getLogger("fastlog.storage")

MAX_OPEN_INACTIVE_SEGMENTS = 256
"""Segments open for readers at a time, over all logs; three descriptors each."""

SUFFIXES = (
    names.LOG_SUFFIX,
    names.OFFSET_INDEX_SUFFIX,
    names.TIME_INDEX_SUFFIX,
    names.TRANSACTION_INDEX_SUFFIX,
    names.SNAPSHOT_SUFFIX,
)


class SegmentFiles:
    """A segment of the log in `directory`. `created_ms` is the wall time at which this process made or found it."""

    __slots__ = (
        "_aborted",
        "_disk",
        "_known_max_timestamp_ms",
        "_segment",
        "base_offset",
        "created_ms",
        "directory",
        "size_bytes_closed",
    )

    def __init__(self, disk: Disk, directory: str, base_offset: int, created_ms: int, size_bytes: int) -> None:
        self._disk = disk
        self.directory = directory
        self.base_offset = base_offset
        self.created_ms = created_ms
        self.size_bytes_closed = size_bytes
        self._segment: Segment | None = None
        self._known_max_timestamp_ms: int | None = None
        self._aborted: list[AbortedTransaction] | None = None

    def path(self, suffix: str) -> str:
        return f"{self.directory}/{names.offset_file(self.base_offset, suffix)}"

    def _replace_log(self, log: File, size: int) -> File:
        """Put a copy of the log's first `size` bytes in its place; regions that are still being sent keep the old file."""
        replacement = self._disk.open(log.path + names.REPLACEMENT_SUFFIX, create=True)
        try:
            replacement.ftruncate(0)
            log.copy_to(replacement, size)
            replacement.fdatasync()
            self._disk.rename(log.path + names.REPLACEMENT_SUFFIX, log.path)
        except BaseException:
            replacement.close()
            raise
        replacement.path = log.path
        return replacement

    def data_paths(self) -> list[str]:
        """Paths of the log and its two indexes."""
        return [self.path(suffix) for suffix in (names.LOG_SUFFIX, names.OFFSET_INDEX_SUFFIX, names.TIME_INDEX_SUFFIX)]

    @property
    def segment(self) -> Segment | None:
        """The open segment, None while it is closed."""
        return self._segment

    @property
    def size_bytes(self) -> int:
        return self.size_bytes_closed if self._segment is None else self._segment.size_bytes

    def files(self) -> tuple[File, ...]:
        """The open files: log, offset index, time index; none while it is closed. A truncation may put another log in place."""
        segment = self._segment
        return () if segment is None else (segment.log, segment.offset_index.file, segment.time_index.file)

    def create(self, config: LogConfig) -> Segment:
        """Make the files of an empty segment and open it. What a failed creation left behind is emptied."""
        return self._open(config, self.base_offset, empty=True, sealed=False)

    def open(self, config: LogConfig, next_offset: int, *, sealed: bool) -> Segment:
        """Open, for readers only when `sealed`, without reading the log when `next_offset` is known (-1: it is looked for).

        An index that cannot be right is emptied: reads then scan the segment, and its data is left untouched.
        """
        return self._open(config, next_offset, empty=False, sealed=sealed)

    def open_for_recovery(self, config: LogConfig) -> Segment:
        """Open with empty indexes, for `Segment.recover` to build anew."""
        for suffix in (names.OFFSET_INDEX_SUFFIX, names.TIME_INDEX_SUFFIX):
            self._empty(self.path(suffix))
        return self._open(config, self.base_offset, empty=False, sealed=False)

    def _open(self, config: LogConfig, next_offset: int, *, empty: bool, sealed: bool) -> Segment:
        assert self._segment is None, "the segment is open"
        disk, files = self._disk, []
        try:
            for path in self.data_paths():
                files.append(disk.open(path, create=True))
                if empty and files[-1].size_bytes():
                    files[-1].ftruncate(0)
            log, offset_file, time_file = files
            size = log.size_bytes()
            offset_index = OffsetIndex(offset_file, self.base_offset, max_bytes=config.segment_index_bytes)
            time_index = TimeIndex(time_file, self.base_offset, max_bytes=config.segment_index_bytes)
            if not empty:
                try:
                    offset_index.check()
                    time_index.check()
                except CorruptBatch as error:
                    logger.warning(
                        "%s: an index of this segment is damaged (%s); reading without it", self.path(""), error.reason
                    )
                    offset_file.ftruncate(0)
                    time_file.ftruncate(0)
                    offset_index = OffsetIndex(offset_file, self.base_offset, max_bytes=config.segment_index_bytes)
                    time_index = TimeIndex(time_file, self.base_offset, max_bytes=config.segment_index_bytes)
            segment = Segment(
                self.base_offset,
                log,
                offset_index,
                time_index,
                index_interval_bytes=config.index_interval_bytes,
                size_bytes=size,
                next_offset=next_offset,
                sealed=sealed,
                replace_log=self._replace_log,
            )
        except BaseException:
            for file in files:
                file.close()
            raise
        self._segment = segment
        return segment

    def close(self) -> None:
        """Close; regions and jobs that hold the files go on. Closing a closed segment is allowed."""
        if self._segment is not None:
            self.size_bytes_closed = self._segment.size_bytes
            self._known_max_timestamp_ms = self._segment.max_timestamp_ms
            files = self.files()
            try:
                self._segment.close()
            finally:
                for file in files:
                    file.close()
                self._segment = None

    def max_timestamp_ms(self, config: LogConfig, next_offset: int) -> int:
        """Return the greatest timestamp in the segment, -1 when it has none; opens a closed segment once."""
        if self._segment is not None:
            return self._segment.max_timestamp_ms
        if self._known_max_timestamp_ms is None:
            self.open(config, next_offset, sealed=True)
            self.close()
        assert self._known_max_timestamp_ms is not None
        return self._known_max_timestamp_ms

    def aborted_transactions(self) -> list[AbortedTransaction]:
        """Return the aborted transactions whose markers lie in the segment; the file is read once. CorruptRecord as it comes."""
        if self._aborted is None:
            path = self.path(names.TRANSACTION_INDEX_SUFFIX)
            self._aborted = aborted_transactions.parse(read_file(self._disk, path) or b"", path)
        return self._aborted

    def _empty(self, path: str) -> None:
        file = self._disk.open(path, create=True)
        try:
            file.ftruncate(0)
        finally:
            file.close()

    def rename_deleted(self) -> list[str]:
        """Close, put the files out of sight of every later start, and return their names now."""
        self.close()
        renamed = []
        for suffix in SUFFIXES:
            path = self.path(suffix)
            if self._disk.exists(path):
                self._disk.rename(path, path + names.DELETED_SUFFIX)
                renamed.append(path + names.DELETED_SUFFIX)
        return renamed


def unlink_steps(disk: Disk, paths: list[str]) -> Steps[None]:
    """Remove files; one that is gone already is fine."""
    for path in paths:
        try:
            yield partial(disk.unlink, path)
        except FileNotFoundError:
            continue


class OpenSegments:
    """Bounds how many inactive segments are open: the one that was not used for longest is closed first."""

    __slots__ = ("_by_use",)

    def __init__(self) -> None:
        self._by_use: dict[SegmentFiles, None] = {}

    def used(self, files: SegmentFiles) -> None:
        """Take note that an inactive segment is open, and is used now."""
        by_use = self._by_use
        by_use.pop(files, None)
        by_use[files] = None
        if len(by_use) > MAX_OPEN_INACTIVE_SEGMENTS:
            oldest = next(iter(by_use))
            del by_use[oldest]
            oldest.close()
