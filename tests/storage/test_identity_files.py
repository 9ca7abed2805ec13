import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlog.errors import CorruptRecord, UsageError
from fastlog.storage import meta_properties, partition_metadata
from fastlog.storage.meta_properties import MetaProperties

KRAFT = (
    b"#\n#Sun Nov 22 18:36:08 UTC 2026\nnode.id=1\ndirectory.id=wO5Jr5D8_9GHR5m2ZLyyJA\nversion=1\n"
    b"cluster.id=AAAAAAAAQACAAAAAAAAAAA\n"
)
PARTITION = b"version: 0\ntopic_id: 5VHlihO5QZ-K8yFfDkv1Tg"


def test_what_kraft_wrote_is_read():
    assert meta_properties.parse(KRAFT, "p") == MetaProperties("AAAAAAAAQACAAAAAAAAAAA", 1)


def test_what_is_written_is_version_0():
    written = MetaProperties("AAAAAAAAQACAAAAAAAAAAA", 3).content()
    assert written == b"version=0\nbroker.id=3\ncluster.id=AAAAAAAAQACAAAAAAAAAAA\n"
    assert meta_properties.parse(written, "p") == MetaProperties("AAAAAAAAQACAAAAAAAAAAA", 3)


@pytest.mark.parametrize("data", [b"version=2\n", b"version=0\nbroker.id=x\n", b"version=1\nnode.id=-1\n"])
def test_an_identity_that_cannot_be_read(data):
    with pytest.raises(UsageError, match="some/path"):
        meta_properties.parse(data, "some/path")


def test_another_clusters_data():
    found = MetaProperties("one", 1)
    meta_properties.check(found, "one", 1, "p")
    meta_properties.check(MetaProperties(None, None), "one", 1, "p")
    with pytest.raises(UsageError, match="cluster one, and this is cluster two"):
        meta_properties.check(found, "two", 1, "p")
    with pytest.raises(UsageError, match=r"set broker\.id=1"):
        meta_properties.check(found, "one", 2, "p")


def test_partition_metadata_is_kafkas():
    topic_id = partition_metadata.parse(PARTITION, "p")
    assert topic_id.hex() == "e551e58a13b9419f8af3215f0e4bf54e"
    assert partition_metadata.content(topic_id) == PARTITION


def test_partition_metadata_that_never_reached_the_disk():
    assert partition_metadata.parse(b"", "p") is None
    assert partition_metadata.parse(b"\0" * 43, "p") is None


@pytest.mark.parametrize(
    "data", [b"version: 1\ntopic_id: 5VHlihO5QZ-K8yFfDkv1Tg", b"version: 0", b"version: 0\ntopic_id: x", b"\xff\xff"]
)
def test_damaged_partition_metadata(data):
    with pytest.raises(CorruptRecord, match="some/path"):
        partition_metadata.parse(data, "some/path")


@given(st.binary(min_size=16, max_size=16))
def test_topic_ids_come_back(topic_id):
    assert partition_metadata.parse_topic_id(partition_metadata.format_topic_id(topic_id)) == topic_id
