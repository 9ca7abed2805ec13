"""The consumer: fetches from the leaders of the partitions it was given, one request under way to each broker.

It hands out whole record batches (`Fetched`), checked by their CRC, so that a column call can take them as they are; `records`
walks one. A fetch goes out again as soon as an answer is in, until `queue_bytes` wait to be polled. Positions move when a batch
arrives; a caller's own position is the end of what it polled. Control batches (transaction markers) are never handed out.
Everything is read, also records of transactions that are open or were aborted (isolation level read_uncommitted).

Rules: KIP-74 (the first batch comes whole however large, so a fetch always makes progress), the Fetch and ListOffsets schemas.
Full fetches (session id 0, epoch -1): the broker keeps no session of this client.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from fastlog import codecs
from fastlog._core import Batch, CorruptBatch, Record, join_records, scan
from fastlog.errors import (
    CorruptMessage,
    KafkaError,
    OffsetOutOfRange,
    RetriableError,
    UnknownTopicId,
    UnknownTopicOrPartition,
    error_for_code,
)
from fastlog.wire.messages.fetch import FetchRequest, FetchResponse
from fastlog.wire.messages.list_offsets import ListOffsetsRequest, ListOffsetsResponse

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from fastlog.client.cluster import Cluster
    from fastlog.env.reactor import Flow, Pending

EARLIEST: Final = -2
"""As a timestamp to `offsets`: the first offset that there is."""
LATEST: Final = -1
"""As a timestamp to `offsets`: the offset that the next record will get."""
CONSUMER_REPLICA_ID: Final = -1
FULL_FETCH_EPOCH: Final = -1
NANOSECONDS_PER_MILLISECOND: Final = 1_000_000

TopicPartition = tuple[str, int]


class Fetched(NamedTuple):
    """One batch of a partition. Its records before `from_offset` were not asked for."""

    topic: str
    partition: int
    batch: Batch
    from_offset: int
    high_watermark: int

    def payload(self) -> Buffer | None:
        """Return the batch's records, decompressed; None when they lie in it as they are. CorruptMessage when that fails."""
        if self.batch.codec == codecs.NONE:
            return None
        try:
            return codecs.decompress(self.batch.codec, self.batch.payload)
        except ValueError as error:
            raise self._corrupt(error) from None

    def records(self) -> Iterator[Record]:
        """Yield the records that were asked for, in order of offset."""
        try:
            for record in self.batch.records(self.payload()):
                if record.offset >= self.from_offset:
                    yield record
        except CorruptBatch as error:
            raise self._corrupt(error) from None

    def join(self, max_count: int, separator: Buffer, key_separator: Buffer | None = None) -> tuple[bytes, int]:
        """Return values (and keys) as one text and how many records they are; see `_core.join_records`."""
        try:
            return join_records(self.batch, self.payload(), self.from_offset, max_count, separator, key_separator)
        except CorruptBatch as error:
            raise self._corrupt(error) from None

    def _corrupt(self, error: Exception) -> CorruptMessage:
        return CorruptMessage(f"{self.topic}-{self.partition} at offset {self.batch.base_offset}: {error}")


class _Partition:
    """Where the consumer is in one partition."""

    __slots__ = ("error", "high_watermark", "index", "log_start_offset", "position", "retry_at_ns", "topic", "topic_id")

    def __init__(self, topic: str, index: int, position: int) -> None:
        self.topic = topic
        self.index = index
        self.position = position
        self.high_watermark = -1
        self.log_start_offset = -1
        self.retry_at_ns = 0
        self.topic_id: bytes | None = None
        self.error: KafkaError | None = None


class Consumer:
    """Reads assigned partitions from given offsets."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        max_wait_ms: int = 500,
        min_bytes: int = 1,
        max_bytes: int = 16 << 20,
        partition_max_bytes: int = 4 << 20,
        queue_bytes: int = 32 << 20,
        check_crc: bool = True,
    ) -> None:
        self._cluster = cluster
        self._reactor = cluster.reactor
        self._max_wait_ms = max_wait_ms
        self._min_bytes = min_bytes
        self._max_bytes = max_bytes
        self._partition_max_bytes = partition_max_bytes
        self._queue_bytes = queue_bytes
        self._check_crc = check_crc
        self._partitions: dict[TopicPartition, _Partition] = {}
        self._queue: deque[Fetched] = deque()
        self._queued_bytes = 0
        self._fetching: dict[int, None] = {}
        self._failed: deque[KafkaError] = deque()
        self._waiting: list[Pending[None]] = []
        self._pump_is_scheduled = False
        self._is_closed = False
        cluster.on_metadata.append(self._schedule)

    # ---- what callers do

    def assign(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Read these partitions from these offsets on, and no others. What was fetched before is dropped."""
        self._partitions = {key: _Partition(*key, offset) for key, offset in offsets.items()}
        self._queue.clear()
        self._failed.clear()
        self._queued_bytes = 0
        self._schedule()

    def offsets(
        self, timestamps_ms: Mapping[TopicPartition, int], *, timeout_ms: int = 30_000
    ) -> Pending[dict[TopicPartition, int]]:
        """Find each partition's first offset at or after a timestamp (EARLIEST, LATEST, or ms), or its end."""
        return self._reactor.spawn(self._offsets(timestamps_ms, timeout_ms))

    def poll(self) -> list[Fetched]:
        """Take what has arrived, in order within each partition; an empty list when that is nothing. Raises what fetching met.

        An error concerns one partition, which is not read any further: OffsetOutOfRange, UnknownTopicOrPartition, CorruptMessage.
        """
        if self._failed and not self._queue:
            raise self._failed.popleft()
        taken = list(self._queue)
        self._queue.clear()
        self._queued_bytes = 0
        self._schedule()
        return taken

    @property
    def has_data(self) -> bool:
        """Whether `poll` would return something."""
        return bool(self._queue)

    def ready(self) -> Pending[None]:
        """Complete when `poll` would return or raise something."""
        waiter: Pending[None] = self._reactor.pending()
        if self._queue or self._failed:
            waiter.complete(None)
        else:
            self._waiting.append(waiter)
        return waiter

    def high_watermark(self, topic: str, partition: int) -> int:
        """Return the end of a partition as the last answer told it, -1 before the first."""
        return self._partitions[topic, partition].high_watermark

    def position(self, topic: str, partition: int) -> int:
        """Return the offset that is fetched next."""
        return self._partitions[topic, partition].position

    def close(self) -> None:
        """Fetch no more."""
        if not self._is_closed:
            self._is_closed = True
            self._cluster.on_metadata.remove(self._schedule)

    # ---- offsets by time

    def _offsets(self, timestamps_ms: Mapping[TopicPartition, int], timeout_ms: int) -> Flow[dict[TopicPartition, int]]:
        deadline_ns = self._reactor.clock.monotonic_ns() + timeout_ms * NANOSECONDS_PER_MILLISECOND
        found: dict[TopicPartition, int] = {}
        for topic in dict.fromkeys(topic for topic, _ in timestamps_ms):
            if topic not in self._cluster.topics:
                yield self._cluster.topic(topic, timeout_ms=timeout_ms)
        while True:
            missing = {key: timestamp for key, timestamp in timestamps_ms.items() if key not in found}
            if not missing:
                return found
            failure: KafkaError | None = None
            for leader, keys in self._by_leader(missing).items():
                request = self._list_offsets_request({key: missing[key] for key in keys})
                try:
                    answer = yield self._cluster.call(leader, request, ListOffsetsResponse)
                    failure = self._learn_offsets(answer, found) or failure
                except KafkaError as error:
                    failure = error
            # No record at or after the timestamp is said by offset -1: then it is the end that counts.
            ends = {key: LATEST for key, offset in found.items() if offset < 0 and timestamps_ms[key] != LATEST}
            if ends:
                left_ms = max(0, deadline_ns - self._reactor.clock.monotonic_ns()) // NANOSECONDS_PER_MILLISECOND
                found.update((yield self.offsets(ends, timeout_ms=left_ms)))
            if all(key in found for key in timestamps_ms):
                return found
            if failure is not None and not failure.retriable:
                raise failure
            if self._reactor.clock.monotonic_ns() >= deadline_ns:
                raise failure or UnknownTopicOrPartition(f"no leader for {', '.join(f'{t}-{p}' for t, p in missing)}")
            yield self._cluster.sleep(self._cluster.retry_backoff_ms)
            yield self._cluster.refresh(list(dict.fromkeys(topic for topic, _ in missing)))

    def _by_leader(self, keys: Mapping[TopicPartition, int]) -> dict[int, list[TopicPartition]]:
        by_leader: dict[int, list[TopicPartition]] = {}
        for topic, index in keys:
            known = self._cluster.topics.get(topic)
            if known is not None and not 0 <= index < len(known.leaders):
                raise UnknownTopicOrPartition(f"{topic} has {len(known.leaders)} partitions, none is {index}")
            if known is not None and known.leaders[index] >= 0:
                by_leader.setdefault(known.leaders[index], []).append((topic, index))
        return by_leader

    def _list_offsets_request(self, timestamps_ms: Mapping[TopicPartition, int]) -> ListOffsetsRequest:
        topics: dict[str, ListOffsetsRequest.ListOffsetsTopic] = {}
        for (topic, index), timestamp_ms in timestamps_ms.items():
            if topic not in topics:
                topics[topic] = ListOffsetsRequest.ListOffsetsTopic(name=topic)
            topics[topic].partitions.append(
                ListOffsetsRequest.ListOffsetsPartition(partition_index=index, timestamp=timestamp_ms)
            )
        return ListOffsetsRequest(replica_id=CONSUMER_REPLICA_ID, topics=list(topics.values()))

    @staticmethod
    def _learn_offsets(answer: ListOffsetsResponse, found: dict[TopicPartition, int]) -> KafkaError | None:
        failure = None
        for topic in answer.topics:
            for partition in topic.partitions:
                if partition.error_code:
                    failure = error_for_code(partition.error_code)
                else:
                    found[topic.name, partition.partition_index] = partition.offset
        return failure

    # ---- fetching

    def _schedule(self) -> None:
        if not self._pump_is_scheduled and not self._is_closed:
            self._pump_is_scheduled = True
            self._reactor.call_soon(self._pump)

    def _pump(self) -> None:
        """Send a fetch to each leader that has none under way, as long as there is room for what comes."""
        self._pump_is_scheduled = False
        if self._is_closed or self._queued_bytes >= self._queue_bytes:
            return
        now_ns = self._reactor.clock.monotonic_ns()
        by_leader: dict[int, list[_Partition]] = {}
        for partition in self._partitions.values():
            if partition.error is not None or partition.retry_at_ns > now_ns:
                continue
            known = self._cluster.topics.get(partition.topic)
            leader = known.leaders[partition.index] if known is not None and partition.index < len(known.leaders) else -1
            if known is None and isinstance(gone := self._cluster.topic_error(partition.topic), UnknownTopicOrPartition):
                self._on_error(partition, gone, refresh=False)
            elif known is not None and partition.topic_id not in (None, known.topic_id):
                self._on_error(partition, UnknownTopicId("the topic was deleted and made anew"), refresh=False)
            elif leader < 0:
                self._cluster.refresh_soon(partition.topic)
            elif leader not in self._fetching:
                by_leader.setdefault(leader, []).append(partition)
        for leader, partitions in by_leader.items():
            self._fetch(leader, partitions)
        self._tell()

    def _tell(self) -> None:
        if self._queue or self._failed:
            waiting, self._waiting = self._waiting, []
            for waiter in waiting:
                waiter.complete(None)

    def _fetch(self, leader: int, partitions: Sequence[_Partition]) -> None:
        topics: dict[str, FetchRequest.FetchTopic] = {}
        asked: dict[tuple[str | bytes, int], tuple[_Partition, int]] = {}
        for partition in partitions:
            known = self._cluster.topics[partition.topic]
            partition.topic_id = known.topic_id
            if partition.topic not in topics:
                topics[partition.topic] = FetchRequest.FetchTopic(topic=partition.topic, topic_id=known.topic_id)
            topics[partition.topic].partitions.append(
                FetchRequest.FetchPartition(
                    partition=partition.index,
                    current_leader_epoch=known.epochs[partition.index],
                    fetch_offset=partition.position,
                    partition_max_bytes=self._partition_max_bytes,
                )
            )
            asked[partition.topic, partition.index] = asked[known.topic_id, partition.index] = partition, partition.position
        request = FetchRequest(
            max_wait_ms=self._max_wait_ms,
            min_bytes=self._min_bytes,
            max_bytes=self._max_bytes,
            session_epoch=FULL_FETCH_EPOCH,
            topics=list(topics.values()),
        )
        self._fetching[leader] = None
        timeout_ms = self._max_wait_ms + self._cluster.request_timeout_ms
        answer = self._cluster.call(leader, request, FetchResponse, timeout_ms)
        answer.then(lambda settled: self._on_answer(leader, asked, settled))

    def _on_answer(
        self,
        leader: int,
        asked: Mapping[tuple[str | bytes, int], tuple[_Partition, int]],
        settled: Pending[FetchResponse],
    ) -> None:
        self._fetching.pop(leader, None)
        if self._is_closed:
            return
        self._schedule()
        try:
            answer = settled.result()
            if answer.error_code:
                raise error_for_code(answer.error_code)
        except KafkaError as error:
            for partition in dict.fromkeys(partition for partition, _ in asked.values()):
                self._on_error(partition, error, refresh=True)
        else:
            for topic in answer.responses:
                for result in topic.partitions:
                    found = asked.get((topic.topic or topic.topic_id, result.partition_index))
                    # What was assigned anew meanwhile is fetched anew.
                    if found is not None and self._is_current(*found):
                        self._take(found[0], result)
        self._tell()

    def _is_current(self, partition: _Partition, position: int) -> bool:
        return self._partitions.get((partition.topic, partition.index)) is partition and partition.position == position

    def _take(self, partition: _Partition, result: FetchResponse.PartitionData) -> None:
        if result.error_code:
            self._on_error(partition, error_for_code(result.error_code), refresh=True)
            return
        partition.high_watermark = result.high_watermark
        partition.log_start_offset = result.log_start_offset
        if not result.records:
            return
        try:
            batches = scan(result.records, check_crc=self._check_crc, check_records=False, allow_partial=True, compacted=True)
        except CorruptBatch as error:
            self._on_error(partition, CorruptMessage(str(error)), refresh=False)
            return
        for batch in batches:
            if batch.last_offset < partition.position:
                continue
            if not batch.is_control:
                fetched = Fetched(partition.topic, partition.index, batch, partition.position, result.high_watermark)
                self._queue.append(fetched)
                self._queued_bytes += len(batch)
            partition.position = batch.last_offset + 1

    def _on_error(self, partition: _Partition, error: KafkaError, *, refresh: bool) -> None:
        """Try again later, or tell the caller and leave the partition alone."""
        if self._partitions.get((partition.topic, partition.index)) is not partition:
            return
        gone = isinstance(error, UnknownTopicOrPartition)
        if isinstance(error, RetriableError) and refresh and not gone:
            partition.retry_at_ns = (
                self._reactor.clock.monotonic_ns() + self._cluster.retry_backoff_ms * NANOSECONDS_PER_MILLISECOND
            )
            self._reactor.call_later(self._cluster.retry_backoff_ms, self._schedule)
            self._cluster.refresh_soon(partition.topic)
            return
        place = f"{partition.topic}-{partition.index} at offset {partition.position}"
        if isinstance(error, OffsetOutOfRange):
            place += (
                f" (the log is {partition.log_start_offset} to {partition.high_watermark})"
                if partition.high_watermark >= 0
                else ""
            )
        partition.error = type(error)(f"{place}: {error}")
        self._failed.append(partition.error)
