"""Commands that are called plainly are run without click, whose import takes as long as all else that a coordinator's start does.

Plain is `--name VALUE`, each known option at most once, with values about which nothing needs to be said. All else is click's to
judge, and what there is to be said, click says: help, and what is wrong.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

MAX_PORT: Final = 65_535


def command_for(arguments: Sequence[str]) -> Callable[[], int] | None:
    """Return what a plain call asks for; None for any other call."""
    known = _COMMANDS.get(arguments[0]) if arguments else None
    if known is None:
        return None
    run, kinds = known
    given = _values(arguments[1:], kinds)
    return None if given is None else lambda: run(given)


def _up(given: dict[str, Any]) -> int:
    from fastlog.node import UpOptions, run_up  # noqa: PLC0415

    return run_up(UpOptions(**given))


def _coordinator(given: dict[str, Any]) -> int:
    gc.disable()  # what a start makes stays; `run_coordinator` goes on collecting once clients can attach
    try:
        from fastlog.coordinator.process import CoordinatorOptions, run_coordinator  # noqa: PLC0415

        return run_coordinator(CoordinatorOptions(**given))
    finally:
        gc.enable()


def _values(arguments: Sequence[str], kinds: Mapping[str, Callable[[str], Any]]) -> dict[str, Any] | None:
    """Return the options' values by their names without the dashes; None when the arguments are not plain."""
    found: dict[str, Any] = {}
    if len(arguments) % 2:
        return None
    for name, text in zip(arguments[::2], arguments[1::2], strict=True):
        key = name.removeprefix("--").replace("-", "_")
        if name not in kinds or key in found or text.startswith("-"):
            return None
        try:
            found[key] = kinds[name](text)
        except ValueError:
            return None
    return found


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= MAX_PORT):
        raise ValueError(text)
    return int(text)


def _directory(text: str) -> str:
    if os.path.exists(text) and not (os.path.isdir(text) and os.access(text, os.R_OK)):
        raise ValueError(text)
    return text


_COMMANDS: Final[dict[str, tuple[Callable[[dict[str, Any]], int], dict[str, Callable[[str], Any]]]]] = {
    "up": (_up, {"--host": str, "--port": _port, "--data": _directory, "--coordinator-port": _port}),
    "coordinator": (_coordinator, {"--host": str, "--port": _port, "--data": _directory}),
}
"""Which commands may be called plainly: what runs them, and how the text of each option is read."""
