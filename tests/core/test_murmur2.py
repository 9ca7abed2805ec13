"""murmur2 against what Kafka's Java client answers (kafka-clients 4.3.1, Utils.murmur2 and toPositive(...) % 7)."""

import itertools

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlog import _core

JAVA = [
    ("", 275646681, 2),
    ("61", -1563381124, 5),
    ("6162", 316155434, 0),
    ("616263", 479470107, 4),
    ("61626364", -1323649548, 5),
    ("3231", -973932308, 3),
    ("666f6f626172", -790332482, 0),
    ("612d6c6974746c652d6269742d6c6f6e672d737472696e67", -985981536, 1),
    ("612d6c6974746c652d6269742d6c6f6e6765722d737472696e67", -1486304829, 0),
    ("6c6b6a683233346c68396669756839307932336f697568736166756a6861646f66323239706872396831396838396838", -58897971, 3),
    ("636166c3a9", -1358007374, 6),
    ("e697a5e69cace8aa9e", 1431860170, 6),
    ("99", 1288378381, 3),
    ("1834", -1042682160, 0),
    ("5a94c9", -313141582, 4),
    ("390b7702", 612225306, 0),
    ("09d32a595d", 99467382, 0),
    ("41f4b3e59247", -1134459280, 6),
    ("05194bb55dcab3", -1772457477, 2),
    ("0016175aa147e1f3", 1440785583, 6),
    ("e98ee81edf7fae40bfe793d9fced52", 1661309093, 3),
    ("02e34d15e5c4caaf166fc2edcea4fb1b", 2099471924, 4),
    ("65e240a4e944b31d0705e6c8b71cf8bdfc", 567589723, 1),
    ("693058b22edd1479f1953297e1c82141a6a46d99364cf461b317c99fee614c", 1030291584, 0),
    ("a74b029f8f814e38d93995b694aa2150847891d75da8ddddc46434afeb50781ae0", -843373008, 0),
    (
        "b3a3f3707eab79470ba3c885b66c499800da641a22a420ee9989ec985901e416c9c38fbf7ae22a00a4174c64b5144dc69831c2d5e9f8c7dcb1c3a276da03c5c5",
        274677012,
        1,
    ),
    (
        "347dd8728b234273149eb6e9bb0ff5f4111a021c9a0168a981181c9a324f0aec09395a3213018ebde232b69b463dffe94c73ba9c9960c80b6a214cc7b067f90295b0180a98eba8fce9bf8a819b01f5529ebc20efacd4d95a6166595aac5e505cd63fcdf7",
        -2000387369,
        1,
    ),
    ("ffffffffffffffffff", 1612811207, 0),
    ("000000000000000000000000", -901380514, 3),
]


@pytest.mark.parametrize(("key", "hashed", "partition_of_7"), JAVA)
def test_java_vectors(key, hashed, partition_of_7):
    assert _core.murmur2(bytes.fromhex(key)) == hashed
    assert _core.partition_for_key(bytes.fromhex(key), 7) == partition_of_7


def test_java_over_many_keys():
    """Java: `sum = sum * 31 + Utils.murmur2(("key-" + i).getBytes())` over a long, i from 0 to 99,999."""
    total = 0
    for i in range(100_000):
        total = (total * 31 + _core.murmur2(b"key-%d" % i)) & (2**64 - 1)
    assert total - (total >> 63 << 64) == -7492232113920233132


def test_alignment_does_not_matter():
    key = b"a-little-bit-longer-string"
    for start in range(9):
        assert _core.murmur2(memoryview(bytes(start) + key)[start:]) == -1486304829


def column(keys, dtype):
    offsets = numpy.array([0, *itertools.accumulate(map(len, keys))], dtype=dtype)
    return b"".join(keys), offsets, numpy.full(len(keys), -1, dtype=numpy.int32)


@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(1, 2**31 - 1), st.sampled_from([numpy.int32, numpy.int64]))
def test_a_column_equals_key_after_key(keys, partition_count, dtype):
    data, offsets, out = column(keys, dtype)
    _core.partition_column(data, offsets, partition_count, out)
    assert out.tolist() == [_core.partition_for_key(key, partition_count) for key in keys]


def test_a_column_that_starts_inside_its_data():
    out = numpy.zeros(2, dtype=numpy.int32)
    _core.partition_column(b"xxfoobar21yy", numpy.array([2, 8, 10], dtype=numpy.int64), 7, out)
    assert out.tolist() == [0, 3]


@pytest.mark.parametrize("offsets", [[-1, 3, 6], [0, 4, 3], [0, 3, 7], [0, -(2**31), 6], [7, 7, 7], [0, 2**31 - 1, 6]])
@pytest.mark.parametrize("dtype", [numpy.int32, numpy.int64])
def test_offsets_that_cannot_be_right(offsets, dtype):
    with pytest.raises(ValueError, match="offsets of key"):
        _core.partition_column(b"foobar", numpy.array(offsets, dtype=dtype), 7, numpy.zeros(2, dtype=numpy.int32))


def test_sizes_that_do_not_fit_together():
    data, offsets, out = column([b"a", b"b"], numpy.int32)
    with pytest.raises(ValueError, match="2 keys need 3"):
        _core.partition_column(data, offsets[:-1], 3, out)
    with pytest.raises(ValueError, match="no whole count"):
        _core.partition_column(data, offsets, 3, bytearray(7))
    with pytest.raises(BufferError):
        _core.partition_column(data, offsets, 3, bytes(8))
    with pytest.raises((BufferError, ValueError)):
        _core.partition_column(data, offsets, 3, _core.Slice(bytearray(8)))


@pytest.mark.parametrize("count", [0, -1, -(2**31)])
def test_no_partitions(count):
    with pytest.raises(ValueError, match="at least 1"):
        _core.partition_for_key(b"key", count)
    with pytest.raises(ValueError, match="at least 1"):
        _core.partition_column(b"", numpy.zeros(1, dtype=numpy.int32), count, numpy.zeros(0, dtype=numpy.int32))
    with pytest.raises(OverflowError):
        _core.partition_for_key(b"key", 2**31)
