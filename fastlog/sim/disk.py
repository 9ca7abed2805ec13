"""The simulated disk as one process sees it: `SimulatedDisk` implements `env.Disk`, `SimulatedFile` overrides `_core.File`.

Every operation passes `DiskAccess.enter`, which stops the dead, lets the operation's time pass, injects errors, and is where a
crash in the middle of an operation strikes. What an operation changes is on the machine's `Drive`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from zlib import crc32

from fastlog import _core
from fastlog.sim.drive import DirectoryNode, Drive, FileNode
from fastlog.sim.process import ProcessKilled

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from fastlog.sim.entropy import Entropy
    from fastlog.sim.process import Process
    from fastlog.sim.trace import Trace

READ_NS = 3_000
WRITE_NS = 8_000
SYNC_NS = 250_000
NAME_NS = 15_000
SLOW_FACTOR = 200
LOCK_FILE = ".lock"
UNLIMITED_BYTES = 1 << 40
"""What the file system of a drive without a limit says of its size."""


class DiskFaults:
    """Misfortunes of one machine's disk, set and cleared by the fault that brings them. Percentages are per operation."""

    def __init__(self) -> None:
        self.write_error_percent = 0.0
        self.read_error_percent = 0.0
        self.sync_error_percent = 0.0
        self.short_write_percent = 0.0
        self.slow_percent = 0.0
        self.strike_after_operations = -1
        """The crash strikes in the middle of the operation that counts this down to zero; -1 is never."""
        self.strike: Callable[[], None] = lambda: None
        self.errors_injected = 0

    def heal(self) -> None:
        """Injected errors, short writes and slowness end; an armed crash stays armed."""
        self.write_error_percent = self.read_error_percent = self.sync_error_percent = 0.0
        self.short_write_percent = self.slow_percent = 0.0


class DiskAccess:
    """What the disk and its files of one process share."""

    def __init__(self, drive: Drive, process: Process, faults: DiskFaults, entropy: Entropy, trace: Trace) -> None:
        self.drive = drive
        self.process = process
        self.faults = faults
        self.entropy = entropy
        self.trace = trace
        self.open_files = 0

    def enter(self, what: str, cost_ns: int, error_percent: float = 0.0, path: str = "") -> bool:
        """Begin an operation that `what` describes; True when the crash strikes in its middle.

        ProcessKilled for a dead process, OSError(EIO) where one is injected. Who gets True does a part of the operation and
        calls `strike`.
        """
        self.process.check_alive()
        faults = self.faults
        if faults.slow_percent and self.entropy.chance(faults.slow_percent):
            cost_ns *= SLOW_FACTOR
        self.process.spend(cost_ns)
        self.trace.record(self.process.name, what)
        if error_percent and self.entropy.chance(error_percent):
            faults.errors_injected += 1
            self.trace.record(self.process.name, "  fails: EIO")
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        if faults.strike_after_operations > 0:
            faults.strike_after_operations -= 1
            if faults.strike_after_operations == 0:
                faults.strike_after_operations = -1
                return True
        return False

    def strike(self) -> None:
        """Let the armed crash happen now; never returns."""
        self.faults.strike()
        raise ProcessKilled(self.process.name)


class SimulatedFile(_core.File):
    """An open file of a simulated process. Use after close, and writing what was opened for reading, raise EBADF."""

    _node: FileNode
    _access: DiskAccess
    _read_only: bool
    _closed: bool
    _holders: int

    @classmethod
    def over(cls, path: str, node: FileNode, access: DiskAccess, *, read_only: bool) -> SimulatedFile:
        """Return an open file over a drive's file."""
        file = cls(path, -1)
        file._node, file._access, file._read_only = node, access, read_only
        file._closed, file._holders = False, 0
        access.open_files += 1
        return file

    def _check_open(self, *, to_write: bool = False) -> None:
        if (self._closed and self._holders == 0) or (to_write and self._read_only):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), self.path)

    def pwritev(self, buffers: Sequence[Buffer], position: int, /) -> int:
        self._check_open(to_write=True)
        data = b"".join([bytes(memoryview(buffer)) for buffer in buffers])
        access = self._access
        faults = access.faults
        what = f"write {self.path} {position}+{len(data)} {crc32(data):08x}"
        if access.enter(what, WRITE_NS, faults.write_error_percent, self.path):
            self._node.write(position, data[: access.entropy.between(0, len(data))])
            access.strike()
        free = access.drive.free_bytes()
        if free is not None:
            room = free + max(0, max(len(self._node.cache), self._node.reserved_bytes) - position)
            if room < len(data):
                access.trace.record(access.process.name, f"  disk full, {room} written")
                if room == 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)
                data = data[:room]
        if len(data) > 1 and faults.short_write_percent and access.entropy.chance(faults.short_write_percent):
            data = data[: access.entropy.between(1, len(data) - 1)]
            faults.errors_injected += 1
            access.trace.record(access.process.name, f"  short: {len(data)} written")
        self._node.write(position, data)
        return len(data)

    def pread(self, size: int, position: int, /) -> bytes:
        self._enter_read(size, position)
        return bytes(self._node.cache[position : position + size])

    def preadv(self, buffers: Sequence[Buffer], position: int, /) -> int:
        self._enter_read(sum(memoryview(buffer).nbytes for buffer in buffers), position)
        start = position
        for buffer in buffers:
            with memoryview(buffer).cast("B") as view:
                piece = self._node.cache[position : position + len(view)]
                view[: len(piece)] = piece
                is_short = len(piece) < len(view)
            position += len(piece)
            if is_short:
                break
        return position - start

    def _enter_read(self, size: int, position: int) -> None:
        self._check_open()
        access = self._access
        if access.enter(f"read {self.path} {position}+{size}", READ_NS, access.faults.read_error_percent, self.path):
            access.strike()
        self._node.is_resident = True

    def fdatasync(self) -> None:
        self._check_open()
        access = self._access
        try:
            struck = access.enter(f"sync {self.path}", SYNC_NS, access.faults.sync_error_percent, self.path)
        except OSError:
            self._node.fail_sync()
            raise
        if struck:
            if access.entropy.chance(50):
                self._node.sync()
            access.strike()
        self._node.sync()

    def ftruncate(self, size: int, /) -> None:
        self._check_open(to_write=True)
        access = self._access
        if access.enter(f"truncate {self.path} {size}", WRITE_NS, access.faults.write_error_percent, self.path):
            if access.entropy.chance(50):
                self._node.truncate(size)
            access.strike()
        self._node.truncate(size)

    def fallocate(self, position: int, size: int, /) -> None:
        self._check_open(to_write=True)
        access = self._access
        if access.enter(f"reserve {self.path} {position}+{size}", WRITE_NS, path=self.path):
            access.strike()
        free = access.drive.free_bytes()
        wanted = position + size - max(len(self._node.cache), self._node.reserved_bytes)
        if free is not None and wanted > free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)
        self._node.reserved_bytes = max(self._node.reserved_bytes, position + size)

    def release_beyond(self, size: int, /) -> None:
        self._check_open(to_write=True)
        if self._access.enter(f"release {self.path} {size}", WRITE_NS, path=self.path):
            self._access.strike()
        self._node.reserved_bytes = min(self._node.reserved_bytes, size)

    def size_bytes(self) -> int:
        self._check_open()
        self._access.process.check_alive()
        return len(self._node.cache)

    def is_resident(self, position: int, size: int, /) -> bool:
        self._check_open()
        return self._node.is_resident

    def drop_cache(self) -> None:
        self._check_open()
        if self._access.enter(f"drop cache {self.path}", READ_NS, path=self.path):
            self._access.strike()
        self._node.evict()

    def descriptor(self) -> int:
        return -1

    def acquire(self) -> None:
        self._check_open()
        self._holders += 1

    def release(self) -> None:
        self._holders -= 1

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._access.open_files -= 1


class SimulatedLock:
    """A process's lock on a directory."""

    def __init__(self, holders: dict[int, Process], key: int) -> None:
        self._holders = holders
        self._key: int | None = key

    def release(self) -> None:
        if self._key is not None:
            self._holders.pop(self._key, None)
            self._key = None


class SimulatedDisk:
    """Implements `env.Disk` for one process on its machine's drive. `locks` belongs to the machine."""

    def __init__(self, access: DiskAccess, locks: dict[int, Process]) -> None:
        self._access = access
        self._drive = access.drive
        self._locks = locks

    def _change(self, what: str, changes: list[tuple[DirectoryNode, str, Any]]) -> None:
        access = self._access
        if access.enter(what, NAME_NS, access.faults.write_error_percent):
            if access.entropy.chance(50):
                self._drive.change_names(changes)
            access.strike()
        self._drive.change_names(changes)

    def open(self, path: str, *, create: bool = False, exclusive: bool = False, read_only: bool = False) -> _core.File:
        self._access.process.check_alive()
        parent, name = self._drive.parent_of(path)
        node = parent.entries.get(name)
        if isinstance(node, DirectoryNode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if node is None:
            if not create:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            if self._drive.free_bytes() == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            node = FileNode()
            self._change(f"create {path}", [(parent, name, node)])
        elif create and exclusive:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        return SimulatedFile.over(path, node, self._access, read_only=read_only)

    def exists(self, path: str) -> bool:
        self._access.process.check_alive()
        try:
            self._drive.find(path)
        except OSError:
            return False
        return True

    def size_bytes(self, path: str) -> int:
        self._access.process.check_alive()
        return len(self._drive.find_file(path).cache)

    def space_bytes(self, path: str) -> tuple[int, int]:
        self._access.process.check_alive()
        self._drive.find(path)
        size_bytes = UNLIMITED_BYTES if self._drive.capacity_bytes is None else self._drive.capacity_bytes
        return size_bytes, max(0, size_bytes - self._drive.used_bytes())

    def list_directory(self, path: str) -> list[str]:
        self._access.process.check_alive()
        return sorted(self._drive.find_directory(path).entries)

    def make_directories(self, path: str) -> None:
        self._access.process.check_alive()
        made = ""
        for part in (part for part in path.split("/") if part):
            made = f"{made}/{part}"
            parent, name = self._drive.parent_of(made)
            node = parent.entries.get(name)
            if node is None:
                if self._access.enter(f"mkdir {made}", NAME_NS, self._access.faults.write_error_percent, made):
                    self._access.strike()
                self._drive.make_directory(parent, name)
            elif isinstance(node, FileNode):
                raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), made)

    def rename(self, source: str, target: str) -> None:
        self._access.process.check_alive()
        from_directory, from_name = self._drive.parent_of(source)
        to_directory, to_name = self._drive.parent_of(target)
        node = self._drive.find(source)
        replaced = to_directory.entries.get(to_name)
        if node is replaced:
            return
        if isinstance(replaced, DirectoryNode) and (isinstance(node, FileNode) or replaced.entries):
            number = errno.EISDIR if isinstance(node, FileNode) else errno.ENOTEMPTY
            raise OSError(number, os.strerror(number), target)
        if isinstance(replaced, FileNode) and isinstance(node, DirectoryNode):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), target)
        self._change(f"rename {source} {target}", [(from_directory, from_name, None), (to_directory, to_name, node)])

    def unlink(self, path: str) -> None:
        self._access.process.check_alive()
        self._drive.find_file(path)
        parent, name = self._drive.parent_of(path)
        self._change(f"unlink {path}", [(parent, name, None)])

    def remove_directory(self, path: str) -> None:
        self._access.process.check_alive()
        if self._drive.find_directory(path).entries:
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        parent, name = self._drive.parent_of(path)
        self._change(f"rmdir {path}", [(parent, name, None)])

    def sync_directory(self, path: str) -> None:
        self._access.process.check_alive()
        directory = self._drive.find_directory(path)
        if self._access.enter(f"syncdir {path}", SYNC_NS, self._access.faults.sync_error_percent, path):
            if self._access.entropy.chance(50):
                directory.sync()
            self._access.strike()
        directory.sync()

    def lock_directory(self, path: str) -> SimulatedLock:
        self._access.process.check_alive()
        directory = self._drive.find_directory(path)
        holder = self._locks.get(id(directory))
        if holder is not None and holder.alive:
            raise BlockingIOError(errno.EAGAIN, f"{path} is locked by another process")
        if LOCK_FILE not in directory.entries:
            self._change(f"create {path}/{LOCK_FILE}", [(directory, LOCK_FILE, FileNode())])
        self._locks[id(directory)] = self._access.process
        return SimulatedLock(self._locks, id(directory))

    def boot_id(self) -> str:
        return f"{self._drive.name}-boot-{self._drive.boots}"
