"""The conduct of messages: defaults, equality, versions, and what cannot be encoded."""

import pytest

from fastlog.errors import DecodeError, EncodeError, UnsupportedVersion
from fastlog.wire.messages.api_versions import ApiVersionsRequest
from fastlog.wire.messages.create_topics import CreateTopicsRequest, CreateTopicsResponse
from fastlog.wire.messages.fetch import FetchRequest, FetchResponse
from fastlog.wire.messages.metadata import MetadataRequest, MetadataResponse
from fastlog.wire.messages.produce import ProduceRequest


def test_defaults_are_the_tables():
    request = FetchRequest()
    assert (request.replica_id, request.max_bytes, request.session_epoch, request.rack_id) == (-1, 0x7FFFFFFF, -1, "")
    assert request.replica_state == FetchRequest.ReplicaState(replica_id=-1, replica_epoch=-1)
    assert (request.topics, request.cluster_id) == ([], None)


def test_mutable_defaults_are_not_shared():
    first, second = FetchResponse(), FetchResponse()
    first.responses.append(FetchResponse.FetchableTopicResponse())
    assert second.responses == []
    assert FetchResponse.PartitionData().current_leader is not FetchResponse.PartitionData().current_leader
    decoded = MetadataRequest.decode(MetadataRequest().encode(12), 12)
    assert decoded.topics is not None
    decoded.topics.append(MetadataRequest.MetadataRequestTopic())
    assert MetadataRequest.decode(MetadataRequest().encode(12), 12).topics == []


def test_equality_is_by_field_and_class():
    topic = MetadataRequest.MetadataRequestTopic(name="a")
    assert topic == MetadataRequest.MetadataRequestTopic(name="a")
    assert topic != MetadataRequest.MetadataRequestTopic(name="b")
    assert topic != "a"
    assert CreateTopicsRequest() != CreateTopicsResponse()
    with pytest.raises(TypeError, match="unhashable"):
        hash(topic)


def test_repr_shows_records_by_size():
    partition = ProduceRequest.PartitionProduceData(index=1, records=memoryview(b"abc"))
    assert repr(partition) == "ProduceRequest.PartitionProduceData(index=1, records=<3 bytes>)"


def test_arguments_are_keywords_and_known():
    with pytest.raises(TypeError):
        MetadataRequest([])
    with pytest.raises(TypeError):
        MetadataRequest(topic=[])
    with pytest.raises(AttributeError):
        MetadataRequest().topic = []


@pytest.mark.parametrize("version", [-1, 14])
def test_unknown_version(version):
    with pytest.raises(UnsupportedVersion, match="MetadataRequest has versions 0 to 13"):
        MetadataRequest().encode(version)
    with pytest.raises(UnsupportedVersion):
        MetadataRequest.decode(b"", version)


def test_field_that_the_version_lacks():
    strict = MetadataRequest(allow_auto_topic_creation=False)
    assert strict.encode(4).endswith(b"\0")
    with pytest.raises(EncodeError, match="MetadataRequest v3 has no field allow_auto_topic_creation"):
        strict.encode(3)
    ignorable = MetadataResponse(cluster_id="c", controller_id=5)
    assert MetadataResponse.decode(ignorable.encode(1), 1) == MetadataResponse(controller_id=5)
    assert MetadataResponse.decode(ignorable.encode(2), 2) == ignorable


def test_tagged_field_travels_only_when_set():
    plain = FetchResponse.FetchableTopicResponse(partitions=[FetchResponse.PartitionData(records=b"")])
    set_ = FetchResponse.FetchableTopicResponse(
        partitions=[FetchResponse.PartitionData(records=b"", current_leader=FetchResponse.LeaderIdAndEpoch(leader_id=3))]
    )
    short, long = FetchResponse(responses=[plain]).encode(12), FetchResponse(responses=[set_]).encode(12)
    assert len(long) == len(short) + 1 + 1 + 9  # tag, size, (int32, int32, its own tag count)
    assert FetchResponse.decode(long, 12).responses[0].partitions[0].current_leader.leader_id == 3
    with pytest.raises(EncodeError, match="current_leader"):
        FetchResponse(responses=[set_]).encode(11)


def test_unknown_tagged_fields_are_skipped():
    data = ApiVersionsRequest(client_software_name="x", client_software_version="1").encode(3)
    assert data.endswith(b"\0")
    for tail in (b"\1\5\0", b"\2\5\3abc\x80\1\1z", b"\1\x85\x01\xac\2" + bytes(300)):
        message, end = ApiVersionsRequest.decode_from(data[:-1] + tail + b"rest", 3)
        assert message.client_software_name == "x"
        assert end == len(data) - 1 + len(tail)


@pytest.mark.parametrize("tail", [b"\1", b"\1\5", b"\1\5\3ab", b"\x80", b"\xff\xff\xff\xff\x0f", b"\xff\xff\xff\xff\xff\1"])
def test_bad_tagged_fields(tail):
    data = ApiVersionsRequest(client_software_name="x", client_software_version="1").encode(3)
    with pytest.raises(DecodeError):
        ApiVersionsRequest.decode(data[:-1] + tail, 3)


def test_known_tagged_field_must_have_its_size():
    data = FetchResponse(node_endpoints=[FetchResponse.NodeEndpoint(node_id=1)]).encode(16)
    size_at = data.index(b"\1\0", 10) + 2
    damaged = data[:size_at] + bytes([data[size_at] + 1]) + data[size_at + 1 :] + b"\0"
    with pytest.raises(DecodeError, match="node_endpoints is not of the size"):
        FetchResponse.decode(damaged, 16)


@pytest.mark.parametrize("version", [0, 9])
def test_what_is_no_utf_8_is_read_as_kafka_reads_it(version):
    data = MetadataRequest(topics=[MetadataRequest.MetadataRequestTopic(name="axxb")]).encode(version)
    for broken in (data.replace(b"xx", b"\xff\xfe"), memoryview(data.replace(b"xx", b"\xc3("))):
        name = MetadataRequest.decode(broken, version).topics[0].name
        assert name in ("a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}b", "a\N{REPLACEMENT CHARACTER}(b")


@pytest.mark.parametrize("version", [0, 9])
def test_a_string_that_no_answer_could_give_back_is_refused(version):
    """Kafka reads it, and closes the connection over its own answer."""
    fits, grows = b"\xff" * (0x7FFF // 3), b"\xff" * (0x7FFF // 3 + 1)
    euros = ("\N{EURO SIGN}" * (0x7FFF // 3)).encode()
    for name, is_refused in ((fits, False), (grows, True), (b"x" * 0x7FFF, False), (euros, False)):
        message = MetadataRequest(topics=[MetadataRequest.MetadataRequestTopic(name="x" * len(name))])
        data = message.encode(version).replace(b"x" * len(name), name)
        for broken in (data, memoryview(data)):
            if is_refused:
                with pytest.raises(DecodeError, match="name is longer than 32767 bytes as UTF-8"):
                    MetadataRequest.decode(broken, version)
            else:
                assert MetadataRequest.decode(broken, version).topics[0].name == name.decode(errors="replace")


def test_records_are_not_copied():
    data = bytearray(
        ProduceRequest(
            topic_data=[
                ProduceRequest.TopicProduceData(
                    name="t", partition_data=[ProduceRequest.PartitionProduceData(index=0, records=b"records")]
                )
            ]
        ).encode(9)
    )
    records = ProduceRequest.decode(data, 9).topic_data[0].partition_data[0].records
    assert records == b"records"
    data[data.index(b"records")] = ord("R")
    assert bytes(records) == b"Records"


@pytest.mark.parametrize(
    ("message", "version", "reason"),
    [
        (CreateTopicsRequest(topics=[CreateTopicsRequest.CreatableTopic(name=None)]), 7, r"topics\[0\].name may not be null"),
        (CreateTopicsRequest(topics=None), 7, "topics may not be null"),
        (CreateTopicsRequest(timeout_ms=1 << 31), 7, "timeout_ms"),
        (CreateTopicsRequest(topics=[CreateTopicsRequest.CreatableTopic(name="n" * 32768)]), 7, "longer than 32767"),
        (CreateTopicsRequest(topics=[CreateTopicsRequest.CreatableTopic(name="n" * 32768)]), 2, "longer than 32767"),
        (CreateTopicsRequest(topics=[CreateTopicsRequest.CreatableTopic(name="\ud800")]), 7, r"topics\[0\].name"),
        (CreateTopicsRequest(topics=[FetchRequest.FetchTopic()]), 7, r"topics\[0\] must be a CreateTopicsRequest.CreatableTopic"),
        (MetadataRequest(topics=[MetadataRequest.MetadataRequestTopic(topic_id=b"short")]), 12, "topic_id must be 16 bytes"),
        (MetadataRequest(topics=None), 0, "topics may not be null"),
        (CreateTopicsRequest(topics=3), 7, "topics"),
    ],
)
def test_what_cannot_be_encoded_says_where(message, version, reason):
    with pytest.raises(EncodeError, match=reason):
        message.encode(version)


def test_declared_count_is_bounded_by_the_bytes_present():
    huge = (0x7FFFFFFF).to_bytes(4, "big")
    with pytest.raises(DecodeError, match="more elements than bytes"):
        MetadataRequest.decode(huge, 1)
    with pytest.raises(DecodeError, match="more elements than bytes"):
        MetadataRequest.decode(b"\xff\xff\xff\xff\x07" + bytes(100), 12)


def test_position_outside_of_the_data():
    for position in (-1, 5):
        with pytest.raises(DecodeError, match="position"):
            MetadataRequest.decode(b"\0\0\0\0", 1, position)


def test_message_without_fields():
    assert ApiVersionsRequest().encode(0) == b""
    assert ApiVersionsRequest.decode_from(b"rest", 0) == (ApiVersionsRequest(), 0)
