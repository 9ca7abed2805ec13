"""Headers, frames and the table of APIs."""

import pytest

from fastlog.errors import DecodeError, UnsupportedVersion
from fastlog.wire import api, frames
from fastlog.wire.messages.api_versions import ApiVersionsResponse
from fastlog.wire.messages.controlled_shutdown import ControlledShutdownRequest
from fastlog.wire.messages.metadata import MetadataRequest, MetadataResponse


@pytest.mark.parametrize("version", range(14))
@pytest.mark.parametrize("client_id", ["me", "", None, "é" * 300])
def test_request_frame(version, client_id):
    request = MetadataRequest(topics=[MetadataRequest.MetadataRequestTopic(name="t")])
    frame = frames.encode_request(request, version, 77, client_id)
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    header, position = frames.decode_request_header(frame[4:])
    assert (header.request_api_key, header.request_api_version) == (api.METADATA, version)
    assert (header.correlation_id, header.client_id) == (77, client_id)
    assert MetadataRequest.decode_from(frame[4:], version, position) == (request, len(frame) - 4)
    after_client_id = 10 + len((client_id or "").encode())
    assert frames.body_position(frame[4:], after_client_id, api.METADATA, version) == position


def test_request_header_tags_are_skipped():
    frame = bytes.fromhex("0003 000c 00000001 0001 61 01 05 02 abcd") + MetadataRequest(topics=None).encode(12)
    header, position = frames.decode_request_header(frame)
    assert header.client_id == "a"
    assert frames.body_position(frame, 11, 3, 12) == position == 16
    with pytest.raises(DecodeError):
        frames.body_position(frame[:14], 11, 3, 12)


def test_controlled_shutdown_0_has_no_client_id():
    frame = frames.encode_request(ControlledShutdownRequest(broker_id=5), 0, 9, "unsaid")
    assert frame == bytes.fromhex("0000000c 0007 0000 00000009 00000005")
    header, position = frames.decode_request_header(frame[4:])
    assert (header.correlation_id, position) == (9, 8)


@pytest.mark.parametrize("version", range(14))
def test_response_frame(version):
    frame = frames.encode_response(MetadataResponse(controller_id=-1), version, 5)
    assert frame[:8] == (len(frame) - 4).to_bytes(4, "big") + b"\0\0\0\5"
    assert frames.decode_response(MetadataResponse, frame[4:], version) == (5, MetadataResponse())


@pytest.mark.parametrize("version", range(5))
def test_api_versions_answers_with_header_0(version):
    response = ApiVersionsResponse(error_code=35)
    frame = frames.encode_response(response, version, 5)
    assert frame[8:] == response.encode(version)
    assert frames.decode_response(ApiVersionsResponse, frame[4:], version)[1].error_code == 35


@pytest.mark.parametrize("frame", [b"", b"\0\3\0", b"\0\3\0\1\0\0\0", b"\0\3\0\1\0\0\0\0\0\4abc", b"\0\3\0\x0c\0\0\0\0\0\0"])
def test_bad_request_header(frame):
    with pytest.raises(DecodeError):
        frames.decode_request_header(frame)


def test_unknown_api():
    with pytest.raises(UnsupportedVersion, match="999"):
        frames.decode_request_header(b"\x03\xe7\0\1\0\0\0\0\0\0")
    with pytest.raises(UnsupportedVersion):
        api.request_class(999)


def test_classes_by_key():
    for key, row in api.APIS.items():
        assert api.request_class(key).API_KEY == api.response_class(key).API_KEY == key
        for cls in (row.request_class, row.response_class):
            assert cls.MIN_VERSION <= row.min_version <= row.max_version <= cls.MAX_VERSION
            assert all(cls.is_flexible(v) == row.is_flexible(v) for v in range(row.min_version, row.max_version + 1)), cls


def test_versions_are_those_of_kafka():
    rows = {row.name: (row.min_version, row.max_version, row.flexible_since) for row in api.APIS.values()}
    assert len(rows) == 93
    assert rows["Produce"] == (3, 13, 9)
    assert rows["Fetch"] == (4, 18, 12)
    assert rows["InitProducerId"] == (0, 5, 2)  # 6 is unstable in 4.3
    assert rows["SaslHandshake"] == (0, 1, None)
    assert rows["UpdateMetadata"] == (0, 8, 6)
    assert api.api(api.ALTER_PARTITION).listeners == ("controller",)
