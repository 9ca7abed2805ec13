"""Fixtures for every room."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from memory_machine import Machine

from fastlog.wire.compiler import Schema

# How long an example takes says more of the machine's load than of the code.
settings.register_profile("fastlog", deadline=None)
settings.load_profile("fastlog")

NUMBERS = {
    "int8": st.integers(-(1 << 7), (1 << 7) - 1),
    "int16": st.integers(-(1 << 15), (1 << 15) - 1),
    "uint16": st.integers(0, (1 << 16) - 1),
    "int32": st.integers(-(1 << 31), (1 << 31) - 1),
    "uint32": st.integers(0, (1 << 32) - 1),
    "int64": st.integers(-(1 << 63), (1 << 63) - 1),
    "float64": st.floats(allow_nan=False),
    "bool": st.booleans(),
    "uuid": st.binary(min_size=16, max_size=16),
    "string": st.text(max_size=6) | st.integers(120, 130).map(lambda size: "x" * size),
    "bytes": st.binary(max_size=6) | st.integers(120, 130).map(bytes),
    "records": st.binary(max_size=6) | st.integers(120, 130).map(bytes),
}


def message_strategy(message, version, overrides=None, most_elements=3):
    """Return a strategy of messages that a version can carry: what it lacks is left at its default.

    `overrides(struct_class, field)` may return a strategy for a field, or None.
    """
    schema = Schema(message, version)

    def values(struct_class, field, kind):
        if kind.startswith("[]"):
            return st.lists(values(struct_class, field, kind[2:]), max_size=most_elements)
        given = overrides(struct_class, field) if overrides else None
        if given is not None:
            return given
        nested = schema.struct(kind)
        return NUMBERS[kind] if nested is None else structs(nested)

    def structs(struct_class):
        fields = {}
        for field in struct_class.FIELDS:
            if schema.has(field):
                strategy = values(struct_class, field, field.type)
                fields[field.name] = st.none() | strategy if schema.is_nullable(field) else strategy
        return st.builds(struct_class, **fields)

    return structs(message)


@pytest.fixture(scope="session")
def messages_of():
    """`messages_of(message_class, version)` is a strategy of messages that the version can carry."""
    return message_strategy


class SimulatedBroker:
    """A real `Node` on a simulated machine, and a client's connection to it. Time stands still between calls."""

    HOST, PORT, DATA = "broker", 9092, "/kafka/data"

    def __init__(self, options=None, seed=1, drive=None):
        from fastlog.config import Config, Setting
        from fastlog.sim.entropy import Entropy
        from fastlog.sim.machine import Machine
        from fastlog.sim.network import Wires
        from fastlog.sim.scheduler import Scheduler
        from fastlog.sim.trace import Trace

        given = {"listeners": f"PLAINTEXT://{self.HOST}:{self.PORT}", "log.dirs": self.DATA, **(options or {})}
        self.config = Config([Setting(name, text, "test") for name, text in given.items()])
        trace = Trace(None)
        self._entropy = Entropy(seed)
        self._trace = trace
        self._scheduler = Scheduler(self._entropy.fork("order"), trace)
        self._wires = Wires(self._scheduler, self._entropy.fork("wires"), trace)
        self.machine = Machine(
            self.HOST, self._scheduler, self._wires, self._entropy.fork("machine"), trace, 1_750_000_000_000, self._boot
        )
        if drive is not None:
            self.machine.drive = drive
        self.node = None
        self.failure = None
        self._clients = 0
        self._peer = None

    def _boot(self, environment):
        from fastlog.node import Node

        broker = self

        class Program:
            def __init__(self):
                self.node = broker.node = Node(broker.config, environment)
                try:
                    self.node.start().then(self._started)
                except Exception as error:
                    broker.failure = error

            def _started(self, started):
                try:
                    started.result()
                except Exception as error:
                    broker.failure = error

            def is_ready(self):
                return self.node.is_ready

            def stop(self, stopped):
                def done(outcome):
                    outcome.result()
                    stopped()

                self.node.stop().then(done)

            def partition_states(self):
                return []

        return Program()

    def run_until(self, condition, most_steps=200_000):
        for _ in range(most_steps):
            if condition():
                return
            assert self._scheduler.step(), "nothing left to do"
        raise AssertionError("it never came about")

    def begin(self):
        """Start a process, without waiting for what becomes of it."""
        self.failure = self.node = None
        self._peer = None
        self.machine.start()

    def start(self):
        """Start a process and wait until clients are served; raises what kept it from that."""
        self.begin()
        self.run_until(lambda: self.machine.is_ready() or self.failure is not None)
        if self.failure is not None:
            raise self.failure
        return self

    def stop(self):
        """Stop cleanly."""
        ended = []
        self.machine.stop(lambda: ended.append(True))
        self.run_until(lambda: ended)

    def restart(self, how="stop"):
        """Stop cleanly, or `kill` the process, or `lose` the machine, and start again."""
        getattr(self, how, getattr(self.machine, how))()
        return self.start()

    def wait(self, pending):
        """Let time pass until `pending` is settled; return its value or raise its error."""
        self.run_until(lambda: pending.done)
        return pending.result()

    def peer(self):
        """Return a new client's connection."""
        from fastlog.sim.network import SimulatedNetwork
        from fastlog.sim.peer import Peer
        from fastlog.sim.process import Process

        self._clients += 1
        name = f"client{self._clients}"
        process = Process(name, self._scheduler, self._entropy.fork(name), 1_750_000_000_000)
        network = SimulatedNetwork(self._wires, process, name)
        process.boot(network, network.has_ready)
        peer = Peer(process, self._entropy.fork(f"{name} peer"), self.HOST, self.PORT)
        connected = process.reactor.spawn(peer.connect())
        process.touch()
        self.wait(connected)
        return peer

    def send(self, request, version, peer=None):
        """Send a request, on a connection that stays where none is given; return the pending answer."""
        from fastlog.wire.api import APIS

        if peer is None:
            if self._peer is None or not self._peer.is_open:
                self._peer = self.peer()
            peer = self._peer
        answer = peer.request(request, APIS[request.API_KEY].response_class, version)
        peer._process.touch()
        return answer

    def call(self, request, version):
        """Send a request and return the answer."""
        return self.wait(self.send(request, version))


@pytest.fixture
def found():
    """`found(search, *arguments)` takes all steps of a search and returns what it finds."""

    def run(search, *arguments, **named):
        steps = search(*arguments, **named)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                return stop.value

    return run


@pytest.fixture
def new_broker():
    """`new_broker(options, seed=1, drive=None)` is a `SimulatedBroker` that is not started."""
    return SimulatedBroker


@pytest.fixture
def broker():
    """Return a started `SimulatedBroker` with Kafka's defaults."""
    return SimulatedBroker().start()


@pytest.fixture
def new_machine():
    """`new_machine(files=None)` is a `memory_machine.Machine`, on a disk with these files."""
    return Machine


@pytest.fixture
def machine():
    """Return a `memory_machine.Machine` with an empty disk."""
    return Machine()
