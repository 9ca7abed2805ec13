"""One watch of the workload: what it was left on, and what it was told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastlog.coordinator.watches import WatchEvent

if TYPE_CHECKING:
    from fastlog.sim.coordinator.checker import CoordinatorChecker


class Watch:
    """A watch from its request on. It is the callback itself; `left` is called when the answer has come that leaves it."""

    def __init__(self, checker: CoordinatorChecker, who: str, path: str, *, is_child: bool) -> None:
        self.who = who
        self.path = path
        self.is_child = is_child
        self.earliest_zxid = self.latest_zxid = -1
        """Between which zxids the answer was made that left it; -1 as long as it has not come."""
        self.on_absence = False
        self.is_unbroken = True
        """No connection was lost since it was left."""
        self.is_told = False
        self._checker = checker
        self._event: WatchEvent | None = None

    def __call__(self, event: WatchEvent) -> None:
        if self.is_told:
            self._checker.fail("watch-twice", f"{self} was told once more: {event}")
        self.is_told = True
        self._event = event
        if self.latest_zxid >= 0:
            self._checker.told(self, event)

    def left(self, earliest_zxid: int, latest_zxid: int, *, on_absence: bool) -> None:
        """Take it that the watch was left between two zxids, on a znode that was not there (`on_absence`) or was."""
        self.earliest_zxid, self.latest_zxid, self.on_absence = earliest_zxid, latest_zxid, on_absence
        if self._event is not None:
            self._checker.told(self, self._event)

    def __str__(self) -> str:
        kind = "child" if self.is_child else "exist" if self.on_absence else "data"
        return f"{self.who}'s {kind} watch on {self.path}, left at {self.latest_zxid:#x},"
