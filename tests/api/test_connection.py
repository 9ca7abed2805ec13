"""Order, limits and bad bytes on one connection, on a network that the test moves."""

import itertools
import logging
import struct

import pytest

from fastlog.api.connection import MAX_UNDER_WAY, MAX_UNSENT_BYTES, READ_AHEAD_BYTES
from fastlog.api.context import AllowAll
from fastlog.api.registry import Api
from fastlog.api.server import FAIR_SHARE_BYTES, RESCUE_MS, Limits
from fastlog.errors import InvalidRequest, UnsupportedVersion
from fastlog.wire.messages.api_versions import ApiVersionsRequest
from fastlog.wire.messages.list_groups import ListGroupsRequest, ListGroupsResponse
from fastlog.wire.messages.list_offsets import ListOffsetsRequest
from fastlog.wire.messages.offset_commit import OffsetCommitRequest, OffsetCommitResponse

API_VERSIONS = ApiVersionsRequest(client_software_name="test", client_software_version="1")


def group_named(text):
    return ListGroupsResponse(groups=[ListGroupsResponse.ListedGroup(group_id=text)])


def test_pipelined_produces_are_answered_in_order_by_one_write(rig, batch, produce_request):
    [partition] = rig.add_topic("t")
    client = rig.connect()
    ids = [client.send(produce_request({"t": {0: batch(b"%d" % number)}}), 9) for number in range(16)]
    rig.turn()  # accepts
    rig.turn()
    answers = client.answers()
    assert [correlation_id for correlation_id, _ in answers] == ids
    offsets = [answer.responses[0].partition_responses[0].base_offset for _, answer in answers]
    assert offsets == list(range(16))
    assert partition.log.log_end_offset == 16
    assert client.transport.sends == 1 and client.transport.receives == 1


def test_bytes_may_come_one_by_one(rig, batch, produce_request):
    rig.add_topic("t")
    client = rig.connect()
    client.send(produce_request({"t": {0: batch()}}), 9)
    client.send(API_VERSIONS, 3)
    data = bytes(client.transport.inbox)
    client.transport.inbox.clear()
    for byte in data:
        client.send_bytes(bytes([byte]))
        rig.settle()
    assert [correlation_id for correlation_id, _ in client.answers()] == [1, 2]


def test_acks_0_gets_no_answer_and_keeps_the_order(rig, batch, produce_request):
    rig.add_topic("t")
    client = rig.connect()
    for acks in (1, 0, 0, 1):
        client.send(produce_request({"t": {0: batch()}}, acks=acks), 9)
    rig.settle()
    assert [correlation_id for correlation_id, _ in client.answers()] == [1, 4]


def test_a_request_waits_for_those_before_it_as_in_kafka(rig, batch, produce_request):
    rig.add_topic("t")
    client = rig.connect()
    client.send(produce_request({"t": {0: batch(b"a", b"b")}}), 9)
    client.send(
        ListOffsetsRequest(
            replica_id=-1,
            topics=[
                ListOffsetsRequest.ListOffsetsTopic(
                    name="t", partitions=[ListOffsetsRequest.ListOffsetsPartition(partition_index=0, timestamp=-1)]
                )
            ],
        ),
        5,
    )
    rig.settle()
    [_, (_, offsets)] = client.answers()
    assert offsets.topics[0].partitions[0].offset == 2


def test_what_comes_behind_a_pending_request_waits_and_others_do_not(rig):
    pending, seen = rig.reactor.pending(), []

    def handle(context, request):
        seen.append(context.correlation_id)
        return pending if len(seen) == 1 else group_named("second")

    rig.on_list_groups = handle
    client, other = rig.connect(), rig.connect()
    client.send(ListGroupsRequest(), 0)
    client.send(ListGroupsRequest(), 0)
    rig.settle()
    assert seen == [1] and client.answers() == []
    assert other.ask(API_VERSIONS, 3).error_code == 0
    pending.complete(group_named("first"))
    rig.settle()
    assert [answer.groups[0].group_id for _, answer in client.answers()] == ["first", "second"]


def test_who_asks_much_waits_in_line_and_neither_others_nor_produces_do(rig, monkeypatch, batch, produce_request):
    monkeypatch.setattr("fastlog.api.server.LEAST_SPARE_NS", 0)  # one a turn
    monkeypatch.setattr("fastlog.api.server.LEAST_SPARE_BESIDE_RECORDS_NS", 0)
    rig.add_topic("t")
    greedy, modest, producer = [rig.connect() for _ in range(20)], rig.connect(), rig.connect()
    for client in [*greedy, modest, producer]:
        client.ask(API_VERSIONS, 3)
    for client in greedy:
        for _ in range(10):
            client.send(ListGroupsRequest(), 0)
    rig.turn()
    modest.send(ListGroupsRequest(), 0)
    producer.send(produce_request({"t": {0: batch()}}), 9)
    rig.turn()
    assert len(producer.answers()) == 1
    for _ in range(len(greedy)):
        rig.turn()
    assert len(modest.answers()) == 1
    answered = sum(len(client.answers()) for client in greedy)
    assert answered <= len(greedy) + 2
    rig.settle()
    assert answered + sum(len(client.answers()) for client in greedy) == 10 * len(greedy)


def test_newcomers_stand_in_line_unwatched_and_the_known_do_not_wait_for_them(rig, monkeypatch, batch, produce_request):
    rig.add_topic("t")
    producer = rig.connect()
    producer.ask(API_VERSIONS, 3)
    strangers = [rig.connect() for _ in range(20)]
    rig.settle()
    monkeypatch.setattr("fastlog.api.server.LEAST_SPARE_BESIDE_RECORDS_NS", 0)  # one a turn
    monkeypatch.setattr("fastlog.api.server.LEAST_SPARE_NS", 0)
    for stranger in strangers[:-1]:
        stranger.send(API_VERSIONS, 3)
    strangers[-1].send_bytes(b"GET / HTTP/1.1\r\n\r\n")
    rig.turn()
    producer.send(produce_request({"t": {0: batch()}}), 9)
    rig.turn()
    assert len(producer.answers()) == 1
    assert sum(len(stranger.answers()) for stranger in strangers) <= 2
    assert len([one for one in strangers if one.transport in rig.network.watched]) <= 3
    rig.settle()
    assert strangers[-1].closed
    for stranger in strangers[:-1]:
        assert len(stranger.answers()) == 1
        assert stranger.ask(API_VERSIONS, 3).error_code == 0, "it is watched again"


def test_a_newcomer_who_goes_while_it_stands_in_line_is_let_go(rig, monkeypatch):
    strangers = [rig.connect() for _ in range(3)]
    rig.settle()
    monkeypatch.setattr("fastlog.api.server.LEAST_SPARE_NS", 0)
    for stranger in strangers:
        stranger.send(API_VERSIONS, 3)
    rig.turn()
    rig.server.close()
    rig.turn()
    assert all(stranger.closed for stranger in strangers)


def test_alike_requests_of_a_pipelined_api_are_begun_together_and_answered_in_order(rig, batch, produce_request):
    [partition] = rig.add_topic("t")
    begun = []

    def handle(context, request):
        if request.group_id == "at once":
            return OffsetCommitResponse()
        begun.append((request.group_id, rig.reactor.pending()))
        return begun[-1][1]

    rig.registry.add(Api(8, "OffsetCommit", 2, 10, handle, is_pipelined=True))
    client = rig.connect()
    ids = [client.send(OffsetCommitRequest(group_id=name), 8) for name in ("a", "at once", "b")]
    ids += [client.send(ListGroupsRequest(), 0), client.send(OffsetCommitRequest(group_id="c"), 8)]
    ids.append(client.send(produce_request({"t": {0: batch()}}), 9))
    rig.settle()
    assert [name for name, _ in begun] == ["a", "b"], "what is of another kind waits, and holds up what is behind it"
    begun[1][1].complete(OffsetCommitResponse())
    rig.settle()
    assert client.answers() == []
    begun[0][1].complete(OffsetCommitResponse())
    rig.settle()
    assert [correlation_id for correlation_id, _ in client.answers()] == ids[:4]
    assert [name for name, _ in begun] == ["a", "b", "c"]
    assert partition.log.log_end_offset == 0
    begun[2][1].complete(OffsetCommitResponse())
    rig.settle()
    assert [correlation_id for correlation_id, _ in client.answers()] == ids[4:]

    for number in range(2 * MAX_UNDER_WAY):
        client.send(OffsetCommitRequest(group_id=f"{number}"), 8)
    rig.settle()
    assert 3 < len(begun) <= 3 + MAX_UNDER_WAY
    for _, pending in itertools.islice(begun, 3, None):  # it grows meanwhile
        pending.complete(OffsetCommitResponse())
        rig.settle()
    assert [name for name, _ in begun[3:]] == [f"{number}" for number in range(2 * MAX_UNDER_WAY)]
    assert len(client.answers()) == 2 * MAX_UNDER_WAY


def test_a_hang_up_behind_a_parked_fetch_is_noticed(rig, fetch_request):
    [partition] = rig.add_topic("t")
    client = rig.connect()
    client.send(fetch_request({"t": {0: 0}}, max_wait_ms=2**31 - 1), 11)
    rig.settle()
    assert rig.parked_fetches.count == 1
    client.transport.ended = True
    rig.settle()
    assert client.closed and rig.parked_fetches.count == 0
    assert not partition._watchers
    assert rig.server.held_bytes == 0


def test_reading_ahead_behind_a_parked_fetch_is_bounded(rig, batch, fetch_request, produce_request):
    rig.add_topic("t")
    client = rig.connect()
    client.send(fetch_request({"t": {0: 0}}, max_wait_ms=60_000), 11)
    rig.settle()
    sent = 0
    while sent < 20 * READ_AHEAD_BYTES:
        client.send(produce_request({"t": {0: batch(bytes(50_000))}}), 9)
        sent += 50_000
    rig.settle()
    assert len(client.transport.inbox) > sent // 2
    assert rig.server.held_bytes < 8 * READ_AHEAD_BYTES
    rig.connect().ask(produce_request({"t": {0: batch()}}), 9)
    rig.settle()
    assert len(client.answers()) == client.correlation_id  # the rest is read once the fetch is answered


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "1195725856"),
        (bytes.fromhex("16030100f5010000f10303"), "369295616"),
        (struct.pack(">i", -1), "-1"),
        (struct.pack(">i", 1025) + bytes(10), "1025"),
        (struct.pack(">i", 3) + b"abc", ""),
        (struct.pack(">ihhih", 10, 999, 0, 1, -1), "API key 999"),
        (struct.pack(">ihhih", 10, 16, 99, 1, -1), "ListGroups version 99"),
        (struct.pack(">ihhih", 10, 0, 2, 1, -1), "Produce version 2"),
        (struct.pack(">ihhih", 10, -1, -1, 1, -1), "API key -1"),
        (struct.pack(">ihhih", 10, 2, 1, 1, -1), "ListOffsets version 1"),
        (struct.pack(">ihhih", 10, 0, 9, 1, -1), "Produce version 9"),
        (struct.pack(">ihhih", 10, 1, 11, 1, -1), "Fetch version 11"),
    ],
    ids=[
        "http",
        "tls",
        "negative",
        "too-large",
        "short",
        "key",
        "version",
        "old-produce",
        "negative-key",
        "body",
        "produce",
        "fetch",
    ],
)
def test_bytes_that_are_no_request_close_that_connection_with_one_line(make_rig, caplog, data, reason):
    rig = make_rig(limits=Limits(max_request_bytes=1024))
    client, other = rig.connect("10.0.0.7"), rig.connect()
    client.send(API_VERSIONS, 3)  # what came before is answered
    client.send_bytes(data)
    with caplog.at_level(logging.INFO):
        rig.settle()
    assert len(client.answers()) == 1
    assert client.closed
    [line] = [record.getMessage() for record in caplog.records]
    assert "10.0.0.7:40001" in line and reason in line and "\n" not in line
    assert other.ask(API_VERSIONS, 3).error_code == 0


def test_nothing_is_done_after_bytes_that_are_no_request(rig, batch, produce_request):
    [partition] = rig.add_topic("t")
    client = rig.connect()
    client.send(produce_request({"t": {0: batch()}}), 9)
    client.send_bytes(b"GET / HT")
    client.send(produce_request({"t": {0: batch()}}), 9)
    rig.settle()
    assert client.closed and len(client.answers()) == 1
    assert partition.log.log_end_offset == 1


def test_an_exception_in_a_handler_harms_its_request_alone(rig, caplog):
    def fail_once(context, request):
        rig.on_list_groups = lambda context, request: group_named("fine")
        raise ZeroDivisionError

    rig.on_list_groups = fail_once
    client = rig.connect()
    client.send(ListGroupsRequest(), 0)
    client.send(ListGroupsRequest(), 0)
    rig.settle()
    [(_, failed), (_, fine)] = client.answers()
    assert failed.error_code == -1 and fine.groups[0].group_id == "fine"
    [record] = caplog.records
    assert record.exc_info and "ListGroups version 0" in record.getMessage()


def test_an_exception_in_a_handler_of_frames_closes_its_connection_alone(rig, caplog, monkeypatch, batch, produce_request):
    rig.add_topic("t")
    client, other = rig.connect(), rig.connect()
    with monkeypatch.context() as patch:
        patch.setattr("fastlog.api.fetch.parse_fetch", lambda *arguments: 1 / 0)
        client.send(API_VERSIONS, 3)
        client.send_bytes(struct.pack(">ihhih", 10, 1, 11, 1, -1))
        rig.settle()
    assert client.closed and len(client.answers()) == 1
    assert "Fetch version 11" in caplog.text and "ZeroDivisionError" in caplog.text
    assert other.ask(produce_request({"t": {0: batch()}}), 9).responses[0].partition_responses[0].error_code == 0


def test_a_kafka_error_is_answered_as_the_api_says(rig, caplog):
    def refuse(context, request):
        raise InvalidRequest("no")

    rig.on_list_groups = refuse
    assert rig.connect().ask(ListGroupsRequest(), 0).error_code == InvalidRequest.code
    assert not caplog.records


def test_errors_of_pending_answers_are_answered_too(rig, caplog):
    first, second = rig.reactor.pending(), rig.reactor.pending()
    rig.on_list_groups = lambda context, request: first if context.correlation_id == 1 else second
    client = rig.connect()
    client.send(ListGroupsRequest(), 0)
    client.send(ListGroupsRequest(), 0)
    rig.settle()
    first.fail(InvalidRequest("no"))
    rig.settle()
    second.fail(KeyError("gone"))
    rig.settle()
    assert [answer.error_code for _, answer in client.answers()] == [InvalidRequest.code, -1]
    assert len(caplog.records) == 1


def test_an_answer_that_cannot_be_encoded_becomes_an_error(rig, caplog):
    rig.on_list_groups = lambda context, request: ListGroupsResponse(error_code=1 << 20)
    assert rig.connect().ask(ListGroupsRequest(), 0).error_code == -1
    assert len(caplog.records) == 1


def test_a_pending_answer_of_a_closed_connection_goes_nowhere(rig):
    pending = rig.reactor.pending()
    rig.on_list_groups = lambda context, request: pending
    client = rig.connect()
    client.send(ListGroupsRequest(), 0)
    rig.settle()
    client.transport.reset = True
    rig.settle()
    assert client.closed
    pending.complete(group_named("late"))
    rig.settle()
    assert client.answers() == []


def test_a_client_that_never_reads_is_read_no_further(rig):
    rig.on_list_groups = lambda context, request: group_named("x" * 20_000)
    client = rig.connect()
    client.transport.room = 5_000
    for _ in range(200):
        client.send(ListGroupsRequest(), 0)
    rig.settle()
    assert rig.server.held_bytes < MAX_UNSENT_BYTES + 100_000
    assert client.transport.inbox or client.correlation_id == 200
    answered = len(rig.server._connections)
    assert answered == 1
    client.transport.room = 1 << 40
    rig.settle()
    assert [correlation_id for correlation_id, _ in client.answers()] == list(range(1, 201))
    assert rig.server.held_bytes < 100_000


def test_partial_sends_lose_and_repeat_nothing(rig, batch, produce_request, fetch_request):
    rig.add_topic("t")
    client = rig.connect()
    records = batch(*(b"%05d" % number * 100 for number in range(50)))
    client.ask(produce_request({"t": {0: records}}), 9)
    client.transport.room = 0
    for _ in range(3):
        client.send(fetch_request({"t": {0: 0}}), 11)
    rig.settle()
    while len(client.transport.outbox) < 3 * len(records):
        client.transport.room = 777
        rig.settle()
    client.transport.room = 1 << 40
    rig.settle()
    answers = client.answers()
    assert len(answers) == 3
    for _, answer in answers:
        got = bytes(answer.responses[0].partitions[0].records)
        assert got[61:] == records[61:]


def test_the_number_of_requests_under_way_is_bounded(rig, batch, produce_request):
    [partition] = rig.add_topic("t", flush_messages=1)
    rig.flusher.held = True
    client = rig.connect()
    for _ in range(MAX_UNDER_WAY + 100):
        client.send(produce_request({"t": {0: batch()}}, timeout_ms=60_000), 9)
    rig.settle()
    assert partition.log.log_end_offset == MAX_UNDER_WAY and client.answers() == []
    rig.flusher.held = False
    rig.flusher.run()
    rig.settle()
    assert len(client.answers()) == MAX_UNDER_WAY + 100


def test_idle_connections_are_closed_and_busy_ones_are_not(make_rig, caplog, fetch_request):
    rig = make_rig(limits=Limits(max_idle_ms=10_000))
    rig.add_topic("t")
    idle, busy, parked = rig.connect(), rig.connect(), rig.connect()
    parked.send(fetch_request({"t": {0: 0}}, max_wait_ms=60_000), 11)
    rig.settle()
    for _ in range(8):
        rig.advance(2_500)
        busy.ask(API_VERSIONS, 3)
    assert idle.closed and not busy.closed and not parked.closed
    assert "connections.max.idle.ms=10000" in caplog.text


def test_a_client_that_reads_nothing_is_idle_too(make_rig):
    rig = make_rig(limits=Limits(max_idle_ms=10_000))
    client = rig.connect()
    client.transport.room = 10
    client.send(API_VERSIONS, 3)
    rig.settle()
    for _ in range(8):
        rig.advance(2_500)
    assert client.closed


class Throttle(AllowAll):
    def throttle(self, context, quota, amount):
        return 500 if quota == "produce" else 0


def test_a_throttled_client_is_answered_at_once_and_read_later(make_rig, batch, produce_request):
    rig = make_rig(policy=Throttle())
    rig.add_topic("t")
    client = rig.connect()
    assert client.ask(produce_request({"t": {0: batch()}}), 9).throttle_time_ms == 500
    client.send(API_VERSIONS, 3)
    rig.settle()
    assert client.answers() == []
    rig.advance(500)
    assert len(client.answers()) == 1


# ---- memory of all connections ------------------------------------------------------------------------------------------------


def part_of_a_large_request(size):
    header = struct.pack(">hhih", 0, 9, 1, -1)  # of Produce
    return struct.pack(">i", 900_000) + header + bytes(size - len(header))


def test_memory_for_requests_is_bounded_and_small_requests_go_on(make_rig):
    limit = 2_000_000
    rig = make_rig(limits=Limits(queued_max_request_bytes=limit))
    large = [rig.connect() for _ in range(20)]
    for client in large:
        client.send_bytes(part_of_a_large_request(800_000))
    rig.settle()
    assert rig.server.held_bytes < limit + 20 * 2 * FAIR_SHARE_BYTES + 2_000_000
    assert sum(bool(client.transport.inbox) for client in large) > 10
    assert rig.connect().ask(API_VERSIONS, 3).error_code == 0


def test_a_large_request_that_is_not_served_is_refused_before_all_of_it_has_come(rig, caplog):
    client = rig.connect()
    client.send_bytes(struct.pack(">ihhih", 50_000_000, 0, 99, 1, -1) + bytes(100_000))
    rig.settle()
    assert client.closed
    assert "Produce version 99 is not served here" in caplog.text
    assert rig.server.held_bytes == 0


def test_api_versions_of_a_version_that_nobody_knows_is_answered_however_large(rig):
    client = rig.connect()
    body = struct.pack(">hhih", 18, 99, 1, -1) + bytes(100_000)
    client.asked[1] = (18, 0)
    client.send_bytes(struct.pack(">i", len(body)) + body[:80_000])
    rig.settle()
    assert not client.closed
    client.send_bytes(body[80_000:])
    rig.settle()
    [(_, answer)] = client.answers()
    assert answer.error_code == UnsupportedVersion.code


def test_who_stands_in_line_is_not_idle(make_rig, monkeypatch):
    rig = make_rig(limits=Limits(max_idle_ms=1_000))
    clients = [rig.connect() for _ in range(30)]
    for client in clients:
        client.ask(API_VERSIONS, 3)
    monkeypatch.setattr("fastlog.api.server.LEAST_SPARE_NS", 0)  # one a turn
    for client in clients:
        client.send(ListGroupsRequest(), 0)
    for _ in range(25):
        rig.clock.now_ns += 100_000_000
        rig.turn()
    assert not any(client.closed for client in clients[25:])
    rig.settle()
    assert all(len(client.answers()) == 1 for client in clients[25:])


def test_large_requests_get_done_one_after_another(make_rig, batch, produce_request):
    rig = make_rig(limits=Limits(queued_max_request_bytes=1_000_000))
    [partition] = rig.add_topic("t")
    clients = [rig.connect() for _ in range(10)]
    for client in clients:
        client.send(produce_request({"t": {0: batch(bytes(900_000))}}), 9)
    rig.settle()
    assert [len(client.answers()) for client in clients] == [1] * 10
    assert partition.log.log_end_offset == 10


def test_a_request_that_keeps_the_memory_exhausted_is_given_up(make_rig, caplog):
    rig = make_rig(limits=Limits(queued_max_request_bytes=1_000_000))
    slow = [rig.connect() for _ in range(10)]
    for client in slow:
        client.send_bytes(part_of_a_large_request(800_000))
    rig.settle()
    for _ in range(12):
        rig.advance(RESCUE_MS)
    assert sum(client.closed for client in slow) >= 9
    assert "queued.max.request.bytes=1000000" in caplog.text
    assert rig.server.held_bytes <= 2_000_000


def test_clients_that_read_nothing_are_closed_when_memory_is_short(make_rig, caplog):
    rig = make_rig(limits=Limits(queued_max_request_bytes=500_000))
    rig.on_list_groups = lambda context, request: group_named("x" * 30_000)
    clients = [rig.connect() for _ in range(30)]
    for client in clients:
        client.transport.room = 10
        client.send(ListGroupsRequest(), 0)
    rig.settle()
    assert rig.server.is_short_of_memory
    for _ in range(8):
        rig.advance(RESCUE_MS // 4)
    assert all(client.closed for client in clients)
    assert rig.server.held_bytes == 0 and "it reads no answers" in caplog.text


def test_memory_kept_for_later_is_given_back_by_idle_connections(rig, batch, produce_request):
    rig.add_topic("t")
    clients = [rig.connect() for _ in range(5)]
    for client in clients:
        for _ in range(5):
            client.ask(produce_request({"t": {0: batch(bytes(300_000))}}), 9)
    before = rig.server.held_bytes
    assert before > 0
    for _ in range(3):
        rig.advance(10_000)
    assert rig.server.held_bytes == 0
