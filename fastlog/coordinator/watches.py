"""One-shot watches, as ZooKeeper fires them. Pure.

Two tables: *data* watches are left by `get` and `exists` (also on a znode that is not there), *child* watches by `children`.
A created znode fires its data watches; changed data fires data watches; a deleted znode fires both of its own tables, once for a
watcher that is in both; and a created or deleted znode fires its parent's child watches. A watch that has fired is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import NamedTuple


class EventType(IntEnum):
    """What happened to a watched znode; the numbers are the protocol's."""

    CREATED = 1
    DELETED = 2
    DATA_CHANGED = 3
    CHILDREN_CHANGED = 4


class WatchEvent(NamedTuple):
    """What a watcher is told: only that it should look again."""

    type: EventType
    path: str


Watcher = Callable[[WatchEvent], object]
"""Whom to tell. Equal watchers of one znode are one."""
_Table = dict[str, dict[Watcher, None]]


def parent_of(path: str) -> str:
    """Return the path of a znode's parent; the root is its own."""
    return path[: path.rindex("/")] or "/"


class Watches:
    """Who waits for what. Tables are dicts, so the order of firing is the order of watching."""

    def __init__(self) -> None:
        self._data: _Table = {}
        self._children: _Table = {}

    def __len__(self) -> int:
        return sum(len(watchers) for table in (self._data, self._children) for watchers in table.values())

    def watch_data(self, path: str, watcher: Watcher) -> None:
        """Tell `watcher` once of the znode's creation, deletion or change of data."""
        self._data.setdefault(path, {})[watcher] = None

    def watch_children(self, path: str, watcher: Watcher) -> None:
        """Tell `watcher` once that a child came or went, or that the znode itself is deleted."""
        self._children.setdefault(path, {})[watcher] = None

    def forget(self, concerns: Callable[[Watcher], bool]) -> None:
        """Drop every watch whose watcher `concerns` picks."""
        for table in (self._data, self._children):
            for path in list(table):
                table[path] = {watcher: None for watcher in table[path] if not concerns(watcher)}
                if not table[path]:
                    del table[path]

    def fire(self, event: EventType, path: str) -> Iterator[tuple[Watcher, WatchEvent]]:
        """Take out and yield whom a creation, deletion or change of data at `path` concerns, and what each is told."""
        told = self._data.pop(path, {})
        if event is EventType.DELETED:
            told = told | self._children.pop(path, {})
        for watcher in told:
            yield watcher, WatchEvent(event, path)
        if event is not EventType.DATA_CHANGED:
            parent = parent_of(path)
            for watcher in self._children.pop(parent, {}):
                yield watcher, WatchEvent(EventType.CHILDREN_CHANGED, parent)
