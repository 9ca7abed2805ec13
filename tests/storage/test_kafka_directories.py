"""Data directories that Kafka 4.3.1 wrote (tests/data/kafka-4.3.1-data.tar.gz): `clean` after a stop, `live` copied while it ran.

`txn-0` holds six transactions of ten records, every second one aborted; in `live` a seventh is open with one record. `zipped-0`
holds 2,000 records in each of gzip, snappy, lz4 and zstd, stamped by the log.
"""

import tarfile
from pathlib import Path

import pytest

from fastlog._core import scan
from fastlog.codecs import decompress
from fastlog.errors import UsageError

SAMPLE = Path(__file__).parents[1] / "data" / "kafka-4.3.1-data.tar.gz"
CLUSTER = "AAAAAAAAQACAAAAAAAAAAA"
ABORTED = [(1, 11), (1, 33), (1, 55)]


@pytest.fixture
def kafkas(storage, tmp_path):
    """Open a copy of one of the sample's directories: kafkas("clean") -> storage."""

    def open_one(which):
        with tarfile.open(SAMPLE) as sample:
            sample.extractall(tmp_path, filter="data")
        made = storage(tmp_path / which)
        made.clock.now_ms = 1_795_372_680_000
        made.open(cluster_id=CLUSTER)
        return made

    return open_one


def records_of(log):
    """Return how many records that are not transaction markers are in the log, every batch checked and opened."""
    count, offset = 0, log.log_start_offset
    while offset < log.log_end_offset:
        region = log.read(offset, 1 << 20, log.log_end_offset)
        for batch in scan(bytes(memoryview(region)), allow_partial=True):
            payload = decompress(batch.codec, batch.payload) if batch.codec else None
            count += 0 if batch.is_control else len(list(batch.records(payload)))
            offset = batch.last_offset + 1
    return count


def test_after_a_clean_stop_of_kafka_no_log_is_read(kafkas):
    storage = kafkas("clean")
    assert [name for name in storage.disk.reads if name.endswith(".log")] == []
    assert sorted((log.topic, log.log_end_offset, log.recovery_point) for log in storage.manager) == [
        ("txn", 68, 68),
        ("zipped", 8000, 8000),
    ]


def test_transactions_of_kafka(kafkas):
    log = kafkas("clean").manager.get("txn", 0)
    log.high_watermark = 68
    assert (log.last_stable_offset, log.producer_count, log.leader_epochs.entries()) == (68, 1, [(0, 0)])
    assert log.aborted_transactions(0, 68) == ABORTED
    assert log.aborted_transactions(22, 50) == ABORTED[1:2]
    assert records_of(log) == 61
    assert log.topic_id.hex() == "5f77f0291253479f9371d8262451f4d3"


def test_compressed_batches_of_kafka_and_their_times(kafkas, found):
    log = kafkas("clean").manager.get("zipped", 0)
    assert records_of(log) == 8000
    timestamp_ms, offset = found(log.timestamp_steps, 0, 8000, decompress)
    assert (timestamp_ms > 1_795_000_000_000, offset) == (True, 0)
    newest_ms = log.max_timestamp_ms()
    assert found(log.timestamp_steps, newest_ms, 8000, decompress)[0] == newest_ms
    assert found(log.timestamp_steps, newest_ms + 1, 8000, decompress) is None


def test_a_directory_of_a_killed_kafka_is_recovered(kafkas):
    storage = kafkas("live")
    log = storage.manager.get("txn", 0)
    log.high_watermark = log.log_end_offset
    assert (log.log_end_offset, log.last_stable_offset, log.recovery_point) == (67, 66, 67)
    assert records_of(log) == 61
    assert log.aborted_transactions(0, 66) == ABORTED


def test_it_is_appended_to_and_opened_again(kafkas, batch):
    storage = kafkas("clean")
    before = {log.topic: log.log_end_offset for log in storage.manager}
    for log in storage.manager:
        (result,) = storage.append(log, batch([b"of fastlog"], timestamp_ms=storage.clock.now_ms, producer=(77, 0, 0)))
        assert (result.error, result.base_offset) == (0, before[log.topic])
    storage.crash()
    storage.open(cluster_id=CLUSTER)
    for log in storage.manager:
        assert records_of(log) == {"txn": 62, "zipped": 8001}[log.topic]


def test_another_cluster_is_refused(kafkas):
    storage = kafkas("clean")
    storage.close()
    with pytest.raises(UsageError, match=f"cluster {CLUSTER}, and this is cluster another"):
        storage.open(cluster_id="another")
