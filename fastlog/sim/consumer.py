"""A consumer of the workload: reads every partition from its start by long polls, with fetch sessions or without.

It checks nothing by itself but the protocol; every batch and offset goes to the checker. Its positions outlive its connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastlog import _core, errors
from fastlog.sim.ondisk import valid_batches
from fastlog.sim.peer import TOPIC_ID_SINCE, ConnectionLost, Peer
from fastlog.wire.messages.fetch import FetchRequest, FetchResponse
from fastlog.wire.messages.list_offsets import ListOffsetsRequest, ListOffsetsResponse
from fastlog.wire.schema import ZERO_UUID

if TYPE_CHECKING:
    from fastlog.sim.checker import Checker, Place
    from fastlog.sim.entropy import Entropy
    from fastlog.sim.process import Process

MOST_PAUSE_MS = 60
MOST_WAIT_MS = 300
SESSIONS_SINCE = 7
LATEST = -1
EARLIEST = -2

RETRIABLE = (
    errors.NotLeaderOrFollower.code,
    errors.UnknownTopicOrPartition.code,
    errors.UnknownTopicId.code,
    errors.LeaderNotAvailable.code,
    errors.KafkaStorageError.code,
    errors.FencedLeaderEpoch.code,
    errors.UnknownLeaderEpoch.code,
    errors.FetchSessionTopicIdError.code,
)
SESSION_GONE = (errors.FetchSessionIdNotFound.code, errors.InvalidFetchSessionEpoch.code)


class Consumer:
    """Polls every partition of `topics` for ever."""

    def __init__(
        self, process: Process, checker: Checker, entropy: Entropy, address: tuple[str, int], topics: dict[str, int]
    ) -> None:
        self.polls = 0
        self._process = process
        self._reactor = process.reactor
        self._checker = checker
        self._entropy = entropy
        self._address = address
        self._topics = topics
        self._topic_ids: dict[str, bytes] = {}
        self._epochs: dict[Place, int] = {}
        self._positions: dict[Place, int] = {(topic, number): 0 for topic, count in topics.items() for number in range(count)}
        self._out_of_range: dict[Place, None] = {}
        self._uses_sessions = entropy.chance(60)
        self._tells_epoch = entropy.chance(50)

    def position(self, place: Place) -> int:
        """Return the offset up to which a partition was read."""
        return self._positions[place]

    def truncated(self, ends: dict[Place, int]) -> None:
        """Take it that logs are no longer than this: a lost machine has lost what lay beyond."""
        for place, end in ends.items():
            if place in self._positions:
                self._positions[place] = min(self._positions[place], end)

    def go_back(self, place: Place, offset: int) -> None:
        """Read again from an offset on, where it was read already."""
        self._positions[place] = min(self._positions[place], offset)

    def start(self) -> None:
        """Begin; the consumer goes on by itself."""
        self._reactor.spawn(self._live()).then(lambda outcome: outcome.result())

    def _live(self) -> Any:
        while True:
            peer = Peer(self._process, self._entropy, *self._address)
            try:
                yield from self._connect(peer)
                yield from self._poll_until_lost(peer)
            except ConnectionLost:
                pass
            peer.close()
            yield from self._pause()

    def _connect(self, peer: Peer) -> Any:
        yield from peer.connect()
        for name in self._topics:
            while True:
                topic = yield from peer.topic(name)
                if topic is not None:
                    break
                yield from self._pause()
            self._topic_ids[name] = topic[0]
            for number, epoch in topic[2].items():
                self._epochs[name, number] = epoch if self._tells_epoch else -1
        ends = yield from self._offsets(peer, LATEST)
        for place, end in ends.items():
            self._checker.served(place, end, end)  # they are high watermarks
        if self._out_of_range:
            starts = yield from self._offsets(peer, EARLIEST)
            for place in [place for place in self._out_of_range if place in starts]:
                del self._out_of_range[place]
                self._positions[place] = self._checker.go_on_at(place, self._positions[place], starts[place])

    def _offsets(self, peer: Peer, timestamp: int) -> Any:
        """Ask for the latest or the earliest offsets; return those that were told."""
        version = peer.version(ListOffsetsRequest, least=1)
        topics = [
            ListOffsetsRequest.ListOffsetsTopic(
                name=topic,
                partitions=[
                    ListOffsetsRequest.ListOffsetsPartition(partition_index=number, timestamp=timestamp)
                    for number in range(count)
                ],
            )
            for topic, count in self._topics.items()
        ]
        answer = yield peer.request(ListOffsetsRequest(replica_id=-1, topics=topics), ListOffsetsResponse, version)
        offsets: dict[Place, int] = {}
        for found in answer.topics:
            for partition in found.partitions:
                place = (found.name, partition.partition_index)
                if partition.error_code == errors.NONE:
                    offsets[place] = partition.offset
                elif partition.error_code not in RETRIABLE:
                    self._checker.unexpected(place, "ListOffsets", partition.error_code)
        return offsets

    def _poll_until_lost(self, peer: Peer) -> Any:
        version = peer.version(FetchRequest)
        session_id, session_epoch = 0, 0 if self._uses_sessions and version >= SESSIONS_SINCE else -1
        told: dict[Place, int] = {}
        while True:
            asked = dict(self._positions)
            changed = {place: position for place, position in asked.items() if told.get(place) != position}
            request = self._request(version, changed if session_epoch > 0 else asked, session_id, session_epoch)
            answer = yield peer.request(request, FetchResponse, version)
            self.polls += 1
            if answer.error_code in SESSION_GONE:
                session_id, session_epoch, told = 0, 0, {}
                continue
            if answer.error_code not in (errors.NONE, *RETRIABLE):
                self._checker.unexpected(("*", -1), "Fetch", answer.error_code)
            is_full = session_epoch <= 0
            if session_epoch >= 0 and answer.error_code == errors.NONE:
                told.update(asked)
                session_id = answer.session_id
                session_epoch = session_epoch + 1 if session_id else -1
            is_readable = self._take(answer, asked, is_full=is_full)
            if self._positions == asked:
                yield from self._pause()
            if not is_readable:
                raise ConnectionLost("the broker's leaders are not what they were")
            if self._entropy.chance(2):
                raise ConnectionLost("begin anew now and then")

    def _request(self, version: int, positions: dict[Place, int], session_id: int, session_epoch: int) -> FetchRequest:
        topics: dict[str, list[FetchRequest.FetchPartition]] = {}
        for (topic, number), position in positions.items():
            topics.setdefault(topic, []).append(
                FetchRequest.FetchPartition(
                    partition=number,
                    current_leader_epoch=self._epochs[topic, number],
                    fetch_offset=position,
                    partition_max_bytes=self._entropy.choose((1, 500, 4_000, 1 << 20)),
                )
            )
        return FetchRequest(
            max_wait_ms=self._entropy.between(0, MOST_WAIT_MS),
            min_bytes=self._entropy.choose((0, 1, 1, 2_000)),
            max_bytes=self._entropy.choose((1, 5_000, 1 << 20)),
            isolation_level=self._entropy.below(2),
            session_id=session_id,
            session_epoch=session_epoch,
            topics=[
                FetchRequest.FetchTopic(
                    topic=topic if version < TOPIC_ID_SINCE else "",
                    topic_id=self._topic_ids[topic] if version >= TOPIC_ID_SINCE else ZERO_UUID,
                    partitions=partitions,
                )
                for topic, partitions in topics.items()
            ],
        )

    def _take(self, answer: FetchResponse, asked: dict[Place, int], *, is_full: bool) -> bool:
        """Hand what was fetched to the checker; False when a partition cannot be read now."""
        names = {topic_id: name for name, topic_id in self._topic_ids.items()}
        is_readable = answer.error_code == errors.NONE
        answered: dict[Place, bool] = {}
        for topic in answer.responses:
            for partition in topic.partitions:
                place = (topic.topic or names[topic.topic_id], partition.partition_index)
                position = asked[place]
                answered[place] = True
                if self._positions[place] != position:
                    continue  # a lost machine has set the position back meanwhile
                if partition.error_code in RETRIABLE:
                    is_readable = False
                elif partition.error_code == errors.OffsetOutOfRange.code:
                    self._checker.out_of_range(place, position)
                    self._out_of_range[place] = None
                    is_readable = False
                elif partition.error_code == errors.CorruptMessage.code:
                    self._positions[place] = self._checker.damage_found(place, position, errors.CorruptMessage())
                elif partition.error_code != errors.NONE:
                    self._checker.unexpected(place, "Fetch", partition.error_code)
                else:
                    self._take_records(place, position, partition)
        if is_full and is_readable and len(answered) != len(asked):
            self._checker.unexpected(("*", -1), "Fetch of all partitions, but not all of them", answer.error_code)
        return is_readable

    def _take_records(self, place: Place, position: int, partition: FetchResponse.PartitionData) -> None:
        batches: list[_core.Batch] = []
        corrupt: _core.CorruptBatch | None = None
        if partition.records is not None:
            try:
                batches = _core.scan(partition.records, allow_partial=True)
            except _core.CorruptBatch as error:
                corrupt, batches = error, valid_batches(bytes(partition.records))
        position = self._checker.poll(place, position, batches, partition.high_watermark, partition.last_stable_offset)
        self._positions[place] = position if corrupt is None else self._checker.damage_found(place, position, corrupt)

    def _pause(self) -> Any:
        pending = self._reactor.pending()
        self._reactor.call_later(1 + self._entropy.below(MOST_PAUSE_MS), pending.complete, None)
        yield pending
