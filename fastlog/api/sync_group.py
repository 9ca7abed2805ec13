"""SyncGroup (key 14): the leader hands in what everybody owns, and each member is told its part.

Versions 0-5. 2: throttling answers first (KIP-219). 3: static members (KIP-345). 4: flexible. 5: the protocol's type and name,
which have to be those of the group (KIP-559). The answer waits until the leader's assignment is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastlog.api.context import OPERATION_READ, RESOURCE_GROUP, RequestContext
from fastlog.api.registry import Api
from fastlog.errors import GroupAuthorizationFailed, InconsistentGroupProtocol, KafkaError
from fastlog.groups.member import SyncAnswer
from fastlog.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse

if TYPE_CHECKING:
    from fastlog.env.reactor import Flow, Pending, Reactor
    from fastlog.groups.coordinator import GroupCoordinator

_FIRST_VERSION_WITH_PROTOCOL: Final = 5


class SyncGroupHandler:
    """Tells members what they own."""

    def __init__(self, reactor: Reactor, groups: GroupCoordinator) -> None:
        self._reactor = reactor
        self._groups = groups

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(14, "SyncGroup", 0, 5, self.handle, self.refuse)

    def handle(self, context: RequestContext, request: SyncGroupRequest) -> Pending[SyncGroupResponse]:
        """Take the leader's assignment, and answer when the member's part of it is known."""
        says_protocol = context.api_version >= _FIRST_VERSION_WITH_PROTOCOL
        if says_protocol and (request.protocol_type is None or request.protocol_name is None):
            raise InconsistentGroupProtocol
        if not context.authorize(OPERATION_READ, RESOURCE_GROUP, request.group_id):
            raise GroupAuthorizationFailed
        synced = self._groups.sync(
            request.group_id,
            request.member_id,
            request.group_instance_id,
            request.generation_id,
            request.protocol_type,
            request.protocol_name,
            {one.member_id: bytes(one.assignment) for one in request.assignments},
        )
        return self._reactor.spawn(self._answer(context, synced))

    def _answer(self, context: RequestContext, synced: Pending[SyncAnswer]) -> Flow[SyncGroupResponse]:
        answer: SyncAnswer = yield synced
        return SyncGroupResponse(
            throttle_time_ms=context.throttle("request", 1),
            error_code=answer.error,
            protocol_type=answer.protocol_type,
            protocol_name=answer.protocol_name,
            assignment=answer.assignment,
        )

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> SyncGroupResponse:
        """Return the answer that tells of an error."""
        return SyncGroupResponse(error_code=error.code)
