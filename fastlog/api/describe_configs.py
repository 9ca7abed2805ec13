"""DescribeConfigs (key 32): options of topics and brokers, with where each value comes from.

Versions 1-4. 1: sources and synonyms (KIP-226). 2: throttling answers first (KIP-219). 3: types and documentation. 4: flexible.

Resources are topics, this broker by its id, all brokers by the empty name (their dynamic options alone), and a broker's loggers.
Options that fastlog does not honour are not told: see `config`. No option is a secret as yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastlog.api import broker_loggers
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
from fastlog.api.registry import Api
from fastlog.errors import (
    ClusterAuthorizationFailed,
    InvalidTopic,
    KafkaError,
    TopicAuthorizationFailed,
    UnknownTopicOrPartition,
)
from fastlog.metadata.image import why_illegal_name
from fastlog.wire.messages.describe_configs import DescribeConfigsRequest, DescribeConfigsResponse

if TYPE_CHECKING:
    from fastlog.metadata.broker_options import BrokerOptions
    from fastlog.metadata.view import ClusterView

Result = DescribeConfigsResponse.DescribeConfigsResult


class DescribeConfigsHandler:
    """Tells of options."""

    def __init__(self, options: BrokerOptions, view: ClusterView) -> None:
        self._options = options
        self._view = view

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(32, "DescribeConfigs", 1, 4, self.handle, self.refuse)

    def handle(self, context: RequestContext, request: DescribeConfigsRequest) -> DescribeConfigsResponse:
        """Answer for each resource by itself."""
        results = []
        for resource in request.resources:
            result = Result(resource_type=resource.resource_type, resource_name=resource.resource_name)
            try:
                entries = self._entries(context, resource.resource_type, resource.resource_name)
            except KafkaError as error:
                result.error_code, result.error_message = error.code, error.message
            else:
                wanted = resource.configuration_keys or None
                result.configs = [_told(entry, request) for entry in entries if wanted is None or entry.name in wanted]
            results.append(result)
        return DescribeConfigsResponse(throttle_time_ms=context.throttle("request", 1), results=results)

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
