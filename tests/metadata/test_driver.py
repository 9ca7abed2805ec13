import errno

import pytest

from fastlog.coordinator.tree import Create
from fastlog.errors import (
    InvalidPartitions,
    KafkaStorageError,
    NotController,
    TopicAlreadyExists,
    UnknownTopicOrPartition,
    UsageError,
)
from fastlog.metadata.controller import FoundPartition, want_deletion
from fastlog.metadata.image import Broker, Endpoint


def states(broker):
    return {path: data for path, data in broker.znodes().items() if path.endswith("/state")}


def test_one_broker_alone_goes_the_controllers_way(one_broker):
    one_broker.start()
    image = one_broker.view.image
    assert one_broker.driver.is_active
    assert (image.controller_id, image.controller_epoch, list(image.brokers)) == (1, 1, [1])
    znodes = one_broker.znodes()
    assert znodes["/controller_epoch"] == b"1"
    assert b'"brokerid":1' in znodes["/controller"]
    assert znodes["/feature"] == b'{"features":{},"version":2,"status":1}'
    stat = one_broker.machine.wait(one_broker.client.exists("/brokers/ids/1"))
    assert (stat.ephemeral_owner, stat.czxid) == (one_broker.client.session_id, image.brokers[1].epoch)


def test_a_created_topic_is_led_and_then_seen(one_broker):
    one_broker.start()
    order = []
    one_broker.view.on_change(lambda before, now: order.append((sorted(now.topics), sorted(one_broker.replicas.leading))))
    topic = one_broker.create("t", 3, {"retention.ms": "7"})
    assert order == [(["t"], [("t", 0), ("t", 1), ("t", 2)])]
    assert one_broker.view.image.topics["t"] is topic
    assert topic.config == {"retention.ms": "7"}
    assert [(one.leader, one.leader_epoch, one.isr) for one in topic.partitions] == [(1, 0, (1,))] * 3
    assert len(states(one_broker)) == 3
    with pytest.raises(TopicAlreadyExists, match="'t'"):
        one_broker.create("t")


def test_nothing_is_seen_before_it_is_durable(one_broker):
    one_broker.start()
    machine = one_broker.machine
    machine.flusher.held = True
    created = one_broker.driver.create_topic(one_broker.new_topic("t"))
    machine.turn(50)
    assert not created.done
    assert one_broker.replicas.orders == []
    assert one_broker.view.image.topics == {}
    machine.flusher.release()
    assert machine.wait(created).name == "t"


def test_topics_created_at_once_are_all_created(one_broker):
    one_broker.start()
    machine = one_broker.machine
    waiting = [one_broker.driver.create_topic(one_broker.new_topic(f"t{number}", 2)) for number in range(20)]
    waiting.append(one_broker.driver.create_topic(one_broker.new_topic("t3", 2)))
    for pending in waiting[:-1]:
        machine.wait(pending)
    with pytest.raises(TopicAlreadyExists):
        machine.wait(waiting[-1])
    assert len(one_broker.view.image.topics) == 20
    assert len(one_broker.replicas.leading) == 40
    assert max(len(order) for order in one_broker.replicas.orders) > 2, "many topics are brought online together"


def test_a_topic_that_another_wrote_down_comes_online_by_the_watch(one_broker):
    one_broker.start()
    from fastlog.metadata.controller import create_topic

    machine = one_broker.machine
    machine.wait(one_broker.client.multi(create_topic(one_broker.new_topic("theirs", 2))))
    machine.settle()
    assert list(one_broker.view.image.topics) == ["theirs"]
    assert len(one_broker.replicas.leading) == 2


def test_deleting_leaves_nothing(one_broker):
    one_broker.start()
    before = one_broker.znodes()
    one_broker.create("t", 2)
    one_broker.create("u", 1)
    machine = one_broker.machine
    first, second = one_broker.driver.delete_topic("t"), one_broker.driver.delete_topic("t")
    machine.wait(first)
    machine.wait(second)
    machine.wait(one_broker.driver.delete_topic("u"))
    assert one_broker.znodes() == before
    assert one_broker.view.image.topics == {}
    assert one_broker.view.image.topic_names == {}
    assert sorted(one_broker.replicas.deleted) == ["t", "u"]
    with pytest.raises(UnknownTopicOrPartition, match="'t'"):
        machine.wait(one_broker.driver.delete_topic("t"))
    again = one_broker.create("t", 1)
    assert again.partitions[0].leader_epoch == 0


def test_logs_go_before_znodes_so_that_a_deletion_resumes(one_broker, new_machine, new_metadata_broker):
    one_broker.start()
    one_broker.create("t", 2)
    machine = one_broker.machine
    crashed_at = []
    delete = one_broker.replicas.delete

    def crash_after(topics):
        outcome = delete(topics)
        crashed_at.append(machine.disk.synced_contents())
        return outcome

    one_broker.replicas.delete = crash_after
    machine.wait(one_broker.driver.delete_topic("t"))
    restarted = new_metadata_broker(new_machine(crashed_at[0])).start()
    assert "t" not in restarted.view.image.topics
    assert not any(path[-2:] == "/t" for path in restarted.znodes())


def test_a_deletion_that_resumes_leaves_nothing_to_adopt(one_broker, new_machine, new_metadata_broker):
    one_broker.start()
    topic = one_broker.create("t", 2)
    one_broker.driver.close()
    one_broker.machine.wait(one_broker.client.multi(want_deletion("t")))
    found = [FoundPartition("t", index, topic.id) for index in range(2)]
    restarted = new_metadata_broker(new_machine(one_broker.machine.disk.synced_contents())).start(found)
    assert restarted.replicas.deleted == ["t"]
    assert restarted.view.image.topics == {}
    assert not any(path[-2:] == "/t" for path in restarted.znodes())


def test_a_topic_whose_logs_stay_where_they_are_keeps_no_other_from_going(one_broker, caplog):
    one_broker.start()
    for name in ("a", "b", "c"):
        one_broker.create(name)
    driver, machine, replicas = one_broker.driver, one_broker.machine, one_broker.replicas
    replicas.keeping = {"b": KafkaStorageError("read-only")}
    for _ in range(2):
        with pytest.raises(KafkaStorageError, match="read-only"):
            machine.wait(driver.delete_topic("b"))
    machine.wait(driver.delete_topic("c"))
    with pytest.raises(TopicAlreadyExists):
        one_broker.create("b")
    assert list(one_broker.view.image.topics) == ["a"]
    assert "/brokers/topics/b" in one_broker.znodes() and "/brokers/topics/c" not in one_broker.znodes()
    attempts = replicas.deleted.count("b")
    while replicas.deleted.count("b") < attempts + 3:
        machine.turn()
    assert [record.message for record in caplog.records] == ["topic b cannot be deleted now, and is not forgotten: read-only"]
    replicas.keeping = {}
    while "/brokers/topics/b" in one_broker.znodes():
        machine.turn()
    machine.turn(50)
    assert replicas.deleted.count("b") == attempts + 4, "one attempt at a time, and none when it is done"
    assert one_broker.create("b").partitions[0].leader_epoch == 0


def test_many_topics_whose_logs_stay_where_they_are_are_not_tried_with_every_other(one_broker):
    one_broker.start()
    topics = [f"t{number}" for number in range(10)]
    driver, machine, replicas = one_broker.driver, one_broker.machine, one_broker.replicas
    for name in topics:
        one_broker.create(name)
    replicas.keeping = {name: KafkaStorageError("read-only") for name in topics}
    asked = [driver.delete_topic(name) for name in topics]
    for one in asked:
        with pytest.raises(KafkaStorageError, match="read-only"):
            machine.wait(one)
    assert sorted(replicas.deleted) == topics
    replicas.keeping = {}
    while any(f"/brokers/topics/{name}" in one_broker.znodes() for name in topics):
        machine.turn()
    assert replicas.deleted.count("t0") == 2


def test_a_topic_whose_logs_stay_where_they_are_keeps_no_broker_from_starting(one_broker, new_machine, new_metadata_broker):
    one_broker.start()
    topic = one_broker.create("t")
    one_broker.create("u")
    one_broker.driver.close()
    one_broker.machine.wait(one_broker.client.multi(want_deletion("t")))
    restarted = new_metadata_broker(new_machine(one_broker.machine.disk.synced_contents()))
    restarted.replicas.keeping = {"t": KafkaStorageError("read-only")}
    restarted.start([FoundPartition("t", 0, topic.id)])
    assert list(restarted.view.image.topics) == ["u"]
    assert list(restarted.replicas.leading) == [("u", 0)]
    restarted.replicas.keeping = {}
    while "/brokers/topics/t" in restarted.znodes():
        restarted.machine.turn()
    assert list(restarted.view.image.topics) == ["u"]


def test_a_restart_finds_everything_again_under_new_leader_epochs(one_broker, new_machine, new_metadata_broker):
    one_broker.start()
    topic = one_broker.create("t", 2, {"retention.ms": "7"})
    restarted = new_metadata_broker(new_machine(one_broker.machine.disk.synced_contents())).start()
    again = restarted.view.image.topics["t"]
    assert (again.id, again.config) == (topic.id, topic.config)
    assert restarted.view.image.cluster_id == one_broker.view.image.cluster_id
    assert restarted.view.image.controller_epoch == 2
    assert [(one.leader, one.leader_epoch, one.controller_epoch) for one in again.partitions] == [(1, 1, 2)] * 2
    assert sorted(restarted.replicas.leading) == [("t", 0), ("t", 1)]


def test_a_half_created_topic_is_finished_at_the_next_start(one_broker, new_machine, new_metadata_broker):
    one_broker.start()
    from fastlog.metadata.controller import create_topic

    one_broker.driver.close()
    one_broker.machine.wait(one_broker.client.multi(create_topic(one_broker.new_topic("half", 2))))
    restarted = new_metadata_broker(new_machine(one_broker.machine.disk.synced_contents())).start()
    assert [one.leader for one in restarted.view.image.topics["half"].partitions] == [1, 1]


def test_unknown_directories_are_adopted_with_their_id(one_broker):
    one_broker.start([FoundPartition("real", 1, b"r" * 16), FoundPartition("real", 0, b"r" * 16), FoundPartition("old", 0, None)])
    topics = one_broker.view.image.topics
    assert (topics["real"].id, len(topics["real"].partitions)) == (b"r" * 16, 2)
    assert len(topics["old"].id) == 16
    assert len(one_broker.replicas.leading) == 3


def test_the_cluster_id_of_the_directory_is_taken_over_or_must_fit(one_broker, new_machine, new_metadata_broker):
    one_broker.start(known_cluster_id="W9xFwbjfREqsSjM9Rjxkbw")
    assert one_broker.view.image.cluster_id == "W9xFwbjfREqsSjM9Rjxkbw"
    files = one_broker.machine.disk.synced_contents()
    with pytest.raises(UsageError, match=r"W9xFwbjfREqsSjM9Rjxkbw.*use the directory"):
        new_metadata_broker(new_machine(files)).start(known_cluster_id="AAAAAAAAAAAAAAAAAAAAAA")


def test_a_partition_whose_log_cannot_be_made_is_said_so_and_tried_again(one_broker):
    one_broker.start()
    one_broker.replicas.failing = {("t", 1): OSError(errno.ENOSPC, "no room")}
    with pytest.raises(KafkaStorageError, match=r"'t' exists now, but partition 1 .*no room"):
        one_broker.create("t", 2)
    assert list(one_broker.view.image.topics) == ["t"]
    one_broker.replicas.failing = {}
    while ("t", 1) not in one_broker.replicas.leading:
        one_broker.machine.turn()


def grow(broker, name, present, count):
    return broker.machine.wait(broker.driver.create_partitions(name, present, [(broker.broker_id,)] * (count - present)))


def test_a_topic_grows_and_is_then_seen(one_broker, new_machine, new_metadata_broker):
    one_broker.start()
    topic = one_broker.create("t", 2, {"retention.ms": "7"})
    order = []

    def seen(before, now):
        if "t" in now.topics:
            order.append((len(now.topics["t"].partitions), sorted(one_broker.replicas.leading)))

    one_broker.view.on_change(seen)
    grown = grow(one_broker, "t", 2, 4)
    assert order == [(4, [("t", 0), ("t", 1), ("t", 2), ("t", 3)])]
    assert (grown.id, grown.config, grown.partitions[:2]) == (topic.id, topic.config, topic.partitions)
    assert [(one.leader, one.leader_epoch) for one in grown.partitions] == [(1, 0)] * 4
    assert one_broker.replicas.orders[-1] == [("t", 2), ("t", 3)]
    restarted = new_metadata_broker(new_machine(one_broker.machine.disk.synced_contents())).start()
    assert len(restarted.view.image.topics["t"].partitions) == 4
    machine = one_broker.machine
    machine.wait(one_broker.driver.delete_topic("t"))
    assert not any("/t/" in path or path.endswith("/t") for path in one_broker.znodes())


def test_a_topic_that_is_not_as_it_was_when_its_growth_was_planned(one_broker):
    one_broker.start()
    one_broker.create("t", 1)
    machine, driver = one_broker.machine, one_broker.driver
    first, second = driver.create_partitions("t", 1, [(1,)]), driver.create_partitions("t", 1, [(1,), (1,)])
    assert len(machine.wait(first).partitions) == 2
    with pytest.raises(InvalidPartitions, match="has 2"):
        machine.wait(second)
    with pytest.raises(UnknownTopicOrPartition):
        grow(one_broker, "nope", 1, 2)
    gone, last = driver.delete_topic("t"), driver.create_partitions("t", 2, [(1,)])
    assert len(machine.wait(last).partitions) == 3, "it came before the controller's look at what is to be deleted"
    machine.wait(gone)
    with pytest.raises(UnknownTopicOrPartition):
        grow(one_broker, "t", 3, 4)
    assert not any(path.endswith("/t") for path in one_broker.znodes())


def test_growth_that_was_cut_short_is_finished(one_broker, new_machine, new_metadata_broker):
    one_broker.start()
    topic = one_broker.create("t", 1)
    from fastlog.metadata.controller import grow_topic

    machine = one_broker.machine
    _, operations = grow_topic(topic, [(1,), (1,)], machine.wait(one_broker.client.exists("/brokers/topics/t")).version)
    machine.wait(one_broker.client.multi(operations))
    restarted = new_metadata_broker(new_machine(machine.disk.synced_contents())).start()
    assert [one.leader for one in restarted.view.image.topics["t"].partitions] == [1, 1, 1]
    with pytest.raises(InvalidPartitions, match="has 3"):
        grow(one_broker, "t", 1, 2)
    assert [one.leader for one in one_broker.view.image.topics["t"].partitions] == [1, 1, 1], "the next attempt finishes it"


def test_a_new_partition_whose_log_cannot_be_made_is_said_so_and_tried_again(one_broker):
    one_broker.start()
    one_broker.create("t", 1)
    one_broker.replicas.failing = {("t", 1): OSError(errno.ENOSPC, "no room")}
    with pytest.raises(KafkaStorageError, match=r"partition 1 .*no room"):
        grow(one_broker, "t", 1, 2)
    one_broker.replicas.failing = {}
    while ("t", 1) not in one_broker.replicas.leading:
        one_broker.machine.turn()


def test_a_replaced_controller_finds_out_by_its_first_write(one_broker):
    one_broker.start()
    machine = one_broker.machine
    machine.wait(one_broker.client.set("/controller_epoch", b"7"))
    with pytest.raises(NotController):
        one_broker.create("t")
    machine.settle()
    assert not one_broker.driver.is_active
    assert one_broker.replicas.leading == {}
    machine.wait(one_broker.client.delete("/controller"))
    machine.settle()
    assert one_broker.driver.is_active
    assert one_broker.view.image.controller_epoch == 8
    assert list(one_broker.replicas.leading) == [("t", 0)], "the new controller finishes what was begun"


def test_waits_while_another_broker_is_the_controller(one_broker):
    machine = one_broker.machine
    machine.wait(one_broker.client.multi([Create("/controller", b'{"brokerid":5}'), Create("/controller_epoch", b"3")]))
    one_broker.start()
    assert not one_broker.driver.is_active
    assert (one_broker.view.image.controller_id, one_broker.view.image.controller_epoch) == (5, 3)
    asked = one_broker.driver.create_topic(one_broker.new_topic("t"))
    machine.settle()
    assert not asked.done, "the controller is to bring it online"
    assert [one.leader for one in one_broker.view.image.topics["t"].partitions] == [-1]
    machine.wait(one_broker.client.delete("/controller"))
    assert machine.wait(asked).name == "t"
    assert one_broker.driver.is_active
    assert [one.leader for one in one_broker.view.image.topics["t"].partitions] == [1]


def test_a_broker_that_comes_and_goes(one_broker):
    one_broker.start()
    machine, client = one_broker.machine, one_broker.client
    from fastlog.metadata import layout

    data = layout.encode_broker([Endpoint("PLAINTEXT", "other", 9)], 5)
    machine.wait(client.create("/brokers/ids/2", data))
    machine.settle()
    epoch = machine.wait(client.exists("/brokers/ids/2")).czxid
    assert one_broker.view.image.brokers[2] == Broker(2, epoch, (Endpoint("PLAINTEXT", "other", 9),))
    topic = one_broker.new_topic("t")._replace(assignment=((2, 1), (1, 2), (2,)))
    machine.wait(one_broker.driver.create_topic(topic))
    partitions = one_broker.view.image.topics["t"].partitions
    assert [(one.leader, one.isr) for one in partitions] == [(2, (2, 1)), (1, (1, 2)), (2, (2,))]
    machine.wait(client.delete("/brokers/ids/2"))
    machine.settle()
    partitions = one_broker.view.image.topics["t"].partitions
    assert [(one.leader, one.isr, one.leader_epoch) for one in partitions] == [(1, (1,), 1), (1, (1,), 1), (-1, (2,), 1)]
    assert sorted(one_broker.replicas.leading) == [("t", 0), ("t", 1)]


def test_unreadable_znodes_harm_only_themselves(one_broker, new_machine, new_metadata_broker):
    one_broker.start()
    one_broker.create("good")
    one_broker.create("bad")
    machine, client = one_broker.machine, one_broker.client
    machine.wait(client.set("/brokers/topics/bad", b"{"))
    machine.wait(client.set("/config/topics/good", b"nonsense"))
    restarted = new_metadata_broker(new_machine(machine.disk.synced_contents()))
    restarted.start([FoundPartition("bad", 0, b"b" * 16)])
    assert list(restarted.view.image.topics) == ["good"]
    assert restarted.znodes()["/brokers/topics/bad"] == b"{"
    assert restarted.create("fine").name == "fine"


def test_a_topic_of_an_old_kafka_gets_an_id(one_broker):
    machine, client = one_broker.machine, one_broker.client
    for path in ("/brokers", "/brokers/topics"):
        machine.wait(client.create(path, None))
    machine.wait(client.create("/brokers/topics/old", b'{"version":1,"partitions":{"0":[1]}}'))
    one_broker.start()
    topic = one_broker.view.image.topics["old"]
    from fastlog.metadata import layout

    assert layout.decode_topic("old", one_broker.znodes()["/brokers/topics/old"])[0] == topic.id


def test_without_the_coordinator_topics_stay_as_they_are(one_broker):
    one_broker.start()
    one_broker.create("t")
    machine = one_broker.machine
    machine.disk.fail = {"sync": errno.EIO}
    with pytest.raises(KafkaStorageError, match="ConnectionLoss"):
        one_broker.create("u")
    machine.settle()
    with pytest.raises(KafkaStorageError, match="ConnectionLoss"):
        one_broker.create("v")
    assert list(one_broker.view.image.topics) == ["t"]


def test_a_stale_registration_is_replaced_in_one_transaction(one_broker):
    machine, client = one_broker.machine, one_broker.client
    for path in ("/brokers", "/brokers/ids"):
        machine.wait(client.create(path, None))
    machine.wait(client.create("/brokers/ids/1", b"stale"))
    before = machine.wait(client.exists("/brokers/ids/1")).czxid
    one_broker.start()
    assert one_broker.view.image.brokers[1].epoch > before
