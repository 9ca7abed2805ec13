"""Records that the page cache does not hold are read off the broker's thread before they are sent.

A fetch of old records may have to wait for a disk, and whoever waits on the broker's thread holds up every client. So a thread
of the flusher reads them first, into no memory but the page cache; then they are sent like any others.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fastlog._core import Region
    from fastlog.env import Flusher

MAX_UNDER_WAY: Final = 2
"""Regions that are read at a time: a flush never waits behind more of them, and the flusher's queue is never full of them."""


class _Load:
    """What is read for one fetch, and what is done then; nothing when nobody wants it any more."""

    __slots__ = ("regions", "then")

    def __init__(self, regions: list[Region], then: Callable[[], object]) -> None:
        self.regions = regions
        self.then: Callable[[], object] | None = then


class ColdReads:
    """The reads that are under way, and those that wait for their turn."""

    def __init__(self, flusher: Flusher) -> None:
        self._flusher = flusher
        self._waiting: dict[_Load, None] = {}
        self._under_way = 0

    def load(self, regions: list[Region], then: Callable[[], object]) -> Callable[[], None]:
        """Read `regions`, one after another, and call `then()` on a later turn; return what gives that up.

        Between one and the next the others have their turn: who reads much holds up nobody who reads little.
        What cannot be read is left: sending it meets the error again, and closes the connection.
        """
        load = _Load(regions, then)
        self._waiting[load] = None
        self._begin()
        return partial(self._give_up, load)

    def _give_up(self, load: _Load) -> None:
        """Hold nothing for a client that has gone: however many come and go, only those that are there count."""
        self._waiting.pop(load, None)
        load.regions, load.then = [], None

    def _begin(self) -> None:
        while self._waiting and self._under_way < MAX_UNDER_WAY:
            load = next(iter(self._waiting))
            del self._waiting[load]
            self._under_way += 1
            self._flusher.submit(load.regions.pop(0).load, partial(self._loaded, load))

    def _loaded(self, load: _Load, _: None, error: BaseException | None) -> None:
        self._under_way -= 1
        is_over = not load.regions or error is not None
        if not is_over:
            self._waiting[load] = None
        self._begin()
        if is_over and load.then is not None:
            load.then()
