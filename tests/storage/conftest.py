"""A broker's storage without a broker: a clock that is set, jobs and timers that run when the test says so."""

import heapq
import os
import struct

import pytest

from fastlog._core import BatchBuilder, File, Slice, scan
from fastlog.env.disk import SystemDisk
from fastlog.storage.environment import StorageEnvironment
from fastlog.storage.log_config import LogConfig
from fastlog.storage.log_manager import LogManager, StorageConfig

TOPIC_ID = bytes(range(16))
END_MARKER = struct.pack(">hh", 0, 1)
"""The key of the control record that commits a transaction."""


class SetClock:
    def __init__(self):
        self.now_ms = 1_700_000_000_000

    def wall_ms(self):
        return self.now_ms

    def monotonic_ns(self):
        return self.now_ms * 1_000_000


class CountedRandom:
    def __init__(self):
        self.drawn = 0

    def random_bytes(self, count):
        self.drawn += 1
        return self.drawn.to_bytes(count, "big")

    def below(self, bound):
        return bound // 2


class WatchedFile(File):
    """Counts what is read, and fails where the test says so."""

    def __init__(self, path, descriptor):
        super().__init__(path, descriptor)
        self.disk = None

    def pread(self, size, position):
        self.disk.reads.append(self.path)
        self.disk.check("read", self.path)
        return super().pread(size, position)

    def preadv(self, buffers, position):
        self.disk.reads.append(self.path)
        self.disk.check("read", self.path)
        return super().preadv(buffers, position)

    def pwritev(self, buffers, position):
        self.disk.check("write", self.path)
        if self.disk.short_write_bytes is not None and self.path.endswith(".log"):
            whole = b"".join(bytes(memoryview(buffer)) for buffer in buffers)
            return super().pwritev([whole[: self.disk.short_write_bytes]], position)
        return super().pwritev(buffers, position)

    def fdatasync(self):
        self.disk.check("sync", self.path)
        self.disk.synced.append(self.path)

    def ftruncate(self, size):
        self.disk.check("cut", self.path)
        super().ftruncate(size)


class WatchedDisk(SystemDisk):
    """The real disk, but for syncs, which are only taken note of. `fail` names an error (number) to raise from now on."""

    def __init__(self):
        self.reads = []
        self.synced = []
        self.failures = []
        self.short_write_bytes = None

    def fail(self, operation, path_part, number):
        self.failures.append((operation, path_part, number))

    def check(self, operation, path):
        for failing, path_part, number in self.failures:
            if failing == operation and path_part in path:
                raise number if isinstance(number, Exception) else OSError(number, os.strerror(number), path)

    def open(self, path, *, create=False, exclusive=False, read_only=False):
        if create and not os.path.exists(path):
            self.check("create", path)
        self.check("open", path)
        flags = os.O_RDONLY if read_only else os.O_RDWR
        flags |= (os.O_CREAT if create else 0) | (os.O_EXCL if exclusive else 0) | os.O_CLOEXEC
        file = WatchedFile(path, os.open(path, flags, 0o644))
        file.disk = self
        return file

    def make_directories(self, path):
        self.check("mkdir", path)
        super().make_directories(path)

    def rename(self, source, target):
        self.check("rename", source)
        super().rename(source, target)

    def sync_directory(self, path):
        self.check("sync", path)
        self.synced.append(path)

    def lock_directory(self, path):
        self.check("lock", path)
        return super().lock_directory(path)


class QueuedFlusher:
    """Runs jobs when told to; their results arrive after that."""

    def __init__(self):
        self.jobs = []

    def submit(self, job, done):
        self.jobs.append((job, done))

    def run_one(self):
        job, done = self.jobs.pop(0)
        try:
            result, error = job(), None
        except Exception as raised:
            result, error = None, raised
        done(result, error)

    def run(self):
        while self.jobs:
            self.run_one()

    def close(self):
        self.run()


class Timers:
    def __init__(self, clock):
        self.clock = clock
        self.waiting = []
        self.created = 0

    def call_later(self, delay_ms, callback, *arguments):
        self.created += 1
        heapq.heappush(self.waiting, (self.clock.now_ms + delay_ms, self.created, callback, arguments))

    def advance(self, milliseconds):
        until = self.clock.now_ms + milliseconds
        while self.waiting and self.waiting[0][0] <= until:
            due, _, callback, arguments = heapq.heappop(self.waiting)
            self.clock.now_ms = max(self.clock.now_ms, due)
            callback(*arguments)
        self.clock.now_ms = until


class Storage:
    """The data directories of one broker, opened and closed as often as a test likes."""

    def __init__(self, *log_dirs, disk=None, log_config=None, **options):
        self.log_dirs = tuple(map(str, log_dirs))
        self.disk = disk or WatchedDisk()
        self.clock = SetClock()
        self.random = CountedRandom()
        self.log_config = log_config or LogConfig()
        self.options = options
        self.scanned = []
        self.manager = None

    def manager_environment(self):
        self.flusher = QueuedFlusher()
        self.timers = Timers(self.clock)
        return StorageEnvironment(self.clock, self.disk, self.flusher, self.random, self.timers.call_later)

    def open(self, *, cluster_id="fastlog-test-cluster-x"):
        environment = self.manager_environment()
        config = StorageConfig(log_dirs=self.log_dirs, **self.options)
        self.manager = LogManager(environment, config, lambda topic: self.log_config)
        self.manager.lock()
        self.manager.identify(cluster_id, 1)
        outcome = []
        self.manager.load(
            lambda _, error: outcome.append(error), lambda path, done, total: self.scanned.append((path, done, total))
        )
        self.flusher.run()
        assert len(outcome) == 1
        if outcome[0] is not None:
            raise outcome[0]
        return self.manager

    def crash(self):
        """End as a killed process does: what was written stays, nothing more is."""
        for log in self.manager:
            for files in log._segments:
                for file in files.files():
                    file.close()
        for directory in self.manager._directories:
            directory.lock.release()
        self.manager = None

    def close(self):
        self.manager.close()
        self.manager = None

    def append(self, log, *batches, epoch=0):
        """Stage batches and end the turn."""
        results = [log.stage(batch, epoch) for batch in batches]
        self.manager.commit_staged()
        return results


def make_batch(
    values=(b"v",),
    *,
    timestamp_ms=1_700_000_000_000,
    producer=(-1, -1, -1),
    attributes=0,
    base_offset=0,
    as_slice=True,
    compressed=None,
    codec=0,
):
    """Return writable memory with one produced batch; producer is (id, epoch, base sequence)."""
    producer_id, producer_epoch, base_sequence = producer
    builder = BatchBuilder(
        base_offset=base_offset,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
        attributes=attributes,
        max_bytes=1 << 30,
    )
    timestamps = timestamp_ms if isinstance(timestamp_ms, (list, tuple)) else [timestamp_ms] * len(values)
    for value, timestamp in zip(values, timestamps, strict=True):
        builder.append(timestamp, END_MARKER if attributes & 0x20 else None, value)
    data = bytearray(builder.build(compressed, codec) if compressed is not None else builder.build())
    return Slice(data) if as_slice else data


def read_all(log, start=None, end=None):
    """Return [(offset, value)] of a log by reading it from start to end as a fetch does."""
    offset = log.log_start_offset if start is None else start
    end = log.log_end_offset if end is None else end
    records = []
    while offset < end:
        region = log.read(offset, 1 << 20, end)
        if region is None:
            break
        data = bytes(memoryview(region))
        for batch in scan(data, allow_partial=True):
            if batch.last_offset < offset:
                continue
            records.extend((record.offset, bytes(record.value)) for record in batch.records() if record.offset >= offset)
            offset = batch.last_offset + 1
    return records


@pytest.fixture
def storage(tmp_path):
    """Make a Storage over one fresh directory: storage(**LogConfig options)."""
    made = []

    def make(*log_dirs, disk=None, manager_options=None, **options):
        instance = Storage(
            *(log_dirs or (tmp_path / "data",)),
            disk=disk,
            log_config=LogConfig(**options) if options else None,
            **(manager_options or {}),
        )
        made.append(instance)
        return instance

    yield make
    for instance in made:
        if instance.manager is not None:
            instance.crash()


@pytest.fixture(scope="session")
def batch():
    return make_batch


@pytest.fixture(scope="session")
def read():
    return read_all


@pytest.fixture
def watched_disk():
    return WatchedDisk()


@pytest.fixture
def topic_id():
    return TOPIC_ID


@pytest.fixture(scope="session")
def storage_class():
    return Storage
