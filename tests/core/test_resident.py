"""Memory that is given back to the kernel: all that comes back as it was, and nothing else."""

import ctypes
import mmap
import pathlib
import re

import pytest

from fastlog import _core

SIZE = 64 * mmap.PAGESIZE
CONTENT = bytes(range(256)) * (SIZE // 256)


@pytest.fixture
def path(tmp_path):
    made = tmp_path / "file"
    made.write_bytes(CONTENT)
    return made


def mapped(path, flags, protection):
    """Map a file and touch all of it."""
    with path.open("r+b") as file:
        mapping = mmap.mmap(file.fileno(), SIZE, flags=flags, prot=protection)
    assert mapping[:] == CONTENT
    return mapping


def resident_bytes(path):
    """Return how much of a file this process has in its page tables."""
    found = 0
    is_of_file = False
    for line in pathlib.Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            is_of_file = line.endswith(str(path))
        elif is_of_file and line.startswith("Rss:"):
            found += 1024 * int(line.split()[1])
    return found


def make_read_only(mapping):
    """Do as the dynamic linker does once it has written its relocations."""
    address = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    assert protect(ctypes.c_void_p(address), ctypes.c_size_t(SIZE), mmap.PROT_READ) == 0


def test_pages_of_a_file_that_were_never_written_go_and_come_back(path):
    mapping = mapped(path, mmap.MAP_PRIVATE, mmap.PROT_READ)
    assert resident_bytes(path) == SIZE
    assert _core.give_back_memory() >= SIZE
    assert resident_bytes(path) == 0
    assert mapping[:] == CONTENT
    assert resident_bytes(path) == SIZE


def test_the_interpreters_own_code_goes_too(path):
    assert _core.give_back_memory() > 0
    assert eval(compile("sum(range(10))", str(path), "eval")) == 45


@pytest.mark.parametrize("seal", [make_read_only, lambda mapping: None], ids=["read-only since", "writable"])
def test_what_was_written_stays(path, seal):
    mapping = mapped(path, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    mapping[SIZE // 2] = CONTENT[SIZE // 2] ^ 0xFF
    seal(mapping)
    _core.give_back_memory()
    assert mapping[SIZE // 2] == CONTENT[SIZE // 2] ^ 0xFF
    assert resident_bytes(path) == SIZE
    assert path.read_bytes() == CONTENT


def test_shared_mappings_stay_as_they_are(path):
    mapping = mapped(path, mmap.MAP_SHARED, mmap.PROT_READ)
    _core.give_back_memory()
    assert resident_bytes(path) == SIZE
    assert mapping[:] == CONTENT


def test_what_the_heap_uses_stays():
    kept = [bytes([number % 256]) * (100 + number) for number in range(20_000)]
    del kept[::2]
    _core.give_back_memory()
    assert all(one == bytes([number % 256]) * (100 + number) for number, one in zip(range(1, 20_000, 2), kept, strict=True))
