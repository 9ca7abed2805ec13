"""What must hold of a coordinator, whatever happens. Every answer and event that a client gets passes here.

The truth is the sequence of transactions in the journal, as it is on the simulated drive; what they make of znodes is computed
apart (`znodes`). What somebody was told of, directly or by what it showed, is *visible*, and must stay. The anomalies:

* lost-write: what an answer acknowledged, or an answer or event showed, is not among the transactions, or no longer after a
  restart; or znodes are not what the transactions made of them.
* session-resurrected: a session that has ended is alive, writes, ends again, or owns a znode.
* session-lost: a client is told that its session is over, and nobody ended it. session-ended-early: it was ended although its
  timeout had not passed since a request that was answered (monotonic time: jumps of the wall clock count for nothing).
* ephemeral-left-behind: a session is over or overdue, and its znode or itself is still there. ephemeral-lost: the reverse.
* zxid: a write's zxid is not above all that were visible before it was sent, or transactions do not follow each other.
* sequence-reused: a sequential znode does not get the next number.
* watch-lost: a change was not told that should have been. watch-late: nor was it before an answer that was made after it.
  watch-early: something was told that had not happened, or had been seen when the watch was left. watch-twice.
* stale-read: an answer shows what was never so, or not since it was asked. wrong-refusal: the same of a refusal.
* wrong-write, phantom-write: a transaction that should have been refused, was refused, or that nobody asked for as often.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from fastlog.coordinator.errors import (
    BadVersion,
    CoordinatorError,
    MultiFailed,
    NodeExists,
    NoNode,
    NotEmpty,
)
from fastlog.coordinator.tree import NO_SESSION, CloseSession, Create, Created, OpenSession, Operation, Result, Stat, Transaction
from fastlog.coordinator.watches import EventType, WatchEvent
from fastlog.sim.coordinator.watch import Watch
from fastlog.sim.coordinator.znodes import Impossible, State, Znodes
from fastlog.sim.violation import Verdict

if TYPE_CHECKING:
    from fastlog.coordinator.tree import Tree

NANOSECONDS_PER_MILLISECOND = 1_000_000
CLOCK_SLACK_NS = NANOSECONDS_PER_MILLISECOND
"""A turn of a process takes time, and its clock runs ahead in it."""


class Holder(Protocol):
    """Who has a session: a client, as far as the checker wants to know it."""

    name: str
    sessions: dict[int, None]
    """All that it has had, the newest last."""
    watches: list[Watch]
    """Those of the newest session that were not told, as far as it knows."""
    floor: int
    """What was visible when the connection was lost the last time."""


class Asked:
    """A request that a client sends now, and what was visible then."""

    __slots__ = ("floor", "operations", "sent_ns")

    def __init__(self, operations: tuple[Operation, ...], floor: int, sent_ns: int) -> None:
        self.operations = operations
        self.floor = floor
        self.sent_ns = sent_ns


class CoordinatorChecker(Verdict):
    """Takes the events of one run and raises `Violation` at the first that may not be."""

    def __init__(self) -> None:
        super().__init__()
        self.znodes = Znodes()
        self.visible_zxid = 0
        """The greatest zxid that anybody was told of."""
        self.acknowledged_count = 0
        self.read_count = 0
        self.refused_count = 0
        self.told_count = 0
        self.expired_count = 0
        self.forgotten_count = 0
        """Transactions that nobody was told of and that a crash took."""
        self._shown_by = ""
        self._transactions: list[Transaction] = []
        self._by_operations: dict[tuple[Operation, ...], list[int]] = {}
        self._claimed: dict[int, None] = {}
        self._wanted: dict[tuple[Operation, ...], int] = {}
        """How often each write may have been carried out at most."""
        self._timeouts_ms: dict[int, int] = {}
        self._expired_ns: dict[int, int] = {}
        """When sessions were ended that their clients did not end."""
        self._alive_ns: dict[int, int] = {}
        """When the newest request of a session was sent that has an answer."""
        self._closing: dict[int, None] = {}
        """Sessions that their clients end themselves."""

    def _show(self, zxid: int, by: str) -> None:
        """Take it that somebody was told of a transaction, and so of all before it."""
        if zxid > self.visible_zxid:
            self.visible_zxid, self._shown_by = zxid, by

    # ---- the journal

    def journaled(self, transactions: Sequence[Transaction], now_ns: int) -> None:
        """Take what was appended to the journal."""
        for transaction in transactions:
            self._apply(transaction)
            request = transaction.request
            if isinstance(request, OpenSession):
                self._timeouts_ms[request.session_id] = request.timeout_ms
            elif isinstance(request, CloseSession) and request.session_id not in self._closing:
                self.expired_count += 1
                self._expired_ns[request.session_id] = now_ns
                self._check_not_early(request.session_id)

    def _apply(self, transaction: Transaction) -> None:
        try:
            self.znodes.apply(transaction)
        except Impossible as wrong:
            self.fail(wrong.kind, str(wrong))
        self._transactions.append(transaction)
        if not isinstance(transaction.request, OpenSession | CloseSession):
            self._by_operations.setdefault(transaction.request, []).append(transaction.zxid)

    def restarted(self, on_disk: Sequence[Transaction], tree: Tree, now_ns: int) -> None:
        """Hold what a coordinator has found at its start, and what is on its disk, against all that was before."""
        if tree.zxid < self.visible_zxid:
            lost = self._transactions[tree.zxid : self.visible_zxid]
            kind = "session-resurrected" if any(isinstance(one.request, CloseSession) for one in lost) else "lost-write"
            if self._shown_by.startswith("an event"):
                kind = "watch-early"
            self.fail(kind, f"{self._shown_by} showed {self.visible_zxid:#x}, after the restart there is only {tree.zxid:#x}")
        found = self._transactions[: tree.zxid]
        for transaction in on_disk:
            if transaction.zxid > tree.zxid:
                continue
            del found[transaction.zxid :]
            if transaction.zxid == len(found) + 1:
                found.append(transaction)
            elif found[transaction.zxid - 1] != transaction:
                found[transaction.zxid - 1] = transaction
        self._adopt(found, now_ns)
        if self.znodes.zxid != tree.zxid:
            self.fail("lost-write", f"the tree is as of {tree.zxid:#x}, the journal ends at {self.znodes.zxid:#x}")
        self.compare(tree)

    def _adopt(self, found: Sequence[Transaction], now_ns: int) -> None:
        """Let the truth be these transactions; what was visible stays."""
        before = self._transactions
        same = next((index for index, (old, new) in enumerate(zip(before, found, strict=False)) if old != new), None)
        if same is None:
            same = min(len(before), len(found))
        if same < self.visible_zxid:
            self.fail(
                "lost-write", f"transaction {same + 1:#x} was {before[same]}, and is {found[same : same + 1]} after the restart"
            )
        if same < len(before):
            self.forgotten_count += len(before) - same
            self.znodes, self._transactions, self._by_operations = Znodes(), [], {}
            for transaction in before[:same]:
                self._apply(transaction)
            for session_id in [one for one in self._expired_ns if one not in self.znodes.closed]:
                del self._expired_ns[session_id]
        self.journaled(found[same:], now_ns)

    def compare(self, tree: Tree) -> None:
        """Hold a tree against what the transactions make."""
        znodes = self.znodes
        for session_id in tree.sessions:
            if session_id not in znodes.sessions:
                self.fail("session-resurrected", f"session {session_id:#x} is there, and has ended")
        for session_id in znodes.sessions:
            if session_id not in tree.sessions:
                self.fail("session-lost", f"session {session_id:#x} is not there, and nobody ended it")
        for path in sorted({**dict.fromkeys(znodes.paths()), **dict.fromkeys(tree.nodes)}, reverse=True):  # children first
            data, stat = tree.get(path) if path in tree else (None, None)
            expected = znodes.state(path)
            if stat != expected.stat or data != expected.data:
                self._fail_state(path, stat, f"the tree has {data!r} {stat}", expected)

    def _fail_state(self, path: str, stat: Stat | None, what: str, expected: State) -> None:
        if stat is not None and stat.ephemeral_owner in self.znodes.closed:
            kind = "ephemeral-left-behind"
        elif stat is None and expected.stat is not None and expected.stat.ephemeral_owner != NO_SESSION:
            kind = "ephemeral-lost"
        else:
            kind = "lost-write"
        self.fail(kind, f"{path}: {what}, it is {expected}")

    # ---- sessions

    def connected(self, who: Holder, session_id: int) -> None:
        """Note that a client is told that it is attached to a session."""
        opened = self.znodes.opened.get(session_id)
        if opened is None:
            self.fail("lost-write", f"{who.name} is attached to session {session_id:#x}, which nobody opened")
        self._show(opened, f"{who.name}'s session")
        closed = self.znodes.closed.get(session_id)
        if session_id in who.sessions and closed is not None and closed <= who.floor:
            self.fail("session-resurrected", f"{who.name} is attached to session {session_id:#x} again, over since {closed:#x}")

    def closing(self, session_id: int) -> None:
        """Note that a client begins to end its session."""
        self._closing[session_id] = None

    def expired(self, who: Holder, session_id: int) -> None:
        """Note that a client is told that its session is over."""
        closed = self.znodes.closed.get(session_id)
        if closed is None:
            self.fail("session-lost", f"{who.name}'s session {session_id:#x} is called over, and nobody ended it")
        self._show(closed, f"the end of {who.name}'s session")

    def _alive(self, who: Holder, sent_ns: int) -> None:
        session_id = next(reversed(who.sessions))
        self._alive_ns[session_id] = max(sent_ns, self._alive_ns.get(session_id, 0))
        self._check_not_early(session_id)

    def _check_not_early(self, session_id: int) -> None:
        expired_ns = self._expired_ns.get(session_id)
        if expired_ns is None:
            return
        silent_ns = expired_ns - self._alive_ns.get(session_id, 0)
        timeout_ms = self._timeouts_ms[session_id]
        if silent_ns + CLOCK_SLACK_NS < timeout_ms * NANOSECONDS_PER_MILLISECOND:
            self.fail(
                "session-ended-early",
                f"session {session_id:#x} of {timeout_ms} ms was ended after {silent_ns / NANOSECONDS_PER_MILLISECOND:.0f} ms",
            )

    # ---- reads

    def ask(self, now_ns: int) -> Asked:
        """Note that a read is sent now."""
        return Asked((), self.visible_zxid, now_ns)

    def answered(
        self,
        who: Holder,
        asked: Asked,
        path: str,
        stat: Stat | None,
        *,
        data: bytes | None = None,
        names: Sequence[str] | None = None,
        watch: Watch | None = None,
    ) -> None:
        """Note the answer to a read: no stat where nothing was there, and what else was asked for."""
        self.read_count += 1
        with_data = stat is not None and names is None and data is not None

        def shows(state: State) -> bool:
            return state.stat == stat and (not with_data or state.data == data) and (names is None or state.names == tuple(names))

        fitting = [state for state in self.znodes.states(path, asked.floor) if shows(state)]
        what = f"{who.name} is answered {data!r} {stat} {'' if names is None else names}"
        if not fitting:
            if any(shows(state) for state in self.znodes.states(path, 0)) and stat is not None:
                if stat.ephemeral_owner in self.znodes.closed:
                    self.fail("ephemeral-left-behind", f"{path}: {what}, and that session is over")
                self.fail("stale-read", f"{path}: {what}, which was so before {asked.floor:#x}, visible when it asked")
            self._fail_state(path, stat, what, self.znodes.state(path))
        self._show(fitting[0].zxid, f"{who.name}'s read of {path}")
        self._alive(who, asked.sent_ns)
        self.check_watches(who, max(asked.floor, fitting[0].zxid))
        if watch is not None:
            earliest, latest = max(asked.floor, fitting[0].zxid), max(asked.floor, fitting[-1].zxid)
            watch.left(earliest, latest, on_absence=stat is None)

    # ---- writes

    def ask_to_write(self, operations: tuple[Operation, ...], now_ns: int) -> Asked:
        """Note that a write is sent now; `acknowledged`, `refused` or neither follows."""
        self._wanted[operations] = self._wanted.get(operations, 0) + 1
        return Asked(operations, self.visible_zxid, now_ns)

    def acknowledged(self, who: Holder, asked: Asked, results: Sequence[Result]) -> None:
        """Note that a write was acknowledged."""
        self.acknowledged_count += 1
        zxid = self._zxid_of(who, asked, results)
        transaction = self._transactions[zxid - 1] if 0 < zxid <= len(self._transactions) else None
        what = f"{who.name}'s {asked.operations}, acknowledged at {zxid:#x}"
        if transaction is None or transaction.request != asked.operations:
            self.fail("lost-write", f"{what}: there the journal has {transaction}")
        if transaction.session_id not in who.sessions:
            self.fail("lost-write", f"{what}, is the write of session {transaction.session_id:#x}")
        if zxid <= asked.floor:
            self.fail("zxid", f"{what}: {asked.floor:#x} was visible before it was sent")
        if zxid in self._claimed:
            self.fail("lost-write", f"{what}, is another write that was acknowledged")
        self._claimed[zxid] = None
        for result, expected in zip(results, self.znodes.results[zxid], strict=True):
            if isinstance(result, Created) and isinstance(expected, Created) and result.path != expected.path:
                self.fail("sequence-reused", f"{what}, has made {result.path}; the next was {expected.path}")
            if result != expected:
                self.fail("lost-write", f"{what}: the answer is {result}, the transaction made {expected}")
        self._show(zxid, what)
        self._alive(who, asked.sent_ns)
        self.check_watches(who, zxid)

    def _zxid_of(self, who: Holder, asked: Asked, results: Sequence[Result]) -> int:
        """Return the zxid that an answer shows; of one that shows none, that of the oldest write which can be it."""
        for result in results:
            if isinstance(result, Created):
                return result.stat.czxid
            if isinstance(result, Stat):
                return result.mzxid
        for zxid in self._by_operations.get(asked.operations, ()):
            if zxid > asked.floor and zxid not in self._claimed and self._transactions[zxid - 1].session_id in who.sessions:
                return zxid
        return 0

    def refused(self, who: Holder, asked: Asked, error: CoordinatorError) -> None:
        """Note that a write was refused: it must not have been carried out, and there was a reason."""
        self.refused_count += 1
        self._wanted[asked.operations] -= 1
        index, cause = (error.index, error.error) if isinstance(error, MultiFailed) else (0, error)
        operation = asked.operations[index]
        if any(operation.path == other.path for other in asked.operations[:index]):
            return
        reasons = [state for state in self._states_of(operation, cause, asked.floor) if _is_reason(operation, cause, state)]
        if not reasons:
            self.fail("wrong-refusal", f"{who.name}'s {asked.operations} was refused: {error}, which it was not")
        self._show(reasons[0].zxid, f"the refusal of {who.name}'s {operation}")
        self._alive(who, asked.sent_ns)
        self.check_watches(who, max(asked.floor, reasons[0].zxid))

    def _states_of(self, operation: Operation, cause: CoordinatorError, floor: int) -> Sequence[State]:
        path = operation.path
        if isinstance(operation, Create) and isinstance(cause, NoNode):
            path = path.rpartition("/")[0] or "/"
        return list(self.znodes.states(path, floor))

    def not_carried_out(self, asked: Asked) -> None:
        """Note that a write was never sent."""
        self._wanted[asked.operations] -= 1

    # ---- watches

    def told(self, watch: Watch, event: WatchEvent) -> None:
        """Note that a watch is told of an event."""
        self.told_count += 1
        events = self.znodes.events(watch.path, watch.earliest_zxid, is_child=watch.is_child)
        cause = next((one for one in events if one.type in _CAUSES[event.type]), None)
        if cause is None or event.path != watch.path:
            self.fail("watch-early", f"{watch} is told {event}; there is only {events}")
        self._show(cause.zxid, f"an event of {watch.who}'s watch on {watch.path}")

    def check_watches(self, who: Holder, zxid: int, kind: str = "watch-late") -> None:
        """Hold a client's watches against an answer that was made when `zxid` had been carried out, or later."""
        who.watches[:] = [watch for watch in who.watches if not watch.is_told]
        for watch in who.watches:
            if watch.latest_zxid < 0:
                continue
            events = self.znodes.events(watch.path, watch.latest_zxid, is_child=watch.is_child)
            if not events or events[0].zxid > zxid:
                continue
            if watch.on_absence and not watch.is_unbroken:
                # What came and went while the client was away, nobody tells it.
                stat = self.znodes.state(watch.path).stat
                if stat is None or stat.czxid > zxid:
                    continue
            self.fail(kind, f"{watch} was not told of {events[0]}, and {zxid:#x} has been seen")

    # ---- the end

    def finish(self, clients: Sequence[Holder], tree: Tree) -> None:
        """Check what is left when every client is attached, idle and has read once more."""
        for who in clients:
            self.check_watches(who, self.visible_zxid, "watch-lost")
        self.compare(tree)
        living = {next(reversed(who.sessions)): who for who in clients}
        for session_id in self.znodes.sessions:
            if session_id not in living:
                self.fail("ephemeral-left-behind", f"session {session_id:#x} has no client any more, and has not ended")
        for session_id, who in living.items():
            if session_id not in self.znodes.sessions:
                self.fail("session-resurrected", f"{who.name} is attached to session {session_id:#x}, which is over")
        for operations, zxids in self._by_operations.items():
            if len(zxids) > self._wanted.get(operations, 0):
                self.fail(
                    "phantom-write",
                    f"{operations} was carried out at {zxids}, and wanted {self._wanted.get(operations, 0)} times",
                )


_CAUSES = {
    EventType.CREATED: (EventType.CREATED,),
    EventType.DELETED: (EventType.DELETED,),
    EventType.DATA_CHANGED: (EventType.CREATED, EventType.DATA_CHANGED),
    EventType.CHILDREN_CHANGED: (EventType.CHILDREN_CHANGED, EventType.DELETED),
}
"""What must have happened when a watch is told something: a client that was away hears of a znode that was replaced as of one
that has changed."""


def _is_reason(operation: Operation, cause: CoordinatorError, state: State) -> bool:
    """Tell whether a refusal has its cause in what a znode was."""
    match cause:
        case NodeExists():
            return state.stat is not None
        case NoNode():
            return state.stat is None
        case BadVersion():
            return state.stat is not None and not isinstance(operation, Create) and operation.version != state.stat.version
        case NotEmpty():
            return bool(state.names)
        case _:
            return False
