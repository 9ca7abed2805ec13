"""The compression codecs of record batches: gzip, snappy, lz4, zstd, by cramjam, which is imported when first needed.

Imports only `errors`. Formats as Kafka's Java clients write and read them (KIP-57, KIP-110): gzip members; snappy in the framing
of xerial's snappy-java (raw blocks of at most 32 KiB before compression, each with its size), with plain raw snappy accepted too;
lz4 frames of independent 64 KiB blocks (Java refuses linked ones, cramjam's default); zstd frames.

Decompression is bounded: it writes into a buffer that doubles up to `max_bytes` and never past it, so a few bytes that promise
gigabytes cost at most that.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Final

from fastlog.errors import CorruptRecord

if TYPE_CHECKING:
    from typing_extensions import Buffer

NONE: Final = 0
GZIP: Final = 1
SNAPPY: Final = 2
LZ4: Final = 3
ZSTD: Final = 4
NAMES: Final = ("none", "gzip", "snappy", "lz4", "zstd")
"""Kafka's names of the codecs, in the order of their numbers."""

DEFAULT_MAX_BYTES: Final = 256 << 20
"""Most bytes that a batch may decompress to where the caller doesn't say."""

_XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER: Final = _XERIAL_MAGIC + (1).to_bytes(4, "big") + (1).to_bytes(4, "big")
_XERIAL_BLOCK_BYTES: Final = 32 << 10
_DEFAULT_LEVELS: Final = {GZIP: 6, LZ4: 1, ZSTD: 3}
_FIRST_GUESS_FACTOR: Final = 8
_FIRST_GUESS_BYTES: Final = 64 << 10
_BUFFER_TOO_SMALL: Final = "failed to write whole buffer"


class DecompressesToMore(CorruptRecord):
    """The data would decompress to more bytes than are allowed."""


def codec_by_name(name: str) -> int:
    """Return the number of a codec; ValueError for a name that is none."""
    try:
        return NAMES.index(name)
    except ValueError:
        raise ValueError(f"unknown codec {name!r}: {', '.join(NAMES)}") from None


def compress(codec: int, payload: Buffer, level: int | None = None) -> Buffer:
    """Compress a batch's payload; `level` is the codec's own scale (none for snappy)."""
    if codec == NONE:
        return payload
    cramjam = _cramjam()
    if codec == SNAPPY:
        return _compress_snappy(cramjam, memoryview(payload))
    if level is None:
        level = _DEFAULT_LEVELS[codec]
    if codec == GZIP:
        return memoryview(cramjam.gzip.compress(payload, level=level))
    if codec == ZSTD:
        return memoryview(cramjam.zstd.compress(payload, level=level))
    stream = cramjam.lz4.Compressor(level=level, content_checksum=False, block_linked=False)
    stream.compress(bytes(payload))
    return memoryview(stream.finish())


def decompress(codec: int, payload: Buffer, max_bytes: int = DEFAULT_MAX_BYTES) -> Buffer:
    """Return what a batch's payload decompresses to; CorruptRecord when it cannot be, DecompressesToMore than `max_bytes`."""
    if codec == NONE:
        return payload
    if codec not in (GZIP, SNAPPY, LZ4, ZSTD):
        raise CorruptRecord(f"unknown codec number {codec}")
    cramjam = _cramjam()
    if codec == SNAPPY:
        return _decompress_snappy(cramjam, memoryview(payload).cast("B"), max_bytes)
    room = min(max(_FIRST_GUESS_FACTOR * memoryview(payload).nbytes, _FIRST_GUESS_BYTES), max_bytes)
    module = getattr(cramjam, NAMES[codec])
    while True:
        out = bytearray(room)
        try:
            size: int = module.decompress_into(payload, out)
        except cramjam.DecompressionError as error:
            if str(error) != _BUFFER_TOO_SMALL:
                raise CorruptRecord(f"the {NAMES[codec]} data cannot be decompressed: {error}") from None
            if room == max_bytes:
                raise DecompressesToMore(f"the {NAMES[codec]} data decompresses to more than {max_bytes} bytes") from None
            room = min(2 * room, max_bytes)
        else:
            return memoryview(out)[:size].toreadonly()


def _cramjam() -> ModuleType:
    import cramjam  # noqa: PLC0415 - a broker that only passes batches through never needs it

    return cramjam


def _compress_snappy(cramjam: ModuleType, payload: memoryview) -> bytes:
    parts = [_XERIAL_HEADER]
    for start in range(0, payload.nbytes, _XERIAL_BLOCK_BYTES):
        block = bytes(cramjam.snappy.compress_raw(payload[start : start + _XERIAL_BLOCK_BYTES]))
        parts += (len(block).to_bytes(4, "big"), block)
    return b"".join(parts)


def _decompress_snappy(cramjam: ModuleType, payload: memoryview, max_bytes: int) -> memoryview:
    blocks = []
    size = 0
    for block in _snappy_blocks(payload):
        try:
            declared: int = cramjam.snappy.decompress_raw_len(block)
            size += declared
            if size > max_bytes:
                raise DecompressesToMore(f"the snappy data decompresses to more than {max_bytes} bytes")
            blocks.append(cramjam.snappy.decompress_raw(block, output_len=declared))
        except cramjam.DecompressionError as error:
            raise CorruptRecord(f"the snappy data cannot be decompressed: {error}") from None
    return memoryview(b"".join(blocks) if len(blocks) != 1 else blocks[0]).toreadonly()


def _snappy_blocks(payload: memoryview) -> list[memoryview]:
    """Cut xerial's framing into raw blocks; several framings may follow one another. Without its magic all is one raw block."""
    if bytes(payload[: len(_XERIAL_MAGIC)]) != _XERIAL_MAGIC:
        return [payload]
    blocks = []
    at = 0
    while at < payload.nbytes:
        if bytes(payload[at : at + len(_XERIAL_MAGIC)]) == _XERIAL_MAGIC:
            at += len(_XERIAL_HEADER)
            continue
        size = int.from_bytes(payload[at : at + 4], "big")
        at += 4
        if at + size > payload.nbytes:
            raise CorruptRecord(f"a snappy block of {size} bytes ends past the data")
        blocks.append(payload[at : at + size])
        at += size
    return blocks
