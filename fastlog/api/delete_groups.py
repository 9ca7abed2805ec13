"""DeleteGroups (key 42): groups go, with their offsets.

Versions 0-2. 1: throttling answers first (KIP-219). 2: flexible. A group that has members stays: NON_EMPTY_GROUP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastlog.api.context import OPERATION_DELETE, RESOURCE_GROUP, RequestContext
from fastlog.api.registry import Api
from fastlog.errors import GroupAuthorizationFailed, KafkaError
from fastlog.wire.messages.delete_groups import DeleteGroupsRequest, DeleteGroupsResponse

if TYPE_CHECKING:
    from fastlog.env.reactor import Flow, Pending, Reactor
    from fastlog.groups.coordinator import GroupCoordinator

Result = DeleteGroupsResponse.DeletableGroupResult


class DeleteGroupsHandler:
    """Deletes groups."""

    def __init__(self, reactor: Reactor, groups: GroupCoordinator) -> None:
        self._reactor = reactor
        self._groups = groups

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(42, "DeleteGroups", 0, 2, self.handle, self.refuse)

    def handle(self, context: RequestContext, request: DeleteGroupsRequest) -> Pending[DeleteGroupsResponse]:
        """Delete what can be deleted, and answer when that is stored."""
        return self._reactor.spawn(self._delete(context, list(dict.fromkeys(request.groups_names))))

    def _delete(self, context: RequestContext, group_ids: list[str]) -> Flow[DeleteGroupsResponse]:
        results = [Result(group_id=group_id) for group_id in group_ids]
        deleting: list[tuple[Result, Pending[int]]] = []
        for result in results:
            try:
                if not context.authorize(OPERATION_DELETE, RESOURCE_GROUP, result.group_id):
                    raise GroupAuthorizationFailed
                deleting.append((result, self._groups.delete(result.group_id)))
            except KafkaError as error:
                result.error_code = error.code
        for result, deleted in deleting:
            result.error_code = yield deleted
        return DeleteGroupsResponse(throttle_time_ms=context.throttle("request", 1), results=results)

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> DeleteGroupsResponse:
        """Return the answer that tells of an error of the whole request, in each of its groups."""
        return DeleteGroupsResponse(
            results=[Result(group_id=group_id, error_code=error.code) for group_id in dict.fromkeys(request.groups_names)]
        )
