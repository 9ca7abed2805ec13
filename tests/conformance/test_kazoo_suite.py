"""kazoo's own tests against `fastlog coordinator` and against a real standalone ZooKeeper, in one run: the same ones pass."""

from __future__ import annotations

import os
import pathlib
import shlex
import subprocess
import sys
from importlib import resources
from xml.etree import ElementTree

import pytest
from ports import free_port

ROOT = pathlib.Path(__file__).parent.parent.parent
SUITE_S = 300
MODULES = ["barrier", "client", "connection", "counter", "election", "lease", "lock", "partitioner", "party", "queue"]
LEFT_OUT = [
    "not TestSessions",  # read-only servers and ensembles of three
    "not Reconfig and not read_only and not ssl and not sasl",
]
"""What asks for an ensemble, or for transports that a plain standalone server does not have either."""
LEAST_PASSED = 150


def begin(name: str, server: str, port: int, directory: pathlib.Path) -> subprocess.Popen[bytes]:
    tests = resources.files("kazoo.tests")
    environment = {
        **os.environ,
        "KAZOO_SERVER": server,
        "KAZOO_ADDRESS": f"127.0.0.1:{port}",
        "ZOOKEEPER_VERSION": "3.9.3",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "kazoo_harness", "-p", "no:cacheprovider", "--timeout=60"]
    command += ["-c", os.devnull, "--rootdir", str(directory), "-k", " and ".join(LEFT_OUT)]
    command += [f"--junitxml={directory / name}.xml", *(str(tests / f"test_{module}.py") for module in MODULES)]
    with (directory / f"{name}.out").open("w") as out:
        return subprocess.Popen(command, stdout=out, stderr=out, cwd=directory, env=environment)


def outcomes(file: pathlib.Path) -> dict[str, str]:
    found = {}
    for case in ElementTree.parse(file).iter("testcase"):
        ended = next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed")
        found[f"{case.get('classname', '').rpartition('.')[2]}.{case.get('name')}"] = ended
    return found


@pytest.mark.soak  # `make kazoo`
@pytest.mark.timeout(2 * SUITE_S)
def test_the_same_tests_pass_as_with_a_real_zookeeper(tmp_path: pathlib.Path) -> None:
    jars = pathlib.Path(os.environ.get("ZOOKEEPER_JARS", ROOT / ".cache" / "zookeeper-jars"))
    assert list(jars.glob("zookeeper-*.jar")), f"no ZooKeeper jars in {jars}: run `make conformance`"
    our_port, real_port = free_port(), free_port()
    ours = shlex.join([sys.executable, "-m", "fastlog", "coordinator", "--port", str(our_port), "--data", str(tmp_path / "o")])
    config = tmp_path / "zoo.cfg"
    config.write_text(
        f"tickTime=500\ndataDir={tmp_path / 'r'}\nclientPort={real_port}\nclientPortAddress=127.0.0.1\n"
        "maxClientCnxns=0\nadmin.enableServer=false\n4lw.commands.whitelist=*\n"
    )
    java = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dzookeeper.extendedTypesEnabled=true", "-cp", f"{jars}/*"]
    real = shlex.join([*java, "org.apache.zookeeper.server.ZooKeeperServerMain", str(config)])
    suites = [begin("ours", ours, our_port, tmp_path), begin("real", real, real_port, tmp_path)]
    try:
        for suite in suites:
            suite.wait(timeout=SUITE_S)
    finally:
        for suite in suites:
            suite.terminate()
            suite.wait(timeout=60)
    with_ours, with_real = outcomes(tmp_path / "ours.xml"), outcomes(tmp_path / "real.xml")
    passed = sorted(name for name, ended in with_real.items() if ended == "passed")
    others = sorted(f"{name}: {ended}" for name, ended in with_real.items() if ended != "passed")
    print(f"{len(passed)} pass with both; with a real ZooKeeper these do not:", *others, sep="\n  ")
    assert len(passed) >= LEAST_PASSED
    missed = [f"{name}: {with_ours.get(name)}" for name in passed if with_ours.get(name) != "passed"]
    assert not missed, "\n".join([*missed, (tmp_path / "ours.out").read_text()[-8000:]])
