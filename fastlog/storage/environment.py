"""What every log of a broker is handed, and the directory it lives in."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastlog.env import Clock, Disk, Flusher, Random
from fastlog.errors import StorageFailed
from fastlog.storage.segment_files import OpenSegments

logger = logging.getLogger("fastlog.storage")

SHORTAGES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""No room, no descriptor, no memory: a write that fails so did not harm what is there, and may succeed later."""

SHORTAGES_LOGGED = 5
SHORTAGES_INTERVAL_NS = 10_000_000_000
"""So many lines about a full disk in so long, for each directory; the others are counted."""


class CallLater(Protocol):
    """A timer of the reactor: `Reactor.call_later`."""

    def __call__(self, delay_ms: float, callback: Callable[..., object], *arguments: Any) -> Any:
        """Call after at least `delay_ms`."""


@dataclass(frozen=True, slots=True)
class StorageEnvironment:
    """The seams as the storage room sees them."""

    clock: Clock
    disk: Disk
    flusher: Flusher
    random: Random
    call_later: CallLater
    open_segments: OpenSegments = field(default_factory=OpenSegments)


class LogDirectory:
    """One of `log.dirs`. Once it has failed it stays fenced: what a failed fsync lost cannot be asked for again."""

    __slots__ = ("_clock", "_on_failure", "_shortages", "_shortages_since_ns", "failure", "path")

    def __init__(self, path: str, clock: Clock) -> None:
        self.path = path
        self._clock = clock
        self._shortages = 0
        self._shortages_since_ns = 0
        self.failure: StorageFailed | None = None
        self._on_failure: dict[Callable[[StorageFailed], None], None] = {}

    def on_failure(self, listener: Callable[[StorageFailed], None]) -> None:
        """Call `listener` when the directory is fenced."""
        self._on_failure[listener] = None

    def forget(self, listener: Callable[[StorageFailed], None]) -> None:
        """Call a listener no more."""
        self._on_failure.pop(listener, None)

    def fail(self, what: str, error: BaseException) -> None:
        """Fence the directory: every log in it refuses reads and appends from now on."""
        if self.failure is None:
            self.failure = StorageFailed(f"log directory {self.path} is fenced: {what}: {error}")
            logger.error("%s", self.failure)
            for listener in list(self._on_failure):
                listener(self.failure)

    def write_failed(self, what: str, error: OSError) -> bool:
        """A write failed: fence the directory unless something was only short, so that it may succeed later; tell which."""
        if error.errno in SHORTAGES:
            self._tell_shortage(what, error)
            return True
        self.fail(what, error)
        return False

    def _tell_shortage(self, what: str, error: OSError) -> None:
        """Say in the log what was short, unless that was said often: clients try again and again, and the disk is full."""
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._shortages_since_ns >= SHORTAGES_INTERVAL_NS:
            if self._shortages > SHORTAGES_LOGGED:
                logger.warning("%s: %d more writes failed like that", self.path, self._shortages - SHORTAGES_LOGGED)
            self._shortages, self._shortages_since_ns = 0, now_ns
        self._shortages += 1
        if self._shortages <= SHORTAGES_LOGGED:
            logger.warning("%s: %s", what, error)
