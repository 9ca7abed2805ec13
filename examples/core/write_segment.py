"""Write lines as records into a segment that Kafka could read, without a broker.

    python examples/core/write_segment.py DIRECTORY < lines

Makes DIRECTORY/00000000000000000000.log with its two indexes, or goes on where an earlier run stopped. Keys are the line numbers,
timestamps the present; every 500 lines are one batch, and what was told as written is durable.
"""

import os
import sys
import time

from fastlog import _core

LINES_PER_BATCH = 500
BASE_OFFSET = 0


def open_segment(directory: str) -> _core.Segment:
    """Open the segment of a directory, new or as somebody left it."""

    def open_file(suffix: str) -> _core.File:
        path = f"{directory}/{BASE_OFFSET:020d}.{suffix}"
        return _core.File(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644))

    log, index, times = open_file("log"), open_file("index"), open_file("timeindex")
    segment = _core.Segment(BASE_OFFSET, log, _core.OffsetIndex(index, BASE_OFFSET), _core.TimeIndex(times, BASE_OFFSET))
    segment.recover()  # whoever wrote last may have been killed: what is whole stays
    return segment


def append(segment: _core.Segment, lines: list[bytes]) -> None:
    """Append lines as one batch."""
    builder = _core.BatchBuilder(base_offset=segment.next_offset, leader_epoch=0, max_bytes=1 << 30)
    for number, line in enumerate(lines, segment.next_offset):
        builder.append(time.time_ns() // 1_000_000, str(number).encode(), line)
    segment.append(_core.scan(builder.build()))


def main() -> None:
    """Write the lines of standard input."""
    os.makedirs(sys.argv[1], exist_ok=True)
    segment = open_segment(sys.argv[1])
    first = segment.next_offset
    lines: list[bytes] = []
    for line in sys.stdin.buffer:
        lines.append(line.rstrip(b"\n"))
        if len(lines) == LINES_PER_BATCH:
            append(segment, lines)
            lines = []
    if lines:
        append(segment, lines)
    segment.on_roll()
    segment.flush()
    print(f"offsets {first}..{segment.next_offset - 1}, {segment.size_bytes} bytes")
    segment.close()


if __name__ == "__main__":
    main()
