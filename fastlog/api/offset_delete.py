"""OffsetDelete (key 47): a group forgets how far it had come in some partitions (KIP-496).

Version 0. A topic that members of the group subscribe to keeps its offsets: GROUP_SUBSCRIBED_TO_TOPIC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastlog.api.context import OPERATION_DELETE, OPERATION_READ, RESOURCE_GROUP, RESOURCE_TOPIC, RequestContext
from fastlog.api.registry import Api
from fastlog.errors import (
    NONE,
    GroupAuthorizationFailed,
    KafkaError,
    TopicAuthorizationFailed,
    UnknownTopicOrPartition,
)
from fastlog.wire.messages.offset_delete import OffsetDeleteRequest, OffsetDeleteResponse

if TYPE_CHECKING:
    from fastlog.env.reactor import Flow, Pending, Reactor
    from fastlog.groups.coordinator import GroupCoordinator
    from fastlog.groups.offsets import TopicPartition
    from fastlog.metadata.view import ClusterView


class OffsetDeleteHandler:
    """Deletes offsets."""

    def __init__(self, reactor: Reactor, view: ClusterView, groups: GroupCoordinator) -> None:
        self._reactor = reactor
        self._view = view
        self._groups = groups

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(47, "OffsetDelete", 0, 0, self.handle, self.refuse)

    def handle(self, context: RequestContext, request: OffsetDeleteRequest) -> Pending[OffsetDeleteResponse]:
        """Delete what may be deleted, and answer when that is stored."""
        if not context.authorize(OPERATION_DELETE, RESOURCE_GROUP, request.group_id):
            raise GroupAuthorizationFailed
        return self._reactor.spawn(self._delete(context, request))

    def _delete(self, context: RequestContext, request: OffsetDeleteRequest) -> Flow[OffsetDeleteResponse]:
        errors: dict[TopicPartition, int] = {}
        for topic in request.topics:
            for one in topic.partitions:
                errors[topic.name, one.partition_index] = self._why_not(context, topic.name, one.partition_index)
        wanted = [where for where, error in errors.items() if not error]
        deleted: dict[TopicPartition, int] = yield self._groups.delete_offsets(request.group_id, wanted)
        errors.update(deleted)
        return OffsetDeleteResponse(
            throttle_time_ms=context.throttle("request", 1),
            topics=[
                OffsetDeleteResponse.OffsetDeleteResponseTopic(
                    name=topic.name,
                    partitions=[
                        OffsetDeleteResponse.OffsetDeleteResponsePartition(
                            partition_index=one.partition_index, error_code=errors[topic.name, one.partition_index]
                        )
                        for one in topic.partitions
                    ],
                )
                for topic in request.topics
            ],
        )

    def _why_not(self, context: RequestContext, topic: str, index: int) -> int:
        if not context.authorize(OPERATION_READ, RESOURCE_TOPIC, topic):
            return TopicAuthorizationFailed.code
        return NONE if self._view.image.partition(topic, index) is not None else UnknownTopicOrPartition.code

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> OffsetDeleteResponse:
        """Return the answer that tells of an error of the whole request."""
        return OffsetDeleteResponse(error_code=error.code)
