"""Segments: appending, reading, cutting, recovering, on real files and on overridden ones."""

import errno

import pytest

from fastlog import _core


def fill(segment, batch, count, records=3, step_ms=10):
    """Append `count` batches of `records` records each; return their bytes one by one."""
    written = []
    for number in range(count):
        base = segment.next_offset
        one = batch(base, [number * step_ms + i for i in range(records)])
        segment.append([one])
        written.append(bytes(one))
    return written


def test_batches_come_back_as_they_were(directory, batch):
    segment = directory.segment()
    written = fill(segment, batch, 200)
    assert (segment.next_offset, segment.size_bytes) == (600, sum(map(len, written)))
    assert bytes(segment.read(0, 1 << 20)) == b"".join(written)
    for offset in (0, 1, 2, 3, 300, 301, 302, 598, 599):
        assert bytes(segment.read(offset, 1 << 20)) == b"".join(written[offset // 3 :])
    assert segment.read(600, 1 << 20) is None
    assert segment.read(5000, 1 << 20) is None
    assert bytes(segment.read(-5, 1 << 20)) == b"".join(written)


def test_reads_keep_to_their_limits(directory, batch):
    segment = directory.segment()
    written = fill(segment, batch, 100)
    size = len(written[0])
    assert len(segment.read(0, size + 7)) == size + 7
    assert bytes(segment.read(3, 1)) == written[1]
    assert len(segment.read(3, 1, -1, False)) == 1
    assert len(segment.read(3, 0, -1, False)) == 0
    # Batches from `end_offset` on are left out; one that begins before it is in.
    assert bytes(segment.read(3, 1 << 20, 9)) == b"".join(written[1:3])
    assert bytes(segment.read(3, 1 << 20, 10)) == b"".join(written[1:4])
    assert bytes(segment.read(3, 1 << 20, 9)) == b"".join(written[1:3])
    assert segment.read(9, 1 << 20, 9) is None
    assert bytes(segment.read(3, 1, 9)) == written[1]


def test_a_tailing_reader_reads_nothing_but_what_it_sends(directory, batch):
    segment = directory.segment()
    fill(segment, batch, 500)
    assert segment.read(1500, 1 << 20) is None
    reads = getattr(segment.log, "reads", None)
    for _ in range(10):
        offset, one = segment.next_offset, batch(segment.next_offset, [9999, 9999])
        segment.append([one])
        region = segment.read(offset, 1 << 20)
        if reads is not None:
            assert segment.log.reads == reads
            reads += 1
        assert bytes(region) == bytes(one)


def test_one_append_takes_many_batches(directory, batch):
    segment = directory.segment()
    batches = [batch(number * 5, [number]) for number in range(3000)]  # with gaps between the offsets
    segment.append(batches)
    assert segment.next_offset == 2999 * 5 + 1
    assert bytes(segment.read(7, 1 << 30)) == b"".join(map(bytes, batches[2:]))
    assert segment.find(7) == (10, len(batches[0]) + len(batches[1]), len(batches[2]))
    segment.append([])


def test_what_does_not_fit_is_refused_before_anything_is_written(directory, batch):
    segment = directory.segment(100)
    segment.append([batch(100)])
    size = segment.size_bytes
    for wrong in ([batch(100)], [batch(101), batch(101)], [batch(100 + (1 << 31))]):
        with pytest.raises(ValueError, match="offset"):
            segment.append(wrong)
    with pytest.raises(TypeError):
        segment.append([b"bytes"])
    assert (segment.size_bytes, segment.next_offset, segment.log.size_bytes()) == (size, 101, size)
    assert segment.has_room(100 + (1 << 31) - 1, 1000)
    assert not segment.has_room(100 + (1 << 31), 1000)
    assert not segment.has_room(102, 1 << 31)
    segment.on_roll()
    with pytest.raises(ValueError, match="rolled"):
        segment.append([batch(101)])


def test_a_failed_write_changes_nothing(segments, batch):
    directory = segments.Directory("memory")
    segment = directory.segment()
    written = fill(segment, batch, 50)
    before = (segment.size_bytes, segment.next_offset, segment.max_timestamp_ms, segment.offset_index.entries())
    segment.log.room = segment.size_bytes + 40
    with pytest.raises(OSError, match="No space") as caught:
        segment.append([batch(150, [10_000])])
    assert caught.value.errno == errno.ENOSPC
    segment.log.room = None
    segment.log.failure = OSError(errno.EIO, "broken")
    with pytest.raises(OSError, match="broken"):
        segment.append([batch(150, [10_000])])
    segment.log.failure = None
    assert before == (segment.size_bytes, segment.next_offset, segment.max_timestamp_ms, segment.offset_index.entries())
    assert len(segment.log.data) == segment.size_bytes
    one = batch(150)
    segment.append([one])
    assert bytes(segment.read(0, 1 << 20)) == b"".join(written) + bytes(one)


def test_a_tail_that_could_not_be_cut_is_cut_before_the_next_write(segments, batch):
    directory = segments.Directory("memory")
    segment = directory.segment()
    written = fill(segment, batch, 2)
    log = segment.log
    cut = type(log).ftruncate

    def refuse(self, size, /):
        raise OSError(errno.EIO, "no cut")

    log.room = segment.size_bytes + 150
    type(log).ftruncate = refuse
    try:
        with pytest.raises(OSError, match="No space"):
            segment.append([batch(6, [1] * 5)])
        assert len(log.data) > segment.size_bytes
        with pytest.raises(OSError, match="no cut"):
            segment.append([batch(6)])
    finally:
        type(log).ftruncate = cut
    log.room = None
    one = batch(6)
    segment.append([one])
    assert bytes(log.data) == b"".join(written) + bytes(one)


def test_an_index_that_cannot_be_written_is_only_sparser(segments, batch):
    directory = segments.Directory("memory")
    segment = directory.segment(index_interval_bytes=1)
    segment.offset_index.file.failure = segment.time_index.file.failure = OSError(errno.ENOSPC, "full")
    written = fill(segment, batch, 2000)
    assert segment.offset_index.count == 512
    assert bytes(segment.read(5997, 1 << 20)) == written[-1]
    with pytest.raises(OSError, match="full"):
        segment.flush()
    segment.offset_index.file.failure = segment.time_index.file.failure = None
    fill(segment, batch, 10)
    segment.flush()
    segment.offset_index.check()
    assert len(segment.offset_index.file.data) == segment.offset_index.count * 8


def test_opening_after_a_clean_stop_reads_no_log(segments, batch):
    directory = segments.Directory("memory")
    segment = directory.segment(40)
    segment.append([batch(40 + number, [number]) for number in range(500)])
    segment.close()
    again = directory.segment(40, size_bytes=segment.size_bytes, next_offset=540)
    assert again.log.reads == 0
    assert (again.max_timestamp_ms, again.offset_of_max_timestamp) == (499, 539)
    found = directory.segment(40)
    assert found.log.reads == 1
    assert (found.next_offset, found.size_bytes, found.max_timestamp_ms) == (540, segment.size_bytes, 499)


def test_without_indexes_the_headers_tell(directory, batch):
    segment = directory.segment()
    written = fill(segment, batch, 300)
    segment.close()
    again = _core.Segment(
        0,
        directory.open(directory.name(0, "log")),
        _core.OffsetIndex(directory.open(directory.name(0, "a")), 0),
        _core.TimeIndex(directory.open(directory.name(0, "b")), 0),
        next_offset=900,
    )
    assert (again.next_offset, again.max_timestamp_ms, again.offset_of_max_timestamp) == (900, 2992, 899)
    assert bytes(again.read(899, 1 << 20)) == written[-1]
    assert again.find_timestamp(1500) == (1500, 450)


def test_an_end_that_is_no_batch_can_be_read_up_to_and_must_be_recovered(directory, batch):
    segment = directory.segment()
    written = fill(segment, batch, 100)
    segment.close()
    log = directory.open(directory.name(0, "log"))
    log.pwritev([written[0][:70]], segment.size_bytes)
    again = directory.segment()
    assert again.needs_recovery
    assert bytes(again.read(0, 1 << 20)) == b"".join(written)
    with pytest.raises(ValueError, match="recover"):
        again.append([batch(300)])
    assert again.recover() == []
    assert not again.needs_recovery
    again.append([batch(300)])
    assert again.next_offset == 301


def test_timestamps_are_found_to_the_record(directory, batch):
    segment = directory.segment(10)
    segment.append([batch(10, [100, 300, 200])])
    segment.append([batch(13, [50, 60])])
    segment.append([batch(15, [250, 400])])
    assert segment.find_timestamp(0) == (100, 10)
    assert segment.find_timestamp(150) == (300, 11)
    assert segment.find_timestamp(150, 12) == (200, 12)
    assert segment.find_timestamp(250, 12) == (250, 15)
    assert segment.find_timestamp(55, 13) == (60, 14)
    assert segment.find_timestamp(401) is None
    assert segment.find_timestamp(0, 17) is None
    assert (segment.max_timestamp_ms, segment.offset_of_max_timestamp) == (400, 16)
    assert _core.scan(bytearray(segment.find_batch_by_timestamp(301)))[0].base_offset == 15
    assert segment.find_batch_by_timestamp(401) is None


def test_timestamps_are_found_over_many_index_entries(directory, batch):
    segment = directory.segment(index_interval_bytes=200)
    times = [(number * 37) % 1000 + number for number in range(1500)]
    for offset, time in enumerate(times):
        segment.append([batch(offset, [time])])
    for wanted in range(0, max(times) + 2, 61):
        for start in (0, 700, 1499):
            found = next(((time, offset) for offset, time in enumerate(times) if time >= wanted and offset >= start), None)
            assert segment.find_timestamp(wanted, start) == found


def test_a_batch_with_one_timestamp_for_all_is_not_opened(directory, batch):
    segment = directory.segment()
    one = batch(0, [5, 6, 7])
    one.set_log_append_time(1234)
    segment.append([one])
    assert segment.find_timestamp(7) == (1234, 0)
    assert segment.find_timestamp(7, 2) == (1234, 2)


def test_rolling_ends_the_time_index_with_the_greatest_timestamp(directory, batch):
    segment = directory.segment()
    segment.append([batch(0, [5]), batch(1, [77]), batch(2, [6])])
    assert segment.time_index.entries() == []
    segment.on_roll()
    assert segment.time_index.entries() == [(77, 1)]
    assert len(directory.contents(directory.name(0, "timeindex"))) == 12
    assert directory.contents(directory.name(0, "index")) == b""


def test_producers_batches_are_told(directory, batch):
    segment = directory.segment()
    segment.append([batch(0, [1, 2]), batch(2, [3, 4, 5], producer_id=9, producer_epoch=1, base_sequence=(1 << 31) - 2)])
    segment.append([batch(5, [8], producer_id=10, producer_epoch=0, base_sequence=4, attributes=0x10)])
    told = segment.producer_batches(0)
    assert [(one.producer_id, one.producer_epoch, one.base_sequence, one.last_sequence) for one in told] == [
        (9, 1, (1 << 31) - 2, 0),
        (10, 0, 4, 4),
    ]
    assert [(one.base_offset, one.last_offset, one.max_timestamp_ms) for one in told] == [(2, 4, 5), (5, 5, 8)]
    assert [(one.is_transactional, one.is_control) for one in told] == [(False, False), (True, False)]
    assert len(segment.producer_batches(4)) == 2
    assert len(segment.producer_batches(5)) == 1
    assert segment.producer_batches(6) == []
    assert [repr(one) for one in segment.recover()] == [repr(one) for one in told]


def test_recovery_from_a_position_keeps_what_is_before(directory, batch):
    segment = directory.segment()
    fill(segment, batch, 400)
    entries, times = segment.offset_index.entries(), segment.time_index.entries()
    _, position, _ = segment.find(801)
    segment.recover(from_position=position)
    assert segment.offset_index.entries() == entries
    assert segment.time_index.entries() == [*times, (3992, 1199)]
    assert (segment.next_offset, segment.max_timestamp_ms) == (1200, 3992)
    segment.recover(from_position=position + 1)  # nothing ends there: all is looked at
    assert segment.offset_index.entries() == entries
    segment.recover(from_position=segment.size_bytes)
    assert (segment.next_offset, segment.max_timestamp_ms) == (1200, 3992)
    segment.recover(from_position=1 << 40)
    assert segment.offset_index.entries() == entries


def test_a_reservation_is_asked_for_once_a_segment_is_hot(real_directory, batch):
    segment = real_directory.segment()
    big = b"x" * 600_000
    assert segment.next_reservation(1 << 30) is None
    segment.append([batch(0, [1], big)])
    assert segment.next_reservation(1 << 30) is None
    segment.append([batch(1, [1], big)])
    position, size = segment.next_reservation(1 << 30)
    assert (position, size) == (segment.size_bytes, 16 << 20)
    segment.log.fallocate(position, size)
    assert segment.next_reservation(1 << 30) is None
    for offset in range(2, 20):
        segment.append([batch(offset, [1], big)])
    assert segment.next_reservation(20 << 20) == (position + size, (20 << 20) - position - size)
    assert segment.next_reservation(20 << 20) is None
    segment.on_roll()
    assert segment.next_reservation(1 << 30) is None


def test_an_index_that_lies_shows_no_wrong_bytes(directory, batch):
    segment = directory.segment(index_interval_bytes=300)
    written = fill(segment, batch, 100)
    segment.close()
    index = _core.OffsetIndex(directory.open(directory.name(0, "lie")), 0)
    for offset, position in ((20, 333), (50, 1), (70, 9999), (200, 1 << 30)):
        index.file.pwritev([offset.to_bytes(4, "big") + position.to_bytes(4, "big")], index.file.size_bytes())
    index = _core.OffsetIndex(directory.open(directory.name(0, "lie")), 0)
    times = _core.TimeIndex(directory.open(directory.name(0, "timeindex")), 0)
    again = _core.Segment(0, directory.open(directory.name(0, "log")), index, times)
    assert (again.next_offset, again.needs_recovery) == (300, False)
    for offset in (0, 20, 21, 50, 71, 250, 299):
        assert bytes(again.read(offset, 1 << 20)) == b"".join(written[offset // 3 :])


def test_a_header_that_cannot_be_is_told_with_its_position(directory, batch):
    segment = directory.segment()
    written = fill(segment, batch, 20)
    _, position, _ = segment.find(15)
    segment.log.pwritev([b"\x07"], position + 16)
    with pytest.raises(_core.CorruptBatch) as caught:
        segment.read(50, 1 << 20)
    assert caught.value.position == position
    assert bytes(segment.read(3, 10)) == written[1]
