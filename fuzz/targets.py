"""What is fuzzed: functions that take any bytes, and what must hold whatever they are.

The oracle: a target returns, or the bytes are refused by the error that the module promises (nothing else escapes); what is
accepted is what it says it is; and memory grows by no more than `fixed_bytes`, and `bytes_per_byte` for each byte given. A
target returns a number that stands for how far the bytes came where the code is Python and reports no coverage of its own.

`run.py` runs them under libFuzzer, `tests/fuzz` replays the corpus in the ordinary tests, `sanitized.py` does under sanitizers.
"""

from __future__ import annotations

import atexit
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import coordinator_client
import coordinator_port

from fastlog import _core, codecs
from fastlog._core import BATCH_OVERHEAD_BYTES, CorruptBatch, FrameError, Receiver, Slice, crc32c
from fastlog.coordinator import inspection as coordinator_inspection
from fastlog.coordinator import journal, records
from fastlog.coordinator.errors import CoordinatorError
from fastlog.coordinator.jute import JuteError, Reader
from fastlog.coordinator.tree import Tree
from fastlog.env.disk import SystemDisk
from fastlog.errors import CorruptRecord, DecodeError, UsageError
from fastlog.groups.member import GroupSnapshot, MemberSnapshot
from fastlog.groups.offsets import NO_EXPIRY, CommittedOffset
from fastlog.groups.records import GroupRecord, group_record, offset_record, read_record
from fastlog.groups.schemas import GroupMetadataKey, GroupMetadataValue, OffsetCommitKey, OffsetCommitValue
from fastlog.groups.subscriptions import subscribed_topics
from fastlog.metadata import layout
from fastlog.metadata.image import Endpoint, Partition
from fastlog.properties import parse_properties
from fastlog.storage import (
    aborted_transactions,
    checkpoints,
    inspection,
    leader_epochs,
    meta_properties,
    partition_metadata,
)
from fastlog.storage.producer_state import ProducerState
from fastlog.wire.api import APIS
from fastlog.wire.frames import body_position, encode_request
from fastlog.wire.messages.consumer_protocol_subscription import ConsumerProtocolSubscription

Verdict = int | None

KIB = 1 << 10
MIB = 1 << 20
FIXED_BYTES = 16 * KIB
"""Exceptions with their texts and traces, what Python caches, a connection's least buffer: whatever the input's size."""
BYTES_STAY_BYTES = 4
"""Bytes of memory for each byte of input, where bytes stay bytes (and a target's own copies of them count too).

A target has a larger bound where bytes become objects: an element of some bytes on the wire, such as a partition of a request,
a header of a record or an entry of an index, is an object of Python's. Then the bound is what its densest inputs were found to
take.
"""


_VERDICTS = 1 << 32


def _refusal(error: BaseException) -> int:
    """Return the verdict of a refusal: the instructions of the calls that it went through; their lines take long to find."""
    verdict, trace = 0, error.__traceback__
    while trace is not None:
        verdict = (verdict * 31 + trace.tb_lasti) % _VERDICTS
        trace = trace.tb_next
    return verdict


# ---- frames ----

MAX_FRAME_BYTES = 600
PIECES = (1, 2, 3, 7, 31, 97, 301, 1 << 20)
"""How many bytes arrive at a time."""


def frames(data: bytes) -> Verdict:
    """Bytes arrive in pieces of any size: the frames cut out are those that are there, and none is over the limit."""
    if not data:
        return None
    step, stream = PIECES[data[0] % len(PIECES)], data[1:]
    receiver, at, position = Receiver(MAX_FRAME_BYTES), 0, 0
    refused = False
    try:
        while at < len(stream):
            at += _receive(receiver, stream[at : at + step])
            while (frame := receiver.next_frame()) is not None:
                (size,) = struct.unpack_from(">i", stream, position)
                position += 4 + size
                assert stream[position - size : position] == bytes(frame)
                with suppress(FrameError):
                    _core.request_header(frame)
    except FrameError:
        refused = True
    if len(stream) - position >= 4 and at >= position + 4:
        (size,) = struct.unpack_from(">i", stream, position)
        assert refused == (not 0 <= size <= MAX_FRAME_BYTES), (refused, size)
        assert refused or len(stream) - position - 4 < size
    assert refused or receiver.buffered_bytes == len(stream) - position
    return None


def _receive(receiver: Receiver, data: bytes) -> int:
    """Let a receiver take as much of `data` as it has room for; return how much that was."""
    with memoryview(receiver) as room:
        count = min(len(room), len(data))
        room[:count] = data[:count]
    receiver.received(count)
    return count


# ---- requests ----

HOT_VERSIONS = [(0, version) for version in range(3, 14)] + [(1, version) for version in range(4, 19)]


def hot_requests(data: bytes) -> Verdict:
    """Produce and Fetch as the core parses them; the generated decoders accept the same."""
    if not data:
        return None
    key, version = HOT_VERSIONS[data[0] % len(HOT_VERSIONS)]
    frame = Slice(data, 1)
    parse = _core.parse_produce if key == 0 else _core.parse_fetch
    parsed: tuple[Any, ...] | None
    try:
        parsed = parse(frame, 0, version)
    except FrameError:
        parsed = None
    if data[0] >= 128:  # the other half goes quickly
        _compare_hot(key, version, frame, parsed)
    return None


def _compare_hot(key: int, version: int, frame: Slice, parsed: tuple[Any, ...] | None) -> None:
    try:
        message = APIS[key].request_class.decode(frame, version, body_position(frame, 0, key, version))
    except DecodeError:
        assert parsed is None, "the core accepts what the generated decoder refuses"
        return
    assert parsed is not None, "the core refuses what the generated decoder accepts"
    if key == 0:
        _, acks, timeout_ms, partitions = parsed
        assert (message.acks, message.timeout_ms) == (acks, timeout_ms)
        assert [None if records is None else bytes(records) for _, _, records in partitions] == [
            None if partition.records is None else bytes(partition.records)
            for topic in message.topic_data
            for partition in topic.partition_data
        ]
    else:
        assert [partition.fetch_offset for topic in message.topics for partition in topic.partitions] == [
            asked[3] for asked in parsed[7]
        ]


@cache
def _versions() -> list[tuple[int, int, Any]]:
    return [
        (api.key, version, api.request_class) for api in APIS.values() for version in range(api.min_version, api.max_version + 1)
    ]


def messages(data: bytes) -> Verdict:
    """Every request of every version: what is accepted encodes, and decodes to itself again."""
    if len(data) < 2:
        return None
    versions = _versions()
    number = (data[0] << 8 | data[1]) % len(versions)
    key, version, request_class = versions[number]
    frame = memoryview(data)[2:]
    try:
        message = request_class.decode(frame, version, body_position(frame, 0, key, version))
    except DecodeError as error:
        return number * 7919 + _refusal(error)
    encoded = message.encode(version)
    again = request_class.decode(encoded, version)
    assert again == message or "nan" in repr(message), message
    return number


def answers(data: bytes) -> Verdict:
    """Every answer of every version, as a client reads it from a broker: what is accepted encodes, and decodes to itself."""
    if len(data) < 2:
        return None
    versions = _answer_versions()
    number = (data[0] << 8 | data[1]) % len(versions)
    version, answer_class = versions[number]
    try:
        message = answer_class.decode(memoryview(data)[2:], version)
    except DecodeError as error:
        return number * 7919 + _refusal(error)
    again = answer_class.decode(message.encode(version), version)
    assert again == message or "nan" in repr(message), message
    return number


@cache
def _answer_versions() -> list[tuple[int, Any]]:
    return [(version, api.response_class) for api in APIS.values() for version in range(api.min_version, api.max_version + 1)]


# ---- runs of Produce requests ----

MOST_RUN_BYTES = 1 << 16
RUN_LIMITS = ((1 << 30, 1 << 40, 1 << 40, 1 << 60), (200, 400, 5, 5))


def produce_runs(data: bytes) -> Verdict:
    """Requests that wait side by side: what is taken as a run is what the ordinary way, one by one, makes of the same bytes."""
    if len(data) < 3:
        return None
    flags, version, stream = data[0], 3 + data[1] % 11, data[2:]
    if flags & 1:
        stream = _wrapped(version, stream)
    receiver, ordinary = Receiver(MOST_RUN_BYTES), Receiver(MOST_RUN_BYTES)
    for one in (receiver, ordinary):
        at = 0
        while at < len(stream):
            at += _receive(one, stream[at:])
    run = _core.peek_produce_run(receiver, 1 + (flags >> 2) % 8)
    if run is None:
        return None
    read, correlation_ids = [], []
    for _ in range(run.count):
        frame = ordinary.next_frame()
        assert frame is not None
        key, of_version, correlation_id, client_id, position = _core.request_header(frame)
        transactional_id, acks, timeout_ms, [(topic, index, records)] = _core.parse_produce(frame, position, of_version)
        assert (key, of_version, client_id, transactional_id) == (0, run.version, run.client_id, None)
        assert (acks, timeout_ms, topic, index) == (run.acks, run.timeout_ms, run.topic, run.partition)
        assert records is not None
        read.append(bytes(records))
        correlation_ids.append(correlation_id)
    assert run.records_bytes == sum(map(len, read))
    found = run.scan(*RUN_LIMITS[flags >> 1 & 1])
    assert len(found) == run.count <= len(read)
    if not found:
        return None
    for batch, records_bytes in zip(found, read, strict=False):
        (again,) = _core.scan(records_bytes)
        assert bytes(again) == bytes(batch) == records_bytes
    end = run.assign(100, 7)
    assert end == 100 + sum(batch.count for batch in found)
    _core.take_produce_run(receiver, run)
    expected = [
        _core.produce_response(run.version, correlation_id, [(run.topic, run.partition, 0, batch.base_offset, -1, 3, None)], 0)
        for batch, correlation_id in zip(found, correlation_ids, strict=False)
    ]
    assert run.responses(0, 3, None, 0) == b"".join(expected)
    return 1 + len(found)


def _wrapped(version: int, data: bytes) -> bytes:
    """Make pieces of `data`, each after its size, the batches of whole requests."""
    frames_, at = bytearray(), 0
    head, tail = _around_records(version)
    while at < len(data) and len(frames_) < MOST_RUN_BYTES:
        records = data[at + 1 : at + 1 + BATCH_OVERHEAD_BYTES + data[at] % 64]
        at += 1 + BATCH_OVERHEAD_BYTES + data[at] % 64
        if len(records) >= BATCH_OVERHEAD_BYTES:
            records = bytes(mended(records))
        size = _varint(len(records) + 1) if APIS[0].is_flexible(version) else struct.pack(">i", len(records))
        frames_ += struct.pack(">i", len(head) + len(size) + len(records) + len(tail)) + head + size + records + tail
    return bytes(frames_)


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128, value >> 7])


@cache
def _around_records(version: int) -> tuple[bytes, bytes]:
    """Return what stands before the size of the records of a request for one partition, and behind the records."""
    message = APIS[0].request_class()
    marked = b"\xa5" * 20
    topic = message.TopicProduceData(partition_data=[message.PartitionProduceData(index=1, records=marked)])
    if version < 13:
        topic.name = "t"
    message.topic_data, message.acks = [topic], 1
    whole = bytes(encode_request(message, version, 7, "me"))[4:]
    head, _, tail = whole.partition(marked)
    return head[: -1 if APIS[0].is_flexible(version) else -4], tail


# ---- batches ----


def mended(data: bytes) -> bytearray:
    """Return one batch of these bytes with the length and CRC that it would need to be accepted."""
    batch = bytearray(data)
    batch[8:12] = struct.pack(">i", len(batch) - 12)
    batch[16] = 2
    batch[17:21] = struct.pack(">I", crc32c(batch[21:]))
    return batch


def batches(data: bytes) -> Verdict:
    """Record batches under every combination of checks; records of what is accepted lie inside of it."""
    if not data:
        return None
    flags, given = data[0], data[1:]
    if flags & 1 and len(given) >= BATCH_OVERHEAD_BYTES:
        given = bytes(mended(given))
    compacted = bool(flags & 2)
    checked = bool(flags & 4)
    try:
        found = _core.scan(
            given, check_crc=bool(flags & 8), check_records=checked, allow_partial=bool(flags & 16), compacted=compacted
        )
    except CorruptBatch as error:
        assert 0 <= error.position <= len(given)
        return None
    for batch in found:
        _read(batch, None if batch.codec == 0 else batch.payload, sound=checked and batch.codec == 0)
        try:
            _core.join_records(batch, None if batch.codec == 0 else batch.payload, batch.base_offset, -1, b"\n", b"\t")
        except CorruptBatch:
            assert not checked or batch.codec
    return None


def _read(batch: _core.Batch, payload: Any, *, sound: bool) -> None:
    count = size = 0
    try:
        for record in batch.records(payload):
            count += 1
            size += len(record.key or b"") + len(record.value or b"")
            size += sum(len(value or b"") for _, value in record.headers)
            assert batch.base_offset <= record.offset or not sound
            record.timestamp_ms, record.sequence  # noqa: B018 - reading them is the test
    except CorruptBatch as error:
        assert not sound
        assert error.position >= 0
    else:
        assert count == batch.count
    assert size <= len(batch if payload is None else payload)


def record_bytes(data: bytes) -> Verdict:
    """The records of a compressed batch, which nobody checked before: any count, any payload."""
    if not data:
        return None
    header = bytearray(BATCH_OVERHEAD_BYTES + 1)
    header[22] = codecs.GZIP
    count = 1 + data[0] % 40
    header[23:27] = struct.pack(">i", count - 1)
    header[43:51] = struct.pack(">q", -1)
    header[57:61] = struct.pack(">i", count)
    (batch,) = _core.scan(mended(bytes(header)))
    _read(batch, data[1:], sound=False)
    return None


MAX_DECOMPRESSED_BYTES = 128 * KIB


def decompression(data: bytes) -> Verdict:
    """Each codec: the bytes it gives, or CorruptRecord; never more than it was allowed."""
    if not data:
        return None
    codec = 1 + data[0] % 4
    try:
        out = codecs.decompress(codec, data[1:], MAX_DECOMPRESSED_BYTES)
    except CorruptRecord as error:
        return codec * 7919 + _refusal(error) if codec != codecs.SNAPPY else None
    assert memoryview(out).nbytes <= MAX_DECOMPRESSED_BYTES
    return codec


# ---- files ----


class _Anonymous:
    """A file that lives in memory, used again for each input."""

    def __init__(self, name: str) -> None:
        self.descriptor = os.memfd_create(name)
        self.name = name

    def holding(self, data: bytes) -> _core.File:
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, data, 0)
        return _core.File(self.name, os.dup(self.descriptor))


@cache
def _anonymous(name: str) -> _Anonymous:
    return _Anonymous(name)


OFFSETS = (0, 1, 5, 100, (1 << 31) - 1, 1 << 31, (1 << 63) - 1, -1)


def indexes(data: bytes) -> Verdict:
    """Both indexes over any file: opened, asked, cut, appended to and closed."""
    if not data:
        return None
    kind = _core.OffsetIndex if data[0] & 1 else _core.TimeIndex
    index = kind(_anonymous("index").holding(data[1:]), 0)
    fine = True
    try:
        index.check()
    except CorruptBatch as error:
        assert 0 <= error.position <= len(data)
        fine = False
    entries = index.entries()
    assert len(entries) == index.count
    for asked in OFFSETS:
        found = index.lookup(asked)
        if fine:
            before = [entry for entry in entries if entry[0] <= asked]
            assert found == (before[-1] if before else (0, 0) if data[0] & 1 else (-1, 0)), (asked, found)
    index.truncate(100)
    try:
        index.append(1 << 30, 1 << 30)
    except ValueError:
        assert not fine or index.count
    index.flush()
    index.close()
    return None


def segments(data: bytes) -> Verdict:
    """A log with indexes that say anything: read, searched, recovered, and then appended to as if nothing had been."""
    if len(data) < 3:
        return None
    flags, cut, index_bytes = data[0], 3 + data[1] % 64, data[3 : 3 + data[1] % 64]
    log_bytes = bytearray(data[cut:])
    if flags & 1:
        _mend_all(log_bytes)
    log = _anonymous("log").holding(bytes(log_bytes))
    index = _core.OffsetIndex(_anonymous("offsets").holding(index_bytes if flags & 2 else b""), 0)
    times = _core.TimeIndex(_anonymous("times").holding(index_bytes if flags & 4 else b""), 0)
    segment = _core.Segment(0, log, index, times, index_interval_bytes=data[2], next_offset=1 << 20 if flags & 8 else -1)
    for offset in OFFSETS:
        for ask in (segment.find, segment.producer_batches, lambda at: _region(segment.read(at, 200)), segment.find_timestamp):
            try:
                ask(offset)
            except CorruptBatch as error:
                assert 0 <= error.position <= len(log_bytes)
    found = segment.recover()
    assert segment.size_bytes <= len(log_bytes)
    kept = _core.scan(bytes(log_bytes[: segment.size_bytes]), check_records=False, compacted=True)
    assert segment.next_offset == (kept[-1].last_offset + 1 if kept else 0)
    for recovered in found:
        assert recovered.producer_id >= 0
    for batch in kept:
        assert segment.find(batch.last_offset) is not None
    if segment.has_room(segment.next_offset, 100):
        builder = _core.BatchBuilder(base_offset=segment.next_offset)
        builder.append(1, b"key", b"value")
        segment.append(_core.scan(builder.build()))
        assert segment.read(segment.next_offset - 1, 1) is not None
    segment.close()
    return None


def _region(region: _core.Region | None) -> None:
    if region is not None:
        bytes(memoryview(region))


def _mend_all(log_bytes: bytearray) -> None:
    """Give every batch the CRC that it needs, as far as lengths lead."""
    at = 0
    while len(log_bytes) - at >= BATCH_OVERHEAD_BYTES:
        (length,) = struct.unpack_from(">i", log_bytes, at + 8)
        end = at + 12 + length
        if length < BATCH_OVERHEAD_BYTES - 12 or end > len(log_bytes):
            return
        log_bytes[at + 17 : at + 21] = struct.pack(">I", crc32c(log_bytes[at + 21 : end]))
        at = end


def _producer_snapshot(data: bytes) -> None:
    body = data[6:]
    ProducerState().load(struct.pack(">hI", 1, crc32c(body)) + body if len(data) > 6 and data[0] else data, "fuzz", 0)


FILES: list[Callable[[bytes], Any]] = [
    _producer_snapshot,
    lambda data: leader_epochs.parse(data, "fuzz"),
    lambda data: checkpoints.parse_offsets(data, "fuzz"),
    lambda data: aborted_transactions.parse(data, "fuzz"),
    lambda data: partition_metadata.parse(data, "fuzz"),
    lambda data: meta_properties.parse(data, "fuzz"),
    lambda data: parse_properties(data.decode("utf-8", "replace"), "fuzz"),
]


def small_files(data: bytes) -> Verdict:
    """Producer snapshots, leader epochs, checkpoints, transaction indexes, and the two files that say whose a directory is."""
    if not data:
        return None
    kind = data[0] % len(FILES)
    try:
        FILES[kind](data[1:])
    except (CorruptRecord, UsageError) as error:
        return kind * 7919 + _refusal(error)
    return kind


FILE_NAMES = (
    f"{0:020}.log", f"{0:020}.index", f"{0:020}.timeindex", f"{0:020}.txnindex", f"{7:020}.snapshot", "leader-epoch-checkpoint",
    "recovery-point-offset-checkpoint", "partition.metadata", "meta.properties", f"journal.{1:016x}", f"snapshot.{1:016x}",
)  # fmt: skip


@cache
def _directory() -> str:
    """Return a directory for files that need a name; it goes with the process."""
    path = tempfile.mkdtemp(prefix="fastlog-fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def dumps(data: bytes) -> Verdict:
    """Any file of a data directory as `fastlog dump` reads it: whatever is wrong is told, and nothing escapes."""
    if not data:
        return None
    kind = data[0] % len(FILE_NAMES)
    content = bytearray(data[1:])
    if data[0] >= 128 and kind == 0:
        _mend_all(content)
    path = f"{_directory()}/{FILE_NAMES[kind]}"
    with open(path, "wb") as file:
        file.write(content)
    items = inspection.inspect_file(SystemDisk(), path, with_records=True) or coordinator_inspection.inspect_file(
        SystemDisk(), path
    )
    assert items is not None
    verdict = kind
    for item in items:
        verdict = crc32c(f"{item['kind']} {str(item.get('reason'))[:20]}".encode(), verdict)
    os.unlink(path)
    return verdict


# ---- what consumer groups store and their members say ----


def group_records(data: bytes) -> Verdict:
    """Keys and values of `__consumer_offsets`, which Kafka may have written, and members' subscriptions."""
    if not data:
        return None
    if data[0] == 255:
        topics = subscribed_topics(data[1:])
        return 10 + min(data[2] if len(data) > 2 else 9, 9) * 5 + (0 if topics is None else 1 + min(len(topics), 3))
    key, value = data[2 : 2 + data[1 % len(data)] % 64], data[2 + data[1 % len(data)] % 64 :]
    try:
        read = read_record(key, None if data[0] & 1 else value)
    except CorruptRecord as error:
        return _refusal(error)
    if isinstance(read, GroupRecord):
        written = group_record(read.group_id, read.snapshot, read.state_timestamp_ms)
    elif read is not None:
        written = offset_record(*read)
    else:
        return 3
    verdict = 100 + 64 * key[1] + 8 * min(value[1] if len(value) > 1 else 7, 7) + min(len(value) // 32, 7)
    again = read_record(*written)
    assert again is not None
    assert again[:2] == read[:2]
    if isinstance(read, GroupRecord) or read.offset is None or read.offset.expire_timestamp_ms == NO_EXPIRY:
        assert again == read
    return verdict


# ---- the coordinator ----

LEAST_ZNODE_BYTES = 72
FRAME_HEAD = struct.Struct(">4sII")
FRAME_BYTES = FRAME_HEAD.size + 17


def _transaction(data: bytes) -> None:
    transaction = records.decode_transaction(data)
    assert records.decode_transaction(records.encode_transaction(transaction)) == transaction
    if transaction.zxid == 1:  # the journal looks at that before
        Tree().apply(transaction)


def _znodes(data: bytes) -> None:
    Reader(data).vector(records.decode_znode, LEAST_ZNODE_BYTES)


def _frame(data: bytes) -> None:
    if data[:1] == b"\1" and len(data) >= FRAME_BYTES:
        checked = data[FRAME_HEAD.size :]
        data = FRAME_HEAD.pack(b"\xf1\x06ZJ", len(data) - FRAME_BYTES, crc32c(checked)) + checked
        assert isinstance(journal.read_frame(data, 0), journal.Frame)
    assert isinstance(journal.read_frame(data, 0), (str, journal.Frame))
    journal.has_witness(data, 0)


ZNODES: list[Callable[[bytes], Any]] = [
    lambda data: layout.decode_broker(1, 1, data),
    lambda data: layout.decode_topic("t", data),
    lambda data: layout.decode_state("t", 0, (1,), data, 0, 0),
    layout.decode_controller,
    layout.decode_controller_epoch,
    lambda data: layout.decode_config(layout.topic_entity("t"), data),
    lambda data: layout.decode_config_change("/config/changes/config_change_1", data),
    layout.decode_cluster_id,
    layout.decode_producer_ids,
]


def znodes(data: bytes) -> Verdict:
    """What brokers read from the coordinator, and anybody may have written there."""
    if not data:
        return None
    kind = data[0] % len(ZNODES)
    try:
        read = ZNODES[kind](data[1:])
    except layout.BadZnode as error:
        return kind * 7919 + _refusal(error)
    return kind * 7919 + len(str(read)).bit_length()


JUTE: list[Callable[[bytes], Any]] = [_transaction, _znodes, _frame]


def jute(data: bytes) -> Verdict:
    """Transactions, znodes and frames of the coordinator's journal."""
    if not data:
        return None
    kind = data[0] % len(JUTE)
    try:
        JUTE[kind](data[1:])
    except (JuteError, CoordinatorError) as error:
        return kind * 7919 + _refusal(error)
    return kind


# ---- the table ----


class Target(NamedTuple):
    """One target, its bound on memory, and its share of the executions."""

    run: Callable[[bytes], Verdict]
    bytes_per_byte: int = BYTES_STAY_BYTES
    fixed_bytes: int = FIXED_BYTES
    longest: int = 1024
    share: int = 1


TARGETS: dict[str, Target] = {
    "frames": Target(frames, share=2),
    "hot_requests": Target(hot_requests, 48, share=3),
    "messages": Target(messages, 160, share=3),
    "answers": Target(answers, 160, share=2),
    "produce_runs": Target(produce_runs, 2 * BYTES_STAY_BYTES, share=3),
    "batches": Target(batches, share=3),
    "record_bytes": Target(record_bytes, 64, share=2),
    "decompression": Target(decompression, fixed_bytes=2 * MAX_DECOMPRESSED_BYTES + FIXED_BYTES),
    "indexes": Target(indexes, 32, 64 * KIB),
    "dumps": Target(dumps, 96, 320 * KIB),
    "segments": Target(segments, 2 * BYTES_STAY_BYTES, 320 * KIB),
    "small_files": Target(small_files, 96, share=2),
    "group_records": Target(group_records, 48),
    "znodes": Target(znodes, 64),
    "jute": Target(jute, 64, share=2),
    "coordinator_port": Target(coordinator_port.coordinator_port, 200, 64 * KIB, share=2),
    "coordinator_client": Target(coordinator_client.coordinator_client, 48, 64 * KIB),
}


# ---- where a corpus begins ----


def _batch(records_: int, **producer: int) -> bytes:
    builder = _core.BatchBuilder(**producer)
    for number in range(records_):
        builder.append(1000 + number, b"key", b"value" * number, [("name", b"x")] if number % 2 else [])
    return builder.build()


def seeds(name: str) -> Iterator[bytes]:
    """Yield inputs that are as they should be, for a target to begin with."""
    plain, produced = _batch(3), _batch(2, producer_id=5, producer_epoch=0, base_sequence=7)
    payload = bytes(memoryview(_core.scan(plain)[0].payload))
    if name == "frames":
        yield b"\x05" + b"".join(struct.pack(">ihhih2s", 12, 18, 0, 1, 2, b"me") for _ in range(3))
        yield b"\x60\x7f\xff\xff\xff"
    elif name == "hot_requests":
        for index, (key, version) in enumerate(HOT_VERSIONS):
            message = APIS[key].request_class()
            if key == 0:
                topic = message.TopicProduceData(partition_data=[message.PartitionProduceData(index=1, records=plain)])
                if version < 13:
                    topic.name = "t"
                message.topic_data = [topic]
            else:
                topic = message.FetchTopic(partitions=[message.FetchPartition(partition=1, partition_max_bytes=100)])
                if version < 13:
                    topic.topic = "t"
                message.topics = [topic]
            tags = b"\0" if APIS[key].is_flexible(version) else b""
            yield bytes([128 + (index - 128) % len(HOT_VERSIONS)]) + tags + message.encode(version)
    elif name == "messages":
        for number, (key, version, request_class) in enumerate(_versions()):
            try:
                body = request_class().encode(version)
            except ValueError:
                continue
            yield number.to_bytes(2, "big") + (b"\0" if APIS[key].is_flexible(version) else b"") + body
    elif name == "answers":
        for number, (version, answer_class) in enumerate(_answer_versions()):
            with suppress(ValueError):
                yield number.to_bytes(2, "big") + answer_class().encode(version)
    elif name == "produce_runs":
        for version in range(11):
            head, tail = _around_records(3 + version)
            size = _varint(len(plain) + 1) if APIS[0].is_flexible(3 + version) else struct.pack(">i", len(plain))
            whole = struct.pack(">i", len(head) + len(size) + len(plain) + len(tail)) + head + size + plain + tail
            yield bytes([0x10, version]) + whole + whole
            pieces = b"".join(bytes([(len(one) - BATCH_OVERHEAD_BYTES) % 64]) + one for one in (_batch(1), _batch(2)))
            yield bytes([0x11 + 2 * (version % 2), version]) + pieces
    elif name == "group_records":
        offset = CommittedOffset(5, 1, "note", 1000, NO_EXPIRY)
        member = MemberSnapshot("m", None, "c", "h", 1000, 2000, b"s", b"a")
        snapshot = GroupSnapshot("consumer", 3, "range", "m", (member,))
        for key, value in (
            offset_record("g", "t", 0, offset),
            offset_record("g", "t", 0, offset._replace(expire_timestamp_ms=7)),
            group_record("g", snapshot, 5),
            group_record("g", None),
        ):
            yield bytes([value is None, len(key)]) + key + (value or b"")
        keys = [OffsetCommitKey(group="g", topic="t").encode(version) for version in (0, 1)]
        for number, key in enumerate([*keys, GroupMetadataKey(group="g").encode(2)]):
            value_class = OffsetCommitValue if number < len(keys) else GroupMetadataValue
            for version in range(value_class.MIN_VERSION, value_class.MAX_VERSION + 1):
                value = struct.pack(">h", version) + value_class().encode(version)
                yield bytes([0, 2 + len(key)]) + struct.pack(">h", number) + key + value
        for version in range(4):
            yield b"\xff" + struct.pack(">h", version) + ConsumerProtocolSubscription(topics=["t", "u"]).encode(version)
    elif name == "znodes":
        state = Partition((1, 2), 1, 3, (1,), 4, 5, 6)
        for kind, znode in enumerate(
            (
                layout.encode_broker([Endpoint("PLAINTEXT", "h", 9092, "PLAINTEXT")], 5, "r"),
                layout.encode_topic(bytes(range(16)), [[1], [2, 1]]),
                layout.encode_state(state),
                layout.encode_controller(1, 5),
                layout.encode_controller_epoch(7),
                layout.encode_config({"retention.ms": "5"}),
                layout.encode_config_change(layout.topic_entity("t")),
                layout.encode_cluster_id("abc"),
                layout.encode_producer_ids(layout.ProducerIdBlock(1, 0, 999)),
            )
        ):
            yield bytes([kind]) + znode
    elif name == "batches":
        yield from (bytes([flags]) + batch for flags in (1, 13, 31) for batch in (plain, produced, plain + produced))
    elif name == "record_bytes":
        yield b"\x02" + payload
    elif name == "decompression":
        yield from (bytes([codec - 1]) + bytes(codecs.compress(codec, payload * 20)) for codec in (1, 2, 3, 4))
    elif name == "indexes":
        yield b"\x01" + b"".join(struct.pack(">ii", 10 * number, 100 * number) for number in range(1, 9)) + bytes(16)
        yield b"\x00" + b"".join(struct.pack(">qi", 1000 * number, 10 * number) for number in range(1, 9))
    elif name == "segments":
        second = bytearray(produced)
        second[7] = 3
        yield b"\x07\x08\x00" + struct.pack(">ii", 4, len(plain)) + plain + second
        yield b"\x03\x08\x00" + struct.pack(">ii", 4, len(plain)) + plain + second + bytes(100)
    elif name == "dumps":
        yield b"\0" + plain + produced
        yield b"\x8f" + plain + plain
        for kind, seed in ((4, 0), (5, 1), (6, 2), (3, 3), (7, 4), (8, 5)):
            yield bytes([kind]) + list(seeds("small_files"))[seed][1:]
        for kind, seed in ((1, 0), (2, 1)):
            yield bytes([kind]) + list(seeds("indexes"))[seed][1:]
        for kind in (9, 10):
            for seed in seeds("jute"):
                yield (
                    bytes([kind])
                    + FRAME_HEAD.pack(b"\xf1\x06ZJ", len(seed) - 1, crc32c(bytes(17) + seed[1:]))
                    + bytes(17)
                    + seed[1:]
                )
    elif name == "small_files":
        state = ProducerState()
        state.append(_core.scan(produced)[0], 0)
        state.commit()
        yield b"\0" + state.snapshot()
        yield b"\x010\n2\n0 0\n3 100\n"
        yield b"\x020\n2\nt 0 5\nu 1 100\n"
        yield b"\x03" + struct.pack(">hqqqq", 0, 1, 2, 3, 4)
        yield b"\x04" + partition_metadata.content(bytes(range(16)))
        yield b"\x05version=1\nnode.id=1\ncluster.id=abc\n"
        yield b"\x06a=b\\\n c\n!x\n\\u0041:d"
    elif name == "coordinator_client":
        yield from coordinator_client.seeds()
    elif name == "coordinator_port":
        yield from coordinator_port.seeds()
    elif name == "jute":
        from fastlog.coordinator.tree import Check, Create, Delete, OpenSession, SetData, Transaction  # noqa: PLC0415

        operations = (Create("/a", b"data", False, False), SetData("/a", None, 0), Check("/a", 1), Delete("/a", 1))
        for request in (operations, operations[:1], OpenSession(1, 6000)):
            yield b"\0" + records.encode_transaction(Transaction(1, 2, 0, request))
        yield b"\x02\x01" + bytes(40)
