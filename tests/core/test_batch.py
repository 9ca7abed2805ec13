"""Record batches against kafka-python's record module, which is an implementation of its own, and every check by name."""

import gzip
import struct
import sys

import crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from fastlog import _core

HEADER = struct.Struct(">qiibIhiqqqhii")
FIELDS = [
    "base_offset",
    "length",
    "leader_epoch",
    "magic",
    "crc",
    "attributes",
    "last_offset_delta",
    "base_timestamp",
    "max_timestamp",
    "producer_id",
    "producer_epoch",
    "base_sequence",
    "count",
]
NO_LIMIT = 1 << 30


def build(*records, **fields):
    builder = _core.BatchBuilder(**fields)
    for record in records:
        assert builder.append(*record)
    return builder.build()


def patched(batch, *, payload=None, **changes):
    """Return the batch with other header fields or payload; length and CRC are made right unless they are among the changes."""
    fields = dict(zip(FIELDS, HEADER.unpack_from(batch), strict=True))
    payload = batch[61:] if payload is None else payload
    fields["length"] = 49 + len(payload)
    fields |= changes
    encoded = bytearray(HEADER.pack(*fields.values()) + payload)
    if "crc" not in changes:
        encoded[17:21] = crc32c.crc32c(encoded[21:]).to_bytes(4, "big")
    return bytes(encoded)


def fault_of(data, **options):
    with pytest.raises(_core.CorruptBatch) as raised:
        _core.scan(data, **options)
    return raised.value.reason, raised.value.position


# ---- encoding and decoding ----

bytes_or_none = st.none() | st.binary(max_size=40)
names = st.text(st.characters(codec="utf-8"), max_size=10)
record_lists = st.lists(
    st.tuples(st.integers(0, 2**50), bytes_or_none, bytes_or_none, st.lists(st.tuples(names, bytes_or_none), max_size=3)),
    min_size=1,
    max_size=20,
)


def decoded(batch, payload=None):
    return [
        (
            record.offset,
            record.timestamp_ms,
            None if record.key is None else bytes(record.key),
            None if record.value is None else bytes(record.value),
            [(name, None if value is None else bytes(value)) for name, value in record.headers],
        )
        for record in batch.records(payload)
    ]


@given(record_lists, st.integers(0, 2**40))
def test_what_is_built_kafka_python_reads(records, base_offset):
    encoded = build(*records, base_offset=base_offset, producer_id=9, producer_epoch=2, base_sequence=5, max_bytes=NO_LIMIT)
    oracle = DefaultRecordBatch(encoded)
    assert oracle.validate_crc()
    assert (oracle.base_offset, oracle.producer_id, oracle.producer_epoch, oracle.base_sequence) == (base_offset, 9, 2, 5)
    assert (oracle.first_timestamp, oracle.max_timestamp) == (records[0][0], max(record[0] for record in records))
    assert oracle.last_offset_delta == len(records) - 1
    expected = [(base_offset + i, *record) for i, record in enumerate(records)]
    assert [(r.offset, r.timestamp, r.key, r.value, r.headers) for r in oracle] == expected
    (batch,) = _core.scan(encoded)
    assert decoded(batch) == expected


@given(record_lists, st.booleans())
def test_what_kafka_python_builds_is_read(records, compressed):
    oracle = DefaultRecordBatchBuilder(2, 1 if compressed else 0, True, 77, 3, 2**31 - 4, NO_LIMIT)
    for i, (timestamp_ms, key, value, headers) in enumerate(records):
        assert oracle.append(i, timestamp_ms, key, value, headers) is not None
    encoded = bytes(oracle.build())
    (batch,) = _core.scan(encoded)
    payload = None
    if batch.codec:  # kafka-python leaves a batch plain when compression gains nothing
        payload = gzip.decompress(bytes(batch.payload))
        with pytest.raises(ValueError, match="decompressed payload"):
            batch.records()
    assert decoded(batch, payload) == [(i, *record) for i, record in enumerate(records)]
    assert (batch.size_bytes, len(batch), bytes(batch)) == (len(encoded), len(encoded), encoded)
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence, batch.is_transactional) == (77, 3, 2**31 - 4, True)
    assert (batch.is_control, batch.is_log_append_time) == (False, False)
    assert batch.max_timestamp_ms == max(record[0] for record in records)
    sequences = [record.sequence for record in batch.records(payload)]
    assert sequences == [(2**31 - 4 + i) % 2**31 for i in range(len(records))]
    assert batch.last_sequence == sequences[-1]
    assert batch.last_offset == len(records) - 1


def test_every_field_is_read_where_it_lies():
    values = {
        "base_offset": 0x0102030405060708,
        "leader_epoch": 0x11121314,
        "attributes": 0x38,
        "base_timestamp": 0x2122232425262728,
        "max_timestamp": -2,
        "producer_id": 0x3132333435363738,
        "producer_epoch": 0x4142,
        "base_sequence": 0x51525354,
    }
    encoded = patched(build((0, b"\0\0\0\1", None)), **values)
    (batch,) = _core.scan(encoded)
    assert (batch.base_offset, batch.leader_epoch, batch.attributes) == (0x0102030405060708, 0x11121314, 0x38)
    assert (batch.base_timestamp_ms, batch.max_timestamp_ms) == (0x2122232425262728, -2)
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (0x3132333435363738, 0x4142, 0x51525354)
    assert (batch.count, batch.last_offset_delta, batch.codec) == (1, 0, 0)
    assert (batch.is_log_append_time, batch.is_transactional, batch.is_control) == (True, True, True)
    assert batch.crc == crc32c.crc32c(encoded[21:])
    assert [record.timestamp_ms for record in batch.records()] == [-2]


def test_batches_side_by_side_share_one_owner():
    one, two = build((1, b"a", None)), build((2, None, b"b"), (3, None, b"c"))
    owner = bytearray(one + two + one)
    batches = _core.scan(memoryview(owner))
    assert [batch.count for batch in batches] == [1, 2, 1]
    assert [bytes(batch) for batch in batches] == [one, two, one]
    assert bytes(batches[1].payload) == two[61:]
    values = [record.value for record in batches[1].records()]
    del batches
    with pytest.raises(BufferError):
        owner.clear()
    assert values == [b"b", b"c"]
    del values
    owner.clear()


def test_records_outlive_their_batch_and_give_all_back():
    encoded = build((1, b"key", b"value", [("name", b"text")]))
    before = sys.getrefcount(encoded)
    for _ in range(300):
        record = next(iter(_core.scan(encoded)[0].records()))
        key, headers = record.key, record.headers
        del record
        assert (bytes(key), headers) == (b"key", [("name", b"text")])
    del key, headers
    assert sys.getrefcount(encoded) == before


def test_a_slice_or_a_batch_is_scanned_as_it_is():
    owner = bytearray(b"junk" + build((1, b"a", None)))
    (batch,) = _core.scan(_core.Slice(owner, 4))
    (again,) = _core.scan(batch)
    again.assign(9, 1)
    assert _core.scan(memoryview(owner)[4:])[0].base_offset == 9


def test_header_names_that_are_no_text_keep_their_bytes():
    encoded = build((1, None, None, [(b"\xff\xfe", b"")]))
    ((name, value),) = next(_core.scan(encoded)[0].records()).headers
    assert name.encode("utf-8", "surrogateescape") == b"\xff\xfe"
    assert value == b""
    assert build((1, None, None, [(name, value)])) == encoded


def test_timestamps_wrap_as_longs_do():
    low, high = -(2**63), 2**63 - 1
    (batch,) = _core.scan(build((high, None, None), (low, None, None), (0, None, None)))
    assert [record.timestamp_ms for record in batch.records()] == [high, low, 0]
    assert (batch.base_timestamp_ms, batch.max_timestamp_ms) == (high, high)


# ---- patching ----


def test_assign_patches_what_the_crc_leaves_out():
    memory = bytearray(build((1, None, b"a"), (2, None, b"b")) * 2)
    before = bytes(memory)
    _, second = _core.scan(memory)
    second.assign(2**40, 4)
    assert (second.base_offset, second.last_offset, second.leader_epoch) == (2**40, 2**40 + 1, 4)
    half = len(memory) // 2
    assert memory[:half] == before[:half]
    oracle = DefaultRecordBatch(bytes(memory[half:]))
    assert (oracle.base_offset, oracle.leader_epoch, oracle.validate_crc()) == (2**40, 4, True)
    assert [record.offset for record in second.records()] == [2**40, 2**40 + 1]


def test_offsets_past_the_last_one_are_refused():
    (batch,) = _core.scan(bytearray(build((1, None, b"a"), (2, None, b"b"))))
    batch.assign(2**63 - 2, 0)
    assert batch.last_offset == 2**63 - 1
    for base_offset in (2**63 - 1, -1):
        with pytest.raises(OverflowError):
            batch.assign(base_offset, 0)
    assert batch.base_offset == 2**63 - 2


def test_log_append_time_is_set_and_sealed():
    memory = bytearray(build((1, None, b"a"), (5, None, b"b")))
    (batch,) = _core.scan(memory)
    batch.set_log_append_time(1234)
    oracle = DefaultRecordBatch(bytes(memory))
    assert oracle.validate_crc()
    assert [(r.timestamp, r.timestamp_type) for r in oracle] == [(1234, 1), (1234, 1)]
    (again,) = _core.scan(memory)
    assert (again.crc, again.is_log_append_time, again.max_timestamp_ms) == (batch.crc, True, 1234)
    assert [record.timestamp_ms for record in again.records()] == [1234, 1234]


def test_memory_that_may_not_be_written_is_not():
    encoded = build((1, None, b"a"))
    for memory in (encoded, memoryview(bytearray(encoded)).toreadonly(), bytes(encoded)):
        (batch,) = _core.scan(memory)
        with pytest.raises(BufferError):
            batch.assign(1, 1)
        with pytest.raises(BufferError):
            batch.set_log_append_time(1)
        assert memoryview(batch).readonly
    assert _core.scan(encoded)[0].base_offset == 0


def test_batches_and_records_are_not_made_by_hand():
    with pytest.raises(TypeError):
        _core.Batch()
    with pytest.raises(TypeError):
        _core.Record()
    empty = _core.Batch.__new__(_core.Batch)
    assert (len(empty), bytes(empty), bytes(empty.payload), _core.scan(empty)) == (0, b"", b"", [])
    with pytest.raises(BufferError):
        empty.assign(0, 0)
    record = _core.Record.__new__(_core.Record)
    assert (record.key, record.value, record.headers) == (None, None, [])


# ---- what is refused, by name ----

SOUND = build((1000, b"key", b"value", [("h", b"1")]), (1001, None, b"second"), leader_epoch=3)
IDEMPOTENT = build((1000, b"key", b"value"), producer_id=7, producer_epoch=0, base_sequence=0)


def test_nothing_is_no_batch():
    assert _core.scan(b"") == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"length": 48}, "batch length below the header's"),
        ({"length": -1}, "batch length below the header's"),
        ({"length": -(2**31)}, "batch length below the header's"),
        ({"magic": 0}, "magic 0: message format v0 is not supported"),
        ({"magic": 1}, "magic 1: message format v1 is not supported"),
        ({"magic": 3}, "unknown magic"),
        ({"magic": -1}, "unknown magic"),
        ({"length": 2**31 - 1}, "incomplete batch"),
        ({"crc": 0}, "CRC mismatch"),
        ({"attributes": 5}, "unknown codec"),
        ({"attributes": 7}, "unknown codec"),
        ({"base_offset": -1}, "invalid offset range"),
        ({"base_offset": 2**63 - 1}, "invalid offset range"),
        ({"last_offset_delta": -1, "count": 0}, "invalid offset range"),
        ({"count": 1}, "invalid record count"),
        ({"count": 3}, "invalid record count"),
        ({"count": -1}, "invalid record count"),
        ({"count": -(2**31)}, "invalid record count"),
        ({"last_offset_delta": 2}, "invalid record count"),
        ({"count": 2**31 - 1, "last_offset_delta": 2**31 - 2}, "invalid record count"),
        ({"producer_id": -2}, "invalid producer id or epoch"),
        ({"producer_id": 1, "producer_epoch": -1, "base_sequence": 0}, "invalid producer id or epoch"),
        ({"producer_id": 1, "producer_epoch": 0, "base_sequence": -1}, "invalid base sequence"),
        ({"attributes": 0x10}, "transactional batch without a producer id"),
    ],
)
def test_header_fields(changes, reason):
    bad = patched(SOUND, **changes)
    assert fault_of(bad) == (reason, 0)
    assert fault_of(IDEMPOTENT + bad + IDEMPOTENT) == (reason, len(IDEMPOTENT))


@pytest.mark.parametrize(
    "changes",
    [
        {"producer_epoch": 7, "base_sequence": 7},
        {"producer_epoch": -9, "base_sequence": 0},
        {"leader_epoch": -5},
        {"attributes": 0x40},
        {"attributes": -0x80},
        {"max_timestamp": -1},
        {"base_offset": 2**63 - 2},
    ],
)
def test_what_clients_fill_differently_is_accepted(changes):
    (batch,) = _core.scan(patched(SOUND, **changes))
    assert [batch.last_sequence, *(record.sequence for record in batch.records())] == [-1, -1, -1]


def test_a_control_record_names_its_type():
    assert fault_of(patched(SOUND, attributes=0x20)) == ("invalid control record", 61)  # its key has three bytes
    assert fault_of(patched(build((0, None, None)), attributes=0x20)) == ("invalid control record", 61)


def test_a_transaction_marker_is_accepted():
    marker = patched(build((5, b"\0\0\0\1", b"\0\0\0\0\0\0")), attributes=0x30, producer_id=4, producer_epoch=1, base_sequence=-1)
    (batch,) = _core.scan(marker)
    assert (batch.is_control, batch.is_transactional, batch.last_sequence) == (True, True, -1)


@pytest.mark.parametrize("size", range(len(SOUND)))
def test_every_truncation(size):
    cut = SOUND[:size]
    if size:
        assert fault_of(cut) == ("incomplete batch", 0)
        assert fault_of(SOUND + cut) == ("incomplete batch", len(SOUND))
    assert _core.scan(cut, allow_partial=True) == []
    assert len(_core.scan(SOUND + cut, allow_partial=True)) == 1


def test_a_partial_batch_is_only_ever_an_incomplete_one():
    assert fault_of(SOUND + patched(SOUND, crc=1), allow_partial=True)[0] == "CRC mismatch"
    assert fault_of(SOUND + SOUND[:16] + b"\1", allow_partial=True)[0].startswith("magic 1")
    assert fault_of(SOUND[:8] + b"\0\0\0\0" + SOUND[12:20], allow_partial=True)[0] == "batch length below the header's"


def test_every_flipped_bit_is_found():
    for position in range(16, len(SOUND)):
        for bit in range(8):
            broken = bytearray(SOUND)
            broken[position] ^= 1 << bit
            assert fault_of(broken)[0]


def test_the_size_limit_is_told_apart():
    assert len(_core.scan(SOUND * 3, max_batch_bytes=len(SOUND))) == 3
    with pytest.raises(_core.BatchTooLarge) as raised:
        _core.scan(IDEMPOTENT + SOUND, max_batch_bytes=len(SOUND) - 1)
    assert (raised.value.reason, raised.value.position) == ("batch larger than allowed", len(IDEMPOTENT))
    # Told from the first bytes: who promises too much need not be listened to.
    with pytest.raises(_core.BatchTooLarge):
        _core.scan(SOUND[:17], max_batch_bytes=80, allow_partial=True)


def test_errors_read_well_and_travel():
    error = _core.CorruptBatch("CRC mismatch", 12)
    assert (str(error), error.args) == ("CRC mismatch (at byte 12)", ("CRC mismatch", 12))
    assert isinstance(_core.BatchTooLarge("x"), ValueError)


def test_checks_that_were_not_asked_for_are_not_made():
    assert len(_core.scan(patched(SOUND, crc=0), check_crc=False)) == 1
    torn = patched(SOUND, payload=SOUND[61:-1] + b"\x7f")
    assert fault_of(torn)[0] == "invalid record headers"
    (batch,) = _core.scan(torn, check_records=False)
    records = batch.records()
    assert next(records).value == b"value"
    with pytest.raises(_core.CorruptBatch, match="headers"):
        next(records)
    assert list(records) == []


# ---- records ----


def varint(number):
    folded = (number << 1) ^ (number >> 63)
    encoded = bytearray()
    while folded >= 0x80:
        encoded.append(folded & 0x7F | 0x80)
        folded >>= 7
    return bytes([*encoded, folded])


def record(body, size=None):
    return varint(len(body) if size is None else size) + body


NULL = varint(-1)
PLAIN = b"\0" + varint(0) + varint(0) + NULL + NULL + varint(0)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (record(PLAIN, 5) + b"\0", "invalid record size"),
        (record(PLAIN, -1) + b"\0", "invalid record size"),
        (record(PLAIN, 7) + b"", "invalid record size"),
        (record(PLAIN + b"\0"), "invalid record size"),
        (record(PLAIN, 2**31 - 1), "invalid record size"),
        (b"\xff" * 7, "invalid record size"),
        (b"\x8c\x80\x80\x80\x10" + PLAIN, "invalid record size"),  # bits past 32
        (b"\x8c\x80\x80\x80\x80\x00" + PLAIN, "invalid record size"),  # six bytes
        (record(b"\0" + b"\xff" * 10 + PLAIN[2:]), "invalid record field"),  # a varlong of more than ten bytes
        (record(b"\0" + b"\xff" * 9 + b"\2" + PLAIN[2:]), "invalid record field"),  # bits past 64
        (record(b"\0\0" + varint(1) + NULL + NULL + b"\0"), "offset deltas out of order"),
        (record(b"\0\0" + varint(-1) + NULL + NULL + b"\0"), "offset deltas out of order"),
        (record(b"\0\0\0" + varint(-2) + NULL + b"\0"), "invalid record field"),
        (record(b"\0\0\0" + varint(3) + b"ab"), "invalid record field"),
        (record(b"\0\0\0" + varint(2**31 - 1) + NULL + b"\0"), "invalid record field"),
        (record(b"\0\0\0" + NULL + varint(-2) + b"\0"), "invalid record field"),
        (record(b"\0\0\0" + NULL + varint(3) + b"ab"), "invalid record field"),
        (record(b"\0\0\0" + NULL + varint(1) + b"\0"), "invalid record headers"),
        (record(b"\0\0\0" + NULL + NULL + varint(-1)), "invalid record headers"),
        (record(b"\0\0\0" + NULL + NULL + varint(1)), "invalid record headers"),
        (record(b"\0\0\0" + NULL + NULL + varint(2**31 - 1) + b"\0" * 40), "invalid record headers"),
        (record(b"\0\0\0" + NULL + NULL + varint(1) + NULL + NULL), "invalid record headers"),
        (record(b"\0\0\0" + NULL + NULL + varint(1) + b"\0" + varint(-2)), "invalid record headers"),
        (record(b"\0\0\0" + NULL + NULL + varint(1) + b"\0" + varint(1)), "invalid record headers"),
        (record(b"\0\0\0" + NULL + NULL + varint(1) + varint(2) + b"\0\0"), "invalid record headers"),
        (record(PLAIN) + b"\0", "bytes left after the last record"),
    ],
)
def test_record_bytes(payload, reason):
    bad = patched(build((0, None, None)), payload=payload)
    assert fault_of(bad)[0] == reason
    (batch,) = _core.scan(bad, check_records=False)
    with pytest.raises(_core.CorruptBatch, match=reason):
        list(batch.records())
    # The same bytes as a decompressed payload.
    compressed = patched(build((0, None, None)), payload=b"zipped", attributes=1)
    (batch,) = _core.scan(compressed)
    with pytest.raises(_core.CorruptBatch, match=reason):
        list(batch.records(payload))


def test_varints_of_any_length_up_to_the_longest():
    for size in (b"\x0c", b"\x8c\x00", b"\x8c\x80\x80\x80\x00"):
        (batch,) = _core.scan(patched(build((0, None, None)), payload=size + PLAIN))
        assert [(r.key, r.value) for r in batch.records()] == [(None, None)]


def test_the_position_is_that_of_the_bad_record():
    good = record(PLAIN)
    bad = patched(build((0, None, None), (0, None, None)), payload=good * 2)
    assert fault_of(SOUND + bad) == ("offset deltas out of order", len(SOUND) + 61 + len(good))


def test_a_count_that_the_bytes_cannot_hold_is_refused_before_a_record_is_read():
    bad = patched(SOUND, count=2**20, last_offset_delta=2**20 - 1)
    assert fault_of(bad, check_records=False)[0] == "invalid record count"
    # Compressed bytes may hold any number; the iterator stops at the payload's end.
    (batch,) = _core.scan(patched(SOUND, attributes=1, count=2**31 - 1, last_offset_delta=2**31 - 2))
    with pytest.raises(_core.CorruptBatch, match="invalid record size"):
        list(batch.records(b""))


# ---- compaction ----


def thinned(deltas, last_offset_delta, **changes):
    payload = b"".join(record(b"\0\0" + varint(delta) + NULL + NULL + b"\0") for delta in deltas)
    return patched(SOUND, payload=payload, count=len(deltas), last_offset_delta=last_offset_delta, **changes)


@pytest.mark.parametrize(("deltas", "last"), [([], 0), ([], 9), ([0], 5), ([3], 3), ([1, 4, 9], 9), ([0, 1, 2], 9), ([0, 1], 1)])
def test_compacted_batches(deltas, last):
    encoded = thinned(deltas, last, base_offset=100)
    (batch,) = _core.scan(encoded, compacted=True)
    assert [r.offset for r in batch.records()] == [100 + delta for delta in deltas]
    assert batch.last_offset == 100 + last
    if deltas != list(range(last + 1)):
        assert fault_of(encoded)[0] == "invalid record count"


@pytest.mark.parametrize(
    ("deltas", "last", "reason"),
    [
        ([0, 0], 5, "offset deltas out of order"),
        ([2, 1], 5, "offset deltas out of order"),
        ([-1], 5, "offset deltas out of order"),
        ([6], 5, "offset deltas out of order"),
        ([0, 1, 2], 1, "invalid record count"),
    ],
)
def test_no_compaction_leaves_this(deltas, last, reason):
    encoded = thinned(deltas, last)
    assert fault_of(encoded, compacted=True)[0] == reason
    if reason != "invalid record count":
        (batch,) = _core.scan(encoded, compacted=True, check_records=False)
        with pytest.raises(_core.CorruptBatch, match=reason):
            list(batch.records())


def test_an_emptied_batch_keeps_its_producer():
    encoded = thinned([], 4, producer_id=8, producer_epoch=1, base_sequence=2**31 - 2, base_timestamp=-1)
    (batch,) = _core.scan(encoded, compacted=True)
    assert (batch.count, batch.last_sequence, list(batch.records())) == (0, 2, [])
