"""The simulated flusher: jobs run between the reactor's turns, in drawn order and at drawn speed; results come later still."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from fastlog.sim.process import ProcessKilled

if TYPE_CHECKING:
    from fastlog.sim.entropy import Entropy
    from fastlog.sim.process import Process
    from fastlog.sim.scheduler import Event

T = TypeVar("T")

LEAST_DELAY_NS = 5_000
MOST_DELAYS_NS = (500_000, 3_000_000, 3_000_000, 40_000_000)
"""One of them is drawn for each process: now and then a flush takes longer than clients need to connect and try again."""
THREADS = 2


class SimulatedFlusher:
    """Implements `env.Flusher`. At most `THREADS` jobs are under way; a kill drops what waits and what would be reported."""

    def __init__(self, process: Process, entropy: Entropy) -> None:
        self._process = process
        self._entropy = entropy
        self._most_delay_ns = entropy.choose(MOST_DELAYS_NS)
        self._waiting: list[tuple[Callable[[], Any], Callable[[Any, BaseException | None], None]]] = []
        self._running = 0
        self._events: dict[int, Event] = {}
        self._created = 0
        process.on_killed.append(self._drop)

    def submit(self, job: Callable[[], T], done: Callable[[T | None, BaseException | None], None]) -> None:
        self._process.check_alive()
        self._waiting.append((job, done))
        self._start()

    def close(self) -> None:
        """Finish at once what was submitted."""
        while self._waiting:
            job, done = self._waiting.pop(0)
            self._report(done, *self._outcome(job))

    def _start(self) -> None:
        while self._running < THREADS and self._waiting:
            job, done = self._waiting.pop(0)
            self._running += 1
            self._later(self._run, job, done)

    def _later(self, callback: Callable[..., None], *arguments: Any) -> None:
        self._created += 1
        key = self._created

        def happen() -> None:
            del self._events[key]
            callback(*arguments)

        delay_ns = self._entropy.between(LEAST_DELAY_NS, self._most_delay_ns)
        self._events[key] = self._process.scheduler.after(self._process.ahead_ns + delay_ns, happen)

    def _outcome(self, job: Callable[[], Any]) -> tuple[Any, BaseException | None]:
        try:
            return job(), None
        except Exception as error:
            return None, error

    def _run(self, job: Callable[[], Any], done: Callable[[Any, BaseException | None], None]) -> None:
        self._process.ahead_ns = 0
        try:
            outcome = self._outcome(job)
            self._later(self._finish, done, *outcome)
        except ProcessKilled:
            self._process.on_died_in_turn()
        finally:
            self._process.ahead_ns = 0

    def _finish(self, done: Callable[[Any, BaseException | None], None], result: Any, error: BaseException | None) -> None:
        self._running -= 1
        self._report(done, result, error)
        self._start()

    def _report(self, done: Callable[[Any, BaseException | None], None], result: Any, error: BaseException | None) -> None:
        self._process.reactor.call_from_thread(done, result, error)

    def _drop(self) -> None:
        self._waiting.clear()
        for event in self._events.values():
            event.cancel()
        self._events.clear()
