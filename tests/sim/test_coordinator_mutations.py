"""Bugs put into the coordinator on purpose, by monkeypatching: the simulation finds each within a bounded number of seeds.

A seed that finds nothing costs some 0.1 s of CPU; the bounds are several times what was needed when they were written.
"""

from itertools import count, islice

from fastlog.coordinator import dispatch, journal, protocol
from fastlog.coordinator.dispatch import Client
from fastlog.coordinator.journal import Journal
from fastlog.coordinator.service import Coordinator
from fastlog.coordinator.sessions import Deadlines
from fastlog.coordinator.tree import CloseSession, Tree
from fastlog.coordinator.watches import EventType, Watches
from fastlog.sim.coordinator.world import CoordinatorWorld
from fastlog.sim.disk import SimulatedDisk, SimulatedFile


def found_within(seeds, *kinds):
    """Return the kind of the first violation of so many seeds, None when there is none; of those that meet one of `kinds` only,
    where some are given."""
    worlds = (CoordinatorWorld(seed) for seed in count())
    suitable = (world for world in worlds if not kinds or any(fault.kind in kinds for fault in world.faults))
    for world in islice(suitable, seeds):
        outcome = world.run()
        if outcome.violation is not None:
            return outcome.violation.kind
    return None


def test_an_answer_before_the_sync(monkeypatch):
    monkeypatch.setattr(Coordinator, "when_visible", lambda coordinator, deliver, answer=None: deliver())
    assert found_within(40) in ("lost-write", "session-resurrected", "watch-early")


def test_an_answer_when_others_are_synced(monkeypatch):
    """The newest transaction is called durable when an older group is."""
    original = Journal._write

    def write(kept):
        release = kept.on_durable
        kept.on_durable = lambda zxid: release(kept._waiting[-1][0] if kept._waiting else zxid)
        try:
            yield from original(kept)
        finally:
            kept.on_durable = release

    monkeypatch.setattr(Journal, "_write", write)
    assert found_within(100) in ("lost-write", "session-resurrected", "watch-early")


def test_an_event_before_the_sync_of_what_made_it(monkeypatch):
    original = Coordinator.when_visible

    def when_visible(coordinator, deliver, answer=None):
        if isinstance(getattr(deliver, "func", None), Client):
            deliver()
        else:
            original(coordinator, deliver, answer)

    monkeypatch.setattr(Coordinator, "when_visible", when_visible)
    assert found_within(150) == "watch-early"


def test_a_session_that_a_restart_brings_back(monkeypatch):
    """As if the end of a session were not in the journal."""
    decode = journal.decode_transaction

    def decode_transaction(payload):
        transaction = decode(payload)
        return transaction._replace(request=()) if isinstance(transaction.request, CloseSession) else transaction

    monkeypatch.setattr(journal, "decode_transaction", decode_transaction)
    assert found_within(30) == "session-resurrected"


def test_an_ephemeral_that_outlives_its_session(monkeypatch):
    original = Tree._close_session

    def close_session(tree, session_id, transaction, changes):
        left = tree._ephemerals.pop(session_id, None)
        original(tree, session_id, transaction, changes)
        if left:
            tree._ephemerals[session_id] = left

    monkeypatch.setattr(Tree, "_close_session", close_session)
    assert found_within(20) in ("ephemeral-left-behind", "wrong-refusal")


def test_a_session_that_is_ended_early(monkeypatch):
    original = Deadlines.begin
    monkeypatch.setattr(Deadlines, "begin", lambda kept, one, timeout_ms, now_ns: original(kept, one, timeout_ms // 4, now_ns))
    assert found_within(20) == "session-ended-early"


def test_a_session_that_is_never_ended(monkeypatch):
    monkeypatch.setattr(Deadlines, "take_expired", lambda kept, now_ns: [])
    assert found_within(20) in ("ephemeral-left-behind", "stuck")


def test_a_watch_that_a_deletion_does_not_fire(monkeypatch):
    original = Watches.fire

    def fire(watches, event, path):
        return (one for one in original(watches, event, path) if one[1].type is not EventType.DELETED)

    monkeypatch.setattr(Watches, "fire", fire)
    assert found_within(10) in ("watch-late", "watch-lost")


def test_an_event_after_the_answer_that_shows_its_cause(monkeypatch):
    original = Coordinator.carry_out

    def carry_out(coordinator, session_id, request, identities=None):
        told = []
        when_visible = coordinator.when_visible
        coordinator.when_visible = lambda deliver, answer=None: told.append(deliver)
        try:
            return original(coordinator, session_id, request, identities)
        finally:
            del coordinator.when_visible
            for deliver in told:
                coordinator._reactor.call_soon(when_visible, deliver)

    monkeypatch.setattr(Coordinator, "carry_out", carry_out)
    assert found_within(20) == "watch-late"


def test_watches_that_are_not_taken_from_a_client_that_comes_back(monkeypatch):
    monkeypatch.setitem(dispatch._HANDLERS, protocol.SetWatches, lambda dispatcher, client, request: b"")
    assert found_within(40) in ("watch-late", "watch-lost")


def test_watches_that_tell_what_was_seen(monkeypatch):
    def set_watches(dispatcher, client, request):
        return dispatcher._set_watches(client, request._replace(last_zxid=0))

    monkeypatch.setitem(dispatch._HANDLERS, protocol.SetWatches, set_watches)
    assert found_within(40) == "watch-early"


def test_a_count_of_children_that_a_snapshot_forgets(monkeypatch):
    decode = journal.decode_znode

    def decode_znode(fields):
        path, node = decode(fields)
        return path, node._replace(created_children=0)

    monkeypatch.setattr(journal, "decode_znode", decode_znode)
    assert found_within(40) in ("sequence-reused", "lost-write", "mistake")


def test_half_of_a_transaction(monkeypatch):
    monkeypatch.setattr(Tree, "_roll_back", lambda tree: tree._undo.clear())
    assert found_within(20) in ("lost-write", "stale-read", "wrong-refusal")


def test_a_failed_sync_that_is_tried_again(monkeypatch):
    original = SimulatedFile.fdatasync

    def tried_again(file):
        try:
            original(file)
        except OSError:
            tried_again(file)

    monkeypatch.setattr(SimulatedFile, "fdatasync", tried_again)
    assert found_within(60, "sync errors", "sync errors, bare restart") in (
        "lost-write",
        "session-resurrected",
        "watch-early",
        "mistake",
    )


def test_names_that_are_never_synced(monkeypatch):
    monkeypatch.setattr(SimulatedDisk, "sync_directory", lambda disk, path: None)
    assert found_within(40) in ("lost-write", "session-resurrected", "mistake")


def test_a_torn_tail_that_is_refused(monkeypatch):
    monkeypatch.setattr(journal, "has_witness", lambda data, position: True)
    assert found_within(60) == "mistake"
