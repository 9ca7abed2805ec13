"""Metadata (key 3): who leads what, and where it is reached.

Versions 0-13. 0: no topics means all of them. 1: the controller; null means all topics, none means none. 2: the cluster's id. 3:
throttle time. 4: the client says whether topics may be created. 5: offline replicas. 7: leader epochs. 8: authorised operations
(KIP-430). 9: flexible. 10: topic ids in answers (KIP-516). 12: topics may be asked for by id. 13: REBOOTSTRAP_REQUIRED may be
answered for the whole request (KIP-1102); this broker never has a reason to.

A topic that is missing is created when the client and `auto.create.topics.enable` allow it, and answered when clients can
produce to it; Kafka answers UNKNOWN_TOPIC_OR_PARTITION meanwhile, and so does this one when it takes long.

Answers are kept encoded until the image changes: clients ask for the same few sets of topics again and again.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from fastlog.api import authorized_operations
from fastlog.api.context import (
    CLUSTER_RESOURCE_NAME,
    OPERATION_CREATE,
    OPERATION_DESCRIBE,
    RESOURCE_CLUSTER,
    RESOURCE_TOPIC,
    RequestContext,
)
from fastlog.api.encoded import EncodedAnswer
from fastlog.api.leadership import leader_seen
from fastlog.api.registry import Api
from fastlog.api.waiting import within
from fastlog.errors import (
    NONE,
    InvalidRequest,
    InvalidTopic,
    KafkaError,
    LeaderNotAvailable,
    ListenerNotFound,
    ReplicaNotAvailable,
    RequestTimedOut,
    TopicAlreadyExists,
    TopicAuthorizationFailed,
    UnknownTopicId,
    UnknownTopicOrPartition,
)
from fastlog.metadata.image import INTERNAL_TOPICS, METADATA_TOPIC, why_illegal_name
from fastlog.metadata.topic_plan import TopicWish
from fastlog.wire.messages.metadata import MetadataRequest, MetadataResponse
from fastlog.wire.schema import ZERO_UUID

if TYPE_CHECKING:
    from fastlog.env.reactor import Flow, Pending, Reactor
    from fastlog.metadata.driver import ControllerDriver
    from fastlog.metadata.image import Image, Partition, Topic
    from fastlog.metadata.topic_plan import TopicPlanner
    from fastlog.metadata.view import ClusterView

KEY: Final = 3
AUTO_CREATE_WAIT_MS: Final = 2_000
CACHED_ANSWERS: Final = 64
CACHED_BYTES: Final = 8 << 20

_FIRST_VERSION_WITH_LISTENER_NOT_FOUND: Final = 6
_FIRST_VERSION_WITH_IDS: Final = 12

ResponseTopic = MetadataResponse.MetadataResponseTopic
ResponsePartition = MetadataResponse.MetadataResponsePartition


class MetadataHandler:
    """Tells of topics and brokers."""

    def __init__(
        self, reactor: Reactor, view: ClusterView, planner: TopicPlanner, driver: ControllerDriver, *, auto_create: bool
    ) -> None:
        self._reactor = reactor
        self._view = view
        self._planner = planner
        self._driver = driver
        self._auto_create = auto_create
        self._being_created: dict[str, Pending[Any]] = {}
        self._answers: OrderedDict[tuple[Any, ...], EncodedAnswer] = OrderedDict()
        self._answers_bytes = 0
        self._answers_generation = -1

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(KEY, "Metadata", 0, 13, self.handle, self.refuse)

    def handle(
        self, context: RequestContext, request: MetadataRequest
    ) -> MetadataResponse | EncodedAnswer | Pending[MetadataResponse | EncodedAnswer]:
        """Answer from the image; later, when topics have to be created first."""
        version = context.api_version
        topics = request.topics
        if topics is None or (version == 0 and not topics):
            return self._answer(context, request, None)
        for topic in topics:
            if version < _FIRST_VERSION_WITH_IDS:
                if topic.topic_id != ZERO_UUID:
                    raise InvalidRequest(f"Version {version} asks for topics by name, not by id.")
                if topic.name is None:
                    raise InvalidRequest(f"Version {version} needs the topics' names.")
            elif topic.name is None and topic.topic_id == ZERO_UUID:
                raise InvalidRequest("A topic has neither name nor id.")
        names = [topic.name for topic in topics if topic.topic_id == ZERO_UUID and topic.name is not None]
        missing = self._to_be_created(context, names) if self._auto_create and request.allow_auto_topic_creation else []
        if missing:
            return self._reactor.spawn(self._create_and_answer(context, request, missing))
        return self._answer(context, request, {})

    # ---- creating ---------------------------------------------------------------------------------------------------------

    def _to_be_created(self, context: RequestContext, names: list[str]) -> list[str]:
        known = self._view.image.topics
        return [
            name
            for name in dict.fromkeys(names)
            if name not in known
            and why_illegal_name(name) is None
            and name not in INTERNAL_TOPICS
            and name != METADATA_TOPIC
            and context.authorize(OPERATION_DESCRIBE, RESOURCE_TOPIC, name)
        ]

    def _create_and_answer(
        self, context: RequestContext, request: MetadataRequest, names: list[str]
    ) -> Flow[MetadataResponse | EncodedAnswer]:
        creating: list[tuple[str, Pending[Any]]] = []
        errors: dict[str, int] = {}
        for name in names:
            try:
                if not context.authorize(OPERATION_CREATE, RESOURCE_CLUSTER, CLUSTER_RESOURCE_NAME) and not context.authorize(
                    OPERATION_CREATE, RESOURCE_TOPIC, name
                ):
                    raise TopicAuthorizationFailed
                created = self._being_created.get(name)
                if created is None:
                    created = self._driver.create_topic(self._planner.plan(self._view.image, TopicWish(name)))
                    self._being_created[name] = created
                    created.then(partial(self._created, name))
                creating.append((name, within(self._reactor, created, AUTO_CREATE_WAIT_MS)))
            except KafkaError as error:
                errors[name] = error.code
        for name, created in creating:
            try:
                yield created
            except (TopicAlreadyExists, RequestTimedOut):
                pass  # somebody else is creating it, or it will be there soon
            except KafkaError as error:
                errors[name] = error.code
        return self._answer(context, request, errors)

    def _created(self, name: str, _: Pending[Any]) -> None:
        del self._being_created[name]

    # ---- answering --------------------------------------------------------------------------------------------------------

    def _answer(
        self, context: RequestContext, request: MetadataRequest, errors: dict[str, int] | None
    ) -> MetadataResponse | EncodedAnswer:
        """Answer for the topics of the request, or for all where `errors` is None; `errors` are those of creations."""
        image = self._view.image
        throttle_ms = context.throttle("request", 1)
        if errors is None:
            questions: list[tuple[str | None, bytes]] = [
                (name, ZERO_UUID) for name in image.topics if context.authorize(OPERATION_DESCRIBE, RESOURCE_TOPIC, name)
            ]
        else:
            assert request.topics is not None
            questions = list(
                dict.fromkeys(
                    (topic.name, ZERO_UUID) if topic.topic_id == ZERO_UUID else (None, topic.topic_id) for topic in request.topics
                )
            )
        forbidden = [
            question for question in questions if errors is not None and not self._may_describe(context, image, question)
        ]
        key: tuple[Any, ...] | None = None
        if not throttle_ms and not errors and not forbidden:
            operations = request.include_cluster_authorized_operations, request.include_topic_authorized_operations
            if not any(operations):
                key = (context.api_version, context.listener_name, tuple(questions))
                found = self._cached(image, key)
                if found is not None:
                    return found
        response = MetadataResponse(
            throttle_time_ms=throttle_ms,
            brokers=_brokers(image, context.listener_name),
            cluster_id=image.cluster_id,
            controller_id=image.controller_id,
        )
        for name, topic_id in questions:
            if (name, topic_id) in forbidden:
                error = TopicAuthorizationFailed.code if name is not None else UnknownTopicId.code
                response.topics.append(ResponseTopic(error_code=error, name=name, topic_id=topic_id))
                continue
            topic = image.topics.get(name) if name is not None else image.topic_by_id(topic_id)
            if topic is None:
                response.topics.append(_missing(name, topic_id, (errors or {}).get(name or "")))
                continue
            described = _describe(context, image, topic)
            if request.include_topic_authorized_operations:
                described.topic_authorized_operations = authorized_operations.on_topic(context, topic.name)
            response.topics.append(described)
        if request.include_cluster_authorized_operations:
            response.cluster_authorized_operations = authorized_operations.on_cluster(context)
        return response if key is None else self._keep(key, response, context.api_version)

    @staticmethod
    def _may_describe(context: RequestContext, image: Image, question: tuple[str | None, bytes]) -> bool:
        name = question[0] if question[0] is not None else image.topic_names.get(question[1])
        return name is None or context.authorize(OPERATION_DESCRIBE, RESOURCE_TOPIC, name)

    def _cached(self, image: Image, key: tuple[Any, ...]) -> EncodedAnswer | None:
        if self._answers_generation != image.generation:
            self._answers.clear()
            self._answers_bytes = 0
            self._answers_generation = image.generation
            return None
        found = self._answers.get(key)
        if found is not None:
            self._answers.move_to_end(key)
        return found

    def _keep(self, key: tuple[Any, ...], response: MetadataResponse, version: int) -> EncodedAnswer:
        answer = EncodedAnswer(KEY, [response.encode(version)])
        self._answers[key] = answer
        self._answers_bytes += answer.size_bytes
        while len(self._answers) > CACHED_ANSWERS or self._answers_bytes > CACHED_BYTES:
            self._answers_bytes -= self._answers.popitem(last=False)[1].size_bytes
        return answer

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> MetadataResponse:
        """Return the answer that tells of an error of the whole request, in each of its topics as there is no other place."""
        topics = [
            ResponseTopic(error_code=error.code, name=topic.name or "", topic_id=topic.topic_id) for topic in request.topics or []
        ]
        return MetadataResponse(topics=topics)


def _brokers(image: Image, listener: str) -> list[MetadataResponse.MetadataResponseBroker]:
    return [
        MetadataResponse.MetadataResponseBroker(node_id=broker.id, host=endpoint.host, port=endpoint.port, rack=broker.rack)
        for broker in image.brokers.values()
        if (endpoint := broker.endpoint(listener)) is not None
    ]


def _missing(name: str | None, topic_id: bytes, error: int | None) -> ResponseTopic:
    if name is None:
        return ResponseTopic(error_code=UnknownTopicId.code, name=None, topic_id=topic_id)
    if error is None:
        error = UnknownTopicOrPartition.code if why_illegal_name(name) is None else InvalidTopic.code
    return ResponseTopic(error_code=error, name=name, is_internal=name in INTERNAL_TOPICS)


def _describe(context: RequestContext, image: Image, topic: Topic) -> ResponseTopic:
    return ResponseTopic(
        name=topic.name,
        topic_id=topic.id,
        is_internal=topic.is_internal,
        partitions=[_describe_partition(context, image, index, one) for index, one in enumerate(topic.partitions)],
    )


def _describe_partition(context: RequestContext, image: Image, index: int, partition: Partition) -> ResponsePartition:
    """Describe a partition; version 0 lists only living replicas and says so by an error."""
    brokers, version = image.brokers, context.api_version
    offline = [replica for replica in partition.replicas if replica not in brokers]
    replicas, isr = list(partition.replicas), list(partition.isr)
    if version == 0 and offline:
        replicas = [replica for replica in replicas if replica in brokers]
        isr = [replica for replica in isr if replica in brokers]
    error, leader = leader_seen(image, partition, context.listener_name)
    if error == ListenerNotFound.code and version < _FIRST_VERSION_WITH_LISTENER_NOT_FOUND:
        error = LeaderNotAvailable.code
    elif error == NONE and version == 0 and offline:
        error = ReplicaNotAvailable.code
    return ResponsePartition(
        error_code=error,
        partition_index=index,
        leader_id=leader,
        leader_epoch=partition.leader_epoch,
        replica_nodes=replicas,
        isr_nodes=isr,
        offline_replicas=offline,
    )
