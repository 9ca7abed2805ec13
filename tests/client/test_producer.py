"""The producer against a broker that loses, doubts and forgets: records come once, in order, and where it was said."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlog import errors
from fastlog._core import partition_for_key
from fastlog.client.producer import Producer

ACTS = st.sampled_from([None, None, None, "lose", "lose answer", "doubt", 6, 19, 56, 10, 45, 47])


class Log:
    """What was sent, and what was said of it."""

    def __init__(self):
        self.deliveries = {}

    def send(self, producer, value, **options):
        self.deliveries[value] = []
        producer.send("t", value, on_delivery=self.deliveries[value].append, **options)


def check(broker, log, *, exactly_once):
    stored = {index: partition.values() for index, partition in enumerate(broker.topics["t"])}
    every = [value for values in stored.values() for value in values]
    if exactly_once:
        assert len(every) == len(set(every)), "a record was appended twice"
    for value, said in log.deliveries.items():
        assert len(said) == 1, (value, said)
        if said[0].error is None:
            assert value in stored[said[0].partition], "an acknowledged record is not there"
            if said[0].offset >= 0:
                assert stored[said[0].partition][said[0].offset] == value
    if exactly_once:
        order = {value: at for at, value in enumerate(log.deliveries)}
        for values in stored.values():
            assert values == sorted(values, key=order.__getitem__), "records changed places"
        batches = [batch for partition in broker.topics["t"] for batch in partition.batches]
        assert all(batch.producer_id >= 0 for batch in batches), "a batch came without its producer's id"


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 1 << 32), script=st.lists(ACTS, max_size=30), per_batch=st.integers(1, 4), in_flight=st.integers(1, 5))
def test_idempotent_records_are_there_once_in_order_and_where_it_was_said(world, seed, script, per_batch, in_flight):
    w = world(seed, request_timeout_ms=3_000)
    w.broker.create("t", 2)
    w.broker.script = iter(script)
    producer = Producer(w.cluster, linger_ms=0, batch_bytes=61 + 12 * per_batch, max_in_flight=in_flight)
    w.wait(producer.prepare("t"))
    log = Log()
    for number in range(25):
        log.send(producer, b"%03d" % number, partition=number % 2)
        if number % 4 == 0:
            w.run_until(lambda: not producer.has_work)
    w.wait(producer.flush())
    check(w.broker, log, exactly_once=True)
    refused = {said[0].error.code for said in log.deliveries.values() if said[0].error}
    # The last is about batches in doubt, of which a broker that has fenced the producer no longer tells.
    assert refused <= {errors.MessageTooLarge.code, errors.InvalidProducerEpoch.code}
    assert producer.delivered_count + producer.failed_count == 25 and producer.buffered_bytes == 0


def test_a_partition_that_breaks_takes_no_id_away_from_one_that_is_about_to_send(world):
    """Partition 1 gives a batch up, and its producer id with it, in the very turn in which partition 0 may send its first."""
    w = world()
    w.broker.create("t", 2)
    producer = Producer(w.cluster, linger_ms=1_000, batch_bytes=70, max_in_flight=1)
    w.wait(producer.prepare("t"))
    log = Log()
    log.send(producer, b"there", partition=1)
    w.wait(producer.flush())
    w.broker.script = iter([errors.MessageTooLarge.code, "lose answer"])
    log.send(producer, b"waits", partition=0)
    for value in (b"great", b"small"):
        log.send(producer, value, partition=1)
    w.run_until(lambda: not producer.has_work)  # the great one is under way, and nothing else may be
    w.wait(producer.flush())
    check(w.broker, log, exactly_once=True)
    assert [partition.values() for partition in w.broker.topics["t"]] == [[b"waits"], [b"there", b"small"]]
    assert isinstance(log.deliveries.pop(b"great")[0].error, errors.MessageTooLarge)
    assert not any(said[0].error for said in log.deliveries.values())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1 << 32), script=st.lists(ACTS, max_size=10), acks=st.sampled_from([0, 1]))
def test_without_idempotence_acknowledged_records_are_there(world, seed, script, acks):
    w = world(seed, request_timeout_ms=3_000)
    w.broker.create("t", 1)
    w.broker.script = iter(script if acks else [])
    producer = Producer(w.cluster, acks=acks, linger_ms=0, batch_bytes=100)
    w.wait(producer.prepare("t"))
    log = Log()
    for number in range(15):
        log.send(producer, b"%03d" % number)
    w.wait(producer.flush())
    if acks == 0:
        w.run_until(lambda: w.broker.topics["t"][0].end == 15)
    check(w.broker, log, exactly_once=False)


@pytest.mark.parametrize(("in_doubt", "stored"), [(False, [b"0", b"1", b"2"]), (True, [b"0", b"1", b"2"])])
def test_a_broker_that_forgets_the_producer_makes_no_record_two(world, in_doubt, stored):
    w = world(request_timeout_ms=3_000)
    w.broker.create("t", 1)
    w.broker.script = iter([None, "doubt", "forget"] if in_doubt else [None, "forget"])
    producer = Producer(w.cluster, linger_ms=0, batch_bytes=70)
    w.wait(producer.prepare("t"))
    log = Log()
    for number in range(3):
        log.send(producer, b"%d" % number)
        w.wait(producer.flush())
    check(w.broker, log, exactly_once=True)
    assert w.broker.topics["t"][0].values() == stored
    # Whether the record in doubt is there cannot be told any more, so it is not said to be.
    assert [said[0].error is None for said in log.deliveries.values()] == [True, not in_doubt, True]


def test_a_batch_that_is_given_up_in_doubt_harms_no_other(world):
    """The answers to two batches are lost, and the first expires before it can be asked for again."""
    w = world(request_timeout_ms=400, connect_timeout_ms=400)
    w.broker.create("t", 1)
    producer = Producer(w.cluster, linger_ms=0, batch_bytes=80, delivery_timeout_ms=1_000)
    w.wait(producer.prepare("t"))
    log = Log()
    log.send(producer, b"before")
    w.wait(producer.flush())
    w.broker.silent = True
    log.send(producer, b"lost")
    w.run_until(lambda: producer.failed_count == 1)
    assert isinstance(log.deliveries[b"lost"][0].error, errors.RequestTimedOut)
    w.broker.silent = False
    log.send(producer, b"after")
    w.wait(producer.flush())
    assert w.broker.topics["t"][0].values() == [b"before", b"after"]
    assert log.deliveries[b"after"][0].offset == 1


def test_why_records_came_too_late_is_said_once(world):
    """Batches expire one after another, and none takes the one before it for its reason."""
    w = world(request_timeout_ms=400, connect_timeout_ms=400)
    w.broker.create("t", 1)
    producer = Producer(w.cluster, linger_ms=0, batch_bytes=80, delivery_timeout_ms=1_000)
    w.wait(producer.prepare("t"))
    w.broker.silent = True
    said = []
    for number in range(10):
        producer.send("t", b"%d" % number, on_delivery=said.append)
    w.run_until(lambda: producer.failed_count == 10)
    assert [str(delivery.error).count("not delivered in time") for delivery in said] == [1] * 10


@given(st.lists(st.binary(max_size=5), min_size=1, max_size=20), st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_keys_go_where_java_sends_them(world, keys, count):
    w = world()
    w.broker.create("t", count)
    producer = Producer(w.cluster)
    w.wait(producer.prepare("t"))
    said = []
    for key in keys:
        producer.send("t", key, key=key, on_delivery=said.append)
    w.wait(producer.flush())
    for index, partition in enumerate(w.broker.topics["t"]):
        assert partition.values() == [key for key in keys if partition_for_key(key, count) == index]


def test_lines_come_whole_through_full_batches_on_the_partitions_of_their_keys(world):
    w = world()
    w.broker.create("t", 3)
    producer = Producer(w.cluster, batch_bytes=300)
    w.wait(producer.prepare("t"))
    lines = [b"k%d:v%d" % (number % 7, number) for number in range(500)]
    assert producer.send_lines("t", b"\n".join(lines), key_separator=b":", is_last=True) == len(b"\n".join(lines))
    w.wait(producer.flush())
    for index, partition in enumerate(w.broker.topics["t"]):
        wanted = [line.partition(b":") for line in lines if partition_for_key(line.partition(b":")[0], 3) == index]
        assert partition.values() == [value for _, _, value in wanted]


def test_keyless_records_stick_to_a_partition_until_its_batch_is_full(world):
    w = world()
    w.broker.create("t", 3)
    producer = Producer(w.cluster, batch_bytes=400)
    w.wait(producer.prepare("t"))
    producer.send_lines("t", b"0123456789\n" * 200)
    w.wait(producer.flush())
    counts = [[batch.count for batch in partition.batches] for partition in w.broker.topics["t"]]
    full = max(max(each) for each in counts)
    assert sum(map(sum, counts)) == 200 and full > 10
    assert sum(count != full for each in counts for count in each) <= 1, "only the last batch is not full"
    assert max(map(len, counts)) - min(map(len, counts)) <= 1, "partitions take turns"


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
def test_compressed_batches_say_so_and_are_smaller(world, compression):
    w = world()
    w.broker.create("t")
    producer = Producer(w.cluster, compression=compression)
    w.wait(producer.prepare("t"))
    producer.send_lines("t", b"the same line\n" * 1000)
    w.wait(producer.flush())
    (batch,) = w.broker.topics["t"][0].batches
    assert batch.codec == ["none", "gzip", "snappy", "lz4", "zstd"].index(compression)
    assert batch.count == 1000 and len(batch) == producer.delivered_bytes < 14_000


def test_linger_gathers_and_a_lone_record_waits_no_longer(world):
    w = world()
    w.broker.create("t")
    producer = Producer(w.cluster, linger_ms=50)
    w.wait(producer.prepare("t"))
    began_ns = w.scheduler.now_ns
    said = []
    for number in range(10):
        producer.send("t", b"%d" % number, on_delivery=said.append)
    w.run_until(lambda: len(said) == 10)
    assert [batch.count for batch in w.broker.topics["t"][0].batches] == [10]
    assert w.scheduler.now_ns - began_ns >= 50_000_000


def test_room_is_bounded_and_comes_back(world):
    w = world()
    w.broker.create("t")
    producer = Producer(w.cluster, linger_ms=0, batch_bytes=100, buffer_bytes=300)
    w.wait(producer.prepare("t"))
    sent = 0
    while producer.has_room:
        producer.send("t", b"x" * 30)
        sent += 1
    with pytest.raises(BufferError):
        producer.send("t", b"x")
    assert 3 <= sent <= 10
    w.wait(producer.room())
    producer.send("t", b"last")
    w.wait(producer.flush())
    assert w.broker.topics["t"][0].end == sent + 1


def test_what_cannot_be_sent_is_said_at_once(world):
    w = world()
    w.broker.create("t")
    producer = Producer(w.cluster)
    with pytest.raises(errors.UnknownTopicOrPartition, match="t was not prepared"):
        producer.send("t", b"")
    with pytest.raises(errors.UnknownTopicOrPartition):
        w.wait(producer.prepare("nope", timeout_ms=500))
    w.wait(producer.prepare("t"))
    for partition in (-1, 1):
        with pytest.raises(errors.UnknownTopicOrPartition, match="t has 1 partitions"):
            producer.send("t", b"", partition=partition)
        with pytest.raises(errors.UnknownTopicOrPartition, match="t has 1 partitions"):
            producer.send_lines("t", b"", partition=partition)
    for options in ({"acks": 2}, {"acks": 1, "idempotent": True}, {"max_in_flight": 6}, {"compression": "brotli"}):
        with pytest.raises(ValueError, match=r"acks|idempotent|codec"):
            Producer(w.cluster, **options)


def test_a_topic_is_made_where_the_cluster_allows(world):
    w = world()
    w.broker.auto_create = True
    producer = Producer(w.cluster)
    assert w.wait(producer.prepare("new")) == 1
    with pytest.raises(errors.UnknownTopicOrPartition):
        w.wait(producer.prepare("other", may_create=False))


def test_closing_gives_up_what_waits_and_says_so(world):
    w = world()
    w.broker.create("t")
    producer = Producer(w.cluster, linger_ms=1000)
    w.wait(producer.prepare("t"))
    said = []
    producer.send("t", b"waits", on_delivery=said.append)
    producer.close()
    producer.close()
    assert [type(one.error) for one in said] == [errors.NetworkException]
    with pytest.raises(errors.InvalidRequest, match="closed"):
        producer.send("t", b"late")


def test_a_partition_without_a_leader_waits_for_one(world):
    w = world()
    w.broker.create("t", 2)
    w.broker.leaders["t", 0] = -1
    producer = Producer(w.cluster, linger_ms=0)
    w.wait(producer.prepare("t"))
    said = []
    producer.send("t", b"waits", partition=0, on_delivery=said.append)
    producer.send("t", b"goes", partition=1, on_delivery=said.append)
    w.run_until(lambda: said)
    assert [one.partition for one in said] == [1]
    w.broker.leaders.clear()
    w.wait(producer.flush())
    assert w.broker.topics["t"][0].values() == [b"waits"]


def test_a_broker_that_does_not_know_producer_ids_is_told_of_in_the_error(world):
    w = world()
    w.broker.create("t")
    del w.broker.ranges[22]
    producer = Producer(w.cluster)
    w.wait(producer.prepare("t"))
    said = []
    producer.send("t", b"", on_delivery=said.append)
    w.wait(producer.flush())
    assert isinstance(said[0].error, errors.UnsupportedVersion) and "does not serve InitProducerId" in str(said[0].error)
