"""DescribeTopicPartitions (key 75): topics with their partitions, in portions (KIP-966).

Version 0. An answer has at most as many partitions as the client asks for, and as `max.request.partition.size.limit` allows, but
one at least; where it stops before the end it has a cursor, which the next request repeats. Topics come by name, so that the
cursor means the same in every request; no topics at all ask for all of them.

Of the eligible leader replicas there are none: who may lead is decided by the ISR alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastlog.api import authorized_operations
from fastlog.api.context import OPERATION_DESCRIBE, RESOURCE_TOPIC, RequestContext
from fastlog.api.leadership import leader_seen
from fastlog.api.registry import Api
from fastlog.errors import InvalidRequest, InvalidTopic, KafkaError, TopicAuthorizationFailed, UnknownTopicOrPartition
from fastlog.metadata.image import INTERNAL_TOPICS, why_illegal_name
from fastlog.wire.messages.describe_topic_partitions import DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse

if TYPE_CHECKING:
    from fastlog.metadata.image import Image, Partition
    from fastlog.metadata.view import ClusterView

Cursor = DescribeTopicPartitionsResponse.Cursor
ResponsePartition = DescribeTopicPartitionsResponse.DescribeTopicPartitionsResponsePartition
ResponseTopic = DescribeTopicPartitionsResponse.DescribeTopicPartitionsResponseTopic

FIRST_PARTITION: Final = 0


class DescribeTopicPartitionsHandler:
    """Tells of topics, portion by portion."""

    def __init__(self, view: ClusterView, partition_limit: int) -> None:
        self._view = view
        self._partition_limit = partition_limit

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(75, "DescribeTopicPartitions", 0, 0, self.handle, self.refuse)

    def handle(self, context: RequestContext, request: DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse:
        """Answer from the cursor on, as far as the limit allows."""
        image = self._view.image
        response = DescribeTopicPartitionsResponse(throttle_time_ms=context.throttle("request", 1))
        room = max(1, min(request.response_partition_limit, self._partition_limit))
        refused = []
        for name in _wanted(context, request, image):
            if not context.authorize(OPERATION_DESCRIBE, RESOURCE_TOPIC, name):
                refused.append(ResponseTopic(error_code=TopicAuthorizationFailed.code, name=name))
                continue
            first = FIRST_PARTITION
            if request.cursor is not None and request.cursor.topic_name == name:
                first = request.cursor.partition_index
            if room == 0:
                response.next_cursor = Cursor(topic_name=name, partition_index=first)
                break
            described, left_at = _describe(context, image, name, first, room)
            response.topics.append(described)
            room -= len(described.partitions)
            if left_at is not None:
                response.next_cursor = Cursor(topic_name=name, partition_index=left_at)
                break
        response.topics += refused
        return response

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> DescribeTopicPartitionsResponse:
        """Return the answer that tells of an error of the whole request, in each topic as there is no other place."""
        return DescribeTopicPartitionsResponse(
            topics=[ResponseTopic(error_code=error.code, name=topic.name) for topic in request.topics]
        )


def _wanted(context: RequestContext, request: DescribeTopicPartitionsRequest, image: Image) -> list[str]:
    """Return the names of the topics to tell of, from the cursor's on; of all topics those that may be seen."""
    cursor = request.cursor
    if cursor is not None and cursor.partition_index < 0:
        raise InvalidRequest(f"The cursor's partition is {cursor.partition_index}.")
    if request.topics:
        names = {topic.name for topic in request.topics}
        if cursor is not None and cursor.topic_name not in names:
            raise InvalidRequest("The cursor's topic is not among the topics asked for.")
    else:
        names = {name for name in image.topics if context.authorize(OPERATION_DESCRIBE, RESOURCE_TOPIC, name)}
    return sorted(name for name in names if cursor is None or name >= cursor.topic_name)


def _describe(context: RequestContext, image: Image, name: str, first: int, room: int) -> tuple[ResponseTopic, int | None]:
    """Return a topic with at most `room` of its partitions, and the partition at which it was left, None at its end."""
    topic = image.topics.get(name)
    described = ResponseTopic(name=name, is_internal=name in INTERNAL_TOPICS)
    if topic is None:
        legal = why_illegal_name(name) is None
        described.error_code = UnknownTopicOrPartition.code if legal else InvalidTopic.code
    else:
        described.topic_id = topic.id
        end = min(first + room, len(topic.partitions))
        described.partitions = [
            _describe_partition(image, index, topic.partitions[index], context.listener_name) for index in range(first, end)
        ]
    described.topic_authorized_operations = authorized_operations.on_topic(context, name)
    left_at = first + len(described.partitions)
    return described, left_at if topic is not None and left_at < len(topic.partitions) else None


def _describe_partition(image: Image, index: int, partition: Partition, listener: str) -> ResponsePartition:
    error, leader = leader_seen(image, partition, listener)
    return ResponsePartition(
        error_code=error,
        partition_index=index,
        leader_id=leader,
        leader_epoch=partition.leader_epoch,
        replica_nodes=list(partition.replicas),
        isr_nodes=list(partition.isr),
        eligible_leader_replicas=[],
        last_known_elr=[],
        offline_replicas=[replica for replica in partition.replicas if replica not in image.brokers],
    )
