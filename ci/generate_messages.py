"""Generate `fastlog/wire/messages/` from the message definitions in Kafka's jars.

    python ci/generate_messages.py [--check] kafka-clients-4.3.1.jar [kafka-clients-3.9.1.jar ...]

The first jar that holds a message in a living version gives it; later jars fill in what earlier ones have removed (LeaderAndIsr,
UpdateMetadata, StopReplica and ControlledShutdown ended with 3.9). Names, types, versions, nullability, defaults and tags are
taken over; descriptions are not. `--check` writes nothing and fails, naming the files, when what is committed differs.
"""

from __future__ import annotations

import argparse
import json
import keyword
import re
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "fastlog" / "wire" / "messages"
HAND_WRITTEN = {"__init__.py"}
MAX_VERSION = 32767
LINE_LENGTH = 130

COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*')
WORD_BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

INTEGERS = {"int8", "int16", "uint16", "int32", "uint32", "int64"}
ANNOTATIONS = {
    **dict.fromkeys(INTEGERS, "int"),
    "bool": "bool",
    "float64": "float",
    "string": "str",
    "bytes": "bytes",
    "uuid": "bytes",
    "records": "Buffer",
}

Range = tuple[int, int]
NONE: Range = (0, -1)


def parse_range(text: str) -> Range:
    if text == "none":
        return NONE
    first, dash, last = text.rstrip("+").partition("-")
    return int(first), MAX_VERSION if text.endswith("+") else int(last if dash else first)


def intersect(one: Range, other: Range) -> Range:
    low, high = max(one[0], other[0]), min(one[1], other[1])
    return (low, high) if low <= high else NONE


def snake_case(name: str) -> str:
    result = WORD_BREAK.sub("_", name).lower()
    if keyword.iskeyword(result):
        raise SystemExit(f"{name} would be the Python keyword {result}")
    return result


@dataclass
class Definition:
    """One JSON file of a jar."""

    json: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.json["name"])

    @property
    def kind(self) -> str:
        return str(self.json["type"])

    @property
    def is_rpc(self) -> bool:
        return self.kind in {"request", "response"}

    @property
    def api(self) -> str:
        return self.name.removesuffix("Request").removesuffix("Response") if self.is_rpc else self.name

    @property
    def valid(self) -> Range:
        return parse_range(self.json["validVersions"])

    @property
    def flexible(self) -> Range:
        return intersect(self.valid, parse_range(self.json["flexibleVersions"]))


def read_definitions(jars: list[Path]) -> list[Definition]:
    """Return the messages of the jars, those of an earlier jar first, each once and only in living versions.

    An RPC is known by its key, not by its name: ListClientMetricsResources is ListConfigResources before it was renamed.
    """
    found: dict[tuple[str, str | int], Definition] = {}
    for jar in jars:
        with zipfile.ZipFile(jar) as archive:
            for path in sorted(archive.namelist()):
                if not re.fullmatch(r"common/message/\w+\.json", path):
                    continue
                text = COMMENT.sub(lambda match: match.group(1) or "", archive.read(path).decode())
                definition = Definition(json.loads(text))
                if definition.valid != NONE:
                    identity = definition.json["apiKey"] if definition.is_rpc else definition.name
                    found.setdefault((definition.kind, identity), definition)
    return list(found.values())


def default_value(field: dict[str, Any]) -> str:
    """Return a field's default as Python source; "EMPTY" for a new list, "Name()" for a new struct."""
    kind, given = field["type"], field.get("default")
    if given == "null":
        return "None"
    if kind.startswith("[]"):
        return "EMPTY"
    if kind in INTEGERS:
        return str(int(str(given), 0)) if given not in (None, "") else "0"
    if kind == "bool":
        return str(str(given).lower() == "true")
    if kind == "float64":
        return repr(float(given or 0))
    if kind == "string":
        return json.dumps(given or "")
    if kind == "uuid":
        return "ZERO_UUID"
    if kind == "bytes":
        return 'b""'
    if kind == "records":
        return "None"
    return f"{kind}()"


class MessageSource:
    """Writes the class of one message."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.structs: dict[str, list[dict[str, Any]]] = {}
        for struct in definition.json.get("commonStructs", []):
            self.structs[struct["name"]] = struct["fields"]
        self.collect(definition.json["fields"])

    def collect(self, fields: list[dict[str, Any]]) -> None:
        for field in fields:
            if "fields" in field:
                self.structs[field["type"].removeprefix("[]")] = field["fields"]
                self.collect(field["fields"])

    def living(self, fields: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [field for field in fields if intersect(parse_range(field["versions"]), self.definition.valid) != NONE]

    def used_structs(self) -> list[str]:
        """Return the structs that living fields use, those used by others before their users."""
        order: list[str] = []

        def visit(fields: list[dict[str, Any]]) -> None:
            for field in self.living(fields):
                struct = field["type"].removeprefix("[]")
                if struct in self.structs and struct not in order:
                    visit(self.structs[struct])
                    order.append(struct)

        visit(self.definition.json["fields"])
        return order

    def annotation(self, field: dict[str, Any]) -> str:
        element = field["type"].removeprefix("[]")
        result = f"{self.definition.name}.{element}" if element in self.structs else ANNOTATIONS[element]
        if field["type"].startswith("[]"):
            result = f"list[{result}]"
        nullable = intersect(parse_range(field.get("nullableVersions", "none")), self.definition.valid) != NONE
        return f"{result} | None" if nullable or default_value(field) == "None" else result

    def table_row(self, field: dict[str, Any]) -> str:
        valid = self.definition.valid
        parts = [f'"{snake_case(field["name"])}"', f'"{field["type"]}"', f'"{field["versions"]}"']
        for option, key in (("nullable", "nullableVersions"), ("tagged", "taggedVersions")):
            if intersect(parse_range(field.get(key, "none")), valid) != NONE:
                parts.append(f'{option}="{field[key]}"')
        if field.get("flexibleVersions"):
            parts.append(f'flexible="{field["flexibleVersions"]}"')
        if "tag" in field:
            parts.append(f"tag={field['tag']}")
        default = default_value(field)
        if default not in {"None", "EMPTY"} and not default.endswith("()"):
            parts.append(f"default={default}")
        elif default == "None" and "nullableVersions" in field:
            pass  # None is the table's own default, and means null here
        elif default == "EMPTY" and "nullableVersions" in field:
            parts.append("default=EMPTY")
        if field.get("ignorable"):
            parts.append("ignorable=True")
        return f"Field({', '.join(parts)}),"

    def body(self, fields: list[dict[str, Any]], indent: str) -> list[str]:
        fields = self.living(fields)
        names = [snake_case(field["name"]) for field in fields]
        if not names:
            return [f"{indent}__slots__ = ()"]
        lines = [*wrap(f"{indent}__slots__ = ", [f'"{name}"' for name in names], tuple_=True)]
        lines += [f"{indent}FIELDS = (", *(f"{indent}    {self.table_row(field)}" for field in fields), f"{indent})", ""]
        arguments, assignments = [], []
        for field, name in zip(fields, names, strict=True):
            annotation, default = self.annotation(field), default_value(field)
            if default.endswith("()"):
                struct = f"{self.definition.name}.{default}"
                arguments.append(f"{name}: {annotation} | None = None")
                assignments.append(f"self.{name} = {struct} if {name} is None else {name}")
            elif default == "EMPTY":
                arguments.append(f"{name}: {annotation} = EMPTY")
                assignments.append(f"self.{name}: {annotation} = [] if {name} is EMPTY else {name}")
            else:
                arguments.append(f"{name}: {annotation} = {default}")
                assignments.append(f"self.{name} = {name}")
        lines += wrap(f"{indent}def __init__", ["self", "*", *arguments], end=" -> None:")
        lines += [f"{indent}    {assignment}" for assignment in assignments]
        return lines

    def source(self) -> list[str]:
        definition = self.definition
        low, high = definition.valid
        flexible = definition.flexible[0] if definition.flexible != NONE else None
        lines = [f"class {definition.name}(Message):", f'    """{describe(definition)}"""', ""]
        for struct in self.used_structs():
            lines += [f"    class {struct}(Struct):", *self.body(self.structs[struct], " " * 8), ""]
        if definition.is_rpc:
            lines.append(f"    API_KEY = {definition.json['apiKey']}")
        lines += [f"    MIN_VERSION = {low}", f"    MAX_VERSION = {high}"]
        if flexible is not None:
            lines.append(f"    FLEXIBLE_SINCE = {flexible}")
        return [*lines, *self.body(definition.json["fields"], "    ")]


def wrap(head: str, items: list[str], *, tuple_: bool = False, end: str = "") -> list[str]:
    """Return `head(items)end` on one line, or an item a line where that is too long."""
    indent = head[: len(head) - len(head.lstrip())]
    comma = "," if tuple_ and len(items) == 1 else ""
    line = f"{head}({', '.join(items)}{comma}){end}"
    if len(line) <= LINE_LENGTH:
        return [line]
    return [f"{head}(", *(f"{indent}    {item}," if item != "*" else f"{indent}    *," for item in items), f"{indent}){end}"]


def describe(definition: Definition) -> str:
    low, high = definition.valid
    versions = f"version {low}" if low == high else f"versions {low} to {high}"
    if definition.is_rpc:
        return f"The {definition.kind} of {definition.api} (key {definition.json['apiKey']}), {versions}."
    return f"{definition.name}, {versions}."


def module_source(definitions: list[Definition]) -> str:
    body: list[str] = []
    for definition in definitions:
        body += ["", "", *MessageSource(definition).source()]
    text = "\n".join(body)
    names = [name for name in ("EMPTY", "ZERO_UUID", "Field", "Message", "Struct") if re.search(rf"\b{name}\b", text)]
    head = [f'"""{definitions[0].api}. Generated by ci/generate_messages.py from Kafka\'s own definitions: do not edit."""']
    head += ["", "from __future__ import annotations", ""]
    if "Buffer" in text:
        head += ["from typing import TYPE_CHECKING", ""]
    head += [f"from fastlog.wire.schema import {', '.join(names)}"]
    if "Buffer" in text:
        head += ["", "if TYPE_CHECKING:", "    from typing_extensions import Buffer"]
    return "\n".join([*head, *body]) + "\n"


def table_source(definitions: list[Definition]) -> str:
    """Return the table of APIs: key, name, module, stable versions, flexible-since, listeners."""
    requests = sorted((d for d in definitions if d.kind == "request"), key=lambda d: int(d.json["apiKey"]))
    lines = [
        '"""The table of APIs. Generated by ci/generate_messages.py from Kafka\'s own definitions: do not edit."""',
        "",
        "from __future__ import annotations",
        "",
        *(f"{snake_case(request.api).upper()} = {request.json['apiKey']}" for request in requests),
        "",
        "# (key, name, module, first version, last stable version, first flexible version, listeners)",
        "ROWS: tuple[tuple[int, str, str, int, int, int | None, tuple[str, ...]], ...] = (",
    ]
    for request in requests:
        low, high = request.valid
        if request.json.get("latestVersionUnstable"):
            high -= 1
        flexible = request.flexible[0] if request.flexible != NONE else None
        listeners = tuple(request.json.get("listeners", ()))
        shown = f"({', '.join(json.dumps(name) for name in listeners)}{',' if len(listeners) == 1 else ''})"
        lines.append(
            f'    ({request.json["apiKey"]}, "{request.api}", "{snake_case(request.api)}", {low}, {high}, {flexible}, {shown}),'
        )
    return "\n".join([*lines, ")"]) + "\n"


def generate(jars: list[Path]) -> dict[str, str]:
    """Return file name -> contents of everything that is generated."""
    definitions = read_definitions(jars)
    modules: dict[str, list[Definition]] = {}
    for definition in sorted(definitions, key=lambda d: (d.api, d.kind)):
        modules.setdefault(snake_case(definition.api), []).append(definition)
    files = {f"{module}.py": module_source(members) for module, members in modules.items()}
    files["api_table.py"] = table_source(definitions)
    return files


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="compare with what is committed instead of writing")
    parser.add_argument("jars", nargs="+", type=Path, metavar="JAR")
    arguments = parser.parse_args()
    files = generate(arguments.jars)
    committed = {path.name: path.read_text() for path in TARGET.glob("*.py") if path.name not in HAND_WRITTEN}
    different = sorted(name for name in files.keys() | committed.keys() if files.get(name) != committed.get(name))
    if arguments.check:
        for name in different:
            print(f"{TARGET.relative_to(ROOT) / name}: not what the jars say; run ci/generate_messages.py", file=sys.stderr)
        print(f"{len(files)} generated files checked, {len(different)} differ")
        return 1 if different else 0
    for name in different:
        if name in files:
            (TARGET / name).write_text(files[name])
        else:
            (TARGET / name).unlink()
    print(f"{len(files)} files, {len(different)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
