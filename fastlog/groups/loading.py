"""Reads a partition of `__consumer_offsets` from its start to its end: what its groups and offsets are now.

Offsets that were committed in a transaction count when its marker says so. Records that are no group's business, or are damaged,
are passed over, the latter with a line in the log: one bad record must not cost all the others.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from fastlog import codecs
from fastlog._core import CorruptBatch, Region, scan
from fastlog.errors import CorruptMessage, CorruptRecord, KafkaError
from fastlog.groups.records import GroupRecord, OffsetRecord, read_record

if TYPE_CHECKING:
    from fastlog._core import Batch
    from fastlog.storage.log import Log

READ_BYTES: Final = 64 << 10
"""Read in one step: some hundred records, each of which takes some microseconds."""
_MARKER: Final = struct.Struct(">hh")
_COMMIT: Final = 1

logger = logging.getLogger(__name__)

Apply = Callable[[OffsetRecord | GroupRecord], object]


def load_steps(log: Log, apply: Apply) -> Iterator[None]:
    """Apply all records of a log in order, some of them between one step and the next. Raises KafkaError, OSError."""
    open_transactions: dict[int, list[OffsetRecord | GroupRecord]] = {}
    offset, end_offset = log.log_start_offset, log.log_end_offset
    while offset < end_offset:
        region = log.read(offset, READ_BYTES, end_offset)
        if region is None:
            return
        for batch in _batches(log, region):
            if batch.last_offset >= offset:
                _apply_batch(log, batch, open_transactions, apply)
                offset = batch.last_offset + 1
        yield


def _batches(log: Log, region: Region) -> list[Batch]:
    try:
        return scan(region, allow_partial=True, compacted=True)
    except CorruptBatch as error:
        raise CorruptMessage(f"{log.path}: corrupt batch: {error.reason} at byte {error.position}") from None


def _apply_batch(log: Log, batch: Batch, open_transactions: dict[int, list[OffsetRecord | GroupRecord]], apply: Apply) -> None:
    try:
        _apply_records(log, batch, open_transactions, apply)
    except (CorruptBatch, CorruptRecord, KafkaError) as error:  # its checksum holds: somebody wrote it so
        logger.error("%s: the batch at offset %d cannot be opened, and is passed over: %s", log.path, batch.base_offset, error)


def _apply_records(log: Log, batch: Batch, open_transactions: dict[int, list[OffsetRecord | GroupRecord]], apply: Apply) -> None:
    payload = codecs.decompress(batch.codec, batch.payload) if batch.codec else None
    if batch.is_control:
        found = open_transactions.pop(batch.producer_id, [])
        is_commit = any(one.key is not None and _MARKER.unpack_from(one.key)[1] == _COMMIT for one in batch.records(payload))
        for ended in found if is_commit else ():
            apply(ended)
        return
    for one in batch.records(payload):
        try:
            record = read_record(one.key, one.value)
        except CorruptRecord as error:
            logger.error("%s: the record at offset %d is passed over: %s", log.path, one.offset, error)
            continue
        if record is None:
            continue
        if batch.is_transactional:
            open_transactions.setdefault(batch.producer_id, []).append(record)
        else:
            apply(record)
