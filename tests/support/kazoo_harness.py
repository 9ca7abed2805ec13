"""A pytest plugin that gives kazoo's own tests one server in place of the Java ensemble that its harness would start.

`KAZOO_SERVER` is the command that runs the server in the foreground, `KAZOO_ADDRESS` is where it then listens.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from typing import Any

# Where kazoo keeps what starts Java servers; it wants packages that nothing else here wants, and is not used.
sys.modules["kazoo.testing.common"] = types.SimpleNamespace(ZookeeperCluster=None)  # type: ignore[assignment]
from kazoo.testing import harness  # noqa: E402

WAIT_S = 60


class Server:
    """The one member of the cluster."""

    def __init__(self) -> None:
        self.address = self.secure_address = os.environ["KAZOO_ADDRESS"]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self.process is not None

    def run(self) -> None:
        if self.process is not None:
            return
        self.process = subprocess.Popen(shlex.split(os.environ["KAZOO_SERVER"]), stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + WAIT_S
        while not self._is_serving():
            assert self.process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)

    def _is_serving(self) -> bool:
        host, _, port = self.address.rpartition(":")
        try:
            with socket.create_connection((host, int(port)), timeout=5) as connection:
                connection.sendall(b"srvr")
                return b"Mode: standalone" in b"".join(iter(lambda: connection.recv(65536), b""))
        except OSError:
            return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=WAIT_S)
            self.process = None

    def destroy(self) -> None:
        self.stop()


class Cluster:
    """What kazoo's harness asks of a cluster."""

    def __init__(self) -> None:
        self.servers = [Server()]

    def __iter__(self) -> Iterator[Server]:
        return iter(self.servers)

    def __getitem__(self, index: int) -> Server:
        return self.servers[index]

    def start(self) -> None:
        self.servers[0].run()

    def stop(self) -> None:
        self.servers[0].stop()

    def terminate(self) -> None:
        """Called after each class: the server goes on for the next one."""

    def get_logs(self) -> list[str]:
        return []


CLUSTER = Cluster()
harness.get_global_cluster = lambda: CLUSTER


def pytest_sessionfinish(session: Any) -> None:
    CLUSTER.stop()
