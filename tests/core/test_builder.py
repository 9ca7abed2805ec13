"""Building batches: limits, growth, compressed payloads, and what is refused before a byte is written."""

import gzip
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlog import _core

RECORD = (1000, b"key", b"value", [("name", b"text"), ("none", None)])


def test_the_size_is_told_before_the_batch_is_built():
    builder = _core.BatchBuilder()
    assert (builder.size_bytes, builder.count, builder.payload()) == (61, 0, b"")
    for count in range(1, 200):
        assert builder.append(*RECORD)
        assert builder.count == count
        assert len(builder.payload()) == builder.size_bytes - 61
    built = builder.build()
    assert len(built) == builder.size_bytes
    assert built[61:] == builder.payload()


def test_a_full_batch_takes_nothing_more_and_stays_as_it_is():
    whole = _core.BatchBuilder()
    whole.append(*RECORD)
    whole.append(*RECORD)
    builder = _core.BatchBuilder(max_bytes=whole.size_bytes)
    assert builder.append(*RECORD)
    assert builder.append(*RECORD)
    before = builder.build()
    assert builder.append(9999, None, None) is False
    assert builder.build() == before == whole.build()
    smaller = _core.BatchBuilder(max_bytes=whole.size_bytes - 1)
    assert smaller.append(*RECORD)
    assert smaller.append(*RECORD) is False


def test_the_first_record_goes_in_whatever_its_size():
    builder = _core.BatchBuilder(max_bytes=0)
    assert builder.append(1, None, bytes(5000))
    assert builder.append(1, None, None) is False
    (batch,) = _core.scan(builder.build())
    assert next(batch.records()).value == bytes(5000)


@given(st.lists(st.integers(0, 70_000), min_size=1, max_size=6), st.lists(st.integers(0, 300), max_size=3))
def test_lengths_around_the_varints_edges(value_sizes, header_sizes):
    builder = _core.BatchBuilder()
    headers = [("h" * size, bytes(size)) for size in header_sizes]
    for size in value_sizes:
        assert builder.append(1, bytes(size // 2), bytes(size), headers)
    (batch,) = _core.scan(builder.build())
    for size, record in zip(value_sizes, batch.records(), strict=True):
        assert (len(record.key), len(record.value)) == (size // 2, size)
        assert [(name, bytes(value)) for name, value in record.headers] == headers


def test_a_batch_may_be_built_on_after_it_was_built():
    builder = _core.BatchBuilder(base_offset=5)
    builder.append(1, None, b"a")
    first = builder.build()
    builder.append(0, None, b"b")
    (one,), (two,) = _core.scan(first), _core.scan(builder.build())
    assert ([r.value for r in one.records()], [r.value for r in two.records()]) == ([b"a"], [b"a", b"b"])
    assert (two.base_offset, two.last_offset, two.base_timestamp_ms, two.max_timestamp_ms) == (5, 6, 1, 1)


def test_a_compressed_payload_takes_the_plain_ones_place():
    builder = _core.BatchBuilder(producer_id=1, producer_epoch=2, base_sequence=3, attributes=0x10)
    for _ in range(50):
        builder.append(*RECORD)
    zipped = gzip.compress(builder.payload())
    (batch,) = _core.scan(builder.build(zipped, 1))
    assert (batch.codec, batch.is_transactional, batch.count, bytes(batch.payload)) == (1, True, 50, zipped)
    values = [record.value for record in batch.records(gzip.decompress(zipped))]
    assert values == [b"value"] * 50
    (plain,) = _core.scan(builder.build())
    assert plain.codec == 0


def test_codec_and_payload_go_together():
    builder = _core.BatchBuilder()
    builder.append(*RECORD)
    for arguments in ((None, 1), (b"x", 0), (b"x", 5), (b"x", -1), (b"x",)):
        with pytest.raises(ValueError, match="codec"):
            builder.build(*arguments)


def test_no_record_no_batch():
    with pytest.raises(ValueError, match="at least one record"):
        _core.BatchBuilder().build()


@pytest.mark.parametrize(
    "fields",
    [
        {"base_offset": -1},
        {"producer_id": -2},
        {"producer_id": 1},
        {"producer_id": 1, "producer_epoch": 0},
        {"attributes": 0x10},
        {"attributes": 1},
    ],
)
def test_fields_that_a_scan_would_refuse(fields):
    with pytest.raises(ValueError, match=r"\w"):
        _core.BatchBuilder(**fields)


@pytest.mark.parametrize("field", [{"base_offset": 2**63}, {"attributes": 2**15}, {"producer_epoch": -(2**15) - 1}])
def test_fields_out_of_range(field):
    with pytest.raises(OverflowError):
        _core.BatchBuilder(**field)


def test_offsets_end():
    builder = _core.BatchBuilder(base_offset=2**63 - 2)
    assert builder.append(1, None, None)
    assert builder.append(1, None, None)
    with pytest.raises(OverflowError):
        builder.append(1, None, None)
    assert _core.scan(builder.build())[0].last_offset == 2**63 - 1


def test_control_records_need_their_type():
    builder = _core.BatchBuilder(attributes=0x20)
    with pytest.raises(ValueError, match="control"):
        builder.append(1, b"abc", None)
    assert builder.append(1, struct.pack(">hh", 0, 1), struct.pack(">hi", 0, 0))
    assert _core.scan(builder.build())[0].is_control


@pytest.mark.parametrize(
    "record",
    [
        (1, "text", None),
        (1, None, 5),
        (1, None, None, [(None, b"")]),
        (1, None, None, [("name", "text")]),
        (1, None, None, [("name",)]),
        (1, None, None, [5]),
        (1, None, None, [("a", b""), (b"b", memoryview(b"abcd")[::2])]),
    ],
)
def test_a_record_that_is_refused_leaves_no_trace(record):
    builder = _core.BatchBuilder()
    builder.append(*RECORD)
    before = builder.build()
    with pytest.raises((TypeError, ValueError, BufferError)):
        builder.append(*record)
    assert (builder.count, builder.build()) == (1, before)


def test_any_bytes_like_object_is_taken_and_given_back():
    key, value = bytearray(b"key"), memoryview(bytearray(b"--value--"))[2:7]
    builder = _core.BatchBuilder()
    builder.append(1, key, value, [(b"n", bytearray(b"v"))])
    key.clear()
    assert _core.Slice(builder.payload(), 0, 4)
    (record,) = _core.scan(builder.build())[0].records()
    assert (record.key, record.value, record.headers) == (b"key", b"value", [("n", b"v")])


def test_references_are_given_back():
    value = bytes(100)
    before = sys.getrefcount(value)
    builder = _core.BatchBuilder(max_bytes=1000)
    for _ in range(100):
        builder.append(1, value, value, [("n", value)])
    assert sys.getrefcount(value) == before


def test_a_builder_that_was_not_made():
    empty = _core.BatchBuilder.__new__(_core.BatchBuilder)
    for call in (lambda: empty.append(1, None, None), empty.payload):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ValueError, match="at least one"):
        empty.build()
    builder = _core.BatchBuilder()
    with pytest.raises(TypeError, match="twice"):
        builder.__init__()
