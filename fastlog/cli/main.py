"""The group of all commands, and how errors end the process."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from fastlog import __version__
from fastlog.cli import EXIT_INTERRUPTED
from fastlog.errors import FastlogError, UsageError

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_BROKEN_PIPE: Final = 141
"""What a shell reports of a program that SIGPIPE ended."""

COMMANDS: Final = {
    "up": "Run a broker for this machine, with defaults for everything.",
    "broker": "Run a broker from a server.properties file.",
    "coordinator": "Run a coordinator alone: a ZooKeeper for any client.",
    "topic": "Create, list, describe, alter and delete topics.",
    "group": "List, describe, reset and delete consumer groups.",
    "produce": "Send lines, or whole files, to a topic.",
    "consume": "Print the records of a topic.",
    "dump": "Print what is in the files of a data directory, and what is wrong with them.",
}
"""Every command with its line of help: `fastlog --help` imports none of them."""


class ReaderGone(Exception):
    """Whoever read our output has gone."""


class LazyGroup(click.Group):
    """A group that imports a command's module when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"fastlog.cli.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise ReaderGone from None  # click would end the process by itself, with an exit code that says something failed

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="fastlog", message="%(prog)s %(version)s")
def group() -> None:
    """Speak Kafka's protocol: a log broker, and a client of any such broker."""


def run(arguments: Sequence[str]) -> int:
    """Run a command and return the exit code; errors become one line on stderr."""
    try:
        outcome = group.main(list(arguments), prog_name="fastlog", standalone_mode=False)
        sys.stdout.flush()
        return outcome if isinstance(outcome, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
        return EXIT_USAGE
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "fastlog"
        return _fail(f"{_one_line(error.format_message())} (see {command} --help)", EXIT_USAGE)
    except click.ClickException as error:
        return _fail(_one_line(error.format_message()), EXIT_FAILED)
    except UsageError as error:
        return _fail(_one_line(str(error)), EXIT_USAGE)
    except FastlogError as error:
        return _fail(_one_line(str(error)), EXIT_FAILED)
    except (ReaderGone, BrokenPipeError):
        _write_no_more()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        try:
            sys.stdout.flush()
        except OSError:
            _write_no_more()
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"{place}{error.strerror or error}", EXIT_FAILED)
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED


def _write_no_more() -> None:
    """Have nothing more written to stdout, not even by the interpreter on its way out."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, code: int) -> int:
    print(f"fastlog: {message}", file=sys.stderr)
    return code


def _one_line(text: str) -> str:
    return " ".join(text.split())
