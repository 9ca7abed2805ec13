"""compression.type: what is on disk under each codec, and what becomes of batches that are not what they should be."""

import struct

import pytest

from fastlog import codecs, errors
from fastlog._core import BATCH_OVERHEAD_BYTES, BatchBuilder, Slice, scan
from fastlog.storage import recompression
from fastlog.storage.log_config import LogConfig
from fastlog.storage.recompression import Recompression, opened

NOW = 1_700_000_000_000
TYPES = ("uncompressed", "gzip", "snappy", "lz4", "zstd")
VALUES = [b"a line of a log that says much the same as the others %d" % number for number in range(200)]


@pytest.fixture
def log_of(storage, topic_id):
    def make(**options):
        made = storage(**options)
        return made, made.open().create("t", 0, topic_id)

    return make


def produced(codec, values=VALUES, *, timestamps=None, payload=None, attributes=0, producer=(-1, -1, -1)):
    """Return one produced batch under a codec, in writable memory."""
    builder = BatchBuilder(
        max_bytes=1 << 30,
        attributes=attributes,
        producer_id=producer[0],
        producer_epoch=producer[1],
        base_sequence=producer[2],
    )
    for value, timestamp in zip(values, timestamps or [NOW] * len(values), strict=True):
        builder.append(timestamp, b"key", value, [("header", b"1")])
    if not codec and payload is None:
        return Slice(bytearray(builder.build()))
    return Slice(bytearray(builder.build(codecs.compress(codec, builder.payload()) if payload is None else payload, codec)))


def on_disk(log):
    """Return the batches of a log; their CRCs are checked."""
    return scan(bytes(memoryview(log.read(0, 1 << 30, log.log_end_offset))))


def records(batch):
    payload = codecs.decompress(batch.codec, batch.payload) if batch.codec else None
    return [
        (one.offset, one.timestamp_ms, bytes(one.key), bytes(one.value), [(name, bytes(value)) for name, value in one.headers])
        for one in batch.records(payload)
    ]


@pytest.mark.parametrize("source", range(5), ids=codecs.NAMES)
@pytest.mark.parametrize("wanted", TYPES)
def test_every_codec_becomes_the_topics_own(log_of, source, wanted):
    storage, log = log_of(compression_type=wanted)
    timestamps = [NOW + number for number in range(len(VALUES))]
    producer = (7, 1, 5)
    given = produced(source, timestamps=timestamps, producer=producer)
    before = bytes(given)
    (result,) = storage.append(log, given)
    assert (result.error, result.base_offset, result.last_offset) == (0, 0, 199)
    (batch,) = on_disk(log)
    assert batch.codec == (0 if wanted == "uncompressed" else codecs.codec_by_name(wanted))
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence, batch.count) == (*producer, 200)
    assert (batch.base_timestamp_ms, batch.max_timestamp_ms, batch.last_offset_delta) == (NOW, NOW + 199, 199)
    assert records(batch) == [(n, NOW + n, b"key", value, [("header", b"1")]) for n, value in enumerate(VALUES)]
    if batch.codec == source:
        assert bytes(memoryview(batch))[16:] == before[16:], "nothing is compressed anew"


@pytest.mark.parametrize("source", range(5), ids=codecs.NAMES)
def test_producers_own_codec_stays(log_of, source):
    storage, log = log_of(compression_type="producer")
    storage.append(log, produced(source))
    assert [batch.codec for batch in on_disk(log)] == [source]


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("gzip", {"compression_gzip_level": 1}, {}), ("zstd", {"compression_zstd_level": -50}, {"compression_zstd_level": 19})],
)
def test_levels(name, low, high):
    (batch,) = scan(produced(codecs.NONE))
    small, large = (Recompression(LogConfig(compression_type=name, **level)).apply(batch).size_bytes for level in (high, low))
    assert small < large


def test_lz4_levels():
    (batch,) = scan(produced(codecs.NONE, [b" ".join(b"%d" % (n * n % 8191) for n in range(k, k + 30)) for k in range(2_000)]))
    sizes = {
        level: Recompression(LogConfig(compression_type="lz4", compression_lz4_level=level)).apply(batch).size_bytes
        for level in (1, 9, 17)
    }
    assert sizes[17] <= sizes[9] < sizes[1]


def test_the_brokers_timestamps_go_with_it(log_of):
    storage, log = log_of(compression_type="lz4", message_timestamp_type="LogAppendTime")
    storage.append(log, produced(codecs.GZIP))
    (batch,) = on_disk(log)
    assert (batch.codec, batch.is_log_append_time, batch.max_timestamp_ms) == (codecs.LZ4, True, storage.clock.now_ms)


def test_a_repetition_is_known_without_opening_it(log_of, monkeypatch):
    storage, log = log_of(compression_type="zstd")
    storage.append(log, produced(codecs.GZIP, producer=(7, 0, 0)))
    monkeypatch.setattr(recompression, "opened", None)
    (again,) = storage.append(log, produced(codecs.GZIP, producer=(7, 0, 0)))
    assert (again.error, again.base_offset, again.last_offset) == (0, 0, 199)


def test_batches_of_one_turn(log_of, read):
    storage, log = log_of(compression_type="gzip", segment_bytes=3_000)
    results = storage.append(log, *(produced(codec, [b"%d" % n] * 50) for n, codec in enumerate([0, 1, 2, 3, 4] * 4)))
    assert [result.base_offset for result in results] == list(range(0, 1000, 50))
    batches, offset = [], 0
    while offset < log.log_end_offset:
        batches += scan(bytes(memoryview(log.read(offset, 1 << 20, log.log_end_offset))))
        offset = batches[-1].last_offset + 1
    assert log.segment_count > 1
    assert [batch.codec for batch in batches] == [codecs.GZIP] * 20
    assert [records(batch)[0][3] for batch in batches] == [b"%d" % n for n in range(20)]


def test_what_is_too_large_under_the_topics_codec_is_refused(log_of):
    storage, log = log_of(compression_type="uncompressed", max_message_bytes=5_000)
    (result,) = storage.append(log, produced(codecs.ZSTD))
    assert (result.error, log.log_end_offset) == (errors.MessageTooLarge.code, 0)


def test_what_is_too_large_as_it_came_is_refused(log_of):
    storage, log = log_of(compression_type="zstd", max_message_bytes=5_000)
    (result,) = storage.append(log, produced(codecs.NONE))
    assert (result.error, log.log_end_offset) == (errors.MessageTooLarge.code, 0)


def test_what_opens_to_too_much_is_refused_before_it_has_taken_the_memory(log_of, monkeypatch):
    monkeypatch.setattr(recompression, "MAX_OPENED_BYTES", 1 << 20)
    storage, log = log_of(compression_type="uncompressed")
    for codec in range(1, 5):
        (result,) = storage.append(log, produced(codec, payload=codecs.compress(codec, bytes((1 << 20) + 1))))
        assert (result.error, log.log_end_offset) == (errors.MessageTooLarge.code, 0)
        assert "1048576" in result.error_message


@pytest.mark.parametrize("codec", range(1, 5), ids=codecs.NAMES[1:])
@pytest.mark.parametrize("wanted", ["uncompressed", "before.max"])
def test_what_cannot_be_opened_is_refused(log_of, codec, wanted):
    how = {"compression_type": wanted} if wanted == "uncompressed" else {"message_timestamp_before_max_ms": 1000}
    storage, log = log_of(**how)
    (good,) = scan(produced(codecs.NONE))
    plain = bytes(good.payload)
    whole = bytes(codecs.compress(codec, plain))
    for payload in (
        b"?",
        whole[: len(whole) // 2],
        codecs.compress(codec, b""),
        codecs.compress(codec, plain[:-1]),  # the last record is cut
        codecs.compress(codec, plain + b"\0"),
        codecs.compress(codec, plain[: len(plain) // 2]),  # fewer records than the header says
        codecs.compress(codec, bytes(len(plain))),
    ):
        (result,) = storage.append(log, produced(codec, payload=payload))
        assert (result.error, log.log_end_offset) == (errors.InvalidRecord.code, 0), result.error_message
        assert result.error_message
    assert storage.append(log, produced(codec, timestamps=[storage.clock.now_ms] * 200))[0].error == 0


@pytest.mark.parametrize("codec", range(5), ids=codecs.NAMES)
def test_each_records_timestamp_is_looked_at(log_of, codec):
    storage, log = log_of(message_timestamp_before_max_ms=1000)
    now = storage.clock.now_ms
    assert storage.append(log, produced(codec, [b"a", b"b", b"c"], timestamps=[now, now - 1000, -1]))[0].error == 0
    for stamps in ([now, now - 1001, now], [now, -1, now - 1001], [now - 1001] * 3):
        (result,) = storage.append(log, produced(codec, [b"a", b"b", b"c"], timestamps=stamps))
        assert (result.error, log.log_end_offset) == (errors.InvalidTimestamp.code, 3)
    assert [batch.codec for batch in on_disk(log)] == [codec], "looked at, and stored as it came"


def test_other_attributes_stay():
    batch = scan(produced(codecs.SNAPPY, attributes=0x10, producer=(1, 0, 0)))[0]
    plain = opened(batch)
    assert (plain.is_transactional, plain.codec, plain.attributes) == (True, 0, 0x10)
    (length,) = struct.unpack_from(">i", memoryview(plain), 8)
    assert length == plain.size_bytes - 12 == len(plain.payload) + BATCH_OVERHEAD_BYTES - 12
    assert opened(plain) is plain
