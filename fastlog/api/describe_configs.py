"""DescribeConfigs (key 32): options of topics and brokers, with where each value comes from.

Versions 1-4. 1: sources and synonyms (KIP-226). 2: throttling answers first (KIP-219). 3: types and documentation. 4: flexible.

Resources are topics, this broker by its id, all brokers by the empty name (their dynamic options alone), and a broker's loggers.
Options that fastlog does not honour are not told: see `config`. No option is a secret as yet.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from fastlog.api import broker_loggers
from fastlog.api.answer_room import AnswerRoom
from fastlog.api.config_entries import Entry, broker_entries, cluster_entries, topic_entries
from fastlog.api.config_resources import (
    RESOURCE_BROKER,
    RESOURCE_BROKER_LOGGER,
    RESOURCE_TOPIC,
    broker_of,
    logging_broker,
    unsupported,
)
from fastlog.api.context import CLUSTER_RESOURCE_NAME, OPERATION_DESCRIBE_CONFIGS, RESOURCE_CLUSTER, RequestContext
from fastlog.api.context import RESOURCE_TOPIC as ACL_TOPIC
from fastlog.api.encoded import Portions
from fastlog.api.registry import Api
from fastlog.errors import (
    ClusterAuthorizationFailed,
    InvalidRequest,
    InvalidTopic,
    KafkaError,
    TopicAuthorizationFailed,
    UnknownTopicOrPartition,
)
from fastlog.metadata.image import why_illegal_name
from fastlog.wire.messages.describe_configs import DescribeConfigsRequest, DescribeConfigsResponse

if TYPE_CHECKING:
    from fastlog.api.encoded import EncodedAnswer
    from fastlog.env.reactor import Flow, Pending, Reactor
    from fastlog.metadata.broker_options import BrokerOptions
    from fastlog.metadata.view import ClusterView

RESOURCES_AT_ONCE: Final = 10
"""Answered in one turn: a broker's options take half a millisecond."""

Result = DescribeConfigsResponse.DescribeConfigsResult


class DescribeConfigsHandler:
    """Tells of options."""

    def __init__(self, reactor: Reactor, options: BrokerOptions, view: ClusterView) -> None:
        self._reactor = reactor
        self._options = options
        self._view = view

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(32, "DescribeConfigs", 1, 4, self.handle, self.refuse)

    def handle(
        self, context: RequestContext, request: DescribeConfigsRequest
    ) -> DescribeConfigsResponse | Pending[EncodedAnswer]:
        """Answer for each resource by itself."""
        room = AnswerRoom()
        if len(request.resources) > RESOURCES_AT_ONCE:
            return self._reactor.spawn(self._describe_many(context, request, room))
        results = [self._describe(context, request, resource, room) for resource in request.resources]
        return DescribeConfigsResponse(throttle_time_ms=context.throttle("request", 1), results=results)

    def _describe_many(self, context: RequestContext, request: DescribeConfigsRequest, room: AnswerRoom) -> Flow[EncodedAnswer]:
        """Answer for some resources a turn: each takes as long as some hundred produce requests."""
        begun = DescribeConfigsResponse(throttle_time_ms=context.throttle("request", 1))
        portions = Portions(begun, "results", context.api_version)
        resources = request.resources
        for first in range(0, len(resources), RESOURCES_AT_ONCE):
            some = resources[first : first + RESOURCES_AT_ONCE]
            size_bytes = portions.add([self._describe(context, request, resource, room) for resource in some])
            with suppress(InvalidRequest):  # those behind it are told
                room.take(size_bytes)
            yield self._reactor.next_turn()
            if context.origin.closed:
                break
        return portions.answer()

    def _describe(
        self,
        context: RequestContext,
        request: DescribeConfigsRequest,
        resource: DescribeConfigsRequest.DescribeConfigsResource,
        room: AnswerRoom,
    ) -> Result:
        result = Result(resource_type=resource.resource_type, resource_name=resource.resource_name)
        try:
            room.check()
            entries = self._entries(context, resource.resource_type, resource.resource_name)
        except KafkaError as error:
            result.error_code, result.error_message = error.code, error.message
        else:
            wanted = set(resource.configuration_keys or ())
            result.configs = [_told(entry, request) for entry in entries if not wanted or entry.name in wanted]
        return result

    def _entries(self, context: RequestContext, resource_type: int, name: str) -> list[Entry]:
        config = self._options.config
        if resource_type == RESOURCE_TOPIC:
            if not context.authorize(OPERATION_DESCRIBE_CONFIGS, ACL_TOPIC, name):
                raise TopicAuthorizationFailed
            reason = why_illegal_name(name)
            if reason is not None:
                raise InvalidTopic(f"Topic name is invalid: {reason}.")
            topic = self._view.image.topics.get(name)
            if topic is None:
                raise UnknownTopicOrPartition(f"Topic '{name}' does not exist.")
            return topic_entries(config, topic.config)
        if resource_type in (RESOURCE_BROKER, RESOURCE_BROKER_LOGGER):
            if not context.authorize(OPERATION_DESCRIBE_CONFIGS, RESOURCE_CLUSTER, CLUSTER_RESOURCE_NAME):
                raise ClusterAuthorizationFailed
            if resource_type == RESOURCE_BROKER_LOGGER:
                logging_broker(name, config.broker_id)
                return [
                    Entry(logger, level, broker_loggers.SOURCE, (), is_read_only=False, type=0, doc="")
                    for logger, level in broker_loggers.levels().items()
                ]
            is_one = broker_of(name, config.broker_id) is not None
            return broker_entries(config) if is_one else cluster_entries(config)
        raise unsupported(resource_type)

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> DescribeConfigsResponse:
        """Return the answer that tells of an error of the whole request."""
        return DescribeConfigsResponse(
            results=[
                Result(
                    error_code=error.code,
                    error_message=error.message,
                    resource_type=resource.resource_type,
                    resource_name=resource.resource_name,
                )
                for resource in request.resources
            ]
        )


def _told(entry: Entry, request: DescribeConfigsRequest) -> DescribeConfigsResponse.DescribeConfigsResourceResult:
    synonyms = entry.synonyms if request.include_synonyms else ()
    return DescribeConfigsResponse.DescribeConfigsResourceResult(
        name=entry.name,
        value=entry.value,
        read_only=entry.is_read_only,
        config_source=entry.source,
        is_sensitive=False,
        synonyms=[
            DescribeConfigsResponse.DescribeConfigsSynonym(name=name, value=value, source=source)
            for name, value, source in synonyms
        ],
        config_type=entry.type,
        documentation=entry.doc if request.include_documentation else None,
    )
