"""`File`: bytes, blocks, lifetime, and what a subclass sees."""

import errno
import os
import resource
import signal

import pytest

from fastlog import _core


@pytest.fixture
def open_file(tmp_path):
    files = []

    def open_one(name="f", cls=_core.File, flags=os.O_RDWR | os.O_CREAT):
        path = str(tmp_path / name)
        files.append(cls(path, os.open(path, flags)))
        return files[-1]

    yield open_one
    for file in files:
        file.close()


def test_buffers_are_written_and_read_in_order(open_file):
    file = open_file()
    assert file.pwritev([b"one", bytearray(b"two"), memoryview(b"three"), b""], 2) == 11
    assert file.size_bytes() == 13
    assert file.pread(100, 0) == b"\0\0onetwothree"
    assert file.pread(0, 5) == b""
    assert file.pread(5, 100) == b""
    first, second = bytearray(4), bytearray(20)
    assert file.preadv((first, second), 2) == 11
    assert bytes(first) == b"onet"
    assert bytes(second) == b"wothree" + bytes(13)


def test_more_buffers_than_one_system_call_takes(open_file):
    file = open_file()
    pieces = [bytes([number % 251]) * (number % 7) for number in range(5000)]
    assert file.pwritev(pieces, 0) == sum(map(len, pieces))
    assert file.pread(1 << 20, 0) == b"".join(pieces)
    targets = [bytearray(len(piece)) for piece in pieces]
    assert file.preadv(targets, 0) == sum(map(len, pieces))
    assert targets == pieces


def test_arguments_that_cannot_be(open_file):
    file = open_file()
    for call in (lambda: file.pread(-1, 0), lambda: file.pread(1, -1), lambda: file.pwritev([b"x"], -1)):
        with pytest.raises(ValueError, match="negative"):
            call()
    with pytest.raises(TypeError):
        file.pwritev(["text"], 0)
    with pytest.raises(BufferError):
        file.preadv([b"read-only"], 0)
    with pytest.raises(ValueError, match="once"):
        file.__init__("other", 0)


def test_errors_name_the_file(open_file):
    file = open_file(flags=os.O_RDONLY | os.O_CREAT)
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        file.pwritev([b"x"], 0)
    assert (caught.value.errno, caught.value.filename) == (errno.EBADF, file.path)


def test_a_write_is_short_only_where_the_file_can_grow_no_further(open_file):
    file = open_file()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        assert file.pwritev([bytes(600), bytes(600)], 0) == 1000
        with pytest.raises(OSError, match="too large"):
            file.pwritev([b"x"], 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_reserved_blocks_do_not_show_in_the_size_and_are_given_back(open_file):
    file = open_file()
    file.pwritev([bytes(5000)], 0)
    file.fallocate(5000, 1 << 20)
    assert file.size_bytes() == 5000
    assert os.stat(file.path).st_blocks * 512 >= 1 << 20
    file.release_beyond(5000)
    assert file.size_bytes() == 5000
    assert os.stat(file.path).st_blocks * 512 < 1 << 16
    file.fallocate(5000, 1 << 20)  # one that was under way when they were given back
    assert os.stat(file.path).st_blocks * 512 < 1 << 16
    with pytest.raises(ValueError, match="has 5000 bytes"):
        file.release_beyond(10)


def test_the_descriptor_lives_as_long_as_somebody_holds_it(open_file):
    file = open_file()
    file.acquire()
    file.close()
    file.close()
    assert file.pwritev([b"late"], 0) == 4
    file.release()
    assert file.descriptor() == -1
    for call in (lambda: file.pread(1, 0), file.fdatasync, file.size_bytes, lambda: file.ftruncate(0)):
        with pytest.raises(OSError, match="Bad file descriptor"):
            call()
    with pytest.raises(ValueError, match="more often"):
        file.release()


def test_what_was_just_written_is_resident(open_file):
    file = open_file()
    file.pwritev([bytes(300_000)], 0)
    assert file.is_resident(0, 300_000)
    assert file.is_resident(299_999, 1)
    assert file.is_resident(0, 0)


def test_dropping_the_cache_loses_nothing(open_file):
    """What is not written to the device yet stays in memory, what is comes back from there."""
    file = open_file()
    data = os.urandom(300_000)
    file.pwritev([data], 0)
    file.drop_cache()
    assert file.pread(300_000, 0) == data
    file.fdatasync()
    file.drop_cache()
    assert file.pread(300_000, 0) == data
    file.close()
    with pytest.raises((OSError, ValueError)):
        file.drop_cache()


def test_copy_to_takes_the_beginning(open_file):
    source, target = open_file("a"), open_file("b")
    data = os.urandom(3_000_000)
    source.pwritev([data], 0)
    source.copy_to(target, 2_500_000)
    assert target.pread(4_000_000, 0) == data[:2_500_000]
    with pytest.raises(OSError, match="Input/output"):
        source.copy_to(target, 3_000_001)


def test_a_subclass_sees_what_the_base_would_do(open_file):
    class Counting(_core.File):
        calls = 0

        def pwritev(self, buffers, position, /):
            self.calls += 1
            return super().pwritev(buffers, position)

        def pread(self, size, position, /):
            self.calls += 1
            return super().pread(size, position)

    source, target = open_file("a", Counting), open_file("b", Counting)
    source.pwritev([b"abc"], 0)
    source.copy_to(target, 3)
    assert (source.calls, target.calls) == (2, 1)
    assert target.pread(9, 0) == b"abc"
