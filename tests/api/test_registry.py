"""ApiVersions, and the table behind it."""

import struct

import pytest

from fastlog.api.registry import Api, Registry
from fastlog.errors import InvalidRequest, UnsupportedVersion
from fastlog.wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse


def rows(answer):
    return [(row.api_key, row.min_version, row.max_version) for row in answer.api_keys]


@pytest.mark.parametrize("version", range(5))
def test_api_versions_tells_what_is_served_and_produce_from_0(rig, version):
    named = {"client_software_name": "t", "client_software_version": "1.0"} if version >= 3 else {}
    answer = rig.connect().ask(ApiVersionsRequest(**named), version)
    assert answer.error_code == 0
    assert rows(answer) == [(0, 0, 13), (1, 4, 18), (2, 1, 11), (16, 0, 5), (18, 0, 4)]
    assert answer.finalized_features == [] and answer.supported_features == []


@pytest.mark.parametrize("version", [5, 99, 32767])
def test_an_unknown_version_of_api_versions_gets_a_version_0_answer(rig, version):
    client = rig.connect()
    client.send_bytes(struct.pack(">ihhih", 14, 18, version, 7, -1) + b"????")
    rig.settle()
    [frame] = client.frames()
    assert int.from_bytes(frame[:4], "big") == 7
    answer = ApiVersionsResponse.decode(frame, 0, 4)
    assert answer.error_code == UnsupportedVersion.code
    assert rows(answer) == [(18, 0, 4)]
    assert client.ask(ApiVersionsRequest(), 0).error_code == 0


@pytest.mark.parametrize("name", ["", "-x", "x-", "x y", "é", "a" * 20_000 + "!"])
def test_a_clients_software_has_a_proper_name(rig, name):
    answer = rig.connect().ask(ApiVersionsRequest(client_software_name=name, client_software_version="1"), 3)
    assert answer.error_code == InvalidRequest.code and answer.api_keys == []


def test_a_key_has_one_handler():
    registry = Registry()
    registry.add(Api(3, "Metadata", 0, 13, print))
    with pytest.raises(ValueError, match="Metadata"):
        registry.add(Api(3, "Other", 0, 1, print))
    assert [api.name for api in registry] == ["Metadata"]
