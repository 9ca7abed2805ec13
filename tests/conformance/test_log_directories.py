"""Partition directories that the log room wrote: Kafka's DumpLogSegments reads every segment, index and producer snapshot."""

from __future__ import annotations

import pathlib

import pytest

from fastlog._core import BatchBuilder, Slice
from fastlog.env.clock import SystemClock
from fastlog.env.disk import SystemDisk
from fastlog.env.entropy import SystemRandom
from fastlog.storage.environment import StorageEnvironment
from fastlog.storage.log_config import LogConfig
from fastlog.storage.log_manager import LogManager, StorageConfig

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(300)]

NOW = 1_700_000_000_000
TURNS = 400


class Inline:
    """A flusher whose jobs are done when they are submitted."""

    def submit(self, job, done):
        done(job(), None)

    def close(self):
        pass


def open_manager(directory):
    environment = StorageEnvironment(
        SystemClock(), SystemDisk(), Inline(), SystemRandom(), lambda delay_ms, callback, *arguments: None
    )
    config = LogConfig(segment_bytes=40_000, index_interval_bytes=512)
    manager = LogManager(environment, StorageConfig(log_dirs=(str(directory),)), lambda topic: config)
    manager.lock()
    manager.identify("fastlog-conformance-x", 1)
    errors = []
    manager.load(lambda _, error: errors.append(error))
    assert errors == [None]
    return manager


def produced(turn, producer_id):
    builder = BatchBuilder(
        producer_id=producer_id, producer_epoch=0 if producer_id >= 0 else -1, base_sequence=turn if producer_id >= 0 else -1
    )
    builder.append(NOW + 10 * turn - 7 * (turn % 3), b"key", b"v" * (turn % 200))
    return Slice(bytearray(builder.build()))


def append(manager, log, turns):
    for turn in turns:
        results = [log.stage(produced(turn, producer_id), turn // 100) for producer_id in (-1, 5, 6)]
        manager.commit_staged()
        assert [result.error for result in results] == [0, 0, 0]


def crash(manager, log):
    """Leave everything as a killed process does."""
    manager.release()
    with open(f"{log.path}/{log.segment_base_offsets[-1]:020d}.log", "ab") as file:
        file.write(b"torn")


@pytest.mark.parametrize("after_crash", [False, True])
def test_dump_log_segments_finds_no_fault(java, tmp_path, after_crash):
    manager = open_manager(tmp_path)
    log = manager.create("t", 0, bytes(range(16)))
    append(manager, log, range(TURNS))
    if after_crash:
        crash(manager, log)
    else:
        manager.close()
    manager = open_manager(tmp_path)
    log = manager.get("t", 0)
    assert log.log_end_offset == 3 * TURNS
    append(manager, log, range(TURNS, TURNS + 10))
    segment_count = log.segment_count
    assert segment_count > 3
    manager.close()

    directory = pathlib.Path(log.path)
    java.dump(sorted(directory.glob("*.log")), "--deep-iteration")
    java.dump(sorted(directory.glob("*.index")))
    java.dump(sorted(directory.glob("*.timeindex")))
    snapshots = sorted(directory.glob("*.snapshot"))
    assert len(snapshots) >= segment_count
    dumped = java.dump(snapshots)
    last = [line for line in dumped.split("Dumping ")[-1].splitlines() if line.startswith("producerId: 5 ")]
    assert f"lastSequence: {TURNS + 9}" in last[-1]
