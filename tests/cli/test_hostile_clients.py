"""Hostile clients of every kind against a real `fastlog up`: a healthy one is served, memory is bounded, the log stays short.

How long the healthy one waits is measured by `bench/hostile/run.py`; here it is only that it gets its answers.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from healthy_client import HealthyClient
from hostile_clients import __file__ as hostile_program

from fastlog.cli.main import run

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
QUEUED_BYTES = 16 * MIB
BYTES_PER_CONNECTION = 32 << 10
FIXED_BYTES = 48 * MIB
REQUEST_BYTES = 100 * MIB
"""One request, of socket.request.max.bytes, goes on when memory is short, so that something always gets done."""
COUNTS = {
    "slow": 150, "half_open": 100, "half_closed": 20, "never_reading": 30, "http": 20, "tls": 20, "liar": 10, "flooding": 2,
}  # fmt: skip


def resident_bytes(pid):
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) << 10


@pytest.mark.slow
def test_a_healthy_client_among_hostile_ones(up, tmp_path, monkeypatch):
    broker = up("--data", tmp_path, "-o", f"queued.max.request.bytes={QUEUED_BYTES}")
    monkeypatch.setenv("FASTLOG_BOOTSTRAP", broker.bootstrap)
    assert run(["topic", "create", "healthy", "--partitions", "4"]) == 0
    port = int(broker.bootstrap.rsplit(":", 1)[1])
    client = HealthyClient(port, "healthy")
    client.latencies(0.5, 0.001)
    before = most = resident_bytes(broker.process.pid)
    hostile = subprocess.Popen(
        [sys.executable, hostile_program, str(port), *(f"{kind}={count}" for kind, count in COUNTS.items())],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        assert hostile.stdout.readline() == f"attacking {sum(COUNTS.values())}\n"
        for _ in range(20):
            client.latencies(0.2, 0.001)
            most = max(most, resident_bytes(broker.process.pid))
        told = json.loads(hostile.communicate("", timeout=60)[0].splitlines()[-1])
    finally:
        hostile.kill()
        hostile.wait()
    assert told["cut_off_http"] >= COUNTS["http"] and told["cut_off_tls"] >= COUNTS["tls"]
    assert told["cut_off_half_closed"] >= COUNTS["half_closed"]
    assert told["received_bytes"] > 10_000, "the flooding ones are answered"
    allowed = QUEUED_BYTES + REQUEST_BYTES + sum(COUNTS.values()) * BYTES_PER_CONNECTION + FIXED_BYTES
    assert most - before <= allowed
    newcomer = HealthyClient(port, "healthy")
    newcomer.produce()
    newcomer.close()
    client.close()
    broker.process.send_signal(signal.SIGTERM)
    _, log = broker.process.communicate(timeout=60)
    assert broker.process.returncode == 0
    assert log.count(b"closing connection of") < 100, "a storm of closings is told in a few lines"
