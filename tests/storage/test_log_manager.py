import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastlog.errors import InvalidTopic, KafkaStorageError, StorageFailed, UsageError
from fastlog.storage.checkpoints import RETRY_AFTER_MS, parse_offsets
from fastlog.storage.log_manager import LogManager, StorageConfig


def test_a_directory_that_another_process_holds(storage):
    made = storage()
    made.open()
    path = made.log_dirs[0]
    script = (
        "import sys; from fastlog.env.disk import SystemDisk\n"
        "try: SystemDisk().lock_directory(sys.argv[1])\n"
        "except BlockingIOError: sys.exit(7)"
    )
    assert subprocess.run([sys.executable, "-c", script, path], check=False).returncode == 7
    other = storage()
    with pytest.raises(UsageError, match=f"{path} is held by another process: .*another directory"):
        other.open()
    made.close()
    other.open()


@pytest.mark.parametrize(
    ("operation", "number", "advice"),
    [
        ("mkdir", errno.EACCES, "make it writable, or choose another"),
        ("lock", errno.EROFS, "make it writable, or choose another"),
        ("lock", errno.ENOSPC, "make room, or choose another"),
        ("mkdir", errno.ENOTDIR, "choose another"),
        ("lock", errno.EIO, "choose another"),
    ],
)
def test_a_directory_that_cannot_be_used(storage, tmp_path, operation, number, advice):
    made = storage(tmp_path / "one", tmp_path / "two")
    made.disk.fail(operation, "/two", number)
    with pytest.raises(UsageError, match=rf"/two cannot be used \({os.strerror(number)}\): {advice}$"):
        made.open()
    made.disk.failures = []
    made.open()  # the lock of the first was given up


@pytest.mark.parametrize(("operation", "name"), [("mkdir", "/one"), ("lock", "/one"), ("open", "/one/meta.properties")])
def test_a_directory_that_cannot_be_used_any_more(storage, tmp_path, topic_id, batch, read, operation, name):
    made = storage(tmp_path / "one", tmp_path / "two")
    manager = made.open()
    for index in range(2):
        made.append(manager.create("t", index, topic_id), batch([b"kept"]))
    made.close()
    made.disk.fail(operation, name, errno.EROFS)
    manager = made.open()
    assert [str(failure) for failure in manager.failures if "one is fenced: it cannot be used: " in str(failure)]
    assert read(manager.get("t", 1)) == [(0, b"kept")]
    assert manager.get("t", 0) is None
    with pytest.raises(KafkaStorageError):
        manager.create("t", 0, topic_id, is_new=False)
    made.close()
    made.disk.failures = []
    manager = made.open()
    assert [read(manager.get("t", index)) for index in range(2)] == [[(0, b"kept")]] * 2
    assert manager.failures == []


def test_a_directory_that_holds_nothing_may_be_a_disk_that_is_not_mounted(storage, tmp_path, topic_id, batch, read):
    made = storage(tmp_path / "one", tmp_path / "two")
    manager = made.open()
    for index in range(2):
        made.append(manager.create("t", index, topic_id), batch([b"kept"]))
    made.close()
    (tmp_path / "two").rename(tmp_path / "disk")
    for end in (made.crash, made.close):
        manager = made.open()
        with pytest.raises(KafkaStorageError, match=r"t-1 may be where nobody can look: .*two is fenced: it holds nothing"):
            manager.create("t", 1, topic_id, is_new=False)
        assert manager.create("new", 0, topic_id).path == f"{tmp_path}/one/new-0"
        manager.delete("new", 0)
        end()
    assert os.listdir(tmp_path / "two") == [".lock"]
    shutil.copy(tmp_path / "one" / "meta.properties", tmp_path / "two")
    assert made.open().create("t", 1, topic_id, is_new=False).path == f"{tmp_path}/two/t-1", "somebody wants it so"
    made.close()
    shutil.rmtree(tmp_path / "two")
    (tmp_path / "disk").rename(tmp_path / "two")
    assert read(made.open().get("t", 1)) == [(0, b"kept")]


@pytest.mark.parametrize("end", ["close", "crash", "create"])
def test_a_directory_that_is_added(storage, tmp_path, topic_id, batch, end):
    made = storage(tmp_path / "one")
    made.append(made.open().create("t", 0, topic_id), batch())
    made.close()
    both = storage(tmp_path / "one", tmp_path / "two")
    manager = both.open()
    assert not (tmp_path / "two" / "meta.properties").exists()
    if end == "create":
        assert manager.create("t", 1, topic_id).path == f"{tmp_path}/two/t-1"
    else:
        getattr(both, end)()
    # Whoever follows a controller may be stopped before it has heard of the partitions that the directory should hold.
    assert (tmp_path / "two" / "meta.properties").exists() == (end == "create")


def test_a_directory_that_lost_its_mark_and_holds_logs_gets_another(storage, tmp_path, topic_id):
    made = storage(tmp_path / "one", tmp_path / "two")
    manager = made.open()
    for index in range(2):
        manager.create("t", index, topic_id)
    made.close()
    (tmp_path / "two" / "meta.properties").unlink()
    manager = made.open()
    assert (tmp_path / "two" / "meta.properties").exists()
    assert (len(manager), manager.lacking) == (2, [])


def test_identity(storage, tmp_path):
    made = storage(tmp_path / "one")
    made.open()
    path = f"{made.log_dirs[0]}/meta.properties"
    assert Path(path).read_bytes() == b"version=0\nbroker.id=1\ncluster.id=fastlog-test-cluster-x\n"
    made.close()
    kraft = b"#\nversion=1\nnode.id=1\ndirectory.id=wO5Jr5D8_9GHR5m2ZLyyJA\ncluster.id=fastlog-test-cluster-x\n"
    with open(path, "wb") as file:
        file.write(kraft)
    made.open()
    made.close()
    assert Path(path).read_bytes() == kraft, "a file that is there is left as it is"
    with open(path, "wb") as file:
        file.write(kraft.replace(b"fastlog-test-cluster-x", b"another"))
    with pytest.raises(UsageError, match="is of cluster another"):
        made.open()


def test_directories_of_two_clusters(storage, tmp_path):
    for name, cluster in (("one", "a"), ("two", "b")):
        os.makedirs(tmp_path / name)
        (tmp_path / name / "meta.properties").write_text(f"version=0\ncluster.id={cluster}\n")
    with pytest.raises(UsageError, match=r"two: its meta\.properties differs"):
        storage(tmp_path / "one", tmp_path / "two").open()


def test_logs_are_spread_over_directories(storage, tmp_path, topic_id):
    made = storage(tmp_path / "one", tmp_path / "two")
    manager = made.open()
    for index in range(6):
        manager.create("t", index, topic_id)
    assert [len([log for log in manager if f"/{name}/" in log.path]) for name in ("one", "two")] == [3, 3]
    made.close()
    manager = made.open()
    assert len(manager) == 6
    assert {log.topic_id for log in manager} == {topic_id}


def test_the_same_partition_twice(storage, tmp_path, topic_id, batch):
    made = storage(tmp_path / "one", tmp_path / "two")
    made.append(made.open().create("t", 0, topic_id), batch())
    made.close()
    shutil.copytree(tmp_path / "one" / "t-0", tmp_path / "two" / "t-0")
    with pytest.raises(UsageError, match="t-0 holds the same partition"):
        made.open()


@pytest.mark.parametrize("empty", ["one", "two"])
@pytest.mark.parametrize("end", ["close", "crash"])
def test_of_a_partition_twice_the_one_that_never_had_a_record_gives_way(storage, tmp_path, topic_id, batch, read, empty, end):
    made = storage(tmp_path / "one", tmp_path / "two")
    made.append(made.open().create("t", 0, topic_id), batch([b"kept"]))
    getattr(made, end)()
    if empty == "one":
        (tmp_path / "one" / "t-0").rename(tmp_path / "two" / "t-0")
    (tmp_path / empty / "t-0").mkdir()
    manager = made.open()
    assert read(manager.get("t", 0)) == [(0, b"kept")]
    [left] = [name for name in os.listdir(tmp_path / empty) if name.startswith("t-0")]
    assert left.endswith("-delete")
    made.append(manager.get("t", 0), batch([b"more"]))
    made.close()
    assert read(made.open().get("t", 0)) == [(0, b"kept"), (1, b"more")]


@pytest.mark.parametrize("which", ["old", "new"])
def test_two_topics_of_one_name(storage, tmp_path, topic_id, batch, read, which):
    old, new = topic_id, bytes(reversed(topic_id))
    made = storage(tmp_path / "one", tmp_path / "two")
    made.append(made.open().create("t", 0, old), batch([b"old"]))
    made.close()
    (tmp_path / "one" / "t-0").rename(tmp_path / "kept")
    made.append(made.open().create("t", 0, new), batch([b"new"]))
    made.crash()
    (tmp_path / "kept").rename(tmp_path / "two" / "t-0")
    for end in (made.close, made.crash):
        manager = made.open()
        assert (len(manager), manager.is_twice("t", 0)) == (1, True)
        end()
    manager = made.open()
    log = manager.claim("t", 0, {"old": old, "new": new}[which])
    assert manager.get("t", 0) is log
    assert not manager.is_twice("t", 0)
    assert read(log) == [(0, which.encode())]
    assert len([path for path in tmp_path.glob("*/t-0*") if path.name.endswith("-stray")]) == 1
    manager.delete("t", 0)
    assert manager.get("t", 0) is None


def test_a_log_that_says_nothing_of_its_topic_is_whosever_asks(storage, topic_id, batch, read):
    """A Kafka from before topic ids wrote it."""
    made = storage()
    made.append(made.open().create("t", 0, None), batch([b"kept"]))
    made.close()
    log = made.open().claim("t", 0, topic_id)
    assert log is not None
    assert read(log) == [(0, b"kept")]


def test_two_logs_of_one_name_of_which_one_says_nothing_of_its_topic(storage, tmp_path, topic_id, batch):
    made = storage(tmp_path / "one", tmp_path / "two")
    made.append(made.open().create("t", 0, topic_id), batch())
    made.close()
    shutil.copytree(tmp_path / "one" / "t-0", tmp_path / "two" / "t-0")
    (tmp_path / "two" / "t-0" / "partition.metadata").unlink()
    with pytest.raises(UsageError, match="t-0 holds the same partition"):
        made.open()


def test_another_topics_log_where_nothing_can_be_renamed(storage, tmp_path, topic_id):
    made = storage(tmp_path / "one", tmp_path / "two")
    manager = made.open()
    log = manager.create("t", 0, topic_id)
    log.directory.fail("test", OSError(errno.EIO, "broken"))
    with pytest.raises(KafkaStorageError, match=r"t-0 is another topic's of that name: .*one is fenced"):
        manager.claim("t", 0, bytes(16))
    assert manager.claim("t", 0, topic_id) is log


def test_names_are_checked_where_the_path_is_built(storage):
    manager = storage().open()
    for name in ("../outside", "a/b", ""):
        with pytest.raises(InvalidTopic):
            manager.create(name, 0)
    assert sorted(os.listdir(manager.config.log_dirs[0] + "/..")) == ["data"]


def test_a_topic_that_finds_no_room(storage, topic_id, batch):
    made = storage()
    manager = made.open()
    made.disk.fail("create", "/t-0/", errno.ENOSPC)
    with pytest.raises(KafkaStorageError):
        manager.create("t", 0, topic_id)
    made.disk.failures = []
    assert made.append(manager.create("t", 0, topic_id), batch())[0].base_offset == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("path", ["/one/t-0", "/one/t-0/0"])
def test_a_topic_goes_where_it_can_be_made(storage, tmp_path, topic_id, batch, number, path):
    made = storage(tmp_path / "one", tmp_path / "two")
    manager = made.open()
    made.disk.fail("mkdir" if path.endswith("t-0") else "create", path, number)
    log = manager.create("t", 0, topic_id)
    assert log.path == f"{tmp_path}/two/t-0"
    assert not (tmp_path / "one" / "t-0").exists()
    assert bool(manager.failures) == (number == errno.EIO)


def test_what_was_there_before_a_topic_that_cannot_be_made_stays(storage, tmp_path, topic_id):
    made = storage(tmp_path / "one", tmp_path / "two")
    manager = made.open()
    (tmp_path / "one" / "t-0").mkdir()
    (tmp_path / "one" / "t-0" / "somebody's").touch()
    made.disk.fail("create", "/one/t-0/0", errno.ENOSPC)
    assert manager.create("t", 0, topic_id).path == f"{tmp_path}/two/t-0"
    assert (tmp_path / "one" / "t-0" / "somebody's").exists()


def test_a_data_directory_that_has_gone_is_not_made_anew(storage, topic_id):
    """What was acknowledged into a new one would be lost with the files that are still open, or lie below a mount point."""
    made = storage()
    manager = made.open()
    directory = Path(made.log_dirs[0])
    directory.rename(directory.with_name("gone"))
    with pytest.raises(KafkaStorageError, match="No such file or directory"):
        manager.create("t", 0, topic_id)
    assert not directory.exists()
    [failure] = manager.failures
    assert f"{directory} is fenced" in str(failure)


def test_a_partition_that_is_not_new_may_be_in_a_directory_that_nobody_could_read(storage, tmp_path, topic_id):
    made = storage(tmp_path / "one", tmp_path / "two")
    manager = made.open()
    manager.create("t", 0, topic_id, is_new=False)
    (one, _), _ = manager.directories()
    one.fail("test", OSError(errno.EIO, "broken"))
    with pytest.raises(KafkaStorageError, match=r"t-1 may be where nobody can look: .*one is fenced"):
        manager.create("t", 1, topic_id, is_new=False)
    assert manager.create("t", 1, topic_id).path == f"{tmp_path}/two/t-1"


def test_deleting_hides_at_once_and_unlinks_later(storage, topic_id, batch):
    made = storage(file_delete_delay_ms=1000)
    manager = made.open()
    log = manager.create("t", 0, topic_id)
    made.append(log, batch())
    region = log.read(0, 100, 1)
    manager.delete("t", 0)
    manager.delete("t", 0)
    assert manager.get("t", 0) is None
    hidden = [name for name in os.listdir(made.log_dirs[0]) if name.startswith("t-0")]
    assert len(hidden) == 1
    assert hidden[0].endswith("-delete")
    again = manager.create("t", 0, topic_id)
    assert again.log_end_offset == 0
    made.flusher.run()
    made.timers.advance(1000)
    made.flusher.run()
    assert [name for name in os.listdir(made.log_dirs[0]) if name.startswith("t-0")] == ["t-0"]
    assert len(bytes(memoryview(region))) == len(region)
    assert made.append(again, batch())[0].base_offset == 0


def test_a_deletion_needs_no_room(storage, topic_id, batch):
    made = storage(file_delete_delay_ms=1000)
    manager = made.open()
    made.append(manager.create("t", 0, topic_id), batch())
    made.disk.fail("write", "index", errno.ENOSPC)
    manager.delete("t", 0)
    made.timers.advance(1000)
    made.flusher.run()
    assert [name for name in os.listdir(made.log_dirs[0]) if name.startswith("t-0")] == []
    assert manager.failures == []


def test_a_deletion_that_a_stop_interrupted_goes_on_at_the_next_start(storage, topic_id, batch):
    made = storage()
    manager = made.open()
    made.append(manager.create("t", 0, topic_id), batch())
    manager.delete("t", 0)
    made.crash()
    assert len(made.open()) == 0
    made.timers.advance(0)
    made.flusher.run()
    assert [name for name in os.listdir(made.log_dirs[0]) if name.startswith("t-0")] == []


def test_a_log_set_aside_is_kept_whole_and_never_taken_for_a_partition(storage, topic_id, batch):
    made = storage()
    manager = made.open()
    made.append(manager.create("t", 0, topic_id), batch())
    assert manager.claim("t", 0, bytes(reversed(topic_id))) is None
    assert manager.get("t", 0) is None
    [kept] = [path for path in Path(made.log_dirs[0]).iterdir() if path.name.startswith("t-0")]
    assert made.append(manager.create("t", 0, bytes(reversed(topic_id))), batch())[0].base_offset == 0
    made.timers.advance(100_000)
    made.flusher.run()
    made.crash()
    assert len(made.open()) == 1
    assert re.fullmatch(r"t-0\.[0-9a-f]{32}-stray", kept.name)
    assert (kept / "00000000000000000000.log").stat().st_size > 0


def test_directories_that_are_no_partitions_are_left_alone(storage):
    made = storage()
    names = ["__cluster_metadata-0", "lost+found", "t-0.3f3f-future", "t-1-stray"]
    for name in names:
        os.makedirs(f"{made.log_dirs[0]}/{name}")
    assert len(made.open()) == 0
    made.close()
    assert all(os.path.isdir(f"{made.log_dirs[0]}/{name}") for name in names)


def test_checkpoints_come_from_time_to_time(storage, topic_id, batch):
    made = storage(segment_bytes=200)
    manager = made.open()
    manager.start()
    log = manager.create("t", 0, topic_id)
    for _ in range(6):
        made.append(log, batch())
    log.high_watermark = 5
    made.flusher.run()

    def stored(name):
        path = f"{made.log_dirs[0]}/{name}"
        return parse_offsets(Path(path).read_bytes(), path) if os.path.exists(path) else None

    assert stored("replication-offset-checkpoint") is None
    made.timers.advance(5_000)
    made.flusher.run()
    assert stored("replication-offset-checkpoint") == {("t", 0): 5}
    assert stored("recovery-point-offset-checkpoint") is None
    log.increment_log_start_offset(3)
    made.timers.advance(55_000)
    made.flusher.run()
    assert stored("recovery-point-offset-checkpoint") == {("t", 0): 4}
    assert stored("log-start-offset-checkpoint") == {("t", 0): 3}
    made.crash()
    log = made.open().get("t", 0)
    assert (log.high_watermark, log.log_start_offset) == (5, 3)


def test_retention_and_expiry_come_from_time_to_time(storage, topic_id, batch):
    made = storage(segment_bytes=200, retention_ms=1000, manager_options={"producer_id_expiration_ms": 500_000})
    manager = made.open()
    manager.start()
    log = manager.create("t", 0, topic_id)
    for number in range(6):
        made.append(log, batch([b"v"], producer=(7, 0, number)))
    log.high_watermark = 6
    made.timers.advance(299_999)
    assert log.segment_count == 3
    made.timers.advance(1)
    assert (log.log_start_offset, log.size_bytes) == (6, 0)
    assert log.producer_count == 1
    made.timers.advance(300_000)
    assert log.producer_count == 0


def test_a_checkpoint_that_finds_no_room_is_written_once_there_is_some(storage, topic_id, batch):
    made = storage()
    manager = made.open()
    made.append(manager.create("t", 0, topic_id), batch())
    manager.get("t", 0).high_watermark = 1
    made.disk.fail("write", "replication-offset", errno.ENOSPC)
    manager.write_checkpoint("replication-offset-checkpoint")
    made.flusher.run()
    made.disk.failures = []
    made.timers.advance(RETRY_AFTER_MS)
    made.flusher.run()
    assert Path(f"{made.log_dirs[0]}/replication-offset-checkpoint").read_bytes() == b"0\n1\nt 0 1\n"
    assert manager.failures == []


def test_a_close_that_finds_no_room_leaves_no_mark_of_a_clean_stop(storage, topic_id, batch, read):
    made = storage()
    manager = made.open()
    made.append(manager.create("t", 0, topic_id), batch([b"v"]))
    made.disk.fail("write", ".snapshot", errno.ENOSPC)
    made.close()
    made.disk.failures = []
    assert not os.path.exists(f"{made.log_dirs[0]}/.kafka_cleanshutdown")
    assert read(made.open().get("t", 0)) == [(0, b"v")]


def test_the_failure_of_the_last_directory_is_told(storage, tmp_path):
    manager = storage(tmp_path / "one", tmp_path / "two").open()
    told = []
    manager.on_all_failed = told.append
    (one, _), (two, _) = manager.directories()
    one.fail("test", OSError(errno.EIO, "broken"))
    assert told == []
    two.fail("test", OSError(errno.EIO, "broken"))
    two.fail("again", OSError(errno.EIO, "broken"))
    assert told == [two.failure]


def test_when_every_directory_has_failed_loading_fails(storage, topic_id, batch):
    made = storage()
    made.append(made.open().create("t", 0, topic_id), batch())
    made.crash()
    made.disk.fail("read", "/t-0/", errno.EIO)
    with pytest.raises(StorageFailed, match="fenced"):
        made.open()


def test_many_logs_load_in_bounded_parallel(storage, topic_id, batch):
    made = storage()
    manager = made.open()
    for index in range(30):
        made.append(manager.create("t", index, topic_id), batch())
    made.crash()
    manager = made.open()
    assert sorted(log.partition for log in manager) == list(range(30))
    assert all(log.log_end_offset == 1 for log in manager)
    assert len(made.scanned) == 30


def test_the_same_partition_twice_is_told_also_after_a_crash(storage, tmp_path, topic_id, batch):
    made = storage(tmp_path / "one", tmp_path / "two")
    made.append(made.open().create("t", 0, topic_id), batch())
    made.crash()
    shutil.copytree(tmp_path / "one" / "t-0", tmp_path / "two" / "t-0")
    manager = LogManager(made.manager_environment(), StorageConfig(log_dirs=made.log_dirs), lambda topic: made.log_config)
    manager.lock()
    outcome = []
    manager.load(lambda _, error: outcome.append(error))
    made.flusher.run()
    manager.release()
    assert [type(error) for error in outcome] == [UsageError]


def test_a_stop_while_logs_are_loaded_is_no_clean_stop(storage, topic_id, batch):
    made = storage()
    manager = made.open()
    for index in range(12):
        made.append(manager.create("t", index, topic_id), batch())
    made.crash()
    manager = LogManager(made.manager_environment(), StorageConfig(log_dirs=made.log_dirs), lambda topic: made.log_config)
    manager.lock()
    manager.load(lambda _, error: None)
    made.flusher.run_one()
    manager.close()
    assert not os.path.exists(f"{made.log_dirs[0]}/.kafka_cleanshutdown")


def test_a_partition_without_a_name_for_its_directory_fences_nothing(storage):
    manager = storage().open()
    with pytest.raises(InvalidTopic):
        manager.create("t" * 249, 1_000_000)
    assert manager.failures == []


def test_a_deletion_that_a_full_disk_keeps_from_its_new_name_fences_nothing(storage, topic_id, batch):
    """Whoever deletes topics may do so to make room: a longer name can need another block of the directory."""
    made = storage()
    manager = made.open()
    made.append(manager.create("t", 0, topic_id), batch())
    made.disk.fail("rename", "/t-0", errno.ENOSPC)
    with pytest.raises(KafkaStorageError, match="cannot be taken away"):
        manager.delete("t", 0)
    assert manager.failures == [] and manager.get("t", 0) is not None
    made.disk.failures = []
    manager.delete("t", 0)
    assert manager.get("t", 0) is None


def test_a_deletion_that_failed_is_not_taken_for_done_by_the_next_try(storage, topic_id, batch):
    """Otherwise its topic would be forgotten, and the next start would find the directory and adopt it."""
    made = storage()
    manager = made.open()
    made.append(manager.create("t", 0, topic_id), batch())
    made.disk.fail("rename", "/t-0", errno.EIO)
    for _ in range(2):
        with pytest.raises(KafkaStorageError, match="cannot be taken away"):
            manager.delete("t", 0)
    assert os.path.exists(f"{made.log_dirs[0]}/t-0")
    made.disk.failures = []
    manager.delete("t", 0)
    assert not os.path.exists(f"{made.log_dirs[0]}/t-0") and manager.get("t", 0) is None
    manager.delete("t", 0)
