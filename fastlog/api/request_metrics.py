"""What is counted of every request and connection, under Kafka's names.

Source: Kafka's documentation, "Monitoring": `kafka.network:type=RequestMetrics` and `kafka.server:type=socket-server-metrics`.
Times are microseconds here; Kafka's TotalTimeMs is in milliseconds, which is too coarse for what most requests take.
"""

from __future__ import annotations

from fastlog.api.context import RequestContext
from fastlog.metrics import Counter, Histogram, Metrics, metric_name

_GROUP = "kafka.network"
_TYPE = "RequestMetrics"


class RequestMetrics:
    """The counters that connections and the registry write."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.bytes_received = metrics.counter(metric_name("kafka.server", "socket-server-metrics", "incoming-byte-total"))
        self.bytes_sent = metrics.counter(metric_name("kafka.server", "socket-server-metrics", "outgoing-byte-total"))
        self.connections_created = metrics.counter(
            metric_name("kafka.server", "socket-server-metrics", "connection-creation-total")
        )
        self.connections_refused = metrics.counter(
            metric_name("kafka.server", "socket-server-metrics", "connections-refused-total")
        )
        self._by_version: dict[int, tuple[Counter, Histogram]] = {}

    def name(self, api_key: int, api_name: str, max_version: int) -> None:
        """Make the metrics of an API; what was not named is not counted."""
        total_time = self._metrics.histogram(metric_name(_GROUP, _TYPE, "TotalTimeUs", request=api_name))
        for version in range(max_version + 1):
            requests = self._metrics.counter(metric_name(_GROUP, _TYPE, "RequestsPerSec", request=api_name, version=str(version)))
            self._by_version[api_key << 8 | version] = requests, total_time

    def done(self, contexts: list[RequestContext], now_ns: int) -> None:
        """Count requests whose answers go out; those that are alike, and came together, by one addition."""
        by_version, start, end = self._by_version, 0, len(contexts)
        while start < end:
            first = contexts[start]
            version_key, received_ns = first.api_key << 8 | first.api_version, first.received_ns
            count = first.request_count
            start += 1
            while start < end:
                other = contexts[start]
                if other.received_ns != received_ns or other.api_key << 8 | other.api_version != version_key:
                    break
                count += other.request_count
                start += 1
            counted = by_version.get(version_key)
            if counted is not None:
                counted[0].value += count
                counted[1].record((now_ns - received_ns) // 1000, count)
