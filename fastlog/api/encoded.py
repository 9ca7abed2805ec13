"""Answers that are encoded before their handler returns them; the registry sends them as it would a message.

`Portions` encodes an answer some elements at a time, so that a long one takes many short turns and is never held as objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastlog.wire.primitives import uvarint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastlog.wire.schema import Message

_PLAIN_COUNT_BYTES: Final = 4
_NO_TAGGED_FIELDS: Final = b"\0"


class EncodedAnswer:
    """An answer in the one version that it was made for."""

    __slots__ = ("API_KEY", "_parts", "size_bytes")

    def __init__(self, api_key: int, parts: list[Any]) -> None:
        self.API_KEY = api_key
        self._parts = parts
        self.size_bytes = sum(map(len, parts))

    def encode_parts(self, version: int) -> list[Any]:
        """Return the encoding, whatever the version: it is the one that was asked for."""
        return self._parts


class Portions:
    """An answer whose last field is an array that comes some elements at a time, and that has no tagged fields."""

    def __init__(self, message: Message, array: str, version: int) -> None:
        """Begin with a message whose field `array` is empty."""
        self._message = message
        self._array = array
        self._version = version
        self._is_flexible = message.is_flexible(version)
        self._tail = _NO_TAGGED_FIELDS if self._is_flexible else b""
        empty = message.encode(version)
        self._head = empty[: len(empty) - len(self._count(0)) - len(self._tail)]
        self._encoded: list[bytes] = []
        self._element_count = 0

    def _count(self, count: int) -> bytes:
        return uvarint(count + 1) if self._is_flexible else count.to_bytes(_PLAIN_COUNT_BYTES, "big")

    def add(self, elements: Sequence[Any]) -> int:
        """Encode more elements and return the bytes that they take. Raises as `Message.encode` does."""
        setattr(self._message, self._array, elements)
        encoded = self._message.encode(self._version)
        begin = len(self._head) + len(self._count(len(elements)))
        self._encoded.append(encoded[begin : len(encoded) - len(self._tail)])
        self._element_count += len(elements)
        return len(self._encoded[-1])

    def answer(self) -> EncodedAnswer:
        """Return the whole answer."""
        count = self._count(self._element_count)
        return EncodedAnswer(self._message.API_KEY, [self._head, count, *self._encoded, self._tail])
