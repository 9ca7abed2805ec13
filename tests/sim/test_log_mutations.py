"""Bugs put into the product on purpose, by monkeypatching: the simulation finds each within a bounded number of seeds.

A seed that finds nothing costs some 0.1 s of CPU; the bounds are several times what was needed when they were written.
"""

from itertools import count, islice

from fastlog import _core
from fastlog.api import produce
from fastlog.codecs import GZIP, SNAPPY
from fastlog.env.reactor import Reactor
from fastlog.sim.broker import broker_maker
from fastlog.sim.disk import SimulatedDisk, SimulatedFile
from fastlog.sim.drive import FileNode
from fastlog.sim.log_world import LogWorld
from fastlog.storage import log, recovery
from fastlog.storage.durability import Durability
from fastlog.storage.environment import LogDirectory
from fastlog.storage.log import Log
from fastlog.storage.log_manager import LogManager
from fastlog.storage.producer_state import ProducerState


def found_within(seeds, suits=lambda world: True):
    """Return the kind of the first violation of so many seeds that suit, None when there is none."""
    suitable = (world for world in (LogWorld(seed, broker_maker) for seed in count()) if suits(world))
    for world in islice(suitable, seeds):
        outcome = world.run()
        if outcome.violation is not None:
            return outcome.violation.kind
    return None


def meets(*kinds):
    """Suits a world that at least one of these faults befalls."""
    return lambda world: any(fault.kind in kinds for fault in world.faults)


def test_an_acknowledgement_before_the_write(monkeypatch):
    def at_turn_end(reactor, hook):
        reactor._turn_end_hooks.append(hook)
        reactor._turn_end_hooks.sort(key=lambda one: one.__name__ == "commit_staged")

    monkeypatch.setattr(Reactor, "at_turn_end", at_turn_end)
    monkeypatch.setattr(produce, "_is_acknowledged", lambda partition, append, acks: True)
    assert found_within(30) in ("lost-write", "inconsistent-offsets", "nonmonotonic-send")


def test_a_recovery_that_keeps_torn_batches(monkeypatch):
    """As if the scan did not look at CRCs: they are made right before it looks."""
    original = recovery.SegmentFiles.open_for_recovery

    def open_for_recovery(files, config):
        segment = original(files, config)
        if isinstance(segment.log, SimulatedFile):
            forgive(segment.log)
        return segment

    def forgive(file):
        content, position = bytearray(file.pread(file.size_bytes(), 0)), 0
        while position + _core.BATCH_OVERHEAD_BYTES <= len(content):
            end = position + 12 + int.from_bytes(content[position + 8 : position + 12], "big")
            if not position + _core.BATCH_OVERHEAD_BYTES <= end <= len(content):
                break
            crc = _core.crc32c(content[position + 21 : end])
            file.pwritev([crc.to_bytes(4, "big")], position + 17)
            position = end

    monkeypatch.setattr(recovery.SegmentFiles, "open_for_recovery", open_for_recovery)
    assert found_within(60) in ("corrupt", "lost-write")


def test_sequences_that_stay_when_the_write_failed(monkeypatch):
    """A batch sent again is then taken for a duplicate of what was never written: lost, or waited for without end."""
    monkeypatch.setattr(ProducerState, "roll_back", ProducerState.commit)
    suits = meets("disk full", "short writes")
    assert found_within(40, suits) in ("lost-write", "inconsistent-offsets", "nonmonotonic-send", "stuck")


def test_a_truncation_to_the_high_watermark(monkeypatch):
    """What KIP-101 put an end to: the checkpointed high watermark is older than what was acknowledged."""
    original = recovery._Loading.recover_steps

    def recover_steps(loading):
        yield from original(loading)
        active = loading.segments[-1].segment
        if active.next_offset > loading.stop.high_watermark > active.base_offset:
            active.truncate(loading.stop.high_watermark)

    repeat = LogManager._repeat  # the checkpoint is written often enough to say something in a run as short as these
    monkeypatch.setattr(LogManager, "_repeat", lambda manager, ms, task: repeat(manager, min(ms, 100), task))
    monkeypatch.setattr(recovery._Loading, "recover_steps", recover_steps)
    assert found_within(60) == "lost-write"


def test_a_recovery_that_cuts_the_last_batch(monkeypatch):
    original = recovery._Loading.recover_steps

    def recover_steps(loading):
        yield from original(loading)
        active = loading.segments[-1].segment
        if active.next_offset > active.base_offset:
            active.truncate(active.next_offset - 1)

    monkeypatch.setattr(recovery._Loading, "recover_steps", recover_steps)
    assert found_within(30) == "lost-write"


def test_a_duplicate_that_is_not_detected(monkeypatch):
    monkeypatch.setattr(ProducerState, "check", lambda *arguments: None)
    assert found_within(30) in ("duplicate", "nonmonotonic-send")


def test_sequences_that_a_restart_forgets(monkeypatch):
    monkeypatch.setattr(ProducerState, "replay", lambda *arguments: None)
    monkeypatch.setattr(ProducerState, "load", lambda *arguments: None)
    assert found_within(60) in ("duplicate", "nonmonotonic-send")


def test_an_acknowledgement_before_the_flush(monkeypatch):
    original = Durability.appended

    def appended(durability, end_offset):
        original(durability, end_offset)
        durability.acknowledged_end_offset = end_offset

    monkeypatch.setattr(Durability, "appended", appended)
    assert found_within(100) == "lost-write"


def test_names_that_are_never_synced(monkeypatch):
    monkeypatch.setattr(SimulatedDisk, "sync_directory", lambda disk, path: None)
    assert found_within(60) in ("lost-write", "mistake")


def test_a_failed_sync_that_fences_nothing(monkeypatch):
    monkeypatch.setattr(LogDirectory, "fail", lambda directory, what, error: None)
    original = SimulatedFile.fdatasync

    def tried_again(file):
        try:
            original(file)
        except OSError:
            tried_again(file)

    monkeypatch.setattr(SimulatedFile, "fdatasync", tried_again)
    suits = meets("sync errors", "sync errors, bare restart")
    assert found_within(40, lambda world: world.settings.all_flushed and suits(world)) == "lost-write"


def test_a_segment_after_a_gap_that_is_kept(monkeypatch):
    original = recovery.SegmentFiles.open_for_recovery

    def recover_steps(loading):
        for index, files in enumerate(loading.segments):
            segment = original(files, loading.config)
            loading.recovered[files.base_offset] = yield segment.recover
            if index + 1 < len(loading.segments):
                segment.on_roll()

    monkeypatch.setattr(recovery._Loading, "recover_steps", recover_steps)
    assert found_within(100) in ("inconsistent-offsets", "lost-write", "mistake")


def test_corrupt_batches_that_are_taken(monkeypatch):
    original = Log.stage

    def stage(log, records, leader_epoch, **more):
        content = bytearray(bytes(records))
        crc = _core.crc32c(content[21:])
        content[17:21] = crc.to_bytes(4, "big")
        return original(log, _core.Slice(content), leader_epoch, **more)

    monkeypatch.setattr(Log, "stage", stage)
    assert found_within(30) in ("corrupt", "phantom")


def test_reads_past_the_high_watermark(monkeypatch):
    original = Log.read

    def read(log, offset, max_bytes, end_offset, at_least_one=True):
        return original(log, offset, max_bytes, log.log_end_offset, at_least_one)

    monkeypatch.setattr(Log, "read", read)
    assert found_within(60) in ("precommitted-read", "lost-write")


def deletes(world):
    """Suits a world in which retention deletes something."""
    return "log.retention.check.interval.ms" in world.settings.options


def test_retention_that_takes_a_segment_too_many(monkeypatch):
    original = log.expired_count

    def expired_count(segments, *more):
        found = list(segments)
        count = original(found, *more)
        return count + (0 < count < len(found))

    monkeypatch.setattr(log, "expired_count", expired_count)
    assert found_within(30, deletes) == "expired"


def test_retention_that_takes_nothing(monkeypatch):
    monkeypatch.setattr(Log, "delete_old_segments", lambda log: 0)
    assert found_within(15, deletes) == "expired"


def test_a_log_start_that_a_restart_does_not_know(monkeypatch):
    """Whoever reads there finds nothing, and is not told so."""
    monkeypatch.setattr(recovery._Loading, "log_start", lambda loading: 0)
    assert found_within(60, deletes) in ("offsets", "mistake", "poll-skip", "stuck")


def test_compressed_batches_that_change_their_codec(monkeypatch):
    """Nobody but a consumer can tell: the batch is whole and its CRC is right."""
    original = Log.stage

    def stage(log, records, leader_epoch, **more):
        content = bytearray(bytes(records))
        if content[22] & 0x07 in (GZIP, SNAPPY):
            content[22] ^= GZIP | SNAPPY
            content[17:21] = _core.crc32c(content[21:]).to_bytes(4, "big")
        return original(log, _core.Slice(content), leader_epoch, **more)

    monkeypatch.setattr(Log, "stage", stage)
    assert found_within(10) == "corrupt"


def test_a_restart_that_believes_the_page_cache_after_a_failed_sync(monkeypatch):
    """Recovery syncs what it found, successfully, and yet a part of it is on no disk."""
    monkeypatch.setattr(SimulatedFile, "drop_cache", lambda file: None)
    assert found_within(80, meets("sync errors, bare restart")) in ("lost-write", "corrupt", "mistake", "inconsistent-offsets")


def test_a_damaged_batch_whose_crc_is_made_right_again(monkeypatch):
    """As by a broker that computes CRCs anew: only who knows what was sent can tell then."""
    original = FileNode.flip

    def flip(node, position, bit):
        original(node, position, bit)
        start, size = next((start, size) for start, size in node.damaged.items() if start <= position < start + size)
        for content in (node.cache, node.durable):
            content[start + 17 : start + 21] = _core.crc32c(content[start + 21 : start + size]).to_bytes(4, "big")

    monkeypatch.setattr(FileNode, "flip", flip)
    assert found_within(40, meets("bit flip")) == "corrupt"
