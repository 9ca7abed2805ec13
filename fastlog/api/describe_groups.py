"""DescribeGroups (key 15): groups with their members.

Versions 0-6. 2: throttling answers first (KIP-219). 3: authorised operations (KIP-430). 4: instance ids (KIP-345). 5: flexible.
6: error messages, and GROUP_ID_NOT_FOUND for a group that does not exist (KIP-1043); before, it is said to be Dead.

What members say of themselves and what they own is told of a group that is Stable alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastlog.api import authorized_operations
from fastlog.api.answer_room import AnswerRoom
from fastlog.api.context import OPERATION_DESCRIBE, RESOURCE_GROUP, RequestContext
from fastlog.api.registry import Api
from fastlog.errors import GroupAuthorizationFailed, GroupIdNotFound, KafkaError
from fastlog.groups.classic import State
from fastlog.wire.messages.describe_groups import DescribeGroupsRequest, DescribeGroupsResponse

if TYPE_CHECKING:
    from fastlog.groups.classic import ClassicGroup
    from fastlog.groups.coordinator import GroupCoordinator
    from fastlog.groups.member import Member

_FIRST_VERSION_THAT_KNOWS_MISSING_GROUPS: Final = 6

Described = DescribeGroupsResponse.DescribedGroup


class DescribeGroupsHandler:
    """Describes groups."""

    def __init__(self, groups: GroupCoordinator) -> None:
        self._groups = groups

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(15, "DescribeGroups", 0, 6, self.handle, self.refuse)

    def handle(self, context: RequestContext, request: DescribeGroupsRequest) -> DescribeGroupsResponse:
        """Describe each group that is asked for."""
        room = AnswerRoom()
        groups = [self._describe(context, group_id, room) for group_id in request.groups]
        if request.include_authorized_operations:
            for group in groups:
                if not group.error_code:
                    group.authorized_operations = authorized_operations.on_group(context, group.group_id)
        return DescribeGroupsResponse(throttle_time_ms=context.throttle("request", 1), groups=groups)

    def _describe(self, context: RequestContext, group_id: str, room: AnswerRoom) -> Described:
        try:
            if not context.authorize(OPERATION_DESCRIBE, RESOURCE_GROUP, group_id):
                raise GroupAuthorizationFailed
            room.check()
            classic = self._groups.find(group_id).classic
            is_stable = classic.state is State.STABLE
            room.take(sum(_size_of(classic, member, is_stable) for member in classic.members.values()), len(classic.members))
        except GroupIdNotFound as error:
            if context.api_version < _FIRST_VERSION_THAT_KNOWS_MISSING_GROUPS:
                return Described(group_id=group_id, group_state=State.DEAD.value, error_message=None)
            return Described(group_id=group_id, group_state=State.DEAD.value, error_code=error.code, error_message=error.message)
        except KafkaError as error:
            return _failed(group_id, error)
        return Described(
            error_message=None,
            group_id=group_id,
            group_state=classic.state.value,
            protocol_type=classic.protocol_type or "",
            protocol_data=(classic.protocol_name or "") if is_stable else "",
            members=[_describe_member(classic, member, is_stable) for member in classic.members.values()],
        )

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> DescribeGroupsResponse:
        """Return the answer that tells of an error of the whole request, in each of its groups."""
        return DescribeGroupsResponse(groups=[_failed(group_id, error) for group_id in request.groups])


def _size_of(classic: ClassicGroup, member: Member, is_stable: bool) -> int:
    return len(member.assignment) + (len(member.metadata_for(classic.protocol_name)) if is_stable else 0)


def _describe_member(classic: ClassicGroup, member: Member, is_stable: bool) -> DescribeGroupsResponse.DescribedGroupMember:
    return DescribeGroupsResponse.DescribedGroupMember(
        member_id=member.member_id,
        group_instance_id=member.instance_id,
        client_id=member.client_id,
        client_host=member.client_host,
        member_metadata=member.metadata_for(classic.protocol_name) if is_stable else b"",
        member_assignment=member.assignment,
    )


def _failed(group_id: str, error: KafkaError) -> Described:
    return Described(group_id=group_id, error_code=error.code, error_message=None)
