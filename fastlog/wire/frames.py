"""Headers and frames: what stands before a message's own fields on a connection.

A frame is an int32 size and that many bytes: a header, then the message. Which header version goes with which message is in
`fastlog.wire.api` (KIP-482; KIP-511 for ApiVersions). `_core.Receiver` cuts frames out of a byte stream and checks their sizes.
"""

from __future__ import annotations

from struct import Struct as Layout
from struct import error as StructError
from typing import TYPE_CHECKING, Any, TypeVar

from fastlog.errors import DecodeError
from fastlog.wire.api import api
from fastlog.wire.messages.request_header import RequestHeader
from fastlog.wire.messages.response_header import ResponseHeader
from fastlog.wire.primitives import skip_tagged_fields

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from fastlog.wire.schema import Message

    M = TypeVar("M", bound="Message")

_SIZE = Layout(">i")
_API = Layout(">hh")
_REQUEST_HEADER_V0 = Layout(">hhi")


def encode_request(request: Message, version: int, correlation_id: int, client_id: str | None = None) -> bytes:
    """Return a whole request frame, size included. Raises as `Message.encode` does."""
    return b"".join(encode_request_parts(request, version, correlation_id, client_id))


def encode_request_parts(
    request: Message, version: int, correlation_id: int, client_id: str | None = None
) -> list[bytes | Buffer]:
    """Return a whole request frame as buffers to be sent in order; `records` are the objects themselves, not copies."""
    header_version = api(request.API_KEY).request_header_version(version)
    if header_version == 0:
        header: list[Any] = [_REQUEST_HEADER_V0.pack(request.API_KEY, version, correlation_id)]
    else:
        header = RequestHeader(
            request_api_key=request.API_KEY, request_api_version=version, correlation_id=correlation_id, client_id=client_id
        ).encode_parts(header_version)
    return _with_size([*header, *request.encode_parts(version)])


def encode_response(response: Message, version: int, correlation_id: int) -> bytes:
    """Return a whole response frame, size included. Raises as `Message.encode` does."""
    header_version = api(response.API_KEY).response_header_version(version)
    header = ResponseHeader(correlation_id=correlation_id).encode_parts(header_version)
    return b"".join(_with_size([*header, *response.encode_parts(version)]))


def decode_request_header(frame: Buffer) -> tuple[RequestHeader, int]:
    """Return a request frame's header (frame without its size) and the position of the message.

    DecodeError when the bytes are no header; UnsupportedVersion when no API has that key. A version beyond the API's is taken as
    it is, for whoever answers to say so.
    """
    data = memoryview(frame)
    try:
        key, version = _API.unpack_from(data, 0)
        header_version = api(key).request_header_version(version)
        if header_version == 0:
            correlation_id: int = _REQUEST_HEADER_V0.unpack_from(data, 0)[2]
            header = RequestHeader(request_api_key=key, request_api_version=version, correlation_id=correlation_id)
            return header, _REQUEST_HEADER_V0.size
    except StructError:
        raise DecodeError("a request header that ends early") from None
    return RequestHeader.decode_from(data, header_version)


def body_position(frame: Buffer, position: int, key: int, version: int) -> int:
    """Return where the message begins when its header's client id ends at `position`: after the tagged fields of header v2."""
    if api(key).request_header_version(version) < 2:
        return position
    try:
        return skip_tagged_fields(memoryview(frame), position)
    except (ValueError, IndexError) as error:
        raise DecodeError(f"the tagged fields of a request header: {error}") from None


def decode_response(response_class: type[M], frame: Buffer, version: int) -> tuple[int, M]:
    """Return (correlation_id, response) of a response frame without its size. Raises as `Message.decode` does."""
    header_version = api(response_class.API_KEY).response_header_version(version)
    header, position = ResponseHeader.decode_from(frame, header_version)
    return header.correlation_id, response_class.decode(frame, version, position)


def _with_size(parts: list[Any]) -> list[Any]:
    return [_SIZE.pack(sum(map(len, parts))), *parts]
