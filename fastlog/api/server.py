"""Listeners, their connections, and the limits on both.

Limits, all on by default (`Limits`), with Kafka's names in the options table: `socket.request.max.bytes`, `max.connections`,
`max.connections.per.ip`, `connections.max.idle.ms`, `queued.max.request.bytes`.

* At `max.connections` nothing more is accepted until a connection closes: clients wait in the backlog.
* Beyond `max.connections.per.ip` a connection is closed as soon as it is accepted.
* When descriptors are out, accepting pauses, ever longer up to `MAX_BACKOFF_MS`; what is connected goes on.
* Requests that have not wholly arrived hold memory, and so do answers that the client doesn't read. Over
  `queued.max.request.bytes`, connections that hold more than `FAIR_SHARE_BYTES` are read no further; the one that was stopped
  first goes on alone, so that something always gets done, and is closed when it takes longer than `RESCUE_MS`; clients that read
  nothing of their answers for as long are closed too. Small requests of others do not wait for that; where their answers take
  all to `MOST_OVERDRAWN` times that limit, clients that hold more than their share are closed at once, the most silent first.

`flush` is a turn-end hook, registered after those that make answers. `serve_line` comes after the turn, when its answers have
been sent: for a time that is bounded (`_end_of_spare_time`), newcomers are received from, and requests answered that are
neither Produce nor Fetch. So what clients do before they are known, and what is answered in Python, takes a bounded part of every
turn, or what one request costs.
"""

from __future__ import annotations

import errno
import logging
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from fastlog.api.connection import Connection
from fastlog.api.context import AllowAll, Policy
from fastlog.api.request_metrics import RequestMetrics
from fastlog.env import READABLE

if TYPE_CHECKING:
    from fastlog.api.registry import Registry
    from fastlog.env import Listener, Network
    from fastlog.env.reactor import Reactor, Timer
    from fastlog.metrics import Metrics

LEAST_SPARE_NS = 1_000_000
LEAST_SPARE_BESIDE_RECORDS_NS = 5_000
"""What is spent on a line, and on a crowd at a listener, in any turn (on one of them at least): what has become ready meanwhile
goes before the others.
"""
SPARE_SHARE = 4
"""One part in so many of what a turn took is spent on them where that is more: long turns starve nobody."""
RECORDS_EXPECTED_NS = 1_000_000_000
"""So long after a Produce or a Fetch more of them are expected, which are not to wait."""
MIN_BACKOFF_MS = 50
MAX_BACKOFF_MS = 2_000
FAIR_SHARE_BYTES = 128 * 1024
RESCUE_MS = 30_000
MOST_OVERDRAWN = 2
MAX_SWEEP_MS = 10_000
CLOSINGS_LOGGED_PER_SWEEP = 20
"""Connections closed for a reason that have a line in the log each; of the others that sweep tells how many there were."""
TRIM_INTERVAL_MS = 1_000
TRIMS_AT_ONCE = 100
_NANOSECONDS_PER_MILLISECOND = 1_000_000
_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may take in all. `max_idle_ms` and `queued_max_request_bytes` below 0 mean no limit."""

    max_request_bytes: int = 100 * 1024 * 1024
    max_connections: int = 20_000
    max_connections_per_ip: int = 10_000
    max_idle_ms: int = 600_000
    queued_max_request_bytes: int = 256 * 1024 * 1024


class Server:
    """All listeners of one broker."""

    def __init__(
        self,
        reactor: Reactor,
        network: Network,
        registry: Registry,
        metrics: Metrics,
        limits: Limits | None = None,
        policy: Policy | None = None,
        *,
        accepting: bool = True,
    ) -> None:
        """Serve `registry`. Not `accepting`, listeners are bound and clients wait in the backlog until `start_accepting`."""
        self.reactor = reactor
        self.network = network
        self.registry = registry
        self.limits = limits or Limits()
        self.policy: Policy = policy or AllowAll()
        self.metrics = RequestMetrics(metrics)
        for api in registry:
            self.metrics.name(api.key, api.name, api.max_version)
        self.dirty: list[Connection] = []
        """Connections with answers to send when the turn ends."""
        self.held_bytes = 0
        """Memory of all requests that have not wholly arrived, and of all answers that are not wholly sent."""
        limit_bytes = self.limits.queued_max_request_bytes
        self._max_held_bytes = limit_bytes if limit_bytes >= 0 else sys.maxsize
        self._connections: dict[Connection, None] = {}
        self._count_by_host: dict[str, int] = {}
        self._listeners: dict[Listener, Callable[[int], None]] = {}
        self._accepting = self._started = accepting
        self._backoff_ms = 0
        self._trim_again_ns = 0
        self._untrimmed: list[Connection] = []
        self._stopped: dict[Connection, None] = {}  # by shortage of memory, in the order in which they were stopped
        self._rescued: Connection | None = None
        self._rescue: Timer | None = None
        self._line: deque[Callable[[], object]] = deque()
        self._turn_took_ns = 0
        self._records_asked_ns = -RECORDS_EXPECTED_NS  # when the last Produce or Fetch came
        self._closings = 0  # for a reason, since the last sweep
        self._closed = False
        metrics.gauge("kafka.server:type=socket-server-metrics,name=connection-count", lambda: len(self._connections))
        metrics.gauge("kafka.network:type=RequestChannel,name=RequestQueueSize", lambda: len(self._line))
        metrics.gauge("kafka.network:type=SocketServer,name=MemoryPoolUsed", lambda: self.held_bytes)
        self._max_idle_ns = (
            self.limits.max_idle_ms * _NANOSECONDS_PER_MILLISECOND if self.limits.max_idle_ms >= 0 else sys.maxsize
        )
        self._sweep_ms = max(1, min(self._max_idle_ns // (4 * _NANOSECONDS_PER_MILLISECOND), MAX_SWEEP_MS))
        self._sweep_timer = reactor.call_later(self._sweep_ms, self._sweep)

    def listen(self, name: str, host: str, port: int, backlog: int = 128) -> Listener:
        """Accept connections at an address from now on; OSError when it cannot be bound. Returns the bound listener."""
        listener = self.network.listen(host, port, backlog)
        on_ready = partial(self._accept, listener, name)
        self._listeners[listener] = on_ready
        if self._accepting:
            self.network.watch(listener, READABLE, on_ready)
        return listener

    def start_accepting(self) -> None:
        """Let in who waits in the backlog, and everybody from now on."""
        self._started = True
        if not self._accepting and not self._closed:
            self._set_accepting(True)

    def limit_connections(self, max_connections: int, max_connections_per_ip: int) -> None:
        """Allow so many connections from now on; those that are there stay."""
        self.limits = replace(self.limits, max_connections=max_connections, max_connections_per_ip=max_connections_per_ip)
        if self._started and not self._accepting and not self._backoff_ms:
            self._accept_again()

    def close(self) -> None:
        """Stop listening and close every connection."""
        self._closed = True
        self._sweep_timer.cancel()
        self._log_other_closings()
        for listener in self._listeners:
            listener.close()
        for connection in list(self._connections):
            connection.close("")

    def note_records(self) -> None:
        """Take note that somebody asks for records, or brings some."""
        self._records_asked_ns = self.reactor.now_ns

    def line_up(self, take_turn: Callable[[], object]) -> None:
        """Call `take_turn()` when those before it in line have had their turns."""
        self._line.append(take_turn)

    def serve_line(self) -> bool:
        """Give their turns to those who stand in line, as many as there is time for; False when nobody does."""
        line = self._line
        now_ns = self.reactor.clock.monotonic_ns
        self._turn_took_ns = now_ns() - self.reactor.now_ns
        if not line:
            return False
        until_ns = self._end_of_spare_time()
        try:
            while line:
                line.popleft()()
                if now_ns() >= until_ns:
                    break
        finally:
            if line:
                self.reactor.hasten()
        return True

    def _end_of_spare_time(self) -> int:
        """Return the monotonic time until which this turn may go on with what can wait."""
        now_ns = self.reactor.clock.monotonic_ns()
        is_beside_records = now_ns - self._records_asked_ns < RECORDS_EXPECTED_NS
        least_ns = LEAST_SPARE_BESIDE_RECORDS_NS if is_beside_records else LEAST_SPARE_NS
        return now_ns + max(least_ns, self._turn_took_ns // SPARE_SHARE)

    def flush(self) -> None:
        """Send the answers that this turn made."""
        if self.dirty:
            dirty, self.dirty = self.dirty, []
            now_ns = self.reactor.clock.monotonic_ns()
            for connection in dirty:
                try:
                    connection.flush(now_ns)
                except Exception as error:  # a mistake of ours, and this connection's alone
                    logger.error("sending to %s:%d failed", connection.peer_host, connection.peer_port, exc_info=error)
                    connection.close("")
        if self._stopped:
            self._relieve()

    # ---- accepting --------------------------------------------------------------------------------------------------------

    def _accept(self, listener: Listener, name: str, events: int) -> None:
        until_ns = self._end_of_spare_time()
        while self._accepting and self._accept_one(listener, name) and self.reactor.clock.monotonic_ns() < until_ns:
            pass

    def _accept_one(self, listener: Listener, name: str) -> bool:
        """Let one in; False when none is there, or none may come."""
        if len(self._connections) >= self.limits.max_connections:
            logger.warning("max.connections=%d reached: accepting again when one closes", self.limits.max_connections)
            self._set_accepting(False)
            return False
        try:
            transport = listener.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _OUT_OF_RESOURCES:
                self._back_off(error)
                return False
            return True  # the client has gone before it was accepted
        self._backoff_ms = 0
        host = transport.peer_host
        count = self._count_by_host.get(host, 0)
        if count >= self.limits.max_connections_per_ip:
            self.metrics.connections_refused.value += 1
            self.log_closing(host, transport.peer_port, f"max.connections.per.ip={self.limits.max_connections_per_ip} reached")
            transport.close()
            return True
        self._count_by_host[host] = count + 1
        self.metrics.connections_created.value += 1
        self._connections[Connection(self, transport, name)] = None
        return True

    def _back_off(self, error: OSError) -> None:
        self._backoff_ms = min(max(MIN_BACKOFF_MS, self._backoff_ms * 2), MAX_BACKOFF_MS)
        logger.warning("cannot accept connections (%s): trying again in %d ms", error.strerror, self._backoff_ms)
        self._set_accepting(False)
        self.reactor.call_later(self._backoff_ms, self._accept_again)

    def _accept_again(self) -> None:
        if not self._accepting and not self._closed and len(self._connections) < self.limits.max_connections:
            self._set_accepting(True)

    def _set_accepting(self, accepting: bool) -> None:
        self._accepting = accepting
        for listener, on_ready in self._listeners.items():
            self.network.watch(listener, READABLE if accepting else 0, on_ready)

    def forget(self, connection: Connection, held_bytes: int) -> None:
        """Give back what a closed connection had."""
        del self._connections[connection]
        count = self._count_by_host[connection.peer_host] - 1
        if count:
            self._count_by_host[connection.peer_host] = count
        else:
            del self._count_by_host[connection.peer_host]
        self.held_bytes -= held_bytes
        self._stopped.pop(connection, None)
        if connection is self._rescued:
            self._end_rescue()
        if not self._accepting and not self._backoff_ms:
            self._accept_again()

    # ---- idle connections -------------------------------------------------------------------------------------------------

    def log_closing(self, host: str, port: int, reason: str) -> None:
        """Say in the log why a connection is closed, unless so many are that the log would be the harm."""
        self._closings += 1
        if self._closings <= CLOSINGS_LOGGED_PER_SWEEP:
            logger.warning("closing connection of %s:%d: %s", host, port, reason)

    def _log_other_closings(self) -> None:
        if self._closings > CLOSINGS_LOGGED_PER_SWEEP:
            logger.warning("%d more connections were closed for such reasons", self._closings - CLOSINGS_LOGGED_PER_SWEEP)
        self._closings = 0

    def _sweep(self) -> None:
        self._log_other_closings()
        now_ns = self.reactor.now_ns
        swept_before_ns = now_ns - self._sweep_ms * _NANOSECONDS_PER_MILLISECOND
        self._trim([connection for connection in self._connections if connection.last_active_ns < swept_before_ns])
        idle_since_ns = now_ns - self._max_idle_ns
        for connection in [one for one in self._connections if one.last_active_ns < idle_since_ns and not one.is_waiting_for_us]:
            connection.close(f"idle for longer than connections.max.idle.ms={self.limits.max_idle_ms}")
        if self.is_short_of_memory:
            stalled_since_ns = now_ns - RESCUE_MS * _NANOSECONDS_PER_MILLISECOND
            for connection in [one for one in self._connections if one.last_active_ns < stalled_since_ns and one.has_unsent]:
                connection.close(f"it reads no answers while queued.max.request.bytes={self._max_held_bytes} is exhausted")
        self._sweep_timer = self.reactor.call_later(self._sweep_ms, self._sweep)

    # ---- memory -----------------------------------------------------------------------------------------------------------

    def holds(self, connection: Connection, grown_bytes: int, needed_bytes: int) -> None:
        """Take note of what a connection holds, and stop it when all hold too much and it needs more than its share."""
        self.held_bytes += grown_bytes
        if connection is self._rescued:
            if needed_bytes <= FAIR_SHARE_BYTES:
                self._end_rescue()
        elif self.held_bytes > self._max_held_bytes and needed_bytes > FAIR_SHARE_BYTES:
            self._stopped[connection] = None
            connection.hold()
        if grown_bytes > 0 and self.held_bytes > MOST_OVERDRAWN * self._max_held_bytes:
            self._close_slow_readers()

    def _close_slow_readers(self) -> None:
        """Close clients that don't read their large answers until there is memory again; the one heard of last stays."""
        slow = [one for one in self._connections if one.unsent_memory_bytes > FAIR_SHARE_BYTES]
        slow.sort(key=lambda one: one.last_active_ns)
        for connection in slow[:-1]:
            if not self.is_short_of_memory:
                return
            connection.close(f"it does not read its answers, and queued.max.request.bytes={self._max_held_bytes} is exhausted")

    @property
    def is_short_of_memory(self) -> bool:
        return self.held_bytes > self._max_held_bytes

    def _relieve(self) -> None:
        if self.is_short_of_memory and self.reactor.now_ns >= self._trim_again_ns:
            self._trim_again_ns = self.reactor.now_ns + TRIM_INTERVAL_MS * _NANOSECONDS_PER_MILLISECOND
            self._trim(list(self._connections))
        if not self.is_short_of_memory:
            stopped, self._stopped = self._stopped, {}
            for connection in stopped:
                connection.release()
        elif self._rescued is None:
            rescued = next(iter(self._stopped))
            del self._stopped[rescued]
            self._rescued = rescued
            self._rescue = self.reactor.call_later(RESCUE_MS, self._give_up_rescue)
            rescued.release()

    def _trim(self, connections: list[Connection]) -> None:
        """Have connections give back what they keep for nothing, some in each of this work's turns in line."""
        if self._untrimmed:
            return  # the last time's are still in line
        self._untrimmed = connections
        if connections:
            self.reactor.call_soon(self.line_up, self._trim_some)  # this turn's line may have had its time

    def _trim_some(self) -> None:
        some = self._untrimmed[-TRIMS_AT_ONCE:]
        del self._untrimmed[-TRIMS_AT_ONCE:]
        for connection in some:
            if not connection.closed:
                connection.trim()
        if self._untrimmed:
            self.line_up(self._trim_some)

    def _give_up_rescue(self) -> None:
        if self._rescued is not None:
            self._rescued.close(f"its request kept queued.max.request.bytes={self._max_held_bytes} exhausted")

    def _end_rescue(self) -> None:
        self._rescued = None
        if self._rescue is not None:
            self._rescue.cancel()
            self._rescue = None
