import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlog._core import crc32c, scan
from fastlog.errors import CorruptRecord, InvalidProducerEpoch, InvalidRecord, OutOfOrderSequenceNumber
from fastlog.storage import producer_state
from fastlog.storage.producer_state import ProducerState

MOST = (1 << 31) - 1


@pytest.fixture
def append(batch):
    """append(state, producer id, epoch, first sequence, count=1, at=base offset) -> what `check` said."""

    def append_one(state, producer_id, epoch, sequence, count=1, *, at=0, now_ms=0, attributes=0):
        data = batch([b"v"] * count, producer=(producer_id, epoch, sequence), attributes=attributes, base_offset=at)
        made = scan(data)[0]
        known = state.check(producer_id, epoch, made.base_sequence, made.last_sequence)
        if known is None:
            state.append(made, now_ms)
        return known

    return append_one


def test_sequences_must_follow(append):
    state = ProducerState()
    append(state, 7, 0, 0, 3, at=100)
    append(state, 7, 0, 3, at=103)
    with pytest.raises(OutOfOrderSequenceNumber):
        append(state, 7, 0, 5)
    with pytest.raises(OutOfOrderSequenceNumber):
        append(state, 7, 0, 1)
    append(state, 7, 0, 4, at=104)


def test_a_repetition_of_one_of_the_last_five_is_known_by_its_offset(append):
    state = ProducerState()
    for sequence in range(7):
        append(state, 7, 0, 2 * sequence, 2, at=100 + 2 * sequence)
    for sequence in range(2, 7):
        assert append(state, 7, 0, 2 * sequence, 2)[2:4] == (100 + 2 * sequence, 101 + 2 * sequence)
    with pytest.raises(OutOfOrderSequenceNumber):
        append(state, 7, 0, 2, 2)
    with pytest.raises(OutOfOrderSequenceNumber):
        append(state, 7, 0, 12, 1)  # begins like the last batch, and is shorter


def test_an_unknown_producer_begins_anywhere(append):
    state = ProducerState()
    assert append(state, 7, 5, 41) is None
    assert append(state, 7, 5, 42) is None


def test_epochs(append):
    state = ProducerState()
    append(state, 7, 1, 10)
    with pytest.raises(InvalidProducerEpoch):
        append(state, 7, 0, 11)
    with pytest.raises(OutOfOrderSequenceNumber):
        append(state, 7, 2, 11)
    append(state, 7, 2, 0)
    with pytest.raises(InvalidProducerEpoch):
        append(state, 7, 1, 11)
    with pytest.raises(InvalidRecord):
        state.check(7, 2, -1, -1)


def test_sequences_wrap(append):
    state = ProducerState()
    append(state, 7, 0, MOST - 1, 1)
    append(state, 7, 0, MOST, 3, at=1)  # MOST, 0, 1
    assert append(state, 7, 0, MOST, 3)[2] == 1
    append(state, 7, 0, 2, at=4)


def test_a_failed_write_takes_everything_back(append):
    state = ProducerState()
    append(state, 1, 0, 0)
    append(state, 3, 4, 0)
    state.commit()
    before = state.snapshot()
    for sequence in range(1, 8):
        append(state, 1, 0, sequence, at=sequence)
    append(state, 2, 0, 0, at=8)
    append(state, 3, 5, 0, at=9, attributes=0x10)
    assert state.first_unstable_offset == 9
    state.roll_back()
    assert state.snapshot() == before
    assert state.first_unstable_offset is None
    append(state, 1, 0, 1)


def test_silent_producers_are_forgotten_unless_they_have_an_open_transaction(append):
    state = ProducerState()
    append(state, 1, 0, 0, now_ms=1000)
    append(state, 2, 0, 0, now_ms=2000)
    append(state, 3, 0, 0, now_ms=1000, attributes=0x10)
    state.commit()
    state.expire(1500)
    assert list(state.entries) == [2, 3]
    assert append(state, 1, 0, 77) is None


def test_producer_ids_are_bounded(append, monkeypatch):
    monkeypatch.setattr(producer_state, "MAX_PRODUCERS", 32)
    monkeypatch.setattr(producer_state, "EVICTED_AT_ONCE", 4)
    state = ProducerState()
    for producer_id in range(100):
        append(state, producer_id, 0, 0, now_ms=producer_id)
        state.commit()
        assert len(state.entries) <= 32
    assert min(state.entries) > 60, "the longest silent go first"


def test_snapshots_are_what_kafka_reads(append):
    state = ProducerState()
    append(state, 7, 2, 5, 3, at=100)
    state.commit()
    data = state.snapshot()
    version, crc, count = struct.unpack_from(">hIi", data)
    assert (version, count) == (1, 1)
    assert crc == crc32c(data[6:])
    assert struct.unpack_from(">qhiqiqiq", data, 10) == (7, 2, 7, 102, 2, 1_700_000_000_000, -1, -1)
    assert len(data) == 56


def test_a_snapshot_remembers_five_batches(append):
    state = ProducerState()
    for sequence in range(8):
        append(state, 7, 2, sequence, at=100 + sequence)
    append(state, 8, 0, MOST, 2, at=200, attributes=0x10)
    state.commit()
    loaded = ProducerState()
    loaded.load(state.snapshot(), "p", 5)
    for sequence in range(3, 8):
        assert append(loaded, 7, 2, sequence)[2] == 100 + sequence
    assert append(loaded, 8, 0, MOST, 2)[2:4] == (200, 201)
    assert loaded.first_unstable_offset == 200
    assert loaded.snapshot() == state.snapshot()


@given(st.data())
def test_a_damaged_snapshot_is_told(data):
    state = ProducerState()
    good = state.snapshot()
    bad = bytearray(struct.pack(">hIi", 1, 0, 1) + bytes(46))
    struct.pack_into(">I", bad, 2, crc32c(bad[6:]))
    state.load(bytes(bad), "p", 0)
    bad[data.draw(st.integers(0, len(bad) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CorruptRecord, match="some/path"):
        state.load(bytes(bad), "some/path", 0)
    with pytest.raises(CorruptRecord):
        state.load(good[: data.draw(st.integers(0, len(good) - 1))], "p", 0)
