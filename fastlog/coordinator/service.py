"""The coordinator itself: it gives transactions their zxid and time, applies them, and answers when the journal holds them.

The tree is changed at once and therefore runs ahead of the disk. So nobody may see it: every answer and every watch event
waits in one queue until all that it could have seen is durable. What leaves is in order and never taken back. When the journal
fails, what waits fails with ConnectionLoss and so does everything after it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from fastlog.coordinator.errors import ConnectionLoss, CoordinatorError
from fastlog.coordinator.journal import Journal
from fastlog.coordinator.tree import NO_SESSION, CloseSession, OpenSession, Request, Result, Transaction, Tree
from fastlog.coordinator.watches import Watches
from fastlog.env import Disk, Flusher, Random
from fastlog.env.reactor import Pending, Reactor

T = TypeVar("T")


class Coordinator:
    """Tree, watches and journal joined."""

    def __init__(self, reactor: Reactor, disk: Disk, flusher: Flusher, random: Random, directory: str) -> None:
        """Open the journal under `directory`; CorruptJournal, OSError."""
        self.watches = Watches()
        self.on_lost: Callable[[], object] = lambda: None
        """Called once when the coordinator can no longer write."""
        self._reactor = reactor
        self._random = random
        self._journal, self._tree = Journal.open(reactor, disk, flusher, directory)
        self._journal.on_durable = self._release
        self._journal.on_failed = self._lost
        self._journal.snapshot_when_due(lambda: self._tree)
        self._outbox: deque[tuple[int, Callable[[], object], Pending[Any] | None]] = deque()

    @property
    def sessions(self) -> list[int]:
        """The ids of the living sessions, ascending."""
        return sorted(self._tree.sessions)

    @property
    def failed(self) -> BaseException | None:
        """Why the coordinator can no longer write, if it cannot."""
        return self._journal.failed

    def open_session(self, timeout_ms: int) -> tuple[int, Pending[None]]:
        """Begin a session; return its id and when it is durable."""
        session_id = NO_SESSION
        while session_id == NO_SESSION or session_id in self._tree.sessions:
            session_id = int.from_bytes(self._random.random_bytes(8), "big") >> 1
        return session_id, self.write(NO_SESSION, OpenSession(session_id, timeout_ms), _nothing)

    def close_session(self, session_id: int) -> Pending[None]:
        """End a session and delete its ephemeral znodes."""
        return self.write(NO_SESSION, CloseSession(session_id), _nothing)

    def write(self, session_id: int, request: Request, convert: Callable[[list[Result]], T]) -> Pending[T]:
        """Carry a request out; the answer, made of the results by `convert`, comes when it is durable."""
        answer: Pending[T] = self._reactor.pending()
        if self.failed is not None:
            answer.fail(ConnectionLoss(detail=str(self.failed)))
            return answer
        if not isinstance(request, OpenSession | CloseSession):
            request = tuple(request)
        transaction = Transaction(self._tree.zxid + 1, self._reactor.clock.wall_ms(), session_id, request)
        try:
            results, changes = self._tree.apply(transaction)
        except CoordinatorError as error:
            self._send(partial(answer.fail, error), answer)
            return answer
        self._journal.append(transaction)
        for change, path in changes:
            for watcher, event in self.watches.fire(change, path):
                self._send(partial(self._reactor.call_soon, watcher, event), None)
        self._send(partial(answer.complete, convert(results)), answer)
        return answer

    def read(self, question: Callable[[Tree], T]) -> Pending[T]:
        """Ask the tree; the answer comes when everything that it shows is durable."""
        answer: Pending[T] = self._reactor.pending()
        if self.failed is not None:
            answer.fail(ConnectionLoss(detail=str(self.failed)))
            return answer
        try:
            value = question(self._tree)
        except CoordinatorError as error:
            self._send(partial(answer.fail, error), answer)
        else:
            self._send(partial(answer.complete, value), answer)
        return answer

    def close(self) -> Pending[None]:
        """Make everything durable and close the journal."""
        return self._journal.close()

    def _send(self, deliver: Callable[[], object], answer: Pending[Any] | None) -> None:
        if self._tree.zxid <= self._journal.durable_zxid:
            deliver()
        else:
            self._outbox.append((self._tree.zxid, deliver, answer))

    def _release(self, durable_zxid: int) -> None:
        while self._outbox and self._outbox[0][0] <= durable_zxid:
            self._outbox.popleft()[1]()

    def _lost(self, error: BaseException) -> None:
        while self._outbox:
            _, _, answer = self._outbox.popleft()
            if answer is not None:
                answer.fail(ConnectionLoss(detail=str(error)))
        self.on_lost()


def _nothing(results: list[Result]) -> None:
    return None
