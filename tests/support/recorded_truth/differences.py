"""The list of differences that are known and meant: read from the tables of docs/differences.md, and held against those found.

A row is `| request | field | Kafka 4.3.1 | fastlog | why |`; the first four are patterns in which `*` stands for anything,
written as code. Every difference has to be in the list, and every row of the list has to be of use.
"""

from __future__ import annotations

import pathlib
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

HEADER = ["request", "field", "Kafka 4.3.1", "fastlog", "why"]
ABSENT = "absent"
THERE = "there"


class Difference(NamedTuple):
    """One field of one answer that is not the same."""

    request: str
    field: str
    kafka: str
    fastlog: str

    def __str__(self) -> str:
        return f"{self.request}: {self.field} is {self.kafka} of Kafka, {self.fastlog} of fastlog"


@dataclass
class Known:
    """A row of the list, and what it stood for in this run."""

    patterns: tuple[str, str, str, str]
    why: str
    line: int
    found: list[Difference] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._expressions = [re.compile(".*".join(map(re.escape, pattern.split("*"))), re.S) for pattern in self.patterns]

    def covers(self, difference: Difference) -> bool:
        return all(expression.fullmatch(text) for expression, text in zip(self._expressions, difference, strict=True))


def read(path: pathlib.Path) -> list[Known]:
    """Return the rows of every table with the right header; ValueError for a row that cannot be read."""
    known = []
    in_table = False
    for number, line in enumerate(path.read_text().splitlines(), 1):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells == HEADER:
            in_table = True
        elif not line.startswith("|"):
            in_table = False
        elif in_table and not all(re.fullmatch(r"-+", cell) for cell in cells):
            patterns = [cell.strip("`").replace("\\|", "|") for cell in cells[:4]]
            if len(cells) != len(HEADER) or not all(cells):
                raise ValueError(f"{path}:{number}: a row needs {len(HEADER)} cells that are not empty")
            known.append(Known((patterns[0], patterns[1], patterns[2], patterns[3]), cells[4], number))
    return known


def compare(request: str, kafka: dict[str, Any], fastlog: dict[str, Any]) -> list[Difference]:
    """Return the fields that differ, of one answer each; an element of an array that is missing counts as one."""
    found: dict[str, Difference] = {}
    for name in dict.fromkeys([*kafka, *fastlog]):
        if name in kafka and name in fastlog:
            if kafka[name] != fastlog[name]:
                found[name] = Difference(request, name, _shown(kafka, name), _shown(fastlog, name))
        else:
            here, there = (kafka, fastlog) if name in kafka else (fastlog, kafka)
            element = _missing_element(name, there)
            shown = THERE if element != name else _shown(here, name)
            found[element] = Difference(request, element, *((shown, ABSENT) if here is kafka else (ABSENT, shown)))
    return list(found.values())


def _missing_element(name: str, there: dict[str, Any]) -> str:
    """Return the outermost element on the way to a field of which `there` has nothing; the field where it has each of them."""
    for bracket in re.finditer(r"\](?=\.)", name):
        element = name[: bracket.end()]
        if not any(other.startswith(f"{element}.") for other in there):
            return element
    return name


def grouped(differences: list[Difference]) -> list[str]:
    """Return a line for each thing that differs, with the versions in which it does."""
    versions: dict[tuple[str, ...], list[str]] = {}
    for difference in differences:
        version = re.search(r" v(\d+) ", difference.request)
        what = difference.request.replace(version.group(), " v* ") if version else difference.request
        versions.setdefault((what, *difference[1:]), []).append(version.group(1) if version else "")
    return [f"{Difference(*what)} (versions {','.join(found)})" for what, found in versions.items()]


def _shown(fields: dict[str, Any], name: str) -> str:
    if name not in fields:
        return ABSENT
    value = fields[name]
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value) or '""'
