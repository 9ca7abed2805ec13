"""The real flusher: a few threads for slow disk work, so that the reactor never waits for a disk.

A job is one GIL-free call into `_core`. A job that is a bound method of a `File` or `Segment` (or a `functools.partial` of one)
holds the descriptors of that object from `submit` until it has run, so closing them meanwhile is safe. Completions go to the
reactor by `call_from_thread` and so arrive on a later turn.
Invariants: at most `max_queued` jobs wait, beyond that `submit` itself waits (the reactor then slows down to the disk's speed,
the only honest answer to a disk that cannot follow); every submitted job's `done` is called exactly once; jobs start in the order
of submission; there is one thread from the beginning, and more once jobs would wait for it.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
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
        self._max_threads, self._max_queued = threads, max_queued
        self._threads: list[threading.Thread] = []  # of whoever submits
        self._lock = threading.Lock()  # of all that follows
        self._jobs: deque[tuple[Job, Done, tuple[File, ...]]] = deque()
        self._has_work = threading.Condition(self._lock)
        self._has_room = threading.Condition(self._lock)
        self._idle = 0
        """Threads that wait for work and that no job was promised to."""
        self._closed = False
        self._start_thread()

    def submit(self, job: Callable[[], T], done: Callable[[T | None, BaseException | None], None]) -> None:
        """Run `job()` on a thread, then `done(result, error)` on a turn of the reactor; RuntimeError after `close`."""
        if self._closed:
            raise RuntimeError("the flusher is closed")
        files = files_of(job)
        for file in files:
            file.acquire()
        with self._lock:
            while len(self._jobs) >= self._max_queued:
                self._has_room.wait()
            self._jobs.append((job, done, files))
            if self._idle:
                self._idle -= 1
                self._has_work.notify()
                return
        if len(self._threads) < self._max_threads:
            try:
                self._start_thread()
            except RuntimeError:  # the system gives no more threads: those that are there do it
                self._max_threads = len(self._threads)

    def close(self) -> None:
        """Finish what was submitted and end the threads; closing twice is allowed. The last completions come on the next turn."""
        with self._lock:
            self._closed = True
            self._has_work.notify_all()
        while self._threads:
            self._threads.pop().join()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=f"fastlog-flusher-{len(self._threads)}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _next_job(self) -> tuple[Job, Done, tuple[File, ...]] | None:
        with self._lock:
            while not self._jobs:
                if self._closed:
                    return None
                self._idle += 1
                self._has_work.wait()
            self._has_room.notify()
            return self._jobs.popleft()

    def _work(self) -> None:
        while (entry := self._next_job()) is not None:
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
