"""The script's part about requests that are wrong in one place: a length or a count that cannot be, at any depth, in any version.

What is changed is found by comparison: the same request is encoded with an empty string or array and with one that is not, and
the first byte in which they differ is that of the length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from fastlog.wire.api import APIS
from fastlog.wire.compiler import Schema
from fastlog.wire.frames import encode_request
from fastlog.wire.schema import Field, Message, Struct

CORRELATION_ID = 7
CLIENT_ID = "truth"
NULL, NEGATIVE, HUGE = "null", "negative", "huge"


class _Place(NamedTuple):
    """One field of a request, and what makes a request in which it has a value."""

    path: str
    field: Field
    request_with: Callable[[Any], Message]


def damaged(key: int, version: int) -> Iterator[tuple[str, bytes]]:
    """Yield what is wrong, and the frame with its size."""
    request = APIS[key].request_class
    schema = Schema(request, version)
    whole = encode_request(request(), version, CORRELATION_ID, CLIENT_ID)
    yield "cut off", _framed(whole[4:-1])
    for place in _places(schema, request, lambda fill: fill(request())):
        is_array = place.field.type.startswith("[]")
        empty, other = (
            (b"" if place.field.type == "bytes" else "", "x") if not is_array else ([], [_element(schema, place.field)])
        )
        frames = [encode_request(place.request_with(value), version, CORRELATION_ID, CLIENT_ID)[4:] for value in (empty, other)]
        at = next(i for i, (one, two) in enumerate(zip(*frames, strict=False)) if one != two)
        for what, length in _lengths(is_array=is_array, compact=schema.is_compact(place.field)).items():
            if what == NULL and schema.is_nullable(place.field):
                continue
            width = 1 if schema.is_compact(place.field) else 4 if is_array else 2
            begin = at - width + 1
            yield f"{what} {place.path}", _framed(frames[0][:begin] + length + frames[0][begin + width :])


def _lengths(*, is_array: bool, compact: bool) -> dict[str, bytes]:
    if compact:
        return {NULL: b"\0", HUGE: b"\xff\xff\xff\xff\x07"}
    if is_array:
        return {NULL: b"\xff" * 4, NEGATIVE: b"\xff\xff\xff\xfe", HUGE: b"\x7f\xff\xff\xff"}
    return {NULL: b"\xff" * 2, NEGATIVE: b"\xff\xfe", HUGE: b"\x7f\xff"}


def _places(schema: Schema, struct_class: type[Struct], build: Callable[[Callable[[Any], Any]], Message]) -> Iterator[_Place]:
    """Yield the strings and arrays of a struct, and those within elements of its arrays; `build` fills such a struct."""
    for field in schema.plain_fields(struct_class):
        if field.type != "string" and not field.type.startswith("[]"):
            continue

        def request_with(value: Any, field: Field = field) -> Message:
            def fill(struct: Any) -> Any:
                setattr(struct, field.name, value)
                return struct

            return build(fill)

        yield _Place(field.name, field, request_with)
        element_class = schema.struct(field.type.removeprefix("[]"))
        if element_class is not None:

            def build_inner(fill: Callable[[Any], Any], outer: Any = request_with, element_class: Any = element_class) -> Message:
                return outer([fill(element_class())])

            for inner in _places(schema, element_class, build_inner):
                yield inner._replace(path=f"{field.name}.{inner.path}")


def _element(schema: Schema, field: Field) -> Any:
    kind = field.type.removeprefix("[]")
    element_class = schema.struct(kind)
    return element_class() if element_class is not None else "" if kind == "string" else bytes(16) if kind == "uuid" else 0


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
