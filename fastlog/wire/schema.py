"""Messages as classes with field tables: one class for all versions of a message.

A message class (generated, in `fastlog.wire.messages`) has slots, a keyword constructor, equality and a repr, and a table
`FIELDS` that says which field exists in which versions, in the order of the wire. From that table `fastlog.wire.compiler`
generates one flat encoder and one flat decoder for a (message, version), the first time that it is asked for.

Sans-I/O, and imports nothing but `errors` until a codec is compiled. Rules: the Kafka protocol guide; KIP-482 (flexible versions,
tagged fields); the README of Kafka's `common/message`. In short:

* A field that the version lacks is left at its default when decoding. When encoding it must have its default, unless `ignorable`.
* Uuids are 16 bytes. Arrays are lists. `records` decode to a view of the given bytes, without a copy.
* What is no UTF-8 in a string becomes U+FFFD, as Kafka reads it: a client's name in another encoding is no reason to close.
  A string that gets longer by that than strings may be is refused.
* Unknown tagged fields are skipped. Bytes after the message's end are left alone, as Kafka does; `decode_from` tells the end.
* Whatever the bytes, decoding returns a message or raises DecodeError. An array's count is believed only as far as the bytes that
  remain could hold so many elements, and a request has at most a hundred thousand: time and memory are bounded by the input, and
  by a constant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from fastlog.errors import UnsupportedVersion

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    Encoder = Callable[[Any], list[Any]]
    Decoder = Callable[[Any, int], tuple[Any, int]]

ZERO_UUID: Final = bytes(16)

EMPTY: Final[list[Any]] = []
"""Stands for "a new empty list" as a constructor's default; never stored in a message, never to be changed."""


class Field:
    """One row of a struct's table. Version ranges are written as in Kafka's own definitions: "3", "0-2", "1+", "none"."""

    __slots__ = ("default", "flexible", "ignorable", "name", "nullable", "tag", "tagged", "type", "versions")

    def __init__(
        self,
        name: str,
        type_: str,
        versions: str,
        *,
        nullable: str = "none",
        default: Any = None,
        ignorable: bool = False,
        tag: int = -1,
        tagged: str = "none",
        flexible: str = "0+",
    ) -> None:
        """Describe a field.

        `type_` is a primitive type, the name of a struct class nested in the message, or either after "[]" for an array.
        `default` is the value a new message has; None for an array or struct that may not be null stands for an empty one.
        `tagged` are the versions in which the field is tagged with `tag`; `flexible` restricts compact encoding (KIP-482).
        """
        self.name = name
        self.type = type_
        self.versions = versions
        self.nullable = nullable
        self.default = default
        self.ignorable = ignorable
        self.tag = tag
        self.tagged = tagged
        self.flexible = flexible


class Struct:
    """Base of messages and of the structs in them. Values compare field by field; they are mutable, so not hashable."""

    __slots__ = ()

    FIELDS: ClassVar[tuple[Field, ...]] = ()

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(getattr(self, field.name) == getattr(other, field.name) for field in self.FIELDS)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(f"{field.name}={_show(getattr(self, field.name))}" for field in self.FIELDS)
        return f"{self.__class__.__qualname__}({shown})"


def _show(value: object) -> str:
    return f"<{value.nbytes} bytes>" if isinstance(value, memoryview) else repr(value)


class Message(Struct):
    """A request, response, header or other top-level structure of the protocol."""

    __slots__ = ()

    API_KEY: ClassVar[int] = -1
    """The API key of a request or response, else -1."""
    MIN_VERSION: ClassVar[int] = 0
    MAX_VERSION: ClassVar[int] = -1
    FLEXIBLE_SINCE: ClassVar[int | None] = None
    """The first flexible version; None where there is none."""

    _encoders: ClassVar[dict[int, Encoder]]
    _decoders: ClassVar[dict[int, Decoder]]

    def __init_subclass__(cls) -> None:
        cls._encoders = {}
        cls._decoders = {}

    @classmethod
    def is_flexible(cls, version: int) -> bool:
        """Tell whether a version uses compact lengths and tagged fields."""
        return cls.FLEXIBLE_SINCE is not None and version >= cls.FLEXIBLE_SINCE

    def encode(self, version: int) -> bytes:
        """Return the message in a version.

        EncodeError when that version cannot carry what the fields say, UnsupportedVersion when there is no such version.
        """
        return b"".join(self.encode_parts(version))

    def encode_parts(self, version: int) -> list[Any]:
        """Return the message as buffers to be joined; `records` are the objects themselves. Raises as `encode` does."""
        encoder = self._encoders.get(version)
        if encoder is None:
            self._check_version(version)
            from fastlog.wire.compiler import compile_encoder  # noqa: PLC0415 - needed once a version, not to start

            encoder = self._encoders[version] = compile_encoder(self.__class__, version)
        return encoder(self)

    @classmethod
    def decode(cls, data: Buffer, version: int, position: int = 0) -> Self:
        """Return the message that begins at `position` of `data`. DecodeError on whatever is wrong with the bytes."""
        return cls.decode_from(data, version, position)[0]

    @classmethod
    def decode_from(cls, data: Buffer, version: int, position: int = 0) -> tuple[Self, int]:
        """Return the message that begins at `position` of `data`, and the position of its end. Raises as `decode` does."""
        decoder = cls._decoders.get(version)
        if decoder is None:
            cls._check_version(version)
            from fastlog.wire.compiler import compile_decoder  # noqa: PLC0415 - needed once a version, not to start

            decoder = cls._decoders[version] = compile_decoder(cls, version)
        return decoder(data, position)

    @classmethod
    def _check_version(cls, version: int) -> None:
        if not cls.MIN_VERSION <= version <= cls.MAX_VERSION:
            raise UnsupportedVersion(f"{cls.__name__} has versions {cls.MIN_VERSION} to {cls.MAX_VERSION}, not {version}.")
