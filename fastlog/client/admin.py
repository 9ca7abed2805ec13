"""Topics made, altered, deleted and listed, and the cluster described: one request each, with the answer's errors raised.

Where Kafka wants the controller to be asked, it is; NOT_CONTROLLER is tried again with fresh metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from fastlog.client.cluster import Cluster, Topic
from fastlog.errors import KafkaError, NetworkException, NotController, RequestTimedOut, error_for_code
from fastlog.wire.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsResponse
from fastlog.wire.messages.create_topics import CreateTopicsRequest, CreateTopicsResponse
from fastlog.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicsResponse
from fastlog.wire.messages.describe_cluster import DescribeClusterRequest, DescribeClusterResponse
from fastlog.wire.messages.describe_configs import DescribeConfigsRequest, DescribeConfigsResponse
from fastlog.wire.messages.incremental_alter_configs import IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse

if TYPE_CHECKING:
    from fastlog.env.reactor import Flow, Pending
    from fastlog.wire.schema import Message

R = TypeVar("R", bound="Message")
T = TypeVar("T")

BROKER_DEFAULT: Final = -1
CONTROLLER_TRIES: Final = 5
TOPICS_PER_REQUEST: Final = 100
"""Topics whose options are asked for at once: an answer has some kilobytes of each."""

TOPIC: Final = 2
"""The type of a topic among the resources that have options."""
SET: Final = 0
DELETE: Final = 1

SOURCES: Final[Mapping[int, str]] = {1: "topic", 2: "broker", 3: "cluster", 4: "file", 5: "default"}
"""Where a value may come from: the topic, dynamic options of one broker or of all, the broker's file or command line."""


class ConfigValue(NamedTuple):
    """An option's value as text (None where it is secret) and where it comes from: one of `SOURCES`."""

    value: str | None
    source: str


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

    def create_partitions(self, name: str, count: int, *, validate_only: bool = False) -> Pending[None]:
        """Give a topic `count` partitions in all. Fails with InvalidPartitions, UnknownTopicOrPartition, ..."""

        def request() -> CreatePartitionsRequest:
            topic = CreatePartitionsRequest.CreatePartitionsTopic(name=name, count=count, assignments=None)
            return CreatePartitionsRequest(topics=[topic], timeout_ms=self._timeout_ms, validate_only=validate_only)

        def result(answer: CreatePartitionsResponse) -> None:
            (created,) = answer.results
            if created.error_code:
                raise error_for_code(created.error_code, created.error_message or None)

        return self._cluster.reactor.spawn(self._ask_controller(request, CreatePartitionsResponse, result))

    def alter_topic(
        self, name: str, configs: Mapping[str, str], delete: Sequence[str] = (), *, validate_only: bool = False
    ) -> Pending[None]:
        """Set some options of a topic and delete others. Fails with InvalidConfig, UnknownTopicOrPartition, ..."""
        return self._cluster.reactor.spawn(self._alter_topic(name, configs, delete, validate_only))

    def _alter_topic(self, name: str, configs: Mapping[str, str], delete: Sequence[str], validate_only: bool) -> Flow[None]:
        changed = [
            *((option, SET, value) for option, value in configs.items()),
            *((option, DELETE, None) for option in delete),
        ]

        def request() -> IncrementalAlterConfigsRequest:
            made = IncrementalAlterConfigsRequest
            altered = [
                made.AlterableConfig(name=option, config_operation=operation, value=value) for option, operation, value in changed
            ]
            resource = made.AlterConfigsResource(resource_type=TOPIC, resource_name=name, configs=altered)
            return made(resources=[resource], validate_only=validate_only)

        answer: IncrementalAlterConfigsResponse = yield self._cluster.call_any(request, IncrementalAlterConfigsResponse)
        (altered,) = answer.responses
        if altered.error_code:
            raise error_for_code(altered.error_code, altered.error_message or None)

    def topic_configs(self, names: Sequence[str]) -> Pending[dict[str, dict[str, ConfigValue]]]:
        """Return every option of some topics, by topic and by name. Fails with UnknownTopicOrPartition, ..."""
        return self._cluster.reactor.spawn(self._topic_configs(names))

    def _topic_configs(self, names: Sequence[str]) -> Flow[dict[str, dict[str, ConfigValue]]]:
        found: dict[str, dict[str, ConfigValue]] = {}
        for start in range(0, len(names), TOPICS_PER_REQUEST):
            resources = [
                DescribeConfigsRequest.DescribeConfigsResource(resource_type=TOPIC, resource_name=name, configuration_keys=None)
                for name in names[start : start + TOPICS_PER_REQUEST]
            ]
            answer: DescribeConfigsResponse = yield self._cluster.call_any(
                partial(DescribeConfigsRequest, resources=resources), DescribeConfigsResponse
            )
            for result in answer.results:
                if result.error_code:
                    raise error_for_code(result.error_code, result.error_message or None)
                found[result.resource_name] = {
                    config.name: ConfigValue(config.value, SOURCES.get(config.config_source, "other"))
                    for config in sorted(result.configs, key=lambda config: config.name)
                }
        return found

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
