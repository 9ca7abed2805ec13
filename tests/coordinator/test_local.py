import errno
from itertools import pairwise

import pytest

from fastlog.coordinator import errors
from fastlog.coordinator.client import SessionState
from fastlog.coordinator.jute import MAX_REQUEST_BYTES
from fastlog.coordinator.local import LocalClient
from fastlog.coordinator.service import REAP_INTERVAL_MS, REAPED_PER_TURN, Coordinator
from fastlog.coordinator.tree import NO_SESSION, Check, Create, SetData
from fastlog.coordinator.watches import EventType, WatchEvent


def open_client(machine):
    coordinator = Coordinator(machine.reactor, machine.disk, machine.flusher, machine.random, "/c")
    return LocalClient(machine.reactor, coordinator), coordinator


@pytest.fixture
def client(machine):
    client, _ = open_client(machine)
    machine.settle()
    return client


def test_answers_come_on_a_later_turn_and_in_order(machine, client):
    seen = []

    def note(what):
        return lambda settled: seen.append((what, settled.result()))

    client.create("/a", b"1").then(note("create"))
    client.get("/a").then(note("get"))
    client.set("/a", b"2").then(note("set"))
    client.get("/a").then(note("get"))
    client.exists("/b").then(note("exists"))
    client.children("/").then(note("children"))
    client.delete("/a", 1).then(note("delete"))
    client.exists("/a").then(note("exists"))
    assert seen == []
    machine.settle()
    assert [what for what, _ in seen] == ["create", "get", "set", "get", "exists", "children", "delete", "exists"]
    assert seen[0][1] == ("/a", seen[1][1][1])
    assert (seen[1][1][0], seen[3][1][0]) == (b"1", b"2")
    assert seen[2][1].version == 1
    assert (seen[4][1], seen[5][1][0], seen[6][1], seen[7][1]) == (None, ["a", "zookeeper"], None, None)


def test_nobody_sees_what_is_not_durable(machine, client):
    machine.flusher.held = True
    events = []
    before = client.exists("/a", events.append)
    machine.settle()
    assert before.result() is None
    written, read = client.create("/a"), client.exists("/a")
    machine.turn(20)
    assert not written.done
    assert not read.done
    assert events == []
    machine.flusher.release()
    machine.settle()
    assert written.done
    assert read.result() is not None
    assert events == [WatchEvent(EventType.CREATED, "/a")]


def test_a_watcher_hears_before_the_answer_that_shows_the_change(machine, client):
    machine.wait(client.create("/a"))
    seen = []
    client.get("/a", lambda event: seen.append(event.type))
    client.children("/", lambda event: seen.append(event.type))
    client.set("/a", b"x").then(lambda settled: seen.append("set"))
    client.delete("/a").then(lambda settled: seen.append("deleted"))
    machine.settle()
    assert seen == [EventType.DATA_CHANGED, "set", EventType.CHILDREN_CHANGED, "deleted"]


def test_a_watch_is_left_where_it_can_be(machine, client):
    seen = []
    with pytest.raises(errors.NoNode):
        machine.wait(client.get("/a", seen.append))
    with pytest.raises(errors.NoNode):
        machine.wait(client.children("/a", seen.append))
    machine.wait(client.create("/a"))
    machine.settle()
    assert seen == []
    machine.wait(client.exists("/a", seen.append))
    machine.wait(client.exists("/a", seen.append))
    machine.wait(client.delete("/a"))
    machine.settle()
    assert seen == [WatchEvent(EventType.DELETED, "/a")]


def test_errors_are_zookeepers(machine, client):
    machine.wait(client.create("/a"))
    for pending, error in (
        (client.create("/a"), errors.NodeExists),
        (client.set("/a", b"", 5), errors.BadVersion),
        (client.delete("/b"), errors.NoNode),
        (client.create("/a/b/c"), errors.NoNode),
        (client.multi([Check("/a", 0), Create("/b"), SetData("/c", b"")]), errors.MultiFailed),
        (client.multi([Check("/a", 5)]), errors.BadVersion),
        (client.get("no path"), errors.BadArguments),
    ):
        with pytest.raises(errors.CoordinatorError) as raised:
            machine.wait(pending)
        assert type(raised.value) is error
    assert machine.wait(client.exists("/b")) is None


def test_a_request_over_the_limit_is_refused_here_as_it_would_be_there(machine, client):
    with pytest.raises(errors.BadArguments, match=str(MAX_REQUEST_BYTES)):
        machine.wait(client.create("/a", bytes(MAX_REQUEST_BYTES)))
    assert machine.wait(client.exists("/a")) is None


def test_closing_takes_ephemerals_and_watches_along(machine, client):
    seen = []
    machine.wait(client.create("/gone", ephemeral=True))
    machine.wait(client.create("/stays"))
    machine.wait(client.exists("/gone", seen.append))
    machine.wait(client.close())
    machine.settle()
    assert seen == []
    for call in (client.exists("/stays"), client.create("/x"), client.close()):
        with pytest.raises(errors.SessionExpired):
            machine.wait(call)
    other, _ = open_client_again(machine)
    assert machine.wait(other.children("/"))[0] == ["stays", "zookeeper"]


def open_client_again(machine):
    machine.settle()
    return open_client(machine)


def test_a_restart_ends_the_sessions_of_the_process_before(machine, client, new_machine):
    machine.wait(client.create("/brokers", None))
    machine.wait(client.create("/brokers/1", ephemeral=True))
    restarted = new_machine(machine.disk.synced_contents())
    again, _ = open_client(restarted)
    states = []
    again.on_session(states.append)
    assert restarted.wait(again.children("/brokers"))[0] == []
    restarted.settle()
    assert states == [SessionState.CONNECTED]
    assert again.session_id != client.session_id or machine.random is not restarted.random
    assert (restarted.wait(again.create("/brokers/1", ephemeral=True))[1]).ephemeral_owner == again.session_id


def test_when_the_disk_fails_everything_fails_from_then_on(machine, client):
    states = []
    client.on_session(states.append)
    machine.wait(client.create("/a"))
    machine.disk.fail = {"sync": errno.EIO}
    waiting = [client.create("/b"), client.get("/b"), client.set("/a", b"x"), client.delete("/nowhere")]
    machine.settle()
    later = [client.get("/a"), client.create("/c")]
    for pending in [*waiting, *later]:
        with pytest.raises(errors.ConnectionLoss):
            machine.wait(pending)
    machine.settle()
    assert states == [SessionState.DISCONNECTED]


def test_everything_is_found_again_after_a_clean_close(machine, client, new_machine):
    machine.wait(client.create("/a", b"1"))
    machine.wait(client.multi([SetData("/a", b"2", 0), Create("/a/b", None)]))
    stat = machine.wait(client.exists("/a"))
    machine.wait(client.close())
    again, coordinator = open_client(new_machine(machine.disk.synced_contents()))
    other = again._reactor
    assert coordinator.failed is None
    answer = again.get("/a")
    while not answer.done:
        other.run_turn()
    assert answer.result() == (b"2", stat)


def test_a_mistake_in_telling_somebody_harms_neither_the_journal_nor_whoever_is_told_next(machine):
    unhandled, told = [], []
    machine.reactor.on_unhandled = unhandled.append
    coordinator = Coordinator(machine.reactor, machine.disk, machine.flusher, machine.random, "/c")
    coordinator.carry_out(NO_SESSION, (Create("/a"),))
    coordinator.when_visible(lambda: 1 // 0)
    coordinator.when_visible(lambda: told.append("next"))
    machine.settle()
    assert (told, [type(error) for error in unhandled], coordinator.failed) == (["next"], [ZeroDivisionError], None)
    coordinator.carry_out(NO_SESSION, (Create("/b"),))
    coordinator.when_visible(lambda: told.append("later"))
    machine.settle()
    assert told == ["next", "later"]


def test_many_znodes_with_a_time_to_live_are_looked_at_in_several_turns(machine):
    coordinator = Coordinator(machine.reactor, machine.disk, machine.flusher, machine.random, "/c")
    count = 3 * REAPED_PER_TURN + 5
    coordinator.carry_out(NO_SESSION, [Create(f"/{number}", ttl_ms=1 if number % 2 else 10_000) for number in range(count)])
    machine.settle()
    machine.clock.now_ns += REAP_INTERVAL_MS * 1_000_000
    left = [len(coordinator.tree.reaped_kinds)]
    while left[-1] > count - count // 2:
        assert len(left) < 100
        machine.turn()
        left.append(len(coordinator.tree.reaped_kinds))
    steps = [before - after for before, after in pairwise(left) if before > after]
    assert steps == [REAPED_PER_TURN // 2] * 3 + [2]
    machine.clock.now_ns += 10_000_000_000
    machine.turn(20)
    assert not coordinator.tree.has_reaped_kinds
