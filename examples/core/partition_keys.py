"""Tell on which partition Java's default partitioner puts each key, without a broker.

    python examples/core/partition_keys.py PARTITIONS [FILE]

Reads one key a line (from FILE or standard input) and prints `partition<TAB>key` for each. All keys are hashed in one call: their
bytes lie side by side in one buffer, and key i from `ends[i]` to `ends[i + 1]`, which is how Arrow keeps a column of binary
values. NumPy arrays and Arrow buffers can be handed in as they are.
"""

import sys
from array import array

from fastlog import _core


def partitions_of(keys: list[bytes], partition_count: int) -> list[int]:
    """Return the partition of each key."""
    ends = array("q", [0])
    for key in keys:
        ends.append(ends[-1] + len(key))
    partitions = array("i", bytes(4 * len(keys)))
    _core.partition_column(b"".join(keys), ends, partition_count, partitions)
    return partitions.tolist()


def main() -> None:
    """Read keys and print them with their partitions."""
    if len(sys.argv) not in (2, 3) or not sys.argv[1].isdecimal() or int(sys.argv[1]) < 1:
        raise SystemExit("usage: partition_keys.py PARTITIONS [FILE]")
    if len(sys.argv) == 3:
        with open(sys.argv[2], "rb") as file:
            lines = file.read().splitlines()
    else:
        lines = sys.stdin.buffer.read().splitlines()
    for key, partition in zip(lines, partitions_of(lines, int(sys.argv[1])), strict=True):
        sys.stdout.buffer.write(b"%d\t%s\n" % (partition, key))


if __name__ == "__main__":
    main()
