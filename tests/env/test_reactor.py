"""Turns, timers, one-shot results and flows, on a clock that stands still."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from fastlog.env.reactor import MAX_CANCELLED_TIMERS, Pending, Reactor


@pytest.fixture
def reactor(clock, network):
    return Reactor(clock, network)


def test_a_call_scheduled_by_a_callback_waits_for_the_next_turn(reactor):
    seen = []
    reactor.call_soon(lambda: (seen.append("first"), reactor.call_soon(seen.append, "second")))
    reactor.run_turn()
    assert seen == ["first"]
    reactor.run_turn()
    assert seen == ["first", "second"]


def test_a_hastened_turn_waits_for_nothing_and_the_one_after_it_does(reactor, network):
    reactor.call_later(5, lambda: None)
    reactor.hasten()
    reactor.run_turn()
    reactor.run_turn()
    assert network.timeouts_ns == [0, 5_000_000]


def test_a_flow_that_waits_for_the_next_turn_goes_on_in_it(reactor):
    seen = []

    def flow():
        for step in range(2):
            seen.append(step)
            yield reactor.next_turn()

    reactor.spawn(flow())
    for _ in range(4):
        reactor.call_soon(seen.append, "turn")
        reactor.run_turn()
    assert [seen.index(0), seen.index(1)] == [0, 2] and seen.count("turn") == 4


def test_order_within_a_turn(reactor, network):
    seen = []
    reactor.at_turn_end(lambda: seen.append("hook 1"))
    reactor.at_turn_end(lambda: seen.append("hook 2"))
    reactor.call_later(0, seen.append, "timer")
    reactor.call_soon(seen.append, "soon")
    reactor.call_from_thread(seen.append, "thread")
    network.ready.append((lambda events: seen.append(f"ready {events}"), 3))
    reactor.run_turn()
    assert seen == ["ready 3", "thread", "soon", "timer", "hook 1", "hook 2"]


def test_work_after_a_turn_has_the_hooks_called_once_more_when_there_was_some(reactor):
    seen, work = [], [True, False]
    reactor.at_turn_end(lambda: seen.append("hook"))
    reactor.after_turn(lambda: seen.append("work") or work.pop(0))
    reactor.run_turn()
    assert seen == ["hook", "work", "hook"]
    reactor.run_turn()
    assert seen == ["hook", "work", "hook", "hook", "work"]


def test_work_after_a_turn_that_fails_is_told_as_anything_else_is(reactor):
    told, seen = [], []
    reactor.on_unhandled = told.append
    reactor.at_turn_end(lambda: seen.append("hook"))
    reactor.after_turn(lambda: 1 // 0)
    reactor.after_turn(lambda: seen.append("other") or False)
    reactor.run_turn()
    assert [type(error) for error in told] == [ZeroDivisionError]
    assert seen == ["hook", "other", "hook"], "what it had done before it failed is finished"


def test_the_poll_waits_for_the_next_deadline_and_no_longer(reactor, network):
    reactor.at_turn_end(lambda: None)
    timer = reactor.call_later(5, lambda: None)
    reactor.call_later(9, lambda: None)
    timer.cancel()
    reactor.run_turn()
    reactor.call_soon(lambda: None)
    reactor.run_turn()
    reactor.run_turn()
    assert network.timeouts_ns == [9_000_000, 0, None]


def test_only_thread_calls_wake_the_poll(reactor, network):
    reactor.call_soon(lambda: None)
    reactor.call_later(0, lambda: None)
    assert network.wakes == 0
    reactor.call_from_thread(lambda: None)
    assert network.wakes == 1


def test_timers_of_one_deadline_fire_in_order_of_creation(reactor):
    seen = []
    for number in range(5):
        reactor.call_later(1, seen.append, number)
    reactor.run_turn()
    assert seen == [0, 1, 2, 3, 4]


def test_a_timer_that_renews_itself_without_delay_does_not_hold_the_turn(reactor):
    fired = []

    def again():
        fired.append(None)
        reactor.call_later(0, again)

    reactor.call_later(0, again)
    reactor.run_turn()
    assert len(fired) == 1


def test_a_timer_can_cancel_another_that_is_due_too(reactor):
    seen, timers = [], []

    def cancel_other():
        timers[0].cancel()

    reactor.call_later(1, cancel_other)
    timers.append(reactor.call_later(1, seen.append, "second"))
    reactor.run_turn()
    assert seen == [] and timers[0].cancelled


def test_cancelled_timers_do_not_pile_up(reactor):
    kept = reactor.call_later(10_000_000, lambda: None)
    for _ in range(10_000):
        reactor.call_later(1_000_000, lambda: None).cancel()
    assert len(reactor._timers) <= 2 * (MAX_CANCELLED_TIMERS + 1)
    assert reactor.next_deadline_ns() == kept.deadline_ns


def test_an_escaped_exception_ends_run_by_default_and_can_be_taken(reactor):
    seen = []
    reactor.call_soon(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        reactor.run()
    reactor.on_unhandled = seen.append
    reactor.call_soon(lambda: 1 / 0)
    reactor.call_soon(seen.append, "after")
    reactor.run_turn()
    assert isinstance(seen[0], ZeroDivisionError) and seen[1] == "after"


def test_run_ends_after_the_turn_that_stops_it(reactor):
    seen = []
    reactor.at_turn_end(lambda: seen.append("hook"))
    reactor.call_soon(reactor.stop)
    reactor.run()
    assert seen == ["hook"]


def test_a_result_arrives_on_a_later_turn_also_when_it_was_known_at_once(reactor):
    seen = []
    known = reactor.pending()
    known.complete(7)
    known.then(lambda pending: seen.append(pending.result()))
    assert seen == []
    later = reactor.pending()
    later.then(lambda pending: seen.append(pending.result()))
    later.complete(8)
    assert seen == []
    reactor.run_turn()
    assert seen == [7, 8]


def test_a_result_settles_once_and_not_before_it_is_there(reactor):
    pending = Pending(reactor)
    with pytest.raises(RuntimeError, match="not there"):
        pending.result()
    pending.settle(None, ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        pending.result()
    with pytest.raises(RuntimeError, match="twice"):
        pending.complete(1)


def test_a_flow_gets_results_and_errors_and_returns(reactor):
    first, second = reactor.pending(), reactor.pending()

    def flow():
        got = yield first
        try:
            yield second
        except OSError as error:
            return got, str(error)

    outcome = reactor.spawn(flow())
    reactor.run_turn()
    first.complete(1)
    reactor.run_turn()
    second.fail(OSError("lost"))
    reactor.run_turn()
    assert outcome.result() == (1, "lost")


def test_a_flow_that_raises_fails_its_outcome(reactor):
    def flow():
        yield done
        raise KeyError("gone")

    done = reactor.pending()
    done.complete(None)
    outcome = reactor.spawn(flow())
    reactor.run_turn()
    reactor.run_turn()
    with pytest.raises(KeyError):
        outcome.result()


class Timers(RuleBasedStateMachine):
    """Timers against a plain list: each fires once, when due, in order; cancelled ones never."""

    timers = Bundle("timers")

    @initialize()
    def begin(self):
        machine = self

        class Clock:
            def monotonic_ns(self):
                return machine.now_ns

        class Network:
            def poll(self, timeout_ns):
                return []

        self.now_ns = 0
        self.fired = []
        self.waiting = {}
        self.created = 0
        self.reactor = Reactor(Clock(), Network())

    @rule(target=timers, delay_ms=st.integers(0, 50))
    def create(self, delay_ms):
        self.created += 1
        number = self.created
        timer = self.reactor.call_later(delay_ms, self.fired.append, number)
        self.waiting[number] = self.now_ns + delay_ms * 1_000_000
        return number, timer

    @rule(timer=timers)
    def cancel(self, timer):
        timer[1].cancel()
        self.waiting.pop(timer[0], None)

    @rule(passed_ms=st.integers(0, 30))
    def turn(self, passed_ms):
        self.now_ns += passed_ms * 1_000_000
        self.fired.clear()
        self.reactor.run_turn()
        due = sorted((deadline, number) for number, deadline in self.waiting.items() if deadline <= self.now_ns)
        assert self.fired == [number for _, number in due]
        for _, number in due:
            del self.waiting[number]

    @invariant()
    def the_next_deadline_is_the_earliest(self):
        assert self.reactor.next_deadline_ns() == min(self.waiting.values(), default=None)


TestTimers = Timers.TestCase
