"""From what somebody wants a topic to be to the topic that will be created, or to the error that says why not.

Rules and their order are Kafka 4.3.1's, as its answers to wrong requests show: name, existence, collision; then options; then
assignment, or replication factor before partition count. What a topic's logs cannot be told is refused here as well, so that no
topic exists whose logs do not open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from fastlog.env import Random
from fastlog.errors import (
    InvalidConfig,
    InvalidPartitions,
    InvalidReplicaAssignment,
    InvalidReplicationFactor,
    InvalidRequest,
    InvalidTopic,
    TopicAlreadyExists,
    UnknownTopicOrPartition,
    UsageError,
)
from fastlog.metadata.controller import NewTopic
from fastlog.metadata.image import METADATA_TOPIC, Image, colliding_name, why_illegal_name
from fastlog.metadata.placement import assign_replicas
from fastlog.metadata.registration import new_id

UNSAID: Final = -1
"""A partition count or replication factor that is left to the broker's defaults."""
MAX_REPLICATION_FACTOR: Final = 1
"""More than one replica of a partition would be in sync by name only."""
MAX_PARTITIONS_PER_REQUEST: Final = 10_000
"""Partitions that one request may create (Kafka's bound)."""


class TopicWish(NamedTuple):
    """What a client asks for. `assignment` are pairs of a partition's number and its brokers; empty: the cluster chooses."""

    name: str
    partitions: int = UNSAID
    replication_factor: int = UNSAID
    assignment: Sequence[tuple[int, Sequence[int]]] = ()
    options: Mapping[str, str | None] = {}


class TopicPlanner:
    """Turns wishes into topics, with the broker's defaults."""

    def __init__(
        self,
        random: Random,
        default_partitions: int,
        default_replication_factor: int,
        check_options: Callable[[Mapping[str, str]], object],
    ) -> None:
        """`check_options` raises UsageError for options that a topic cannot have."""
        self._random = random
        self._default_partitions = default_partitions
        self._default_replication_factor = default_replication_factor
        self._check_options = check_options

    def partition_count(self, wish: TopicWish) -> int:
        """Return how many partitions a wish means."""
        if wish.assignment:
            return len(wish.assignment)
        return self._default_partitions if wish.partitions == UNSAID else wish.partitions

    def plan(self, image: Image, wish: TopicWish) -> NewTopic:
        """Return the topic to create. Raises the KafkaError that tells what is wrong with the wish."""
        reason = why_illegal_name(wish.name)
        if reason is not None:
            raise InvalidTopic(f"Topic name is invalid: {reason}.")
        if wish.name == METADATA_TOPIC:
            raise InvalidRequest(f"Creation of internal topic {METADATA_TOPIC} is prohibited.")
        if wish.name in image.topics:
            raise TopicAlreadyExists(f"Topic '{wish.name}' already exists.")
        colliding = colliding_name(wish.name, image.topics)
        if colliding is not None:
            raise InvalidTopic(f"Topic '{wish.name}' collides with existing topic '{colliding}': in metrics '.' and '_' are one.")
        options = self._options(wish.options)
        assignment = self._given_assignment(image, wish) if wish.assignment else self._chosen_assignment(image, wish)
        if len(assignment[0]) > MAX_REPLICATION_FACTOR:
            raise InvalidReplicationFactor(f"Replication factor {len(assignment[0])} cannot be had yet: brokers don't replicate.")
        return NewTopic(wish.name, new_id(self._random), tuple(assignment), options)

    def plan_growth(
        self, image: Image, name: str, count: int, assignment: Sequence[Sequence[int]] | None = None
    ) -> list[tuple[int, ...]]:
        """Return the replicas of each partition that a topic needs to have `count`.

        `assignment` gives the brokers of each new one; None: the cluster chooses. Raises the KafkaError that tells what is wrong.
        """
        topic = image.topics.get(name)
        if topic is None:
            raise UnknownTopicOrPartition
        present = len(topic.partitions)
        if count == present:
            raise InvalidPartitions(f"Topic already has {present} partition(s).")
        if count < present:
            raise InvalidPartitions(f"Topic {name} has {present} partition(s), and {count} would be fewer.")
        factor = len(topic.partitions[0].replicas)
        if assignment is None:
            return self._choose(image, count - present, factor, present)
        if len(assignment) != count - present:
            raise InvalidReplicaAssignment(
                f"{count - present} partition(s) would be added, but the manual assignment is of {len(assignment)}."
            )
        for index, replicas in enumerate(assignment, present):
            _check_replicas(image, index, replicas)
            if len(replicas) != factor:
                raise InvalidReplicaAssignment(
                    f"The manual assignment gives partition {index} {len(replicas)} broker(s), but partition 0 has {factor}."
                )
        return [tuple(replicas) for replicas in assignment]

    def _options(self, wanted: Mapping[str, str | None]) -> dict[str, str]:
        options: dict[str, str] = {}
        for name, value in wanted.items():
            if value is None:
                raise InvalidConfig(f"Topic option {name} has no value.")
            options[name] = value
        try:
            self._check_options(options)
        except UsageError as error:
            raise InvalidConfig(str(error)) from None
        return options

    def _chosen_assignment(self, image: Image, wish: TopicWish) -> list[tuple[int, ...]]:
        factor = self._default_replication_factor if wish.replication_factor == UNSAID else wish.replication_factor
        if factor < 1:
            raise InvalidReplicationFactor("Replication factor must be larger than 0, or -1 to use the default value.")
        count = self.partition_count(wish)
        if count < 1:
            raise InvalidPartitions("Number of partitions must be larger than 0, or -1 to use the default value.")
        return self._choose(image, count, factor)

    def _choose(self, image: Image, count: int, factor: int, first_partition: int = 0) -> list[tuple[int, ...]]:
        brokers = list(image.brokers)
        if factor > len(brokers):
            raise InvalidReplicationFactor(
                f"Replication factor {factor} cannot be reached: only {len(brokers)} broker(s) are registered."
            )
        start, shift = self._random.below(len(brokers)), self._random.below(len(brokers))
        return assign_replicas(brokers, count, factor, start, shift, first_partition)

    def _given_assignment(self, image: Image, wish: TopicWish) -> list[tuple[int, ...]]:
        if wish.replication_factor != UNSAID:
            raise InvalidRequest("A manual partition assignment was given, but the replication factor was not set to -1.")
        if wish.partitions != UNSAID:
            raise InvalidRequest("A manual partition assignment was given, but the number of partitions was not set to -1.")
        by_index: dict[int, tuple[int, ...]] = {}
        for index, replicas in wish.assignment:
            if index in by_index:
                raise InvalidReplicaAssignment(f"The manual assignment has partition {index} more than once.")
            _check_replicas(image, index, replicas)
            by_index[index] = tuple(replicas)
        if sorted(by_index) != list(range(len(by_index))):
            raise InvalidReplicaAssignment("The manual assignment's partitions are not numbered 0, 1, 2 and so on.")
        assignment = [by_index[index] for index in range(len(by_index))]
        for index, given in enumerate(assignment):
            if len(given) != len(assignment[0]):
                raise InvalidReplicaAssignment(
                    f"The manual assignment gives partition {index} {len(given)} broker(s), but partition 0 {len(assignment[0])}."
                )
        return assignment


def _check_replicas(image: Image, index: int, replicas: Sequence[int]) -> None:
    if not replicas:
        raise InvalidReplicaAssignment(f"The manual assignment gives partition {index} no brokers.")
    for position, broker in enumerate(replicas):
        if broker in replicas[:position]:
            raise InvalidReplicaAssignment(f"The manual assignment gives partition {index} broker {broker} more than once.")
        if broker not in image.brokers:
            raise InvalidReplicaAssignment(f"The manual assignment names broker {broker}, which is not registered.")
