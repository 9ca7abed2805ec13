"""DescribeProducers (key 61): the producers that a partition remembers, for whoever looks for a hanging transaction (KIP-664).

Version 0. Nothing is told of what is not written yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastlog.api.answer_room import AnswerRoom
from fastlog.api.context import OPERATION_READ, RESOURCE_TOPIC, RequestContext
from fastlog.api.hosted import why_not_hosted
from fastlog.api.registry import Api
from fastlog.errors import InvalidTopic, KafkaError, TopicAuthorizationFailed, error_for_code
from fastlog.metadata.image import why_illegal_name
from fastlog.wire.messages.describe_producers import DescribeProducersRequest, DescribeProducersResponse

if TYPE_CHECKING:
    from fastlog.metadata.view import ClusterView
    from fastlog.replication.partition_set import PartitionSet
    from fastlog.storage.producer_state import ProducerEntry

NO_SEQUENCE: Final = -1

PartitionResponse = DescribeProducersResponse.PartitionResponse
ProducerState = DescribeProducersResponse.ProducerState
TopicResponse = DescribeProducersResponse.TopicResponse


class DescribeProducersHandler:
    """Tells of producers."""

    def __init__(self, partitions: PartitionSet, view: ClusterView) -> None:
        self._partitions = partitions
        self._view = view

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(61, "DescribeProducers", 0, 0, self.handle, self.refuse)

    def handle(self, context: RequestContext, request: DescribeProducersRequest) -> DescribeProducersResponse:
        """Answer for every partition by itself."""
        room = AnswerRoom()
        topics = []
        for topic in request.topics:
            refusal = _why_refused(context, topic.name)
            partitions = []
            for index in topic.partition_indexes:
                try:
                    if refusal is not None:
                        raise refusal
                    partitions.append(self._look(topic.name, index, room))
                except KafkaError as error:
                    partitions.append(_failed(index, error))
            topics.append(TopicResponse(name=topic.name, partitions=partitions))
        return DescribeProducersResponse(throttle_time_ms=context.throttle("request", 1), topics=topics)

    def _look(self, topic: str, index: int, room: AnswerRoom) -> PartitionResponse:
        room.check()
        partition = self._partitions.get(topic, index)
        if partition is None:
            raise error_for_code(why_not_hosted(self._view, topic, index))
        producers = partition.active_producers()
        room.take(0, len(producers))
        return PartitionResponse(
            partition_index=index, active_producers=[_state(producer_id, entry) for producer_id, entry in producers]
        )

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> DescribeProducersResponse:
        """Return the answer that tells every partition of an error."""
        return DescribeProducersResponse(
            topics=[
                TopicResponse(name=topic.name, partitions=[_failed(index, error) for index in topic.partition_indexes])
                for topic in request.topics
            ]
        )


def _why_refused(context: RequestContext, topic: str) -> KafkaError | None:
    reason = why_illegal_name(topic)
    if reason is not None:
        return InvalidTopic(f"Topic name is invalid: {reason}.")
    return None if context.authorize(OPERATION_READ, RESOURCE_TOPIC, topic) else TopicAuthorizationFailed()


def _state(producer_id: int, entry: ProducerEntry) -> ProducerState:
    _, last_sequence, _, _, last_timestamp_ms = entry.batches[-1] if entry.batches else (0, NO_SEQUENCE, 0, 0, entry.updated_ms)
    return ProducerState(
        producer_id=producer_id,
        producer_epoch=entry.epoch,
        last_sequence=last_sequence,
        last_timestamp=last_timestamp_ms,
        coordinator_epoch=entry.coordinator_epoch,
        current_txn_start_offset=entry.transaction_first_offset,
    )


def _failed(index: int, error: KafkaError) -> PartitionResponse:
    return PartitionResponse(partition_index=index, error_code=error.code, error_message=error.message)
