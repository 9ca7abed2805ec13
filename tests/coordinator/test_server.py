"""`fastlog coordinator` as a process: kazoo, raw sockets, operators, strange bytes, kill -9."""

import contextlib
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kazoo.client import KazooClient
from kazoo.exceptions import BadVersionError, NoAuthError, NodeExistsError, RolledBackError
from kazoo.security import CREATOR_ALL_ACL, make_digest_acl

from fastlog.coordinator import requests
from fastlog.coordinator.jute import Reader
from fastlog.coordinator.tree import Create

ROOT = pathlib.Path(__file__).parent.parent.parent
WAIT_S = 60


class Process:
    def __init__(self, data):
        self.data, self.port, self.process = data, 0, None
        self.start()

    def start(self):
        command = [sys.executable, "-m", "fastlog", "coordinator", "--port", str(self.port), "--data", str(self.data)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("ready "), (line, self.process.stderr.read())
        fields = dict(field.split("=", 1) for field in line.split()[1:])
        assert fields["coordinator_pid"] == str(self.process.pid)
        self.port = int(fields["coordinator"].rpartition(":")[2])

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, err

    def connect(self):
        connected = socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S)
        connected.settimeout(WAIT_S)
        return connected

    def word(self, word):
        with self.connect() as connected:
            connected.sendall(word)
            return b"".join(iter(lambda: connected.recv(65536), b"")).decode()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    started = Process(tmp_path_factory.mktemp("served"))
    yield started
    code, err = started.end()
    assert code == 0 and "a mistake" not in err and "Traceback" not in err, err


@pytest.fixture
def kazoo(served):
    with contextlib.ExitStack() as stack:

        def connect(process=served, **options):
            client = KazooClient(f"127.0.0.1:{process.port}", timeout=10, **options)
            client.start(timeout=WAIT_S)
            stack.callback(client.close)
            stack.callback(client.stop)
            return client

        yield connect


def test_kazoo_reads_writes_and_watches(kazoo):
    one, other = kazoo(), kazoo()
    assert one.create("/k/deep/path", b"1", makepath=True) == "/k/deep/path"
    heard = threading.Event()
    events = []
    assert other.get("/k/deep/path", watch=lambda event: (events.append(event), heard.set()))[0] == b"1"
    assert one.set("/k/deep/path", b"2", version=0).version == 1
    assert heard.wait(WAIT_S)
    assert [(event.type, event.path) for event in events] == [("CHANGED", "/k/deep/path")]
    with pytest.raises(BadVersionError):
        other.set("/k/deep/path", b"3", version=0)
    transaction = one.transaction()
    transaction.create("/k/new")
    transaction.check("/k/deep/path", 7)
    assert [type(one) for one in transaction.commit()] == [RolledBackError, BadVersionError]
    one.delete("/k", recursive=True)
    assert other.exists("/k") is None


def test_kazoo_recipes(kazoo):
    one, other = kazoo(), kazoo()
    order = []
    with one.Lock("/lock", "one"):
        waiting = threading.Thread(target=lambda: other.Lock("/lock", "other").acquire() and order.append("other"))
        waiting.start()
        order.append("one")
    waiting.join(WAIT_S)
    assert order == ["one", "other"]
    queue = one.LockingQueue("/queue")
    queue.put_all([b"a", b"b"])
    assert queue.get(WAIT_S) == b"a"
    assert queue.consume()
    counter = one.Counter("/counter")
    counter += 3
    assert other.Counter("/counter").value == 3


def test_kazoo_lists(kazoo):
    owner, other = kazoo(auth_data=[("digest", "ann:x")]), kazoo()
    owner.create("/private", b"", acl=[make_digest_acl("ann", "x", all=True)])
    with pytest.raises(NoAuthError):
        other.get("/private")
    other.add_auth("digest", "ann:x")
    assert other.get("/private")[0] == b""
    assert owner.get_acls("/private")[0][0].id.id.startswith("ann:")
    owner.create("/own", b"", acl=CREATOR_ALL_ACL)  # whose empty id kazoo sends as an absent one
    assert owner.get_acls("/own")[0] == owner.get_acls("/private")[0]


def test_what_was_answered_survives_kill_9_and_sessions_are_attached_again(kazoo, tmp_path):
    process = Process(tmp_path)
    try:
        client = kazoo(process)
        session = client.client_id
        client.create("/ephemeral", b"mine", ephemeral=True)
        for number in range(20):
            client.create(f"/n-{number}", b"x")
        assert process.end(signal.SIGKILL)[0] == -signal.SIGKILL
        process.start()
        assert client.retry(client.get, "/ephemeral")[0] == b"mine"
        assert client.client_id == session
        assert client.retry(client.get_children, "/") == sorted(["ephemeral", "zookeeper", *(f"n-{n}" for n in range(20))])
        with pytest.raises(NodeExistsError):
            client.create("/ephemeral")
        client.stop()
        later = kazoo(process)
        assert later.exists("/ephemeral") is None
    finally:
        assert process.end()[0] == 0


def test_a_session_that_falls_silent_ends(kazoo, served):
    watching = kazoo()
    with served.connect() as silent:
        silent.sendall(framed(requests.encode_connect(0, 1000, 0, bytes(16))))
        read_frame(silent)
        silent.sendall(framed(requests.encode_request(1, requests.Write((Create("/silent", ephemeral=True),)))))
        read_frame(silent)
        gone = threading.Event()
        assert watching.exists("/silent", watch=lambda event: gone.set())
        assert gone.wait(WAIT_S)
        assert silent.recv(1) == b""


def framed(data):
    return struct.pack(">i", len(data)) + data


def read_exactly(connected, count):
    parts = bytearray()
    while len(parts) < count:
        part = connected.recv(count - len(parts))
        assert part, "the connection was closed"
        parts += part
    return bytes(parts)


def read_frame(connected):
    return read_exactly(connected, struct.unpack(">i", read_exactly(connected, 4))[0])


def test_pipelined_requests_are_answered_in_order(served):
    count = 3000
    with served.connect() as connected:
        data = framed(requests.encode_connect(0, 30_000, 0, bytes(16)))
        data += framed(requests.encode_request(1, requests.Write((Create("/pipe", b"x" * 1000),))))
        data += b"".join(framed(requests.encode_request(xid, requests.Get("/pipe"))) for xid in range(2, count))
        sending = threading.Thread(target=connected.sendall, args=(data,))
        sending.start()
        read_frame(connected)
        assert served.word(b"ruok") == "imok"
        for xid in range(1, count):
            head = requests.decode_head(Reader(read_frame(connected)))
            assert (head.xid, head.error) == (xid, 0)
        sending.join(WAIT_S)


def test_after_the_end_of_a_session_nothing_of_its_connection_is_done(served):
    with served.connect() as connected:
        data = framed(requests.encode_connect(0, 30_000, 0, bytes(16)))
        data += framed(requests.encode_request(1, requests.Close()))
        connected.sendall(data + b"".join(framed(requests.encode_request(xid, requests.Get("/"))) for xid in (2, 3)))
        read_frame(connected)
        head = requests.decode_head(Reader(read_frame(connected)))
        assert (head.xid, head.error) == (1, 0)
        with contextlib.suppress(ConnectionResetError):  # what it has not read may be reset
            assert connected.recv(1) == b""


def test_four_letters(served, kazoo):
    kazoo().create("/words", ephemeral=True)
    assert served.word(b"ruok") == "imok"
    assert served.word(b"isro") == "rw"
    assert "Mode: standalone\n" in served.word(b"srvr")
    assert "\n /127.0.0.1:" in served.word(b"stat")
    numbers = dict(line.split("\t") for line in served.word(b"mntr").splitlines())
    assert int(numbers["zk_uptime"]) >= 0
    assert int(numbers["zk_znode_count"]) > 4 and int(numbers["zk_ephemerals_count"]) == 1
    assert f"clientPort={served.port}\n" in served.word(b"conf")
    assert "sid=0x" in served.word(b"cons")
    assert "\t/words\n" in served.word(b"dump")
    assert "Total watches:0" in served.word(b"wchs")
    assert "zookeeper.version=3." in served.word(b"envi")
    assert "not in the whitelist" in served.word(b"kill")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(st.binary(max_size=60), max_size=4).map(lambda frames: b"".join(map(framed, frames))),
        st.lists(st.tuples(st.integers(-12, 110), st.binary(max_size=40)), max_size=6).map(
            lambda asked: (
                framed(requests.encode_connect(0, 1000, 0, bytes(16)))
                + b"".join(framed(struct.pack(">ii", 1, op) + body) for op, body in asked)
            )
        ),
    )
)
def test_any_bytes_harm_nobody_else(served, data):
    with served.connect() as strange, contextlib.suppress(OSError):
        strange.sendall(data)
        strange.shutdown(socket.SHUT_WR)
        while strange.recv(65536):
            pass
    assert served.word(b"ruok") == "imok"


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\n", struct.pack(">i", -1), struct.pack(">i", 1 << 30)])
def test_what_is_no_client_is_closed(served, start):
    with served.connect() as strange, contextlib.suppress(ConnectionResetError):
        strange.sendall(start)
        assert strange.recv(1000) == b""


def refused(*arguments):
    ended = subprocess.run(
        [sys.executable, "-m", "fastlog", "coordinator", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        cwd=ROOT,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("fastlog: ") and ended.stderr.count("\n") == 1, ended.stderr
    return ended.stderr


def test_why_it_does_not_start(served, tmp_path):
    assert f"cannot listen on 127.0.0.1:{served.port}" in refused("--port", served.port, "--data", tmp_path / "a")
    assert "another process" in refused("--port", 0, "--data", served.data)
    process = Process(tmp_path / "b")
    with process.connect() as connected:
        connected.sendall(framed(requests.encode_connect(0, 1000, 0, bytes(16))))
        read_frame(connected)
    assert process.end()[0] == 0
    (journal,) = (tmp_path / "b").glob("journal.*")
    data = bytearray(journal.read_bytes())
    data[60] ^= 1
    journal.write_bytes(data)
    assert f"{journal}: corrupt at position" in refused("--port", 0, "--data", tmp_path / "b")
