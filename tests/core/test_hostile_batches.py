"""Batches that somebody made to break the core.

Two judges: a reference checker in plain Python, written from the rules at the top of native/batch.pxi, must accept exactly what
the core accepts and see the same records; and the bytes lie at the very end of a mapping whose next page may not be touched, so
that reading one byte too far ends the process.
"""

import ctypes
import mmap
import random
import struct

import crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlog import _core

PAGES = 12
FIELD_POSITIONS = {"q": [0, 27, 35, 43], "i": [8, 12, 17, 23, 53, 57], "h": [21, 51], "b": [16]}
EXTREMES = [0, 1, -1, 2, -2, 7, 48, 49, 50, 127, -128, 2**15 - 1, -(2**15), 2**31 - 1, -(2**31), 2**31 - 13, 2**63 - 1, -(2**63)]


class Guarded:
    """Memory that ends where the process may read no further."""

    def __init__(self):
        self.size = PAGES * mmap.PAGESIZE
        self.memory = mmap.mmap(-1, self.size + mmap.PAGESIZE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        assert libc.mprotect(start + self.size, mmap.PAGESIZE, 0) == 0

    def place(self, data):
        start = self.size - len(data)
        self.memory[start : self.size] = bytes(data)
        return memoryview(self.memory)[start : self.size]


GUARDED = Guarded()


# ---- the reference ----


class Refused(Exception):
    pass


def refuse_unless(fine):
    if not fine:
        raise Refused


def read_varint(data, at, bits):
    gathered = 0
    for index in range((bits + 6) // 7):
        refuse_unless(at < len(data))
        gathered |= (data[at] & 0x7F) << (7 * index)
        at += 1
        if data[at - 1] < 0x80:
            refuse_unless(gathered < 1 << bits)
            return (gathered >> 1) ^ -(gathered & 1), at
    raise Refused


def read_field(data, at, least=-1):
    size, at = read_varint(data, at, 32)
    refuse_unless(least <= size <= len(data) - at)
    return (None, at) if size == -1 else (data[at : at + size], at + size)


def read_records(payload, count):
    at, records = 0, []
    for _ in range(count):
        size, at = read_varint(payload, at, 32)
        refuse_unless(6 <= size <= len(payload) - at)
        body, at = payload[at : at + size], at + size
        timestamp_delta, cursor = read_varint(body, 1, 64)
        offset_delta, cursor = read_varint(body, cursor, 32)
        key, cursor = read_field(body, cursor)
        value, cursor = read_field(body, cursor)
        header_count, cursor = read_varint(body, cursor, 32)
        refuse_unless(0 <= header_count <= (len(body) - cursor) // 2)
        headers = []
        for _ in range(header_count):
            name, cursor = read_field(body, cursor, 0)
            header_value, cursor = read_field(body, cursor)
            headers.append((name.decode("utf-8", "surrogateescape"), header_value))
        refuse_unless(cursor == len(body))
        records.append((offset_delta, timestamp_delta, key, value, headers))
    refuse_unless(at == len(payload))
    return records


def reference(data, compacted):
    """Return [(header fields, records or None)] of the batches that fill `data`, or raise Refused."""
    batches = []
    while data:
        refuse_unless(len(data) >= 61)
        header = struct.unpack(">qiibIhiqqqhii", data[:61])
        base_offset, length, _, magic, crc, attributes, last_delta, _, _, producer_id, epoch, sequence, count = header
        refuse_unless(magic == 2 and 49 <= length <= len(data) - 12)
        batch, data = data[: length + 12], data[length + 12 :]
        refuse_unless(crc32c.crc32c(batch[21:]) == crc and attributes & 7 <= 4)
        refuse_unless(base_offset >= 0 and last_delta >= 0 and base_offset + last_delta < 2**63)
        refuse_unless(0 <= count <= last_delta + 1 and (compacted or count == last_delta + 1))
        refuse_unless(producer_id >= -1 and (producer_id == -1 or epoch >= 0))
        refuse_unless(producer_id == -1 or sequence >= 0 or attributes & 0x20)
        refuse_unless(producer_id >= 0 or not attributes & 0x10)
        records = None
        if not attributes & 7:
            refuse_unless(count <= len(batch) - 61)
            records = read_records(batch[61:], count)
            deltas = [record[0] for record in records]
            refuse_unless(deltas == sorted(set(deltas)) and all(0 <= delta <= last_delta for delta in deltas))
            refuse_unless(compacted or deltas == list(range(count)))
            refuse_unless(not attributes & 0x20 or all(key is not None and len(key) >= 4 for _, _, key, _, _ in records))
        batches.append((header, records))
    return batches


# ---- the attack ----


def build(rng):
    producer = {"producer_id": 5, "producer_epoch": 0, "base_sequence": 2**31 - 2} if rng.random() < 0.4 else {}
    builder = _core.BatchBuilder(base_offset=rng.choice([0, 1, 2**40]), **producer)
    for _ in range(rng.randint(1, 5)):
        field = rng.choice([None, b"", b"key!", bytes(70), bytes(200)])
        headers = [(rng.choice(["", "name"]), rng.choice([None, b"", b"x"])) for _ in range(rng.choice([0, 0, 1, 3]))]
        builder.append(rng.choice([0, 1000, -1, 2**62, -(2**62)]), field, rng.choice([None, b"", b"value", bytes(300)]), headers)
    return bytearray(builder.build())


def attack(rng, batch):
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        kind = rng.random()
        if kind < 0.35 and len(batch) > 61:
            position = rng.randrange(61, len(batch))
            batch[position] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, batch[position] ^ 1 << rng.randrange(8), rng.randrange(256)])
        elif kind < 0.6:
            code = rng.choice("qiihb")
            position = rng.choice(FIELD_POSITIONS[code])
            size = struct.calcsize(code)
            if len(batch) >= position + size:
                now = int.from_bytes(batch[position : position + size], "big", signed=True)
                value = rng.choice([*EXTREMES, now + 1, now - 1]) & (1 << 8 * size) - 1
                batch[position : position + size] = value.to_bytes(size, "big")
        elif kind < 0.75:
            del batch[rng.randrange(len(batch) + 1) :]
        elif kind < 0.9 and len(batch) >= 61:
            position = rng.randrange(61, len(batch) + 1)
            batch[position:position] = rng.choice([b"\0", b"\xff", b"\x80", b"\xff" * 10, bytes(7)])
        elif len(batch) > 62:
            position = rng.randrange(61, len(batch))
            del batch[position : position + rng.randint(1, 4)]
    if len(batch) >= 61:
        if rng.random() < 0.8:
            batch[8:12] = struct.pack(">i", len(batch) - 12)
        if rng.random() < 0.95:
            batch[17:21] = crc32c.crc32c(batch[21:]).to_bytes(4, "big")


def signed_long(number):
    return (number + 2**63) % 2**64 - 2**63


def judge(data, compacted):
    """Compare the core with the reference; return whether the bytes were accepted."""
    memory = GUARDED.place(data)
    try:
        expected = reference(data, compacted)
    except Refused:
        with pytest.raises(_core.CorruptBatch) as raised:
            _core.scan(memory, compacted=compacted)
        assert 0 <= raised.value.position <= len(data)
        # A reader that skipped the checks meets the same bytes: it may see an error, never other memory.
        try:
            for batch in _core.scan(memory, check_crc=False, check_records=False, compacted=True, allow_partial=True):
                for payload in (None, memory) if not batch.codec else (memory,):
                    for record in batch.records(payload):
                        assert sum(map(len, filter(None, (record.key, record.value)))) <= len(data)
                        assert len(record.headers) <= len(data)
        except _core.CorruptBatch as error:
            assert error.reason
        return False
    batches = _core.scan(memory, compacted=compacted)
    assert len(batches) == len(expected)
    for batch, (header, records) in zip(batches, expected, strict=True):
        assert (batch.base_offset, batch.size_bytes - 12, batch.leader_epoch, 2, batch.crc, batch.attributes) == header[:6]
        assert (batch.last_offset_delta, batch.base_timestamp_ms, batch.max_timestamp_ms, batch.producer_id) == header[6:10]
        assert (batch.producer_epoch, batch.base_sequence, batch.count) == header[10:]
        if records is not None:
            append_time = batch.is_log_append_time
            assert [
                (
                    record.offset - batch.base_offset,
                    None if append_time else record.timestamp_ms,
                    None if record.key is None else bytes(record.key),
                    None if record.value is None else bytes(record.value),
                    [(name, None if value is None else bytes(value)) for name, value in record.headers],
                )
                for record in batch.records()
            ] == [
                (delta, None if append_time else signed_long(batch.base_timestamp_ms + timestamp), key, value, headers)
                for delta, timestamp, key, value, headers in records
            ]
    return True


def attacks(seed, rounds):
    rng = random.Random(seed)
    accepted = 0
    for _ in range(rounds):
        data = bytearray()
        for _ in range(rng.choice([1, 1, 1, 2])):
            batch = build(rng)
            attack(rng, batch)
            data += batch
        accepted += judge(bytes(data[: GUARDED.size]), rng.random() < 0.5)
    return accepted


@pytest.mark.parametrize("seed", range(4))
def test_mutated_batches(seed):
    accepted = attacks(seed, 1000)
    assert 100 < accepted < 900, "the attacks must reach both sides of the checks"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_many_mutated_batches(seed):
    attacks(seed, 10_000)


@pytest.mark.parametrize("value_bytes", [2, 17, 25, 57, 58, 63, 64, 100, 8191, 8192])
@pytest.mark.parametrize("key", [None, b"", b"k" * 9, b"k" * 64], ids=["no key", "empty", "short", "long"])
def test_every_byte_of_records_as_nearly_all_are(value_bytes, key):
    """What the walk takes at a glance is what the reference takes: each byte of the sizes and deltas, changed to much else."""
    builder = _core.BatchBuilder()
    for timestamp_ms in (1000, 1000, 1064, 10_000):
        builder.append(timestamp_ms, key, b"v" * value_bytes)
    sound = bytearray(builder.build())
    assert judge(bytes(sound), compacted=False)
    accepted = 0
    for position in range(61, len(sound)):
        if sound[position] in b"vk" and sound[position] == sound[position - 1]:
            continue
        for value in (0, 1, 2, 3, 0x3F, 0x40, 0x7F, 0x80, 0x81, 0xFE, 0xFF, sound[position] ^ 1, sound[position] ^ 0x80):
            batch = bytearray(sound)
            batch[position] = value
            batch[17:21] = crc32c.crc32c(batch[21:]).to_bytes(4, "big")
            accepted += judge(bytes(batch), compacted=False)
    assert accepted > 50


def test_offset_deltas_of_every_length():
    builder = _core.BatchBuilder()
    places = [builder.append(1000, None, b"v" * 20) and builder.size_bytes for _ in range(8195)]
    sound = builder.build()
    assert [record.offset for record in _core.scan(sound)[0].records()] == list(range(8195))
    for index in (63, 64, 127, 128, 8191, 8192, 8193):
        for position in range(places[index - 1], places[index] - 20):
            for value in (0, 1, 0x7F, 0x80, 0x81):
                batch = bytearray(sound)
                batch[position] = value
                batch[17:21] = crc32c.crc32c(batch[21:]).to_bytes(4, "big")
                [mended] = _core.scan(batch, check_records=False)
                try:
                    deltas = [record.offset for record in mended.records()]
                except _core.CorruptBatch:
                    deltas = []
                if deltas == list(range(8195)):
                    _core.scan(batch)
                else:
                    with pytest.raises(_core.CorruptBatch):
                        _core.scan(batch)


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=200)
def test_any_bytes(data, compacted):
    judge(data, compacted)


@given(st.binary(max_size=120), st.integers(0, 8), st.booleans())
@settings(max_examples=200)
def test_any_payload_behind_a_sound_header(payload, count, compacted):
    batch = bytearray(struct.pack(">qiibIhiqqqhii", 0, 49 + len(payload), 0, 2, 0, 0, max(0, count - 1), 0, 0, -1, -1, -1, count))
    batch += payload
    batch[17:21] = crc32c.crc32c(batch[21:]).to_bytes(4, "big")
    judge(bytes(batch), compacted)


def test_checksums_and_hashes_end_where_the_memory_ends():
    for size in [*range(100), 3071, 3072, 3080, 12288, 20001]:
        memory = GUARDED.place(bytes(range(256)) * 100)[25600 - size :]
        assert _core.crc32c(memory) == crc32c.crc32c(memory)
        assert _core.murmur2(memory) == _core.murmur2(bytes(memory))
