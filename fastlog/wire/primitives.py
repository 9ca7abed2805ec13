"""What generated codecs call at run time: variable-length integers and packed arrays of integers.

Kept apart from the compiler so that each can be read alone. Rules: the Kafka protocol guide, "Protocol Primitive Types".
"""

from __future__ import annotations

from struct import Struct as Layout
from struct import pack, unpack_from
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_UVARINT_BYTES: Final = 5
MAX_INT32: Final = 0x7FFF_FFFF
MAX_STRING_BYTES: Final = 0x7FFF
"""Kafka refuses longer strings, also where the encoding could carry them."""

MAX_REQUEST_ELEMENTS: Final = 100_000
"""Elements that the arrays of one request may have together: 3 bytes can become an object of 160. `_core` has the same number."""

SHORT_ARRAY: Final = 16
"""Arrays of fewer integers than this are packed and unpacked by layouts made beforehand."""

ONE_BYTE: Final = tuple(bytes([value]) for value in range(128))


def uvarint(value: int) -> bytes:
    """Return an unsigned varint (KIP-482): 7 bits a byte, the lowest first."""
    if value < 0x80:
        return ONE_BYTE[value]
    if value > MAX_INT32:
        raise ValueError(f"{value} is too large for a length")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_uvarint(data: Any, position: int) -> tuple[int, int]:
    """Return (value, position after it); ValueError when it is no unsigned int32, IndexError past the end."""
    value = 0
    for shift in range(0, 7 * MAX_UVARINT_BYTES, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > MAX_INT32:
                break
            return value, position
    raise ValueError("a variable-length integer that is too long")


def skip_tagged_fields(data: Any, position: int) -> int:
    """Return the position after the tagged fields that begin at `position`. Raises as `read_uvarint` does."""
    count, position = read_uvarint(data, position)
    end = len(data)
    if count > (end - position) // 2:
        raise ValueError("more tagged fields than bytes")
    for _ in range(count):
        _, position = read_uvarint(data, position)
        size, position = read_uvarint(data, position)
        if size > end - position:
            raise ValueError("a tagged field past the end")
        position += size
    return position


class IntegerArrays:
    """Packing and unpacking of arrays of one fixed-width type.

    `compact` and `plain` pack (count as it is sent, *values) of short arrays by their number of values, `values` unpack them;
    generated code takes these itself, and the methods for longer ones.
    """

    def __init__(self, code: str) -> None:
        self.code = code
        self.compact: list[Callable[..., bytes]] = [Layout(f">B{count}{code}").pack for count in range(SHORT_ARRAY)]
        self.plain: list[Callable[..., bytes]] = [Layout(f">i{count}{code}").pack for count in range(SHORT_ARRAY)]
        self.values = [Layout(f">{count}{code}").unpack_from for count in range(SHORT_ARRAY)]

    def pack_compact(self, values: Sequence[Any]) -> bytes:
        count = len(values)
        return uvarint(count + 1) + pack(f">{count}{self.code}", *values)

    def pack_plain(self, values: Sequence[Any]) -> bytes:
        count = len(values)
        return pack(f">i{count}{self.code}", count, *values)

    def unpack(self, data: Any, position: int, count: int) -> list[Any]:
        return list(unpack_from(f">{count}{self.code}", data, position))
