"""The same server on real sockets: one client in this thread, the broker's turns between its steps."""

import contextlib
import logging
import os
import socket
import struct
import time

import pytest

from fastlog._core import scan
from fastlog.api.api_versions import ApiVersionsHandler
from fastlog.api.cold_reads import ColdReads
from fastlog.api.fetch import FetchHandler
from fastlog.api.fetch_sessions import FetchSessions
from fastlog.api.parked import ParkedRequests
from fastlog.api.produce import ProduceHandler
from fastlog.api.registry import Registry
from fastlog.api.server import Limits, Server
from fastlog.api.topic_metrics import BrokerTopicMetrics
from fastlog.env.clock import SystemClock
from fastlog.env.network import SocketNetwork
from fastlog.env.reactor import Reactor
from fastlog.metrics import Metrics
from fastlog.wire.api import api as wire_api
from fastlog.wire.frames import decode_response, encode_request
from fastlog.wire.messages.api_versions import ApiVersionsRequest

PATIENCE_S = 30
API_VERSIONS = encode_request(ApiVersionsRequest(client_software_name="t", client_software_version="1"), 3, 1, "t")


class SocketRig:
    """The logs of a rig behind a server on real sockets."""

    def __init__(self, rig, limits):
        self.rig = rig
        self.network = SocketNetwork()
        self.reactor = Reactor(SystemClock(), self.network)
        metrics = Metrics()
        topic_metrics = BrokerTopicMetrics(metrics)
        parked = ParkedRequests(self.reactor, metrics, "Fetch")
        produce = ProduceHandler(rig.partitions, rig.view, ParkedRequests(self.reactor, metrics, "Produce"), topic_metrics)
        sessions = FetchSessions(self.reactor.clock, rig.random, metrics, 10)
        registry = Registry()
        registry.add(produce.api())
        cold_reads = ColdReads(rig.flusher)
        registry.add(FetchHandler(rig.partitions, rig.view, sessions, parked, cold_reads, topic_metrics, 55 << 20).api())
        registry.add(ApiVersionsHandler(registry).api())
        self.server = Server(self.reactor, self.network, registry, metrics, limits)
        for hook in (rig.logs.commit_staged, produce.answer_staged, parked.wake, self.server.flush):
            self.reactor.at_turn_end(hook)
        self.reactor.after_turn(self.server.serve_line)
        self.listener = self.server.listen("PLAINTEXT", "127.0.0.1", 0)
        self.clients = []

    def connect(self):
        client = socket.create_connection(("127.0.0.1", self.listener.port))
        client.setblocking(False)
        self.clients.append(client)
        return client

    def until(self, condition):
        """Run turns until a condition holds."""
        give_up = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < give_up
            self.reactor.call_later(1, lambda: None)  # so that a turn ends though nothing is ready
            self.reactor.run_turn()

    def ask(self, client, data, count=1, piece_bytes=1 << 20):
        """Send bytes and return as many whole answer frames; less when the connection ends."""
        left, got, ended = memoryview(data), bytearray(), False
        frames = []

        def move():
            nonlocal left, ended
            with contextlib.suppress(BlockingIOError, ConnectionResetError, BrokenPipeError):
                if left:
                    left = left[client.send(left) :]
            with contextlib.suppress(BlockingIOError):
                try:
                    piece = client.recv(piece_bytes)
                except ConnectionResetError:
                    piece = b""
                ended = not piece
                got.extend(piece)
            while len(got) >= 4 and len(got) - 4 >= int.from_bytes(got[:4], "big"):
                size = int.from_bytes(got[:4], "big")
                frames.append(bytes(got[4 : 4 + size]))
                del got[: 4 + size]
            return ended or len(frames) == count

        self.until(move)
        return frames

    def close(self):
        for client in self.clients:
            client.close()
        self.server.close()
        self.network.close()


@pytest.fixture
def make_socket_rig(rig):
    made = []

    def make(**limits):
        made.append(SocketRig(rig, Limits(**limits)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def decode(request, frame, version):
    return decode_response(wire_api(request.API_KEY).response_class, frame, version)[1]


def test_what_is_produced_is_fetched_byte_for_byte(rig, make_socket_rig, batch, produce_request, fetch_request):
    rig.add_topic("t")
    sockets = make_socket_rig()
    client = sockets.connect()
    batches = [batch(os.urandom(50_000), base_offset=0) for _ in range(40)]
    data = b"".join(
        encode_request(produce_request({"t": {0: records}}), 9, number, "t") for number, records in enumerate(batches)
    )
    answers = sockets.ask(client, data, len(batches))
    assert [int.from_bytes(frame[:4], "big") for frame in answers] == list(range(len(batches)))
    request = fetch_request({"t": {0: 0}}, max_bytes=1 << 30, partition_max_bytes=1 << 30)
    [frame] = sockets.ask(client, encode_request(request, 11, 99, "t"))
    records = decode(request, frame, 11).responses[0].partitions[0].records
    assert [bytes(one)[16:] for one in scan(records)] == [one[16:] for one in batches]


def test_a_client_that_reads_slowly_gets_everything(rig, make_socket_rig, batch, produce_request, fetch_request):
    rig.add_topic("t")
    sockets = make_socket_rig()
    client = sockets.connect()
    records = batch(*(os.urandom(100_000) for _ in range(8)))
    sockets.ask(client, encode_request(produce_request({"t": {0: records}}), 9, 1, "t"))
    request = fetch_request({"t": {0: 0}})
    client.sendall(b"".join(encode_request(request, 11, number, "t") for number in range(20)))
    sockets.until(lambda: any(connection.has_unsent for connection in sockets.server._connections))
    frames = sockets.ask(client, b"", 20, piece_bytes=50_000)
    assert [int.from_bytes(frame[:4], "big") for frame in frames] == list(range(20))
    assert all(frame.endswith(records[16:]) for frame in frames)


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", bytes.fromhex("16030100f5010000f1"), struct.pack(">i", -5), bytes(range(99, 256)) * 20]
)
def test_bytes_that_are_no_request_harm_only_their_connection(make_socket_rig, caplog, data):
    sockets = make_socket_rig(max_request_bytes=4000)
    healthy, client = sockets.connect(), sockets.connect()
    with caplog.at_level(logging.INFO):
        assert sockets.ask(client, data) == []
    assert len(caplog.records) == 1
    assert len(sockets.ask(healthy, API_VERSIONS)) == 1


def test_slow_clients_cost_what_they_sent(make_socket_rig):
    sockets = make_socket_rig()
    slow = [sockets.connect() for _ in range(100)]
    for client in slow:
        client.send(struct.pack(">i", 50_000_000) + b"x")
    healthy = sockets.connect()
    assert len(sockets.ask(healthy, API_VERSIONS)) == 1
    sockets.until(lambda: len(sockets.server._connections) == 101)
    assert sockets.server.held_bytes < 101 * 16_384


def test_out_of_descriptors_the_connected_go_on(make_socket_rig, caplog):
    sockets = make_socket_rig()
    healthy = sockets.connect()
    assert len(sockets.ask(healthy, API_VERSIONS)) == 1
    sockets.network.descriptor_bound = 0
    waiting = sockets.connect()
    sockets.until(lambda: caplog.records)
    assert len(sockets.ask(healthy, API_VERSIONS)) == 1
    assert len(caplog.records) <= 2
    sockets.network.descriptor_bound = 1 << 30
    assert sockets.ask(waiting, API_VERSIONS) == []  # accepted only to be given up, so that it need not wait for nothing
    assert len(sockets.ask(sockets.connect(), API_VERSIONS)) == 1


def test_a_parked_fetch_wakes_between_real_connections(rig, make_socket_rig, batch, produce_request, fetch_request):
    rig.add_topic("t")
    sockets = make_socket_rig()
    reader, writer = sockets.connect(), sockets.connect()
    request = fetch_request({"t": {0: 0}}, max_wait_ms=600_000)
    reader.send(encode_request(request, 11, 5, "t"))
    sockets.until(lambda: rig.partitions.by_name["t", 0]._watchers)
    sockets.ask(writer, encode_request(produce_request({"t": {0: batch(b"hello")}}), 9, 1, "t"))
    [frame] = sockets.ask(reader, b"")
    [one] = scan(decode(request, frame, 11).responses[0].partitions[0].records)
    assert [bytes(record.value) for record in one.records()] == [b"hello"]
