"""A real ZooKeeper and `fastlog coordinator`, run in the same way: each over a directory of its own, on a free port."""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

from ports import free_port

ROOT = pathlib.Path(__file__).parent.parent.parent
STOP_TIMEOUT_S = 30


class ZooKeeper:
    """A real standalone ZooKeeper over a data directory that outlives it; `more` are settings. Sessions are of 2 to 20 ticks."""

    options: tuple[str, ...] = ()
    """More for its Java."""

    def __init__(self, directory: pathlib.Path, **more: object) -> None:
        self.jars = pathlib.Path(os.environ.get("ZOOKEEPER_JARS", ROOT / ".cache" / "zookeeper-jars"))
        assert list(self.jars.glob("zookeeper-*.jar")), f"no ZooKeeper jars in {self.jars}: run `make conformance`"
        self.directory = directory
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        directory.mkdir()
        settings = {"tickTime": 1000, "dataDir": directory / "data", "clientPort": self.port, "clientPortAddress": "127.0.0.1"}
        settings |= {"maxClientCnxns": 0, "admin.enableServer": "false", "4lw.commands.whitelist": "*", **more}
        (directory / "zoo.cfg").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        main = "org.apache.zookeeper.server.ZooKeeperServerMain"
        java = [
            "java",
            "-Xmx256m",
            "-XX:TieredStopAtLevel=1",
            "-Dzookeeper.extendedTypesEnabled=true",
            *self.options,
            "-cp",
            f"{self.jars}/*",
        ]
        return [*java, main, str(self.directory / "zoo.cfg")]

    def start(self) -> ZooKeeper:
        with (self.directory / "out").open("ab") as out:
            self.process = subprocess.Popen(self.command(), cwd=ROOT, stdout=out, stderr=out)
        deadline = time.monotonic() + 60
        while not self.is_serving():
            assert self.process.poll() is None and time.monotonic() < deadline, (self.directory / "out").read_text()
            time.sleep(0.05)
        return self

    def is_serving(self) -> bool:
        return b"imok" in self.say(b"ruok") and b"Mode: standalone" in self.say(b"srvr")

    def say(self, word: bytes) -> bytes:
        """Send a four-letter word and return the answer, nothing where none came."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(word)
                return b"".join(iter(lambda: connection.recv(65_536), b""))
        except OSError:
            return b""

    def send(self, number: signal.Signals) -> None:
        """Send a signal: SIGSTOP and SIGCONT make it silent and let it go on."""
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End the process, if it runs."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.send_signal(signal.SIGCONT)
            self.process.wait(STOP_TIMEOUT_S)
            self.process = None


class OwnCoordinator(ZooKeeper):
    """`fastlog coordinator` in a ZooKeeper's place."""

    def command(self) -> list[str]:
        data = self.directory / "own"
        return [sys.executable, "-m", "fastlog", "coordinator", "--port", str(self.port), "--data", str(data)]
