"""The tree of znodes: a deterministic state machine over transactions. Pure: no clock, no file, no callback.

The rules are ZooKeeper's (programmer's guide, "ZooKeeper Data Model"; checked against ZooKeeper 3.8 and 3.9):

* One transaction has one zxid, however many operations are in it, and is carried out whole or not at all; later operations
  see what earlier ones did.
* A znode's `version` counts changes of its data, its `aversion` those of its access control list. Its `cversion` counts children
  created and deleted; the sequence number of a sequential child counts only the created ones, so that it never comes again.
* `pzxid` is the last transaction that created or deleted a child. `mzxid` does not follow children.
* An ephemeral znode lives as long as its session and has no children. A container may be removed once its last child is gone, a
  znode with a time to live once it has no children and its data is that old; `is_reapable` tells, and somebody deletes them.
* Permissions are looked at only when the transaction is carried out the first time (`identities`): what was permitted stays so.
* `/zookeeper` and two znodes below it are there from the beginning and stay; the root too.

A transaction that fails changes nothing. Replaying the transactions that succeeded, in order, gives the same tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fastlog.coordinator.acl import OPEN_ACL, READ_ONLY_ACL, Acl, Identities, Permission, allows
from fastlog.coordinator.errors import (
    BadArguments,
    BadVersion,
    CoordinatorError,
    InvalidACL,
    MultiFailed,
    NoAuth,
    NoChildrenForEphemerals,
    NodeExists,
    NoNode,
    NotEmpty,
    SessionExpired,
)
from fastlog.coordinator.watches import EventType, parent_of
from fastlog.light import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


ANY_VERSION: Final = -1
NO_SESSION: Final = 0
MAX_TTL_MS: Final = 0xFF_FFFF_FFFF
CONTAINER_OWNER: Final = -(1 << 63)
"""What a container has in the place of an owner, which no stat shows."""
TTL_OWNER: Final = -(1 << 56)
"""What a znode with a time to live has there, its milliseconds added."""
_MAX_COUNT: Final = 0x7FFF_FFFF
BUILT_IN: Final = ("/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota")
"""Znodes that nobody creates and nobody deletes."""
NO_PASSWORD: Final = b""


class Create(NamedTuple):
    """Create a znode; a sequential one gets ten digits behind its path. `data` may be None, which is not the same as empty.

    A `ttl_ms` of 0 is none. An empty `acl` is refused.
    """

    path: str
    data: bytes | None = b""
    ephemeral: bool = False
    sequential: bool = False
    acl: Acl = OPEN_ACL
    container: bool = False
    ttl_ms: int = 0


class Delete(NamedTuple):
    """Delete a znode without children."""

    path: str
    version: int = ANY_VERSION


class SetData(NamedTuple):
    """Replace a znode's data."""

    path: str
    data: bytes | None
    version: int = ANY_VERSION


class SetAcl(NamedTuple):
    """Replace a znode's access control list; `version` is the expected `aversion`."""

    path: str
    acl: Acl
    version: int = ANY_VERSION


class Check(NamedTuple):
    """Go on only when a znode is there and has this version."""

    path: str
    version: int = ANY_VERSION


class OpenSession(NamedTuple):
    """Begin a session. One without a password belongs to a client in the coordinator's own process; nobody attaches to it."""

    session_id: int
    timeout_ms: int
    password: bytes = NO_PASSWORD


class CloseSession(NamedTuple):
    """End a session and delete its ephemeral znodes."""

    session_id: int


Operation = Create | Delete | SetData | SetAcl | Check
Request = Sequence[Operation] | OpenSession | CloseSession


class Transaction(NamedTuple):
    """A request with everything that the tree may not find out by itself. `session_id` owns the ephemeral znodes it creates;
    `NO_SESSION` is the coordinator itself.
    """

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
    acl: Acl
    czxid: int
    mzxid: int
    pzxid: int
    ctime_ms: int
    mtime_ms: int
    version: int
    aversion: int
    created_children: int
    ephemeral_owner: int


class Session(NamedTuple):
    """What is remembered of a living session."""

    timeout_ms: int
    password: bytes


class Created(NamedTuple):
    """The answer to a `Create`: the path with its sequence number, if any."""

    path: str
    stat: Stat


class Change(NamedTuple):
    """What happened to a znode, with its list and its parent's as they were: they say who may hear of it."""

    type: EventType
    path: str
    acl: Acl = OPEN_ACL
    parent_acl: Acl = OPEN_ACL


Result = Created | Stat | None

_ROOT: Final = Znode(b"", OPEN_ACL, 0, 0, 0, 0, 0, 0, 0, 0, NO_SESSION)
_CONFIG: Final = _ROOT._replace(acl=READ_ONLY_ACL, aversion=-1)
_FORBIDDEN: Final = "[\x00-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\U0010ffff]"
_BAD_PARTS: Final = ("//", "/./", "/../")
_BAD_ENDS: Final = ("/", "/.", "/..")


def check_path(path: str) -> None:
    """Raise BadArguments when `path` cannot name a znode."""
    if not path.startswith("/"):
        raise BadArguments(path, "a path begins with /")
    if path == "/":
        return
    if path.endswith(_BAD_ENDS) or any(part in path for part in _BAD_PARTS):
        raise BadArguments(path, "a path has no empty, '.' or '..' part and no / at its end")
    if path.isascii() and path.isprintable():
        return
    import re  # noqa: PLC0415 - hardly any path comes here

    found = re.search(_FORBIDDEN, path)
    if found:
        raise BadArguments(path, f"character {found[0]!r} is not allowed")


class Tree:
    """All znodes and sessions."""

    def __init__(self) -> None:
        self.zxid = 0
        self._nodes: dict[str, Znode] = {}
        self._children: dict[str, dict[str, None]] = {}
        self._sessions: dict[int, Session] = {}
        self._ephemerals: dict[int, dict[str, None]] = {}
        self._reaped: dict[str, None] = {}  # containers, and znodes with a time to live
        self._undo: list[tuple[str, Znode | None]] = []
        for path in BUILT_IN:
            self._place(path, _CONFIG if path == "/zookeeper/config" else _ROOT)

    # ---- reading ----

    def __contains__(self, path: str) -> bool:
        return path in self._nodes

    def get(self, path: str) -> tuple[bytes | None, Stat]:
        """Return a znode's data and stat."""
        return self._node(path).data, self.stat(path)

    def stat(self, path: str) -> Stat:
        """Return a znode's stat."""
        node = self._nodes.get(path) or self._node(path)
        children = len(self._children.get(path, ()))
        data = node.data
        return Stat(
            node.czxid,
            node.mzxid,
            node.ctime_ms,
            node.mtime_ms,
            node.version,
            2 * node.created_children - children,
            node.aversion,
            max(node.ephemeral_owner, NO_SESSION),
            0 if data is None else len(data),
            children,
            node.pzxid,
        )

    def acl(self, path: str) -> Acl:
        """Return a znode's access control list."""
        return self._node(path).acl

    def children(self, path: str) -> list[str]:
        """Return the names of a znode's children, sorted."""
        self._node(path)
        return sorted(self._children.get(path, ()))

    def count_below(self, path: str) -> int:
        """Return how many znodes are below one, at any depth."""
        self._node(path)
        count, waiting = 0, [path]
        while waiting:
            parent = waiting.pop()
            names = self._children.get(parent, ())
            count += len(names)
            prefix = "/" if parent == "/" else parent + "/"
            waiting.extend(prefix + name for name in names if prefix + name in self._children)
        return count

    def ephemerals(self, session_id: int) -> list[str]:
        """Return the paths of a session's ephemeral znodes, sorted."""
        return sorted(self._ephemerals.get(session_id, ()))

    @property
    def reaped_kinds(self) -> list[str]:
        """The containers and the znodes with a time to live, in the order in which they came."""
        return list(self._reaped)

    def is_reapable(self, path: str, now_ms: int) -> bool:
        """Tell whether there is a container or a znode with a time to live whose time has come; `now_ms` is wall time."""
        if path not in self._reaped or path in self._children:
            return False
        node = self._nodes[path]
        if node.ephemeral_owner == CONTAINER_OWNER:
            return node.created_children > 0
        return now_ms - node.mtime_ms > node.ephemeral_owner - TTL_OWNER

    @property
    def has_reaped_kinds(self) -> bool:
        """Tell whether there is any container or znode with a time to live."""
        return bool(self._reaped)

    @property
    def sessions(self) -> Mapping[int, Session]:
        """The living sessions by their ids."""
        return self._sessions

    @property
    def nodes(self) -> Mapping[str, Znode]:
        """All znodes by path, parents before children; a znode is replaced, never changed, so a copy of the mapping is a copy of
        the tree.
        """
        return self._nodes

    def _node(self, path: str) -> Znode:
        node = self._nodes.get(path)
        if node is None:
            check_path(path)
            raise NoNode(path)
        return node

    # ---- writing ----

    def apply(self, transaction: Transaction, identities: Identities | None = None) -> tuple[list[Result], list[Change]]:
        """Carry out the next transaction; return a result for each operation, and what changed, in order.

        `identities` are those of whoever asks; None for one who may do everything. Raises a CoordinatorError and changes nothing
        when it cannot be carried out: for several operations a MultiFailed, for a single one the error itself.
        """
        assert transaction.zxid > self.zxid, f"transaction {transaction.zxid:#x} after {self.zxid:#x}"
        request = transaction.request
        results: list[Result] = []
        changes: list[Change] = []
        if isinstance(request, OpenSession):
            self._sessions[request.session_id] = Session(request.timeout_ms, request.password)
        elif isinstance(request, CloseSession):
            self._close_session(request.session_id, transaction, changes)
        else:
            self._apply_all(request, transaction, identities, results, changes)
        self.zxid = transaction.zxid
        return results, changes

    def _apply_all(
        self,
        operations: tuple[Operation, ...],
        transaction: Transaction,
        identities: Identities | None,
        results: list[Result],
        changes: list[Change],
    ) -> None:
        session_id = transaction.session_id
        if session_id != NO_SESSION and session_id not in self._sessions:
            raise SessionExpired(detail=f"{session_id:#x}")
        self._undo.clear()
        for index, operation in enumerate(operations):
            try:
                results.append(self._apply_one(operation, transaction, identities, changes))
            except CoordinatorError as error:
                self._roll_back()
                if len(operations) == 1:
                    raise
                raise MultiFailed(index, error) from error
        self._undo.clear()

    def _apply_one(
        self, operation: Operation, transaction: Transaction, identities: Identities | None, changes: list[Change]
    ) -> Result:
        zxid = transaction.zxid
        match operation:
            case Create():
                return self._create(operation, transaction, identities, changes)
            case Delete(path, version):
                if path in BUILT_IN:
                    raise BadArguments(path, "it stays")
                if "/" not in path or "\0" in path:
                    check_path(path)
                if parent_of(path) not in self._nodes:  # also where no znode can have that path, unlike in other operations
                    raise NoNode(path)
                self._permit(parent_of(path), Permission.DELETE, identities, path)
                node = self._nodes.get(path)
                if node is None:
                    raise NoNode(path)
                self._expect(path, node.version, version)
                if path in self._children:
                    raise NotEmpty(path)
                self._delete(path, zxid, changes)
                return None
            case SetData(path, data, version):
                node = self._node(path)
                self._permit(path, Permission.WRITE, identities, path)
                self._expect(path, node.version, version)
                self._put(path, node._replace(data=data, mzxid=zxid, mtime_ms=transaction.time_ms, version=_next(node.version)))
                changes.append(Change(EventType.DATA_CHANGED, path, node.acl))
                return self.stat(path)
            case SetAcl(path, acl, version):
                check_path(path)
                if not acl:
                    raise InvalidACL(path)
                node = self._node(path)
                self._permit(path, Permission.ADMIN, identities, path)
                self._expect(path, node.aversion, version)
                self._put(path, node._replace(acl=acl, aversion=_next(node.aversion)))
                return self.stat(path)
            case Check(path, version):
                node = self._node(path)
                self._permit(path, Permission.READ, identities, path)
                self._expect(path, node.version, version)
                return None

    @staticmethod
    def _expect(path: str, version: int, expected: int) -> None:
        if expected not in (ANY_VERSION, version):
            raise BadVersion(path, f"is {version}, not {expected}")

    def _permit(self, path: str, permission: int, identities: Identities | None, about: str) -> None:
        acl = self._nodes[path].acl
        if acl is not OPEN_ACL and identities is not None and not allows(acl, permission, identities):
            raise NoAuth(about)

    def _create(
        self, operation: Create, transaction: Transaction, identities: Identities | None, changes: list[Change]
    ) -> Created:
        path = operation.path
        if not 0 <= operation.ttl_ms <= MAX_TTL_MS:
            raise BadArguments(path, f"a time to live of {operation.ttl_ms} ms")
        if "/" not in path or "\0" in path:
            check_path(path)
        if not operation.acl:
            raise InvalidACL(path)
        parent_path = parent_of(path)
        parent = self._nodes.get(parent_path)
        if parent is None:  # also where no znode can have that path
            raise NoNode(path, "has no parent")
        self._permit(parent_path, Permission.CREATE, identities, path)
        if operation.sequential:
            path = f"{path}{parent.created_children:010d}"
        check_path(path)
        if path in self._nodes:
            raise NodeExists(path)
        if parent.ephemeral_owner > NO_SESSION:
            raise NoChildrenForEphemerals(path)
        zxid, now_ms = transaction.zxid, transaction.time_ms
        if operation.ephemeral:
            owner = transaction.session_id
        elif operation.container:
            owner = CONTAINER_OWNER
        else:
            owner = TTL_OWNER + operation.ttl_ms if operation.ttl_ms else NO_SESSION
        self._put(path, Znode(operation.data, operation.acl, zxid, zxid, zxid, now_ms, now_ms, 0, 0, 0, owner))
        self._put(parent_path, parent._replace(created_children=_next(parent.created_children), pzxid=zxid))
        changes.append(Change(EventType.CREATED, path, operation.acl, parent.acl))
        return Created(path, self.stat(path))

    def _delete(self, path: str, zxid: int, changes: list[Change]) -> None:
        acl = self._nodes[path].acl
        self._put(path, None)
        parent_path = parent_of(path)
        parent = self._nodes[parent_path]
        self._put(parent_path, parent._replace(pzxid=zxid))
        changes.append(Change(EventType.DELETED, path, acl, parent.acl))

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
            self._disown(path, before.ephemeral_owner)
        if node is None:
            self._nodes.pop(path, None)
            return
        self._nodes[path] = node
        if node.ephemeral_owner > NO_SESSION:
            self._ephemerals.setdefault(node.ephemeral_owner, {})[path] = None
        elif node.ephemeral_owner < NO_SESSION:
            self._reaped[path] = None

    def _disown(self, path: str, owner: int) -> None:
        if owner < NO_SESSION:
            del self._reaped[path]
            return
        del self._ephemerals[owner][path]
        if not self._ephemerals[owner]:
            del self._ephemerals[owner]

    def _roll_back(self) -> None:
        while self._undo:
            self._place(*self._undo.pop())

    # ---- the whole of it ----

    @classmethod
    def restore(cls, zxid: int, nodes: Iterable[tuple[str, Znode]], sessions: Mapping[int, Session]) -> Tree:
        """Return the tree that had these `nodes` (parents before children) and `sessions` at `zxid`; ValueError if none can."""
        tree = cls()
        tree.zxid = zxid
        tree._sessions = dict(sessions)
        for path, node in nodes:
            if path != "/" and parent_of(path) not in tree._nodes:
                raise ValueError(f"znode {path} without its parent")
            tree._place(path, node)
        return tree


def _next(count: int) -> int:
    """Return a version's successor; it wraps around as 32 bits do, but never to -1, which means any version."""
    return count + 1 if count < _MAX_COUNT else 0
