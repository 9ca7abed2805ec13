"""All logs of one broker: its data directories, their locks and identity, loading, creation, deletion, the turn's writes,
checkpoints.

Invariants: a directory is used only under its lock and for its own cluster; the mark of a clean stop is gone from the disk before
anything is appended, and comes back only when every log of the directory was flushed; a directory that failed stays fenced.
"""

from __future__ import annotations

import errno
import json
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from fastlog.env import DirectoryLock
from fastlog.env.directories import make_directories_durably
from fastlog.errors import CorruptRecord, KafkaStorageError, StorageFailed, UsageError, cannot_use
from fastlog.storage import checkpoints, meta_properties, names
from fastlog.storage.checkpoints import CheckpointFile, Offsets, read_file, write_now
from fastlog.storage.environment import LogDirectory, StorageEnvironment
from fastlog.storage.log import Log
from fastlog.storage.log_config import DAY_MS, LogConfig
from fastlog.storage.meta_properties import MetaProperties
from fastlog.storage.recovery import LastStop, Progress, load_steps, new_log, remove_steps
from fastlog.storage.steps import Steps, run_on

logger = logging.getLogger("fastlog.storage")

CLEAN_SHUTDOWN_FILE = ".kafka_cleanshutdown"
MAX_LOADS_UNDER_WAY = 8

LogConfigFor = Callable[[str], LogConfig]
"""Gives the options of a topic's logs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageConfig:
    """The broker's own options of storage; names and defaults are Kafka's, times milliseconds."""

    log_dirs: tuple[str, ...]
    log_retention_check_interval_ms: int = 300_000
    log_flush_offset_checkpoint_interval_ms: int = 60_000
    log_flush_start_offset_checkpoint_interval_ms: int = 60_000
    replica_high_watermark_checkpoint_interval_ms: int = 5_000
    producer_id_expiration_ms: int = DAY_MS
    producer_id_expiration_check_interval_ms: int = 600_000


class _DataDirectory(LogDirectory):
    """A log directory with its lock, its checkpoints and what they said at the start."""

    __slots__ = ("checkpoint_files", "is_marked", "last_stop_was_clean", "lock", "logs", "offsets_at_start", "unmarked")

    def __init__(self, environment: StorageEnvironment, path: str) -> None:
        super().__init__(path, environment.clock)
        self.lock: DirectoryLock | None = None
        self.logs: dict[tuple[str, int], Log] = {}
        self.last_stop_was_clean = False
        self.is_marked = False
        """Whether it has its identity."""
        self.unmarked: MetaProperties | None = None
        """The identity that it is still to get: it holds nothing, so it is new, or a mount point without its disk."""
        self.offsets_at_start: dict[str, Offsets] = {}
        self.checkpoint_files = {
            name: CheckpointFile(
                environment.disk, environment.flusher, environment.call_later, f"{path}/{name}", partial(self._not_written, name)
            )
            for name in (checkpoints.RECOVERY_POINTS, checkpoints.LOG_START_OFFSETS, checkpoints.HIGH_WATERMARKS)
        }

    def _not_written(self, name: str, error: BaseException) -> bool:
        if not isinstance(error, OSError):
            raise error
        return self.write_failed(f"{self.path}/{name} not written", error)

    def offsets(self, name: str) -> bytes:
        """Return what a checkpoint is to hold now."""
        logs = self.logs.items()
        if name == checkpoints.RECOVERY_POINTS:
            return checkpoints.format_offsets((key, log.durability.recovery_start) for key, log in logs)
        if name == checkpoints.HIGH_WATERMARKS:
            return checkpoints.format_offsets((key, log.high_watermark) for key, log in logs)
        return checkpoints.format_offsets(
            (key, log.log_start_offset) for key, log in logs if log.log_start_offset > log.segment_base_offsets[0]
        )


def _partitions_among(present: Iterable[str]) -> list[tuple[str, int]]:
    """Return the partitions that names in a data directory stand for."""
    found = map(names.parse_partition_directory, present)
    return [one for one in found if one is not None and one[0] != names.METADATA_TOPIC]


class LogManager:
    """The logs of a broker, by topic and partition."""

    def __init__(self, environment: StorageEnvironment, config: StorageConfig, log_config_for: LogConfigFor) -> None:
        self.environment = environment
        self.config = config
        self._log_config_for = log_config_for
        self._directories: list[_DataDirectory] = []
        self._logs: dict[tuple[str, int], Log] = {}
        self._dirty: list[Log] = []
        self._is_known = False
        """Whether one of the directories has an identity from before."""
        self._is_loaded = False
        self._closed = False
        self.on_all_failed: Callable[[StorageFailed], object] = lambda failure: None
        """Called when the last of the directories is fenced, with why; not by a `load`, which fails itself then."""

    # ---- the data directories ---------------------------------------------------------------------------------------------

    def lock(self) -> MetaProperties | None:
        """Make and lock every data directory and return the identity found in them, None when they are new.

        UsageError that says which directory cannot be used, why, and what to do. Beside another that has an identity, one that
        the disk does not let be used is fenced instead: what is in the others is served.
        """
        identity: MetaProperties | None = None
        unusable: list[tuple[_DataDirectory, OSError]] = []
        try:
            for path in self.config.log_dirs:
                self._directories.append(_DataDirectory(self.environment, path))
                self._directories[-1].on_failure(self._directory_failed)
            for directory in self._directories:
                try:
                    self._lock_directory(directory)
                    found = self._stored_identity(directory)
                except OSError as error:
                    unusable.append((directory, error))
                    continue
                if found is None:
                    continue
                directory.is_marked = True
                if identity is not None and found != identity:
                    raise UsageError(
                        f"{directory.path}: its {meta_properties.FILE_NAME} differs from that of another of log.dirs"
                    )
                identity = found
            for directory, why in unusable:
                if identity is None:
                    raise cannot_use(f"data directory {directory.path}", why) from None
                directory.fail("it cannot be used", why)
            self._is_known = identity is not None
        except BaseException:
            self._unlock()
            raise
        return identity

    def _lock_directory(self, directory: _DataDirectory) -> None:
        disk, path = self.environment.disk, directory.path
        try:
            make_directories_durably(disk, path)
            directory.lock = disk.lock_directory(path)
        except BlockingIOError:
            raise UsageError(
                f"data directory {path} is held by another process: stop that one, or choose another directory"
            ) from None

    def _stored_identity(self, directory: _DataDirectory) -> MetaProperties | None:
        path = f"{directory.path}/{meta_properties.FILE_NAME}"
        data = read_file(self.environment.disk, path)
        return meta_properties.parse(data, path) if data else None

    def identify(self, cluster_id: str, node_id: int) -> None:
        """Mark the directories as this broker's; UsageError when one is of another cluster or broker.

        One that holds nothing, beside others that are marked, gets its mark with its first log.
        """
        for directory in self._directories:
            if directory.failure is not None:
                continue
            path = f"{directory.path}/{meta_properties.FILE_NAME}"
            found = self._stored_identity(directory)
            if found is not None:
                meta_properties.check(found, cluster_id, node_id, path)
                continue
            directory.unmarked = MetaProperties(cluster_id, node_id)
            try:
                if not self._is_known or _partitions_among(self.environment.disk.list_directory(directory.path)):
                    self._mark(directory)
            except OSError as error:
                raise cannot_use(f"data directory {directory.path}", error) from None

    def _mark(self, directory: _DataDirectory) -> None:
        if directory.unmarked is not None:
            path = f"{directory.path}/{meta_properties.FILE_NAME}"
            write_now(self.environment.disk, path, directory.unmarked.content())
            directory.unmarked = None
            directory.is_marked = True

    def _unlock(self) -> None:
        for directory in self._directories:
            if directory.lock is not None:
                directory.lock.release()
        self._directories = []

    @property
    def failures(self) -> list[StorageFailed]:
        """Why directories are fenced, one entry each."""
        return [directory.failure for directory in self._directories if directory.failure is not None]

    @property
    def lacking(self) -> list[str]:
        """The locked directories that have no identity, and those that cannot be used."""
        return [directory.path for directory in self._directories if directory.failure is not None or not directory.is_marked]

    def _directory_failed(self, failure: StorageFailed) -> None:
        if self._is_loaded and all(directory.failure is not None for directory in self._directories):
            self.on_all_failed(failure)

    @property
    def was_clean_stop(self) -> bool:
        """Tell whether every data directory that held anything was stopped cleanly the last time."""
        return all(directory.last_stop_was_clean or not directory.logs for directory in self._directories)

    # ---- loading ----------------------------------------------------------------------------------------------------------

    def load(
        self, done: Callable[[None, BaseException | None], None], progress: Progress = lambda path, scanned, total: None
    ) -> None:
        """Load every log of the locked directories, then call `done(None, error)`; at once where nothing has to be scanned.

        A directory that cannot be read is fenced and its logs are left out; the error is set when none remains, or for a
        UsageError.
        """
        waiting: deque[tuple[_DataDirectory, str, int]] = deque()
        for directory in self._directories:
            if directory.failure is not None:
                continue
            try:
                waiting.extend((directory, topic, index) for topic, index in self._look(directory))
            except OSError as error:
                directory.fail("loading failed", error)
        under_way = 0
        pumping = False
        failed: UsageError | None = None

        def pump() -> None:
            nonlocal under_way, pumping
            if pumping:
                return
            pumping = True
            while waiting and under_way < MAX_LOADS_UNDER_WAY and failed is None:
                directory, topic, index = waiting.popleft()
                if directory.failure is None:
                    under_way += 1
                    steps = self._load_steps(directory, topic, index, progress)
                    run_on(self.environment.flusher, steps, partial(loaded, directory, topic, index))
            pumping = False
            if not under_way and (failed is not None or not waiting):
                lost = self.failures
                self._is_loaded = failed is None
                done(None, failed or (lost[0] if lost and len(lost) == len(self._directories) else None))

        def loaded(directory: _DataDirectory, topic: str, index: int, log: Log | None, error: BaseException | None) -> None:
            nonlocal under_way, failed
            under_way -= 1
            if log is not None:
                try:
                    self._take_up(directory, log)
                except (UsageError, KafkaStorageError) as twice:
                    log.abandon()
                    failed = failed or UsageError(str(twice))
            elif isinstance(error, UsageError):
                failed = failed or error
            elif isinstance(error, (OSError, CorruptRecord)):
                directory.fail(f"loading {topic}-{index} failed", error)
            elif error is not None:
                raise error
            pump()

        pump()

    def _look(self, directory: _DataDirectory) -> list[tuple[str, int]]:
        """Read the checkpoints, take away the mark of the clean stop, and list the partitions."""
        disk, path = self.environment.disk, directory.path
        for name in directory.checkpoint_files:
            try:
                directory.offsets_at_start[name] = checkpoints.parse_offsets(
                    read_file(disk, f"{path}/{name}") or b"", f"{path}/{name}"
                )
            except CorruptRecord as error:
                logger.warning("%s; going on without it", error)
                directory.offsets_at_start[name] = {}
        mark = f"{path}/{CLEAN_SHUTDOWN_FILE}"
        directory.last_stop_was_clean = disk.exists(mark)
        if directory.last_stop_was_clean:
            disk.unlink(mark)
            disk.sync_directory(path)
        present = disk.list_directory(path)
        for name in present:
            if names.is_delete_directory(name):
                self._remove_later(f"{path}/{name}", 0)
        return _partitions_among(present)

    def _load_steps(self, directory: _DataDirectory, topic: str, index: int, progress: Progress) -> Steps[Log]:
        key, at_start = (topic, index), directory.offsets_at_start
        stop = LastStop(
            directory.last_stop_was_clean,
            at_start[checkpoints.RECOVERY_POINTS].get(key),
            at_start[checkpoints.LOG_START_OFFSETS].get(key, 0),
            at_start[checkpoints.HIGH_WATERMARKS].get(key, 0),
        )
        return load_steps(self.environment, directory, topic, index, self._log_config_for(topic), self._dirty, stop, progress)

    def _take_up(self, directory: _DataDirectory, log: Log) -> None:
        """Add a log that was found. Of two of a partition one that never had a record gives way: its making was given up.

        Two of topics with different ids stay: one was deleted, and made again, while its directory could not be read. UsageError
        where nobody can tell.
        """
        key = (log.topic, log.partition)
        for other in self._namesakes(key):
            if log.log_end_offset and other.log_end_offset:
                if log.topic_id == other.topic_id or None in (log.topic_id, other.topic_id):
                    raise UsageError(f"{log.path}: {other.path} holds the same partition: move one of them away")
                logger.warning("%s and %s are of two topics of the same name", other.path, log.path)
                continue
            empty, kept = (other, log) if log.log_end_offset else (log, other)
            logger.warning("%s has no records, and %s is the same partition's: it is removed", empty.path, kept.path)
            self._delete(empty)
            if empty is log:
                return
        directory.logs[key] = log
        self._logs.setdefault(key, log)

    def _namesakes(self, key: tuple[str, int]) -> list[Log]:
        return [directory.logs[key] for directory in self._directories if key in directory.logs]

    # ---- logs -------------------------------------------------------------------------------------------------------------

    def get(self, topic: str, partition: int) -> Log | None:
        """Return a partition's log, None when there is none."""
        return self._logs.get((topic, partition))

    def is_twice(self, topic: str, partition: int) -> bool:
        """Tell whether there are logs of a partition of two topics of one name: `claim` finds whose is whose."""
        return len(self._namesakes((topic, partition))) > 1

    def __iter__(self) -> Iterator[Log]:
        return iter(list(self._logs.values()))

    def __len__(self) -> int:
        return len(self._logs)

    def directories(self) -> list[tuple[LogDirectory, list[Log]]]:
        """Return every data directory with the logs in it, in the order of log.dirs."""
        return [(directory, list(directory.logs.values())) for directory in self._directories]

    def expect_none(self, topic: str, partition: int) -> None:
        """Raise KafkaStorageError where a log that is not known may be in a directory that is fenced.

        One that holds nothing at all, not even a mark, is fenced now: its disk may not be mounted.
        """
        name = names.partition_directory(topic, partition)
        for directory in self._directories:
            if directory.unmarked is not None:
                mark = meta_properties.FILE_NAME
                error = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{directory.path}/{mark}")
                directory.fail(
                    f"it holds nothing, and {name} is nowhere: mount its disk, or copy {mark} into it from another of log.dirs "
                    "where it is to be empty",
                    error,
                )
        for failure in self.failures:
            raise KafkaStorageError(f"{name} may be where nobody can look: {failure}")

    def create(self, topic: str, partition: int, topic_id: bytes | None = None, *, is_new: bool = True) -> Log:
        """Make an empty log in the data directory that has the fewest, or in the next one that can take it.

        InvalidTopic for a name that is not fit for a path, KafkaStorageError when no directory can take it, or when the partition
        `is_new` to nobody and may be in a directory that is fenced.
        """
        directory_name = names.partition_directory(topic, partition)
        if (topic, partition) in self._logs:
            raise ValueError(f"{directory_name} exists")
        if not is_new:
            self.expect_none(topic, partition)
        config = self._log_config_for(topic)
        usable = [directory for directory in self._directories if directory.failure is None]
        if not usable:
            raise KafkaStorageError("every log directory is fenced")
        why: str | None = None
        for directory in sorted(usable, key=lambda candidate: len(candidate.logs)):
            try:
                self._mark(directory)
                log = new_log(self.environment, directory, topic, partition, topic_id, config, self._dirty)
            except OSError as error:
                directory.write_failed(f"{directory.path}/{directory_name} cannot be made", error)
                why = why or error.strerror
            else:
                directory.logs[topic, partition] = self._logs[topic, partition] = log
                return log
        raise KafkaStorageError(f"{directory_name} cannot be made: {why}")

    def delete(self, topic: str, partition: int) -> None:
        """Take a partition's log out of sight at once; its files go after file.delete.delay.ms. One that is not there is fine."""
        log = self._logs.get((topic, partition))
        if log is not None:
            self._delete(log)

    def _delete(self, log: Log) -> None:
        hidden = self._hide(log, names.delete_directory(log.topic, log.partition, self._unique_hex()))
        self._remove_later(hidden, log.config.file_delete_delay_ms)

    def claim(self, topic: str, partition: int, topic_id: bytes) -> Log | None:
        """Return the log that a topic has of a partition, None without one. Other topics' of that name become strays, as Kafka's.

        They were deleted while this broker, or a log's directory, was away. Their files are kept. KafkaStorageError where one
        cannot be put out of the way.
        """
        key = (topic, partition)
        found = self._namesakes(key)
        own = next((log for log in found if log.topic_id in (None, topic_id)), None)
        if own is not None:
            self._logs[key] = own
        for log in found:
            if log is own:
                continue
            if log.directory.failure is None:
                kept = self._hide(log, names.stray_directory(topic, partition, self._unique_hex()))
                logger.warning("%s was another topic's of that name: it is kept as %s", log.path, kept)
            elif own is None:
                raise KafkaStorageError(f"{log.path} is another topic's of that name: {log.directory.failure}")
        return own

    def _unique_hex(self) -> str:
        return self.environment.random.random_bytes(16).hex()

    def _hide(self, log: Log, name: str) -> str:
        directory = log.directory
        assert isinstance(directory, _DataDirectory)
        hidden = f"{directory.path}/{name}"
        try:
            self.environment.disk.rename(log.path, hidden)
        except OSError as error:  # the log stays known: whoever tries again must not take it for gone
            directory.write_failed(f"{log.path} cannot be taken away", error)
            raise KafkaStorageError(f"{log.topic}-{log.partition} cannot be taken away: {error.strerror}") from None
        key = (log.topic, log.partition)
        if directory.logs.get(key) is log:
            del directory.logs[key]
        if self._logs.get(key) is log:
            del self._logs[key]
            for other in self._namesakes(key)[:1]:
                self._logs[key] = other
        log.abandon()
        return hidden

    def _remove_later(self, path: str, delay_ms: int) -> None:
        def remove() -> None:
            run_on(self.environment.flusher, remove_steps(self.environment.disk, path), removed)

        def removed(_: None, error: BaseException | None) -> None:
            if error is not None and not self._closed:
                logger.warning("%s could not be removed, the next start tries again: %s", path, error)

        self.environment.call_later(delay_ms, remove)

    # ---- the turn, and what comes from time to time -----------------------------------------------------------------------

    def commit_staged(self) -> None:
        """Write what was staged in this turn, one system call a log; afterwards the results of `Log.stage` are final.

        Also when one log raises what nobody reckoned with: that is raised when the others are written.
        """
        dirty = self._dirty
        if dirty:
            mistake: Exception | None = None
            for log in dirty:
                try:
                    log.commit()
                except Exception as error:
                    mistake = mistake or error
            dirty.clear()
            if mistake is not None:
                raise mistake

    def start(self) -> None:
        """Begin what is done from time to time: retention, checkpoints, expiry of producers."""
        config = self.config
        for interval_ms, task in (
            (config.log_retention_check_interval_ms, self.delete_old_segments),
            (config.log_flush_offset_checkpoint_interval_ms, partial(self.write_checkpoint, checkpoints.RECOVERY_POINTS)),
            (config.log_flush_start_offset_checkpoint_interval_ms, partial(self.write_checkpoint, checkpoints.LOG_START_OFFSETS)),
            (config.replica_high_watermark_checkpoint_interval_ms, partial(self.write_checkpoint, checkpoints.HIGH_WATERMARKS)),
            (config.producer_id_expiration_check_interval_ms, self.expire_producers),
        ):
            self._repeat(max(1, interval_ms), task)

    def _repeat(self, interval_ms: int, task: Callable[[], object]) -> None:
        def run() -> None:
            if not self._closed:
                self.environment.call_later(interval_ms, run)
                task()

        self.environment.call_later(interval_ms, run)

    def delete_old_segments(self) -> int:
        """Let retention take what it may and return how many segments that were."""
        deleted = 0
        for log in self:
            log.roll_if_old()
            deleted += log.delete_old_segments()
        return deleted

    def expire_producers(self) -> None:
        """Forget producers that were silent for `producer.id.expiration.ms`."""
        for log in self:
            log.expire_producers(self.config.producer_id_expiration_ms)

    def write_checkpoint(self, name: str) -> None:
        """Write one of the offset checkpoints of every directory, off this thread."""
        for directory in self._directories:
            if directory.failure is None:
                directory.checkpoint_files[name].write(directory.offsets(name))

    # ---- the end ----------------------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Give everything up as it is, after a start that failed: nothing is flushed, nothing marked as cleanly stopped."""
        self._closed = True
        for directory in self._directories:
            for log in directory.logs.values():
                log.abandon()
        self._logs.clear()
        self._unlock()

    def close(self) -> None:
        """Flush and close every log, mark the directories as cleanly stopped, unlock them. Runs to its end before returning.

        Before loading has ended it is a `release`: logs that nobody looked at are not known to be whole.
        """
        if self._closed:
            return
        if not self._is_loaded:
            self.release()
            return
        self._closed = True
        self.commit_staged()
        for directory in self._directories:
            self._close_directory(directory)
        self._unlock()

    def _close_directory(self, directory: _DataDirectory) -> None:
        try:
            for log in directory.logs.values():
                log.close()
            if directory.failure is None:
                for name, file in directory.checkpoint_files.items():
                    file.write_now(directory.offsets(name))
                mark = json.dumps({"version": 0, "brokerEpoch": -1}, separators=(",", ":"))
                write_now(self.environment.disk, f"{directory.path}/{CLEAN_SHUTDOWN_FILE}", mark.encode())
        except OSError as error:
            directory.fail("closing failed", error)
