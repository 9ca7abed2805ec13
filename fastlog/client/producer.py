"""The producer: records into batches, batches into requests, and the bookkeeping that makes an acknowledgement mean what it says.

Records go to the open batch of their partition; a batch is sealed when it is full, when it has waited for `linger_ms`, or on
`flush`. Up to `max_in_flight` requests are under way to a broker, each with at most one batch of a partition. With idempotence
(KIP-98, the default with acks=all) every batch carries a producer id and a sequence number, so that a broker appends it once
however often it is sent. What must hold:

* Batches of a partition are sent, and sent again, in the order in which they were made. Once one has to be sent again, none is
  sent until all that were under way have been answered, and then one at a time until all of these are settled.
* The first batch under a producer id goes alone: a broker that knows nothing of the producer takes any sequence number, so the
  second could come before a first that has to be sent again.
* A batch whose outcome is not known (no answer, or an error that may come after the append) keeps its producer id and sequence
  until the broker has said. Only a batch that was certainly not appended is ever given other numbers.
* A batch that is given up leaves a gap in the sequence. Its partition then goes on under a new producer id, after the batches
  behind it whose outcome is not known were settled under the old one.

Without idempotence a batch that is sent again may be appended twice, or behind its successors. Sticky partitions for records
without keys: one partition until its batch is full (KIP-480). Keys go where Java's murmur2 says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from fastlog._core import BatchBuilder, append_lines, partition_for_key, scan
from fastlog.codecs import NONE, codec_by_name, compress
from fastlog.errors import (
    DuplicateSequenceNumber,
    InvalidProducerEpoch,
    InvalidRequest,
    KafkaError,
    NetworkException,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    RequestTimedOut,
    RetriableError,
    StaleMetadataError,
    UnknownProducerId,
    UnknownTopicOrPartition,
    error_for_code,
)
from fastlog.wire.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from fastlog.wire.messages.produce import ProduceRequest, ProduceResponse

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from fastlog.client.cluster import Cluster, Topic
    from fastlog.env.reactor import Flow, Pending, Timer

ACKS_ALL: Final = -1
NO_SEQUENCE: Final = -1
NANOSECONDS_PER_MILLISECOND: Final = 1_000_000
_SEQUENCE_MASK: Final = 0x7FFF_FFFF
_NUMBERS_REFUSED = (OutOfOrderSequenceNumber, UnknownProducerId, InvalidProducerEpoch, ProducerFenced)
"""The broker did not append the batch this time, because of its numbers alone."""


class Delivery(NamedTuple):
    """What became of one record: where it is, or why not. `offset` -1: it is there, and the broker doesn't say where."""

    topic: str
    partition: int
    offset: int
    error: KafkaError | None


class Identity(NamedTuple):
    """Who a batch is from, in the eyes of the broker."""

    producer_id: int
    epoch: int


NOBODY: Final = Identity(-1, -1)
Callback = Callable[[Delivery], object]


class _Batch:
    """One batch from its first record to its last word."""

    __slots__ = (
        "builder",
        "callbacks",
        "count",
        "data",
        "deadline_ns",
        "identity",
        "is_again",
        "linger_until_ns",
        "order",
        "outcome_is_unknown",
        "partition",
        "sequence",
        "size_bytes",
    )

    def __init__(self, partition: _Partition, order: int, max_bytes: int) -> None:
        self.partition = partition
        self.order = order
        self.builder: BatchBuilder | None = BatchBuilder(max_bytes=max_bytes)
        self.callbacks: list[tuple[int, Callback]] = []
        self.count = 0
        self.size_bytes = 0
        self.data: Buffer | None = None
        self.identity = NOBODY
        self.sequence = NO_SEQUENCE
        self.linger_until_ns = self.deadline_ns = 0
        self.is_again = False
        self.outcome_is_unknown = False


class _Partition:
    """The batches of one partition: the open one, those that wait (`queue`, in order), those under way."""

    __slots__ = (
        "identity",
        "in_flight",
        "index",
        "is_broken",
        "is_new",
        "next_sequence",
        "open",
        "orders",
        "queue",
        "retry_at_ns",
        "topic",
    )

    def __init__(self, topic: str, index: int) -> None:
        self.topic = topic
        self.index = index
        self.open: _Batch | None = None
        self.queue: deque[_Batch] = deque()
        self.in_flight: list[_Batch] = []
        self.orders = 0
        self.identity = NOBODY
        self.next_sequence = 0
        self.is_broken = False
        self.is_new = False
        self.retry_at_ns = 0

    def may_send(self) -> bool:
        """Tell whether the batch that is next in order may go, given those that are under way."""
        if not self.queue:
            return False
        if self.is_broken or self.is_new or self.queue[0].is_again:
            return not self.in_flight
        return not any(batch.is_again for batch in self.in_flight)

    def put_back(self, batch: _Batch) -> None:
        """Queue a batch again, in its place by age."""
        younger = []
        while self.queue and self.queue[0].order < batch.order:
            younger.append(self.queue.popleft())
        self.queue.appendleft(batch)
        self.queue.extendleft(reversed(younger))


class Producer:
    """Sends records to the leaders of their partitions. Topics are named to `prepare` before records are sent to them."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        acks: int = ACKS_ALL,
        idempotent: bool | None = None,
        compression: str = "none",
        compression_level: int | None = None,
        linger_ms: float = 5,
        batch_bytes: int = 256 << 10,
        buffer_bytes: int = 64 << 20,
        max_request_bytes: int = 8 << 20,
        max_in_flight: int = 5,
        delivery_timeout_ms: int = 120_000,
    ) -> None:
        """Make a producer; `idempotent` None means: with acks=all. ValueError on options that cannot be together."""
        if acks not in (ACKS_ALL, 0, 1):
            raise ValueError(f"acks wants -1 (all), 0 or 1, not {acks}")
        if idempotent is None:
            idempotent = acks == ACKS_ALL
        if idempotent and (acks != ACKS_ALL or not 1 <= max_in_flight <= 5):
            raise ValueError("an idempotent producer wants acks=-1 (all) and at most 5 requests in flight")
        self.delivered_count = self.failed_count = 0
        self.delivered_bytes = 0
        """Bytes of batches, compressed, that were acknowledged."""
        self.last_error: KafkaError | None = None
        """What went wrong last with a try, also where a later one mended it."""
        self.last_failure: KafkaError | None = None
        """Why a record was given up last."""
        self.buffered_bytes = 0
        """Bytes of sealed batches that have not been settled."""
        self._cluster = cluster
        self._reactor = cluster.reactor
        self._acks = acks
        self._idempotent = idempotent
        self._codec = codec_by_name(compression)
        self._level = compression_level
        self._linger_ns = int(linger_ms * NANOSECONDS_PER_MILLISECOND)
        self._batch_bytes = batch_bytes
        self._buffer_bytes = buffer_bytes
        self._max_request_bytes = max_request_bytes
        self._max_in_flight = max_in_flight
        self._delivery_timeout_ns = delivery_timeout_ms * NANOSECONDS_PER_MILLISECOND
        self._partitions: dict[str, list[_Partition]] = {}
        self._sticky: dict[str, int] = {}
        self._active: dict[_Partition, None] = {}
        self._unsettled_count = 0
        self._requests_in_flight: dict[int, int] = {}
        self._identity = NOBODY
        self._is_identifying = False
        self._identify_at_ns = 0
        self._pump_is_scheduled = False
        self._timer: Timer | None = None
        self._flushes: list[Pending[None]] = []
        self._waiting_for_room: list[Pending[None]] = []
        self._is_closed = False
        cluster.on_metadata.append(self._schedule)

    # ---- what callers do

    def prepare(self, topic: str, *, may_create: bool = True, timeout_ms: int = 5_000) -> Pending[int]:
        """Find a topic's partitions (creating it where the cluster allows); the result is their count."""
        return self._reactor.spawn(self._prepare(topic, may_create, timeout_ms))

    def _prepare(self, topic: str, may_create: bool, timeout_ms: int) -> Flow[int]:
        found: Topic = yield self._cluster.topic(topic, may_create=may_create, timeout_ms=timeout_ms)
        partitions = self._partitions.setdefault(topic, [])
        for index in range(len(partitions), len(found.leaders)):
            partitions.append(_Partition(topic, index))
        if topic not in self._sticky:
            self._sticky[topic] = self._reactor.clock.monotonic_ns() % len(partitions)
        return len(partitions)

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
        """Take one record. `on_delivery` is called once, on a later turn, with what became of it.

        BufferError when there is no room (see `has_room`); UnknownTopicOrPartition when the topic was not prepared or has no such
        partition.
        """
        if not self.has_room:
            raise BufferError(f"{self.buffered_bytes} bytes wait for the brokers")
        partitions = self._partitions_of(topic)
        if partition is None:
            index = self._sticky[topic] if key is None else partition_for_key(key, len(partitions))
        elif 0 <= partition < len(partitions):
            index = partition
        else:
            raise UnknownTopicOrPartition(f"{topic} has {len(partitions)} partitions, none is {partition}")
        timestamp_ms = self._reactor.clock.wall_ms() if timestamp_ms is None else timestamp_ms
        batch = self._open_batch(partitions[index])
        builder = batch.builder
        assert builder is not None
        if not builder.append(timestamp_ms, key, value, headers):
            self._seal(batch)
            if partition is None and key is None:
                index = self._turn_sticky(topic)
            batch = self._open_batch(partitions[index])
            builder = batch.builder
            assert builder is not None
            builder.append(timestamp_ms, key, value, headers)
        if on_delivery is not None:
            batch.callbacks.append((builder.count - 1, on_delivery))
        if not batch.deadline_ns:
            self._activate(batch)

    def send_lines(
        self,
        topic: str,
        chunk: Buffer,
        start: int = 0,
        *,
        separator: bytes = b"\n",
        key_separator: bytes | None = None,
        partition: int | None = None,
        is_last: bool = False,
    ) -> int:
        """Take the lines of `chunk` from byte `start` on as records, by one compiled call a batch; return where it stopped.

        Separators are not part of a record. With `key_separator`, what stands before its first occurrence is the key; a line
        without it has none. A line that doesn't end in `chunk` is left, unless `is_last`. Stops early when there is no room.
        """
        partitions = self._partitions_of(topic)
        if partition is not None and not 0 <= partition < len(partitions):
            raise UnknownTopicOrPartition(f"{topic} has {len(partitions)} partitions, none is {partition}")
        chosen = partitions if partition is None else [partitions[partition]]
        timestamp_ms = self._reactor.clock.wall_ms()
        while self.has_room:
            batches = [self._open_batch(one) for one in chosen] if key_separator is not None else []
            keyless = self._sticky[topic] if partition is None else 0
            if not batches:
                batches, keyless = [self._open_batch(chosen[keyless])], 0
            builders = [batch.builder for batch in batches if batch.builder is not None]
            start, full = append_lines(builders, chunk, start, timestamp_ms, separator, key_separator, keyless, is_last)
            for batch in batches:
                self._activate(batch)
            if full < 0:
                break
            self._seal(batches[full])
            if partition is None and full == keyless:
                self._turn_sticky(topic)
        return start

    @property
    def has_room(self) -> bool:
        """Whether `send` may be called now."""
        return self.buffered_bytes < self._buffer_bytes

    @property
    def has_work(self) -> bool:
        """Whether there is something to send as soon as the reactor turns."""
        return self._pump_is_scheduled

    def room(self) -> Pending[None]:
        """Complete when there is room."""
        waiter: Pending[None] = self._reactor.pending()
        if self.has_room:
            waiter.complete(None)
        else:
            self._waiting_for_room.append(waiter)
        return waiter

    def flush(self) -> Pending[None]:
        """Send what there is without lingering; completes when all of it is settled (see `failed_count` for how)."""
        done: Pending[None] = self._reactor.pending()
        for partition in self._active:
            if partition.open is not None and partition.open.builder is not None and partition.open.builder.count:
                self._seal(partition.open)
        if self._unsettled_count:
            self._flushes.append(done)
            self._schedule()
        else:
            done.complete(None)
        return done

    def close(self) -> None:
        """Give up what is not settled yet; `flush` before to wait for it."""
        if self._is_closed:
            return
        self._is_closed = True
        self._cluster.on_metadata.remove(self._schedule)
        if self._timer is not None:
            self._timer.cancel()
        for partition in list(self._active):
            if partition.open is not None and partition.open.deadline_ns:
                self._seal(partition.open)
            batches = [*partition.in_flight, *partition.queue]
            partition.queue.clear()
            for batch in batches:
                self._settle(batch, -1, NetworkException("the producer was closed"))

    # ---- batches

    def _partitions_of(self, topic: str) -> list[_Partition]:
        if self._is_closed:
            raise InvalidRequest("the producer is closed")
        partitions = self._partitions.get(topic)
        if partitions is None:
            raise UnknownTopicOrPartition(f"{topic} was not prepared")
        return partitions

    def _turn_sticky(self, topic: str) -> int:
        """Go on to the next partition that has a leader, where one has."""
        count = len(self._partitions[topic])
        known = self._cluster.topics.get(topic)
        for step in range(1, count + 1):
            index = (self._sticky[topic] + step) % count
            if known is None or known.leaders[index] >= 0:
                break
        self._sticky[topic] = index
        return index

    def _open_batch(self, partition: _Partition) -> _Batch:
        if partition.open is None:
            partition.open = _Batch(partition, partition.orders, self._batch_bytes)
            partition.orders += 1
        return partition.open

    def _activate(self, batch: _Batch) -> None:
        """Let an open batch that got its first record count, and its time begin."""
        builder = batch.builder
        if batch.deadline_ns or builder is None or not builder.count:
            return
        now_ns = self._reactor.clock.monotonic_ns()
        batch.linger_until_ns = now_ns + self._linger_ns
        batch.deadline_ns = now_ns + self._delivery_timeout_ns
        self._active[batch.partition] = None
        self._unsettled_count += 1
        if self._linger_ns:
            self._wake_at(batch.linger_until_ns)
        else:
            self._schedule()

    def _seal(self, batch: _Batch) -> None:
        """Take no more records into a batch; it waits to be sent."""
        assert batch.builder is not None
        self._activate(batch)
        batch.count = batch.builder.count
        batch.size_bytes = batch.builder.size_bytes
        self.buffered_bytes += batch.size_bytes
        batch.partition.open = None
        batch.partition.queue.append(batch)
        self._schedule()

    def _build(self, batch: _Batch) -> Buffer:
        """Return the bytes of a batch under its present numbers."""
        if batch.builder is not None:
            builder = batch.builder
            builder.set_producer(batch.identity.producer_id, batch.identity.epoch, batch.sequence)
            if self._codec == NONE:
                batch.data = builder.build()
            else:
                batch.data = builder.build(compress(self._codec, builder.payload(), self._level), self._codec)
            batch.builder = None
            self._account(batch, memoryview(batch.data).nbytes)
        assert batch.data is not None
        return batch.data

    def _number(self, batch: _Batch) -> None:
        partition = batch.partition
        assert partition.identity is not NOBODY, "a ready partition has an identity"
        batch.identity, batch.sequence = partition.identity, partition.next_sequence
        partition.next_sequence = (partition.next_sequence + batch.count) & _SEQUENCE_MASK
        if batch.data is not None:  # it was built under other numbers
            stamped = bytearray(batch.data)
            scan(stamped, check_crc=False, check_records=False)[0].set_producer(*batch.identity, batch.sequence)
            batch.data = stamped

    def _account(self, batch: _Batch, size_bytes: int) -> None:
        self.buffered_bytes += size_bytes - batch.size_bytes
        batch.size_bytes = size_bytes

    # ---- sending

    def _schedule(self) -> None:
        if not self._pump_is_scheduled and not self._is_closed:
            self._pump_is_scheduled = True
            self._reactor.call_soon(self._pump)

    def _wake_at(self, when_ns: int) -> None:
        if self._timer is not None and not self._timer.cancelled:
            if self._timer.deadline_ns <= when_ns:
                return
            self._timer.cancel()
        delay_ns = max(0, when_ns - self._reactor.clock.monotonic_ns())
        self._timer = self._reactor.call_later(delay_ns / NANOSECONDS_PER_MILLISECOND, self._schedule)

    def _pump(self) -> None:
        """Send all that may be sent now, and see to it that somebody comes back for the rest."""
        self._pump_is_scheduled = False
        if self._is_closed:
            return
        now_ns = self._reactor.clock.monotonic_ns()
        by_leader: dict[int, list[_Partition]] = {}
        for partition in list(self._active):
            self._expire(partition, now_ns)
            if self._is_ready(partition, now_ns):
                leader = self._leader(partition)
                if leader < 0:
                    self._cluster.refresh_soon(partition.topic)
                else:
                    by_leader.setdefault(leader, []).append(partition)
        for leader, partitions in by_leader.items():
            waiting = partitions
            while waiting and self._requests_in_flight.get(leader, 0) < self._max_in_flight:
                waiting = self._send_request(leader, waiting, now_ns)

    def _leader(self, partition: _Partition) -> int:
        topic = self._cluster.topics.get(partition.topic)
        return topic.leaders[partition.index] if topic is not None and partition.index < len(topic.leaders) else -1

    def _expire(self, partition: _Partition, now_ns: int) -> None:
        """Give up batches that have waited for longer than the delivery timeout; those under way wait for their request's."""
        while partition.queue and partition.queue[0].deadline_ns <= now_ns:
            batch = partition.queue.popleft()
            topic, index = partition.topic, partition.index
            self._give_up(batch, RequestTimedOut(f"{topic}-{index}: not delivered in time ({self._why_not(partition)})"))
        if partition.queue:
            self._wake_at(partition.queue[0].deadline_ns)

    def _why_not(self, partition: _Partition) -> str:
        return str(self.last_error) if self.last_error is not None else f"leader {self._leader(partition)} does not answer"

    def _is_ready(self, partition: _Partition, now_ns: int) -> bool:
        """Tell whether a partition has a batch that may go now; seals an open one that has lingered, and mends what is broken."""
        lingering = partition.open
        if lingering is not None and lingering.deadline_ns:
            if lingering.linger_until_ns > now_ns:
                self._wake_at(lingering.linger_until_ns)
            elif not partition.queue:
                self._seal(lingering)
        if not partition.may_send():
            return False
        if partition.retry_at_ns > now_ns:
            self._wake_at(partition.retry_at_ns)
            return False
        if partition.is_broken:
            if any(batch.outcome_is_unknown for batch in partition.queue):
                return True
            for batch in partition.queue:
                batch.sequence = NO_SEQUENCE
            if partition.identity is self._identity:
                self._identity = NOBODY
            partition.identity, partition.is_broken = NOBODY, False
        if self._idempotent and partition.identity is NOBODY:
            if self._identity is NOBODY:
                self._identify(now_ns)
                return False
            # Taken here, before another partition that broke under this id makes everybody else wait for a new one.
            partition.identity, partition.next_sequence, partition.is_new = self._identity, 0, True
        return True

    def _next_batch(self, partition: _Partition) -> _Batch | None:
        """Take the batch that goes next from a ready partition."""
        if not partition.may_send():
            return None
        if not partition.is_broken:
            batch = partition.queue.popleft()
            if self._idempotent and batch.sequence == NO_SEQUENCE:
                self._number(batch)
            return batch
        unknown = next(batch for batch in partition.queue if batch.outcome_is_unknown)
        partition.queue.remove(unknown)
        return unknown

    def _send_request(self, leader: int, partitions: list[_Partition], now_ns: int) -> list[_Partition]:
        """Send one request with one batch of each partition, as far as it holds them; return those that have more."""
        batches: list[_Batch] = []
        topics: dict[str, ProduceRequest.TopicProduceData] = {}
        more: list[_Partition] = []
        size_bytes = 0
        for at, partition in enumerate(partitions):
            if size_bytes >= self._max_request_bytes:
                more = partitions[at:] + more  # those that had no turn go first
                break
            batch = self._next_batch(partition)
            if batch is None:
                continue
            data = self._build(batch)
            topic = topics.get(partition.topic)
            if topic is None:
                topic_id = self._cluster.topics[partition.topic].topic_id
                topic = topics[partition.topic] = ProduceRequest.TopicProduceData(name=partition.topic, topic_id=topic_id)
            topic.partition_data.append(ProduceRequest.PartitionProduceData(index=partition.index, records=data))
            partition.in_flight.append(batch)
            batches.append(batch)
            size_bytes += batch.size_bytes
            if partition.may_send():
                more.append(partition)
        if not batches:
            return []
        timeout_ms = self._cluster.request_timeout_ms
        request = ProduceRequest(acks=self._acks, timeout_ms=timeout_ms, topic_data=list(topics.values()))
        self._requests_in_flight[leader] = self._requests_in_flight.get(leader, 0) + 1
        if self._acks == 0:
            self._cluster.call_without_answer(leader, request).then(lambda sent: self._on_sent(leader, batches, sent))
        else:
            answer = self._cluster.call(leader, request, ProduceResponse)
            answer.then(lambda settled: self._on_answer(leader, batches, settled))
        return more

    # ---- answers

    def _on_sent(self, leader: int, batches: list[_Batch], sent: Pending[None]) -> None:
        self._requests_in_flight[leader] -= 1
        if self._is_closed:
            return
        try:
            sent.result()
        except KafkaError as error:
            for batch in batches:
                self._on_error(batch, error)
        else:
            for batch in batches:
                self._settle(batch, -1, None)
        self._schedule()

    def _on_answer(self, leader: int, batches: list[_Batch], settled: Pending[ProduceResponse]) -> None:
        self._requests_in_flight[leader] -= 1
        if self._is_closed:
            return
        self._schedule()
        try:
            answer = settled.result()
        except KafkaError as error:
            for batch in batches:
                self._cluster.refresh_soon(batch.partition.topic)
                self._on_error(batch, error)
            return
        results = {}
        for topic in answer.responses:
            for result in topic.partition_responses:
                results[topic.name or topic.topic_id, result.index] = result
        for batch in batches:
            partition = batch.partition
            known = self._cluster.topics.get(partition.topic)
            found = results.get((partition.topic, partition.index))
            if found is None and known is not None:
                found = results.get((known.topic_id, partition.index))
            if found is None:
                self._on_error(batch, RequestTimedOut(f"the answer leaves out {partition.topic}-{partition.index}"))
            elif found.error_code in (0, DuplicateSequenceNumber.code):
                self._settle(batch, -1 if found.error_code else found.base_offset, None)
            else:
                self._on_error(batch, error_for_code(found.error_code, found.error_message))

    def _on_error(self, batch: _Batch, error: KafkaError) -> None:
        """Send a batch again, or give it up."""
        partition = batch.partition
        partition.in_flight.remove(batch)
        self.last_error = error
        if isinstance(error, StaleMetadataError):
            self._cluster.refresh_soon(partition.topic)
        if self._idempotent and isinstance(error, _NUMBERS_REFUSED):
            # A broker that knows the producer would know the batch too, had it appended it before. One that has forgotten or
            # fenced the producer may have appended it: to send it under other numbers could make two of it.
            if batch.outcome_is_unknown and not isinstance(error, OutOfOrderSequenceNumber):
                self._give_up(batch, error)
                return
            batch.outcome_is_unknown = False
            has_elders = any(other.order < batch.order for other in [*partition.in_flight, *partition.queue])
            partition.is_broken = partition.is_broken or not has_elders
        elif isinstance(error, RetriableError):
            batch.outcome_is_unknown = self._idempotent
        else:
            self._give_up(batch, error)
            return
        now_ns = self._reactor.clock.monotonic_ns()
        partition.put_back(batch)
        batch.is_again = True
        partition.retry_at_ns = now_ns + self._cluster.retry_backoff_ms * NANOSECONDS_PER_MILLISECOND
        self._schedule()

    def _give_up(self, batch: _Batch, error: KafkaError) -> None:
        if batch.sequence != NO_SEQUENCE:
            batch.partition.is_broken = True
        self._settle(batch, -1, error)

    def _settle(self, batch: _Batch, base_offset: int, error: KafkaError | None) -> None:
        """Say what became of a batch's records."""
        partition = batch.partition
        if batch in partition.in_flight:
            partition.in_flight.remove(batch)
        if error is None:
            partition.is_new = False
            self.delivered_count += batch.count
            self.delivered_bytes += batch.size_bytes
        else:
            self.failed_count += batch.count
            self.last_failure = error
        for at, callback in batch.callbacks:
            callback(Delivery(partition.topic, partition.index, base_offset + at if base_offset >= 0 else -1, error))
        self.buffered_bytes -= batch.size_bytes
        self._unsettled_count -= 1
        if not partition.queue and not partition.in_flight and (partition.open is None or not partition.open.deadline_ns):
            self._active.pop(partition, None)
        if self.has_room and self._waiting_for_room:
            waiting, self._waiting_for_room = self._waiting_for_room, []
            for waiter in waiting:
                waiter.complete(None)
        if not self._unsettled_count and self._flushes:
            flushes, self._flushes = self._flushes, []
            for done in flushes:
                done.complete(None)

    # ---- producer ids

    def _identify(self, now_ns: int) -> None:
        """Ask for a producer id, unless that is under way."""
        if self._is_identifying:
            return
        if self._identify_at_ns > now_ns:
            self._wake_at(self._identify_at_ns)
            return
        self._is_identifying = True
        self._cluster.call_any(
            lambda: InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=60_000), InitProducerIdResponse
        ).then(self._on_identity)

    def _on_identity(self, settled: Pending[InitProducerIdResponse]) -> None:
        self._is_identifying = False
        if self._is_closed:
            return
        try:
            answer = settled.result()
            if answer.error_code:
                raise error_for_code(answer.error_code)
        except KafkaError as error:
            self.last_error = error
            if not error.retriable:
                for partition in list(self._active):
                    while partition.identity is NOBODY and partition.queue:
                        self._settle(partition.queue.popleft(), -1, error)
            backoff_ns = self._cluster.retry_backoff_ms * NANOSECONDS_PER_MILLISECOND
            self._identify_at_ns = self._reactor.clock.monotonic_ns() + backoff_ns
        else:
            self._identity = Identity(answer.producer_id, answer.producer_epoch)
        self._schedule()
