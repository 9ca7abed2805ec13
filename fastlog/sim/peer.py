"""A client's connection in a simulation: the real wire protocol over a simulated stream, pipelined, with a time limit on answers.

Knows frames and versions, not what requests mean. Everything that ends a connection fails what waits on it with `ConnectionLost`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

from fastlog.env import READABLE, WRITABLE
from fastlog.errors import NONE
from fastlog.wire import frames
from fastlog.wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from fastlog.wire.messages.fetch import FetchRequest
from fastlog.wire.messages.metadata import MetadataRequest, MetadataResponse
from fastlog.wire.messages.produce import ProduceRequest

if TYPE_CHECKING:
    from fastlog.env.reactor import Pending, Timer
    from fastlog.sim.entropy import Entropy
    from fastlog.sim.process import Process
    from fastlog.wire.schema import Message

ANSWER_TIMEOUT_MS = 3_000
RECEIVE_BYTES = 65_536
METADATA_TOPIC_ID_SINCE = 10
TOPIC_ID_SINCE = 13
"""The version of Produce and of Fetch that says topic ids for names (KIP-516)."""

M = TypeVar("M", bound="Message")


class ConnectionLost(Exception):
    """The connection ended before the answer came; whether the request was served is not known."""


class _Waiting:
    """A request under way."""

    __slots__ = ("answer", "correlation_id", "pending", "timer", "version")

    def __init__(self, correlation_id: int, version: int, answer: type[Message], pending: Pending[Any], timer: Timer) -> None:
        self.correlation_id = correlation_id
        self.version = version
        self.answer = answer
        self.pending = pending
        self.timer = timer


class Peer:
    """One connection to a broker. `connect` first; versions are drawn from what both sides speak."""

    def __init__(self, process: Process, entropy: Entropy, host: str, port: int) -> None:
        self.is_open = False
        self._process = process
        self._reactor = process.reactor
        self._entropy = entropy
        self._transport = process.network.connect(host, port)
        self._opened = self._reactor.pending()
        self._closed = False
        self._inbox = bytearray()
        self._outbox = bytearray()
        self._waiting: deque[_Waiting] = deque()
        self._correlation_id = entropy.below(1 << 20)
        self._versions: dict[int, int] = {}
        self._knows_topic_ids = False
        self._ranges: dict[int, tuple[int, int]] = {}
        self._watch(WRITABLE)

    def connect(self) -> Any:
        """A flow: wait for the connection and learn the broker's versions."""
        timer = self._reactor.call_later(ANSWER_TIMEOUT_MS, self.close)
        yield self._opened
        timer.cancel()
        answer = yield self.request(
            ApiVersionsRequest(client_software_name="sim", client_software_version="1"), ApiVersionsResponse, 3
        )
        self._ranges = {api.api_key: (api.min_version, api.max_version) for api in answer.api_keys}

    def topic(self, name: str) -> Any:
        """A flow: return (topic id, partition count, leader epochs) of a topic, which is created where the broker does that.

        None while the broker does not give it.
        """
        version = self.version(MetadataRequest, least=4)
        topics = [MetadataRequest.MetadataRequestTopic(name=name)]
        answer = yield self.request(MetadataRequest(topics=topics), MetadataResponse, version)
        self._knows_topic_ids = version >= METADATA_TOPIC_ID_SINCE
        topic = answer.topics[0]
        if topic.error_code != NONE or any(partition.error_code != NONE for partition in topic.partitions):
            return None
        epochs = {partition.partition_index: partition.leader_epoch for partition in topic.partitions}
        return topic.topic_id, len(topic.partitions), epochs

    def version(self, request: type[Message], least: int = 0) -> int:
        """Return the version that this connection uses for a request, drawn once from what both sides speak."""
        version = self._versions.get(request.API_KEY)
        if version is None:
            low, high = self._ranges[request.API_KEY]
            low, high = max(low, request.MIN_VERSION, least), min(high, request.MAX_VERSION)
            if request.API_KEY in (ProduceRequest.API_KEY, FetchRequest.API_KEY) and not self._knows_topic_ids:
                high = min(high, TOPIC_ID_SINCE - 1)
            version = self._versions[request.API_KEY] = self._entropy.choose((low, high, self._entropy.between(low, high)))
        return version

    def request(self, request: Message, answer: type[M], version: int) -> Pending[M]:
        """Send a request; the result is the decoded answer, or ConnectionLost."""
        pending: Pending[M] = self._reactor.pending()
        if self._closed:
            pending.fail(ConnectionLost("closed"))
            return pending
        timer = self._reactor.call_later(ANSWER_TIMEOUT_MS, self.close)
        self._waiting.append(_Waiting(self._put(request, version), version, answer, pending, timer))
        return pending

    def tell(self, request: Message, version: int) -> None:
        """Send a request that has no answer."""
        if not self._closed:
            self._put(request, version)

    def close(self) -> None:
        """End the connection; what waits on it fails."""
        if self._closed:
            return
        self._closed, self.is_open = True, False
        self._transport.close()
        if not self._opened.done:
            self._opened.fail(ConnectionLost("never opened"))
        for waiting in self._waiting:
            waiting.timer.cancel()
            waiting.pending.fail(ConnectionLost("closed"))
        self._waiting.clear()

    def _put(self, request: Message, version: int) -> int:
        self._correlation_id += 1
        self._outbox += frames.encode_request(request, version, self._correlation_id, self._process.name)
        self._watch(READABLE | WRITABLE)
        return self._correlation_id

    def _watch(self, events: int) -> None:
        self._process.network.watch(self._transport, events, self._on_ready)

    def _on_ready(self, events: int) -> None:
        try:
            if not self._opened.done:
                self._transport.send([])
                self.is_open = True
                self._opened.complete(None)
            if events & READABLE:
                self._receive()
            if not self._closed and self._outbox:
                sent = self._transport.send([self._outbox])
                del self._outbox[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
        if not self._closed:
            self._watch(READABLE | WRITABLE if self._outbox else READABLE)

    def _receive(self) -> None:
        chunk = bytearray(RECEIVE_BYTES)
        count = self._transport.receive_into(chunk)
        if count == 0:
            self.close()
            return
        self._inbox += memoryview(chunk)[:count]
        while len(self._inbox) >= 4:
            size = int.from_bytes(self._inbox[:4], "big", signed=True)
            if len(self._inbox) < 4 + size:
                break
            body = bytes(self._inbox[4 : 4 + size])
            del self._inbox[: 4 + size]
            self._take(body)

    def _take(self, body: bytes) -> None:
        waiting = self._waiting.popleft()
        waiting.timer.cancel()
        correlation_id, answer = frames.decode_response(waiting.answer, body, waiting.version)
        if correlation_id != waiting.correlation_id:
            raise AssertionError(f"answer {correlation_id} came where {waiting.correlation_id} is due")
        waiting.pending.complete(answer)
