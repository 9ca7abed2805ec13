"""Appends records to the partitions of `__consumer_offsets`, as any produce with acks=all, and tells when they are acknowledged.

Appends to a partition end in the order in which they were begun. `settle` is a turn-end hook behind the one that commits the
logs: with one replica an append ends in the turn in which it began.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from fastlog._core import BatchBuilder, Slice
from fastlog.errors import (
    NONE,
    CoordinatorNotAvailable,
    InvalidCommitOffsetSize,
    InvalidFetchSize,
    KafkaError,
    KafkaStorageError,
    MessageTooLarge,
    NotCoordinator,
    NotEnoughReplicas,
    NotEnoughReplicasAfterAppend,
    NotLeaderOrFollower,
    RecordListTooLarge,
    RequestTimedOut,
    UnknownServerError,
    UnknownTopicOrPartition,
)
from fastlog.replication.partition import ACKS_ALL
from fastlog.storage.staged import StagedAppend, refused

if TYPE_CHECKING:
    from fastlog.env.reactor import Reactor, Timer
    from fastlog.groups.records import KeyAndValue
    from fastlog.replication.partition import Partition

MOST_BATCH_BYTES: Final = 256 << 10
"""Records beyond it go into another batch, so that no number of partitions is too many for one commit."""

Then = Callable[[int], object]
"""Called once with the error code of the append, 0 when it is acknowledged."""

_FOR_CLIENTS: Final = {
    **dict.fromkeys(
        (UnknownTopicOrPartition.code, NotEnoughReplicas.code, NotEnoughReplicasAfterAppend.code, RequestTimedOut.code),
        CoordinatorNotAvailable.code,
    ),
    **dict.fromkeys((NotLeaderOrFollower.code, KafkaStorageError.code), NotCoordinator.code),
    **dict.fromkeys((MessageTooLarge.code, RecordListTooLarge.code, InvalidFetchSize.code), InvalidCommitOffsetSize.code),
}


def error_for_clients(error: int) -> int:
    """Return what a group's client is told of a failed append: to find its coordinator again, or that it is of no use."""
    return NONE if error == NONE else _FOR_CLIENTS.get(error, UnknownServerError.code)


class _Append:
    """One append that is not settled yet."""

    __slots__ = ("error", "staged", "then", "timer")

    def __init__(self, staged: list[StagedAppend], then: Then) -> None:
        self.staged = staged
        self.then = then
        self.error = NONE
        self.timer: Timer | None = None

    def is_settled(self, partition: Partition) -> bool:
        if not self.error:
            self.error = next((one.error for one in self.staged if one.error), NONE) or _why_hopeless(partition)
        return self.error != NONE or self.staged[-1].last_offset < partition.log.high_watermark


class Appender:
    """Appends on behalf of groups."""

    def __init__(self, reactor: Reactor, timeout_ms: int) -> None:
        """`timeout_ms` is how long an append may wait to be acknowledged (`offsets.commit.timeout.ms`)."""
        self._reactor = reactor
        self._timeout_ms = timeout_ms
        self._waiting: dict[Partition, deque[_Append]] = {}
        self._marked: dict[Partition, None] = {}
        self._is_settling = False

    def append(self, partition: Partition, records: Sequence[KeyAndValue], timestamp_ms: int, then: Then) -> None:
        """Append records, in as many batches as they need; `then(error)` is called at the end of this turn or a later one."""
        assert records
        waiting = self._waiting.get(partition)
        if waiting is None:
            waiting = self._waiting[partition] = deque()
            partition.watch(self._mark)
        waiting.append(_Append([_stage(partition, batch) for batch in _batches(records, timestamp_ms)], then))
        self._mark(partition)
        if self._is_settling:  # the logs have been written in this turn: there has to be another
            self._reactor.hasten()

    def _mark(self, partition: Partition) -> None:
        self._marked[partition] = None

    def settle(self) -> None:
        """Tell of every append that is acknowledged or has failed."""
        if not self._marked:
            return
        marked, self._marked = self._marked, {}
        self._is_settling = True
        try:
            for partition in marked:
                self._settle(partition)
        finally:
            self._is_settling = False

    def _settle(self, partition: Partition) -> None:
        waiting = self._waiting.get(partition)
        if waiting is None:
            return
        while waiting and waiting[0].is_settled(partition):
            one = waiting.popleft()
            if one.timer is not None:
                one.timer.cancel()
            one.then(error_for_clients(one.error))
        if not waiting:
            del self._waiting[partition]
            partition.unwatch(self._mark)
            return
        for one in waiting:
            if one.timer is None:
                one.timer = self._reactor.call_later(self._timeout_ms, self._expire, partition, one)

    def _expire(self, partition: Partition, append: _Append) -> None:
        """It stays in the log and may be acknowledged later; only whoever waits is told now, after those before it."""
        append.error = RequestTimedOut.code
        self._mark(partition)


def _batches(records: Sequence[KeyAndValue], timestamp_ms: int) -> list[Slice]:
    batches: list[Slice] = []
    builder = BatchBuilder(max_bytes=MOST_BATCH_BYTES)
    for key, value in records:
        if not builder.append(timestamp_ms, key, value):
            batches.append(Slice(bytearray(builder.build())))
            builder = BatchBuilder(max_bytes=MOST_BATCH_BYTES)
            builder.append(timestamp_ms, key, value)
    batches.append(Slice(bytearray(builder.build())))
    return batches


def _stage(partition: Partition, batch: Slice) -> StagedAppend:
    try:
        return partition.append(batch, ACKS_ALL)
    except KafkaError as error:
        return refused(error.code, error.message)


def _why_hopeless(partition: Partition) -> int:
    if partition.log.directory.failure is not None:
        return KafkaStorageError.code
    return NONE if partition.is_leader else NotLeaderOrFollower.code
