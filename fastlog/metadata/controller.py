"""What the controller decides: from an image, the operations on the coordinator and what brokers have to be told. Pure.

Rules (Kafka's controller, as of 3.9, with epochs as the only source of safety):

* A partition leaves "new" when one of its replicas lives: the first living one leads, all living ones are in sync, under
  epoch 0, or the one after the last that an adopted log has records under.
* A leader stays while it lives in the incarnation that was elected. One that has registered anew since (its broker epoch is
  greater than the zxid of the partition's state) may have lost what was never synced, so it leads again only under a new
  leader epoch: no two incarnations write under one.
* When the leader is gone, the first replica in order that is in sync and lives leads. When there is none the partition has no
  leader and keeps its ISR: nobody else may ever have acknowledged records.
* Replicas that are gone leave the ISR, except the last.
* Each change of leader or ISR takes the next leader epoch, and is written under a check of the state's version and of the
  controller epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from fastlog.coordinator.client import request_bytes
from fastlog.coordinator.jute import MAX_REQUEST_BYTES
from fastlog.coordinator.tree import Check, Create, Delete, Operation, SetData
from fastlog.metadata import layout
from fastlog.metadata.image import INTERNAL_TOPICS, METADATA_TOPIC, NO_LEADER, Broker, Image, Partition, Topic, why_illegal_name


class Change(NamedTuple):
    """A partition's new state, as its replicas have to be told once it is written (Kafka's LeaderAndIsr)."""

    topic: Topic
    partition_index: int
    partition: Partition

    @property
    def state_path(self) -> str:
        return layout.state_path(self.topic.name, self.partition_index)


class Decision:
    """Operations that belong together, group by group, and the changes that they make."""

    __slots__ = ("changes", "groups")

    def __init__(self) -> None:
        self.groups: list[list[Operation]] = []
        self.changes: list[Change] = []


class NewTopic(NamedTuple):
    """A topic that somebody wants."""

    name: str
    id: bytes
    assignment: tuple[tuple[int, ...], ...]
    config: Mapping[str, str]


class FoundPartition(NamedTuple):
    """A partition's directory on this broker; the topic id is None where an old Kafka left none.

    `leader_epoch` is the last one that its log has records under, -1 without any. `is_twice`: there is another directory of that
    name, of another topic.
    """

    topic: str
    partition_index: int
    topic_id: bytes | None
    leader_epoch: int = -1
    is_twice: bool = False


# ---- leaders --------------------------------------------------------------------------------------------------------------


def next_state(partition: Partition, brokers: Mapping[int, Broker], controller_epoch: int) -> Partition | None:
    """Return the state that a partition should have while these brokers live, None when it has it."""
    if not partition.exists:
        living = tuple(replica for replica in partition.replicas if replica in brokers)
        if not living:
            return None
        leader_epoch = partition.leader_epoch + 1
        return partition._replace(leader=living[0], leader_epoch=leader_epoch, isr=living, controller_epoch=controller_epoch)
    in_sync = tuple(replica for replica in partition.isr if replica in brokers)
    leads = partition.leader in in_sync and brokers[partition.leader].epoch <= partition.written_zxid
    if leads and in_sync == partition.isr:
        return None
    leader = partition.leader if leads else next((replica for replica in partition.replicas if replica in in_sync), NO_LEADER)
    if leader == NO_LEADER and partition.leader == NO_LEADER:
        return None
    return partition._replace(
        leader=leader,
        leader_epoch=partition.leader_epoch + 1,
        isr=in_sync or partition.isr,
        controller_epoch=controller_epoch,
    )


def settle(image: Image, topics: Iterable[Topic]) -> Decision:
    """Decide what has to change so that the partitions of `topics` have the leaders that the image's brokers allow."""
    decision = Decision()
    for topic in topics:
        is_new = not any(partition.exists for partition in topic.partitions)
        for index, partition in enumerate(topic.partitions):
            state = next_state(partition, image.brokers, image.controller_epoch)
            if state is None:
                continue
            path = layout.state_path(topic.name, index)
            data = layout.encode_state(state)
            if partition.exists:
                decision.groups.append([SetData(path, data, partition.znode_version)])
            else:
                group: list[Operation] = [Create(layout.partition_path(topic.name, index), None), Create(path, data)]
                if is_new:
                    group.insert(0, Create(layout.partitions_path(topic.name), None))
                    is_new = False
                decision.groups.append(group)
            decision.changes.append(Change(topic, index, state._replace(znode_version=partition.znode_version + 1)))
    return decision


def with_changes(image: Image, changes: Sequence[Change]) -> Image:
    """Return the image after `changes`."""
    partitions: dict[str, list[Partition]] = {}
    for change in changes:
        topic = image.topics.get(change.topic.name, change.topic)
        partitions.setdefault(topic.name, list(topic.partitions))[change.partition_index] = change.partition
    return image.with_topics(
        image.topics[name]._replace(partitions=tuple(changed)) for name, changed in partitions.items() if name in image.topics
    )


# ---- topics ---------------------------------------------------------------------------------------------------------------


def create_topic(topic: NewTopic) -> list[Operation]:
    """Return what writes a topic down, as one transaction; the controller brings its partitions online afterwards."""
    return [
        Create(layout.topic_config_path(topic.name), layout.encode_config(topic.config)),
        Create(layout.topic_path(topic.name), layout.encode_topic(topic.id, topic.assignment)),
    ]


def grow_topic(topic: Topic, added: Sequence[tuple[int, ...]], znode_version: int) -> tuple[Topic, list[Operation]]:
    """Return a topic with partitions of these replicas added, and what writes it down over that version of its znode."""
    partitions = (*topic.partitions, *map(Partition, added))
    grown = topic._replace(partitions=partitions)
    data = layout.encode_topic(topic.id, [partition.replicas for partition in partitions])
    return grown, [SetData(layout.topic_path(topic.name), data, znode_version)]


def want_deletion(topic: str) -> list[Operation]:
    """Return what asks the controller for a topic's deletion; fails with NoNode when the topic is not there."""
    return [Check(layout.topic_path(topic)), Create(layout.delete_topic_path(topic), None)]


def forget_topic(topic: str, partitions: Mapping[str, Sequence[str]] | None, *, has_topic: bool, has_config: bool) -> Decision:
    """Decide how a topic's znodes go, once its replicas are gone; the wish for its deletion goes last, so that it resumes.

    `partitions` are the children of the topic's `partitions` znode with their children's names, None without that znode.
    """
    decision = Decision()
    for partition, children in (partitions or {}).items():
        path = f"{layout.partitions_path(topic)}/{partition}"
        decision.groups.append([*(Delete(f"{path}/{child}") for child in children), Delete(path)])
    last: list[Operation] = []
    if partitions is not None:
        last.append(Delete(layout.partitions_path(topic)))
    if has_topic:
        last.append(Delete(layout.topic_path(topic)))
    if has_config:
        last.append(Delete(layout.topic_config_path(topic)))
    decision.groups.append([*last, Delete(layout.delete_topic_path(topic))])
    return decision


def adopt(image: Image, found: Iterable[FoundPartition], broker_id: int) -> tuple[list[NewTopic], list[FoundPartition]]:
    """Decide what becomes of partition directories that the coordinator may not know: (topics to create, strays to leave alone).

    A topic whose name is unknown is created with the id and as many partitions as its directories say. A directory of a known
    name but another id, or past the known partitions, is a stray, and so is one of two that disagree about the id.
    """
    unknown: dict[str, list[FoundPartition]] = {}
    strays = []
    for one in sorted(found, key=lambda one: (one.topic, one.partition_index)):
        topic = image.topics.get(one.topic)
        if topic is not None:
            if one.partition_index >= len(topic.partitions) or one.topic_id not in (None, topic.id):
                strays.append(one)
        elif why_illegal_name(one.topic) is not None or one.topic == METADATA_TOPIC:
            strays.append(one)
        else:
            unknown.setdefault(one.topic, []).append(one)
    adopted = []
    for name, partitions in unknown.items():
        topic_id = next((one.topic_id for one in partitions if one.topic_id is not None), None)
        own = [one for one in partitions if one.topic_id in (None, topic_id)]
        strays += [one for one in partitions if one.topic_id not in (None, topic_id)]
        if topic_id is not None and topic_id in image.topic_names:
            strays += own
            continue
        count = max(one.partition_index for one in own) + 1
        adopted.append(NewTopic(name, topic_id or b"", ((broker_id,),) * count, config_of_adopted(name)))
    return adopted, strays


def config_of_adopted(name: str) -> dict[str, str]:
    """Return the options that an adopted topic gets: compacted topics of Kafka's own must not lose records by age."""
    return {"retention.ms": "-1"} if name in INTERNAL_TOPICS else {}


# ---- transactions ---------------------------------------------------------------------------------------------------------


def transactions(groups: Iterable[Sequence[Operation]], epoch_znode_version: int) -> Iterator[list[Operation]]:
    """Yield the groups as multis that the coordinator accepts, each under the check that this is still the controller."""
    check: Operation = Check(layout.CONTROLLER_EPOCH, epoch_znode_version)
    least_bytes = request_bytes([check])
    multi: list[Operation] = [check]
    size_bytes = least_bytes
    for group in groups:
        group_bytes = request_bytes(group)
        if len(multi) > 1 and size_bytes + group_bytes > MAX_REQUEST_BYTES:
            yield multi
            multi, size_bytes = [check], least_bytes
        multi.extend(group)
        size_bytes += group_bytes
    if len(multi) > 1:
        yield multi
