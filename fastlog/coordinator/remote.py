"""`CoordinatorClient` over the wire: a session with one of several ZooKeeper-protocol servers, on the reactor.

`client_session` decides everything; this file gives it connections and the time, and carries out what it says. One connection
at a time: when it is lost the next server is tried at once, and after a round through all of them there is a pause that
grows. The order of servers is drawn, so that many brokers spread over them.

With a root (`/kafka` of `zookeeper.connect=host:2181/kafka`), all paths are below it, in both directions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar, cast

from fastlog._core import FrameError, Receiver
from fastlog.coordinator.client import SessionCallback, SessionState, WatchCallback, request_bytes
from fastlog.coordinator.client_session import Call, Changed, ClientSession, Drop, Phase, Send, Settle, Tell
from fastlog.coordinator.errors import BadArguments, ConnectionLoss, CoordinatorError, NodeExists
from fastlog.coordinator.jute import MAX_REQUEST_BYTES
from fastlog.coordinator.requests import Answer, Children, Close, Exists, Get, Request, Write
from fastlog.coordinator.tree import ANY_VERSION, Create, Created, Delete, Operation, Result, SetData, Stat, check_path
from fastlog.coordinator.watches import WatchEvent
from fastlog.env import READABLE, WRITABLE, Random, Transport
from fastlog.env.reactor import Pending, Reactor, Timer

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_ANSWER_BYTES: Final = 64 << 20
"""Largest answer that is taken: the names of a hundred thousand topics fit in."""
LEAST_PAUSE_MS: Final = 50
MOST_PAUSE_MS: Final = 1_000
"""How long it is waited after a round through all servers, doubled each time."""
LEAST_LIFE_MS: Final = 200
"""A connection that lasts no longer counts as none: a server may take them all, and close them again."""

_FRAME_SIZE_BYTES: Final = 4
_NS_PER_MS: Final = 1_000_000


class RemoteClient:
    """One session after another of a coordinator elsewhere: where one expires the next begins by itself."""

    def __init__(
        self, reactor: Reactor, random: Random, servers: Sequence[tuple[str, int]], *, root: str = "", timeout_ms: int
    ) -> None:
        """Begin to connect to one of `servers` (host, port). `root` is empty, or a path without a slash at its end."""
        self._reactor = reactor
        self._servers = _shuffled(servers, random)
        self._random = random
        self._root = root
        self._session = ClientSession(timeout_ms, len(self._servers))
        self._listeners: list[SessionCallback] = []
        self._opening: list[Pending[None]] = []
        self._attempts = 0
        self._failed_rounds = 0
        self._attached_ns = 0
        self._last_reason = ""
        self._transport: Transport | None = None
        self._receiver = Receiver(MAX_ANSWER_BYTES)
        self._unsent: list[bytes] = []
        self._unsent_skip = 0
        self._timer: Timer | None = None
        self._flush_is_due = False
        reactor.call_soon(self._connect)

    # ---- the protocol CoordinatorClient ----

    @property
    def session_id(self) -> int:
        """The session's id; another one after it has expired, 0 while there is none."""
        return self._session.session_id

    def get(self, path: str, watch: WatchCallback | None = None) -> Pending[tuple[bytes | None, Stat]]:
        return self._ask(Get(self._below(path), watch is not None), _as_it_is, watch)

    def exists(self, path: str, watch: WatchCallback | None = None) -> Pending[Stat | None]:
        return self._ask(Exists(self._below(path), watch is not None), _as_it_is, watch)

    def children(self, path: str, watch: WatchCallback | None = None) -> Pending[tuple[list[str], Stat]]:
        return self._ask(Children(self._below(path), watch is not None), _as_it_is, watch)

    def create(
        self, path: str, data: bytes | None = b"", *, ephemeral: bool = False, sequential: bool = False
    ) -> Pending[tuple[str, Stat]]:
        return self._write([Create(path, data, ephemeral, sequential)], _created)

    def set(self, path: str, data: bytes | None, version: int = ANY_VERSION) -> Pending[Stat]:
        return self._write([SetData(path, data, version)], _first)

    def delete(self, path: str, version: int = ANY_VERSION) -> Pending[None]:
        return self._write([Delete(path, version)], _first)

    def multi(self, operations: Sequence[Operation]) -> Pending[list[Result]]:
        return self._write(operations, _as_it_is)

    def on_session(self, callback: SessionCallback) -> None:
        self._listeners.append(callback)

    def close(self) -> Pending[None]:
        closed: Pending[None] = self._reactor.pending()
        if self._session.phase is Phase.CLOSED:
            closed.complete(None)
            return closed
        self._session.close(Call(Close(), lambda answer, error: closed.complete(None)), self._now_ns())
        self._carry_out()
        return closed

    # ---- beyond it ----

    def opened(self, timeout_ms: float) -> Pending[None]:
        """Complete as soon as there is a session; ConnectionLoss, with what was wrong last, when that takes longer."""
        outcome: Pending[None] = self._reactor.pending()
        if self._session.phase is Phase.ATTACHED:
            outcome.complete(None)
            return outcome
        self._opening.append(outcome)

        def late() -> None:
            if not outcome.done:
                self._opening.remove(outcome)
                outcome.fail(ConnectionLoss(detail=self._last_reason or "no server answers"))

        timer = self._reactor.call_later(timeout_ms, late)
        outcome.then(lambda _: timer.cancel())
        return outcome

    def make_root(self) -> Pending[None]:
        """Make the znodes of the root, where they are missing."""
        return self._reactor.spawn(self._make_root())

    def _make_root(self) -> Generator[Pending[Any], Any, None]:
        end = 0
        while end != -1 and self._root:
            end = self._root.find("/", end + 1)
            path = self._root if end == -1 else self._root[:end]
            if (yield self._submit(Exists(path), _as_it_is, None)) is None:
                with suppress(NodeExists):  # another broker was quicker
                    yield self._submit(Write((Create(path, b""),)), _as_it_is, None)

    def abandon(self) -> None:
        """Close the connection and say nothing: the server ends the session when its timeout has passed."""
        self._session.lost(self._now_ns())
        self._session.close(Call(Close(), lambda answer, error: None), self._now_ns())
        self._carry_out()

    # ---- requests ----

    def _ask(self, request: Get | Exists | Children, convert: Callable[[Any], T], watch: WatchCallback | None) -> Pending[T]:
        try:
            check_path(request.path)
        except BadArguments as error:
            return self._refused(error)
        return self._submit(request, convert, watch)

    def _write(self, operations: Sequence[Operation], convert: Callable[[Any], T]) -> Pending[T]:
        size_bytes = request_bytes(operations)
        if size_bytes > MAX_REQUEST_BYTES:
            return self._refused(BadArguments(detail=f"a request of {size_bytes} bytes; the limit is {MAX_REQUEST_BYTES}"))
        below = tuple(operation._replace(path=self._below(operation.path)) for operation in operations)
        return self._submit(Write(below), lambda results: convert([self._above(result) for result in results]), None)

    def _submit(self, request: Request, convert: Callable[[Any], T], watch: WatchCallback | None) -> Pending[T]:
        outcome: Pending[T] = self._reactor.pending()

        def settle(answer: Answer, error: CoordinatorError | None) -> None:
            if error is None:
                outcome.complete(convert(answer))
            else:
                outcome.fail(error)

        self._session.submit(Call(request, settle, watch), self._now_ns())
        self._carry_out()
        return outcome

    def _refused(self, error: CoordinatorError) -> Pending[Any]:
        refused: Pending[Any] = self._reactor.pending()
        refused.fail(error)
        return refused

    def _below(self, path: str) -> str:
        return path if not self._root else self._root if path == "/" else self._root + path

    def _above(self, result: Result) -> Result:
        return result._replace(path=self._seen(result.path)) if isinstance(result, Created) else result

    def _seen(self, path: str) -> str:
        return path[len(self._root) :] or "/"

    # ---- carrying out ----

    def _carry_out(self) -> None:
        """Do what the session says, in order. Whoever hears of it does so on a later turn; frames go with the turn's."""
        effects = self._session.effects
        while effects:
            match effects.popleft():
                case Send(frame):
                    self._unsent += [len(frame).to_bytes(_FRAME_SIZE_BYTES, "big"), frame]
                case Settle(call, answer, error):
                    call.settle(answer, error)
                case Tell(watch, event):
                    self._reactor.call_soon(watch, WatchEvent(event.type, self._seen(event.path)))
                case Changed(state):
                    self._changed(state)
                case Drop(reason):
                    self._drop(reason)
        if self._unsent and not self._flush_is_due:
            self._flush_is_due = True
            self._reactor.call_soon(self._flush_now)
        self._watch_time()

    def _changed(self, state: SessionState) -> None:
        if state is SessionState.CONNECTED:
            self._attached_ns = self._now_ns()
            logger.info("session %#x is attached to the coordinator at %s", self.session_id, self._address)
            opening, self._opening = self._opening, []
            for outcome in opening:
                outcome.complete(None)
        elif state is SessionState.EXPIRED:
            self._attempts = self._failed_rounds = 0
            logger.warning("the session with the coordinator has expired, a new one begins")
        for listener in self._listeners:
            self._reactor.call_soon(listener, state)

    # ---- connections ----

    @property
    def _address(self) -> str:
        host, port = self._servers[0]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _connect(self) -> None:
        if self._session.phase is not Phase.AWAY or self._transport is not None:
            return
        self._session.begin(self._now_ns())
        self._receiver = Receiver(MAX_ANSWER_BYTES)
        self._attempts += 1
        try:
            self._transport = self._reactor.network.connect(*self._servers[0])
        except OSError as error:
            self._drop(error.strerror or str(error))
        else:
            self._reactor.network.watch(self._transport, WRITABLE, self._on_ready)
        self._carry_out()

    def _drop(self, reason: str) -> None:
        """Close the connection and go on to the next server, unless the session is closed."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()
        self._unsent.clear()
        self._unsent_skip = 0
        was_attached = self._session.phase is Phase.ATTACHED
        if was_attached and self._now_ns() - self._attached_ns > LEAST_LIFE_MS * _NS_PER_MS:
            self._attempts = self._failed_rounds = 0
        self._session.lost(self._now_ns())
        if self._session.phase is Phase.CLOSED:
            return
        self._last_reason = f"{self._address}: {reason}"
        if was_attached:
            logger.warning("the connection to the coordinator is lost, %s", self._last_reason)
        self._servers.append(self._servers.pop(0))
        pause_ms = 0
        if self._attempts >= len(self._servers):
            pause_ms = min(LEAST_PAUSE_MS << self._failed_rounds, MOST_PAUSE_MS)
            pause_ms = pause_ms // 2 + self._random.below(pause_ms // 2 + 1)
            if self._attempts == len(self._servers) and self._failed_rounds == 0:
                logger.warning("no coordinator takes and keeps a connection, the last was %s; trying on", self._last_reason)
            self._attempts = 0
            self._failed_rounds = min(self._failed_rounds + 1, 10)
        self._reactor.call_later(pause_ms, self._connect)

    def _on_ready(self, events: int) -> None:
        transport = self._transport
        if transport is None:
            return
        if events & WRITABLE and self._session.phase is Phase.CONNECTING:
            self._session.connected(self._now_ns())
            self._carry_out()
        elif events & WRITABLE:
            self._flush(transport)
        if events & READABLE and self._transport is transport:
            self._receive(transport)

    def _flush_now(self) -> None:
        self._flush_is_due = False
        if self._transport is not None:
            self._flush(self._transport)

    def _flush(self, transport: Transport) -> None:
        while self._unsent:
            try:
                sent = self._unsent_skip + transport.send(self._unsent, self._unsent_skip)
            except BlockingIOError:
                break
            except OSError as error:
                self._broken(error.strerror or str(error))
                return
            done = 0
            while done < len(self._unsent) and len(self._unsent[done]) <= sent:
                sent -= len(self._unsent[done])
                done += 1
            del self._unsent[:done]
            self._unsent_skip = sent
        self._reactor.network.watch(transport, READABLE | WRITABLE if self._unsent else READABLE, self._on_ready)

    def _receive(self, transport: Transport) -> None:
        try:
            count = transport.receive_into(self._receiver)
        except BlockingIOError:
            return
        except OSError as error:
            self._broken(error.strerror or str(error))
            return
        if count == 0:
            self._broken("the server closed the connection")
            return
        try:
            self._receiver.received(count)
            while self._transport is transport and (frame := self._receiver.next_frame()) is not None:
                self._session.receive(bytes(frame), self._now_ns())
                self._carry_out()
        except FrameError as error:
            self._broken(f"what the server says cannot be read: {error}")

    def _broken(self, reason: str) -> None:
        self._drop(reason)
        self._carry_out()

    # ---- time ----

    def _now_ns(self) -> int:
        return self._reactor.clock.monotonic_ns()

    def _watch_time(self) -> None:
        """Arm the one timer. Deadlines mostly move on: it is set back only when it fires."""
        deadline_ns = self._session.next_deadline_ns()
        if deadline_ns is not None and self._timer is not None and self._timer.deadline_ns <= deadline_ns:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline_ns is None:
            return
        delay_ns = max(0, deadline_ns - self._now_ns())
        self._timer = self._reactor.call_later(-(-delay_ns // _NS_PER_MS), self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._session.tick(self._now_ns())
        self._carry_out()


def _shuffled(servers: Sequence[tuple[str, int]], random: Random) -> list[tuple[str, int]]:
    left, drawn = list(servers), []
    while left:
        drawn.append(left.pop(random.below(len(left))))
    return drawn


def _as_it_is(answer: Any) -> Any:
    return answer


def _first(results: list[Result]) -> Any:
    return results[0]


def _created(results: list[Result]) -> tuple[str, Stat]:
    created = cast("Created", results[0])
    return created.path, created.stat
