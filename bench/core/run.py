"""The core's byte work against its peers, in one run: CRC32C, murmur2 over a column, scans of batches, imports.

usage: PYTHONPATH=. python bench/core/run.py [--seconds S] [--json FILE]

Contestants alternate within each round, and each round gives one ratio; what is printed is the median of ratios, so that a
machine whose speed wanders spoils neither side alone. Imports are measured apart, in fresh processes, as they would drown
everything else.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import random
import statistics
import subprocess
import sys
import time
from array import array
from collections.abc import Callable

import crc32c
from kafka.partitioner.default import murmur2 as kafka_python_murmur2

from fastlog import _core

ROUNDS = 15
CRC_SIZES_BYTES = [64, 1_000, 16_384, 1 << 20]
SCANS = [(1, 100), (100, 100), (1_000, 100), (1, 1 << 20)]  # records, bytes of a value
KEYS = 20_000


def seconds_per_call(call: Callable[[], object], seconds: float) -> float:
    """Time as many calls as fill the given seconds."""
    calls, taken = 1, 0.0
    while True:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        taken = time.perf_counter() - start
        if taken >= seconds:
            return taken / calls
        calls = max(calls + 1, int(calls * min(100.0, seconds / max(taken, 1e-9)) * 1.1))


def race(ours: Callable[[], object], theirs: Callable[[], object], seconds: float) -> tuple[float, float, float]:
    """Return the medians of our seconds, of theirs, and of theirs divided by ours (above 1: we are faster)."""
    rounds = [(seconds_per_call(ours, seconds), seconds_per_call(theirs, seconds)) for _ in range(ROUNDS)]
    ours_median, theirs_median = (statistics.median(column) for column in zip(*rounds, strict=True))
    return ours_median, theirs_median, statistics.median(b / a for a, b in rounds)


def import_seconds(statement: str) -> float:
    """Return the median seconds that an import takes in a fresh process."""
    program = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    return statistics.median(
        float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)
        for _ in range(7)
    )


def bench_crc32c(seconds: float) -> dict[str, float]:
    print(f"crc32c ({_core.CRC32C_IMPLEMENTATION}) against the crc32c package: GB/s, GB/s, ratio")
    ratios = {}
    for size in CRC_SIZES_BYTES:
        data = random.Random(size).randbytes(size)
        assert _core.crc32c(data) == crc32c.crc32c(data)
        ours, theirs, ratio = race(lambda: _core.crc32c(data), lambda: crc32c.crc32c(data), seconds)  # noqa: B023
        print(f"  {size:>9,} bytes   {size / ours / 1e9:7.2f} {size / theirs / 1e9:7.2f} {ratio:7.2f}")
        ratios[f"crc32c_{size}"] = ratio
    return ratios


def bench_murmur2(seconds: float) -> dict[str, float]:
    keys = [b"user-%d" % i for i in range(KEYS)]
    ends = array("q", [0])
    for key in keys:
        ends.append(ends[-1] + len(key))
    data, out = b"".join(keys), array("i", bytes(4 * KEYS))

    def column() -> None:
        _core.partition_column(data, ends, 12, out)

    def key_by_key() -> list[int]:
        return [_core.partition_for_key(key, 12) for key in keys]

    def kafka_python() -> list[int]:
        return [(kafka_python_murmur2(key) & 0x7FFFFFFF) % 12 for key in keys]

    column()
    assert out.tolist() == key_by_key() == kafka_python()
    print(f"partitions of a column of {KEYS:,} keys: million keys/s, million keys/s, ratio")
    ratios = {}
    for name, peer in (("key_by_key", key_by_key), ("kafka_python", kafka_python)):
        ours, theirs, ratio = race(column, peer, seconds)
        print(f"  against {name:<12} {KEYS / ours / 1e6:7.1f} {KEYS / theirs / 1e6:7.2f} {ratio:7.1f}")
        ratios[f"murmur2_column_{name}"] = ratio
    return ratios


def bench_scan(seconds: float) -> dict[str, float]:
    print("scan of one batch against its CRC alone: microseconds, million records/s, GB/s, share of the CRC's speed")
    shares = {}
    for count, value_bytes in SCANS:
        builder = _core.BatchBuilder(max_bytes=1 << 30)
        for i in range(count):
            builder.append(1_700_000_000_000 + i, None, random.Random(i).randbytes(value_bytes))
        batch = builder.build()
        covered = memoryview(batch)[21:]
        ours, _, share = race(lambda: _core.scan(batch), lambda: _core.crc32c(covered), seconds)  # noqa: B023
        print(
            f"  {count:>5,} x {value_bytes:>9,} bytes {ours * 1e6:9.2f} {count / ours / 1e6:8.2f} "
            f"{len(batch) / ours / 1e9:7.2f} {share:7.2f}"
        )
        shares[f"scan_{count}x{value_bytes}"] = share
    return shares


def bench_imports() -> dict[str, float]:
    ours, package = import_seconds("from fastlog import _core"), import_seconds("import crc32c")
    print(f"import: fastlog._core {ours * 1e3:.1f} ms, the crc32c package {package * 1e3:.1f} ms")
    return {"import_core_s": ours, "import_crc32c_package_s": package}


def main() -> None:
    parser = argparse.ArgumentParser(description="The core's byte work against its peers.")
    parser.add_argument("--seconds", type=float, default=0.02, help="seconds of one contestant in one round")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here too")
    arguments = parser.parse_args()
    figures = {
        **bench_crc32c(arguments.seconds),
        **bench_murmur2(arguments.seconds),
        **bench_scan(arguments.seconds),
        **bench_imports(),
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
