"""Appends and reads of a segment against plain system calls, in one run.

usage: PYTHONPATH=. python bench/core/segments.py [--directory DIR] [--mebibytes N] [--json FILE]

Append: offsets are assigned, one Segment.append a batch, against one os.pwritev of the same bytes; both to new files that are
removed after each round. Read: Segment.read and send_buffers to a socket pair, against os.pread at a known position and send; all
from the page cache. Contestants alternate within each round, each round gives one ratio, and what is printed is the median of
ratios (1.0: level with the bare system calls). A run writes at most N x 30 MiB: past 4 GB of dirty pages kernels throttle.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import socket
import statistics
import tempfile
import time

from fastlog import _core

ROUNDS = 5
SHAPES = [(1, 100), (100, 100), (1_000, 100)]  # records, bytes of a value
READ_SIZES_BYTES = [4_096, 65_536, 262_144, 1 << 20]
LOG_BYTES = 64 << 20


def build(records: int, value_bytes: int) -> _core.Batch:
    builder = _core.BatchBuilder(max_bytes=1 << 30)
    for _ in range(records):
        builder.append(1_700_000_000_000, None, bytes(value_bytes))
    return _core.scan(bytearray(builder.build()))[0]


def open_file(path: pathlib.Path) -> _core.File:
    return _core.File(str(path), os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC))


def open_segment(directory: pathlib.Path) -> _core.Segment:
    index = _core.OffsetIndex(open_file(directory / "0.index"), 0)
    return _core.Segment(0, open_file(directory / "0.log"), index, _core.TimeIndex(open_file(directory / "0.timeindex"), 0))


def append_with_core(directory: pathlib.Path, batch: _core.Batch, count: int) -> float:
    segment, records = open_segment(directory), batch.count
    start = time.perf_counter()
    for number in range(count):
        batch.assign(number * records, 0)
        segment.append((batch,))
    taken = time.perf_counter() - start
    segment.close()
    return taken


def append_plainly(directory: pathlib.Path, batch: _core.Batch, count: int) -> float:
    descriptor, data, size = os.open(directory / "plain", os.O_RDWR | os.O_CREAT), bytes(batch), len(batch)
    start = time.perf_counter()
    for number in range(count):
        os.pwritev(descriptor, (data,), number * size)
    taken = time.perf_counter() - start
    os.close(descriptor)
    return taken


def drain(right: socket.socket, sink: bytearray, size: int) -> None:
    while size:
        size -= right.recv_into(sink, size)


def read_with_core(segment: _core.Segment, size: int, pair: tuple[socket.socket, socket.socket], sink: bytearray) -> float:
    (left, right), offset = pair, 0
    taken, step = 0.0, segment.next_offset * size // segment.size_bytes
    while offset + step < segment.next_offset:
        start = time.perf_counter()
        region = segment.read(offset, size)
        assert region is not None
        sent = 0
        while sent < len(region):
            went = _core.send_buffers(left.fileno(), (region,), sent)
            sent += went
            drain(right, sink, went)
        taken += time.perf_counter() - start
        offset += step
    return taken


def read_plainly(segment: _core.Segment, size: int, pair: tuple[socket.socket, socket.socket], sink: bytearray) -> float:
    (left, right), position, descriptor = pair, 0, segment.log.descriptor()
    taken, offset, step = 0.0, 0, segment.next_offset * size // segment.size_bytes
    while offset + step < segment.next_offset:
        start = time.perf_counter()
        data = memoryview(os.pread(descriptor, size, position))
        sent = 0
        while sent < len(data):
            went = left.send(data[sent:])
            sent += went
            drain(right, sink, went)
        taken += time.perf_counter() - start
        position, offset = position + size, offset + step
    return taken


def bench_appends(root: pathlib.Path, mebibytes: int) -> dict[str, float]:
    print("append: MB/s and appends/s of Segment.append, MB/s of os.pwritev, ratio")
    ratios = {}
    for records, value_bytes in SHAPES:
        batch = build(records, value_bytes)
        count = min(200_000, (mebibytes << 20) // len(batch))
        rounds = []
        for _ in range(ROUNDS):
            pair = []
            for run in (append_with_core, append_plainly):
                with tempfile.TemporaryDirectory(dir=root) as made:
                    pair.append(run(pathlib.Path(made), batch, count))
            rounds.append(pair)
        ours, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
        ratio = statistics.median(b / a for a, b in rounds)
        moved = count * len(batch) / 1e6
        print(
            f"  {records:>5} x {value_bytes} bytes {moved / ours:9.0f} {count / ours:10,.0f} {moved / theirs:9.0f} {ratio:7.2f}"
        )
        ratios[f"append_{records}x{value_bytes}"] = ratio
    return ratios


def bench_reads(root: pathlib.Path) -> dict[str, float]:
    print("read and send: MB/s of Segment.read with send_buffers, MB/s of os.pread with send, ratio")
    ratios = {}
    with tempfile.TemporaryDirectory(dir=root) as made:
        batch, directory = build(10, 100), pathlib.Path(made)
        append_with_core(directory, batch, LOG_BYTES // len(batch))
        segment = open_segment(directory)
        pair, sink = socket.socketpair(), bytearray(1 << 20)
        pair[0].setblocking(False)
        for size in READ_SIZES_BYTES:
            rounds = [(read_with_core(segment, size, pair, sink), read_plainly(segment, size, pair, sink)) for _ in range(ROUNDS)]
            ours, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
            ratio = statistics.median(b / a for a, b in rounds)
            moved = segment.size_bytes / 1e6
            print(f"  {size:>9,} bytes {moved / ours:9.0f} {moved / theirs:9.0f} {ratio:7.2f}")
            ratios[f"read_{size}"] = ratio
        for end in pair:
            end.close()
        segment.close()
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=pathlib.Path, help="where the files go (default: the temporary directory)")
    parser.add_argument("--mebibytes", type=int, default=128, help="at most so much in one file of the append bench")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    ratios = bench_appends(options.directory, options.mebibytes) | bench_reads(options.directory)
    if options.json:
        options.json.write_text(json.dumps(ratios, indent=2))


if __name__ == "__main__":
    main()
