"""ZooKeeper's own Java client, its command line, and Curator, on a real ZooKeeper and on `fastlog coordinator`: no difference."""

from __future__ import annotations

import pathlib
import re
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest
import zookeeper_wire as wire
from zookeeper_servers import OwnCoordinator, ZooKeeper

PROGRAMS = pathlib.Path(__file__).parent / "zookeeper"
LIMIT_S = 110
LEAST_LINES = 120
LOCKERS, ROUNDS = 3, 25

COMMANDS = """\
ls /
create /cli data
create -s /cli/s- one
create -e /cli/e two
create -c /cli/box
create -t 3600000 /cli/t three
create /cli/s-0000000000 x
create /no/where x
ls /cli
ls -s /cli
ls -R /cli
get /cli
get -s /cli
set -v 7 /cli x
set -v 0 /cli more
set -s /cli yet
stat /cli
stat /no
getAllChildrenNumber /cli
getEphemerals /
getAcl -s /cli
addauth digest ann:secret
whoami
create /cli/own x auth::cdrwa
getAcl /cli/own
setAcl -s /cli/own world:anyone:r,auth::cdrwa
getAcl -s /cli/own
addWatch -m PERSISTENT /cli
set /cli again
removewatches /cli
set /cli last
delete /cli
delete -v 9 /cli/own
delete /cli/own
sync /cli
reconfig -remove 1
config
deleteall /cli
ls /
close
quit
"""

Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    compiled = tmp_path_factory.mktemp("classes")
    jars = ZooKeeper(tmp_path_factory.mktemp("jars") / "none").jars
    assert list(jars.glob("curator-recipes-*.jar")), f"no Curator in {jars}: run `make conformance`"
    sources = map(str, sorted(PROGRAMS.glob("*.java")))
    subprocess.run(["javac", "-nowarn", "-Xlint:none", "-cp", f"{jars}/*", "-d", str(compiled), *sources], check=True)
    return compiled


@pytest.fixture
def run(classes: pathlib.Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts a Java program on a server."""
    started: list[subprocess.Popen[str]] = []

    def start(server: ZooKeeper, main: str, *arguments: object) -> subprocess.Popen[str]:
        options = ["-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{classes}:{server.jars}/*"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        started.append(subprocess.Popen(["java", *options, main, *map(str, arguments)], **pipes))  # type: ignore[call-overload]
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def both(tmp_path: pathlib.Path) -> Iterator[list[ZooKeeper]]:
    """Return our own coordinator and a real ZooKeeper, which looks for what is to be removed as often."""

    class Quick(ZooKeeper):
        options = ("-Dznode.container.checkIntervalMs=200",)

    servers = [OwnCoordinator(tmp_path / "ours"), Quick(tmp_path / "real")]
    try:
        yield [server.start() for server in servers]
    finally:
        for server in servers:
            server.end()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def test_all_that_the_client_can_ask(both: list[ZooKeeper], run: Run) -> None:
    tours = [run(server, "Tour", "tour", server.address) for server in both]
    ours, real = (tour.communicate(timeout=LIMIT_S)[0].splitlines() for tour in tours)
    assert ours == real
    assert [tour.returncode for tour in tours] == [0, 0], "\n".join(real)
    assert len(real) >= LEAST_LINES


def without_times(text: str) -> list[str]:
    """Return what the command line printed, without times, and zxids only by what they are the zxid of."""
    lines = re.sub(r"(?m)^(ctime|mtime) = .*\n", "", text).splitlines()
    found = [re.sub(r"(?<=Zxid = )0x\w+|(?<=zxid: )\d+|(?<=Connecting to ).*", "...", line) for line in lines]
    assert any("zxid: ..." in line for line in found), text
    identities = {"digest: ann", "ip: 127.0.0.1"}  # in no order
    return [line for line in found if line not in identities] + sorted(identities & set(found))


def test_the_command_line(both: list[ZooKeeper], run: Run) -> None:
    main = "org.apache.zookeeper.ZooKeeperMain"
    started = [run(server, main, "-waitforconnection", "-server", server.address) for server in both]
    printed = [process.communicate(COMMANDS, timeout=LIMIT_S)[0] for process in started]
    ours, real = map(without_times, printed)
    assert ours == real
    assert [process.returncode for process in started] == [0, 0], printed[1]
    for line in ("Created /cli/s-0000000000", "/cli/box", "Reconfig is disabled", "NodeDataChanged path:/cli", "[/cli/e]"):
        assert any(line in one for one in ours), line


def test_a_session_that_says_nothing_is_over(zookeeper: ZooKeeper, run: Run) -> None:
    held = run(zookeeper, "Tour", "hold", zookeeper.address, "/held")
    assert line_of(held) == "held"
    waiting = run(zookeeper, "Tour", "await", zookeeper.address, "/held")
    assert line_of(waiting) == "there"
    held.send_signal(signal.SIGSTOP)
    assert line_of(waiting) == "  event NodeDeleted /held"
    held.send_signal(signal.SIGCONT)
    assert line_of(held) == "expired"
    assert (waiting.wait(LIMIT_S), held.wait(LIMIT_S)) == (0, 0)


def test_curators_leader_latch(zookeeper: ZooKeeper, run: Run) -> None:
    def leader(asked: subprocess.Popen[str]) -> str:
        assert asked.stdin is not None
        asked.stdin.write("\n")
        asked.stdin.flush()
        return line_of(asked)

    one = run(zookeeper, "CuratorMember", "latch", zookeeper.address, "one")
    assert {line_of(one), line_of(one)} == {"waits", "leads"}
    other = run(zookeeper, "CuratorMember", "latch", zookeeper.address, "other")
    assert line_of(other) == "waits"
    while (said := leader(other)) != "leader is one of 2":
        assert said == "leader is one of 1", "its own znode is not there yet"
    one.kill()
    assert line_of(other) == "leads"
    assert leader(other) == "leader is other of 1"
    assert other.stdin is not None
    other.stdin.close()
    assert line_of(other) == "does not lead"
    assert other.wait(LIMIT_S) == 0


def test_curators_lock(zookeeper: ZooKeeper, run: Run) -> None:
    connection = wire.Connection(zookeeper.port)
    assert connection.ask(wire.CREATE, wire.create("/count", b"0")).error == 0
    connection.close()
    lockers = [run(zookeeper, "CuratorMember", "lock", zookeeper.address, number, ROUNDS) for number in range(LOCKERS)]
    assert [locker.communicate(timeout=LIMIT_S)[0] for locker in lockers] == [f"counted {ROUNDS}\n"] * LOCKERS
    again = wire.Connection(zookeeper.port)
    assert again.ask(wire.GET_DATA, wire.question("/count", False)).body[0] == str(LOCKERS * ROUNDS).encode()
    again.close()
