"""Every option that Kafka 4.3.1 has for topics: it changes what a broker does, each in its own way, or is refused by its name.

A whole broker on a simulated machine is asked over the wire. Each case makes a topic with the option and one without it.
"""

import pathlib

import pytest

from fastlog import _core, codecs
from fastlog.errors import InvalidConfig, InvalidTimestamp, MessageTooLarge, NotEnoughReplicas
from fastlog.wire.messages.create_topics import CreateTopicsRequest
from fastlog.wire.messages.fetch import FetchRequest
from fastlog.wire.messages.list_offsets import ListOffsetsRequest
from fastlog.wire.messages.produce import ProduceRequest

OPTIONS = [line.split("\t") for line in (pathlib.Path(__file__).parent / "data/kafka_options.tsv").read_text().splitlines()]
TOPIC_OPTIONS = {name: default for level, name, _, default, _ in OPTIONS if level == "topic"}
NOW_MS = 1_750_000_000_000
CHECK_MS = 1000


class Asked:
    """A broker and what is asked of it."""

    def __init__(self, new_broker, **options):
        self.broker = new_broker({"log.retention.check.interval.ms": str(CHECK_MS), **options}).start()

    def create(self, name, options):
        """Create a topic and return (error code, text)."""
        topic = CreateTopicsRequest.CreatableTopic(
            name=name,
            num_partitions=1,
            replication_factor=1,
            configs=[CreateTopicsRequest.CreatableTopicConfig(name=option, value=value) for option, value in options.items()],
        )
        answer = self.broker.call(CreateTopicsRequest(topics=[topic], timeout_ms=2_000), 7).topics[0]
        return answer.error_code, answer.error_message

    def produce(self, name, *values, at_ms=None, acks=1):
        """Produce a batch and return its error code."""
        builder = _core.BatchBuilder()
        for value in values or (b"value",):
            builder.append(self.wall_ms() if at_ms is None else at_ms, None, value)
        data = ProduceRequest.PartitionProduceData(index=0, records=builder.build())
        request = ProduceRequest(
            acks=acks, timeout_ms=1_000, topic_data=[ProduceRequest.TopicProduceData(name=name, partition_data=[data])]
        )
        return self.broker.call(request, 9).responses[0].partition_responses[0].error_code

    def batches(self, name):
        """Return the batches of a topic."""
        asked = FetchRequest.FetchPartition(partition=0, fetch_offset=self.first_offset(name), partition_max_bytes=1 << 20)
        request = FetchRequest(max_bytes=1 << 20, topics=[FetchRequest.FetchTopic(topic=name, partitions=[asked])])
        return _core.scan(bytes(self.broker.call(request, 11).responses[0].partitions[0].records))

    def first_offset(self, name):
        asked = ListOffsetsRequest.ListOffsetsPartition(partition_index=0, timestamp=-2)
        request = ListOffsetsRequest(replica_id=-1, topics=[ListOffsetsRequest.ListOffsetsTopic(name=name, partitions=[asked])])
        return self.broker.call(request, 5).topics[0].partitions[0].offset

    def files(self, name, suffix=".log"):
        """Return the topic's files, by their names."""
        found = self.broker.machine.drive.files()
        return {path.rpartition("/")[2]: node for path, node in found if f"/{name}-0/" in path and path.endswith(suffix)}

    def wall_ms(self):
        return NOW_MS + self.broker._scheduler.now_ns // 1_000_000

    def let_pass(self, duration_ms):
        """Let time pass, in which the broker's timers do what they do."""
        until_ms = self.wall_ms() + duration_ms
        self.broker._scheduler.after(duration_ms * 1_000_000, lambda: None)
        self.broker.run_until(lambda: self.wall_ms() >= until_ms)


@pytest.fixture
def ask(new_broker):
    return Asked(new_broker)


def fill(ask, name, count=4, size=150):
    for number in range(count):
        assert ask.produce(name, bytes([number]) * size) == 0


# ---- one function for each option: it says what is seen of a topic that has it, and of one that has not ----


def sizes(ask, name):
    assert ask.produce(name, *(b"%d some text that is like the next" % number for number in range(300))) == 0
    (batch,) = ask.batches(name)
    return len(batch)


def codec(ask, name):
    assert ask.produce(name, b"x" * 1000) == 0
    return [batch.codec for batch in ask.batches(name)]


def stamps(ask, name):
    assert ask.produce(name, at_ms=5) == 0
    return [(batch.is_log_append_time, batch.max_timestamp_ms > 5) for batch in ask.batches(name)]


def old_records(ask, name):
    return ask.produce(name, at_ms=ask.wall_ms() - 60_000)


def records_to_come(ask, name):
    return ask.produce(name, at_ms=ask.wall_ms() + 60_000)


def large_records(ask, name):
    return ask.produce(name, b"x" * 300)


def segments(ask, name):
    fill(ask, name)
    return len(ask.files(name))


def segments_by_time(ask, name):
    for _ in range(4):
        assert ask.produce(name) == 0
        ask.let_pass(900)
    return len(ask.files(name))


def index_entries(ask, name):
    fill(ask, name)
    ask.broker.restart()
    return sum(len(node.cache) for node in ask.files(name, ".index").values())


def certain_bytes(ask, name):
    fill(ask, name, 1)
    (node,) = ask.files(name).values()
    return node.certain_bytes() == len(node.cache)


def certain_bytes_later(ask, name):
    fill(ask, name, 1)
    ask.let_pass(5_000)
    (node,) = ask.files(name).values()
    return node.certain_bytes() == len(node.cache)


def reserved_bytes(ask, name):
    fill(ask, name, 1)
    ask.let_pass(10)
    (node,) = ask.files(name).values()
    return node.reserved_bytes >= 1 << 20


def first_offset(ask, name):
    fill(ask, name)
    ask.let_pass(10 * CHECK_MS)
    return ask.first_offset(name)


def deleted_files(ask, name):
    fill(ask, name)
    ask.let_pass(10 * CHECK_MS)
    assert ask.first_offset(name) > 0
    return len(ask.files(name, ".deleted")) > 0


def acknowledgement(ask, name):
    return ask.produce(name, acks=-1)


SMALL_SEGMENTS = {"segment.bytes": "400"}
SOON_OLD = {**SMALL_SEGMENTS, "retention.ms": "1000"}

HONOURED = [
    # option, value, the other options of both topics, what is looked at, what is seen with it, what without it
    ("compression.type", "zstd", {}, codec, [codecs.ZSTD], [codecs.NONE]),
    ("compression.type", "gzip", {}, codec, [codecs.GZIP], [codecs.NONE]),
    ("compression.type", "lz4", {}, codec, [codecs.LZ4], [codecs.NONE]),
    ("compression.type", "snappy", {}, codec, [codecs.SNAPPY], [codecs.NONE]),
    ("compression.gzip.level", "1", {"compression.type": "gzip"}, sizes, "more", "less"),
    ("compression.lz4.level", "1", {"compression.type": "lz4"}, sizes, "more", "less"),
    ("compression.zstd.level", "-50", {"compression.type": "zstd"}, sizes, "more", "less"),
    ("message.timestamp.type", "LogAppendTime", {}, stamps, [(True, True)], [(False, False)]),
    ("message.timestamp.before.max.ms", "1000", {}, old_records, InvalidTimestamp.code, 0),
    ("message.timestamp.after.max.ms", "1000", {}, records_to_come, InvalidTimestamp.code, 0),
    ("max.message.bytes", "200", {}, large_records, MessageTooLarge.code, 0),
    ("segment.bytes", "400", {}, segments, "more", 1),
    ("segment.ms", "1000", {}, segments_by_time, "more", 1),
    ("segment.jitter.ms", "9999", {"segment.ms": "10000"}, segments_by_time, "more", 1),
    ("segment.index.bytes", "24", {"index.interval.bytes": "1"}, segments, "more", 1),
    ("index.interval.bytes", "1", {}, index_entries, "more", 0),
    ("flush.messages", "1", {}, certain_bytes, True, False),
    ("flush.ms", "1000", {}, certain_bytes_later, True, False),
    ("preallocate", "true", {}, reserved_bytes, True, False),
    ("retention.ms", "1000", SMALL_SEGMENTS, first_offset, "more", 0),
    ("retention.bytes", "300", SMALL_SEGMENTS, first_offset, "more", 0),
    ("cleanup.policy", "", SOON_OLD, first_offset, 0, "more"),
    ("file.delete.delay.ms", "1", SOON_OLD, deleted_files, False, True),
    ("min.insync.replicas", "2", {}, acknowledgement, NotEnoughReplicas.code, 0),
]
REFUSED = {
    "delete.retention.ms": ("5", "compaction"),
    "min.cleanable.dirty.ratio": ("0.1", "compaction"),
    "min.compaction.lag.ms": ("5", "compaction"),
    "max.compaction.lag.ms": ("5", "compaction"),
    "follower.replication.throttled.replicas": ("*", "quotas"),
    "leader.replication.throttled.replicas": ("*", "quotas"),
    "internal.segment.bytes": ("5", "internal"),
    "local.retention.bytes": ("5", "tiered"),
    "local.retention.ms": ("5", "tiered"),
    "remote.log.copy.disable": ("true", "tiered"),
    "remote.log.delete.on.disable": ("true", "tiered"),
    "remote.storage.enable": ("true", "tiered"),
    # These are honoured but for one value.
    "unclean.leader.election.enable": ("true", "in sync"),
    "cleanup.policy": ("compact", "compaction"),
}


def test_every_topic_option_of_kafka_is_here():
    assert {name for name, *_ in HONOURED} | REFUSED.keys() == TOPIC_OPTIONS.keys()


@pytest.mark.parametrize(
    ("option", "value", "others", "look", "seen", "otherwise"), HONOURED, ids=[f"{row[0]}={row[1]}" for row in HONOURED]
)
def test_it_changes_what_is_seen(ask, option, value, others, look, seen, otherwise):
    assert ask.create("with", {**others, option: value}) == (0, None)
    assert ask.create("without", others) == (0, None)
    with_it, without_it = look(ask, "with"), look(ask, "without")
    if seen == "more":
        assert with_it > without_it
    else:
        assert with_it == seen
    if otherwise == "more":
        assert without_it > with_it
    elif otherwise != "less":
        assert without_it == otherwise


@pytest.mark.parametrize("option", REFUSED)
def test_it_is_refused_by_its_name_and_says_why(ask, option):
    value, reason = REFUSED[option]
    code, text = ask.create("t", {option: value})
    assert code == InvalidConfig.code
    assert option in text
    assert reason in text
