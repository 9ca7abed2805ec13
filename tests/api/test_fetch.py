"""Fetch: what is answered, when, and what a session leaves out."""

import errno

import pytest

from fastlog._core import scan
from fastlog.api.cold_reads import MAX_UNDER_WAY
from fastlog.api.context import AllowAll
from fastlog.api.fetch_sessions import MAX_EPOCH, MIN_EVICTION_MS, FetchSessions
from fastlog.errors import (
    FencedLeaderEpoch,
    FetchSessionIdNotFound,
    FetchSessionTopicIdError,
    InvalidFetchSessionEpoch,
    KafkaError,
    NotLeaderOrFollower,
    OffsetOutOfRange,
    TopicAuthorizationFailed,
    UnknownLeaderEpoch,
    UnknownTopicId,
    UnknownTopicOrPartition,
)
from fastlog.metrics import Metrics

VERSIONS = range(4, 19)


def parts(answer):
    return {(topic.topic or topic.topic_id, one.partition_index): one for topic in answer.responses for one in topic.partitions}


def offsets(part):
    return [(one.base_offset, one.last_offset) for one in scan(part.records, allow_partial=True)] if part.records else []


@pytest.fixture
def filled(rig, batch, produce_request):
    """A broker with topic t of three partitions: 0 has two batches, 1 has one, 2 has none."""
    rig.add_topic("t", 3)
    client = rig.connect()
    client.ask(produce_request({"t": {0: batch(b"a" * 100, b"b" * 100), 1: batch(b"c" * 100)}}), 9)
    client.ask(produce_request({"t": {0: batch(b"d" * 100)}}), 9)
    return rig


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("isolation_level", [0, 1])
def test_every_version_reads_what_was_written(filled, fetch_request, version, isolation_level):
    topic = filled.partitions.by_name["t", 0].topic_id if version >= 13 else "t"
    request = fetch_request({topic: {0: 0, 1: 0, 2: 0}}, isolation_level=isolation_level)
    answer = filled.connect().ask(request, version)
    found = parts(answer)
    assert [offsets(found[topic, index]) for index in range(3)] == [[(0, 1), (2, 2)], [(0, 0)], []]
    assert [found[topic, index].high_watermark for index in range(3)] == [3, 1, 0]
    assert [found[topic, index].last_stable_offset for index in range(3)] == [3, 1, 0]
    assert found[topic, 0].log_start_offset == (0 if version >= 5 else -1)
    assert all(one.error_code == 0 for one in found.values())


def test_an_offset_inside_a_batch_gives_the_whole_batch(filled, fetch_request):
    answer = filled.connect().ask(fetch_request({"t": {0: 1}}), 11)
    assert offsets(parts(answer)["t", 0]) == [(0, 1), (2, 2)]


def test_the_first_batch_comes_whole_whatever_the_limits(filled, fetch_request):
    client = filled.connect()
    for limits in (
        {"max_bytes": 1},
        {"partition_max_bytes": 1},
        {"max_bytes": 0},
        {"max_bytes": -1},
        {"partition_max_bytes": -1},
    ):
        answer = client.ask(fetch_request({"t": {2: 0, 0: 0, 1: 0}}, **limits), 11)
        assert offsets(parts(answer)["t", 0]) == [(0, 1)], limits
        assert not parts(answer)["t", 2].records
        if "max_bytes" in limits:
            assert not parts(answer)["t", 1].records


def test_max_bytes_bounds_all_partitions_together(filled, fetch_request):
    client = filled.connect()
    everything = client.ask(fetch_request({"t": {0: 0, 1: 0}}), 11)
    size = len(parts(everything)["t", 0].records)
    answer = client.ask(fetch_request({"t": {0: 0, 1: 0}}, max_bytes=size + 10), 11)
    assert len(parts(answer)["t", 0].records) == size and len(parts(answer)["t", 1].records or b"") <= 10


def test_the_brokers_own_limit_counts_too(make_rig, batch, produce_request, fetch_request):
    rig = make_rig()
    rig.fetch._fetch_max_bytes = 1
    rig.add_topic("t")
    client = rig.connect()
    client.ask(produce_request({"t": {0: batch(b"a")}}), 9)
    client.ask(produce_request({"t": {0: batch(b"b")}}), 9)
    answer = client.ask(fetch_request({"t": {0: 0}}, min_bytes=1000, max_wait_ms=1000), 11)
    assert offsets(parts(answer)["t", 0]) == [(0, 0)]  # and it does not wait for more than it may give


def test_errors_are_told_at_once_and_by_themselves(filled, fetch_request):
    topic_id = filled.partitions.by_name["t", 0].topic_id
    client = filled.connect()
    by_name = client.ask(fetch_request({"t": {0: 99, 1: 0, 7: 0}, "gone": {0: 0}}, max_wait_ms=60_000, min_bytes=10_000), 11)
    codes = {key: one.error_code for key, one in parts(by_name).items()}
    assert codes == {
        ("t", 0): OffsetOutOfRange.code,
        ("t", 1): 0,
        ("t", 7): UnknownTopicOrPartition.code,
        ("gone", 0): UnknownTopicOrPartition.code,
    }
    assert parts(by_name)["t", 0].high_watermark == -1
    assert parts(by_name)["t", 7].aborted_transactions == []
    by_id = client.ask(fetch_request({topic_id: {0: 0, 7: 0}, b"?" * 16: {0: 0}}, max_wait_ms=60_000), 13)
    codes = {key: one.error_code for key, one in parts(by_id).items()}
    assert codes == {(topic_id, 0): 0, (topic_id, 7): UnknownTopicOrPartition.code, (b"?" * 16, 0): UnknownTopicId.code}


def test_leader_epochs_are_checked(filled, fetch_request):
    partition = filled.partitions.by_name["t", 0]
    partition.become(1, 5, (1,), (1,))
    client = filled.connect()

    def code(epoch):
        return parts(client.ask(fetch_request({"t": {0: 0}}, leader_epoch=epoch, max_wait_ms=60_000), 11))["t", 0].error_code

    assert [code(epoch) for epoch in (-1, 4, 5, 6, -2)] == [0, FencedLeaderEpoch.code, 0, UnknownLeaderEpoch.code, 0]
    partition.become(2, 6, (2, 1), (2,))
    assert code(-1) == NotLeaderOrFollower.code


def test_a_forged_replica_id_reads_nothing(filled, fetch_request):
    client = filled.connect()
    for replica_id in (0, 1, 7):
        part = parts(client.ask(fetch_request({"t": {0: 0}}, replica_id=replica_id, max_wait_ms=60_000), 11))["t", 0]
        assert (part.error_code, part.records or b"") == (NotLeaderOrFollower.code, b"")


class Deny(AllowAll):
    def authorize(self, context, operation, resource_type, resource_name):
        return operation != 9 and resource_name != "secret"


def test_topics_that_may_not_be_read(make_rig, fetch_request):
    rig = make_rig(policy=Deny())
    rig.add_topic("secret")
    rig.add_topic("t")
    client = rig.connect()
    answer = client.ask(fetch_request({"secret": {0: 0}, "t": {0: 0}}, max_wait_ms=60_000), 11)
    assert {key: one.error_code for key, one in parts(answer).items()} == {
        ("secret", 0): TopicAuthorizationFailed.code,
        ("t", 0): 0,
    }
    answer = client.ask(fetch_request({"t": {0: 0}}, replica_id=2), 11)
    assert parts(answer)["t", 0].error_code == TopicAuthorizationFailed.code


# ---- what the page cache does not hold ----------------------------------------------------------------------------------------


def test_cold_records_are_read_off_the_loop_and_nobody_else_waits(filled, batch, produce_request, fetch_request):
    reader, others = filled.connect(), filled.connect()
    filled.disk.cold, filled.flusher.held = {"/t-0/", "/t-1/"}, True
    reader.send(fetch_request({"t": {0: 0, 1: 0, 2: 0}}, max_wait_ms=60_000), 11)
    reader.send(fetch_request({"t": {2: 0}}), 11)
    filled.settle()
    assert reader.answers() == [] and filled.parked_fetches.count == 0
    assert others.ask(produce_request({"t": {2: batch(b"new")}}), 9).responses[0].partition_responses[0].error_code == 0
    for _ in range(2):
        assert len(filled.flusher.jobs) == 1, "one region after the other"
        filled.flusher.run()
        filled.settle()
    (_, first), (_, second) = reader.answers()
    assert [offsets(parts(first)["t", index]) for index in range(3)] == [[(0, 1), (2, 2)], [(0, 0)], []]
    assert offsets(parts(second)["t", 2]) == [(0, 0)]


def test_cold_reads_are_few_at_a_time_and_those_of_clients_that_went_are_given_up(filled, fetch_request):
    filled.disk.cold, filled.flusher.held = {"/t-1/"}, True
    readers = [filled.connect() for _ in range(6)]
    for reader in readers:
        reader.send(fetch_request({"t": {1: 0}}), 11)
    filled.settle()
    assert len(filled.flusher.jobs) == MAX_UNDER_WAY
    for reader in readers[:1] + readers[-1:]:  # one that is read for, and one that waits for it
        reader.transport.ended = True
    filled.settle()
    jobs = 0
    while filled.flusher.jobs:
        jobs += len(filled.flusher.jobs)
        assert len(filled.flusher.jobs) <= MAX_UNDER_WAY
        filled.flusher.run()
        filled.settle()
    assert jobs == 5, "nothing is read for one that has gone before its turn"
    assert [len(reader.answers()) for reader in readers] == [0, 1, 1, 1, 1, 0]


def test_a_parked_fetch_that_wakes_to_cold_records_is_given_up_with_its_connection(
    filled, batch, produce_request, fetch_request, monkeypatch
):
    filled.flusher.held = True
    reader = filled.connect()
    reader.send(fetch_request({"t": {1: 1}}, max_wait_ms=60_000), 11)
    filled.settle()
    filled.disk.cold = {"/t-1/"}
    filled.connect().ask(produce_request({"t": {1: batch(b"new")}}), 9)
    assert reader.answers() == [] and filled.parked_fetches.count == 0 and len(filled.flusher.jobs) == 1
    reader.transport.ended = True
    filled.settle()
    answered = []
    monkeypatch.setattr(filled.fetch, "_respond", lambda request, reads: answered.append(request))
    filled.flusher.run()
    filled.settle()
    assert reader.transport.closed and answered == []


def test_cold_records_that_cannot_be_read_close_their_connection_alone(filled, fetch_request):
    filled.disk.cold, filled.disk.read_error = {"/t-1/"}, errno.EIO
    reader, other = filled.connect(), filled.connect()
    reader.send(fetch_request({"t": {1: 0}}), 11)
    filled.settle()
    assert reader.answers() == [] and reader.transport.closed
    assert offsets(parts(other.ask(fetch_request({"t": {0: 0}}), 11))["t", 0]) == [(0, 1), (2, 2)]


def test_a_mistake_behind_a_cold_read_harms_its_request_alone(filled, fetch_request, monkeypatch, caplog):
    filled.disk.cold, filled.flusher.held = {"/t-1/"}, True
    reader = filled.connect()
    reader.send(fetch_request({"t": {1: 0}}), 11)
    filled.settle()
    monkeypatch.setattr(filled.fetch, "_respond", lambda request, reads: 1 / 0)
    filled.flusher.run()
    filled.settle()
    assert reader.transport.closed and "a fetch of" in caplog.text


# ---- waiting ------------------------------------------------------------------------------------------------------------------


def test_a_fetch_that_waits_is_woken_in_the_turn_of_the_append(filled, batch, produce_request, fetch_request):
    reader, writer = filled.connect(), filled.connect()
    reader.send(fetch_request({"t": {0: 3, 1: 1, 2: 0}}, max_wait_ms=60_000), 11)
    filled.settle()
    assert reader.answers() == [] and filled.parked_fetches.count == 1
    writer.send(produce_request({"t": {2: batch(b"new")}}), 9)
    filled.turn()
    [(_, answer)] = reader.answers()
    assert len(writer.answers()) == 1
    assert offsets(parts(answer)["t", 2]) == [(0, 0)]
    assert filled.parked_fetches.count == 0 and not filled.partitions.by_name["t", 2]._watchers
    assert filled.reactor._timers_cancelled == 1


def test_min_bytes_are_waited_for_over_all_partitions(filled, batch, produce_request, fetch_request):
    reader, writer = filled.connect(), filled.connect()
    one = len(batch(bytes(100)))
    reader.send(fetch_request({"t": {0: 3, 1: 1}}, min_bytes=3 * one, max_wait_ms=60_000), 11)
    for index in (0, 1):
        writer.ask(produce_request({"t": {index: batch(bytes(100))}}), 9)
        assert reader.answers() == []
    writer.ask(produce_request({"t": {0: batch(bytes(100))}}), 9)
    [(_, answer)] = reader.answers()
    assert (offsets(parts(answer)["t", 0]), offsets(parts(answer)["t", 1])) == ([(3, 3), (4, 4)], [(1, 1)])


def test_a_fetch_that_waits_is_answered_at_its_deadline_with_what_there_is(filled, batch, produce_request, fetch_request):
    reader, writer = filled.connect(), filled.connect()
    reader.send(fetch_request({"t": {0: 3}}, min_bytes=10_000, max_wait_ms=500), 11)
    filled.settle()
    writer.ask(produce_request({"t": {0: batch()}}), 9)
    filled.advance(499)
    assert reader.answers() == []
    filled.advance(1)
    [(_, answer)] = reader.answers()
    assert offsets(parts(answer)["t", 0]) == [(3, 3)]


@pytest.mark.parametrize("options", [{"max_wait_ms": 0}, {"max_wait_ms": -1}, {"max_wait_ms": 500, "min_bytes": 0}])
def test_a_fetch_that_need_not_wait_does_not(filled, fetch_request, options):
    answer = filled.connect().ask(fetch_request({"t": {0: 3}}, **options), 11)
    assert offsets(parts(answer)["t", 0]) == []


def test_a_fetch_of_nothing_is_answered_at_once(filled, fetch_request):
    assert filled.connect().ask(fetch_request({}, max_wait_ms=60_000), 11).responses == []


def test_a_removed_partition_ends_the_wait(filled, fetch_request):
    reader = filled.connect()
    reader.send(fetch_request({"t": {0: 3, 1: 1}}, max_wait_ms=60_000), 11)
    filled.settle()
    filled.partitions.remove("t", 1)
    filled.settle()
    [(_, answer)] = reader.answers()
    assert parts(answer)["t", 1].error_code == NotLeaderOrFollower.code
    assert parts(answer)["t", 0].error_code == 0


def test_readers_of_one_partition_wake_each_by_its_own_wish(filled, batch, produce_request, fetch_request):
    patient, hasty = filled.connect(), filled.connect()
    patient.send(fetch_request({"t": {0: 3}}, min_bytes=10_000, max_wait_ms=60_000), 11)
    hasty.send(fetch_request({"t": {0: 3}}, max_wait_ms=60_000), 11)
    filled.settle()
    filled.connect().ask(produce_request({"t": {0: batch()}}), 9)
    assert len(hasty.answers()) == 1 and patient.answers() == []


# ---- sessions -----------------------------------------------------------------------------------------------------------------


def test_a_session_answers_only_what_has_changed(filled, batch, produce_request, fetch_request):
    reader, writer = filled.connect(), filled.connect()
    full = reader.ask(fetch_request({"t": {0: 0, 1: 0, 2: 0}}, session=(0, 0)), 11)
    assert full.session_id > 0 and set(parts(full)) == {("t", 0), ("t", 1), ("t", 2)}
    session = full.session_id
    moved = reader.ask(fetch_request({"t": {0: 3, 1: 1}}, session=(session, 1)), 11)
    assert (moved.session_id, parts(moved)) == (session, {})
    writer.ask(produce_request({"t": {2: batch(b"x")}}), 9)
    news = reader.ask(fetch_request({}, session=(session, 2)), 11)
    assert set(parts(news)) == {("t", 2)} and offsets(parts(news)["t", 2]) == [(0, 0)]
    again = reader.ask(fetch_request({}, session=(session, 3)), 11)
    assert set(parts(again)) == {("t", 2)}  # it has not moved on, so the records come again
    forgotten = reader.ask(fetch_request({}, session=(session, 4), forgotten=[("t", [2])]), 11)
    assert parts(forgotten) == {}
    added = reader.ask(fetch_request({"t": {2: 1}}, session=(session, 5)), 11)
    assert set(parts(added)) == {("t", 2)}  # its high watermark is news


def test_an_error_and_its_end_are_news(filled, fetch_request):
    reader = filled.connect()
    session = reader.ask(fetch_request({"t": {0: 3}}, session=(0, 0)), 11).session_id
    wrong = reader.ask(fetch_request({"t": {0: 99}}, session=(session, 1)), 11)
    assert parts(wrong)["t", 0].error_code == OffsetOutOfRange.code
    still = reader.ask(fetch_request({}, session=(session, 2)), 11)
    assert parts(still)["t", 0].error_code == OffsetOutOfRange.code
    right = reader.ask(fetch_request({"t": {0: 3}}, session=(session, 3)), 11)
    assert parts(right)["t", 0].error_code == 0
    assert parts(reader.ask(fetch_request({}, session=(session, 4)), 11)) == {}


def test_a_session_wakes_for_partitions_of_earlier_requests(filled, batch, produce_request, fetch_request):
    reader = filled.connect()
    session = reader.ask(fetch_request({"t": {0: 3, 1: 1}}, session=(0, 0)), 11).session_id
    reader.send(fetch_request({}, session=(session, 1), max_wait_ms=60_000), 11)
    filled.settle()
    filled.connect().ask(produce_request({"t": {1: batch()}}), 9)
    [(_, answer)] = reader.answers()
    assert set(parts(answer)) == {("t", 1)}
    assert answer.session_id == session


def test_a_busy_partition_does_not_starve_the_others(filled, fetch_request):
    reader = filled.connect()
    session = reader.ask(fetch_request({"t": {0: 0, 1: 0}}, session=(0, 0), max_bytes=1), 11).session_id
    seen = []
    for epoch in range(1, 5):
        answer = reader.ask(fetch_request({}, session=(session, epoch), max_bytes=1), 11)
        seen += [key[1] for key, one in parts(answer).items() if one.records]
    assert sorted(set(seen)) == [0, 1]


def test_session_errors(filled, fetch_request):
    topic_id = filled.partitions.by_name["t", 0].topic_id
    client = filled.connect()
    session = client.ask(fetch_request({"t": {0: 3}}, session=(0, 0)), 11).session_id

    def code(version, **options):
        answer = client.ask(fetch_request({}, max_wait_ms=60_000, **options), version)
        assert answer.responses == []
        return answer.error_code, answer.session_id

    assert code(11, session=(session + 1, 1)) == (FetchSessionIdNotFound.code, 0)
    assert code(11, session=(session, 2)) == (InvalidFetchSessionEpoch.code, 0)
    assert code(13, session=(session, 1)) == (FetchSessionTopicIdError.code, 0)
    assert code(11, session=(0, 1)) == (FetchSessionIdNotFound.code, 0)
    ended = client.ask(fetch_request({"t": {0: 3}}, session=(session, -1)), 11)
    assert (ended.session_id, set(parts(ended))) == (0, {("t", 0)})
    assert code(11, session=(session, 1)) == (FetchSessionIdNotFound.code, 0)
    by_id = client.ask(fetch_request({topic_id: {0: 3}}, session=(0, 0)), 13).session_id
    assert code(11, session=(by_id, 1)) == (FetchSessionTopicIdError.code, 0)


def test_a_session_without_partitions_is_over(filled, fetch_request):
    client = filled.connect()
    session = client.ask(fetch_request({"t": {0: 3}}, session=(0, 0)), 11).session_id
    last = client.ask(fetch_request({}, session=(session, 1), forgotten=[("t", [0])]), 11)
    assert (last.error_code, last.session_id, len(filled.sessions)) == (0, 0, 0)


def test_a_session_that_another_connection_moved_on_refuses_the_one_that_was_parked(filled, fetch_request):
    first, second = filled.connect(), filled.connect()
    session = first.ask(fetch_request({"t": {0: 3}}, session=(0, 0)), 11).session_id
    first.send(fetch_request({}, session=(session, 1), max_wait_ms=500), 11)
    filled.settle()
    second.ask(fetch_request({}, session=(session, 2)), 11)
    filled.advance(500)
    [(_, answer)] = first.answers()
    assert answer.error_code == InvalidFetchSessionEpoch.code


def test_a_session_that_was_closed_while_its_fetch_was_parked(filled, fetch_request):
    first, second = filled.connect(), filled.connect()
    session = first.ask(fetch_request({"t": {0: 3}}, session=(0, 0)), 11).session_id
    first.send(fetch_request({}, session=(session, 1), max_wait_ms=500), 11)
    filled.settle()
    second.ask(fetch_request({}, session=(session, -1)), 11)
    filled.advance(500)
    [(_, answer)] = first.answers()
    assert answer.error_code == FetchSessionIdNotFound.code


def test_a_full_cache_gives_no_session_and_takes_the_place_of_one_long_unused(filled, fetch_request):
    clients = [filled.connect() for _ in range(11)]
    sessions = [client.ask(fetch_request({"t": {0: 3}}, session=(0, 0)), 11).session_id for client in clients]
    assert all(sessions[:10]) and sessions[10] == 0
    filled.advance(MIN_EVICTION_MS)
    clients[0].ask(fetch_request({}, session=(sessions[0], 1)), 11)
    fresh = clients[10].ask(fetch_request({"t": {0: 3}}, session=(0, 0)), 11)
    assert fresh.session_id > 0
    assert clients[0].ask(fetch_request({}, session=(sessions[0], 2)), 11).error_code == 0
    assert clients[1].ask(fetch_request({}, session=(sessions[1], 1)), 11).error_code == FetchSessionIdNotFound.code
    assert filled.values()["kafka.server:type=FetchSessionCache,name=NumIncrementalFetchSessions"] == 10
    assert filled.values()["kafka.server:type=FetchSessionCache,name=IncrementalFetchSessionEvictionsPerSec"] == 1


def asked(index, offset=0):
    return ("t", index, -1, offset, -1, -1, 1000)


def test_the_partitions_of_all_sessions_are_bounded(rig, monkeypatch):
    monkeypatch.setattr("fastlog.api.fetch_sessions.MAX_PARTITIONS", 5)
    sessions = FetchSessions(rig.clock, rig.random, Metrics(), 10)

    def partitions(count):
        from fastlog.api.fetch_sessions import FetchPartition

        return {("t", index): FetchPartition(asked(index)) for index in range(count)}

    assert sessions.create(partitions(6), uses_topic_ids=False) is None
    first = sessions.create(partitions(3), uses_topic_ids=False)
    assert sessions.create(partitions(3), uses_topic_ids=False) is None
    second = sessions.create(partitions(2), uses_topic_ids=False)
    with pytest.raises(KafkaError) as caught:
        sessions.use(second.id, 1, [asked(7)], [], uses_topic_ids=False)
    assert caught.value.code == FetchSessionIdNotFound.code
    assert not sessions.has(second) and sessions.has(first)
    third = sessions.create(partitions(2), uses_topic_ids=False)
    sessions.use(third.id, 1, [asked(7)], [("t", 0)], uses_topic_ids=False)
    assert list(third.partitions) == [("t", 1), ("t", 7)]


def test_epochs_wrap_past_0(rig):
    from fastlog.api.fetch_sessions import FetchPartition

    sessions = FetchSessions(rig.clock, rig.random, Metrics(), 10)
    session = sessions.create({("t", 0): FetchPartition(asked(0))}, uses_topic_ids=False)
    session.epoch = MAX_EPOCH
    sessions.use(session.id, MAX_EPOCH, [], [], uses_topic_ids=False)
    assert session.epoch == 1


def test_what_is_read_is_counted(filled, fetch_request):
    client = filled.connect()
    answer = client.ask(fetch_request({"t": {0: 0, 1: 0, 7: 0}}), 11)
    size = sum(len(one.records or b"") for one in parts(answer).values())
    values = filled.values()
    prefix = "kafka.server:type=BrokerTopicMetrics,name="
    assert values[prefix + "BytesOutPerSec,topic=t"] == values[prefix + "BytesOutPerSec"] == size > 0
    assert values[prefix + "TotalFetchRequestsPerSec"] == 1
    assert values[prefix + "FailedFetchRequestsPerSec"] == 1
