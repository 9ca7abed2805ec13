"""A partition over a real log in a fresh directory, with a clock that is set and a flusher that runs when told to."""

import pytest

from fastlog._core import BatchBuilder, Slice, scan
from fastlog.env.disk import SystemDisk
from fastlog.replication.partition import Partition
from fastlog.storage.environment import StorageEnvironment
from fastlog.storage.log_config import LogConfig
from fastlog.storage.log_manager import LogManager, StorageConfig

NOW = 1_700_000_000_000
TOPIC_ID = bytes(range(16))
BROKER = 1


class SetClock:
    now_ms = NOW

    def wall_ms(self):
        return self.now_ms

    def monotonic_ns(self):
        return self.now_ms * 1_000_000


class NoRandom:
    def random_bytes(self, count):
        return bytes(count)

    def below(self, bound):
        return 0


class QueuedFlusher:
    def __init__(self):
        self.jobs = []

    def submit(self, job, done):
        self.jobs.append((job, done))

    def run(self):
        while self.jobs:
            job, done = self.jobs.pop(0)
            try:
                result, error = job(), None
            except Exception as raised:
                result, error = None, raised
            done(result, error)

    def close(self):
        self.run()


class World:
    """One broker's logs. `led(...)` makes a partition that this broker leads."""

    def __init__(self, path):
        self.clock, self.flusher = SetClock(), QueuedFlusher()
        environment = StorageEnvironment(
            self.clock, SystemDisk(), self.flusher, NoRandom(), lambda delay_ms, callback, *arguments: None
        )
        self.log_config = LogConfig()
        self.manager = LogManager(environment, StorageConfig(log_dirs=(str(path),)), lambda topic: self.log_config)
        self.manager.lock()
        self.manager.load(lambda _, error: None)

    def led(self, topic="t", index=0, *, topic_id=TOPIC_ID, isr=(BROKER,), **options):
        self.log_config = LogConfig(**options)
        partition = Partition(topic, topic_id, index, BROKER, self.manager.create(topic, index, topic_id))
        partition.become(BROKER, 3, isr, isr)
        return partition

    def append(self, partition, *batches, acks=1):
        results = [partition.append(batch, acks) for batch in batches]
        self.manager.commit_staged()
        return results


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path / "data")
    yield world
    world.manager.close()


@pytest.fixture(scope="session")
def batch():
    def make(*values, timestamp_ms=NOW, producer=(-1, -1, -1), attributes=0, compress=None, codec=0):
        builder = BatchBuilder(
            producer_id=producer[0], producer_epoch=producer[1], base_sequence=producer[2], attributes=attributes
        )
        timestamps = timestamp_ms if isinstance(timestamp_ms, list) else [timestamp_ms] * len(values)
        for value, timestamp in zip(values, timestamps, strict=True):
            builder.append(timestamp, None, value)
        return Slice(bytearray(builder.build(compress(builder.payload()), codec) if compress else builder.build()))

    return make


@pytest.fixture(scope="session")
def values():
    """Return [(offset, value)] of what was fetched."""

    def of(fetched):
        if fetched.records is None:
            return []
        batches = scan(bytes(memoryview(fetched.records)), allow_partial=True)
        return [(record.offset, bytes(record.value)) for made in batches for record in made.records()]

    return of
