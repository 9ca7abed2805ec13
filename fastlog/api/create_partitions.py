"""CreatePartitions (key 37): more partitions for topics that are there (KIP-195).

Versions 0-3. 1: throttling answers first (KIP-219). 2: flexible. 3: THROTTLING_QUOTA_EXCEEDED may be answered (KIP-599).

Each topic has its own answer. A topic is answered when clients can produce to all of it, or with REQUEST_TIMED_OUT when that
takes longer than the client waits; it grows all the same. With no time at all nothing is begun. Which keys go to which partition
changes with their number: records that are there stay where they are.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from fastlog.api.context import OPERATION_ALTER, RESOURCE_TOPIC, RequestContext
from fastlog.api.registry import Api
from fastlog.api.waiting import within
from fastlog.errors import InvalidRequest, KafkaError, PolicyViolation, RequestTimedOut, TopicAuthorizationFailed
from fastlog.metadata.topic_plan import MAX_PARTITIONS_PER_REQUEST
from fastlog.wire.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsResponse

if TYPE_CHECKING:
    from fastlog.env.reactor import Flow, Pending, Reactor
    from fastlog.metadata.driver import ControllerDriver
    from fastlog.metadata.image import Image
    from fastlog.metadata.topic_plan import TopicPlanner
    from fastlog.metadata.view import ClusterView

Result = CreatePartitionsResponse.CreatePartitionsTopicResult
Wish = CreatePartitionsRequest.CreatePartitionsTopic


class CreatePartitionsHandler:
    """Lets topics grow."""

    def __init__(self, reactor: Reactor, view: ClusterView, planner: TopicPlanner, driver: ControllerDriver) -> None:
        self._reactor = reactor
        self._view = view
        self._planner = planner
        self._driver = driver

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(37, "CreatePartitions", 0, 3, self.handle, self.refuse)

    def handle(self, context: RequestContext, request: CreatePartitionsRequest) -> Pending[CreatePartitionsResponse]:
        """Add what can be added, and answer when it is there."""
        return self._reactor.spawn(self._grow(context, request))

    def _grow(self, context: RequestContext, request: CreatePartitionsRequest) -> Flow[CreatePartitionsResponse]:
        times = Counter(topic.name for topic in request.topics)
        wishes = {topic.name: topic for topic in request.topics}
        image = self._view.image
        too_many = sum(_additional(image, wish) for wish in wishes.values()) > MAX_PARTITIONS_PER_REQUEST
        results = {name: Result(name=name) for name in wishes}
        growing: list[tuple[str, Pending[Any]]] = []
        for name, wish in wishes.items():
            try:
                if times[name] > 1:
                    raise InvalidRequest("Duplicate topic name.")
                if not context.authorize(OPERATION_ALTER, RESOURCE_TOPIC, name):
                    raise TopicAuthorizationFailed
                if too_many:
                    raise PolicyViolation(f"A request may create {MAX_PARTITIONS_PER_REQUEST} partitions at most.")
                assignment = None if wish.assignments is None else [one.broker_ids for one in wish.assignments]
                added = self._planner.plan_growth(image, name, wish.count, assignment)
                if request.timeout_ms <= 0:
                    raise RequestTimedOut
                if not request.validate_only:
                    grown = self._driver.create_partitions(name, wish.count - len(added), added)
                    growing.append((name, within(self._reactor, grown, request.timeout_ms)))
            except KafkaError as error:
                results[name] = _failed(name, error)
        for name, grown in growing:
            try:
                yield grown
            except KafkaError as error:
                results[name] = _failed(name, error)
        return CreatePartitionsResponse(throttle_time_ms=context.throttle("request", 1), results=list(results.values()))

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> CreatePartitionsResponse:
        """Return the answer that tells of an error of the whole request."""
        return CreatePartitionsResponse(
            results=[_failed(name, error) for name in dict.fromkeys(topic.name for topic in request.topics)]
        )


def _additional(image: Image, wish: Wish) -> int:
    topic = image.topics.get(wish.name)
    return 0 if topic is None else max(0, wish.count - len(topic.partitions))


def _failed(name: str, error: KafkaError) -> Result:
    return Result(name=name, error_code=error.code, error_message=error.given_message)
