import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlog.metrics import Counter, Histogram, Metrics, metric_name


def test_names_are_those_of_kafkas_mbeans():
    assert metric_name("kafka.server", "BrokerTopicMetrics", "BytesInPerSec", topic="t") == (
        "kafka.server:type=BrokerTopicMetrics,name=BytesInPerSec,topic=t"
    )


def test_one_name_is_one_metric_of_one_kind():
    metrics = Metrics()
    metrics.counter("c").value += 3
    assert metrics.counter("c").value == 3
    metrics.histogram("h").record(5)
    metrics.gauge("g", lambda: 1.5)
    assert [name for name, _ in metrics] == ["c", "g", "h"]
    assert dict(metrics)["g"].value == 1.5
    with pytest.raises(TypeError):
        metrics.counter("h")
    with pytest.raises(TypeError):
        metrics.histogram("c")
    metrics.remove("c")
    metrics.remove("c")
    assert metrics.counter("c").value == 0


def test_counters_are_plain_integers():
    counter = Counter()
    counter.value += 1 << 70
    assert counter.value == 1 << 70


def test_an_empty_histogram_has_zeros():
    histogram = Histogram()
    assert (histogram.quantile(0.99), histogram.mean, histogram.max, histogram.count) == (0, 0.0, 0, 0)


@given(
    st.lists(st.one_of(st.integers(0, 100), st.integers(0, (1 << 63) - 1)), min_size=1, max_size=50),
    st.floats(0, 1, exclude_min=True),
)
def test_quantiles_are_never_too_small_and_at_most_an_eighth_too_large(values, fraction):
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    exact = sorted(values)[max(1, math.ceil(fraction * len(values))) - 1]
    assert exact <= histogram.quantile(fraction) <= exact * 1.125
    assert histogram.quantile(1) == histogram.max == max(values)
    assert histogram.count == len(values) and histogram.total == sum(values)


def test_extremes_are_counted():
    histogram = Histogram()
    histogram.record(-5)
    histogram.record(1 << 80)
    histogram.record(7, times=3)
    assert histogram.count == 5
    assert histogram.quantile(0.2) == 0
    assert histogram.quantile(0.8) == 7
