"""Heartbeat (key 12): a member lives, and learns whether it has to rejoin.

Versions 0-4. 2: throttling answers first (KIP-219). 3: static members (KIP-345). 4: flexible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastlog.api.context import OPERATION_READ, RESOURCE_GROUP, RequestContext
from fastlog.api.registry import Api
from fastlog.errors import GroupAuthorizationFailed, KafkaError
from fastlog.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse

if TYPE_CHECKING:
    from fastlog.groups.coordinator import GroupCoordinator


class HeartbeatHandler:
    """Takes note of members that live."""

    def __init__(self, groups: GroupCoordinator) -> None:
        self._groups = groups

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(12, "Heartbeat", 0, 4, self.handle, self.refuse)

    def handle(self, context: RequestContext, request: HeartbeatRequest) -> HeartbeatResponse:
        """Answer what the member has to know."""
        if not context.authorize(OPERATION_READ, RESOURCE_GROUP, request.group_id):
            raise GroupAuthorizationFailed
        error = self._groups.heartbeat(request.group_id, request.member_id, request.group_instance_id, request.generation_id)
        return HeartbeatResponse(throttle_time_ms=context.throttle("request", 1), error_code=error)

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> HeartbeatResponse:
        """Return the answer that tells of an error."""
        return HeartbeatResponse(error_code=error.code)
