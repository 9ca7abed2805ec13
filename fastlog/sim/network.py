"""Simulated byte streams between hosts: latency, bytes that come in pieces, bounded buffers, lost connections, cut links.

A stream's bytes arrive in order and uncorrupted or not at all, as TCP has it. What a sender may have under way (sent, and not yet
received by the other process) is bounded; when that is full nothing more goes. A killed process's connections are reset; the
connections of a lost machine are silent until its peers' timeouts, or a reset once it is back.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from zlib import crc32

from fastlog.env import READABLE, WRITABLE

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from fastlog.env import Endpoint, ReadyCallback
    from fastlog.sim.entropy import Entropy
    from fastlog.sim.process import Process
    from fastlog.sim.scheduler import Scheduler
    from fastlog.sim.trace import Trace

LEAST_LATENCY_NS = 20_000
FIRST_FREE_PORT = 40_000
MOST_PIECES = 3
CONNECT_TIMEOUT_NS = 1_000_000_000
MOST_SILENCE_NS = 4_000_000_000


class Wires:
    """What connects the hosts of one simulation; faults are set here."""

    def __init__(self, scheduler: Scheduler, entropy: Entropy, trace: Trace) -> None:
        self.scheduler = scheduler
        self.entropy = entropy
        self.trace = trace
        self.most_latency_ns = entropy.choose((100_000, 500_000, 5_000_000))
        self.buffer_bytes = entropy.choose((2_000, 16_000, 64_000, 256_000))
        self.pieces_percent = entropy.choose((0, 20, 60))
        self._listeners: dict[tuple[str, int], SimulatedListener] = {}
        self._connections: dict[int, SimulatedTransport] = {}
        self._connections_created = 0
        self._cut_until_ns = 0

    def latency_ns(self) -> int:
        """Draw what one piece needs from host to host; a cut link holds it back until it is mended."""
        held_ns = max(0, self._cut_until_ns - self.scheduler.now_ns)
        return held_ns + self.entropy.between(LEAST_LATENCY_NS, self.most_latency_ns)

    def cut(self, duration_ns: int) -> None:
        """Hold back every byte that is sent from now on for `duration_ns`."""
        self._cut_until_ns = self.scheduler.now_ns + duration_ns
        self.trace.record("wires", f"cut for {duration_ns / 1e6:.3f} ms")

    def reset_one(self) -> None:
        """Lose one drawn connection, with what is under way on it."""
        if self._connections:
            keys = list(self._connections)
            self._connections[self.entropy.choose(keys)].reset_both("lost")

    def bind(self, listener: SimulatedListener) -> None:
        address = (listener.host, listener.port)
        if address in self._listeners:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        self._listeners[address] = listener

    def unbind(self, listener: SimulatedListener) -> None:
        self._listeners.pop((listener.host, listener.port), None)

    def listener(self, host: str, port: int) -> SimulatedListener | None:
        return self._listeners.get((host, port))

    def free_port(self, host: str) -> int:
        port = FIRST_FREE_PORT
        while (host, port) in self._listeners:
            port += 1
        return port

    def next_key(self) -> int:
        """Return a number for a connection, unique in this simulation."""
        self._connections_created += 1
        return self._connections_created

    def note(self, transport: SimulatedTransport) -> None:
        self._connections[transport.key] = transport

    def forget(self, transport: SimulatedTransport) -> None:
        self._connections.pop(transport.key, None)


class SimulatedTransport:
    """Implements `env.Transport`: one side of a connection. `key` is even for the side that connected, odd for the other."""

    def __init__(self, network: SimulatedNetwork, key: int, peer_host: str, peer_port: int, *, connected: bool) -> None:
        self.peer_host = peer_host
        self.peer_port = peer_port
        self.key = key
        self._network = network
        self._wires = network.wires
        self._peer: SimulatedTransport | None = None
        self._connected = connected
        self._closed = False
        self._inbox = bytearray()
        self._ended = False
        self._error: int | None = None
        self._under_way_bytes = 0
        self._last_arrival_ns = 0

    # ---- the process's side

    def receive_into(self, buffer: Buffer) -> int:
        self._check_usable()
        if self._inbox:
            with memoryview(buffer) as view:
                count = min(len(view), len(self._inbox))
                view[:count] = self._inbox[:count]
            del self._inbox[:count]
            if self._peer is not None:
                self._peer.make_room(count)
            return count
        if self._error is not None:
            raise OSError(self._error, os.strerror(self._error))
        if self._ended:
            return 0
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def send(self, buffers: Sequence[Any], skip: int = 0) -> int:
        self._check_usable()
        if self._error is not None:
            raise OSError(self._error, os.strerror(self._error))
        room = self._wires.buffer_bytes - self._under_way_bytes
        if not self._connected or room <= 0:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        pieces: list[bytes] = []
        left = room
        for buffer in buffers:
            # Released here, not when this frame goes: a traceback made further down may hold the frame for longer.
            with memoryview(buffer) as view:
                if skip >= len(view):
                    skip -= len(view)
                    continue
                piece = bytes(view[skip : skip + left])
            skip = 0
            pieces.append(piece)
            left -= len(piece)
            if left == 0:
                break
        data = b"".join(pieces)
        self._dispatch(data)
        return len(data)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._network.forget(self)
        self._wires.forget(self)
        if self._peer is not None and self._network.process.alive:
            if self._inbox:
                self._reach_peer(self._peer.arrive_error, errno.ECONNRESET)
            else:
                self._reach_peer(self._peer.arrive_end)

    def ready_events(self) -> int:
        """Return which of READABLE and WRITABLE a poll would report."""
        events = 0
        if self._inbox or self._ended or self._error is not None:
            events = READABLE
        if self._error is not None or (self._connected and self._under_way_bytes < self._wires.buffer_bytes):
            events |= WRITABLE
        return events

    def _check_usable(self) -> None:
        self._network.process.check_alive()
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    # ---- the wires' side

    def _dispatch(self, data: bytes) -> None:
        """Put bytes on their way, in one piece or a few."""
        peer, entropy = self._peer, self._wires.entropy
        if peer is None or not data:
            return
        self._under_way_bytes += len(data)
        start = 0
        if len(data) > 1 and entropy.chance(self._wires.pieces_percent):
            for _ in range(entropy.between(1, MOST_PIECES - 1)):
                end = entropy.between(start, len(data))
                if end > start:
                    self._reach_peer(peer.arrive, data[start:end])
                start = end
        if start < len(data):
            self._reach_peer(peer.arrive, data[start:])

    def _reach_peer(self, arrival: Callable[..., None], *arguments: Any) -> None:
        scheduler = self._wires.scheduler
        arrival_ns = max(self._last_arrival_ns + 1, scheduler.now_ns + self._network.process.ahead_ns + self._wires.latency_ns())
        self._last_arrival_ns = arrival_ns
        scheduler.at(arrival_ns, arrival, *arguments)

    def arrive(self, data: bytes) -> None:
        """Take bytes that have come over the wire; those of a lost machine never come."""
        if self._peer is not None and self._peer._network.vanished:
            return
        if self._closed or self._error is not None or not self._network.process.alive:
            if self._peer is not None:
                self._peer.make_room(len(data))
                if self._closed:
                    self._reach_peer(self._peer.arrive_error, errno.ECONNRESET)
            return
        self._wires.trace.record(self._network.process.name, f"receives {len(data)} on {self.key} {crc32(data):08x}")
        self._inbox += data
        self._network.process.touch()

    def make_room(self, count: int) -> None:
        """Take it that the other side has received so many bytes."""
        self._under_way_bytes -= count
        self._network.process.touch()

    def arrive_end(self) -> None:
        """Take the other side's orderly close."""
        if not self._closed and not self._ended:
            self._wires.trace.record(self._network.process.name, f"end of {self.key}")
            self._ended = True
            self._network.process.touch()

    def arrive_error(self, number: int) -> None:
        """Take a reset, or a connection's refusal."""
        if not self._closed and self._error is None:
            self._wires.trace.record(self._network.process.name, f"error {errno.errorcode[number]} on {self.key}")
            self._error = number
            self._inbox.clear()
            self._network.process.touch()

    def arrive_connection(self, peer: SimulatedTransport) -> None:
        """Take the news that the other side has accepted."""
        if not self._closed:
            self._connected = True
            self._peer = peer
            self._network.process.touch()

    def reset_both(self, why: str) -> None:
        """Lose the connection: what is under way is lost, both sides get an error."""
        self._wires.trace.record("wires", f"connection {self.key} {why}")
        self.arrive_error(errno.ECONNRESET)
        if self._peer is not None:
            self._peer.arrive_error(errno.ECONNRESET)
        self._wires.forget(self)

    def abandon(self, *, silently: bool) -> None:
        """Stop existing with the process; the other side learns it by an end or a reset, after a lost machine only much later."""
        self._closed = True
        self._wires.forget(self)
        if self._peer is not None:
            self._wires.forget(self._peer)
            if silently:
                self._wires.scheduler.after(
                    self._wires.entropy.between(LEAST_LATENCY_NS, MOST_SILENCE_NS), self._peer.arrive_error, errno.ECONNRESET
                )
            elif self._wires.entropy.chance(50):
                self._reach_peer(self._peer.arrive_end)
            else:
                self._reach_peer(self._peer.arrive_error, errno.ECONNRESET)


class SimulatedListener:
    """Implements `env.Listener`."""

    def __init__(self, network: SimulatedNetwork, key: int, host: str, port: int, backlog: int) -> None:
        self.host = host
        self.port = port
        self.key = key
        self._network = network
        self._backlog = backlog
        self._waiting: deque[SimulatedTransport] = deque()

    def accept(self) -> SimulatedTransport:
        self._network.process.check_alive()
        if not self._waiting:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        transport = self._waiting.popleft()
        self._network.note(transport)
        return transport

    def close(self) -> None:
        self._network.forget(self)
        self._network.wires.unbind(self)
        for transport in self._waiting:
            transport.close()
        self._waiting.clear()

    def ready_events(self) -> int:
        return READABLE if self._waiting else 0

    def arrive_request(self, client: SimulatedTransport) -> None:
        """Take a connection request: make this side's transport and answer."""
        wires = self._network.wires
        if wires.listener(self.host, self.port) is not self or len(self._waiting) >= self._backlog:
            client._network.later(client.arrive_error, errno.ECONNREFUSED)
            return
        network = client._network
        server = SimulatedTransport(self._network, client.key + 1, network.host, network.ephemeral_port(), connected=True)
        server._peer = client
        self._waiting.append(server)
        self._network.process.touch()
        wires.note(client)
        wires.trace.record(self._network.process.name, f"connection {client.key} from {network.host}")
        server._reach_peer(client.arrive_connection, server)

    def abandon(self, *, silently: bool) -> None:
        """Stop existing with the process."""
        self._network.wires.unbind(self)
        for transport in self._waiting:
            transport.abandon(silently=silently)
        self._waiting.clear()


SimulatedEndpoint = SimulatedTransport | SimulatedListener


class SimulatedNetwork:
    """Implements `env.Network` for one process. A poll never waits: the scheduler runs a turn when it has a result."""

    def __init__(self, wires: Wires, process: Process, host: str) -> None:
        self.wires = wires
        self.process = process
        self.host = host
        self._endpoints: dict[int, SimulatedEndpoint] = {}
        self._watched: dict[int, tuple[SimulatedEndpoint, int, ReadyCallback]] = {}
        self._woken = False
        self._ports_used = 0
        self.vanished = False
        process.on_killed.append(self._abandon)

    def listen(self, host: str, port: int, backlog: int = 128) -> SimulatedListener:
        self.process.check_alive()
        bound = SimulatedListener(self, 2 * self.wires.next_key(), host, port or self.wires.free_port(host), backlog)
        self.wires.bind(bound)
        self._endpoints[bound.key] = bound
        return bound

    def connect(self, host: str, port: int) -> SimulatedTransport:
        self.process.check_alive()
        transport = SimulatedTransport(self, 2 * self.wires.next_key(), host, port, connected=False)
        self.note(transport)
        self.wires.trace.record(self.process.name, f"connects {transport.key} to {host}:{port}")
        self.later(self._request, transport)
        return transport

    def watch(self, endpoint: Endpoint, events: int, callback: ReadyCallback) -> None:
        if not isinstance(endpoint, SimulatedTransport | SimulatedListener):
            raise TypeError("this network watches its own endpoints only")
        if events == 0:
            self._watched.pop(endpoint.key, None)
        elif endpoint.key in self._endpoints:
            self._watched[endpoint.key] = (endpoint, events, callback)
        else:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    def poll(self, timeout_ns: int | None) -> list[tuple[ReadyCallback, int]]:
        self._woken = False
        ready = []
        for endpoint, events, callback in self._watched.values():
            happened = endpoint.ready_events() & events
            if happened:
                ready.append((callback, happened))
        if len(ready) > 1:
            self.wires.entropy.shuffle(ready)
        return ready

    def has_ready(self) -> bool:
        """Tell whether a poll would return something now."""
        if self._woken:
            return True
        return any(endpoint.ready_events() & events for endpoint, events, _ in self._watched.values())

    def wake(self) -> None:
        self._woken = True
        self.process.touch()

    def close(self) -> None:
        for endpoint in list(self._endpoints.values()):
            endpoint.close()

    def note(self, endpoint: SimulatedEndpoint) -> None:
        self._endpoints[endpoint.key] = endpoint

    def forget(self, endpoint: SimulatedEndpoint) -> None:
        self._endpoints.pop(endpoint.key, None)
        self._watched.pop(endpoint.key, None)

    def ephemeral_port(self) -> int:
        self._ports_used += 1
        return 50_000 + self._ports_used

    def later(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Call after a drawn latency."""
        self.wires.scheduler.after(self.process.ahead_ns + self.wires.latency_ns(), callback, *arguments)

    def vanish(self) -> None:
        """Let this process's connections end without a word to their peers when it is killed: the whole machine is lost."""
        self.vanished = True

    def _request(self, transport: SimulatedTransport) -> None:
        listener = self.wires.listener(transport.peer_host, transport.peer_port)
        if listener is not None:
            listener.arrive_request(transport)
        elif self.wires.entropy.chance(80):
            self.later(transport.arrive_error, errno.ECONNREFUSED)
        else:
            self.wires.scheduler.after(CONNECT_TIMEOUT_NS, transport.arrive_error, errno.ETIMEDOUT)

    def _abandon(self) -> None:
        for endpoint in self._endpoints.values():
            endpoint.abandon(silently=self.vanished)
        self._endpoints.clear()
        self._watched.clear()
