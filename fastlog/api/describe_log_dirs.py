"""DescribeLogDirs (key 35): the data directories of this broker, and how much of them each partition takes (KIP-113).

Versions 1-5. 1: throttling answers first (KIP-219). 2: flexible. 3: an error of the whole request. 4: the size and the free space
of the file system (KIP-827). 5: whether a directory is cordoned, which none is here (KIP-1066).

A directory that is fenced is KAFKA_STORAGE_ERROR and lists nothing. The file system is asked off the broker's thread: one that
hangs must not stop everybody.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from fastlog.api.context import CLUSTER_RESOURCE_NAME, OPERATION_DESCRIBE, RESOURCE_CLUSTER, RequestContext
from fastlog.api.registry import Api
from fastlog.errors import ClusterAuthorizationFailed, KafkaError, KafkaStorageError
from fastlog.wire.messages.describe_log_dirs import DescribeLogDirsRequest, DescribeLogDirsResponse

if TYPE_CHECKING:
    from fastlog.env.reactor import Flow, Pending, Reactor
    from fastlog.storage.environment import LogDirectory
    from fastlog.storage.log import Log
    from fastlog.storage.log_manager import LogManager

FIRST_VERSION_WITH_SPACE: Final = 4

Directory = DescribeLogDirsResponse.DescribeLogDirsResult
Partition = DescribeLogDirsResponse.DescribeLogDirsPartition
Topic = DescribeLogDirsResponse.DescribeLogDirsTopic

logger = logging.getLogger(__name__)


class DescribeLogDirsHandler:
    """Tells of data directories."""

    def __init__(self, reactor: Reactor, logs: LogManager, absolute_path: Callable[[str], str]) -> None:
        self._reactor = reactor
        self._logs = logs
        self._absolute_path = absolute_path

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(35, "DescribeLogDirs", 1, 5, self.handle, self.refuse)

    def handle(self, context: RequestContext, request: DescribeLogDirsRequest) -> Pending[DescribeLogDirsResponse]:
        """Answer with every directory, and with those of the partitions asked for that lie in it."""
        if not context.authorize(OPERATION_DESCRIBE, RESOURCE_CLUSTER, CLUSTER_RESOURCE_NAME):
            raise ClusterAuthorizationFailed
        return self._reactor.spawn(self._describe(context, request))

    def _describe(self, context: RequestContext, request: DescribeLogDirsRequest) -> Flow[DescribeLogDirsResponse]:
        directories = self._logs.directories()
        spaces: list[Pending[tuple[int, int]]] = []
        if context.api_version >= FIRST_VERSION_WITH_SPACE:
            spaces = [self._space_of(directory) for directory, _ in directories]
        results = []
        for directory, logs in directories:
            result = Directory(log_dir=self._absolute_path(directory.path))
            results.append(result)
            if directory.failure is not None:
                result.error_code = KafkaStorageError.code
            else:
                result.topics = _topics(_asked(request, logs))
        for result, space in zip(results, spaces, strict=False):
            try:
                total_bytes, usable_bytes = yield space
            except OSError as error:
                logger.warning("%s: the file system does not say how much room it has: %s", result.log_dir, error)
            else:
                if not result.error_code:
                    result.total_bytes, result.usable_bytes = total_bytes, usable_bytes
        return DescribeLogDirsResponse(throttle_time_ms=context.throttle("request", 1), results=results)

    def _space_of(self, directory: LogDirectory) -> Pending[tuple[int, int]]:
        environment = self._logs.environment
        answer: Pending[tuple[int, int]] = self._reactor.pending()
        environment.flusher.submit(partial(environment.disk.space_bytes, directory.path), answer.settle)
        return answer

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> DescribeLogDirsResponse:
        """Return the answer that tells of an error of the whole request; before version 3 that is one without directories."""
        return DescribeLogDirsResponse(error_code=error.code)


def _asked(request: DescribeLogDirsRequest, logs: list[Log]) -> list[Log]:
    if request.topics is None:
        return logs
    asked = {(topic.topic, index) for topic in request.topics for index in topic.partitions}
    return [log for log in logs if (log.topic, log.partition) in asked]


def _topics(logs: list[Log]) -> list[Topic]:
    topics: dict[str, Topic] = {}
    for log in logs:
        topic = topics.setdefault(log.topic, Topic(name=log.topic))
        topic.partitions.append(
            Partition(
                partition_index=log.partition,
                partition_size=log.size_bytes,
                offset_lag=max(0, log.high_watermark - log.log_end_offset),
            )
        )
    return list(topics.values())
