"""Clients that mean harm, thousands of them in one process: `python hostile_clients.py PORT KIND=COUNT ...`.

It prints `attacking N` when all are connected, then goes on until its standard input ends, and prints what it did as JSON.
Whoever is cut off comes back after a while. Kinds:

* slow: a byte a second of a large Produce request
* half_open: half of a request's size, then silence
* half_closed: half of a request, then the end of what is sent, the connection kept
* flooding: small requests as fast as they go, all answers read
* never_reading: requests with large answers, of which none is read
* http, tls: another protocol
* liar: a request's size of 100 MiB, and bytes of it as fast as they go
"""

from __future__ import annotations

import collections
import contextlib
import heapq
import json
import selectors
import socket
import struct
import sys
import time

from fastlog.wire.frames import encode_request
from fastlog.wire.messages.api_versions import ApiVersionsRequest
from fastlog.wire.messages.metadata import MetadataRequest

SLOW_PAUSE_S = 1.0
RETURN_PAUSE_S = 1.0
FLOODED_AT_ONCE = 20
LIE_BYTES = 100 << 20
READ_BYTES = 1 << 16

API_VERSIONS = encode_request(ApiVersionsRequest(client_software_name="t", client_software_version="1"), 3, 1, "hostile")
METADATA = encode_request(MetadataRequest(topics=None, allow_auto_topic_creation=False), 9, 1, "hostile")
PRODUCE_BEGIN = struct.pack(">ihhih", 1 << 20, 0, 9, 1, -1) + bytes(200)
TLS_HELLO = bytes.fromhex("16030100f5010000f10303") + bytes(200)


class Client:
    """One connection of a kind, and what it has still to send."""

    def __init__(self, attack: Attack, kind: str) -> None:
        self.attack = attack
        self.kind = kind
        self.socket: socket.socket | None = None
        self.waiting = b""
        self.sent = 0

    def connect(self) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            self.socket.connect(("127.0.0.1", self.attack.port))
        self.attack.selector.register(self.socket, selectors.EVENT_WRITE, self.connected)

    def connected(self, _: int) -> None:
        if self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.lost()
            return
        self.attack.counts["connected"] += 1
        self.attack.open += 1
        getattr(self, f"begin_{self.kind}")()

    def watch(self, events: int, callback) -> None:
        self.attack.selector.modify(self.socket, events, callback)

    def send(self, data: bytes) -> None:
        try:
            self.attack.counts["sent_bytes"] += self.socket.send(data)
        except BlockingIOError:
            pass
        except OSError:
            self.lost()

    def discard(self, _: int) -> None:
        """Read and forget; the end of the stream is the end of this connection."""
        try:
            data = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.attack.counts["received_bytes"] += len(data)
        if not data:
            self.attack.counts[f"cut_off_{self.kind}"] += 1
            self.lost()

    def lost(self) -> None:
        if self.socket is not None:
            self.attack.selector.unregister(self.socket)
            self.socket.close()
            self.socket = None
            self.attack.open -= 1
            self.attack.later(RETURN_PAUSE_S, self.connect)

    # ---- kinds ----

    def begin_slow(self) -> None:
        self.watch(selectors.EVENT_READ, self.discard)
        self.sent = 0
        self.attack.later(SLOW_PAUSE_S * (hash(self) % 1000) / 1000, self.drip)

    def drip(self) -> None:
        if self.socket is not None:
            self.send(PRODUCE_BEGIN[self.sent % len(PRODUCE_BEGIN) :][:1])
            self.sent += 1
            self.attack.later(SLOW_PAUSE_S, self.drip)

    def begin_half_open(self) -> None:
        self.watch(selectors.EVENT_READ, self.discard)
        self.send(b"\0\0")

    def begin_half_closed(self) -> None:
        self.watch(selectors.EVENT_READ, self.discard)
        self.send(API_VERSIONS[:10])
        if self.socket is not None:
            self.socket.shutdown(socket.SHUT_WR)

    def begin_http(self) -> None:
        self.watch(selectors.EVENT_READ, self.discard)
        self.send(b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n")

    def begin_tls(self) -> None:
        self.watch(selectors.EVENT_READ, self.discard)
        self.send(TLS_HELLO)

    def begin_flooding(self) -> None:
        self.waiting = b""
        self.watch(selectors.EVENT_READ | selectors.EVENT_WRITE, self.flood)

    def flood(self, events: int) -> None:
        if events & selectors.EVENT_READ:
            self.discard(events)
        if events & selectors.EVENT_WRITE and self.socket is not None:
            self.pour(API_VERSIONS * FLOODED_AT_ONCE)

    def begin_never_reading(self) -> None:
        self.waiting = b""
        self.watch(selectors.EVENT_WRITE, self.demand)

    def demand(self, _: int) -> None:
        self.pour(METADATA * FLOODED_AT_ONCE)

    def begin_liar(self) -> None:
        self.waiting = struct.pack(">i", LIE_BYTES)
        self.watch(selectors.EVENT_READ | selectors.EVENT_WRITE, self.lie)

    def lie(self, events: int) -> None:
        if events & selectors.EVENT_READ:
            self.discard(events)
        if self.socket is not None:
            self.pour(bytes(READ_BYTES))

    def pour(self, more: bytes) -> None:
        """Send what is left of the last time, then more."""
        data = self.waiting or more
        try:
            count = self.socket.send(data)
        except BlockingIOError:
            return
        except OSError:
            self.attack.counts[f"cut_off_{self.kind}"] += 1
            self.lost()
            return
        self.waiting = data[count:]
        self.attack.counts["sent_bytes"] += count


class Attack:
    """All clients, and the loop that they run on."""

    def __init__(self, port: int, counts: dict[str, int]) -> None:
        self.port = port
        self.selector = selectors.DefaultSelector()
        self.counts: collections.Counter[str] = collections.Counter()
        self.open = 0
        self.total = sum(counts.values())
        self._timers: list[tuple[float, int, object]] = []
        self._number = 0
        self.clients = [Client(self, kind) for kind, count in counts.items() for _ in range(count)]

    def later(self, delay_s: float, callback) -> None:
        self._number += 1
        heapq.heappush(self._timers, (time.monotonic() + delay_s, self._number, callback))

    def run(self) -> None:
        """Connect all, some at a time, say so, and go on until standard input ends."""
        ended = []
        self.selector.register(sys.stdin, selectors.EVENT_READ, lambda events: sys.stdin.readline() or ended.append(True))
        waiting = collections.deque(self.clients)
        announced = False
        while not ended:
            for _ in range(min(50, len(waiting))):
                waiting.popleft().connect()
            if not announced and self.counts["connected"] >= self.total:
                announced = True
                print(f"attacking {self.total}", flush=True)
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                heapq.heappop(self._timers)[2]()
            timeout_s = 0.01 if waiting else 0.1
            if self._timers:
                timeout_s = max(0.0, min(timeout_s, self._timers[0][0] - now))
            for key, events in self.selector.select(timeout_s):
                if key.fileobj is sys.stdin or key.fileobj.fileno() >= 0:
                    key.data(events)
        print(json.dumps({**self.counts, "open": self.open}), flush=True)


if __name__ == "__main__":
    Attack(int(sys.argv[1]), {kind: int(count) for kind, count in (argument.split("=") for argument in sys.argv[2:])}).run()
