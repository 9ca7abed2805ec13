"""A segment against a list of batches: everything that is done to it, in any order, with crashes and damage in between."""

import itertools
import os
import shutil
import struct
import tempfile

import crc32c
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

BASE = 1000
INDEX_INTERVAL_BYTES = 150


class Written:
    """One batch of the model: its bytes as they should be on disk, and the timestamps of its records."""

    def __init__(self, data, timestamps):
        self.data = data
        self.timestamps = timestamps
        self.base = int.from_bytes(data[:8], "big", signed=True)
        self.last = self.base + len(timestamps) - 1
        self.producer = int.from_bytes(data[43:51], "big", signed=True)


def whole_batches(data, timestamps_of):
    """Read as many valid batches as the bytes begin with: an implementation of its own of what recovery keeps."""
    found, position, next_offset = [], 0, BASE
    while len(data) - position >= 61:
        base, length, _, magic, crc = struct.unpack_from(">qiibI", data, position)
        end = position + 12 + length
        if magic != 2 or length < 49 or end > len(data) or crc32c.crc32c(data[position + 21 : end]) != crc:
            break
        last = base + struct.unpack_from(">i", data, position + 23)[0]
        if base < next_offset or last - BASE >= 1 << 31:
            break
        found.append(Written(data[position:end], timestamps_of[data[position + 17 : end]]))
        position, next_offset = end, last + 1
    return found


class SegmentMachine(RuleBasedStateMachine):
    kit = None  # the classes of conftest.py
    real = False

    def __init__(self):
        super().__init__()
        self.path = tempfile.mkdtemp() if self.real else "memory"
        self.directory = self.kit.Directory(self.path)
        self.model = []
        self.regions = []
        self.timestamps_of = {}
        self.clock = 1000
        self.segment = self.open()

    def open(self, **known):
        if not self.real:
            self.regions.clear()  # files in memory know the regions of one opening; real files those of all
        return self.directory.segment(BASE, index_interval_bytes=INDEX_INTERVAL_BYTES, **known)

    def teardown(self):
        self.check_regions()
        self.regions.clear()
        self.segment.close()
        if self.real:
            shutil.rmtree(self.path)

    @property
    def next_offset(self):
        return self.model[-1].last + 1 if self.model else BASE

    @property
    def content(self):
        return b"".join(one.data for one in self.model)

    def make(self, base, records, step, size, producer):
        self.clock += step
        timestamps = [max(0, self.clock + (number * 7) % 11 - 5) for number in range(records)]
        fields = {"producer_id": 5, "producer_epoch": 1, "base_sequence": 0} if producer else {}
        made = self.kit.batch(base, timestamps, bytes([records]) * size, **fields)
        self.timestamps_of[bytes(made)[17:]] = timestamps
        return made, timestamps

    # ---- what is done to it ----

    shapes = st.tuples(
        st.integers(0, 3), st.integers(1, 6), st.integers(-20, 40), st.sampled_from([0, 1, 30, 200, 40_000]), st.booleans()
    )

    @rule(shapes=st.lists(shapes, min_size=1, max_size=8))
    def append(self, shapes):
        batches, base = [], self.next_offset
        for gap, records, step, size, producer in shapes:
            made, timestamps = self.make(base + gap, records, step, size, producer)
            batches.append((made, timestamps))
            base = made.last_offset + 1
        self.segment.append([made for made, _ in batches])
        self.model += [Written(bytes(made), timestamps) for made, timestamps in batches]

    @precondition(lambda self: not self.real)
    @rule(shape=shapes, room=st.integers(0, 300))
    def append_to_a_full_disk(self, shape, room):
        made, timestamps = self.make(self.next_offset, *shape[1:])
        self.segment.log.room = len(self.content) + room
        try:
            if room < len(made):
                with pytest.raises(OSError, match="No space"):
                    self.segment.append([made])
            else:
                self.segment.append([made])
                self.model.append(Written(bytes(made), timestamps))
        finally:
            self.segment.log.room = None

    @rule(back=st.integers(0, 40))
    def truncate(self, back):
        offset = self.next_offset - back
        self.segment.truncate(offset)
        self.model = [one for one in self.model if one.last < offset]

    @rule()
    def roll(self):
        self.segment.on_roll()
        assert self.segment.time_index.entries()[-1:] == ([self.greatest()] if self.model else [])
        self.segment.truncate(self.next_offset)  # cuts nothing, and takes appends again

    @rule(known=st.booleans())
    def stop_cleanly(self, known):
        self.segment.flush()
        self.segment.close()
        self.segment = self.open(**({"size_bytes": len(self.content), "next_offset": self.next_offset} if known else {}))

    @rule(start=st.one_of(st.just(0), st.integers(0, 30)), flush=st.booleans())
    def crash(self, start, flush):
        """Only what the indexes wrote out survives; all before the recovery point was flushed."""
        if flush:
            self.segment.offset_index.flush()
            self.segment.time_index.flush()
        else:
            start = 0
        position = sum(len(one.data) for one in self.model[:start])
        self.segment = self.open()
        told = self.segment.recover(from_position=position)
        appended = [(5, one.base, one.last) for one in self.model[start if position else 0 :] if one.producer == 5]
        assert [(one.producer_id, one.base_offset, one.last_offset) for one in told] == appended[-5:]

    def damage(self, change):
        self.regions.clear()  # somebody else's hand on the file is nothing that regions are kept from
        log = self.directory.open(self.directory.name(BASE, "log"))
        change(log)
        log.close()
        data = self.directory.contents(self.directory.name(BASE, "log"))
        self.model = whole_batches(data, self.timestamps_of)
        self.segment = self.open()
        self.segment.recover()

    @rule(part=st.floats(0, 1), garbage=st.binary(max_size=80))
    def tear(self, part, garbage):
        kept = int(part * len(self.content))

        def change(log):
            log.ftruncate(kept)
            log.pwritev([garbage], kept)

        self.damage(change)

    @precondition(lambda self: self.model)
    @rule(part=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), header=st.one_of(st.none(), st.integers(0, 60)))
    def flip(self, part, bit, header):
        position = int(part * len(self.content))
        if header is not None:
            starts = list(itertools.accumulate((len(one.data) for one in self.model), initial=0))[:-1]
            position = starts[int(part * len(starts))] + header

        def change(log):
            log.pwritev([bytes([log.pread(1, position)[0] ^ (1 << bit)])], position)

        # The CRC leaves out the leader epoch and the base offset: what such a flip makes of a batch is another batch.
        self.damage(change)

    @rule(drop=st.sampled_from(["index", "timeindex"]))
    def lose_an_index(self, drop):
        self.segment.close()
        name = self.directory.name(BASE, drop)
        lost = self.directory.open(name)
        lost.ftruncate(0)
        lost.close()
        self.segment = self.open()

    # ---- what is asked of it ----

    @rule(
        ahead=st.integers(-3, 60),
        max_bytes=st.sampled_from([0, 1, 61, 400, 100_000, 1 << 30]),
        end=st.one_of(st.just(-1), st.integers(0, 60)),
        at_least_one=st.booleans(),
        keep=st.booleans(),
    )
    def read(self, ahead, max_bytes, end, at_least_one, keep):
        offset, end_offset = BASE + ahead, -1 if end < 0 else BASE + end
        limit = self.next_offset if end < 0 else min(end_offset, self.next_offset)
        wanted = [one.data for one in self.model if one.last >= offset and one.base < limit]
        region = self.segment.read(offset, max_bytes, end_offset, at_least_one)
        if offset >= limit or not wanted:
            assert region is None
            return
        size = max(max_bytes, len(wanted[0]) if at_least_one else 0)
        expected = b"".join(wanted)[:size]
        assert len(region) == len(expected)
        if keep:
            self.regions = [*self.regions[-4:], (region, expected)]
        else:
            assert bytes(region) == expected

    @rule()
    def check_regions(self):
        for region, expected in self.regions:
            assert bytes(region) == expected

    @rule(ahead=st.integers(-3, 60))
    def find(self, ahead):
        position = 0
        for one in self.model:
            if one.last >= BASE + ahead:
                assert self.segment.find(BASE + ahead) == (one.base, position, len(one.data))
                return
            position += len(one.data)
        assert self.segment.find(BASE + ahead) is None

    @rule(time=st.integers(-300, 300), ahead=st.integers(-1, 40))
    def find_timestamp(self, time, ahead):
        wanted = self.clock + time
        records = ((stamp, one.base + at) for one in self.model for at, stamp in enumerate(one.timestamps))
        expected = next(((stamp, offset) for stamp, offset in records if stamp >= wanted and offset >= BASE + ahead), None)
        assert self.segment.find_timestamp(wanted, BASE + ahead) == expected

    @rule(ahead=st.integers(0, 40))
    def producers(self, ahead):
        told = [(one.base_offset, one.last_offset) for one in self.segment.producer_batches(BASE + ahead)]
        appended = [(one.base, one.last) for one in self.model if one.producer == 5 and one.last >= BASE + ahead]
        assert told == appended[-5:]

    # ---- what always holds ----

    def greatest(self):
        found = (-1, -1)
        for one in self.model:
            if max(one.timestamps) > found[0]:
                found = (max(one.timestamps), one.last)
        return found

    @invariant()
    def agrees(self):
        assert not self.segment.needs_recovery
        assert self.segment.size_bytes == len(self.content)
        assert self.segment.next_offset == self.next_offset
        assert (self.segment.max_timestamp_ms, self.segment.offset_of_max_timestamp) == self.greatest()
        assert self.segment.log.size_bytes() == len(self.content)

    @invariant()
    def indexes_hold_nothing_wrong(self):
        starts = itertools.accumulate((len(one.data) for one in self.model), initial=0)
        places = {position: one.last for position, one in zip(starts, self.model, strict=False)}
        entries = self.segment.offset_index.entries()
        assert all(places[position] == offset for offset, position in entries)
        assert entries == sorted(set(entries))
        lasts = {one.last: max(one.timestamps) for one in self.model}
        times = self.segment.time_index.entries()
        assert all(lasts[offset] == stamp for stamp, offset in times)
        assert times == sorted(set(times))


def run(kit, real, examples, steps):
    machine = type("Machine", (SegmentMachine,), {"kit": kit, "real": real})
    bounds = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    run_state_machine_as_test(machine, settings=bounds)


@pytest.mark.parametrize("real", [True, False], ids=["real", "memory"])
def test_a_segment_is_a_list_of_batches(segments, real):
    run(segments, real, 25, 20)


@pytest.mark.slow
@pytest.mark.parametrize("real", [True, False], ids=["real", "memory"])
def test_a_segment_is_a_list_of_batches_at_length(segments, real):
    run(segments, real, 100, 50)


@pytest.mark.parametrize("real", [True, False], ids=["real", "memory"])
def test_a_log_that_ends_anywhere_recovers_to_its_whole_batches(segments, tmp_path, real):
    whole = segments.Directory(str(tmp_path) if real else "memory")
    segment = whole.segment(BASE, index_interval_bytes=INDEX_INTERVAL_BYTES)
    ends = [0]
    for number in range(3):
        segment.append([segments.batch(segment.next_offset, [number] * (number + 1), b"v" * 9)])
        ends.append(segment.size_bytes)
    segment.close()
    data = whole.contents(whole.name(BASE, "log"))
    for size in range(len(data) + 1):
        for number, tail in enumerate((b"", bytes(70), b"\xff" * 5)):
            torn = segments.Directory(f"{tmp_path}/{size}-{number}" if real else "memory")
            if real:
                os.mkdir(torn.path)
            log = torn.open(torn.name(BASE, "log"))
            log.pwritev([data[:size], tail], 0)
            log.close()
            segment = torn.segment(BASE)
            segment.recover()
            kept = max(end for end in ends if (data[:size] + tail).startswith(data[:end]))  # a batch may end in a zero
            assert segment.size_bytes == segment.log.size_bytes() == kept
            segment.close()
