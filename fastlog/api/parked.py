"""Requests that wait: for records to fetch, or for those produced to be replicated. Kafka calls it purgatory.

A parked request watches its partitions. Whatever moves one of them in a turn (an append's commit, a new leader, the partition's
removal) marks the request, and `wake`, a turn-end hook behind those that append, lets each marked one try once: so a long-poll
fetch is answered in the turn of the append. At its deadline it is tried a last time, and has to answer.

Bounds: a connection has at most one fetch parked and MAX_UNDER_WAY produces; a closed connection's are let go at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastlog.api.context import RequestContext
    from fastlog.env.reactor import Reactor, Timer
    from fastlog.metrics import Metrics
    from fastlog.replication.partition import Partition

logger = logging.getLogger(__name__)

Attempt = Callable[[list["Partition"], bool], bool]
"""`attempt(changed partitions, is_last)` answers and returns True, or returns False to wait on, which the last may not."""


class Parked:
    """One request that waits."""

    __slots__ = ("_attempt", "_changed", "_context", "_partitions", "_room", "_timer")

    def __init__(
        self, room: ParkedRequests, context: RequestContext, partitions: list[Partition], wait_ms: int, attempt: Attempt
    ) -> None:
        self._room = room
        self._context = context
        self._partitions = partitions
        self._attempt = attempt
        self._changed: dict[Partition, None] = {}
        self._timer: Timer = room.reactor.call_later(wait_ms, self._try, True)
        context.on_close = self._leave
        for partition in partitions:
            partition.watch(self._note)

    def _note(self, partition: Partition) -> None:
        if not self._changed:
            self._room.marked.append(self)
        self._changed[partition] = None

    def _leave(self) -> None:
        """Wait no more."""
        self._timer.cancel()
        if self._context.on_close == self._leave:  # who answers later has put another in its place
            self._context.on_close = None
        for partition in self._partitions:
            partition.unwatch(self._note)
        self._partitions = []
        self._room.count -= 1

    def wake(self) -> None:
        """Try again, unless the request has gone since it was marked."""
        if self._partitions:
            self._try(False)

    def _try(self, is_last: bool) -> None:
        changed, self._changed = self._changed, {}
        try:
            answered = self._attempt(list(changed), is_last)
        except Exception as error:  # a mistake of ours, and this request's alone
            logger.error("a parked request of %s failed", self._context.peer_host, exc_info=error)
            self._leave()
            self._context.abort("a request could not be answered")
            return
        assert answered or not is_last, "the last attempt has to answer"
        if answered:
            self._leave()


class ParkedRequests:
    """All parked requests of one kind."""

    def __init__(self, reactor: Reactor, metrics: Metrics, kind: str) -> None:
        self.reactor = reactor
        self.count = 0
        self.marked: list[Parked] = []
        metrics.gauge(
            f"kafka.server:type=DelayedOperationPurgatory,name=PurgatorySize,delayedOperation={kind}", lambda: self.count
        )

    def park(self, context: RequestContext, partitions: Iterable[Partition], wait_ms: int, attempt: Attempt) -> None:
        """Have a request wait for `wait_ms` at most; see `Attempt`. Each partition is watched once."""
        self.count += 1
        Parked(self, context, list(dict.fromkeys(partitions)), wait_ms, attempt)

    def wake(self) -> None:
        """Let those try whose partitions moved in this turn."""
        if self.marked:
            marked, self.marked = self.marked, []
            for parked in marked:
                parked.wake()
