"""The real disk: names of files and directories, as `fastlog.env.Disk` says. Contents go through `_core.File`.

Nothing here is durable by itself: a new, renamed or removed name is after `sync_directory` of its directory.
A directory's lock is an advisory one on its `.lock` file, taken in both ways there are: by flock, and as an open-file-description
lock, which is the kind that Java's FileChannel.lock meets, so that a Kafka on the same directory is kept out too. Both belong to
the open file and end with the process, however it ends. Sources: flock(2), fcntl(2) "Open file description locks", random(4).
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from fastlog._core import File

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


LOCK_NAME: Final = ".lock"
BOOT_ID_PATH: Final = "/proc/sys/kernel/random/boot_id"
FILE_MODE: Final = 0o644


class SystemDirectoryLock:
    """A lock that this process holds on a directory."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock up; releasing twice is allowed. The file stays: removing it would let two holders meet."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class SystemDisk:
    """The file systems of this machine."""

    def open(self, path: str, *, create: bool = False, exclusive: bool = False, read_only: bool = False) -> File:
        """Open a file; see `fastlog.env.Disk.open`."""
        if exclusive and not create:
            raise ValueError("exclusive goes with create")
        flags = (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC
        flags |= (os.O_CREAT if create else 0) | (os.O_EXCL if exclusive else 0)
        return File(path, os.open(path, flags, FILE_MODE))

    def exists(self, path: str) -> bool:
        """Tell whether a name exists; errors other than its absence are raised, so that EIO never looks like an empty disk."""
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def size_bytes(self, path: str) -> int:
        """Return a file's size."""
        return os.stat(path).st_size

    def space_bytes(self, path: str) -> tuple[int, int]:
        """Return (size, free space for this process) of the file system that a path lies on."""
        found = os.statvfs(path)
        return found.f_frsize * found.f_blocks, found.f_frsize * found.f_bavail

    def list_directory(self, path: str) -> list[str]:
        """Return the names in a directory, sorted."""
        return sorted(os.listdir(path))

    def make_directories(self, path: str) -> None:
        """Make a directory and its missing parents."""
        os.makedirs(path, exist_ok=True)

    def rename(self, source: str, target: str) -> None:
        """Rename atomically, replacing `target`."""
        os.replace(source, target)

    def unlink(self, path: str) -> None:
        """Remove a file."""
        os.unlink(path)

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""
        os.rmdir(path)

    def sync_directory(self, path: str) -> None:
        """Make the names in a directory durable."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lock_directory(self, path: str) -> SystemDirectoryLock:
        """Lock a directory; BlockingIOError when somebody else holds it, also in this process."""
        name = f"{path}/{LOCK_NAME}"
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _lock_open_file(descriptor)
        except OSError as error:
            try:  # noqa: SIM105 - a start has no other use for contextlib
                os.close(descriptor)
            except OSError:
                pass
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise BlockingIOError(errno.EAGAIN, "another process holds the lock", name) from error
            raise OSError(error.errno, error.strerror, name) from error
        return SystemDirectoryLock(descriptor)

    def boot_id(self) -> str:
        """Return the kernel's name for this boot."""
        with open(BOOT_ID_PATH, encoding="ascii") as file:
            return file.read().strip()


def _lock_open_file(descriptor: int) -> None:
    """Take the exclusive record lock of a whole file for this open file description, without waiting."""
    # struct flock as the platform lays it out: type, whence, start, length (0: to the end), pid (must be 0).
    request = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, request)
