import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlog.metadata.placement import assign_replicas


def test_kafkas_own_example():
    # From the comment of Kafka's AdminUtils: ten partitions, three replicas, five brokers, first leader 0, first shift 0.
    assert assign_replicas([0, 1, 2, 3, 4], 10, 3, 0, 0) == [
        (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 0), (4, 0, 1),
        (0, 2, 3), (1, 3, 4), (2, 4, 0), (3, 0, 1), (4, 1, 2),
    ]  # fmt: skip


def test_one_broker_has_everything():
    assert assign_replicas([7], 3, 1, 0, 0) == [(7,), (7,), (7,)]


def test_a_topic_that_grows_goes_on_where_it_was():
    whole = assign_replicas([1, 2, 3], 9, 2, 2, 1)
    assert whole[4:] == assign_replicas([1, 2, 3], 5, 2, 2, 1 + 4 // 3, first_partition=4)


@given(st.data())
def test_spreads_leaders_and_followers(data):
    brokers = data.draw(st.lists(st.integers(0, 99), min_size=1, max_size=8, unique=True))
    factor = data.draw(st.integers(1, len(brokers)))
    rounds = data.draw(st.integers(1, 3))
    start, shift = (data.draw(st.integers(0, len(brokers) - 1)) for _ in range(2))
    assignment = assign_replicas(brokers, rounds * len(brokers), factor, start, shift)
    for replicas in assignment:
        assert len(set(replicas)) == factor
        assert set(replicas) <= set(brokers)
    leaders = [replicas[0] for replicas in assignment]
    held = [broker for replicas in assignment for broker in replicas]
    assert {broker: leaders.count(broker) for broker in brokers} == dict.fromkeys(brokers, rounds)
    assert {broker: held.count(broker) for broker in brokers} == dict.fromkeys(brokers, rounds * factor)


@pytest.mark.parametrize(("brokers", "factor"), [([1], 2), ([], 1), ([1, 2], 0)])
def test_impossible_ones(brokers, factor):
    with pytest.raises(ValueError):
        assign_replicas(brokers, 1, factor, 0, 0)
