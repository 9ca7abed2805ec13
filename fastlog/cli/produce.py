"""`fastlog produce`: lines, or whole files, to a topic.

Input is read in chunks, and each chunk becomes batches by one compiled call; no line is looked at in Python. A pipe or terminal
is waited for on the client's own reactor, so that what was typed is sent while the next line is being thought of.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from fastlog.cli.options import bootstrap_option, echo_json, json_option, parse_separator
from fastlog.codecs import NAMES
from fastlog.env import READABLE
from fastlog.errors import FastlogError, UsageError

if TYPE_CHECKING:
    from fastlog.client.blocking import BlockingProducer, Client

CHUNK_BYTES: Final = 1 << 20
MAX_LINE_BYTES: Final = 256 << 20
"""More than any broker takes that was not told otherwise: what goes on for longer has another separator, or none."""
STANDARD_INPUT: Final = "-"
ACKS: Final = {"0": 0, "1": 1, "all": -1}
PROGRESS_INTERVAL_NS: Final = 200_000_000


@click.command("produce")
@click.argument("topic")
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--whole", is_flag=True, help="Each file is one record, byte for byte, in place of each line.")
@click.option("--name-as-key", is_flag=True, help="With --whole: the file's name, without directories, is the record's key.")
@click.option("--separator", callback=parse_separator, metavar="TEXT", help=r"What ends a record.  [default: \n]")
@click.option(
    "--key-separator", callback=parse_separator, metavar="TEXT", help="What ends a line's key; a line without it has none."
)
@click.option("--partition", type=click.IntRange(min=0), help="Send to this one; otherwise the key decides, or the batch.")
@click.option("--acks", type=click.Choice(list(ACKS)), default="all", show_default=True, help="Whose word is waited for.")
@click.option("--compression", type=click.Choice(NAMES), default="none", show_default=True)
@click.option("--linger-ms", type=click.FloatRange(min=0), default=5, show_default=True, help="A batch waits so long to fill.")
@click.option("--batch-bytes", type=click.IntRange(1, 1 << 30), default=256 << 10, show_default=True, help="Before compression.")
@json_option("What was delivered, and how fast, as one JSON object at the end.")
@bootstrap_option
def command(
    topic: str,
    files: tuple[str, ...],
    whole: bool,
    name_as_key: bool,
    separator: bytes | None,
    key_separator: bytes | None,
    partition: int | None,
    acks: str,
    compression: str,
    linger_ms: float,
    batch_bytes: int,
    as_json: bool,
    bootstrap: str,
) -> None:
    r"""Send the lines of FILEs (standard input by default, or where FILE is -) to TOPIC, and wait until they are acknowledged."""
    if whole and (separator is not None or key_separator is not None):
        raise UsageError("--whole takes files as they are: leave out --separator and --key-separator")
    if name_as_key and not whole:
        raise UsageError("--name-as-key goes with --whole")
    for name, text in (("--separator", separator), ("--key-separator", key_separator)):
        if text == b"":
            raise UsageError(f"{name} must not be empty")

    from fastlog.client.blocking import Client  # noqa: PLC0415

    with Client(bootstrap) as client:
        made = client.producer(acks=ACKS[acks], compression=compression, linger_ms=linger_ms, batch_bytes=batch_bytes)
        progress = Progress(client, made)
        partitions = made.prepare(topic)
        if partition is not None and partition >= partitions:
            raise UsageError(f"--partition {partition}: {topic} has {partitions}, the last is {partitions - 1}")
        try:
            for file in files or (STANDARD_INPUT,):
                if whole:
                    content = b"".join(_chunks(client, file))
                    key = os.fsencode(os.path.basename(file)) if name_as_key and file != STANDARD_INPUT else None
                    made.send(topic, content, key=key, partition=partition)
                    progress.show()
                else:
                    _send_lines(client, made, topic, file, separator or b"\n", key_separator, partition, progress)
            client.wait(made.producer.flush())
        finally:
            progress.end()
        failed = made.producer.failed_count
        if as_json:
            echo_json({"topic": topic, **progress.totals(), "failed": failed})
        if failed:
            delivered = made.producer.delivered_count
            raise FastlogError(f"{failed} of {failed + delivered} records were not delivered: {made.producer.last_failure}")


def _send_lines(
    client: Client,
    producer: BlockingProducer,
    topic: str,
    file: str,
    separator: bytes,
    key_separator: bytes | None,
    partition: int | None,
    progress: Progress,
) -> None:
    rest = b""
    for chunk in _chunks(client, file):
        text = rest + chunk if rest else chunk
        # A line longer than a chunk is gathered here; looking for its end again each time is avoided.
        if rest and separator not in text[max(0, len(rest) - len(separator)) :]:
            if len(text) > MAX_LINE_BYTES:
                what = f"{file}: a line of more than {MAX_LINE_BYTES} bytes"
                raise FastlogError(f"{what}: say what separates records (--separator), or send it --whole")
            rest = text
            continue
        end = producer.send_lines(topic, text, separator=separator, key_separator=key_separator, partition=partition)
        rest = text[end:]
        progress.show()
    if rest:
        producer.send_lines(topic, rest, separator=separator, key_separator=key_separator, partition=partition, is_last=True)


def _chunks(client: Client, file: str) -> Iterator[bytes]:
    """Yield what is in a file, or arrives on standard input."""
    descriptor = 0 if file == STANDARD_INPUT else os.open(file, os.O_RDONLY)
    try:
        is_stream = not stat.S_ISREG(os.fstat(descriptor).st_mode)
        source = _Stream(client, descriptor) if is_stream else None
        while True:
            if source is not None:
                source.wait()
            chunk = os.read(descriptor, CHUNK_BYTES)
            if not chunk:
                return
            yield chunk
    finally:
        if file != STANDARD_INPUT:
            os.close(descriptor)


class _Stream:
    """A pipe or terminal, waited for together with the brokers."""

    def __init__(self, client: Client, descriptor: int) -> None:
        self._client = client
        self._descriptor = descriptor
        self._is_ready = False

    def fileno(self) -> int:
        return self._descriptor

    def wait(self) -> None:
        """Turn the client's reactor until there is something to read."""
        self._is_ready = False
        self._client.watch_stream(self, READABLE, self._on_ready)
        try:
            while not self._is_ready:
                self._client.reactor.run_turn()
        finally:
            self._client.watch_stream(self, 0, self._on_ready)

    def _on_ready(self, _: int) -> None:
        self._is_ready = True


class Progress:
    """One line on a terminal's stderr, written over: records, MB/s. Silent where stderr is no terminal."""

    def __init__(self, client: Client, producer: BlockingProducer) -> None:
        self._clock = client.reactor.clock
        self._producer = producer.producer
        self._is_shown = sys.stderr.isatty()
        self._began_ns = self._shown_ns = self._clock.monotonic_ns()

    def show(self) -> None:
        """Show how far it is, if it has not been shown for a while."""
        if self._is_shown:
            now_ns = self._clock.monotonic_ns()
            if now_ns - self._shown_ns >= PROGRESS_INTERVAL_NS:
                self._shown_ns = now_ns
                print(f"\r{self._line(now_ns)}\x1b[K", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the last word."""
        if self._is_shown:
            print(f"\r{self._line(self._clock.monotonic_ns())}\x1b[K", file=sys.stderr)

    def totals(self) -> dict[str, Any]:
        """Return how many records and bytes were delivered, in how many seconds."""
        seconds = (self._clock.monotonic_ns() - self._began_ns) / 1e9
        return {"records": self._producer.delivered_count, "bytes": self._producer.delivered_bytes, "seconds": round(seconds, 6)}

    def _line(self, now_ns: int) -> str:
        seconds = max(now_ns - self._began_ns, 1) / 1e9
        count, megabytes = self._producer.delivered_count, self._producer.delivered_bytes / 1e6
        return f"{count:,} records, {megabytes:,.1f} MB, {count / seconds:,.0f} records/s, {megabytes / seconds:,.1f} MB/s"
