"""One session of a ZooKeeper-like service as its client lives it: a state machine without sockets, clocks or callbacks. Pure.

Inputs are calls (`begin`, `connected`, `receive`, `lost`, `submit`, `close`, `tick`), each with the monotonic time; what has
to be done is then in `effects`, in order. Source: ZooKeeper's programmer's guide ("ZooKeeper Sessions", "ZooKeeper Watches")
and what ZooKeeper 3.8 and 3.9 do. The rules:

* **A lost connection is not a lost session.** The session is attached to again on the next connection, on whichever server;
  only the server's word (a timeout of 0) ends it. Then everything that was asked fails, every watch is forgotten, and a new
  session begins with nothing of the old one.
* **Writes that were under way when the connection went fail** with ConnectionLoss: nobody knows whether they were carried
  out. Reads are asked again, in their order, for a session's timeout at most: one may be what costs the connection each time.
  What was not sent waits for the next connection, as long.
* **Watches are neither lost nor early.** One is kept from the answer that left it until its event. On a new connection all of
  them are left again as of the last zxid that an answer has shown; the server then tells at once what was missed. Events and
  pings don't move that zxid: others of the same transaction may still be on their way.
* Silence of two thirds of the session's timeout loses the connection; a third of it without a request is a reason to ping.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import Final, NamedTuple

from fastlog.coordinator import requests
from fastlog.coordinator.client import SessionState, WatchCallback
from fastlog.coordinator.errors import ConnectionLoss, CoordinatorError, SessionExpired
from fastlog.coordinator.jute import JuteError, Reader
from fastlog.coordinator.requests import Answer, Children, Close, Exists, Get, Request, Write
from fastlog.coordinator.watches import EventType, WatchEvent

LEAST_ATTEMPT_MS: Final = 500
"""A server gets at least so long to take a connection, however many there are."""
SET_WATCHES_BYTES: Final = 128 << 10
"""About how much goes into one request that leaves watches again."""
_MAX_XID: Final = 0x7FFF_FFFF
_SESSION_MOVED: Final = -118
_NS_PER_MS: Final = 1_000_000


class Phase(Enum):
    """How far a connection has come."""

    AWAY = "away"
    CONNECTING = "connecting"
    GREETING = "greeting"
    ATTACHED = "attached"
    CLOSED = "closed"


class Call:
    """One request and who waits for it: `settle(answer, error)` is called once. `watch` is left when the answer comes."""

    __slots__ = ("deadline_ns", "request", "settle", "was_lost", "watch")

    def __init__(
        self,
        request: Request,
        settle: Callable[[Answer, CoordinatorError | None], object],
        watch: WatchCallback | None = None,
    ) -> None:
        self.request = request
        self.settle = settle
        self.watch = watch
        self.deadline_ns = 0
        self.was_lost = False


class Send(NamedTuple):
    """Send a frame; its size goes in front of it."""

    frame: bytes


class Settle(NamedTuple):
    """Give a call its answer or its error."""

    call: Call
    answer: Answer
    error: CoordinatorError | None


class Tell(NamedTuple):
    """Tell a watcher of an event."""

    watch: WatchCallback
    event: WatchEvent


class Changed(NamedTuple):
    """Tell everybody what the session is now."""

    state: SessionState


class Drop(NamedTuple):
    """Close the connection, if there is one, and make another unless the session is closed."""

    reason: str


Effect = Send | Settle | Tell | Changed | Drop
_Table = dict[str, dict[WatchCallback, None]]


class ClientSession:
    """A session, from before its first connection until it is closed."""

    def __init__(self, timeout_ms: int, server_count: int = 1) -> None:
        """Ask for a session of `timeout_ms`; the server may give another."""
        self.phase = Phase.AWAY
        self.session_id = 0
        self.timeout_ms = timeout_ms
        self.last_zxid = 0
        self.effects: deque[Effect] = deque()
        self._wanted_timeout_ms = timeout_ms
        self._server_count = server_count
        self._password = requests.NO_PASSWORD
        self._next_xid = 1
        self._waiting: deque[Call] = deque()
        self._in_flight: deque[tuple[int, Call]] = deque()
        self._began_ns = 0
        self._heard_ns = 0
        self._sent_ns = 0
        # The three kinds of watches that setWatches knows: of a znode that is there, of one that is not, of its children.
        self._data: _Table = {}
        self._exist: _Table = {}
        self._children: _Table = {}

    # ---- connections ----

    def begin(self, now_ns: int) -> None:
        """A connection is being made."""
        assert self.phase is Phase.AWAY, self.phase
        self.phase = Phase.CONNECTING
        self._began_ns = now_ns

    def connected(self, now_ns: int) -> None:
        """The connection is there: say who we are."""
        assert self.phase is Phase.CONNECTING, self.phase
        self.phase = Phase.GREETING
        self._send(requests.encode_connect(self.last_zxid, self._wanted_timeout_ms, self.session_id, self._password), now_ns)

    def lost(self, now_ns: int) -> None:
        """The connection is no more, or none came about."""
        if self.phase in (Phase.AWAY, Phase.CLOSED):
            return
        was_attached = self.phase is Phase.ATTACHED
        self.phase = Phase.AWAY
        under_way, self._in_flight = self._in_flight, deque()
        if was_attached:
            self.effects.append(Changed(SessionState.DISCONNECTED))
        assert not (under_way and self._waiting), "nothing waits beside what is under way"
        for _, call in under_way:
            if isinstance(call.request, Close):  # whether it came through or not, the server will end the session
                self.effects.append(Settle(call, None, None))
                self._close("closed")
            elif isinstance(call.request, Write):
                self._fail(call, ConnectionLoss(detail="the connection was lost before the answer came"))
            else:
                if not call.was_lost:
                    call.was_lost, call.deadline_ns = True, now_ns + self.timeout_ms * _NS_PER_MS
                self._waiting.append(call)

    def receive(self, frame: bytes, now_ns: int) -> None:
        """Take a whole frame, without its size."""
        if self.phase not in (Phase.GREETING, Phase.ATTACHED):
            return
        self._heard_ns = now_ns
        try:
            if self.phase is Phase.GREETING:
                self._greeted(frame, now_ns)
            else:
                self._answered(Reader(frame))
        except JuteError as error:
            self._drop(f"what the server says cannot be read: {error}")

    def _greeted(self, frame: bytes, now_ns: int) -> None:
        answer = requests.decode_connect_answer(frame)
        if answer.timeout_ms <= 0:
            if self.session_id:
                self._expired()
            else:
                self._drop("the server gives no session")
            return
        self.phase = Phase.ATTACHED
        self.session_id, self._password, self.timeout_ms = answer.session_id, answer.password, answer.timeout_ms
        self.effects.append(Changed(SessionState.CONNECTED))
        for data, exist, child in self._batches_of_watches():
            self._send(requests.encode_set_watches(self.last_zxid, data, exist, child), now_ns)
        while self._waiting:
            self._send_call(self._waiting.popleft(), now_ns)

    def _expired(self) -> None:
        self.session_id, self._password, self.last_zxid = 0, requests.NO_PASSWORD, 0
        self.timeout_ms = self._wanted_timeout_ms
        self.effects.append(Changed(SessionState.EXPIRED))
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            self._fail(call, SessionExpired(detail="the session is over, a new one begins"))
        for table in (self._data, self._exist, self._children):
            table.clear()
        self._drop("the session had expired")

    # ---- requests ----

    def submit(self, call: Call, now_ns: int) -> None:
        """Send a request now, or as soon as there is a connection."""
        if self.phase is Phase.CLOSED:
            self._fail(call, SessionExpired(detail="the session is closed"))
        elif self.phase is Phase.ATTACHED:
            self._send_call(call, now_ns)
        else:
            call.deadline_ns = now_ns + self.timeout_ms * _NS_PER_MS
            self._waiting.append(call)

    def close(self, call: Call, now_ns: int) -> None:
        """End the session, or leave it to the server to end it where there is no connection."""
        assert isinstance(call.request, Close)
        if self.phase is Phase.ATTACHED:
            self._send_call(call, now_ns)
            return
        self.effects.append(Settle(call, None, None))
        self._close("closed")

    def _close(self, reason: str) -> None:
        self.phase = Phase.CLOSED
        waiting = [*(call for _, call in self._in_flight), *self._waiting]
        self._in_flight.clear()
        self._waiting.clear()
        for call in waiting:
            self._fail(call, SessionExpired(detail="the session is closed"))
        for table in (self._data, self._exist, self._children):
            table.clear()
        self.effects.append(Drop(reason))

    def _send_call(self, call: Call, now_ns: int) -> None:
        xid = self._next_xid
        self._next_xid = xid + 1 if xid < _MAX_XID else 1
        self._in_flight.append((xid, call))
        self._send(requests.encode_request(xid, call.request), now_ns)

    def _send(self, frame: bytes, now_ns: int) -> None:
        self._sent_ns = now_ns
        self.effects.append(Send(frame))

    def _fail(self, call: Call, error: CoordinatorError) -> None:
        self.effects.append(Settle(call, None, error))

    def _drop(self, reason: str) -> None:
        self.effects.append(Drop(reason))

    # ---- answers and events ----

    def _answered(self, fields: Reader) -> None:
        head = requests.decode_head(fields)
        if head.xid == requests.EVENT_XID:
            event = requests.decode_event(fields)
            if event is not None:
                for watch in self._take_watches(event):
                    self.effects.append(Tell(watch, event))
        elif head.xid == requests.SET_WATCHES_XID:
            if head.error != requests.OK:
                self._drop(f"the server does not take our watches (error code {head.error})")
        elif head.xid != requests.PING_XID:
            self._settle_next(head, fields)

    def _settle_next(self, head: requests.AnswerHead, fields: Reader) -> None:
        if not self._in_flight or self._in_flight[0][0] != head.xid:
            raise JuteError(f"an answer to request {head.xid}, which is not the next")
        call = self._in_flight[0][1]
        if head.error in (SessionExpired.code, _SESSION_MOVED):
            # The server closes after this; the next connection will tell what has become of the session.
            self._drop("the server no longer has the session")
            return
        try:
            answer, error = requests.decode_answer(call.request, head.error, fields), None
            fields.end()
        except CoordinatorError as refusal:
            answer, error = None, refusal
        if head.zxid > 0:
            self.last_zxid = head.zxid
        self._in_flight.popleft()
        if call.watch is not None and error is None:
            self._leave(call.request, call.watch, is_there=answer is not None)
        self.effects.append(Settle(call, answer, error))
        if isinstance(call.request, Close):
            self._close("closed")

    # ---- watches ----

    def _leave(self, request: Request, watch: WatchCallback, *, is_there: bool) -> None:
        if isinstance(request, Children):
            table = self._children
        elif isinstance(request, Get) or (isinstance(request, Exists) and is_there):
            table = self._data
        else:
            table = self._exist
        assert isinstance(request, Get | Exists | Children)
        table.setdefault(request.path, {})[watch] = None

    def _take_watches(self, event: WatchEvent) -> dict[WatchCallback, None]:
        """Take out the watches that an event fires, each watcher once."""
        if event.type is EventType.CHILDREN_CHANGED:
            return self._children.pop(event.path, {})
        told = self._data.pop(event.path, {}) | self._exist.pop(event.path, {})
        if event.type is EventType.DELETED:
            told |= self._children.pop(event.path, {})
        return told

    def _batches_of_watches(self) -> Iterator[tuple[Sequence[str], Sequence[str], Sequence[str]]]:
        batch: tuple[list[str], list[str], list[str]] = ([], [], [])
        size_bytes = 0
        for paths, table in zip(range(3), (self._data, self._exist, self._children), strict=True):
            for path in table:
                batch[paths].append(path)
                size_bytes += len(path) + 4
                if size_bytes >= SET_WATCHES_BYTES:
                    yield batch
                    batch, size_bytes = ([], [], []), 0
        if size_bytes:
            yield batch

    # ---- time ----

    def tick(self, now_ns: int) -> None:
        """Do what is due: give up on what waits too long, ping, or drop a silent connection."""
        while self._waiting and self._waiting[0].deadline_ns <= now_ns:
            self._fail(self._waiting.popleft(), ConnectionLoss(detail="no server could be reached"))
        if self.phase in (Phase.CONNECTING, Phase.GREETING):
            if now_ns >= self._began_ns + self._attempt_ns():
                self._drop("no answer in time")
        elif self.phase is Phase.ATTACHED:
            if now_ns >= self._heard_ns + self._silence_ns():
                self._drop(f"nothing heard for {(now_ns - self._heard_ns) // _NS_PER_MS} ms")
            elif now_ns >= self._sent_ns + self._ping_ns():
                self._send(requests.encode_ping(), now_ns)

    def next_deadline_ns(self) -> int | None:
        """Return when `tick` will have something to do, None when only others can cause it."""
        deadlines = [self._waiting[0].deadline_ns] if self._waiting else []
        if self.phase in (Phase.CONNECTING, Phase.GREETING):
            deadlines.append(self._began_ns + self._attempt_ns())
        elif self.phase is Phase.ATTACHED:
            deadlines += [self._heard_ns + self._silence_ns(), self._sent_ns + self._ping_ns()]
        return min(deadlines, default=None)

    def _attempt_ns(self) -> int:
        return max(LEAST_ATTEMPT_MS, self._wanted_timeout_ms // self._server_count) * _NS_PER_MS

    def _silence_ns(self) -> int:
        return self.timeout_ms * _NS_PER_MS * 2 // 3

    def _ping_ns(self) -> int:
        return self.timeout_ms * _NS_PER_MS // 3
