"""Turns the field table of a message into one flat encoder and one flat decoder for a version, as generated Python.

The generated code has no call per field: neighbouring fields of fixed width become one `struct` pack or unpack, nested structs
are inlined, versions are decided beforehand. `encoder_source` and `decoder_source` return the code for a person to read.

An encoder is `encode(message) -> list of buffers`, a decoder `decode(data, position) -> (message, end)`. Both turn every failure
into EncodeError or DecodeError. Names in generated code: `o0`, `o1` ... the message and the structs inside it; `p` the position;
`end` the size of the data; `n`, `k` counts; `parts` what has been encoded.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from fastlog.errors import DecodeError, EncodeError
from fastlog.wire.primitives import (
    MAX_REQUEST_ELEMENTS,
    MAX_STRING_BYTES,
    ONE_BYTE,
    SHORT_ARRAY,
    IntegerArrays,
    read_uvarint,
    skip_tagged_fields,
    uvarint,
)

if TYPE_CHECKING:
    from fastlog.wire.schema import Decoder, Encoder, Field, Message, Struct

CODES: Final = {
    "bool": "?",
    "int8": "b",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "float64": "d",
    "uuid": "16s",
}
WIDTHS: Final = {kind: struct.calcsize(f">{code}") for kind, code in CODES.items()}
UUID_BYTES: Final = 16

_integer_arrays: dict[str, IntegerArrays] = {}


def _arrays_of(kind: str) -> IntegerArrays:
    if kind not in _integer_arrays:
        _integer_arrays[kind] = IntegerArrays(CODES[kind])
    return _integer_arrays[kind]


def in_versions(version: int, versions: str) -> bool:
    """Tell whether a version lies in a range such as "3", "0-2", "1+" or "none"."""
    if versions == "none":
        return False
    if versions.endswith("+"):
        return version >= int(versions[:-1])
    first, _, last = versions.partition("-")
    return int(first) <= version <= int(last or first)


class Schema:
    """The table of a message, seen from one version."""

    def __init__(self, message: type[Message], version: int) -> None:
        self.message = message
        self.version = version
        self.flexible = message.is_flexible(version)
        self._least_sizes: dict[str, int] = {}

    def struct(self, kind: str) -> type[Struct] | None:
        """Return the struct class that a field or element type names; None for a primitive type."""
        found: type[Struct] | None = getattr(self.message, kind, None) if kind[0].isupper() else None
        return found

    def has(self, field: Field) -> bool:
        return in_versions(self.version, field.versions)

    def is_tagged(self, field: Field) -> bool:
        return self.flexible and in_versions(self.version, field.tagged)

    def is_nullable(self, field: Field) -> bool:
        return in_versions(self.version, field.nullable)

    def is_compact(self, field: Field) -> bool:
        return self.flexible and in_versions(self.version, field.flexible)

    def plain_fields(self, struct_class: type[Struct]) -> list[Field]:
        return [field for field in struct_class.FIELDS if self.has(field) and not self.is_tagged(field)]

    def tagged_fields(self, struct_class: type[Struct]) -> list[Field]:
        return sorted((field for field in struct_class.FIELDS if self.has(field) and self.is_tagged(field)), key=lambda f: f.tag)

    def least_size(self, kind: str) -> int:
        """Return the fewest bytes that a value of a type can take: what bounds an array's count."""
        if kind in WIDTHS:
            return WIDTHS[kind]
        if kind not in self._least_sizes:
            struct_class = self.struct(kind)
            if struct_class is not None:
                size = int(self.flexible)  # the count of tagged fields
                for field in self.plain_fields(struct_class):
                    is_null_byte = self.struct(field.type) is not None and self.is_nullable(field)
                    size += 1 if is_null_byte else self.least_size(field.type)
            elif self.flexible:
                size = 1
            else:
                size = 2 if kind == "string" else 4
            self._least_sizes[kind] = size
        return self._least_sizes[kind]

    def default_source(self, field: Field) -> str:
        """Return source for a field's default; a new object where it is mutable."""
        if field.type.startswith("[]"):
            return "None" if field.default is None and field.nullable != "none" else "[]"
        if self.struct(field.type) is not None:
            return "None" if field.nullable != "none" else f"{field.type}()"
        return repr(field.default)

    def differs_source(self, field: Field, value: str) -> str:
        """Return a condition: `value` is not the field's default."""
        if field.type.startswith("[]"):
            if field.nullable == "none":
                return value
            return f"{value} is not None" if field.default is None else f"{value} is None or {value}"
        struct_class = self.struct(field.type)
        if struct_class is None:
            return f"{value} is not None" if field.default is None else f"{value} != {field.default!r}"
        if field.nullable != "none":
            return f"{value} is not None"
        members = struct_class.FIELDS
        if all(member.type in WIDTHS or member.type == "string" for member in members):
            return " or ".join(self.differs_source(member, f"{value}.{member.name}") for member in members)
        return f"{value} != {field.type}()"

    def namespace(self) -> dict[str, Any]:
        structs = {name: value for name, value in vars(self.message).items() if isinstance(value, type)}
        return {**structs, self.message.__name__: self.message}


class Source:
    """Lines of Python with an indentation."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 0

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


# ---- encoding -------------------------------------------------------------------------------------------------------------


class EncoderWriter(Source):
    """Writes the encoder of one message in one version."""

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.schema = schema
        self.namespace: dict[str, Any] = {
            **schema.namespace(),
            "ONE_BYTE": ONE_BYTE,
            "uvarint": uvarint,
            "EncodeError": EncodeError,
            "failures": ENCODE_FAILURES,
            "explain": explain_encode_failure,
        }
        self.sink = "parts"
        self.names = 0
        self._codes: list[str] = []  # the present run of fixed-width fields
        self._values: list[str] = []
        self._expressions: list[str] = []  # what the next statement appends

    def write(self) -> str:
        self.line("def encode(o0):")
        self.depth += 1
        self.line("try:")
        self.depth += 1
        self.line("parts = []")
        self.struct(self.schema.message, "o0")
        self.flush()
        self.depth -= 1
        self.line("except failures as error:")
        self.line(f"    raise explain(o0, {self.schema.version}, error) from error")
        self.line("return parts")
        return self.text()

    def name(self, prefix: str) -> str:
        self.names += 1
        return f"{prefix}{self.names}"

    # What is to be appended gathers in order: fixed-width fields in a run, runs and other expressions in one statement.

    def fixed(self, code: str, value: str) -> None:
        self._codes.append(code)
        self._values.append(value)

    def append(self, expression: str) -> None:
        self._end_run()
        self._expressions.append(expression)

    def _end_run(self) -> None:
        if not self._codes:
            return
        layout = "".join(self._codes)
        if all(value.lstrip("-").isdigit() for value in self._values):
            self._expressions.append(repr(struct.pack(f">{layout}", *map(int, self._values))))
        else:
            packer = f"pack_{layout.replace('?', 'o')}"
            self.namespace[packer] = struct.Struct(f">{layout}").pack
            self._expressions.append(f"{packer}({', '.join(self._values)})")
        self._codes, self._values = [], []

    def flush(self) -> None:
        self._end_run()
        if self._expressions:
            self.line(f"{self.sink} += ({', '.join(self._expressions)},)")
            self._expressions = []

    def length(self, count: str, *, compact: bool, code: str, null_when: str | None = None) -> None:
        """Append a length or count; `null_when` is a condition under which it says null."""
        if compact:
            size = f"{count} + 1" if null_when is None else f"0 if {null_when} else {count} + 1"
            k = self.name("k")
            self.line(f"{k} = {size}")
            self.append(f"ONE_BYTE[{k}] if {k} < 128 else uvarint({k})")
        else:
            self.fixed(code, count if null_when is None else f"-1 if {null_when} else {count}")

    # Fields.

    def struct(self, struct_class: type[Struct], holder: str) -> None:
        schema = self.schema
        for field in struct_class.FIELDS:
            if not schema.has(field) and not field.ignorable:
                condition = schema.differs_source(field, f"{holder}.{field.name}")
                self.line(f"if {condition}:")
                self.line(f"    raise EncodeError('{schema.message.__name__} v{schema.version} has no field {field.name}')")
        for field in schema.plain_fields(struct_class):
            self.value(field, f"{holder}.{field.name}", schema.is_nullable(field))
        if schema.flexible:
            tagged = schema.tagged_fields(struct_class)
            if tagged:
                self.tagged(tagged, holder)
            else:
                self.fixed("B", "0")

    def tagged(self, fields: list[Field], holder: str) -> None:
        self.flush()
        count, gathered = self.name("k"), self.name("tags")
        self.line(f"{count} = 0")
        self.line(f"{gathered} = []")
        for field in fields:
            value = self.name("v")
            self.line(f"{value} = {holder}.{field.name}")
            self.line(f"if {self.schema.differs_source(field, value)}:")
            self.depth += 1
            outer, self.sink = self.sink, self.name("tag")
            self.line(f"{self.sink} = []")
            self.value(field, value, self.schema.is_nullable(field))
            self.flush()
            self.line(f"{self.sink} = b''.join({self.sink})")
            self.line(f"{gathered} += (uvarint({field.tag}), uvarint(len({self.sink})), {self.sink})")
            self.line(f"{count} += 1")
            self.sink = outer
            self.depth -= 1
        self.append(f"uvarint({count})")
        self.append(f"*{gathered}")

    def value(self, field: Field, value: str, nullable: bool) -> None:
        kind, compact = field.type, self.schema.is_compact(field)
        if kind in CODES:
            self.number(kind, value)
        elif kind.startswith("[]"):
            self.array(kind.removeprefix("[]"), value, compact=compact, nullable=nullable)
        elif kind in {"string", "bytes", "records"}:
            self.bytes_like(kind, value, compact=compact, nullable=nullable)
        else:
            self.nested(kind, value, nullable=nullable)

    def number(self, kind: str, value: str) -> None:
        if kind == "uuid":
            u = self.name("u")
            self.line(f"{u} = {value}")
            self.line(f"if len({u}) != {UUID_BYTES}: raise ValueError('a uuid is {UUID_BYTES} bytes')")
            value = u
        self.fixed(CODES[kind], value)

    def bytes_like(self, kind: str, value: str, *, compact: bool, nullable: bool) -> None:
        b = self.name("b")
        if kind == "string":
            if nullable:
                v = self.name("v")
                self.line(f"{v} = {value}")
                self.line(f"{b} = b'' if {v} is None else {v}.encode()")
                null_when: str | None = f"{v} is None"
            else:
                self.line(f"{b} = {value}.encode()")
                null_when = None
            if compact:
                self.line(f"if len({b}) > {MAX_STRING_BYTES}: raise ValueError('a string of over {MAX_STRING_BYTES} bytes')")
            self.length(f"len({b})", compact=compact, code="h", null_when=null_when)
        elif nullable:
            v = self.name("v")
            self.line(f"{v} = {value}")
            self.line(f"{b} = b'' if {v} is None else {v}")
            self.length(f"len({b})", compact=compact, code="i", null_when=f"{v} is None")
        else:
            self.line(f"{b} = {value}")
            self.length(f"len({b})", compact=compact, code="i")
        self.append(b)

    def array(self, kind: str, value: str, *, compact: bool, nullable: bool) -> None:
        values = self.name("a")
        self.line(f"{values} = {value}")
        if kind in CODES and kind != "uuid":
            self.integers(kind, values, compact=compact, nullable=nullable)
            return
        self.length(f"len({values})", compact=compact, code="i", null_when=f"{values} is None" if nullable else None)
        self.flush()
        element = self.name("o")
        self.line(f"for {element} in {values}{' or ()' if nullable else ''}:")
        self.depth += 1
        if self.schema.struct(kind) is not None:
            self.nested(kind, element, nullable=False)
        elif kind == "uuid":
            self.number(kind, element)
        else:
            self.bytes_like(kind, element, compact=compact, nullable=False)
        self.flush()
        self.depth -= 1

    def integers(self, kind: str, values: str, *, compact: bool, nullable: bool) -> None:
        """Append an array of numbers, count included; short ones without a call of ours in between."""
        arrays, form, first = _arrays_of(kind), "compact" if compact else "plain", " + 1" if compact else ""
        self.namespace[f"{form}_{kind}"] = arrays.compact if compact else arrays.plain
        self.namespace[f"pack_{form}_{kind}"] = arrays.pack_compact if compact else arrays.pack_plain
        k = self.name("k")
        self.line(f"{k} = len({values})" if not nullable else f"{k} = -1 if {values} is None else len({values})")
        null_bytes = b"\0" if compact else b"\xff\xff\xff\xff"
        null = f"{null_bytes!r} if {k} < 0 else " if nullable else ""
        short = f"{form}_{kind}[{k}]({k}{first}, *{values})"
        self.append(f"{null}{short} if {k} < {SHORT_ARRAY} else pack_{form}_{kind}({values})")

    def nested(self, kind: str, value: str, *, nullable: bool) -> None:
        struct_class = self.schema.struct(kind)
        if struct_class is None:
            raise TypeError(f"{self.schema.message.__name__} has no type {kind}")
        holder = value if value.isidentifier() else self.name("o")
        if holder != value:
            self.line(f"{holder} = {value}")
        if not nullable:
            self.struct(struct_class, holder)
            return
        self.flush()
        self.line(f"if {holder} is None:")
        self.line(f"    {self.sink}.append(b'\\xff')")
        self.line("else:")
        self.depth += 1
        self.fixed("b", "1")
        self.struct(struct_class, holder)
        self.flush()
        self.depth -= 1


ENCODE_FAILURES: Final = (struct.error, AttributeError, TypeError, ValueError, OverflowError)


def explain_encode_failure(message: Message, version: int, error: Exception) -> EncodeError:
    """Return the EncodeError for what stopped an encoder, naming the field when one is found at fault."""
    if isinstance(error, EncodeError):
        return error
    schema = Schema(message.__class__, version)
    at_fault = _field_at_fault(schema, message)
    name = f"{message.__class__.__name__} v{version}"
    return EncodeError(f"{name}: {at_fault}" if at_fault else f"{name}: {error}")


def _field_at_fault(schema: Schema, value: Any, path: str = "") -> str | None:
    """Look for a field whose value its type does not allow and return a line about it."""
    for field in value.FIELDS:
        if schema.has(field):
            found = _value_at_fault(
                schema, field.type, getattr(value, field.name, None), f"{path}{field.name}", schema.is_nullable(field)
            )
            if found:
                return found
    return None


def _value_at_fault(schema: Schema, kind: str, value: Any, path: str, nullable: bool) -> str | None:
    if value is None:
        return None if nullable else f"{path} may not be null"
    try:
        if kind in CODES:
            struct.pack(f">{CODES[kind]}", value)
            return f"{path} must be {UUID_BYTES} bytes" if kind == "uuid" and len(value) != UUID_BYTES else None
        if kind == "string":
            return f"{path} is longer than {MAX_STRING_BYTES} bytes" if len(value.encode()) > MAX_STRING_BYTES else None
        if kind in {"bytes", "records"}:
            memoryview(value)
            return None
        if kind.startswith("[]"):
            found = (_value_at_fault(schema, kind[2:], element, f"{path}[{i}]", False) for i, element in enumerate(value))
            return next(filter(None, found), None)
    except ENCODE_FAILURES as error:
        return f"{path}: {error}"
    struct_class = schema.struct(kind)
    if struct_class is not None and not isinstance(value, struct_class):
        return f"{path} must be a {struct_class.__qualname__}, not a {type(value).__name__}"
    return _field_at_fault(schema, value, f"{path}.")


def encoder_source(message: type[Message], version: int) -> str:
    """Return the generated encoder of a version, for a person to read."""
    return EncoderWriter(Schema(message, version)).write()


def compile_encoder(message: type[Message], version: int) -> Encoder:
    """Return the encoder of a version that the message has."""
    writer = EncoderWriter(Schema(message, version))
    return _execute(writer.write(), f"<{message.__name__} v{version} encoder>", writer.namespace)["encode"]  # type: ignore[no-any-return]


# ---- decoding -------------------------------------------------------------------------------------------------------------


class DecoderWriter(Source):
    """Writes the decoder of one message in one version.

    Messages with `records` are decoded from a memoryview, so that records are views; others from bytes, whose slices are cheaper.
    A request may have MAX_REQUEST_ELEMENTS in all its arrays: `left` counts down.
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.schema = schema
        self.is_view = _has_records(schema.message)
        self.is_request = schema.message.API_KEY >= 0 and schema.message.__name__.endswith("Request")
        self.namespace: dict[str, Any] = {
            **schema.namespace(),
            "read_uvarint": read_uvarint,
            "skip_tagged_fields": skip_tagged_fields,
            "new": object.__new__,
            "Bad": BadBytes,
            "failures": DECODE_FAILURES,
            "explain": explain_decode_failure,
        }
        self.names = 0
        self._codes: list[str] = []  # the present run of fixed-width fields
        self._targets: list[str] = []

    def write(self) -> str:
        name = self.schema.message.__name__
        self.line("def decode(data, p):")
        self.depth += 1
        self.line("data = memoryview(data)" if self.is_view else "if type(data) is not bytes: data = bytes(data)")
        self.line("end = len(data)")
        self.line(
            f"if not 0 <= p <= end: raise explain('{name}', {self.schema.version}, p, Bad('a position outside of the data'))"
        )
        if self.is_request:
            self.line(f"left = {MAX_REQUEST_ELEMENTS}")
        self.line("try:")
        self.depth += 1
        self.line(f"o0 = new({name})")
        self.struct(self.schema.message, "o0", "")
        self.flush()
        self.depth -= 1
        self.line("except failures as error:")
        self.line(f"    raise explain('{name}', {self.schema.version}, p, error) from None")
        self.line("return o0, p")
        return self.text()

    def name(self, prefix: str) -> str:
        self.names += 1
        return f"{prefix}{self.names}"

    def fixed(self, code: str, target: str) -> None:
        self._codes.append(code)
        self._targets.append(target)

    def flush(self) -> None:
        if not self._codes:
            return
        layout = "".join(self._codes)
        if layout == "B":
            self.line(f"{self._targets[0]} = data[p]")
        else:
            unpacker = f"unpack_{layout.replace('?', 'o')}"
            self.namespace[unpacker] = struct.Struct(f">{layout}").unpack_from
            self.line(f"{', '.join(self._targets)}{',' if len(self._targets) == 1 else ''} = {unpacker}(data, p)")
        self.line(f"p += {struct.calcsize(f'>{layout}')}")
        self._codes, self._targets = [], []

    def bad(self, condition: str, reason: str) -> None:
        self.line(f"if {condition}: raise Bad({reason!r})")

    def length(self, *, compact: bool, code: str) -> str:
        """Read a length or count and return its variable: negative stands for null."""
        n = self.name("n")
        if compact:
            self.fixed("B", n)
            self.flush()
            self.line(f"if {n} > 127: {n}, p = read_uvarint(data, p - 1)")
            self.line(f"{n} -= 1")
        else:
            self.fixed(code, n)
            self.flush()
        return n

    def struct(self, struct_class: type[Struct], holder: str, path: str) -> None:
        schema = self.schema
        tagged = schema.tagged_fields(struct_class)
        for field in struct_class.FIELDS:
            if not schema.has(field) or field in tagged:
                self.line(f"{holder}.{field.name} = {schema.default_source(field)}")
        for field in schema.plain_fields(struct_class):
            self.value(field, f"{holder}.{field.name}", f"{path}{field.name}")
        if schema.flexible:
            self.tagged(tagged, holder, path)

    def tagged(self, fields: list[Field], holder: str, path: str) -> None:
        n = self.name("n")
        self.fixed("B", n)
        self.flush()
        if not fields:
            self.line(f"if {n}: p = skip_tagged_fields(data, p - 1)")
            return
        self.line(f"if {n}:")
        self.depth += 1
        self.line(f"if {n} > 127: {n}, p = read_uvarint(data, p - 1)")
        self.bad(f"{n} > (end - p) // 2", f"more tagged fields than bytes after {path or 'the fields'}")
        tag, size, stop = self.name("tag"), self.name("size"), self.name("stop")
        self.line(f"for _ in range({n}):")
        self.depth += 1
        self.line(f"{tag}, p = read_uvarint(data, p)")
        self.line(f"{size}, p = read_uvarint(data, p)")
        self.bad(f"{size} > end - p", "a tagged field past the end")
        self.line(f"{stop} = p + {size}")
        for number, field in enumerate(fields):
            self.line(f"{'elif' if number else 'if'} {tag} == {field.tag}:")
            self.depth += 1
            self.value(field, f"{holder}.{field.name}", f"{path}{field.name}")
            self.flush()
            self.bad(f"p != {stop}", f"{path}{field.name} is not of the size it is said to have")
            self.depth -= 1
        self.line(f"p = {stop}")
        self.depth -= 2

    def value(self, field: Field, target: str, path: str) -> None:
        kind, compact, nullable = field.type, self.schema.is_compact(field), self.schema.is_nullable(field)
        if kind in CODES:
            self.fixed(CODES[kind], target)
        elif kind.startswith("[]"):
            self.array(kind.removeprefix("[]"), target, path, compact=compact, nullable=nullable)
        elif kind in {"string", "bytes", "records"}:
            self.bytes_like(kind, target, path, compact=compact, nullable=nullable)
        elif not nullable:
            self.nested(kind, target, path)
        else:
            n = self.name("n")
            self.fixed("b", n)
            self.flush()
            self.line(f"if {n} < 0: {target} = None")
            self.line("else:")
            self.depth += 1
            self.nested(kind, target, path)
            self.flush()
            self.depth -= 1

    def bytes_like(self, kind: str, target: str, path: str, *, compact: bool, nullable: bool) -> None:
        n = self.length(compact=compact, code="h" if kind == "string" else "i")
        q = self.name("q")
        if nullable:
            self.line(f"if {n} < 0: {target} = None")
            self.line("else:")
            self.depth += 1
        else:
            self.bad(f"{n} < 0", f"{path} is null")
        if kind == "string" and compact:
            self.bad(f"{n} > {MAX_STRING_BYTES}", f"{path} is longer than {MAX_STRING_BYTES} bytes")
        self.line(f"{q} = p + {n}")
        self.bad(f"{q} > end", f"{path} goes past the end")
        if kind == "string":
            self.line(
                f"{target} = "
                + (f"str(data[p:{q}], 'utf-8', 'replace')" if self.is_view else f"data[p:{q}].decode('utf-8', 'replace')")
            )
            # U+FFFD is three bytes in the place of one that is no UTF-8; an answer could not give back a name that grew so much.
            self.bad(
                f"{n} > {MAX_STRING_BYTES // 3} and len({target}.encode()) > {MAX_STRING_BYTES}",
                f"{path} is longer than {MAX_STRING_BYTES} bytes as UTF-8",
            )
        else:
            self.line(f"{target} = " + (f"bytes(data[p:{q}])" if kind == "bytes" and self.is_view else f"data[p:{q}]"))
        self.line(f"p = {q}")
        if nullable:
            self.depth -= 1

    def array(self, kind: str, target: str, path: str, *, compact: bool, nullable: bool) -> None:
        n = self.length(compact=compact, code="i")
        least = self.schema.least_size(kind)
        if least < 1:
            raise TypeError(f"{self.schema.message.__name__}: elements of {path} may be empty, so their count has no bound")
        if nullable:
            self.line(f"if {n} < 0: {target} = None")
            self.line("else:")
            self.depth += 1
        else:
            self.bad(f"{n} < 0", f"{path} is null")
        self.bad(f"{n} > (end - p) // {least}" if least > 1 else f"{n} > end - p", f"{path} has more elements than bytes")
        if self.is_request:
            self.line(f"left -= {n}")
            self.bad("left < 0", f"more than {MAX_REQUEST_ELEMENTS} elements in one request")
        if kind in CODES and kind != "uuid":
            arrays = _arrays_of(kind)
            self.namespace[f"short_{kind}"], self.namespace[f"unpack_{kind}"] = arrays.values, arrays.unpack
            self.line(f"{target} = list(short_{kind}[{n}](data, p)) if {n} < {SHORT_ARRAY} else unpack_{kind}(data, p, {n})")
            self.line(f"p += {n} * {WIDTHS[kind]}" if WIDTHS[kind] > 1 else f"p += {n}")
        else:
            values = self.name("a")
            self.line(f"{values} = {target} = []")
            self.line(f"for _ in range({n}):")
            self.depth += 1
            element = self.name("o")
            if kind == "uuid":
                self.fixed(CODES[kind], element)
            elif self.schema.struct(kind) is not None:
                self.nested(kind, element, f"{path}[]")
            else:
                self.bytes_like(kind, element, f"{path}[]", compact=compact, nullable=False)
            self.flush()
            self.line(f"{values}.append({element})")
            self.depth -= 1
        if nullable:
            self.depth -= 1

    def nested(self, kind: str, target: str, path: str) -> None:
        struct_class = self.schema.struct(kind)
        if struct_class is None:
            raise TypeError(f"{self.schema.message.__name__} has no type {kind}")
        self.flush()
        holder = target if target.isidentifier() else self.name("o")
        self.line(f"{target} = {f'{holder} = ' if holder != target else ''}new({kind})")
        self.struct(struct_class, holder, f"{path}.")


def _has_records(message: type[Message]) -> bool:
    tables = (getattr(value, "FIELDS", ()) for value in (message, *vars(message).values()) if isinstance(value, type))
    return any(field.type == "records" for table in tables for field in table)


class BadBytes(ValueError):
    """A check of a generated decoder that failed."""


DECODE_FAILURES: Final = (struct.error, IndexError, ValueError)


def explain_decode_failure(message: str, version: int, position: int, error: Exception) -> DecodeError:
    """Return the DecodeError for what stopped a decoder at about `position`."""
    reason = "it ends early" if isinstance(error, struct.error | IndexError) else str(error)
    return DecodeError(f"{message} v{version}, byte {position}: {reason}")


def decoder_source(message: type[Message], version: int) -> str:
    """Return the generated decoder of a version, for a person to read."""
    return DecoderWriter(Schema(message, version)).write()


def compile_decoder(message: type[Message], version: int) -> Decoder:
    """Return the decoder of a version that the message has."""
    writer = DecoderWriter(Schema(message, version))
    return _execute(writer.write(), f"<{message.__name__} v{version} decoder>", writer.namespace)["decode"]  # type: ignore[no-any-return]


def _execute(source: str, filename: str, namespace: dict[str, Any]) -> dict[str, Any]:
    exec(compile(source, filename, "exec"), namespace)
    return namespace
