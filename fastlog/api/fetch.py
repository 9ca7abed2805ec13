"""Fetch (key 1): reads records, waiting for them when asked to.

Versions 4-18. 4: isolation levels, aborted transactions. 5: log start offset. 7: sessions (KIP-227). 9: the reader's leader
epoch (KIP-320). 10: zstd. 11: rack (KIP-392). 12: flexible, last fetched epoch (KIP-595). 13: topics by id (KIP-516). 14: for
tiered storage (KIP-405). 15: replica state in place of the replica id (KIP-903). 16: leaders' addresses may be told (KIP-951).
17: replica directory (KIP-853). 18: the reader's high watermark (KIP-1166).

Frames are parsed and answers written in C; records go out as regions of the log's files, without a copy.
An answer is due at once when it has `min_bytes`, when no wait is asked for, or when a partition has an error; else the fetch is
parked, and woken in the turn in which one of its partitions gets more. The first batch of an answer comes whole even where it is
over the limits, so that a reader always gets on (KIP-74); what comes after it keeps to `max_bytes`. What the page cache does not
hold is read off the broker's thread before the answer is given.

Replicas (a replica id of 0 or more) need CLUSTER_ACTION, and this broker's partitions have none yet: NOT_LEADER_OR_FOLLOWER. What
only replicas tell (last fetched epoch, replica state and directory) is passed over; consumers use OffsetForLeaderEpoch.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from fastlog._core import fetch_response, parse_fetch
from fastlog.api.context import (
    CLUSTER_RESOURCE_NAME,
    OPERATION_CLUSTER_ACTION,
    OPERATION_READ,
    RESOURCE_CLUSTER,
    RESOURCE_TOPIC,
    RequestContext,
)
from fastlog.api.fetch_sessions import FINAL_EPOCH, INITIAL_EPOCH, NO_SESSION, FetchPartition, FetchSession, FetchSessions
from fastlog.api.hosted import why_not_hosted
from fastlog.api.registry import Api
from fastlog.errors import (
    FetchSessionIdNotFound,
    InvalidFetchSessionEpoch,
    KafkaError,
    NotLeaderOrFollower,
    TopicAuthorizationFailed,
)
from fastlog.replication.partition import ANY_EPOCH, FetchedData

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastlog._core import Slice
    from fastlog.api.cold_reads import ColdReads
    from fastlog.api.parked import ParkedRequests
    from fastlog.api.topic_metrics import BrokerTopicMetrics
    from fastlog.metadata.view import ClusterView
    from fastlog.replication.partition import Partition
    from fastlog.replication.partition_set import PartitionSet

KEY: Final = 1
TOPIC_IDS_SINCE: Final = 13
NO_REPLICA: Final = -1

logger = logging.getLogger(__name__)


class FetchRequest:
    """What one fetch asks for, and its session when it has one."""

    __slots__ = (
        "context",
        "is_incremental",
        "isolation_level",
        "max_bytes",
        "min_bytes",
        "partitions",
        "replica_id",
        "session",
        "session_epoch",
    )

    def __init__(self, context: RequestContext, replica_id: int, min_bytes: int, max_bytes: int, isolation_level: int) -> None:
        self.context = context
        self.replica_id = replica_id
        self.min_bytes = min_bytes
        self.max_bytes = max_bytes
        self.isolation_level = isolation_level
        self.partitions: Iterable[FetchPartition] = ()
        self.session: FetchSession | None = None
        self.session_epoch = 0
        self.is_incremental = False


Read = tuple[FetchPartition, "Partition | None", FetchedData]


class FetchHandler:
    """Answers fetches."""

    def __init__(
        self,
        partitions: PartitionSet,
        view: ClusterView,
        sessions: FetchSessions,
        parked: ParkedRequests,
        cold_reads: ColdReads,
        metrics: BrokerTopicMetrics,
        fetch_max_bytes: int,
    ) -> None:
        self._partitions = partitions
        self._view = view
        self._sessions = sessions
        self._parked = parked
        self._cold_reads = cold_reads
        self._metrics = metrics
        self._fetch_max_bytes = fetch_max_bytes

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(KEY, "Fetch", 4, 18, self.handle, takes_frame=True)

    def handle(self, context: RequestContext, frame: Slice, position: int) -> None:
        """Answer one fetch, now or when it has what it waits for. Raises FrameError."""
        (
            replica_id,
            max_wait_ms,
            min_bytes,
            max_bytes,
            isolation_level,
            session_id,
            session_epoch,
            asked,
            forgotten,
            _,  # the reader's rack: there is no nearer replica to send it to
        ) = parse_fetch(frame, position, context.api_version)
        max_bytes = min(max_bytes, self._fetch_max_bytes)
        min_bytes = min(min_bytes, max_bytes)
        request = FetchRequest(context, replica_id, min_bytes, max_bytes, isolation_level)
        uses_topic_ids = context.api_version >= TOPIC_IDS_SINCE
        if session_epoch in (INITIAL_EPOCH, FINAL_EPOCH):
            if session_id != NO_SESSION:
                self._sessions.remove(session_id)
            partitions = {one[:2]: FetchPartition(one) for one in asked}
            if session_epoch == INITIAL_EPOCH:
                request.session = self._sessions.create(partitions, uses_topic_ids=uses_topic_ids)
            request.partitions = partitions.values() if request.session is None else list(partitions.values())
        else:
            try:
                session = self._sessions.use(session_id, session_epoch, asked, forgotten, uses_topic_ids=uses_topic_ids)
            except KafkaError as error:
                self._refuse(context, error.code)
                return
            request.session = session
            request.is_incremental = True
            request.partitions = list(session.partitions.values())
        if request.session is not None:
            request.session_epoch = request.session.epoch
        reads, total_bytes, has_error = self._read(request)
        if total_bytes >= min_bytes or max_wait_ms <= 0 or has_error or not reads:
            self._answer(request, reads)
        else:
            self._park(request, reads, max_wait_ms)

    # ---- reading ----------------------------------------------------------------------------------------------------------

    def _read(self, request: FetchRequest) -> tuple[list[Read], int, bool]:
        """Read every partition within the request's limits: (reads, bytes in all, whether one has an error)."""
        left_bytes, at_least_one = request.max_bytes, True
        total_bytes, has_error = 0, False
        reads: list[Read] = []
        for asked in request.partitions:
            partition, data = self._read_one(request, asked, left_bytes, at_least_one)
            reads.append((asked, partition, data))
            if data.error:
                has_error = True
            elif data.records is not None:
                size = len(data.records)
                total_bytes += size
                left_bytes = max(0, left_bytes - size)
                at_least_one = False
        return reads, total_bytes, has_error

    def _read_one(
        self, request: FetchRequest, asked: FetchPartition, left_bytes: int, at_least_one: bool
    ) -> tuple[Partition | None, FetchedData]:
        context = request.context
        partition = self._partitions.get(asked.topic, asked.index)
        if partition is None:
            return None, FetchedData(why_not_hosted(self._view, asked.topic, asked.index), aborted=[])
        if request.replica_id > NO_REPLICA:
            if not context.authorize(OPERATION_CLUSTER_ACTION, RESOURCE_CLUSTER, CLUSTER_RESOURCE_NAME):
                return None, FetchedData(TopicAuthorizationFailed.code)
            return None, FetchedData(NotLeaderOrFollower.code)
        if not context.authorize(OPERATION_READ, RESOURCE_TOPIC, partition.topic):
            return None, FetchedData(TopicAuthorizationFailed.code)
        return partition, partition.read(
            asked.offset,
            min(asked.max_bytes, left_bytes),
            request.isolation_level,
            current_leader_epoch=max(ANY_EPOCH, asked.current_leader_epoch),
            at_least_one=at_least_one,
        )

    # ---- waiting ----------------------------------------------------------------------------------------------------------

    def _park(self, request: FetchRequest, reads: list[Read], max_wait_ms: int) -> None:
        """Wait for `min_bytes`; only partitions that move are looked at again until then."""
        asked_by_partition: dict[Partition, FetchPartition] = {}
        bytes_by_partition: dict[Partition, int] = {}
        for asked, partition, data in reads:
            if partition is not None:
                asked_by_partition[partition] = asked
                bytes_by_partition[partition] = 0 if data.records is None else len(data.records)
        attempt = partial(self._try_again, request, asked_by_partition, bytes_by_partition)
        self._parked.park(request.context, asked_by_partition, max_wait_ms, attempt)

    def _try_again(
        self,
        request: FetchRequest,
        asked_by_partition: dict[Partition, FetchPartition],
        bytes_by_partition: dict[Partition, int],
        changed: list[Partition],
        is_last: bool,
    ) -> bool:
        is_due = is_last
        for one in changed:
            _, data = self._read_one(request, asked_by_partition[one], request.max_bytes, True)
            if data.error:
                is_due = True
                break
            bytes_by_partition[one] = 0 if data.records is None else len(data.records)
        if is_due or sum(bytes_by_partition.values()) >= request.min_bytes:
            reads, _, _ = self._read(request)
            self._answer(request, reads)
            return True
        return False

    # ---- answering --------------------------------------------------------------------------------------------------------

    def _answer(self, request: FetchRequest, reads: list[Read]) -> None:
        """Answer now, or on a later turn where records must come from the disk first."""
        cold = [data.records for _, _, data in reads if data.records is not None and not data.records.is_resident()]
        if cold:
            request.context.on_close = self._cold_reads.load(cold, partial(self._answer_loaded, request, reads))
        else:
            self._respond(request, reads)

    def _answer_loaded(self, request: FetchRequest, reads: list[Read]) -> None:
        context = request.context
        context.on_close = None
        try:
            self._respond(request, reads)
        except Exception as error:  # a mistake of ours, and this request's alone
            logger.error("a fetch of %s failed", context.peer_host, exc_info=error)
            context.abort("a request could not be answered")

    def _respond(self, request: FetchRequest, reads: list[Read]) -> None:
        context, session = request.context, request.session
        session_id = NO_SESSION
        if session is not None:
            if session.epoch != request.session_epoch:  # somebody else used it while this one was parked
                self._refuse(context, InvalidFetchSessionEpoch.code)
                return
            if self._sessions.has(session):
                session_id = session.id
            elif session.partitions and request.is_incremental:  # evicted while this one was parked
                self._refuse(context, FetchSessionIdNotFound.code)
                return
        results = []
        gave_records = []
        total_bytes = self._count(reads)
        for asked, _, data in reads:
            size = 0 if data.records is None else len(data.records)
            if session is not None:
                if size:
                    gave_records.append((asked.topic, asked.index))
                has_news = asked.has_news(data.error, data.high_watermark, data.log_start_offset, has_records=size > 0)
                if request.is_incremental and not has_news:
                    continue
            results.append(
                (
                    asked.topic,
                    asked.index,
                    data.error,
                    data.high_watermark,
                    data.last_stable_offset,
                    data.log_start_offset,
                    data.aborted,
                    NO_REPLICA,
                    b"" if data.records is None else data.records,  # Kafka never says null, and librdkafka takes it for an error
                )
            )
        if session is not None and gave_records:
            session.gave_records(gave_records)
        throttle_ms = context.throttle("fetch", total_bytes)
        context.respond(fetch_response(context.api_version, context.correlation_id, 0, session_id, results, throttle_ms))

    def _refuse(self, context: RequestContext, error: int) -> None:
        context.respond(fetch_response(context.api_version, context.correlation_id, error, NO_SESSION, [], 0))

    def _count(self, reads: list[Read]) -> int:
        """Count what is read and return its bytes."""
        metrics = self._metrics
        metrics.all.fetch_requests.value += 1
        total_bytes = 0
        for _, partition, data in reads:
            if data.error:
                metrics.all.failed_fetches.value += 1
                if partition is not None:
                    metrics.topic(partition.topic).failed_fetches.value += 1
            elif partition is not None:
                topic = metrics.topic(partition.topic)
                topic.fetch_requests.value += 1
                if data.records is not None:
                    size = len(data.records)
                    topic.bytes_out.value += size
                    total_bytes += size
        metrics.all.bytes_out.value += total_bytes
        return total_bytes
