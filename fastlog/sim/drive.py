"""What a simulated machine's drive holds: now, as every process of the machine sees it, and for certain, after a loss of power.

The rules of a loss, worst case within what file systems promise:

* Each 512-byte sector written since the file's last sync survives by itself: old, new, or torn. Within a torn sector only bytes
  that the write changed are at risk, so synced bytes that share a sector with unsynced ones stay.
* A file's size persists apart from its data: any size that the file had since its last sync, or one between, may come back.
* A name (create, rename, unlink, make directory) is durable once its directory was synced. Of a directory's unsynced changes a
  prefix survives, each of them whole: journaling file systems keep their order.
* A bit may flip on the medium in what was written long ago (`FileNode.flip`).
* A failed sync leaves the sectors readable, marks them clean and never writes them ("fsyncgate"): a later sync that succeeds does
  not bring them back, and memory pressure or a loss of power shows the old bytes again.

Sources: Pillai et al., "All File Systems Are Not Created Equal" (OSDI 2014); Rebello et al., "Can Applications Recover from fsync
Failures?" (ATC 2020); open(2), fsync(2), rename(2).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from fastlog.sim.entropy import Entropy

SECTOR_BYTES = 512


class FileNode:
    """A file's content: `cache` is what reads see, `durable` what was synced; `dirty` and `doomed` list sectors that differ."""

    __slots__ = (
        "cache", "damaged", "dirty", "doomed", "durable", "greatest_size", "is_resident", "least_size", "reserved_bytes",
    )  # fmt: skip

    def __init__(self) -> None:
        self.cache = bytearray()
        self.durable = bytearray()
        self.dirty: dict[int, None] = {}
        self.doomed: dict[int, None] = {}
        self.least_size = self.greatest_size = 0
        self.reserved_bytes = 0
        self.is_resident = True
        """Whether a read has no need to wait for the drive: not until the first one after a loss of power or an eviction."""
        self.damaged: dict[int, int] = {}
        """Where batches begin that a bit was flipped in, and their sizes: for the checker's eyes alone."""

    def flip(self, position: int, bit: int) -> None:
        """Flip one bit on the medium, and in memory, which has long been read from there."""
        for content in (self.cache, self.durable):
            if position < len(content):
                content[position] ^= 1 << bit

    def write(self, position: int, data: bytes) -> None:
        """Put bytes into the cache; a gap before them reads as zeros."""
        if not data:
            return
        cache, end = self.cache, position + len(data)
        first = min(position, len(cache))
        if position > len(cache):
            cache.extend(bytes(position - len(cache)))
        cache[position:end] = data
        for sector in range(first // SECTOR_BYTES, (end - 1) // SECTOR_BYTES + 1):
            self.dirty[sector] = None
            self.doomed.pop(sector, None)
        self.greatest_size = max(self.greatest_size, len(cache))

    def truncate(self, size: int) -> None:
        """Cut or extend (with zeros) the cache."""
        old_size = len(self.cache)
        if size > old_size:
            self.write(old_size, bytes(size - old_size))
            return
        del self.cache[size:]
        for sector in range(size // SECTOR_BYTES, (old_size + SECTOR_BYTES - 1) // SECTOR_BYTES):
            self.dirty[sector] = None
            self.doomed.pop(sector, None)
        self.least_size = min(self.least_size, size)

    def sync(self) -> None:
        """Make the cache durable, but for what an earlier failed sync doomed."""
        if self.doomed:
            content = bytearray(self.cache)
            for sector in self.doomed:
                self._restore(content, sector)
            self.durable = content
        elif self.dirty or len(self.durable) != len(self.cache):
            self.durable = bytearray(self.cache)
        self.dirty.clear()
        self.least_size = self.greatest_size = len(self.cache)

    def fail_sync(self) -> None:
        """Mark what was dirty as clean without having written it."""
        self.doomed.update(self.dirty)
        self.dirty.clear()

    def evict(self) -> None:
        """Let memory pressure drop the clean pages: what a failed sync doomed reads as it is on the drive."""
        for sector in self.doomed:
            self._restore(self.cache, sector)
        self.doomed.clear()
        self.is_resident = False

    def _restore(self, content: bytearray, sector: int) -> None:
        """Put the durable bytes of a sector into `content`, whose size stays."""
        start = sector * SECTOR_BYTES
        end = min(start + SECTOR_BYTES, len(content))
        if start < end:
            old = bytes(self.durable[start:end])
            content[start:end] = old + bytes(end - start - len(old))

    def certain_bytes(self) -> int:
        """Return how many leading bytes of the cache survive any loss of power."""
        certain = min(self.least_size, len(self.cache))
        for sectors in (self.dirty, self.doomed):
            for sector in sectors:
                start = sector * SECTOR_BYTES
                if start < certain:
                    certain = start + _first_difference(
                        self.cache[start : start + SECTOR_BYTES], self.durable[start : start + SECTOR_BYTES], certain - start
                    )
        return certain

    def lose_power(self, entropy: Entropy) -> None:
        """Become what a loss of power leaves."""
        low, high = min(self.least_size, len(self.durable)), max(self.greatest_size, len(self.durable), len(self.cache))
        size = entropy.choose((len(self.durable), len(self.cache), len(self.cache), entropy.between(low, high)))
        sector_count = (size + SECTOR_BYTES - 1) // SECTOR_BYTES
        padded = sector_count * SECTOR_BYTES
        old = bytes(self.durable[:padded]).ljust(padded, b"\0")
        new = bytearray(bytes(self.cache[:padded]).ljust(padded, b"\0"))
        unsynced = [sector for sector in sorted(self.dirty) if sector < sector_count]
        keep = _survivors(entropy, len(unsynced))
        for sector, kept in zip(unsynced, keep, strict=True):
            start, end = sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES
            if kept == _TORN:
                new[start:end] = _tear(entropy, old[start:end], bytes(new[start:end]))
            elif kept == _OLD:
                new[start:end] = old[start:end]
        for sector in self.doomed:
            if sector < sector_count:
                start, end = sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES
                new[start:end] = old[start:end]
        self.cache = new[:size]
        self.durable = bytearray(self.cache)
        self.dirty.clear()
        self.doomed.clear()
        self.least_size = self.greatest_size = size
        self.reserved_bytes = 0
        self.is_resident = False


_OLD, _NEW, _TORN = 0, 1, 2


def _survivors(entropy: Entropy, count: int) -> list[int]:
    """Draw what becomes of `count` unsynced sectors: none, all, a prefix, all but one, or each by itself survives."""
    manner = entropy.below(5)
    if manner == 0:
        return [_OLD] * count
    if manner == 1 or count == 0:
        return [_NEW] * count
    if manner == 2:
        kept = entropy.below(count)
        return [_NEW] * kept + [_TORN] + [_OLD] * (count - kept - 1)
    if manner == 3:
        fates = [_NEW] * count
        fates[entropy.below(count)] = entropy.choose((_OLD, _TORN))
        return fates
    return [entropy.choose((_OLD, _NEW, _NEW, _TORN)) for _ in range(count)]


def _first_difference(left: bytes | bytearray, right: bytes | bytearray, limit: int) -> int:
    """Return the first index below `limit` at which two sectors differ; one that is shorter differs where it ends."""
    for index in range(min(len(left), len(right), limit)):
        if left[index] != right[index]:
            return index
    return min(len(left), len(right), limit)


def _tear(entropy: Entropy, old: bytes, new: bytes) -> bytes:
    """Return a sector whose write was interrupted: new, then old bytes, or garbage where the write changed something."""
    start = _first_difference(old, new, SECTOR_BYTES)
    if start == SECTOR_BYTES:
        return new
    at = entropy.between(start, SECTOR_BYTES - 1)
    if entropy.chance(50):
        return new[:at] + old[at:]
    end = entropy.between(at + 1, SECTOR_BYTES)
    return new[:at] + entropy.random_bytes(end - at) + new[end:]


class NameChange:
    """One change of names, whole or not at all: (directory, name, what it names from now on) for each name it touches."""

    __slots__ = ("changes", "durable")

    def __init__(self, changes: list[tuple[DirectoryNode, str, Node | None]]) -> None:
        self.changes = changes
        self.durable = False

    def persist(self) -> None:
        """Make the change durable; a second time does nothing."""
        if not self.durable:
            self.durable = True
            for directory, name, node in self.changes:
                if node is None:
                    directory.durable.pop(name, None)
                else:
                    directory.durable[name] = node


class DirectoryNode:
    """A directory's names: `entries` as processes see them, `durable` as synced, `unsynced` the changes between, in order."""

    __slots__ = ("durable", "entries", "unsynced")

    def __init__(self) -> None:
        self.entries: dict[str, Node] = {}
        self.durable: dict[str, Node] = {}
        self.unsynced: list[NameChange] = []

    def sync(self) -> None:
        for change in self.unsynced:
            change.persist()
        self.unsynced.clear()

    def lose_power(self, entropy: Entropy) -> None:
        """Keep what was synced and a prefix of what was not."""
        kept = entropy.choose((0, len(self.unsynced), entropy.between(0, len(self.unsynced))))
        for change in self.unsynced[:kept]:
            change.persist()
        self.unsynced.clear()


Node = FileNode | DirectoryNode


class Drive:
    """A machine's file system. Outlives its processes; `lose_power` is what an abrupt end of the machine does to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.root = DirectoryNode()
        self.capacity_bytes: int | None = None
        self.boots = 1
        self._directories: list[DirectoryNode] = [self.root]

    def free_bytes(self) -> int | None:
        """Return what may still be written, None when there is no limit."""
        if self.capacity_bytes is None:
            return None
        return max(0, self.capacity_bytes - self.used_bytes())

    def used_bytes(self) -> int:
        """Return what files take, with what is reserved for them."""
        return sum(max(len(node.cache), node.reserved_bytes) for _, node in self.files())

    def files(self, directory: DirectoryNode | None = None, prefix: str = "") -> Iterator[tuple[str, FileNode]]:
        """Yield (path, node) of every file, by name."""
        for name, node in sorted((directory or self.root).entries.items(), key=_name_of):
            if isinstance(node, FileNode):
                yield f"{prefix}/{name}", node
            else:
                yield from self.files(node, f"{prefix}/{name}")

    def find(self, path: str) -> Node:
        """Return what a path names; FileNotFoundError or NotADirectoryError as the system has it."""
        node: Node = self.root
        for part in _parts(path):
            if not isinstance(node, DirectoryNode):
                raise _error(errno.ENOTDIR, path)
            found = node.entries.get(part)
            if found is None:
                raise _error(errno.ENOENT, path)
            node = found
        return node

    def find_file(self, path: str) -> FileNode:
        node = self.find(path)
        if isinstance(node, DirectoryNode):
            raise _error(errno.EISDIR, path)
        return node

    def find_directory(self, path: str) -> DirectoryNode:
        node = self.find(path)
        if isinstance(node, FileNode):
            raise _error(errno.ENOTDIR, path)
        return node

    def parent_of(self, path: str) -> tuple[DirectoryNode, str]:
        """Return the directory that a path's last name is in, and that name."""
        parts = _parts(path)
        if not parts:
            raise _error(errno.EBUSY, path)
        return self.find_directory("/".join(parts[:-1])), parts[-1]

    def is_durable(self, path: str) -> bool:
        """Tell whether a path would name the same thing after any loss of power."""
        directory = self.root
        parts = _parts(path)
        for index, part in enumerate(parts):
            node = directory.entries.get(part)
            if node is None or directory.durable.get(part) is not node:
                return False
            if index == len(parts) - 1:
                return not any(name == part for change in directory.unsynced for _, name, _ in change.changes)
            if not isinstance(node, DirectoryNode):
                return False
            directory = node
        return True

    def change_names(self, changes: list[tuple[DirectoryNode, str, Node | None]]) -> None:
        """Change names at once; not yet durable."""
        change = NameChange(changes)
        noted: list[DirectoryNode] = []
        for directory, name, node in changes:
            if node is None:
                del directory.entries[name]
            else:
                directory.entries[name] = node
            if not any(directory is other for other in noted):
                noted.append(directory)
                directory.unsynced.append(change)

    def make_directory(self, parent: DirectoryNode, name: str) -> DirectoryNode:
        """Make a directory in another."""
        made = DirectoryNode()
        self._directories.append(made)
        self.change_names([(parent, name, made)])
        return made

    def is_doomed(self) -> bool:
        """Tell whether a file shows what a failed sync has kept from the drive."""
        return any(node.doomed for _, node in self.files())

    def evict(self) -> None:
        """Drop clean pages, as a machine short of memory may at any time."""
        for _, node in self.files():
            node.evict()

    def lose_power(self, entropy: Entropy) -> None:
        """Become what a loss of power leaves, and count another boot."""
        for directory in self._directories:
            directory.lose_power(entropy)
        for directory in self._directories:
            directory.entries = dict(directory.durable)
        for _, node in self.files():
            node.lose_power(entropy)
        self._directories = list(_directories_below(self.root))
        self.boots += 1


def _directories_below(directory: DirectoryNode) -> Iterator[DirectoryNode]:
    yield directory
    for _, node in sorted(directory.entries.items(), key=_name_of):
        if isinstance(node, DirectoryNode):
            yield from _directories_below(node)


def _name_of(entry: tuple[str, Node]) -> str:
    return entry[0]


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
