"""Slices: what they hold, what they show, and what they refuse."""

import array
import gc
import sys

import pytest

from fastlog import _core


def test_a_slice_shows_its_range_and_copies_nothing():
    owner = bytearray(b"0123456789")
    part = _core.Slice(owner, 2, 5)
    assert (len(part), bytes(part)) == (5, b"23456")
    owner[3] = ord("x")
    assert bytes(part) == b"2x456"
    assert memoryview(part)[1:3] == b"x4"


def test_a_slice_of_a_slice_counts_from_the_slice():
    part = _core.Slice(_core.Slice(b"0123456789", 2, 6), 1)
    assert bytes(part) == b"34567"
    assert bytes(_core.Slice(part, 4, 1)) == b"7"
    assert bytes(_core.Slice(part, 5)) == b""


@pytest.mark.parametrize(
    ("start", "size"),
    [(-1, 1), (11, -1), (11, 0), (0, 11), (10, 1), (0, -2), (1, sys.maxsize), (sys.maxsize, 1), (-sys.maxsize, -1)],
)
def test_a_range_outside_of_the_owner_is_refused(start, size):
    with pytest.raises(ValueError, match="outside"):
        _core.Slice(b"0123456789", start, size)


def test_other_objects_than_bytes_are_taken_as_their_bytes():
    assert bytes(_core.Slice(array.array("H", [1, 1]))) == array.array("H", [1, 1]).tobytes()
    assert bytes(_core.Slice(memoryview(b"abcd")[1:3])) == b"bc"
    with pytest.raises(BufferError):
        _core.Slice(memoryview(b"abcd")[::2])
    with pytest.raises(TypeError):
        _core.Slice("text")


def test_nobody_gets_a_slice_writable():
    view = memoryview(_core.Slice(bytearray(4)))
    assert view.readonly
    with pytest.raises(TypeError):
        view[0] = 1


def test_the_owner_stays_while_a_view_lives():
    owner = bytearray(b"x" * 1000)
    view = memoryview(_core.Slice(owner, 10, 20))
    with pytest.raises(BufferError):
        owner.clear()
    view.release()
    owner.clear()

    view = memoryview(_core.Slice(_core.Slice(bytes(1000) + b"tail"), 1000))
    gc.collect()
    assert view == b"tail"


def test_references_are_given_back():
    owner = b"y" * 1000
    before = sys.getrefcount(owner)
    for _ in range(100):
        memoryview(_core.Slice(_core.Slice(owner, 1), 2))
        with pytest.raises(ValueError, match="outside"):
            _core.Slice(owner, 5000)
    gc.collect()
    assert sys.getrefcount(owner) == before


def test_a_slice_is_made_once():
    part = _core.Slice(b"abc")
    with pytest.raises(TypeError, match="twice"):
        part.__init__(b"other")
    assert bytes(part) == b"abc"
    assert bytes(_core.Slice.__new__(_core.Slice)) == b""
