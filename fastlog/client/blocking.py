"""The client for programs that have no reactor: each call turns a private one until its result is there.

One thread at a time. Nothing happens between calls: records that wait in a producer's batches go out when a later call turns the
reactor, at the latest in `flush` or `close`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

from fastlog.client.cluster import Cluster, parse_bootstrap
from fastlog.env.clock import SystemClock
from fastlog.env.network import SocketNetwork
from fastlog.env.reactor import Reactor

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Buffer

    from fastlog._core import Record
    from fastlog.client.admin import Admin
    from fastlog.client.consumer import Consumer, Fetched, TopicPartition
    from fastlog.client.producer import Callback, Producer
    from fastlog.env import ReadyCallback
    from fastlog.env.network import Stream
    from fastlog.env.reactor import Pending

T = TypeVar("T")


class Client:
    """A client of one cluster, with the reactor that its producers and consumers run on."""

    def __init__(self, bootstrap: str, **options: Any) -> None:
        """Know where to begin; nothing is connected yet. `options` are those of `Cluster`."""
        addresses = parse_bootstrap(bootstrap)
        self._network = SocketNetwork()
        self.reactor = Reactor(SystemClock(), self._network)
        self.cluster = Cluster(self.reactor, addresses, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self.cluster.close()
        self._network.close()

    def wait(self, pending: Pending[T]) -> T:
        """Turn the reactor until a result is there, and return it or raise its error."""
        while not pending.done:
            self.reactor.run_turn()
        return pending.result()

    def turn(self) -> None:
        """Do what is ready now, without waiting."""
        self.reactor.hasten()
        self.reactor.run_turn()

    def watch_stream(self, stream: Stream, events: int, callback: ReadyCallback) -> None:
        """Call `callback(events)` when the stream is ready as the reactor turns; `events` 0 ends that, and closes nothing."""
        self._network.watch_stream(stream, events, callback)

    def admin(self) -> Admin:
        """Return an Admin; its methods' results go to `wait`."""
        from fastlog.client.admin import Admin  # noqa: PLC0415 - each program needs one of these

        return Admin(self.cluster)

    def producer(self, **options: Any) -> BlockingProducer:
        """Return a producer; `options` are those of `Producer`."""
        from fastlog.client.producer import Producer  # noqa: PLC0415

        return BlockingProducer(self, Producer(self.cluster, **options))

    def consumer(self, partitions: Iterable[TopicPartition], *, offset: int | None = None, **options: Any) -> BlockingConsumer:
        """Return a consumer of partitions, from an offset in each or from the beginning; `options` are those of `Consumer`."""
        from fastlog.client.consumer import EARLIEST, Consumer  # noqa: PLC0415

        consumer = BlockingConsumer(self, Consumer(self.cluster, **options))
        keys = list(partitions)
        consumer.assign(consumer.offsets(dict.fromkeys(keys, EARLIEST)) if offset is None else dict.fromkeys(keys, offset))
        return consumer


class BlockingProducer:
    """A producer whose `send` waits when there is no room."""

    def __init__(self, client: Client, producer: Producer) -> None:
        self._client = client
        self._prepared: dict[str, None] = {}
        self._failed_count = 0
        self.producer = producer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.flush()
        self.producer.close()

    def prepare(self, topic: str, *, may_create: bool = True) -> int:
        """Find a topic's partitions, creating it where the cluster allows; return their count."""
        count = self._client.wait(self.producer.prepare(topic, may_create=may_create))
        self._prepared[topic] = None
        return count

    def send(
        self,
        topic: str,
        value: Buffer | None,
        *,
        key: Buffer | None = None,
        headers: Sequence[tuple[str | bytes, Buffer | None]] = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
        on_delivery: Callback | None = None,
    ) -> None:
        """Send one record; as `Producer.send`, but it waits for room, and finds the topic's partitions by itself."""
        if topic not in self._prepared:
            self.prepare(topic)
        self._make_room()
        self.producer.send(
            topic, value, key=key, headers=headers, partition=partition, timestamp_ms=timestamp_ms, on_delivery=on_delivery
        )
        self._go_on()

    def send_lines(self, topic: str, chunk: Buffer, start: int = 0, **options: Any) -> int:
        """Send the lines of a chunk; as `Producer.send_lines`, but it takes all of them, waiting for room."""
        if topic not in self._prepared:
            self.prepare(topic)
        while True:
            self._make_room()
            start = self.producer.send_lines(topic, chunk, start, **options)
            self._go_on()
            if self.producer.has_room:
                return start

    def flush(self) -> None:
        """Wait until every record is settled. Raises the last error when one could not be delivered since the last flush."""
        failed_before = self._failed_count
        self._client.wait(self.producer.flush())
        self._failed_count = self.producer.failed_count
        if self._failed_count > failed_before:
            assert self.producer.last_failure is not None
            raise self.producer.last_failure

    def _make_room(self) -> None:
        if not self.producer.has_room:
            self._client.wait(self.producer.room())

    def _go_on(self) -> None:
        if self.producer.has_work:
            self._client.turn()


class BlockingConsumer:
    """A consumer whose `batches` and `records` wait for what comes next."""

    def __init__(self, client: Client, consumer: Consumer) -> None:
        self._client = client
        self.consumer = consumer
        self._keys: list[TopicPartition] = []
        self._polled: deque[Fetched] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.consumer.close()

    def assign(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Read these partitions from these offsets on."""
        for topic in dict.fromkeys(topic for topic, _ in offsets):
            self._client.wait(self._client.cluster.topic(topic))
        self.consumer.assign(offsets)
        self._keys = list(offsets)

    def offsets(self, timestamps_ms: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Find offsets by time; see `Consumer.offsets`."""
        return self._client.wait(self.consumer.offsets(timestamps_ms))

    @property
    def has_more(self) -> bool:
        """Whether `batches` has more to give without waiting."""
        return bool(self._polled) or self.consumer.has_data

    def batches(self, *, stop_at_end: bool = False) -> Iterator[Fetched]:
        """Yield batches as they come; with `stop_at_end` until the ends that the partitions have now are reached."""
        from fastlog.client.consumer import LATEST  # noqa: PLC0415

        ends = self.offsets(dict.fromkeys(self._keys, LATEST)) if stop_at_end else {}
        while True:
            is_at_end = stop_at_end and all(self.consumer.position(*key) >= end for key, end in ends.items())
            if not is_at_end:
                self._client.wait(self.consumer.ready())
            self._polled.extend(self.consumer.poll())
            while self._polled:
                yield self._polled.popleft()
            if is_at_end:
                return

    def records(self, *, stop_at_end: bool = False) -> Iterator[Record]:
        """Yield records as they come; see `batches`."""
        for fetched in self.batches(stop_at_end=stop_at_end):
            yield from fetched.records()
