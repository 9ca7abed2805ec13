"""Consumer groups in the simulation: the product's broker and its own members."""

from fastlog.sim.groups.world import GroupWorld

SEEDS = range(8)


def test_groups_keep_their_promises_whatever_happens():
    outcomes = [GroupWorld(seed).run() for seed in SEEDS]
    assert [str(outcome.violation) for outcome in outcomes] == ["None"] * len(SEEDS)
    total = {what: sum(outcome.counts[what] for outcome in outcomes) for what in outcomes[0].counts}
    assert min(total.values()) > 0, f"something never happened: {total}"
    assert len(dict.fromkeys(fault for outcome in outcomes for fault in outcome.faults)) >= 8


def test_a_seed_gives_the_same_trace_again():
    digests = [GroupWorld(seed).run().digest for seed in (1, 2)]
    assert [GroupWorld(seed).run().digest for seed in (1, 2)] == digests
    assert digests[0] != digests[1]


def test_members_are_static_ones_now_and_then_and_are_fenced():
    """Without it nobody would know: a world in which no static member ever meets its double checks nothing of them."""
    worlds = [GroupWorld(seed) for seed in range(60)]
    doubled = [world for world in worlds if any(fault.kind == "client double" for fault in world.faults)]
    for world in doubled[:6]:
        assert world.run().violation is None
    assert any(worker is not None and worker.is_over for world in doubled[:6] for worker in world.workers.values())
