"""What a broker sees of the coordinator: one session of a ZooKeeper-like service. The protocol alone.

Every call returns at once; its result is a `Pending` that settles on a later turn, also in-process. Results and watch events
arrive in the order in which the coordinator carried the requests out: a watcher hears of a change before any later answer
shows it. A write's answer comes when the write is durable. Errors are those of `coordinator.errors`; after `ConnectionLoss` it is
not known whether a write was carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

from fastlog.coordinator.tree import ANY_VERSION, Create, Operation, Result, SetData, Stat
from fastlog.coordinator.watches import WatchEvent
from fastlog.env.reactor import Pending
from fastlog.light import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


_OPERATION_OVERHEAD_BYTES: Final = 96


def request_bytes(operations: Sequence[Operation]) -> int:
    """Return about how many bytes a request of these operations takes on the wire, never less (ACL and headers included)."""
    return sum(
        _OPERATION_OVERHEAD_BYTES
        + len(operation.path.encode(errors="replace"))
        + (len(operation.data or b"") if isinstance(operation, Create | SetData) else 0)
        for operation in operations
    )


class SessionState(Enum):
    """What a session is told of itself."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    EXPIRED = "expired"


WatchCallback = Callable[[WatchEvent], object]
SessionCallback = Callable[[SessionState], object]


class CoordinatorClient(Protocol):
    """One session, and after it has expired the next.

    A watch callback is called once, then forgotten; equal callbacks on one znode are one. A lost connection (DISCONNECTED) leaves
    session, ephemeral znodes and watches as they are. A lost session (EXPIRED) leaves nothing of them, and what was asked fails
    with SessionExpired; the next session begins by itself, with CONNECTED.
    """

    @property
    def session_id(self) -> int:
        """The session's id: the owner of its ephemeral znodes."""

    def get(self, path: str, watch: WatchCallback | None = None) -> Pending[tuple[bytes | None, Stat]]:
        """Return a znode's data and stat; NoNode (and no watch is left) when it is not there."""

    def exists(self, path: str, watch: WatchCallback | None = None) -> Pending[Stat | None]:
        """Return a znode's stat or None; the watch is left in either case."""

    def children(self, path: str, watch: WatchCallback | None = None) -> Pending[tuple[list[str], Stat]]:
        """Return the names of a znode's children, sorted, and its own stat; NoNode."""

    def create(
        self, path: str, data: bytes | None = b"", *, ephemeral: bool = False, sequential: bool = False
    ) -> Pending[tuple[str, Stat]]:
        """Create a znode and return its path and stat; NodeExists, NoNode, NoChildrenForEphemerals."""

    def set(self, path: str, data: bytes | None, version: int = ANY_VERSION) -> Pending[Stat]:
        """Replace a znode's data; NoNode, BadVersion."""

    def delete(self, path: str, version: int = ANY_VERSION) -> Pending[None]:
        """Delete a znode; NoNode, BadVersion, NotEmpty."""

    def multi(self, operations: Sequence[Operation]) -> Pending[list[Result]]:
        """Carry out all operations as one transaction, or none: MultiFailed (of a single one, its own error)."""

    def on_session(self, callback: SessionCallback) -> None:
        """Call `callback(state)` whenever the session's state changes."""

    def close(self) -> Pending[None]:
        """End the session: its ephemeral znodes go, and its watches are forgotten."""
