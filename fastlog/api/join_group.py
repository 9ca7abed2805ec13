"""JoinGroup (key 11): a member joins a group, or comes again for its next generation.

Versions 0-9. 1: rebalance timeout apart from the session's (KIP-62). 2: throttling answers first (KIP-219). 4: a member without
an id is given one and asks again (KIP-394). 5: static members (KIP-345). 6: flexible. 7: the protocol's type in the answer
(KIP-559). 8: the reason (KIP-800). 9: a leader may be told to assign nothing (KIP-814).

The answer waits until the group's next generation begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastlog.api.context import OPERATION_READ, RESOURCE_GROUP, RequestContext
from fastlog.api.registry import Api
from fastlog.errors import GroupAuthorizationFailed, KafkaError
from fastlog.groups.member import JoinAnswer, JoinRequest, Protocol
from fastlog.wire.messages.join_group import JoinGroupRequest, JoinGroupResponse

if TYPE_CHECKING:
    from fastlog.env.reactor import Flow, Pending, Reactor
    from fastlog.groups.coordinator import GroupCoordinator

_FIRST_VERSION_WITH_REBALANCE_TIMEOUT: Final = 1
_FIRST_VERSION_WITH_REQUIRED_ID: Final = 4
_FIRST_VERSION_WITH_NULL_PROTOCOL: Final = 7
_FIRST_VERSION_WITH_SKIPPED_ASSIGNMENT: Final = 9


class JoinGroupHandler:
    """Lets members join."""

    def __init__(self, reactor: Reactor, groups: GroupCoordinator) -> None:
        self._reactor = reactor
        self._groups = groups

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(11, "JoinGroup", 0, 9, self.handle, self.refuse)

    def handle(self, context: RequestContext, request: JoinGroupRequest) -> Pending[JoinGroupResponse]:
        """Let a member join, and answer when it has."""
        if not context.authorize(OPERATION_READ, RESOURCE_GROUP, request.group_id):
            raise GroupAuthorizationFailed
        version = context.api_version
        has_rebalance_timeout = version >= _FIRST_VERSION_WITH_REBALANCE_TIMEOUT
        joined = self._groups.join(
            request.group_id,
            JoinRequest(
                request.member_id,
                request.group_instance_id,
                context.client_id or "",
                f"/{context.peer_host}",
                request.protocol_type,
                tuple(Protocol(one.name, bytes(one.metadata)) for one in request.protocols),
                request.session_timeout_ms,
                request.rebalance_timeout_ms if has_rebalance_timeout else request.session_timeout_ms,
                requires_known_member_id=version >= _FIRST_VERSION_WITH_REQUIRED_ID,
                skips_assignment=version >= _FIRST_VERSION_WITH_SKIPPED_ASSIGNMENT,
            ),
        )
        return self._reactor.spawn(self._answer(context, joined))

    def _answer(self, context: RequestContext, joined: Pending[JoinAnswer]) -> Flow[JoinGroupResponse]:
        answer: JoinAnswer = yield joined
        return _response(context, answer, context.throttle("request", 1))

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> JoinGroupResponse:
        """Return the answer that tells of an error."""
        return _response(context, JoinAnswer(request.member_id, error.code), 0)


def _response(context: RequestContext, answer: JoinAnswer, throttle_ms: int) -> JoinGroupResponse:
    name = answer.protocol_name
    if name is None and context.api_version < _FIRST_VERSION_WITH_NULL_PROTOCOL:
        name = ""
    return JoinGroupResponse(
        throttle_time_ms=throttle_ms,
        error_code=answer.error,
        generation_id=answer.generation,
        protocol_type=answer.protocol_type,
        protocol_name=name,
        leader=answer.leader_id,
        skip_assignment=answer.skip_assignment,
        member_id=answer.member_id,
        members=[
            JoinGroupResponse.JoinGroupResponseMember(
                member_id=one.member_id, group_instance_id=one.instance_id, metadata=one.metadata
            )
            for one in answer.members
        ],
    )
