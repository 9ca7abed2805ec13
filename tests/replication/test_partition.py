import zlib

import pytest

from fastlog import errors
from fastlog.replication.partition import READ_COMMITTED, READ_UNCOMMITTED

NOW = 1_700_000_000_000
NOTHING = (-1, -1, -1)


def inflate(codec, payload):
    assert codec == 1
    return zlib.decompress(bytes(payload))


def no_codec(codec, payload):
    raise AssertionError("nothing is compressed here")


def test_alone_in_the_isr_the_high_watermark_is_the_logs_end(world, batch, values):
    partition = world.led()
    assert values(partition.read(0, 1000)) == []
    partition.append(batch(b"a", b"b"), -1)
    assert partition.log.high_watermark == 0
    world.manager.commit_staged()
    fetched = partition.read(0, 1000)
    assert values(fetched) == [(0, b"a"), (1, b"b")]
    assert (fetched.error, fetched.high_watermark, fetched.last_stable_offset, fetched.log_start_offset) == (0, 2, 2, 0)


def test_with_others_in_the_isr_the_high_watermark_waits_for_them(world, batch, values):
    partition = world.led(isr=(1, 2))
    world.append(partition, batch(b"a"))
    assert (partition.log.high_watermark, values(partition.read(0, 1000))) == (0, [])
    partition.become(1, 4, (1, 2), (1,))
    assert (partition.log.high_watermark, values(partition.read(0, 1000))) == (1, [(0, b"a")])


def test_leadership_is_checked(world, batch, found):
    partition = world.led()
    partition.become(2, 4, (1, 2), (2,))
    assert partition.append(batch(b"a"), 1).error == errors.NotLeaderOrFollower.code
    assert partition.read(0, 100).error == errors.NotLeaderOrFollower.code
    with pytest.raises(errors.NotLeaderOrFollower):
        found(partition.list_offset_steps, -1, READ_UNCOMMITTED, no_codec)
    with pytest.raises(errors.FencedLeaderEpoch):
        partition.become(1, 3, (1,), (1,))
    assert not partition.is_leader


def test_epochs_of_requests_are_checked(world, batch, found):
    partition = world.led()
    world.append(partition, batch(b"a"))
    for epoch, error in ((-1, 0), (3, 0), (2, errors.FencedLeaderEpoch.code), (4, errors.UnknownLeaderEpoch.code)):
        assert partition.read(0, 100, current_leader_epoch=epoch).error == error
    with pytest.raises(errors.FencedLeaderEpoch):
        found(partition.list_offset_steps, -1, READ_UNCOMMITTED, no_codec, current_leader_epoch=2)
    with pytest.raises(errors.UnknownLeaderEpoch):
        partition.end_offset_of_epoch(3, 4)


def test_min_insync_replicas(world, batch):
    partition = world.led(min_insync_replicas=2)
    assert partition.append(batch(b"a"), -1).error == errors.NotEnoughReplicas.code
    assert partition.append(batch(b"a"), 1).error == 0


def test_no_records_at_all(world):
    assert world.led().append(None, 1).error == errors.InvalidRecord.code


def test_offsets_out_of_range(world, batch):
    partition = world.led()
    world.append(partition, batch(b"a"))
    assert [partition.read(offset, 100).error for offset in (-1, 0, 1, 2)] == [1, 0, 0, 1]


def test_read_committed_stops_at_an_open_transaction(world, batch, values, found):
    partition = world.led()
    world.append(partition, batch(b"a"))
    partition.append(batch(b"open", producer=(7, 0, 0), attributes=0x10), -1, transaction_verified=True)
    world.append(partition, batch(b"c"))
    fetched = partition.read(0, 1000, READ_COMMITTED)
    assert (values(fetched), fetched.last_stable_offset, fetched.high_watermark) == ([(0, b"a")], 1, 3)
    assert fetched.aborted == []
    assert len(values(partition.read(0, 1000))) == 3
    assert found(partition.list_offset_steps, -1, READ_COMMITTED, no_codec) == (-1, 1, 3)
    assert found(partition.list_offset_steps, -1, READ_UNCOMMITTED, no_codec) == (-1, 3, 3)


def test_watchers_learn_of_an_append_in_the_same_turn(world, batch):
    partition = world.led()
    seen = []

    def watcher(which):
        seen.append((which, which.log.high_watermark))

    partition.watch(watcher)
    partition.append(batch(b"a"), 1)
    assert seen == []
    world.manager.commit_staged()
    assert seen == [(partition, 1)]
    partition.unwatch(watcher)
    partition.unwatch(watcher)
    world.append(partition, batch(b"b"))
    assert len(seen) == 1


def test_watchers_may_leave_while_they_are_told(world, batch):
    partition = world.led()
    seen = []

    def once(which):
        seen.append(which)
        partition.unwatch(once)

    partition.watch(once)
    partition.watch(seen.append)
    world.append(partition, batch(b"a"))
    assert len(seen) == 2


def test_under_flush_messages_readers_and_acknowledgements_wait_for_the_disk(world, batch, values):
    partition = world.led(flush_messages=1)
    seen = []
    partition.watch(lambda which: seen.append(which.acknowledged_end_offset))
    world.append(partition, batch(b"a"))
    assert (partition.acknowledged_end_offset, values(partition.read(0, 100))) == (0, [])
    world.flusher.run()
    assert (partition.acknowledged_end_offset, values(partition.read(0, 100)), seen[-1]) == (1, [(0, b"a")], 1)


def test_watchers_learn_that_the_log_failed(world, batch):
    partition = world.led()
    seen = []
    partition.watch(lambda which: seen.append(which.read(0, 100).error))
    partition.log.directory.fail("a test", OSError(5, "Input/output error"))
    assert seen == [errors.KafkaStorageError.code]
    assert partition.append(batch(b"a"), 1).error == errors.KafkaStorageError.code


def test_special_timestamps(world, batch, found):
    partition = world.led()
    assert found(partition.list_offset_steps, -3, READ_UNCOMMITTED, no_codec) == NOTHING
    assert found(partition.list_offset_steps, NOW, READ_UNCOMMITTED, no_codec) == NOTHING
    world.append(partition, batch(b"a", timestamp_ms=NOW + 5), batch(b"b", b"c", timestamp_ms=[NOW + 1, NOW + 9]), batch(b"d"))
    partition.log.increment_log_start_offset(1)
    assert found(partition.list_offset_steps, -1, READ_UNCOMMITTED, no_codec) == (-1, 4, 3)
    assert found(partition.list_offset_steps, -2, READ_UNCOMMITTED, no_codec) == (-1, 1, 3)
    assert found(partition.list_offset_steps, -3, READ_UNCOMMITTED, no_codec) == (NOW + 9, 2, 3)
    assert found(partition.list_offset_steps, -4, READ_UNCOMMITTED, no_codec) == (-1, 1, 3)
    assert found(partition.list_offset_steps, -5, READ_UNCOMMITTED, no_codec) == NOTHING
    assert found(partition.list_offset_steps, -6, READ_UNCOMMITTED, no_codec) == NOTHING


def test_offsets_for_times(world, batch, found):
    partition = world.led(segment_bytes=300)
    for number in range(10):
        world.append(partition, batch(b"x", b"y", timestamp_ms=[NOW + 10 * number, NOW + 10 * number + 5]))
    for number in range(10):
        assert found(partition.list_offset_steps, NOW + 10 * number - 1, READ_UNCOMMITTED, no_codec) == (
            NOW + 10 * number,
            2 * number,
            3,
        )
        assert found(partition.list_offset_steps, NOW + 10 * number + 1, READ_UNCOMMITTED, no_codec) == (
            NOW + 10 * number + 5,
            2 * number + 1,
            3,
        )
    assert found(partition.list_offset_steps, NOW + 96, READ_UNCOMMITTED, no_codec) == NOTHING
    assert found(partition.list_offset_steps, 0, READ_UNCOMMITTED, no_codec) == (NOW, 0, 3)


def test_offsets_for_times_inside_compressed_batches(world, batch, found):
    partition = world.led()
    world.append(partition, batch(b"x", b"y", b"z", timestamp_ms=[NOW, NOW + 5, NOW + 7], compress=zlib.compress, codec=1))
    assert found(partition.list_offset_steps, NOW + 1, READ_UNCOMMITTED, inflate) == (NOW + 5, 1, 3)
    assert found(partition.list_offset_steps, -3, READ_UNCOMMITTED, inflate) == (NOW + 7, 2, 3)


def test_what_may_not_be_read_is_not_found_by_time(world, batch, found):
    partition = world.led(isr=(1, 2))
    world.append(partition, batch(b"x", timestamp_ms=NOW + 1))
    assert found(partition.list_offset_steps, NOW, READ_UNCOMMITTED, no_codec) == NOTHING


def test_a_payload_that_does_not_decompress(world, batch, found):
    partition = world.led()
    world.append(partition, batch(b"x", b"y", compress=lambda payload: b"not deflated", codec=1))

    def broken(codec, payload):
        raise errors.CorruptMessage("cannot be decompressed")

    with pytest.raises(errors.CorruptMessage):
        found(partition.list_offset_steps, NOW, READ_UNCOMMITTED, broken)


def test_where_epochs_end(world, batch):
    partition = world.led()
    world.append(partition, batch(b"a", b"b"))
    partition.become(1, 6, (1,), (1,))
    world.append(partition, batch(b"c"))
    assert partition.end_offset_of_epoch(3) == (3, 2)
    assert partition.end_offset_of_epoch(5) == (3, 2)
    assert partition.end_offset_of_epoch(6) == (6, 3)
    assert partition.end_offset_of_epoch(7) == (-1, -1)


def test_a_reader_whose_log_diverged_learns_where(world, batch, values):
    partition = world.led()
    world.append(partition, batch(b"a", b"b"))
    partition.become(1, 6, (1,), (1,))
    world.append(partition, batch(b"c"))
    assert partition.read(3, 100, last_fetched_epoch=3).diverging == (3, 2)
    assert partition.read(2, 100, last_fetched_epoch=5).diverging == (3, 2)
    fetched = partition.read(2, 100, last_fetched_epoch=3)
    assert (fetched.diverging, values(fetched)) == (None, [(2, b"c")])
