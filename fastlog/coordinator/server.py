"""The coordinator's port: connections, their frames, and the limits on both. What requests mean is `dispatch`'s business.

A connection receives once a turn and has every whole request in it carried out, in order; what is to be sent goes out together
at the turn's end. Four letters in the place of the first size are a question of an operator (`words`), answered in plain text.

What clients may hold is bounded: `MAX_CONNECTIONS` in all; of one, a request of `MAX_REQUEST_BYTES`, `MAX_UNDER_WAY` requests
without an answer, `MAX_UNDER_WAY_BYTES` of these and of answers that wait for the disk, and `MAX_UNSENT_BYTES` of unread answers
before it is read no further, `MAX_UNREAD_BYTES` of unread events before it is closed. A connection that does not say who it is
within `GREETING_MS` is closed, and so is one that has not read its last answer after `LAST_ANSWER_MS`; one that is silent in
between is its session's matter. Bytes that are no request close their connection with one line in the log, and harm nobody else.
"""

from __future__ import annotations

import errno
from collections import deque
from functools import partial

from fastlog._core import FrameError, Receiver
from fastlog.coordinator.dispatch import Client, Dispatcher, NotServed
from fastlog.coordinator.jute import MAX_REQUEST_BYTES
from fastlog.coordinator.words import WORDS, answer_to
from fastlog.env import READABLE, WRITABLE
from fastlog.light import Logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from fastlog.coordinator.service import Coordinator
    from fastlog.env import Environment, Listener, Transport

MAX_CONNECTIONS: Final = 4_000
MAX_UNDER_WAY: Final = 1_000
MAX_UNDER_WAY_BYTES: Final = 1 << 20
MAX_UNSENT_BYTES: Final = 256 << 10
MAX_UNREAD_BYTES: Final = 8 << 20
GREETING_MS: Final = 10_000
LAST_ANSWER_MS: Final = 10_000
ACCEPTS_PER_TURN: Final = 64
ACCEPT_AGAIN_MS: Final = 200
_WORD_BYTES: Final = 4
_NS_PER_MS: Final = 1_000_000
_OUT_OF_RESOURCES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

logger = Logger(__name__)


class Statistics:
    """What all connections did, as the four-letter words tell it. Latencies are in milliseconds, as ZooKeeper's."""

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0
        self.answered = 0
        self.latency_sum_ms = 0
        self.latency_min_ms = 0
        self.latency_max_ms = 0

    def answer(self, latency_ms: int) -> None:
        """Count an answer."""
        self.sent += 1
        self.latency_min_ms = latency_ms if not self.answered else min(self.latency_min_ms, latency_ms)
        self.latency_max_ms = max(self.latency_max_ms, latency_ms)
        self.latency_sum_ms += latency_ms
        self.answered += 1

    @property
    def latency_average_ms(self) -> float:
        """The mean of all latencies."""
        return self.latency_sum_ms / self.answered if self.answered else 0.0


class Connection:
    """One accepted connection."""

    def __init__(self, server: CoordinatorServer, transport: Transport) -> None:
        self._server = server
        self._transport = transport
        self._receiver = Receiver(MAX_REQUEST_BYTES)
        self._start: bytearray | None = bytearray(_WORD_BYTES)
        self._start_bytes = 0
        self._output: list[bytes] = []
        self._output_bytes = 0  # in _output, sent ones included until all went
        self._skip = 0  # of _output, sent already
        self._begun: deque[tuple[int, int]] = deque()  # when each request without an answer came, and its size
        self._begun_bytes = 0
        self._events = READABLE
        self._is_held = False
        self._is_finishing = False
        self._has_greeted = False
        self.dirty = False
        self.closed = False
        self.received = 0
        self.sent = 0
        self.since_ms = server.environment.clock.wall_ms()
        self.peer_host, self.peer_port = transport.peer_host, transport.peer_port
        self.client = Client(self.peer_host, self._answer, self._tell, self._finish, self.close)
        server.environment.network.watch(transport, READABLE, self._on_ready)
        self._timer = server.environment.reactor.call_later(GREETING_MS, self._not_greeted)

    @property
    def under_way(self) -> int:
        """How many requests have no answer yet."""
        return len(self._begun)

    def _not_greeted(self) -> None:
        if not self._has_greeted:
            self.close(f"it has not said who it is within {GREETING_MS} ms")

    def _on_ready(self, events: int) -> None:
        if self.closed:
            return
        try:
            if events & WRITABLE:
                self._send()
            if events & READABLE and not self.closed and not self._is_held:
                self._receive()
        except Exception as error:
            self._close_for(error)

    def _close_for(self, error: Exception) -> None:
        if isinstance(error, NotServed | FrameError):
            self.close(str(error))
        else:  # a mistake of ours, and this connection's alone
            logger.error("coordinator: connection of %s:%d failed", self.peer_host, self.peer_port, exc_info=error)
            self.close("")

    def _receive(self) -> None:
        start = self._start
        try:
            count = self._transport.receive_into(self._receiver if start is None else memoryview(start)[self._start_bytes :])
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if not count:
            self.close("")
            return
        if self.client.ended:
            return  # read, so that what it still sends does not cost it its last answer, and kept nowhere
        if start is None:
            self._receiver.received(count)
            self._handle_frames()
            return
        self._start_bytes += count
        if self._start_bytes == _WORD_BYTES:
            self._begin(bytes(start))

    def _begin(self, start: bytes) -> None:
        self._start = None
        if start in WORDS or start.isalpha():
            self._has_greeted = self.client.ended = True
            self._push(answer_to(start.decode(), self._server))
            self._finish()
            return
        memoryview(self._receiver)[:_WORD_BYTES] = start
        self._receiver.received(_WORD_BYTES)
        self._handle_frames()

    def _handle_frames(self) -> None:
        server = self._server
        now_ns = server.environment.reactor.now_ns
        while not self._is_held and not self.client.ended and not self.closed:
            frame = self._receiver.next_frame()
            if frame is None:
                return
            self.received += 1
            server.statistics.received += 1
            size_bytes = len(frame)
            self._begun.append((now_ns, size_bytes))
            self._begun_bytes += size_bytes
            if self._has_greeted:
                server.dispatcher.handle(self.client, bytes(frame))
            else:
                self._has_greeted = True
                self._timer.cancel()
                server.dispatcher.connect(self.client, bytes(frame))
            self._hold_if_due()

    # ---- what the dispatcher calls ----

    def _answer(self, frame: bytes) -> None:
        if self.closed:
            return
        begun_ns, size_bytes = self._begun.popleft()
        self._begun_bytes -= size_bytes
        self.sent += 1
        self._server.statistics.answer((self._server.environment.reactor.now_ns - begun_ns) // _NS_PER_MS)
        self._push(frame)

    def _tell(self, frame: bytes) -> None:
        if self.closed:
            return
        self.sent += 1
        self._server.statistics.sent += 1
        self._push(frame)
        if self._output_bytes - self._skip > MAX_UNREAD_BYTES:
            self.close(f"it leaves {MAX_UNREAD_BYTES} bytes of events unread")

    def _finish(self) -> None:
        if self.closed:
            return
        self._is_finishing = True
        self._timer.cancel()
        self._timer = self._server.environment.reactor.call_later(LAST_ANSWER_MS, self.close, "it does not read its last answer")
        self._mark()

    def close(self, reason: str) -> None:
        """Close now; a reason goes to the log."""
        if self.closed:
            return
        self.closed = True
        if reason:
            logger.warning("coordinator: closing connection of %s:%d: %s", self.peer_host, self.peer_port, reason)
        self._timer.cancel()
        self._transport.close()
        self._output.clear()
        self._server.forget(self)
        self.client.hang_up()

    # ---- sending ----

    def _push(self, data: bytes) -> None:
        self._output.append(data)
        self._output_bytes += len(data)
        self._mark()

    def _mark(self) -> None:
        if not self.dirty and not self.closed:
            self.dirty = True
            self._server.dirty.append(self)

    def flush(self) -> None:
        """Send what this turn made, and go on where room came of it."""
        self.dirty = False
        if self.closed:
            return
        if self._output and not self._events & WRITABLE:
            self._send()
        if self._is_finishing and not self._output and not self.closed:
            self.close("")
        self._release_if_possible()

    def _send(self) -> None:
        try:
            sent = self._transport.send(self._output, self._skip)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close("")
            return
        self._skip += sent
        if self._skip == self._output_bytes:
            self._output.clear()
            self._output_bytes = self._skip = 0
            if self._is_finishing:
                self._mark()
        elif self._skip > MAX_UNSENT_BYTES:
            count, skip = 0, self._skip
            while skip >= len(self._output[count]):
                skip -= len(self._output[count])
                count += 1
            del self._output[:count]
            self._output_bytes -= self._skip - skip
            self._skip = skip
        self._hold_if_due()
        self._release_if_possible()
        self._watch()

    # ---- limits ----

    @property
    def _has_too_much(self) -> bool:
        return (
            len(self._begun) >= MAX_UNDER_WAY
            or self._begun_bytes + self.client.waiting_bytes > MAX_UNDER_WAY_BYTES
            or self._output_bytes - self._skip > MAX_UNSENT_BYTES
        )

    def _hold_if_due(self) -> None:
        if not self._is_held and self._has_too_much:
            self._is_held = True
            self._watch()

    def _release_if_possible(self) -> None:
        if self._is_held and not self.closed and not self._has_too_much:
            self._is_held = False
            self._watch()
            self._server.environment.reactor.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Handle what has come already; more comes by itself."""
        if self.closed or self._start is not None:
            return
        try:
            self._handle_frames()
        except Exception as error:
            self._close_for(error)

    def _watch(self) -> None:
        if self.closed:
            return
        events = (0 if self._is_held else READABLE) | (WRITABLE if self._output else 0)
        if events != self._events:
            self._events = events
            self._server.environment.network.watch(self._transport, events, self._on_ready)


class CoordinatorServer:
    """One coordinator's listener and connections."""

    def __init__(self, environment: Environment, coordinator: Coordinator, data_directory: str) -> None:
        self.environment = environment
        self.coordinator: Coordinator = coordinator
        self.data_directory = data_directory
        self._since_ns = environment.reactor.now_ns
        self.dispatcher = Dispatcher(environment.reactor, coordinator, environment.random)
        self.statistics = Statistics()
        self.dirty: list[Connection] = []
        """Connections with something to send when the turn ends."""
        self.connections: dict[Client, Connection] = {}
        self.listener: Listener | None = None
        self._accepting = False
        self._closed = False
        environment.reactor.at_turn_end(self.flush)

    @property
    def uptime_ms(self) -> int:
        """For how long it has been there."""
        return (self.environment.reactor.now_ns - self._since_ns) // _NS_PER_MS

    def listen(self, host: str, port: int) -> Listener:
        """Accept connections at an address from now on; OSError when it cannot be bound."""
        self.listener = self.environment.network.listen(host, port)
        self._set_accepting(True)
        return self.listener

    def close(self) -> None:
        """Stop listening and close every connection; sessions live on in the journal."""
        self._closed = True
        self.dispatcher.close()
        if self.listener is not None:
            self.listener.close()
        for connection in list(self.connections.values()):
            connection.close("")

    def flush(self) -> None:
        """Send what this turn made."""
        while self.dirty:
            dirty, self.dirty = self.dirty, []
            for connection in dirty:
                connection.flush()

    def forget(self, connection: Connection) -> None:
        """Give back what a closed connection had."""
        self.dispatcher.gone(connection.client)
        self.connections.pop(connection.client, None)
        if not self._accepting and not self._closed:
            self._set_accepting(True)

    def _set_accepting(self, accepting: bool) -> None:
        if self.listener is not None and not self._closed:
            self._accepting = accepting
            self.environment.network.watch(self.listener, READABLE if accepting else 0, self._accept)

    def _accept(self, events: int) -> None:
        assert self.listener is not None
        for _ in range(ACCEPTS_PER_TURN):
            if len(self.connections) >= MAX_CONNECTIONS:
                logger.warning("coordinator: %d connections: accepting again when one closes", MAX_CONNECTIONS)
                self._set_accepting(False)
                return
            try:
                transport = self.listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _OUT_OF_RESOURCES:
                    continue  # the client has gone before it was accepted
                logger.warning("coordinator: cannot accept connections: %s", error.strerror)
                self._set_accepting(False)
                self.environment.reactor.call_later(ACCEPT_AGAIN_MS, partial(self._set_accepting, True))
                return
            connection = Connection(self, transport)
            self.connections[connection.client] = connection
