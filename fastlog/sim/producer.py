"""A producer of the workload: idempotent or not, acks 0, 1 or all, pipelined over several partitions, retrying as clients do.

Rules of Kafka's Java producer that matter to the checker: at most five requests in flight to a partition; an idempotent
producer sends a batch again with its sequence until it is answered, and an earlier batch before a later one; a gap in the
broker's memory of its sequences (possible only when acknowledged records were lost) makes it give up what is unanswered and
begin anew with a new producer id. DUPLICATE_SEQUENCE_NUMBER means that the batch is in the log, at an offset nobody remembers.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from fastlog import _core, errors
from fastlog.codecs import NAMES, NONE, compress
from fastlog.sim.peer import TOPIC_ID_SINCE, ConnectionLost, Peer
from fastlog.wire.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from fastlog.wire.messages.produce import ProduceRequest, ProduceResponse
from fastlog.wire.schema import ZERO_UUID

if TYPE_CHECKING:
    from fastlog.env.reactor import Pending
    from fastlog.sim.checker import Checker, Place, Sent
    from fastlog.sim.entropy import Entropy
    from fastlog.sim.process import Process

MOST_IN_FLIGHT = 5
MOST_RECORDS = 6
MOST_VALUE_BYTES = 400
MOST_ATTEMPTS = 30
MOST_PAUSE_MS = 60
PRODUCE_TIMEOUT_MS = 1_500
CORRUPT_PERCENT = 3
COMPRESSED_PERCENT = 30
SEQUENCES = 1 << 31

RETRIABLE = (
    errors.NotLeaderOrFollower.code,
    errors.UnknownTopicOrPartition.code,
    errors.UnknownTopicId.code,
    errors.LeaderNotAvailable.code,
    errors.KafkaStorageError.code,
    errors.RequestTimedOut.code,
    errors.NotEnoughReplicas.code,
    errors.NotEnoughReplicasAfterAppend.code,
)
OUT_OF_SEQUENCE = (errors.OutOfOrderSequenceNumber.code, errors.UnknownProducerId.code, errors.InvalidProducerEpoch.code)


class _Batch:
    """One batch under way: what the checker knows of it, its bytes, and whether it is in flight."""

    __slots__ = ("base_sequence", "content", "in_flight", "sent", "was_overtaken")

    def __init__(self, sent: Sent, content: bytes, base_sequence: int) -> None:
        self.sent = sent
        self.content = content
        self.base_sequence = base_sequence
        self.in_flight = False
        self.was_overtaken = False
        """A later batch was acknowledged before this one."""


class _Lane:
    """One partition as this producer sees it: what is not answered yet, in the order of sending."""

    __slots__ = ("batches", "next_sequence", "place")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.batches: deque[_Batch] = deque()
        self.next_sequence = 0

    def next_to_send(self) -> _Batch | None:
        """Return the first batch that waits, unless a later one is in flight: then its answer comes first."""
        waiting = None
        for batch in self.batches:
            if batch.in_flight:
                if waiting is not None:
                    return None
            elif waiting is None:
                waiting = batch
        return waiting

    def acknowledge(self, batch: _Batch) -> None:
        """Let an acknowledged batch go, and note that it has overtaken those before it."""
        for earlier in self.batches:
            if earlier is batch:
                break
            earlier.was_overtaken = True
        self.batches.remove(batch)

    @property
    def in_flight(self) -> int:
        return sum(batch.in_flight for batch in self.batches)


class Producer:
    """Sends `batch_count` batches to the partitions of `topics` and sees each of them to its end."""

    def __init__(
        self,
        process: Process,
        checker: Checker,
        entropy: Entropy,
        address: tuple[str, int],
        topics: dict[str, int],
        *,
        idempotent: bool,
        acks: int,
        batch_count: int,
    ) -> None:
        self.unsent = batch_count
        self.answered_count = 0
        self._process = process
        self._reactor = process.reactor
        self._checker = checker
        self._entropy = entropy
        self._address = address
        self._topics = topics
        self._topic_ids: dict[str, bytes] = {}
        self._idempotent = idempotent
        self._acks = acks
        self._in_flight_limit = entropy.between(1, MOST_IN_FLIGHT)
        self._pause_ms = entropy.choose((0, 0, 2, 20))
        self._lanes = [_Lane((topic, number)) for topic, count in topics.items() for number in range(count)]
        self._producer = (-1, -1)
        self._peer: Peer | None = None
        self._wanted: Pending[None] | None = None
        self._refused = False
        self._losses_known = 0

    @property
    def is_done(self) -> bool:
        """Tell whether every batch was sent and answered, refused or given up."""
        return self.unsent == 0 and not any(lane.batches for lane in self._lanes)

    def send_more(self, batch_count: int) -> None:
        """Send so many batches more."""
        self.unsent += batch_count
        self._go_on()
        self._process.touch()

    def start(self) -> None:
        """Begin; the producer goes on by itself, for ever: when it is done it waits for more to send."""
        self._reactor.spawn(self._live()).then(lambda outcome: outcome.result())

    def _live(self) -> Any:
        while True:
            try:
                yield from self._connect()
                yield from self._send_until_lost()
            except ConnectionLost:
                pass
            self._lose_connection()
            yield from self._pause(1 + self._entropy.below(MOST_PAUSE_MS))

    def _connect(self) -> Any:
        peer = self._peer = Peer(self._process, self._entropy, *self._address)
        yield from peer.connect()
        for name in self._topics:
            while True:
                topic = yield from peer.topic(name)
                if topic is not None:
                    break
                yield from self._pause(1 + self._entropy.below(MOST_PAUSE_MS))
            self._topic_ids[name] = topic[0]
        if self._idempotent and self._producer[0] < 0:
            yield from self._begin_anew(peer)

    def _begin_anew(self, peer: Peer) -> Any:
        """Get a producer id; a batch that was made for another one is given up."""
        version = peer.version(InitProducerIdRequest)
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=60_000)
        while True:
            answer = yield peer.request(request, InitProducerIdResponse, version)
            if answer.error_code == errors.NONE:
                break
            yield from self._pause(1 + self._entropy.below(MOST_PAUSE_MS))
        self._producer = (answer.producer_id, answer.producer_epoch)
        self._losses_known = self._checker.losses
        for lane in self._lanes:
            lane.batches.clear()
            lane.next_sequence = 0

    def _send_until_lost(self) -> Any:
        peer = self._peer
        assert peer is not None
        while True:
            if self._idempotent and self._producer[0] < 0:
                raise ConnectionLost("a new producer id is needed, and nothing of the old one may be in flight")
            if self._refused:
                self._refused = False
                yield from self._pause(1 + self._entropy.below(MOST_PAUSE_MS))
            if not peer.is_open:
                raise ConnectionLost("while sending")
            if not self._send_something(peer):
                self._wanted = self._reactor.pending()
                yield self._wanted
            elif self._pause_ms:
                yield from self._pause(self._entropy.between(0, self._pause_ms))

    def _send_something(self, peer: Peer) -> bool:
        """Send one request with a batch for one or more partitions; False when there is nothing to send now."""
        lanes = list(self._lanes)
        self._entropy.shuffle(lanes)
        most = self._entropy.between(1, len(lanes))
        chosen: list[tuple[_Lane, _Batch]] = []
        for lane in lanes:
            batch = self._next_batch(lane) if len(chosen) < most else None
            if batch is not None:
                chosen.append((lane, batch))
        if not chosen:
            return False
        version = peer.version(ProduceRequest)
        topics: dict[str, list[ProduceRequest.PartitionProduceData]] = {}
        for lane, batch in chosen:
            topic, number = lane.place
            batch.in_flight = True
            topics.setdefault(topic, []).append(ProduceRequest.PartitionProduceData(index=number, records=batch.content))
        request = ProduceRequest(
            acks=self._acks,
            timeout_ms=PRODUCE_TIMEOUT_MS,
            topic_data=[
                ProduceRequest.TopicProduceData(
                    name=topic if version < TOPIC_ID_SINCE else "",
                    topic_id=self._topic_ids[topic] if version >= TOPIC_ID_SINCE else ZERO_UUID,
                    partition_data=partitions,
                )
                for topic, partitions in topics.items()
            ],
        )
        if self._acks == 0:
            peer.tell(request, version)
            for lane, batch in chosen:
                lane.batches.remove(batch)
        else:
            peer.request(request, ProduceResponse, version).then(partial(self._answered, chosen))
        return True

    def _next_batch(self, lane: _Lane) -> _Batch | None:
        """Return the batch that a partition may send now: one to be sent again, or a new one."""
        if lane.in_flight >= self._in_flight_limit:
            return None
        if any(not batch.in_flight for batch in lane.batches):
            batch = lane.next_to_send()
            if batch is not None:
                batch.sent.attempts += 1
            return batch
        if self.unsent == 0:
            return None
        self.unsent -= 1
        batch = self._make_batch(lane)
        lane.batches.append(batch)
        return batch

    def _make_batch(self, lane: _Lane) -> _Batch:
        entropy = self._entropy
        count = entropy.between(1, MOST_RECORDS)

        def make_values(number: int) -> list[bytes]:
            return [
                b"%d.%d." % (number, index) + entropy.random_bytes(8) * entropy.below(MOST_VALUE_BYTES // 8)
                for index in range(count)
            ]

        base_sequence = lane.next_sequence if self._idempotent else -1
        sent = self._checker.send(lane.place, make_values, idempotent=self._idempotent, acks=self._acks)
        builder = _core.BatchBuilder(producer_id=self._producer[0], producer_epoch=self._producer[1], base_sequence=base_sequence)
        now_ms = sent.timestamp_ms = self._process.clock.wall_ms()
        for value in sent.values:
            builder.append(now_ms, b"%d" % sent.number, value)
        codec = entropy.between(1, len(NAMES) - 1) if entropy.chance(COMPRESSED_PERCENT) else NONE
        content = builder.build() if codec == NONE else builder.build(compress(codec, builder.payload()), codec)
        if self._idempotent:
            lane.next_sequence = (lane.next_sequence + count) % SEQUENCES
        elif entropy.chance(CORRUPT_PERCENT):
            self._checker.refuse(sent)
            damaged = bytearray(content)
            damaged[entropy.between(_core.BATCH_OVERHEAD_BYTES, len(content) - 1)] ^= 1 << entropy.below(8)
            content = bytes(damaged)
        return _Batch(sent, content, base_sequence)

    def _answered(self, chosen: list[tuple[_Lane, _Batch]], settled: Pending[ProduceResponse]) -> None:
        try:
            answer = settled.result()
        except ConnectionLost:
            for _, batch in chosen:
                batch.in_flight = False
            self._drop_hopeless()
        else:
            names = {topic_id: name for name, topic_id in self._topic_ids.items()}
            results = {
                (topic.name or names[topic.topic_id], partition.index): partition
                for topic in answer.responses
                for partition in topic.partition_responses
            }
            for lane, batch in chosen:
                batch.in_flight = False
                if batch in lane.batches:
                    result = results[lane.place]
                    self._take_result(lane, batch, result.error_code, result.base_offset)
        self._go_on()

    def _take_result(self, lane: _Lane, batch: _Batch, error_code: int, base_offset: int) -> None:
        sent = batch.sent
        if error_code == errors.NONE:
            lane.acknowledge(batch)
            self.answered_count += 1
            self._checker.acknowledge(sent, base_offset)
        elif error_code == errors.DuplicateSequenceNumber.code and sent.attempts > 1:
            lane.acknowledge(batch)
            self.answered_count += 1
            self._checker.acknowledge_somewhere(sent)
        elif error_code == errors.CorruptMessage.code and sent.refused:
            lane.batches.remove(batch)
        elif error_code in OUT_OF_SEQUENCE and self._idempotent:
            if lane.batches[0] is batch:
                # The first may be overtaken: a broker takes any sequence of an unknown producer. And a broker remembers five
                # batches: when later ones were acknowledged already, it may have forgotten that it has this one.
                if batch.base_sequence > 0 and not batch.was_overtaken:
                    self._checker.sequence_gap(sent, self._losses_known)
                self._producer = (-1, -1)
        elif error_code in RETRIABLE:
            self._refused = True
            self._drop_hopeless()
            if self._peer is not None and self._entropy.chance(10):
                self._peer.close()
        else:
            self._checker.unexpected(sent.place, "Produce", error_code)

    def _drop_hopeless(self) -> None:
        """Give up what is not idempotent and was refused or tried too often; an idempotent producer never leaves a gap."""
        if self._idempotent:
            return
        for lane in self._lanes:
            lane.batches = deque(
                batch
                for batch in lane.batches
                if batch.in_flight or not (batch.sent.refused or batch.sent.attempts >= MOST_ATTEMPTS)
            )

    def _lose_connection(self) -> None:
        if self._peer is not None:
            self._peer.close()
            self._peer = None

    def _go_on(self) -> None:
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            wanted.complete(None)

    def _pause(self, duration_ms: float) -> Any:
        pending = self._reactor.pending()
        self._reactor.call_later(duration_ms, pending.complete, None)
        yield pending
