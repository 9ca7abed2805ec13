"""CreateTopics (key 19).

Versions 2-7. 2: throttling answers first (KIP-219). 4: partitions and replication factor may be left to the broker, -1 (KIP-464).
5: flexible; the answer tells the topic's partitions, replication factor and options (KIP-525). 6: THROTTLING_QUOTA_EXCEEDED may
be answered (KIP-599). 7: topic ids (KIP-516).

Each topic has its own answer, and what is wrong with one harms no other. A topic is answered when clients can produce to it, or
with REQUEST_TIMED_OUT when that takes longer than the client waits; it is then created all the same. With no time at all
nothing is begun.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from fastlog.api.config_entries import strongest_source, topic_entries
from fastlog.api.context import (
    CLUSTER_RESOURCE_NAME,
    OPERATION_CREATE,
    OPERATION_DESCRIBE_CONFIGS,
    RESOURCE_CLUSTER,
    RESOURCE_TOPIC,
    RequestContext,
)
from fastlog.api.encoded import EncodedAnswer, Portions
from fastlog.api.registry import Api
from fastlog.api.waiting import within
from fastlog.errors import InvalidRequest, KafkaError, PolicyViolation, RequestTimedOut, TopicAuthorizationFailed
from fastlog.metadata.topic_plan import MAX_PARTITIONS_PER_REQUEST, TopicWish
from fastlog.wire.messages.create_topics import CreateTopicsRequest, CreateTopicsResponse

if TYPE_CHECKING:
    from fastlog.env.reactor import Flow, Pending, Reactor
    from fastlog.metadata.broker_options import BrokerOptions
    from fastlog.metadata.controller import NewTopic
    from fastlog.metadata.driver import ControllerDriver
    from fastlog.metadata.topic_plan import TopicPlanner
    from fastlog.metadata.view import ClusterView

TOPICS_PER_TURN: Final = 50
"""Each takes some 100 us, most of it for its options in the answer."""
FIRST_WITH_OPTIONS: Final = 5

Result = CreateTopicsResponse.CreatableTopicResult


class CreateTopicsHandler:
    """Creates topics."""

    def __init__(
        self, reactor: Reactor, options: BrokerOptions, view: ClusterView, planner: TopicPlanner, driver: ControllerDriver
    ) -> None:
        self._reactor = reactor
        self._options = options
        self._view = view
        self._planner = planner
        self._driver = driver

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(19, "CreateTopics", 2, 7, self.handle, self.refuse)

    def handle(self, context: RequestContext, request: CreateTopicsRequest) -> Pending[EncodedAnswer]:
        """Create what can be created, and answer when it is there."""
        return self._reactor.spawn(self._create(context, request))

    def _create(self, context: RequestContext, request: CreateTopicsRequest) -> Flow[EncodedAnswer]:
        times = Counter(topic.name for topic in request.topics)
        wishes = {topic.name: _wish(topic) for topic in request.topics}
        too_many = sum(max(0, self._planner.partition_count(wish)) for wish in wishes.values()) > MAX_PARTITIONS_PER_REQUEST
        outcomes: dict[str, NewTopic | KafkaError] = {}
        creating: list[tuple[str, Pending[Any]]] = []
        for count, (name, wish) in enumerate(wishes.items(), 1):
            try:
                if times[name] > 1:
                    raise InvalidRequest("Duplicate topic name.")
                if too_many:
                    raise PolicyViolation(f"A request may create {MAX_PARTITIONS_PER_REQUEST} partitions at most.")
                if not self._may_create(context, name):
                    raise TopicAuthorizationFailed
                topic = self._planner.plan(self._view.image, wish)
                if request.timeout_ms <= 0:
                    raise RequestTimedOut
                if not request.validate_only:
                    creating.append((name, within(self._reactor, self._driver.create_topic(topic), request.timeout_ms)))
                outcomes[name] = topic
            except KafkaError as error:
                outcomes[name] = error
            if count % TOPICS_PER_TURN == 0:
                yield self._reactor.next_turn()
        for name, created in creating:
            try:
                yield created
            except KafkaError as error:
                outcomes[name] = error
        begun = CreateTopicsResponse(throttle_time_ms=context.throttle("request", 1))
        portions = Portions(begun, "topics", context.api_version)
        told = list(outcomes.items())
        for first in range(0, len(told), TOPICS_PER_TURN):
            if first:
                yield self._reactor.next_turn()
            portions.add([self._result(context, *one) for one in told[first : first + TOPICS_PER_TURN]])
        return portions.answer()

    def _may_create(self, context: RequestContext, topic: str) -> bool:
        return context.authorize(OPERATION_CREATE, RESOURCE_CLUSTER, CLUSTER_RESOURCE_NAME) or context.authorize(
            OPERATION_CREATE, RESOURCE_TOPIC, topic
        )

    def _result(self, context: RequestContext, name: str, outcome: NewTopic | KafkaError) -> Result:
        return _failed(name, outcome) if isinstance(outcome, KafkaError) else self._created(context, outcome)

    def _created(self, context: RequestContext, topic: NewTopic) -> Result:
        result = Result(name=topic.name, topic_id=topic.id, error_message=None)
        if not context.authorize(OPERATION_DESCRIBE_CONFIGS, RESOURCE_TOPIC, topic.name):
            result.topic_config_error_code = TopicAuthorizationFailed.code
            result.configs = None
            return result
        if context.api_version < FIRST_WITH_OPTIONS:
            return result
        result.num_partitions = len(topic.assignment)
        result.replication_factor = len(topic.assignment[0])
        config = self._options.config
        result.configs = [
            CreateTopicsResponse.CreatableTopicConfigs(
                name=entry.name, value=entry.value, config_source=strongest_source(config, entry.name, topic.config)
            )
            for entry in topic_entries(config, topic.config)
        ]
        return result

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> CreateTopicsResponse:
        """Return the answer that tells of an error of the whole request."""
        return CreateTopicsResponse(
            topics=[_failed(name, error) for name in dict.fromkeys(topic.name for topic in request.topics)]
        )


def _wish(topic: CreateTopicsRequest.CreatableTopic) -> TopicWish:
    return TopicWish(
        topic.name,
        topic.num_partitions,
        topic.replication_factor,
        [(assigned.partition_index, assigned.broker_ids) for assigned in topic.assignments],
        {config.name: config.value for config in topic.configs},
    )


def _failed(name: str, error: KafkaError) -> Result:
    return Result(name=name, error_code=error.code, error_message=error.given_message)
