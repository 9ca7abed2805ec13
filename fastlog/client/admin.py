"""Topics made, deleted and listed, and the cluster described: one request each, with the answer's errors raised.

Where Kafka wants the controller to be asked, it is; NOT_CONTROLLER is tried again with fresh metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from fastlog.client.cluster import Cluster, Topic
from fastlog.errors import KafkaError, NetworkException, NotController, RequestTimedOut, error_for_code
from fastlog.wire.messages.create_topics import CreateTopicsRequest, CreateTopicsResponse
from fastlog.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicsResponse
from fastlog.wire.messages.describe_cluster import DescribeClusterRequest, DescribeClusterResponse

if TYPE_CHECKING:
    from fastlog.env.reactor import Flow, Pending
    from fastlog.wire.schema import Message

R = TypeVar("R", bound="Message")
T = TypeVar("T")

BROKER_DEFAULT: Final = -1
CONTROLLER_TRIES: Final = 5


class Admin:
    """What is asked of a cluster as a whole."""

    def __init__(self, cluster: Cluster, *, timeout_ms: int = 30_000) -> None:
        self._cluster = cluster
        self._timeout_ms = timeout_ms

    def create_topic(
        self,
        name: str,
        *,
        partitions: int = BROKER_DEFAULT,
        replication_factor: int = BROKER_DEFAULT,
        configs: Mapping[str, str] | None = None,
        validate_only: bool = False,
    ) -> Pending[CreateTopicsResponse.CreatableTopicResult]:
        """Create a topic; the broker's defaults stand where nothing is said. Fails with TopicAlreadyExists, InvalidTopic, ..."""
        topic = CreateTopicsRequest.CreatableTopic(
            name=name,
            num_partitions=partitions,
            replication_factor=replication_factor,
            configs=[
                CreateTopicsRequest.CreatableTopicConfig(name=option, value=value) for option, value in (configs or {}).items()
            ],
        )

        def request() -> CreateTopicsRequest:
            return CreateTopicsRequest(topics=[topic], timeout_ms=self._timeout_ms, validate_only=validate_only)

        def result(answer: CreateTopicsResponse) -> CreateTopicsResponse.CreatableTopicResult:
            (created,) = answer.topics
            if created.error_code:
                raise error_for_code(created.error_code, created.error_message or None)
            return created

        return self._cluster.reactor.spawn(self._ask_controller(request, CreateTopicsResponse, result))

    def delete_topic(self, name: str) -> Pending[None]:
        """Delete a topic. Fails with UnknownTopicOrPartition, TopicDeletionDisabled, ..."""

        def request() -> DeleteTopicsRequest:
            return DeleteTopicsRequest(topic_names=[name], timeout_ms=self._timeout_ms)

        def result(answer: DeleteTopicsResponse) -> None:
            (deleted,) = answer.responses
            if deleted.error_code:
                raise error_for_code(deleted.error_code, deleted.error_message or None)

        return self._cluster.reactor.spawn(self._ask_controller(request, DeleteTopicsResponse, result))

    def topics(self, names: Sequence[str] | None = None) -> Pending[list[Topic]]:
        """Describe some topics, or all; UnknownTopicOrPartition when one of the named is not there."""
        return self._cluster.reactor.spawn(self._topics(names))

    def _topics(self, names: Sequence[str] | None) -> Flow[list[Topic]]:
        if names is None:
            yield self._cluster.refresh(None)
            return [self._cluster.topics[name] for name in sorted(self._cluster.topics)]
        found = []
        for name in names:
            found.append((yield self._cluster.topic(name)))
        return found

    def describe_cluster(self) -> Pending[DescribeClusterResponse]:
        """Name the cluster's id, controller and brokers."""
        return self._cluster.call_any(DescribeClusterRequest, DescribeClusterResponse)

    def _ask_controller(self, request: Callable[[], Message], response_type: type[R], result: Callable[[R], T]) -> Flow[T]:
        for tries_left in reversed(range(CONTROLLER_TRIES)):
            try:
                yield self._cluster.refresh([])
                answer = yield self._cluster.call(self._cluster.controller_id, request(), response_type)
                return result(answer)
            except KafkaError as error:
                # A request that may have been carried out is not repeated: the second answer would be misleading.
                maybe_done = isinstance(error, (NetworkException, RequestTimedOut))
                if maybe_done or not isinstance(error, NotController) or not tries_left:
                    raise
            yield self._cluster.sleep(self._cluster.retry_backoff_ms)
        raise AssertionError("unreachable")
