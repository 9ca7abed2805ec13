"""DeleteTopics (key 20).

Versions 1-6. 2: throttling answers first (KIP-219). 3: TOPIC_DELETION_DISABLED may be answered. 4: flexible. 5: error messages,
and THROTTLING_QUOTA_EXCEEDED may be answered (KIP-599). 6: topics by id as well (KIP-516).

A topic is answered when nothing of it is left but files out of sight, or with REQUEST_TIMED_OUT when that takes longer than the
client waits; it is deleted all the same. With no time at all nothing is begun.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from fastlog.api.context import OPERATION_DELETE, OPERATION_DESCRIBE, RESOURCE_TOPIC, RequestContext
from fastlog.api.registry import Api
from fastlog.api.waiting import within
from fastlog.errors import (
    InvalidRequest,
    KafkaError,
    RequestTimedOut,
    TopicAuthorizationFailed,
    TopicDeletionDisabled,
    UnknownTopicId,
    UnknownTopicOrPartition,
)
from fastlog.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicsResponse
from fastlog.wire.schema import ZERO_UUID

if TYPE_CHECKING:
    from fastlog.env.reactor import Flow, Pending, Reactor
    from fastlog.metadata.driver import ControllerDriver
    from fastlog.metadata.view import ClusterView

Result = DeleteTopicsResponse.DeletableTopicResult
Wish = tuple[str | None, bytes]
"""A topic as a request names it: by name, by id, or, wrongly, by both or neither."""


class DeleteTopicsHandler:
    """Deletes topics."""

    def __init__(self, reactor: Reactor, view: ClusterView, driver: ControllerDriver, *, is_enabled: bool) -> None:
        self._reactor = reactor
        self._view = view
        self._driver = driver
        self._is_enabled = is_enabled

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(20, "DeleteTopics", 1, 6, self.handle, self.refuse)

    def handle(self, context: RequestContext, request: DeleteTopicsRequest) -> Pending[DeleteTopicsResponse]:
        """Delete what can be deleted, and answer when it is gone."""
        if not self._is_enabled:
            raise TopicDeletionDisabled if context.api_version >= 3 else InvalidRequest("Topic deletion is disabled.")
        return self._reactor.spawn(self._delete(context, request))

    def _delete(self, context: RequestContext, request: DeleteTopicsRequest) -> Flow[DeleteTopicsResponse]:
        wishes = _wishes(context, request)
        wanted = Counter(self._name_of(wish) for wish in wishes)
        results: list[Result] = []
        deleting: list[tuple[Result, Pending[None]]] = []
        for wish in dict.fromkeys(wishes):
            result = Result(name=wish[0], topic_id=wish[1])
            results.append(result)
            try:
                result.name, result.topic_id = self._find(context, wish, wanted)
                if request.timeout_ms <= 0:
                    raise RequestTimedOut
                deleted = within(self._reactor, self._driver.delete_topic(result.name), request.timeout_ms)
                deleting.append((result, deleted))
            except KafkaError as error:
                _fail(result, error)
        for result, deleted in deleting:
            try:
                yield deleted
            except KafkaError as error:
                _fail(result, error)
        return DeleteTopicsResponse(throttle_time_ms=context.throttle("request", 1), responses=results)

    def _name_of(self, wish: Wish) -> str | None:
        name, topic_id = wish
        return name if name is not None else self._view.image.topic_names.get(topic_id)

    def _find(self, context: RequestContext, wish: Wish, wanted: Counter[str | None]) -> tuple[str, bytes]:
        """Return name and id of the topic to delete; what a principal may not see does not exist for it."""
        name, topic_id = wish
        if name is not None and topic_id != ZERO_UUID:
            raise InvalidRequest("A topic is named by its name or by its id, not by both.")
        if name is None and topic_id == ZERO_UUID:
            raise InvalidRequest("A topic is named by its name or by its id, and here is neither.")
        image = self._view.image
        if name is None:
            topic = image.topic_by_id(topic_id)
            if topic is None or not context.authorize(OPERATION_DESCRIBE, RESOURCE_TOPIC, topic.name):
                raise UnknownTopicId
        else:
            topic = image.topics.get(name)
        if wanted[name if topic is None else topic.name] > 1:
            raise InvalidRequest("The topic is named more than once.")
        asked = name if topic is None else topic.name
        if not context.authorize(OPERATION_DELETE, RESOURCE_TOPIC, str(asked)):
            raise TopicAuthorizationFailed
        if topic is None:
            raise UnknownTopicOrPartition
        return topic.name, topic.id

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> DeleteTopicsResponse:
        """Return the answer that tells of an error of the whole request."""
        wishes = dict.fromkeys(_wishes(context, request))
        return DeleteTopicsResponse(responses=[_fail(Result(name=name, topic_id=topic_id), error) for name, topic_id in wishes])


def _wishes(context: RequestContext, request: DeleteTopicsRequest) -> list[Wish]:
    if context.api_version >= 6:
        return [(topic.name, topic.topic_id) for topic in request.topics]
    return [(name, ZERO_UUID) for name in request.topic_names]


def _fail(result: Result, error: KafkaError) -> Result:
    result.error_code = error.code
    result.error_message = error.message
    return result
