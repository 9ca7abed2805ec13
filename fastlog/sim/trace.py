"""What happened in a run, one line an event, and a hash over all of it that a second run of the same seed must repeat."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b


class Trace:
    """Takes events in order. `digest` covers every one of them; `printer` shows them as they come.

    The lines are kept only when they are asked for: a thousand runs in one process hold no history.
    """

    def __init__(self, printer: Callable[[str], object] | None = None) -> None:
        self._hash = blake2b(digest_size=16)
        self._printer = printer
        self.now_ns = 0
        self.count = 0

    def record(self, who: str, what: str) -> None:
        """Take one event at the present virtual time."""
        line = f"{self.now_ns / 1e6:13.6f} {who:<10} {what}\n"
        self._hash.update(line.encode())
        self.count += 1
        if self._printer is not None:
            self._printer(line)

    def note(self, who: str, what: str) -> None:
        """Show a line that explains the events around it and is not one itself (a log line of the product)."""
        if self._printer is not None:
            self._printer(f"{self.now_ns / 1e6:13.6f} {who:<10} | {what}\n")

    def digest(self) -> str:
        """Return the hash of all events so far as 32 hexadecimal digits."""
        return self._hash.hexdigest()
