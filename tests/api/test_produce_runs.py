"""Produce requests taken as runs: the same answers, logs and counts as one by one, whatever comes in whatever pieces."""

import errno

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastlog.storage.log_config import LOG_APPEND_TIME

ALIKE = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

TOPICS = {
    "plain": {},
    "rolls": {"segment_bytes": 700},
    "tiny": {"max_message_bytes": 110},
    "stamped": {"message_timestamp_type": LOG_APPEND_TIME},
    "flushed": {"flush_messages": 1},
    "late": {"message_timestamp_before_max_ms": 1000},
}


class Sender:
    """Makes the same batches for both brokers: numbered values, and a producer's sequences."""

    def __init__(self, batch):
        self.batch = batch
        self.made = 0
        self.sequences = {}

    def records(self, kind, place, size):
        self.made += 1
        values = [b"%d-%d" % (self.made, i) + b"." * size for i in range(self.made % 3 + 1)]
        if kind == "plain":
            return self.batch(*values)
        if kind == "future":
            return self.batch(*values, timestamp_ms=1 << 50)
        if kind == "torn":
            return bytes(self.batch(*values))[:-1]
        if kind == "flipped":
            data = bytearray(self.batch(*values))
            data[-1] ^= 1
            return bytes(data)
        if kind == "twice":
            return bytes(self.batch(*values)) * 2
        if kind == "none":
            return None
        first, count = self.sequences.get(place, (0, 0))
        if kind == "next":
            first += count
        elif kind == "gap":
            first += count + 1
        else:  # again: what was sent before, by its sequences
            values = [b"again"] * max(count, 1)
        if kind != "gap":
            self.sequences[place] = first, len(values)
        return self.batch(*values, producer_id=9, producer_epoch=0, base_sequence=first)


REQUESTS = st.lists(
    st.tuples(
        st.sampled_from(["plain"] * 8 + ["next"] * 5 + ["again", "gap", "future", "torn", "flipped", "twice", "none"]),
        st.sampled_from(["plain"] * 6 + [*TOPICS, "unknown"]),
        st.sampled_from([0, 0, 0, 0, 1, 7]),
        st.sampled_from([1] * 8 + [-1, -1, 0, 5]),
        st.integers(0, 60),
        st.integers(1, 4),
    ),
    max_size=25,
)


def serve(rig, requests, version, batch, produce_request, *, pieces, failing_turn):
    """Send the requests, each as often as it says, and return all that can be seen of the broker afterwards."""
    partitions = [one for topic, options in TOPICS.items() for one in rig.add_topic(topic, 2, **options)]
    ids = {partition.topic: partition.topic_id for partition in partitions}
    sender, client = Sender(batch), rig.connect()
    for number, (kind, topic, index, acks, size, times) in enumerate(requests):
        name = ids.get(topic, b"?" * 16) if version >= 13 else topic
        for _ in range(times):
            records = sender.records(kind, (topic, index), size)
            client.send(produce_request({name: {index: records}}, acks=acks), version)
        if number == failing_turn:
            rig.disk.fail_writes("plain-0", errno.ENOSPC)
        if number % pieces == 0:
            rig.settle()
        rig.disk.error = 0
    rig.settle()
    stored = [
        (one.topic, one.index, one.log.log_end_offset, one.log.high_watermark, bytes(one.read(0, 1 << 20).records or b""))
        for one in partitions
    ]
    return client.frames(), client.closed, stored, rig.values()


@ALIKE
@given(
    requests=REQUESTS,
    version=st.integers(3, 13),
    pieces=st.integers(1, 8),
    failing_turn=st.one_of(st.none(), st.integers(0, 10)),
)
def test_runs_change_nothing_that_can_be_seen(make_rig, batch, produce_request, requests, version, pieces, failing_turn):
    one_by_one = make_rig()
    one_by_one.registry.run_handler = lambda context, run: False
    seen = [
        serve(rig, requests, version, batch, produce_request, pieces=pieces, failing_turn=failing_turn)
        for rig in (one_by_one, make_rig())
    ]
    assert seen[0] == seen[1]


def test_alike_requests_are_taken_together(rig, batch, produce_request):
    [partition] = rig.add_topic("t")
    taken = []
    take_run = rig.registry.run_handler
    rig.registry.run_handler = lambda context, run: take_run(context, run) and not taken.append(len(run))
    client = rig.connect()
    for number in range(30):
        client.send(produce_request({"t": {0: batch(b"%d" % number)}}), 9)
    rig.settle()
    assert taken == [29], "the first begins the segment, and the others are one run"
    answers = client.answers()
    assert [correlation_id for correlation_id, _ in answers] == list(range(1, 31))
    assert [answer.responses[0].partition_responses[0].base_offset for _, answer in answers] == list(range(30))
    assert partition.log.log_end_offset == 30
    assert client.transport.sends == 1
