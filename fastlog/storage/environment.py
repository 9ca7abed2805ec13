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

    __slots__ = ("_on_failure", "failure", "path")

    def __init__(self, path: str) -> None:
        self.path = path
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
            logger.warning("%s: %s", what, error)
            return True
        self.fail(what, error)
        return False
