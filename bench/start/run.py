"""Time from exec to ready, and memory when idle, of `fastlog up`; beside it a Kafka when its start script is given.

usage: python bench/start/run.py [--rounds N] [--kafka-jars DIR]

"Ready" is when the first line is on stdout and a TCP client has got an ApiVersions answer. For Kafka (KRaft, one node, formatted
beforehand) it is the first ApiVersions answer. Resident memory is read from /proc/PID/smaps_rollup after IDLE_S seconds without
clients: anonymous and file-backed pages apart.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

IDLE_S = 1.0
READY_TIMEOUT_S = 60.0
API_VERSIONS_V0 = struct.pack(">ihhih", 10, 18, 0, 1, -1)
AIM_READY_S = 0.3
AIM_RESIDENT_MB = 45.0


def answers(port: int) -> bool:
    """Tell whether an ApiVersions v0 request on the port is answered without an error."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(API_VERSIONS_V0)
            head = connection.recv(10, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(head) == 10 and struct.unpack(">iih", head)[1:] == (1, 0)


def memory_mb(pid: int) -> dict[str, float]:
    fields: dict[str, int] = {}
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split(":")
        fields[name] = int(value.split()[0])
    return {
        "resident_mb": fields["Rss"] / 1024,
        "anonymous_mb": fields["Anonymous"] / 1024,
        "file_backed_mb": (fields["Rss"] - fields["Anonymous"]) / 1024,
    }


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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_kafka(directory: pathlib.Path, jars: str) -> dict[str, float]:
    port, controller_port = free_port(), free_port()
    properties = directory / "server.properties"
    properties.write_text(
        f"process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller_port}\n"
        f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n"
        f"advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\nlog.dirs={directory}/kafka\n"
    )
    java = ["java", "-Xmx1g", "-Xms1g", "-server", "-XX:+UseG1GC", "-cp", f"{jars}/*"]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    storage_tool = ["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAQACAAAAAAAAAAA", "-c", str(properties)]
    subprocess.run([*java, *storage_tool], check=True, **silent)
    began = time.perf_counter()
    process = subprocess.Popen([*java, "kafka.Kafka", str(properties)], text=True, **silent)
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
