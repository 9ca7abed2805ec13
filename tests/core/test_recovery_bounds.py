"""What a recovery holds in memory is bounded, whatever the log says; what it tells of producers is all that a replay needs"""

import random
import struct
import tracemalloc
from types import SimpleNamespace

import pytest

from fastlog import _core
from fastlog.storage.producer_state import MAX_PRODUCERS, ProducerState

MIB = 1 << 20
TRANSACTIONAL, CONTROL = 0x10, 0x20


def peak_of(action):
    """Return (what it returned, the bytes that it had at most)."""
    tracemalloc.start()
    try:
        return action(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def write_log(directory, data, size=None):
    path = directory.name(0, "log")
    with open(path, "wb") as file:
        file.write(data)
        file.truncate(len(data) if size is None else size)


# ---- lengths that lie ----


def test_a_corrupt_length_asks_for_no_memory(real_directory, batch):
    first, lying = bytes(batch(0)), bytearray(batch(1))
    lying[8:12] = struct.pack(">i", 200 * MIB)
    write_log(real_directory, first + lying, 256 * MIB)
    segment = real_directory.segment(next_offset=2)
    _, peak = peak_of(segment.recover)
    assert (segment.size_bytes, segment.next_offset) == (len(first), 1)
    assert peak < MIB


@pytest.mark.parametrize("around", [-1, 0, 1, 62, 100_000, 700_000])
def test_batches_about_as_large_as_what_is_read_at_once(directory, batch, around):
    segment = directory.segment()
    large = batch(3, value=bytes((256 << 10) - 61 - 20 + around))
    for number, one in enumerate([batch(0), batch(1, [5, 6]), large, batch(4), batch(5, value=bytes(300_000)), batch(6)]):
        assert number != 2 or len(one) > 200_000
        segment.append([one])
    expected = (segment.next_offset, segment.size_bytes, segment.offset_index.entries(), segment.max_timestamp_ms)
    segment.recover()
    assert (segment.next_offset, segment.size_bytes, segment.offset_index.entries(), segment.max_timestamp_ms) == expected


@pytest.mark.parametrize("place", [70, 200_000, 299_999, -1])
def test_a_flipped_bit_in_a_large_batch_is_found(directory, batch, place):
    segment = directory.segment()
    segment.append([batch(0), batch(1, value=bytes(600_000)), batch(2)])
    _, position, size = segment.find(1)
    segment.log.pwritev([b"\x55"], position + place % size)
    segment.recover()
    assert (segment.next_offset, segment.size_bytes) == (1, position)


def test_a_large_batch_that_is_cut_short(directory, batch):
    segment = directory.segment()
    segment.append([batch(0), batch(1, value=bytes(600_000))])
    _, position, _ = segment.find(1)
    segment.log.ftruncate(segment.size_bytes - 1)
    segment.recover()
    assert (segment.next_offset, segment.size_bytes) == (1, position)


# ---- producers ----


def tiny_batches(count, producer_of):
    """Return a log of `count` batches of one record each."""
    out = bytearray()
    made = {}
    for offset in range(count):
        producer_id = producer_of(offset)
        if producer_id not in made:
            builder = _core.BatchBuilder(producer_id=producer_id, producer_epoch=0, base_sequence=0)
            builder.append(1, None, b"")
            made[producer_id] = builder.build()
        out += struct.pack(">q", offset) + made[producer_id][8:]
    return out


@pytest.mark.parametrize("how", ["recover", "producer_batches"])
def test_many_batches_of_one_producer_are_not_kept(real_directory, how):
    count = 300_000
    write_log(real_directory, tiny_batches(count, lambda offset: 7))
    segment = real_directory.segment(next_offset=count)
    told, peak = peak_of(segment.recover if how == "recover" else lambda: segment.producer_batches(0))
    assert [one.base_offset for one in told] == list(range(count - 5, count))
    assert peak < 16 * MIB


def test_as_many_producers_are_told_as_are_remembered(real_directory):
    count = 3 * MAX_PRODUCERS
    write_log(real_directory, tiny_batches(count, lambda offset: offset))
    told, peak = peak_of(real_directory.segment(next_offset=count).recover)
    assert [one.producer_id for one in told] == list(range(count - MAX_PRODUCERS, count))
    assert peak < 48 * MIB


def test_what_a_segment_left_out_is_forgotten(real_directory):
    """A producer that a snapshot knows, and whose later batches were too long ago to be told, is not held to the snapshot."""
    state = ProducerState()
    old = SimpleNamespace(
        producer_id=1 << 40, producer_epoch=0, base_sequence=3, last_sequence=3, base_offset=0, last_offset=0, max_timestamp_ms=1,
        is_transactional=False, is_control=False,
    )  # fmt: skip
    state.replay(old, 1)
    write_log(real_directory, tiny_batches(MAX_PRODUCERS, lambda offset: offset))
    state.replay_all(real_directory.segment(next_offset=MAX_PRODUCERS).recover(), 2)
    assert 1 << 40 not in state.entries
    assert len(state.entries) == MAX_PRODUCERS


def history(chance):
    """Return (batches as a log may have them, the same as a replay takes them)."""
    batches, replayed = [], []
    epochs = dict.fromkeys(range(1, 5), 0)
    for offset in range(chance.randint(1, 120)):
        producer_id = chance.randint(1, 4)
        epochs[producer_id] += chance.random() < 0.1  # they never go back
        epoch = epochs[producer_id]
        kind = chance.choice([0, 0, TRANSACTIONAL, TRANSACTIONAL, TRANSACTIONAL | CONTROL])
        sequence = -1 if kind & CONTROL else offset
        builder = _core.BatchBuilder(
            base_offset=offset, producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence, attributes=kind
        )
        builder.append(offset, b"\0\0\0\1", b"")
        batches += _core.scan(bytearray(builder.build()))
        replayed.append(
            SimpleNamespace(
                producer_id=producer_id,
                producer_epoch=epoch,
                base_sequence=sequence,
                last_sequence=sequence,
                base_offset=offset,
                last_offset=offset,
                max_timestamp_ms=offset,
                is_transactional=bool(kind & TRANSACTIONAL),
                is_control=bool(kind & CONTROL),
            )
        )
    return batches, replayed


def state_of(batches):
    state = ProducerState()
    state.replay_all(batches, 5)
    return (
        {
            producer_id: (entry.epoch, entry.batches, entry.transaction_first_offset, entry.coordinator_epoch)
            for producer_id, entry in state.entries.items()
        },
        state.first_unstable_offset,
    )


@pytest.mark.parametrize("seed", range(60))
def test_a_replay_of_what_is_told_gives_what_a_replay_of_all_gives(real_directory, seed):
    batches, replayed = history(random.Random(seed))
    segment = real_directory.segment()
    segment.append(batches)
    told = segment.recover()
    assert state_of(told) == state_of(replayed)
    assert [repr(one) for one in segment.producer_batches(0)] == [repr(one) for one in told]


# ---- offsets that nobody has ----


def test_minus_one_is_no_place_that_was_forgotten(real_directory, batch):
    """Free places of the segment's short memory are marked by -1, and keep the position that they had."""
    segment = real_directory.segment()
    for offset in range(8):
        segment.append([batch(offset)])
    segment.truncate(2)
    segment.append([batch(offset, value=b"other sizes" * offset) for offset in range(2, 9)])
    assert segment.find(-1) == segment.find(0) == (0, 0, len(bytes(batch(0))))
    for offset in (-1, -2, -(1 << 63)):
        assert bytes(memoryview(segment.read(offset, 1 << 20))) == bytes(memoryview(segment.read(0, 1 << 20)))
