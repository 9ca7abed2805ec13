"""The product's own coordinator in the simulation, and the oracle that it is held against."""

import pytest

from fastlog.coordinator.tree import (
    CloseSession,
    Create,
    Created,
    Delete,
    OpenSession,
    SetData,
    Transaction,
    Tree,
)
from fastlog.coordinator.watches import EventType
from fastlog.sim.coordinator.world import CoordinatorWorld
from fastlog.sim.coordinator.znodes import Impossible, Znodes

SEEDS = range(12)


def test_the_coordinator_keeps_its_promises_whatever_happens():
    outcomes = [CoordinatorWorld(seed).run() for seed in SEEDS]
    assert [str(outcome.violation) for outcome in outcomes] == ["None"] * len(SEEDS)
    total = {what: sum(outcome.counts[what] for outcome in outcomes) for what in outcomes[0].counts}
    assert min(total.values()) > 0, f"something never happened: {total}"
    assert len(dict.fromkeys(fault for outcome in outcomes for fault in outcome.faults)) >= 10


def test_a_seed_gives_the_same_trace_again():
    digests = [CoordinatorWorld(seed).run().digest for seed in (1, 2, 3)]
    assert [CoordinatorWorld(seed).run().digest for seed in (1, 2, 3)] == digests
    assert len(dict.fromkeys(digests)) == 3


@pytest.mark.parametrize(("kind", "wanted"), [("pause", "sessions expired"), ("client crash", "sessions expired")])
def test_pauses_and_crashes_are_longer_than_a_session_now_and_then(kind, wanted):
    worlds = [world for world in map(CoordinatorWorld, range(60)) if [fault.kind for fault in world.faults].count(kind) > 1]
    assert any(world.run().counts[wanted] for world in worlds[:8])


TRANSACTIONS = (
    OpenSession(7, 1_000, b"x" * 16),
    (Create("/a", b"1"),),
    (Create("/a/here", b"", ephemeral=True), Create("/a/n-", b"", sequential=True)),
    (SetData("/a", b"2", 0), Create("/a/n-", b"", ephemeral=True, sequential=True)),
    (Delete("/a/n-0000000001"),),
    CloseSession(7),
    (Create("/a/n-", b"", sequential=True),),
)


def test_the_oracle_and_the_tree_are_of_one_mind():
    """Two programs that were written apart: what they agree on is likely to be right, and a difference is a bug in one."""
    znodes, tree = Znodes(), Tree()
    for zxid, request in enumerate(TRANSACTIONS, 1):
        session_id = 7 if isinstance(request, tuple) and zxid < 7 else 0
        transaction = Transaction(zxid, 1_000 + zxid, session_id, request)
        znodes.apply(transaction)
        results, _ = tree.apply(transaction)
        assert znodes.results[zxid] == results
        assert znodes.paths() == sorted(tree.nodes)
        assert {path: (znodes.state(path).data, znodes.state(path).stat) for path in tree.nodes} == {
            path: tree.get(path) for path in tree.nodes
        }
    assert [result.path for result in znodes.results[7] if isinstance(result, Created)] == ["/a/n-0000000003"]
    assert znodes.sessions == {}


def test_the_oracle_knows_the_past():
    znodes = Znodes()
    for zxid, request in enumerate(TRANSACTIONS[:6], 1):
        znodes.apply(Transaction(zxid, 0, 7, request))
    assert [(state.zxid, state.data, state.names) for state in znodes.states("/a", 3)] == [
        (3, b"1", ("here", "n-0000000001")),
        (4, b"2", ("here", "n-0000000001", "n-0000000002")),
        (5, b"2", ("here", "n-0000000002")),
        (6, b"2", ()),
    ]
    assert [state.stat for state in znodes.states("/a/here", 6)] == [None]
    assert list(znodes.events("/a/here", 2, is_child=False)) == [(3, EventType.CREATED), (6, EventType.DELETED)]
    assert [event.zxid for event in znodes.events("/a", 4, is_child=True)] == [5, 6, 6]


@pytest.mark.parametrize(
    ("kind", "session_id", "request_"),
    [
        ("session-resurrected", 7, (SetData("/a", b"3"),)),
        ("session-resurrected", 0, CloseSession(7)),
        ("session-resurrected", 0, OpenSession(7, 1_000)),
        ("wrong-write", 0, (Create("/a", b""),)),
        ("wrong-write", 0, (Create("/b/c", b""),)),
        ("wrong-write", 0, (SetData("/a", b"", 7),)),
        ("wrong-write", 0, (Delete("/a/here"),)),
        ("wrong-write", 0, (Delete("/a"), Create("/b"))),
    ],
)
def test_the_oracle_refuses_what_should_have_been_refused(kind, session_id, request_):
    znodes = Znodes()
    for zxid, request in enumerate([*TRANSACTIONS[:6], (Create("/a/child"),)], 1):
        znodes.apply(Transaction(zxid, 0, 7 if zxid < 7 else 0, request))
    with pytest.raises(Impossible) as refused:
        znodes.apply(Transaction(8, 0, session_id, request_))
    assert refused.value.kind == kind
