"""Ports of this machine: free ones, and whether a broker answers at one."""

from __future__ import annotations

import socket
import struct


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers_api_versions(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(struct.pack(">ihhih", 10, 18, 0, 1, -1))
            return len(connection.recv(10, socket.MSG_WAITALL)) == 10
    except OSError:
        return False
