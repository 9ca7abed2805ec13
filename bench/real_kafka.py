"""A real Kafka (KRaft, one node) for the benchmarks to run beside fastlog."""

from __future__ import annotations

import pathlib
import socket
import struct
import subprocess

CLUSTER_ID = "AAAAAAAAQACAAAAAAAAAAA"
HEAP = ["-Xmx1g", "-Xms1g", "-server", "-XX:+UseG1GC"]
API_VERSIONS_V0 = struct.pack(">ihhih", 10, 18, 0, 1, -1)
SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Tell whether an ApiVersions v0 request on the port is answered without an error."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(API_VERSIONS_V0)
            head = connection.recv(10, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(head) == 10 and struct.unpack(">iih", head)[1:] == (1, 0)


def prepare(directory: pathlib.Path, jars: str, settings: dict[str, object] | None = None) -> tuple[list[str], int]:
    """Format a data directory under `directory`; return the command that runs a broker on it, and its port."""
    port, controller_port = free_port(), free_port()
    given: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": directory / "kafka",
        **(settings or {}),
    }
    properties = directory / "server.properties"
    properties.write_text("".join(f"{name}={value}\n" for name, value in given.items()))
    java = ["java", *HEAP, "-cp", f"{jars}/*"]
    storage_tool = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(properties)]
    subprocess.run([*java, *storage_tool], check=True, **SILENT)
    return [*java, "kafka.Kafka", str(properties)], port
