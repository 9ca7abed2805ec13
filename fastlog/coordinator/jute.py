"""Jute, ZooKeeper's encoding: big-endian integers, length-prefixed strings and buffers, -1 for an absent buffer. Pure.

Source: ZooKeeper's `zookeeper.jute` and the jute documentation. The reader trusts nothing: every length is held against the
bytes that are left, so what it allocates is bounded by what it was given.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, TypeVar

    T = TypeVar("T")


MAX_REQUEST_BYTES: Final = 0xFFFFF
"""Largest request (ZooKeeper's default `jute.maxbuffer`): whoever writes more splits it."""

_INT: Final = struct.Struct(">i")
_LONG: Final = struct.Struct(">q")


class JuteError(ValueError):
    """Bytes that are not what the schema says."""


class Writer:
    """Gathers encoded fields."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def boolean(self, value: bool) -> None:
        self._parts.append(b"\x01" if value else b"\x00")

    def integer(self, value: int) -> None:
        self._parts.append(_INT.pack(value))

    def long(self, value: int) -> None:
        self._parts.append(_LONG.pack(value))

    def longs(self, values: Sequence[int]) -> None:
        """Append several, as one after the other does."""
        self._parts.append(struct.pack(f">{len(values)}q", *values))

    def buffer(self, value: bytes | None) -> None:
        if value is None:
            self._parts.append(_INT.pack(-1))
        else:
            self._parts.append(_INT.pack(len(value)))
            self._parts.append(value)

    def string(self, value: str) -> None:
        self.buffer(value.encode())

    def to_bytes(self) -> bytes:
        return b"".join(self._parts)


class Reader:
    """Takes fields off a byte string, in order."""

    __slots__ = ("_data", "position")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data = data
        self.position = position

    @property
    def remaining(self) -> int:
        return len(self._data) - self.position

    def _pass(self, count: int) -> int:
        """Go on behind so many bytes, and return where they begin."""
        start = self.position
        end = start + count
        if end > len(self._data):
            raise JuteError(f"{count} bytes are wanted at {start}, {self.remaining} are left")
        self.position = end
        return start

    def boolean(self) -> bool:
        return self._data[self._pass(1)] != 0

    def integer(self) -> int:
        value: int = _INT.unpack_from(self._data, self._pass(4))[0]
        return value

    def long(self) -> int:
        value: int = _LONG.unpack_from(self._data, self._pass(8))[0]
        return value

    def longs(self, count: int) -> tuple[int, ...]:
        """Take several."""
        return struct.unpack_from(f">{count}q", self._data, self._pass(8 * count))

    def buffer(self) -> bytes | None:
        size = self.integer()
        if size == -1:
            return None
        if size < 0:
            raise JuteError(f"a buffer of {size} bytes")
        start = self._pass(size)
        return self._data[start : self.position]

    def string(self, *, or_none: bool = False) -> str:
        """Read a string. `or_none`: an absent one is empty, which is how some clients say so."""
        data = self.buffer()
        if data is None:
            if or_none:
                return ""
            raise JuteError("a string is absent")
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise JuteError(f"a string is not UTF-8: {error.reason}") from error

    def vector(self, element: Callable[[Reader], T], least_bytes: int, *, or_none: bool = False) -> list[T]:
        """Read a counted vector; `least_bytes` is the least that one element takes. `or_none`: an absent one is empty."""
        count = self.integer()
        if count == -1 and or_none:
            return []
        if not 0 <= count * least_bytes <= self.remaining:
            raise JuteError(f"a vector of {count} elements in {self.remaining} bytes")
        return [element(self) for _ in range(count)]

    def end(self) -> None:
        """Raise JuteError when something is left."""
        if self.remaining:
            raise JuteError(f"{self.remaining} bytes too many")
