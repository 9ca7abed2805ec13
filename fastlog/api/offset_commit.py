"""OffsetCommit (key 8): a group stores how far it has come.

Versions 2-10. 2-4: how long the offsets are kept. 3: throttling answers first (KIP-219). 6: leader epochs (KIP-320). 7: static
members (KIP-345). 8: flexible. 9: members of the protocol of KIP-848; GROUP_ID_NOT_FOUND may be answered. 10: topics by id.

Each partition has its own error; those that are not wrong by themselves share what becomes of the commit, and are answered when
it is acknowledged as any produce with acks=all. Commits are appended in the order in which they come, so one may be begun before
those ahead of it are acknowledged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastlog.api.context import OPERATION_READ, RESOURCE_GROUP, RESOURCE_TOPIC, RequestContext
from fastlog.api.registry import Api
from fastlog.errors import (
    NONE,
    GroupAuthorizationFailed,
    KafkaError,
    OffsetMetadataTooLarge,
    TopicAuthorizationFailed,
    UnknownTopicId,
    UnknownTopicOrPartition,
)
from fastlog.groups.offsets import NO_EXPIRY, CommittedOffset
from fastlog.wire.messages.offset_commit import OffsetCommitRequest, OffsetCommitResponse

if TYPE_CHECKING:
    from fastlog.env import Clock
    from fastlog.env.reactor import Flow, Pending, Reactor
    from fastlog.groups.coordinator import GroupCoordinator
    from fastlog.groups.offsets import TopicPartition
    from fastlog.metadata.view import ClusterView

_FIRST_VERSION_THAT_KNOWS_MISSING_GROUPS: Final = 9
TOPIC_IDS_SINCE: Final = 10
DEFAULT_RETENTION: Final = -1
MAX_TIMESTAMP_MS: Final = (1 << 63) - 1

ResponseTopic = OffsetCommitResponse.OffsetCommitResponseTopic
ResponsePartition = OffsetCommitResponse.OffsetCommitResponsePartition
RequestTopic = OffsetCommitRequest.OffsetCommitRequestTopic


class OffsetCommitHandler:
    """Stores offsets."""

    def __init__(self, reactor: Reactor, view: ClusterView, groups: GroupCoordinator) -> None:
        self._reactor = reactor
        self._clock: Clock = reactor.clock
        self._view = view
        self._groups = groups

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(8, "OffsetCommit", 2, 10, self.handle, self.refuse, is_pipelined=True)

    def handle(
        self, context: RequestContext, request: OffsetCommitRequest
    ) -> OffsetCommitResponse | Pending[OffsetCommitResponse]:
        """Commit what can be committed, and answer when it is stored."""
        if not context.authorize(OPERATION_READ, RESOURCE_GROUP, request.group_id):
            raise GroupAuthorizationFailed
        now_ms = self._clock.wall_ms()
        expire_ms = NO_EXPIRY
        if request.retention_time_ms != DEFAULT_RETENTION:
            expire_ms = min(now_ms + request.retention_time_ms, MAX_TIMESTAMP_MS)  # who says so much means for ever
        max_metadata_bytes = self._groups.options.max_metadata_bytes
        response = OffsetCommitResponse()
        accepted: dict[TopicPartition, CommittedOffset] = {}
        answers: list[ResponsePartition] = []
        for topic in request.topics:
            name, error, partition_count = self._find(context, topic)
            answered = ResponseTopic(name=topic.name, topic_id=topic.topic_id)
            response.topics.append(answered)
            for one in topic.partitions:
                metadata = one.committed_metadata or ""
                answer = ResponsePartition(partition_index=one.partition_index, error_code=error)
                answered.partitions.append(answer)
                if error:
                    continue
                if not 0 <= one.partition_index < partition_count:
                    answer.error_code = UnknownTopicOrPartition.code
                elif len(metadata) > max_metadata_bytes:
                    answer.error_code = OffsetMetadataTooLarge.code
                else:
                    accepted[name, one.partition_index] = CommittedOffset(
                        one.committed_offset, one.committed_leader_epoch, metadata, now_ms, expire_ms
                    )
                    answers.append(answer)
        if not accepted and request.topics:
            response.throttle_time_ms = context.throttle("request", 1)
            return response
        try:
            committed = self._groups.commit(
                request.group_id,
                request.member_id,
                request.group_instance_id,
                request.generation_id_or_member_epoch,
                accepted,
                tells_missing_group=context.api_version >= _FIRST_VERSION_THAT_KNOWS_MISSING_GROUPS,
            )
        except KafkaError as error:
            return _settle(context, response, answers, error.code)
        return self._reactor.spawn(self._answer(context, response, answers, committed))

    def _find(self, context: RequestContext, topic: RequestTopic) -> tuple[str, int, int]:
        """Return (name, error code, number of partitions) of a topic as the request names it."""
        image = self._view.image
        by_id = context.api_version >= TOPIC_IDS_SINCE
        name = image.topic_names.get(topic.topic_id) if by_id else topic.name
        if name is None:
            return "", UnknownTopicId.code, 0
        if not context.authorize(OPERATION_READ, RESOURCE_TOPIC, name):
            return name, TopicAuthorizationFailed.code, 0
        found = image.topics.get(name)
        if found is None:
            return name, UnknownTopicOrPartition.code, 0
        return name, NONE, len(found.partitions)

    def _answer(
        self,
        context: RequestContext,
        response: OffsetCommitResponse,
        answers: list[ResponsePartition],
        committed: Pending[int],
    ) -> Flow[OffsetCommitResponse]:
        error: int = yield committed
        return _settle(context, response, answers, error)

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> OffsetCommitResponse:
        """Return the answer that tells of an error of the whole request, in each of its partitions."""
        return OffsetCommitResponse(
            topics=[
                ResponseTopic(
                    name=topic.name,
                    topic_id=topic.topic_id,
                    partitions=[
                        ResponsePartition(partition_index=one.partition_index, error_code=error.code) for one in topic.partitions
                    ],
                )
                for topic in request.topics
            ]
        )


def _settle(
    context: RequestContext, response: OffsetCommitResponse, answers: list[ResponsePartition], error: int
) -> OffsetCommitResponse:
    for answer in answers:
        answer.error_code = error
    response.throttle_time_ms = context.throttle("request", 1)
    return response
