import time

import pytest

from fastlog.env.clock import SystemClock
from fastlog.env.entropy import SystemRandom


def test_clock_is_the_machines():
    clock = SystemClock()
    before_ns, before_ms = time.monotonic_ns(), time.time_ns() // 1_000_000
    assert before_ns <= clock.monotonic_ns() <= time.monotonic_ns()
    assert before_ms <= clock.wall_ms() <= time.time_ns() // 1_000_000


def test_random_bytes_have_their_count_and_differ():
    random = SystemRandom()
    assert len(random.random_bytes(16)) == 16
    assert random.random_bytes(16) != random.random_bytes(16)


@pytest.mark.parametrize("bound", [1, 2, 3, 255, 256, 257, 1 << 40])
def test_below_is_within_its_bound(bound):
    random = SystemRandom()
    assert all(0 <= random.below(bound) < bound for _ in range(200))


def test_below_reaches_every_value():
    random = SystemRandom()
    assert {random.below(5) for _ in range(500)} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("bound", [0, -1])
def test_below_refuses_an_empty_range(bound):
    with pytest.raises(ValueError, match="must be positive"):
        SystemRandom().below(bound)
