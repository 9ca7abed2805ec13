"""Regions: sent without a copy, read without surprises, never cut."""

import errno
import gc
import os
import socket
import weakref

import pytest

from fastlog import _core


@pytest.fixture
def pair():
    left, right = socket.socketpair()
    left.setblocking(False)
    yield left, right
    left.close()
    right.close()


def receive(right, size):
    got = bytearray()
    while len(got) < size:
        piece = right.recv(size - len(got))
        assert piece
        got += piece
    return bytes(got)


@pytest.fixture
def data_file(tmp_path):
    path = str(tmp_path / "f")
    file = _core.File(path, os.open(path, os.O_RDWR | os.O_CREAT))
    file.pwritev([os.urandom(3_000_000)], 0)
    yield file
    file.close()


def send_all(left, right, parts, total):
    """Send as a connection does: what did not go is skipped the next time."""
    sent, got = 0, b""
    while sent < total:
        try:
            step = _core.send_buffers(left.fileno(), parts, sent)
        except BlockingIOError:
            step = 0
        sent += step
        got += receive(right, step)
    assert _core.send_buffers(left.fileno(), parts, sent) == 0
    return got


@pytest.mark.parametrize("size", [1, 5000, 200_001, 256 << 10, 2_500_000])
def test_buffers_and_regions_go_out_in_order(pair, data_file, size):
    parts = [b"head", _core.Region(data_file, 12_345, size), bytearray(b"between"), b"", _core.Region(data_file, 7, 100), b"end"]
    expected = b"".join(bytes(part) for part in parts)
    assert send_all(*pair, parts, len(expected)) == expected


def test_more_parts_than_one_system_call_takes(pair, data_file):
    parts = [part for at in range(400) for part in (b"%d" % at, _core.Region(data_file, at * 7, 11))]
    expected = b"".join(map(bytes, parts))
    assert send_all(*pair, parts, len(expected)) == expected
    assert send_all(*pair, tuple(parts), len(expected)) == expected


def test_nothing_to_send(pair):
    assert _core.send_buffers(pair[0].fileno(), []) == 0
    assert _core.send_buffers(pair[0].fileno(), [b"", b"ab"], 2) == 0
    with pytest.raises(ValueError, match="negative"):
        _core.send_buffers(pair[0].fileno(), [b"x"], -1)
    with pytest.raises(TypeError):
        _core.send_buffers(pair[0].fileno(), ["text"])


def test_a_full_socket_and_one_whose_peer_has_gone(pair):
    left, right = pair
    while True:
        try:
            _core.send_buffers(left.fileno(), [bytes(1 << 16)])
        except BlockingIOError:
            break
    right.close()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        _core.send_buffers(left.fileno(), [b"x"])


@pytest.mark.parametrize("size", [1000, 1_000_000])
def test_a_region_whose_file_was_cut_by_somebody_else_is_an_error(pair, data_file, size):
    region = _core.Region(data_file, 0, size)
    os.truncate(data_file.path, size - 500)
    with pytest.raises(OSError, match="expected"):
        _core.send_buffers(pair[0].fileno(), [region])
    with pytest.raises(OSError, match="expected"):
        memoryview(region)


def test_a_page_that_goes_away_while_it_is_sent_is_an_error_and_no_signal(pair, data_file):
    region = _core.Region(data_file, 0, 1_000_000)
    sent = _core.send_buffers(pair[0].fileno(), [region])
    os.truncate(data_file.path, 0)
    receive(pair[1], sent)
    with pytest.raises(OSError, match="Bad address"):
        _core.send_buffers(pair[0].fileno(), [region], sent)


def test_a_region_holds_its_file_open(data_file):
    expected = data_file.pread(50_000, 100)
    region = _core.Region(data_file, 100, 50_000)
    data_file.close()
    assert bytes(region) == expected
    assert (region.position, len(region), region.file) == (100, 50_000, data_file)
    del region
    assert data_file.descriptor() == -1


def test_a_file_is_not_cut_under_a_region(data_file):
    region = _core.Region(data_file, 1000, 1000)
    data_file.ftruncate(2000)
    with pytest.raises(BufferError, match="in use"):
        data_file.ftruncate(1999)
    del region
    data_file.ftruncate(1999)


def test_arguments_that_cannot_be(data_file):
    for position, size in ((-1, 5), (0, -1)):
        with pytest.raises(ValueError, match="negative"):
            _core.Region(data_file, position, size)
    with pytest.raises(TypeError):
        _core.Region(None, 0, 1)
    region = _core.Region(data_file, 0, 1)
    with pytest.raises(ValueError, match="once"):
        region.__init__(data_file, 0, 1)
    with pytest.raises(TypeError):
        memoryview(region)[0] = 1


def test_a_view_outlives_everything_else(real_directory, batch):
    segment = real_directory.segment()
    segment.append([batch(0, value=os.urandom(100_000))])
    segment.append([batch(1, value=os.urandom(100_000))])
    expected = bytes(segment.read(0, 1 << 20))
    segment.on_roll()
    view = memoryview(segment.read(0, 1 << 20))
    segment.truncate(1)
    segment.append([batch(1, [7])])
    segment.close()
    del segment
    assert view == expected


def test_truncating_under_regions_replaces_the_file(directory, batch):
    segment = directory.segment()
    for offset in range(100):
        segment.append([batch(offset, value=bytes([offset]) * 1000)])
    everything = segment.read(0, 1 << 20)
    expected = bytes(segment.read(0, 1 << 20))
    _, kept, _ = segment.find(50)
    below = segment.read(0, kept)
    log = segment.log
    segment.truncate(50)
    assert segment.log is not log
    assert segment.log.path == log.path
    segment.append([batch(50, [9], value=b"other" * 500)])
    assert bytes(everything) == expected
    assert bytes(below) == expected[:kept]
    now = bytes(segment.read(0, 1 << 20))
    assert now[:kept] == expected[:kept]
    assert _core.scan(bytearray(now))[-1].base_timestamp_ms == 9
    assert directory.contents(log.path) == now
    # Regions that end before the cut are no reason to copy.
    del everything
    same = segment.log
    segment.truncate(50)
    assert segment.log is same


def test_a_region_outlives_the_segment_that_it_came_from(real_directory, batch):
    segment = real_directory.segment()
    for offset in range(100):
        segment.append([batch(offset, value=bytes([offset]) * 5000)])
    segment.on_roll()
    view = memoryview(segment.read(0, 1 << 20))
    expected = bytes(view)
    segment.close()
    segment = real_directory.segment(replaceable=False)
    with pytest.raises(BufferError, match="in use"):
        segment.truncate(10)
    with pytest.raises(BufferError, match="in use"):
        segment.log.ftruncate(1000)
    segment.close()
    segment = real_directory.segment()
    segment.truncate(10)
    segment.append([batch(10, value=b"other" * 1000)])
    assert view == expected


def test_truncating_under_regions_without_a_way_to_replace_the_file_changes_nothing(directory, batch):
    segment = directory.segment(replaceable=False)
    for offset in range(20):
        segment.append([batch(offset)])
    region = segment.read(0, 1 << 20)
    expected = bytes(segment.read(0, 1 << 20))
    with pytest.raises(BufferError, match="in use"):
        segment.truncate(10)
    assert (segment.next_offset, segment.size_bytes) == (20, len(expected))
    assert bytes(segment.read(0, 1 << 20)) == bytes(region) == expected
    del region
    segment.truncate(10)
    assert segment.next_offset == 10


def test_garbage_that_holds_regions_is_collected_with_everything_they_need(segments):
    world = segments.Directory("memory")
    file = world.open("memory/f")
    file.pwritev([b"abc"], 0)
    file.regions = [_core.Region(file, 0, 3)]  # a cycle: file, list, region, file
    gone = weakref.ref(file)
    del file
    gc.collect()
    assert gone() is None


def test_what_cannot_be_mapped_is_read_piece_by_piece(pair, segments):
    file = segments.Directory("memory").open("memory/f")
    data = os.urandom(1_000_000)
    file.pwritev([data], 0)
    parts = [b"head", _core.Region(file, 10, 900_000), b"end"]
    assert send_all(*pair, parts, 900_007) == b"head" + data[10:900_010] + b"end"


def test_loading_leaves_a_region_in_the_page_cache(data_file):
    region = _core.Region(data_file, 100, 2_900_000)
    data_file.fdatasync()
    data_file.drop_cache()
    region.load()
    assert region.is_resident()


def test_loading_reads_all_of_a_region_once_and_ends_where_the_file_does(segments):
    file = segments.Directory("memory").open("memory/f")
    file.pwritev([bytes(2_500_000)], 0)
    _core.Region(file, 10, 2_400_000).load()
    assert file.reads == 3, "a mebibyte at a time"
    _core.Region(file, 2_499_000, 5_000).load()
    assert file.reads == 5


def test_what_cannot_be_loaded_is_an_error(segments):
    class Broken(segments.MemoryFile):
        def pread(self, size, position, /):
            raise OSError(errno.EIO, "broken")

    with pytest.raises(OSError, match="broken"):
        _core.Region(Broken("f", {}), 0, 10).load()
