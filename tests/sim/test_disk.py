"""The simulated disk as a process meets it: contents, errors, and crashes in the middle of an operation."""

import errno

import pytest

from fastlog.sim.disk import DiskAccess, DiskFaults, SimulatedDisk
from fastlog.sim.drive import Drive
from fastlog.sim.process import ProcessKilled


class DiskWorld:
    """One machine's drive and the disk of its present process."""

    def __init__(self, world):
        self.world = world
        self.drive = Drive("machine")
        self.locks = {}
        self.faults = DiskFaults()
        self.restart()

    def restart(self):
        self.process = self.world.process("broker")
        self.faults.strike = self.process.kill
        access = DiskAccess(self.drive, self.process, self.faults, self.world.entropy.fork("disk"), self.world.trace)
        self.access = access
        self.disk = SimulatedDisk(access, self.locks)
        return self.disk


@pytest.fixture
def disk_world(small_world):
    return DiskWorld(small_world())


def test_what_is_written_is_read(disk_world):
    file = disk_world.disk.open("/f", create=True)
    assert file.pwritev([b"abc", bytearray(b"def")], 2) == 6
    assert file.size_bytes() == 8
    assert file.pread(100, 0) == b"\0\0abcdef"
    first, second = bytearray(4), bytearray(10)
    assert file.preadv([first, second], 1) == 7
    assert (bytes(first), bytes(second)) == (b"\0abc", b"def" + bytes(7))
    file.ftruncate(3)
    assert file.pread(10, 2) == b"a"
    assert file.descriptor() == -1


def test_names(disk_world):
    disk = disk_world.disk
    disk.make_directories("/a/b")
    disk.open("/a/b/f", create=True).close()
    with pytest.raises(FileExistsError):
        disk.open("/a/b/f", create=True, exclusive=True)
    with pytest.raises(FileNotFoundError):
        disk.open("/a/b/g")
    disk.rename("/a/b/f", "/a/b/g")
    assert disk.list_directory("/a/b") == ["g"]
    assert disk.exists("/a/b/g")
    assert not disk.exists("/a/b/f")
    with pytest.raises(OSError, match="not empty"):
        disk.remove_directory("/a/b")
    disk.unlink("/a/b/g")
    disk.remove_directory("/a/b")
    assert disk.list_directory("/a") == []


def test_a_file_that_was_closed_or_opened_to_read_is_not_written(disk_world):
    disk = disk_world.disk
    file = disk.open("/f", create=True)
    file.acquire()
    file.close()
    file.pwritev([b"held"], 0)
    file.release()
    reader = disk.open("/f", read_only=True)
    assert reader.pread(10, 0) == b"held"
    for refused in (file, reader):
        with pytest.raises(OSError) as raised:
            refused.pwritev([b"x"], 0)
        assert raised.value.errno == errno.EBADF


def test_a_full_disk_writes_what_fits(disk_world):
    file = disk_world.disk.open("/f", create=True)
    disk_world.drive.capacity_bytes = 10
    assert file.pwritev([bytes(16)], 0) == 10
    with pytest.raises(OSError) as raised:
        file.pwritev([b"x"], 10)
    assert raised.value.errno == errno.ENOSPC
    assert file.pwritev([b"over"], 2) == 4
    disk_world.drive.capacity_bytes = 11
    assert file.pwritev([b"x"], 10) == 1


def test_reserved_room_is_there_when_the_disk_is_full(disk_world):
    file = disk_world.disk.open("/f", create=True)
    file.fallocate(0, 100)
    assert file.size_bytes() == 0
    disk_world.drive.capacity_bytes = 100
    assert file.pwritev([bytes(100)], 0) == 100
    file.release_beyond(100)
    with pytest.raises(OSError, match="No space"):
        file.fallocate(100, 1)


def test_injected_errors(disk_world):
    file = disk_world.disk.open("/f", create=True)
    disk_world.faults.write_error_percent = disk_world.faults.read_error_percent = 100
    for operation in (lambda: file.pwritev([b"x"], 0), lambda: file.pread(1, 0), lambda: file.ftruncate(0)):
        with pytest.raises(OSError) as raised:
            operation()
        assert raised.value.errno == errno.EIO
    disk_world.faults.heal()
    assert file.pwritev([b"x"], 0) == 1


def test_a_failed_sync_dooms_what_it_should_have_kept(disk_world):
    disk = disk_world.disk
    file = disk.open("/f", create=True)
    disk.sync_directory("/")
    file.pwritev([b"doomed"], 0)
    disk_world.faults.sync_error_percent = 100
    with pytest.raises(OSError):
        file.fdatasync()
    disk_world.faults.heal()
    file.fdatasync()
    disk_world.process.kill()
    disk_world.drive.lose_power(disk_world.world.entropy)
    again = disk_world.restart().open("/f")
    assert again.pread(10, 0) in (b"", bytes(6))


def test_a_crash_in_the_middle_of_a_write(disk_world):
    lengths = []
    for _ in range(30):
        file = disk_world.restart().open("/f", create=True)
        file.ftruncate(0)
        disk_world.faults.strike_after_operations = 1
        with pytest.raises(ProcessKilled):
            file.pwritev([b"x" * 50], 0)
        with pytest.raises(ProcessKilled):
            file.ftruncate(0)
        file = disk_world.restart().open("/f")
        lengths.append(file.size_bytes())
    assert any(0 < length < 50 for length in lengths)
    assert len(dict.fromkeys(lengths)) > 3


def test_the_dead_change_nothing(disk_world):
    disk = disk_world.disk
    disk_world.process.kill()
    for operation in (
        lambda: disk.open("/f", create=True),
        lambda: disk.exists("/f"),
        lambda: disk.make_directories("/d"),
        lambda: disk.list_directory("/"),
    ):
        with pytest.raises(ProcessKilled):
            operation()
    assert disk_world.restart().list_directory("/") == []


def test_a_lock_is_given_up_by_the_process_that_holds_it(disk_world):
    disk = disk_world.disk
    disk.make_directories("/d")
    lock = disk.lock_directory("/d")
    with pytest.raises(BlockingIOError):
        disk.lock_directory("/d")
    lock.release()
    lock.release()
    disk.lock_directory("/d")
    disk_world.process.kill()
    disk_world.restart().lock_directory("/d")


def test_the_boot_id_changes_with_the_machine_only(disk_world):
    before = disk_world.disk.boot_id()
    disk_world.process.kill()
    assert disk_world.restart().boot_id() == before
    disk_world.process.kill()
    disk_world.drive.lose_power(disk_world.world.entropy)
    assert disk_world.restart().boot_id() != before


def test_slowness_takes_virtual_time(disk_world):
    file = disk_world.disk.open("/f", create=True)
    before = disk_world.process.ahead_ns
    file.pwritev([b"x"], 0)
    quick = disk_world.process.ahead_ns - before
    disk_world.faults.slow_percent = 100
    before = disk_world.process.ahead_ns
    file.pwritev([b"x"], 0)
    assert disk_world.process.ahead_ns - before > 10 * quick


def test_a_dropped_cache_shows_what_a_failed_sync_has_lost_and_nothing_else_is_gone(disk_world):
    file = disk_world.disk.open("/f", create=True)
    file.pwritev([b"a" * 512], 0)
    file.fdatasync()
    file.pwritev([b"b" * 512], 512)
    disk_world.faults.sync_error_percent = 100
    with pytest.raises(OSError, match="Input/output"):
        file.fdatasync()
    disk_world.faults.heal()
    file.pwritev([b"c" * 512], 1024)
    assert file.pread(2000, 0) == b"a" * 512 + b"b" * 512 + b"c" * 512
    assert disk_world.drive.is_doomed()
    file.drop_cache()
    assert file.pread(2000, 0) == b"a" * 512 + bytes(512) + b"c" * 512
    assert not disk_world.drive.is_doomed()
