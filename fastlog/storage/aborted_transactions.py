"""Which aborted transactions touch a range of a log: Kafka's `.txnindex` files, version 0, read only.

An entry lies in the segment that holds the transaction's abort marker: producer id, first offset, last offset (the marker's), and
the last stable offset when it was written. A segment without aborted transactions has no such file. fastlog writes none yet, as
it takes part in no transaction; logs that Kafka wrote have them.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from fastlog.errors import CorruptRecord

VERSION = 0
_ENTRY = struct.Struct(">hqqqq")
ENTRY_BYTES = _ENTRY.size


class AbortedTransaction(NamedTuple):
    """One aborted transaction; `last_offset` is its marker's."""

    producer_id: int
    first_offset: int
    last_offset: int
    last_stable_offset: int


def parse(data: bytes, path: str) -> list[AbortedTransaction]:
    """Return the entries of a transaction index in order; CorruptRecord when it is none. A torn last entry is left out."""
    entries = []
    for version, *fields in _ENTRY.iter_unpack(data[: len(data) // _ENTRY.size * _ENTRY.size]):
        if version != VERSION:
            raise CorruptRecord(f"{path}: transaction index version {version} where {VERSION} is known")
        entries.append(AbortedTransaction(*fields))
    return entries
