"""Groups looked at and changed from outside: listed, described, their offsets read, set and deleted.

Each request goes to the group's coordinator, which is looked for; what says that it is elsewhere, or is still loading, is tried
again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from fastlog.client.assignments import TopicPartition, decode_assignment
from fastlog.errors import GroupIdNotFound, KafkaError, NetworkException, RequestTimedOut, error_for_code
from fastlog.wire.messages.delete_groups import DeleteGroupsRequest, DeleteGroupsResponse
from fastlog.wire.messages.describe_groups import DescribeGroupsRequest, DescribeGroupsResponse
from fastlog.wire.messages.find_coordinator import FindCoordinatorRequest, FindCoordinatorResponse
from fastlog.wire.messages.list_groups import ListGroupsRequest, ListGroupsResponse
from fastlog.wire.messages.offset_commit import OffsetCommitRequest, OffsetCommitResponse
from fastlog.wire.messages.offset_fetch import OffsetFetchRequest, OffsetFetchResponse

if TYPE_CHECKING:
    from fastlog.client.cluster import Cluster
    from fastlog.env.reactor import Flow, Pending
    from fastlog.wire.schema import Message

T = TypeVar("T")

COORDINATOR_TRIES: Final = 50
KEY_TYPE_GROUP: Final = 0
CONSUMER: Final = "consumer"
DEAD: Final = "Dead"


class ListedGroup(NamedTuple):
    """A group as its coordinator lists it."""

    group_id: str
    state: str
    protocol_type: str
    coordinator: int


class DescribedMember(NamedTuple):
    """A member, and what it owns (nothing where the group is of another type than `consumer`)."""

    member_id: str
    instance_id: str | None
    client_id: str
    host: str
    owns: tuple[TopicPartition, ...]


class DescribedGroup(NamedTuple):
    """A group with its members."""

    group_id: str
    state: str
    protocol_type: str
    protocol: str
    coordinator: int
    members: tuple[DescribedMember, ...]


class Groups:
    """What is asked of groups' coordinators."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def all(self) -> Pending[list[ListedGroup]]:
        """List the groups of all brokers, by name."""
        return self._cluster.reactor.spawn(self._list())

    def describe(self, group_id: str) -> Pending[DescribedGroup]:
        """Describe a group. Fails with GroupIdNotFound."""
        return self._cluster.reactor.spawn(self._describe(group_id))

    def offsets(self, group_id: str) -> Pending[dict[TopicPartition, int]]:
        """Return all that a group has committed."""

        def request() -> OffsetFetchRequest:
            return OffsetFetchRequest(groups=[OffsetFetchRequest.OffsetFetchRequestGroup(group_id=group_id, topics=None)])

        def result(answer: OffsetFetchResponse) -> dict[TopicPartition, int]:
            (group,) = answer.groups
            _raise(group.error_code)
            return {(topic.name, one.partition_index): one.committed_offset for topic in group.topics for one in topic.partitions}

        return self.ask(group_id, request, OffsetFetchResponse, result)

    def commit(
        self,
        group_id: str,
        offsets: Mapping[TopicPartition, int],
        *,
        member_id: str = "",
        generation: int = -1,
        instance_id: str | None = None,
    ) -> Pending[None]:
        """Commit offsets, of a group without members or as one of them. Fails with UnknownMemberId, IllegalGeneration, ..."""
        topics: dict[str, OffsetCommitRequest.OffsetCommitRequestTopic] = {}
        for (name, partition), offset in offsets.items():
            topic = topics.setdefault(name, OffsetCommitRequest.OffsetCommitRequestTopic(name=name))
            topic.partitions.append(
                OffsetCommitRequest.OffsetCommitRequestPartition(partition_index=partition, committed_offset=offset)
            )

        def request() -> OffsetCommitRequest:
            return OffsetCommitRequest(
                group_id=group_id,
                member_id=member_id,
                group_instance_id=instance_id,
                generation_id_or_member_epoch=generation,
                topics=list(topics.values()),
            )

        def result(answer: OffsetCommitResponse) -> None:
            for topic in answer.topics:
                for one in topic.partitions:
                    _raise(one.error_code)

        return self.ask(group_id, request, OffsetCommitResponse, result)

    def delete(self, group_id: str) -> Pending[None]:
        """Delete a group without members. Fails with GroupIdNotFound, NonEmptyGroup."""

        def request() -> DeleteGroupsRequest:
            return DeleteGroupsRequest(groups_names=[group_id])

        def result(answer: DeleteGroupsResponse) -> None:
            _raise(answer.results[0].error_code)

        return self.ask(group_id, request, DeleteGroupsResponse, result)

    def ask(
        self,
        group_id: str,
        request: Callable[[], Message],
        response_type: type[Message],
        result: Callable[..., T],
        *,
        timeout_ms: float | None = None,
        tries: int = COORDINATOR_TRIES,
    ) -> Pending[T]:
        """Ask a group's coordinator; `result` takes the answer apart, and raises what is an error in it."""
        return self._cluster.reactor.spawn(self._ask(group_id, request, response_type, result, timeout_ms, tries))

    def _ask(
        self,
        group_id: str,
        request: Callable[[], Message],
        response_type: type[Message],
        result: Callable[..., T],
        timeout_ms: float | None,
        tries: int,
    ) -> Flow[T]:
        for tries_left in reversed(range(tries)):
            try:
                coordinator = yield from self.coordinator(group_id)
                return result((yield self._cluster.call(coordinator, request(), response_type, timeout_ms)))
            except KafkaError as error:
                if not error.retriable or not tries_left:
                    raise
            yield self._cluster.sleep(self._cluster.retry_backoff_ms)
        raise AssertionError("unreachable")

    def coordinator(self, group_id: str) -> Flow[int]:
        """Return the broker that has a group."""

        def request() -> FindCoordinatorRequest:
            return FindCoordinatorRequest(key_type=KEY_TYPE_GROUP, coordinator_keys=[group_id])

        answer = yield self._cluster.call_any(request, FindCoordinatorResponse)
        (found,) = answer.coordinators
        if found.error_code:
            raise error_for_code(found.error_code, found.error_message or None)
        if found.node_id not in self._cluster.brokers:
            yield self._cluster.refresh([])
        node_id: int = found.node_id
        return node_id

    def _list(self) -> Flow[list[ListedGroup]]:
        yield self._cluster.refresh([])
        found: list[ListedGroup] = []
        for broker in sorted(self._cluster.brokers):
            answer = yield from self._list_of(broker)
            found += [ListedGroup(one.group_id, one.group_state, one.protocol_type, broker) for one in answer.groups]
        return sorted(found)

    def _list_of(self, broker: int) -> Flow[ListGroupsResponse]:
        for tries_left in reversed(range(COORDINATOR_TRIES)):
            try:
                answer: ListGroupsResponse = yield self._cluster.call(broker, ListGroupsRequest(), ListGroupsResponse)
                _raise(answer.error_code)
                return answer
            except (NetworkException, RequestTimedOut):
                raise
            except KafkaError as error:
                if not error.retriable or not tries_left:
                    raise
            yield self._cluster.sleep(self._cluster.retry_backoff_ms)
        raise AssertionError("unreachable")

    def _describe(self, group_id: str) -> Flow[DescribedGroup]:
        def result(answer: DescribeGroupsResponse) -> DescribeGroupsResponse.DescribedGroup:
            (described,) = answer.groups
            _raise(described.error_code)
            if described.group_state == DEAD:
                raise GroupIdNotFound(f"Group {group_id} not found.")
            return described

        found: DescribeGroupsResponse.DescribedGroup = yield self.ask(
            group_id, lambda: DescribeGroupsRequest(groups=[group_id]), DescribeGroupsResponse, result
        )
        coordinator = yield from self.coordinator(group_id)
        members = tuple(
            DescribedMember(
                one.member_id,
                one.group_instance_id,
                one.client_id,
                one.client_host,
                tuple(decode_assignment(bytes(one.member_assignment))) if found.protocol_type == CONSUMER else (),
            )
            for one in found.members
        )
        return DescribedGroup(group_id, found.group_state, found.protocol_type, found.protocol_data, coordinator, members)


def _raise(error: int) -> None:
    if error:
        raise error_for_code(error)
