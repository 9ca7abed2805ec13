"""Memory that is given back to the kernel: what is dropped comes back as it was, and nothing is dropped that would not."""

import _ctypes
import ctypes
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from fastlog import _core

LOADS = 3000
LOAD_AND_UNLOAD = """
import ctypes, shutil, sys, threading
from fastlog import _core

path, loads = sys.argv[1], int(sys.argv[2])
shutil.copy(_core.__file__, path)
system = ctypes.CDLL(None)
system.dlopen.restype = ctypes.c_void_p
system.dlclose.argtypes = [ctypes.c_void_p]

def load():
    for _ in range(loads):
        assert system.dlclose(system.dlopen(path.encode(), 2)) == 0

loading = threading.Thread(target=load)
loading.start()
while loading.is_alive():
    _core.give_back_memory()
loading.join()
print("whole")
"""
FREE_MOST_OF_A_HEAP = """
import re
from fastlog import _core

def anonymous_bytes():
    with open("/proc/self/smaps_rollup") as told:
        return 1024 * int(re.search("Anonymous: +([0-9]+) kB", told.read())[1])

blocks = [bytes([number % 256]) * 4000 for number in range(20_000)]
kept = blocks[::100]
del blocks
before = anonymous_bytes()
_core.give_back_memory()
print(before - anonymous_bytes() > 40_000_000, kept == [bytes([number % 256]) * 4000 for number in range(0, 20_000, 100)])
"""


class Mapping:
    """A part of a file in this process's memory, as /proc/self/smaps tells of it."""

    def __init__(self, header):
        addresses, self.permissions = header.split()[:2]
        self.first, self.end = (int(text, 16) for text in addresses.split("-"))
        self.fields = {}

    def read(self):
        """Touch all of it."""
        return ctypes.string_at(self.first, self.end - self.first)


def mappings_of(path):
    found = []
    is_of_file = False
    for line in pathlib.Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            is_of_file = line.endswith(str(path))
            if is_of_file:
                found.append(Mapping(line))
        elif is_of_file and line.endswith(" kB"):
            name, _, value = line.partition(":")
            found[-1].fields[name] = 1024 * int(value.split()[0])
    return found


@pytest.fixture
def library(tmp_path):
    """A library that no one else has: a copy of an extension, loaded but not initialised."""
    path = tmp_path / "library.so"
    shutil.copy(_ctypes.__file__, path)
    loaded = ctypes.CDLL(str(path))
    yield path
    assert loaded is not None


def test_unwritten_pages_of_a_library_go_and_come_back_as_they_were(library):
    before = [one.read() for one in mappings_of(library)]
    touched = mappings_of(library)
    assert all(one.fields["Rss"] == one.end - one.first for one in touched)
    code = [one.fields["Rss"] for one in touched if "x" in one.permissions]
    assert _core.give_back_memory() >= sum(code) > 0
    given_back = mappings_of(library)
    assert [one.fields["Rss"] for one in given_back if "x" in one.permissions] == [0] * len(code)
    for was, now in zip(touched, given_back, strict=True):
        if was.fields["Anonymous"]:  # relocated, whether it may still be written or not
            assert now.fields["Rss"] == was.fields["Rss"]
    assert {"r--p", "rw-p"} <= {one.permissions for one in touched if one.fields["Anonymous"]}
    assert [one.read() for one in given_back] == before


def test_code_with_a_page_of_its_own_stays(library):
    """As a debugger leaves it that has set a breakpoint."""
    code = next(one for one in mappings_of(library) if "x" in one.permissions)
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    size = ctypes.c_size_t(code.end - code.first)
    first = ctypes.c_void_p(code.first)
    assert protect(first, size, 7) == 0
    ctypes.memset(code.first, 0xCC, 1)
    assert protect(first, size, 5) == 0
    content = code.read()
    _core.give_back_memory()
    [still] = [one for one in mappings_of(library) if one.first == code.first]
    assert still.fields["Rss"] == still.end - still.first
    assert still.read() == content


def run(program, *arguments):
    """Run a program of a process of its own, whose heap and libraries are as usual, and return what it printed."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, timeout=120, check=True, stdout=subprocess.PIPE, text=True).stdout


def test_what_the_heap_has_free_goes_and_what_it_uses_stays():
    assert run(FREE_MOST_OF_A_HEAP) == "True True\n"


def test_libraries_may_be_loaded_and_unloaded_meanwhile(tmp_path):
    """Half-loaded ones are being relocated, and where one was unloaded something else may be."""
    assert run(LOAD_AND_UNLOAD, tmp_path / "library.so", LOADS) == "whole\n"
