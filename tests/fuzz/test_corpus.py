"""The fuzzers' targets over their committed corpus: nothing escapes, memory is bounded."""

import sys
import tracemalloc
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "fuzz"))

import corpus  # noqa: E402
import targets  # noqa: E402


@pytest.mark.parametrize("name", targets.TARGETS)
def test_the_corpus(name):
    inputs = corpus.read(name)
    assert len(inputs) > 50
    for data in [*targets.seeds(name), *inputs]:
        targets.TARGETS[name].run(data)


LONG_BYTES = 1 << 16


@pytest.mark.parametrize("name", targets.TARGETS)
def test_memory(name):
    check_memory(name, corpus.read(name)[-40:])


@pytest.mark.parametrize("name", targets.TARGETS)
def test_memory_of_long_inputs(name):
    """Where an input is long, its bound is that of each byte."""
    seeds = list(targets.seeds(name))[:: 40 if name in ("messages", "answers") else 1]
    check_memory(name, [(seed * (LONG_BYTES // len(seed) + 1))[:LONG_BYTES] for seed in seeds])


def test_memory_of_many_partitions():
    """Requests of as many partitions as so many bytes can name."""
    dense, count = [], len(targets.HOT_VERSIONS)
    for number in (
        one for one in range(count) if targets.HOT_VERSIONS[one] in ((0, 3), (0, 9), (0, 13), (1, 4), (1, 9), (1, 18))
    ):
        key, version = targets.HOT_VERSIONS[number]
        api = targets.APIS[key]
        message = api.request_class()
        if key == 0:
            partitions = [message.PartitionProduceData(index=5000 + one) for one in range(LONG_BYTES // 16)]
            message.topic_data = [message.TopicProduceData(partition_data=partitions)]
        else:
            partitions = [message.FetchPartition(partition=5000 + one, fetch_offset=1 << 40) for one in range(LONG_BYTES // 32)]
            message.topics = [message.FetchTopic(partitions=partitions)]
        body = (b"\0" if api.is_flexible(version) else b"") + message.encode(version)
        alone, compared = number, number + count * -(-(128 - number) // count)
        dense += [bytes([first]) + body for first in (alone, compared)]
    check_memory("hot_requests", dense)


def check_memory(name, inputs):
    target = targets.TARGETS[name]
    for data in inputs:
        target.run(data)  # what is made once is no input's
    tracemalloc.start()
    try:
        for data in inputs:
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            target.run(data)
            grown = tracemalloc.get_traced_memory()[1] - before
            assert grown <= target.fixed_bytes + target.bytes_per_byte * len(data)
    finally:
        tracemalloc.stop()


def test_seeds_are_accepted():
    """A corpus of nothing but refusals would test little: the seeds go all the way."""
    for name in ("hot_requests", "batches", "segments"):
        assert list(targets.seeds(name))
    request = next(iter(targets.seeds("hot_requests")))
    key, version = targets.HOT_VERSIONS[request[0] % len(targets.HOT_VERSIONS)]
    assert (key, version) == (0, 3)
    assert targets._core.parse_produce(targets.Slice(request, 1), 0, version)[3]


@pytest.mark.parametrize("name", targets.TARGETS)
def test_a_corpus_is_small(name):
    assert (corpus.DIRECTORY / name).stat().st_size <= corpus.MOST_BYTES


def test_a_mistake_behind_the_coordinators_port_is_found(monkeypatch):
    from fastlog.coordinator import dispatch, protocol

    monkeypatch.setitem(dispatch._HANDLERS, protocol.WhoAmI, lambda *_: 1 // 0)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        for data in targets.seeds("coordinator_port"):
            targets.TARGETS["coordinator_port"].run(data)
