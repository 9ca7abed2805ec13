"""The tree of znodes: a deterministic state machine over transactions. Pure: no clock, no file, no callback.

The rules are ZooKeeper's (programmer's guide, "ZooKeeper Data Model"; checked against ZooKeeper 3.8):

* One transaction has one zxid, however many operations are in it, and is carried out whole or not at all; later operations
  see what earlier ones did.
* A znode's `version` counts changes of its data. Its `cversion` counts children created and deleted; the sequence number of
  a sequential child counts only the created ones, so that it never comes again.
* `pzxid` is the last transaction that created or deleted a child. `mzxid` does not follow children.
* An ephemeral znode lives as long as its session and has no children.

A transaction that fails changes nothing. Replaying the transactions that succeeded, in order, gives the same tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from fastlog.coordinator.errors import (
    BadArguments,
    BadVersion,
    CoordinatorError,
    MultiFailed,
    NoChildrenForEphemerals,
    NodeExists,
    NoNode,
    NotEmpty,
    SessionExpired,
)
from fastlog.coordinator.watches import EventType, parent_of

ANY_VERSION = -1
NO_SESSION = 0


class Create(NamedTuple):
    """Create a znode; a sequential one gets ten digits behind its path. `data` may be None, which is not the same as empty."""

    path: str
    data: bytes | None = b""
    ephemeral: bool = False
    sequential: bool = False


class Delete(NamedTuple):
    """Delete a znode without children."""

    path: str
    version: int = ANY_VERSION


class SetData(NamedTuple):
    """Replace a znode's data."""

    path: str
    data: bytes | None
    version: int = ANY_VERSION


class Check(NamedTuple):
    """Go on only when a znode is there and has this version."""

    path: str
    version: int = ANY_VERSION


class OpenSession(NamedTuple):
    """Begin a session."""

    session_id: int
    timeout_ms: int


class CloseSession(NamedTuple):
    """End a session and delete its ephemeral znodes."""

    session_id: int


Operation = Create | Delete | SetData | Check
Request = Sequence[Operation] | OpenSession | CloseSession


class Transaction(NamedTuple):
    """A request with everything that the tree may not find out by itself. `session_id` owns the ephemeral znodes it creates."""

    zxid: int
    time_ms: int
    session_id: int
    request: tuple[Operation, ...] | OpenSession | CloseSession


class Stat(NamedTuple):
    """What is known of a znode beside its data, in the protocol's order."""

    czxid: int
    mzxid: int
    ctime_ms: int
    mtime_ms: int
    version: int
    cversion: int
    aversion: int
    ephemeral_owner: int
    data_length: int
    num_children: int
    pzxid: int


class Znode(NamedTuple):
    """A znode as it is stored. `created_children` counts creations alone."""

    data: bytes | None
    czxid: int
    mzxid: int
    pzxid: int
    ctime_ms: int
    mtime_ms: int
    version: int
    created_children: int
    ephemeral_owner: int


class Created(NamedTuple):
    """The answer to a `Create`: the path with its sequence number, if any."""

    path: str
    stat: Stat


Result = Created | Stat | None
Change = tuple[EventType, str]

_ROOT = Znode(b"", 0, 0, 0, 0, 0, 0, 0, NO_SESSION)


def check_path(path: str, *, sequential: bool = False) -> None:
    """Raise BadArguments when `path` cannot name a znode."""
    name = path + "1" if sequential else path
    if not name.startswith("/"):
        raise BadArguments(path, "a path begins with /")
    if name == "/":
        return
    for part in name[1:].split("/"):
        if part in ("", ".", ".."):
            raise BadArguments(path, "a path has no empty, '.' or '..' part and no / at its end")
    for character in name:
        if character <= "\x1f" or "\x7f" <= character <= "\x9f" or "\ud800" <= character <= "\uf8ff" or character >= "\ufff0":
            raise BadArguments(path, f"character {character!r} is not allowed")


class Tree:
    """All znodes and sessions."""

    def __init__(self) -> None:
        self.zxid = 0
        self._nodes: dict[str, Znode] = {"/": _ROOT}
        self._children: dict[str, dict[str, None]] = {}
        self._sessions: dict[int, int] = {}
        self._ephemerals: dict[int, dict[str, None]] = {}
        self._undo: list[tuple[str, Znode | None]] = []

    # ---- reading ----

    def __contains__(self, path: str) -> bool:
        return path in self._nodes

    def get(self, path: str) -> tuple[bytes | None, Stat]:
        """Return a znode's data and stat."""
        return self._node(path).data, self.stat(path)

    def stat(self, path: str) -> Stat:
        """Return a znode's stat."""
        node = self._node(path)
        children = len(self._children.get(path, ()))
        return Stat(
            node.czxid,
            node.mzxid,
            node.ctime_ms,
            node.mtime_ms,
            node.version,
            2 * node.created_children - children,
            0,
            node.ephemeral_owner,
            len(node.data or b""),
            children,
            node.pzxid,
        )

    def children(self, path: str) -> list[str]:
        """Return the names of a znode's children, sorted."""
        self._node(path)
        return sorted(self._children.get(path, ()))

    @property
    def sessions(self) -> Mapping[int, int]:
        """The living sessions' ids and timeouts in milliseconds."""
        return self._sessions

    @property
    def nodes(self) -> Mapping[str, Znode]:
        """All znodes by path; a znode is replaced, never changed, so a copy of the mapping is a copy of the tree."""
        return self._nodes

    def _node(self, path: str) -> Znode:
        node = self._nodes.get(path)
        if node is None:
            check_path(path)
            raise NoNode(path)
        return node

    # ---- writing ----

    def apply(self, transaction: Transaction) -> tuple[list[Result], list[Change]]:
        """Carry out the next transaction; return a result for each operation, and what changed, in order.

        Raises a CoordinatorError and changes nothing when it cannot be carried out: for several operations a MultiFailed, for a
        single one the error itself.
        """
        assert transaction.zxid > self.zxid, f"transaction {transaction.zxid:#x} after {self.zxid:#x}"
        request = transaction.request
        results: list[Result] = []
        changes: list[Change] = []
        if isinstance(request, OpenSession):
            self._sessions[request.session_id] = request.timeout_ms
        elif isinstance(request, CloseSession):
            self._close_session(request.session_id, transaction, changes)
        else:
            self._apply_all(request, transaction, results, changes)
        self.zxid = transaction.zxid
        return results, changes

    def _apply_all(
        self, operations: tuple[Operation, ...], transaction: Transaction, results: list[Result], changes: list[Change]
    ) -> None:
        if transaction.session_id not in self._sessions:
            raise SessionExpired(detail=f"{transaction.session_id:#x}")
        self._undo.clear()
        for index, operation in enumerate(operations):
            try:
                results.append(self._apply_one(operation, transaction, changes))
            except CoordinatorError as error:
                self._roll_back()
                if len(operations) == 1:
                    raise
                raise MultiFailed(index, error) from error
        self._undo.clear()

    def _apply_one(self, operation: Operation, transaction: Transaction, changes: list[Change]) -> Result:
        match operation:
            case Create():
                return self._create(operation, transaction, changes)
            case Delete(path, version):
                self._expect(path, version)
                if path == "/":
                    raise BadArguments(path, "the root stays")
                if self._children.get(path):
                    raise NotEmpty(path)
                self._delete(path, transaction.zxid, changes)
                return None
            case SetData(path, data, version):
                node = self._expect(path, version)
                self._put(
                    path,
                    node._replace(data=data, mzxid=transaction.zxid, mtime_ms=transaction.time_ms, version=node.version + 1),
                )
                changes.append((EventType.DATA_CHANGED, path))
                return self.stat(path)
            case Check(path, version):
                self._expect(path, version)
                return None

    def _expect(self, path: str, version: int) -> Znode:
        node = self._node(path)
        if version not in (ANY_VERSION, node.version):
            raise BadVersion(path, f"is {node.version}, not {version}")
        return node

    def _create(self, operation: Create, transaction: Transaction, changes: list[Change]) -> Created:
        check_path(operation.path, sequential=operation.sequential)
        if operation.path == "/":
            raise NodeExists("/")
        parent_path = parent_of(operation.path)
        parent = self._nodes.get(parent_path)
        if parent is None:
            raise NoNode(operation.path, "has no parent")
        path = f"{operation.path}{parent.created_children:010d}" if operation.sequential else operation.path
        if path in self._nodes:
            raise NodeExists(path)
        if parent.ephemeral_owner != NO_SESSION:
            raise NoChildrenForEphemerals(path)
        zxid, now_ms = transaction.zxid, transaction.time_ms
        owner = transaction.session_id if operation.ephemeral else NO_SESSION
        self._put(path, Znode(operation.data, zxid, zxid, zxid, now_ms, now_ms, 0, 0, owner))
        self._put(parent_path, parent._replace(created_children=parent.created_children + 1, pzxid=zxid))
        changes.append((EventType.CREATED, path))
        return Created(path, self.stat(path))

    def _delete(self, path: str, zxid: int, changes: list[Change]) -> None:
        self._put(path, None)
        parent_path = parent_of(path)
        self._put(parent_path, self._nodes[parent_path]._replace(pzxid=zxid))
        changes.append((EventType.DELETED, path))

    def _close_session(self, session_id: int, transaction: Transaction, changes: list[Change]) -> None:
        if session_id not in self._sessions:
            raise SessionExpired(detail=f"{session_id:#x}")
        for path in sorted(self._ephemerals.get(session_id, ())):
            self._delete(path, transaction.zxid, changes)
        del self._sessions[session_id]
        self._undo.clear()

    # ---- the only two functions that touch a znode ----

    def _put(self, path: str, node: Znode | None) -> None:
        """Set or remove a znode, its place among its siblings and among its session's ephemerals; remember what was there."""
        self._undo.append((path, self._nodes.get(path)))
        self._place(path, node)

    def _place(self, path: str, node: Znode | None) -> None:
        before = self._nodes.get(path)
        if path != "/" and (before is None) is not (node is None):
            parent, name = parent_of(path), path[path.rindex("/") + 1 :]
            if node is not None:
                self._children.setdefault(parent, {})[name] = None
            else:
                del self._children[parent][name]
                if not self._children[parent]:
                    del self._children[parent]
        if before is not None and before.ephemeral_owner != NO_SESSION:
            del self._ephemerals[before.ephemeral_owner][path]
            if not self._ephemerals[before.ephemeral_owner]:
                del self._ephemerals[before.ephemeral_owner]
        if node is None:
            self._nodes.pop(path, None)
            return
        self._nodes[path] = node
        if node.ephemeral_owner != NO_SESSION:
            self._ephemerals.setdefault(node.ephemeral_owner, {})[path] = None

    def _roll_back(self) -> None:
        while self._undo:
            self._place(*self._undo.pop())

    # ---- the whole of it ----

    @classmethod
    def restore(cls, zxid: int, nodes: Iterable[tuple[str, Znode]], sessions: Mapping[int, int]) -> Tree:
        """Return the tree that had these `nodes` (parents before children) and `sessions` at `zxid`; ValueError if none can."""
        tree = cls()
        tree.zxid = zxid
        tree._sessions = dict(sessions)
        for path, node in nodes:
            if path != "/" and parent_of(path) not in tree._nodes:
                raise ValueError(f"znode {path} without its parent")
            tree._place(path, node)
        return tree
