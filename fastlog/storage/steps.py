"""Work of several steps, some of them slow, written once and run in two ways.

A generator yields its slow steps (`file.fdatasync`, `segment.recover`: each one call into the core or the disk, no Python loop)
and is resumed with their results; what it does between two yields is Python on the broker's thread. `run_on` sends the slow
steps to the flusher; `run_now` does them in place, for a broker that is closing and for use as a library.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from fastlog.env import Flusher

T = TypeVar("T")
Steps = Generator[Callable[[], Any], Any, T]
Done = Callable[[T | None, BaseException | None], None]


def run_now(steps: Steps[T]) -> T:
    """Run all steps here and return what the generator returns; its errors are raised."""
    result: Any = None
    error: BaseException | None = None
    while True:
        try:
            job = steps.send(result) if error is None else steps.throw(error)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        result, error = None, None
        try:
            result = job()
        except Exception as raised:
            error = raised


def run_on(flusher: Flusher, steps: Steps[T], done: Done[T]) -> None:
    """Run slow steps on the flusher and the rest on this thread, then call `done(result, error)`.

    Runs up to the first slow step at once; without any, `done` is called before this returns.
    """
    _UnderWay(flusher, steps, done).resume(None, None)


class _UnderWay(Generic[T]):
    """Steps under way, held by the flusher alone: no cycle stays of them for the garbage collector."""

    __slots__ = ("_done", "_flusher", "_steps")

    def __init__(self, flusher: Flusher, steps: Steps[T], done: Done[T]) -> None:
        self._flusher = flusher
        self._steps = steps
        self._done = done

    def resume(self, result: Any, error: BaseException | None) -> None:
        """Go on with the result of the last slow step."""
        try:
            job = self._steps.send(result) if error is None else self._steps.throw(error)
        except StopIteration as stop:
            self._done(stop.value, None)
        except Exception as raised:
            self._done(None, raised)
        else:
            self._flusher.submit(job, self.resume)
