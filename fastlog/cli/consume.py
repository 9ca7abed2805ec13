"""`fastlog consume`: the records of a topic, printed.

Plain values, and keys with values, are joined by one compiled call a batch; what needs more (offsets, timestamps, headers,
JSON) is written record by record.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import click

from fastlog.cli.options import bootstrap_option, json_option, parse_separator
from fastlog.env.signals import on_stop_request
from fastlog.env.wall_time import format_wall_ms, parse_wall_ms
from fastlog.errors import UnknownTopicOrPartition, UsageError

if TYPE_CHECKING:
    from fastlog._core import Record
    from fastlog.client.blocking import BlockingConsumer, Client
    from fastlog.client.cluster import Topic
    from fastlog.client.consumer import Consumer, Fetched, TopicPartition
    from fastlog.client.member import Member

BEGINNING: Final = "beginning"
END: Final = "end"


@click.command("consume")
@click.argument("topic")
@click.option("--partition", "partitions", type=click.IntRange(min=0), multiple=True, help="Only this one; any number of times.")
@click.option("--offset", metavar="N|beginning|end", help="Where to begin in each partition.  [default: beginning]")
@click.option("--time", "time", metavar="WHEN", help="Begin at the first record of this time: ISO 8601, or ms since 1970.")
@click.option("--group", "group_id", metavar="NAME", help="Share the topic with the others of this group, and go on where it is.")
@click.option(
    "--client-id", metavar="NAME", default="fastlog", show_default=True, help="What `fastlog group describe` calls this member."
)
@click.option("--max", "max_count", type=click.IntRange(min=0), metavar="N", help="Stop after so many records.")
@click.option("--exit-at-end", is_flag=True, help="Stop at the end that each partition has now.")
@click.option("--offsets", "with_offsets", is_flag=True, help="Print partition and offset before each record.")
@click.option("--timestamps", is_flag=True, help="Print each record's time before it.")
@click.option("--headers", is_flag=True, help="Print each record's headers before it.")
@click.option("--keys", is_flag=True, help="Print each record's key before it.")
@click.option(
    "--key-separator",
    callback=parse_separator,
    metavar="TEXT",
    help=r"What stands behind a key, and behind the other fields.  [default: \t]",
)
@click.option("--separator", callback=parse_separator, metavar="TEXT", help=r"What stands behind a record.  [default: \n]")
@click.option("--raw", is_flag=True, help="Values only, byte for byte, with nothing between them.")
@json_option("One JSON object a line, with all there is.")
@bootstrap_option
def command(
    topic: str,
    partitions: tuple[int, ...],
    offset: str | None,
    time: str | None,
    group_id: str | None,
    client_id: str,
    max_count: int | None,
    exit_at_end: bool,
    with_offsets: bool,
    timestamps: bool,
    headers: bool,
    keys: bool,
    key_separator: bytes | None,
    separator: bytes | None,
    raw: bool,
    as_json: bool,
    bootstrap: str,
) -> None:
    """Print the records of TOPIC as they come, until it is interrupted (or --max, or --exit-at-end).

    Within a partition they come in order. In JSON, bytes that are not UTF-8 are given as {"base64": ...}. As a member of a
    group it begins where the group has committed, else at --offset, and commits what it has printed; --exit-at-end is then about
    the partitions that fall to it.
    """
    fields = with_offsets or timestamps or headers or keys
    if raw and (fields or as_json or key_separator is not None or separator is not None):
        raise UsageError("--raw prints values and nothing else: leave out the options for other fields and separators")
    if as_json and (fields or key_separator is not None or separator is not None):
        raise UsageError("--json prints every field: leave out the options for fields and separators")
    if key_separator is not None and not fields:
        raise UsageError("--key-separator stands behind keys or other fields: add --keys, --offsets, --timestamps or --headers")
    end = b"" if raw else b"\n" if separator is None else separator
    between = b"\t" if key_separator is None else key_separator
    line = _json_line if as_json else _field_line(with_offsets, timestamps, headers, keys, between, end)
    is_joined = not (as_json or with_offsets or timestamps or headers)
    begin = _begin(offset, time)
    if group_id == "":
        raise UsageError("--group wants a name")
    if group_id is not None and (partitions or time is not None or begin[0] == "offset"):
        raise UsageError("--group shares the partitions, and says where to begin: leave out --partition, --time and --offset N")

    from fastlog.client.blocking import Client  # noqa: PLC0415

    with Client(bootstrap, client_id=client_id) as client:
        out = sys.stdout.buffer
        left = -1 if max_count is None else max_count
        if left == 0:
            return
        if group_id is not None:
            _consume_as_member(client, group_id, topic, begin[1], line, left, exit_at_end)
            return
        consumer = _open(client, topic, partitions, begin)
        for fetched in consumer.batches(stop_at_end=exit_at_end):
            if is_joined:
                text, count = fetched.join(left, end, between if keys else None)
                out.write(text)
                left -= count if left > 0 else 0
            else:
                left = _write_records(out.write, line, fetched, left)
            if not consumer.has_more:
                out.flush()
            if left == 0:
                break
        out.flush()


def _consume_as_member(
    client: Client,
    group_id: str,
    topic: str,
    begin: int,
    line: Callable[[Fetched, Record], bytes],
    left: int,
    exit_at_end: bool,
) -> None:
    """Print what the group's other members don't get; leave the group at the end, whatever ends it.

    A signal ends it between two batches, not wherever it strikes: what has been printed is committed, and not printed again.
    """
    from fastlog.client.consumer import Consumer  # noqa: PLC0415
    from fastlog.client.groups import Groups  # noqa: PLC0415
    from fastlog.client.member import Member  # noqa: PLC0415

    is_asked_to_stop = False

    def stop() -> None:
        nonlocal is_asked_to_stop
        is_asked_to_stop = True
        client.reactor.network.wake()

    _known_topic(client, topic)
    on_stop_request(lambda call: call(), stop)
    consumer = Consumer(client.cluster)
    member = Member(client.cluster, Groups(client.cluster), consumer, group_id, [topic], begin=begin)
    running = member.run()
    out = sys.stdout.buffer
    try:
        while left:
            ready = consumer.ready()
            while not (ready.done or running.done or is_asked_to_stop or (exit_at_end and _is_at_end(consumer, member))):
                client.reactor.run_turn()
            if running.done:
                running.result()
            if is_asked_to_stop:
                raise KeyboardInterrupt
            if not ready.done:
                break
            printed: dict[TopicPartition, int] = {}
            for fetched in consumer.poll():
                next_offset = fetched.batch.last_offset + 1
                for record in fetched.records():
                    out.write(line(fetched, record))
                    left -= 1 if left > 0 else 0
                    if left == 0:
                        next_offset = record.offset + 1
                        break
                printed[fetched.topic, fetched.partition] = next_offset
                if left == 0 or is_asked_to_stop:
                    break
            out.flush()
            for (name, partition), next_offset in printed.items():  # only now: what is still held here may never get out
                member.done(name, partition, next_offset)
    finally:
        client.wait(member.leave())


def _is_at_end(consumer: Consumer, member: Member) -> bool:
    """Tell whether all that the member owns has been handed out up to its end."""
    return member.is_reading and all(0 <= consumer.high_watermark(*where) <= consumer.position(*where) for where in member.owned)


def _begin(offset: str | None, time: str | None) -> tuple[str, int]:
    """Return what to begin at: ("offset", n) or ("time", ms, or EARLIEST or LATEST)."""
    from fastlog.client.consumer import EARLIEST, LATEST  # noqa: PLC0415

    if time is not None:
        if offset is not None:
            raise UsageError("--offset and --time both say where to begin: leave one out")
        try:
            return "time", parse_wall_ms(time)
        except ValueError:
            raise UsageError(f"--time wants ISO 8601 (2026-01-31T12:00:00Z) or milliseconds since 1970, not {time!r}") from None
    if offset in (None, BEGINNING):
        return "time", EARLIEST
    if offset == END:
        return "time", LATEST
    assert offset is not None
    if not offset.isascii() or not offset.isdigit() or int(offset) >= 1 << 63:
        raise UsageError(f"--offset wants a number, {BEGINNING} or {END}, not {offset!r}")
    return "offset", int(offset)


def _known_topic(client: Client, topic: str) -> Topic:
    try:
        return client.wait(client.cluster.topic(topic))
    except UnknownTopicOrPartition:
        raise UnknownTopicOrPartition(f"no such topic: {topic}") from None


def _open(client: Client, topic: str, partitions: Iterable[int], begin: tuple[str, int]) -> BlockingConsumer:
    known = _known_topic(client, topic)
    chosen = list(dict.fromkeys(partitions)) or list(range(len(known.leaders)))
    for partition in chosen:
        if partition >= len(known.leaders):
            raise UsageError(f"--partition {partition}: {topic} has {len(known.leaders)}, the last is {len(known.leaders) - 1}")
    keys: list[TopicPartition] = [(topic, partition) for partition in chosen]
    kind, value = begin
    consumer = client.consumer([])
    consumer.assign(dict.fromkeys(keys, value) if kind == "offset" else consumer.offsets(dict.fromkeys(keys, value)))
    return consumer


def _write_records(
    write: Callable[[bytes], object], line: Callable[[Fetched, Record], bytes], fetched: Fetched, left: int
) -> int:
    """Write a batch's records, at most `left` of them (-1: all); return how many are left to write."""
    for record in fetched.records():
        write(line(fetched, record))
        if left > 0:
            left -= 1
            if left == 0:
                break
    return left


def _field_line(
    with_offsets: bool, timestamps: bool, headers: bool, keys: bool, between: bytes, end: bytes
) -> Callable[[Fetched, Record], bytes]:
    def line(fetched: Fetched, record: Record) -> bytes:
        parts = []
        if with_offsets:
            parts.append(b"%d:%d" % (fetched.partition, record.offset))
        if timestamps:
            parts.append(format_wall_ms(record.timestamp_ms).encode())
        if headers:
            parts.append(b",".join(name.encode() + b"=" + bytes(value or b"") for name, value in record.headers))
        if keys:
            parts.append(bytes(record.key or b""))
        parts.append(bytes(record.value or b""))
        return between.join(parts) + end

    return line


def _json_line(fetched: Fetched, record: Record) -> bytes:
    fields = {
        "topic": fetched.topic,
        "partition": fetched.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "time": format_wall_ms(record.timestamp_ms),
        "key": _json_value(record.key),
        "value": _json_value(record.value),
        "headers": [[name, _json_value(value)] for name, value in record.headers],
    }
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\n"


def _json_value(data: memoryview | None) -> Any:
    if data is None:
        return None
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        import base64  # noqa: PLC0415

        return {"base64": base64.b64encode(data).decode()}
