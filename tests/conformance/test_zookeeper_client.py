"""The brokers' own coordinator client against a real ZooKeeper: what it is told, and what it makes of restarts and pauses."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fastlog.coordinator import errors
from fastlog.coordinator.client import SessionState
from fastlog.coordinator.remote import RemoteClient
from fastlog.coordinator.tree import Check, Create, Delete, SetData
from fastlog.coordinator.watches import EventType, WatchEvent
from fastlog.env.reactor import Pending
from fastlog.env.system import SystemEnvironment

TIMEOUT_MS = 20_000
SHORT_TIMEOUT_MS = 2_000
LIMIT_MS = 60_000


class Person:
    """A client on a reactor that turns only while somebody waits for something."""

    def __init__(self, port: int, root: str = "", timeout_ms: int = TIMEOUT_MS) -> None:
        self.environment = SystemEnvironment()
        self.reactor = self.environment.reactor
        servers = [("127.0.0.1", port)]
        self.client = RemoteClient(self.reactor, self.environment.random, servers, root=root, timeout_ms=timeout_ms)
        self.states: list[SessionState] = []
        self.events: list[WatchEvent] = []
        self.client.on_session(self.states.append)

    def until(self, condition: Callable[[], object]) -> None:
        deadline_ns = self.reactor.clock.monotonic_ns() + LIMIT_MS * 1_000_000
        timer = self.reactor.call_later(LIMIT_MS, lambda: None)
        while not condition():
            assert self.reactor.clock.monotonic_ns() < deadline_ns, "it never came about"
            self.reactor.run_turn()
        timer.cancel()

    def wait(self, pending: Pending[Any]) -> Any:
        self.until(lambda: pending.done)
        return pending.result()

    def attached(self) -> Person:
        self.wait(self.client.opened(LIMIT_MS))
        self.until(lambda: self.states)
        return self

    def let_pass(self, duration_ms: int) -> None:
        over: list[bool] = []
        self.reactor.call_later(duration_ms, over.append, True)
        self.until(lambda: over)


@pytest.fixture
def person(zookeeper: Any) -> Iterator[Callable[..., Person]]:
    made: list[Person] = []

    def make(**options: Any) -> Person:
        made.append(Person(zookeeper.port, **options).attached())
        return made[-1]

    yield make
    for one in made:
        one.client.abandon()
        one.environment.close()


def test_every_request_and_its_refusals(person):
    one = person()
    client, wait = one.client, one.wait
    path, stat = wait(client.create("/a", b"data"))
    assert (path, stat.version, stat.data_length, stat.ephemeral_owner) == ("/a", 0, 4, 0)
    assert wait(client.create("/a/e", None, ephemeral=True))[1].ephemeral_owner == client.session_id
    assert wait(client.create("/a/s-", sequential=True))[0] == "/a/s-0000000001"
    data, stat = wait(client.get("/a"))
    assert (data, stat.num_children, stat.cversion) == (b"data", 2, 2)
    assert wait(client.get("/a/e"))[0] is None
    assert wait(client.children("/a"))[0] == ["e", "s-0000000001"]
    assert wait(client.set("/a", b"", 0)).version == 1
    assert wait(client.exists("/a")).data_length == 0
    assert wait(client.exists("/b")) is None
    for refused, error in (
        (client.get("/b"), errors.NoNode),
        (client.create("/a"), errors.NodeExists),
        (client.create("/b/c"), errors.NoNode),
        (client.create("/a/e/x"), errors.NoChildrenForEphemerals),
        (client.set("/a", b"", 7), errors.BadVersion),
        (client.delete("/a"), errors.NotEmpty),
        (client.get("a//b"), errors.BadArguments),
        (client.create("/z", bytes(1 << 20)), errors.BadArguments),
    ):
        with pytest.raises(error):
            wait(refused)
    assert wait(client.delete("/a/e")) is None
    assert one.states == [SessionState.CONNECTED]


def test_multi_is_all_or_nothing(person):
    one = person()
    client, wait = one.client, one.wait
    kinds = wait(client.multi([Create("/c", container=True), Create("/t", ttl_ms=60_000), Create("/p")]))
    assert [(one.path, one.stat.ephemeral_owner) for one in kinds] == [("/c", 0), ("/t", 0), ("/p", 0)]
    made = wait(client.multi([Create("/m", b"1"), SetData("/m", b"2", 0), Create("/m/e", ephemeral=True), Check("/m", 1)]))
    assert made[0].path == "/m" and made[1].version == 1 and made[3] is None
    assert made[2].stat.czxid == made[0].stat.czxid == made[1].mzxid, "one transaction"
    with pytest.raises(errors.MultiFailed) as failed:
        wait(client.multi([Delete("/m/e"), Create("/n"), Check("/m", 5), Create("/o")]))
    assert (failed.value.index, type(failed.value.error)) == (2, errors.BadVersion)
    assert wait(client.exists("/n")) is None
    assert wait(client.exists("/m/e")) is not None
    with pytest.raises(errors.NodeExists):
        wait(client.multi([Create("/m")]))
    with pytest.raises(errors.NoNode):
        wait(client.multi([Check("/nowhere", 0)]))
    # What takes a stale registration over: the old ephemeral goes and the new one comes, in one transaction.
    other = person()
    taken = other.wait(other.client.multi([Delete("/m/e", 0), Create("/m/e", b"new", ephemeral=True)]))
    assert taken[1].stat.ephemeral_owner == other.client.session_id


def test_watches_are_told_before_what_they_tell_of(person):
    one, other = person(), person()
    order: list[Any] = []
    for path in ("/w", "/w/x"):
        one.wait(one.client.create(path, b"0"))
    one.wait(one.client.get("/w", order.append))
    one.wait(one.client.get("/w", order.append))
    one.wait(one.client.children("/w", order.append))
    one.wait(one.client.exists("/later", order.append))
    for change in (other.client.set("/w", b"1"), other.client.create("/later"), other.client.delete("/w/x")):
        other.wait(change)
    assert one.wait(one.client.exists("/w")).version == 1
    assert order == [
        WatchEvent(EventType.DATA_CHANGED, "/w"),
        WatchEvent(EventType.CREATED, "/later"),
        WatchEvent(EventType.CHILDREN_CHANGED, "/w"),
    ]


def test_a_root_is_made_and_never_seen(person):
    below, whole = person(root="/some/where"), person()
    below.wait(below.client.make_root())
    below.wait(below.client.make_root())
    assert below.wait(below.client.children("/"))[0] == []
    below.wait(below.client.children("/", below.events.append))
    assert below.wait(below.client.create("/n-", b"x", sequential=True))[0] == "/n-0000000000"
    assert below.events == [WatchEvent(EventType.CHILDREN_CHANGED, "/")]
    assert whole.wait(whole.client.get("/some/where/n-0000000000"))[0] == b"x"


def test_a_session_outlives_a_restart_and_misses_nothing(person, zookeeper):
    one = person()
    session_id = one.client.session_id
    one.wait(one.client.create("/here", b"1"))
    one.wait(one.client.create("/mine", ephemeral=True))
    one.wait(one.client.get("/here", one.events.append))
    one.wait(one.client.exists("/later", one.events.append))
    one.wait(one.client.children("/mine", one.events.append))
    zookeeper.end()
    one.until(lambda: one.states[-1] is SessionState.DISCONNECTED)
    waiting = one.client.get("/here")
    zookeeper.start()
    # Somebody is quicker than we are: what he does is told when our watches are left again.
    other = person()
    other.wait(other.client.set("/here", b"2"))
    other.wait(other.client.create("/later"))
    assert one.wait(waiting)[0] == b"2"
    assert one.states == [SessionState.CONNECTED, SessionState.DISCONNECTED, SessionState.CONNECTED]
    assert one.client.session_id == session_id
    assert one.wait(one.client.exists("/mine")).ephemeral_owner == session_id
    assert sorted(one.events) == [WatchEvent(EventType.CREATED, "/later"), WatchEvent(EventType.DATA_CHANGED, "/here")]


def test_a_session_that_was_slept_through_is_over_and_a_new_one_begins(person, zookeeper):
    one, other = person(timeout_ms=SHORT_TIMEOUT_MS), person()
    one.wait(one.client.create("/mine", ephemeral=True))
    one.wait(one.client.get("/mine", one.events.append))
    before = one.client.session_id
    gone: list[WatchEvent] = []
    assert other.wait(other.client.exists("/mine", gone.append)) is not None
    other.until(lambda: gone)  # one's reactor does not turn meanwhile, as if its process were stopped
    late = one.client.create("/late", ephemeral=True)
    with pytest.raises((errors.SessionExpired, errors.ConnectionLoss)):
        one.wait(late)
    one.until(lambda: one.states[-1] is SessionState.CONNECTED and len(one.states) > 1)
    assert SessionState.EXPIRED in one.states
    assert one.client.session_id not in (0, before)
    assert one.wait(one.client.exists("/mine")) is None
    assert one.wait(one.client.exists("/late")) is None
    # The server may have told of the znode's end on the old connection; watches of the old session tell nothing more.
    assert one.events in ([], [WatchEvent(EventType.DELETED, "/mine")])
    told = len(one.events)
    other.wait(other.client.create("/mine"))
    one.wait(one.client.get("/mine"))
    assert len(one.events) == told


def test_a_server_that_says_nothing_is_left(person, zookeeper):
    one = person(timeout_ms=SHORT_TIMEOUT_MS)
    zookeeper.send(signal.SIGSTOP)
    one.until(lambda: one.states[-1] is SessionState.DISCONNECTED)
    zookeeper.send(signal.SIGCONT)
    one.until(lambda: one.states[-1] is SessionState.CONNECTED)
    assert one.wait(one.client.children("/"))[0] == ["zookeeper"]


def test_pings_keep_an_idle_session_alive(person):
    one = person(timeout_ms=6_000)
    one.wait(one.client.create("/mine", ephemeral=True))
    one.let_pass(8_000)
    assert one.wait(one.client.exists("/mine")) is not None
    assert one.states == [SessionState.CONNECTED]


def test_a_closed_session_leaves_nothing(person):
    one, other = person(), person()
    one.wait(one.client.create("/mine", ephemeral=True))
    one.wait(one.client.close())
    assert other.wait(other.client.exists("/mine")) is None
    with pytest.raises(errors.SessionExpired):
        one.wait(one.client.get("/"))


def test_the_next_server_is_tried_when_one_is_not_there(zookeeper):
    environment = SystemEnvironment()
    servers = [("127.0.0.1", 1), ("127.0.0.1", zookeeper.port), ("no-such-host.invalid", 2181)]
    client = RemoteClient(environment.reactor, environment.random, servers, timeout_ms=TIMEOUT_MS)
    opened = client.opened(LIMIT_MS)
    while not opened.done:
        environment.reactor.run_turn()
    opened.result()
    client.abandon()
    environment.close()
