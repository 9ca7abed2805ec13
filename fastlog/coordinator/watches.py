"""Watches, as ZooKeeper fires them. Pure.

Two tables: *data* watches are left by `get` and `exists` (also on a znode that is not there), *child* watches by `children`.
A created znode fires its data watches; changed data fires data watches; a deleted znode fires both of its own tables, once for a
watcher that is in both; and a created or deleted znode fires its parent's child watches. A one-shot watch that has fired is gone.
A *persistent* watch is in both tables and stays. A *recursive* one is a persistent data watch that also fires for everything
below its znode, and never says that children changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fastlog.light import IntEnum, NamedTuple, Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, TypeVar

    W = TypeVar("W", bound="Watcher")


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


class Watcher(Protocol):
    """Whom to tell. Equal watchers of one znode are one."""

    def __call__(self, event: WatchEvent, zxid: int, /) -> object:
        """Hear of an event, and of which transaction it is."""

    def __hash__(self) -> int: ...


class WatcherType(IntEnum):
    """Which watches are to be removed; the numbers are the protocol's."""

    CHILDREN = 1
    DATA = 2
    ANY = 3
    PERSISTENT = 4
    PERSISTENT_RECURSIVE = 5


_ONE_SHOT: Final = 1
_PERSISTENT: Final = 2
_RECURSIVE: Final = 4
_ANY: Final = 7

_Table = dict[str, dict[Watcher, int]]
"""path -> watcher -> how it watches, one bit for each way."""


def parent_of(path: str) -> str:
    """Return the path of a znode's parent; the root is its own."""
    return path[: path.rindex("/")] or "/"


class Watches:
    """Who waits for what. Tables are dicts, so the order of firing is the order of watching."""

    def __init__(self) -> None:
        self._data: _Table = {}
        self._children: _Table = {}
        self._paths: dict[Watcher, dict[tuple[bool, str], None]] = {}  # (is it a child watch, path) of each watcher
        self._recursive_count = 0

    def __len__(self) -> int:
        return sum(len(paths) for paths in self._paths.values())

    @property
    def watcher_count(self) -> int:
        """How many watchers there are."""
        return len(self._paths)

    @property
    def path_count(self) -> int:
        """How many znodes are watched."""
        return len(self._data.keys() | self._children.keys())

    def watch_data(self, path: str, watcher: Watcher) -> None:
        """Tell `watcher` once of the znode's creation, deletion or change of data."""
        self._add(False, path, watcher, _ONE_SHOT)

    def watch_children(self, path: str, watcher: Watcher) -> None:
        """Tell `watcher` once that a child came or went, or that the znode itself is deleted."""
        self._add(True, path, watcher, _ONE_SHOT)

    def watch_for_good(self, path: str, watcher: Watcher, *, recursive: bool) -> None:
        """Tell `watcher` of everything at the znode until the watch is removed; `recursive`: at all znodes below it too."""
        if recursive:
            self._add(False, path, watcher, _RECURSIVE)
        else:
            self._add(False, path, watcher, _PERSISTENT)
            self._add(True, path, watcher, _PERSISTENT)

    def has(self, path: str, watcher: Watcher, kind: WatcherType) -> bool:
        """Tell whether there is a watch of this kind."""
        return any(self._table(is_child).get(path, {}).get(watcher, 0) & bits for is_child, bits in _places(kind))

    def remove(self, path: str, watcher: Watcher, kind: WatcherType) -> bool:
        """Remove a watcher's watches of this kind from a znode; tell whether there was one."""
        found = False
        for is_child, bits in _places(kind):
            if self._table(is_child).get(path, {}).get(watcher, 0) & bits:
                self._take(is_child, path, watcher, bits)
                found = True
        return found

    def forget(self, concerns: Callable[[Watcher], bool]) -> None:
        """Drop every watch whose watcher `concerns` picks."""
        for watcher in [one for one in self._paths if concerns(one)]:
            self.drop(watcher)

    def drop(self, watcher: Watcher) -> None:
        """Drop every watch of a watcher."""
        for is_child, path in list(self._paths.get(watcher, ())):
            self._take(is_child, path, watcher, _ANY)

    def fire(self, event: EventType, path: str) -> Iterator[tuple[Watcher, WatchEvent]]:
        """Yield whom a creation, deletion or change of data at `path` concerns, and what each is told; take out one-shot ones."""
        told = self._fired(False, path)
        if self._recursive_count:
            above = path
            while above != "/":
                above = parent_of(above)
                told.update(dict.fromkeys(one for one, bits in self._data.get(above, {}).items() if bits & _RECURSIVE))
        if event is EventType.DELETED:
            told.update(self._fired(True, path))
        for watcher in told:
            yield watcher, WatchEvent(event, path)
        if event is not EventType.DATA_CHANGED:
            parent = parent_of(path)
            for watcher in self._fired(True, parent):
                yield watcher, WatchEvent(EventType.CHILDREN_CHANGED, parent)

    def _fired(self, is_child: bool, path: str) -> dict[Watcher, None]:
        watching = self._table(is_child).get(path)
        if not watching:
            return {}
        told: dict[Watcher, None] = dict.fromkeys(watching)
        for watcher in told:
            if watching[watcher] & _ONE_SHOT:
                self._take(is_child, path, watcher, _ONE_SHOT)
        return told

    def _table(self, is_child: bool) -> _Table:
        return self._children if is_child else self._data

    def _add(self, is_child: bool, path: str, watcher: Watcher, bit: int) -> None:
        watching = self._table(is_child).setdefault(path, {})
        before = watching.get(watcher, 0)
        watching[watcher] = before | bit
        if bit == _RECURSIVE and not before & _RECURSIVE:
            self._recursive_count += 1
        self._paths.setdefault(watcher, {})[is_child, path] = None

    def _take(self, is_child: bool, path: str, watcher: Watcher, bits: int) -> None:
        table = self._table(is_child)
        watching = table[path]
        if watching[watcher] & bits & _RECURSIVE:
            self._recursive_count -= 1
        watching[watcher] &= ~bits
        if watching[watcher]:
            return
        del watching[watcher]
        if not watching:
            del table[path]
        paths = self._paths[watcher]
        del paths[is_child, path]
        if not paths:
            del self._paths[watcher]


def _places(kind: WatcherType) -> tuple[tuple[bool, int], ...]:
    """Return the tables that a kind of watch is in, and its bits there."""
    match kind:
        case WatcherType.CHILDREN:
            return ((True, _ONE_SHOT),)
        case WatcherType.DATA:
            return ((False, _ONE_SHOT),)
        case WatcherType.PERSISTENT:
            return ((False, _PERSISTENT), (True, _PERSISTENT))
        case WatcherType.PERSISTENT_RECURSIVE:
            return ((False, _RECURSIVE),)
        case WatcherType.ANY:
            return ((False, _ANY), (True, _ANY))
