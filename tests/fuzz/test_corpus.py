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


@pytest.mark.parametrize("name", targets.TARGETS)
def test_memory(name):
    target = targets.TARGETS[name]
    inputs = corpus.read(name)[-40:]
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
