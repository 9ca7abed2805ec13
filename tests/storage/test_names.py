import pytest

from fastlog.errors import InvalidTopic
from fastlog.storage import names


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "x" * 249, "...", "a..b", "-", "__consumer_offsets"])
def test_names_fit_for_a_path(name):
    assert names.partition_directory(name, 7) == f"{name}-7"
    assert names.parse_partition_directory(f"{name}-7") == (name, 7)


@pytest.mark.parametrize("name", ["", ".", "..", "x" * 250, "a/b", "../../etc/passwd", "a b", "a\0", "a\n", "ä", "a:b", "a\\b"])
def test_names_unfit_for_a_path(name):
    with pytest.raises(InvalidTopic):
        names.partition_directory(name, 0)


def test_a_long_bad_name_is_not_repeated_in_full():
    with pytest.raises(InvalidTopic) as raised:
        names.check_topic_name("/" * 100_000)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("partition", [-1, 1 << 31])
def test_partitions_out_of_range(partition):
    with pytest.raises(InvalidTopic):
        names.partition_directory("t", partition)


@pytest.mark.parametrize(
    "name", ["t", "t-", "t-01", "t--1-x", "-0", "t-9999999999", ".-0", "..-0", "t-0.0123-delete", "lost+found", "t-1 "]
)
def test_directories_of_no_partition(name):
    assert names.parse_partition_directory(name) is None


def test_the_last_dash_ends_the_topic():
    assert names.parse_partition_directory("a-b-3") == ("a-b", 3)
    assert names.parse_partition_directory("--3") == ("-", 3)


def test_directories_that_wait_for_removal():
    name = names.delete_directory("t", 3, "0123456789abcdef" * 2)
    assert name == "t-3.0123456789abcdef0123456789abcdef-delete"
    assert names.is_delete_directory(name)
    assert names.parse_partition_directory(name) is None
    assert not names.is_delete_directory("t-3")
    assert len(names.delete_directory("x" * 249, 3, "0123456789abcdef" * 2)) == 255


def test_segment_files():
    assert names.offset_file(42, names.LOG_SUFFIX) == "00000000000000000042.log"
    assert names.parse_offset_file("00000000000000000042.log", names.LOG_SUFFIX) == 42
    for name in ("42.log", "00000000000000000042.index", "0000000000000000004x.log", "99999999999999999999.log", "x.log"):
        assert names.parse_offset_file(name, names.LOG_SUFFIX) is None
