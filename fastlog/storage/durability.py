"""How far one log is on the disk itself, and what waits for that: the recovery point, fsync by the flusher, group commit.

`recovery_point`: everything below it survives the machine. `recovery_start`: the checkpoint says this, and a recovery scans from
the segment on that holds it; it is never past a segment whose indexes may not survive, since only a scan builds them anew.
`acknowledged_end_offset`: everything below it may be acknowledged and read. It is the log's end, except while a flush that
`flush.messages` demands is under way: then it stays where it was until the flush has ended, and one flush serves all who wait.
A failed fsync fences the directory; it is never tried again, as the pages it lost are marked clean.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from functools import partial

from fastlog.env import Disk
from fastlog.storage import names
from fastlog.storage.environment import LogDirectory, StorageEnvironment
from fastlog.storage.log_config import MAX_INT64
from fastlog.storage.segment_files import SegmentFiles
from fastlog.storage.steps import Steps, run_on

logger = logging.getLogger("fastlog.storage")

NO_DESCRIPTOR_ERRORS = frozenset({errno.EMFILE, errno.ENFILE})
"""What opening a file says, and fsync never: nothing was asked of the disk yet, so a flush that ends so may be tried again."""

RETRY_FLUSH_AFTER_MS = 1000


class Durability:
    """The flush state of the log in `path`. `advanced` is called when `acknowledged_end_offset` moved by a flush's end."""

    __slots__ = (
        "_active",
        "_advanced",
        "_closed",
        "_directory",
        "_end_offset",
        "_environment",
        "_flush_messages",
        "_flush_ms",
        "_flushing",
        "_indexes_unsynced",
        "_names_made",
        "_names_synced",
        "_parent_unsynced",
        "_path",
        "_rolled",
        "_timer_runs",
        "_wanted",
        "acknowledged_end_offset",
        "recovery_point",
    )

    def __init__(
        self,
        environment: StorageEnvironment,
        directory: LogDirectory,
        path: str,
        end_offset: int,
        recovery_point: int,
        advanced: Callable[[], None],
        *,
        names_unsynced: bool,
    ) -> None:
        self._environment = environment
        self._directory = directory
        self._path = path
        self._advanced = advanced
        self._end_offset = end_offset
        self._active: SegmentFiles | None = None
        self._rolled: list[SegmentFiles] = []
        self._names_made = int(names_unsynced)
        self._names_synced = 0
        self._parent_unsynced = names_unsynced
        self._flush_messages = MAX_INT64
        self._flush_ms = MAX_INT64
        self._flushing = False
        self._indexes_unsynced = False
        self._wanted = 0
        self._timer_runs = False
        self._closed = False
        self.recovery_point = recovery_point
        self.acknowledged_end_offset = end_offset

    @property
    def recovery_start(self) -> int:
        """Where a recovery would have to begin if the machine were lost now."""
        if self._closed:
            return self.recovery_point
        assert self._active is not None
        return min(self.recovery_point, (self._rolled[0] if self._rolled else self._active).base_offset)

    def configure(self, flush_messages: int, flush_ms: int) -> None:
        """Take over options that changed; what waits for a flush already waits no longer than the new ones allow."""
        is_sooner = flush_ms < self._flush_ms
        self._flush_messages = flush_messages
        self._flush_ms = flush_ms
        if is_sooner and self.recovery_point < self._end_offset:
            self._timer_runs = True
            self._environment.call_later(flush_ms, self._flush_due)

    def segment_opened(self, active: SegmentFiles, *, names_unsynced: bool) -> None:
        """Appends go to `active` from now on."""
        self._active = active
        self._names_made += names_unsynced

    def segment_rolled(self, rolled: SegmentFiles, end_offset: int) -> None:
        """Nothing is appended to `rolled` any more: flush it, then let the recovery point move to where it ended."""
        self._rolled.append(rolled)
        self._request(end_offset)

    def recovered_steps(self, rolled: list[SegmentFiles]) -> Steps[None]:
        """A recovery checked the log from the recovery point on and built indexes anew: `rolled`, and the active segment's.

        All are flushed before the recovery point moves to the log's end. A killed process may have written them and not synced
        them: where `flush.messages` wants a flush before an acknowledgement, and so before that of a repetition, that is done
        before the log is used; else it goes on beside it.
        """
        self._rolled.extend(rolled)
        self._indexes_unsynced = True
        if self._end_offset - self.recovery_point < self._flush_messages:
            self.flush()
            return
        self._wanted = self._end_offset
        self.recovery_point = yield from self._flush_steps()

    def segments_removed(self, removed: list[SegmentFiles]) -> None:
        """These need no flush: they are going."""
        gone = set(map(id, removed))
        self._rolled = [files for files in self._rolled if id(files) not in gone]

    def appended(self, end_offset: int) -> None:
        """The log was appended to up to `end_offset`: move the acknowledged end, or begin the flush that it waits for."""
        self._end_offset = end_offset
        if end_offset - self.recovery_point >= self._flush_messages:
            self._request(end_offset)
        else:
            self.acknowledged_end_offset = end_offset
        if self._flush_ms != MAX_INT64 and not self._timer_runs:
            self._timer_runs = True
            self._environment.call_later(self._flush_ms, self._flush_due)

    def truncated(self, end_offset: int) -> None:
        """The log was cut to `end_offset`."""
        self._end_offset = end_offset
        self.recovery_point = min(self.recovery_point, end_offset)
        self.acknowledged_end_offset = min(self.acknowledged_end_offset, end_offset)
        self._wanted = min(self._wanted, end_offset)

    def restarted(self, end_offset: int) -> None:
        """The log is empty and begins at `end_offset`, where it may never have been before."""
        self._end_offset = self.recovery_point = self.acknowledged_end_offset = end_offset
        self._wanted = 0

    def flush(self) -> None:
        """Flush what is there now; the recovery point moves when that has ended."""
        self._request(self._end_offset)

    def _flush_due(self) -> None:
        self._timer_runs = False
        if self.recovery_point < self._end_offset:
            self.flush()

    def _request(self, offset: int) -> None:
        self._wanted = max(self._wanted, offset)
        if not self._flushing and not self._closed and self._directory.failure is None:
            self._flushing = True
            run_on(self._environment.flusher, self._flush_steps(), self._flushed)

    def _flush_steps(self, *, closing: bool = False) -> Steps[int]:
        """Sync every file that holds offsets between the recovery point and what is wanted, then the names of new files.

        Of the active segment only the log is synced, unless the log is closing: recovery builds its indexes anew.
        """
        active = self._active
        assert active is not None
        disk = self._environment.disk
        rolled = list(self._rolled)
        end_offset = active.base_offset
        open_files = [file for segment_files in rolled for file in segment_files.files()]
        closed_paths = [path for segment_files in rolled if not segment_files.files() for path in segment_files.data_paths()]
        if rolled:  # each began with a snapshot of the producers, and so did the segment behind them
            closed_paths.extend(segment_files.path(names.SNAPSHOT_SUFFIX) for segment_files in (*rolled, active))
        if self._wanted > active.base_offset:
            end_offset = self._end_offset
            open_files.append(active.files()[0])
        if closing:
            open_files.extend(active.files()[1:])
        names_made = self._names_made
        for file in open_files:
            file.acquire()
        try:
            for file in open_files:
                yield file.fdatasync
        finally:
            for file in open_files:
                file.release()
        for path in closed_paths:
            yield from _sync_path(disk, path)
        if names_made > self._names_synced:
            yield partial(disk.sync_directory, self._path)
        if self._parent_unsynced:
            yield partial(disk.sync_directory, self._directory.path)
        self._names_synced, self._parent_unsynced = names_made, False
        done = set(map(id, rolled))
        self._rolled = [segment_files for segment_files in self._rolled if id(segment_files) not in done]
        return end_offset

    def _flushed(self, end_offset: int | None, error: BaseException | None) -> None:
        self._flushing = False
        if self._closed:
            return
        if isinstance(error, OSError) and error.errno in NO_DESCRIPTOR_ERRORS:
            logger.warning("%s: flushing waits for file descriptors: %s", self._path, error)
            self._environment.call_later(RETRY_FLUSH_AFTER_MS, self._request, self._wanted)
            return
        if error is not None:
            self._directory.fail(f"fsync of {self._path} failed", error)
            return
        assert end_offset is not None
        end_offset = min(end_offset, self._end_offset)
        self.recovery_point = max(self.recovery_point, end_offset)
        before = self.acknowledged_end_offset
        if self._end_offset - self.recovery_point < self._flush_messages:
            self.acknowledged_end_offset = self._end_offset
        else:
            self.acknowledged_end_offset = max(before, self.recovery_point)
            self._wanted = self._end_offset
        if self._wanted > self.recovery_point:
            self._request(self._wanted)
        if self.acknowledged_end_offset != before:
            self._advanced()

    @property
    def is_everything_flushed(self) -> bool:
        """Tell whether a flush would have nothing to do."""
        return self._end_offset <= self.recovery_point and not self._rolled and self._names_made == self._names_synced

    def close_steps(self, *, indexes_changed: bool) -> Steps[None]:
        """Flush everything, indexes too; nothing is appended or reported from now on."""
        self._closed = True
        if indexes_changed or self._indexes_unsynced or not self.is_everything_flushed:
            self._wanted = self._end_offset
            self._names_made += 1  # the last snapshot
            yield from self._flush_steps(closing=True)
        self.recovery_point = self.acknowledged_end_offset = self._end_offset

    def abandon(self) -> None:
        """Report nothing any more: the log is going away or its directory has failed."""
        self._closed = True


def _sync_path(disk: Disk, path: str) -> Steps[None]:
    """Sync a file that is not open; one that was deleted meanwhile, or never was, needs none."""
    try:
        file = disk.open(path)
    except FileNotFoundError:
        return
    try:
        yield file.fdatasync
    finally:
        file.close()
