import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlog.coordinator.client import request_bytes
from fastlog.coordinator.jute import MAX_REQUEST_BYTES
from fastlog.coordinator.tree import Check, Create, Delete, SetData
from fastlog.metadata.controller import (
    Change,
    FoundPartition,
    NewTopic,
    adopt,
    create_topic,
    forget_topic,
    next_state,
    settle,
    transactions,
    want_deletion,
    with_changes,
)
from fastlog.metadata.image import Broker, Image, Partition, Topic

EPOCH = 4


def brokers(**epochs):
    return {int(name[1:]): Broker(int(name[1:]), epoch, ()) for name, epoch in epochs.items()}


def online(replicas, leader, isr, leader_epoch=3):
    return Partition(replicas, leader, leader_epoch, isr, controller_epoch=1, znode_version=5, written_zxid=50)


def outline(state):
    return None if state is None else (state.leader, state.isr, state.leader_epoch)


@pytest.mark.parametrize(
    ("partition", "living", "expected"),
    [
        (Partition((2, 1, 3)), brokers(b1=10, b3=11), (1, (1, 3), 0)),
        (Partition((2,)), brokers(b1=10), None),
        (online((1, 2, 3), 1, (1, 2, 3)), brokers(b1=10, b2=11, b3=12), None),
        # the leader has gone: the first in sync, in the order of the replicas, leads; who is gone leaves the ISR
        (online((1, 2, 3), 1, (3, 2, 1)), brokers(b2=11, b3=12), (2, (3, 2), 4)),
        # a replica that isn't in sync never leads
        (online((1, 2, 3), 1, (1, 3)), brokers(b2=11), (-1, (1, 3), 4)),
        (online((1, 2, 3), -1, (1, 3)), brokers(b2=11), None),
        (online((1, 2, 3), -1, (1, 3)), brokers(b2=11, b3=60), (3, (3,), 4)),
        # a follower has gone
        (online((1, 2, 3), 1, (1, 2, 3)), brokers(b1=10, b3=12), (1, (1, 3), 4)),
        # the leader has registered anew since the state was written (zxid 50): a new epoch, though it lives
        (online((1,), 1, (1,)), brokers(b1=51), (1, (1,), 4)),
        (online((1,), 1, (1,)), brokers(b1=50), None),
    ],
)
def test_who_leads(partition, living, expected):
    state = next_state(partition, living, EPOCH)
    assert outline(state) == expected
    if state is not None:
        assert (state.controller_epoch, state.replicas) == (EPOCH, partition.replicas)


IDS = st.integers(1, 4)


@given(
    replicas=st.lists(IDS, min_size=1, max_size=4, unique=True),
    data=st.data(),
    living=st.dictionaries(IDS, st.integers(1, 100)),
)
def test_a_decision_is_stable_and_never_elects_who_was_not_in_sync(replicas, data, living):
    isr = data.draw(st.lists(st.sampled_from(replicas), min_size=1, unique=True))
    leader = data.draw(st.sampled_from([-1, *isr]))
    before = online(tuple(replicas), leader, tuple(isr))
    living = {broker_id: Broker(broker_id, epoch, ()) for broker_id, epoch in living.items()}
    after = next_state(before, living, EPOCH)
    if after is None:
        return
    assert after.leader_epoch == before.leader_epoch + 1
    assert set(after.isr) <= set(before.isr)
    assert after.isr
    assert after.leader == -1 or (after.leader in before.isr and after.leader in living)
    written = after._replace(written_zxid=101)
    assert next_state(written, living, EPOCH) is None


def test_new_topics_get_their_states_and_old_ones_are_checked():
    old = Topic("old", b"o" * 16, (online((1, 2), 2, (1, 2)), online((1,), 1, (1,))))
    new = Topic("new", b"n" * 16, (Partition((1,)), Partition((1,)), Partition((9,))))
    image = Image(controller_epoch=EPOCH).with_brokers(brokers(b1=10).values()).with_topics([old, new])
    decision = settle(image, image.topics.values())
    state = b'{"controller_epoch":4,"leader":1,"version":1,"leader_epoch":%d,"isr":[1]}'
    assert decision.groups == [
        [SetData("/brokers/topics/old/partitions/0/state", state % 4, 5)],
        [
            Create("/brokers/topics/new/partitions", None),
            Create("/brokers/topics/new/partitions/0", None),
            Create("/brokers/topics/new/partitions/0/state", state % 0),
        ],
        [Create("/brokers/topics/new/partitions/1", None), Create("/brokers/topics/new/partitions/1/state", state % 0)],
    ]
    assert [(change.topic, change.partition_index, change.partition.znode_version) for change in decision.changes] == [
        (old, 0, 6),
        (new, 0, 0),
        (new, 1, 0),
    ]
    after = with_changes(image, decision.changes)
    assert [partition.leader for partition in after.topics["new"].partitions] == [1, 1, -1]
    assert after.topics["old"].partitions == (decision.changes[0].partition, old.partitions[1])
    written = [change._replace(partition=change.partition._replace(written_zxid=60)) for change in decision.changes]
    after = with_changes(image, written)
    assert settle(after, [after.topics["new"]]).groups == []


def test_a_change_of_a_topic_that_has_gone_is_dropped():
    topic = Topic("t", b"t" * 16, (Partition((1,)),))
    assert with_changes(Image(), [Change(topic, 0, online((1,), 1, (1,)))]).topics == {}


def test_what_creates_and_deletes_a_topic():
    topic = NewTopic("t", bytes(range(16)), ((1, 2), (2, 1)), {"retention.ms": "5"})
    assert create_topic(topic) == [
        Create("/config/topics/t", b'{"version":1,"config":{"retention.ms":"5"}}'),
        Create(
            "/brokers/topics/t",
            b'{"partitions":{"0":[1,2],"1":[2,1]},"topic_id":"AAECAwQFBgcICQoLDA0ODw","adding_replicas":{},'
            b'"removing_replicas":{},"version":3}',
        ),
    ]
    assert want_deletion("t") == [Check("/brokers/topics/t"), Create("/admin/delete_topics/t", None)]
    assert forget_topic("t", {"0": ["state"], "1": []}, has_topic=True, has_config=True).groups == [
        [Delete("/brokers/topics/t/partitions/0/state"), Delete("/brokers/topics/t/partitions/0")],
        [Delete("/brokers/topics/t/partitions/1")],
        [
            Delete("/brokers/topics/t/partitions"),
            Delete("/brokers/topics/t"),
            Delete("/config/topics/t"),
            Delete("/admin/delete_topics/t"),
        ],
    ]
    assert forget_topic("t", None, has_topic=False, has_config=False).groups == [[Delete("/admin/delete_topics/t")]]


def test_directories_that_the_coordinator_does_not_know_are_adopted_or_left_alone():
    known = Topic("known", b"k" * 16, (Partition((1,)), Partition((1,))))
    image = Image().with_topics([known])
    found = [
        FoundPartition("known", 0, b"k" * 16),
        FoundPartition("known", 1, None),
        FoundPartition("known", 2, b"k" * 16),
        FoundPartition("known", 1, b"x" * 16),
        FoundPartition("new", 2, b"n" * 16),
        FoundPartition("new", 0, None),
        FoundPartition("new", 1, b"m" * 16),
        FoundPartition("renamed", 0, b"k" * 16),
        FoundPartition("ancient", 0, None),
        FoundPartition("__consumer_offsets", 0, b"c" * 16),
        FoundPartition("__cluster_metadata", 0, bytes(15) + b"\x01"),
    ]
    topics, strays = adopt(image, found, 1)
    assert sorted(topics) == [
        NewTopic("__consumer_offsets", b"c" * 16, ((1,),), {"retention.ms": "-1"}),
        NewTopic("ancient", b"", ((1,),), {}),
        NewTopic("new", b"m" * 16, ((1,), (1,)), {}),
    ]
    assert FoundPartition("known", 2, b"k" * 16) in strays
    assert FoundPartition("known", 1, b"x" * 16) in strays
    assert FoundPartition("renamed", 0, b"k" * 16) in strays
    assert FoundPartition("__cluster_metadata", 0, bytes(15) + b"\x01") in strays
    assert len(strays) == 5


def test_transactions_are_small_enough_and_checked():
    group = [Create("/x/partitions/1", None), Create("/x/partitions/1/state", b"s" * 100)]
    groups = [group] * 9000
    multis = list(transactions(groups, 17))
    assert len(multis) > 1
    for multi in multis:
        assert multi[0] == Check("/controller_epoch", 17)
        assert request_bytes(multi) <= MAX_REQUEST_BYTES
        assert len(multi) % 2 == 1
    assert sum(len(multi) - 1 for multi in multis) == 18000
    assert list(transactions([], 17)) == []
