"""One connection: versions, order, timeouts, and every way in which it ends."""

import pytest

from fastlog import errors
from fastlog.client.cluster import Address, Cluster, parse_bootstrap
from fastlog.client.connection import Connection
from fastlog.client.versions import SPOKEN, highest_common_version
from fastlog.wire import api, frames
from fastlog.wire.messages.describe_cluster import DescribeClusterRequest, DescribeClusterResponse
from fastlog.wire.messages.metadata import MetadataRequest, MetadataResponse


def connect(w, host="broker", port=9092, **options):
    return Connection(w.client.reactor, host, port, client_id="test", **options)


def ask(connection, timeout_ms=1_000):
    return connection.call(MetadataRequest(topics=None), MetadataResponse, timeout_ms)


@pytest.mark.parametrize("seed", range(5))
def test_calls_before_and_after_the_connection_is_there_are_answered_in_order(world, seed):
    w = world(seed)
    connection = connect(w)
    done = []
    calls = [ask(connection) for _ in range(3)]
    for number, call in enumerate(calls):
        call.then(lambda _, number=number: done.append(number))
    w.wait(calls[0])
    calls += [ask(connection) for _ in range(3)]
    for call in calls:
        assert w.wait(call).cluster_id == "c"
    assert done == [0, 1, 2] and connection.in_flight == 0
    assert w.broker.requests == [(18, 3)] + [(3, 12)] * 6


def test_the_highest_common_version_is_spoken(world):
    w = world()
    w.broker.ranges[3] = (0, 7)
    assert w.wait(ask(connect(w))).cluster_id == "c"
    assert w.broker.requests[-1] == (3, 7)


def test_an_old_broker_that_knows_only_apiversions_0(world):
    w = world()
    w.broker.ranges[18] = (0, 0)
    assert w.wait(ask(connect(w))).cluster_id == "c"
    assert w.broker.requests == [(18, 3), (18, 0), (3, 12)]


def test_what_the_broker_does_not_serve_fails_by_itself(world):
    w = world()
    connection = connect(w)
    call = connection.call(DescribeClusterRequest(), DescribeClusterResponse, 1_000)
    with pytest.raises(errors.UnsupportedVersion, match="broker:9092: the broker does not serve DescribeCluster"):
        w.wait(call)
    assert w.wait(ask(connection)).cluster_id == "c"
    with pytest.raises(errors.UnsupportedVersion, match="the broker has Metadata 20 to 21, fastlog's client 1 to 12"):
        highest_common_version(MetadataRequest, {3: (20, 21)})


def test_every_version_that_is_spoken_exists():
    for key, (least, most) in SPOKEN.items():
        request = api.request_class(key)
        assert request.MIN_VERSION <= least <= most <= request.MAX_VERSION


def test_nobody_listens(world):
    w = world()
    for connection in (connect(w, port=1), connect(w, host="nowhere")):
        with pytest.raises(errors.NetworkException, match=":"):
            w.wait(ask(connection))
        assert connection.lost is not None
        with pytest.raises(errors.NetworkException):
            w.wait(ask(connection))


def test_a_silent_broker_is_given_up_after_the_timeout(world):
    w = world()
    connection = connect(w)
    w.wait(ask(connection))
    w.broker.silent = True
    began_ns = w.scheduler.now_ns
    late, other = ask(connection, 200), ask(connection, 5_000)
    with pytest.raises(errors.RequestTimedOut, match="broker:9092: no answer in time"):
        w.wait(late)
    with pytest.raises(errors.NetworkException, match="no answer in time"):
        w.wait(other)
    assert 200_000_000 <= w.scheduler.now_ns - began_ns < 400_000_000


def test_a_broker_that_accepts_and_says_nothing(world):
    w = world()
    w.broker.silent = True
    connection = connect(w, connect_timeout_ms=300)
    with pytest.raises(errors.NetworkException):
        w.wait(ask(connection, 10_000))
    assert w.scheduler.now_ns < 1_000_000_000


def test_the_broker_goes_away(world):
    w = world()
    lost = []
    connection = connect(w, on_lost=lost.append)
    w.wait(ask(connection))
    w.broker.silent = True
    calls = [ask(connection), ask(connection)]
    w.run_until(lambda: len(w.broker.requests) == 4)
    w.broker.process.kill()
    for call in calls:
        with pytest.raises(errors.NetworkException):
            w.wait(call)
    assert lost == [connection]
    connection.close()
    assert lost == [connection]


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\4\0\0\0\7", b"\0\0\0\2ab", b"\0\0\0\0"])
def test_answers_that_cannot_be(world, garbage):
    w = world()
    connection = connect(w)
    w.wait(ask(connection))
    w.broker.answer = lambda frame: garbage
    with pytest.raises(errors.NetworkException, match="an answer cannot be read"):
        w.wait(ask(connection))


def test_an_answer_that_nobody_asked_for(world):
    w = world()
    connection = connect(w)
    honest = w.broker.answer
    w.broker.answer = lambda frame: honest(frame) * 2
    call = ask(connection)
    w.run_until(lambda: connection.lost is not None)
    with pytest.raises(errors.NetworkException):
        w.wait(call)


def test_an_answer_to_another_request(world):
    w = world()
    connection = connect(w)
    w.wait(ask(connection))
    w.broker.answer = lambda frame: frames.encode_response(MetadataResponse(), 12, 99)
    with pytest.raises(errors.NetworkException, match="correlation id 99"):
        w.wait(ask(connection))


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("a:1", [("a", 1)]),
        ("a", [("a", 9092)]),
        ("a:1, b:2", [("a", 1), ("b", 2)]),
        ("[::1]:5", [("::1", 5)]),
        ("[::1]", [("::1", 9092)]),
    ],
)
def test_bootstrap_addresses(text, addresses):
    assert parse_bootstrap(text) == addresses


@pytest.mark.parametrize("text", ["", "a:", ":1", "a:0", "a:65536", "a:x", "::1:9092", "a:1,,b:2", "a:-1", "a:1_0"])
def test_bootstrap_addresses_that_are_none(text):
    with pytest.raises(errors.UsageError, match=r"bootstrap wants HOST:PORT\[,HOST:PORT\.\.\.\], not "):
        parse_bootstrap(text)


def test_the_next_bootstrap_broker_is_tried(world):
    w = world()
    cluster = Cluster(w.client.reactor, [Address("nowhere", 1), Address("broker", 1), w.broker.address])
    w.broker.create("t")
    assert w.wait(cluster.topic("t")).leaders == (1,)
    nobody = Cluster(w.client.reactor, [Address("nowhere", 1), Address("broker", 1)])
    with pytest.raises(errors.NetworkException, match="broker:1: "):
        w.wait(nobody.topic("t"))


def test_a_closed_cluster_fails_what_is_under_way(world):
    w = world()
    w.broker.silent = True
    call = w.cluster.refresh(None)
    w.run_until(lambda: w.broker.requests)
    w.cluster.close()
    with pytest.raises(errors.NetworkException, match="closed"):
        w.wait(call)
