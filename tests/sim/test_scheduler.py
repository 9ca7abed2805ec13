import pytest

from fastlog.sim.flusher import SimulatedFlusher
from fastlog.sim.process import ProcessKilled


def test_time_goes_from_event_to_event(small_world):
    world = small_world()
    seen = []
    world.scheduler.after(500, lambda: seen.append(("b", world.scheduler.now_ns)))
    world.scheduler.after(100, lambda: seen.append(("a", world.scheduler.now_ns)))
    world.scheduler.after(300, lambda: seen.append("never")).cancel()
    while world.scheduler.step():
        pass
    assert seen == [("a", 100), ("b", 500)]


def test_the_order_of_one_instant_depends_on_the_seed_alone(small_world):
    def order(seed):
        world = small_world(seed)
        seen = []
        for name in "abcdef":
            world.scheduler.at(10, seen.append, name)
        while world.scheduler.step():
            pass
        return "".join(seen)

    assert order(1) == order(1)
    assert len(dict.fromkeys(order(seed) for seed in range(10))) > 5


def test_timers_of_processes_fire_at_their_virtual_time(small_world):
    world = small_world()
    fired = []
    process = world.process("p")
    process.reactor.call_later(5, lambda: fired.append(world.scheduler.now_ns))
    world.run_until(lambda: fired)
    assert 5_000_000 <= fired[0] < 6_000_000


def test_a_turn_that_takes_long_keeps_its_process_busy(small_world):
    world = small_world()
    process = world.process("p")
    seen = []

    def slow():
        before = process.clock.monotonic_ns()
        process.spend(3_000_000)
        seen.append(process.clock.monotonic_ns() - before)

    process.reactor.call_soon(slow)
    world.run_until(lambda: seen)
    assert seen == [3_000_000]
    process.reactor.call_soon(lambda: seen.append(world.scheduler.now_ns))
    process.touch()
    world.run_until(lambda: len(seen) == 2)
    assert seen[1] >= 3_000_000


def test_wall_time_jumps_and_monotonic_time_does_not(small_world):
    process = small_world().process("p")
    wall, monotonic = process.clock.wall_ms(), process.clock.monotonic_ns()
    process.clock.jump(-3_600_000)
    assert process.clock.wall_ms() == wall - 3_600_000
    assert process.clock.monotonic_ns() == monotonic


def test_a_kill_ends_turns_and_reaches_past_handlers_of_errors(small_world):
    world = small_world()
    process = world.process("p")
    seen = []

    def dies():
        try:
            process.kill()
            process.check_alive()
        except Exception:
            seen.append("handled")
        seen.append("went on")

    process.on_died_in_turn = lambda: seen.append("died")
    process.reactor.call_soon(dies)
    process.reactor.call_soon(lambda: seen.append("next"))
    while world.scheduler.step():
        pass
    assert seen == ["died"]


def test_a_flusher_job_reports_on_a_later_turn(small_world):
    world = small_world()
    process = world.process("p")
    flusher = SimulatedFlusher(process, world.entropy.fork("flusher"))
    reported = []
    flusher.submit(lambda: 42, lambda result, error: reported.append((result, error)))
    assert reported == []
    world.run_until(lambda: reported)
    assert reported == [(42, None)]

    def fails():
        raise OSError("no")

    flusher.submit(fails, lambda result, error: reported.append((result, str(error))))
    world.run_until(lambda: len(reported) == 2)
    assert reported[1] == (None, "no")


def test_a_killed_process_never_hears_of_its_jobs(small_world):
    world = small_world()
    process = world.process("p")
    flusher = SimulatedFlusher(process, world.entropy.fork("flusher"))
    reported = []
    for _ in range(5):
        flusher.submit(lambda: 1, lambda result, error: reported.append(result))
    process.kill()
    while world.scheduler.step():
        pass
    assert reported == []
    with pytest.raises(ProcessKilled):
        flusher.submit(lambda: 1, lambda result, error: None)
