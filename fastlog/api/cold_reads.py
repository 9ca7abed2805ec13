"""Records that the page cache does not hold are read off the broker's thread before they are sent.

A fetch of old records may have to wait for a disk, and whoever waits on the broker's thread holds up every client. So a thread
of the flusher reads them first, into no memory but the page cache; then they are sent like any others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fastlog._core import Region
    from fastlog.env import Flusher

MAX_UNDER_WAY: Final = 2
"""Regions that are read at a time: a flush never waits behind more of them, and the flusher's queue is never full of them."""


class ColdReads:
    """The reads that are under way, and those that wait for their turn."""

    def __init__(self, flusher: Flusher) -> None:
        self._flusher = flusher
        self._waiting: deque[tuple[list[Region], Callable[[], object]]] = deque()
        self._under_way = 0

    def load(self, regions: list[Region], then: Callable[[], object]) -> None:
        """Read `regions`, one after another, and call `then()` on a later turn.

        What cannot be read is left: sending it meets the error again, and closes the connection.
        """
        self._waiting.append((regions, then))
        self._begin()

    def _begin(self) -> None:
        while self._waiting and self._under_way < MAX_UNDER_WAY:
            self._under_way += 1
            self._load_next(*self._waiting.popleft())

    def _load_next(self, regions: list[Region], then: Callable[[], object]) -> None:
        self._flusher.submit(regions[0].load, partial(self._loaded, regions[1:], then))

    def _loaded(self, left: list[Region], then: Callable[[], object], _: None, error: BaseException | None) -> None:
        if left and error is None:
            self._load_next(left, then)
            return
        self._under_way -= 1
        self._begin()
        then()
