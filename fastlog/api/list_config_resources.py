"""ListConfigResources (key 74): the names of everything that has options.

Versions 0-1. 0: client metrics alone (KIP-714), of which there are none. 1: any types, all where none is named (KIP-1142); what
has no options here has no resources.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastlog.api.config_resources import (
    RESOURCE_BROKER,
    RESOURCE_BROKER_LOGGER,
    RESOURCE_CLIENT_METRICS,
    RESOURCE_GROUP,
    RESOURCE_TOPIC,
)
from fastlog.api.context import CLUSTER_RESOURCE_NAME, OPERATION_DESCRIBE_CONFIGS, RESOURCE_CLUSTER, RequestContext
from fastlog.api.registry import Api
from fastlog.errors import ClusterAuthorizationFailed, KafkaError, UnsupportedVersion
from fastlog.wire.messages.list_config_resources import ListConfigResourcesRequest, ListConfigResourcesResponse

if TYPE_CHECKING:
    from fastlog.metadata.view import ClusterView

_TYPES = (RESOURCE_TOPIC, RESOURCE_BROKER, RESOURCE_BROKER_LOGGER, RESOURCE_CLIENT_METRICS, RESOURCE_GROUP)

Resource = ListConfigResourcesResponse.ConfigResource


class ListConfigResourcesHandler:
    """Lists topics, brokers and their loggers."""

    def __init__(self, view: ClusterView) -> None:
        self._view = view

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(74, "ListConfigResources", 0, 1, self.handle, self.refuse)

    def handle(self, context: RequestContext, request: ListConfigResourcesRequest) -> ListConfigResourcesResponse:
        """Answer with the resources of the types asked for."""
        if not context.authorize(OPERATION_DESCRIBE_CONFIGS, RESOURCE_CLUSTER, CLUSTER_RESOURCE_NAME):
            raise ClusterAuthorizationFailed
        wanted = set(request.resource_types or _TYPES) if context.api_version > 0 else {RESOURCE_CLIENT_METRICS}
        if not wanted.issubset(_TYPES):
            raise UnsupportedVersion
        image = self._view.image
        resources = []
        for kind in (RESOURCE_BROKER_LOGGER, RESOURCE_BROKER):
            if kind in wanted:
                resources += [Resource(resource_name=str(broker), resource_type=kind) for broker in image.brokers]
        if RESOURCE_TOPIC in wanted:
            resources += [Resource(resource_name=topic, resource_type=RESOURCE_TOPIC) for topic in sorted(image.topics)]
        return ListConfigResourcesResponse(throttle_time_ms=context.throttle("request", 1), config_resources=resources)

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> ListConfigResourcesResponse:
        """Return the answer that tells of an error."""
        return ListConfigResourcesResponse(error_code=error.code)
