"""Print the records of a segment from an offset on, without a broker and without copying them.

    python examples/core/read_segment.py LOG_FILE [OFFSET]

LOG_FILE is a Kafka segment (NNNNNNNNNNNNNNNNNNNN.log, its indexes beside it). Compressed batches are named, not opened.
"""

import os
import sys

from fastlog import _core

READ_BYTES = 1 << 20


def open_segment(path: str) -> _core.Segment:
    """Open a segment by its log file's name."""
    base_offset = int(os.path.basename(path).split(".")[0])

    def open_file(suffix: str) -> _core.File:
        name = path.removesuffix("log") + suffix
        return _core.File(name, os.open(name, os.O_RDONLY | os.O_CLOEXEC))

    return _core.Segment(
        base_offset,
        open_file("log"),
        _core.OffsetIndex(open_file("index"), base_offset),
        _core.TimeIndex(open_file("timeindex"), base_offset),
        sealed=True,  # nobody appends: regions show the mapped file itself
    )


def main() -> None:
    """Print the records."""
    segment = open_segment(sys.argv[1])
    offset = int(sys.argv[2]) if len(sys.argv) > 2 else segment.base_offset
    while (region := segment.read(offset, READ_BYTES)) is not None:
        for batch in _core.scan(region, allow_partial=True, compacted=True):
            if batch.codec:
                print(f"{batch.base_offset}..{batch.last_offset}: compressed, codec {batch.codec}")
            else:
                for record in batch.records():
                    if record.offset >= offset:
                        key = bytes(record.key).decode(errors="replace") if record.key is not None else ""
                        value = bytes(record.value).decode(errors="replace") if record.value is not None else ""
                        print(record.offset, record.timestamp_ms, key, value, sep="\t")
            last = batch.last_offset
        offset = last + 1


if __name__ == "__main__":
    main()
