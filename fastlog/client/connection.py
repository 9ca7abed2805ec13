"""One connection to one broker: requests go out as they come, answers come back in the same order.

Sans sockets: bytes go through the seam's `Transport`. It begins by asking which versions the broker speaks (ApiVersions,
KIP-511) and holds back what is asked meanwhile. Each call takes the highest version that both sides know.

Invariants: every call is settled exactly once, by its answer, its timeout, or the end of the connection; a connection that is
closed never opens again. A timeout closes the connection, since an answer that comes late could no longer be told from a lost
one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from fastlog import __version__
from fastlog._core import FrameError, Receiver
from fastlog.client.versions import highest_common_version
from fastlog.env import READABLE, WRITABLE
from fastlog.errors import DecodeError, NetworkException, RequestTimedOut, UnsupportedVersion, error_for_code
from fastlog.wire.frames import decode_response, encode_request_parts
from fastlog.wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse

if TYPE_CHECKING:
    from fastlog.env import Transport
    from fastlog.env.reactor import Pending, Reactor, Timer
    from fastlog.wire.schema import Message

R = TypeVar("R", bound="Message")

API_VERSIONS_VERSION = 3
UNSUPPORTED_VERSION_BYTES = UnsupportedVersion.code.to_bytes(2, "big")
MAX_RESPONSE_BYTES = 512 << 20
NANOSECONDS_PER_MILLISECOND = 1_000_000
_CLIENT_SOFTWARE = "fastlog"


class Call:
    """One request on its way; `response_type` None when the broker sends no answer to it."""

    __slots__ = ("deadline_ns", "outcome", "request", "response_type", "version")

    def __init__(self, request: Message, response_type: type[Message] | None, outcome: Pending[Any], deadline_ns: int) -> None:
        self.request: Message | None = request
        self.response_type = response_type
        self.outcome = outcome
        self.deadline_ns = deadline_ns
        self.version = -1


class Connection:
    """A connection to a broker at an address; opens as soon as it is made."""

    def __init__(
        self,
        reactor: Reactor,
        host: str,
        port: int,
        *,
        client_id: str,
        connect_timeout_ms: int = 10_000,
        on_lost: Callable[[Connection], object] | None = None,
    ) -> None:
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.lost: NetworkException | None = None
        """Why the connection ended; None while it is of use."""
        self._reactor = reactor
        self._client_id = client_id
        self._on_lost = on_lost
        self._versions: dict[int, tuple[int, int]] | None = None
        self._held: list[Call] = []
        self._awaiting: deque[tuple[int, Call]] = deque()
        self._without_answer: list[Call] = []
        self._unsent: list[Any] = []
        self._unsent_skip = 0
        self._next_correlation_id = 0
        self._receiver = Receiver(MAX_RESPONSE_BYTES)
        self._timer: Timer | None = None
        self._transport: Transport | None = None
        self._connected = False
        try:
            self._transport = reactor.network.connect(host, port)
        except OSError as error:
            # Completions come on a later turn, this one too.
            reactor.call_soon(self.close, error.strerror or str(error))
            return
        reactor.network.watch(self._transport, WRITABLE, self._on_ready)
        self._connect_deadline_ns = self._deadline_ns(connect_timeout_ms)
        self._negotiate(API_VERSIONS_VERSION)

    @property
    def in_flight(self) -> int:
        """Calls that have not been settled."""
        return len(self._awaiting) + len(self._without_answer) + len(self._held)

    def call(self, request: Message, response_type: type[R], timeout_ms: float) -> Pending[R]:
        """Send a request; the result is its answer, or NetworkException, RequestTimedOut or UnsupportedVersion."""
        outcome: Pending[R] = self._reactor.pending()
        self._start(Call(request, response_type, outcome, self._deadline_ns(timeout_ms)))
        return outcome

    def call_without_answer(self, request: Message, timeout_ms: float) -> Pending[None]:
        """Send a request that the broker doesn't answer (Produce with acks=0); completes when the system has it."""
        outcome: Pending[None] = self._reactor.pending()
        self._start(Call(request, None, outcome, self._deadline_ns(timeout_ms)))
        return outcome

    def close(self, reason: str = "closed") -> None:
        """Close and fail every call that has no answer; closing twice is allowed."""
        if self.lost is not None:
            return
        self.lost = NetworkException(f"{self.address}: {reason}")
        if self._transport is not None:
            self._transport.close()
        if self._timer is not None:
            self._timer.cancel()
        calls = self._unsettled()
        self._awaiting.clear()
        self._without_answer.clear()
        self._held.clear()
        self._unsent.clear()
        for call in calls:
            if not call.outcome.done:
                call.outcome.fail(self.lost)
        if self._on_lost is not None:
            self._on_lost(self)

    def _unsettled(self) -> list[Call]:
        return [call for _, call in self._awaiting] + self._without_answer + self._held

    # ---- sending

    def _deadline_ns(self, timeout_ms: float) -> int:
        return self._reactor.clock.monotonic_ns() + int(timeout_ms * NANOSECONDS_PER_MILLISECOND)

    def _start(self, call: Call) -> None:
        if self.lost is not None:
            call.outcome.fail(self.lost)
        elif self._versions is None:
            self._held.append(call)
            self._watch_deadline(call)
        else:
            self._negotiated(call, self._versions)

    def _negotiated(self, call: Call, versions: dict[int, tuple[int, int]]) -> None:
        assert call.request is not None
        try:
            version = highest_common_version(type(call.request), versions)
        except UnsupportedVersion as error:
            call.outcome.fail(UnsupportedVersion(f"{self.address}: {error}"))
        else:
            self._send(call, version)

    def _send(self, call: Call, version: int) -> None:
        request = call.request
        assert request is not None
        call.version = version
        correlation_id = self._next_correlation_id
        self._next_correlation_id = (correlation_id + 1) & 0x7FFF_FFFF
        parts = encode_request_parts(request, version, correlation_id, self._client_id)
        call.request = None  # its records are held by the parts alone, and let go once they are sent
        if call.response_type is None:
            self._without_answer.append(call)
        else:
            self._awaiting.append((correlation_id, call))
        self._watch_deadline(call)
        idle = not self._unsent
        self._unsent += parts
        if idle and self._connected:
            self._flush()

    def _flush(self) -> None:
        """Send as much as goes, and watch for room when that was not all."""
        assert self._transport is not None
        while self._unsent:
            try:
                sent = self._transport.send(self._unsent, self._unsent_skip)
            except BlockingIOError:
                break
            except OSError as error:
                self.close(error.strerror or str(error))
                return
            self._drop_sent(sent)
        events = READABLE | WRITABLE if self._unsent else READABLE
        self._reactor.network.watch(self._transport, events, self._on_ready)
        if not self._unsent:
            sent_calls, self._without_answer = self._without_answer, []
            for call in sent_calls:
                call.outcome.complete(None)

    def _drop_sent(self, sent: int) -> None:
        self._unsent_skip += sent
        done = 0
        for part in self._unsent:
            size = memoryview(part).nbytes
            if size > self._unsent_skip:
                break
            self._unsent_skip -= size
            done += 1
        del self._unsent[:done]

    # ---- receiving

    def _on_ready(self, events: int) -> None:
        if self.lost is not None or self._transport is None:
            return
        if events & WRITABLE:
            self._connected = True
            self._flush()
        if events & READABLE and self.lost is None:
            self._receive(self._transport)

    def _receive(self, transport: Transport) -> None:
        try:
            count = transport.receive_into(self._receiver)
        except BlockingIOError:
            return
        except OSError as error:
            self.close(error.strerror or str(error))
            return
        if count == 0:
            self.close("the broker closed the connection")
            return
        try:
            self._receiver.received(count)
            while self.lost is None and (frame := self._receiver.next_frame()) is not None:
                self._on_frame(memoryview(frame))
        except (FrameError, DecodeError) as error:
            self.close(f"an answer cannot be read: {error}")

    def _on_frame(self, frame: memoryview) -> None:
        call = self._awaiting[0][1] if self._awaiting else None
        if call is None or call.response_type is None:
            raise DecodeError("nothing was asked")
        version = call.version
        if call.response_type is ApiVersionsResponse and bytes(frame[4:6]) == UNSUPPORTED_VERSION_BYTES:
            version = 0  # a broker that doesn't know the version answers in this one
        correlation_id, answer = decode_response(call.response_type, frame, version)
        if correlation_id != self._awaiting[0][0]:
            raise DecodeError(f"it is to correlation id {correlation_id}, which is not the next")
        self._awaiting.popleft()
        call.outcome.complete(answer)

    def _negotiate(self, version: int) -> None:
        request = ApiVersionsRequest(client_software_name=_CLIENT_SOFTWARE, client_software_version=__version__)
        outcome: Pending[ApiVersionsResponse] = self._reactor.pending()
        outcome.then(self._on_versions)
        self._send(Call(request, ApiVersionsResponse, outcome, self._connect_deadline_ns), version)

    def _on_versions(self, settled: Pending[ApiVersionsResponse]) -> None:
        if self.lost is not None:
            return
        answer = settled.result()
        if answer.error_code == UnsupportedVersion.code and answer.api_keys:
            # KIP-511: the answer tells which versions of ApiVersions there are.
            own = next((api for api in answer.api_keys if api.api_key == ApiVersionsRequest.API_KEY), None)
            if own is not None and own.max_version < API_VERSIONS_VERSION:
                self._negotiate(own.max_version)
                return
        if answer.error_code:
            self.close(str(error_for_code(answer.error_code)))
            return
        self._versions = {api.api_key: (api.min_version, api.max_version) for api in answer.api_keys}
        held, self._held = self._held, []
        for call in held:
            self._negotiated(call, self._versions)

    # ---- time

    def _watch_deadline(self, call: Call) -> None:
        """Arm the one timer for the earliest call. Calls seldom time out: it moves on only when it fires."""
        if self._timer is None or self._timer.cancelled or self._timer.deadline_ns > call.deadline_ns:
            if self._timer is not None:
                self._timer.cancel()
            delay_ns = max(0, call.deadline_ns - self._reactor.clock.monotonic_ns())
            self._timer = self._reactor.call_later(delay_ns / NANOSECONDS_PER_MILLISECOND, self._on_deadline)

    def _on_deadline(self) -> None:
        now_ns = self._reactor.clock.monotonic_ns()
        calls = self._unsettled()
        late = [call for call in calls if call.deadline_ns <= now_ns]
        if late:
            what = "no answer in time" if self._connected else "no connection in time"
            for call in late:
                call.outcome.fail(RequestTimedOut(f"{self.address}: {what}"))
            self.close(what)
        elif calls:
            self._watch_deadline(min(calls, key=lambda call: call.deadline_ns))
