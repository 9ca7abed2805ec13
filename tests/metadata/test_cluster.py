"""Several brokers on one coordinator: who is the controller, who leads what, what becomes of lost connections and sessions."""

import pytest

from fastlog.coordinator.service import Coordinator
from fastlog.coordinator.watches import EventType, WatchEvent
from fastlog.errors import TopicAlreadyExists, UnknownTopicOrPartition
from fastlog.metadata import layout


@pytest.fixture
def cluster(machine, new_metadata_broker):
    coordinator = Coordinator(machine.reactor, machine.disk, machine.flusher, machine.random, "/c")

    def make(*broker_ids):
        return [new_metadata_broker(machine, broker_id, coordinator).start() for broker_id in broker_ids]

    return make


def over(broker, name, *replicas):
    return broker.new_topic(name)._replace(assignment=tuple((replica,) for replica in replicas))


def states(broker, name):
    return [(one.leader, one.leader_epoch) for one in broker.view.image.topics[name].partitions]


def led(broker):
    return sorted(key for key, change in broker.replicas.leading.items() if change.partition.leader == broker.broker_id)


def same(*brokers):
    """Assert that brokers have the same image, and return it."""
    images = [broker.view.image._replace(generation=0) for broker in brokers]
    for image in images[1:]:
        assert image == images[0]
    return images[0]


def test_one_is_the_controller_and_the_others_follow(cluster):
    one, two, three = cluster(1, 2, 3)
    one.machine.settle()
    assert [broker.driver.is_active for broker in (one, two, three)] == [True, False, False]
    assert list(same(one, two, three).brokers) == [1, 2, 3]


@pytest.mark.parametrize("asked", [0, 1])
def test_a_topic_over_all_brokers_whoever_is_asked_for_it(cluster, asked):
    brokers = one, two = cluster(1, 2)
    machine = one.machine
    topic = machine.wait(brokers[asked].driver.create_topic(over(one, "t", 1, 2, 2, 1)))
    assert states(brokers[asked], "t") == [(1, 0), (2, 0), (2, 0), (1, 0)]
    machine.settle()
    assert same(one, two).topics["t"].id == topic.id
    assert (led(one), led(two)) == ([("t", 0), ("t", 3)], [("t", 1), ("t", 2)])
    with pytest.raises(TopicAlreadyExists):
        machine.wait(brokers[asked].driver.create_topic(over(one, "t", 1)))
    machine.wait(one.driver.create_partitions("t", 4, [(2,)]))
    machine.settle()
    assert states(two, "t")[4] == (2, 0)
    assert ("t", 4) in led(two)
    machine.wait(brokers[asked].driver.delete_topic("t"))
    machine.settle()
    assert not same(one, two).topics
    assert (one.replicas.deleted, two.replicas.deleted) == (["t"], ["t"])
    with pytest.raises(UnknownTopicOrPartition):
        machine.wait(brokers[asked].driver.delete_topic("t"))


def test_a_topic_deleted_and_made_again_at_once_is_another_one(cluster):
    one, two = cluster(1, 2)
    machine = one.machine
    machine.wait(one.driver.create_topic(over(one, "t", 2)))
    machine.wait(one.driver.delete_topic("t"))
    topic = machine.wait(one.driver.create_topic(over(one, "t", 2)))
    machine.settle()
    assert same(one, two).topics["t"].id == topic.id
    assert two.replicas.deleted == ["t"]
    assert two.replicas.leading["t", 0].topic.id == topic.id


def test_the_controllers_end_makes_another_one_controller(cluster):
    one, two, three = cluster(1, 2, 3)
    machine = one.machine
    machine.wait(one.driver.create_topic(over(one, "t", 1, 2)))
    one.driver.close()
    one.client.crash()
    machine.settle()
    assert sorted([two.driver.is_active, three.driver.is_active]) == [False, True]
    image = same(two, three)
    assert (image.controller_epoch, list(image.brokers)) == (2, [2, 3])
    assert states(three, "t") == [(-1, 1), (2, 0)], "the only replica is gone, nobody else may lead"
    machine.wait(three.driver.create_topic(over(two, "u", 3, 2)))
    assert states(three, "u") == [(3, 0), (2, 0)]


def test_a_broker_that_comes_back_leads_only_what_was_given_to_its_new_incarnation(cluster, new_metadata_broker):
    one, two = cluster(1, 2)
    machine = one.machine
    machine.wait(one.driver.create_topic(over(one, "t", 2)))
    two.driver.close()
    # Its process is gone, the coordinator has not found out; the next one takes the registration over.
    again = new_metadata_broker(machine, 2, one.coordinator)
    seen = []
    lead = again.replicas.lead
    again.replicas.lead = lambda changes: seen.extend(change.partition for change in changes) or lead(changes)
    again.start()
    machine.settle()
    assert states(one, "t") == states(again, "t") == [(2, 1)]
    assert [(one.leader, one.leader_epoch) for one in seen] == [(2, 1)], "never under the epoch of the one before"


def test_a_restarted_controller_takes_its_own_place_over(cluster, new_metadata_broker):
    one, two = cluster(1, 2)
    machine = one.machine
    machine.wait(one.driver.create_topic(over(one, "t", 1, 2)))
    one.driver.close()
    again = new_metadata_broker(machine, 1, one.coordinator).start()
    assert again.driver.is_active
    machine.settle()
    assert same(again, two).controller_epoch == 2
    assert states(two, "t") == [(1, 1), (2, 0)]
    # The session of its earlier life ends at last: nothing of the new one goes with it.
    one.client.crash()
    machine.settle()
    assert again.driver.is_active
    assert same(again, two).controller_epoch == 2
    assert states(two, "t") == [(1, 1), (2, 0)]


def test_a_deposed_controller_follows_at_once(cluster):
    one, two = cluster(1, 2)
    machine = one.machine
    machine.wait(one.client.delete("/controller"))
    machine.settle()
    active = [broker for broker in (one, two) if broker.driver.is_active]
    image = same(one, two)
    assert [broker.broker_id for broker in active] == [image.controller_id]
    assert image.controller_epoch == 2
    assert machine.wait(one.driver.create_topic(over(one, "t", 1, 2))).name == "t"


def test_an_expired_follower_registers_again(cluster):
    one, two = cluster(1, 2)
    machine = one.machine
    machine.wait(one.driver.create_topic(over(one, "t", 1, 2)))
    before = one.view.image.brokers[2].epoch
    two.client.expire()
    machine.settle()
    image = same(one, two)
    assert image.brokers[2].epoch > before
    assert image.controller_id == 1
    assert states(two, "t") == [(1, 0), (2, 2)], "without a leader, then led by the new incarnation"
    assert two.replicas.leading["t", 1].partition.leader_epoch == 2


def test_an_expired_controller_stands_for_election_again(cluster):
    one, two = cluster(1, 2)
    machine = one.machine
    machine.wait(one.driver.create_topic(over(one, "t", 1, 2)))
    one.client.expire()
    assert machine.wait(two.driver.create_topic(over(one, "u", 1, 2))).name == "u"
    machine.settle()
    image = same(one, two)
    assert image.controller_epoch == 2
    assert [one.driver.is_active, two.driver.is_active] == [image.controller_id == 1, image.controller_id == 2]
    assert states(two, "t")[1] == (2, 0)
    assert states(two, "t")[0][0] == states(two, "u")[0][0] == 1


def test_a_broker_alone_gets_over_the_end_of_its_session(cluster):
    (one,) = cluster(1)
    machine = one.machine
    machine.wait(one.driver.create_topic(over(one, "t", 1)))
    one.client.expire()
    machine.settle()
    assert one.driver.is_active
    assert (one.view.image.controller_epoch, states(one, "t")) == (2, [(1, 1)])
    assert machine.wait(one.driver.create_topic(over(one, "u", 1))).name == "u"


def test_what_was_seen_in_a_session_that_is_over_has_nobody_elected_before_the_broker_is_registered(cluster):
    (one,) = cluster(1)
    machine = one.machine
    machine.wait(one.driver.create_topic(over(one, "t", 1)))
    for path in (layout.CONTROLLER, layout.BROKER_IDS):
        one.driver._look_again(WatchEvent(EventType.DELETED, path))
    one.client.expire()
    machine.settle()
    assert one.driver.is_active
    assert (one.view.image.controller_epoch, states(one, "t")) == (2, [(1, 1)])


def test_a_lost_connection_changes_nothing(cluster):
    one, two = cluster(1, 2)
    machine = one.machine
    machine.wait(one.driver.create_topic(over(one, "t", 1, 2)))
    orders = len(one.replicas.orders)
    for broker in (one, two):
        broker.client.lose_connection()
    machine.settle()
    assert one.driver.is_active
    assert same(one, two).controller_epoch == 1
    assert len(one.replicas.orders) == orders, "nothing was in doubt, so nothing is read again"
    assert machine.wait(two.driver.create_topic(over(one, "u", 2))).name == "u"


@pytest.mark.parametrize("lost_write", range(1, 5))
def test_a_write_whose_answer_is_lost_is_found_out_about(cluster, lost_write):
    """Whichever of the writes of an election and a new topic it is: in the end there is one controller and one leader."""
    (one,) = cluster(1)
    machine = one.machine
    write = one.client._write
    writes = []

    def counted(operations, convert):
        writes.append(operations)
        one.client.answers_lost = int(len(writes) == lost_write)
        return write(operations, convert)

    one.client._write = counted
    one.client.expire()
    wanted = over(one, "t", 1, 1)
    try:
        machine.wait(one.driver.create_topic(wanted))
    except Exception as error:
        assert type(error).__name__ in ("KafkaStorageError", "NotController")
    one.client.lose_connection()
    while not (one.driver.is_active and "t" in one.view.image.topics and states(one, "t")[1][0] == 1):
        machine.turn()
    machine.settle()
    assert len(writes) >= lost_write
    one.client._write = write
    assert one.view.image.brokers[1].epoch == machine.wait(one.client.exists("/brokers/ids/1")).czxid
    assert one.view.image.controller_epoch == int(one.znodes()["/controller_epoch"])
    assert machine.wait(one.driver.create_topic(over(one, "u", 1))).name == "u"


def test_another_brokers_directories_are_not_adopted_where_that_is_forbidden(cluster):
    from fastlog.metadata.controller import FoundPartition

    (one,) = cluster(1)
    machine = one.machine
    machine.wait(one.driver.start([FoundPartition("old", 0, b"o" * 16)], may_adopt=False))
    assert not one.view.image.topics
    machine.wait(one.driver.start([FoundPartition("old", 0, b"o" * 16)]))
    assert list(one.view.image.topics) == ["old"]


def test_options_altered_on_one_broker_reach_the_other_even_after_its_session_was_lost(cluster):
    from fastlog.metadata import layout
    from fastlog.metadata.config_store import ConfigStore

    one, two = cluster(1, 2)
    machine = one.machine
    told = []
    stores = [ConfigStore(machine.reactor, one.client, lambda _: None), ConfigStore(machine.reactor, two.client, told.append)]
    for store in stores:
        machine.wait(machine.reactor.spawn(store.start()))
    entity = layout.broker_entity(None)
    machine.wait(stores[0].alter(entity, lambda before: {**before, "a": "1"}))
    machine.settle()
    assert told == [entity]
    two.client.expire()
    machine.settle()
    machine.wait(stores[0].alter(entity, lambda before: {**before, "a": "2"}))
    machine.settle()
    assert told == [entity, entity]


def test_directories_of_no_topic_are_told_of_on_every_broker(cluster, caplog):
    from fastlog.metadata.controller import FoundPartition

    one, two = cluster(1, 2)
    machine = one.machine
    machine.wait(two.driver.start([FoundPartition("old", 3, b"o" * 16)], may_adopt=True))
    assert "directory old-3 belongs to no topic of this cluster" in caplog.text
    machine.settle()
    assert not same(one, two).topics, "only the controller adopts"


def test_a_new_data_directory_waits_until_its_number_is_free(cluster):
    from fastlog.errors import UsageError
    from fastlog.metadata import registration

    one, two = cluster(1, 2)
    machine = one.machine

    def wait(timeout_ms):
        return machine.reactor.spawn(registration.wait_for_no_other(machine.reactor, one.client, 2, timeout_ms))

    with pytest.raises(UsageError, match="broker 2 is registered in the coordinator already"):
        machine.wait(wait(500))
    free = wait(600_000)
    machine.settle()
    assert not free.done
    two.driver.close()
    two.client.crash()
    machine.wait(free)
    machine.wait(wait(500))


def test_more_than_one_replica_is_refused_as_long_as_nobody_replicates(cluster):
    from fastlog.errors import InvalidReplicationFactor
    from fastlog.metadata.topic_plan import TopicPlanner, TopicWish

    one, two = cluster(1, 2)
    one.machine.settle()
    planner = TopicPlanner(one.machine.random, 4, 1, lambda options: None)
    assert set(planner.plan(one.view.image, TopicWish("t")).assignment) == {(1,), (2,)}
    for wish in (TopicWish("t", replication_factor=2), TopicWish("t", assignment=[(0, [1, 2])])):
        with pytest.raises(InvalidReplicationFactor, match="don't replicate"):
            planner.plan(two.view.image, wish)


def test_a_topic_that_another_broker_is_making_is_not_there_yet(cluster):
    from fastlog.errors import CoordinatorNotAvailable
    from fastlog.groups.topic import OFFSETS_TOPIC, OffsetsTopic, OffsetsTopicOptions
    from fastlog.metadata.topic_plan import TopicPlanner

    one, two = cluster(1, 2)
    machine = one.machine
    machine.settle()
    topics = []
    for broker in (one, two):
        planner = TopicPlanner(machine.random, 1, 1, lambda options: None)
        options = OffsetsTopicOptions(partitions=3, replication_factor=1, segment_bytes=1 << 20)
        topics.append(OffsetsTopic(machine.reactor, broker.view, planner, broker.driver, options))
    # Both are asked at once: one makes it, and the other one has not seen it when it finds out.
    wanted = [topic.ensure() for topic in topics]
    assert machine.wait(wanted[0]).name == OFFSETS_TOPIC
    with pytest.raises(CoordinatorNotAvailable, match="Another broker"):
        machine.wait(wanted[1])
    machine.settle()
    assert machine.wait(topics[1].ensure()).name == OFFSETS_TOPIC
