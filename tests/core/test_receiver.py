"""Receiver: any stream of frames comes out whole whatever the pieces it arrives in, and memory follows what arrived."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fastlog._core import FrameError, Receiver

MAX_FRAME_BYTES = 100_000
RETAINED_MOST_BYTES = (1 << 20) + (64 << 10)


def frame_of(payload):
    return len(payload).to_bytes(4, "big") + payload


def feed(receiver, data):
    """Let `data` arrive as fast as the receiver takes it; return the largest memory it held and the frames cut on the way."""
    data, frames, most = memoryview(data), [], 0
    while data:
        with memoryview(receiver) as room:
            assert not room.readonly
            count = min(len(room), len(data))
            assert count > 0
            room[:count] = data[:count]
        receiver.received(count)
        most = max(most, receiver.reserved_bytes)
        data = data[count:]
        while (frame := receiver.next_frame()) is not None:
            frames.append(frame)
    return most, frames


class ReceiverMachine(RuleBasedStateMachine):
    """Bytes in pieces of any size, frames taken at any time, slices kept and dropped at any time."""

    def __init__(self):
        super().__init__()
        self.receiver = Receiver(MAX_FRAME_BYTES)
        self.expected = []  # payloads sent and not yet cut
        self.unsent = bytearray()
        self.kept = []  # (slice, what it must hold)
        self.arrived = 0
        self.frames_sent = 0

    @rule(size=st.one_of(st.integers(0, 300), st.integers(0, 9000), st.integers(0, MAX_FRAME_BYTES)))
    def send(self, size):
        self.frames_sent += 1
        payload = bytes([self.frames_sent % 251]) * size
        self.expected.append(payload)
        self.unsent += frame_of(payload)

    @precondition(lambda self: self.unsent)
    @rule(size=st.one_of(st.integers(1, 8), st.integers(1, 5000), st.just(MAX_FRAME_BYTES)))
    def arrive(self, size):
        with memoryview(self.receiver) as room:
            count = min(size, len(room), len(self.unsent))
            room[:count] = self.unsent[:count]
        del self.unsent[:count]
        self.receiver.received(count)
        self.arrived += count

    @rule(keep=st.booleans())
    def cut(self, keep):
        frame = self.receiver.next_frame()
        if frame is None:
            assert (
                self.receiver.buffered_bytes < 4 + len(self.expected[0]) if self.expected else self.receiver.buffered_bytes == 0
            )
            return
        payload = self.expected.pop(0)
        assert bytes(frame) == payload
        if keep:
            self.kept.append((frame, payload))

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def drop(self, data):
        self.kept.pop(data.draw(st.integers(0, len(self.kept) - 1)))

    @rule()
    def trim(self):
        self.receiver.trim()
        assert self.receiver.buffered_bytes == 0 or self.receiver.reserved_bytes > 0

    @invariant()
    def kept_slices_are_unharmed(self):
        assert all(bytes(frame) == payload for frame, payload in self.kept)

    @invariant()
    def memory_follows_what_arrived(self):
        assert self.receiver.reserved_bytes <= 4096 + 2 * self.arrived
        assert self.receiver.buffered_bytes == sum(4 + len(p) for p in self.expected) - len(self.unsent)


TestReceiverMachine = ReceiverMachine.TestCase
TestReceiverMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


@pytest.mark.slow
def test_receiver_machine_at_length():
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(ReceiverMachine, settings=settings(max_examples=400, stateful_step_count=80, deadline=None))


@given(st.lists(st.binary(max_size=40), max_size=30))
@settings(max_examples=30, deadline=None)
def test_frames_byte_by_byte(payloads):
    receiver, frames = Receiver(100), []
    for byte in b"".join(map(frame_of, payloads)):
        frames += feed(receiver, bytes([byte]))[1]
    assert list(map(bytes, frames)) == payloads
    assert receiver.buffered_bytes == 0


@pytest.mark.parametrize("size", [-1, -(1 << 31), 101, 1195725856])
def test_impossible_size_is_refused_without_memory(size):
    receiver = Receiver(100)
    with memoryview(receiver) as room:
        room[:4] = size.to_bytes(4, "big", signed=True)
    receiver.received(4)
    before = receiver.reserved_bytes
    for _ in range(2):
        with pytest.raises(FrameError, match=str(size)):
            receiver.next_frame()
    assert receiver.reserved_bytes == before <= 4096


def test_largest_frame_is_allowed():
    receiver = Receiver(100)
    assert list(map(len, feed(receiver, frame_of(bytes(100)))[1])) == [100]


def test_a_promise_takes_no_memory():
    receiver = Receiver(100 << 20)
    feed(receiver, (100 << 20).to_bytes(4, "big"))
    assert receiver.reserved_bytes == 4096
    for arrived in range(4, 20_000, 500):
        feed(receiver, bytes(500))
        assert receiver.reserved_bytes <= max(4096, 2 * (arrived + 500))


def test_a_large_frame_ends_in_a_chunk_of_its_size():
    receiver = Receiver(100 << 20)
    most, frames = feed(receiver, frame_of(bytes(10_000_000)))
    assert most == 10_000_004
    assert receiver.reserved_bytes == 0  # the frame has it now
    del frames
    feed(receiver, frame_of(b"small"))
    assert receiver.reserved_bytes <= RETAINED_MOST_BYTES


def test_a_connection_of_large_frames_receives_them_in_one_piece():
    receiver, data = Receiver(1 << 20), frame_of(bytes(500_000))
    feed(receiver, data)
    for _ in range(20):
        with memoryview(receiver) as room:
            assert len(room) >= len(data)
            room[: len(data)] = data
        receiver.received(len(data))
        assert len(receiver.next_frame()) == 500_000
        assert receiver.reserved_bytes <= RETAINED_MOST_BYTES


def test_small_frames_share_a_chunk_and_it_is_used_again():
    receiver = Receiver(1000)
    _, frames = feed(receiver, b"".join(frame_of(bytes([i]) * 20) for i in range(20)))
    assert [bytes(frame) for frame in frames] == [bytes([i]) * 20 for i in range(20)]
    assert receiver.reserved_bytes == 4096
    del frames
    for _ in range(1000):
        feed(receiver, frame_of(bytes(900)))
        assert receiver.reserved_bytes == 4096


def test_a_rush_widens_the_chunk_and_is_forgotten():
    receiver = Receiver(1000)
    rush = b"".join(frame_of(bytes(200)) for _ in range(5000))
    feed(receiver, rush)
    wide = receiver.reserved_bytes
    assert 64 << 10 <= wide <= 512 << 10
    for _ in range(500):
        feed(receiver, frame_of(bytes(200)))
    assert receiver.reserved_bytes < wide // 4


def test_idle_receiver_gives_its_memory_back():
    receiver = Receiver(1000)
    assert receiver.reserved_bytes == 0
    _, frames = feed(receiver, frame_of(b"abc"))
    receiver.trim()
    assert receiver.reserved_bytes == 0
    assert bytes(frames[0]) == b"abc"
    feed(receiver, b"\0\0\0\5ab")
    receiver.trim()
    assert (receiver.buffered_bytes, receiver.reserved_bytes) == (6, 4096)
    assert [bytes(frame) for frame in feed(receiver, b"cde")[1]] == [b"abcde"]


def test_a_view_outlives_changes():
    receiver = Receiver(1 << 20)
    view = memoryview(receiver)
    view[:7] = frame_of(b"abc")
    receiver.received(7)
    frame = receiver.next_frame()
    receiver.trim()
    feed(receiver, frame_of(bytes(100_000)))
    view[4:7] = b"xyz"  # still the first chunk's memory
    assert bytes(frame) == b"xyz"


def test_received_must_fit_what_was_offered():
    receiver = Receiver(1000)
    for count in (1, -1):
        with pytest.raises(ValueError, match="bytes cannot have been received"):
            receiver.received(count)
    with memoryview(receiver) as room:
        offered = len(room)
    with pytest.raises(ValueError, match="bytes cannot have been received"):
        receiver.received(offered + 1)
    with pytest.raises(ValueError, match="negative"):
        Receiver(-1)


def test_room_that_was_offered_is_gone_with_its_chunk():
    receiver = Receiver(2 * RETAINED_MOST_BYTES)
    payload = bytes(RETAINED_MOST_BYTES + 1)
    view = memoryview(frame_of(payload))
    while view:
        with memoryview(receiver) as room:
            count = min(len(room), len(view))
            room[:count] = view[:count]
        receiver.received(count)
        view = view[count:]
    with memoryview(receiver) as room:
        offered = len(room)
    assert offered >= 4
    assert len(receiver.next_frame()) == len(payload)
    with pytest.raises(ValueError, match="cannot have been received"):
        receiver.received(4)


def test_what_a_large_frame_is_shows_before_all_of_it_has_come():
    receiver = Receiver(MAX_FRAME_BYTES)
    feed(receiver, frame_of(bytes(MAX_FRAME_BYTES)) + frame_of(b"\0\x03\0\x0c" + bytes(MAX_FRAME_BYTES - 4))[:60_000])
    assert receiver.large_begin() is None
    feed(receiver, bytes(10_000))
    assert receiver.large_begin() == (3, 12)
