"""`fastlog dump`: what is in files of a data directory, and what is wrong with them. What that means is in the rooms whose files
they are (`storage.inspection`, `coordinator.inspection`); here paths are found and items printed.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from fastlog.cli.options import echo_json, json_option
from fastlog.errors import UsageError

if TYPE_CHECKING:
    from fastlog.env import Disk

Item = dict[str, Any]

HEADINGS: Final = frozenset(
    {
        "segment", "offset index", "time index", "transaction index", "producer snapshot", "leader epochs", "checkpoint",
        "partition metadata", "meta properties", "journal", "coordinator snapshot", "unknown",
    }
)  # fmt: skip
"""Kinds of items with which a file begins."""
DEEPER: Final = frozenset({"record"})


@click.command("dump", no_args_is_help=True)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(exists=True))
@click.option("--records", "with_records", is_flag=True, help="Print the records of each batch, with keys, values and headers.")
@click.option("--problems", "only_problems", is_flag=True, help="Print only what is wrong.")
@json_option()
def command(paths: tuple[str, ...], with_records: bool, only_problems: bool, as_json: bool) -> int:
    """Print what is in files or directories that hold logs, and what is wrong with them. No broker is asked, no byte is changed.

    PATH is a file of a data directory (segments, indexes, producer snapshots, checkpoints, the coordinator's journal), a
    partition's directory, or a directory over those. A log is held against its indexes, compressed batches are opened. The exit
    code is 1 when something is wrong.
    """
    from fastlog.env.disk import SystemDisk  # noqa: PLC0415

    disk = SystemDisk()
    files = problems = 0
    heading = None
    for path in paths:
        for item in _items(disk, path.rstrip("/") or "/", with_records=with_records):
            kind = item["kind"]
            files += kind in HEADINGS and kind != "unknown"
            problems += kind == "problem"
            if only_problems and kind != "problem":
                continue
            if as_json:
                echo_json(_as_json(item))
                continue
            if item["file"] != heading:
                heading = item["file"]
                click.echo(heading)
            click.echo(_as_text(item))
    if not as_json:
        click.echo(f"{files} files, {problems} problems")
    return 1 if problems else 0


def _items(disk: Disk, path: str, *, with_records: bool) -> Iterator[Item]:
    """Return the items of a file, or of everything in a directory."""
    from fastlog.coordinator import inspection as of_coordinator  # noqa: PLC0415
    from fastlog.storage import inspection  # noqa: PLC0415

    found = _names(disk, path)
    if found is None:
        items = inspection.inspect_file(disk, path, with_records=with_records) or of_coordinator.inspect_file(disk, path)
        if items is None:
            raise UsageError(
                f"{path} has no name of a data directory's file: give a segment, an index, a checkpoint, or a directory"
            )
        return items
    if of_coordinator.is_coordinator(found):
        return of_coordinator.inspect_directory(disk, path)
    if inspection.is_partition(found):
        return inspection.inspect_partition(disk, path, with_records=with_records)
    return _directory(disk, path, found, with_records=with_records)


def _directory(disk: Disk, path: str, found: list[str], *, with_records: bool) -> Iterator[Item]:
    """Yield what a data directory holds, or go down into what is none."""
    from fastlog.storage import inspection  # noqa: PLC0415

    below = {name: inside for name in found if (inside := _names(disk, f"{path}/{name}")) is not None}
    partitions = [name for name, inside in below.items() if inspection.is_partition(inside)]
    others = [name for name in below if name not in partitions]
    yield from inspection.inspect_log_directory(disk, path, partitions, others, with_records=with_records)
    for name in others:
        yield from _items(disk, f"{path}/{name}", with_records=with_records)


def _names(disk: Disk, path: str) -> list[str] | None:
    """Return the names in a directory, None when the path is a file's."""
    try:
        return disk.list_directory(path)
    except NotADirectoryError:
        return None


def _as_json(value: Any) -> Any:
    """Return an item as JSON can have it: bytes are text where they are UTF-8, else {"base64": ...}."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: _as_json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(inner) for inner in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # names of headers may be no UTF-8
    return value


def _as_text(item: Item) -> str:
    kind = item["kind"]
    if kind == "problem":
        place = f"at {item['position']}: " if "position" in item else ""
        return f"  PROBLEM {place}{item['reason']}"
    indent = "" if kind in HEADINGS else "    " if kind in DEEPER else "  "
    fields = [f"{key}={_text(value)}" for key, value in item.items() if key not in ("kind", "file")]
    return f"{indent}  {' '.join([kind, *fields])}"


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return repr(value)[1:]
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, dict):
        return f"({' '.join(f'{key}={_text(inner)}' for key, inner in value.items())})"
    return "none" if value is None else str(value)
