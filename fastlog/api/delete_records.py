"""DeleteRecords (key 21): let nobody read below an offset any more (KIP-107).

Versions 0-2. 1: throttling answers first (KIP-219). 2: flexible.

An offset of -1 means the high watermark. The answer's low watermark is where the partition begins from now on. Kafka's rules, as
its answers show: internal topics are INVALID_TOPIC, a topic whose old records are not deleted but compacted is POLICY_VIOLATION,
of a partition that is named more than once the last offset counts, and a topic without partitions is not in the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastlog.api.context import OPERATION_DELETE, RESOURCE_TOPIC, RequestContext
from fastlog.api.hosted import why_not_hosted
from fastlog.api.registry import Api
from fastlog.errors import InvalidTopic, KafkaError, TopicAuthorizationFailed
from fastlog.metadata.image import INTERNAL_TOPICS
from fastlog.wire.messages.delete_records import DeleteRecordsRequest, DeleteRecordsResponse

if TYPE_CHECKING:
    from fastlog.metadata.view import ClusterView
    from fastlog.replication.partition_set import PartitionSet

NO_LOW_WATERMARK: Final = -1

Result = DeleteRecordsResponse.DeleteRecordsPartitionResult
Topic = DeleteRecordsResponse.DeleteRecordsTopicResult


class DeleteRecordsHandler:
    """Moves the starts of logs."""

    def __init__(self, partitions: PartitionSet, view: ClusterView) -> None:
        self._partitions = partitions
        self._view = view

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(21, "DeleteRecords", 0, 2, self.handle, self.refuse)

    def handle(self, context: RequestContext, request: DeleteRecordsRequest) -> DeleteRecordsResponse:
        """Delete for every partition by itself."""
        topics = []
        for name, offsets in _wishes(request).items():
            is_allowed = context.authorize(OPERATION_DELETE, RESOURCE_TOPIC, name)
            results = []
            for index, offset in offsets.items():
                try:
                    if not is_allowed:
                        raise TopicAuthorizationFailed
                    results.append(self._delete(name, index, offset))
                except KafkaError as error:
                    results.append(_failed(index, error.code))
            topics.append(Topic(name=name, partitions=results))
        return DeleteRecordsResponse(throttle_time_ms=context.throttle("request", 1), topics=topics)

    def _delete(self, topic: str, index: int, offset: int) -> Result:
        partition = self._partitions.get(topic, index)
        if partition is None:
            return _failed(index, why_not_hosted(self._view, topic, index))
        if topic in INTERNAL_TOPICS:
            raise InvalidTopic
        return Result(partition_index=index, low_watermark=partition.delete_records(offset))

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> DeleteRecordsResponse:
        """Return the answer that tells every partition of an error."""
        return DeleteRecordsResponse(
            topics=[
                Topic(name=name, partitions=[_failed(index, error.code) for index in offsets])
                for name, offsets in _wishes(request).items()
            ]
        )


def _wishes(request: DeleteRecordsRequest) -> dict[str, dict[int, int]]:
    """Return the offset for each partition of each topic."""
    wishes: dict[str, dict[int, int]] = {}
    for topic in request.topics:
        for one in topic.partitions:
            wishes.setdefault(topic.name, {})[one.partition_index] = one.offset
    return wishes


def _failed(index: int, code: int) -> Result:
    return Result(partition_index=index, low_watermark=NO_LOW_WATERMARK, error_code=code)
