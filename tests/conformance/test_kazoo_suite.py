"""kazoo's own tests against `fastlog coordinator` and against a real standalone ZooKeeper, in one run: the same ones pass.

A test that passes with one and not with the other is run again alone, with both, and that counts: kazoo's tests have time
limits of their own, which a loaded machine does not keep.
"""

from __future__ import annotations

import os
import pathlib
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from xml.etree import ElementTree

import pytest
from zookeeper_servers import OwnCoordinator, ZooKeeper

ROOT = pathlib.Path(__file__).parent.parent.parent
SUITE_S = 900
TEST_S = 120
HALVES = [
    ["barrier", "cache", "client", "connection", "counter", "election", "interrupt", "lease"],
    ["lock", "partitioner", "party", "queue", "watchers"],
]
"""All modules that ask a server something, in halves that run side by side, as they mostly sleep. Kazoo's others want SASL, or
do the client's tests again under gevent and eventlet."""
REASONS = {
    "TestClient::test_update_host_list": "wants an ensemble of three",
    "TestReadOnlyMode": "wants an ensemble of three",
    "TestReconfig": "wants an ensemble that can be changed",
    "TestSSLClient": "wants TLS",
}
"""Why some do not pass with a standalone ZooKeeper."""
LEAST_PASSED = 230
Outcome = tuple[str, str]
"""How a test ended, and why it did not pass."""


class Suite:
    """Some of kazoo's tests as they run, with one server."""

    def __init__(self, server: ZooKeeper, directory: pathlib.Path, tests: list[str]) -> None:
        self.directory = directory
        directory.mkdir()
        environment = {
            **os.environ,
            "CI": "",  # there, a test for three servers would wait for them
            "KAZOO_SERVER": shlex.join(server.command()),
            "KAZOO_ADDRESS": server.address,
            "ZOOKEEPER_VERSION": "3.9.3",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}",
        }
        command = [sys.executable, "-m", "pytest", "-q", "-p", "kazoo_harness", "-p", "no:cacheprovider", f"--timeout={TEST_S}"]
        command += [
            "-c",
            os.devnull,
            "--rootdir",
            str(directory),
            "-o",
            "junit_family=xunit1",
            f"--junitxml={directory / 'xml'}",
            *tests,
        ]
        with (directory / "out").open("w") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, cwd=directory, env=environment)

    def outcomes(self) -> dict[str, Outcome]:
        """Wait for the end; return how each test ended, by its module, class and name."""
        self.process.wait(timeout=SUITE_S)
        found = {}
        for case in ElementTree.parse(self.directory / "xml").iter("testcase"):
            ended = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
            name = (
                f"{pathlib.Path(case.get('file', '')).name}::{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
            )
            found[name] = ("passed", "") if ended is None else (ended.tag, ended.get("message", "").partition("\n")[0])
        return found

    def end(self) -> None:
        """Let go of it, whether it has come to its end or not."""
        self.process.terminate()
        self.process.wait(timeout=60)


def reason_of(name: str, outcome: Outcome) -> str:
    return next((reason for group, reason in REASONS.items() if group in name), " ".join(outcome)[:120])


@pytest.mark.timeout(3 * SUITE_S)
def test_the_same_tests_pass_as_with_a_real_zookeeper(tmp_path: pathlib.Path, show: Callable[[str, list[str]], None]) -> None:
    files = resources.files("kazoo.tests")
    servers = [
        (OwnCoordinator(tmp_path / f"ours-{half}"), ZooKeeper(tmp_path / f"real-{half}", tickTime=500))
        for half in range(len(HALVES))
    ]
    suites: list[Suite] = []
    ours: dict[str, Outcome] = {}
    real: dict[str, Outcome] = {}

    def begin(server: ZooKeeper, tests: list[str]) -> Suite:
        suites.append(Suite(server, tmp_path / f"suite-{len(suites)}", tests))
        return suites[-1]

    try:
        halves = [
            [begin(server, [str(files / f"test_{module}.py") for module in half]) for server in pair]
            for half, pair in zip(HALVES, servers, strict=True)
        ]
        for half in halves:
            for suite, outcomes in zip(half, (ours, real), strict=True):
                outcomes.update(suite.outcomes())
        assert ours.keys() == real.keys()
        again = [name for name in real if (real[name][0] == "passed") != (ours[name][0] == "passed")]
        for name in again:
            for server, outcomes in zip(servers[0], (ours, real), strict=True):
                outcomes.update(begin(server, [str(files / name)]).outcomes())
    finally:
        for suite in suites:
            suite.end()
    passed = [name for name in real if real[name][0] == "passed"]
    others = [f"  {name}: {reason_of(name, real[name])}" for name in real if real[name][0] != "passed"]
    show(
        "kazoo's tests",
        [
            f"{len(passed)} pass with a real ZooKeeper, {sum(ours[name][0] == 'passed' for name in passed)} of them with fastlog",
            *(f"  decided by running it alone: {name}" for name in again),
            f"{len(others)} do not pass with a real standalone ZooKeeper either:",
            *others,
        ],
    )
    assert len(passed) >= LEAST_PASSED
    missed = [f"{name}: {' '.join(ours[name])}" for name in passed if ours[name][0] != "passed"]
    assert not missed, "\n".join([*missed, *((suite.directory / "out").read_text()[-8000:] for suite in suites)])
