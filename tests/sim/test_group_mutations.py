"""Bugs put into groups on purpose, by monkeypatching: the simulation finds each within a bounded number of seeds.

A seed that finds nothing costs some 0.2 s of CPU; the bounds are several times what was needed when they were written.
"""

from itertools import count, islice

import pytest

from fastlog.client import member as client_member
from fastlog.errors import NONE, UnknownMemberId
from fastlog.groups import coordinator as groups_coordinator
from fastlog.groups.classic import ClassicGroup, State
from fastlog.groups.coordinator import GroupCoordinator
from fastlog.groups.offsets import Offsets
from fastlog.sim.groups.world import GroupWorld

LIES = ("lost-offset", "generation-back", "two-owners", "two-assignments", "fenced-commit", "unsettled")
"""What comes of it when somebody was told what was not stored: each is the first to show in some seed."""


def found_within(seeds, suits=lambda world: True):
    """Return the kind of the first violation of so many seeds that suit, None when there is none."""
    suitable = (world for world in (GroupWorld(seed) for seed in count()) if suits(world))
    for world in islice(suitable, seeds):
        outcome = world.run()
        if outcome.violation is not None:
            return outcome.violation.kind
    return None


def meets(*kinds):
    """Suits a world that at least one of these faults befalls."""
    return lambda world: any(fault.kind in kinds for fault in world.faults)


def has_statics(world):
    """Suits a world with static members."""
    return any(instance_id is not None for _, instance_id in world.members.values())


def test_a_commit_of_an_old_generation_that_is_accepted(monkeypatch):
    original = ClassicGroup.why_no_commit
    monkeypatch.setattr(
        ClassicGroup,
        "why_no_commit",
        lambda group, member_id, instance_id, generation: original(
            group, member_id, instance_id, group.generation if generation >= 0 else generation
        ),
    )
    assert found_within(40, meets("client pause")) == "fenced-commit"


def test_a_commit_of_a_static_member_whose_place_is_taken(monkeypatch):
    original = ClassicGroup.why_no_commit

    def why_no_commit(group, member_id, instance_id, generation):
        if instance_id is not None:
            member_id = group.static_members.get(instance_id, member_id)
        return original(group, member_id, instance_id, generation)

    monkeypatch.setattr(ClassicGroup, "why_no_commit", why_no_commit)
    assert found_within(40, lambda world: has_statics(world) and meets("client double")(world)) == "fenced-commit"


def test_two_generations_in_one_assignment(monkeypatch):
    """A member keeps what it had before, whatever the leader has given it."""
    original = ClassicGroup._save_assignment

    def save_assignment(group, assignments):
        kept = {one.member_id: one.assignment for one in list(group.members.values())[-1:] if one.assignment}
        original(group, {**assignments, **kept})

    monkeypatch.setattr(ClassicGroup, "_save_assignment", save_assignment)
    assert found_within(20) in ("two-owners", "unsettled")


def test_offsets_that_are_acknowledged_before_they_are_appended(monkeypatch):
    original = GroupCoordinator._append

    def append(coordinator, shard, group, records, then):
        then(NONE)
        coordinator._reactor.call_later(30, original, coordinator, shard, group, records, lambda error: None)

    monkeypatch.setattr(GroupCoordinator, "_append", append)
    assert found_within(30, meets("kill", "lose", "lose in a write")) in LIES


def test_offsets_that_are_acknowledged_though_the_append_failed(monkeypatch):
    original = GroupCoordinator._append

    def append(coordinator, shard, group, records, then):
        original(coordinator, shard, group, records, lambda error: then(NONE))

    monkeypatch.setattr(GroupCoordinator, "_append", append)
    assert found_within(40, meets("disk full", "short writes", "write errors")) in LIES


def test_an_older_offset_that_is_kept(monkeypatch):
    original = Offsets.put

    def put(offsets, topic, partition, offset):
        before = offsets.get(topic, partition)
        if before is None or offset.offset % 7 or offset.offset < 20:
            original(offsets, topic, partition, offset)

    monkeypatch.setattr(Offsets, "put", put)
    assert found_within(20) == "lost-offset"


def test_a_restart_that_reads_half_of_the_log(monkeypatch):
    original = groups_coordinator.load_steps

    def load_steps(log, apply):
        read = count()
        return original(log, lambda record: apply(record) if next(read) < log.log_end_offset // 2 else None)

    monkeypatch.setattr(groups_coordinator, "load_steps", load_steps)
    assert found_within(20, meets("kill", "stop")) in LIES


@pytest.mark.slow  # it takes a member that comes just then: some 50 seeds
def test_an_old_generation_that_is_let_in(monkeypatch):
    original = ClassicGroup._why_no_sync

    def why_no_sync(group, member_id, instance_id, generation, protocol_type, protocol_name):
        return original(group, member_id, instance_id, group.generation, protocol_type, protocol_name)

    monkeypatch.setattr(ClassicGroup, "_why_no_sync", why_no_sync)
    assert found_within(200, meets("client pause", "reset")) in LIES


def test_members_that_nobody_misses(monkeypatch):
    original = ClassicGroup.tick

    def tick(group, now_ms):
        for member in group.members.values():
            member.session_deadline_ms = None
        original(group, now_ms)

    monkeypatch.setattr(ClassicGroup, "tick", tick)
    assert found_within(20) in ("unsettled", "stuck")


def test_a_rebalance_that_tells_nobody(monkeypatch):
    original = ClassicGroup.heartbeat

    def heartbeat(group, member_id, instance_id, generation, now_ms):
        error = original(group, member_id, instance_id, generation, now_ms)
        return NONE if group.state is State.PREPARING_REBALANCE else error

    monkeypatch.setattr(ClassicGroup, "heartbeat", heartbeat)
    monkeypatch.setattr(ClassicGroup, "_complete_join_when_all_are_there", lambda group, now_ms: None)
    monkeypatch.setattr(ClassicGroup, "_rebalance_is_due", lambda group, now_ms: None)
    assert found_within(10) in ("unsettled", "stuck")


def test_a_member_that_gives_up_when_its_group_is_gone(monkeypatch):
    """Once ours did: with the machine went what was not flushed, the group too, and a commit is told that there is none."""
    monkeypatch.setattr(client_member, "GroupIdNotFound", UnknownMemberId)
    assert found_within(60, lambda world: not world.all_flushed and meets("lose", "lose in a write")(world)) == "mistake"
