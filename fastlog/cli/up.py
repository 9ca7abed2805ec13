"""`fastlog up`: a broker for this machine. What it means is `fastlog.node.run_up`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click
from click.core import ParameterSource

from fastlog.cli.options import settings_option
from fastlog.errors import UsageError

if TYPE_CHECKING:
    from fastlog.config import Setting

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 9092
DEFAULT_DATA: Final = "fastlog-data"
GIVEN_BY_UP: Final = {
    "zookeeper.connect": "use --coordinator",
    "broker.id": "up numbers its brokers itself",
    "node.id": "up numbers its brokers itself",
    "log.dir": "use --data",
    "log.dirs": "use --data",
}


@click.command("up")
@click.option("--host", default=DEFAULT_HOST, show_default=True, help="Address to listen on; an empty one is every address.")
@click.option("--port", type=click.IntRange(0, 65_535), default=DEFAULT_PORT, show_default=True, help="0 picks a free one.")
@click.option("--data", metavar="DIR", default=DEFAULT_DATA, show_default=True, type=click.Path(file_okay=False))
@click.option("--coordinator", metavar="HOST:PORT,...", help="A ZooKeeper to keep the metadata in, in place of one's own.")
@click.option(
    "--coordinator-port",
    type=click.IntRange(0, 65_535),
    help="Where the coordinator listens, 0 for a free port.  [default: 2181, a free one where that is in use or --port is 0]",
)
@settings_option("A broker's option under Kafka's name; any number of times.")
@click.pass_context
def command(
    ctx: click.Context,
    host: str,
    port: int,
    data: str,
    coordinator: str | None,
    coordinator_port: int | None,
    settings: list[Setting],
) -> int:
    """Run a broker until SIGTERM or Ctrl-C; a second one ends it at once.

    When clients can produce, it prints one line: ready bootstrap=HOST:PORT ... Data is kept under DIR, and found again there.
    """
    for setting in settings:
        if setting.name in GIVEN_BY_UP:
            why = GIVEN_BY_UP[setting.name]
            raise UsageError(f"{setting.where}: {setting.name} cannot be set here: {why}, or run fastlog broker")
        if setting.name == "listeners":
            for option in ("host", "port"):
                if ctx.get_parameter_source(option) is not ParameterSource.DEFAULT:
                    raise UsageError(f"-o listeners and --{option} both say where to listen: leave one out")

    if coordinator is not None and coordinator_port is not None:
        raise UsageError("--coordinator says that the coordinator is elsewhere: leave --coordinator-port out")

    from fastlog.node import UpOptions, run_up  # noqa: PLC0415 - a broker's rooms are many

    options = UpOptions(
        host=host, port=port, data=data, coordinator=coordinator, coordinator_port=coordinator_port, settings=tuple(settings)
    )
    return run_up(options)
