"""One client's connection: frames in, answers out in the order of their requests.

At each readiness it receives once and handles whole frames as far as their order lets it; answers go out together when the turn
ends.
Produce requests are pipelined. Any other request is handled only when those before it are answered, and holds up those behind it
until it is, so that a client sees its requests done in order, as Kafka does them one at a time. An API may say that its requests
may be begun behind each other too (`Api.is_pipelined`).

Produce and Fetch are handled as they come. What else clients ask for is answered in Python, and stands in line behind that
(`Server.serve_line`): some of it a turn, one request of each connection in turn, so that those who ask much wait for each other.
Nothing is received behind a request that stands in line. A newcomer, of whom no request has been answered yet, stands in line to
be received from, too.

It reads no further while (`_held_up`): answers of more than `MAX_UNSENT_BYTES` (any, when the server is short of memory) wait for
the client to read them, `MAX_UNDER_WAY` requests wait for their answers, the server is short of memory for more requests, or a
quota mutes it. So what a connection holds is bounded by one request, one answer, and these constants, whatever its client does.

Bytes that are no request close the connection, after the answers of the requests before them, with one line in the log.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from fastlog._core import FrameError, Receiver, peek_produce_run, request_header, take_produce_run
from fastlog.api.context import ANONYMOUS, RequestContext
from fastlog.api.registry import Refused
from fastlog.env import READABLE, WRITABLE

if TYPE_CHECKING:
    from fastlog._core import Slice
    from fastlog.api.server import Server
    from fastlog.env import Transport

MAX_UNSENT_BYTES = 256 * 1024
MAX_UNDER_WAY = 512
MAX_ALIKE_UNDER_WAY = 32
"""Of requests in Python, which are begun behind each other in one turn."""
READ_AHEAD_BYTES = 64 * 1024
"""How much is received behind a request that holds up the others: a client that hangs up is noticed, and nothing is hoarded."""

PRODUCE_KEY = 0
FETCH_KEY = 1

# Why nothing more is handled; bits of `_held_up`.
_IN_ORDER = 1
_UNSENT = 2
_UNDER_WAY = 4
_MEMORY = 8
_MUTED = 16
_DOOMED = 32
_IN_LINE = 64

logger = logging.getLogger(__name__)


class Connection:
    """One accepted connection."""

    __slots__ = (
        "_doom",
        "_events",
        "_held_bytes",
        "_held_up",
        "_is_in_line",
        "_is_newcomer",
        "_next",
        "_output",
        "_output_bytes",
        "_receiver",
        "_server",
        "_skip",
        "_transport",
        "_under_way",
        "_under_way_count",
        "_unsent_memory_bytes",
        "closed",
        "dirty",
        "last_active_ns",
        "listener_name",
        "peer_host",
        "peer_port",
        "policy",
        "principal",
    )

    def __init__(self, server: Server, transport: Transport, listener_name: str) -> None:
        self._server = server
        self._transport = transport
        self._receiver = Receiver(server.limits.max_request_bytes)
        self._under_way: deque[RequestContext] = deque()
        self._under_way_count = 0  # requests in _under_way: a run of them has one context
        self._next: tuple[RequestContext, Slice, int] | None = None  # a request that waits for those before it
        self._output: list[Any] = []
        self._output_bytes = 0  # in _output, sent ones included until all went
        self._skip = 0  # of _output, sent already
        self._unsent_memory_bytes = 0  # of _output, files' regions left out, as of the last turn that added to it
        self._held_bytes = 0
        self._held_up = 0
        self._is_in_line = False
        self._is_newcomer = True
        self._doom = ""
        self._events = READABLE
        self.closed = False
        self.dirty = False
        self.last_active_ns = server.reactor.now_ns
        self.listener_name = listener_name
        self.principal = ANONYMOUS
        self.peer_host = transport.peer_host
        self.peer_port = transport.peer_port
        self.policy = server.policy
        server.network.watch(transport, READABLE, self.on_ready)

    @property
    def is_waiting_for_us(self) -> bool:
        """Tell whether a request has no answer yet."""
        return (self._next is not None or bool(self._under_way)) and not self._output

    @property
    def has_unsent(self) -> bool:
        """Tell whether answers wait for the client to read them."""
        return bool(self._output)

    @property
    def unsent_memory_bytes(self) -> int:
        """How much memory those answers take; regions of files take none."""
        return self._unsent_memory_bytes

    def on_ready(self, events: int) -> None:
        """Receive what has come and send what waits."""
        if self.closed:
            return
        if self._is_newcomer:
            if self._is_in_line:
                self._watch()  # no further, until its turn has come
            else:
                self._line_up()
            return
        try:
            if events & WRITABLE:
                self._send()
                if self._held_up and not self.closed:
                    self._resume()
            if events & READABLE and not self.closed:
                self._receive()
        except Exception as error:  # a mistake of ours, and this connection's alone
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        logger.error("connection of %s:%d failed", self.peer_host, self.peer_port, exc_info=error)
        self.close("")

    def _receive(self) -> None:
        receiver = self._receiver
        held_up = self._held_up
        if held_up and (held_up != _IN_ORDER or receiver.buffered_bytes > READ_AHEAD_BYTES):
            self._watch()  # asked for lazily: most holds end before more bytes come
            return
        try:
            count = self._transport.receive_into(receiver)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if not count:
            self.close("")
            return
        receiver.received(count)
        server = self._server
        self.last_active_ns = server.reactor.now_ns
        server.metrics.bytes_received.value += count
        self._handle_frames()

    def _handle_frames(self, *, its_turn: bool = False) -> None:
        try:
            if its_turn:
                self._dispatch_next()
            self._dispatch_frames()
        except (FrameError, Refused) as error:
            self.abort(str(error))
        if self._receiver.reserved_bytes + self._unsent_memory_bytes != self._held_bytes:
            self._account()

    def _account(self) -> None:
        held_bytes = self._receiver.reserved_bytes + self._unsent_memory_bytes
        grown_bytes, self._held_bytes = held_bytes - self._held_bytes, held_bytes
        self._server.holds(self, grown_bytes, self._receiver.buffered_bytes + self._unsent_memory_bytes)

    def trim(self) -> None:
        """Give back the memory that is kept only because it was of use before."""
        self._receiver.trim()
        self._account()

    def _dispatch_frames(self) -> None:
        if self._next is not None and not self._held_up:
            self._dispatch_in_turn(self._next[0].api_key)
        receiver = self._receiver
        next_frame = receiver.next_frame
        under_way = self._under_way
        find_frame_handler = self._server.registry.frame_handlers.get
        take_run = self._server.registry.run_handler
        now_ns = self.last_active_ns
        while not self._held_up:
            run = peek_produce_run(receiver, MAX_UNDER_WAY - self._under_way_count)
            if run is not None:
                context = RequestContext(self, PRODUCE_KEY, run.version, 0, run.client_id, now_ns)
                if take_run(context, run):
                    take_produce_run(receiver, run)
                    self._put_under_way(context)
                    continue
            frame_or_none = next_frame()
            if frame_or_none is None:
                begun = receiver.large_begin()
                if begun is not None:
                    self._server.registry.find(*begun)  # what is not served is refused before all of it has come
                return
            frame = frame_or_none
            key, version, correlation_id, client_id, position = request_header(frame)
            context = RequestContext(self, key, version, correlation_id, client_id, now_ns)
            if key != PRODUCE_KEY:
                self._next = context, frame, position
                if under_way:
                    self._held_up |= _IN_ORDER
                else:
                    self._dispatch_in_turn(key)
                continue
            handle_frame = find_frame_handler(version)  # of key 0
            if handle_frame is None:  # it is refused
                self._dispatch_alone(context, frame, position)
                continue
            try:
                handle_frame(context, frame, position)
            except Exception as error:
                raise self._refusal(context, error) from None
            self._put_under_way(context)

    def _put_under_way(self, context: RequestContext) -> None:
        self._server.note_records()
        self._under_way.append(context)
        self._under_way_count += context.request_count
        if self._under_way_count >= MAX_UNDER_WAY:
            self._held_up |= _UNDER_WAY

    def _dispatch_in_turn(self, key: int) -> None:
        """Have the next request answered, before which none is under way: a Fetch now, any other when its turn has come."""
        if key == FETCH_KEY:
            self._server.note_records()
            self._dispatch_next()
        else:
            self._held_up |= _IN_LINE
            self._line_up()

    def _line_up(self) -> None:
        if not self._is_in_line:
            self._is_in_line = True
            self._server.line_up(self._take_turn)

    def _take_turn(self) -> None:
        """Have the request answered that stood in line, and go on with those behind it; or receive, as a newcomer."""
        self._is_in_line = False
        if self.closed:
            return
        try:
            if not self._held_up & _IN_LINE:
                self._receive()
                if not self.closed:
                    self._watch()
                return
            self._held_up &= ~_IN_LINE
            if not self._held_up:  # else what holds it up now lets it line up again
                self._go_on(its_turn=True)
        except Exception as error:  # a mistake of ours, and this connection's alone
            self._failed(error)

    def _dispatch_next(self) -> None:
        if self._next is not None:
            (context, frame, position), self._next = self._next, None
            self._dispatch_alone(context, frame, position)

    def _dispatch_alone(self, context: RequestContext, frame: Slice, position: int) -> None:
        """Have a request answered before which none is under way; only its like may be begun behind it without its answer."""
        self._begin(context, frame, position)
        if context.answer is None:
            self._held_up |= _IN_ORDER
            if context.api_key in self._server.registry.pipelined_keys:
                self._dispatch_alike(context.api_key)

    def _dispatch_alike(self, key: int) -> None:
        """Begin the requests that have come behind one of their API; the first of another one waits."""
        next_frame = self._receiver.next_frame
        while self._held_up == _IN_ORDER and self._under_way_count < MAX_ALIKE_UNDER_WAY and (frame := next_frame()) is not None:
            of_next, version, correlation_id, client_id, position = request_header(frame)
            context = RequestContext(self, of_next, version, correlation_id, client_id, self.last_active_ns)
            if of_next != key:
                self._next = context, frame, position
                return
            self._begin(context, frame, position)

    def _begin(self, context: RequestContext, frame: Slice, position: int) -> None:
        registry = self._server.registry
        handle_frame = registry.frame_handlers.get(context.api_key << 16 | context.api_version)
        if handle_frame is None:
            registry.dispatch(context, frame, position)
        else:
            try:
                handle_frame(context, frame, position)
            except Exception as error:
                raise self._refusal(context, error) from None
        self._under_way.append(context)
        self._under_way_count += 1

    def _refusal(self, context: RequestContext, error: Exception) -> Refused:
        """Say why a handler of frames lets the connection close; a fault of ours goes to the log with its trace."""
        what = self._server.registry.describe(context)
        if isinstance(error, FrameError):
            return Refused(f"{what} cannot be decoded: {error}")
        logger.error("%s of %s failed", what, self.peer_host, exc_info=error)
        return Refused(f"{what} could not be answered")

    def answered(self) -> None:
        """Take note of an answer; it is sent when the turn ends and those before it are there."""
        if not self.dirty and not self.closed:
            self.dirty = True
            self._server.dirty.append(self)

    def flush(self, now_ns: int) -> None:
        """Send the answers that are next in order; `now_ns` is when this turn's work was done."""
        self.dirty = False
        if self.closed:
            return
        under_way, output = self._under_way, self._output
        answered = []
        for context in under_way:
            answer = context.answer
            if answer is None:
                break
            answered.append(context)
            if answer.__class__ is bytes:
                if answer:
                    output.append(answer)
                    self._output_bytes += len(answer)
            else:
                output.extend(answer)
                self._output_bytes += sum(map(len, answer))  # type: ignore[arg-type]
        if len(answered) == len(under_way):
            under_way.clear()
            self._under_way_count = 0
        else:
            for context in answered:
                under_way.popleft()
                self._under_way_count -= context.request_count
        if answered:
            self._is_newcomer = False
        self._server.metrics.done(answered, now_ns)
        if output and not self._events & WRITABLE:
            self._send()
        if output:
            self._unsent_memory_bytes = sum(len(buffer) for buffer in output if type(buffer) is bytes)
            self._account()
            if self._has_too_much_unsent:
                self._held_up |= _UNSENT
        if self._held_up and not self.closed:
            self._resume()

    def _send(self) -> None:
        output = self._output
        try:
            sent = self._transport.send(output, self._skip)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close("")
            return
        server = self._server
        self._skip += sent
        if self._skip == self._output_bytes:
            output.clear()
            self._output_bytes = self._skip = 0
            if self._unsent_memory_bytes:
                self._unsent_memory_bytes = 0
                self._account()
        else:
            self._drop_sent()
        if sent:
            self.last_active_ns = server.reactor.now_ns
            server.metrics.bytes_sent.value += sent
        if output or self._events != READABLE:
            self._watch()

    @property
    def _has_too_much_unsent(self) -> bool:
        allowed_bytes = 0 if self._server.is_short_of_memory else MAX_UNSENT_BYTES
        return self._output_bytes - self._skip > allowed_bytes

    def _drop_sent(self) -> None:
        output, skip, count = self._output, self._skip, 0
        while skip >= len(output[count]):
            skip -= len(output[count])
            count += 1
        del output[:count]
        self._output_bytes -= self._skip - skip
        self._skip = skip

    def _watch(self) -> None:
        events = 0 if self._is_in_line or (self._held_up and not self._reads_ahead) else READABLE
        if self._output:
            events |= WRITABLE
        if events != self._events:
            self._events = events
            self._server.network.watch(self._transport, events, self.on_ready)

    @property
    def _reads_ahead(self) -> bool:
        return self._held_up == _IN_ORDER and self._receiver.buffered_bytes <= READ_AHEAD_BYTES

    def _resume(self) -> None:
        """Lift the holds whose reason has gone, and go on with what has been received, on the next turn."""
        held_up = self._held_up
        if held_up & _DOOMED and not self._under_way and not self._output:
            self.close(self._doom)
            return
        if not self._has_too_much_unsent:
            held_up &= ~_UNSENT
        if self._under_way_count < MAX_UNDER_WAY:
            held_up &= ~_UNDER_WAY
        if not self._under_way:
            held_up &= ~_IN_ORDER
        self._held_up = held_up
        if not held_up:
            self._server.reactor.call_soon(self._continue)

    def _continue(self) -> None:
        if not self.closed and not self._held_up:
            self._go_on()

    def _go_on(self, *, its_turn: bool = False) -> None:
        self._handle_frames(its_turn=its_turn)
        if not self.closed and (not self._held_up or self._reads_ahead):
            self._watch()

    def hold(self) -> None:
        """Read no further: the server is short of memory."""
        self._held_up |= _MEMORY

    def release(self) -> None:
        """Read on: the server has memory again."""
        self._held_up &= ~_MEMORY
        if not self.closed:
            self._server.reactor.call_soon(self._continue)

    def mute(self, duration_ms: int) -> None:
        """Read nothing more for a time."""
        if not self._held_up & _MUTED:
            self._held_up |= _MUTED
            self._server.reactor.call_later(duration_ms, self._unmute)

    def _unmute(self) -> None:
        self._held_up &= ~_MUTED
        self._continue()

    def abort(self, reason: str) -> None:
        """Close with one line in the log, as soon as the requests before are answered and sent."""
        if not self._doom:
            self._doom = reason
        self._held_up |= _DOOMED
        self.answered()

    def close(self, reason: str) -> None:
        """Close now; a reason goes to the log."""
        if self.closed:
            return
        self.closed = True
        if reason:
            self._server.log_closing(self.peer_host, self.peer_port, reason)
        self._transport.close()
        for context in self._under_way:
            if context.answer is None and context.on_close is not None:
                context.on_close()
        self._under_way.clear()
        self._under_way_count = 0
        self._output.clear()
        self._next = None
        self._server.forget(self, self._held_bytes)
