import errno
import os
import shutil
from pathlib import Path

import pytest

from fastlog._core import scan
from fastlog.errors import OutOfOrderSequenceNumber, StorageFailed, UsageError

BATCH_BYTES = 61 + 8
NOW = 1_700_000_000_000


@pytest.fixture
def opened(storage, topic_id):
    def open_one(**options):
        made = storage(**options)
        return made, made.open().create("t", 0, topic_id)

    return open_one


def fill(storage, log, batch, start, end):
    for number in range(start, end):
        (result,) = storage.append(
            log, batch([b"%d" % number], producer=(7, 0, number), timestamp_ms=NOW + number), epoch=number // 4
        )
        assert result.error == 0, result.error_message


def test_after_a_clean_stop_no_log_is_read(opened, batch, read):
    storage, log = opened(segment_bytes=300)
    fill(storage, log, batch, 0, 20)
    expected, epochs, path = read(log), log.leader_epochs.entries(), log.path
    storage.close()
    assert os.path.exists(f"{storage.log_dirs[0]}/.kafka_cleanshutdown")
    storage.disk.reads.clear()
    log = storage.open().get("t", 0)
    assert [name for name in storage.disk.reads if name.endswith(".log")] == []
    assert storage.scanned == []
    assert not os.path.exists(f"{storage.log_dirs[0]}/.kafka_cleanshutdown")
    assert storage.disk.synced[-1] == storage.log_dirs[0]
    assert (log.log_end_offset, log.recovery_point, log.leader_epochs.entries()) == (20, 20, epochs)
    assert read(log) == expected
    assert storage.append(log, batch([b"18"], producer=(7, 0, 18)))[0].base_offset == 18
    assert storage.append(log, batch([b"20"], producer=(7, 0, 20)))[0].base_offset == 20
    assert log.path == path


@pytest.mark.parametrize("segment_bytes", [300, 1 << 20])
def test_a_recovery_finds_everything_on_a_full_disk(opened, batch, read, segment_bytes):
    storage, log = opened(segment_bytes=segment_bytes, index_interval_bytes=100)
    fill(storage, log, batch, 0, 20)
    expected = read(log)
    storage.crash()
    storage.disk.fail("write", "/t-0/", errno.ENOSPC)
    manager = storage.open()
    assert manager.failures == []
    log = manager.get("t", 0)
    assert read(log) == expected
    assert [read(log, start)[0] for start in (7, 19)] == [expected[7], expected[19]]
    assert storage.append(log, batch([b"20"], producer=(7, 0, 20)))[0].error != 0
    storage.disk.failures = []
    assert storage.append(log, batch([b"20"], producer=(7, 0, 20)))[0].base_offset == 20
    storage.close()
    assert read(storage.open().get("t", 0)) == [*expected, (20, b"20")]


def test_a_recovery_on_a_disk_that_fails_fences_it(opened, batch):
    storage, log = opened(index_interval_bytes=100)
    fill(storage, log, batch, 0, 20)
    storage.crash()
    storage.disk.fail("write", "/t-0/", errno.EIO)
    with pytest.raises(StorageFailed, match="loading t-0 failed"):
        storage.open()


def test_a_stop_without_appends_changes_no_file(opened, batch):
    storage, log = opened(segment_bytes=300)
    fill(storage, log, batch, 0, 5)
    path = log.path
    storage.close()
    before = {name: os.stat(f"{path}/{name}").st_mtime_ns for name in os.listdir(path)}
    for _ in range(2):
        storage.open()
        storage.close()
    assert {name: os.stat(f"{path}/{name}").st_mtime_ns for name in os.listdir(path)} == before


def test_after_a_crash_everything_written_is_there(opened, batch, read):
    storage, log = opened(segment_bytes=300)
    fill(storage, log, batch, 0, 20)
    expected, epochs, bases = read(log), log.leader_epochs.entries(), log.segment_base_offsets
    storage.crash()
    log = storage.open().get("t", 0)
    assert (read(log), log.leader_epochs.entries(), log.segment_base_offsets) == (expected, epochs, bases)
    assert storage.scanned == [(log.path, number + 1, len(bases)) for number in range(len(bases))]
    assert log.recovery_point == 20, "what was recovered is flushed"
    fill(storage, log, batch, 20, 22)
    assert storage.append(log, batch([b"17"], producer=(7, 0, 17)))[0].base_offset == 17


def test_the_recovery_point_moves_when_all_that_was_scanned_is_synced(opened, batch):
    storage, log = opened(segment_bytes=300)
    fill(storage, log, batch, 0, 20)
    bases = log.segment_base_offsets
    storage.crash()
    storage.disk.synced.clear()
    log = storage.open().get("t", 0)
    assert log.recovery_point == 20
    assert {f"{log.path}/{base:020d}.log" for base in bases} <= set(storage.disk.synced)
    assert {log.path, storage.log_dirs[0]} <= set(storage.disk.synced)


def test_a_crash_scans_from_the_recovery_point_only(opened, batch, read):
    storage, log = opened(segment_bytes=300)
    fill(storage, log, batch, 0, 20)
    storage.flusher.run()
    storage.manager.write_checkpoint("recovery-point-offset-checkpoint")
    storage.flusher.run()
    assert log.recovery_point == log.segment_base_offsets[-1]
    storage.crash()
    storage.disk.reads.clear()
    log = storage.open().get("t", 0)
    assert storage.scanned == [(log.path, 1, 1)]
    read_logs = {name[-24:] for name in storage.disk.reads if name.endswith(".log")}
    assert f"{16:020d}.log" in read_logs
    assert not read_logs & {f"{base:020d}.log" for base in (0, 4, 8)}, "only to find where the last epoch began"
    assert storage.append(log, batch([b"20"], producer=(7, 0, 20)))[0].base_offset == 20


def test_a_log_torn_at_any_byte_keeps_its_valid_prefix(storage, batch, read, tmp_path, topic_id):
    made = storage(index_interval_bytes=100)
    log = made.open().create("t", 0, topic_id)
    fill(made, log, batch, 0, 3)
    made.flusher.run()
    made.crash()
    source = made.log_dirs[0]
    name = "t-0/00000000000000000000.log"
    size = os.stat(f"{source}/{name}").st_size
    assert size == 3 * BATCH_BYTES
    torn = storage(tmp_path / "torn", index_interval_bytes=100)
    for kept in range(size + 1):
        shutil.rmtree(torn.log_dirs[0], ignore_errors=True)
        shutil.copytree(source, torn.log_dirs[0])
        os.truncate(f"{torn.log_dirs[0]}/{name}", kept)
        log = torn.open().get("t", 0)
        whole = kept // BATCH_BYTES
        assert read(log) == [(number, b"%d" % number) for number in range(whole)]
        assert log.size_bytes == whole * BATCH_BYTES == os.stat(f"{log.path}/00000000000000000000.log").st_size
        assert log.leader_epochs.latest == (0 if whole else -1)
        fill(torn, log, batch, whole, whole + 1)
        torn.crash()


@pytest.mark.parametrize("garbage", [b"\0" * 100, b"\xff" * 7, os.urandom(300)])
def test_what_follows_the_last_batch_is_cut(opened, batch, read, garbage):
    storage, log = opened()
    fill(storage, log, batch, 0, 3)
    storage.crash()
    with open(f"{log.path}/00000000000000000000.log", "ab") as file:
        file.write(garbage)
    log = storage.open().get("t", 0)
    assert (len(read(log)), log.size_bytes) == (3, 3 * BATCH_BYTES)


def test_a_changed_bit_past_the_recovery_point_cuts_and_drops_later_segments(opened, batch, read):
    storage, log = opened(segment_bytes=300)
    fill(storage, log, batch, 0, 20)
    assert log.segment_base_offsets[1:3] == [4, 8]
    storage.crash()
    with open(f"{log.path}/{4:020d}.log", "r+b") as file:
        file.seek(BATCH_BYTES + 62)
        changed = file.read(1)[0] ^ 1
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([changed]))
    log = storage.open().get("t", 0)
    assert (log.segment_base_offsets, log.log_end_offset) == ([0, 4], 5)
    assert log.leader_epochs.entries() == [(0, 0), (1, 4)]
    assert sorted(name for name in os.listdir(log.path) if name.endswith(".log")) == [f"{base:020d}.log" for base in (0, 4)]
    assert storage.append(log, batch([b"6"], producer=(7, 0, 6)))[0].error == OutOfOrderSequenceNumber.code
    fill(storage, log, batch, 5, 30)
    assert [offset for offset, _ in read(log)] == list(range(30))


@pytest.mark.parametrize(("topic", "kept"), [("t", 6), ("__consumer_offsets", 20)])
def test_offsets_missing_between_segments_end_the_log_unless_kafka_may_have_compacted_it(storage, batch, topic_id, topic, kept):
    """A file's size may be lost right at the end of a batch: then no byte is invalid."""
    made = storage(segment_bytes=300)
    log = made.open().create(topic, 0, topic_id)
    fill(made, log, batch, 0, 20)
    made.crash()
    os.truncate(f"{log.path}/{4:020d}.log", 2 * BATCH_BYTES)
    log = made.open().get(topic, 0)
    assert log.log_end_offset == kept
    assert (log.segment_base_offsets == [0, 4]) == (kept == 6)


@pytest.mark.parametrize("left", [2, 0])
def test_a_log_that_may_have_gaps_opens_with_an_empty_segment_behind_one(storage, batch, topic_id, read, left):
    """A lost machine took the end of a segment, and all of the next one but its name."""
    made = storage(segment_bytes=300)
    log = made.open().create("__consumer_offsets", 0, topic_id)
    fill(made, log, batch, 0, 21)
    assert log.segment_base_offsets[-2:] == [16, 20]
    made.crash()
    before_last = f"{log.path}/{16:020d}.log"
    os.truncate(before_last, os.stat(before_last).st_size // 4 * left)
    os.truncate(f"{log.path}/{20:020d}.log", 0)
    log = made.open().get("__consumer_offsets", 0)
    assert log.log_end_offset == 20
    assert log.leader_epochs.entries() == [(0, 0), (1, 4), (2, 8), (3, 12), (4, 16)][: 5 if left else 4]
    assert [offset for offset, _ in read(log)][-1] == 15 + left
    fill(made, log, batch, 20, 30)
    assert [offset for offset, _ in read(log)] == [*range(16 + left), *range(20, 30)]


def test_indexes_are_built_anew(opened, batch, read):
    storage, log = opened(segment_bytes=3000, index_interval_bytes=100)
    fill(storage, log, batch, 0, 100)
    storage.close()
    good = {name: Path(f"{log.path}/{name}").read_bytes() for name in os.listdir(log.path) if name.endswith("index")}
    os.unlink(f"{storage.log_dirs[0]}/recovery-point-offset-checkpoint")
    os.unlink(f"{storage.log_dirs[0]}/.kafka_cleanshutdown")
    for number, name in enumerate(good):
        with open(f"{log.path}/{name}", "r+b") as file:
            file.truncate(number % 3 * 8)
            file.seek(0)
            file.write(b"\0" * 1024)
    log = storage.open().get("t", 0)
    assert len(read(log)) == 100
    storage.close()
    assert {name: Path(f"{log.path}/{name}").read_bytes() for name in good} == good


def test_a_lost_snapshot_and_a_damaged_one_are_made_up_for_by_the_log(opened, batch):
    storage, log = opened(segment_bytes=300)
    fill(storage, log, batch, 0, 20)
    for clean in (False, True):
        if clean:
            storage.close()
        else:
            storage.crash()
        snapshots = sorted(name for name in os.listdir(log.path) if name.endswith(".snapshot"))
        os.unlink(f"{log.path}/{snapshots[-1]}")
        with open(f"{log.path}/{snapshots[-2]}", "r+b") as file:
            file.write(b"\0\1\0\0")
        log = storage.open().get("t", 0)
        assert storage.append(log, batch([b"19"], producer=(7, 0, 19)))[0].base_offset == 19
        assert storage.append(log, batch([b"15"], producer=(7, 0, 15)))[0].base_offset == 15


def test_lost_epochs_are_taken_from_the_log(opened, batch):
    storage, log = opened(segment_bytes=300)
    fill(storage, log, batch, 0, 30)
    expected = log.leader_epochs.entries()
    assert len(expected) == 8
    for damage in (
        os.unlink,
        lambda path: Path(path).write_bytes(b"0\n1\nx"),
        lambda path: Path(path).write_bytes(b""),
    ):
        storage.close()
        damage(f"{log.path}/leader-epoch-checkpoint")
        log = storage.open().get("t", 0)
        assert log.leader_epochs.entries() == expected
    storage.crash()
    with open(f"{log.path}/leader-epoch-checkpoint", "wb") as file:
        file.write(b"0\n3\n0 0\n1 4\n2 8\n")
    assert storage.open().get("t", 0).leader_epochs.entries() == expected


def test_checkpoints_that_are_lost_or_damaged(opened, batch, read):
    storage, log = opened(segment_bytes=300)
    fill(storage, log, batch, 0, 20)
    for name in ("recovery-point-offset-checkpoint", "replication-offset-checkpoint", "log-start-offset-checkpoint"):
        for damage in (os.unlink, lambda path: Path(path).write_bytes(b"\0\0")):
            storage.close()
            damage(f"{storage.log_dirs[0]}/{name}")
            log = storage.open().get("t", 0)
            assert len(read(log)) == 20


def test_leftovers_are_removed(opened, batch):
    storage, log = opened(segment_bytes=300)
    fill(storage, log, batch, 0, 10)
    storage.close()
    leftovers = [
        "00000000000000000000.log.deleted", "00000000000000000099.index", "00000000000000000099.timeindex",
        "00000000000000000004.log.cleaned", "leader-epoch-checkpoint.tmp", "00000000000000000099.snapshot",
    ]  # fmt: skip
    for name in leftovers:
        open(f"{log.path}/{name}", "w").close()
    log = storage.open().get("t", 0)
    assert [name for name in os.listdir(log.path) if name in leftovers] == []
    assert log.log_end_offset == 10


def test_an_interrupted_compaction_is_named(opened):
    storage, log = opened()
    storage.close()
    open(f"{log.path}/00000000000000000000.log.swap", "w").close()
    with pytest.raises(UsageError, match=r"t-0.*swap.*compaction"):
        storage.open()


def test_a_log_that_ends_before_its_start_begins_anew(opened, batch):
    storage, log = opened()
    fill(storage, log, batch, 0, 10)
    log.high_watermark = 10
    log.increment_log_start_offset(8)
    storage.manager.write_checkpoint("log-start-offset-checkpoint")
    storage.flusher.run()
    storage.crash()
    os.truncate(f"{log.path}/00000000000000000000.log", 3 * BATCH_BYTES)
    log = storage.open().get("t", 0)
    assert (log.log_start_offset, log.log_end_offset, log.segment_base_offsets) == (8, 8, [8])
    assert storage.append(log, batch())[0].base_offset == 8


def test_an_empty_directory_becomes_an_empty_log(storage, batch):
    made = storage()
    os.makedirs(f"{made.log_dirs[0]}/t-0")
    log = made.open().get("t", 0)
    assert (log.log_start_offset, log.log_end_offset, log.topic_id) == (0, 0, None)
    assert made.append(log, batch())[0].base_offset == 0


def test_a_disk_that_cannot_be_read_fences_its_directory_alone(storage, tmp_path, topic_id, batch):
    made = storage(tmp_path / "one", tmp_path / "two")
    manager = made.open()
    for index in range(4):
        made.append(manager.create("t", index, topic_id), batch())
    made.crash()
    made.disk.fail("read", "/one/t-0", errno.EIO)
    manager = made.open()
    assert len(manager.failures) == 1
    assert sorted(log.path.split("/")[-2] for log in manager if log.stage(batch(), 0).error == 0) == ["two", "two"]


def test_damage_below_the_recovery_point_is_left_for_the_reader_to_find(opened, batch):
    """A flushed segment is not scanned at the start: a replica may repair it, a cut could not be undone."""
    storage, log = opened(segment_bytes=300)
    fill(storage, log, batch, 0, 20)
    storage.close()
    path = f"{log.path}/{4:020d}.log"
    data = bytearray(Path(path).read_bytes())
    data[65] ^= 1
    Path(path).write_bytes(data)
    log = storage.open().get("t", 0)
    assert log.log_end_offset == 20
    with pytest.raises(ValueError, match="CRC"):
        scan(bytes(memoryview(log.read(4, 69, 20))))


def test_leader_epochs_that_found_no_room_are_written_at_the_stop(opened, batch):
    storage, log = opened()
    storage.append(log, batch(), epoch=1)
    storage.flusher.run()
    storage.disk.fail("write", "leader-epoch", errno.ENOSPC)
    storage.append(log, batch(), epoch=2)
    storage.flusher.run()
    storage.disk.failures = []
    storage.close()
    assert storage.open().get("t", 0).leader_epochs.entries() == [(1, 0), (2, 1)]
