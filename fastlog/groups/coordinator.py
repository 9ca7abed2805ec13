"""The coordinator of the groups whose partition of `__consumer_offsets` this broker leads.

It drives each group's state machine (`classic`), keeps its offsets, and puts both into the log before anybody is told. A group
belongs to the partition that its id hashes to; when this broker becomes that partition's leader its log is read (until then
requests are answered COORDINATOR_LOAD_IN_PROGRESS), and when it ceases to be, whoever waits is sent away with NOT_COORDINATOR.

What is asked here raises the KafkaError that answers the request. A group of another protocol (KIP-848) takes its place in
`Group` beside `classic`, and shares offsets, log and loading with it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from fastlog.errors import (
    NONE,
    CoordinatorLoadInProgress,
    CoordinatorNotAvailable,
    GroupIdNotFound,
    GroupSubscribedToTopic,
    IllegalGeneration,
    InvalidCommitOffsetSize,
    InvalidGroupId,
    InvalidRequest,
    InvalidSessionTimeout,
    KafkaError,
    NonEmptyGroup,
    NotCoordinator,
    UnknownMemberId,
    UnknownServerError,
    error_for_code,
)
from fastlog.groups.classic import NEVER_MS, ClassicGroup, Limits, Save, State
from fastlog.groups.loading import load_steps
from fastlog.groups.member import UNKNOWN_MEMBER_ID, GroupSnapshot, JoinAnswer, JoinRequest, SyncAnswer
from fastlog.groups.offsets import CommittedOffset, Offsets, TopicPartition
from fastlog.groups.records import GroupRecord, KeyAndValue, OffsetRecord, group_record, offset_record
from fastlog.groups.subscriptions import CONSUMER_PROTOCOL_TYPE, subscribed_topics
from fastlog.groups.topic import OFFSETS_TOPIC, partition_of

if TYPE_CHECKING:
    from fastlog.env import Random
    from fastlog.env.reactor import Flow, Pending, Reactor, Timer
    from fastlog.groups.appender import Appender
    from fastlog.metadata.image import Image
    from fastlog.metadata.view import ClusterView
    from fastlog.metrics import Metrics
    from fastlog.replication.partition import Partition
    from fastlog.replication.partition_set import PartitionSet

NANOSECONDS_PER_MILLISECOND: Final = 1_000_000
LOAD_RETRY_MS: Final = 5_000
MOST_SAID: Final = 4
"""So many times what can be stored of a member it may say in all its protocols, of which one is stored."""
OFFSETS_CLEANED_UP_AT_ONCE: Final = 1_000
"""Offsets that are looked at in one turn for whether they have expired: to take one back takes some microseconds."""

logger = logging.getLogger(__name__)


class GroupOptions(NamedTuple):
    """What the broker's options say of groups."""

    min_session_timeout_ms: int
    max_session_timeout_ms: int
    limits: Limits
    max_metadata_bytes: int
    retention_ms: int
    retention_check_interval_ms: int


class Group:
    """A group: its members, its offsets, and since when it stands as it does (wall time)."""

    __slots__ = ("_state", "appends", "classic", "group_id", "offsets", "state_timestamp_ms", "timer", "timer_ms")

    def __init__(self, group_id: str, classic: ClassicGroup, state_timestamp_ms: int) -> None:
        self.group_id = group_id
        self.classic = classic
        self.offsets = Offsets()
        self.state_timestamp_ms = state_timestamp_ms
        self.appends = 0
        """Appends under way for it: it stays until they are settled."""
        self.timer: Timer | None = None
        self.timer_ms = NEVER_MS
        """When the timer is due, by the machine's own time."""
        self._state = classic.state

    @property
    def is_over(self) -> bool:
        """Whether nobody would miss it."""
        return self.classic.is_vacant and not self.offsets and not self.appends

    def note_state(self, wall_ms: int) -> None:
        """Take the time when the state has changed."""
        if self.classic.state is not self._state:
            self._state = self.classic.state
            self.state_timestamp_ms = wall_ms


class Shard:
    """The groups of one partition of the topic, while this broker leads it under one epoch."""

    __slots__ = ("deleted_meanwhile", "groups", "is_closed", "is_loaded", "leader_epoch", "partition")

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.leader_epoch = partition.leader_epoch
        self.groups: dict[str, Group] = {}
        self.deleted_meanwhile: dict[str, None] = {}
        """Topics that were deleted before it was loaded: their offsets go as soon as they are known."""
        self.is_loaded = False
        self.is_closed = False


class GroupCoordinator:
    """All groups that this broker coordinates."""

    def __init__(
        self,
        reactor: Reactor,
        random: Random,
        view: ClusterView,
        partitions: PartitionSet,
        appender: Appender,
        options: GroupOptions,
        metrics: Metrics,
    ) -> None:
        self.options = options
        self._reactor = reactor
        self._clock = reactor.clock
        self._random = random
        self._view = view
        self._partitions = partitions
        self._appender = appender
        self._shards: dict[int, Shard] = {}
        self._to_load: deque[Shard] = deque()  # the first one is being loaded
        self._is_closed = False
        self._commits = metrics.counter("kafka.server:type=group-coordinator-metrics,name=offset-commit-count")
        self._rebalances = metrics.counter("kafka.server:type=group-coordinator-metrics,name=group-completed-rebalance-count")
        metrics.gauge(
            "kafka.server:type=group-coordinator-metrics,name=group-count,protocol=classic",
            lambda: sum(len(shard.groups) for shard in self._shards.values()),
        )
        view.on_change(self._metadata_changed)
        reactor.call_later(options.retention_check_interval_ms, self._clean_up)

    def close(self) -> None:
        """Answer whoever waits, and do nothing more."""
        self._is_closed = True
        for index in list(self._shards):
            self._unload(index)

    # ---- members ----------------------------------------------------------------------------------------------------------

    def join(self, group_id: str, request: JoinRequest) -> Pending[JoinAnswer]:
        """Let somebody join; answered when the group's next generation begins, or at once.

        InvalidRequest for who says far more of itself than can ever be stored: it would only be held in memory.
        """
        shard = self._shard_of(group_id)
        said_bytes = sum(len(protocol.name) + len(protocol.metadata) for protocol in request.protocols)
        most_bytes = MOST_SAID * shard.partition.log.config.max_message_bytes
        if said_bytes > most_bytes:
            raise InvalidRequest(f"A member says {said_bytes} bytes of itself, where at most {most_bytes} are held.")
        if not self.options.min_session_timeout_ms <= request.session_timeout_ms <= self.options.max_session_timeout_ms:
            raise InvalidSessionTimeout
        group = shard.groups.get(group_id)
        if group is None:
            if request.member_id != UNKNOWN_MEMBER_ID:
                raise UnknownMemberId
            group = self._new_group(shard, group_id)
        answer: Pending[JoinAnswer] = self._reactor.pending()
        group.classic.join(request, answer, self._now_ms())
        self._carry_out(shard, group)
        return answer

    def sync(
        self,
        group_id: str,
        member_id: str,
        instance_id: str | None,
        generation: int,
        protocol_type: str | None,
        protocol_name: str | None,
        assignments: Mapping[str, bytes],
    ) -> Pending[SyncAnswer]:
        """Tell a member what it owns, when the leader has said so."""
        shard, group = self._group_of_member(group_id)
        answer: Pending[SyncAnswer] = self._reactor.pending()
        group.classic.sync(member_id, instance_id, generation, protocol_type, protocol_name, assignments, answer, self._now_ms())
        self._carry_out(shard, group)
        return answer

    def heartbeat(self, group_id: str, member_id: str, instance_id: str | None, generation: int) -> int:
        """Return the error code for a heartbeat. While groups are being loaded all is taken to be well."""
        try:
            shard, group = self._group_of_member(group_id)
        except CoordinatorLoadInProgress:
            return NONE
        error = group.classic.heartbeat(member_id, instance_id, generation, self._now_ms())
        self._carry_out(shard, group)
        return error

    def leave(self, group_id: str, members: Sequence[tuple[str, str | None]]) -> list[int]:
        """Let members (member id, instance id) go; return the error code for each."""
        shard = self._shard_of(group_id)
        group = shard.groups.get(group_id)
        if group is None:
            return [UnknownMemberId.code] * len(members)
        if group.classic.state is State.DEAD:
            raise CoordinatorNotAvailable
        errors = [group.classic.leave(member_id, instance_id, self._now_ms()) for member_id, instance_id in members]
        self._carry_out(shard, group)
        return errors

    # ---- offsets ----------------------------------------------------------------------------------------------------------

    def commit(
        self,
        group_id: str,
        member_id: str,
        instance_id: str | None,
        generation: int,
        offsets: Mapping[TopicPartition, CommittedOffset],
        *,
        tells_missing_group: bool = True,
    ) -> Pending[int]:
        """Commit offsets; completes with the error code that holds for all of them, when they are acknowledged.

        A group that does not exist is made for whoever claims no generation. `tells_missing_group` is whether the client
        understands GROUP_ID_NOT_FOUND.
        """
        shard = self._shard_of(group_id, is_empty_allowed=True)
        group = shard.groups.get(group_id)
        if group is None:
            if generation >= 0:
                raise GroupIdNotFound if tells_missing_group else IllegalGeneration
            group = self._new_group(shard, group_id)
        error = group.classic.why_no_commit(member_id, instance_id, generation)
        if error:
            self._forget_if_over(shard, group)
            raise error_for_code(error)
        if generation >= 0:
            group.classic.heard_of(member_id, self._now_ms())
        outcome: Pending[int] = self._reactor.pending()
        if not offsets:
            outcome.complete(NONE)
            self._forget_if_over(shard, group)
            return outcome

        def appended(error: int) -> None:
            if not error:
                self._commits.value += len(offsets)
                for (topic, partition), offset in offsets.items():
                    group.offsets.put(topic, partition, offset)
            outcome.complete(error)

        records = [offset_record(group_id, *where, offset) for where, offset in offsets.items()]
        self._append(shard, group, records, appended)
        return outcome

    def offsets_of(self, group_id: str) -> Offsets:
        """Return what a group has committed; nothing for one that is not there."""
        group = self._shard_of(group_id, is_empty_allowed=True).groups.get(group_id)
        return _NO_OFFSETS if group is None else group.offsets

    def delete_offsets(self, group_id: str, partitions: Iterable[TopicPartition]) -> Pending[dict[TopicPartition, int]]:
        """Take offsets back; completes with the error code for each.

        GroupIdNotFound; NonEmptyGroup while a group has members of which it is not known what they subscribe to.
        """
        shard = self._shard_of(group_id)
        group = shard.groups.get(group_id)
        if group is None or group.classic.state is State.DEAD:
            raise GroupIdNotFound
        subscribed: Iterable[str] = ()
        if group.classic.state is not State.EMPTY:
            if group.classic.protocol_type != CONSUMER_PROTOCOL_TYPE:
                raise NonEmptyGroup
            subscribed = _subscribed(group.classic) or ()
        errors = {where: GroupSubscribedToTopic.code if where[0] in subscribed else NONE for where in partitions}
        outcome: Pending[dict[TopicPartition, int]] = self._reactor.pending()
        gone = [where for where, error in errors.items() if not error and group.offsets.get(*where) is not None]

        def dropped(error: int) -> None:
            outcome.complete({where: before or error for where, before in errors.items()})

        if gone:
            self._drop_offsets(shard, group, gone, dropped)
        else:
            dropped(NONE)
        return outcome

    # ---- looking at groups ------------------------------------------------------------------------------------------------

    def groups(self) -> Iterator[Group]:
        """Iterate all groups that are here. CoordinatorLoadInProgress while some are not known yet."""
        if any(not shard.is_loaded for shard in self._shards.values()):
            raise CoordinatorLoadInProgress
        return (group for shard in self._shards.values() for group in shard.groups.values())

    def find(self, group_id: str) -> Group:
        """Return a group. GroupIdNotFound."""
        group = self._shard_of(group_id, is_empty_allowed=True).groups.get(group_id)
        if group is None:
            raise GroupIdNotFound(f"Group {group_id} not found.")
        return group

    def delete(self, group_id: str) -> Pending[int]:
        """Delete a group without members, with its offsets; completes with the error code. GroupIdNotFound, NonEmptyGroup."""
        shard = self._shard_of(group_id, is_empty_allowed=True)
        group = shard.groups.get(group_id)
        if group is None or group.classic.state is State.DEAD:
            raise GroupIdNotFound
        if group.classic.state is not State.EMPTY:
            raise NonEmptyGroup
        outcome: Pending[int] = self._reactor.pending()
        self._delete(shard, group, outcome.complete)
        return outcome

    # ---- one step of a group ----------------------------------------------------------------------------------------------

    def _carry_out(self, shard: Shard, group: Group) -> None:
        """Do what the state machine has decided."""
        classic = group.classic
        group.note_state(self._clock.wall_ms())
        ready = classic.take()
        for token, answer in ready.answers:
            token.complete(answer)
        for save in ready.saves:
            record = group_record(group.group_id, save.snapshot, group.state_timestamp_ms)
            self._append(shard, group, [record], partial(self._saved, shard, group, classic, save))
        self._set_timer(shard, group)

    def _saved(self, shard: Shard, group: Group, classic: ClassicGroup, save: Save, error: int) -> None:
        if error == InvalidCommitOffsetSize.code:
            error = UnknownServerError.code  # it says so of offsets alone
        was_stable = classic.state is State.STABLE
        classic.saved(save, error, self._now_ms())
        if classic.state is State.STABLE and not was_stable:
            self._rebalances.value += 1
        self._carry_out(shard, group)

    def _set_timer(self, shard: Shard, group: Group) -> None:
        wake_ms = group.classic.wake_ms
        if wake_ms >= group.timer_ms:
            return  # the timer that is set comes early enough, or there is nothing to wait for
        if group.timer is not None:
            group.timer.cancel()
        group.timer_ms = wake_ms
        group.timer = self._reactor.call_later(max(0, wake_ms - self._now_ms()), self._tick, shard, group)

    def _tick(self, shard: Shard, group: Group) -> None:
        group.timer = None
        group.timer_ms = NEVER_MS
        if shard.is_closed:
            return
        group.classic.tick(self._now_ms())
        self._carry_out(shard, group)
        self._forget_if_over(shard, group)

    def _now_ms(self) -> int:
        return self._clock.monotonic_ns() // NANOSECONDS_PER_MILLISECOND

    # ---- groups and shards ------------------------------------------------------------------------------------------------

    def _shard_of(self, group_id: str, *, is_empty_allowed: bool = False) -> Shard:
        """Return where a group belongs. Raises the reason why it cannot be asked here."""
        if self._is_closed:
            raise CoordinatorNotAvailable
        if not group_id and not is_empty_allowed:
            raise InvalidGroupId
        topic = self._view.image.topics.get(OFFSETS_TOPIC)
        if topic is None:
            raise NotCoordinator
        shard = self._shards.get(partition_of(group_id, len(topic.partitions)))
        if shard is None:
            raise NotCoordinator
        if not shard.is_loaded:
            raise CoordinatorLoadInProgress
        return shard

    def _group_of_member(self, group_id: str) -> tuple[Shard, Group]:
        shard = self._shard_of(group_id)
        group = shard.groups.get(group_id)
        if group is None:
            raise UnknownMemberId
        return shard, group

    def _new_group(self, shard: Shard, group_id: str) -> Group:
        classic = ClassicGroup(group_id, self.options.limits, self._new_id)
        group = shard.groups[group_id] = Group(group_id, classic, self._clock.wall_ms())
        return group

    def _new_id(self) -> str:
        text = self._random.random_bytes(16).hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def _forget_if_over(self, shard: Shard, group: Group) -> None:
        """A group of which nothing was ever stored leaves nothing behind."""
        if group.is_over and group.classic.generation == 0 and shard.groups.get(group.group_id) is group:
            self._forget(shard, group)

    def _forget(self, shard: Shard, group: Group) -> None:
        if group.timer is not None:
            group.timer.cancel()
        del shard.groups[group.group_id]

    def _append(self, shard: Shard, group: Group, records: Sequence[KeyAndValue], then: Callable[[int], object]) -> None:
        def settled(error: int) -> None:
            group.appends -= 1
            then(NotCoordinator.code if shard.is_closed else error)

        group.appends += 1
        self._appender.append(shard.partition, records, self._clock.wall_ms(), settled)

    def _drop_offsets(
        self, shard: Shard, group: Group, partitions: Sequence[TopicPartition], then: Callable[[int], object]
    ) -> None:
        def appended(error: int) -> None:
            if not error:
                for where in partitions:
                    group.offsets.drop(*where)
            then(error)

        self._append(shard, group, [offset_record(group.group_id, *where, None) for where in partitions], appended)

    def _delete(self, shard: Shard, group: Group, then: Callable[[int], object]) -> None:
        """Put an end to a group and what it has stored. If that cannot be stored, the group is what it was."""
        before = group.classic.snapshot()
        group.classic.die(CoordinatorNotAvailable.code)
        self._carry_out(shard, group)
        records = [offset_record(group.group_id, *where, None) for where in group.offsets.partitions()]

        def appended(error: int) -> None:
            if not error and shard.groups.get(group.group_id) is group:
                self._forget(shard, group)
            elif error:
                group.classic = self._restored(group.group_id, before)
                group.note_state(self._clock.wall_ms())
            then(error)

        self._append(shard, group, [*records, group_record(group.group_id, None)], appended)

    def _restored(self, group_id: str, snapshot: GroupSnapshot) -> ClassicGroup:
        return ClassicGroup.restore(group_id, self.options.limits, self._new_id, snapshot, self._now_ms())

    # ---- leadership -------------------------------------------------------------------------------------------------------

    def _metadata_changed(self, before: Image, now: Image) -> None:
        if before.topics is now.topics or self._is_closed:
            return
        topic = now.topics.get(OFFSETS_TOPIC)
        for index in range(0 if topic is None else len(topic.partitions)):
            self._settle_leadership(index)
        for index in [index for index in self._shards if topic is None or index >= len(topic.partitions)]:
            self._unload(index)
        gone = [name for name, one in before.topics.items() if name not in now.topics or now.topics[name].id != one.id]
        if gone:
            self._topics_deleted(gone)

    def _settle_leadership(self, index: int) -> None:
        partition = self._partitions.get(OFFSETS_TOPIC, index)
        shard = self._shards.get(index)
        leads = partition is not None and partition.is_leader
        if shard is not None:
            if leads and shard.partition is partition and shard.leader_epoch == partition.leader_epoch:
                return
            self._unload(index)
        if leads and partition is not None:
            shard = self._shards[index] = Shard(partition)
            self._load_later(shard)

    def _unload(self, index: int) -> None:
        shard = self._shards.pop(index)
        shard.is_closed = True
        for group in shard.groups.values():
            if group.timer is not None:
                group.timer.cancel()
            group.classic.die(NotCoordinator.code)
            for token, answer in group.classic.take().answers:
                token.complete(answer)

    def _load_later(self, shard: Shard) -> None:
        """Load a shard behind the others: one at a time, so that a turn has one step of one of them."""
        if shard.is_closed:
            return
        self._to_load.append(shard)
        if len(self._to_load) == 1:
            self._reactor.spawn(self._load_in_turn())

    def _load_in_turn(self) -> Flow[None]:
        while self._to_load:
            shard = self._to_load[0]
            try:
                if not shard.is_closed:
                    yield from self._load(shard)
            except Exception as error:
                expected = isinstance(error, (KafkaError, OSError))
                logger.error(
                    "the groups of %r cannot be loaded, and are tried again later: %s",
                    shard.partition,
                    error,
                    exc_info=None if expected else error,
                )
                self._reactor.call_later(LOAD_RETRY_MS, self._load_later, shard)
            self._to_load.popleft()

    def _load(self, shard: Shard) -> Flow[None]:
        snapshots: dict[str, GroupRecord] = {}
        offsets: dict[str, Offsets] = {}

        def apply(record: OffsetRecord | GroupRecord) -> None:
            if isinstance(record, OffsetRecord):
                of_group = offsets.setdefault(record.group_id, Offsets())
                if record.offset is None:
                    of_group.drop(record.topic, record.partition)
                else:
                    of_group.put(record.topic, record.partition, record.offset)
            elif record.snapshot is None:
                snapshots.pop(record.group_id, None)
            else:
                snapshots[record.group_id] = record

        for _ in load_steps(shard.partition.log, apply):
            yield self._reactor.next_turn()
            if shard.is_closed:
                return
        wall_ms = self._clock.wall_ms()
        for group_id in dict.fromkeys([*snapshots, *(name for name, of_group in offsets.items() if of_group)]):
            found = snapshots.get(group_id)
            if found is None or found.snapshot is None:
                group = self._new_group(shard, group_id)
            else:
                since_ms = found.state_timestamp_ms if found.state_timestamp_ms >= 0 else wall_ms
                group = shard.groups[group_id] = Group(group_id, self._restored(group_id, found.snapshot), since_ms)
            group.offsets = offsets.get(group_id, group.offsets)
        shard.is_loaded = True
        for group in list(shard.groups.values()):
            self._carry_out(shard, group)
        self._drop_offsets_of(shard, shard.deleted_meanwhile)

    # ---- what has outlived its use ----------------------------------------------------------------------------------------

    def _topics_deleted(self, names: Iterable[str]) -> None:
        for shard in self._shards.values():
            if shard.is_loaded:
                self._drop_offsets_of(shard, names)
            else:
                shard.deleted_meanwhile.update(dict.fromkeys(names))

    def _drop_offsets_of(self, shard: Shard, topics: Iterable[str]) -> None:
        for group in shard.groups.values():
            gone = [(name, partition) for name in topics for partition in group.offsets.by_topic.get(name, ())]
            if gone:
                self._drop_offsets(shard, group, gone, partial(_log_failure, group, "of deleted topics"))

    def _clean_up(self) -> None:
        if not self._is_closed:
            self._reactor.spawn(self._clean_up_all()).then(self._cleaned_up)

    def _cleaned_up(self, outcome: Pending[None]) -> None:
        self._reactor.call_later(self.options.retention_check_interval_ms, self._clean_up)
        try:
            outcome.result()
        except Exception as error:  # a mistake of ours
            logger.error("offsets that have expired could not all be taken back", exc_info=error)

    def _clean_up_all(self) -> Flow[None]:
        """Let go what has expired, some groups a turn: many may expire at the same time."""
        looked_at = 0
        for shard in list(self._shards.values()):
            for group in list(shard.groups.values()) if shard.is_loaded else ():
                if shard.is_closed:
                    break
                if shard.groups.get(group.group_id) is group:
                    looked_at += 1 + len(group.offsets.partitions())
                    self._clean_up_group(shard, group, self._clock.wall_ms())
                if looked_at >= OFFSETS_CLEANED_UP_AT_ONCE:
                    looked_at = 0
                    yield self._reactor.next_turn()

    def _clean_up_group(self, shard: Shard, group: Group, wall_ms: int) -> None:
        classic = group.classic
        if classic.state is State.DEAD:
            return
        expired: list[TopicPartition] = []
        retention_ms = self.options.retention_ms
        if classic.protocol_type is None:
            expired = group.offsets.expired(wall_ms, retention_ms)
        elif classic.state is State.EMPTY:
            expired = group.offsets.expired(wall_ms, retention_ms, empty_since_ms=group.state_timestamp_ms)
        elif classic.state is State.STABLE and classic.protocol_type == CONSUMER_PROTOCOL_TYPE:
            subscribed = _subscribed(classic)
            if subscribed is not None:
                expired = group.offsets.expired(wall_ms, retention_ms, subscribed=subscribed)
        if classic.is_vacant and not group.appends and len(expired) == len(group.offsets.partitions()):
            self._delete(shard, group, partial(_log_failure, group, "that have expired"))
        elif expired:
            self._drop_offsets(shard, group, expired, partial(_log_failure, group, "that have expired"))


_NO_OFFSETS: Final = Offsets()


def _log_failure(group: Group, which: str, error: int) -> None:
    if error:
        logger.error("offsets %s of group %s could not be taken back: %s", which, group.group_id, error_for_code(error).name)


def _subscribed(classic: ClassicGroup) -> set[str] | None:
    """Return what the members subscribe to, None where one of them doesn't say."""
    topics: set[str] = set()
    for member in classic.members.values():
        of_member = subscribed_topics(member.metadata_for(classic.protocol_name))
        if of_member is None:
            return None
        topics.update(of_member)
    return topics
