"""The log of one partition: segments in order of offset, appended to at the last, read anywhere, cut at either end.

Appends take two steps (docs/architecture.md, "A turn of the reactor"). `stage` checks a batch and gives it its offsets; nothing
is written. `commit`, at the end of the turn, writes what was staged by one system call and makes it the log, or takes all of it
back.

Offsets, each its own thing: `log_start_offset` (the first that may be read) <= `local_log_start_offset` (the first on this disk)
<= `last_stable_offset` (below it no transaction is open) <= `high_watermark` (replicated; set by the partition)
<= `log_end_offset` (the next to be written). Invariants: segments ascend without overlap and the last one is open; what is
staged is seen by nobody but `stage`; an offset that was acknowledged is below `log_end_offset` until retention or truncation
takes it.
"""

from __future__ import annotations

import errno
import logging
import struct
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from fastlog._core import BATCH_OVERHEAD_BYTES, Batch, CorruptBatch, ProduceRun, Region, Segment, Slice, scan
from fastlog.errors import (
    CorruptMessage,
    CorruptRecord,
    InvalidRecord,
    InvalidTimestamp,
    InvalidTxnState,
    KafkaError,
    KafkaStorageError,
    MessageTooLarge,
    OffsetOutOfRange,
    RecordListTooLarge,
    StorageFailed,
)
from fastlog.storage import leader_epochs, names
from fastlog.storage.checkpoints import CheckpointFile, write_now, write_unsynced
from fastlog.storage.durability import Durability
from fastlog.storage.environment import LogDirectory, StorageEnvironment
from fastlog.storage.leader_epochs import LeaderEpochs
from fastlog.storage.log_config import LOG_APPEND_TIME, MAX_INT64, PRODUCER, LogConfig
from fastlog.storage.producer_state import ProducerEntry, ProducerState
from fastlog.storage.recompression import Recompression, opened
from fastlog.storage.retention import SegmentFacts, expired_count
from fastlog.storage.segment_files import SegmentFiles, unlink_steps
from fastlog.storage.staged import NO_TIMESTAMP, StagedAppend, refused
from fastlog.storage.steps import run_now, run_on

if TYPE_CHECKING:
    from typing_extensions import Buffer

logger = logging.getLogger("fastlog.storage")

MAX_RELATIVE_OFFSET = (1 << 31) - 1
"""An index holds offsets as 31 bits past the segment's base."""

ROLL_TIME_UNKNOWN = -(1 << 63)
OFFSET_ENTRY_BYTES = 8
TIME_ENTRY_BYTES = 12
MAX_TIMESTAMP_POSITION = 35
NOWHERE = -1
_MAX_TIMESTAMP = struct.Struct(">q")

RESERVATION_BYTES = 16 << 20
RESERVE_AFTER_BYTES = 1 << 20
"""Blocks are reserved for segments that took so much; where and how many is for the segment to say."""

_TIMESTAMP_TYPE_BIT = 0x08
_TRANSACTIONAL_BIT = 0x10
_CONTROL_BIT = 0x20
_UNUSUAL_BITS = _TIMESTAMP_TYPE_BIT | _TRANSACTIONAL_BIT | _CONTROL_BIT

T = TypeVar("T")
Search = Generator[None, None, T]
"""A search that may be long: whoever makes it lets others have their turn between its steps."""

Decompress = Callable[[int, "Buffer"], "Buffer"]
"""Decompresses a batch's payload: (codec, payload) -> records; bounded, and raises CorruptBatch or a KafkaError."""


class Log:
    """One partition's log. Made by `recovery.load_steps`; appended to through a `LogManager`'s turn."""

    __slots__ = (
        "_active",
        "_active_files",
        "_after_max_ms",
        "_bases",
        "_before_max_ms",
        "_dirty",
        "_epochs_file",
        "_index_bytes",
        "_index_interval_bytes",
        "_max_message_bytes",
        "_next_offset",
        "_offset_limit",
        "_producers",
        "_recompression",
        "_refusal",
        "_reserve_at_bytes",
        "_roll_timestamp_ms",
        "_room_bytes",
        "_segments",
        "_staged",
        "_staged_end_bytes",
        "_staged_producers",
        "_staged_results",
        "_staged_since_ms",
        "_stamps_records",
        "_takes_runs",
        "_wall_ms",
        "config",
        "directory",
        "durability",
        "environment",
        "high_watermark",
        "leader_epochs",
        "local_log_start_offset",
        "log_end_offset",
        "log_start_offset",
        "on_advance",
        "on_failure",
        "partition",
        "path",
        "topic",
        "topic_id",
    )

    def __init__(
        self,
        environment: StorageEnvironment,
        directory: LogDirectory,
        topic: str,
        partition: int,
        config: LogConfig,
        *,
        segments: list[SegmentFiles],
        producers: ProducerState,
        epoch_entries: list[tuple[int, int]],
        epochs_on_disk: bytes | None,
        log_start_offset: int,
        recovery_point: int,
        high_watermark: int,
        topic_id: bytes | None,
        dirty: list[Log],
        names_unsynced: bool = False,
    ) -> None:
        """Take over what `recovery` found. The last of `segments` is open; a log with staged batches enters itself in `dirty`."""
        active = segments[-1].segment
        assert active is not None
        self.environment = environment
        self.directory = directory
        self.topic = topic
        self.partition = partition
        self.path = f"{directory.path}/{names.partition_directory(topic, partition)}"
        self.topic_id = topic_id
        self._segments = segments
        self._bases = [files.base_offset for files in segments]
        self._active = active
        self._active_files = segments[-1]
        self._producers = producers
        self._dirty = dirty
        self._wall_ms = environment.clock.wall_ms
        self._staged_end_bytes = active.size_bytes
        self._offset_limit = active.base_offset + MAX_RELATIVE_OFFSET
        self._roll_timestamp_ms = MAX_INT64
        self._room_bytes = -1
        self._reserve_at_bytes = RESERVE_AFTER_BYTES
        self._staged: list[Batch] = []
        self._staged_results: list[StagedAppend] = []
        self._staged_since_ms = 0
        self._staged_producers = False
        self._refusal: KafkaError | None = None
        self._next_offset = active.next_offset
        self.log_end_offset = active.next_offset
        self.log_start_offset = log_start_offset
        self.local_log_start_offset = max(log_start_offset, self._bases[0])
        self.high_watermark = min(max(high_watermark, log_start_offset), self.log_end_offset)
        self.on_advance: Callable[[], None] | None = None
        self.on_failure: Callable[[], None] | None = None
        """Set by the partition: called when `acknowledged_end_offset` moved, and when the log can be used no more."""
        self._epochs_file = CheckpointFile(
            environment.disk,
            environment.flusher,
            environment.call_later,
            f"{self.path}/{leader_epochs.FILE_NAME}",
            self._epochs_not_written,
            epochs_on_disk,
        )
        self.leader_epochs = LeaderEpochs(epoch_entries, self._epochs_file.write)
        self.durability = Durability(
            environment,
            directory,
            self.path,
            self.log_end_offset,
            recovery_point,
            self._flush_advanced,
            names_unsynced=names_unsynced,
        )
        self.durability.segment_opened(self._active_files, names_unsynced=names_unsynced)
        self.configure(config)
        self._begin_segment()
        directory.on_failure(self._directory_failed)

    def __repr__(self) -> str:
        return f"<Log {self.topic}-{self.partition} [{self.log_start_offset}, {self.log_end_offset})>"

    def configure(self, config: LogConfig) -> None:
        """Take over other options. What is on disk stays as it is, and so do the active segment's indexes."""
        self.config = config
        self._max_message_bytes = config.max_message_bytes
        self._stamps_records = config.message_timestamp_type == LOG_APPEND_TIME
        self._before_max_ms = config.message_timestamp_before_max_ms
        self._after_max_ms = config.message_timestamp_after_max_ms
        self.durability.configure(config.flush_messages, config.flush_ms)
        self._room_bytes = -1  # computed anew by the next append, and so is when the segment is too old for another
        if self._staged_end_bytes:
            self._roll_timestamp_ms = ROLL_TIME_UNKNOWN
        self._recompression = None if config.compression_type == PRODUCER else Recompression(config)
        # Whatever else `stage` does by the options has to be ruled out here: `stage_run` does none of it.
        self._takes_runs = not self._stamps_records and self._before_max_ms == MAX_INT64 and self._recompression is None

    # ---- what is where ----------------------------------------------------------------------------------------------------

    @property
    def acknowledged_end_offset(self) -> int:
        """Records below it may be acknowledged and read; see `durability`."""
        return self.durability.acknowledged_end_offset

    @property
    def recovery_point(self) -> int:
        return self.durability.recovery_point

    @property
    def last_stable_offset(self) -> int:
        """The high watermark, or where the earliest transaction that is still open began."""
        unstable = self._producers.first_unstable_offset
        return self.high_watermark if unstable is None or unstable > self.high_watermark else unstable

    @property
    def size_bytes(self) -> int:
        return sum(files.size_bytes for files in self._segments)

    @property
    def segment_count(self) -> int:
        return len(self._segments)

    @property
    def segment_base_offsets(self) -> list[int]:
        return list(self._bases)

    @property
    def producer_count(self) -> int:
        return len(self._producers.entries)

    @property
    def producer_ids(self) -> Iterable[int]:
        """The ids of all producers that are remembered."""
        return self._producers.entries

    def active_producers(self) -> list[tuple[int, ProducerEntry]]:
        """Return (producer id, entry) of every producer of which something is written."""
        return self._producers.written()

    # ---- appending --------------------------------------------------------------------------------------------------------

    def stage(self, records: Slice, leader_epoch: int, *, transaction_verified: bool = False) -> StagedAppend:
        """Check one produced batch and give it its offsets; `records` is writable memory that stays until the turn's end.

        The answer tells a refusal by its error code; otherwise it becomes final by `commit`. A repetition is answered with the
        offsets and the timestamp of the first time. Nothing is written here.
        """
        size = len(records)
        try:
            if self._refusal is not None:
                raise self._refusal
            if size > self._max_message_bytes:
                raise MessageTooLarge(f"the batch has {size} bytes where max.message.bytes={self._max_message_bytes}")
            try:
                batches = scan(records)
            except CorruptBatch as error:
                raise CorruptMessage(f"{error.reason} at byte {error.position}") from None
            if len(batches) != 1:
                raise InvalidRecord(f"{len(batches)} record batches where exactly one is allowed")
            batch = batches[0]
            if batch.base_offset != 0:
                raise CorruptMessage(f"the base offset of a produced batch is {batch.base_offset}, not 0")
            attributes = batch.attributes
            if attributes & _UNUSUAL_BITS:
                self._check_attributes(attributes, transaction_verified)
            producer_id = batch.producer_id
            if producer_id >= 0:
                known = self._producers.check(producer_id, batch.producer_epoch, batch.base_sequence, batch.last_sequence)
                if known is not None:
                    return self._repeated(known)
            if self._recompression is not None:
                batch = self._recompression.apply(batch)
                size = batch.size_bytes
                if size > self._max_message_bytes:
                    raise MessageTooLarge(
                        f"under the topic's codec the batch has {size} bytes where max.message.bytes={self._max_message_bytes}"
                    )
            if not self._staged:
                self._staged_since_ms = self._wall_ms()  # one turn's batches share a moment
            now_ms = self._staged_since_ms
            append_time_ms = NO_TIMESTAMP
            if self._stamps_records:
                append_time_ms = max_timestamp_ms = now_ms
                batch.set_log_append_time(now_ms)
            else:
                max_timestamp_ms = batch.max_timestamp_ms
                if max_timestamp_ms - now_ms > self._after_max_ms:
                    raise InvalidTimestamp(
                        f"timestamp {max_timestamp_ms} is over message.timestamp.after.max.ms ahead of {now_ms}"
                    )
                if self._before_max_ms != MAX_INT64:
                    self._check_oldest(batch, now_ms)
            base_offset = self._next_offset
            last_offset = base_offset + batch.last_offset_delta
            end_bytes = self._staged_end_bytes + size
            if end_bytes > self._room_bytes or max_timestamp_ms > self._roll_timestamp_ms or last_offset > self._offset_limit:
                self._make_room(size, max_timestamp_ms, last_offset)
                end_bytes = self._staged_end_bytes + size
            if leader_epoch > self.leader_epochs.latest:
                self.leader_epochs.assign(leader_epoch, base_offset)
        except KafkaError as error:
            return refused(error.code, error.message, self.log_start_offset)
        batch.assign(base_offset, leader_epoch)
        if producer_id >= 0:
            self._producers.append(batch, now_ms)
            self._staged_producers = True
        self._next_offset = last_offset + 1
        self._staged_end_bytes = end_bytes
        staged = self._staged
        if not staged:
            self._dirty.append(self)
            if end_bytes == size:
                self._first_batch_staged(max_timestamp_ms)
        staged.append(batch)
        result = StagedAppend(base_offset, last_offset, append_time_ms, self.log_start_offset)
        self._staged_results.append(result)
        return result

    def stage_run(self, run: ProduceRun, leader_epoch: int) -> StagedAppend | None:
        """Stage as many requests of a run, from the first on, as need no second look, all by one answer; the run ends with them.

        None when the first needs one: `stage` takes it then. What is staged is what `stage` would have staged one by one.
        """
        if not self._takes_runs or self._refusal is not None or leader_epoch > self.leader_epochs.latest:
            return None
        base_offset, end_bytes, staged = self._next_offset, self._staged_end_bytes, self._staged
        if not end_bytes:
            return None  # the first batch of a segment decides when it is rolled
        if not staged:
            self._staged_since_ms = self._wall_ms()
        now_ms = self._staged_since_ms
        latest_ms = min(now_ms + self._after_max_ms, self._roll_timestamp_ms)
        batches = run.scan(self._max_message_bytes, self._room_bytes - end_bytes, self._offset_limit + 1 - base_offset, latest_ms)
        if not batches:
            return None
        first = batches[0]
        if first.producer_id >= 0:
            try:
                if self._producers.check(first.producer_id, first.producer_epoch, first.base_sequence, first.last_sequence):
                    return None
            except KafkaError:
                return None
        next_offset = run.assign(base_offset, leader_epoch)
        if first.producer_id >= 0:
            for batch in batches:
                self._producers.append(batch, now_ms)
            self._staged_producers = True
        self._next_offset = next_offset
        self._staged_end_bytes = end_bytes + run.records_bytes
        if not staged:
            self._dirty.append(self)
        staged.extend(batches)
        result = StagedAppend(base_offset, next_offset - 1, NO_TIMESTAMP, self.log_start_offset)
        self._staged_results.append(result)
        return result

    def _check_attributes(self, attributes: int, transaction_verified: bool) -> None:
        if attributes & _CONTROL_BIT:
            raise InvalidRecord("clients may not write control records")
        if attributes & _TRANSACTIONAL_BIT and not transaction_verified:
            raise InvalidTxnState("the partition is not part of an open transaction of this producer")
        if attributes & _TIMESTAMP_TYPE_BIT:
            raise InvalidTimestamp("only the broker may stamp records with the log append time")

    def _check_oldest(self, batch: Batch, now_ms: int) -> None:
        """Check the timestamps of all records that have one."""
        stamps = (record.timestamp_ms for record in opened(batch).records())
        oldest_ms = min((stamp for stamp in stamps if stamp != NO_TIMESTAMP), default=now_ms)
        if now_ms - oldest_ms > self._before_max_ms:
            raise InvalidTimestamp(f"timestamp {oldest_ms} is over message.timestamp.before.max.ms behind {now_ms}")

    def _repeated(self, known: tuple[int, int, int, int, int]) -> StagedAppend:
        """Answer a repetition. When the first one is still staged, its fate is this one's too."""
        _, _, first_offset, last_offset, timestamp_ms = known
        result = StagedAppend(first_offset, last_offset, timestamp_ms, self.log_start_offset)
        if last_offset >= self.log_end_offset:
            self._staged_results.append(result)
        return result

    def _first_batch_staged(self, max_timestamp_ms: int) -> None:
        """The active segment gets its first batch: from its timestamp on counts segment.ms."""
        if max_timestamp_ms >= 0:
            self._roll_timestamp_ms = max_timestamp_ms + self._segment_age_ms()

    def _segment_age_ms(self) -> int:
        config = self.config
        jitter_ms = min(config.segment_jitter_ms, config.segment_ms)
        return config.segment_ms - (self.environment.random.below(jitter_ms) if jitter_ms > 0 else 0)

    def _make_room(self, size: int, max_timestamp_ms: int, last_offset: int) -> None:
        """Roll when the active segment cannot take the batch; else find out how much it surely can take.

        What is staged is committed before a roll, so that the new segment begins where the log then ends. KafkaStorageError
        when either fails.
        """
        config = self.config
        if size > config.segment_bytes:
            raise RecordListTooLarge(f"the batch has {size} bytes where segment.bytes={config.segment_bytes}")
        if self._roll_timestamp_ms == ROLL_TIME_UNKNOWN:
            try:
                self._find_roll_timestamp()
            except OSError as error:
                raise self._read_failed(error) from None
        end_bytes = self._staged_end_bytes + size
        entries_left = self._index_entries_left() - len(self._staged)
        if self._staged_end_bytes and (
            end_bytes > config.segment_bytes
            or entries_left <= 0
            or max_timestamp_ms > self._roll_timestamp_ms
            or last_offset > self._offset_limit
        ):
            if not self.commit():
                raise KafkaStorageError("the write before this one failed")
            try:
                self.roll()
            except OSError as error:
                self.directory.write_failed(f"{self.path}: no new segment", error)
                raise KafkaStorageError(f"no new segment: {error.strerror}") from None
            end_bytes = size
            entries_left = self._index_entries_left()
        self._room_bytes = min(config.segment_bytes, end_bytes + max(0, entries_left - 1) * self._index_interval_bytes)

    def _index_entries_left(self) -> int:
        """How many batches may be indexed yet; of the time index one entry is kept for the segment's last timestamp."""
        active, room_bytes = self._active, self._index_bytes
        return min(
            room_bytes // OFFSET_ENTRY_BYTES - active.offset_index.count,
            room_bytes // TIME_ENTRY_BYTES - 1 - active.time_index.count,
        )

    def _find_roll_timestamp(self) -> None:
        """A segment of an earlier start, or under other options: its age counts from its first batch, which is looked at here."""
        if not self._active.size_bytes:
            self._first_batch_staged(self._staged[0].max_timestamp_ms)
            return
        header = self._active.log.pread(BATCH_OVERHEAD_BYTES, 0)
        self._roll_timestamp_ms = MAX_INT64
        if len(header) == BATCH_OVERHEAD_BYTES:
            self._first_batch_staged(_MAX_TIMESTAMP.unpack_from(header, MAX_TIMESTAMP_POSITION)[0])

    def commit(self) -> bool:
        """Write what is staged and make it the log; False when that failed and all of it was taken back.

        The results of `stage` are final then. A full disk is survived; any other failure fences the directory. What is no failure
        of the disk is raised, after all was taken back.
        """
        staged = self._staged
        if not staged:
            return True
        try:
            self._active.append(staged)
        except OSError as error:
            self._take_back(error, error.strerror or str(error))
            return False
        except Exception as error:
            self._take_back(error, type(error).__name__)
            raise
        self._staged = []
        self._staged_results = []
        if self._staged_producers:
            self._staged_producers = False
            self._producers.commit()
        self.log_end_offset = end_offset = self._next_offset
        self.durability.appended(end_offset)
        if self._staged_end_bytes > self._reserve_at_bytes:
            self._reserve(self._active.next_reservation(self.config.segment_bytes))
        if self.on_advance is not None:
            self.on_advance()
        return True

    def _take_back(self, error: Exception, reason: str) -> None:
        """The write failed and left the file as it was: so do offsets and sequences."""
        self._fail_staged(f"write failed: {reason}")
        active = self._active
        try:
            file_bytes = active.log.size_bytes()
        except OSError:
            file_bytes = -1
        if file_bytes != active.size_bytes:
            self.directory.fail(f"{self.path}: a failed write could not be undone", error)
        elif isinstance(error, OSError):
            self.directory.write_failed(f"{self.path}: write failed", error)

    def _fail_staged(self, message: str) -> None:
        for result in self._staged_results:
            result.fail(KafkaStorageError.code, message)
        self._staged = []
        self._staged_results = []
        self._producers.roll_back()
        self._staged_producers = False
        self._next_offset = self.log_end_offset
        self._staged_end_bytes = self._active.size_bytes
        if not self._staged_end_bytes:
            self._roll_timestamp_ms = MAX_INT64

    def _flush_advanced(self) -> None:
        if self.on_advance is not None:
            self.on_advance()

    def _reserve(self, wanted: tuple[int, int] | None) -> None:
        """Reserve blocks ahead of the segment's end, off the broker's thread. Where that fails only speed is lost."""
        self._reserve_at_bytes = self._staged_end_bytes + RESERVE_AFTER_BYTES
        if wanted is not None:
            log = self._active.log
            log.acquire()
            self.environment.flusher.submit(partial(log.fallocate, *wanted), lambda _, error: log.release())

    # ---- rolling ----------------------------------------------------------------------------------------------------------

    def roll(self) -> None:
        """End the active segment and begin a new one at the log's end. Nothing may be staged.

        OSError when the files cannot be made; the active segment stays what it is then.
        """
        assert not self._staged, "a roll would separate staged batches from their offsets"
        environment, rolled, base_offset = self.environment, self._active_files, self.log_end_offset
        assert base_offset > rolled.base_offset, "an empty segment is not rolled"
        files = SegmentFiles(environment.disk, self.path, base_offset, self._wall_ms(), 0)
        try:
            segment = files.create(self.config)
            self._active.on_roll()
        except OSError:
            for path in files.rename_deleted():
                environment.disk.unlink(path)
            raise
        self._write_snapshot(base_offset)
        self._segments.append(files)
        self._bases.append(base_offset)
        self._active, self._active_files = segment, files
        environment.open_segments.used(rolled)
        self.durability.segment_opened(files, names_unsynced=True)
        self.durability.segment_rolled(rolled, base_offset)
        self._begin_segment()

    def _begin_segment(self) -> None:
        active = self._active
        self._staged_end_bytes = active.size_bytes
        self._offset_limit = active.base_offset + MAX_RELATIVE_OFFSET
        self._roll_timestamp_ms = ROLL_TIME_UNKNOWN if active.size_bytes else MAX_INT64
        self._room_bytes = -1
        self._index_bytes, self._index_interval_bytes = self.config.segment_index_bytes, self.config.index_interval_bytes
        self._reserve_at_bytes = active.size_bytes + RESERVE_AFTER_BYTES
        if self.config.preallocate and not active.size_bytes:
            self._reserve((0, min(RESERVATION_BYTES, self.config.segment_bytes)))

    def roll_if_old(self) -> None:
        """Roll a segment whose records have no timestamps once it is segment.ms old; others are rolled by their records' time."""
        files = self._active_files
        if (
            self._active.size_bytes
            and not self._staged
            and self._refusal is None
            and self._active.max_timestamp_ms < 0
            and self._wall_ms() - files.created_ms > self.config.segment_ms
        ):
            try:
                self.roll()
            except OSError as error:
                self.directory.write_failed(f"{self.path}: no new segment", error)

    def _write_snapshot(self, offset: int) -> None:
        """Write the producer snapshot at `offset`. Without it (a full disk) a later recovery scans further back."""
        path = self._snapshot_path(offset)
        try:
            write_unsynced(self.environment.disk, path, self._producers.snapshot())
        except OSError as error:
            self.directory.write_failed(f"{path}: no producer snapshot", error)

    def _snapshot_path(self, offset: int) -> str:
        return f"{self.path}/{names.offset_file(offset, names.SNAPSHOT_SUFFIX)}"

    # ---- reading ----------------------------------------------------------------------------------------------------------

    def read(self, offset: int, max_bytes: int, end_offset: int, at_least_one: bool = True) -> Region | None:
        """Return at most `max_bytes` from the batch that holds `offset` on, of batches that begin below `end_offset`.

        With `at_least_one` the first batch comes whole. None when there is nothing yet. Raises OffsetOutOfRange outside of
        [log_start_offset, log_end_offset], KafkaStorageError on a fenced directory, CorruptMessage where a header is damaged.
        """
        if self._refusal is not None:
            raise self._refusal
        if not self.log_start_offset <= offset <= self.log_end_offset:
            raise OffsetOutOfRange(f"offset {offset} is outside of [{self.log_start_offset}, {self.log_end_offset}]")
        if offset >= end_offset:
            return None
        try:
            if offset >= self._active.base_offset:
                return self._active.read(offset, max_bytes, end_offset, at_least_one)
            for index in range(max(0, bisect_right(self._bases, offset) - 1), len(self._segments)):
                region = self._segment_at(index).read(offset, max_bytes, end_offset, at_least_one)
                if region is not None:
                    return region
        except CorruptBatch as error:
            raise self._corrupt(error) from None
        except OSError as error:
            raise self._read_failed(error) from None
        return None

    def timestamp_steps(self, timestamp_ms: int, end_offset: int, decompress: Decompress) -> Search[tuple[int, int] | None]:
        """Find (timestamp, offset) of the first record below `end_offset` that is not older than `timestamp_ms`.

        Compressed batches are opened by `decompress`. Raises as `read` does. There is another step for each batch whose records
        are all older than it says itself, as producers may write them: any number of them, while the log goes on.
        """
        from_offset = self.log_start_offset
        while True:
            found, from_offset = self._look_for(timestamp_ms, max(from_offset, self.log_start_offset), end_offset, decompress)
            if from_offset == NOWHERE:
                return found
            yield

    def _look_for(
        self, timestamp_ms: int, from_offset: int, end_offset: int, decompress: Decompress
    ) -> tuple[tuple[int, int] | None, int]:
        """Look into the first batch that says it has such a record; return what is found, and where else to look."""
        if self._refusal is not None:
            raise self._refusal
        try:
            batch = self._batch_not_older(timestamp_ms, from_offset)
            if batch is None or batch.base_offset >= end_offset:
                return None, NOWHERE
            payload = decompress(batch.codec, batch.payload) if batch.codec else None
            for record in batch.records(payload):
                if record.timestamp_ms >= timestamp_ms and record.offset >= from_offset:
                    return (record.timestamp_ms, record.offset) if record.offset < end_offset else None, NOWHERE
            return None, batch.last_offset + 1
        except CorruptBatch as error:
            raise self._corrupt(error) from None
        except OSError as error:
            raise self._read_failed(error) from None

    def _batch_not_older(self, timestamp_ms: int, from_offset: int) -> Batch | None:
        for index in range(max(0, bisect_right(self._bases, from_offset) - 1), len(self._segments)):
            if self._segments[index].max_timestamp_ms(self.config, self._next_base(index)) >= timestamp_ms:
                region = self._segment_at(index).find_batch_by_timestamp(timestamp_ms, from_offset)
                if region is not None:
                    return scan(region, compacted=True)[0]
        return None

    def aborted_transactions(self, offset: int, end_offset: int) -> list[tuple[int, int]]:
        """Return (producer id, first offset) of the aborted transactions that touch [offset, end_offset); raises as `read`."""
        aborted = []
        try:
            for index in range(max(0, bisect_right(self._bases, offset) - 1), len(self._segments)):
                for entry in self._segments[index].aborted_transactions():
                    if entry.last_offset >= offset and entry.first_offset < end_offset:
                        aborted.append((entry.producer_id, entry.first_offset))
                    if entry.last_stable_offset >= end_offset:
                        return aborted
        except CorruptRecord as error:
            logger.error("%s", error)
            raise CorruptMessage(str(error)) from None
        except OSError as error:
            raise self._read_failed(error) from None
        return aborted

    def max_timestamp_ms(self) -> int:
        """Return the greatest timestamp in the log, -1 when it has none."""
        try:
            return max(files.max_timestamp_ms(self.config, self._next_base(index)) for index, files in enumerate(self._segments))
        except OSError as error:
            raise self._read_failed(error) from None

    def _next_base(self, index: int) -> int:
        """Where the segment after a closed one begins."""
        return self._bases[index + 1] if index + 1 < len(self._bases) else self.log_end_offset

    def _segment_at(self, index: int) -> Segment:
        files = self._segments[index]
        segment = files.segment
        if segment is None:
            segment = files.open(self.config, self._next_base(index), sealed=True)
        self.environment.open_segments.used(files)
        return segment

    def _corrupt(self, error: CorruptBatch) -> CorruptMessage:
        message = f"{self.topic}-{self.partition}: corrupt batch in {self.path}: {error.reason} at byte {error.position}"
        logger.error("%s", message)
        return CorruptMessage(message)

    def _read_failed(self, error: OSError) -> KafkaStorageError:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            logger.warning("%s: %s", self.path, error)
        else:
            self.directory.fail(f"reading {self.path} failed", error)
        return KafkaStorageError(f"reading failed: {error.strerror}")

    # ---- the log's start --------------------------------------------------------------------------------------------------

    def increment_log_start_offset(self, offset: int) -> None:
        """Let nobody read below `offset` any more (DeleteRecords).

        OffsetOutOfRange for a negative one or one above the high watermark, KafkaStorageError on a fenced directory.

        What lies below is deleted by whole segments, at the next look of retention.
        """
        if self._refusal is not None:
            raise self._refusal
        if not 0 <= offset <= self.high_watermark:
            raise OffsetOutOfRange(f"offset {offset} is outside of [0, {self.high_watermark}], which ends at the high watermark")
        if offset > self.log_start_offset:
            self.log_start_offset = offset
            self.local_log_start_offset = max(offset, self._bases[0])
            self.leader_epochs.truncate_from_start(offset)

    def delete_old_segments(self) -> int:
        """Delete what retention lets go and return how many segments that were. Files go after file.delete.delay.ms."""
        if self._refusal is not None or self._staged:
            return 0
        config, segments = self.config, self._segments
        now_ms = self._wall_ms()

        def facts(index: int) -> SegmentFacts:
            files, next_base = segments[index], self._next_base(index)
            newest_ms = files.max_timestamp_ms(config, next_base) if config.retention_ms >= 0 else now_ms
            return SegmentFacts(next_base, files.size_bytes, newest_ms if newest_ms >= 0 else files.created_ms)

        try:
            count = expired_count(
                map(facts, range(len(segments))), self.size_bytes, config, now_ms, self.log_start_offset, self.high_watermark
            )
            if count and count == len(segments):
                self.roll()
            if count:
                self._remove_first(count)
        except OSError as error:
            self.directory.write_failed(f"{self.path}: deleting old segments failed", error)
            return 0
        return count

    def _remove_first(self, count: int) -> None:
        environment = self.environment
        removed = self._segments[:count]
        del self._segments[:count], self._bases[:count]
        self.log_start_offset = max(self.log_start_offset, self._bases[0])
        self.local_log_start_offset = self.log_start_offset
        self.leader_epochs.truncate_from_start(self.log_start_offset)
        self.durability.segments_removed(removed)
        logger.info("%s: %d segments below offset %d are deleted", self.path, count, self._bases[0])
        paths = [path for files in removed for path in files.rename_deleted()]
        environment.call_later(self.config.file_delete_delay_ms, self._unlink, paths)

    def _unlink(self, paths: list[str]) -> None:
        def unlinked(_: None, error: BaseException | None) -> None:
            if error is not None and self._refusal is None:
                logger.warning("%s: deleted segments could not be removed: %s", self.path, error)

        run_on(self.environment.flusher, unlink_steps(self.environment.disk, paths), unlinked)

    def expire_producers(self, expiration_ms: int) -> None:
        """Forget producers that appended nothing for so long."""
        self._producers.expire(self._wall_ms() - expiration_ms)

    # ---- the end ----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Flush and close, so that the next start reads no log. Runs to its end before returning; OSError when it cannot."""
        if self._refusal is None:
            self.commit()
        if self._refusal is None:
            if finishes := self._needs_closing_entries():
                self._active.on_roll()
                write_now(self.environment.disk, self._snapshot_path(self.log_end_offset), self._producers.snapshot())
            run_now(self.durability.close_steps(indexes_changed=finishes))
            self._epochs_file.finish_now(self.leader_epochs.content())
        self._shut()

    def _needs_closing_entries(self) -> bool:
        """Tell whether something was appended since the last start, or that start found no snapshot."""
        return not self.durability.is_everything_flushed or (
            self.log_end_offset > 0 and not self.environment.disk.exists(self._snapshot_path(self.log_end_offset))
        )

    def abandon(self) -> None:
        """Close without a flush: the partition is going. What is staged fails."""
        self._refusal = KafkaStorageError("the partition is being deleted")
        self._fail_staged("the partition is being deleted")
        self._epochs_file.abandon()
        with suppress(OSError):  # a full disk: nobody will read the indexes whose ends did not go
            self._shut()

    def _shut(self) -> None:
        self.durability.abandon()
        self.directory.forget(self._directory_failed)
        if self._refusal is None:
            self._refusal = KafkaStorageError("the log is closed")
        with ExitStack() as closing:  # all of them, whichever fails
            for files in self._segments:
                closing.callback(files.close)

    def _directory_failed(self, failure: StorageFailed) -> None:
        self._refusal = KafkaStorageError(str(failure))
        self._fail_staged(str(failure))
        self.durability.abandon()
        if self.on_failure is not None:
            self.on_failure()

    def _epochs_not_written(self, error: BaseException) -> bool:
        if not isinstance(error, OSError):
            raise error
        return self.directory.write_failed(f"{self.path}: leader epochs not written", error)
