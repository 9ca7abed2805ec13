"""What goes through the topics, as Kafka's `kafka.server:type=BrokerTopicMetrics`: of each topic, and of all."""

from __future__ import annotations

from fastlog.metrics import Counter, Metrics, metric_name

_COUNTERS = (
    ("messages_in", "MessagesInPerSec"),
    ("bytes_in", "BytesInPerSec"),
    ("bytes_out", "BytesOutPerSec"),
    ("produce_requests", "TotalProduceRequestsPerSec"),
    ("fetch_requests", "TotalFetchRequestsPerSec"),
    ("failed_produces", "FailedProduceRequestsPerSec"),
    ("failed_fetches", "FailedFetchRequestsPerSec"),
)


class TopicMetrics:
    """The counters of one topic, or of all."""

    __slots__ = tuple(attribute for attribute, _ in _COUNTERS)
    messages_in: Counter
    bytes_in: Counter
    bytes_out: Counter
    produce_requests: Counter
    fetch_requests: Counter
    failed_produces: Counter
    failed_fetches: Counter

    def __init__(self, metrics: Metrics, **tags: str) -> None:
        for attribute, name in _COUNTERS:
            setattr(self, attribute, metrics.counter(metric_name("kafka.server", "BrokerTopicMetrics", name, **tags)))

    def produced(self, requests: int, messages: int, size_bytes: int) -> None:
        """Count appends that succeeded."""
        self.produce_requests.value += requests
        self.messages_in.value += messages
        self.bytes_in.value += size_bytes


class BrokerTopicMetrics:
    """The counters of every topic that had traffic; those of a deleted topic go when `forget` is called."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._by_topic: dict[str, TopicMetrics] = {}
        self.all = TopicMetrics(metrics)

    def topic(self, topic: str) -> TopicMetrics:
        """Return the counters of a topic."""
        try:
            return self._by_topic[topic]
        except KeyError:
            found = self._by_topic[topic] = TopicMetrics(self._metrics, topic=topic)
            return found

    def forget(self, topic: str) -> None:
        """Drop the counters of a topic that is gone; of an unknown one there are none."""
        if self._by_topic.pop(topic, None) is not None:
            for _, name in _COUNTERS:
                self._metrics.remove(metric_name("kafka.server", "BrokerTopicMetrics", name, topic=topic))
