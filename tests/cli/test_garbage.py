"""Servers leave nothing of each connection, request or write to the collector of cyclic garbage, which seldom runs in them."""

import signal
import subprocess
import sys

import pytest
import zookeeper_wire as wire

from fastlog.client.blocking import Client

WAIT_S = 60
EACH = 40
FEW = 20
"""Kinds of objects in a cycle that come once, or with time: no connection, request or write leaves one of them alone."""
COUNT_GARBAGE = """
import collections, gc, sys
from fastlog.__main__ import main
from fastlog.env import system
from fastlog.env.reactor import Reactor

def keep_all():
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)

def count_and_stop(reactor):
    assert gc.get_debug(), "this process did not go over from its start to serving"
    gc.collect()
    kinds = collections.Counter(type(one).__qualname__ for one in gc.garbage)
    print(*(f"{kind}={count}" for kind, count in kinds.items()), file=sys.stderr)
    stop(reactor)

stop, Reactor.stop, system.collect_seldom = Reactor.stop, count_and_stop, keep_all
main()
"""


@pytest.fixture
def start(tmp_path):
    """Start a command; calling what that returns ends it and returns how many objects of each kind were left in cycles."""
    started = []

    def begin(*arguments):
        command = [sys.executable, "-c", COUNT_GARBAGE, *arguments, "--data", str(tmp_path / "data")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        fields = dict(field.split("=", 1) for field in process.stdout.readline().split()[1:])

        def end():
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=WAIT_S)
            assert process.returncode == 0, told
            return {kind: int(count) for kind, count in (one.rsplit("=", 1) for one in told.splitlines()[-1].split())}

        return fields, end

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_a_coordinator_leaves_no_cycles(start):
    fields, end = start("coordinator", "--port", "0")
    port = int(fields["coordinator"].rpartition(":")[2])
    for number in range(EACH):
        connection = wire.Connection(port)
        connection.ask(wire.EXISTS, wire.question(f"/{number}", True))
        connection.ask(wire.CREATE, wire.create("/a", b"x"))
        connection.ask(wire.SET_DATA, wire.set_data("/a", b"y", -1))
        connection.ask(wire.MULTI, wire.multi([(wire.CREATE, wire.create("/b", b"")), (wire.CREATE, wire.create("/a", b""))]))
        if number % 3 == 0:
            connection.ask(wire.CLOSE_SESSION)
        elif number % 3 == 1:
            connection.socket.sendall(b"\xff\xff\xff\xff")
        connection.close()
    assert {kind: count for kind, count in end().items() if count > FEW} == {}


def test_a_broker_leaves_no_cycles(start):
    fields, end = start("up", "--port", "0", "--coordinator-port", "0")
    for number in range(EACH):
        with Client(fields["bootstrap"]) as client, client.producer() as producer:
            producer.send("t", b"value", partition=0)
            producer.flush()
            with client.consumer([("t", 0)]) as consumer:
                assert len(list(consumer.records(stop_at_end=True))) == number + 1
    assert {kind: count for kind, count in end().items() if count > FEW} == {}
