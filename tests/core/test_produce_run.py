"""Runs of Produce requests: seen, checked and answered as the same requests are one by one."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastlog import _core
from fastlog._core import BatchBuilder, Receiver
from fastlog.wire.frames import encode_request
from fastlog.wire.messages.fetch import FetchRequest
from fastlog.wire.messages.produce import ProduceRequest

VERSIONS = range(3, 14)
MANY = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
MOST_REQUESTS = 64
NO_LIMITS = (1 << 30, 1 << 40, 1 << 40, 1 << 60)
TOPIC_ID = bytes(range(16))


def batch(*values, timestamp_ms=5, key=None, **fields):
    builder = BatchBuilder(**fields)
    for value in values or (b"value",):
        assert builder.append(timestamp_ms, key, value)
    return bytes(builder.build())


def produce(version, correlation_id, records, *, topic="t", index=0, acks=1, timeout_ms=100, client_id="me", **more):
    named = {"topic_id": TOPIC_ID} if version >= 13 else {"name": topic}
    partition = ProduceRequest.PartitionProduceData(index=index, records=records)
    data = [ProduceRequest.TopicProduceData(partition_data=[partition], **named)]
    request = ProduceRequest(acks=acks, timeout_ms=timeout_ms, topic_data=data, **more)
    return bytes(encode_request(request, version, correlation_id, client_id))


def receiver_with(data, max_frame_bytes=1 << 20):
    receiver = Receiver(max_frame_bytes)
    data = memoryview(data)
    while data:
        with memoryview(receiver) as room:
            count = min(len(room), len(data))
            room[:count] = data[:count]
        receiver.received(count)
        data = data[count:]
    return receiver


def peek(data):
    return _core.peek_produce_run(receiver_with(data), 1 << 20)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("client_id", ["me", None, ""])
def test_requests_that_are_alike_are_one_run(version, client_id):
    batches = [batch(*[b"x" * size] * (size % 3 + 1)) for size in (1, 50, 200)]
    frames = [produce(version, 70 + i, one, client_id=client_id, acks=-1, index=3) for i, one in enumerate(batches)]
    receiver = receiver_with(b"".join(frames))
    run = _core.peek_produce_run(receiver, 100)
    assert (run.count, len(run), run.version, run.client_id) == (3, 3, version, client_id)
    assert (run.topic, run.partition) == (TOPIC_ID if version >= 13 else "t", 3)
    assert (run.acks, run.timeout_ms) == (-1, 100)
    assert run.frame_bytes == sum(map(len, frames)) - 3 * 4
    assert run.records_bytes == sum(map(len, batches))
    scanned = run.scan(*NO_LIMITS)
    assert [bytes(one) for one in scanned] == batches
    ends = [one.count for one in scanned]
    assert run.assign(1000, 7) == 1000 + sum(ends)
    assert [(one.base_offset, one.leader_epoch) for one in scanned] == [(1000, 7), (1000 + ends[0], 7), (1000 + sum(ends[:2]), 7)]
    _core.take_produce_run(receiver, run)
    assert receiver.buffered_bytes == 0
    for error_code, message in ((0, None), (56, "no room")):
        bases = [-1] * 3 if error_code else [one.base_offset for one in scanned]
        expected = [
            _core.produce_response(version, 70 + i, [(run.topic, 3, error_code, base, -1, 4, message)], 9)
            for i, base in enumerate(bases)
        ]
        assert run.responses(error_code, 4, message, 9) == b"".join(expected)


def test_a_long_message_and_name_fit():
    run = peek(produce(9, 1, batch(), topic="t" * 249))
    run.scan(*NO_LIMITS)
    run.assign(0, 0)
    expected = _core.produce_response(9, 1, [("t" * 249, 0, 1, -1, -1, 0, "m" * 3000)], 0)
    assert run.responses(1, 0, "m" * 3000, 0) == expected


def test_a_run_has_a_most():
    data = b"".join(produce(9, i, batch()) for i in range(MOST_REQUESTS + 10))
    assert peek(data).count == MOST_REQUESTS
    assert _core.peek_produce_run(receiver_with(data), 5).count == 5


@pytest.mark.parametrize("version", [3, 8, 9, 13])
@pytest.mark.parametrize(
    "other",
    [
        {"index": 1},
        {"acks": 0},
        {"timeout_ms": 99},
        {"client_id": "ma"},
        {"client_id": None},
        {"transactional_id": "x"},
        {"records": None},
    ],
    ids=str,
)
def test_a_request_that_differs_ends_the_run(version, other):
    records = other.get("records", batch(b"y"))
    more = {key: value for key, value in other.items() if key != "records"}
    first = [produce(version, i, batch()) for i in range(2)]
    assert peek(b"".join(first) + produce(version, 2, records, **more) + first[0]).count == 2


def test_another_version_or_api_ends_the_run():
    first = produce(9, 1, batch())
    assert peek(first + produce(10, 2, batch())).count == 1
    assert peek(first + bytes(encode_request(FetchRequest(), 12, 2, "me"))).count == 1
    assert peek(first + b"\0\0\0\0").count == 1
    assert peek(first + b"\xff\xff\xff\xff").count == 1
    assert peek(first + first[:-1]).count == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_no_plain_request_is_no_run(version):
    good = produce(version, 1, batch())
    assert peek(b"") is None
    assert peek(good[:-1]) is None
    assert peek(produce(version, 1, None)) is None
    assert peek(produce(version, 1, batch(), transactional_id="x")) is None
    assert peek(bytes(encode_request(FetchRequest(), 12, 2, "me"))) is None
    assert peek(b"\0\0\0\4\0\0\0\x09") is None
    assert peek(bytes(4) + good) is None
    assert _core.peek_produce_run(receiver_with(good, len(good) - 5), 100) is None
    partitions = [ProduceRequest.PartitionProduceData(index=i, records=batch()) for i in range(2)]
    several = ProduceRequest(acks=1, topic_data=[ProduceRequest.TopicProduceData(partition_data=partitions)])
    assert peek(bytes(encode_request(several, version, 1, "me"))) is None
    empty = ProduceRequest(acks=1, topic_data=[ProduceRequest.TopicProduceData()])
    assert peek(bytes(encode_request(empty, version, 1, "me"))) is None
    assert peek(bytes(encode_request(ProduceRequest(acks=1), version, 1, "me"))) is None


@MANY
@given(data=st.data())
def test_damaged_frames_are_seen_as_the_ordinary_way_sees_them(data):
    version = data.draw(st.sampled_from(VERSIONS))
    stream = bytearray(b"".join(produce(version, i, batch(b"v" * i)) for i in range(4)))
    for _ in range(data.draw(st.integers(1, 3))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    run = peek(stream)
    if run is None:
        return
    receiver = receiver_with(stream)
    for _ in range(run.count):
        frame = receiver.next_frame()
        key, seen_version, _, client_id, position = _core.request_header(frame)
        transactional_id, acks, timeout_ms, [(topic, index, records)] = _core.parse_produce(frame, position, seen_version)
        assert (key, seen_version, client_id, transactional_id) == (0, run.version, run.client_id, None)
        assert (acks, timeout_ms, topic, index) == (run.acks, run.timeout_ms, run.topic, run.partition)
        assert records is not None


ORDINARY = batch(b"a", b"b")


@pytest.mark.parametrize(
    ("doubtful", "limits"),
    [
        (ORDINARY[:-1] + b"\x01", NO_LIMITS),
        (batch(attributes=0x08), NO_LIMITS),
        (ORDINARY + ORDINARY, NO_LIMITS),
        (ORDINARY[:-1], NO_LIMITS),
        (b"", NO_LIMITS),
        (b"\0\0\0\0\0\0\0\1" + ORDINARY[8:], NO_LIMITS),
        (batch(key=bytes(4), attributes=0x30, producer_id=1, producer_epoch=0, base_sequence=0), NO_LIMITS),
        (batch(attributes=0x10, producer_id=1, producer_epoch=0, base_sequence=0), NO_LIMITS),
        (batch(producer_id=1, producer_epoch=0, base_sequence=0), NO_LIMITS),
        (batch(timestamp_ms=6), (1 << 30, 1 << 40, 1 << 40, 5)),
        (batch(b"longer" * 9), (len(ORDINARY) + 20, 1 << 40, 1 << 40, 5)),
        (ORDINARY, (1 << 30, 2 * len(ORDINARY) + 1, 1 << 40, 5)),
        (ORDINARY, (1 << 30, 1 << 40, 5, 5)),
    ],
    ids=[
        *("flipped", "stamped", "two", "torn", "empty", "offset", "control", "transactional", "producer"),
        *("late", "large", "no room", "no offsets"),
    ],
)
def test_a_batch_in_doubt_ends_the_run(doubtful, limits):
    frames = [produce(9, i, one) for i, one in enumerate((ORDINARY, ORDINARY, doubtful, ORDINARY))]
    receiver = receiver_with(b"".join(frames))
    run = _core.peek_produce_run(receiver, 100)
    assert run.count == 4
    assert len(run.scan(*limits)) == 2 == run.count
    assert run.assign(0, 0) == 4
    _core.take_produce_run(receiver, run)
    assert bytes(receiver.next_frame()) == frames[2][4:]
    assert [run.responses(0, 0, None, 0)] == [
        b"".join(_core.produce_response(9, i, [("t", 0, 0, 2 * i, -1, 0, None)], 0) for i in range(2))
    ]


def test_sequences_follow_one_another():
    def of(sequence, epoch=0, producer_id=1):
        return batch(b"a", b"b", producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence)

    top = (1 << 31) - 1
    for second, together in (
        (of(6), 2),
        (of(5), 1),
        (of(4), 1),
        (of(7), 1),
        (of(6, epoch=1), 1),
        (of(6, producer_id=2), 1),
        (batch(b"a", b"b"), 1),
    ):
        run = peek(produce(9, 1, of(4)) + produce(9, 2, second))
        assert len(run.scan(*NO_LIMITS)) == together
    run = peek(produce(9, 1, of(top)) + produce(9, 2, of(1)))
    assert len(run.scan(*NO_LIMITS)) == 2


def test_the_order_of_calls_is_kept():
    receiver = receiver_with(produce(9, 1, batch()))
    run = _core.peek_produce_run(receiver, 100)
    with pytest.raises(ValueError, match="scanned"):
        run.assign(0, 0)
    run.scan(*NO_LIMITS)
    run.assign(0, 0)
    with pytest.raises(ValueError, match="offsets already"):
        run.scan(*NO_LIMITS)
    _core.take_produce_run(receiver, run)
    with pytest.raises(ValueError, match="once"):
        _core.take_produce_run(receiver, run)
    with pytest.raises(TypeError):
        _core.ProduceRun()


def test_a_run_that_was_given_offsets_holds_no_memory_of_the_receiver():
    receiver = receiver_with(produce(9, 1, batch(b"x" * 500)))
    run = _core.peek_produce_run(receiver, 100)
    batches = run.scan(*NO_LIMITS)
    run.assign(0, 0)
    _core.take_produce_run(receiver, run)
    del batches
    with memoryview(receiver) as room:
        assert len(room) == receiver.reserved_bytes, "the chunk starts over: nobody else holds it"
    assert run.responses(0, 0, None, 0)
