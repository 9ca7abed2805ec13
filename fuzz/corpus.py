"""The committed corpus: for each target a file of inputs, each after its size (uint32, big-endian), smallest first."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

DIRECTORY = Path(__file__).parent / "corpus"
MOST_BYTES = 32 << 10
"""Of one target's file."""

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


def write(name: str, inputs: list[bytes]) -> int:
    """Write a target's file, of a sample of inputs that it has room for; return how many they are."""
    kept, size = [], 0
    for data in sorted(
        set(inputs), key=lambda one: hashlib.sha256(one).digest()
    ):  # any order that has nothing to do with the bytes
        if size + _SIZE.size + len(data) <= MOST_BYTES:
            kept.append(data)
            size += _SIZE.size + len(data)
    DIRECTORY.mkdir(exist_ok=True)
    (DIRECTORY / name).write_bytes(
        b"".join(_SIZE.pack(len(data)) + data for data in sorted(kept, key=lambda one: (len(one), one)))
    )
    return len(kept)
