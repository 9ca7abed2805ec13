"""`fastlog coordinator`: a ZooKeeper for this machine. What it means is `fastlog.coordinator.process`."""

from __future__ import annotations

import click

from fastlog.coordinator.process import CoordinatorOptions, run_coordinator

DEFAULTS = CoordinatorOptions()


@click.command("coordinator")
@click.option("--host", default=DEFAULTS.host, show_default=True, help="Address to listen on; an empty one is every address.")
@click.option("--port", type=click.IntRange(0, 65_535), default=DEFAULTS.port, show_default=True, help="0 picks a free one.")
@click.option("--data", metavar="DIR", default=DEFAULTS.data, show_default=True, type=click.Path(file_okay=False))
def command(host: str, port: int, data: str) -> int:
    """Run a coordinator, which any ZooKeeper client can use, until SIGTERM or Ctrl-C; a second one ends it at once.

    When clients can attach, it prints one line: ready coordinator=HOST:PORT ... What was answered is on disk under DIR.
    """
    return run_coordinator(CoordinatorOptions(host=host, port=port, data=data))
