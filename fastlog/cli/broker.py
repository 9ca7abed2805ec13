"""`fastlog broker`: a broker from a `server.properties` file. What it means is `fastlog.node.run_broker`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fastlog.cli.options import settings_option

if TYPE_CHECKING:
    from fastlog.config import Setting


@click.command("broker")
@click.option("--config", "path", metavar="FILE", required=True, type=click.Path(), help="Kafka's server.properties.")
@settings_option("An option that stands over the file's; any number of times.")
def command(path: str, settings: list[Setting]) -> int:
    """Run a broker until SIGTERM or Ctrl-C; a second one ends it at once.

    Option names are Kafka's. One that fastlog does not honour is refused with the reason.
    """
    from fastlog.config import Config, read_properties  # noqa: PLC0415
    from fastlog.node import run_broker  # noqa: PLC0415 - a broker's rooms are many

    return run_broker(Config([*read_properties(path), *settings]))
