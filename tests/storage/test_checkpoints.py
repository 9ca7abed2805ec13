import contextlib
import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlog.errors import CorruptRecord
from fastlog.storage.checkpoints import RETRY_AFTER_MS, CheckpointFile, format_offsets, parse_offsets, read_file, write_now

KAFKA_WROTE = b"0\n3\n__transaction_state 45 22\nzipped 0 8000\ntxn 0 68\n"


def test_what_kafka_wrote_is_read():
    assert parse_offsets(KAFKA_WROTE, "p") == {("__transaction_state", 45): 22, ("zipped", 0): 8000, ("txn", 0): 68}
    assert parse_offsets(b"0\n0\n", "p") == {}
    assert parse_offsets(b"", "p") == {}


def test_the_format_is_kafkas():
    assert format_offsets([(("b", 1), 5), (("a", 0), 7)]) == b"0\n2\na 0 7\nb 1 5\n"


@given(
    st.dictionaries(
        st.tuples(st.from_regex(r"[a-z0-9._-]{1,20}", fullmatch=True), st.integers(0, 1 << 31)), st.integers(0, (1 << 63) - 1)
    )
)
def test_offsets_come_back(offsets):
    assert parse_offsets(format_offsets(offsets.items()), "p") == offsets


@pytest.mark.parametrize(
    "data",
    [
        b"1\n0\n",
        b"0\n2\na 0 1\n",
        b"0\n1\na 0\n",
        b"0\n1\na 0 -1\n",
        b"0\n1\na x 1\n",
        b"0\n",
        b"x\n",
        b"\xff\xfe",
        b"\0\0\0\0",
        b"0\nx\n",
    ],
)
def test_damage_is_told_with_the_path(data):
    with pytest.raises(CorruptRecord, match="some/path"):
        parse_offsets(data, "some/path")


@given(st.binary(max_size=60))
def test_any_bytes_are_offsets_or_damage(data):
    with contextlib.suppress(CorruptRecord):
        parse_offsets(data, "p")


def test_a_file_is_replaced_as_a_whole(tmp_path, watched_disk):
    path = str(tmp_path / "c")
    write_now(watched_disk, path, b"a longer first content")
    write_now(watched_disk, path, b"second")
    assert read_file(watched_disk, path) == b"second"
    assert watched_disk.synced[-2:] == [path + ".tmp", str(tmp_path)]
    assert [entry.name for entry in tmp_path.iterdir()] == ["c"]
    assert read_file(watched_disk, str(tmp_path / "none")) is None


def test_a_failed_write_leaves_the_old_content(tmp_path, watched_disk):
    path = str(tmp_path / "c")
    write_now(watched_disk, path, b"old")
    for operation in ("sync", "write", "rename"):
        watched_disk.failures = []
        watched_disk.fail(operation, "c.tmp", errno.ENOSPC)
        with pytest.raises(OSError, match="No space"):
            write_now(watched_disk, path, b"new")
        assert read_file(watched_disk, path) == b"old"


def test_of_contents_that_come_while_one_is_written_only_the_last_is(tmp_path, watched_disk, storage_class):
    storage = storage_class(tmp_path, disk=watched_disk)
    storage.open()
    errors = []
    path = str(tmp_path / "c")
    file = CheckpointFile(watched_disk, storage.flusher, storage.timers.call_later, path, errors.append)
    for content in (b"1", b"2", b"3"):
        file.write(content)
    storage.flusher.run()
    assert read_file(watched_disk, path) == b"3"
    assert watched_disk.synced.count(path + ".tmp") == 2
    file.write(b"3")
    assert not storage.flusher.jobs, "what is there already is not written again"
    watched_disk.fail("sync", "c.tmp", errno.EIO)
    file.write(b"4")
    storage.flusher.run()
    assert [error.errno for error in errors] == [errno.EIO]
    storage.crash()


def test_what_finds_no_room_is_written_again_by_itself(tmp_path, watched_disk, storage_class):
    storage = storage_class(tmp_path, disk=watched_disk)
    storage.open()
    errors = []
    path = str(tmp_path / "c")

    def failed(error):
        errors.append(error.errno)
        return error.errno == errno.ENOSPC

    file = CheckpointFile(watched_disk, storage.flusher, storage.timers.call_later, path, failed)

    def after(milliseconds):
        storage.timers.advance(milliseconds)
        storage.flusher.run()
        return errors, read_file(watched_disk, path)

    watched_disk.fail("write", "c.tmp", errno.ENOSPC)
    file.write(b"1")
    assert after(0) == ([errno.ENOSPC], None)
    assert after(RETRY_AFTER_MS) == ([errno.ENOSPC] * 2, None)
    file.write(b"2")
    file.write(b"3")
    assert after(RETRY_AFTER_MS - 1) == ([errno.ENOSPC] * 2, None)
    watched_disk.failures = []
    assert after(1) == ([errno.ENOSPC] * 2, b"3")
    watched_disk.fail("sync", "c.tmp", errno.EIO)
    file.write(b"4")
    assert after(0) == ([errno.ENOSPC, errno.ENOSPC, errno.EIO], b"3")
    watched_disk.failures = []
    assert after(10 * RETRY_AFTER_MS)[1] == b"3", "what failed otherwise is not tried again"
    storage.crash()


def test_a_write_at_the_close_is_not_undone_by_an_earlier_one(tmp_path, watched_disk, storage_class):
    storage = storage_class(tmp_path, disk=watched_disk)
    storage.open()
    path = str(tmp_path / "c")
    file = CheckpointFile(watched_disk, storage.flusher, storage.timers.call_later, path, lambda error: False)
    file.write(b"early")
    file.write_now(b"late")
    storage.flusher.run()
    assert read_file(watched_disk, path) == b"late"
    storage.crash()
