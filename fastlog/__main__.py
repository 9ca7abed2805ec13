"""`python -m fastlog`, and the `fastlog` command."""

from __future__ import annotations

import sys

from fastlog.cli import EXIT_INTERRUPTED


def main() -> None:
    """Run the command that the arguments name and end the process with its exit code."""
    arguments = sys.argv[1:]
    try:
        from fastlog.cli import plain  # noqa: PLC0415 - importing this module must cost nothing

        command = plain.command_for(arguments)
        if command is not None:
            from fastlog.cli.outcome import exit_code_of  # noqa: PLC0415

            code = exit_code_of(command)
        else:
            from fastlog.cli.main import run  # noqa: PLC0415

            code = run(arguments)
    except KeyboardInterrupt:  # on the way in or out: what a command does about it, `run` knows
        code = EXIT_INTERRUPTED
    sys.exit(code)


if __name__ == "__main__":
    main()
