"""The coordinator itself: it gives transactions their zxid and time, applies them, and answers when the journal holds them.

The tree is changed at once and therefore runs ahead of the disk. So nobody may see it: every answer and every watch event
waits in one queue until all that it could have seen is durable. What leaves is in order and never taken back. When the journal
fails, what waits fails with ConnectionLoss and so does everything after it.

`carry_out`, `look` and `when_visible` are for those who speak for many sessions; `write` and `read` join them to `Pending`s.
Containers and znodes with a time to live are looked at every `REAP_INTERVAL_MS`, by the wall clock, as their times are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from fastlog.coordinator.acl import OPEN_ACL, Acl, Identities
from fastlog.coordinator.errors import ConnectionLoss, CoordinatorError
from fastlog.coordinator.journal import JOURNAL_FILE_BYTES, Journal
from fastlog.coordinator.tree import (
    NO_PASSWORD,
    NO_SESSION,
    CloseSession,
    Delete,
    OpenSession,
    Operation,
    Request,
    Result,
    Transaction,
    Tree,
)
from fastlog.coordinator.watches import EventType, Watcher, Watches
from fastlog.env import Disk, Flusher, Random
from fastlog.env.reactor import Pending, Reactor, Timer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, TypeVar

    T = TypeVar("T")


REAP_INTERVAL_MS: Final = 1_000
REAPED_PER_TURN: Final = 500
"""How many are looked at, and perhaps deleted, in one turn of the reactor (up to ten milliseconds)."""


class Coordinator:
    """Tree, watches and journal joined."""

    def __init__(
        self,
        reactor: Reactor,
        disk: Disk,
        flusher: Flusher,
        random: Random,
        directory: str,
        journal_file_bytes: int = JOURNAL_FILE_BYTES,
    ) -> None:
        """Open the journal under `directory`, a new file each `journal_file_bytes`; CorruptJournal, OSError."""
        self.watches = Watches()
        self.on_lost: list[Callable[[], object]] = []
        """Called once when the coordinator can no longer write."""
        self.may_hear: Callable[[Watcher, Acl], bool] = lambda watcher, acl: True
        """Tells whether a watcher may be told of a znode with this access control list; not asked about open ones."""
        self._reactor = reactor
        self._random = random
        self._journal, self._tree = Journal.open(reactor, disk, flusher, directory)
        self._journal.file_bytes = journal_file_bytes
        self._journal.on_durable = self._release
        self._journal.on_failed = self._lost
        self._journal.snapshot_when_due(lambda: self._tree)
        self._outbox: deque[tuple[int, Callable[[], object], Pending[Any] | None]] = deque()
        self._reaper: Timer | None = None
        self._closed = False
        self._reap_later()

    @property
    def tree(self) -> Tree:
        """The tree, ahead of the disk: what is read from it is told by `when_visible` alone."""
        return self._tree

    @property
    def local_sessions(self) -> list[int]:
        """The ids of the living sessions of clients in a coordinator's own process, ascending."""
        return sorted(one for one, session in self._tree.sessions.items() if session.password == NO_PASSWORD)

    @property
    def failed(self) -> BaseException | None:
        """Why the coordinator can no longer write, if it cannot."""
        return self._journal.failed

    @property
    def is_all_durable(self) -> bool:
        """Tell whether everything in the tree is on disk."""
        return self._tree.zxid <= self._journal.durable_zxid

    # ---- for those who speak for many sessions ----

    def carry_out(self, session_id: int, request: Request, identities: Identities | None = None) -> list[Result]:
        """Carry a request out, journal it, and let the watches go; its CoordinatorError where that cannot be.

        `identities` are those of whoever asks, None for one who may do everything. Nobody may be told before `when_visible`.
        """
        if self.failed is not None:
            raise ConnectionLoss(detail=str(self.failed))
        if not isinstance(request, OpenSession | CloseSession):
            request = tuple(request)
        transaction = Transaction(self._tree.zxid + 1, self._reactor.clock.wall_ms(), session_id, request)
        results, changes = self._tree.apply(transaction, identities)
        self._journal.append(transaction)
        for change in changes:
            for watcher, event in self.watches.fire(change.type, change.path):
                acl = change.parent_acl if event.type is EventType.CHILDREN_CHANGED else change.acl
                if acl is OPEN_ACL or self.may_hear(watcher, acl):
                    self.when_visible(partial(watcher, event, transaction.zxid))
        self._reap_later()
        return results

    def when_visible(self, deliver: Callable[[], object], answer: Pending[Any] | None = None) -> None:
        """Call `deliver` when everything that the tree shows now is durable: at once, where it is.

        Calls are made in order. When the journal fails they are not made any more; `answer` then fails with ConnectionLoss.
        """
        if self._tree.zxid <= self._journal.durable_zxid:
            deliver()
        else:
            self._outbox.append((self._tree.zxid, deliver, answer))

    def new_session_id(self) -> int:
        """Return an id that no session has."""
        session_id = NO_SESSION
        while session_id == NO_SESSION or session_id in self._tree.sessions:
            session_id = int.from_bytes(self._random.random_bytes(8), "big") >> 1
        return session_id

    # ---- with results that come later ----

    def open_session(self, timeout_ms: int) -> tuple[int, Pending[None]]:
        """Begin a session of a client in this process; return its id and when it is durable."""
        session_id = self.new_session_id()
        return session_id, self.write(NO_SESSION, OpenSession(session_id, timeout_ms), _nothing)

    def close_session(self, session_id: int) -> Pending[None]:
        """End a session and delete its ephemeral znodes."""
        return self.write(NO_SESSION, CloseSession(session_id), _nothing)

    def write(self, session_id: int, request: Request, convert: Callable[[list[Result]], T]) -> Pending[T]:
        """Carry a request out; the answer, made of the results by `convert`, comes when it is durable."""
        return self._answer(lambda: convert(self.carry_out(session_id, request)))

    def read(self, question: Callable[[Tree], T]) -> Pending[T]:
        """Ask the tree; the answer comes when everything that it shows is durable."""
        return self._answer(lambda: question(self._tree))

    def _answer(self, find: Callable[[], T]) -> Pending[T]:
        answer: Pending[T] = self._reactor.pending()
        if self.failed is not None:
            answer.fail(ConnectionLoss(detail=str(self.failed)))
            return answer
        try:
            value = find()
        except CoordinatorError as error:
            self.when_visible(partial(answer.fail, error), answer)
        else:
            self.when_visible(partial(answer.complete, value), answer)
        return answer

    def close(self) -> Pending[None]:
        """Make everything durable and close the journal."""
        self._closed = True
        if self._reaper is not None:
            self._reaper.cancel()
        return self._journal.close()

    def _release(self, durable_zxid: int) -> None:
        while self._outbox and self._outbox[0][0] <= durable_zxid:
            try:
                self._outbox.popleft()[1]()
            except Exception as error:  # a mistake of ours, about one answer: neither the journal's nor the next one's matter
                self._reactor.on_unhandled(error)

    def _lost(self, error: BaseException) -> None:
        while self._outbox:
            _, _, answer = self._outbox.popleft()
            if answer is not None:
                answer.fail(ConnectionLoss(detail=str(error)))
        for callback in self.on_lost:
            callback()

    # ---- containers and times to live ----

    def _reap_later(self) -> None:
        if self._reaper is None and self._tree.has_reaped_kinds and not self._closed:
            self._reaper = self._reactor.call_later(REAP_INTERVAL_MS, self._begin_to_reap)

    def _begin_to_reap(self) -> None:
        self._reap(self._tree.reaped_kinds, 0)

    def _reap(self, paths: list[str], begin: int) -> None:
        """Look at some from `begin` on, and at the others on later turns."""
        if self.failed is not None or self._closed:
            return
        now_ms = self._reactor.clock.wall_ms()
        end = begin + REAPED_PER_TURN
        for path in paths[begin:end]:
            if self._tree.is_reapable(path, now_ms):
                operations: Sequence[Operation] = (Delete(path),)
                self.carry_out(NO_SESSION, operations)
        if end < len(paths):
            self._reaper = self._reactor.call_later(0, self._reap, paths, end)
        else:
            self._reaper = None
            self._reap_later()


def _nothing(results: list[Result]) -> None:
    return None
