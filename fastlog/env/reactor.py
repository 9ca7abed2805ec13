"""The event loop: one thread, turns, timers, one-shot results, and flows of several steps as generators.

Sans-I/O itself: readiness comes from a `Network`, time from a `Clock`, so the simulator runs this very loop.
Invariants: callbacks never run inside the call that scheduled them, timers not even in the same turn; turn-end hooks run once
after all ready I/O was handled, and once more after work that could wait until then; timers fire in order of deadline, then of
creation. See docs/architecture.md, "A turn of the reactor".
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Generator

from fastlog.env import Clock, Network
from fastlog.light import Generic, TypeVar

T = TypeVar("T")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Flow = Generator["Pending[Any]", Any, T]


NANOSECONDS_PER_MILLISECOND = 1_000_000
MAX_CANCELLED_TIMERS = 64


class Timer:
    """A call at a deadline; `cancel` makes it never happen."""

    __slots__ = ("_arguments", "_callback", "_reactor", "deadline_ns")

    def __init__(self, reactor: Reactor, deadline_ns: int, callback: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self._reactor = reactor
        self.deadline_ns = deadline_ns
        self._callback: Callable[..., object] | None = callback
        self._arguments = arguments

    @property
    def cancelled(self) -> bool:
        return self._callback is None

    def cancel(self) -> None:
        """Make the call never happen; after it has, or twice, this does nothing."""
        if self._callback is not None:
            self._callback = None
            self._arguments = ()
            self._reactor.forget_timer()

    def fire(self) -> None:
        """Make the call; the reactor's business."""
        callback, arguments = self._callback, self._arguments
        self._callback, self._arguments = None, ()
        if callback is not None:
            callback(*arguments)


class Pending(Generic[T]):
    """A result that comes later, once. Listeners are called on a turn after the one that completed it."""

    __slots__ = ("_error", "_listeners", "_reactor", "_value", "done")

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._listeners: list[Callable[[Pending[T]], object]] = []
        self._value: T | None = None
        self._error: BaseException | None = None
        self.done = False

    def complete(self, value: T) -> None:
        self._settle(value, None)

    def fail(self, error: BaseException) -> None:
        self._settle(None, error)

    def settle(self, value: T | None, error: BaseException | None) -> None:
        """Complete or fail; has the signature of a flusher job's `done`."""
        self._settle(value, error)

    def _settle(self, value: T | None, error: BaseException | None) -> None:
        if self.done:
            raise RuntimeError("a pending result was settled twice")
        self.done, self._value, self._error = True, value, error
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            self._reactor.call_soon(listener, self)

    def then(self, listener: Callable[[Pending[T]], object]) -> None:
        """Call `listener(self)` on a later turn, once this is settled."""
        if self.done:
            self._reactor.call_soon(listener, self)
        else:
            self._listeners.append(listener)

    def result(self) -> T:
        """Return the value or raise the error of a settled result."""
        if not self.done:
            raise RuntimeError("the result is not there yet")
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]


class _Steps(Generic[T]):
    """A flow under way, held by what it waits for alone: no cycle stays of it for the garbage collector."""

    __slots__ = ("_flow", "_outcome")

    def __init__(self, flow: Flow[T], outcome: Pending[T]) -> None:
        self._flow = flow
        self._outcome = outcome

    def step(self, settled: Pending[Any] | None) -> None:
        try:
            if settled is None:
                awaited = next(self._flow)
            else:
                try:
                    value = settled.result()
                except BaseException as error:  # whatever it is, it belongs to the flow
                    awaited = self._flow.throw(error)
                else:
                    awaited = self._flow.send(value)
        except StopIteration as stop:
            self._outcome.complete(stop.value)
        except Exception as error:
            self._outcome.fail(error)
        else:
            awaited.then(self.step)


class Reactor:
    """One broker's event loop over a network and a clock."""

    def __init__(self, clock: Clock, network: Network) -> None:
        self.clock = clock
        self.network = network
        self.now_ns = clock.monotonic_ns()
        """Monotonic time at which the present turn's wait for I/O ended: good for what may be a turn old."""
        self._soon: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._from_threads: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._timers: list[tuple[int, int, Timer]] = []
        self._timers_created = 0
        self._timers_cancelled = 0  # of those still in the heap
        self._turn_end_hooks: list[Callable[[], object]] = []
        self._after_turn: list[Callable[[], bool]] = []
        self._running = False
        self.on_unhandled: Callable[[BaseException], None] = self._raise
        """What becomes of an exception that a callback let escape; by default it ends `run`."""

    @staticmethod
    def _raise(error: BaseException) -> None:
        raise error

    def call_soon(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Call on the next turn, in the order of scheduling."""
        self._soon.append((callback, arguments))

    def hasten(self) -> None:
        """Have the next turn wait for nothing: it does what is ready by then."""
        self.call_soon(_nothing)

    def call_later(self, delay_ms: float, callback: Callable[..., object], *arguments: Any) -> Timer:
        """Call after at least `delay_ms` of monotonic time."""
        timer = Timer(self, self.clock.monotonic_ns() + max(0, int(delay_ms * NANOSECONDS_PER_MILLISECOND)), callback, arguments)
        self._timers_created += 1
        heapq.heappush(self._timers, (timer.deadline_ns, self._timers_created, timer))
        return timer

    def forget_timer(self) -> None:
        """Take note of a cancelled timer: they are never more than half of the heap, however far their deadlines are."""
        self._timers_cancelled += 1
        if self._timers_cancelled > MAX_CANCELLED_TIMERS and 2 * self._timers_cancelled > len(self._timers):
            self._timers = [entry for entry in self._timers if not entry[2].cancelled]
            heapq.heapify(self._timers)
            self._timers_cancelled = 0

    def call_from_thread(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Call on the next turn; the only method that other threads and signal handlers may use."""
        self._from_threads.append((callback, arguments))
        self.network.wake()

    def at_turn_end(self, hook: Callable[[], object]) -> None:
        """Call `hook()` at the end of every turn, after the hooks registered before it."""
        self._turn_end_hooks.append(hook)

    def after_turn(self, work: Callable[[], bool]) -> None:
        """Call `work()` after every turn, for what can wait until then; where it returns True, the hooks follow once more."""
        self._after_turn.append(work)

    def pending(self) -> Pending[Any]:
        """Return a new unsettled result."""
        return Pending(self)

    def next_turn(self) -> Pending[None]:
        """Return what a long flow yields to let others have their turn."""
        turn: Pending[None] = Pending(self)
        turn.complete(None)
        return turn

    def spawn(self, flow: Flow[T]) -> Pending[T]:
        """Run a generator that yields `Pending`s; each step gets the result, or the error thrown in. Starts on the next turn."""
        outcome: Pending[T] = Pending(self)
        self.call_soon(_Steps(flow, outcome).step, None)
        return outcome

    def next_deadline_ns(self) -> int | None:
        """Return the monotonic time at which there is something to do without I/O: now, a timer's deadline, or None."""
        if self._soon or self._from_threads:
            return self.clock.monotonic_ns()
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
            self._timers_cancelled -= 1
        return self._timers[0][0] if self._timers else None

    def run_turn(self) -> None:
        """Wait for the next thing to do and do all that is ready. See docs/architecture.md."""
        deadline_ns = self.next_deadline_ns()
        timeout_ns = None if deadline_ns is None else max(0, deadline_ns - self.clock.monotonic_ns())
        ready = self.network.poll(timeout_ns)
        self.now_ns = self.clock.monotonic_ns()
        for on_ready, events in ready:
            try:
                on_ready(events)
            except Exception as error:
                self.on_unhandled(error)
        for calls in (self._from_threads, self._soon):
            for _ in range(len(calls)):
                callback, arguments = calls.popleft()
                try:
                    callback(*arguments)
                except Exception as error:
                    self.on_unhandled(error)
        if self._timers:
            self._fire_timers()
        self._end_turn()
        has_worked = False
        for work in self._after_turn:
            try:
                has_worked |= work()
            except Exception as error:
                has_worked = True
                self.on_unhandled(error)
        if has_worked:
            self._end_turn()

    def _end_turn(self) -> None:
        for hook in self._turn_end_hooks:
            try:
                hook()
            except Exception as error:
                self.on_unhandled(error)

    def _fire_timers(self) -> None:
        created = self._timers_created
        while self._timers and self._timers[0][0] <= self.now_ns and self._timers[0][1] <= created:
            timer = heapq.heappop(self._timers)[2]
            if timer.cancelled:
                self._timers_cancelled -= 1
                continue
            try:
                timer.fire()
            except Exception as error:
                self.on_unhandled(error)

    def run(self) -> None:
        """Run turns until `stop` is called."""
        self._running = True
        while self._running:
            self.run_turn()

    def stop(self) -> None:
        """Let `run` return after the present turn."""
        self._running = False


def _nothing() -> None:
    """Be something to do."""
