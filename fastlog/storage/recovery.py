"""From a partition's directory to its `Log`, whatever state a crash left it in.

After a clean stop the checkpoints say where the log ends, and no log file is read. Otherwise the segments from the recovery
point on are scanned: kept up to the first byte that is no valid batch, or the first missing offset, the rest cut, later
segments dropped, indexes built anew. The producer state comes from the newest snapshot that can be read plus what lies behind
it; leader epochs from their checkpoint plus what the log itself says. The scans are single calls into the core, run by the
flusher.
"""

from __future__ import annotations

import errno
import logging
import os
import struct
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from fastlog._core import RecoveredBatch, Segment
from fastlog.env import Disk
from fastlog.errors import CorruptRecord, UsageError
from fastlog.storage import leader_epochs, names, partition_metadata
from fastlog.storage.checkpoints import TEMPORARY_SUFFIX, read_file, write_steps, write_unsynced
from fastlog.storage.environment import SHORTAGES, LogDirectory, StorageEnvironment
from fastlog.storage.leader_epochs import UNKNOWN_EPOCH, LeaderEpochs
from fastlog.storage.log import Log
from fastlog.storage.log_config import LogConfig
from fastlog.storage.producer_state import ProducerState
from fastlog.storage.segment_files import SegmentFiles
from fastlog.storage.steps import Steps, run_now

logger = logging.getLogger("fastlog.storage")

SWAP_SUFFIX = ".swap"
LEADER_EPOCH_POSITION = 12
COMPACTED_TOPICS_PREFIX = "__"
"""Kafka compacts its internal topics: between their segments offsets may be missing, where elsewhere that tells of lost bytes."""
_INT32 = struct.Struct(">i")

Progress = Callable[[str, int, int], None]
"""Told (directory, segments scanned, segments to scan) after each segment that a recovery scanned."""


@dataclass(frozen=True, slots=True)
class LastStop:
    """What the checkpoints say of one log. `recovery_point` is None where they say nothing of it."""

    was_clean: bool
    recovery_point: int | None = None
    log_start_offset: int = 0
    high_watermark: int = 0


class _Loading:
    """One log on its way from its directory."""

    def __init__(
        self,
        environment: StorageEnvironment,
        path: str,
        config: LogConfig,
        stop: LastStop,
        progress: Progress,
        *,
        may_have_gaps: bool,
    ) -> None:
        self.environment = environment
        self.disk = environment.disk
        self.path = path
        self.config = config
        self.stop = stop
        self.progress = progress
        self.now_ms = environment.clock.wall_ms()
        self.segments: list[SegmentFiles] = []
        self.recovered: dict[int, list[RecoveredBatch]] = {}
        self.may_have_gaps = may_have_gaps
        self.snapshots: list[int] = []
        self.names_changed = False
        self.epochs_on_disk: bytes | None = None

    def look(self) -> None:
        """Sort out what is in the directory; remove what an interrupted deletion or rewrite left."""
        found = self.disk.list_directory(self.path)
        bases = []
        for name in found:
            if name.endswith(SWAP_SUFFIX):
                raise UsageError(
                    f"{self.path}: {name} is left from an interrupted compaction: start Kafka on this directory once to finish it"
                )
            if name.endswith((names.DELETED_SUFFIX, names.REPLACEMENT_SUFFIX, TEMPORARY_SUFFIX)):
                self.disk.unlink(f"{self.path}/{name}")
            elif (base := names.parse_offset_file(name, names.LOG_SUFFIX)) is not None:
                bases.append(base)
            elif (offset := names.parse_offset_file(name, names.SNAPSHOT_SUFFIX)) is not None:
                self.snapshots.append(offset)
        for suffix in (names.OFFSET_INDEX_SUFFIX, names.TIME_INDEX_SUFFIX, names.TRANSACTION_INDEX_SUFFIX):
            for name in found:
                base = names.parse_offset_file(name, suffix)
                if base is not None and base not in bases:
                    self.disk.unlink(f"{self.path}/{name}")
        self.segments = [self._found_segment(base) for base in sorted(bases)]

    def _found_segment(self, base_offset: int) -> SegmentFiles:
        size = self.disk.size_bytes(f"{self.path}/{names.offset_file(base_offset, names.LOG_SUFFIX)}")
        return SegmentFiles(self.disk, self.path, base_offset, self.now_ms, size)

    def begin_at(self, offset: int) -> None:
        """Make the log empty, beginning at `offset`."""
        for files in self.segments:
            self._discard(files)
        files = SegmentFiles(self.disk, self.path, offset, self.now_ms, 0)
        files.create(self.config)
        self.segments = [files]
        self.recovered = {}

    def _discard(self, files: SegmentFiles) -> None:
        for path in files.rename_deleted():
            self.disk.unlink(path)
        if files.base_offset in self.snapshots:
            self.snapshots.remove(files.base_offset)
        self.names_changed = True

    def open_active_steps(self) -> Steps[None]:
        """Open the last segment after a clean stop: where it ends is known, unless the checkpoints say nothing of it."""
        last, recovery_point = self.segments[-1], self.stop.recovery_point
        if last.size_bytes == 0:
            last.open(self.config, last.base_offset, sealed=False)
        elif recovery_point is not None and recovery_point > last.base_offset:
            last.open(self.config, recovery_point, sealed=False)
        else:
            segment = last.open(self.config, -1, sealed=False)
            if segment.needs_recovery:
                logger.warning("%s: stopped cleanly, and yet its end is not whole", last.path(names.LOG_SUFFIX))
                self.recovered[last.base_offset] = yield segment.recover

    def recover_steps(self) -> Steps[None]:
        """Scan the segments from the recovery point on, and cut at the first invalid byte."""
        bases = [files.base_offset for files in self.segments]
        first = max(0, bisect_right(bases, self.stop.recovery_point or 0) - 1)
        total = len(bases) - first
        for index in range(first, len(bases)):
            files = self.segments[index]
            size_before = files.size_bytes
            segment = files.open_for_recovery(self.config)
            yield segment.log.drop_cache  # where a sync failed, it holds what the device does not, and would never get
            self.recovered[files.base_offset] = yield segment.recover
            self.progress(self.path, index - first + 1, total)
            cut_bytes = size_before - segment.size_bytes
            if cut_bytes:
                logger.warning(
                    "%s: %d bytes past offset %d are no valid batches and were cut",
                    files.path(names.LOG_SUFFIX), cut_bytes, segment.next_offset,
                )  # fmt: skip
            is_last = index + 1 == len(bases)
            if cut_bytes or not (is_last or segment.next_offset == bases[index + 1] or self.may_have_gaps):
                for dropped in reversed(self.segments[index + 1 :]):
                    logger.warning(
                        "%s: dropped, as the log ends at %d before it", dropped.path(names.LOG_SUFFIX), segment.next_offset
                    )
                    self._discard(dropped)
                del self.segments[index + 1 :]
                yield segment.log.fdatasync
                break
            if not is_last:
                try:
                    segment.on_roll()
                except OSError as error:
                    if error.errno not in SHORTAGES:
                        raise
                    logger.warning("%s: its indexes wait for room: %s", files.path(names.LOG_SUFFIX), error)
                else:
                    self.environment.open_segments.used(files)

    def log_start(self) -> int:
        return max(self.stop.log_start_offset, self.segments[0].base_offset)

    def log_end(self) -> int:
        return self._active().next_offset

    def _active(self) -> Segment:
        segment = self.segments[-1].segment
        assert segment is not None
        return segment

    def producer_steps(self) -> Steps[ProducerState]:
        """Build the producer state from the newest snapshot that can be read, and from the log behind it."""
        producers, from_offset = self._load_snapshot()
        for index, files in enumerate(self.segments):
            end_offset = self._end_of(index)
            if end_offset <= from_offset:
                continue
            batches = self.recovered.get(files.base_offset)
            if batches is None:
                segment = files.segment
                if segment is None:
                    segment = files.open(self.config, end_offset, sealed=True)
                    self.environment.open_segments.used(files)
                batches = yield partial(segment.producer_batches, from_offset)
            if files.base_offset > from_offset:
                self._write_snapshot(files, producers)
            producers.replay_all([batch for batch in batches if batch.base_offset >= from_offset], self.now_ms)
        return producers

    def _write_snapshot(self, files: SegmentFiles, producers: ProducerState) -> None:
        """Make up for the snapshot that a segment lost: retention may take what lies before it."""
        path = files.path(names.SNAPSHOT_SUFFIX)
        try:
            write_unsynced(self.disk, path, producers.snapshot())
        except OSError as error:
            if error.errno not in SHORTAGES:
                raise
            logger.warning("%s: no producer snapshot: %s", path, error)

    def _end_of(self, index: int) -> int:
        return self.segments[index + 1].base_offset if index + 1 < len(self.segments) else self.log_end()

    def _load_snapshot(self) -> tuple[ProducerState, int]:
        producers = ProducerState()
        log_end, first = self.log_end(), self.segments[0].base_offset
        bases = {files.base_offset for files in self.segments}
        loaded: int | None = None
        for offset in sorted(self.snapshots, reverse=True):
            path = f"{self.path}/{names.offset_file(offset, names.SNAPSHOT_SUFFIX)}"
            is_usable = first <= offset <= log_end
            if is_usable and loaded is None:
                try:
                    producers.load(read_file(self.disk, path) or b"", path, self.now_ms)
                    loaded = offset
                except CorruptRecord as error:
                    logger.warning("%s; an older snapshot is used", error)
                    is_usable = False
            if not is_usable or (offset != loaded and offset not in bases):
                self.disk.unlink(path)
                self.names_changed = self.names_changed or offset > log_end
        return producers, first if loaded is None else loaded

    def epoch_steps(self) -> Steps[list[tuple[int, int]]]:
        """Find the leader epochs: those of the checkpoint, and those only the log knows of.

        Where the log was scanned the checkpoint is believed as far as the log bears it out: it may be older, and tell of epochs
        that were cut. What it tells wrongly is put right before the log grows past it.
        """
        path = f"{self.path}/{leader_epochs.FILE_NAME}"
        self.epochs_on_disk = read_file(self.disk, path)
        try:
            entries = leader_epochs.parse(self.epochs_on_disk or b"", path)
        except CorruptRecord as error:
            logger.warning("%s; the epochs are taken from the log", error)
            entries = []
        entries = [entry for entry in entries if entry[1] < self.log_end()]
        if self.recovered:
            entries = self._borne_out(entries)
        if entries and entries[0][1] > self.log_start():
            entries = []  # the log's start was moved, and that was forgotten
        epochs = LeaderEpochs(entries, lambda _: None)
        epochs.truncate_from_start(self.log_start())
        if (self.recovered or not entries) and self.log_end() > self.log_start():
            self._add_epochs_of_log(epochs)
        if self.recovered and epochs.content() != self.epochs_on_disk:
            try:
                yield from write_steps(self.disk, path, epochs.content())
                self.epochs_on_disk = epochs.content()
            except OSError as error:
                if error.errno not in SHORTAGES:
                    raise
                logger.warning("%s not written: %s", path, error)
        return epochs.entries()

    def _borne_out(self, entries: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return the entries up to the first one that the batches at its start, or before it, contradict."""
        scanned_from, log_start, before = min(self.recovered), self.log_start(), UNKNOWN_EPOCH
        for number, (epoch, start) in enumerate(entries):
            if start >= max(scanned_from, log_start) and (
                self._epoch_at(start)[0] not in (epoch, UNKNOWN_EPOCH)
                or (start > log_start and self._epoch_at(start - 1)[0] not in (before, UNKNOWN_EPOCH))
            ):
                return entries[:number]
            before = epoch
        return entries

    def _add_epochs_of_log(self, epochs: LeaderEpochs) -> None:
        """Find, by bisection, where the log's batches pass to epochs later than the latest known."""
        last_offset = self._end_of_batches() - 1
        last = self._epoch_at(last_offset)[0] if last_offset >= self.log_start() else UNKNOWN_EPOCH
        while last > epochs.latest:
            low = max([self.log_start(), *(start for _, start in epochs.entries()[-1:])])
            high = last_offset
            while low < high:
                middle = (low + high) // 2
                if self._epoch_at(middle)[0] > epochs.latest:
                    high = middle
                else:
                    low = middle + 1
            epoch, base_offset = self._epoch_at(low)
            epochs.assign(epoch, max(base_offset, self.log_start()))

    def _end_of_batches(self) -> int:
        """Return where the last batch ends, as far as that is known: where there may be gaps, an empty segment may follow one."""
        if not self.may_have_gaps:
            return self.log_end()
        for index in reversed(range(len(self.segments))):
            files = self.segments[index]
            end = self._end_of(index) if files.segment is None else files.segment.next_offset
            if files.size_bytes and end > files.base_offset:
                return end
        return self.log_start()

    def _epoch_at(self, offset: int) -> tuple[int, int]:
        """Return (leader epoch, base offset) of the first batch that ends at or past `offset`.

        The epoch is unknown where there may be gaps and one is all that comes.
        """
        bases = [files.base_offset for files in self.segments]
        for index in range(max(0, bisect_right(bases, offset) - 1), len(bases)):
            files = self.segments[index]
            segment = files.segment
            if segment is None:
                segment = files.open(self.config, self._end_of(index), sealed=True)
                self.environment.open_segments.used(files)
            found = segment.find(offset)
            if found is not None:
                base_offset, position, _ = found
                return _INT32.unpack(segment.log.pread(4, position + LEADER_EPOCH_POSITION))[0], base_offset
        if self.may_have_gaps:
            return UNKNOWN_EPOCH, offset
        raise CorruptRecord(f"{self.path}: offset {offset} is below the log's end, and in no segment")

    def topic_id(self) -> bytes | None:
        path = f"{self.path}/{partition_metadata.FILE_NAME}"
        try:
            return partition_metadata.parse(read_file(self.disk, path) or b"", path)
        except CorruptRecord as error:
            logger.warning("%s; the topic id is taken from the cluster's metadata", error)
            return None


def load_steps(
    environment: StorageEnvironment,
    directory: LogDirectory,
    topic: str,
    partition: int,
    config: LogConfig,
    dirty: list[Log],
    stop: LastStop,
    progress: Progress = lambda path, done, total: None,
) -> Steps[Log]:
    """Load the log of a partition whose directory exists. OSError and UsageError as they come; damage is mended and logged."""
    path = f"{directory.path}/{names.partition_directory(topic, partition)}"
    loading = _Loading(environment, path, config, stop, progress, may_have_gaps=topic.startswith(COMPACTED_TOPICS_PREFIX))
    loading.look()
    if not loading.segments:
        loading.begin_at(stop.log_start_offset)
    elif stop.was_clean:
        yield from loading.open_active_steps()
    else:
        yield from loading.recover_steps()
    if loading.log_end() < stop.log_start_offset:
        logger.warning("%s: the log ended at %d, before its start %d", loading.path, loading.log_end(), stop.log_start_offset)
        loading.begin_at(stop.log_start_offset)
    producers = yield from loading.producer_steps()
    if loading.names_changed:
        # What was dropped must not come back beside what is appended from now on.
        yield partial(environment.disk.sync_directory, loading.path)
    epoch_entries = yield from loading.epoch_steps()
    log_end = loading.log_end()
    log = Log(
        environment,
        directory,
        topic,
        partition,
        config,
        segments=loading.segments,
        producers=producers,
        epoch_entries=epoch_entries,
        epochs_on_disk=loading.epochs_on_disk,
        log_start_offset=loading.log_start(),
        recovery_point=log_end if stop.was_clean else min(stop.recovery_point or 0, log_end),
        high_watermark=stop.high_watermark,
        topic_id=loading.topic_id(),
        dirty=dirty,
        names_unsynced=not stop.was_clean,
    )
    if loading.recovered:
        rolled = [files for files in loading.segments[:-1] if files.base_offset in loading.recovered]
        yield from log.durability.recovered_steps(rolled)
    return log


def new_log(
    environment: StorageEnvironment,
    directory: LogDirectory,
    topic: str,
    partition: int,
    topic_id: bytes | None,
    config: LogConfig,
    dirty: list[Log],
) -> Log:
    """Make a partition's directory with an empty log; OSError when it cannot be made; nothing is left then if possible."""
    path = f"{directory.path}/{names.partition_directory(topic, partition)}"
    disk = environment.disk
    if not disk.exists(directory.path):  # unmounted, or removed: what was written in its place would be lost
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), directory.path)
    is_ours = not disk.exists(path)
    files = SegmentFiles(disk, path, 0, environment.clock.wall_ms(), 0)
    try:
        disk.make_directories(path)
        if topic_id is not None:
            write_topic_id(environment, path, topic_id)
        files.create(config)
    except OSError:
        if is_ours:
            with suppress(OSError):
                run_now(remove_steps(disk, path))
        raise
    return Log(
        environment,
        directory,
        topic,
        partition,
        config,
        segments=[files],
        producers=ProducerState(),
        epoch_entries=[],
        epochs_on_disk=None,
        log_start_offset=0,
        recovery_point=0,
        high_watermark=0,
        topic_id=topic_id,
        dirty=dirty,
        names_unsynced=True,
    )


def remove_steps(disk: Disk, path: str) -> Steps[None]:
    """Remove a partition's directory with all that is in it."""
    for name in disk.list_directory(path):
        yield partial(disk.unlink, f"{path}/{name}")
    yield partial(disk.remove_directory, path)


def write_topic_id(environment: StorageEnvironment, path: str, topic_id: bytes) -> None:
    """Write `partition.metadata` so that a killed process leaves it. A lost machine may lose it: the metadata has it too."""
    disk = environment.disk
    target = f"{path}/{partition_metadata.FILE_NAME}"
    write_unsynced(disk, target + TEMPORARY_SUFFIX, partition_metadata.content(topic_id))
    disk.rename(target + TEMPORARY_SUFFIX, target)
