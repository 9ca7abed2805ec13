"""The committed corpus: for each target a file of inputs, each after its size (uint32, big-endian), smallest first."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

DIRECTORY = Path(__file__).parent / "corpus"
MOST_BYTES = 32 << 10
"""Of one target's file."""
LEAST_INPUTS = 100
"""Of one target, where so many have grown: in Python code most of what differs is seen by no coverage."""

_SIZE = struct.Struct(">I")


def read(name: str) -> list[bytes]:
    """Return a target's inputs; none when it has no file."""
    path = DIRECTORY / name
    data = path.read_bytes() if path.exists() else b""
    inputs, at = [], 0
    while at < len(data):
        (size,) = _SIZE.unpack_from(data, at)
        at += _SIZE.size
        inputs.append(data[at : at + size])
        at += size
    return inputs


def write(name: str, merged: list[bytes], others: list[bytes]) -> int:
    """Write a target's file: of merged inputs a sample that it has room for, and others where those are few; return how many."""
    kept: dict[bytes, None] = {}
    room = MOST_BYTES
    for data in [*_shuffled(merged), *_shuffled(others)[: max(0, LEAST_INPUTS - len(merged))]]:
        if data not in kept and _SIZE.size + len(data) <= room:
            kept[data] = None
            room -= _SIZE.size + len(data)
    DIRECTORY.mkdir(exist_ok=True)
    (DIRECTORY / name).write_bytes(
        b"".join(_SIZE.pack(len(data)) + data for data in sorted(kept, key=lambda one: (len(one), one)))
    )
    return len(kept)


def _shuffled(inputs: list[bytes]) -> list[bytes]:
    """Return inputs in an order that has nothing to do with their bytes, and is the same each time."""
    return sorted(inputs, key=lambda one: hashlib.sha256(one).digest())
