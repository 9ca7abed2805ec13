"""The real disk against the promises of `fastlog.env.Disk`."""

import fcntl
import os
import struct
import subprocess
import sys

import pytest

from fastlog.env.disk import SystemDisk

TRY_JAVA_LOCK = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(3)
"""


@pytest.fixture
def disk():
    return SystemDisk()


def test_open_creates_only_when_asked(disk, tmp_path):
    path = f"{tmp_path}/a"
    with pytest.raises(FileNotFoundError):
        disk.open(path)
    file = disk.open(path, create=True, exclusive=True)
    assert file.pwritev([b"ab", b"c"], 0) == 3
    file.close()
    with pytest.raises(FileExistsError):
        disk.open(path, create=True, exclusive=True)
    with pytest.raises(ValueError, match="exclusive"):
        disk.open(path, exclusive=True)
    assert disk.size_bytes(path) == 3
    reader = disk.open(path, read_only=True)
    assert reader.pread(9, 0) == b"abc"
    with pytest.raises(OSError, match="Bad file descriptor"):
        reader.pwritev([b"x"], 0)
    reader.close()


def test_names_come_and_go(disk, tmp_path):
    disk.make_directories(f"{tmp_path}/x/y")
    disk.make_directories(f"{tmp_path}/x/y")
    for name in ("b", "a"):
        disk.open(f"{tmp_path}/x/y/{name}", create=True).close()
    assert disk.list_directory(f"{tmp_path}/x/y") == ["a", "b"]
    disk.rename(f"{tmp_path}/x/y/a", f"{tmp_path}/x/y/b")
    disk.sync_directory(f"{tmp_path}/x/y")
    assert disk.list_directory(f"{tmp_path}/x/y") == ["b"]
    with pytest.raises(OSError, match="not empty"):
        disk.remove_directory(f"{tmp_path}/x/y")
    disk.unlink(f"{tmp_path}/x/y/b")
    disk.remove_directory(f"{tmp_path}/x/y")
    assert not disk.exists(f"{tmp_path}/x/y")
    assert disk.exists(f"{tmp_path}/x")
    with pytest.raises(FileNotFoundError):
        disk.size_bytes(f"{tmp_path}/x/y")


def test_a_directory_has_one_holder(disk, tmp_path):
    lock = disk.lock_directory(str(tmp_path))
    with pytest.raises(BlockingIOError):
        disk.lock_directory(str(tmp_path))
    lock.release()
    lock.release()
    disk.lock_directory(str(tmp_path)).release()


def test_the_lock_keeps_other_processes_out_by_the_lock_that_java_takes(disk, tmp_path):
    lock = disk.lock_directory(str(tmp_path))
    command = [sys.executable, "-c", TRY_JAVA_LOCK, f"{tmp_path}/.lock"]
    assert subprocess.run(command, check=False).returncode == 3
    lock.release()
    assert subprocess.run(command, check=False).returncode == 0


@pytest.mark.parametrize("take", ["flock", "record"])
def test_either_kind_of_lock_that_somebody_holds_is_respected(disk, tmp_path, take):
    descriptor = os.open(f"{tmp_path}/.lock", os.O_RDWR | os.O_CREAT)
    try:
        if take == "flock":
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        else:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
        with pytest.raises(BlockingIOError):
            disk.lock_directory(str(tmp_path))
    finally:
        os.close(descriptor)


def test_a_boot_has_one_name(disk):
    assert len(disk.boot_id()) == 36
    assert disk.boot_id() == SystemDisk().boot_id()
