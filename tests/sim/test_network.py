"""Streams between simulated processes: order, bounds, ends and losses."""

import sys

import pytest

from fastlog.env import READABLE, WRITABLE


def connect(world, *, port=9092):
    """Return (server process, its transport, client process, its transport), connected."""
    server, client = world.process("server"), world.process("client")
    accepted = []
    listener = server.network.listen("server", port)
    server.network.watch(listener, READABLE, lambda events: accepted.append(listener.accept()))
    transport = client.network.connect("server", port)
    writable = []

    def on_writable(events):
        writable.append(events)
        client.network.watch(transport, 0, on_writable)

    client.network.watch(transport, WRITABLE, on_writable)
    world.run_until(lambda: accepted and writable)
    return server, accepted[0], client, transport


def receive_all(process, transport, into, outcome):
    def on_readable(events):
        buffer = bytearray(300)
        try:
            count = transport.receive_into(buffer)
        except OSError as error:
            outcome.append(error)
            process.network.watch(transport, 0, on_readable)
            return
        into.extend(buffer[:count])
        if count == 0:
            outcome.append(None)
            process.network.watch(transport, 0, on_readable)

    process.network.watch(transport, READABLE, on_readable)


@pytest.mark.parametrize("seed", range(8))
def test_bytes_arrive_in_order_and_the_end_after_them(small_world, seed):
    world = small_world(seed)
    server, far, client, near = connect(world)
    received, outcome = bytearray(), []
    receive_all(server, far, received, outcome)
    data = bytes(range(256)) * 40
    sent = 0

    def on_writable(events):
        nonlocal sent
        sent += near.send([data[:1000], b"", data[1000:]], sent)
        if sent == len(data):
            near.close()

    client.network.watch(near, WRITABLE, on_writable)
    world.run_until(lambda: outcome)
    assert outcome == [None]
    assert received == data


def test_what_is_under_way_is_bounded(small_world):
    world = small_world(1)
    _, far, _, near = connect(world)
    assert near.send([bytes(10_000_000)]) == world.wires.buffer_bytes
    with pytest.raises(BlockingIOError):
        near.send([b"x"])
    with pytest.raises(BlockingIOError):
        far.receive_into(bytearray(10))


def test_what_was_sent_can_be_cut_though_a_traceback_holds_the_frames(small_world, monkeypatch):
    world = small_world()
    _, _, _, near = connect(world)
    frames = []
    latency_ns = world.wires.latency_ns
    monkeypatch.setattr(world.wires, "latency_ns", lambda: frames.append(sys._getframe()) or latency_ns())
    outbox = bytearray(b"abcdef")
    del outbox[: near.send([outbox])]
    assert frames
    assert outbox == b""


def test_nobody_listens(small_world):
    world = small_world(3)
    client = world.process("client")
    transport = client.network.connect("nowhere", 1)
    failed = []

    def on_writable(events):
        with pytest.raises(OSError) as raised:
            transport.send([b"x"])
        failed.append(raised.value)
        transport.close()

    client.network.watch(transport, WRITABLE, on_writable)
    world.run_until(lambda: failed)
    assert isinstance(failed[0], ConnectionRefusedError | TimeoutError)


def test_a_port_in_use(small_world):
    world = small_world(3)
    server = world.process("server")
    server.network.listen("server", 1)
    with pytest.raises(OSError, match="in use"):
        server.network.listen("server", 1)
    assert server.network.listen("server", 0).port != server.network.listen("server", 0).port


def test_a_killed_process_takes_its_connections_and_its_port_with_it(small_world):
    for seed in range(6):
        world = small_world(seed)
        server, _, client, near = connect(world)
        received, outcome = bytearray(), []
        receive_all(client, near, received, outcome)
        server.kill()
        world.run_until(lambda outcome=outcome: outcome)
        assert outcome[0] is None or isinstance(outcome[0], ConnectionResetError)
        world.process("server").network.listen("server", 9092)


def test_a_lost_connection_is_an_error_on_both_sides(small_world):
    world = small_world(5)
    _, far, _, near = connect(world)
    world.wires.reset_one()
    for transport in (near, far):
        with pytest.raises(ConnectionResetError):
            transport.receive_into(bytearray(1))
        with pytest.raises(ConnectionResetError):
            transport.send([b"x"])


def test_a_cut_link_delays_what_is_sent(small_world):
    world = small_world(6)
    server, far, _, near = connect(world)
    received = bytearray()
    receive_all(server, far, received, [])
    world.wires.cut(2_000_000_000)
    before = world.scheduler.now_ns
    near.send([b"late"])
    world.run_until(lambda: received)
    assert world.scheduler.now_ns - before >= 2_000_000_000


def test_the_same_seed_gives_the_same_trace(small_world):
    def run(seed):
        world = small_world(seed)
        server, far, _client, near = connect(world)
        received, outcome = bytearray(), []
        receive_all(server, far, received, outcome)
        near.send([b"abc" * 100])
        world.run_until(lambda: len(received) == 300)
        return world.trace.digest()

    assert run(7) == run(7)
    assert run(7) != run(8)
