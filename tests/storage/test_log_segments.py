"""Rolling, reading over segments, retention."""

import errno
import os
from dataclasses import replace

import pytest

from fastlog import errors
from fastlog._core import scan
from fastlog.storage import segment_files
from fastlog.storage.log_config import DAY_MS

NOW = 1_700_000_000_000
BATCH_BYTES = 61 + 8  # of one record with a value of one byte


@pytest.fixture
def opened(storage, topic_id):
    def open_one(**options):
        made = storage(**options)
        return made, made.open().create("t", 0, topic_id)

    return open_one


def fill(storage, log, batch, count, **kwargs):
    for number in range(count):
        (result,) = storage.append(log, batch([b"%d" % (number % 10)], **kwargs))
        assert result.error == 0, result.error_message
    log.high_watermark = log.log_end_offset


def test_a_segment_is_rolled_before_it_grows_over_its_size(opened, batch, read):
    storage, log = opened(segment_bytes=3 * BATCH_BYTES)
    fill(storage, log, batch, 10)
    assert log.segment_base_offsets == [0, 3, 6, 9]
    assert [offset for offset, _ in read(log)] == list(range(10))
    names = sorted(os.listdir(log.path))
    assert [name for name in names if name.endswith(".snapshot")] == [f"{offset:020d}.snapshot" for offset in (3, 6, 9)]


def test_a_roll_within_a_turn_keeps_order_and_sequences(opened, batch, read):
    storage, log = opened(segment_bytes=3 * BATCH_BYTES)
    results = storage.append(log, *(batch([b"%d" % number], producer=(7, 0, number)) for number in range(8)))
    assert [result.base_offset for result in results] == list(range(8))
    assert log.segment_base_offsets == [0, 3, 6]
    assert [value for _, value in read(log)] == [b"%d" % number for number in range(8)]


def test_a_batch_larger_than_a_segment(opened, batch):
    storage, log = opened(segment_bytes=200)
    assert storage.append(log, batch([b"x" * 300]))[0].error == errors.RecordListTooLarge.code


def test_rolling_by_the_records_time(opened, batch):
    storage, log = opened(segment_ms=1000, segment_jitter_ms=100)
    for timestamp_ms in (NOW, NOW + 950, NOW + 951, NOW + 951, NOW + 1901, NOW + 1902):
        assert storage.append(log, batch(timestamp_ms=timestamp_ms))[0].error == 0
    assert log.segment_base_offsets == [0, 2, 5]


def test_a_segments_age_is_known_after_a_restart(opened, batch):
    storage, log = opened(segment_ms=1000)
    storage.append(log, batch(timestamp_ms=NOW))
    storage.append(log, batch(timestamp_ms=NOW + 900))
    storage.close()
    log = storage.open().get("t", 0)
    storage.append(log, batch(timestamp_ms=NOW + 1000))
    storage.append(log, batch(timestamp_ms=NOW + 1001))
    assert log.segment_base_offsets == [0, 3]


def test_records_without_timestamps_roll_by_the_segments_own_age(opened, batch):
    storage, log = opened(segment_ms=1000)
    storage.append(log, batch(timestamp_ms=-1))
    storage.manager.delete_old_segments()
    assert log.segment_count == 1
    storage.clock.now_ms += 1001
    storage.manager.delete_old_segments()
    assert log.segment_base_offsets == [0, 1]


def test_rolling_when_an_index_is_full(opened, batch, found):
    storage, log = opened(segment_index_bytes=60, index_interval_bytes=1)
    for number in range(20):
        storage.append(log, batch(timestamp_ms=NOW + number))
    assert log.segment_count > 2
    for name in os.listdir(log.path):
        if name.endswith("index"):
            assert os.stat(f"{log.path}/{name}").st_size <= 60
    log.high_watermark = 20
    assert [found(log.timestamp_steps, NOW + number, 20, None) for number in range(20)] == [
        (NOW + number, number) for number in range(20)
    ]


def test_a_full_disk_at_a_roll_is_survived(opened, batch, read):
    storage, log = opened(segment_bytes=3 * BATCH_BYTES)
    fill(storage, log, batch, 3)
    for operation, path_part in (("create", "03.index"), ("create", "03.log"), ("write", "00.timeindex")):
        storage.disk.fail(operation, path_part, errno.ENOSPC)
        (result,) = storage.append(log, batch())
        assert result.error == errors.KafkaStorageError.code
        storage.disk.failures = []
        assert [name for name in os.listdir(log.path) if "03." in name] == []
    assert storage.manager.failures == []
    fill(storage, log, batch, 2)
    assert log.segment_base_offsets == [0, 3]
    assert [offset for offset, _ in read(log)] == [0, 1, 2, 3, 4]


def test_a_snapshot_that_finds_no_room_does_not_hinder_the_roll(opened, batch, storage):
    made, log = opened(segment_bytes=3 * BATCH_BYTES)
    made.disk.fail("write", ".snapshot", errno.ENOSPC)
    for number in range(5):
        assert made.append(log, batch([b"v"], producer=(7, 0, number)))[0].error == 0
    made.crash()
    made.disk.failures = []
    log = made.open().get("t", 0)
    assert made.append(log, batch([b"v"], producer=(7, 0, 2)))[0].base_offset == 2


def test_reading_outside_of_the_log(opened, batch):
    storage, log = opened()
    fill(storage, log, batch, 3)
    log.increment_log_start_offset(1)
    for offset in (-1, 0, 4):
        with pytest.raises(errors.OffsetOutOfRange):
            log.read(offset, 100, 3)
    assert log.read(3, 100, 3) is None
    assert log.read(2, 100, 2) is None


def test_the_first_batch_comes_whole(opened, batch):
    storage, log = opened()
    storage.append(log, batch([b"a", b"b", b"c"]), batch([b"d"]))
    region = log.read(1, 1, 4)
    (made,) = scan(bytes(memoryview(region)))
    assert (made.base_offset, made.count) == (0, 3)
    assert len(log.read(1, 1, 4, False)) == 1


def test_a_read_goes_on_in_the_next_segment(opened, batch, read):
    storage, log = opened(segment_bytes=3 * BATCH_BYTES)
    fill(storage, log, batch, 9)
    for offset in range(9):
        (first, *_) = scan(bytes(memoryview(log.read(offset, 1 << 20, 9))))
        assert first.base_offset == offset


def test_segments_that_nobody_reads_are_closed_again(opened, batch, read, monkeypatch):
    monkeypatch.setattr(segment_files, "MAX_OPEN_INACTIVE_SEGMENTS", 3)
    storage, log = opened(segment_bytes=2 * BATCH_BYTES)
    fill(storage, log, batch, 40)
    storage.flusher.run()
    assert [offset for offset, _ in read(log)] == list(range(40))
    assert sum(files.segment is not None for files in log._segments) <= 4
    region = log.read(0, 1 << 20, 40)
    expected = bytes(memoryview(log.read(0, 1 << 20, 40)))
    read(log, 10)
    assert log._segments[0].segment is None
    assert bytes(memoryview(region)) == expected, "a region outlives the closing of its segment"


def test_of_open_segments_the_one_not_read_for_longest_is_closed_first(opened, batch, read, monkeypatch):
    monkeypatch.setattr(segment_files, "MAX_OPEN_INACTIVE_SEGMENTS", 3)
    storage, log = opened(segment_bytes=2 * BATCH_BYTES)
    fill(storage, log, batch, 14)
    for offset in (0, 2, 4, 0, 6):
        assert log.read(offset, 1, 14) is not None
    assert [files.base_offset for files in log._segments if files.segment is not None] == [0, 4, 6, 12]


def test_a_damaged_index_costs_time_and_no_data(opened, batch, read, found):
    storage, log = opened(segment_bytes=10 * BATCH_BYTES, index_interval_bytes=100)
    fill(storage, log, batch, 25)
    expected = read(log)
    storage.close()
    for name in ("00000000000000000000.index", "00000000000000000010.timeindex"):
        with open(f"{log.path}/{name}", "r+b") as file:
            file.write(b"\xff" * 9)
    log = storage.open().get("t", 0)
    assert read(log) == expected
    assert found(log.timestamp_steps, NOW, 25, None) == (NOW, 0)


def test_retention_by_time_deletes_files_after_the_delay(opened, batch, read):
    storage, log = opened(segment_bytes=3 * BATCH_BYTES, retention_ms=10_000, file_delete_delay_ms=500)
    fill(storage, log, batch, 6, timestamp_ms=NOW)
    fill(storage, log, batch, 4, timestamp_ms=NOW + 20_000)
    storage.clock.now_ms = NOW + 10_001
    region = log.read(0, 1 << 20, 3)
    expected = bytes(memoryview(log.read(0, 1 << 20, 3)))
    assert storage.manager.delete_old_segments() == 2
    assert (log.log_start_offset, log.local_log_start_offset, log.segment_base_offsets) == (6, 6, [6, 9])
    assert log.leader_epochs.entries() == [(0, 6)]
    assert len([name for name in os.listdir(log.path) if name.endswith(".deleted")]) == 7
    storage.timers.advance(499)
    storage.flusher.run()
    assert len([name for name in os.listdir(log.path) if name.endswith(".deleted")]) == 7
    storage.timers.advance(1)
    storage.flusher.run()
    assert [name for name in os.listdir(log.path) if name.endswith(".deleted")] == []
    assert bytes(memoryview(region)) == expected
    with pytest.raises(errors.OffsetOutOfRange):
        log.read(5, 100, 10)
    storage.crash()
    log = storage.open().get("t", 0)
    assert (log.log_start_offset, log.log_end_offset) == (6, 10)


def test_retention_of_the_active_segment_rolls_it_first(opened, batch):
    storage, log = opened(retention_ms=10_000)
    fill(storage, log, batch, 3)
    storage.clock.now_ms += 10_001
    assert storage.manager.delete_old_segments() == 1
    assert (log.log_start_offset, log.log_end_offset, log.segment_base_offsets, log.size_bytes) == (3, 3, [3], 0)
    assert storage.manager.delete_old_segments() == 0
    assert storage.append(log, batch())[0].base_offset == 3


def test_retention_by_size(opened, batch):
    storage, log = opened(segment_bytes=3 * BATCH_BYTES, retention_bytes=5 * BATCH_BYTES, retention_ms=-1)
    fill(storage, log, batch, 12)
    storage.manager.delete_old_segments()
    assert log.segment_base_offsets == [6, 9]
    assert log.size_bytes >= 5 * BATCH_BYTES


def test_retention_stops_at_the_high_watermark(opened, batch):
    storage, log = opened(segment_bytes=3 * BATCH_BYTES, retention_ms=0)
    fill(storage, log, batch, 12)
    log.high_watermark = 5
    storage.clock.now_ms += DAY_MS
    storage.manager.delete_old_segments()
    assert log.segment_base_offsets == [3, 6, 9]


def test_deleting_records_moves_the_log_start_and_survives_a_restart(opened, batch, read):
    storage, log = opened(segment_bytes=3 * BATCH_BYTES)
    fill(storage, log, batch, 10)
    with pytest.raises(errors.OffsetOutOfRange):
        log.increment_log_start_offset(11)
    log.increment_log_start_offset(4)
    log.increment_log_start_offset(2)
    assert log.log_start_offset == 4
    storage.manager.delete_old_segments()
    assert log.segment_base_offsets == [3, 6, 9]
    storage.manager.write_checkpoint("log-start-offset-checkpoint")
    storage.flusher.run()
    storage.crash()
    log = storage.open().get("t", 0)
    assert (log.log_start_offset, log.segment_base_offsets) == (4, [3, 6, 9])
    assert [offset for offset, _ in read(log)] == list(range(4, 10))


def test_blocks_are_reserved_ahead_and_given_back(opened, batch):
    storage, log = opened(segment_bytes=1 << 22, preallocate=True)
    storage.flusher.run()
    path = f"{log.path}/00000000000000000000.log"
    fill(storage, log, batch, 1)
    assert os.stat(path).st_size == BATCH_BYTES
    reserved = os.stat(path).st_blocks * 512
    fill(storage, log, batch, 1)
    log.roll()
    storage.flusher.run()
    assert os.stat(path).st_size == 2 * BATCH_BYTES
    assert os.stat(path).st_blocks * 512 <= reserved


def test_a_roll_that_fails_halfway_leaves_a_segment_that_takes_smaller_batches(opened, batch, read):
    storage, log = opened(segment_bytes=3 * BATCH_BYTES + 20)
    fill(storage, log, batch, 2)
    storage.disk.fail("write", "00.timeindex", errno.ENOSPC)
    assert storage.append(log, batch([b"v" * 100]))[0].error == errors.KafkaStorageError.code
    storage.disk.failures = []
    (result,) = storage.append(log, batch([b"v"]))
    assert (result.error, result.base_offset) == (0, 2)
    assert [offset for offset, _ in read(log)] == [0, 1, 2]
    assert log.segment_base_offsets == [0]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_roll_that_finds_no_descriptor_is_survived(opened, batch, number):
    storage, log = opened(segment_bytes=3 * BATCH_BYTES)
    fill(storage, log, batch, 3)
    storage.disk.fail("create", "03.log", number)
    assert storage.append(log, batch())[0].error == errors.KafkaStorageError.code
    assert storage.manager.failures == []
    storage.disk.failures = []
    assert storage.append(log, batch())[0].base_offset == 3


def test_after_a_cut_under_living_regions_the_new_file_is_flushed(opened, batch):
    storage, log = opened()
    storage.append(log, batch([b"a"]), batch([b"b"]))
    region = log.read(0, 1 << 20, 2)
    old = log._active.log
    log._active.truncate(1)
    files = log._active_files.files()
    assert files[0] is log._active.log is not old
    assert len(bytes(memoryview(region))) == 2 * BATCH_BYTES


def test_a_change_of_options_counts_for_the_active_segment(opened, batch, read):
    storage, log = opened()
    fill(storage, log, batch, 2)
    log.configure(replace(log.config, segment_bytes=2 * BATCH_BYTES))
    fill(storage, log, batch, 1)
    assert log.segment_base_offsets == [0, 2]
    log.configure(replace(log.config, segment_bytes=1 << 30, segment_ms=1000))
    storage.append(log, batch(timestamp_ms=NOW + 1000))
    assert log.segment_base_offsets == [0, 2]
    storage.append(log, batch(timestamp_ms=NOW + 1001))
    assert log.segment_base_offsets == [0, 2, 4]
    log.configure(replace(log.config, max_message_bytes=10))
    assert storage.append(log, batch())[0].error == errors.MessageTooLarge.code


def test_options_that_change_within_a_turn(opened, batch):
    storage, log = opened()
    log.stage(batch(timestamp_ms=NOW), 0)
    log.configure(replace(log.config, segment_ms=1000))
    storage.append(log, batch(timestamp_ms=NOW + 1000))
    assert log.segment_base_offsets == [0]
    storage.append(log, batch(timestamp_ms=NOW + 1001))
    assert log.segment_base_offsets == [0, 2]


def test_indexes_keep_the_options_that_they_were_made_under(opened, batch, read):
    storage, log = opened(segment_index_bytes=60, index_interval_bytes=1)
    log.configure(replace(log.config, index_interval_bytes=1 << 30, segment_index_bytes=1 << 20))
    for number in range(20):
        assert storage.append(log, batch(timestamp_ms=NOW + number))[0].error == 0
    log.high_watermark = 20
    assert log.segment_count == 2, "the first is full after some batches, the second would take a thousand million"
    assert os.stat(f"{log.path}/{0:020d}.timeindex").st_size <= 60
    assert [offset for offset, _ in read(log)] == list(range(20))
