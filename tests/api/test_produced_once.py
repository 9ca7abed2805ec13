"""What producers are told is what the logs hold, whatever they send and whatever befalls the broker meanwhile.

A test is one seed: clients with pipelines of Produce requests, alike and not, good and bad, that come in pieces of any size while
answers find no room, disks are full, flushes take their time, memory is short, clients are throttled or hang up, leaders change,
options change, topics come and go. Then: a batch that was acknowledged is in the log, once; one that was refused is not, so that
its client may send it again; what one connection sent to a partition is there in order; and a client has the answers to all that
the broker took from it, also when the broker closes the connection.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from random import Random

import pytest

from fastlog._core import scan
from fastlog.api import connection
from fastlog.api.context import AllowAll
from fastlog.api.server import TRIM_INTERVAL_MS, Limits
from fastlog.storage.log_config import LOG_APPEND_TIME, LogConfig
from fastlog.storage.recompression import opened
from fastlog.wire.frames import encode_request
from fastlog.wire.messages.api_versions import ApiVersionsRequest
from fastlog.wire.messages.list_groups import ListGroupsRequest

FAST_SEEDS = 30
SEEDS = 300

TOPICS = {
    "plain": {},
    "rolls": {"segment_bytes": 2_000},
    "tiny": {"max_message_bytes": 150},
    "stamped": {"message_timestamp_type": LOG_APPEND_TIME},
    "flushed": {"flush_messages": 1},
    "packed": {"compression_type": "gzip"},
    "forbidden": {},
    "moving": {},
    "doomed": {},
}
LATER, UNKNOWN = "made-later", "unknown"
KINDS = ["plain"] * 12 + ["next"] * 8 + ["again", "again", "gap", "torn", "flipped", "twice", "none", "future", "big"]
NO_REQUESTS = (b"\xff\xff\xff\xff", b"\0\0\0\x02\0\0", b"\0\0\0\x0a" + b"\0\0\0\x09" * 3)
FOREVER_MS = 1 << 30
"""The requests' timeout: of what timed out a client cannot know whether it is in the log."""


@dataclass
class Batch:
    """A batch for one partition, what was sent for it, how often, and each (error, base offset) that was answered."""

    topic: str
    index: int
    values: list[bytes]
    data: bytes | None
    acks: int
    sent: int = 1
    told: list[tuple[int, int]] = field(default_factory=list)

    @property
    def is_acknowledged(self):
        return any(error == 0 for error, _ in self.told)


class Busy(AllowAll):
    """Forbids one topic, and throttles now and then."""

    def __init__(self, random):
        self.random = random

    def authorize(self, context, operation, resource_type, resource_name):
        return resource_name != "forbidden"

    def throttle(self, context, quota, amount):
        return self.random.choice([0] * 30 + [1, 5])


class Producer:
    """One connection: what it sends, and what it hears of that."""

    def __init__(self, random, number, client, build_batch, build_request):
        self.random = random
        self.number = number
        self.client = client
        self.build_batch = build_batch
        self.build_request = build_request
        self.batches = []
        self.requests = {}  # correlation id -> its batches; None for another API's request
        self.answerless = set()  # correlation ids with acks=0
        self.unsent = bytearray()
        self.has_hung_up = False
        self.ends_in_no_request = random.random() < 0.2
        self._sequences = {}
        self._last = {}  # what a repetition repeats
        self._alike = random.choice([0.5, 0.9, 1])
        self._version = random.randint(3, 13)
        self._place, self._acks = self._pick_place(), 1
        for correlation_id in range(1, random.choice([5, 20, 60])):
            self._write(correlation_id)
        if self.ends_in_no_request:
            self.unsent += random.choice(NO_REQUESTS)

    def _pick_place(self):
        return self.random.choice(["plain"] * 4 + [*TOPICS, LATER, UNKNOWN]), self.random.choice([0, 0, 0, 1, 7])

    def _write(self, correlation_id):
        random = self.random
        version = self._version if random.random() < self._alike else random.randint(3, 13)
        client_id = "tester" if random.random() < self._alike else None
        if random.random() < 0.05:
            request, version = random.choice([(ListGroupsRequest(), 4), (ApiVersionsRequest(), 3)])
            self.requests[correlation_id] = None
        else:
            request = self._produce(correlation_id, version)
        self.client.asked[correlation_id] = request.API_KEY, version
        self.unsent += encode_request(request, version, correlation_id, client_id)

    def _produce(self, correlation_id, version):
        random = self.random
        if random.random() < self._alike:
            places, acks = [self._place], self._acks
        else:
            places = sorted({self._pick_place() for _ in range(random.randint(1, 4))})
            acks = random.choice([1, 1, 1, -1, -1, 0])
            if random.random() < 0.5:
                self._place, self._acks = places[0], acks
        batches = [self._batch(correlation_id, *place, acks) for place in places]
        self.requests[correlation_id] = batches
        if acks == 0:
            self.answerless.add(correlation_id)
        data = {}
        for one in batches:
            data.setdefault(topic_id(one.topic) if version >= 13 else one.topic, {})[one.index] = one.data
        return self.build_request(data, acks=acks, timeout_ms=FOREVER_MS)

    def _batch(self, correlation_id, topic, index, acks):
        random, place = self.random, (topic, index)
        kind = random.choice(KINDS)
        if kind == "again" and acks and place in self._last:
            self._last[place].sent += 1
            return self._last[place]
        size = random.choice([5_000, 80_000, 300_000] if kind == "big" else [10, 10, 10, 60, 300])
        values = [
            b"%d %d %s-%d %d" % (self.number, correlation_id, topic.encode(), index, i) + b"." * size
            for i in range(random.choice([1, 1, 2, 3]))
        ]
        fields = {}
        if kind in ("next", "gap"):
            sequence = self._sequences.get(place, 0) + (100_000 * correlation_id if kind == "gap" else 0)
            fields = {"producer_id": 1_000 + self.number, "producer_epoch": 0, "base_sequence": sequence}
        elif kind == "future":
            fields = {"timestamp_ms": 1 << 50}
        data = bytes(self.build_batch(*values, **fields))
        if kind == "torn":
            data = data[:-1]
        elif kind == "flipped":
            data = data[:-1] + bytes([data[-1] ^ 1])
        elif kind == "twice":
            data *= 2
        elif kind == "none":
            data = None
        made = Batch(topic, index, values, data, acks)
        self.batches.append(made)
        if kind == "next":
            self._sequences[place] = sequence + len(values)
            self._last[place] = made
        return made

    def feed(self, count):
        self.client.send_bytes(self.unsent[:count])
        del self.unsent[:count]

    def hang_up(self):
        self.has_hung_up = True
        self.client.transport.ended = True
        self.client.transport.reset = self.random.random() < 0.5
        self.unsent.clear()

    def hear(self):
        """Take all answers, and note what they say of each batch; return their correlation ids."""
        heard = []
        for correlation_id, answer in self.client.answers():
            heard.append(correlation_id)
            batches = self.requests[correlation_id]
            if batches is not None:
                told = [one for topic in answer.responses for one in topic.partition_responses]
                for batch, one in zip(batches, told, strict=True):
                    batch.told.append((one.error_code, one.base_offset))
        return heard


def topic_id(topic):
    return topic.encode().ljust(16, b"\0")


def stored(partition):
    """Return (value, (topic, index, offset)) of all records in a partition's log."""
    log = partition.log
    found, offset = [], log.log_start_offset
    while offset < log.log_end_offset:
        for batch in scan(log.read(offset, 1 << 30, log.log_end_offset)):
            found += [(bytes(one.value), (partition.topic, partition.index, one.offset)) for one in opened(batch).records()]
            offset = batch.last_offset + 1
    return found


class World:
    """A broker, its producers, and what happens to them."""

    def __init__(self, rig, random, batch, produce_request):
        self.rig = rig
        self.random = random
        self.partitions = [one for topic, options in TOPICS.items() for one in rig.add_topic(topic, 2, **options)]
        self.deleted = []  # what `stored` said of the partitions that are gone
        self.producers = [
            Producer(random, number, rig.connect(), batch, produce_request) for number in range(random.choice([1, 1, 2, 3]))
        ]

    def fill_disk(self):
        topic = self.random.choice(["", "", *TOPICS])
        self.rig.disk.short = self.random.random() < 0.5
        self.rig.disk.fail_writes(f"{topic}-", errno.ENOSPC if topic else 0)

    def hold_flushes(self):
        self.rig.flusher.held = not self.rig.flusher.held
        self.rig.flusher.run()

    def limit_answers(self):
        self.random.choice(self.producers).client.transport.room = self.random.choice([0, 1, 50, 1_000, 1 << 40])

    def pass_time(self):
        self.rig.clock.now_ns += 3_000_000

    def change_options(self):
        partition = self.random.choice([one for one in self.partitions if one.topic in ("rolls", "tiny")])
        limit = self.random.choice([150, 300, 1_000])
        partition.log.configure(LogConfig(segment_bytes=2 * limit, max_message_bytes=limit))

    def roll(self):
        self.rig.logs.delete_old_segments()

    def move_leader(self):
        partition = self.random.choice([one for one in self.partitions if one.topic == "moving"])
        partition.become(3 - partition.leader_id, partition.leader_epoch + 1, (1,), (1,))

    def make_topic(self):
        if not any(one.topic == LATER for one in self.partitions):
            self.partitions += self.rig.add_topic(LATER, 2)

    def delete_partition(self):
        for partition in [one for one in self.partitions if one.topic == "doomed"][:1]:
            self.deleted += stored(partition)
            self.partitions.remove(partition)
            self.rig.partitions.remove(partition.topic, partition.index)
            self.rig.logs.delete(partition.topic, partition.index)

    def hang_up(self):
        self.random.choice(self.producers).hang_up()

    def run(self):
        """Send all, while things happen, before a turn or in its middle; then let the broker come to rest."""
        rig, random = self.rig, self.random
        rarely = [self.make_topic, self.delete_partition, self.hang_up]
        often = [self.fill_disk, self.hold_flushes, self.limit_answers, self.pass_time, self.change_options, self.roll]
        while any(one.unsent for one in self.producers):
            random.choice(self.producers).feed(random.choice([1, 3, 40, 300, 2_000, 20_000, 1 << 20]))
            for event in often:
                if random.random() < 0.05:
                    rig.reactor.call_soon(event)
            for event in rarely:
                if random.random() < 0.01:
                    rig.reactor.call_soon(event)
            if random.random() < 0.05:
                self.move_leader()  # never in the middle: with acks=all, what is written then is not acknowledged
            for _ in range(random.choice([0, 1, 1, 1, 3])):
                rig.turn()
        rig.turn()
        rig.disk.error, rig.flusher.held = 0, False
        rig.flusher.run()
        for one in self.producers:
            one.client.transport.room = 1 << 40
        seen, now = None, self._progress()
        while now != seen:
            for _ in range(3):  # the throttled go on, and those that were stopped for want of memory
                rig.advance(TRIM_INTERVAL_MS + 1)
            seen, now = now, self._progress()

    def _progress(self):
        return [(len(one.client.transport.outbox), one.client.closed) for one in self.producers]

    def check(self):
        found = {}
        for value, place in [*self.deleted, *(one for partition in self.partitions for one in stored(partition))]:
            found.setdefault(value, []).append(place)
        for producer in self.producers:
            self._check(producer, found)
        assert not found, "nobody sent that"

    @staticmethod
    def _check(producer, found):
        heard = producer.hear()
        expected = [one for one in producer.requests if one not in producer.answerless]
        assert heard == expected[: len(heard)], "the answers are in order, and those to acks=0 are not there"
        is_broken_off = producer.has_hung_up
        ends = {}
        for one in producer.batches:
            where = [found.pop(value, []) for value in one.values]
            is_there = bool(where[0])
            base = where[0][0][2] if is_there else -1
            once = [[(one.topic, one.index, base + i)] if is_there else [] for i in range(len(one.values))]
            assert where == once, f"{one.values} was sent {one.sent} times"
            for error, offset in one.told:
                assert error or (is_there and offset == base), f"{one.values} was acknowledged at {offset}, and is at {base}"
            if is_there and one.sent == 1:
                assert not any(error for error, _ in one.told), f"{one.values} was refused: {one.told}"
                assert one.is_acknowledged or one.acks == 0 or producer.has_hung_up, f"{one.values} had no answer"
                assert base >= ends.get((one.topic, one.index), 0), "in the order of the connection"
                ends[one.topic, one.index] = base + len(one.values)
            is_broken_off |= one.acks == 0 and not is_there  # Kafka's way to tell that it was refused
        assert producer.client.closed == (is_broken_off or producer.ends_in_no_request)
        assert is_broken_off or heard == expected


@pytest.mark.parametrize(
    "seed", [*range(FAST_SEEDS), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(FAST_SEEDS, SEEDS))]
)
def test_what_is_told_is_what_the_logs_hold(make_rig, batch, produce_request, monkeypatch, seed):
    random = Random(seed)
    monkeypatch.setattr(connection, "MAX_UNSENT_BYTES", random.choice([100, 2_000, 1 << 18]))
    monkeypatch.setattr(connection, "MAX_UNDER_WAY", random.choice([1, 3, 10, 512]))
    limits = Limits(queued_max_request_bytes=random.choice([2_000, 200_000, 1 << 28]))
    world = World(make_rig(limits=limits, policy=Busy(random)), random, batch, produce_request)
    world.run()
    world.check()
