"""OffsetForLeaderEpoch (key 23): where a leader epoch ended, so that a reader finds out where its log and this one part.

Versions 2-4. 2: the request tells the leader epoch that it knows (KIP-320). 3: consumers may ask too, with replica id -2. 4:
flexible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastlog.api.context import (
    CLUSTER_RESOURCE_NAME,
    OPERATION_CLUSTER_ACTION,
    OPERATION_DESCRIBE,
    RESOURCE_CLUSTER,
    RESOURCE_TOPIC,
    RequestContext,
)
from fastlog.api.hosted import why_not_hosted
from fastlog.api.registry import Api
from fastlog.errors import KafkaError, TopicAuthorizationFailed
from fastlog.wire.messages.offset_for_leader_epoch import OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse

if TYPE_CHECKING:
    from fastlog.metadata.view import ClusterView
    from fastlog.replication.partition_set import PartitionSet

EpochEnd = OffsetForLeaderEpochResponse.EpochEndOffset
Topic = OffsetForLeaderEpochResponse.OffsetForLeaderTopicResult


class OffsetForLeaderEpochHandler:
    """Tells where epochs ended."""

    def __init__(self, partitions: PartitionSet, view: ClusterView) -> None:
        self._partitions = partitions
        self._view = view

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(23, "OffsetForLeaderEpoch", 2, 4, self.handle, self.refuse)

    def handle(self, context: RequestContext, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse:
        """Answer for every partition by itself."""
        topics = []
        for topic in request.topics:
            is_allowed = _may_ask(context, topic.topic)
            ends = []
            for one in topic.partitions:
                try:
                    if not is_allowed:
                        raise TopicAuthorizationFailed
                    ends.append(self._look(topic.topic, one))
                except KafkaError as error:
                    ends.append(EpochEnd(partition=one.partition, error_code=error.code))
            topics.append(Topic(topic=topic.topic, partitions=ends))
        return OffsetForLeaderEpochResponse(throttle_time_ms=context.throttle("request", 1), topics=topics)

    def _look(self, topic: str, asked: OffsetForLeaderEpochRequest.OffsetForLeaderPartition) -> EpochEnd:
        partition = self._partitions.get(topic, asked.partition)
        if partition is None:
            return EpochEnd(partition=asked.partition, error_code=why_not_hosted(self._view, topic, asked.partition))
        epoch, end_offset = partition.end_offset_of_epoch(asked.leader_epoch, asked.current_leader_epoch)
        return EpochEnd(partition=asked.partition, leader_epoch=epoch, end_offset=end_offset)

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> OffsetForLeaderEpochResponse:
        """Return the answer that tells every partition of an error."""
        return OffsetForLeaderEpochResponse(
            topics=[
                Topic(
                    topic=topic.topic,
                    partitions=[EpochEnd(partition=one.partition, error_code=error.code) for one in topic.partitions],
                )
                for topic in request.topics
            ]
        )


def _may_ask(context: RequestContext, topic: str) -> bool:
    """Tell whether the principal is a broker of this cluster, or may look at the topic."""
    return context.authorize(OPERATION_CLUSTER_ACTION, RESOURCE_CLUSTER, CLUSTER_RESOURCE_NAME) or context.authorize(
        OPERATION_DESCRIBE, RESOURCE_TOPIC, topic
    )
