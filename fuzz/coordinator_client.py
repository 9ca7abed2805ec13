"""The coordinator's client under whatever a server may say: nothing escapes, and every call is settled once, or not yet."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any
from zlib import crc32

from fastlog.coordinator.client import SessionState
from fastlog.coordinator.client_session import Call, Changed, ClientSession, Drop, Phase, Settle, Tell
from fastlog.coordinator.errors import CoordinatorError
from fastlog.coordinator.requests import EVENT_XID, PING_XID, SET_WATCHES_XID, Children, Close, Exists, Get, Write
from fastlog.coordinator.tree import Check, Create, Delete, SetAcl, SetData

TIMEOUT_MS = 10_000
GREETING = struct.pack(">iiqi", 0, TIMEOUT_MS, 7, 16) + bytes(16) + b"\0"
NEXT, RAW = 100, 101
KINDS = [NEXT, NEXT, NEXT, EVENT_XID, PING_XID, SET_WATCHES_XID, RAW]
"""What a frame has in front: the xid that is due, a special one, or nothing that we give it."""
MULTI = (Create("/a"), Create("/b", ttl_ms=5), Create("/c", container=True), SetData("/a", b""), Check("/a"), Delete("/b"))
REQUESTS = [
    (Get("/a", True), True),
    (Exists("/a", True), True),
    (Children("/a", True), True),
    (Write((Create("/a", sequential=True),)), False),
    (Write(MULTI), False),
    (Write((SetAcl("/a", ()),)), False),
    (Write((Check("/a"),)), False),
    (Close(), False),
]


class Person:
    """A client that asks everything, and whoever waits for its answers."""

    def __init__(self) -> None:
        self.session = ClientSession(TIMEOUT_MS)
        self.settled: list[Call] = []
        self.seen: list[object] = []

    def tell(self, event: object) -> None:
        raise AssertionError("whoever takes the effects tells")

    def connect(self) -> None:
        self.session.begin(0)
        self.session.connected(0)
        self.take()

    def ask(self) -> None:
        for request, watches in REQUESTS:
            call = Call(request, lambda answer, error: None, self.tell if watches else None)
            (self.session.close if isinstance(request, Close) else self.session.submit)(call, 0)
        self.take()

    def next_xid(self) -> int:
        waiting = self.session._in_flight
        return waiting[0][0] if waiting else 1

    def take(self) -> None:
        """Carry out what has to be done, as `remote` does."""
        session = self.session
        while session.effects:
            effect: Any = session.effects.popleft()
            self.seen.append(type(effect).__name__)
            if isinstance(effect, Settle):
                assert all(effect.call is not one for one in self.settled), "a call is settled twice"
                assert effect.error is None or isinstance(effect.error, CoordinatorError)
                self.settled.append(effect.call)
                self.seen.append(type(effect.error).__name__)
            elif isinstance(effect, Tell):
                assert effect.watch == self.tell
            elif isinstance(effect, Changed):
                assert isinstance(effect.state, SessionState)
            elif isinstance(effect, Drop):
                assert effect.reason
                session.lost(0)


def coordinator_client(data: bytes) -> int | None:
    """Let a server say anything, from its greeting on or behind a good one."""
    if not data:
        return None
    person, at = Person(), 1
    person.connect()
    if data[0] & 1:
        person.session.receive(GREETING, 0)
        person.ask()
    while at + 2 <= len(data) and person.session.phase in (Phase.GREETING, Phase.ATTACHED):
        kind, size = KINDS[data[at] % len(KINDS)], data[at + 1]
        body = data[at + 2 : at + 2 + size]
        at += 2 + size
        if kind == NEXT:
            body = struct.pack(">i", person.next_xid()) + body
        elif kind != RAW:
            body = struct.pack(">i", kind) + body
        person.session.receive(body, 0)
        person.take()
        if person.session.phase is Phase.AWAY and data[0] & 2:
            person.connect()
            person.session.receive(GREETING, 0)
            person.take()
    asked = len(REQUESTS) if data[0] & 1 else 0
    assert len(person.settled) <= asked
    if person.session.phase is Phase.CLOSED:
        assert len(person.settled) == asked
    return crc32(repr(person.seen[-12:]).encode())


def seeds() -> Iterator[bytes]:
    """Yield a greeting, and good answers to all that is asked."""

    def said(kind: int, body: bytes) -> bytes:
        return bytes([KINDS.index(kind), len(body)]) + body

    def answered(body: bytes, error: int = 0) -> bytes:
        return said(NEXT, struct.pack(">qi", 9, error) + body)

    stat = struct.pack(">qqqqiiiqiiq", 1, 2, 3, 4, 0, 0, 0, 0, 1, 0, 1)
    path, event = struct.pack(">i2s", 2, b"/a"), struct.pack(">qiii", 9, 0, 3, 3) + struct.pack(">i2s", 2, b"/a")
    head, end = (lambda op: struct.pack(">i?i", op, False, 0)), struct.pack(">i?i", -1, True, -1)
    multi = head(15) + path + stat + head(15) + path + stat + head(15) + path + stat + head(5) + stat + head(13) + head(2) + end
    failed = b"".join(head(-1) + struct.pack(">i", code) for code in (0, -110, -2, -2, -2, -2)) + end
    names = struct.pack(">ii1s", 1, 1, b"x")
    good = [
        answered(struct.pack(">i1s", 1, b"x") + stat), answered(stat), answered(names + stat), answered(path + stat),
        said(EVENT_XID, event), said(PING_XID, struct.pack(">qi", 9, 0)),
    ]  # fmt: skip
    yield b"\0" + said(RAW, GREETING)
    yield b"\0" + said(RAW, GREETING[:-1])
    yield b"\0" + said(RAW, struct.pack(">iiqi", 0, 0, 0, 16) + bytes(16) + b"\0")
    tail = [answered(stat), answered(head(13) + end), answered(b"")]
    # A body of more than 255 bytes does not fit in: the multi is answered as one that failed, and by one that is cut.
    yield b"\1" + b"".join([*good, answered(failed), *tail])
    yield b"\1" + b"".join([*good, answered(multi[:200])])
    for error in (-101, -112, -118, -4, -115, -999):
        yield b"\3" + b"".join([good[0], answered(b"", error), said(SET_WATCHES_XID, struct.pack(">qi", 9, 0)), *good[1:]])
    yield b"\3" + said(SET_WATCHES_XID, struct.pack(">qi", 9, -5)) + good[0]
