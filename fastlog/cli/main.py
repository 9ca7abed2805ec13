"""The group of all commands."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Final

import click

from fastlog import __version__
from fastlog.cli import EXIT_INTERRUPTED
from fastlog.cli.outcome import EXIT_FAILED, EXIT_USAGE, ReaderGone, exit_code_of, fail, one_line

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
    return exit_code_of(lambda: _run(arguments))


def _run(arguments: Sequence[str]) -> object:
    try:
        return group.main(list(arguments), prog_name="fastlog", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
        return EXIT_USAGE
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "fastlog"
        return fail(f"{one_line(error.format_message())} (see {command} --help)", EXIT_USAGE)
    except click.ClickException as error:
        return fail(one_line(error.format_message()), EXIT_FAILED)
    except click.Abort:
        return EXIT_INTERRUPTED
