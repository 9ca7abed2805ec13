"""Options that several commands share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import click

from fastlog.config import Setting, parse_override

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEFAULT_BOOTSTRAP: Final = "127.0.0.1:9092"

_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|.|$)", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "\\": "\\"}


def bootstrap_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--bootstrap`: where the cluster is."""
    return click.option(
        "--bootstrap",
        metavar="HOST:PORT[,...]",
        default=DEFAULT_BOOTSTRAP,
        envvar="FASTLOG_BOOTSTRAP",
        show_default=True,
        show_envvar=True,
        help="Brokers to begin with.",
    )(command)


def json_option(help_text: str = "One JSON object a line.") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--json`, for programs that read what a command did; the command gets `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help=help_text)


def echo_json(fields: Mapping[str, Any]) -> None:
    """Print one JSON object as a line."""
    import json  # noqa: PLC0415

    click.echo(json.dumps(fields, ensure_ascii=False))


def _settings(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> list[Setting]:
    return [parse_override(text) for text in texts]


def settings_option(help_text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`-o NAME=VALUE`, any number of times; the command gets a list of `Setting`."""
    return click.option("-o", "settings", metavar="NAME=VALUE", multiple=True, callback=_settings, help=help_text)


def parse_separator(ctx: click.Context, parameter: click.Parameter, text: str | None) -> bytes | None:
    r"""Return the bytes that are meant by text with the escapes \n, \r, \t, \0, \\ and \xHH: a callback of options."""
    if text is None:
        return None
    out = bytearray()
    at = 0
    for found in _ESCAPE.finditer(text):
        out += text[at : found.start()].encode("utf-8", "surrogateescape")
        what = found[1]
        if what[:1] == "x" and len(what) == 3:
            out.append(int(what[1:], 16))
        elif what in _ESCAPED:
            out += _ESCAPED[what].encode()
        else:
            raise click.BadParameter(rf"{found[0]!r} is no escape; there are \n, \r, \t, \0, \\ and \xHH", ctx, parameter)
        at = found.end()
    return bytes(out + text[at:].encode("utf-8", "surrogateescape"))
