"""How a command ends: its exit code, and errors as one line on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from fastlog.base_errors import FastlogError, UsageError
from fastlog.cli import EXIT_INTERRUPTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_BROKEN_PIPE: Final = 141
"""What a shell reports of a program that SIGPIPE ended."""


class ReaderGone(Exception):
    """Whoever read our output has gone."""


def exit_code_of(command: Callable[[], object]) -> int:
    """Carry a command out and return the exit code: what it returns, when that is one; errors become one line on stderr."""
    try:
        outcome = command()
        _flush()
        return outcome if isinstance(outcome, int) else 0
    except UsageError as error:
        return fail(one_line(str(error)), EXIT_USAGE)
    except FastlogError as error:
        return fail(one_line(str(error)), EXIT_FAILED)
    except (ReaderGone, BrokenPipeError):
        _write_no_more()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        try:
            _flush()
        except OSError:
            _write_no_more()
        place = f"{error.filename}: " if error.filename else ""
        return fail(f"{place}{error.strerror or error}", EXIT_FAILED)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def fail(message: str, code: int) -> int:
    """Say why there is no success; return the exit code."""
    if sys.stderr is not None:  # print would take stdout in its place
        print(f"fastlog: {message}", file=sys.stderr)
    return code


def one_line(text: str) -> str:
    """Return a text as one line."""
    return " ".join(text.split())


def _flush() -> None:
    if sys.stdout is not None:  # it is None where this process was started without one
        sys.stdout.flush()


def _write_no_more() -> None:
    """Have nothing more written to stdout, not even by the interpreter on its way out."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
