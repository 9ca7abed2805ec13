"""A broker's part in the cluster's metadata: it stands for controller, and works as one or follows the one there is.

The controller reads the cluster and carries out what `controller` decides; what every other broker does is in `follower`.

One flow handles one event at a time, in order, so a decision is always made on what the one before has left. Every write
stands under a check of `/controller_epoch`: a controller that has been replaced finds out by its first write and stops
(ControllerMoved). What was decided is first durable in the coordinator, then told to the replicas here, and only then
published in the cluster's view: whoever sees that this broker leads a partition can produce to it. Other brokers follow in a
moment.

A lost session takes the registration and `/controller` with it: the broker registers again, then stands for election again.
After a lost connection the controller goes on where it was if `/controller` is still its own; when a write's fate is not
known, it reads everything anew.

The broker's replicas stand behind the protocol `Replicas`; the coordinator behind `CoordinatorClient`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from fastlog.coordinator.client import CoordinatorClient, SessionState, WatchCallback
from fastlog.coordinator.errors import BadVersion, CoordinatorError, MultiFailed, NodeExists, NoNode
from fastlog.coordinator.tree import NO_SESSION, Create, Delete, Operation, SetData, Stat
from fastlog.coordinator.watches import WatchEvent
from fastlog.env import Random
from fastlog.env.reactor import Pending, Reactor
from fastlog.errors import (
    FastlogError,
    InvalidPartitions,
    KafkaError,
    KafkaStorageError,
    NotController,
    RequestTimedOut,
    TopicAlreadyExists,
    UnknownTopicOrPartition,
    UsageError,
)
from fastlog.metadata import controller, layout
from fastlog.metadata.controller import Change, Decision, FoundPartition, NewTopic
from fastlog.metadata.follower import Follower
from fastlog.metadata.image import NO_LEADER, Broker, Image, Partition, Topic
from fastlog.metadata.registration import new_id
from fastlog.metadata.view import ClusterView

logger = logging.getLogger(__name__)

RETRY_MS: Final = 1_000
"""How long after a failed attempt to bring replicas up, or to read the metadata, it is made again."""
CONTROLLER_WAIT_MS: Final = 60_000
"""How long another broker, the controller, may take over what was asked here."""

Flow = Generator[Pending[Any], Any, None]
T = TypeVar("T")


class Replicas(Protocol):
    """The replicas on a broker, as the controller orders them (Kafka's LeaderAndIsr and StopReplica)."""

    def lead(self, changes: Sequence[Change]) -> Pending[Mapping[tuple[str, int], Exception]]:
        """Make the partitions what the changes say, with logs where they need them; return those that failed, and why."""

    def configure(self, topic: Topic) -> None:
        """Put a topic's options in force."""

    def delete(self, topics: Sequence[Topic]) -> Pending[None]:
        """Stop all partitions of topics and put their logs out of reach, durably; KafkaStorageError where one may be left."""


class ControllerMoved(FastlogError):
    """Another broker is the controller now; nothing that was meant to be written was."""


class ControllerDriver:
    """The controller's part of one broker."""

    def __init__(
        self, reactor: Reactor, client: CoordinatorClient, random: Random, view: ClusterView, replicas: Replicas, broker_id: int
    ) -> None:
        self.is_active = False
        self._reactor = reactor
        self._client = client
        self._random = random
        self._view = view
        self._replicas = replicas
        self._broker_id = broker_id
        self._epoch_znode_version = -1
        """Version of `/controller_epoch` under which this broker won, or may have won, its last election."""
        self._in_doubt = False
        """Whether something may have been written, or missed, that the image does not show."""
        self._is_started = False
        self._is_connected = True
        self._must_register = False
        self._register: Callable[[], Flow] | None = None
        self._events: deque[Callable[[], Flow]] = deque()
        self._working = False
        self._queued_look: dict[str, None] = {}
        self._due_again: dict[Callable[[], Flow], None] = {}
        """What is tried again in a moment."""
        self._broken: dict[tuple[str, int], Exception] = {}
        self._undeleted: dict[str, KafkaError] = {}
        """Topics of which something is left that cannot be taken away now, and why."""
        self._epochs_on_disk: dict[tuple[str, int], int] = {}
        self._closed = False
        self._follower = Follower(client, view, broker_id, self, self._handle)
        self._expected: dict[Pending[Any], Callable[[Image], Any]] = {}
        client.on_session(self._session_changed)
        view.on_change(self._compare_expected)

    # ---- from outside ----

    def start(
        self,
        found: Sequence[FoundPartition],
        *,
        may_adopt: bool = True,
        is_all: bool = True,
        register: Callable[[], Flow] | None = None,
    ) -> Pending[None]:
        """Take part in the election, then bring the partitions online (as the controller), or follow who has won.

        `found` are the partition directories on this broker; those that the coordinator does not know are adopted if that is
        allowed, a UsageError where they are not all there is (`is_all`), or nobody can tell which of two it is. No partition is
        led under an epoch that its log has seen, whatever the coordinator says. `register` is how the broker, registered already,
        does so again when its session has expired. Fails with the CoordinatorError that was in the way; it may be tried again.
        """
        self._epochs_on_disk = {(one.topic, one.partition_index): one.leader_epoch for one in found}
        self._register = register
        return self._reactor.spawn(self._start(found, may_adopt, is_all))

    def close(self) -> None:
        """Make no more decisions."""
        self._closed = True
        self.is_active = False
        self._events.clear()
        for outcome in list(self._expected):
            self._expectation_ended(outcome, NotController())

    def create_topic(self, topic: NewTopic) -> Pending[Topic]:
        """Create a topic; completes when clients can produce to all of it, or, on other brokers, when it has leaders.

        TopicAlreadyExists; KafkaStorageError when it exists now, but some of its logs could not be made, or when the coordinator
        cannot be reached; NotController.
        """
        return self._reactor.spawn(self._create_topic(topic))

    def delete_topic(self, name: str) -> Pending[None]:
        """Delete a topic; completes when nothing of it is left here. UnknownTopicOrPartition; NotController."""
        return self._reactor.spawn(self._delete_topic(name))

    def create_partitions(self, name: str, present: int, added: Sequence[tuple[int, ...]]) -> Pending[Topic]:
        """Add partitions with these replicas to a topic that has `present`; completes when clients can produce to all of them.

        UnknownTopicOrPartition; InvalidPartitions when the topic has another number meanwhile; KafkaStorageError when it has them
        now, but some of their logs could not be made; NotController.
        """
        return self._reactor.spawn(self._create_partitions(name, present, added))

    def read_topic_config(self, name: str) -> Pending[None]:
        """Read a topic's options anew; completes when they are in force. A topic that is not known is left alone."""
        return self._handle(lambda: self._topic_config_changed(name))

    def _create_topic(self, topic: NewTopic) -> Generator[Pending[Any], Any, Topic]:
        try:
            yield self._client.multi(controller.create_topic(topic))
        except CoordinatorError as error:
            if _cause(error) is NodeExists:
                raise TopicAlreadyExists(f"Topic '{topic.name}' already exists.") from None
            raise _for_clients(error) from error
        if not self.is_active:
            led: Topic = yield self._seen(partial(_led, topic))
            return led
        yield self._handle(self._topics_changed)
        created = self._view.image.topics.get(topic.name)
        if created is None:
            raise NotController("The topic was written down, but this broker is no longer the controller.")
        self._check_logs(topic.name)
        return created

    def _check_logs(self, topic: str) -> None:
        for (name, index), why in self._broken.items():
            if name == topic:
                raise KafkaStorageError(f"Topic '{name}' exists now, but partition {index} has no log: {why}")

    def _create_partitions(
        self, name: str, present: int, added: Sequence[tuple[int, ...]]
    ) -> Generator[Pending[Any], Any, Topic]:
        yield self._handle(partial(self._grow, name, present, added))
        grown = self._view.image.topics.get(name)
        if grown is None:
            raise UnknownTopicOrPartition(f"Topic '{name}' was deleted meanwhile.")
        self._check_logs(name)
        return grown

    def _delete_topic(self, name: str) -> Flow:
        try:
            yield self._client.multi(controller.want_deletion(name))
        except CoordinatorError as error:
            cause = _cause(error)
            if cause is NoNode:
                raise UnknownTopicOrPartition(f"Topic '{name}' does not exist.") from None
            if cause is not NodeExists:  # its deletion is under way already
                raise _for_clients(error) from error
        if self.is_active:
            yield self._handle(self._deletions_changed)
            if name in self._undeleted:
                raise self._undeleted[name]
        else:
            yield self._seen(partial(_gone, name))

    def _seen(self, question: Callable[[Image], T]) -> Pending[T]:
        """Return the first true answer that an image gives: another broker is the controller, and this one sees what it does.

        RequestTimedOut after `CONTROLLER_WAIT_MS`.
        """
        outcome: Pending[T] = self._reactor.pending()
        self._expected[outcome] = question
        late = RequestTimedOut("The controller has not done it yet.")
        timer = self._reactor.call_later(CONTROLLER_WAIT_MS, self._expectation_ended, outcome, late)
        outcome.then(lambda _: timer.cancel())
        self._compare_expected(self._view.image, self._view.image)
        return outcome

    def _expectation_ended(self, outcome: Pending[Any], error: KafkaError) -> None:
        if self._expected.pop(outcome, None) is not None:
            outcome.fail(error)

    def _compare_expected(self, before: Image, now: Image) -> None:
        for outcome, question in list(self._expected.items()):
            answer = question(now)
            if answer:
                del self._expected[outcome]
                outcome.complete(answer)

    # ---- events, one after another ----

    def _handle(self, event: Callable[[], Flow], translate: Callable[[Exception], Exception] | None = None) -> Pending[None]:
        """Put an event into the line; the result settles when it was handled, an error as clients are told of it by default."""
        outcome: Pending[None] = self._reactor.pending()

        def handled() -> Flow:
            try:
                yield from event()
            except Exception as error:
                self._failed(error)
                outcome.fail((translate or _for_clients)(error))
            else:
                outcome.complete(None)

        if self._closed:
            outcome.fail(NotController())
            return outcome
        self._events.append(handled)
        if not self._working:
            self._working = True
            self._reactor.spawn(self._work())
        return outcome

    def _work(self) -> Flow:
        while self._events:
            yield from self._events.popleft()()
        self._working = False

    def _failed(self, error: Exception) -> None:
        if self._closed:
            return
        if isinstance(error, ControllerMoved):
            self._resign()
        elif isinstance(error, CoordinatorError):
            # Whether it was written or missed something is found out by reading everything anew.
            logger.warning("the metadata could not be read or written: %s", error)
            self._in_doubt, self.is_active = True, False
            if self._is_connected:
                self._try_again(self._rejoin)
        elif not isinstance(error, (KafkaError, UsageError)):  # which are answers to who asked
            logger.error("a decision could not be carried out: %s", error, exc_info=error)

    def _try_again(self, event: Callable[[], Flow]) -> None:
        """Handle an event once more in a moment: once, however often that is asked for until then."""
        if event not in self._due_again:
            self._due_again[event] = None
            self._reactor.call_later(RETRY_MS, self._handle_again, event)

    def _handle_again(self, event: Callable[[], Flow]) -> None:
        del self._due_again[event]
        self._handle(event)

    def _resign(self) -> None:
        self.is_active, self._in_doubt = False, True
        logger.warning("broker %d is no longer the controller", self._broker_id)
        self._handle(self._elect)

    def _may_decide(self) -> bool:
        """Whether this is the controller now. What is passed over where it is not is made up for by reading everything anew."""
        if not self.is_active:
            self._in_doubt = True
        return self.is_active

    def _look_again(self, event: WatchEvent) -> None:
        """A watch fired. However many do before the line comes to it, one look is enough."""
        looks = {
            layout.TOPICS: self._topics_changed,
            layout.DELETE_TOPICS: self._deletions_changed,
            layout.BROKER_IDS: self._brokers_changed,
            layout.CONTROLLER: self._elect,
        }
        if event.path in self._queued_look or self._closed:
            return
        self._queued_look[event.path] = None
        look = looks[event.path]

        def looked() -> Flow:
            self._queued_look.pop(event.path, None)
            yield from look()

        self._handle(looked)

    def _session_changed(self, state: SessionState) -> None:
        if self._closed:
            return
        self._is_connected = state is SessionState.CONNECTED
        if state is SessionState.CONNECTED:
            if self._is_started:
                self._handle(self._rejoin)
            return
        if state is SessionState.EXPIRED:
            self._in_doubt = self._must_register = True
        if self.is_active:
            logger.warning("the coordinator is lost: topics stay as they are until it is back")
        self.is_active = False

    # ---- election ----

    def _start(self, found: Sequence[FoundPartition], may_adopt: bool, is_all: bool) -> Flow:
        self._is_started = True
        yield self._handle(self._rejoin, _as_it_is)
        yield self._handle(lambda: self._adopt(found, may_adopt and self.is_active, is_all), _as_it_is)

    def _rejoin(self) -> Flow:
        """Find the broker's place after its start, after a lost connection and after a lost session."""
        if self._must_register and self._register is not None:
            yield from self._register()
            logger.info("broker %d is registered again", self._broker_id)
        self._must_register = False
        yield from self._elect()

    def _elect(self) -> Flow:
        """Become the controller if there is none, else follow the one there is and wait for its end.

        Not before the broker is registered again: as the controller it would take itself for dead, and lead nothing.
        """
        if self.is_active:
            present = yield self._client.exists(layout.CONTROLLER, self._look_again)
            if present is not None and present.ephemeral_owner == self._client.session_id:
                return
            self.is_active, self._in_doubt = False, True
        while not self.is_active:
            # In this order: the epoch is never older than the holder, and the watch tells of a holder that is newer than both.
            present = yield self._client.exists(layout.CONTROLLER, self._look_again)
            if self._must_register:
                return  # this began in a session that is over; `_rejoin` comes with the next
            epoch, version = yield from self._controller_epoch()
            stale: list[Operation] = []
            if present is not None:
                try:
                    data, _ = yield self._client.get(layout.CONTROLLER)
                except NoNode:
                    continue
                holder, owner = layout.decode_controller(data), present.ephemeral_owner
                if holder != self._broker_id or owner in (NO_SESSION, self._client.session_id):
                    is_ours = owner == self._client.session_id and version == self._epoch_znode_version
                    self._view.publish(self._view.image.with_controller(holder, epoch))
                    if not is_ours:
                        self._in_doubt = True
                        yield from self._follower.follow()
                    elif self._in_doubt:
                        yield from self._take_over()
                    self.is_active = is_ours
                    return
                # An earlier life of this broker, whose session the coordinator has not given up yet, as with its registration.
                stale = [Delete(layout.CONTROLLER, present.version)]
            # Should the answer not come, this is what tells whether it was carried out.
            self._epoch_znode_version = version + 1
            controller_data = layout.encode_controller(self._broker_id, self._reactor.clock.wall_ms())
            try:
                results = yield self._client.multi(
                    [
                        *stale,
                        Create(layout.CONTROLLER, controller_data, ephemeral=True),
                        SetData(layout.CONTROLLER_EPOCH, layout.encode_controller_epoch(epoch + 1), version),
                    ]
                )
            except MultiFailed as error:
                if _cause(error) in (NodeExists, NoNode, BadVersion):
                    continue  # another broker was quicker
                raise
            stat: Stat = results[-1]
            assert stat.version == self._epoch_znode_version
            self._view.publish(self._view.image.with_controller(self._broker_id, epoch + 1))
            yield from self._take_over()
            self.is_active = True

    def _controller_epoch(self) -> Generator[Pending[Any], Any, tuple[int, int]]:
        try:
            data, stat = yield self._client.get(layout.CONTROLLER_EPOCH)
        except NoNode:
            first = layout.encode_controller_epoch(layout.FIRST_CONTROLLER_EPOCH)
            with suppress(NodeExists):
                yield self._client.create(layout.CONTROLLER_EPOCH, first)
            data, stat = yield self._client.get(layout.CONTROLLER_EPOCH)
        return layout.decode_controller_epoch(data), stat.version

    def _take_over(self) -> Flow:
        """Read everything, finish what an earlier controller began, and give every partition a leader."""
        self._follower.stop()
        if (yield self._client.exists(layout.FEATURE)) is None:
            yield self._client.create(layout.FEATURE, layout.encode_feature())
        yield from self.read_brokers(self._look_again)
        yield from self._delete_all({})
        names, _ = yield self._client.children(layout.TOPICS, self._look_again)
        topics = yield from self.read_topics([name for name in names if name not in self._undeleted])
        image = self._view.image
        image = image.without_topics(name for name in image.topics if name not in topics).with_topics(topics.values())
        decision = controller.settle(image, image.topics.values())
        image, changes = yield from self._write(image, decision)
        told = {(change.topic.name, change.partition_index) for change in changes}
        unchanged = [
            Change(topic, index, partition)
            for topic in image.topics.values()
            for index, partition in enumerate(topic.partitions)
            if partition.exists and (topic.name, index) not in told
        ]
        yield from self.tell([*changes, *unchanged])
        self._view.publish(image)
        self._in_doubt = False

    def _adopt(self, found: Sequence[FoundPartition], may_adopt: bool, is_all: bool) -> Flow:
        # Without those of topics that somebody wanted deleted before the start, and that are gone by now.
        found = [one for one in found if (one.topic, one.partition_index) in self._epochs_on_disk]
        topics, strays = controller.adopt(self._view.image, found, self._broker_id)
        if not may_adopt:
            unknown = {topic.name for topic in topics}
            strays, topics = [*strays, *(one for one in found if one.topic in unknown)], []
        if topics and not is_all:
            raise UsageError(
                f"topic {topics[0].name} is not known to the coordinator, and a log directory that may hold partitions of it "
                "holds nothing or cannot be read: mount or mend that one, or take it out of log.dirs to have the topic made of "
                "what is in the others"
            )
        adopted = {topic.name for topic in topics}
        for one in found:
            if one.is_twice and one.topic in adopted:
                raise UsageError(
                    f"two log directories hold {one.topic}-{one.partition_index}, of different topics, and the coordinator knows "
                    "neither: move one of them away"
                )
        for stray in strays:
            logger.warning(
                "directory %s-%d belongs to no topic of this cluster: it is left alone", stray.topic, stray.partition_index
            )
        for topic in topics:
            made = topic._replace(id=topic.id or new_id(self._random))
            try:
                yield self._client.multi(controller.create_topic(made))
            except (NodeExists, MultiFailed) as error:
                logger.error("topic %s cannot be adopted: %s", made.name, error)
            else:
                text = layout.id_to_text(made.id)
                logger.info("adopted topic %s with %d partitions, id %s", made.name, len(made.assignment), text)
        if topics:
            yield from self._topics_changed()

    # ---- topics come and go ----

    def _topics_changed(self) -> Flow:
        """Bring topics online that are in the coordinator and not in the image."""
        if not self._may_decide():
            return
        names, _ = yield self._client.children(layout.TOPICS, self._look_again)
        deleting, _ = yield self._client.children(layout.DELETE_TOPICS, self._look_again)
        known = self._view.image.topics
        topics = yield from self.read_topics([name for name in names if name not in known and name not in deleting])
        if not topics:
            return
        image = self._view.image.with_topics(topics.values())
        image, changes = yield from self._write(image, controller.settle(image, topics.values()))
        yield from self.tell(changes)
        self._view.publish(image)

    def _grow(self, name: str, present: int, added: Sequence[tuple[int, ...]]) -> Flow:
        """Write a topic's new partitions down, then bring them online; the next attempt finishes what is cut short."""
        if not self.is_active:
            raise NotController
        stat = yield self._client.exists(layout.topic_path(name))
        topic = (yield from self.read_topics([name])).get(name)
        if stat is None or topic is None or name not in self._view.image.topics:
            raise UnknownTopicOrPartition(f"Topic '{name}' does not exist.")
        count = len(topic.partitions)
        if count == present:
            topic, operations = controller.grow_topic(topic, added, stat.version)
            yield from self._write_groups([operations])
        image = self._view.image.with_topics([topic])
        image, changes = yield from self._write(image, controller.settle(image, [topic]))
        yield from self.tell(changes)
        self._view.publish(image)
        if count != present:
            raise InvalidPartitions(f"Topic '{name}' has {count} partition(s) by now, not {present}.")

    def _topic_config_changed(self, name: str) -> Flow:
        topic = self._view.image.topics.get(name)
        if topic is None:
            return
        config: dict[str, str] = {}
        try:
            data, _ = yield self._client.get(layout.topic_config_path(name))
            config = layout.decode_config(layout.topic_entity(name), data)
        except NoNode:
            pass
        except layout.BadZnode as error:
            logger.error("%s: the topic's options stay as they were", error)
            return
        topic = topic._replace(config=config)
        self._replicas.configure(topic)
        self._view.publish(self._view.image.with_topics([topic]))

    def _deletions_changed(self) -> Flow:
        if self._may_decide():
            yield from self._delete_all(self._undeleted)

    def _delete_again(self) -> Flow:
        if self._may_decide():
            yield from self._delete_all({})

    def _delete_all(self, passed_over: Mapping[str, KafkaError]) -> Flow:
        """Delete what somebody wants deleted; a topic whose logs cannot be taken away is tried again, and keeps no other back.

        Those passed over were tried a moment ago: many of them would make each wish a long one.
        """
        names, _ = yield self._client.children(layout.DELETE_TOPICS, self._look_again)
        before, self._undeleted = self._undeleted, {name: passed_over[name] for name in names if name in passed_over}
        for name in names:
            if name in self._undeleted:
                continue
            try:
                yield from self._delete(name)
            except KafkaError as error:
                self._undeleted[name] = error
                if name not in before:
                    logger.error("topic %s cannot be deleted now, and is not forgotten: %s", name, error)
        if self._undeleted:
            self._try_again(self._delete_again)

    def _delete(self, name: str) -> Flow:
        """Take a topic out of sight, then its logs, then its znodes, so that it cannot come back from any half."""
        topic = self._view.image.topics.get(name)
        if topic is None:
            topic = (yield from self.read_topics([name])).get(name)
        self._view.publish(self._view.image.without_topics([name]))
        if topic is not None:
            yield from self.forget([topic])
        partitions: dict[str, list[str]] | None = None
        try:
            indexes, _ = yield self._client.children(layout.partitions_path(name))
            asked = [(index, self._client.children(f"{layout.partitions_path(name)}/{index}")) for index in indexes]
            partitions = {}
            for index, answer in asked:
                partitions[index] = (yield answer)[0]
        except NoNode:
            pass
        has_topic = (yield self._client.exists(layout.topic_path(name))) is not None
        has_config = (yield self._client.exists(layout.topic_config_path(name))) is not None
        yield from self._write_groups(
            controller.forget_topic(name, partitions, has_topic=has_topic, has_config=has_config).groups
        )

    def forget(self, topics: Sequence[Topic]) -> Flow:
        """Stop topics on this broker and put their logs out of reach."""
        names = {topic.name for topic in topics}
        for known in (self._broken, self._epochs_on_disk):
            for key in [key for key in known if key[0] in names]:
                del known[key]
        yield self._replicas.delete(topics)

    def read_topics(
        self, names: Sequence[str], watch: WatchCallback | None = None
    ) -> Generator[Pending[Any], Any, dict[str, Topic]]:
        """Read topics with their configs and states; one that has gone meanwhile, or that cannot be read, is left out.

        `watch` is told of every later change to a topic's assignment or a partition's state.
        """
        asked = [
            (name, self._client.get(layout.topic_path(name), watch), self._client.get(layout.topic_config_path(name)))
            for name in names
        ]
        topics: dict[str, Topic] = {}
        for name, topic_answer, config_answer in asked:
            topic_data, config = None, {}
            with suppress(NoNode):
                topic_data, topic_stat = yield topic_answer
            try:
                config_data, _ = yield config_answer
                config = layout.decode_config(layout.topic_entity(name), config_data)
            except NoNode:
                pass
            except layout.BadZnode as error:
                logger.error("%s: the topic's options are ignored", error)
            if topic_data is None:
                continue
            try:
                topic_id, assignment = layout.decode_topic(name, topic_data)
                if topic_id is None and watch is not None:
                    continue  # the controller will give it an id
                if topic_id is None:  # an old Kafka wrote it: give it an id, as a new one does
                    topic_id = new_id(self._random)
                    yield self._client.set(layout.topic_path(name), layout.encode_topic(topic_id, assignment), topic_stat.version)
                partitions = yield from self._read_partitions(name, assignment, watch)
            except layout.BadZnode as error:
                logger.error("%s: the topic is left alone", error)
                continue
            topics[name] = Topic(name, topic_id, partitions, config)
        return topics

    def _read_partitions(
        self, name: str, assignment: Sequence[tuple[int, ...]], watch: WatchCallback | None
    ) -> Generator[Pending[Any], Any, tuple[Partition, ...]]:
        if watch is not None:
            return (yield from self._read_states(name, assignment, watch))
        seen = [self._epochs_on_disk.get((name, index), -1) for index in range(len(assignment))]
        if (yield self._client.exists(layout.partitions_path(name))) is None:
            return tuple(Partition(replicas, leader_epoch=epoch) for replicas, epoch in zip(assignment, seen, strict=True))
        asked = [self._client.get(layout.state_path(name, index)) for index in range(len(assignment))]
        partitions = []
        for index, (replicas, answer) in enumerate(zip(assignment, asked, strict=True)):
            try:
                data, stat = yield answer
            except NoNode:
                partitions.append(Partition(replicas, leader_epoch=seen[index]))
            else:
                partition = layout.decode_state(name, index, replicas, data, stat.version, stat.mzxid)
                partitions.append(partition._replace(leader_epoch=max(partition.leader_epoch, seen[index])))
        return tuple(partitions)

    def _read_states(
        self, name: str, assignment: Sequence[tuple[int, ...]], watch: WatchCallback
    ) -> Generator[Pending[Any], Any, tuple[Partition, ...]]:
        """Read the states of partitions as they are and leave a watch on each, whether it is there already or not."""
        paths = [layout.state_path(name, index) for index in range(len(assignment))]
        asked = [(self._client.exists(path, watch), self._client.get(path)) for path in paths]
        partitions = []
        for index, (replicas, (there, answer)) in enumerate(zip(assignment, asked, strict=True)):
            yield there
            try:
                data, stat = yield answer
            except NoNode:
                partitions.append(Partition(replicas))
            else:
                partitions.append(layout.decode_state(name, index, replicas, data, stat.version, stat.mzxid))
        return tuple(partitions)

    # ---- brokers come and go ----

    def _brokers_changed(self) -> Flow:
        if not self._may_decide():
            return
        yield from self.read_brokers(self._look_again)
        image = self._view.image
        image, changes = yield from self._write(image, controller.settle(image, image.topics.values()))
        yield from self.tell(changes)
        self._view.publish(image)

    def read_brokers(self, watch: WatchCallback) -> Flow:
        """Read who is registered and publish it; `watch` is told when somebody comes or goes."""
        names, _ = yield self._client.children(layout.BROKER_IDS, watch)
        asked = [(int(name), self._client.get(layout.broker_path(int(name)))) for name in names if name.isdecimal()]
        brokers: list[Broker] = []
        for broker_id, answer in asked:
            try:
                data, stat = yield answer
                brokers.append(layout.decode_broker(broker_id, stat.czxid, data))
            except NoNode:
                continue
            except layout.BadZnode as error:
                logger.error("%s: the broker is taken for dead", error)
        self._view.publish(self._view.image.with_brokers(brokers))

    # ---- carrying out ----

    def _write(self, image: Image, decision: Decision) -> Generator[Pending[Any], Any, tuple[Image, list[Change]]]:
        """Write a decision; return the image and the changes with the zxids under which they were written."""
        zxid_of = yield from self._write_groups(decision.groups)
        changes = [
            change._replace(partition=change.partition._replace(written_zxid=zxid_of[change.state_path]))
            for change in decision.changes
        ]
        return controller.with_changes(image, changes), changes

    def _write_groups(self, groups: Sequence[Sequence[Operation]]) -> Generator[Pending[Any], Any, dict[str, int]]:
        """Write groups of operations under the controller epoch; return the zxid for each path that has one now."""
        multis = list(controller.transactions(groups, self._epoch_znode_version))
        asked = [self._client.multi(multi) for multi in multis]
        zxid_of: dict[str, int] = {}
        for multi, answer in zip(multis, asked, strict=True):
            try:
                results = yield answer
            except MultiFailed as error:
                if error.index == 0:
                    raise ControllerMoved(str(error)) from error
                raise
            for operation, result in zip(multi, results, strict=True):
                if result is not None:
                    zxid_of[operation.path] = (result if isinstance(result, Stat) else result.stat).mzxid
        return zxid_of

    def tell(self, changes: Sequence[Change]) -> Flow:
        """Tell this broker's replicas what is theirs, and try again later with those that failed."""
        own = [change for change in changes if self._broker_id in change.partition.replicas]
        if not own:
            return
        failed = yield self._replicas.lead(own)
        news = {key: error for key, error in failed.items() if key not in self._broken}
        for change in own:
            self._broken.pop((change.topic.name, change.partition_index), None)
        if news:
            (name, index), error = next(iter(news.items()))
            logger.error("%d partitions are not available, the first is %s-%d: %s", len(news), name, index, error)
        if failed:
            self._broken.update(failed)
            self._try_again(self._mend)

    def _mend(self) -> Flow:
        """Bring up what could not be; whoever waits for the partitions of a topic here looks for them when it is published."""
        topics = self._view.image.topics
        changes = [
            Change(topics[name], index, topics[name].partitions[index])
            for name, index in self._broken
            if name in topics and topics[name].partitions[index].exists
        ]
        yield from self.tell(changes)
        mended = {one.topic.name: one.topic for one in changes if (one.topic.name, one.partition_index) not in self._broken}
        if mended:
            self._view.publish(self._view.image.with_topics(mended.values()))


def _cause(error: CoordinatorError) -> type[CoordinatorError]:
    """Return the class of what went wrong, inside a multi or not."""
    return type(error.error) if isinstance(error, MultiFailed) else type(error)


def _led(wanted: NewTopic, image: Image) -> Topic | None:
    """Return a topic when all of its partitions have leaders."""
    topic = image.topics.get(wanted.name)
    is_led = topic is not None and topic.id == wanted.id and all(one.leader != NO_LEADER for one in topic.partitions)
    return topic if is_led else None


def _gone(name: str, image: Image) -> bool:
    return name not in image.topics


def _as_it_is(error: Exception) -> Exception:
    return error


def _for_clients(error: Exception) -> Exception:
    """Return what a client is told of a failed decision."""
    if isinstance(error, KafkaError):
        return error
    if isinstance(error, ControllerMoved):
        return NotController()
    if isinstance(error, CoordinatorError):
        return KafkaStorageError(f"The metadata could not be written: {error}")
    return error
