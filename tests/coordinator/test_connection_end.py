"""What a connection to the coordinator may hold, and how it ends: its client may send on and never read, we may be mistaken."""

import struct

import pytest
from memory_machine import NoNetwork

from fastlog.coordinator import requests
from fastlog.coordinator.protocol import Op
from fastlog.coordinator.server import LAST_ANSWER_MS, MAX_UNDER_WAY_BYTES, Connection, CoordinatorServer
from fastlog.coordinator.service import Coordinator
from fastlog.coordinator.tree import Create, SetData
from fastlog.env import READABLE, WRITABLE

CLOSE = struct.pack(">iii", 8, 1, Op.CLOSE_SESSION)
UNKNOWN_SESSION = requests.encode_connect(0, 10_000, 7, bytes(16))


class Watching(NoNetwork):
    def watch(self, endpoint, events, callback):
        endpoint.events, endpoint.ready = events, callback


class Pipe:
    """A client's end: it sends what the test gives it, and reads only when it `reads`."""

    peer_host, peer_port = "127.0.0.1", 1

    def __init__(self):
        self.outgoing, self.reads, self.closed, self.got = b"", False, False, b""

    def receive_into(self, buffer):
        room = memoryview(buffer)
        count = min(len(room), len(self.outgoing))
        room[:count], self.outgoing = self.outgoing[:count], self.outgoing[count:]
        return count

    def send(self, buffers, skip=0):
        if not self.reads:
            raise BlockingIOError
        data = b"".join(map(bytes, buffers))[skip:]
        self.got += data
        return len(data)

    def close(self):
        self.closed = True


class Served:
    def __init__(self, machine):
        self.machine, self.pipe = machine, Pipe()
        machine.network = machine.reactor.network = Watching(machine.clock)
        coordinator = Coordinator(machine.reactor, machine.disk, machine.flusher, machine.random, "/data")
        self.server = CoordinatorServer(machine, coordinator, "/data")
        self.connection = Connection(self.server, self.pipe)
        self.server.connections[self.connection.client] = self.connection

    def say(self, data):
        self.pipe.outgoing += data
        while self.pipe.outgoing and not self.pipe.closed:
            assert self.pipe.events & READABLE
            self.pipe.ready(READABLE)
            self.machine.settle()

    def run_on(self):
        """Let the pipe be ready for whatever it is watched for, until nothing moves."""
        self.machine.settle()
        while wanted := self.pipe.events & (WRITABLE | (READABLE if self.pipe.outgoing else 0)):
            self.pipe.ready(wanted)
            self.machine.settle()


def framed(data):
    return struct.pack(">i", len(data)) + data


ENDS = [b"srvr", framed(UNKNOWN_SESSION), framed(requests.encode_connect(0, 10_000, 0, bytes(16))) + CLOSE]


@pytest.mark.parametrize("end", ENDS, ids=["word", "refused", "closed"])
def test_what_comes_behind_the_end_is_kept_nowhere_and_answered_by_nothing(machine, end):
    served = Served(machine)
    served.say(end)
    at_end = served.connection.received
    for _ in range(200):
        served.say(framed(bytes(10_000)))
    assert served.connection._receiver.reserved_bytes < 100_000
    assert served.connection.received == at_end
    assert not served.pipe.closed, "the last answer has not gone yet"


@pytest.mark.parametrize("end", ENDS, ids=["word", "refused", "closed"])
def test_who_never_reads_the_last_answer_is_closed_after_a_while(machine, end):
    served = Served(machine)
    served.say(end)
    machine.clock.now_ns += LAST_ANSWER_MS * 1_000_000 - 1_000_000
    machine.settle()
    assert not served.pipe.closed
    machine.clock.now_ns += 1_000_000
    machine.settle()
    assert served.pipe.closed and not served.server.connections


def test_a_mistake_in_a_request_that_had_to_wait_closes_its_connection(machine, monkeypatch, caplog):
    monkeypatch.setattr("fastlog.coordinator.server.MAX_UNDER_WAY", 1)
    served = Served(machine)
    served.pipe.reads = machine.flusher.held = True
    served.say(framed(requests.encode_connect(0, 10_000, 0, bytes(16))) + struct.pack(">iii", 8, 1, Op.PING))
    monkeypatch.setattr(served.server.dispatcher, "handle", lambda client, frame: 1 // 0)
    assert not served.pipe.closed, "the ping waits until the session is on disk"
    machine.flusher.release()
    machine.settle()
    assert served.pipe.closed and not served.server.connections
    assert "ZeroDivisionError" in caplog.text


def test_answers_that_wait_for_the_disk_are_bounded(machine):
    """A write before them makes many reads wait, and each answer may be a megabyte."""
    served = Served(machine)
    served.pipe.reads = True
    create = requests.encode_request(1, requests.Write((Create("/large", b"x" * 900_000),)))
    served.say(framed(requests.encode_connect(0, 10_000, 0, bytes(16))) + framed(create))
    machine.flusher.held = True
    write = requests.encode_request(2, requests.Write((SetData("/", b""),)))
    reads = [framed(requests.encode_request(3 + number, requests.Get("/large"))) for number in range(20)]
    served.say(framed(write) + b"".join(reads))
    assert served.connection.client.waiting_bytes < MAX_UNDER_WAY_BYTES + 1_000_000
    assert served.connection.under_way < 5 and not served.pipe.events
    machine.flusher.release()
    machine.settle()
    assert served.connection.under_way == served.connection.client.waiting_bytes == 0
    served.run_on()
    assert len(served.pipe.got) > 20 * 900_000


def test_requests_that_wait_for_the_disk_are_bounded(machine):
    served = Served(machine)
    served.pipe.reads = True
    served.say(framed(requests.encode_connect(0, 10_000, 0, bytes(16))))
    machine.flusher.held = True
    write = framed(requests.encode_request(1, requests.Write((SetData("/", b"x" * 400_000),))))
    served.pipe.outgoing = write * 20
    served.run_on()
    assert served.connection.under_way == 3 and served.pipe.outgoing
    machine.flusher.release()
    served.run_on()
    assert served.connection.sent == 21
