"""The simulator and its checker on a broker of their own: a right one passes, and each promise that is broken is found."""

import functools
import itertools
import os
import subprocess
import sys

import pytest

from fastlog import _core
from fastlog.sim.log_world import LogWorld, run_seed


def run_toy(seed, broker_class):
    return run_seed(seed, lambda settings: functools.partial(broker_class, settings))


def toy_seeds(number):
    """Return the first seeds of worlds without retention: the toy deletes nothing."""
    worlds = ((seed, LogWorld(seed, lambda settings: None)) for seed in itertools.count())
    suitable = (seed for seed, world in worlds if max(world.settings.retention_ms, world.settings.retention_bytes) < 0)
    return list(itertools.islice(suitable, number))


def first_violation(broker_class, seeds):
    for seed in toy_seeds(seeds):
        outcome = run_toy(seed, broker_class)
        if outcome.violation is not None:
            return outcome.violation.kind
    return None


def broker_with(toy_broker, log_class):
    class Broken(toy_broker):
        def make_log(self, file):
            return log_class(file)

    return Broken


def test_a_right_broker_passes_and_meets_enough(toy_broker):
    outcomes = [run_toy(seed, toy_broker) for seed in toy_seeds(12)]
    assert [outcome.violation for outcome in outcomes] == [None] * 12
    assert not any(outcome.thin for outcome in outcomes)
    assert all(outcome.counts[what] >= 8 for outcome in outcomes for what in ("batches acknowledged", "records polled"))
    assert len(dict.fromkeys(fault for outcome in outcomes for fault in outcome.faults)) >= 8


def test_a_lost_machine_excuses_what_was_not_synced(toy_broker):
    outcomes = [run_toy(seed, toy_broker) for seed in toy_seeds(16)]
    excused = "acknowledged batches excused after a lost machine"
    lost = [outcome for outcome in outcomes if any(fault.startswith("lose") for fault in outcome.faults)]
    assert any(outcome.counts[excused] for outcome in lost)
    spared = [outcome for outcome in outcomes if all(fault in ("kill", "stop", "reset") for fault in outcome.faults)]
    assert not any(outcome.counts[excused] for outcome in spared)


def test_a_seed_gives_the_same_trace_again(toy_broker):
    digests = [run_toy(seed, toy_broker).digest for seed in (1, 2, 3)]
    assert [run_toy(seed, toy_broker).digest for seed in (1, 2, 3)] == digests
    assert len(dict.fromkeys(digests)) == 3


SCRIPT = """
import functools, importlib.util, sys
from fastlog.sim.log_world import run_seed
spec = importlib.util.spec_from_file_location("toy", sys.argv[1])
toy = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toy)
for seed in (1, 2):
    print(run_seed(seed, lambda settings: functools.partial(toy.ToyBroker, settings)).digest)
"""


def test_the_trace_does_not_depend_on_the_hash_seed(toy_broker, request):
    conftest = str(request.path.parent / "conftest.py")
    other = subprocess.run(
        [sys.executable, "-c", SCRIPT, conftest],
        env={**os.environ, "PYTHONHASHSEED": "4242", "PYTHONPATH": str(request.config.rootpath)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.split() == [run_toy(seed, toy_broker).digest for seed in (1, 2)]


def test_the_timeline_is_what_the_hash_covers(toy_broker):
    lines = []
    world = LogWorld(5, lambda settings: functools.partial(toy_broker, settings), lines.append)
    outcome = world.run()
    assert len(lines) == outcome.events
    assert any("write /data/topic0-0/" in line for line in lines)


def test_an_acknowledgement_before_the_write_is_found(toy_broker, toy_log):
    class Lazy(toy_log):
        waiting = None

        def write(self, batch):
            if self.waiting is not None:
                self.file.pwritev([self.waiting[0]], self.waiting[1])
            self.waiting = (bytes(batch), self.size)

        def read(self, offset):
            return b"" if self.waiting and offset >= self.positions[-1][0] else super().read(offset)

    assert first_violation(broker_with(toy_broker, Lazy), 40) in ("lost-write", "stuck", "corrupt")


def test_a_recovery_that_keeps_a_torn_batch_is_found(toy_broker, toy_log):
    class Trusting(toy_log):
        def find_batches(self, content):
            try:
                return _core.scan(content, check_crc=False, check_records=False, allow_partial=True)
            except _core.CorruptBatch as error:
                return _core.scan(content[: error.position], check_crc=False, check_records=False)

    assert first_violation(broker_with(toy_broker, Trusting), 40) in ("corrupt", "lost-write")


def test_sequences_that_are_kept_though_the_write_failed_are_found(toy_broker, toy_log):
    class Hasty(toy_log):
        def write(self, batch):
            recent = self.sequences.setdefault((batch.producer_id, batch.producer_epoch), [])
            recent.append((batch.base_sequence, batch.last_sequence, batch.base_offset))
            super().write(batch)
            recent.pop()

    assert first_violation(broker_with(toy_broker, Hasty), 40) in ("lost-write", "inconsistent-offsets", "nonmonotonic-send")


def test_a_truncation_of_acknowledged_records_is_found(toy_broker, toy_log):
    class Cutting(toy_log):
        def find_batches(self, content):
            return super().find_batches(content)[:-1]

    assert first_violation(broker_with(toy_broker, Cutting), 40) == "lost-write"


def test_a_duplicate_that_is_not_detected_is_found(toy_broker, toy_log):
    class Forgetful(toy_log):
        def append(self, batch, flushes):
            self.sequences.clear()
            return super().append(batch, flushes)

    assert first_violation(broker_with(toy_broker, Forgetful), 40) in ("duplicate", "nonmonotonic-send")


def test_an_acknowledgement_before_the_sync_is_found(toy_broker):
    class Eager(toy_broker):
        def append(self, log, records):
            self.flushes = False
            return super().append(log, records)

    assert first_violation(Eager, 60) == "lost-write"


def test_a_failed_sync_that_is_tried_again_is_found(toy_broker, toy_log):
    class Retrying(toy_log):
        def sync(self):
            try:
                self.file.fdatasync()
            except OSError:
                self.file.fdatasync()

    assert first_violation(broker_with(toy_broker, Retrying), 150) == "lost-write"


def test_a_name_that_is_not_synced_is_found(toy_broker):
    class Nameless(toy_broker):
        def open_log(self, place):
            path = f"/data/{place[0]}-{place[1]}"
            self.disk.make_directories(path)
            self.logs[place] = self.make_log(self.disk.open(f"{path}/{0:020}.log", create=True))
            return self.logs[place]

    assert first_violation(Nameless, 60) == "lost-write"


@pytest.mark.parametrize("skipped", [1, -1])
def test_a_read_from_a_wrong_place_is_found(toy_broker, toy_log, skipped):
    class Skipping(toy_log):
        def read(self, offset):
            return super().read(max(0, offset + skipped))

    assert first_violation(broker_with(toy_broker, Skipping), 5) in ("poll-skip", "nonmonotonic-poll", "stuck")


def test_a_high_watermark_that_goes_back_is_found(toy_broker):
    class Wavering(toy_broker):
        def partition_states(self):
            for state in super().partition_states():
                mark = state.high_watermark - (state.high_watermark > 20)
                yield state._replace(high_watermark=mark, last_stable_offset=min(mark, state.last_stable_offset))
                yield state

    assert first_violation(Wavering, 3) == "offsets"
