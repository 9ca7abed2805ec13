"""FindCoordinator (key 10): which broker has a group.

Versions 0-6. 1: transactions have coordinators too. 3: flexible. 4: several keys at once (KIP-699). 5: TRANSACTION_ABORTABLE
may be answered (KIP-890). 6: share groups (KIP-932). Coordinators are those of groups alone: INVALID_REQUEST says so of other
kinds.

The topic `__consumer_offsets` is made by the first question for a group, and the answer waits for it; Kafka answers
COORDINATOR_NOT_AVAILABLE meanwhile, and so does this broker when it takes long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastlog.api.context import OPERATION_DESCRIBE, RESOURCE_GROUP, RequestContext
from fastlog.api.registry import Api
from fastlog.api.waiting import within
from fastlog.errors import (
    CoordinatorNotAvailable,
    GroupAuthorizationFailed,
    InvalidRequest,
    KafkaError,
)
from fastlog.groups.topic import OFFSETS_TOPIC, partition_of
from fastlog.wire.messages.find_coordinator import FindCoordinatorRequest, FindCoordinatorResponse

if TYPE_CHECKING:
    from fastlog.env.reactor import Flow, Pending, Reactor
    from fastlog.groups.topic import OffsetsTopic
    from fastlog.metadata.image import Endpoint
    from fastlog.metadata.view import ClusterView

KEY_TYPE_GROUP: Final = 0
TOPIC_WAIT_MS: Final = 2_000
NO_ERROR_TEXT: Final = "NONE"
"""What Kafka says in place of an error's text."""
_FIRST_VERSION_OF_MANY: Final = 4

Coordinator = FindCoordinatorResponse.Coordinator


class FindCoordinatorHandler:
    """Tells which broker has a group."""

    def __init__(self, reactor: Reactor, view: ClusterView, topic: OffsetsTopic) -> None:
        self._reactor = reactor
        self._view = view
        self._topic = topic

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(10, "FindCoordinator", 0, 6, self.handle, self.refuse)

    def handle(
        self, context: RequestContext, request: FindCoordinatorRequest
    ) -> FindCoordinatorResponse | Pending[FindCoordinatorResponse]:
        """Answer for each key, once there is a topic to look it up in."""
        if request.key_type == KEY_TYPE_GROUP and OFFSETS_TOPIC not in self._view.image.topics:
            return self._reactor.spawn(self._make_topic_and_answer(context, request))
        return self._answer(context, request)

    def _make_topic_and_answer(self, context: RequestContext, request: FindCoordinatorRequest) -> Flow[FindCoordinatorResponse]:
        if any(_may_describe(context, key) for key in _keys(context, request)):
            try:
                yield within(self._reactor, self._topic.ensure(), TOPIC_WAIT_MS)
            except KafkaError as error:
                raise CoordinatorNotAvailable(f"There is no topic {OFFSETS_TOPIC} yet: {error.message}") from None
        return self._answer(context, request)

    def _answer(self, context: RequestContext, request: FindCoordinatorRequest) -> FindCoordinatorResponse:
        found: list[Coordinator] = []
        for key in _keys(context, request):
            try:
                if request.key_type != KEY_TYPE_GROUP:
                    raise InvalidRequest("Only groups have coordinators here: there are no transactions and share groups.")
                if not _may_describe(context, key):
                    raise GroupAuthorizationFailed
                node_id, endpoint = self._find(key, context.listener_name)
                found.append(
                    Coordinator(key=key, node_id=node_id, host=endpoint.host, port=endpoint.port, error_message=NO_ERROR_TEXT)
                )
            except KafkaError as error:
                found.append(_failed(key, error))
        return _response(context, found, context.throttle("request", 1))

    def _find(self, group_id: str, listener: str) -> tuple[int, Endpoint]:
        image = self._view.image
        topic = image.topics.get(OFFSETS_TOPIC)
        if topic is None:
            raise CoordinatorNotAvailable
        broker = image.brokers.get(topic.partitions[partition_of(group_id, len(topic.partitions))].leader)
        endpoint = None if broker is None else broker.endpoint(listener)
        if broker is None or endpoint is None:
            raise CoordinatorNotAvailable
        return broker.id, endpoint

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> FindCoordinatorResponse:
        """Return the answer that tells of an error of the whole request."""
        return _response(context, [_failed(key, error) for key in _keys(context, request)], 0)


def _may_describe(context: RequestContext, group_id: str) -> bool:
    return context.authorize(OPERATION_DESCRIBE, RESOURCE_GROUP, group_id)


def _keys(context: RequestContext, request: FindCoordinatorRequest) -> list[str]:
    return request.coordinator_keys if context.api_version >= _FIRST_VERSION_OF_MANY else [request.key]


def _failed(key: str, error: KafkaError) -> Coordinator:
    return Coordinator(key=key, node_id=-1, host="", port=-1, error_code=error.code, error_message=error.message)


def _response(context: RequestContext, found: list[Coordinator], throttle_ms: int) -> FindCoordinatorResponse:
    if context.api_version >= _FIRST_VERSION_OF_MANY:
        return FindCoordinatorResponse(throttle_time_ms=throttle_ms, coordinators=found)
    [one] = found
    return FindCoordinatorResponse(
        throttle_time_ms=throttle_ms,
        error_code=one.error_code,
        error_message=one.error_message,
        node_id=one.node_id,
        host=one.host,
        port=one.port,
    )
