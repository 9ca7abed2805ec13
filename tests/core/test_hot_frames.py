"""The compiled Produce and Fetch frames against the schema layer: same bytes, same values, same verdict on garbage."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastlog import _core
from fastlog._core import FrameError, Slice
from fastlog.errors import DecodeError
from fastlog.wire import frames
from fastlog.wire.messages.controlled_shutdown import ControlledShutdownRequest
from fastlog.wire.messages.fetch import FetchRequest, FetchResponse
from fastlog.wire.messages.produce import ProduceRequest, ProduceResponse

PRODUCE_VERSIONS = range(3, 14)
FETCH_VERSIONS = range(4, 19)
FEW = settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

HEADER_TAGS = st.sampled_from([b"\0", b"\1\0\0", b"\2\5\3abc\x81\1\x80\1" + bytes(128)])


def framed(request, version, tags, client_id="me"):
    """Return a frame's bytes and the position after its client id."""
    data = frames.encode_request(request, version, 7, client_id)[4:]
    position = 10 + len(client_id.encode())
    if type(request).is_flexible(version):
        data = data[:position] + tags + data[position + 1 :]
    return data, position


def flat_produce(request, version):
    return (
        request.transactional_id,
        request.acks,
        request.timeout_ms,
        [
            (topic.topic_id if version >= 13 else topic.name, partition.index, partition.records)
            for topic in request.topic_data
            for partition in topic.partition_data
        ],
    )


def parsed_produce(data, position, version):
    *head, partitions = _core.parse_produce(Slice(data), position, version)
    return (*head, [(topic, index, None if records is None else bytes(records)) for topic, index, records in partitions])


def flat_fetch(request, version):
    return (
        request.replica_state.replica_id if version >= 15 else request.replica_id,
        request.max_wait_ms,
        request.min_bytes,
        request.max_bytes,
        request.isolation_level,
        request.session_id,
        request.session_epoch,
        [
            (
                topic.topic_id if version >= 13 else topic.topic,
                partition.partition,
                partition.current_leader_epoch,
                partition.fetch_offset,
                partition.last_fetched_epoch,
                partition.log_start_offset,
                partition.partition_max_bytes,
            )
            for topic in request.topics
            for partition in topic.partitions
        ],
        [
            (topic.topic_id if version >= 13 else topic.topic, partition)
            for topic in request.forgotten_topics_data
            for partition in topic.partitions
        ],
        request.rack_id,
    )


def parsed_fetch(data, position, version):
    return _core.parse_fetch(Slice(data), position, version)


APIS = {
    "produce": (ProduceRequest, flat_produce, parsed_produce),
    "fetch": (FetchRequest, flat_fetch, parsed_fetch),
}
REQUESTS = [("produce", version) for version in PRODUCE_VERSIONS] + [("fetch", version) for version in FETCH_VERSIONS]


def check_request(data, messages_of, name, version):
    message_class, flat, parsed = APIS[name]
    request = data.draw(messages_of(message_class, version))
    frame, position = framed(request, version, data.draw(HEADER_TAGS))
    assert parsed(frame, position, version) == flat(request, version)
    assert parsed(frame + b"rest", position, version) == flat(request, version)


def check_garbage(data, messages_of, name, version):
    """Damage a frame: both layers accept it with the same values, or both refuse it."""
    message_class, flat, parsed = APIS[name]
    frame, position = framed(data.draw(messages_of(message_class, version)), version, b"\0")
    damaged = bytearray(frame)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(position, len(damaged)))
        edit = data.draw(st.sampled_from(["set", "cut", "insert"]))
        if edit == "set" and at < len(damaged):
            damaged[at] = data.draw(st.integers(0, 255) | st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
        elif edit == "insert":
            damaged[at:at] = data.draw(st.binary(max_size=8))
        else:
            del damaged[at : at + data.draw(st.integers(1, 8))]
    garbage = bytes(damaged)
    try:
        body = frames.body_position(garbage, position, message_class.API_KEY, version)
        expected = flat(message_class.decode(garbage, version, body), version)
    except DecodeError:
        with pytest.raises(FrameError):
            parsed(garbage, position, version)
    else:
        assert parsed(garbage, position, version) == expected


@pytest.mark.parametrize(("name", "version"), REQUESTS)
@given(data=st.data())
@FEW
def test_request_is_what_the_schema_layer_wrote(messages_of, name, version, data):
    check_request(data, messages_of, name, version)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "version"), REQUESTS)
@given(data=st.data())
@MANY
def test_request_is_what_the_schema_layer_wrote_at_length(messages_of, name, version, data):
    check_request(data, messages_of, name, version)


@pytest.mark.parametrize(("name", "version"), REQUESTS)
@given(data=st.data())
@FEW
def test_same_verdict_on_garbage(messages_of, name, version, data):
    check_garbage(data, messages_of, name, version)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "version"), REQUESTS)
@given(data=st.data())
@MANY
def test_same_verdict_on_garbage_at_length(messages_of, name, version, data):
    check_garbage(data, messages_of, name, version)


@pytest.mark.parametrize(("name", "version"), REQUESTS)
@given(data=st.data())
@settings(FEW, max_examples=3)
def test_every_prefix_is_refused(messages_of, name, version, data):
    message_class, _, parsed = APIS[name]
    frame, position = framed(data.draw(messages_of(message_class, version, most_elements=2)), version, b"\0")
    for size in range(len(frame)):
        with pytest.raises(FrameError):
            parsed(frame[:size], position, version)


def test_records_are_slices_of_the_frame():
    request = ProduceRequest(
        topic_data=[
            ProduceRequest.TopicProduceData(name="t", partition_data=[ProduceRequest.PartitionProduceData(records=b"records")])
        ]
    )
    frame, position = framed(request, 9, b"\0")
    owner = bytearray(frame)
    records = _core.parse_produce(Slice(owner), position, 9)[3][0][2]
    owner[owner.index(b"records")] = ord("R")
    assert bytes(records) == b"Records"


@pytest.mark.parametrize("count", [0x7FFFFFFF, 1 << 24, -1, -2])
def test_declared_count_is_bounded_by_the_bytes_present(count):
    number = count.to_bytes(4, "big", signed=True)
    with pytest.raises(FrameError):
        _core.parse_produce(Slice(b"\xff\xff\0\1\0\0\0\0" + number + bytes(50)), 0, 3)
    with pytest.raises(FrameError):
        _core.parse_fetch(Slice(bytes(17) + number + bytes(50)), 0, 4)


def test_a_request_of_a_hundred_thousand_elements_is_the_largest():
    def produce(count):
        partitions = b"".join((b"\0\1t", count.to_bytes(4, "big"), (b"\0\0\0\0" + b"\xff\xff\xff\xff") * count))
        return b"\xff\xff\0\1\0\0\0\0" + b"\0\0\0\1" + partitions

    assert len(_core.parse_produce(Slice(produce(99_999)), 0, 3)[3]) == 99_999
    with pytest.raises(FrameError, match="more than 100000 elements"):
        _core.parse_produce(Slice(produce(100_000)), 0, 3)
    with pytest.raises(DecodeError, match="more than 100000 elements"):
        ProduceRequest.decode(produce(100_000), 3)


@pytest.mark.parametrize("position", [-1, 12, 1 << 40])
def test_position_outside_of_the_frame(position):
    with pytest.raises(FrameError):
        _core.parse_produce(Slice(bytes(11)), position, 3)
    with pytest.raises(FrameError):
        _core.parse_fetch(Slice(bytes(11)), position, 4)


@pytest.mark.parametrize("version", [-1, 2, 14, 99])
def test_versions_that_are_not_there(version):
    with pytest.raises(ValueError, match=f"no version {version} of Produce"):
        _core.parse_produce(Slice(b""), 0, version)
    with pytest.raises(ValueError, match=f"no version {version} of Produce"):
        _core.produce_response(version, 0, [])
    version += 5 if version > 2 else 0
    with pytest.raises(ValueError, match=f"no version {version} of Fetch"):
        _core.parse_fetch(Slice(b""), 0, version)
    with pytest.raises(ValueError, match=f"no version {version} of Fetch"):
        _core.fetch_response(version, 0, 0, 0, [])


# ---- headers ----


@given(
    key=st.integers(-(1 << 15), (1 << 15) - 1).filter(lambda key: key != 7),
    version=st.integers(-(1 << 15), (1 << 15) - 1),
    correlation_id=st.integers(-(1 << 31), (1 << 31) - 1),
    client_id=st.none() | st.text(max_size=20),
)
@settings(FEW, max_examples=100)
def test_request_header(key, version, correlation_id, client_id):
    frame = b"".join(
        (
            key.to_bytes(2, "big", signed=True),
            version.to_bytes(2, "big", signed=True),
            correlation_id.to_bytes(4, "big", signed=True),
            (-1 if client_id is None else len(client_id.encode())).to_bytes(2, "big", signed=True),
            (client_id or "").encode(),
        )
    )
    assert _core.request_header(Slice(frame + b"body")) == (key, version, correlation_id, client_id, len(frame))
    for size in range(len(frame)):
        with pytest.raises(FrameError):
            _core.request_header(Slice(frame[:size]))


def test_request_header_of_controlled_shutdown_0_has_no_client_id():
    frame = frames.encode_request(ControlledShutdownRequest(broker_id=5), 0, 9)[4:]
    assert _core.request_header(Slice(frame)) == (7, 0, 9, None, 8)


def test_client_id_that_is_no_utf_8_is_read_as_kafka_reads_it():
    assert _core.request_header(Slice(b"\0\0\0\3\0\0\0\1\0\3a\xffb"))[3] == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize(("size", "is_refused"), [(0x7FFF // 3, False), (0x7FFF // 3 + 1, True)])
def test_a_topic_that_no_answer_could_give_back_is_refused(size, is_refused):
    partition = ProduceRequest.PartitionProduceData(index=0, records=b"")
    topic = ProduceRequest.TopicProduceData(name="x" * size, partition_data=[partition])
    body = Slice(ProduceRequest(topic_data=[topic]).encode(8).replace(b"x" * size, b"\xff" * size))
    if is_refused:
        with pytest.raises(FrameError, match="a string of 32769 bytes as UTF-8"):
            _core.parse_produce(body, 0, 8)
    else:
        assert _core.parse_produce(body, 0, 8)[3][0][0] == "\N{REPLACEMENT CHARACTER}" * size


# ---- answers ----

INT16 = st.integers(-(1 << 15), (1 << 15) - 1)
INT32 = st.integers(-(1 << 31), (1 << 31) - 1)
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
TOPICS = st.sampled_from(["a", "topic", "é" * 70])


def topic_for(name, version):
    return name.encode()[:16].ljust(16, b".") if version >= 13 else name


def grouped(results):
    """Group neighbours of one topic, as the answers do."""
    groups = []
    for result in results:
        if not groups or groups[-1][0] != result[0]:
            groups.append((result[0], []))
        groups[-1][1].append(result)
    return groups


def named(version, topic, names):
    return {names[1]: topic} if version >= 13 else {names[0]: topic}


def check_produce_response(version, correlation_id, results, throttle_ms):
    results = [(topic_for(topic, version), *rest) for topic, *rest in results]
    response = ProduceResponse(
        throttle_time_ms=throttle_ms,
        responses=[
            ProduceResponse.TopicProduceResponse(
                **named(version, topic, ("name", "topic_id")),
                partition_responses=[
                    ProduceResponse.PartitionProduceResponse(
                        index=index,
                        error_code=error_code,
                        base_offset=base_offset,
                        log_append_time_ms=log_append_time_ms,
                        log_start_offset=log_start_offset,
                        error_message=message,
                    )
                    for _, index, error_code, base_offset, log_append_time_ms, log_start_offset, message in members
                ],
            )
            for topic, members in grouped(results)
        ],
    )
    expected = frames.encode_response(response, version, correlation_id)
    assert _core.produce_response(version, correlation_id, results, throttle_ms) == expected
    assert _core.produce_response(version, correlation_id, tuple(results), throttle_ms) == expected


@pytest.mark.parametrize("version", PRODUCE_VERSIONS)
@given(
    correlation_id=INT32,
    throttle_ms=INT32,
    results=st.lists(
        st.tuples(TOPICS, INT32, INT16, INT64, INT64, INT64, st.none() | st.text(max_size=5) | st.just("m" * 200)), max_size=20
    ),
)
@settings(FEW, max_examples=12)
def test_produce_response(version, correlation_id, throttle_ms, results):
    check_produce_response(version, correlation_id, results, throttle_ms)


def check_fetch_response(version, correlation_id, error_code, session_id, results, throttle_ms):
    results = [(topic_for(topic, version), *rest) for topic, *rest in results]
    response = FetchResponse(
        throttle_time_ms=throttle_ms,
        error_code=error_code,
        session_id=session_id if version >= 7 else 0,
        responses=[
            FetchResponse.FetchableTopicResponse(
                **named(version, topic, ("topic", "topic_id")),
                partitions=[
                    FetchResponse.PartitionData(
                        partition_index=index,
                        error_code=partition_error,
                        high_watermark=high,
                        last_stable_offset=stable,
                        log_start_offset=start,
                        aborted_transactions=None
                        if aborted is None
                        else [
                            FetchResponse.AbortedTransaction(producer_id=producer_id, first_offset=first)
                            for producer_id, first in aborted
                        ],
                        preferred_read_replica=replica if version >= 11 else -1,
                        records=records,
                    )
                    for _, index, partition_error, high, stable, start, aborted, replica, records in members
                ],
            )
            for topic, members in grouped(results)
        ],
    )
    expected = frames.encode_response(response, version, correlation_id)
    parts = _core.fetch_response(version, correlation_id, error_code, session_id, results, throttle_ms)
    assert b"".join(parts) == expected
    given_records = [result[8] for result in results if result[8]]
    assert len(parts[1::2]) == len(given_records)
    assert all(part is records for part, records in zip(parts[1::2], given_records, strict=True))


@pytest.mark.parametrize("version", FETCH_VERSIONS)
@given(
    correlation_id=INT32,
    error_code=INT16,
    session_id=INT32,
    throttle_ms=INT32,
    results=st.lists(
        st.tuples(
            TOPICS,
            INT32,
            INT16,
            INT64,
            INT64,
            INT64,
            st.none() | st.lists(st.tuples(INT64, INT64), max_size=3) | st.just([(1, 2)] * 130),
            INT32,
            st.none() | st.binary(max_size=5) | st.just(bytes(300)),
        ),
        max_size=15,
    ),
)
@settings(FEW, max_examples=12)
def test_fetch_response(version, correlation_id, error_code, session_id, throttle_ms, results):
    check_fetch_response(version, correlation_id, error_code, session_id, results, throttle_ms)


def test_answers_to_very_many_partitions():
    count = 5000
    check_produce_response(9, 1, [(f"topic-{i // 300}", i, 0, i, -1, 0, None) for i in range(count)], 0)
    check_fetch_response(12, 1, 0, 5, [(f"topic-{i // 300}", i, 0, i, i, 0, None, -1, b"x" * (i % 3)) for i in range(count)], 0)


def test_equal_topics_that_are_not_one_object_are_one_topic():
    first, second = "topic-x", "".join(["topic", "-x"])
    assert first is not second
    check_produce_response(9, 1, [(first, 0, 0, 1, -1, 0, None), (second, 1, 0, 1, -1, 0, None)], 0)


RESULT = ("t", 0, 0, 1, -1, 0, None)
FETCHED = ("t", 0, 0, 1, 1, 0, None, -1, b"")


@pytest.mark.parametrize(
    ("version", "result", "error"),
    [
        (9, RESULT[:-1], TypeError),
        (9, list(RESULT), TypeError),
        (9, (b"t", *RESULT[1:]), TypeError),
        (13, RESULT, TypeError),
        (13, (b"short", *RESULT[1:]), TypeError),
        (9, ("t", 1 << 31, *RESULT[2:]), OverflowError),
        (9, ("t", "0", *RESULT[2:]), TypeError),
        (9, ("t" * 32768, *RESULT[1:]), ValueError),
        (9, (*RESULT[:-1], b"message"), TypeError),
        (9, ("\ud800", *RESULT[1:]), UnicodeEncodeError),
    ],
)
def test_results_that_cannot_be_written(version, result, error):
    with pytest.raises(error):
        _core.produce_response(version, 1, [("first" if version < 13 else bytes(16), *RESULT[1:])] * 40 + [result])


@pytest.mark.parametrize(
    ("result", "error"),
    [
        (FETCHED[:-1], TypeError),
        ((*FETCHED[:6], [(1,)], *FETCHED[7:]), ValueError),
        ((*FETCHED[:6], 5, *FETCHED[7:]), TypeError),
        ((*FETCHED[:8], 5), TypeError),
    ],
)
def test_fetched_that_cannot_be_written(result, error):
    with pytest.raises(error):
        _core.fetch_response(12, 1, 0, 0, [FETCHED] * 40 + [result])
