"""OffsetFetch (key 9): how far groups have come.

Versions 1-10. 2: all topics may be asked for; errors of the group apart from its partitions'. 3: throttling answers first
(KIP-219). 5: leader epochs (KIP-320). 6: flexible. 7: only stable offsets may be asked for (KIP-447); no transaction leaves one
unstable as yet. 8: several groups at once (KIP-709). 9: members of the protocol of KIP-848 say who they are. 10: topics by id.

A partition for which nothing was committed has offset -1, and a group that does not exist has committed nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastlog.api.answer_room import AnswerRoom
from fastlog.api.context import OPERATION_DESCRIBE, RESOURCE_GROUP, RESOURCE_TOPIC, RequestContext
from fastlog.api.registry import Api
from fastlog.errors import NONE, GroupAuthorizationFailed, KafkaError, TopicAuthorizationFailed, UnknownTopicId
from fastlog.groups.offsets import CommittedOffset, Offsets
from fastlog.wire.messages.offset_fetch import OffsetFetchRequest, OffsetFetchResponse
from fastlog.wire.schema import ZERO_UUID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastlog.groups.coordinator import GroupCoordinator
    from fastlog.metadata.view import ClusterView

_FIRST_VERSION_WITH_GROUP_ERROR: Final = 2
_FIRST_VERSION_OF_MANY: Final = 8
TOPIC_IDS_SINCE: Final = 10

NOTHING_COMMITTED: Final = CommittedOffset(-1, -1, "", -1)

Group = OffsetFetchResponse.OffsetFetchResponseGroup
Topic = OffsetFetchResponse.OffsetFetchResponseTopics
Partition = OffsetFetchResponse.OffsetFetchResponsePartitions


class OffsetFetchHandler:
    """Tells committed offsets."""

    def __init__(self, view: ClusterView, groups: GroupCoordinator) -> None:
        self._view = view
        self._groups = groups

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(9, "OffsetFetch", 1, 10, self.handle, self.refuse)

    def handle(self, context: RequestContext, request: OffsetFetchRequest) -> OffsetFetchResponse:
        """Answer for each group."""
        room = AnswerRoom()
        return _response(context, [self._fetch(context, group, room) for group in _groups(context, request)])

    def _fetch(self, context: RequestContext, group: OffsetFetchRequest.OffsetFetchRequestGroup, room: AnswerRoom) -> Group:
        answer = Group(group_id=group.group_id)
        try:
            if not context.authorize(OPERATION_DESCRIBE, RESOURCE_GROUP, group.group_id):
                raise GroupAuthorizationFailed
            offsets = self._groups.offsets_of(group.group_id)
            if group.topics is None:
                committed = [one for of_topic in offsets.by_topic.values() for one in of_topic.values()]
                room.take(sum(len(one.metadata) for one in committed), len(committed))
                answer.topics = self._all(context, offsets)
            else:
                answer.topics = [self._some(context, offsets, topic, room) for topic in group.topics]
        except KafkaError as error:
            return _failed(group, error)
        return answer

    def _all(self, context: RequestContext, offsets: Offsets) -> list[Topic]:
        topics = self._view.image.topics
        by_id = context.api_version >= TOPIC_IDS_SINCE
        answers: list[Topic] = []
        for name, of_topic in offsets.by_topic.items():
            if not context.authorize(OPERATION_DESCRIBE, RESOURCE_TOPIC, name) or (by_id and name not in topics):
                continue
            answers.append(
                Topic(
                    name=name,
                    topic_id=topics[name].id if by_id else ZERO_UUID,
                    partitions=[_partition(index, one) for index, one in of_topic.items()],
                )
            )
        return answers

    def _some(
        self, context: RequestContext, offsets: Offsets, topic: OffsetFetchRequest.OffsetFetchRequestTopics, room: AnswerRoom
    ) -> Topic:
        by_id = context.api_version >= TOPIC_IDS_SINCE
        name = self._view.image.topic_names.get(topic.topic_id) if by_id else topic.name
        error = NONE
        if name is None:
            error = UnknownTopicId.code
        elif not context.authorize(OPERATION_DESCRIBE, RESOURCE_TOPIC, name):
            error = UnknownTopicId.code if by_id else TopicAuthorizationFailed.code
        answer = Topic(name=topic.name, topic_id=topic.topic_id)
        for index in topic.partition_indexes:
            found = offsets.get(name, index) if name is not None and not error else None
            if found is not None:
                room.take(len(found.metadata))
            answer.partitions.append(_partition(index, found or NOTHING_COMMITTED, error))
        return answer

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> OffsetFetchResponse:
        """Return the answer that tells of an error of the whole request."""
        return _response(context, [_failed(group, error) for group in _groups(context, request)])


def _groups(context: RequestContext, request: OffsetFetchRequest) -> list[OffsetFetchRequest.OffsetFetchRequestGroup]:
    if context.api_version >= _FIRST_VERSION_OF_MANY:
        return request.groups
    topics = request.topics
    return [
        OffsetFetchRequest.OffsetFetchRequestGroup(
            group_id=request.group_id,
            topics=None
            if topics is None
            else [
                OffsetFetchRequest.OffsetFetchRequestTopics(name=topic.name, partition_indexes=topic.partition_indexes)
                for topic in topics
            ],
        )
    ]


def _partition(index: int, offset: CommittedOffset, error: int = NONE) -> Partition:
    return Partition(
        partition_index=index,
        committed_offset=offset.offset,
        committed_leader_epoch=offset.leader_epoch,
        metadata=offset.metadata,
        error_code=error,
    )


def _failed(group: OffsetFetchRequest.OffsetFetchRequestGroup, error: KafkaError) -> Group:
    """Return a group's answer with an error; its partitions are for the versions that have no other place for it."""
    topics: Sequence[OffsetFetchRequest.OffsetFetchRequestTopics] = group.topics or ()
    return Group(
        group_id=group.group_id,
        error_code=error.code,
        topics=[
            Topic(
                name=topic.name,
                topic_id=topic.topic_id,
                partitions=[_partition(index, NOTHING_COMMITTED, error.code) for index in topic.partition_indexes],
            )
            for topic in topics
        ],
    )


def _response(context: RequestContext, groups: list[Group]) -> OffsetFetchResponse:
    throttle_ms = context.throttle("request", 1)
    version = context.api_version
    if version >= _FIRST_VERSION_OF_MANY:
        for group in groups:
            if group.error_code:
                group.topics = []
        return OffsetFetchResponse(throttle_time_ms=throttle_ms, groups=groups)
    [group] = groups
    topics = [] if group.error_code and version >= _FIRST_VERSION_WITH_GROUP_ERROR else group.topics
    return OffsetFetchResponse(
        throttle_time_ms=throttle_ms,
        error_code=group.error_code,
        topics=[
            OffsetFetchResponse.OffsetFetchResponseTopic(
                name=topic.name,
                partitions=[
                    OffsetFetchResponse.OffsetFetchResponsePartition(
                        partition_index=one.partition_index,
                        committed_offset=one.committed_offset,
                        committed_leader_epoch=one.committed_leader_epoch,
                        metadata=one.metadata,
                        error_code=one.error_code,
                    )
                    for one in topic.partitions
                ],
            )
            for topic in topics
        ],
    )
