"""A log on the simulated disk against a plain list of batches: appends, duplicates, rolls, retention, full disks, failed syncs,
clean stops, kills in the middle of any operation, and losses of power.

What must hold: a kill loses nothing that was committed and keeps at most a prefix of what the last turn had staged; a loss of
power keeps a prefix that reaches at least the recovery point; whatever survives is whole, in order, and known to the producer
state and the leader epochs.
"""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from fastlog import errors
from fastlog.sim.disk import DiskAccess, DiskFaults, SimulatedDisk
from fastlog.sim.drive import Drive
from fastlog.sim.entropy import Entropy
from fastlog.sim.process import ProcessKilled
from fastlog.sim.trace import Trace
from fastlog.storage.log_config import LogConfig

PRODUCERS = 3
NOW = 1_700_000_000_000


class BareProcess:
    """As much of a simulated process as its disk asks for."""

    def __init__(self):
        self.name = "broker"
        self.alive = True

    def check_alive(self):
        if not self.alive:
            raise ProcessKilled(self.name)

    def spend(self, cost_ns):
        pass


class Appended:
    """One batch of the model."""

    def __init__(self, base_offset, values, producer, epoch):
        self.base_offset = base_offset
        self.values = values
        self.producer = producer  # (id, epoch, first sequence) or None
        self.epoch = epoch

    @property
    def end_offset(self):
        return self.base_offset + len(self.values)


class LogMachine(RuleBasedStateMachine):
    def __init__(self, storage_class, make_batch, read_all):
        super().__init__()
        self.storage_class, self.make_batch, self.read_all = storage_class, make_batch, read_all
        self.log = None
        self.model = []
        self.next_value = 0
        self.sequences = dict.fromkeys(range(PRODUCERS), (0, 0))
        self.leader_epoch = 0

    @initialize(
        seed=st.integers(0, 1 << 32),
        flush_messages=st.sampled_from([1, 3, 1 << 40]),
        segment_bytes=st.sampled_from([250, 700, 5000]),
    )
    def begin(self, seed, flush_messages, segment_bytes):
        self.entropy = Entropy(seed)
        self.drive = Drive("drive")
        self.log_config = LogConfig(
            segment_bytes=segment_bytes,
            index_interval_bytes=100,
            flush_messages=flush_messages,
            retention_ms=-1,
            file_delete_delay_ms=10,
        )
        self.open()

    # ---- the process ----

    def open(self):
        """Start a process, until one gets through."""
        for _ in range(20):
            self.process, self.faults = BareProcess(), DiskFaults()
            access = DiskAccess(self.drive, self.process, self.faults, self.entropy, Trace(None))
            self.faults.strike = self.process_dies
            self.storage = self.storage_class("/data", disk=SimulatedDisk(access, {}), log_config=self.log_config)
            if self.strikes_at_start:
                self.faults.strike_after_operations = self.strikes_at_start.pop()
            try:
                manager = self.storage.open()
                self.log = manager.get("t", 0) or manager.create("t", 0, bytes(16))
            except ProcessKilled:
                continue
            self.faults.strike_after_operations = -1
            self.strikes_at_start = []
            self.log.high_watermark = self.log.acknowledged_end_offset
            return
        raise AssertionError("the log cannot be opened")

    strikes_at_start = ()

    def process_dies(self):
        self.process.alive = False

    def restart(self, *, power_lost, staged=(), strikes=()):
        """End the process and look at what the next one finds; `staged` may be there in part."""
        durable = self.log.recovery_point
        start = self.log.log_start_offset
        self.process.alive = False
        if power_lost:
            self.drive.lose_power(self.entropy)
        self.strikes_at_start = list(strikes)
        self.open()
        end = self.log.log_end_offset
        committed = self.model[-1].end_offset if self.model else start
        possible = [*self.model, *staged]
        assert end == start or end in {batch.end_offset for batch in possible} | {committed}
        assert end >= (durable if power_lost else committed), "what was safe is gone"
        if power_lost:
            assert self.log.log_start_offset <= max(start, durable)
        self.model = [batch for batch in possible if batch.end_offset <= end]
        self.forget_sequences()
        self.storage.flusher.run()
        assert self.log.recovery_point == end

    def forget_sequences(self):
        """Producers go on from what is in the log, as a client does that retries."""
        for producer_id in self.sequences:
            last = [batch for batch in self.model if batch.producer and batch.producer[0] == producer_id]
            if last:
                _, epoch, first = last[-1].producer
                self.sequences[producer_id] = (epoch, first + len(last[-1].values))
            else:
                epoch, _ = self.sequences[producer_id]
                self.sequences[producer_id] = (epoch + 1, 0)

    # ---- appends ----

    def new_batch(self, producer_id, count):
        values = tuple(b"%d" % (self.next_value + number) for number in range(count))
        self.next_value += count
        producer = None
        if producer_id is not None:
            epoch, sequence = self.sequences[producer_id]
            producer = (producer_id, epoch, sequence)
            self.sequences[producer_id] = (epoch, sequence + count)
        return Appended(-1, values, producer, self.leader_epoch)

    def stage(self, batch):
        return self.log.stage(
            self.make_batch(batch.values, producer=batch.producer or (-1, -1, -1), timestamp_ms=NOW), batch.epoch
        )

    turns = st.lists(st.tuples(st.none() | st.integers(0, PRODUCERS - 1), st.integers(1, 3)), min_size=1, max_size=6)

    def stage_turn(self, turn):
        offset = self.log.log_end_offset
        staged = []
        for producer_id, count in turn:
            batch = self.new_batch(producer_id, count)
            batch.base_offset = offset
            staged.append(batch)
            result = self.stage(batch)
            assert (result.error, result.base_offset) == (0, offset)
            offset += count
        return staged

    @rule(turn=turns)
    def append(self, turn):
        staged = self.stage_turn(turn)
        self.storage.manager.commit_staged()
        self.model += staged

    @rule(turn=turns)
    def append_to_a_full_disk(self, turn):
        """What was committed before a roll in the middle of the turn stays, the rest is as if it never was."""
        self.drive.capacity_bytes = sum(max(len(node.cache), node.reserved_bytes) for _, node in self.drive.files()) + 30
        batches = [self.new_batch(producer_id, count) for producer_id, count in turn]
        results = [self.stage(batch) for batch in batches]
        self.storage.manager.commit_staged()
        self.drive.capacity_bytes = None
        assert self.storage.manager.failures == []
        expected = self.log.log_end_offset if not self.model else self.model[-1].end_offset
        for batch, result in zip(batches, results, strict=True):
            if result.error:
                assert result.error in (errors.KafkaStorageError.code, errors.OutOfOrderSequenceNumber.code)
            else:
                batch.base_offset = result.base_offset
                assert result.base_offset == expected
                expected = batch.end_offset
                self.model.append(batch)
        assert self.log.log_end_offset == expected
        self.forget_sequences()

    @precondition(lambda self: any(batch.producer for batch in self.model))
    @rule(data=st.data())
    def repeat(self, data):
        """Each of a producer's last five batches is answered as the first time."""
        producer_id = data.draw(st.sampled_from(sorted({batch.producer[0] for batch in self.model if batch.producer})))
        of_producer = [batch for batch in self.model if batch.producer and batch.producer[0] == producer_id]
        known = [batch for batch in of_producer if batch.producer[1] == of_producer[-1].producer[1]][-5:]
        batch = data.draw(st.sampled_from(known))
        result = self.stage(batch)
        assert (result.error, result.base_offset) == (0, batch.base_offset)
        self.storage.manager.commit_staged()

    @precondition(lambda self: any(batch.producer for batch in self.model))
    @rule(gap=st.integers(1, 5))
    def skip_a_sequence(self, gap):
        last = [batch for batch in self.model if batch.producer][-1]
        producer_id, epoch, first = last.producer
        if first + len(last.values) != self.sequences[producer_id][1]:
            return
        wrong = Appended(-1, (b"gap",), (producer_id, epoch, first + len(last.values) + gap), self.leader_epoch)
        assert self.stage(wrong).error == errors.OutOfOrderSequenceNumber.code

    @rule(producer_id=st.integers(0, PRODUCERS - 1))
    def begin_producer_epoch(self, producer_id):
        self.sequences[producer_id] = (self.sequences[producer_id][0] + 1, 0)

    @rule()
    def begin_leader_epoch(self):
        self.leader_epoch += 1

    # ---- the rest of a log's life ----

    @rule(jobs=st.integers(1, 12))
    def run_jobs(self, jobs):
        for _ in range(min(jobs, len(self.storage.flusher.jobs))):
            self.storage.flusher.run_one()
        self.log.high_watermark = self.log.acknowledged_end_offset

    @rule()
    def flush(self):
        self.log.durability.flush()
        self.storage.flusher.run()
        assert self.log.recovery_point == self.log.acknowledged_end_offset == self.log.log_end_offset

    @rule(
        name=st.sampled_from(["recovery-point-offset-checkpoint", "log-start-offset-checkpoint", "replication-offset-checkpoint"])
    )
    def checkpoint(self, name):
        self.storage.manager.write_checkpoint(name)

    @rule(fraction=st.floats(0, 1))
    def delete_records(self, fraction):
        """Only below the recovery point: what is not durable yet may be lost with the machine, and its deletion with it."""
        self.log.high_watermark = min(self.log.acknowledged_end_offset, self.log.recovery_point)
        start = self.log.log_start_offset
        self.log.increment_log_start_offset(start + int(fraction * (self.log.high_watermark - start)))
        self.log.delete_old_segments()
        self.storage.timers.advance(10)
        self.storage.flusher.run()

    # ---- its ends ----

    @rule()
    def stop_and_start(self):
        start = self.log.log_start_offset
        self.storage.close()
        self.open()
        assert self.storage.scanned == []
        assert (self.log.log_start_offset, self.log.log_end_offset) == (start, self.model[-1].end_offset if self.model else start)

    @rule(strikes=st.lists(st.integers(1, 40), max_size=3))
    def kill(self, strikes):
        self.restart(power_lost=False, strikes=strikes)

    @rule(strikes=st.lists(st.integers(1, 40), max_size=3))
    def lose_power(self, strikes):
        self.restart(power_lost=True, strikes=strikes)

    @rule(turn=turns, operations=st.integers(1, 25), jobs=st.integers(0, 10), power_lost=st.booleans())
    def die_in_the_middle(self, turn, operations, jobs, power_lost):
        self.faults.strike_after_operations = operations
        staged = []
        offset = self.log.log_end_offset
        try:
            for producer_id, count in turn:
                batch = self.new_batch(producer_id, count)
                batch.base_offset = offset
                offset += count
                staged.append(batch)
                self.stage(batch)
            self.storage.manager.commit_staged()
            self.model += staged
            staged = []
            for _ in range(min(jobs, len(self.storage.flusher.jobs))):
                self.storage.flusher.run_one()
            self.storage.close()
        except ProcessKilled:
            pass
        if self.process.alive:  # it got through to a clean stop
            self.faults.strike_after_operations = -1
        committed = [batch for batch in staged if batch.end_offset <= self.log.log_end_offset]
        self.model += committed
        self.restart(power_lost=power_lost, staged=[batch for batch in staged if batch not in committed])

    @rule()
    def fail_a_sync(self):
        """The directory is fenced, and what comes back after a loss of power reaches the recovery point."""
        self.append([(None, 1)])
        self.storage.flusher.run()
        self.append([(None, 1)])
        self.faults.sync_error_percent = 100.0
        self.log.durability.flush()
        self.storage.flusher.run()
        assert len(self.storage.manager.failures) == 1
        assert self.log.stage(self.make_batch(), 0).error == errors.KafkaStorageError.code
        self.restart(power_lost=True)

    # ---- what always holds ----

    @invariant()
    def everything_is_there(self):
        if self.log is None or self.storage.manager is None or self.storage.manager.failures:
            return
        log = self.log
        start = log.log_start_offset
        expected = [
            (batch.base_offset + number, value)
            for batch in self.model
            for number, value in enumerate(batch.values)
            if batch.base_offset + number >= start
        ]
        assert self.read_all(log) == expected
        assert log.log_end_offset == (self.model[-1].end_offset if self.model else log.log_start_offset)
        assert log.recovery_point <= log.log_end_offset
        assert log.acknowledged_end_offset <= log.log_end_offset
        for batch in self.model:
            if batch.base_offset >= start:
                assert log.leader_epochs.epoch_of(batch.base_offset) == batch.epoch


def run(storage_class, batch, read, examples, steps):
    run_state_machine_as_test(
        lambda: LogMachine(storage_class, batch, read),
        settings=settings(
            max_examples=examples,
            phases=[Phase.generate],
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        ),
    )


def test_a_log_against_a_list(storage_class, batch, read):
    run(storage_class, batch, read, 40, 25)


@pytest.mark.slow
def test_a_log_against_a_list_at_length(storage_class, batch, read):
    run(storage_class, batch, read, 300, 40)
