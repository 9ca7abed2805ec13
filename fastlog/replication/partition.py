"""One partition as this broker sees it: who leads under which epoch, what is replicated, what a reader may see.

Rules: leader epochs of requests (KIP-320), the high watermark (a leader alone moves it with its own log's acknowledged end),
isolation levels (KIP-98), the special timestamps of ListOffsets (KIP-79, KIP-734, KIP-405, KIP-1005, KIP-1023). Invariants: a
reader never sees past the high watermark, and read_committed never past the last stable offset; the high watermark never goes
back within an epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastlog._core import ProduceRun, Region, Slice
from fastlog.errors import (
    FencedLeaderEpoch,
    InvalidRecord,
    KafkaError,
    NotEnoughReplicas,
    NotLeaderOrFollower,
    PolicyViolation,
    UnknownLeaderEpoch,
)
from fastlog.storage.log import Decompress, Log, Search
from fastlog.storage.producer_state import ProducerEntry
from fastlog.storage.staged import StagedAppend, refused

READ_UNCOMMITTED = 0
READ_COMMITTED = 1

ACKS_ALL = -1

TO_HIGH_WATERMARK = -1
"""The offset of a DeleteRecords that deletes whatever may be read."""

ANY_EPOCH = -1
"""A request that doesn't say which leader epoch it knows."""

LATEST_TIMESTAMP = -1
EARLIEST_TIMESTAMP = -2
MAX_TIMESTAMP = -3
EARLIEST_LOCAL_TIMESTAMP = -4
LATEST_TIERED_TIMESTAMP = -5
EARLIEST_PENDING_UPLOAD_TIMESTAMP = -6

NO_LEADER = -1
UNKNOWN_OFFSET = -1
NO_TIMESTAMP = -1

Watcher = Callable[["Partition"], object]
"""Called when the high watermark or last stable offset moved, and when the partition can be read no more."""


class FetchedData:
    """The answer to a read: `records` may end in a batch that is cut off; None when there is nothing.

    `aborted` lists (producer id, first offset) of the aborted transactions that touch the records, None unless read_committed.
    `diverging` is (epoch, end offset) where the reader's log and this one part (KIP-595), None where they don't.
    """

    __slots__ = ("aborted", "diverging", "error", "high_watermark", "last_stable_offset", "log_start_offset", "records")

    def __init__(
        self,
        error: int,
        high_watermark: int = UNKNOWN_OFFSET,
        last_stable_offset: int = UNKNOWN_OFFSET,
        log_start_offset: int = UNKNOWN_OFFSET,
        records: Region | None = None,
        aborted: list[tuple[int, int]] | None = None,
        diverging: tuple[int, int] | None = None,
    ) -> None:
        self.error = error
        self.high_watermark = high_watermark
        self.last_stable_offset = last_stable_offset
        self.log_start_offset = log_start_offset
        self.records = records
        self.aborted = aborted
        self.diverging = diverging


class Partition:
    """A partition that this broker leads or follows. `topic_id` has 16 bytes."""

    __slots__ = ("_watchers", "broker_id", "index", "isr", "leader_epoch", "leader_id", "log", "replicas", "topic", "topic_id")

    def __init__(self, topic: str, topic_id: bytes, index: int, broker_id: int, log: Log) -> None:
        self.topic = topic
        self.topic_id = topic_id
        self.index = index
        self.broker_id = broker_id
        self.log = log
        self.leader_id = NO_LEADER
        self.leader_epoch = -1
        self.replicas: tuple[int, ...] = ()
        self.isr: tuple[int, ...] = ()
        self._watchers: dict[Watcher, None] = {}
        log.on_advance = self._log_advanced
        log.on_failure = self._notify

    def __repr__(self) -> str:
        return f"<Partition {self.topic}-{self.index} leader={self.leader_id} epoch={self.leader_epoch}>"

    # ---- leadership -------------------------------------------------------------------------------------------------------

    @property
    def is_leader(self) -> bool:
        return self.leader_id == self.broker_id

    def become(self, leader_id: int, leader_epoch: int, replicas: Sequence[int], isr: Sequence[int]) -> None:
        """Take over the leader, epoch, replicas and ISR that the controller decided; an epoch before the present one is stale.

        FencedLeaderEpoch for a stale one.
        """
        if leader_epoch < self.leader_epoch:
            raise FencedLeaderEpoch(f"{self.topic}-{self.index}: epoch {leader_epoch} is before {self.leader_epoch}")
        begins = leader_id == self.broker_id and leader_epoch > self.leader_epoch
        self.leader_id, self.leader_epoch = leader_id, leader_epoch
        self.replicas, self.isr = tuple(replicas), tuple(isr)
        if begins:
            self.log.leader_epochs.assign(leader_epoch, self.log.log_end_offset)
        self._log_advanced()

    def _check_leader(self, current_leader_epoch: int) -> None:
        """Raise unless this broker leads and the request knows the present epoch."""
        if current_leader_epoch not in (ANY_EPOCH, self.leader_epoch):
            if current_leader_epoch < self.leader_epoch:
                raise FencedLeaderEpoch(f"the leader epoch is {self.leader_epoch}, not {current_leader_epoch}")
            raise UnknownLeaderEpoch(f"the leader epoch here is {self.leader_epoch}, not {current_leader_epoch} yet")
        if self.leader_id != self.broker_id:
            raise NotLeaderOrFollower(f"broker {self.leader_id} leads {self.topic}-{self.index}")

    # ---- appending --------------------------------------------------------------------------------------------------------

    def append(self, records: Slice | None, acks: int, *, transaction_verified: bool = False) -> StagedAppend:
        """Stage one produced batch; see `Log.stage`. Final at the end of the turn."""
        if self.leader_id != self.broker_id:
            return refused(NotLeaderOrFollower.code, f"broker {self.leader_id} leads {self.topic}-{self.index}")
        if records is None:
            return refused(InvalidRecord.code, "no record batch where exactly one is needed")
        log = self.log
        if acks == ACKS_ALL and len(self.isr) < log.config.min_insync_replicas:
            return refused(
                NotEnoughReplicas.code,
                f"{len(self.isr)} replicas are in sync where min.insync.replicas={log.config.min_insync_replicas}",
                log.log_start_offset,
            )
        return log.stage(records, self.leader_epoch, transaction_verified=transaction_verified)

    def append_run(self, run: ProduceRun) -> StagedAppend | None:
        """Stage the requests at the front of a run by one answer; see `Log.stage_run`. None: `append` takes the first."""
        log = self.log
        if self.leader_id != self.broker_id or (run.acks == ACKS_ALL and len(self.isr) < log.config.min_insync_replicas):
            return None
        return log.stage_run(run, self.leader_epoch)

    @property
    def acknowledged_end_offset(self) -> int:
        """A batch below it may be acknowledged with acks=1 (written, and flushed where flush.messages asks for that)."""
        return self.log.acknowledged_end_offset

    def _log_advanced(self) -> None:
        """The log may be acknowledged further: alone in the ISR, that is the high watermark."""
        log = self.log
        if self.leader_id == self.broker_id and len(self.isr) <= 1:
            acknowledged = log.durability.acknowledged_end_offset
            log.high_watermark = max(log.high_watermark, acknowledged)
        if self._watchers:
            self._notify()

    def delete_records(self, offset: int) -> int:
        """Let nobody read below `offset` any more, -1 for the high watermark; return the low watermark, as DeleteRecords answers.

        Raises KafkaError: the leadership errors, OFFSET_OUT_OF_RANGE past the high watermark, KAFKA_STORAGE_ERROR,
        POLICY_VIOLATION where old records are compacted and never deleted.
        """
        self._check_leader(ANY_EPOCH)
        log = self.log
        if "delete" not in log.config.cleanup_policy.split(","):
            raise PolicyViolation(f"cleanup.policy={log.config.cleanup_policy} of {self.topic} deletes no records")
        log.increment_log_start_offset(log.high_watermark if offset == TO_HIGH_WATERMARK else offset)
        return log.log_start_offset

    # ---- waiting ----------------------------------------------------------------------------------------------------------

    def watch(self, watcher: Watcher) -> None:
        """Call `watcher(self)` whenever there may be more to read or to acknowledge, in the turn in which that comes true."""
        self._watchers[watcher] = None

    def unwatch(self, watcher: Watcher) -> None:
        """Call a watcher no more; one that is not there is fine."""
        self._watchers.pop(watcher, None)

    def _notify(self) -> None:
        for watcher in list(self._watchers):
            watcher(self)

    def removed(self) -> None:
        """The partition is going from this broker: those who wait learn that it has no leader here."""
        self.leader_id = NO_LEADER
        self.log.on_advance = self.log.on_failure = None
        self._notify()
        self._watchers.clear()

    # ---- reading ----------------------------------------------------------------------------------------------------------

    def readable_end_offset(self, isolation_level: int) -> int:
        """Return the offset below which a consumer may read."""
        return self.log.high_watermark if isolation_level == READ_UNCOMMITTED else self.log.last_stable_offset

    def read(
        self,
        offset: int,
        max_bytes: int,
        isolation_level: int = READ_UNCOMMITTED,
        *,
        current_leader_epoch: int = ANY_EPOCH,
        last_fetched_epoch: int = ANY_EPOCH,
        at_least_one: bool = True,
    ) -> FetchedData:
        """Read for a consumer: whole batches from the one that holds `offset`, up to what the isolation level lets it see.

        Errors are in the answer: NOT_LEADER_OR_FOLLOWER, FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH, OFFSET_OUT_OF_RANGE,
        KAFKA_STORAGE_ERROR, CORRUPT_MESSAGE.
        """
        log = self.log
        try:
            if current_leader_epoch != ANY_EPOCH or self.leader_id != self.broker_id:
                self._check_leader(current_leader_epoch)
            if last_fetched_epoch != ANY_EPOCH:
                diverging = self._diverging(last_fetched_epoch, offset)
                if diverging is not None:
                    return FetchedData(0, log.high_watermark, log.last_stable_offset, log.log_start_offset, diverging=diverging)
            stable = log.last_stable_offset
            end_offset = log.high_watermark if isolation_level == READ_UNCOMMITTED else stable
            records = log.read(offset, max_bytes, end_offset, at_least_one)
            aborted = None
            if isolation_level == READ_COMMITTED:
                aborted = log.aborted_transactions(offset, end_offset) if records is not None else []
        except KafkaError as error:
            return FetchedData(error.code)
        return FetchedData(0, log.high_watermark, stable, log.log_start_offset, records, aborted)

    def _diverging(self, last_fetched_epoch: int, offset: int) -> tuple[int, int] | None:
        epoch, end_offset = self.log.leader_epochs.end_of(last_fetched_epoch, self.log.log_end_offset)
        if epoch < last_fetched_epoch or end_offset < offset:
            return epoch, end_offset
        return None

    def end_offset_of_epoch(self, leader_epoch: int, current_leader_epoch: int = ANY_EPOCH) -> tuple[int, int]:
        """Return (epoch, end offset) as OffsetForLeaderEpoch answers; raises KafkaError as `read` reports it."""
        self._check_leader(current_leader_epoch)
        return self.log.leader_epochs.end_of(leader_epoch, self.log.log_end_offset)

    def active_producers(self) -> list[tuple[int, ProducerEntry]]:
        """Return (producer id, what is remembered of it) as DescribeProducers answers; raises the leadership errors."""
        self._check_leader(ANY_EPOCH)
        return self.log.active_producers()

    def list_offset_steps(
        self,
        timestamp_ms: int,
        isolation_level: int,
        decompress: Decompress,
        *,
        current_leader_epoch: int = ANY_EPOCH,
    ) -> Search[tuple[int, int, int]]:
        """Find (timestamp, offset, leader epoch) as ListOffsets answers: -1 for each that does not exist.

        `timestamp_ms` is a time, for the first record not older than it, or one of the special values -1 to -6. Raises
        KafkaError: the leadership errors, KAFKA_STORAGE_ERROR, CORRUPT_MESSAGE.
        """
        self._check_leader(current_leader_epoch)
        log = self.log
        if timestamp_ms == LATEST_TIMESTAMP:
            return NO_TIMESTAMP, self.readable_end_offset(isolation_level), log.leader_epochs.latest
        if timestamp_ms == EARLIEST_TIMESTAMP:
            return NO_TIMESTAMP, log.log_start_offset, log.leader_epochs.epoch_of(log.log_start_offset)
        if timestamp_ms == EARLIEST_LOCAL_TIMESTAMP:
            return NO_TIMESTAMP, log.local_log_start_offset, log.leader_epochs.epoch_of(log.local_log_start_offset)
        if timestamp_ms in (LATEST_TIERED_TIMESTAMP, EARLIEST_PENDING_UPLOAD_TIMESTAMP):
            return NO_TIMESTAMP, UNKNOWN_OFFSET, -1  # there is no second tier
        if timestamp_ms == MAX_TIMESTAMP:
            timestamp_ms = log.max_timestamp_ms()
            if timestamp_ms < 0:
                return NO_TIMESTAMP, UNKNOWN_OFFSET, -1
        found = yield from log.timestamp_steps(timestamp_ms, self.readable_end_offset(isolation_level), decompress)
        if found is None:
            return NO_TIMESTAMP, UNKNOWN_OFFSET, -1
        return found[0], found[1], log.leader_epochs.epoch_of(found[1])
