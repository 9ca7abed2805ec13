"""Batches opened and compressed anew, where a topic's options ask for it.

A batch is opened to make it one of the codec that `compression.type` names, or to look at each record's timestamp. What comes
out of a codec is bounded, and its records are checked as those of a batch that came uncompressed. This is done on the broker's
thread, as a batch has to be what is written before it is given its offset; topics whose `compression.type` is `producer` never
pay for it.
Sources: KIP-110, KIP-390 (levels), the layout at the top of `native/batch.pxi`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from fastlog import codecs
from fastlog._core import BATCH_OVERHEAD_BYTES, CorruptBatch, Slice, crc32c, scan
from fastlog.errors import CorruptRecord, InvalidRecord, MessageTooLarge

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from fastlog._core import Batch
    from fastlog.storage.log_config import LogConfig

MAX_OPENED_BYTES: Final = 64 << 20
"""Most bytes that the records of one batch may have once they are decompressed."""

_LENGTH_POSITION: Final = 8
_CRC_POSITION: Final = 17
_ATTRIBUTES_POSITION: Final = 21
_LENGTH: Final = struct.Struct(">i")
_CRC: Final = struct.Struct(">I")
_ATTRIBUTES: Final = struct.Struct(">h")
_CODEC_BITS: Final = 0x07
_LENGTH_COUNTS_FROM: Final = 12
_DEFAULT_LEVEL: Final = -1


class Recompression:
    """What becomes of a topic's batches: which codec they get."""

    __slots__ = ("_codec", "_level")

    def __init__(self, config: LogConfig) -> None:
        """`config.compression_type` names a codec, and is not `producer`."""
        name = config.compression_type
        self._codec = codecs.NONE if name == "uncompressed" else codecs.codec_by_name(name)
        levels = {
            codecs.GZIP: config.compression_gzip_level,
            codecs.LZ4: config.compression_lz4_level,
            codecs.ZSTD: config.compression_zstd_level,
        }
        level = levels.get(self._codec)
        self._level = None if self._codec == codecs.GZIP and level == _DEFAULT_LEVEL else level

    def apply(self, batch: Batch) -> Batch:
        """Return the batch under the topic's codec: itself, where it has that one already. Raises as `opened`."""
        if batch.codec == self._codec:
            return batch
        plain = opened(batch)
        if self._codec == codecs.NONE:
            return plain
        return _rebuilt(plain, codecs.compress(self._codec, plain.payload, self._level), self._codec)


def opened(batch: Batch) -> Batch:
    """Return the batch uncompressed, its records checked.

    MessageTooLarge for records that are larger than `MAX_OPENED_BYTES` in all, so that clients send smaller batches;
    InvalidRecord for bytes that cannot be decompressed, or are no records.
    """
    if batch.codec == codecs.NONE:
        return batch
    try:
        payload = codecs.decompress(batch.codec, batch.payload, MAX_OPENED_BYTES)
    except codecs.DecompressesToMore as error:
        raise MessageTooLarge(str(error)) from None
    except CorruptRecord as error:
        raise InvalidRecord(str(error)) from None
    try:
        return _rebuilt(batch, payload, codecs.NONE)
    except CorruptBatch as error:
        raise InvalidRecord(f"decompressed, the batch has {error.reason} at byte {error.position}") from None


def _rebuilt(batch: Batch, payload: Buffer, codec: int) -> Batch:
    """Return a batch of the same header with another payload, in memory of its own."""
    payload = memoryview(payload)
    data = bytearray(BATCH_OVERHEAD_BYTES + payload.nbytes)
    data[:BATCH_OVERHEAD_BYTES] = memoryview(batch)[:BATCH_OVERHEAD_BYTES]
    data[BATCH_OVERHEAD_BYTES:] = payload
    (attributes,) = _ATTRIBUTES.unpack_from(data, _ATTRIBUTES_POSITION)
    _ATTRIBUTES.pack_into(data, _ATTRIBUTES_POSITION, attributes & ~_CODEC_BITS | codec)
    _LENGTH.pack_into(data, _LENGTH_POSITION, len(data) - _LENGTH_COUNTS_FROM)
    _CRC.pack_into(data, _CRC_POSITION, crc32c(memoryview(data)[_ATTRIBUTES_POSITION:]))
    (rebuilt,) = scan(Slice(data), check_crc=False)
    return rebuilt
