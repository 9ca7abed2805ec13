"""What a process has in memory, for the benchmarks."""

from __future__ import annotations

import pathlib


def memory_mb(pid: int) -> dict[str, float]:
    """Return the resident memory of a process, its anonymous and its file-backed pages."""
    fields: dict[str, int] = {}
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split(":")
        fields[name] = int(value.split()[0])
    return {
        "resident_mb": fields["Rss"] / 1024,
        "anonymous_mb": fields["Anonymous"] / 1024,
        "file_backed_mb": (fields["Rss"] - fields["Anonymous"]) / 1024,
    }
