"""Segments that the core wrote, rolled, cut and recovered, without a broker: Kafka's DumpLogSegments finds no fault with them."""

from __future__ import annotations

import os
import random
import re

import pytest

from fastlog import _core

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(300)]

BASE_OFFSET = 1_000
BATCHES = 4_000


def open_segment(directory):
    def open_file(suffix):
        path = f"{directory}/{BASE_OFFSET:020d}.{suffix}"
        return _core.File(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC))

    index = _core.OffsetIndex(open_file("index"), BASE_OFFSET)
    return _core.Segment(BASE_OFFSET, open_file("log"), index, _core.TimeIndex(open_file("timeindex"), BASE_OFFSET))


def append_something(segment, chance):
    """Append in groups of batches, with timestamps that go back now and then."""
    groups = [chance.randint(1, 5) for _ in range(BATCHES // 3)]
    for number, group in enumerate(groups):
        batches, offset = [], segment.next_offset
        for _ in range(group):
            builder = _core.BatchBuilder(base_offset=offset, leader_epoch=2)
            for _ in range(chance.randint(1, 20)):
                builder.append(1_700_000_000_000 + number * 3 + chance.randint(-50, 50), b"key", bytes(chance.randint(0, 300)))
            batches += _core.scan(builder.build())
            offset += builder.count
        segment.append(batches)


def truncate(segment):
    segment.truncate(BASE_OFFSET + 9_001)


def tear(segment):
    segment.log.pwritev([b"torn"], segment.size_bytes - 30)
    segment.recover()


CHANGES = {
    "as-written": lambda segment: None,
    "recovered": _core.Segment.recover,
    "truncated": truncate,
    "torn": tear,
    "rolled": _core.Segment.on_roll,
}


def test_dump_log_segments_finds_no_fault(java, tmp_path) -> None:
    expected, data_files, index_files = {}, [], []
    for name, change in CHANGES.items():
        (tmp_path / name).mkdir()
        segment = open_segment(tmp_path / name)
        append_something(segment, random.Random(name))
        change(segment)
        last = f"| offset: {segment.next_offset - 1} "
        greatest = (segment.max_timestamp_ms, segment.offset_of_max_timestamp)
        entries, times = segment.offset_index.entries(), segment.time_index.entries()
        segment.close()
        log, index, time_index = (tmp_path / name / f"{BASE_OFFSET:020d}.{suffix}" for suffix in ("log", "index", "timeindex"))
        expected[log] = last
        expected[index] = [f"offset: {offset} position: {position}" for offset, position in entries]
        times += [greatest] if times[-1] != greatest else []
        expected[time_index] = [f"timestamp: {stamp} offset: {offset}" for stamp, offset in times]
        data_files += [log, index, time_index]
        index_files += [index, time_index]

    dumped = java.dump(data_files, "--deep-iteration")
    sections = re.split(r"^Dumping (\S+)\n", dumped, flags=re.M)[1:]
    for file, section in zip(data_files, sections[1::2], strict=True):
        lines = section.splitlines()
        if file.suffix == ".log":
            assert lines[-1].startswith(expected[file])
        else:
            assert lines == expected[file]
    assert java.dump(index_files, "--index-sanity-check").count("passed sanity check") == len(index_files)
