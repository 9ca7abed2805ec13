"""The codecs against other libraries' bytes, their bounds, and what broken bytes do."""

import gzip
import tracemalloc

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlog import codecs
from fastlog.errors import CorruptRecord

CODECS = pytest.mark.parametrize("codec", range(1, 5), ids=codecs.NAMES[1:])


@CODECS
@given(data=st.binary(max_size=200) | st.builds(bytes.__mul__, st.binary(min_size=1, max_size=20), st.integers(1, 10_000)))
def test_round_trip(codec, data):
    assert bytes(codecs.decompress(codec, codecs.compress(codec, data))) == data


@CODECS
def test_buffers_of_any_kind(codec):
    data = memoryview(bytearray(b"0123456789" * 10_000))[7:]
    assert codecs.decompress(codec, bytearray(codecs.compress(codec, data))) == data


def test_none_passes_through_without_a_copy():
    data = b"data"
    assert codecs.compress(codecs.NONE, data) is data and codecs.decompress(codecs.NONE, data) is data


def test_what_others_write_is_read():
    data = b"a line of text\n" * 20_000
    assert codecs.decompress(codecs.GZIP, gzip.compress(data)) == data
    assert codecs.decompress(codecs.GZIP, gzip.compress(data[:100]) + gzip.compress(data[100:])) == data
    assert codecs.decompress(codecs.SNAPPY, bytes(cramjam.snappy.compress_raw(data))) == data
    assert codecs.decompress(codecs.LZ4, bytes(cramjam.lz4.compress(data))) == data


def test_snappy_is_framed_as_xerial_does():
    data = bytes(range(256)) * 1000
    framed = bytes(codecs.compress(codecs.SNAPPY, data))
    assert framed[:16] == b"\x82SNAPPY\0\0\0\0\1\0\0\0\1"
    at, blocks = 16, []
    while at < len(framed):
        size = int.from_bytes(framed[at : at + 4], "big")
        blocks.append(bytes(cramjam.snappy.decompress_raw(framed[at + 4 : at + 4 + size])))
        at += 4 + size
    assert b"".join(blocks) == data and {len(block) for block in blocks[:-1]} == {32 << 10}
    assert codecs.decompress(codecs.SNAPPY, framed + framed) == data + data


def test_lz4_frames_have_independent_blocks_of_64_kib():
    """Java refuses frames whose blocks are linked: bits 6 and 5 of the flags are the version, 01, and block independence."""
    frame = bytes(codecs.compress(codecs.LZ4, b"x" * 200_000))
    assert frame[:4] == b"\x04\x22\x4d\x18" and frame[4] >> 5 == 0b011 and frame[5] == 0x40


@CODECS
def test_broken_bytes_are_refused(codec):
    good = bytes(codecs.compress(codec, b"some text " * 1000))
    for broken in (b"", b"\xff" * 50, good[:-5], good[: len(good) // 2]):
        with pytest.raises(CorruptRecord):
            codecs.decompress(codec, broken)


def test_an_unknown_codec_is_refused():
    with pytest.raises(CorruptRecord, match="unknown codec number 5"):
        codecs.decompress(5, b"")
    with pytest.raises(ValueError, match="unknown codec 'brotli': none, gzip, snappy, lz4, zstd"):
        codecs.codec_by_name("brotli")


@CODECS
def test_a_bomb_costs_no_more_than_the_bound(codec):
    bomb = bytes(codecs.compress(codec, bytes(32 << 20)))
    assert len(codecs.decompress(codec, bomb, 32 << 20)) == 32 << 20
    tracemalloc.start()
    try:
        with pytest.raises(CorruptRecord, match=f"the {codecs.NAMES[codec]} data decompresses to more than 1048576 bytes"):
            codecs.decompress(codec, bomb, 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 3 << 20
    finally:
        tracemalloc.stop()
