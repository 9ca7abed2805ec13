"""The replicas on this broker, brought to what the controller orders: logs, partitions, leadership.

Implements `fastlog.metadata.driver.Replicas` over the log manager and the partition set. Many partitions are brought up in
portions, a turn of the reactor each, so that clients are served meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from fastlog.errors import KafkaError, KafkaStorageError
from fastlog.metadata.image import Topic
from fastlog.replication.partition import Partition
from fastlog.storage.durability import NO_DESCRIPTOR_ERRORS
from fastlog.storage.recovery import write_topic_id

if TYPE_CHECKING:
    from fastlog.env.reactor import Pending, Reactor
    from fastlog.metadata.controller import Change
    from fastlog.replication.partition_set import PartitionSet
    from fastlog.replication.topic_options import TopicOptions
    from fastlog.storage.environment import LogDirectory
    from fastlog.storage.log import Log
    from fastlog.storage.log_manager import LogManager

PARTITIONS_PER_TURN: Final = 20
"""Bringing up one takes some 100 us, most of it for the files of a new log."""
FIRST_LEADER_EPOCH: Final = 0

logger = logging.getLogger(__name__)


class LocalReplicas:
    """Executes the controller's orders on one broker."""

    def __init__(
        self, reactor: Reactor, logs: LogManager, partitions: PartitionSet, options: TopicOptions, broker_id: int
    ) -> None:
        self._reactor = reactor
        self._logs = logs
        self._partitions = partitions
        self._options = options
        self._broker_id = broker_id

    def lead(self, changes: Sequence[Change]) -> Pending[Mapping[tuple[str, int], Exception]]:
        """Make the partitions what the changes say, with logs where they need them; return those that failed, and why."""
        return self._reactor.spawn(self._lead(changes))

    def configure(self, topic: Topic) -> None:
        """Put a topic's options in force."""
        self._options.learn(topic.name, topic.config)
        for index in range(len(topic.partitions)):
            partition = self._partitions.get(topic.name, index)
            if partition is not None:
                partition.log.configure(self._options.log_config_for(topic.name))

    def configure_all(self) -> None:
        """Put in force what the broker's own options mean for the logs of all topics."""
        for partition in self._partitions:
            partition.log.configure(self._options.log_config_for(partition.topic))

    def delete(self, topics: Sequence[Topic]) -> Pending[None]:
        """Stop all partitions of topics and put their logs out of reach, durably."""
        return self._reactor.spawn(self._delete(topics))

    def _lead(self, changes: Sequence[Change]) -> Generator[Pending[Any], Any, dict[tuple[str, int], Exception]]:
        failed: dict[tuple[str, int], Exception] = {}
        for topic in {change.topic.name: change.topic for change in changes}.values():
            self._options.learn(topic.name, topic.config)
        # What is missing is known before anything new is put where it may have been.
        for count, change in enumerate(sorted(changes, key=self._is_new), 1):
            try:
                self._bring_up(change)
            except (KafkaError, OSError) as error:
                failed[change.topic.name, change.partition_index] = error
            if count % PARTITIONS_PER_TURN == 0:
                yield self._reactor.next_turn()
        return failed

    def _bring_up(self, change: Change) -> None:
        topic, index, state = change.topic, change.partition_index, change.partition
        partition = self._partitions.get(topic.name, index)
        if partition is None:
            log = self._log_of(topic, index, is_new=self._is_new(change))
            log.configure(self._options.log_config_for(topic.name))
            partition = Partition(topic.name, topic.id, index, self._broker_id, log)
            self._partitions.add(partition)
        if state.leader_epoch >= partition.leader_epoch:
            partition.become(state.leader, state.leader_epoch, state.replicas, state.isr)

    def _is_new(self, change: Change) -> bool:
        """Whether nobody led a partition before. An earlier life of this broker did so under another epoch: see `settle`."""
        state = change.partition
        return state.leader == self._broker_id and state.leader_epoch == FIRST_LEADER_EPOCH

    def _log_of(self, topic: Topic, index: int, *, is_new: bool) -> Log:
        log = self._logs.claim(topic.name, index, topic.id)
        if log is None:
            log = self._logs.create(topic.name, index, topic.id, is_new=is_new)
            if not is_new:  # its directory is no longer one of ours, or it was never made for want of room or time
                logger.warning("%s was this broker's before, and is in no log directory: it begins anew, empty", log.path)
            return log
        if log.topic_id is None:  # a Kafka from before topic ids wrote it, or the file was lost with a machine
            write_topic_id(self._logs.environment, log.path, topic.id)
            log.topic_id = topic.id
        return log

    def _delete(self, topics: Sequence[Topic]) -> Generator[Pending[Any], Any, None]:
        touched: dict[LogDirectory, None] = {}
        failure: KafkaStorageError | None = None
        count = 0
        for topic in topics:
            for index in range(len(topic.partitions)):
                self._partitions.remove(topic.name, index)
                try:
                    self._put_away(topic, index, touched)
                except KafkaStorageError as error:
                    failure = failure or error
                count += 1
                if count % PARTITIONS_PER_TURN == 0:
                    yield self._reactor.next_turn()
            self._options.forget(topic.name)
        environment = self._logs.environment
        for directory, _ in self._logs.directories():
            # All that can be: an attempt before this one may have got no further than the names.
            if directory.failure is None or directory in touched:
                synced: Pending[None] = self._reactor.pending()
                environment.flusher.submit(partial(environment.disk.sync_directory, directory.path), synced.settle)
                try:
                    yield synced
                except OSError as error:
                    what = "the names of deleted logs were not synced"
                    if error.errno not in NO_DESCRIPTOR_ERRORS:
                        directory.fail(what, error)
                    failure = failure or KafkaStorageError(f"{directory.path}: {what}: {error.strerror}")
        if failure is not None:
            raise failure

    def _put_away(self, topic: Topic, index: int, touched: dict[LogDirectory, None]) -> None:
        # Of that name nothing is to be left that the next start would adopt.
        log, state = self._logs.claim(topic.name, index, topic.id), topic.partitions[index]
        if log is not None:
            self._logs.delete(topic.name, index)
            touched[log.directory] = None
        elif state.exists and self._broker_id in state.replicas:
            self._logs.expect_none(topic.name, index)
