"""What must hold, whatever happens: every event of the workload passes here, and the first that may not be is a `Violation`.

The promises (docs/architecture.md, "Durability"; the names of anomalies are those of Jepsen's Kafka workload):

* lost-write: an acknowledged record (acks 1 or all) is where its acknowledgement said, also after a killed process. After a lost
  machine that holds for what was synced, and with `flush.messages=1` for all that was acknowledged; the checker excuses the rest.
* duplicate: of an idempotent producer's batch the log holds one; of another's, no more than were sent.
* inconsistent-offsets: one offset has one value, for whoever reads it, and an acknowledgement's offset is its own.
* nonmonotonic-send: an acknowledgement's offset is above every offset that was acknowledged on its partition before its send
  began, and one producer's sequences follow each other in the log.
* nonmonotonic-poll, poll-skip: a poll begins at its position and each batch follows the one before.
* unseen: in the end a consumer has seen everything that the log holds.
* corrupt, phantom: no byte is served or kept that was not sent, and nothing of what was refused. Of a batch that a bit was
  flipped in on the disk nothing is believed: its CRC tells the consumer, or the broker says so. A recovery that scans it ends the
  log there.
* expired: retention takes whole segments, no record before retention.ms or retention.bytes let it go, and in the end it took
  what it had to. Whoever reads below the log's start is told so, and goes on where the log begins.
* Log end and high watermark never go back (but over a lost machine); last stable offset <= high watermark <= log end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fastlog import _core
from fastlog.errors import CorruptRecord
from fastlog.sim.batches import records_of
from fastlog.sim.ondisk import LoggedBatch
from fastlog.sim.violation import Verdict

Place = tuple[str, int]
"""A topic's name and a partition's number."""


class Sent:
    """One batch that a producer sent, and what became of it."""

    __slots__ = (
        "acknowledged",
        "acks",
        "attempts",
        "base_offset",
        "floor",
        "idempotent",
        "number",
        "place",
        "refused",
        "timestamp_ms",
        "values",
    )

    def __init__(self, number: int, place: Place, values: list[bytes], *, idempotent: bool, acks: int, floor: int) -> None:
        self.number = number
        self.place = place
        self.values = values
        self.idempotent = idempotent
        self.acks = acks
        self.timestamp_ms = -1
        """Of all its records, in the producer's time."""
        self.floor = floor
        """The greatest offset acknowledged on the partition before the first send began."""
        self.attempts = 1
        self.acknowledged = False
        self.refused = False
        self.base_offset = -1

    @property
    def last_offset(self) -> int:
        return self.base_offset + len(self.values) - 1


class PartitionHistory:
    """What is known of one partition."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.name = f"{place[0]}-{place[1]}"
        self.sent: list[Sent] = []
        self.acknowledged: dict[int, Sent] = {}
        """What still must be there, by base offset."""
        self.acknowledged_somewhere: dict[int, Sent] = {}
        """The same by number, where the offset is not known."""
        self.acknowledged_high = -1
        self.seen: dict[int, bytes] = {}
        self.served_high_watermark = 0
        self.high_watermark = 0
        self.log_end = 0
        self.log_start = self.greatest_log_start = 0
        self.damaged: dict[int, int] = {}
        """First and last offset of the batches that bits were flipped in."""
        self.read_from = 0
        """Where the consumer went on after it had read below the log's start."""

    def end_of_damage(self, offset: int) -> int | None:
        """Return where the damaged batch ends that holds an offset, None where none does."""
        return next((last + 1 for first, last in self.damaged.items() if first <= offset <= last), None)


class Checker(Verdict):
    """Takes the events of one run and raises `Violation` at the first that may not be."""

    def __init__(self, *, retention_ms: int = -1, retention_bytes: int = -1) -> None:
        """Retention is the broker's: -1 where it deletes nothing for that reason."""
        super().__init__()
        self.partitions: dict[Place, PartitionHistory] = {}
        self.acknowledged_count = 0
        self.polled_count = 0
        self.excused_count = 0
        self.expired_count = 0
        self.damage_found_count = 0
        self.losses = 0
        """How often synced data alone was certain to survive: an idempotent producer may meet a gap after that."""
        self._sent: list[Sent] = []
        self._certain: dict[Place, int] = {}
        self._retention_ms = retention_ms
        self._retention_bytes = retention_bytes

    def partition(self, place: Place) -> PartitionHistory:
        """Return the history of a partition."""
        history = self.partitions.get(place)
        if history is None:
            history = self.partitions[place] = PartitionHistory(place)
        return history

    # ---- the workload's events

    def send(self, place: Place, make_values: Callable[[int], list[bytes]], *, idempotent: bool, acks: int) -> Sent:
        """Note a batch whose first send begins; `make_values(number)` gives its values, which begin with `value_prefix`."""
        history = self.partition(place)
        number = len(self._sent)
        sent = Sent(number, place, make_values(number), idempotent=idempotent, acks=acks, floor=history.acknowledged_high)
        self._sent.append(sent)
        history.sent.append(sent)
        return sent

    def acknowledge(self, sent: Sent, base_offset: int) -> None:
        """Note a successful answer to a produce with acks 1 or all."""
        history = self.partition(sent.place)
        if sent.refused:
            self.fail("corrupt", f"{history.name}: batch {sent.number} has a wrong CRC and was acknowledged")
        if base_offset <= sent.floor:
            self.fail(
                "nonmonotonic-send",
                f"{history.name}: batch {sent.number} got offset {base_offset}, but {sent.floor} was acknowledged before that",
            )
        other = history.acknowledged.get(base_offset)
        if other is not None:
            self.fail(
                "inconsistent-offsets", f"{history.name}: offset {base_offset} acknowledged for {other.number} and {sent.number}"
            )
        sent.acknowledged, sent.base_offset = True, base_offset
        if base_offset >= history.log_start and base_offset not in history.damaged:
            history.acknowledged[base_offset] = sent
        history.acknowledged_high = max(history.acknowledged_high, sent.last_offset)
        self.acknowledged_count += 1

    def acknowledge_somewhere(self, sent: Sent) -> None:
        """Note a DUPLICATE_SEQUENCE_NUMBER: the batch is in the log, at an offset that nobody remembers."""
        self.partition(sent.place).acknowledged_somewhere[sent.number] = sent
        sent.acknowledged = True
        self.acknowledged_count += 1

    def sequence_gap(self, sent: Sent, losses_known: int) -> None:
        """Note that the broker misses sequences before a producer's first unanswered batch."""
        if self.losses == losses_known:
            self.fail("lost-write", f"{sent.place}: the sequences before batch {sent.number} are forgotten")

    def unexpected(self, place: Place, what: str, error_code: int) -> None:
        """Note an answer that nothing in this simulation can cause."""
        self.fail("protocol", f"{place[0]}-{place[1]}: {what} was answered with error {error_code}")

    def refuse(self, sent: Sent) -> None:
        """Note an answer that promises that nothing was appended (CORRUPT_MESSAGE)."""
        sent.refused = True

    def poll(
        self, place: Place, position: int, batches: Sequence[_core.Batch], high_watermark: int, last_stable_offset: int
    ) -> int:
        """Note a consumer's fetch from `position`; return the position after it."""
        history = self.partition(place)
        self.served(place, high_watermark, last_stable_offset)
        expected = position
        for index, batch in enumerate(batches):
            if (index == 0 and not batch.base_offset <= expected <= batch.last_offset) or (
                index > 0 and batch.base_offset != expected
            ):
                kind = "poll-skip" if batch.base_offset > expected else "nonmonotonic-poll"
                self.fail(
                    kind,
                    f"{history.name}: at {expected} a fetch gave the batch {batch.base_offset}..{batch.last_offset}",
                )
            if batch.last_offset >= high_watermark:
                self.fail(
                    "precommitted-read",
                    f"{history.name}: batch {batch.base_offset}..{batch.last_offset}, high watermark {high_watermark}",
                )
            try:
                for record in records_of(batch):
                    if record.offset >= position:
                        self._see(history, record.offset, bytes(record.value or b""))
            except (CorruptRecord, _core.CorruptBatch) as error:
                self.fail("corrupt", f"{history.name}: the batch at {batch.base_offset} cannot be read: {error}")
            expected = batch.last_offset + 1
        return expected

    def damaged(self, batch: LoggedBatch, place: Place) -> None:
        """Note that a bit of a batch's records is going to be flipped: nothing is promised of it any more."""
        history = self.partition(place)
        history.damaged[batch.base_offset] = batch.last_offset
        history.acknowledged.pop(batch.base_offset, None)
        history.acknowledged_somewhere.pop(_number(batch.values[0]), None)
        for offset in range(batch.base_offset, batch.last_offset + 1):
            history.seen.pop(offset, None)

    def damage_found(self, place: Place, position: int, error: Exception) -> int:
        """Note that a consumer was told, or found, that the batch at its position is corrupt; return the position behind it."""
        history = self.partition(place)
        end = history.end_of_damage(position)
        if end is None:
            self.fail("corrupt", f"{history.name}: a fetch at {position} gave no valid batch: {error}")
        self.damage_found_count += 1
        return end

    def out_of_range(self, place: Place, position: int) -> None:
        """Note that a consumer was told that there is nothing at its position."""
        history = self.partition(place)
        if position >= history.greatest_log_start:
            self.fail("offsets", f"{history.name}: {position} is called out of range, the log begins at {history.log_start}")

    def go_on_at(self, place: Place, position: int, log_start: int) -> int:
        """Note where a consumer that was out of range was told the log begins; return where it goes on."""
        history = self.partition(place)
        if log_start > history.greatest_log_start:
            self.fail("offsets", f"{history.name}: told that it begins at {log_start}, and it does at {history.log_start}")
        history.read_from = max(history.read_from, log_start)
        return max(position, log_start)

    def served(self, place: Place, high_watermark: int, last_stable_offset: int) -> None:
        """Note the offsets that an answer told a consumer."""
        history = self.partition(place)
        if last_stable_offset > high_watermark:
            self.fail("offsets", f"{history.name}: told last stable offset {last_stable_offset}, high watermark {high_watermark}")
        if high_watermark < history.served_high_watermark:
            self.fail("offsets", f"{history.name}: told high watermark {history.served_high_watermark}, then {high_watermark}")
        history.served_high_watermark = high_watermark

    def _see(self, history: PartitionHistory, offset: int, value: bytes) -> None:
        self._known(history, value, f"a fetch at offset {offset}")
        before = history.seen.setdefault(offset, value)
        if before != value:
            self.fail("inconsistent-offsets", f"{history.name}: offset {offset} was {before[:40]!r}, now {value[:40]!r}")
        self.polled_count += 1

    def _known(self, history: PartitionHistory, value: bytes, where: str) -> Sent:
        """Return the batch that a value was sent in."""
        number, _, rest = value.partition(b".")
        index, _, _ = rest.partition(b".")
        if not (number.isdigit() and index.isdigit() and int(number) < len(self._sent)):
            self.fail("corrupt", f"{history.name}: {where} gave {value[:40]!r}, which nobody sent")
        sent = self._sent[int(number)]
        if int(index) >= len(sent.values) or sent.values[int(index)] != value:
            self.fail("corrupt", f"{history.name}: {where} gave {value[:40]!r}, which is not what was sent")
        if sent.place != history.place or sent.refused:
            self.fail("phantom", f"{history.name}: {where} gave {value[:40]!r}, which belongs elsewhere or was refused")
        return sent

    # ---- the broker's state, looked at after its turns

    def log_start(self, place: Place) -> int:
        """Return where a partition's log began when it was last looked at."""
        return self.partition(place).log_start

    def expired(self, place: Place, log_start: int, *, wall_ms: int, size_bytes: int | None) -> None:
        """Note that a log begins later than it did, when it is `wall_ms` there; `size_bytes` are left of it."""
        history = self.partition(place)
        where = f"{history.name}: the log's start went from {history.log_start} to {log_start}"
        if self._retention_ms < 0 and self._retention_bytes < 0:
            self.fail("expired", f"{where}, and retention deletes nothing")
        if self._retention_ms < 0 and size_bytes is not None and size_bytes < self._retention_bytes:
            self.fail("expired", f"{where}, {size_bytes} bytes are left of retention.bytes={self._retention_bytes}")
        gone = {sent.number: sent for sent in history.acknowledged.values() if sent.base_offset < log_start}
        gone |= {_number(value): self._sent[_number(value)] for offset, value in history.seen.items() if offset < log_start}
        for sent in gone.values():
            age_ms = wall_ms - sent.timestamp_ms
            if self._retention_bytes < 0 and age_ms <= self._retention_ms:
                self.fail("expired", f"{where}, batch {sent.number} is {age_ms} ms old, retention.ms={self._retention_ms}")
            if sent.acknowledged and sent.base_offset < log_start <= sent.last_offset:
                self.fail("expired", f"{where}, in the middle of batch {sent.number}")
        self.expired_count += len(gone)
        history.acknowledged = {offset: sent for offset, sent in history.acknowledged.items() if offset >= log_start}
        history.seen = {offset: value for offset, value in history.seen.items() if offset >= log_start}
        history.log_start = log_start
        history.greatest_log_start = max(history.greatest_log_start, log_start)

    def timestamp_ms(self, batch: LoggedBatch) -> int:
        """Return the timestamp of a logged batch's records, -1 where nobody sent it."""
        number = _number(batch.values[0]) if batch.values else len(self._sent)
        return self._sent[number].timestamp_ms if number < len(self._sent) else -1

    def must_have_expired(self, place: Place, sizes: Sequence[int], newest_ms: int, wall_ms: int) -> None:
        """Note what is left when retention has had time: `sizes` of the segments, and the newest timestamp in the first."""
        name = self.partition(place).name
        if len(sizes) > 1 and 0 <= self._retention_bytes <= sum(sizes[1:]):
            self.fail("expired", f"{name}: retention.bytes={self._retention_bytes} left segments of {list(sizes)} bytes")
        age_ms = wall_ms - newest_ms
        if sizes[0] and 0 <= self._retention_ms < age_ms:
            self.fail("expired", f"{name}: retention.ms={self._retention_ms} left a segment that is {age_ms} ms old")

    def state(self, place: Place, log_start: int, last_stable_offset: int, high_watermark: int, log_end: int) -> None:
        """Note what a partition is after a turn of its broker."""
        history = self.partition(place)
        if not log_start <= last_stable_offset <= high_watermark <= log_end:
            self.fail(
                "offsets",
                f"{history.name}: log start {log_start}, last stable offset {last_stable_offset}, "
                f"high watermark {high_watermark}, log end {log_end} are not in this order",
            )
        if log_start < history.log_start:
            self.fail("offsets", f"{history.name}: log start went from {history.log_start} to {log_start}")
        if high_watermark < history.high_watermark:
            self.fail("offsets", f"{history.name}: high watermark went from {history.high_watermark} to {high_watermark}")
        if log_end < history.log_end:
            self.fail("offsets", f"{history.name}: log end went from {history.log_end} to {log_end}")
        history.high_watermark, history.log_end = high_watermark, log_end

    # ---- crashes

    def machine_lost(self, logs: Mapping[Place, Sequence[LoggedBatch]], starts: Mapping[Place, int]) -> None:
        """Note what the drive held for certain just before it loses what was not synced; `starts`: where the logs begin."""
        self.losses += 1
        for place, log in logs.items():
            end = starts[place]
            for batch in log:
                if not batch.certain or batch.base_offset != end:
                    break
                end = batch.last_offset + 1
            self._certain[place] = max(end if end > starts[place] else 0, self._certain.get(place, 0))

    def restarted(
        self, logs: Mapping[Place, Sequence[LoggedBatch]], starts: Mapping[Place, int], *, lost: bool, all_flushed: bool
    ) -> dict[Place, int]:
        """Check what a restarted broker found; return each partition's log end. `starts`: where the logs begin.

        `lost`: the machine was lost, so what was not synced is excused when it is gone; `all_flushed`: nothing was acknowledged
        before it was synced, so nothing acknowledged is excused.
        """
        ends: dict[Place, int] = {}
        for place, history in self.partitions.items():
            log = logs.get(place, ())
            at = self._check_log(history, log)
            end = log[-1].last_offset + 1 if log else starts.get(place, 0)
            ends[place] = end
            if lost:
                history.log_start = min(history.log_start, starts.get(place, 0))
            if end in history.damaged:
                self.losses += 1
                self._certain[place] = min(end, self._certain.get(place, end))
                self._forget_lost(history, at, end, all_flushed=False)
            elif lost:
                self._forget_lost(history, at, end, all_flushed=all_flushed)
            history.damaged = {first: last for first, last in history.damaged.items() if first < end}
            self._check_acknowledged(history, at)
            self._check_seen(history, at)
        self._certain.clear()
        return ends

    def _forget_lost(self, history: PartitionHistory, at: Mapping[int, bytes], end: int, *, all_flushed: bool) -> None:
        """Excuse what a lost machine may lose, and begin anew from what is there."""
        certain_end = self._certain.get(history.place, 0)
        if end < certain_end:
            self.fail("lost-write", f"{history.name}: synced up to {certain_end}, after the loss the log ends at {end}")
        if not all_flushed:
            for base_offset, sent in list(history.acknowledged.items()):
                if sent.last_offset >= certain_end and not _holds(at, sent):
                    del history.acknowledged[base_offset]
                    self.excused_count += 1
            present = dict.fromkeys(_number(value) for value in at.values())
            for number in list(history.acknowledged_somewhere):
                if number not in present:
                    del history.acknowledged_somewhere[number]
                    self.excused_count += 1
        history.seen = {
            offset: value for offset, value in history.seen.items() if offset < certain_end or at.get(offset) == value
        }
        history.acknowledged_high = max((sent.last_offset for sent in history.acknowledged.values()), default=-1)
        for sent in history.sent:
            sent.floor = min(sent.floor, history.acknowledged_high)
        history.high_watermark = min(history.high_watermark, end)
        history.served_high_watermark = min(history.served_high_watermark, end)
        history.log_end = min(history.log_end, end)

    def _check_log(self, history: PartitionHistory, log: Sequence[LoggedBatch]) -> dict[int, bytes]:
        """Check a log by itself; return its values by offset."""
        at: dict[int, bytes] = {}
        times: dict[int, int] = {}
        sequences: dict[tuple[int, int], int] = {}
        expected = log[0].base_offset if log else 0
        for batch in log:
            where = f"the log's batch at {batch.base_offset}"
            if batch.base_offset != expected:
                self.fail("inconsistent-offsets", f"{history.name}: {where} should begin at {expected}")
            expected = batch.last_offset + 1
            if not batch.is_damaged:
                sent = self._known(history, batch.values[0], where)
                if batch.values != sent.values:
                    self.fail("corrupt", f"{history.name}: {where} is not the batch {sent.number} that was sent")
                times[sent.number] = times.get(sent.number, 0) + 1
                if times[sent.number] > (1 if sent.idempotent else sent.attempts):
                    self.fail("duplicate", f"{history.name}: {where} is batch {sent.number} once more ({sent.attempts} sends)")
            if batch.producer_id >= 0:
                producer = (batch.producer_id, batch.producer_epoch)
                if sequences.get(producer, batch.base_sequence) != batch.base_sequence:
                    self.fail("nonmonotonic-send", f"{history.name}: {where} has sequence {batch.base_sequence}")
                sequences[producer] = (batch.last_sequence + 1) & 0x7FFFFFFF
            for index, value in enumerate(batch.values):
                at[batch.base_offset + index] = value
        return at

    def _check_acknowledged(self, history: PartitionHistory, at: Mapping[int, bytes]) -> None:
        for sent in history.acknowledged.values():
            if not _holds(at, sent):
                found = at.get(sent.base_offset, b"nothing")[:40]
                self.fail(
                    "lost-write",
                    f"{history.name}: batch {sent.number} was acknowledged at {sent.base_offset}, the log holds {found!r} there",
                )

        present = dict.fromkeys(_number(value) for value in at.values())
        for number in history.acknowledged_somewhere:
            if number not in present and not history.greatest_log_start and not history.damaged:
                self.fail("lost-write", f"{history.name}: batch {number} was called a duplicate, the log does not hold it")

    def _check_seen(self, history: PartitionHistory, at: Mapping[int, bytes]) -> None:
        for offset, value in history.seen.items():
            if offset >= history.log_start and at.get(offset) != value and history.end_of_damage(offset) is None:
                found = at.get(offset, b"nothing")[:40]
                self.fail("lost-write", f"{history.name}: {value[:40]!r} was read at {offset}, the log holds {found!r} there")

    # ---- the end

    def finish(self, logs: Mapping[Place, Sequence[LoggedBatch]]) -> None:
        """Check the final logs: everything promised is there, and the consumer has seen all of it."""
        for place, history in self.partitions.items():
            at = self._check_log(history, logs.get(place, ()))
            self._check_acknowledged(history, at)
            self._check_seen(history, at)
            for offset, value in at.items():
                if offset >= history.read_from and offset not in history.seen:
                    self.fail("unseen", f"{history.name}: {value[:40]!r} at {offset} was never polled")


def _number(value: bytes) -> int:
    return int(value.partition(b".")[0])


def _holds(at: Mapping[int, bytes], sent: Sent) -> bool:
    return all(at.get(sent.base_offset + index) == value for index, value in enumerate(sent.values))
