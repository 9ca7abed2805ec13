"""CRC32C against RFC 3720's vectors and the crc32c package, by the CPU and by the fallback."""

import os
import subprocess
import sys
import threading

import crc32c as package
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlog import _core

STREAM_EDGES = [0, 1, 7, 8, 9, 95, 96, 97, 3071, 3072, 3073, 3 * 4096 - 1, 3 * 4096, 3 * 4096 + 1, 7 * 4096 + 13, 300_001]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"", 0),
    ],
)
def test_published_vectors(data, expected):
    assert _core.crc32c(data) == expected


@pytest.mark.parametrize("size", STREAM_EDGES)
@pytest.mark.parametrize("start", [0, 1, 5])
def test_lengths_around_the_streams(size, start):
    data = memoryview(bytes((i * i + i) & 0xFF for i in range(size + start)))[start:]
    assert _core.crc32c(data) == package.crc32c(data)
    assert _core.crc32c(data, 0xDEADBEEF) == package.crc32c(data, 0xDEADBEEF)


@given(st.binary(max_size=2000), st.binary(max_size=500), st.integers(0, 2**32 - 1))
def test_parts_make_the_whole(first, second, seed):
    whole = package.crc32c(first + second, seed)
    assert _core.crc32c(second, _core.crc32c(first, seed)) == whole
    assert _core.crc32c_combine(_core.crc32c(first, seed), _core.crc32c(second), len(second)) == whole


def test_combining_over_sizes_that_no_memory_holds():
    zeros = _core.crc32c(bytes(1024))
    power = 1024
    for _ in range(30):
        zeros, power = _core.crc32c_combine(zeros, zeros, power), power * 2
    assert _core.crc32c_combine(zeros, 0, 0) == zeros
    # Associative: (A A) (A A) = A (A (A A)).
    doubled = _core.crc32c_combine(zeros, zeros, power)
    assert _core.crc32c_combine(doubled, doubled, 2 * power) == _core.crc32c_combine(
        zeros, _core.crc32c_combine(zeros, doubled, 2 * power), 3 * power
    )
    with pytest.raises(OverflowError):
        _core.crc32c_combine(0, 0, 1 << 61)
    with pytest.raises(OverflowError):
        _core.crc32c_combine(0, 0, -1)


def test_a_crc_out_of_range_and_a_wrong_type_are_refused():
    with pytest.raises(OverflowError):
        _core.crc32c(b"", 1 << 32)
    with pytest.raises(OverflowError):
        _core.crc32c(b"", -1)
    with pytest.raises(TypeError):
        _core.crc32c("text")


def test_memory_is_given_back():
    for size in (10, 1 << 20):
        data = bytearray(size)
        _core.crc32c(data)
        data.clear()


def test_threads_side_by_side():
    data = bytes(range(256)) * 4096
    expected = package.crc32c(data)
    seen = []
    threads = [threading.Thread(target=lambda: seen.extend(_core.crc32c(data) for _ in range(20))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [expected] * 80


FALLBACK = """
import sys, threading
from fastlog import _core
assert _core.CRC32C_IMPLEMENTATION == "package", _core.CRC32C_IMPLEMENTATION
assert "crc32c" in sys.modules
assert _core.crc32c(b"123456789") == 0xE3069283
assert _core.crc32c(b"6789", _core.crc32c(b"12345")) == 0xE3069283
data = bytes(300_000)       # long enough for the call without the GIL, which the fallback takes back
expected = _core.crc32c(data)
seen = []
threads = [threading.Thread(target=lambda: seen.append(_core.crc32c(data))) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert seen == [expected] * 4
builder = _core.BatchBuilder()
builder.append(1, b"k", bytes(400_000))
batch = bytearray(builder.build())
print(_core.scan(batch)[0].crc)
batch[-1] ^= 1
try:
    _core.scan(batch)
except _core.CorruptBatch as error:
    print(error.reason)
"""


def run_with(setting, program):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("FASTLOG_CRC32C", None)
    if setting is not None:
        environment["FASTLOG_CRC32C"] = setting
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)


def test_the_package_takes_over_where_it_must():
    result = run_with("package", FALLBACK)
    assert result.returncode == 0, result.stderr
    builder = _core.BatchBuilder()
    builder.append(1, b"k", bytes(400_000))
    assert result.stdout.splitlines() == [str(package.crc32c(builder.build()[21:])), "CRC mismatch"]


def test_a_cpu_with_the_instruction_does_not_import_the_package():
    result = run_with(None, "import sys; from fastlog import _core; print(_core.CRC32C_IMPLEMENTATION, 'crc32c' in sys.modules)")
    implementation, imported = result.stdout.split()
    assert imported == str(implementation == "package")


def test_an_unknown_wish_is_told():
    result = run_with("fastest", "from fastlog import _core")
    assert result.returncode != 0
    assert "FASTLOG_CRC32C" in result.stderr
