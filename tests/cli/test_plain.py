"""Commands that are called plainly: which calls are, and that what they start loads no more than it needs."""

import gc
import os
import signal
import subprocess
import sys

import pytest
import zookeeper_wire as wire

from fastlog import node
from fastlog.base_errors import UsageError
from fastlog.cli import plain
from fastlog.cli.main import run
from fastlog.coordinator import process
from fastlog.coordinator.process import CoordinatorOptions
from fastlog.node import UpOptions

WAIT_S = 60
NOT_NEEDED = {
    "argparse", "asyncio", "base64", "click", "contextlib", "dataclasses", "datetime", "enum", "fastlog.config", "fastlog.errors",
    "fastlog.wire", "hashlib", "inspect", "ipaddress", "logging", "numpy", "re", "signal", "socket", "ssl", "tempfile",
    "traceback", "typing", "uuid",
}  # fmt: skip
THEN_TELL = """
import gc, sys
from fastlog.__main__ import main
from fastlog.env.reactor import Reactor

stop = Reactor.stop

def tell_and_stop(reactor):
    print(*sys.modules, file=sys.stderr)
    print(gc.isenabled() and gc.get_freeze_count() > 0, file=sys.stderr)
    stop(reactor)

Reactor.stop = tell_and_stop
main()
"""


def test_a_coordinator_serves_without_what_it_does_not_need(tmp_path):
    command = [sys.executable, "-c", THEN_TELL, "coordinator", "--port", "0", "--data", str(tmp_path / "data")]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = started.stdout.readline().split()[1].partition("=")[2]
        connection = wire.Connection(int(address.rpartition(":")[2]))
        for op, body in (
            (wire.CREATE, wire.create("/a", b"x")),
            (wire.GET_DATA, wire.question("/a", False)),
            (wire.GET_CHILDREN, wire.question("/", False)),
        ):
            assert connection.ask(op, body).error == 0
        connection.close()
    finally:
        started.send_signal(signal.SIGTERM)
        _, told = started.communicate(timeout=WAIT_S)
    loaded, collects = told.splitlines()
    assert (started.returncode, collects) == (0, "True")
    assert "fastlog.coordinator.dispatch" in loaded.split()
    assert NOT_NEEDED & set(loaded.split()) == set()


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], {}),
        (["--port", "0"], {"port": 0}),
        (["--data", "nowhere/yet", "--host", "", "--port", "65535"], {"data": "nowhere/yet", "host": "", "port": 65_535}),
    ],
)
def test_a_plain_call_means_what_click_makes_of_it(arguments, options, monkeypatch):
    started = []
    monkeypatch.setattr(process, "run_coordinator", lambda options: started.append(options) or 0)
    monkeypatch.setattr("fastlog.cli.coordinator.run_coordinator", process.run_coordinator)
    assert plain.command_for(["coordinator", *arguments])() == run(["coordinator", *arguments]) == 0
    assert started == [CoordinatorOptions(**options)] * 2
    assert gc.isenabled()


def test_garbage_is_collected_again_after_a_start_that_fails(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="Not a directory"):
        plain.command_for(["coordinator", "--port", "0", "--data", str(tmp_path / "file" / "data")])()
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], {}),
        (["--port", "0", "--coordinator-port", "0"], {"port": 0, "coordinator_port": 0}),
        (["--data", "nowhere/yet", "--host", "::1"], {"data": "nowhere/yet", "host": "::1"}),
    ],
)
def test_a_plain_call_of_up_means_what_click_makes_of_it(arguments, options, monkeypatch):
    started = []
    monkeypatch.setattr(node, "run_up", lambda options: started.append(options) or 0)
    assert plain.command_for(["up", *arguments])() == run(["up", *arguments]) == 0
    assert started == [UpOptions(**options)] * 2


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["topic", "list"],
        ["coordinator", "--help"],
        ["coordinator", "--port"],
        ["coordinator", "--port", "65536"],
        ["coordinator", "--port", "\N{SUPERSCRIPT TWO}"],
        ["coordinator", "--port", "x"],
        ["coordinator", "--port=0"],
        ["coordinator", "--port", "0", "--port", "0"],
        ["coordinator", "--data", "--help"],
        ["coordinator", "--data", os.devnull],
        ["coordinator", "--dat", "x"],
        ["up", "-o", "num.partitions=3"],
        ["up", "--coordinator", "127.0.0.1:2181"],
        ["coordinator", "data", "x"],
    ],
)
def test_every_other_call_is_left_to_click(arguments):
    assert plain.command_for(arguments) is None
