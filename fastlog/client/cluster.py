"""What a client knows of a cluster: its brokers, who leads which partition, and one connection to each broker in use.

Metadata is asked for when something needs it: a topic that isn't known yet, or an answer that says the leader is another. A
broker that cannot be reached is not tried again before `reconnect_backoff_ms`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from fastlog.client.connection import Connection
from fastlog.errors import (
    BrokerNotAvailable,
    KafkaError,
    LeaderNotAvailable,
    NetworkException,
    RequestTimedOut,
    UnknownTopicOrPartition,
    UsageError,
    error_for_code,
)
from fastlog.wire.messages.metadata import MetadataRequest, MetadataResponse

if TYPE_CHECKING:
    from fastlog.env.reactor import Flow, Pending, Reactor
    from fastlog.wire.schema import Message

R = TypeVar("R", bound="Message")

DEFAULT_PORT: Final = 9092
NANOSECONDS_PER_MILLISECOND: Final = 1_000_000


class Address(NamedTuple):
    """Where a broker listens."""

    host: str
    port: int


class Topic(NamedTuple):
    """A topic as the cluster last described it: partition i is led by `leaders[i]` (-1: nobody) in `epochs[i]`."""

    name: str
    topic_id: bytes
    leaders: tuple[int, ...]
    epochs: tuple[int, ...]
    replicas: tuple[tuple[int, ...], ...]
    in_sync: tuple[tuple[int, ...], ...]
    is_internal: bool


def parse_bootstrap(text: str) -> list[Address]:
    """Return the addresses of HOST[:PORT],...; UsageError when there is none or one cannot be read."""
    addresses = []
    for part in text.split(","):
        host, colon, port = part.strip().rpartition(":")
        if not colon or (port.endswith("]") and "[" in part):
            host, port = part.strip(), str(DEFAULT_PORT)
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            host = ""
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16:
            raise UsageError(f"bootstrap wants HOST:PORT[,HOST:PORT...], not {text!r}")
        addresses.append(Address(host, int(port)))
    return addresses


class Cluster:
    """The brokers behind some bootstrap addresses."""

    def __init__(
        self,
        reactor: Reactor,
        bootstrap: Sequence[Address],
        *,
        client_id: str = "fastlog",
        request_timeout_ms: int = 30_000,
        connect_timeout_ms: int = 10_000,
        reconnect_backoff_ms: int = 50,
        retry_backoff_ms: int = 100,
    ) -> None:
        self.reactor = reactor
        self.request_timeout_ms = request_timeout_ms
        self.retry_backoff_ms = retry_backoff_ms
        self.brokers: dict[int, Address] = {}
        self.topics: dict[str, Topic] = {}
        self.cluster_id: str | None = None
        self.controller_id = -1
        self.is_closed = False
        self._bootstrap = list(bootstrap)
        self._client_id = client_id
        self._connect_timeout_ms = connect_timeout_ms
        self._reconnect_backoff_ns = reconnect_backoff_ms * NANOSECONDS_PER_MILLISECOND
        self._connections: dict[Address, Connection] = {}
        self._lost_at_ns: dict[Address, int] = {}
        self._topic_errors: dict[str, KafkaError] = {}
        self._stale: dict[str, None] = {}
        self.on_metadata: list[Callable[[], object]] = []

    def close(self) -> None:
        """Close every connection; what is under way fails."""
        self.is_closed = True
        for connection in list(self._connections.values()):
            connection.close()

    # ---- requests

    def call(self, node_id: int, request: Message, response_type: type[R], timeout_ms: float | None = None) -> Pending[R]:
        """Ask one broker."""
        outcome = self._reachable(node_id)
        if isinstance(outcome, Connection):
            return outcome.call(request, response_type, self.request_timeout_ms if timeout_ms is None else timeout_ms)
        failed: Pending[R] = self.reactor.pending()
        failed.fail(outcome)
        return failed

    def call_without_answer(self, node_id: int, request: Message) -> Pending[None]:
        """Tell one broker something that it doesn't answer."""
        outcome = self._reachable(node_id)
        if isinstance(outcome, Connection):
            return outcome.call_without_answer(request, self.request_timeout_ms)
        failed: Pending[None] = self.reactor.pending()
        failed.fail(outcome)
        return failed

    def call_any(self, request_of: Callable[[], Message], response_type: type[R]) -> Pending[R]:
        """Ask one broker after another until one answers; `request_of()` makes the request anew for each."""
        return self.reactor.spawn(self._call_any(request_of, response_type))

    def _call_any(self, request_of: Callable[[], Message], response_type: type[R]) -> Flow[R]:
        failure: KafkaError = BrokerNotAvailable("no broker is known")
        connected = [address for address, connection in self._connections.items() if connection.lost is None]
        for address in dict.fromkeys([*connected, *self.brokers.values(), *self._bootstrap]):
            try:
                answer: R = yield self._connection(address).call(request_of(), response_type, self.request_timeout_ms)
            except (NetworkException, RequestTimedOut) as error:
                failure = error
            else:
                return answer
        raise failure

    def _reachable(self, node_id: int) -> Connection | KafkaError:
        address = self.brokers.get(node_id)
        if address is None:
            return BrokerNotAvailable(f"broker {node_id} is not known")
        connection = self._connections.get(address)
        if connection is None or connection.lost is not None:
            lost_at_ns = self._lost_at_ns.get(address)
            if lost_at_ns is not None and self.reactor.clock.monotonic_ns() - lost_at_ns < self._reconnect_backoff_ns:
                return NetworkException(f"{address.host}:{address.port}: lost just now")
        return self._connection(address)

    def _connection(self, address: Address) -> Connection:
        connection = self._connections.get(address)
        if connection is None or connection.lost is not None:
            connection = Connection(
                self.reactor,
                address.host,
                address.port,
                client_id=self._client_id,
                connect_timeout_ms=self._connect_timeout_ms,
                on_lost=lambda lost: self._on_lost(address, lost),
            )
            self._connections[address] = connection
        return connection

    def _on_lost(self, address: Address, connection: Connection) -> None:
        self._lost_at_ns[address] = self.reactor.clock.monotonic_ns()
        if self._connections.get(address) is connection:
            del self._connections[address]

    # ---- metadata

    def topic(self, name: str, *, may_create: bool = False, timeout_ms: int = 5_000) -> Pending[Topic]:
        """Return a topic with a leader; with `may_create` it is created where the cluster allows. Tries until `timeout_ms`."""
        return self.reactor.spawn(self._topic(name, may_create, timeout_ms))

    def _topic(self, name: str, may_create: bool, timeout_ms: int) -> Flow[Topic]:
        last_try_ns = self.reactor.clock.monotonic_ns() + (timeout_ms - self.retry_backoff_ms) * NANOSECONDS_PER_MILLISECOND
        while True:
            try:
                yield self.refresh([name], may_create=may_create)
                return self._usable_topic(name)
            except KafkaError as error:
                is_worth_waiting = error.retriable and (may_create or not isinstance(error, UnknownTopicOrPartition))
                if not is_worth_waiting or self.reactor.clock.monotonic_ns() > last_try_ns:
                    raise
            yield self.sleep(self.retry_backoff_ms)

    def _usable_topic(self, name: str) -> Topic:
        found = self.topics.get(name)
        if found is None:
            raise self._topic_errors.get(name) or UnknownTopicOrPartition(f"the broker says nothing of {name}")
        if max(found.leaders, default=-1) < 0:
            raise LeaderNotAvailable(f"no partition of {name} has a leader")
        return found

    def topic_error(self, name: str) -> KafkaError | None:
        """Say what the cluster last answered in place of a topic."""
        return self._topic_errors.get(name)

    def refresh(self, names: Sequence[str] | None, *, may_create: bool = False) -> Pending[None]:
        """Ask for the brokers and some topics (None: all), and take what is known of them from the answer."""
        return self.reactor.spawn(self._refresh(names, may_create))

    def _refresh(self, names: Sequence[str] | None, may_create: bool) -> Flow[None]:
        def request() -> MetadataRequest:
            topics = None if names is None else [MetadataRequest.MetadataRequestTopic(name=name) for name in names]
            return MetadataRequest(topics=topics, allow_auto_topic_creation=may_create)

        answer = yield self.call_any(request, MetadataResponse)
        self._learn(answer, is_complete=names is None)

    def refresh_soon(self, name: str) -> None:
        """Ask for a topic's metadata after the retry backoff, together with the others that need it by then.

        Listeners of `on_metadata` are called when that is done, also where it failed.
        """
        if not self._stale:
            self.reactor.call_later(self.retry_backoff_ms, self._refresh_stale)
        self._stale[name] = None

    def _refresh_stale(self) -> None:
        names, self._stale = list(self._stale), {}
        if not self.is_closed:
            self.refresh(names).then(self._on_refreshed)

    def _on_refreshed(self, _: Pending[None]) -> None:
        for listener in self.on_metadata:
            listener()

    def _learn(self, answer: MetadataResponse, *, is_complete: bool) -> None:
        if answer.error_code:
            raise error_for_code(answer.error_code)
        self.brokers = {broker.node_id: Address(broker.host, broker.port) for broker in answer.brokers}
        self.cluster_id, self.controller_id = answer.cluster_id, answer.controller_id
        if is_complete:
            self.topics.clear()
        for described in answer.topics:
            name = described.name or ""
            if described.error_code:
                self.topics.pop(name, None)
                self._topic_errors[name] = error_for_code(described.error_code)
                continue
            self._topic_errors.pop(name, None)
            partitions = sorted(described.partitions, key=lambda partition: partition.partition_index)
            self.topics[name] = Topic(
                name,
                described.topic_id,
                tuple(partition.leader_id for partition in partitions),
                tuple(partition.leader_epoch for partition in partitions),
                tuple(tuple(partition.replica_nodes) for partition in partitions),
                tuple(tuple(partition.isr_nodes) for partition in partitions),
                described.is_internal,
            )

    def sleep(self, delay_ms: float) -> Pending[None]:
        """Complete after `delay_ms`."""
        woken: Pending[None] = self.reactor.pending()
        self.reactor.call_later(delay_ms, woken.complete, None)
        return woken
