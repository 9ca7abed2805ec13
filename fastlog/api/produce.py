"""Produce (key 0): appends record batches.

Versions 3-13, advertised from 0 (KAFKA-18659: librdkafka compresses only where it sees version 0). 3: transactional id, batches
of magic 2 alone. 4: KAFKA_STORAGE_ERROR may be answered. 5: log start offset. 6: throttling answers first (KIP-219). 7: zstd
(KIP-110). 8: error messages (KIP-467). 9: flexible. 10: the leader may be told (KIP-951). 11: TRANSACTION_ABORTABLE (KIP-890).
12: transactions of version 2. 13: topics by id (KIP-516).

The hot path: frames are parsed and answers written in C, and no message class, closure or log line is made for a request.
`handle` stages the batches of a request, `handle_run` those of many requests that are alike; `answer_staged`, a turn-end hook
behind the one that commits the logs, answers all requests of the turn by what became of their batches. With acks=1 a batch
counts as written when the log may acknowledge it (at once, or after a flush where `flush.messages` asks for one), with acks=all
when the high watermark has passed it; requests that have to wait are parked until then, or until their timeout. acks=0 gets no
answer; when its batch is refused, its connection closes, as Kafka does to make the client ask for metadata. What one partition
refuses, or fails at, harms no other of the request.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from fastlog._core import parse_produce, produce_response
from fastlog.api.context import NO_ANSWER, OPERATION_WRITE, RESOURCE_TOPIC, RequestContext
from fastlog.api.hosted import why_not_hosted
from fastlog.api.registry import Api
from fastlog.errors import (
    NONE,
    InvalidRequiredAcks,
    InvalidTopic,
    KafkaError,
    KafkaStorageError,
    NotLeaderOrFollower,
    RequestTimedOut,
    TopicAuthorizationFailed,
    UnknownServerError,
    error_class,
)
from fastlog.metadata.image import INTERNAL_TOPICS
from fastlog.storage.staged import StagedAppend, refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastlog._core import ProduceRun, Slice
    from fastlog.api.parked import ParkedRequests
    from fastlog.api.topic_metrics import BrokerTopicMetrics
    from fastlog.metadata.view import ClusterView
    from fastlog.replication.partition import Partition
    from fastlog.replication.partition_set import PartitionSet

ACKS_NONE: Final = 0
ACKS_LEADER: Final = 1
ACKS_ALL: Final = -1

TOPIC_IDS_SINCE: Final = 13

ALLOWED_ACKS: Final = (ACKS_LEADER, ACKS_ALL, ACKS_NONE)

ADMIN_CLIENT_ID: Final = "__admin_client"
"""The client id that may write to Kafka's own topics."""

logger = logging.getLogger(__name__)

Result = tuple[str | bytes, int, "Partition | None", StagedAppend, int]
"""(topic as the request named it, index, partition, what became of the batch, bytes) of one partition of a request."""

Staged = tuple[RequestContext, int, int, int, list[Result]]
"""(context, acks, timeout in ms, bytes of the frame, results) of one request of this turn."""


class ProduceHandler:
    """Appends what clients produce."""

    def __init__(self, partitions: PartitionSet, view: ClusterView, parked: ParkedRequests, metrics: BrokerTopicMetrics) -> None:
        self._partitions = partitions
        self._view = view
        self._parked = parked
        self._metrics = metrics
        self._staged: list[Staged] = []

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(0, "Produce", 3, 13, self.handle, takes_frame=True, run_handler=self.handle_run, advertised_min_version=0)

    def handle(self, context: RequestContext, frame: Slice, position: int) -> None:
        """Stage the batches of one request. Raises FrameError."""
        _, acks, timeout_ms, data = parse_produce(frame, position, context.api_version)
        authorize = context.origin.policy.authorize
        hosted: Mapping[Any, Partition] = (
            self._partitions.by_name if context.api_version < TOPIC_IDS_SINCE else self._partitions.by_id
        )
        results: list[Result] = []
        for topic, index, records in data:
            partition = hosted.get((topic, index))
            if partition is None:
                append = refused(why_not_hosted(self._view, topic, index), "the partition is not hosted here")
            elif not authorize(context, OPERATION_WRITE, RESOURCE_TOPIC, partition.topic):
                append = refused(TopicAuthorizationFailed.code, "not authorised to write to the topic")
            elif acks not in ALLOWED_ACKS:
                append = refused(InvalidRequiredAcks.code, f"acks={acks} where 0, 1 or -1 is allowed")
            elif partition.topic in INTERNAL_TOPICS and context.client_id != ADMIN_CLIENT_ID:
                append = refused(InvalidTopic.code, f"clients may not write to {partition.topic}")
            else:
                try:
                    append = partition.append(records, acks)
                except KafkaError as error:
                    append = refused(error.code, error.message)
                except Exception as error:
                    logger.error("appending to %s-%d failed", partition.topic, index, exc_info=error)
                    append = refused(UnknownServerError.code, "the broker's log says more")
            results.append((topic, index, partition, append, 0 if records is None else len(records)))
        self._staged.append((context, acks, timeout_ms, len(frame), results))

    def handle_run(self, context: RequestContext, run: ProduceRun) -> bool:
        """Stage the batches of a run's requests, or of as many from the first on as need no second look; the run ends with them.

        False when the first needs one: `handle` takes it then, and says what is wrong with it.
        """
        hosted: Mapping[Any, Partition] = self._partitions.by_name if run.version < TOPIC_IDS_SINCE else self._partitions.by_id
        partition = hosted.get((run.topic, run.partition))
        if (
            partition is None
            or run.acks not in ALLOWED_ACKS
            or partition.topic in INTERNAL_TOPICS
            or not context.origin.policy.authorize(context, OPERATION_WRITE, RESOURCE_TOPIC, partition.topic)
        ):
            return False
        append = partition.append_run(run)
        if append is None:
            return False
        context.run = run
        context.request_count = run.count
        results: list[Result] = [(run.topic, run.partition, partition, append, run.records_bytes)]
        self._staged.append((context, run.acks, run.timeout_ms, run.frame_bytes, results))
        return True

    def answer_staged(self) -> None:
        """Answer the requests of this turn: the logs have written their batches, or taken them back."""
        if not self._staged:
            return
        staged, self._staged = self._staged, []
        self._count(staged)
        for context, acks, timeout_ms, frame_bytes, results in staged:
            try:
                if acks == ACKS_NONE:
                    self._end_unanswered(context, frame_bytes, results)
                    continue
                for _, _, partition, append, _ in results:
                    if append.error or partition is None or append.last_offset < partition.log.high_watermark:
                        continue  # refused; or replicated, and so written: the common cases need no further look
                    if not _is_acknowledged(partition, append, acks):
                        self._wait(context, acks, timeout_ms, frame_bytes, results)
                        break
                else:
                    self._answer(context, frame_bytes, results)
            except Exception as error:  # a mistake of ours, and this request's alone
                logger.error("answering a Produce of %s failed", context.peer_host, exc_info=error)
                context.abort("a Produce could not be answered")

    def _wait(self, context: RequestContext, acks: int, timeout_ms: int, frame_bytes: int, results: list[Result]) -> None:
        waited_for = [one[2] for one in results if one[2] is not None and not one[3].error]
        self._parked.park(context, waited_for, timeout_ms, partial(self._try_again, context, acks, frame_bytes, results))

    def _try_again(
        self,
        context: RequestContext,
        acks: int,
        frame_bytes: int,
        results: list[Result],
        changed: list[Partition],
        is_last: bool,
    ) -> bool:
        for place, (topic, index, partition, append, size) in enumerate(results):
            if partition is None or append.error or _is_acknowledged(partition, append, acks):
                continue
            error = _why_hopeless(partition)
            if error == NONE and not is_last:
                return False
            # The batch stays in the log, and its StagedAppend may answer a repetition too: only this request fails.
            results[place] = topic, index, partition, refused(error or RequestTimedOut.code, "not acknowledged in time"), size
        self._answer(context, frame_bytes, results)
        return True

    @staticmethod
    def _answer(context: RequestContext, frame_bytes: int, results: list[Result]) -> None:
        run = context.run
        if run is not None:
            append = results[0][3]
            throttle_ms = context.throttle("produce", frame_bytes)
            context.respond(run.responses(append.error, append.log_start_offset, append.error_message, throttle_ms))
            return
        context.respond(
            produce_response(
                context.api_version,
                context.correlation_id,
                [
                    (
                        topic,
                        index,
                        append.error,
                        append.base_offset,
                        append.log_append_time_ms,
                        append.log_start_offset,
                        append.error_message,
                    )
                    for topic, index, _, append, _ in results
                ],
                context.throttle("produce", frame_bytes),
            )
        )

    @staticmethod
    def _end_unanswered(context: RequestContext, frame_bytes: int, results: list[Result]) -> None:
        context.throttle("produce", frame_bytes)
        for topic, index, partition, append, _ in results:
            if append.error:
                name = partition.topic if partition is not None else topic.hex() if isinstance(topic, bytes) else topic
                error = error_class(append.error) or UnknownServerError
                context.abort(f"Produce with acks=0 to {name}-{index} failed: {error.name}: {append.error_message}")
                return
        context.respond(NO_ANSWER)

    def _count(self, staged: list[Staged]) -> None:
        """Count what the requests of a turn appended; those to one partition side by side by one addition."""
        everything, metrics_of = self._metrics.all, self._metrics.topic
        everything.produce_requests.value += sum(context.request_count for context, *_ in staged)
        counted: Partition | None = None
        requests = messages = total_bytes = 0
        for context, _, _, _, results in staged:
            request_count = context.request_count
            for _, _, partition, append, size in results:
                if append.error:
                    everything.failed_produces.value += request_count
                    if partition is not None:
                        metrics_of(partition.topic).failed_produces.value += request_count
                    continue
                if partition is not counted:
                    if counted is not None:
                        metrics_of(counted.topic).produced(requests, messages, total_bytes)
                        everything.produced(0, messages, total_bytes)
                    counted = partition
                    requests = messages = total_bytes = 0
                requests += request_count
                messages += append.last_offset - append.base_offset + 1
                total_bytes += size
        if counted is not None:
            metrics_of(counted.topic).produced(requests, messages, total_bytes)
            everything.produced(0, messages, total_bytes)


def _is_acknowledged(partition: Partition, append: StagedAppend, acks: int) -> bool:
    end_offset = partition.acknowledged_end_offset if acks == ACKS_LEADER else partition.log.high_watermark
    return append.last_offset < end_offset


def _why_hopeless(partition: Partition) -> int:
    """Return the error code of a partition that will acknowledge nothing more, 0 while it may."""
    if partition.log.directory.failure is not None:
        return KafkaStorageError.code
    return NONE if partition.is_leader else NotLeaderOrFollower.code
