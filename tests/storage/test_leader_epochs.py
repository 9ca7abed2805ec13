import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlog.errors import CorruptRecord
from fastlog.storage.leader_epochs import LeaderEpochs, parse


def made(entries):
    written = []
    return LeaderEpochs(list(entries), written.append), written


def test_the_file_is_kafkas():
    assert parse(b"0\n2\n0 0\n3 17\n", "p") == [(0, 0), (3, 17)]
    epochs, written = made([])
    epochs.assign(0, 0)
    epochs.assign(3, 17)
    assert written == [b"0\n1\n0 0\n", b"0\n2\n0 0\n3 17\n"]


@pytest.mark.parametrize(
    "data", [b"0\n2\n1 0\n0 5\n", b"0\n2\n0 5\n1 4\n", b"0\n1\n-1 0\n", b"0\n1\n0 0 0\n", b"0\n1\nx 0\n", b"0\n2\n1 0\n1 5\n"]
)
def test_damage_is_told(data):
    with pytest.raises(CorruptRecord, match="epochs-file"):
        parse(data, "epochs-file")


def test_an_epoch_that_is_not_later_changes_nothing():
    epochs, written = made([(2, 10)])
    epochs.assign(2, 20)
    epochs.assign(1, 20)
    assert (epochs.entries(), written) == ([(2, 10)], [])


def test_an_epoch_without_a_record_goes():
    epochs, _ = made([(1, 0), (2, 10)])
    epochs.assign(3, 10)
    assert epochs.entries() == [(1, 0), (3, 10)]


def test_where_an_epoch_ends():
    epochs, _ = made([(1, 5), (3, 10), (4, 20)])
    assert epochs.end_of(4, 33) == (4, 33)
    assert epochs.end_of(3, 33) == (3, 20)
    assert epochs.end_of(2, 33) == (1, 10)
    assert epochs.end_of(1, 33) == (1, 10)
    assert epochs.end_of(0, 33) == (0, 5)
    assert epochs.end_of(5, 33) == (-1, -1)
    assert epochs.end_of(-1, 33) == (-1, -1)
    assert made([])[0].end_of(0, 33) == (-1, -1)


def test_which_epoch_an_offset_is_of():
    epochs, _ = made([(1, 5), (3, 10)])
    assert [epochs.epoch_of(offset) for offset in (4, 5, 9, 10, 99)] == [-1, 1, 1, 3, 3]


def test_cutting_either_end():
    epochs, written = made([(1, 5), (3, 10), (4, 20)])
    epochs.truncate_from_end(20)
    assert (epochs.entries(), epochs.latest) == ([(1, 5), (3, 10)], 3)
    epochs.truncate_from_start(12)
    assert epochs.entries() == [(3, 12)]
    assert len(written) == 2
    epochs.truncate_from_start(12)
    epochs.truncate_from_end(13)
    assert len(written) == 2, "nothing changed, nothing is written"
    epochs.truncate_from_end(0)
    assert (epochs.entries(), epochs.latest) == ([], -1)


@given(st.lists(st.tuples(st.sampled_from("aes"), st.integers(0, 12), st.integers(0, 30)), max_size=30))
def test_epochs_and_offsets_always_ascend(steps):
    epochs, written = made([])
    for operation, epoch, offset in steps:
        if operation == "a":
            epochs.assign(epoch, max([offset, *(start for _, start in epochs.entries())]))
        elif operation == "e":
            epochs.truncate_from_end(offset)
        else:
            epochs.truncate_from_start(offset)
        entries = epochs.entries()
        assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(entries))
        assert epochs.latest == (entries[-1][0] if entries else -1)
    if written:
        assert parse(written[-1], "p") == epochs.entries()
