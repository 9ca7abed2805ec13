"""Real sockets on loopback: both families, readiness, partial sends, descriptors that run out."""

import contextlib
import errno
import resource
import socket
import threading

import pytest

from fastlog.env import READABLE, WRITABLE
from fastlog.env.network import SocketNetwork, raise_descriptor_limit, takes_both_families

POLL_NS = 5_000_000_000


def has_ipv6():
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


HOSTS = ["127.0.0.1", "::1"] if has_ipv6() else ["127.0.0.1"]


@pytest.fixture
def net():
    network = SocketNetwork()
    yield network
    network.close()


def wait_for(network, endpoint, events):
    """Poll until one of `events` is ready at an endpoint, and return which."""
    seen = []
    network.watch(endpoint, events, seen.append)
    while not seen:
        ready = network.poll(POLL_NS)
        assert ready, "nothing got ready"
        for callback, found in ready:
            callback(found)
    network.watch(endpoint, 0, seen.append)
    return seen[0]


def pair(network, host="127.0.0.1"):
    listener = network.listen(host, 0)
    client = network.connect(host, listener.port)
    wait_for(network, listener, READABLE)
    return listener, client, listener.accept()


@pytest.mark.parametrize("host", HOSTS)
def test_bytes_go_both_ways(net, host):
    listener, client, server = pair(net, host)
    assert (client.peer_host, client.peer_port) == (host, listener.port)
    assert server.peer_host == host
    assert wait_for(net, client, WRITABLE) == WRITABLE
    assert client.send([b"ab", memoryview(b"cd")]) == 4
    buffer = bytearray(10)
    wait_for(net, server, READABLE)
    assert server.receive_into(buffer) == 4 and buffer[:4] == b"abcd"
    assert server.send([b"skipped", b"xyz"], 8) == 2
    wait_for(net, client, READABLE)
    assert client.receive_into(buffer) == 2 and buffer[:2] == b"yz"


@pytest.mark.parametrize("any_host", ["", "::"])
@pytest.mark.parametrize("host", HOSTS)
def test_every_address_takes_all_families_there_are_and_names_ipv4_peers_as_such(net, any_host, host):
    listener = net.listen(any_host, 0)
    net.connect(host, listener.port)
    wait_for(net, listener, READABLE)
    assert listener.accept().peer_host == host


@pytest.mark.parametrize("any_host", ["", "::"])
def test_every_address_of_a_machine_without_ipv6_is_every_address_of_ipv4(net, any_host, monkeypatch):
    monkeypatch.setattr("fastlog.env.network.takes_both_families", lambda: False)
    listener = net.listen(any_host, 0)
    assert listener.host == "0.0.0.0"
    net.connect("127.0.0.1", listener.port)
    wait_for(net, listener, READABLE)
    assert listener.accept().peer_host == "127.0.0.1"


@pytest.mark.parametrize("refused", ["socket", "setsockopt"])
def test_a_machine_that_has_no_sockets_for_both_families_is_known(refused, monkeypatch):
    closed = []

    class Probe:
        def __init__(self, family, kind):
            self.step("socket")

        def setsockopt(self, *option):
            self.step("setsockopt")

        def step(self, name):
            if name == refused:
                raise OSError(errno.EAFNOSUPPORT, "not here")

        def close(self):
            closed.append(refused)

    monkeypatch.setattr("fastlog.env.network.socket.socket", Probe)
    assert not takes_both_families()
    assert closed == (["setsockopt"] if refused == "setsockopt" else [])


def test_nothing_there_blocks_and_the_end_is_zero_bytes(net):
    listener, client, server = pair(net)
    with pytest.raises(BlockingIOError):
        listener.accept()
    with pytest.raises(BlockingIOError):
        server.receive_into(bytearray(1))
    client.close()
    client.close()
    wait_for(net, server, READABLE)
    assert server.receive_into(bytearray(1)) == 0


def test_a_full_connection_sends_a_part_then_blocks_then_goes_on(net):
    _, client, server = pair(net)
    data = bytes(range(256)) * (64 << 10)
    sent = client.send([data[:1000], data[1000:]])
    assert 0 < sent < len(data)
    got = bytearray()
    buffer = bytearray(1 << 20)
    blocked = False
    while len(got) < len(data):
        if sent < len(data):
            try:
                sent += client.send([data[:1000], data[1000:]], sent)
            except BlockingIOError:
                blocked = True
        wait_for(net, server, READABLE)
        got += buffer[: server.receive_into(buffer)]
    assert got == data and blocked


def test_a_refused_connection_tells_by_sending(net):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refuses
        client = net.connect("127.0.0.1", taken.getsockname()[1])
        wait_for(net, client, WRITABLE)
        with pytest.raises(OSError) as caught:
            client.send([b"x"])
        assert caught.value.errno in (errno.ECONNREFUSED, errno.EPIPE)


def test_sending_to_one_that_has_gone_raises_and_gives_no_signal(net):
    _, client, server = pair(net)
    client.close()
    wait_for(net, server, READABLE)
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        for _ in range(100):
            server.send([b"x"])
            wait_for(net, server, READABLE)


@pytest.mark.parametrize("host", ["a" * 70, "\N{LATIN SMALL LETTER E WITH ACUTE}" * 70, "a\0b", "a..b"])
def test_what_is_no_name_of_a_host_is_an_error_of_the_system_as_any(net, host):
    for use in (net.listen, net.connect):
        with pytest.raises(OSError):
            use(host, 0)


def test_a_port_in_use_is_an_error(net):
    listener = net.listen("127.0.0.1", 0)
    with pytest.raises(OSError) as caught:
        net.listen("127.0.0.1", listener.port)
    assert caught.value.errno == errno.EADDRINUSE


def test_unwatched_and_closed_endpoints_are_silent(net):
    _, client, server = pair(net)
    seen = []
    net.watch(server, READABLE | WRITABLE, seen.append)
    net.watch(server, 0, seen.append)
    client.send([b"x"])
    assert net.poll(0) == []
    net.watch(server, READABLE, seen.append)
    server.close()
    assert net.poll(0) == []


def test_watching_again_replaces_events_and_callback(net):
    _, client, server = pair(net)
    first, second = [], []
    net.watch(server, READABLE, first.append)
    net.watch(server, WRITABLE, second.append)
    for callback, events in net.poll(POLL_NS):
        callback(events)
    assert (first, second) == ([], [WRITABLE])
    assert client.fileno() >= 0


def test_another_thread_wakes_a_poll_that_waits_without_end(net):
    thread = threading.Thread(target=net.wake)
    thread.start()
    assert net.poll(None) == []
    thread.join()
    for _ in range(100_000):  # more than the pipe holds: a wake never blocks
        net.wake()
    assert net.poll(None) == []
    assert net.poll(0) == []


def test_accept_leaves_the_reserved_descriptors_alone(net):
    listener = net.listen("127.0.0.1", 0)
    with socket.socket() as probe:
        net.descriptor_bound = probe.fileno() + 2
    clients = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(3)]
    accepted = []
    with pytest.raises(OSError) as caught:
        for _ in clients:
            accepted.append(listener.accept())
    assert caught.value.errno == errno.EMFILE
    for client in clients:
        client.close()


def test_the_descriptor_limit_rises_to_the_hard_one():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
        assert raise_descriptor_limit() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_kernel_buffers_are_set_where_asked_for():
    network = SocketNetwork(receive_buffer_bytes=20_000, send_buffer_bytes=30_000)
    try:
        _, _, server = pair(network)
        read = server._socket.getsockopt
        assert read(socket.SOL_SOCKET, socket.SO_RCVBUF) in (20_000, 40_000)  # Linux doubles what it is asked for
        assert read(socket.SOL_SOCKET, socket.SO_SNDBUF) in (30_000, 60_000)
        assert read(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    finally:
        network.close()


def test_closing_the_network_closes_what_is_open(net):
    listener, client, server = pair(net)
    net.close()
    assert [one.fileno() for one in (listener, client, server)] == [-1, -1, -1]
    net.wake()
    net.close()
