"""Time from exec to ready, and memory when idle, of `fastlog up`; beside it a Kafka when its jars are given.

usage: PYTHONPATH=. python bench/start/run.py [--rounds N] [--kafka-jars DIR]

"Ready" is when the first line is on stdout and a TCP client has got an ApiVersions answer. For Kafka (KRaft, one node, formatted
beforehand) it is the first ApiVersions answer. Resident memory is read from /proc/PID/smaps_rollup after IDLE_S seconds without
clients: anonymous and file-backed pages apart.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from bench.memory import memory_mb
from bench.real_kafka import SILENT, answers, prepare

IDLE_S = 1.0
READY_TIMEOUT_S = 60.0
AIM_READY_S = 0.3
AIM_RESIDENT_MB = 45.0


def stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(timeout=60)


def start_fastlog(directory: pathlib.Path) -> dict[str, float]:
    # Without the variable by which some environments keep Python from storing what it compiled: users have that stored.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    command = [sys.executable, "-m", "fastlog", "up", "--port", "0", "--data", str(directory / "data")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        fields = dict(field.split("=", 1) for field in line.split()[1:])
        if not answers(int(fields["bootstrap"].rsplit(":", 1)[1])):
            raise SystemExit(f"fastlog said {line.strip()!r} and does not answer")
        ready_s = time.perf_counter() - began
        time.sleep(IDLE_S)
        return {"ready_s": ready_s, **memory_mb(process.pid)}
    finally:
        stop(process)


def start_kafka(directory: pathlib.Path, jars: str) -> dict[str, float]:
    command, port = prepare(directory, jars)
    began = time.perf_counter()
    process = subprocess.Popen(command, text=True, **SILENT)
    try:
        while not answers(port):
            if time.perf_counter() - began > READY_TIMEOUT_S or process.poll() is not None:
                raise SystemExit("Kafka did not start")
            time.sleep(0.02)
        ready_s = time.perf_counter() - began
        time.sleep(IDLE_S)
        return {"ready_s": ready_s, **memory_mb(process.pid)}
    finally:
        stop(process)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--kafka-jars", help="a directory with kafka_2.13's jars; measured twice")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-start-") as directory:
        start_fastlog(pathlib.Path(directory))  # the first start of an installation compiles Python's modules
    rows = []
    for name in ["fastlog"] + (["kafka"] if options.kafka_jars else []):
        results = []
        for _ in range(options.rounds if name == "fastlog" else 2):
            with tempfile.TemporaryDirectory(prefix="bench-start-") as directory:
                path = pathlib.Path(directory)
                results.append(start_fastlog(path) if name == "fastlog" else start_kafka(path, options.kafka_jars))
        rows.append({key: statistics.median(one[key] for one in results) for key in results[0]})
        row = rows[-1]
        print(
            f"{name:8s} ready {row['ready_s']:6.3f} s   resident {row['resident_mb']:6.1f} MB "
            f"(anonymous {row['anonymous_mb']:.1f}, file-backed {row['file_backed_mb']:.1f})"
        )
    reached = rows[0]["ready_s"] < AIM_READY_S and rows[0]["resident_mb"] < AIM_RESIDENT_MB
    print(f"aim {AIM_READY_S} s and {AIM_RESIDENT_MB:.0f} MB: {'reached' if reached else 'NOT reached'}")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
