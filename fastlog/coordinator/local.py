"""The coordinator inside the broker's own process: `CoordinatorClient` over a `Coordinator`, without a wire.

Its session has no password, so nobody else can attach to it. Only the process that holds the coordinator's directory has such
sessions: those that the journal still knows at the start belong to a process that is gone, and they are closed before the new
one opens. Sessions of clients outside have passwords and go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from fastlog.coordinator.client import SessionCallback, SessionState, WatchCallback, request_bytes
from fastlog.coordinator.errors import BadArguments, NoNode, SessionExpired
from fastlog.coordinator.jute import MAX_REQUEST_BYTES
from fastlog.coordinator.service import Coordinator
from fastlog.coordinator.tree import ANY_VERSION, Create, Created, Delete, Operation, Result, SetData, Stat, Tree
from fastlog.coordinator.watches import WatchEvent
from fastlog.env.reactor import Pending, Reactor

T = TypeVar("T")

LOCAL_SESSION_TIMEOUT_MS: Final = 18_000
"""Only recorded: a session in the same process can neither be silent nor be lost (Kafka's `zookeeper.session.timeout.ms`)."""


@dataclass(frozen=True, slots=True)
class _LocalWatch:
    """A session's watcher: equal for equal callbacks of one session, silent once the session is closed."""

    client: LocalClient
    callback: WatchCallback

    def __call__(self, event: WatchEvent, zxid: int, /) -> None:
        self.client.call_soon(self._tell, event)

    def _tell(self, event: WatchEvent) -> None:
        if not self.client.closed:
            self.callback(event)


class LocalClient:
    """One session of a coordinator in the same process."""

    def __init__(self, reactor: Reactor, coordinator: Coordinator) -> None:
        """Close the sessions of earlier processes and open one; `CONNECTED` is told when that is durable."""
        self.closed = False
        self._reactor = reactor
        self._coordinator = coordinator
        self._listeners: list[SessionCallback] = []
        coordinator.on_lost.append(lambda: self._tell(SessionState.DISCONNECTED))
        for stale in coordinator.local_sessions:
            coordinator.close_session(stale)
        self.session_id, opened = coordinator.open_session(LOCAL_SESSION_TIMEOUT_MS)
        opened.then(self._opened)

    def get(self, path: str, watch: WatchCallback | None = None) -> Pending[tuple[bytes | None, Stat]]:
        def question(tree: Tree) -> tuple[bytes | None, Stat]:
            found = tree.get(path)
            if watch is not None:
                self._coordinator.watches.watch_data(path, _LocalWatch(self, watch))
            return found

        return self._read(question)

    def exists(self, path: str, watch: WatchCallback | None = None) -> Pending[Stat | None]:
        def question(tree: Tree) -> Stat | None:
            try:
                found = tree.stat(path)
            except NoNode:
                found = None
            if watch is not None:
                self._coordinator.watches.watch_data(path, _LocalWatch(self, watch))
            return found

        return self._read(question)

    def children(self, path: str, watch: WatchCallback | None = None) -> Pending[tuple[list[str], Stat]]:
        def question(tree: Tree) -> tuple[list[str], Stat]:
            found = tree.children(path), tree.stat(path)
            if watch is not None:
                self._coordinator.watches.watch_children(path, _LocalWatch(self, watch))
            return found

        return self._read(question)

    def create(
        self, path: str, data: bytes | None = b"", *, ephemeral: bool = False, sequential: bool = False
    ) -> Pending[tuple[str, Stat]]:
        return self._write([Create(path, data, ephemeral, sequential)], _created)

    def set(self, path: str, data: bytes | None, version: int = ANY_VERSION) -> Pending[Stat]:
        return self._write([SetData(path, data, version)], _stat)

    def delete(self, path: str, version: int = ANY_VERSION) -> Pending[None]:
        return self._write([Delete(path, version)], _nothing)

    def multi(self, operations: Sequence[Operation]) -> Pending[list[Result]]:
        return self._write(operations, _all)

    def on_session(self, callback: SessionCallback) -> None:
        self._listeners.append(callback)

    def close(self) -> Pending[None]:
        if self.closed:
            return self._refused(SessionExpired(detail="the session is closed already"))
        self.closed = True
        self._coordinator.watches.forget(lambda watcher: isinstance(watcher, _LocalWatch) and watcher.client is self)
        return self._coordinator.close_session(self.session_id)

    def call_soon(self, callback: Callable[[WatchEvent], None], event: WatchEvent) -> None:
        """Call on the next turn, in the order of answers."""
        self._reactor.call_soon(callback, event)

    def _read(self, question: Callable[[Tree], T]) -> Pending[T]:
        if self.closed:
            return self._refused(SessionExpired(detail="the session is closed"))
        return self._coordinator.read(question)

    def _write(self, operations: Sequence[Operation], convert: Callable[[list[Any]], T]) -> Pending[T]:
        if self.closed:
            return self._refused(SessionExpired(detail="the session is closed"))
        size_bytes = request_bytes(operations)
        if size_bytes > MAX_REQUEST_BYTES:
            return self._refused(BadArguments(detail=f"a request of {size_bytes} bytes; the limit is {MAX_REQUEST_BYTES}"))
        return self._coordinator.write(self.session_id, operations, convert)

    def _refused(self, error: BaseException) -> Pending[Any]:
        refused: Pending[Any] = self._reactor.pending()
        refused.fail(error)
        return refused

    def _opened(self, opened: Pending[None]) -> None:
        try:
            opened.result()
        except Exception:
            return  # the coordinator tells DISCONNECTED by itself
        self._tell(SessionState.CONNECTED)

    def _tell(self, state: SessionState) -> None:
        for listener in self._listeners:
            self._reactor.call_soon(listener, state)


def _all(results: list[Result]) -> list[Result]:
    return results


def _created(results: list[Created]) -> tuple[str, Stat]:
    return results[0].path, results[0].stat


def _stat(results: list[Stat]) -> Stat:
    return results[0]


def _nothing(results: list[Result]) -> None:
    return None
