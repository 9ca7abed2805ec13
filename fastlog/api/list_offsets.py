"""ListOffsets (key 2): offsets by time, and the ends of partitions.

Versions 1-11. 1: one offset for each partition (KIP-79). 2: isolation level. 3: throttling answers first (KIP-219). 4: leader
epochs (KIP-320). 5: as 4. 6: flexible. 7: -3, the record with the greatest timestamp (KIP-734). 8: -4, the first offset on this
broker's disk (KIP-405). 9: -5, the last one in the second tier (KIP-1005). 10: a timeout for looking into the second tier
(KIP-1075); there is none, so nothing waits. 11: -6, the first one not yet in the second tier (KIP-1023).
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from fastlog import codecs
from fastlog.api.context import OPERATION_DESCRIBE, RESOURCE_TOPIC, RequestContext
from fastlog.api.hosted import why_not_hosted
from fastlog.api.registry import Api
from fastlog.errors import (
    CorruptMessage,
    CorruptRecord,
    InvalidRequest,
    KafkaError,
    RequestTimedOut,
    TopicAuthorizationFailed,
    UnsupportedVersion,
)
from fastlog.replication.partition import (
    EARLIEST_LOCAL_TIMESTAMP,
    EARLIEST_PENDING_UPLOAD_TIMESTAMP,
    EARLIEST_TIMESTAMP,
    LATEST_TIERED_TIMESTAMP,
    LATEST_TIMESTAMP,
    MAX_TIMESTAMP,
)
from fastlog.wire.messages.list_offsets import ListOffsetsRequest, ListOffsetsResponse

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from fastlog.env.reactor import Flow, Pending, Reactor
    from fastlog.metadata.view import ClusterView
    from fastlog.replication.partition_set import PartitionSet
    from fastlog.storage.log import Search

SINCE_VERSION: Final = {
    LATEST_TIMESTAMP: 1,
    EARLIEST_TIMESTAMP: 1,
    MAX_TIMESTAMP: 7,
    EARLIEST_LOCAL_TIMESTAMP: 8,
    LATEST_TIERED_TIMESTAMP: 9,
    EARLIEST_PENDING_UPLOAD_TIMESTAMP: 11,
}
"""From which version on a negative timestamp has its meaning."""

SEARCHES_PER_TURN: Final = 20
"""Partitions that are looked at for a time in one turn: each costs some reads of files."""

logger = logging.getLogger(__name__)

Partition = ListOffsetsResponse.ListOffsetsPartitionResponse
Topic = ListOffsetsResponse.ListOffsetsTopicResponse


def _decompress(codec: int, payload: Buffer) -> Buffer:
    try:
        return codecs.decompress(codec, payload)
    except CorruptRecord as error:
        logger.error("a compressed batch cannot be searched for a timestamp: %s", error)
        raise CorruptMessage(str(error)) from None


class ListOffsetsHandler:
    """Finds offsets."""

    def __init__(self, reactor: Reactor, partitions: PartitionSet, view: ClusterView) -> None:
        self._reactor = reactor
        self._partitions = partitions
        self._view = view

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(2, "ListOffsets", 1, 11, self.handle, self.refuse)

    def handle(self, context: RequestContext, request: ListOffsetsRequest) -> Pending[ListOffsetsResponse]:
        """Answer for every partition by itself."""
        return self._reactor.spawn(self._look_all(context, request))

    def _look_all(self, context: RequestContext, request: ListOffsetsRequest) -> Flow[ListOffsetsResponse]:
        times_asked = Counter((topic.name, one.partition_index) for topic in request.topics for one in topic.partitions)
        topics = []
        searched_count = 0
        for topic in request.topics:
            is_allowed = context.authorize(OPERATION_DESCRIBE, RESOURCE_TOPIC, topic.name)
            partitions = []
            for one in {one.partition_index: one for one in topic.partitions}.values():
                try:
                    if not is_allowed:
                        raise TopicAuthorizationFailed
                    if times_asked[topic.name, one.partition_index] > 1:
                        raise InvalidRequest
                    if one.timestamp >= 0 or one.timestamp == MAX_TIMESTAMP:
                        searched_count += 1
                        if searched_count % SEARCHES_PER_TURN == 0:
                            yield self._reactor.next_turn()
                    partitions.append((yield from self._look(context, request.isolation_level, topic.name, one)))
                except KafkaError as error:
                    partitions.append(Partition(partition_index=one.partition_index, error_code=error.code))
            if partitions:  # Kafka doesn't tell of a topic of which nothing was asked
                topics.append(Topic(name=topic.name, partitions=partitions))
        return ListOffsetsResponse(topics=topics, throttle_time_ms=context.throttle("request", 1))

    def _look(
        self, context: RequestContext, isolation_level: int, topic: str, asked: ListOffsetsRequest.ListOffsetsPartition
    ) -> Flow[Partition]:
        if asked.timestamp < 0 and context.api_version < SINCE_VERSION.get(asked.timestamp, 1 << 15):
            raise UnsupportedVersion
        partition = self._partitions.get(topic, asked.partition_index)
        if partition is None:
            return Partition(
                partition_index=asked.partition_index, error_code=why_not_hosted(self._view, topic, asked.partition_index)
            )
        steps = partition.list_offset_steps(
            asked.timestamp, isolation_level, _decompress, current_leader_epoch=asked.current_leader_epoch
        )
        timestamp, offset, leader_epoch = yield from self._search(context, steps)
        has_epochs = context.api_version >= 4
        return Partition(
            partition_index=asked.partition_index,
            timestamp=timestamp,
            offset=offset,
            leader_epoch=leader_epoch if has_epochs else -1,
        )

    def _search(self, context: RequestContext, steps: Search[tuple[int, int, int]]) -> Flow[tuple[int, int, int]]:
        """Take the steps of a search, one a turn; a client that has gone wants to know no more."""
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                found: tuple[int, int, int] = stop.value
                return found
            yield self._reactor.next_turn()
            if context.origin.closed:
                raise RequestTimedOut

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> ListOffsetsResponse:
        """Return the answer that tells every partition of an error."""
        return ListOffsetsResponse(
            topics=[
                Topic(
                    name=topic.name,
                    partitions=[
                        Partition(partition_index=one.partition_index, error_code=error.code) for one in topic.partitions
                    ],
                )
                for topic in request.topics
            ]
        )
