"""Requests per second of a compiled generator against fastlog and against a bare C server, alternating, in one run.

usage: PYTHONPATH=. python bench/hot/run.py [--rounds N] [--kafka HOST:PORT] [--json FILE]

Each round starts fresh servers on empty directories, so that dirty pages of one contestant do not slow the next. The
bare server is run both ways it could be written (`each`: one write per request, `gather`: one write per wake-up); ratios are
against each of them, as medians of per-round ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator

HERE = pathlib.Path(__file__).parent
RECORD_BYTES = 100
# (records per request, requests in flight, requests, the share of the bare server's requests/s that fastlog aims at)
LOADS = [(1, 16, 150_000, 0.6), (100, 16, 20_000, 0.8), (1_000, 8, 2_500, 0.8), (1, 1, 10_000, None)]
TOPIC = "bench"


def compile_programs(directory: pathlib.Path) -> None:
    for name in ("server", "generator"):
        subprocess.run(["cc", "-O2", "-msse4.2", "-o", directory / name, HERE / f"{name}.c"], check=True)


@contextlib.contextmanager
def started(command: list[str | pathlib.Path]) -> Iterator[str]:
    """Start a server and yield the first line that it prints; end it afterwards."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"{command[0]} ended with {process.wait()} before it was ready")
        yield line
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextlib.contextmanager
def bare_server(programs: pathlib.Path, data: pathlib.Path, mode: str) -> Iterator[str]:
    data.mkdir()
    with started([programs / "server", data, mode]) as line:
        yield line.split()[1]


@contextlib.contextmanager
def fastlog_broker(data: pathlib.Path) -> Iterator[str]:
    with started([sys.executable, "-m", "fastlog", "up", "--port", "0", "--data", data]) as line:
        bootstrap = dict(field.split("=", 1) for field in line.split()[1:])["bootstrap"]
        create = [sys.executable, "-m", "fastlog", "topic", "create", TOPIC, "--partitions", "1", "--bootstrap", bootstrap]
        subprocess.run(create, check=True, stdout=subprocess.DEVNULL)
        yield bootstrap.rsplit(":", 1)[1]


def generate(programs: pathlib.Path, port: str, records: int, in_flight: int, requests: int) -> dict[str, float]:
    command = [programs / "generator", port, TOPIC, records, in_flight, requests, RECORD_BYTES]
    finished = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(finished.stdout)
    return figures


def measure(
    programs: pathlib.Path, scratch: pathlib.Path, contestant: str, load: tuple[int, int, int], kafka: str | None
) -> dict[str, float]:
    records, in_flight, requests = load
    if contestant == "kafka":
        assert kafka is not None
        port = kafka.rsplit(":", 1)[1]
        generate(programs, port, records, in_flight, max(in_flight, requests // 10))
        return generate(programs, port, records, in_flight, max(in_flight, requests // 10))
    data = scratch / "data"
    server = fastlog_broker(data) if contestant == "fastlog" else bare_server(programs, data, contestant)
    try:
        with server as port:
            generate(programs, port, records, in_flight, max(in_flight, requests // 20))  # warm up
            return generate(programs, port, records, in_flight, requests)
    finally:
        shutil.rmtree(data, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kafka", help="HOST:PORT of a running Kafka with a one-partition topic `bench`, measured beside")
    parser.add_argument("--json", type=pathlib.Path, help="write every figure there")
    options = parser.parse_args()
    contestants = ["each", "gather", "fastlog"] + (["kafka"] if options.kafka else [])
    figures: list[dict[str, object]] = []
    below = 0
    with tempfile.TemporaryDirectory(prefix="bench-hot-") as scratch_name:
        scratch = pathlib.Path(scratch_name)
        compile_programs(scratch)
        for records, in_flight, requests, aim in LOADS:
            rounds: list[dict[str, dict[str, float]]] = []
            for number in range(options.rounds):
                order = contestants[number % len(contestants) :] + contestants[: number % len(contestants)]
                rounds.append({c: measure(scratch, scratch, c, (records, in_flight, requests), options.kafka) for c in order})
                if sys.stderr.isatty():
                    print(f"\r{records} x {in_flight}: round {number + 1}/{options.rounds}", end="", file=sys.stderr)
            if sys.stderr.isatty():
                print("\r\033[K", end="", file=sys.stderr)
            print(f"{records} record(s) of {RECORD_BYTES} bytes x {in_flight} in flight, medians of {options.rounds} rounds")
            for contestant in contestants:
                results = [one[contestant] for one in rounds]
                row = {key: statistics.median(one[key] for one in results) for key in results[0]}
                ratio = statistics.median(one["fastlog"]["requests_per_s"] / one[contestant]["requests_per_s"] for one in rounds)
                figures.append(
                    {"records": records, "in_flight": in_flight, "contestant": contestant, "fastlog_ratio": ratio, **row}
                )
                print(
                    f"  {contestant:8s} {row['requests_per_s']:10,.0f} req/s  {row['bytes_per_s'] / 1e6:8.1f} MB/s  "
                    f"p50 {row['p50_us']:7.0f} us  p99 {row['p99_us']:7.0f} us  fastlog/{contestant} {ratio:.2f}"
                )
                if contestant == "each" and aim is not None:
                    below += ratio < aim
                    print(f"  {'':8s} aim {aim:.2f}: {'reached' if ratio >= aim else 'NOT reached'}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
