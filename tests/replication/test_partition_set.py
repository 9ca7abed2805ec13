import pytest

from fastlog.replication.partition_set import PartitionSet

OTHER_ID = bytes(16)[:-1] + b"\1"


def test_partitions_are_found_by_name_and_by_id(world, batch):
    partitions = PartitionSet()
    first, second = world.led("t", 0), world.led("t", 1)
    other = world.led("u", 0, topic_id=OTHER_ID)
    for partition in (first, second, other):
        partitions.add(partition)
    assert partitions.get("t", 1) is partitions.get(first.topic_id, 1) is second
    assert partitions.get(OTHER_ID, 0) is other
    assert (partitions.get("t", 2), partitions.get("v", 0), partitions.get(bytes(16), 0)) == (None, None, None)
    assert (partitions.topic_name(OTHER_ID), partitions.topic_name(bytes(16))) == ("u", None)
    assert (len(partitions), list(partitions)) == (3, [first, second, other])


def test_what_is_removed_is_found_no_more_and_its_watchers_are_told(world):
    partitions = PartitionSet()
    first, second = world.led("t", 0), world.led("t", 1)
    partitions.add(first)
    partitions.add(second)
    told = []
    first.watch(lambda partition: told.append(partition.read(0, 100).error))
    assert partitions.remove("t", 0) is first
    assert told == [6]
    assert partitions.get("t", 0) is partitions.get(first.topic_id, 0) is partitions.remove("t", 0) is None
    assert partitions.topic_name(first.topic_id) == "t"
    partitions.remove("t", 1)
    assert partitions.topic_name(first.topic_id) is None


def test_a_name_or_id_that_is_taken(world):
    partitions = PartitionSet()
    first = world.led("t", 0)
    partitions.add(first)
    with pytest.raises(ValueError, match="hosted already"):
        partitions.add(first)
    with pytest.raises(ValueError, match="has the id of t"):
        partitions.add(world.led("u", 0))
