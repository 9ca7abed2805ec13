"""`python -m fastlog`, and the `fastlog` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command that the arguments name and end the process with its exit code."""
    from fastlog.cli.main import run  # noqa: PLC0415 - importing this module must cost nothing

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
