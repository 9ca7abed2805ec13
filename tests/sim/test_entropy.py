from collections import Counter

from fastlog.sim.entropy import Entropy


def test_first_draws_are_those_of_splitmix64():
    # The reference implementation's first outputs for seed 1234567.
    entropy = Entropy(1234567)
    assert [entropy.next_64() for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_below_covers_its_range_evenly():
    entropy = Entropy(3)
    counts = Counter(entropy.below(5) for _ in range(5_000))
    assert sorted(counts) == [0, 1, 2, 3, 4]
    assert min(counts.values()) > 850


def test_between_includes_both_ends():
    entropy = Entropy(4)
    assert {entropy.between(3, 5) for _ in range(100)} == {3, 4, 5}


def test_chance_is_a_percentage():
    entropy = Entropy(5)
    assert not any(entropy.chance(0) for _ in range(1_000))
    assert all(entropy.chance(100) for _ in range(1_000))
    assert 400 < sum(entropy.chance(25) for _ in range(2_000)) < 600


def test_forks_differ_by_name_and_do_not_follow_their_parent():
    parent = Entropy(9)
    twin = Entropy(9)
    left, right = parent.fork("disk"), twin.fork("network")
    assert left.next_64() != right.next_64()
    again = Entropy(9).fork("disk")
    again.next_64()
    assert again.next_64() == left.next_64()


def test_shuffle_keeps_the_items():
    items = list(range(20))
    Entropy(1).shuffle(items)
    assert items != list(range(20))
    assert sorted(items) == list(range(20))


def test_random_bytes_have_the_length_asked_for():
    entropy = Entropy(2)
    assert [len(entropy.random_bytes(count)) for count in (0, 1, 8, 9, 16)] == [0, 1, 8, 9, 16]
