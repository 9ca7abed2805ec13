"""Fetch sessions (KIP-227): the broker remembers what a consumer fetches, and answers only with what has changed.

A full fetch (epoch 0) asks for a session; its answer tells the id. Each incremental fetch tells the next epoch, and only those
partitions that are new, changed or forgotten. Session 0 with epoch -1 is a fetch without a session, and epoch -1 with an id ends
one.

Bounds: `max.incremental.fetch.session.cache.slots` sessions, `MAX_PARTITIONS` partitions in all of them. A full cache makes room
only in place of a session that nobody used for `MIN_EVICTION_MS`; a client that gets none goes on with full fetches.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from fastlog.errors import FetchSessionIdNotFound, FetchSessionTopicIdError, InvalidFetchSessionEpoch

if TYPE_CHECKING:
    from fastlog.env import Clock, Random
    from fastlog.metrics import Metrics

NO_SESSION: Final = 0
INITIAL_EPOCH: Final = 0
FINAL_EPOCH: Final = -1
MAX_EPOCH: Final = (1 << 31) - 1
MIN_EVICTION_MS: Final = 120_000
MAX_PARTITIONS: Final = 500_000

NOT_TOLD: Final = -1

Asked = tuple[str | bytes, int, int, int, int, int, int]
"""(topic, index, current leader epoch, fetch offset, last fetched epoch, log start offset, max bytes) as a request says it."""

Key = tuple[str | bytes, int]


class FetchPartition:
    """What is asked of one partition, and what its reader was last told of it."""

    __slots__ = (
        "current_leader_epoch",
        "index",
        "max_bytes",
        "offset",
        "told_high_watermark",
        "told_log_start_offset",
        "topic",
    )

    def __init__(self, asked: Asked) -> None:
        self.topic, self.index, self.current_leader_epoch, self.offset, _, _, self.max_bytes = asked
        self.told_high_watermark = NOT_TOLD
        self.told_log_start_offset = NOT_TOLD

    def ask(self, asked: Asked) -> None:
        """Ask something else of the same partition."""
        _, _, self.current_leader_epoch, self.offset, _, _, self.max_bytes = asked

    def has_news(self, error: int, high_watermark: int, log_start_offset: int, *, has_records: bool) -> bool:
        """Tell whether an incremental answer has to name the partition, and take note that it does."""
        if error:
            self.told_high_watermark = NOT_TOLD  # so that the end of the error is news too
            return True
        news = has_records or high_watermark != self.told_high_watermark or log_start_offset != self.told_log_start_offset
        self.told_high_watermark = high_watermark
        self.told_log_start_offset = log_start_offset
        return news


class FetchSession:
    """One reader's partitions, in the order in which they are read: what gave records goes to the end."""

    __slots__ = ("epoch", "id", "partitions", "used_ns", "uses_topic_ids")

    def __init__(self, session_id: int, partitions: dict[Key, FetchPartition], *, uses_topic_ids: bool, now_ns: int) -> None:
        self.id = session_id
        self.epoch = INITIAL_EPOCH + 1
        self.partitions = partitions
        self.uses_topic_ids = uses_topic_ids
        self.used_ns = now_ns

    def gave_records(self, keys: Iterable[Key]) -> None:
        """Read these last next time, so that one busy partition cannot starve the others."""
        partitions = self.partitions
        for key in keys:
            partition = partitions.pop(key, None)
            if partition is not None:
                partitions[key] = partition


class FetchSessions:
    """The cache of sessions, least recently used first."""

    def __init__(self, clock: Clock, random: Random, metrics: Metrics, max_sessions: int) -> None:
        self._clock = clock
        self._random = random
        self._max_sessions = max_sessions
        self._sessions: dict[int, FetchSession] = {}
        self._partition_count = 0
        prefix = "kafka.server:type=FetchSessionCache"
        metrics.gauge(f"{prefix},name=NumIncrementalFetchSessions", lambda: len(self._sessions))
        metrics.gauge(f"{prefix},name=NumIncrementalFetchPartitionsCached", lambda: self._partition_count)
        self._evictions = metrics.counter(f"{prefix},name=IncrementalFetchSessionEvictionsPerSec")

    def __len__(self) -> int:
        return len(self._sessions)

    def create(self, partitions: dict[Key, FetchPartition], *, uses_topic_ids: bool) -> FetchSession | None:
        """Make a session, at the epoch that its next request has to tell; None when there is no room."""
        now_ns = self._clock.monotonic_ns()
        if not partitions or self._partition_count + len(partitions) > MAX_PARTITIONS:
            return None
        if len(self._sessions) >= self._max_sessions:
            oldest = next(iter(self._sessions.values()), None)
            if oldest is None or now_ns - oldest.used_ns < MIN_EVICTION_MS * 1_000_000:
                return None
            self.remove(oldest.id)
            self._evictions.value += 1
        session_id = NO_SESSION
        while session_id == NO_SESSION or session_id in self._sessions:
            session_id = self._random.below(MAX_EPOCH) + 1
        session = FetchSession(session_id, partitions, uses_topic_ids=uses_topic_ids, now_ns=now_ns)
        self._sessions[session_id] = session
        self._partition_count += len(partitions)
        return session

    def remove(self, session_id: int) -> None:
        """Forget a session; an unknown one is fine."""
        session = self._sessions.pop(session_id, None)
        if session is not None:
            self._partition_count -= len(session.partitions)

    def use(
        self, session_id: int, epoch: int, asked: list[Asked], forgotten: Iterable[Key], *, uses_topic_ids: bool
    ) -> FetchSession:
        """Return the session of an incremental fetch, changed as it says and moved on to the next epoch.

        FetchSessionIdNotFound, InvalidFetchSessionEpoch, FetchSessionTopicIdError.
        """
        session = self._sessions.get(session_id)
        if session is None:
            raise FetchSessionIdNotFound
        if session.epoch != epoch:
            raise InvalidFetchSessionEpoch(f"the session is at epoch {session.epoch}, the request at {epoch}")
        if session.uses_topic_ids != uses_topic_ids:
            raise FetchSessionTopicIdError
        partitions = session.partitions
        before = len(partitions)
        for one in asked:
            known = partitions.get(one[:2])
            if known is not None:
                known.ask(one)
            else:
                partitions[one[:2]] = FetchPartition(one)
        for key in forgotten:
            partitions.pop(key, None)
        self._partition_count += len(partitions) - before
        session.epoch = 1 if epoch == MAX_EPOCH else epoch + 1
        del self._sessions[session_id]
        if not partitions or self._partition_count > MAX_PARTITIONS:
            self._partition_count -= len(partitions)
            if partitions:
                raise FetchSessionIdNotFound("there is no room for so many partitions in fetch sessions")
            return session  # over: the answer tells no session any more
        session.used_ns = self._clock.monotonic_ns()
        self._sessions[session_id] = session  # the most recently used is last
        return session

    def has(self, session: FetchSession) -> bool:
        """Tell whether a session is still remembered."""
        return self._sessions.get(session.id) is session
