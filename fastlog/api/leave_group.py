"""LeaveGroup (key 13): members go, or are let go by an admin.

Versions 0-5. 2: throttling answers first (KIP-219). 3: several members at once, by instance id as well (KIP-345). 4: flexible.
5: the reason (KIP-800). Before version 3 the one member's error is the request's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastlog.api.context import OPERATION_READ, RESOURCE_GROUP, RequestContext
from fastlog.api.registry import Api
from fastlog.errors import GroupAuthorizationFailed, KafkaError
from fastlog.wire.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse

if TYPE_CHECKING:
    from fastlog.groups.coordinator import GroupCoordinator

_FIRST_VERSION_OF_MANY: Final = 3


class LeaveGroupHandler:
    """Lets members go."""

    def __init__(self, groups: GroupCoordinator) -> None:
        self._groups = groups

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(13, "LeaveGroup", 0, 5, self.handle, self.refuse)

    def handle(self, context: RequestContext, request: LeaveGroupRequest) -> LeaveGroupResponse:
        """Let members go."""
        if not context.authorize(OPERATION_READ, RESOURCE_GROUP, request.group_id):
            raise GroupAuthorizationFailed
        if context.api_version < _FIRST_VERSION_OF_MANY:
            [error] = self._groups.leave(request.group_id, [(request.member_id, None)])
            return LeaveGroupResponse(throttle_time_ms=context.throttle("request", 1), error_code=error)
        members = [(one.member_id, one.group_instance_id) for one in request.members]
        errors = self._groups.leave(request.group_id, members)
        return LeaveGroupResponse(
            throttle_time_ms=context.throttle("request", 1),
            members=[
                LeaveGroupResponse.MemberResponse(member_id=member_id, group_instance_id=instance_id, error_code=error)
                for (member_id, instance_id), error in zip(members, errors, strict=True)
            ],
        )

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> LeaveGroupResponse:
        """Return the answer that tells of an error of the whole request."""
        return LeaveGroupResponse(error_code=error.code)
