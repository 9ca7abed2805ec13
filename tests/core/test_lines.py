"""Lines to records and back, against the plain way of saying the same in Python."""

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlog._core import BatchBuilder, CorruptBatch, append_lines, join_records, partition_for_key, scan

TEXT = st.lists(st.sampled_from([b"a", b"bc", b":", b"\n", b"\r\n", b"::", b"\0", b"", b"x" * 40])).map(b"".join)
SEPARATORS = st.sampled_from([b"\n", b"\r\n", b"::", b"\0"])


def records_of(builder):
    if not builder.count:
        return []
    (batch,) = scan(builder.build())
    return [(None if r.key is None else bytes(r.key), bytes(r.value), r.timestamp_ms, r.headers) for r in batch.records()]


def expected(text, separator, key_separator):
    lines = text.split(separator)
    if lines[-1] == b"":
        lines.pop()
    for line in lines:
        key, found, value = line.partition(key_separator) if key_separator else (b"", b"", line)
        yield (key, value) if found else (None, line)


@given(text=TEXT, separator=SEPARATORS, key_separator=st.none() | st.sampled_from([b":", b"::", b"c"]), count=st.integers(1, 5))
def test_every_line_becomes_one_record_on_the_partition_of_its_key(text, separator, key_separator, count):
    builders = [BatchBuilder() for _ in range(count)]
    keyless = count - 1
    assert append_lines(builders, text, 0, 7, separator, key_separator, keyless, True) == (len(text), -1)
    wanted = [[] for _ in range(count)]
    for key, value in expected(text, separator, key_separator):
        wanted[keyless if key is None else partition_for_key(key, count)].append((key, value, 7, []))
    assert [records_of(builder) for builder in builders] == wanted


@given(text=TEXT, separator=SEPARATORS, cuts=st.lists(st.integers(0, 60)))
def test_chunks_may_be_cut_anywhere(text, separator, cuts):
    builder = BatchBuilder()
    pending = b""
    at = 0
    for cut in [*cuts, len(text)]:
        pending += text[at : at + cut]
        at += cut
        position, full = append_lines([builder], pending, 0, 0, separator)
        assert full == -1
        pending = pending[position:]
    append_lines([builder], pending, 0, 0, separator, None, 0, True)
    assert [value for _, value, _, _ in records_of(builder)] == [value for _, value in expected(text, separator, None)]


def test_a_full_builder_stops_it_before_the_line_that_does_not_fit():
    text = b"".join(b"%d\n" % number for number in range(100))
    builders = [BatchBuilder(max_bytes=200)]
    position, values = 0, []
    while True:
        position, full = append_lines(builders, text, position, 0, b"\n")
        values += [value for _, value, _, _ in records_of(builders[0])]
        assert builders[0].size_bytes <= 200
        if full == -1:
            break
        builders = [BatchBuilder(max_bytes=200)]
    assert values == [b"%d" % number for number in range(100)] and position == len(text)


def test_a_line_larger_than_a_batch_goes_into_one_of_its_own():
    builder = BatchBuilder(max_bytes=100)
    assert append_lines([builder], b"y" * 1000 + b"\nz\n", 0, 0, b"\n") == (1001, 0)
    assert builder.count == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ([BatchBuilder()], b"", 0, 0, b""),
        ([BatchBuilder()], b"", 0, 0, b"\n", b""),
        ([BatchBuilder()], b"", 1, 0, b"\n"),
        ([BatchBuilder()], b"", -1, 0, b"\n"),
        ([BatchBuilder()], b"", 0, 0, b"\n", None, 1),
        ([], b"", 0, 0, b"\n"),
        ([BatchBuilder(attributes=0x20)], b"", 0, 0, b"\n"),
    ],
)
def test_arguments_that_cannot_be(arguments):
    with pytest.raises(ValueError, match=r"separator|position|builder|control"):
        append_lines(*arguments)


def test_only_builders():
    with pytest.raises(TypeError):
        append_lines([object()], b"", 0, 0, b"\n")


FIELDS = st.none() | st.binary(max_size=9)


@given(
    records=st.lists(
        st.tuples(FIELDS, FIELDS, st.lists(st.tuples(st.text(max_size=3), FIELDS), max_size=2)), min_size=1, max_size=9
    ),
    from_offset=st.integers(95, 115),
    max_count=st.integers(-1, 10),
    key_separator=st.none() | st.just(b"=>"),
    compressed=st.booleans(),
)
def test_joined_records_are_keys_and_values_in_order(records, from_offset, max_count, key_separator, compressed):
    builder = BatchBuilder(base_offset=100)
    for key, value, headers in records:
        builder.append(0, key, value, headers)
    (batch,) = scan(builder.build(bytes(cramjam.zstd.compress(builder.payload())), 4) if compressed else builder.build())
    wanted = [
        (b"" if key_separator is None else (key or b"") + key_separator) + (value or b"") + b"\n" for key, value, _ in records
    ][max(from_offset - 100, 0) :]
    if max_count >= 0:
        wanted = wanted[:max_count]
    joined = join_records(batch, builder.payload() if compressed else None, from_offset, max_count, b"\n", key_separator)
    assert joined == (b"".join(wanted), len(wanted))


def test_joining_checks_what_it_reads():
    builder = BatchBuilder()
    builder.append(0, None, b"value")
    (batch,) = scan(builder.build(b"x", 1))
    with pytest.raises(ValueError, match=r"the batch is compressed \(codec 1\)"):
        join_records(batch, None, 0, -1, b"")
    with pytest.raises(CorruptBatch, match="invalid record size"):
        join_records(batch, b"\xff", 0, -1, b"")
    with pytest.raises(CorruptBatch, match="bytes left after the last record"):
        join_records(batch, builder.payload() + b"\0", 0, -1, b"")


def test_numbers_of_a_producer_change_in_place_and_before_building():
    builder = BatchBuilder()
    builder.append(5, b"k", b"v")
    plain = builder.build()
    builder.set_producer(9, 1, 77)
    stamped = bytearray(plain)
    scan(stamped)[0].set_producer(9, 1, 77)
    assert bytes(stamped) == builder.build()
    (batch,) = scan(stamped)
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (9, 1, 77)
    for wrong in ((9, -1, 0), (9, 0, -1), (-2, 0, 0)):
        with pytest.raises(ValueError, match="invalid"):
            builder.set_producer(*wrong)
        with pytest.raises(ValueError, match="invalid"):
            batch.set_producer(*wrong)
    assert bytes(stamped) == builder.build()
    with pytest.raises(BufferError):
        scan(plain)[0].set_producer(9, 1, 77)
