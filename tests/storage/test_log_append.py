import errno

import pytest

from fastlog import errors
from fastlog._core import Slice, scan
from fastlog.storage.environment import SHORTAGES_INTERVAL_NS, SHORTAGES_LOGGED
from fastlog.storage.log_config import LOG_APPEND_TIME

NOW = 1_700_000_000_000


@pytest.fixture
def opened(storage, topic_id):
    """Open a storage with the log of t-0: opened(**LogConfig options) -> (storage, log)."""

    def open_one(**options):
        made = storage(**options)
        log = made.open().create("t", 0, topic_id)
        return made, log

    return open_one


def test_offsets_are_given_when_staged_and_seen_when_written(opened, batch, read):
    storage, log = opened()
    first, second = log.stage(batch([b"a", b"b"]), 3), log.stage(batch([b"c"]), 3)
    assert [(result.base_offset, result.last_offset, result.error) for result in (first, second)] == [(0, 1, 0), (2, 2, 0)]
    assert (log.log_end_offset, read(log)) == (0, [])
    storage.manager.commit_staged()
    assert log.log_end_offset == log.acknowledged_end_offset == 3
    assert read(log) == [(0, b"a"), (1, b"b"), (2, b"c")]
    assert log.leader_epochs.entries() == [(3, 0)]
    assert {made.leader_epoch for made in scan(bytes(memoryview(log.read(0, 1 << 20, 3))))} == {3}


def test_the_batches_of_a_turn_are_one_write(opened, batch):
    storage, log = opened()
    writes = []
    disk_check = storage.disk.check
    storage.disk.check = lambda operation, path: (
        writes.append(path) if operation == "write" else None,
        disk_check(operation, path),
    )
    storage.append(log, *(batch([b"v"]) for _ in range(10)))
    assert [path for path in writes if path.endswith(".log")] == [f"{log.path}/00000000000000000000.log"]


def two(batch):
    return Slice(bytearray(bytes(batch()) + bytes(batch())))


@pytest.mark.parametrize(
    ("made", "error"),
    [
        (lambda batch: Slice(bytearray(bytes(batch())[:-1])), errors.CorruptMessage),
        (lambda batch: Slice(bytearray(bytes(batch())[:30])), errors.CorruptMessage),
        (lambda batch: Slice(bytearray(bytes(batch()) + b"\0")), errors.CorruptMessage),
        (lambda batch: batch(base_offset=5), errors.CorruptMessage),
        (two, errors.InvalidRecord),
        (lambda batch: Slice(bytearray()), errors.InvalidRecord),
        (lambda batch: batch(attributes=0x20, producer=(1, 0, -1)), errors.InvalidRecord),
        (lambda batch: batch(attributes=0x10, producer=(1, 0, 0)), errors.InvalidTxnState),
        (lambda batch: batch(attributes=0x08), errors.InvalidTimestamp),
        (lambda batch: batch(timestamp_ms=NOW + 3_600_001), errors.InvalidTimestamp),
        (lambda batch: batch([b"x" * (1 << 20)]), errors.MessageTooLarge),
    ],
)
def test_what_is_refused_leaves_no_trace(opened, batch, made, error):
    storage, log = opened()
    (result,) = storage.append(log, made(batch))
    assert (result.error, result.base_offset) == (error.code, -1)
    assert result.error_message
    assert (log.log_end_offset, log.size_bytes, log.producer_count) == (0, 0, 0)
    assert storage.append(log, batch())[0].base_offset == 0


def test_every_changed_bit_of_a_batch_is_refused_or_outside_of_its_checksum(opened, batch):
    """Bits 0-20 are base offset, length, leader epoch, magic and CRC; the leader epoch is the broker's to set."""
    _, log = opened()
    good = batch([b"some", b"values"], as_slice=False)
    for position in range(len(good)):
        if 12 <= position < 16:
            continue
        for bit in (0, 7):
            changed = bytearray(good)
            changed[position] ^= 1 << bit
            result = log.stage(Slice(changed), 0)
            assert result.error in (errors.CorruptMessage.code, errors.InvalidRecord.code), (position, bit)
    assert log.stage(Slice(bytearray(good)), 0).base_offset == 0


def test_a_verified_transaction_holds_back_the_last_stable_offset(opened, batch):
    storage, log = opened()
    storage.append(log, batch())
    assert log.stage(batch(attributes=0x10, producer=(1, 0, 0)), 0, transaction_verified=True).error == 0
    storage.manager.commit_staged()
    log.high_watermark = log.log_end_offset
    assert (log.high_watermark, log.last_stable_offset) == (2, 1)


def test_log_append_time(opened, batch, read, found):
    storage, log = opened(message_timestamp_type=LOG_APPEND_TIME)
    (result,) = storage.append(log, batch([b"a", b"b"], timestamp_ms=5))
    assert (result.error, result.log_append_time_ms) == (0, NOW)
    (made,) = scan(bytes(memoryview(log.read(0, 1 << 20, 2))))
    assert made.is_log_append_time
    assert {record.timestamp_ms for record in made.records()} == {NOW}
    assert found(log.timestamp_steps, NOW, 2, None) == (NOW, 0)


def test_timestamps_too_old(opened, batch):
    storage, log = opened(message_timestamp_before_max_ms=1000)
    assert storage.append(log, batch([b"a", b"b"], timestamp_ms=[NOW, NOW - 1000]))[0].error == 0
    assert storage.append(log, batch([b"a", b"b"], timestamp_ms=[NOW, NOW - 1001]))[0].error == errors.InvalidTimestamp.code
    assert storage.append(log, batch(timestamp_ms=-1))[0].error == 0
    assert storage.append(log, batch([b"a", b"b"], timestamp_ms=[-1, NOW - 1001]))[0].error == errors.InvalidTimestamp.code


def test_a_repetition_is_answered_with_the_first_ones_offset_and_timestamp(opened, batch, read):
    storage, log = opened()
    storage.append(log, batch())
    (first,) = storage.append(log, batch([b"a", b"b"], producer=(7, 0, 0), timestamp_ms=NOW - 5))
    (again,) = storage.append(log, batch([b"a", b"b"], producer=(7, 0, 0), timestamp_ms=NOW - 5))
    assert (again.error, again.base_offset, again.last_offset) == (0, first.base_offset, first.last_offset)
    assert (first.log_append_time_ms, again.log_append_time_ms) == (-1, NOW - 5)
    assert len(read(log)) == 3


def test_sequences_are_checked_against_what_is_staged(opened, batch, read):
    storage, log = opened()
    results = storage.append(
        log,
        batch([b"0"], producer=(7, 0, 0)),
        batch([b"1"], producer=(7, 0, 1)),
        batch([b"0"], producer=(7, 0, 0)),
        batch([b"3"], producer=(7, 0, 3)),
    )
    assert [result.error for result in results] == [0, 0, 0, errors.OutOfOrderSequenceNumber.code]
    assert [result.base_offset for result in results] == [0, 1, 0, -1]
    assert [value for _, value in read(log)] == [b"0", b"1"]


@pytest.mark.parametrize("short_write_bytes", [None, 0, 1, 61, 100])
def test_a_full_disk_takes_back_the_turn_and_is_survived(opened, batch, read, short_write_bytes):
    storage, log = opened()
    storage.append(log, batch([b"kept"], producer=(7, 0, 0)))
    if short_write_bytes is None:
        storage.disk.fail("write", ".log", errno.ENOSPC)
    else:
        storage.disk.short_write_bytes = short_write_bytes
    results = storage.append(
        log,
        batch([b"1"], producer=(7, 0, 1)),
        batch([b"2"], producer=(7, 0, 2)),
        batch([b"1"], producer=(7, 0, 1)),
        batch([b"n"]),
    )
    assert [(result.error, result.base_offset) for result in results] == [(errors.KafkaStorageError.code, -1)] * 4
    assert storage.manager.failures == []
    assert read(log) == [(0, b"kept")]
    assert log.size_bytes == len(bytes(memoryview(log.read(0, 1 << 20, 1))))
    storage.disk.failures, storage.disk.short_write_bytes = [], None
    (again,) = storage.append(log, batch([b"1"], producer=(7, 0, 1)))
    assert (again.error, again.base_offset) == (0, 1)
    assert read(log) == [(0, b"kept"), (1, b"1")]


def test_a_full_disk_does_not_fill_the_log(opened, batch, caplog):
    storage, log = opened()
    storage.disk.fail("write", ".log", errno.ENOSPC)
    for _ in range(40):
        storage.append(log, batch([b"1"]))
    assert [record.message.count("No space left") for record in caplog.records] == [1] * SHORTAGES_LOGGED
    caplog.clear()
    storage.timers.advance(SHORTAGES_INTERVAL_NS // 1_000_000)
    storage.append(log, batch([b"1"]))
    assert caplog.records[0].message.endswith(f": {40 - SHORTAGES_LOGGED} more writes failed like that")
    assert len(caplog.records) == 2


def test_a_write_that_fails_otherwise_fences_the_directory(storage, tmp_path, batch, topic_id):
    made = storage(tmp_path / "one", tmp_path / "two")
    manager = made.open()
    logs = [manager.create("t", index, topic_id) for index in range(4)]
    bad = [log for log in logs if "/one/" in log.path]
    good = [log for log in logs if "/two/" in log.path]
    assert (len(bad), len(good)) == (2, 2)
    told = []
    bad[1].on_failure = lambda: told.append(True)
    staged_elsewhere = bad[1].stage(batch(), 0)
    made.disk.fail("write", "/one/", errno.EIO)
    (result,) = made.append(bad[0], batch())
    made.disk.failures = []
    assert (result.error, staged_elsewhere.error) == (errors.KafkaStorageError.code,) * 2
    assert told == [True]
    assert len(manager.failures) == 1
    assert made.append(bad[0], batch())[0].error == errors.KafkaStorageError.code
    with pytest.raises(errors.KafkaStorageError):
        bad[0].read(0, 100, 1)
    assert made.append(good[0], batch())[0].error == 0
    assert "/two/" in manager.create("u", 0, topic_id).path


def test_a_failed_write_that_cannot_be_undone_fences_the_directory(opened, batch):
    storage, log = opened()
    storage.append(log, batch())
    storage.disk.short_write_bytes = 10
    storage.disk.fail("cut", ".log", errno.EIO)
    assert storage.append(log, batch())[0].error == errors.KafkaStorageError.code
    assert len(storage.manager.failures) == 1


def test_a_mistake_in_one_logs_write_fails_its_batches_and_no_others(storage, topic_id, batch, read):
    """What is no failure of the disk is raised, after everything is where it should be."""
    made = storage()
    manager = made.open()
    bad, good = (manager.create("t", index, topic_id) for index in range(2))
    made.append(bad, batch([b"kept"], producer=(7, 0, 0)))
    results = [bad.stage(batch([b"1"], producer=(7, 0, 1)), 0), bad.stage(batch([b"2"], producer=(7, 0, 2)), 0)]
    beside = good.stage(batch([b"good"]), 0)
    made.disk.fail("write", "/t-0/", MemoryError())
    with pytest.raises(MemoryError):
        manager.commit_staged()
    made.disk.failures = []
    manager.commit_staged()
    assert [(result.error, result.base_offset) for result in results] == [(errors.KafkaStorageError.code, -1)] * 2
    assert manager.failures == []
    (again,) = made.append(bad, batch([b"1"], producer=(7, 0, 1)))
    assert (again.error, again.base_offset) == (0, 1)
    assert read(bad) == [(0, b"kept"), (1, b"1")]
    assert (beside.error, beside.base_offset, read(good)) == (0, 0, [(0, b"good")]), "written in the same turn"


def test_after_the_log_is_gone_nothing_is_staged(opened, batch):
    storage, log = opened()
    waiting = log.stage(batch(), 0)
    storage.manager.delete("t", 0)
    assert waiting.error == errors.KafkaStorageError.code
    assert log.stage(batch(), 0).error == errors.KafkaStorageError.code
    storage.manager.commit_staged()
    assert log.log_end_offset == 0


def test_what_follows_a_new_producers_failed_first_batch_does_not_take_its_place(opened, batch, read):
    storage, log = opened()
    storage.disk.fail("write", ".log", errno.ENOSPC)
    assert storage.append(log, batch([b"0"], producer=(7, 0, 0)))[0].error == errors.KafkaStorageError.code
    storage.disk.failures = []
    assert storage.append(log, batch([b"1"], producer=(7, 0, 1)))[0].error == errors.OutOfOrderSequenceNumber.code
    again = storage.append(log, batch([b"0"], producer=(7, 0, 0)), batch([b"1"], producer=(7, 0, 1)))
    assert [result.base_offset for result in again] == [0, 1]
    assert read(log) == [(0, b"0"), (1, b"1")]
