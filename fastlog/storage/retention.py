"""Which segments a log may let go: pure decisions, by age, by size, and by the log's start.

Rules of retention.ms and retention.bytes, where cleanup.policy says delete: whole segments, oldest first, never above the high
watermark. A segment is as old as its newest record, so a record with a timestamp in the future keeps its segment. By size a
segment goes only when what remains is still as large as retention.bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from fastlog.storage.log_config import LogConfig


class SegmentFacts(NamedTuple):
    """What retention looks at. `newest_ms` is the greatest timestamp, or when the segment was made if no record has one."""

    end_offset: int
    size_bytes: int
    newest_ms: int


def expired_count(
    segments: Iterable[SegmentFacts],
    log_size_bytes: int,
    config: LogConfig,
    now_ms: int,
    log_start_offset: int,
    high_watermark: int,
) -> int:
    """Return how many of the oldest segments are to be deleted. `segments` is read no further than needed."""
    count = 0
    deletes = config.cleanup_policy == "delete"
    remaining_bytes = log_size_bytes
    for segment in segments:
        if segment.end_offset > high_watermark or segment.size_bytes == 0:
            break
        too_old = deletes and 0 <= config.retention_ms < now_ms - segment.newest_ms
        too_much = deletes and 0 <= config.retention_bytes <= remaining_bytes - segment.size_bytes
        if not (too_old or too_much or segment.end_offset <= log_start_offset):
            break
        remaining_bytes -= segment.size_bytes
        count += 1
    return count
