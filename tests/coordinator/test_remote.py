"""The client of a coordinator elsewhere beside servers that are no good: it neither runs in circles nor waits for ever."""

import struct

import pytest
from memory_machine import NoNetwork

from fastlog.coordinator.errors import ConnectionLoss
from fastlog.coordinator.remote import MOST_PAUSE_MS, RemoteClient
from fastlog.env import READABLE

TIMEOUT_MS = 6_000
SESSION = struct.pack(">iiqi", 0, TIMEOUT_MS, 7, 16) + bytes(16)
NO_SESSION = struct.pack(">iiqi", 0, 0, 0, 16) + bytes(16)


class Unkind(NoNetwork):
    """Every server takes every connection, answers its greeting, and closes it at once."""

    def __init__(self, clock, greeting):
        super().__init__(clock)
        self.greeting, self.watched, self.connections = struct.pack(">i", len(greeting)) + greeting, {}, 0

    def connect(self, host, port):
        self.connections += 1
        return Answered(self)

    def watch(self, endpoint, events, callback):
        self.watched[endpoint] = (events, callback)

    def poll(self, timeout_ns):
        ready = [(callback, events & (~READABLE if one.greets else ~0)) for one, (events, callback) in self.watched.items()]
        ready = [(callback, events) for callback, events in ready if events]
        if not ready:
            self._clock.now_ns += timeout_ns or 0
        return ready


class Answered:
    def __init__(self, network):
        self._network, self._left, self.greets = network, network.greeting, True

    def send(self, buffers, skip=0):
        self.greets = False
        return sum(map(len, buffers)) - skip

    def receive_into(self, buffer):
        data, self._left = self._left, b""
        memoryview(buffer)[: len(data)] = data
        return len(data)

    def close(self):
        del self._network.watched[self]


@pytest.fixture
def ask(machine):
    """Ask for something of servers that greet so, for a minute; return the connections made, and what became of it."""

    def asked(greeting, servers=2):
        network = machine.network = machine.reactor.network = Unkind(machine.clock, greeting)
        client = RemoteClient(
            machine.reactor, machine.random, [("s", 1 + number) for number in range(servers)], timeout_ms=TIMEOUT_MS
        )
        states = []
        client.on_session(states.append)
        answer = client.get("/a")
        end_ns = machine.clock.now_ns + 60_000_000_000
        while machine.clock.now_ns < end_ns:
            assert network.connections < 1000, "it runs in circles"
            machine.turn()
        return network.connections, answer, states

    return asked


@pytest.mark.parametrize("servers", [1, 3])
@pytest.mark.parametrize("greeting", [SESSION, NO_SESSION], ids=["session", "none"])
def test_servers_that_keep_no_connection_are_left_alone_for_ever_longer(ask, greeting, servers):
    connections, answer, states = ask(greeting, servers)
    rounds = connections / servers
    assert 60_000 / MOST_PAUSE_MS <= rounds < 2 * 60_000 / MOST_PAUSE_MS + 10
    with pytest.raises(ConnectionLoss):
        answer.result()
    assert bool(states) is (greeting == SESSION), "a session that there never was does not expire"
