import errno
import os
from dataclasses import replace

import pytest

from fastlog.errors import KafkaStorageError
from fastlog.storage import checkpoints

START_MS = 1_700_000_000_000


@pytest.fixture
def opened(storage, topic_id):
    def open_one(**options):
        made = storage(**options)
        return made, made.open().create("t", 0, topic_id)

    return open_one


def test_flush_messages_1_acknowledges_nothing_before_fsync(opened, batch):
    storage, log = opened(flush_messages=1)
    advanced = []
    log.on_advance = lambda: advanced.append(log.acknowledged_end_offset)
    (result,) = storage.append(log, batch([b"a", b"b"]))
    assert result.error == 0
    assert (log.log_end_offset, log.acknowledged_end_offset, log.recovery_point) == (2, 0, 0)
    storage.disk.synced.clear()
    storage.flusher.run()
    assert (log.acknowledged_end_offset, log.recovery_point, advanced[-1]) == (2, 2, 2)
    flushed = [path for path in storage.disk.synced if "leader-epoch" not in path]
    assert flushed[0] == f"{log.path}/00000000000000000000.log"
    assert {log.path, storage.log_dirs[0]} <= set(flushed), "a new log's names are made durable with its first records"


def test_one_flush_serves_all_that_came_before_it_and_the_next_all_that_came_meanwhile(opened, batch):
    storage, log = opened(flush_messages=1)
    storage.append(log, batch(), batch())
    storage.append(log, batch())
    jobs_before = len(storage.flusher.jobs)
    storage.append(log, batch())
    assert len(storage.flusher.jobs) == jobs_before == 2, "epochs, and one flush"
    storage.disk.synced.clear()
    storage.flusher.run()
    assert log.acknowledged_end_offset == 4
    assert storage.disk.synced.count(f"{log.path}/00000000000000000000.log") == 2


def test_flush_messages_n_flushes_every_n(opened, batch):
    storage, log = opened(flush_messages=3)
    storage.append(log, batch())
    storage.append(log, batch())
    assert log.acknowledged_end_offset == 2
    storage.append(log, batch())
    assert log.acknowledged_end_offset == 2
    storage.append(log, batch())
    assert log.acknowledged_end_offset == 2, "acknowledged in order"
    storage.flusher.run()
    assert (log.acknowledged_end_offset, log.recovery_point) == (4, 4)
    storage.append(log, batch())
    assert (log.acknowledged_end_offset, log.recovery_point) == (5, 4)
    assert not storage.flusher.jobs


def test_flush_ms(opened, batch):
    storage, log = opened(flush_ms=50)
    storage.append(log, batch())
    storage.append(log, batch())
    assert log.acknowledged_end_offset == 2
    storage.timers.advance(49)
    storage.flusher.run()
    assert log.recovery_point == 0
    storage.timers.advance(1)
    storage.flusher.run()
    assert log.recovery_point == 2
    assert not any(callback == log.durability._flush_due for _, _, callback, _ in storage.timers.waiting)
    storage.append(log, batch())
    storage.timers.advance(50)
    storage.flusher.run()
    assert log.recovery_point == 3


def test_flush_ms_that_becomes_shorter_counts_for_what_waits(opened, batch):
    storage, log = opened(flush_ms=100_000)
    storage.append(log, batch())
    log.configure(replace(log.config, flush_ms=50))
    storage.timers.advance(50)
    storage.flusher.run()
    assert log.recovery_point == 1
    log.configure(replace(log.config, flush_messages=1))
    storage.append(log, batch())
    assert (log.acknowledged_end_offset, log.log_end_offset) == (1, 2)
    storage.flusher.run()
    assert log.acknowledged_end_offset == 2


def test_a_failed_fsync_fences_the_directory_and_is_not_tried_again(opened, batch):
    storage, log = opened(flush_messages=1)
    failed = []
    log.on_failure = lambda: failed.append(True)
    storage.append(log, batch())
    storage.disk.fail("sync", ".log", errno.EIO)
    storage.flusher.run()
    storage.disk.failures = []
    assert (log.acknowledged_end_offset, failed) == (0, [True])
    assert storage.append(log, batch())[0].error == KafkaStorageError.code
    storage.disk.synced.clear()
    storage.flusher.run()
    assert storage.disk.synced == []
    directory = storage.log_dirs[0]
    storage.close()
    assert not os.path.exists(f"{directory}/.kafka_cleanshutdown"), "what was lost is to be looked for"


def test_after_a_roll_the_segment_is_flushed_and_the_recovery_point_moves(opened, batch):
    storage, log = opened(segment_bytes=200)
    for number in range(6):
        storage.append(log, batch([b"v"], producer=(7, 0, number)))
    assert (log.segment_base_offsets, log.recovery_point) == ([0, 2, 4], 0)
    storage.disk.synced.clear()
    storage.flusher.run()
    assert log.recovery_point == 4
    names = [path.removeprefix(log.path + "/") for path in storage.disk.synced]
    for base in (0, 2):
        for suffix in ("log", "index", "timeindex"):
            assert f"{base:020d}.{suffix}" in names
    assert f"{4:020d}.snapshot" in names
    assert f"{4:020d}.log" not in names
    assert log.path in storage.disk.synced


def test_a_segment_that_was_closed_or_deleted_before_its_flush(opened, batch):
    storage, log = opened(segment_bytes=200, retention_ms=-1, retention_bytes=200)
    for _ in range(8):
        storage.append(log, batch())
    log.high_watermark = 8
    assert log.segment_base_offsets == [0, 2, 4, 6]
    storage.flusher.run_one()
    storage.flusher.run_one()
    log._segments[2].close()
    assert log.delete_old_segments() == 2
    storage.flusher.run()
    assert log.recovery_point == 6
    assert storage.manager.failures == []


def test_a_close_during_a_flush_does_the_whole_of_it(opened, batch):
    """What the flush under way had still to do is not done by it any more."""
    storage, log = opened(flush_messages=1)
    storage.append(log, batch())
    storage.flusher.run_one()
    storage.disk.synced.clear()
    storage.close()
    assert {f"{log.path}/00000000000000000000.log", log.path, storage.log_dirs[0]} <= set(storage.disk.synced)


def test_a_flush_reaches_what_was_appended_before_it_began(opened, batch):
    storage, log = opened()
    storage.append(log, batch())
    log.durability.flush()
    storage.append(log, batch())
    storage.flusher.run()
    assert log.recovery_point == 1
    log.durability.flush()
    storage.flusher.run()
    assert log.recovery_point == 2


def index_files(log, base=0):
    return {f"{log.path}/{base:020d}.{suffix}" for suffix in ("index", "timeindex")}


def test_a_clean_stop_flushes_indexes_also_where_the_log_was_flushed_before(opened, batch):
    storage, log = opened(flush_messages=1)
    storage.append(log, batch())
    storage.flusher.run()
    assert log.recovery_point == 1
    storage.disk.synced.clear()
    storage.close()
    assert index_files(log) <= set(storage.disk.synced)


def test_a_clean_stop_flushes_indexes_that_a_recovery_built(opened, batch):
    storage, log = opened()
    storage.append(log, batch())
    storage.close()
    storage.open()
    storage.crash()
    assert storage.open().get("t", 0).recovery_point == 1
    storage.disk.synced.clear()
    storage.close()
    assert index_files(log) <= set(storage.disk.synced)


def test_all_recovered_segments_are_flushed_before_the_recovery_point_moves(opened, batch):
    storage, log = opened(segment_bytes=200)
    for number in range(8):
        storage.append(log, batch([b"v"], producer=(7, 0, number)))
    assert log.segment_base_offsets == [0, 2, 4, 6]
    storage.crash()
    storage.disk.synced.clear()
    log = storage.open().get("t", 0)
    assert log.recovery_point == 8
    synced = set(storage.disk.synced)
    assert {f"{log.path}/{base:020d}.log" for base in (0, 2, 4, 6)} <= synced
    assert set().union(*(index_files(log, base) for base in (0, 2, 4))) <= synced


@pytest.mark.parametrize("is_flushed", [False, True])
def test_a_segment_rolled_at_the_recovery_point_gets_the_end_of_its_indexes_back(opened, batch, read, is_flushed, found):
    """Its log was flushed up to its end, and its indexes never: a lost machine may leave any part of them."""
    storage, log = opened(flush_messages=1, segment_bytes=600, index_interval_bytes=100)
    for number in range(8):
        storage.append(log, batch([b"v"], timestamp_ms=START_MS + number))
        storage.flusher.run()
    assert (log.segment_base_offsets, log.recovery_point) == ([0], 8)
    storage.manager.write_checkpoint(checkpoints.RECOVERY_POINTS)
    storage.flusher.run()
    storage.disk.synced.clear()
    storage.append(log, batch([b"v"], timestamp_ms=START_MS + 8))
    assert log.segment_base_offsets == [0, 8]
    if is_flushed:
        storage.flusher.run()
        storage.manager.write_checkpoint(checkpoints.RECOVERY_POINTS)
        storage.flusher.run()
    assert is_flushed == (f"{log.path}/{0:020d}.timeindex" in storage.disk.synced)
    storage.crash()
    if not is_flushed:
        with open(f"{log.path}/{0:020d}.timeindex", "r+b") as file:
            file.truncate(os.path.getsize(file.name) - 12)
    before = len(storage.scanned)
    log = storage.open().get("t", 0)
    assert [found(log.timestamp_steps, START_MS + number, 9, None) for number in range(9)] == [
        (START_MS + number, number) for number in range(9)
    ]
    assert len(storage.scanned) - before == (1 if is_flushed else 2), "what was flushed is not scanned"


@pytest.mark.parametrize(("operation", "part"), [("open", ".snapshot"), ("sync", "/t-0")])
def test_a_flush_that_finds_no_descriptor_is_tried_again(opened, batch, operation, part):
    storage, log = opened(segment_bytes=200)
    for _ in range(3):
        storage.append(log, batch())
    assert log.segment_base_offsets == [0, 2]
    storage.flusher.run_one()  # the leader epochs are not what fails
    storage.disk.fail(operation, part, errno.EMFILE)
    storage.flusher.run()
    assert (log.recovery_point, storage.manager.failures) == (0, [])
    storage.disk.failures = []
    storage.disk.synced.clear()
    storage.timers.advance(1000)
    storage.flusher.run()
    assert log.recovery_point == 2
    assert {log.path, storage.log_dirs[0], f"{log.path}/{2:020d}.snapshot"} <= set(storage.disk.synced)
