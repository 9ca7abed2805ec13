"""AlterConfigs (key 33): all options of a resource replaced by those of the request; what it doesn't name is deleted.

Versions 0-2. 1: throttling answers first (KIP-219). 2: flexible. Since KIP-339 clients use IncrementalAlterConfigs.

Each resource has its own answer. A resource is answered when what it asks for is durable and in force on this broker.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from fastlog.api.config_resources import SET
from fastlog.api.registry import Api
from fastlog.errors import InvalidRequest
from fastlog.wire.messages.alter_configs import AlterConfigsRequest, AlterConfigsResponse

if TYPE_CHECKING:
    from fastlog.api.config_changes import ConfigChanges
    from fastlog.api.context import RequestContext
    from fastlog.env.reactor import Flow, Pending, Reactor
    from fastlog.errors import KafkaError

Resource = AlterConfigsRequest.AlterConfigsResource
Result = AlterConfigsResponse.AlterConfigsResourceResponse


class AlterConfigsHandler:
    """Replaces options."""

    def __init__(self, reactor: Reactor, changes: ConfigChanges) -> None:
        self._reactor = reactor
        self._changes = changes

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(33, "AlterConfigs", 0, 2, self.handle, self.refuse)

    def handle(self, context: RequestContext, request: AlterConfigsRequest) -> Pending[AlterConfigsResponse]:
        """Alter what can be altered, one resource after another."""
        return self._reactor.spawn(self._alter(context, request))

    def _alter(self, context: RequestContext, request: AlterConfigsRequest) -> Flow[AlterConfigsResponse]:
        times = Counter((one.resource_type, one.resource_name) for one in request.resources)
        results = []
        for one in request.resources:
            resource = (one.resource_type, one.resource_name)
            error: KafkaError | None = InvalidRequest("Each resource may appear only once.")
            if times[resource] == 1:
                changes = [(config.name, SET, config.value) for config in one.configs]
                error = yield from self._changes.alter(
                    context, resource, changes, replaces=True, validate_only=request.validate_only
                )
            results.append(_result(one, error))
        return AlterConfigsResponse(throttle_time_ms=context.throttle("request", 1), responses=results)

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> AlterConfigsResponse:
        """Return the answer that tells of an error of the whole request."""
        return AlterConfigsResponse(responses=[_result(one, error) for one in request.resources])


def _result(resource: Resource, error: KafkaError | None) -> Result:
    return Result(
        error_code=error.code if error else 0,
        error_message=error.message if error else None,
        resource_type=resource.resource_type,
        resource_name=resource.resource_name,
    )
