"""Counters, gauges and histograms under the names that Kafka's MBeans have.

A metric is looked up once, when the object that counts is made; what then happens per request is an addition to an integer
attribute. Nothing here knows a clock: rates are the business of whoever reads the counts twice.

Names: `kafka.server:type=BrokerTopicMetrics,name=BytesInPerSec,topic=t`, as in Kafka's documentation under "Monitoring". A metric
of Kafka whose name ends in PerSec is a counter here, of which exporters read the count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

_SUB_BUCKET_BITS = 3
_SUB_BUCKETS = 1 << _SUB_BUCKET_BITS
_LARGEST_BITS = 63
_BUCKETS = (_LARGEST_BITS - _SUB_BUCKET_BITS + 2) * _SUB_BUCKETS


def metric_name(group: str, type_name: str, name: str, **tags: str) -> str:
    """Return the MBean-like name of a metric; tags keep the order in which they are given."""
    return f"{group}:type={type_name},name={name}" + "".join(f",{key}={value}" for key, value in tags.items())


class Counter:
    """A number that grows; hot paths write `counter.value += n`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Gauge:
    """A number that is asked for when it is read."""

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read

    @property
    def value(self) -> float:
        return self._read()


class Histogram:
    """Counts of non-negative integers in buckets whose width is at most an eighth of their least value.

    Exact below 16; a quantile is the largest value of its bucket, so it is never too small and at most 12.5 % too large.
    """

    __slots__ = ("_counts", "count", "max", "total")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.count = 0
        self.total = 0
        self.max = 0

    def record(self, value: int, times: int = 1) -> None:
        """Count `value` (negative ones as 0) `times` times."""
        if value < 0:  # noqa: PLR1730 - no call on the hot path
            value = 0
        shift = value.bit_length() - _SUB_BUCKET_BITS - 1
        if shift > 0:
            self._counts[min((shift << _SUB_BUCKET_BITS) + (value >> shift), _BUCKETS - 1)] += times
        else:
            self._counts[value] += times
        self.count += times
        self.total += value * times
        if value > self.max:  # noqa: PLR1730
            self.max = value

    def quantile(self, fraction: float) -> int:
        """Return a value that `fraction` (0 to 1) of what was recorded does not exceed; 0 when nothing was."""
        rank = max(1, -int(-fraction * self.count // 1))
        seen = 0
        for index, count in enumerate(self._counts):
            seen += count
            if count and seen >= rank:
                return min(_largest_of_bucket(index), self.max)
        return 0

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0


def _largest_of_bucket(index: int) -> int:
    if index < 2 * _SUB_BUCKETS:
        return index
    shift = (index >> _SUB_BUCKET_BITS) - 1
    return ((index - (shift << _SUB_BUCKET_BITS) + 1) << shift) - 1


Metric = Counter | Gauge | Histogram


class Metrics:
    """All metrics of one broker, by name."""

    def __init__(self) -> None:
        self._metrics: dict[str, Metric] = {}

    def counter(self, name: str) -> Counter:
        """Return the counter of that name, made when it is missing."""
        found = self._metrics.setdefault(name, Counter()) if name not in self._metrics else self._metrics[name]
        if not isinstance(found, Counter):
            raise TypeError(f"{name} is a {type(found).__name__}, no counter")
        return found

    def histogram(self, name: str) -> Histogram:
        """Return the histogram of that name, made when it is missing."""
        if name not in self._metrics:
            self._metrics[name] = Histogram()
        found = self._metrics[name]
        if not isinstance(found, Histogram):
            raise TypeError(f"{name} is a {type(found).__name__}, no histogram")
        return found

    def gauge(self, name: str, read: Callable[[], float]) -> None:
        """Register (or replace) a gauge."""
        self._metrics[name] = Gauge(read)

    def remove(self, name: str) -> None:
        """Forget a metric, as when its topic is deleted; an unknown name is fine."""
        self._metrics.pop(name, None)

    def __iter__(self) -> Iterator[tuple[str, Metric]]:
        return iter(sorted(self._metrics.items()))
