"""What a healthy client notices of hostile ones, and what they cost: `make soak-hostile`; exit code 1 when a bound is passed.

`fastlog up`, and against it 5,000 connections of every kind in `tests/support/hostile_clients.py`. One healthy client produces
single records (acks=1), in turns of peace and of attack in one run; the medians of the turns' p99 are compared. Beside it the
broker's memory: what it has at most during the attacks, less what it had before. `--kinds slow half_open` leaves the others out.

The hostile clients stand for other machines. So they have one of this one's processors, at the lowest priority, and the broker
has the others, in peace as under attack: what is compared is what the broker does about them, not who gets a processor first.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from healthy_client import HealthyClient
from hostile_clients import __file__ as hostile_program

KINDS = {
    "slow": 0.52,
    "half_open": 0.2,
    "half_closed": 0.06,
    "never_reading": 0.1,
    "http": 0.05,
    "tls": 0.05,
    "liar": 0.0192,
    "flooding": 0.0008,
}
"""Shares of the connections."""
MOST_RATIO = 1.5
QUEUED_BYTES = 64 << 20
BYTES_PER_CONNECTION = 32 << 10
FIXED_BYTES = 32 << 20
REQUEST_BYTES = 100 << 20
"""One request, of socket.request.max.bytes, goes on when memory is short."""
PAUSE_S = 0.002
PROCESSORS = sorted(os.sched_getaffinity(0))


def resident_bytes(pid: int) -> int:
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmRSS")


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def attack(port: int, connections: int, kinds: list[str]) -> subprocess.Popen[str]:
    whole = sum(KINDS[kind] for kind in kinds)
    counts = [f"{kind}={max(1, round(KINDS[kind] / whole * connections))}" for kind in kinds]
    process = subprocess.Popen(
        [sys.executable, hostile_program, str(port), *counts], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("attacking "):
        raise SystemExit(f"the hostile clients said {line!r}")
    os.sched_setscheduler(process.pid, os.SCHED_IDLE, os.sched_param(0))
    os.sched_setaffinity(process.pid, PROCESSORS[-1:])
    return process


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--connections", type=int, default=5_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        broker = subprocess.Popen(
            [
                sys.executable, "-m", "fastlog", "up", "--port", "0", "--data", directory,
                "-o", f"queued.max.request.bytes={QUEUED_BYTES}", "-o", "num.partitions=1",
            ],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert broker.stdout is not None
            os.sched_setaffinity(broker.pid, PROCESSORS[:-1] or PROCESSORS)
            fields = dict(field.split("=", 1) for field in broker.stdout.readline().split()[1:])
            return measure(broker.pid, fields["bootstrap"], given)
        finally:
            broker.terminate()
            broker.wait(timeout=60)


def measure(pid: int, bootstrap: str, given: argparse.Namespace) -> int:
    for number in range(5):  # so that an answer to Metadata has some size
        topic = [f"healthy-{number}", "--partitions", "20", "--bootstrap", bootstrap]
        subprocess.run([sys.executable, "-m", "fastlog", "topic", "create", *topic], check=True)
    port = int(bootstrap.rsplit(":", 1)[1])
    client = HealthyClient(port, "healthy-0")
    client.latencies(1.0, PAUSE_S)
    peaceful, attacked = [], []
    before = resident_bytes(pid)
    most, told = before, {}
    for _ in range(given.turns):
        peaceful.append(percentile(client.latencies(given.seconds, PAUSE_S), 0.99))
        hostile = attack(port, given.connections, given.kinds)
        time.sleep(2)
        end = time.monotonic() + given.seconds
        found: list[float] = []
        while time.monotonic() < end:
            found += client.latencies(0.5, PAUSE_S)
            most = max(most, resident_bytes(pid))
        attacked.append(percentile(found, 0.99))
        told = json.loads(hostile.communicate("", timeout=60)[0].splitlines()[-1])
        time.sleep(1)
    ratio = statistics.median(attacked) / statistics.median(peaceful)
    allowed = QUEUED_BYTES + REQUEST_BYTES + given.connections * BYTES_PER_CONNECTION + FIXED_BYTES
    print(
        json.dumps(
            {
                "connections": given.connections,
                "p99_ms_in_peace": [round(value * 1000, 2) for value in peaceful],
                "p99_ms_under_attack": [round(value * 1000, 2) for value in attacked],
                "p99_ratio": round(ratio, 2),
                "resident_mb_before": before >> 20,
                "resident_mb_grown_at_most": (most - before) >> 20,
                "resident_mb_allowed": allowed >> 20,
                "last_attack": told,
            },
            indent=1,
        )
    )
    return 0 if ratio <= MOST_RATIO and most - before <= allowed else 1


if __name__ == "__main__":
    sys.exit(main())
