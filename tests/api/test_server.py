"""Accepting: limits in all and per address, descriptors that run out, several listeners, the end."""

import errno

import pytest

from fastlog.api.server import CLOSINGS_LOGGED_PER_SWEEP, MAX_BACKOFF_MS, MIN_BACKOFF_MS, Limits
from fastlog.wire.messages.api_versions import ApiVersionsRequest
from fastlog.wire.messages.list_groups import ListGroupsRequest, ListGroupsResponse

API_VERSIONS = ApiVersionsRequest(client_software_name="test", client_software_version="1")


def test_at_max_connections_clients_wait_until_one_goes(make_rig, caplog):
    rig = make_rig(limits=Limits(max_connections=2))
    clients = [rig.connect() for _ in range(3)]
    rig.settle()
    assert rig.listener.waiting == [clients[2].transport]
    assert "max.connections=2" in caplog.text and len(caplog.records) == 1
    clients[0].transport.ended = True
    rig.settle()
    assert clients[2].ask(API_VERSIONS, 3).error_code == 0
    assert not clients[1].closed


def test_beyond_max_connections_per_ip_a_connection_closes_at_once(make_rig, caplog):
    rig = make_rig(limits=Limits(max_connections_per_ip=2))
    first, second, third = (rig.connect("10.0.0.1") for _ in range(3))
    other = rig.connect("10.0.0.2")
    rig.settle()
    assert [one.closed for one in (first, second, third, other)] == [False, False, True, False]
    assert "max.connections.per.ip=2" in caplog.text and len(caplog.records) == 1
    first.transport.ended = True
    rig.settle()
    again = rig.connect("10.0.0.1")
    rig.settle()
    assert not again.closed
    values = rig.values()
    assert values["kafka.server:type=socket-server-metrics,name=connection-count"] == 3
    assert values["kafka.server:type=socket-server-metrics,name=connections-refused-total"] == 1


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_without_descriptors_accepting_pauses_ever_longer(rig, caplog, number):
    connected = rig.connect()
    rig.settle()
    waiting = rig.connect()
    rig.listener.failures = [number] * 8
    rig.settle()
    assert len(rig.listener.failures) == 7  # it does not spin
    assert connected.ask(API_VERSIONS, 3).error_code == 0
    backoff_ms = MIN_BACKOFF_MS
    while rig.listener.failures:
        left = len(rig.listener.failures)
        rig.advance(backoff_ms - 1)
        assert len(rig.listener.failures) == left
        rig.advance(1)
        assert len(rig.listener.failures) == left - 1
        backoff_ms = min(2 * backoff_ms, MAX_BACKOFF_MS)
    rig.advance(MAX_BACKOFF_MS)
    assert waiting.ask(API_VERSIONS, 3).error_code == 0
    assert len(caplog.records) == 8


def test_a_client_that_goes_before_it_is_accepted_is_nobodys_loss(rig):
    rig.connect()
    second = rig.connect()
    rig.listener.failures = [errno.ECONNABORTED]
    rig.settle()
    assert second.ask(API_VERSIONS, 3).error_code == 0


def test_a_crowd_is_accepted_over_several_turns(rig, monkeypatch):
    monkeypatch.setattr("fastlog.api.server.LEAST_SPARE_NS", 0)  # one a turn
    for _ in range(3):
        rig.connect()
    rig.turn()
    assert len(rig.listener.waiting) == 2
    rig.settle()
    assert not rig.listener.waiting


def test_a_long_turn_leaves_a_part_of_itself_to_those_in_line(rig, monkeypatch):
    monkeypatch.setattr("fastlog.api.server.LEAST_SPARE_NS", 0)

    def handle(context, request):
        rig.clock.now_ns += 100_000
        return ListGroupsResponse()

    rig.on_list_groups = handle
    clients = [rig.connect() for _ in range(10)]
    for client in clients:
        client.ask(API_VERSIONS, 3)
    for client in clients:
        client.send(ListGroupsRequest(), 0)
    rig.turn()
    assert sum(len(client.answers()) for client in clients) == 1
    rig.reactor.at_turn_end(lambda: setattr(rig.clock, "now_ns", rig.clock.now_ns + 1_000_000))
    rig.turn()
    rig.turn()
    assert sum(len(client.answers()) for client in clients) == 2 * 3


def test_a_request_knows_its_listener_client_and_address(rig):
    seen = []

    def handle(context, request):
        seen.append((context.listener_name, context.client_id, context.peer_host, context.principal))
        return ListGroupsResponse()

    rig.on_list_groups = handle
    internal = rig.server.listen("INTERNAL", "127.0.0.1", 0)
    rig.connect("10.0.0.1").ask(ListGroupsRequest(), 0)
    rig.connect("10.0.0.2", listener=internal).ask(ListGroupsRequest(), 0)
    assert seen == [
        ("PLAINTEXT", "tester", "10.0.0.1", "User:ANONYMOUS"),
        ("INTERNAL", "tester", "10.0.0.2", "User:ANONYMOUS"),
    ]


def test_closing_ends_listeners_and_connections(rig):
    client = rig.connect()
    rig.settle()
    rig.server.close()
    assert client.closed and rig.listener.closed
    rig.settle()
    assert not rig.network.watched
    assert rig.reactor.next_deadline_ns() is None


def test_requests_and_times_are_counted(rig):
    client = rig.connect()
    for _ in range(3):
        client.ask(API_VERSIONS, 3)
    assert rig.values()["kafka.network:type=RequestMetrics,name=RequestsPerSec,request=ApiVersions,version=3"] == 3
    times = dict(rig.metrics)["kafka.network:type=RequestMetrics,name=TotalTimeUs,request=ApiVersions"]
    assert times.count == 3
    assert rig.values()["kafka.server:type=socket-server-metrics,name=incoming-byte-total"] > 0
    assert rig.values()["kafka.server:type=socket-server-metrics,name=outgoing-byte-total"] > 0


def test_limits_may_change(make_rig):
    rig = make_rig(limits=Limits(max_connections=1))
    clients = [rig.connect(f"10.0.0.{number}") for number in range(4)]
    rig.settle()
    assert len(rig.listener.waiting) == 3
    rig.server.limit_connections(3, 10)
    rig.settle()
    assert rig.listener.waiting == [clients[3].transport]
    rig.server.limit_connections(2, 10)
    assert not any(client.closed for client in clients), "those that are there stay"
    rig.server.limit_connections(10, 1)
    again = rig.connect("10.0.0.1")
    rig.settle()
    assert again.closed and not clients[3].closed


def test_a_storm_of_closed_connections_does_not_fill_the_log(make_rig, caplog):
    rig = make_rig()
    clients = [rig.connect() for _ in range(3 * CLOSINGS_LOGGED_PER_SWEEP)]
    for client in clients:
        client.send_bytes(b"GET / HTTP/1.1\r\n\r\n")
    rig.settle()
    assert all(client.closed for client in clients)
    assert len(caplog.records) == CLOSINGS_LOGGED_PER_SWEEP
    rig.server.close()
    assert caplog.records[-1].getMessage() == f"{2 * CLOSINGS_LOGGED_PER_SWEEP} more connections were closed for such reasons"
