"""Java's properties text, as `server.properties` and `meta.properties` are written: sans-I/O, imports only `errors`.

Source of the rules: the documentation of `java.util.Properties.load`. A logical line ends at a line end that no odd number of
backslashes escapes; what follows an escaped line end loses its leading blanks. A key ends at the first `=`, `:` or blank that
is not escaped. `#` and `!` open a comment only as a line's first non-blank. One departure: the text is UTF-8, where Java reads
Latin-1, so that a path with an umlaut means what the editor shows.
"""

from __future__ import annotations

from typing import NamedTuple

from fastlog.errors import UsageError

_BLANKS = " \t\f"
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_UNICODE_ESCAPE_DIGITS = 4


class Property(NamedTuple):
    """One key with its value and the number of the line on which it began (from 1)."""

    key: str
    value: str
    line: int


def parse_properties(text: str, where: str = "properties") -> list[Property]:
    """Return the properties of `text` in order, repeated keys included; UsageError names `where` and the line."""
    properties = []
    for number, line in _logical_lines(text):
        end_of_key, start_of_value = _split(line)
        key = _unescape(line[:end_of_key], where, number)
        properties.append(Property(key, _unescape(line[start_of_value:], where, number), number))
    return properties


def _logical_lines(text: str) -> list[tuple[int, str]]:
    """Return (number of its first line, line) for each logical line that is neither blank nor a comment."""
    logical: list[tuple[int, str]] = []
    begun: tuple[int, str] | None = None
    for number, natural in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1):
        stripped = natural.lstrip(_BLANKS)
        if begun is None and (not stripped or stripped[0] in "#!"):
            continue
        first, line = (number, stripped) if begun is None else (begun[0], begun[1] + stripped)
        backslashes = len(natural) - len(natural.rstrip("\\"))
        if backslashes % 2:
            begun = first, line[:-1]
        else:
            logical.append((first, line))
            begun = None
    if begun is not None:
        logical.append(begun)
    return logical


def _split(line: str) -> tuple[int, int]:
    """Return where a logical line's key ends and where its value begins."""
    end = 0
    while end < len(line) and line[end] not in "=:" and line[end] not in _BLANKS:
        end += 2 if line[end] == "\\" else 1
    end = min(end, len(line))
    start = end
    while start < len(line) and line[start] in _BLANKS:
        start += 1
    if start < len(line) and line[start] in "=:":
        start += 1
        while start < len(line) and line[start] in _BLANKS:
            start += 1
    return end, start


def _unescape(text: str, where: str, line: int) -> str:
    if "\\" not in text:
        return text
    out = []
    at = 0
    while at < len(text):
        character = text[at]
        at += 1
        if character != "\\" or at == len(text):
            out.append("" if character == "\\" else character)
            continue
        character = text[at]
        at += 1
        if character == "u":
            digits = text[at : at + _UNICODE_ESCAPE_DIGITS]
            if len(digits) != _UNICODE_ESCAPE_DIGITS or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
                raise UsageError(f"{where}:{line}: \\u wants four hexadecimal digits, not {digits!r}; write a backslash as \\\\")
            out.append(chr(int(digits, 16)))
            at += _UNICODE_ESCAPE_DIGITS
        else:
            out.append(_ESCAPES.get(character, character))
    return "".join(out)
