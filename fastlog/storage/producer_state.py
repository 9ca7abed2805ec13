"""What idempotent and transactional producers last appended to one log: the memory behind exactly-once appends.

Per producer id: its epoch, its last five batches (a producer has at most five in flight), and where its open transaction began.
Rules: KIP-98 (sequences), KIP-360 (an unknown producer may begin with any sequence). Entries are values: an append puts a
new entry in place of the old one and remembers the old one until the batch is on disk, so a failed write rolls everything back.

Snapshots are Kafka's producer snapshot files, version 1. Kafka writes one row a producer; here a producer has a row for each
batch that is remembered, oldest first, so that a retry of any of five is known after a restart too. Kafka's readers take the
last row.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from fastlog._core import Batch, RecoveredBatch, crc32c
from fastlog.errors import CorruptRecord, InvalidProducerEpoch, InvalidRecord, OutOfOrderSequenceNumber

BATCHES_REMEMBERED = 5
"""As many as a producer may have in flight (max.in.flight.requests.per.connection)."""

MAX_PRODUCERS = 1 << 15
"""Producer ids remembered per log: opening ids costs a client nothing. The longest silent go first."""

EVICTED_AT_ONCE = MAX_PRODUCERS // 16

SEQUENCE_BOUND = 1 << 31
NO_OFFSET = -1
ANY_SEQUENCE = -1

SNAPSHOT_VERSION = 1
_SNAPSHOT_HEAD = struct.Struct(">hI")
_COUNT = struct.Struct(">i")
_ROW = struct.Struct(">qhiqiqiq")

ProducedBatch = tuple[int, int, int, int, int]
"""(first sequence, last sequence, first offset, last offset, max timestamp ms) of a batch that was appended."""


class SnapshotRow(NamedTuple):
    """One row of a snapshot file."""

    producer_id: int
    producer_epoch: int
    last_sequence: int
    last_offset: int
    offset_delta: int
    timestamp_ms: int
    coordinator_epoch: int
    transaction_first_offset: int


class ProducerEntry:
    """One producer's state, never changed once made.

    `updated_ms` is the wall time of its last append, as this process saw it. Without `batches`, `begins_at` is the sequence that
    it must begin with.
    """

    __slots__ = ("batches", "begins_at", "coordinator_epoch", "epoch", "transaction_first_offset", "updated_ms")

    def __init__(
        self,
        epoch: int,
        batches: tuple[ProducedBatch, ...],
        updated_ms: int,
        transaction_first_offset: int = NO_OFFSET,
        coordinator_epoch: int = -1,
        begins_at: int = ANY_SEQUENCE,
    ) -> None:
        self.epoch = epoch
        self.batches = batches
        self.updated_ms = updated_ms
        self.transaction_first_offset = transaction_first_offset
        self.coordinator_epoch = coordinator_epoch
        self.begins_at = begins_at


class ProducerState:
    """All producers of one log. `first_unstable_offset` is where the earliest open transaction began, None without one."""

    __slots__ = ("_before", "_open_transactions", "entries", "first_unstable_offset")

    def __init__(self) -> None:
        self.entries: dict[int, ProducerEntry] = {}
        self.first_unstable_offset: int | None = None
        self._open_transactions: dict[int, int] = {}
        self._before: dict[int, ProducerEntry] = {}

    def check(self, producer_id: int, epoch: int, first_sequence: int, last_sequence: int) -> ProducedBatch | None:
        """Return the batch of which this one is a repetition, None when it may be appended.

        InvalidProducerEpoch for an epoch before the producer's own, OutOfOrderSequenceNumber for a gap or an old sequence. A
        producer that is unknown (new, or forgotten by expiry) may begin anywhere; a later epoch begins at sequence 0.
        """
        if first_sequence < 0:
            raise InvalidRecord(f"producer {producer_id} gave the sequence {first_sequence}")
        entry = self.entries.get(producer_id)
        if entry is None:
            return None
        if epoch != entry.epoch:
            if epoch < entry.epoch:
                raise InvalidProducerEpoch(f"producer {producer_id} has epoch {entry.epoch}, and the batch {epoch}")
            if first_sequence != 0:
                raise OutOfOrderSequenceNumber(
                    f"producer {producer_id} begins epoch {epoch} with sequence {first_sequence}, not 0"
                )
            return None
        batches = entry.batches
        if not batches:  # known by a transaction marker, or by a first write that failed
            if entry.begins_at in (ANY_SEQUENCE, first_sequence):
                return None
            raise OutOfOrderSequenceNumber(
                f"producer {producer_id} at epoch {epoch} sent sequence {first_sequence} where {entry.begins_at} failed"
            )
        if first_sequence == (batches[-1][1] + 1) % SEQUENCE_BOUND:
            return None
        for known in batches:
            if known[0] == first_sequence and known[1] == last_sequence:
                return known
        raise OutOfOrderSequenceNumber(
            f"producer {producer_id} at epoch {epoch} sent sequence {first_sequence} after {batches[-1][1]}"
        )

    def append(self, batch: Batch, now_ms: int) -> None:
        """Take note of a data batch that has its offset and will be written at the end of the turn."""
        self._put(
            batch.producer_id,
            batch.producer_epoch,
            (batch.base_sequence, batch.last_sequence, batch.base_offset, batch.last_offset, batch.max_timestamp_ms),
            batch.is_transactional,
            now_ms,
            remember=True,
        )

    def _put(
        self, producer_id: int, epoch: int, produced: ProducedBatch, transactional: bool, now_ms: int, *, remember: bool
    ) -> None:
        entries = self.entries
        old = entries.get(producer_id)
        if remember and producer_id not in self._before:
            # A new producer whose first write fails is not forgotten: what it sent behind that would take the first one's place.
            self._before[producer_id] = old or ProducerEntry(epoch, (), now_ms, begins_at=produced[0])
        if old is None:
            if len(entries) >= MAX_PRODUCERS:
                self._evict()
            entry = ProducerEntry(epoch, (produced,), now_ms)
        else:
            kept = old.batches[1 - BATCHES_REMEMBERED :] if epoch == old.epoch else ()
            entry = ProducerEntry(epoch, (*kept, produced), now_ms, old.transaction_first_offset, old.coordinator_epoch)
        entries[producer_id] = entry
        if transactional and entry.transaction_first_offset == NO_OFFSET:
            entry.transaction_first_offset = produced[2]
            self._open_transactions[producer_id] = produced[2]
            self._find_first_unstable()

    def replay_all(self, batches: list[RecoveredBatch], now_ms: int) -> None:
        """Take note of what a segment holds, in order.

        The core tells of as many producers as are remembered: where it may have left some out, what is known of them is older
        than the log, and is forgotten.
        """
        told = {batch.producer_id for batch in batches}
        if len(told) >= MAX_PRODUCERS:
            for producer_id in [one for one in self.entries if one not in told and one not in self._open_transactions]:
                del self.entries[producer_id]
        for batch in batches:
            self.replay(batch, now_ms)

    def replay(self, batch: RecoveredBatch, now_ms: int) -> None:
        """Take note of a batch that is found in the log: nothing is checked, what is there was accepted once."""
        if not batch.is_control:
            produced = (batch.base_sequence, batch.last_sequence, batch.base_offset, batch.last_offset, batch.max_timestamp_ms)
            self._put(batch.producer_id, batch.producer_epoch, produced, batch.is_transactional, now_ms, remember=False)
            return
        old = self.entries.get(batch.producer_id)
        kept = old.batches if old is not None and old.epoch == batch.producer_epoch else ()
        self.entries[batch.producer_id] = ProducerEntry(batch.producer_epoch, kept, now_ms)
        if self._open_transactions.pop(batch.producer_id, None) is not None:
            self._find_first_unstable()

    def written(self) -> list[tuple[int, ProducerEntry]]:
        """Return (producer id, entry) of the producers that have something in the log, as it was at the last commit."""
        committed = [(producer_id, self._before.get(producer_id, entry)) for producer_id, entry in self.entries.items()]
        return [(producer_id, entry) for producer_id, entry in committed if entry.batches or entry.begins_at == ANY_SEQUENCE]

    def commit(self) -> None:
        """What was appended is written: there is no way back from here."""
        if self._before:
            self._before.clear()

    def roll_back(self) -> None:
        """Undo every append since the last commit."""
        self.entries.update(self._before)
        self._before.clear()
        self._find_open_transactions()

    def expire(self, silent_since_ms: int) -> None:
        """Forget producers without an open transaction that appended nothing since then."""
        silent = [
            producer_id
            for producer_id, entry in self.entries.items()
            if entry.updated_ms <= silent_since_ms
            and entry.transaction_first_offset == NO_OFFSET
            and producer_id not in self._before
        ]
        for producer_id in silent:
            del self.entries[producer_id]

    def _evict(self) -> None:
        idle = [
            (entry.updated_ms, producer_id)
            for producer_id, entry in self.entries.items()
            if entry.transaction_first_offset == NO_OFFSET and producer_id not in self._before
        ]
        for _, producer_id in sorted(idle)[:EVICTED_AT_ONCE]:
            del self.entries[producer_id]

    def _find_open_transactions(self) -> None:
        self._open_transactions = {
            producer_id: entry.transaction_first_offset
            for producer_id, entry in self.entries.items()
            if entry.transaction_first_offset != NO_OFFSET
        }
        self._find_first_unstable()

    def _find_first_unstable(self) -> None:
        self.first_unstable_offset = min(self._open_transactions.values(), default=None)

    def snapshot(self) -> bytes:
        """Return the snapshot file's bytes for the present state; nothing may be appended and uncommitted."""
        assert not self._before, "a snapshot of appends that are not written"
        packed = []
        for producer_id, entry in self.entries.items():
            transaction, coordinator_epoch = entry.transaction_first_offset, entry.coordinator_epoch
            for _, last_sequence, first_offset, last_offset, timestamp_ms in entry.batches:
                delta = last_offset - first_offset
                packed.append(
                    _ROW.pack(
                        producer_id, entry.epoch, last_sequence, last_offset, delta, timestamp_ms, coordinator_epoch, transaction
                    )
                )
            if not entry.batches and entry.begins_at == ANY_SEQUENCE:
                packed.append(
                    _ROW.pack(producer_id, entry.epoch, -1, NO_OFFSET, 0, entry.updated_ms, coordinator_epoch, transaction)
                )
        body = _COUNT.pack(len(packed)) + b"".join(packed)
        return _SNAPSHOT_HEAD.pack(SNAPSHOT_VERSION, crc32c(body)) + body

    def load(self, data: bytes, path: str, now_ms: int) -> None:
        """Put a snapshot file's state in place of the present one; CorruptRecord when it is damaged.

        Producers are kept from now on as if they had appended now: how long ago they did is not in the file.
        """
        entries: dict[int, ProducerEntry] = {}
        for producer_id, epoch, last_sequence, last_offset, delta, timestamp_ms, coordinator_epoch, transaction in rows(
            data, path
        ):
            known = entries.get(producer_id)
            batches = known.batches if known is not None and known.epoch == epoch else ()
            if last_offset >= 0 and last_sequence >= 0:
                first_sequence = (last_sequence - delta) % SEQUENCE_BOUND
                batches = (
                    *batches[1 - BATCHES_REMEMBERED :],
                    (first_sequence, last_sequence, last_offset - delta, last_offset, timestamp_ms),
                )
            entries[producer_id] = ProducerEntry(epoch, batches, now_ms, transaction, coordinator_epoch)
        self.entries = entries
        self._before.clear()
        self._find_open_transactions()


def rows(data: bytes, path: str) -> list[SnapshotRow]:
    """Return the rows of a snapshot file in order; CorruptRecord when it is damaged."""
    head_bytes = _SNAPSHOT_HEAD.size
    if len(data) < head_bytes + _COUNT.size:
        raise CorruptRecord(f"{path}: {len(data)} bytes are too few for a producer snapshot")
    version, crc = _SNAPSHOT_HEAD.unpack_from(data)
    if version != SNAPSHOT_VERSION:
        raise CorruptRecord(f"{path}: producer snapshot version {version} where {SNAPSHOT_VERSION} is known")
    if crc != crc32c(data[head_bytes:]):
        raise CorruptRecord(f"{path}: the producer snapshot's CRC does not match")
    (count,) = _COUNT.unpack_from(data, head_bytes)
    body = data[head_bytes + _COUNT.size :]
    if count < 0 or count * _ROW.size != len(body):
        raise CorruptRecord(f"{path}: {count} producers are announced in {len(body)} bytes")
    return [SnapshotRow._make(row) for row in _ROW.iter_unpack(body)]
