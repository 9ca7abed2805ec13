"""What a sequence of transactions makes of znodes and sessions: an oracle that shares no code with the coordinator's tree.

It keeps all of the past: what each znode was from which zxid on, and what happened to it, so that answers and events can be
held against every moment at which they may have been made. The rules are ZooKeeper's (programmer's guide, "ZooKeeper Data
Model").
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from operator import attrgetter, itemgetter
from typing import NamedTuple

from fastlog.coordinator.tree import (
    ANY_VERSION,
    NO_SESSION,
    Check,
    CloseSession,
    Create,
    Created,
    Delete,
    OpenSession,
    Operation,
    Result,
    SetData,
    Stat,
    Transaction,
)
from fastlog.coordinator.watches import EventType

BUILT_IN = ("/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota")


class Impossible(Exception):
    """A transaction that should have been refused; `kind` is the anomaly's name."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class State(NamedTuple):
    """What a znode was from a zxid on; `stat` is None where it was not there."""

    zxid: int
    data: bytes | None
    stat: Stat | None
    names: tuple[str, ...]


class Event(NamedTuple):
    """Something that watches on a znode tell of."""

    zxid: int
    type: EventType


class _Znode:
    """A znode as it is now."""

    __slots__ = (
        "aversion",
        "children",
        "created",
        "ctime",
        "czxid",
        "data",
        "deleted",
        "mtime",
        "mzxid",
        "owner",
        "pzxid",
        "version",
    )

    def __init__(self, data: bytes | None, owner: int, zxid: int, time_ms: int) -> None:
        self.data = data
        self.owner = owner
        self.czxid = self.mzxid = self.pzxid = zxid
        self.ctime = self.mtime = time_ms
        self.version = self.aversion = self.created = self.deleted = 0
        self.children: dict[str, None] = {}

    def stat(self) -> Stat:
        return Stat(
            self.czxid,
            self.mzxid,
            self.ctime,
            self.mtime,
            self.version,
            self.created + self.deleted,
            self.aversion,
            self.owner,
            len(self.data or b""),
            len(self.children),
            self.pzxid,
        )


_ABSENT = State(0, None, None, ())
_zxid_of = attrgetter("zxid")


class Znodes:
    """The tree that transactions make, with its past."""

    def __init__(self) -> None:
        self.zxid = 0
        self.sessions: dict[int, int] = {}
        """Timeouts in milliseconds of the sessions that live."""
        self.opened: dict[int, int] = {}
        self.closed: dict[int, int] = {}
        """The zxids at which sessions began and ended."""
        self.results: list[list[Result]] = [[]]
        """What each transaction answers, by zxid."""
        self._nodes = {path: _Znode(b"", NO_SESSION, 0, 0) for path in BUILT_IN}
        self._nodes["/"].children["zookeeper"] = None
        self._nodes["/zookeeper"].children.update(dict.fromkeys(("config", "quota")))
        for path in ("/", "/zookeeper"):
            self._nodes[path].deleted = -len(self._nodes[path].children)  # as a ZooKeeper's cversions begin
        self._nodes["/zookeeper/config"].aversion = -1
        self._states: dict[str, list[State]] = {}
        self._data_events: dict[str, list[Event]] = {}
        self._child_events: dict[str, list[Event]] = {}
        for path in BUILT_IN:
            self._states[path] = [self._state(path, 0)]

    # ---- the past

    def states(self, path: str, first_zxid: int) -> Iterator[State]:
        """Yield what a znode was at `first_zxid` and later on."""
        states = self._states.get(path, [])
        index = bisect_right(states, first_zxid, key=_zxid_of)
        yield states[index - 1] if index else _ABSENT
        yield from states[index:]

    def state(self, path: str) -> State:
        """Return what a znode is now."""
        states = self._states.get(path)
        return states[-1] if states else _ABSENT

    def events(self, path: str, after_zxid: int, *, is_child: bool) -> Sequence[Event]:
        """Return what a data or a child watch on a znode is to be told of, oldest first; nothing of `after_zxid` or before."""
        events = (self._child_events if is_child else self._data_events).get(path, [])
        return events[bisect_right(events, after_zxid, key=itemgetter(0)) :]

    def paths(self) -> list[str]:
        """Return the paths of all znodes that are there, sorted."""
        return sorted(self._nodes)

    # ---- the next transaction

    def apply(self, transaction: Transaction) -> None:
        """Carry out the next transaction; Impossible."""
        if transaction.zxid != self.zxid + 1:
            raise Impossible("zxid", f"transaction {transaction.zxid:#x} follows {self.zxid:#x}")
        zxid, request = transaction.zxid, transaction.request
        touched: dict[str, None] = {}
        results: list[Result] = []
        if isinstance(request, OpenSession):
            if request.session_id in self.opened:
                raise Impossible("session-resurrected", f"session {request.session_id:#x} begins a second time")
            self.sessions[request.session_id] = request.timeout_ms
            self.opened[request.session_id] = zxid
        elif isinstance(request, CloseSession):
            if self.sessions.pop(request.session_id, None) is None:
                raise Impossible("session-resurrected", f"session {request.session_id:#x} ends, and it is none")
            self.closed[request.session_id] = zxid
            for path in sorted(path for path, node in self._nodes.items() if node.owner == request.session_id):
                self._delete(path, zxid, touched)
        else:
            if transaction.session_id != NO_SESSION and transaction.session_id not in self.sessions:
                raise Impossible(
                    "session-resurrected", f"session {transaction.session_id:#x} is over, and writes {request} at {zxid:#x}"
                )
            results = [self._apply(operation, transaction, touched) for operation in request]
        self.zxid = zxid
        self.results.append(results)
        for path in touched:
            self._states.setdefault(path, []).append(self._state(path, zxid))

    def _apply(self, operation: Operation, transaction: Transaction, touched: dict[str, None]) -> Result:
        zxid = transaction.zxid
        if isinstance(operation, Create):
            return self._create(operation, transaction, touched)
        node = self._nodes.get(operation.path)
        if node is None:
            raise Impossible("wrong-write", f"{operation} at {zxid:#x} of a znode that is not there")
        if isinstance(operation, Check | SetData | Delete) and operation.version not in (ANY_VERSION, node.version):
            raise Impossible("wrong-write", f"{operation} at {zxid:#x} under version {node.version}")
        if isinstance(operation, SetData):
            node.data, node.mzxid, node.mtime, node.version = operation.data, zxid, transaction.time_ms, node.version + 1
            touched[operation.path] = None
            self._note(self._data_events, operation.path, zxid, EventType.DATA_CHANGED)
            return node.stat()
        if isinstance(operation, Delete):
            if node.children:
                raise Impossible("wrong-write", f"{operation} at {zxid:#x} of a znode with children")
            self._delete(operation.path, zxid, touched)
        return None

    def _create(self, operation: Create, transaction: Transaction, touched: dict[str, None]) -> Created:
        zxid, path = transaction.zxid, operation.path
        parent_path, parent = self._parent(path)
        if parent is None or parent.owner != NO_SESSION:
            raise Impossible("wrong-write", f"{operation} at {zxid:#x} below what cannot have children")
        if operation.sequential:
            path = f"{path}{parent.created:010d}"
        if path in self._nodes:
            raise Impossible("wrong-write", f"{operation} at {zxid:#x}, and {path} is there already")
        self._nodes[path] = _Znode(
            operation.data, transaction.session_id if operation.ephemeral else NO_SESSION, zxid, transaction.time_ms
        )
        parent.created += 1
        parent.pzxid = zxid
        parent.children[path.rpartition("/")[2]] = None
        touched[path] = touched[parent_path] = None
        self._note(self._data_events, path, zxid, EventType.CREATED)
        self._note(self._child_events, parent_path, zxid, EventType.CHILDREN_CHANGED)
        return Created(path, self._nodes[path].stat())

    def _delete(self, path: str, zxid: int, touched: dict[str, None]) -> None:
        del self._nodes[path]
        parent_path, parent = self._parent(path)
        assert parent is not None, path
        parent.deleted += 1
        parent.pzxid = zxid
        del parent.children[path.rpartition("/")[2]]
        touched[path] = touched[parent_path] = None
        self._note(self._data_events, path, zxid, EventType.DELETED)
        self._note(self._child_events, path, zxid, EventType.DELETED)
        self._note(self._child_events, parent_path, zxid, EventType.CHILDREN_CHANGED)

    def _parent(self, path: str) -> tuple[str, _Znode | None]:
        parent_path = path.rpartition("/")[0] or "/"
        return parent_path, self._nodes.get(parent_path)

    def _state(self, path: str, zxid: int) -> State:
        node = self._nodes.get(path)
        if node is None:
            return State(zxid, None, None, ())
        return State(zxid, node.data, node.stat(), tuple(sorted(node.children)))

    @staticmethod
    def _note(table: dict[str, list[Event]], path: str, zxid: int, kind: EventType) -> None:
        table.setdefault(path, []).append(Event(zxid, kind))
