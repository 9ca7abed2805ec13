"""What batches hold, compressed or not: the workload's and the checker's one way to look into them."""

from __future__ import annotations

from collections.abc import Iterator

from fastlog import _core
from fastlog.codecs import decompress

MOST_PAYLOAD_BYTES = 1 << 20


def records_of(batch: _core.Batch) -> Iterator[_core.Record]:
    """Iterate over a batch's records; CorruptRecord where its payload cannot be decompressed, CorruptBatch where it is none."""
    return batch.records(decompress(batch.codec, batch.payload, MOST_PAYLOAD_BYTES) if batch.codec else None)


def values_of(batch: _core.Batch) -> list[bytes]:
    """Return the values of a batch's records."""
    return [bytes(record.value or b"") for record in records_of(batch)]
