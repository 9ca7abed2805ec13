"""The consumer and the admin client against the scripted broker."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlog import errors
from fastlog.client.admin import Admin
from fastlog.client.consumer import EARLIEST, LATEST, Consumer
from fastlog.client.producer import Producer


def fill(w, topic, lines, **options):
    producer = Producer(w.cluster, linger_ms=0, **options)
    w.wait(producer.prepare(topic))
    for partition, value in lines:
        producer.send(topic, value, partition=partition)
    w.wait(producer.flush())
    producer.close()


def read(w, consumer, count, values=None):
    values = {} if values is None else values
    while sum(map(len, values.values())) < count:
        w.wait(consumer.ready())
        for fetched in consumer.poll():
            values.setdefault(fetched.partition, []).extend(bytes(record.value) for record in fetched.records())
    return values


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    script=st.lists(st.sampled_from([0, 0, 6, 74, 56, 7]), max_size=20),
    starts=st.tuples(st.integers(0, 30), st.integers(0, 30)),
    fetch_bytes=st.sampled_from([1, 200, 1 << 20]),
    compression=st.sampled_from(["none", "zstd"]),
)
def test_every_record_from_the_offset_on_comes_once_and_in_order(world, seed, script, starts, fetch_bytes, compression):
    w = world(seed)
    w.broker.create("t", 2)
    lines = [(number % 2, b"%d" % number) for number in range(60)]
    fill(w, "t", lines, batch_bytes=150, compression=compression)
    w.broker.script = iter(script)
    consumer = Consumer(w.cluster, partition_max_bytes=fetch_bytes, queue_bytes=300, max_wait_ms=5)
    consumer.assign({("t", 0): starts[0], ("t", 1): starts[1]})
    wanted = {index: [value for where, value in lines if where == index][start:] for index, start in enumerate(starts)}
    values = read(w, consumer, sum(map(len, wanted.values())))
    assert values == {index: values for index, values in wanted.items() if values}
    assert (consumer.position("t", 0), consumer.high_watermark("t", 0)) == (30, 30) or not wanted[0]


def test_records_come_as_they_are_appended(world):
    w = world()
    w.broker.create("t")
    consumer = Consumer(w.cluster, max_wait_ms=5)
    w.wait(w.cluster.topic("t"))
    consumer.assign({("t", 0): 0})
    for number in range(3):
        fill(w, "t", [(0, b"%d" % number)])
        assert read(w, consumer, 1) == {0: [b"%d" % number]}


def test_offsets_by_time(world):
    w = world()
    w.broker.create("t", 2)
    producer = Producer(w.cluster)
    w.wait(producer.prepare("t"))
    for number in range(10):
        producer.send("t", b"", partition=0, timestamp_ms=1_000 + number * 10)
    w.wait(producer.flush())
    consumer = Consumer(w.cluster)

    def at(when):
        return w.wait(consumer.offsets({("t", 0): when, ("t", 1): when}))

    assert at(EARLIEST) == {("t", 0): 0, ("t", 1): 0}
    assert at(LATEST) == {("t", 0): 10, ("t", 1): 0}
    assert at(1_045) == {("t", 0): 5, ("t", 1): 0}
    assert at(5_000) == {("t", 0): 10, ("t", 1): 0}, "where there is no such record, the end"
    w.broker.script = iter([6, 6, 0, 6])
    assert at(LATEST) == {("t", 0): 10, ("t", 1): 0}
    with pytest.raises(errors.UnknownTopicOrPartition, match="t has 2 partitions, none is 2"):
        w.wait(consumer.offsets({("t", 2): EARLIEST}))
    with pytest.raises(errors.UnknownTopicOrPartition):
        w.wait(consumer.offsets({("nope", 0): EARLIEST}))


def start(w, offset):
    consumer = Consumer(w.cluster, max_wait_ms=5)
    w.wait(w.cluster.topic("t"))
    consumer.assign({("t", 0): offset})
    return consumer


def test_an_offset_that_is_not_there_is_told_with_its_partition(world):
    w = world()
    w.broker.create("t")
    fill(w, "t", [(0, b"x")])
    consumer = start(w, 7)
    w.wait(consumer.ready())
    with pytest.raises(errors.OffsetOutOfRange, match="t-0 at offset 7"):
        consumer.poll()
    consumer.assign({("t", 0): 0})
    assert read(w, consumer, 1) == {0: [b"x"]}


def test_a_topic_that_is_deleted_or_made_anew_is_told(world):
    w = world()
    w.broker.create("t")
    consumer = start(w, 0)
    w.run_until(lambda: (1, 12) in w.broker.requests)
    del w.broker.topics["t"]
    w.wait(consumer.ready())
    with pytest.raises(errors.UnknownTopicOrPartition, match="t-0 at offset 0"):
        consumer.poll()
    w.broker.create("t")
    consumer = start(w, 0)
    w.run_until(lambda: w.broker.requests[-1] == (1, 12))
    w.broker.create("t")
    w.wait(w.cluster.refresh(["t"]))
    w.wait(consumer.ready())
    with pytest.raises(errors.UnknownTopicId, match="made anew"):
        consumer.poll()


@pytest.mark.parametrize("at", [30, 70])
def test_a_corrupt_batch_is_never_handed_out(world, at):
    w = world()
    w.broker.create("t")
    fill(w, "t", [(0, b"good")])
    fill(w, "t", [(0, b"x" * 50)])
    batches = w.broker.topics["t"][0].batches
    damaged = bytearray(bytes(batches[1]))
    damaged[at] ^= 1

    class Damaged(bytearray):
        last_offset = 1

    batches[1] = Damaged(damaged)
    consumer = start(w, 1)
    w.wait(consumer.ready())
    with pytest.raises(errors.CorruptMessage, match="t-0 at offset 1: CRC mismatch"):
        consumer.poll()


def test_memory_is_bounded_by_what_waits_to_be_polled(world):
    w = world()
    w.broker.create("t")
    fill(w, "t", [(0, b"x" * 1_000)] * 100, batch_bytes=1_100)
    consumer = Consumer(w.cluster, max_wait_ms=5, partition_max_bytes=2_000, queue_bytes=5_000)
    w.wait(w.cluster.topic("t"))
    consumer.assign({("t", 0): 0})
    w.run_until(lambda: len(w.broker.requests) > 4)
    idle = w.cluster.sleep(2_000)
    w.wait(idle)
    taken = consumer.poll()
    assert 5_000 <= sum(len(fetched.batch) for fetched in taken) <= 8_000


def test_a_closed_consumer_asks_no_more(world):
    w = world()
    w.broker.create("t")
    consumer = start(w, 0)
    w.run_until(lambda: (1, 12) in w.broker.requests)
    consumer.close()
    w.wait(w.cluster.sleep(100))
    count = len(w.broker.requests)
    w.wait(w.cluster.sleep(1_000))
    assert len(w.broker.requests) == count


def test_topics_by_the_admin(world):
    w = world()
    admin = Admin(w.cluster)
    w.wait(admin.create_topic("a", partitions=2))
    with pytest.raises(errors.TopicAlreadyExists):
        w.wait(admin.create_topic("a"))
    w.broker.script = iter([41, 41])
    w.wait(admin.create_topic("b"))
    assert [(topic.name, len(topic.leaders)) for topic in w.wait(admin.topics())] == [("a", 2), ("b", 1)]
    assert [topic.name for topic in w.wait(admin.topics(["b"]))] == ["b"]
    w.wait(admin.delete_topic("b"))
    with pytest.raises(errors.UnknownTopicOrPartition):
        w.wait(admin.delete_topic("b"))
    with pytest.raises(errors.UnknownTopicOrPartition):
        w.wait(admin.topics(["b"]))
    w.broker.script = iter([41] * 10)
    with pytest.raises(errors.NotController):
        w.wait(admin.create_topic("c"))
    w.broker.silent = True
    patient = Admin(w.cluster)
    w.cluster.request_timeout_ms = 100
    with pytest.raises(errors.RequestTimedOut):
        w.wait(patient.create_topic("d"))
