"""ListGroups (key 16): the groups of this broker.

Versions 0-5. 2: throttling answers first (KIP-219). 3: flexible. 4: states, to be told and to be asked for (KIP-518). 5: types
too (KIP-848).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastlog.api.context import (
    CLUSTER_RESOURCE_NAME,
    OPERATION_DESCRIBE,
    RESOURCE_CLUSTER,
    RESOURCE_GROUP,
    RequestContext,
)
from fastlog.api.registry import Api
from fastlog.wire.messages.list_groups import ListGroupsRequest, ListGroupsResponse

if TYPE_CHECKING:
    from fastlog.errors import KafkaError
    from fastlog.groups.coordinator import GroupCoordinator

TYPE_CLASSIC: Final = "classic"


class ListGroupsHandler:
    """Lists groups."""

    def __init__(self, groups: GroupCoordinator) -> None:
        self._groups = groups

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(16, "ListGroups", 0, 5, self.handle, self.refuse)

    def handle(self, context: RequestContext, request: ListGroupsRequest) -> ListGroupsResponse:
        """List what the principal may see."""
        states = {state.lower() for state in request.states_filter}
        types = {kind.lower() for kind in request.types_filter}
        response = ListGroupsResponse(throttle_time_ms=context.throttle("request", 1))
        if types and TYPE_CLASSIC not in types:
            return response
        sees_all = context.authorize(OPERATION_DESCRIBE, RESOURCE_CLUSTER, CLUSTER_RESOURCE_NAME)
        for group in self._groups.groups():
            state = group.classic.state.value
            if states and state.lower() not in states:
                continue
            if sees_all or context.authorize(OPERATION_DESCRIBE, RESOURCE_GROUP, group.group_id):
                response.groups.append(
                    ListGroupsResponse.ListedGroup(
                        group_id=group.group_id,
                        protocol_type=group.classic.protocol_type or "",
                        group_state=state,
                        group_type=TYPE_CLASSIC,
                    )
                )
        return response

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> ListGroupsResponse:
        """Return the answer that tells of an error."""
        return ListGroupsResponse(error_code=error.code)
