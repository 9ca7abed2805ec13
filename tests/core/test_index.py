"""The two indexes against lists, and Kafka's preallocated live ones."""

import bisect
import contextlib
import random

import pytest

from fastlog import _core


def open_offsets(directory, name="i", base=1000, **options):
    return _core.OffsetIndex(directory.open(f"{directory.path}/{name}"), base, **options)


def open_times(directory, name="t", base=1000, **options):
    return _core.TimeIndex(directory.open(f"{directory.path}/{name}"), base, **options)


def ascending(count, step, seed):
    chance, at, found = random.Random(seed), 0, []
    for _ in range(count):
        at += chance.randint(1, step)
        found.append(at)
    return found


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 1024, 3000])
def test_lookups_find_the_greatest_entry_not_past_the_key(directory, count):
    index, times = open_offsets(directory), open_times(directory)
    offsets = [1000 + at for at in ascending(count, 9, 1)]
    positions = ascending(count, 9000, 2)
    stamps = ascending(count, 5, 3)
    for entry in zip(offsets, positions, stamps, strict=True):
        index.append(*entry[:2])
        times.append(entry[2], entry[0])
    for offset in [*range(990, 1040), *offsets[::17], offsets[-1] + 5 if offsets else 0]:
        at = bisect.bisect_right(offsets, offset) - 1
        assert index.lookup(offset) == ((offsets[at], positions[at]) if at >= 0 else (1000, 0))
    for stamp in [-1, *range(40), *stamps[::17], stamps[-1] + 5 if stamps else 0]:
        at = bisect.bisect_right(stamps, stamp) - 1
        assert times.lookup(stamp) == ((stamps[at], offsets[at]) if at >= 0 else (-1, 1000))
    index.flush()
    times.flush()
    assert open_offsets(directory).entries() == index.entries() == list(zip(offsets, positions, strict=True))
    assert open_times(directory).entries() == times.entries() == list(zip(stamps, offsets, strict=True))
    open_offsets(directory).check()
    open_times(directory).check()


@pytest.mark.parametrize("kept", [0, 1, 300, 512, 700, 1500])
def test_truncating_drops_what_is_not_before_the_offset(directory, kept):
    index, times = open_offsets(directory), open_times(directory)
    entries = [(1000 + 10 * number, 100 * number) for number in range(1, 1501)]
    for offset, position in entries:
        index.append(offset, position)
        times.append(position, offset)
    index.lookup(1500)  # it is mapped by now
    index.truncate(1001 + 10 * kept)
    times.truncate(1001 + 10 * kept)
    assert index.entries() == entries[:kept]
    assert times.entries() == [(position, offset) for offset, position in entries[:kept]]
    index.append(99_000, 999_999)
    times.append(999_999, 99_000)
    index.close()
    times.close()
    assert open_offsets(directory).entries() == [*entries[:kept], (99_000, 999_999)]
    assert open_times(directory).lookup(1 << 40) == (999_999, 99_000)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 700, 5000])
def test_the_zeros_at_the_end_of_a_live_index_are_no_entries(directory, count):
    index, times = open_offsets(directory), open_times(directory)
    for number in range(1, count + 1):
        index.append(1000 + number, number * 4096)
        times.append(number, 1000 + number)
    index.flush()
    times.flush()
    for live, entry_bytes in ((index, 8), (times, 12)):
        live.file.ftruncate((10 << 20) // entry_bytes * entry_bytes)
    index, times = open_offsets(directory), open_times(directory)
    assert (index.count, times.count) == (count, count)
    index.check()
    times.check()
    index.append(9000, 1 << 30)
    times.append(9000, 9000)
    assert index.lookup(10_000) == (9000, 1 << 30)
    index.close()
    times.close()
    assert open_offsets(directory).file.size_bytes() == 8 * (count + 1)
    assert open_times(directory).entries()[-1] == (9000, 9000)


def test_a_first_time_entry_of_zeros_is_kept_when_others_follow(directory):
    times = open_times(directory)
    times.append(0, 1000)
    times.append(5, 1001)
    times.flush()
    times.file.ftruncate(12 * 100)
    assert open_times(directory).entries() == [(0, 1000), (5, 1001)]


def test_entries_that_go_back_or_do_not_fit_are_refused(directory):
    index, times = open_offsets(directory), open_times(directory)
    index.append(1010, 500)
    times.append(50, 1010)
    for offset, position in ((1010, 600), (1011, 500), (999, 600), (1000 + (1 << 31), 600), (1011, 1 << 31), (1011, -1)):
        with pytest.raises(ValueError, match="offset"):
            index.append(offset, position)
    for stamp, offset in ((49, 1011), (51, 1009), (51, 1000 + (1 << 31)), (51, 999)):
        with pytest.raises(ValueError, match="offset"):
            times.append(stamp, offset)
    times.append(50, 1011)
    assert (index.entries(), times.entries()) == ([(1010, 500)], [(50, 1010)])


def test_fullness_leaves_room_for_the_entry_that_ends_a_segment(directory):
    index = open_offsets(directory, max_bytes=80)
    for number in range(1, 10):
        assert not index.is_full
        index.append(1000 + number, number)
    assert index.is_full
    with pytest.raises(ValueError, match="max_bytes"):
        open_offsets(directory, "tiny", max_bytes=7)


@pytest.mark.parametrize(
    ("content", "position"),
    [
        (b"\0\0\0\5\0\0\0\5\0\0\0\6", 8),  # no multiple of 8
        (b"\0\0\0\5\0\0\0\5" + b"\0\0\0\5\0\0\0\6", 8),
        (b"\0\0\0\5\0\0\0\5" + b"\0\0\0\6\0\0\0\4", 8),
        (b"\xff\0\0\5\0\0\0\5", 0),
        (b"\0\0\0\5\xff\0\0\5", 0),
        (b"\0\0\0\5\0\0\0\5" + bytes(8) + b"\0\0\0\6\0\0\0\6", 8),
    ],
)
def test_entries_that_cannot_be_are_told_with_their_position(directory, content, position):
    file = directory.open(f"{directory.path}/i")
    file.pwritev([content], 0)
    index = open_offsets(directory)
    with pytest.raises(_core.CorruptBatch) as caught:
        index.check()
    assert caught.value.position == position


def test_random_bytes_never_do_more_than_raise(directory):
    chance = random.Random(7)
    for number in range(200):
        file = directory.open(f"{directory.path}/{number}")
        file.pwritev([chance.randbytes(chance.randint(0, 300))], 0)
        for kind in (_core.OffsetIndex, _core.TimeIndex):
            index = kind(file, 0)
            index.lookup(chance.randint(-(1 << 40), 1 << 40))
            index.entries()
            with contextlib.suppress(_core.CorruptBatch):
                index.check()
