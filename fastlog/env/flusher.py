"""The real flusher: a few threads for slow disk work, so that the reactor never waits for a disk.

A job is one GIL-free call into `_core`. A job that is a bound method of a `File` or `Segment` (or a `functools.partial` of one)
holds the descriptors of that object from `submit` until it has run, so closing them meanwhile is safe. Completions go to the
reactor by `call_from_thread` and so arrive on a later turn.
Invariants: at most `max_queued` jobs wait, beyond that `submit` itself waits (the reactor then slows down to the disk's speed,
the only honest answer to a disk that cannot follow); every submitted job's `done` is called exactly once; jobs start in the order
of submission.
"""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Callable

from fastlog._core import File, Segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, TypeVar

    T = TypeVar("T")
    Job = Callable[[], Any]
    Done = Callable[[Any, BaseException | None], None]
    CallFromThread = Callable[..., object]


DEFAULT_THREADS: Final = 2
MAX_QUEUED_JOBS: Final = 1024


def files_of(job: Job) -> tuple[File, ...]:
    """Return the files that a job works on, as far as its callable shows them."""
    while isinstance(job, functools.partial):
        job = job.func
    owner = getattr(job, "__self__", None)
    if isinstance(owner, File):
        return (owner,)
    if isinstance(owner, Segment):
        return (owner.log, owner.offset_index.file, owner.time_index.file)
    return ()


class ThreadedFlusher:
    """Threads that run jobs; completions go through `call_from_thread` (the reactor's)."""

    def __init__(
        self, call_from_thread: CallFromThread, *, threads: int = DEFAULT_THREADS, max_queued: int = MAX_QUEUED_JOBS
    ) -> None:
        if threads < 1 or max_queued < 1:
            raise ValueError("a flusher has at least one thread and room for one job")
        self._call_from_thread = call_from_thread
        self._jobs: queue.Queue[tuple[Job, Done, tuple[File, ...]] | None] = queue.Queue(max_queued)
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"fastlog-flusher-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Callable[[], T], done: Callable[[T | None, BaseException | None], None]) -> None:
        """Run `job()` on a thread, then `done(result, error)` on a turn of the reactor; RuntimeError after `close`."""
        if self._closed:
            raise RuntimeError("the flusher is closed")
        files = files_of(job)
        for file in files:
            file.acquire()
        self._jobs.put((job, done, files))

    def close(self) -> None:
        """Finish what was submitted and end the threads; closing twice is allowed. The last completions come on the next turn."""
        if self._closed:
            return
        self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (entry := self._jobs.get()) is not None:
            job, done, files = entry
            result, error = None, None
            try:
                result = job()
            except BaseException as raised:  # whatever a job raises belongs to whoever submitted it
                error = raised
            for file in files:
                file.release()
            self._call_from_thread(done, result, error)
            # Nothing of a finished job stays alive in a thread that waits for the next one.
            del entry, job, done, files, result, error
