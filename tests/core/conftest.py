"""Segments on real files, and on files whose every byte goes through overrides in Python."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastlog import _core


class MemoryFile(_core.File):
    """A file in memory: everything is overridden, nothing has a descriptor. `nodes` is the directory."""

    def __init__(self, path, nodes):
        super().__init__(path, -1)
        self.nodes = nodes
        self.data = nodes.setdefault(path, bytearray())
        self.room = None
        self.failure = None
        self.reads = 0
        self.holders = 0

    def pwritev(self, buffers, position, /):
        data = b"".join(bytes(memoryview(buffer)) for buffer in buffers)
        if self.failure is not None:
            raise self.failure
        if self.room is not None:
            data = data[: max(0, self.room - position)]
        self.data.extend(bytes(max(0, position - len(self.data))))
        self.data[position : position + len(data)] = data
        return len(data)

    def pread(self, size, position, /):
        self.reads += 1
        return bytes(self.data[position : position + size])

    def ftruncate(self, size, /):
        del self.data[size:]
        self.data.extend(bytes(size - len(self.data)))

    def size_bytes(self):
        return len(self.data)

    def fdatasync(self):
        pass

    def release_beyond(self, size, /):
        assert size == len(self.data)

    def acquire(self):
        self.holders += 1

    def release(self):
        self.holders -= 1

    def close(self):
        pass


class Directory:
    """One directory of segments, of real files or of files in memory."""

    def __init__(self, path):
        self.path = path
        self.nodes = {}

    def name(self, base_offset, suffix):
        return f"{self.path}/{base_offset:020d}.{suffix}"

    def open(self, path):
        if self.path == "memory":
            return MemoryFile(path, self.nodes)
        return _core.File(path, os.open(path, os.O_RDWR | os.O_CREAT))

    def contents(self, path):
        return bytes(self.nodes[path]) if self.path == "memory" else Path(path).read_bytes()

    def replace_log(self, log, size):
        swap = self.open(log.path + ".cleaned")
        log.copy_to(swap, size)
        if self.path == "memory":
            self.nodes[log.path] = self.nodes.pop(swap.path)
        else:
            os.replace(swap.path, log.path)
        swap.path = log.path
        return swap

    def segment(self, base_offset=0, *, max_index_bytes=10 << 20, replaceable=True, **options):
        return _core.Segment(
            base_offset,
            self.open(self.name(base_offset, "log")),
            _core.OffsetIndex(self.open(self.name(base_offset, "index")), base_offset, max_bytes=max_index_bytes),
            _core.TimeIndex(self.open(self.name(base_offset, "timeindex")), base_offset, max_bytes=max_index_bytes),
            replace_log=self.replace_log if replaceable else None,
            **options,
        )


@pytest.fixture(params=["real", "memory"])
def directory(request, tmp_path):
    return Directory(str(tmp_path) if request.param == "real" else "memory")


@pytest.fixture
def real_directory(tmp_path):
    return Directory(str(tmp_path))


@pytest.fixture(scope="session")
def segments():
    """The classes and functions of this file, for tests that make their directories themselves."""
    return SimpleNamespace(Directory=Directory, MemoryFile=MemoryFile, batch=make_batch)


@pytest.fixture(scope="session")
def batch():
    return make_batch


def make_batch(base_offset, timestamps=(1000,), value=b"v" * 50, **fields):
    """Return an assigned batch with one record for each timestamp."""
    builder = _core.BatchBuilder(base_offset=base_offset, **fields)
    for number, timestamp in enumerate(timestamps):
        assert builder.append(timestamp, b"%d" % (base_offset + number), value)
    return _core.scan(bytearray(builder.build()))[0]
