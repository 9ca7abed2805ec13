"""One virtual time for all: the order of everything that happens in a simulation comes from here, and so from the seed alone.

Two kinds of things happen: events (a chunk of bytes arrives, a flusher's job runs, a fault strikes) at the time they were put
down for, and turns of a process's reactor, when it has something to do and its last turn's virtual duration is over.
What is due at the same instant happens in drawn order. Virtual time moves only here and never backwards.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastlog.sim.entropy import Entropy
    from fastlog.sim.process import Process
    from fastlog.sim.trace import Trace

NANOSECONDS_PER_MILLISECOND = 1_000_000
NANOSECONDS_PER_SECOND = 1_000_000_000


class Event:
    """Something put down for a time; `cancel` makes it never happen."""

    __slots__ = ("arguments", "callback")

    def __init__(self, callback: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self.callback: Callable[..., object] | None = callback
        self.arguments = arguments

    def cancel(self) -> None:
        self.callback, self.arguments = None, ()


class Scheduler:
    """Virtual time, the events on it, and the processes that live in it."""

    def __init__(self, entropy: Entropy, trace: Trace) -> None:
        self.now_ns = 0
        self.trace = trace
        self.steps = 0
        self._entropy = entropy
        self._events: list[tuple[int, int, int, Event]] = []
        self._events_created = 0
        self._processes: list[Process] = []

    def after(self, delay_ns: int, callback: Callable[..., object], *arguments: Any) -> Event:
        """Call `callback(*arguments)` when `delay_ns` of virtual time has passed."""
        return self.at(self.now_ns + max(0, delay_ns), callback, *arguments)

    def at(self, time_ns: int, callback: Callable[..., object], *arguments: Any) -> Event:
        """Call at a virtual time that has not passed. Events of one instant come in drawn order."""
        event = Event(callback, arguments)
        self._events_created += 1
        heapq.heappush(self._events, (max(time_ns, self.now_ns), self._entropy.below(1 << 32), self._events_created, event))
        return event

    def add(self, process: Process) -> None:
        """Let a process take turns from now on."""
        self._processes.append(process)

    def remove(self, process: Process) -> None:
        """Let a process take no more turns."""
        self._processes.remove(process)

    def step(self) -> bool:
        """Do the next thing; False when nothing is left to do, ever."""
        events = self._events
        while events and events[0][3].callback is None:
            heapq.heappop(events)
        first: Process | None = None
        first_ns = events[0][0] if events else -1
        rivals = 1 if events else 0
        for process in self._processes:
            wake_ns = process.wake_ns()
            if wake_ns is None:
                continue
            wake_ns = max(wake_ns, self.now_ns)
            if rivals == 0 or wake_ns < first_ns:
                first, first_ns, rivals = process, wake_ns, 1
            elif wake_ns == first_ns:
                rivals += 1
                if self._entropy.below(rivals) == 0:
                    first = process
        if rivals == 0:
            return False
        if first_ns > self.now_ns:
            self.now_ns = self.trace.now_ns = first_ns
        self.steps += 1
        if first is not None:
            first.run_turn()
        else:
            event = heapq.heappop(events)[3]
            callback, arguments = event.callback, event.arguments
            event.cancel()
            if callback is not None:
                callback(*arguments)
        return True
