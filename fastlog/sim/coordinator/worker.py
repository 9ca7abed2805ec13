"""A client of the workload: the product's own `RemoteClient` in a process of its own that reads, watches and writes at random.

It checks nothing by itself; every answer and event goes to the checker. Some znodes are everybody's (`SHARED`), and all clients
create, change and delete them; below `QUEUE` they make sequential ones, below `HERE` each has its ephemeral one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fastlog.coordinator.client import SessionState
from fastlog.coordinator.errors import ConnectionLoss, CoordinatorError, NoNode, SessionExpired
from fastlog.coordinator.remote import RemoteClient
from fastlog.coordinator.tree import ANY_VERSION, Check, Create, Created, Delete, Operation, Result, SetData, Stat
from fastlog.sim.coordinator.watch import Watch

if TYPE_CHECKING:
    from fastlog.env.reactor import Pending
    from fastlog.sim.coordinator.checker import Asked, CoordinatorChecker
    from fastlog.sim.entropy import Entropy
    from fastlog.sim.process import Process

SHARED = tuple(f"/shared/{number}" for number in range(4))
QUEUE = "/queue"
HERE = "/here"
PARENTS = ("/shared", QUEUE, HERE)
TIMEOUTS_MS = (1_000, 1_500, 3_000)
MOST_PAUSES_MS = (20, 60, 150)
MOST_IN_QUEUE = 6


class Worker:
    """One process's client, from its start to its end. Implements `checker.Holder`."""

    def __init__(
        self, name: str, process: Process, checker: CoordinatorChecker, entropy: Entropy, address: tuple[str, int]
    ) -> None:
        self.name = name
        self.process = process
        self.sessions: dict[int, None] = {}
        self.watches: list[Watch] = []
        self.floor = 0
        self.is_idle = False
        """It was told to rest, and waits for nothing."""
        self._checker = checker
        self._entropy = entropy
        self._address = address
        self._reactor = process.reactor
        self._timeout_ms = entropy.choose(TIMEOUTS_MS)
        self._most_pause_ms = entropy.choose(MOST_PAUSES_MS)
        self._writes = 0
        self._queued: list[str] = []
        self._versions: dict[str, int] = {}
        self._rests = False
        self._is_ending = False
        self._client = self._connect()
        self._reactor.on_unhandled = checker.mistake
        self._reactor.spawn(self._work()).then(lambda outcome: outcome.result())
        process.touch()

    def rest(self) -> None:
        """Do nothing more but keep the session alive."""
        self._rests = True

    def read_all(self) -> Pending[Any]:
        """Read every znode of the workload once more."""
        flow: Pending[Any] = self._reactor.spawn(self._read_all())
        self.process.touch()
        return flow

    @property
    def is_attached(self) -> bool:
        """Whether the newest session of which it was told is the client's present one."""
        return bool(self.sessions) and next(reversed(self.sessions)) == self._client.session_id

    # ---- sessions

    def _connect(self) -> RemoteClient:
        client = RemoteClient(self._reactor, self._entropy, [self._address], timeout_ms=self._timeout_ms)
        client.on_session(lambda state: self._session_changed(client, state))
        return client

    def _session_changed(self, client: RemoteClient, state: SessionState) -> None:
        if client is not self._client:
            return
        if state is SessionState.CONNECTED:
            self._checker.connected(self, client.session_id)
            self.sessions[client.session_id] = None
            return
        self.floor = self._checker.visible_zxid
        for watch in self.watches:
            watch.is_unbroken = False
        if state is SessionState.EXPIRED:
            self.watches.clear()
            if not self._is_ending:
                self._checker.expired(self, next(reversed(self.sessions)))

    def _begin_again(self) -> Any:
        """End the session and begin another."""
        self._is_ending = True
        session_id = self._client.session_id
        if session_id:
            self._checker.closing(session_id)
        yield self._client.close()
        self.watches.clear()
        self._is_ending = False
        self._client = self._connect()
        yield from self._wait_for_session()

    def _wait_for_session(self) -> Any:
        while not self.is_attached:
            yield from self._sleep(10)

    # ---- what it does

    def _work(self) -> Any:
        yield from self._wait_for_session()
        for path in PARENTS:
            yield from self._write([Create(path, b"")])
        steps: Sequence[Callable[[], Any]] = (
            *[self._get, self._get, self._exists, self._children],
            *[self._set, self._set, self._create, self._create, self._delete, self._come, self._queue, self._queue],
            *[self._transact, self._transact, self._burst],
        )
        while not self._rests:
            yield from self._sleep(self._entropy.between(0, self._most_pause_ms))
            if self._entropy.chance(1):
                yield from self._begin_again()
            yield from self._entropy.choose(steps)()
        self.is_idle = True

    def _sleep(self, most_ms: int) -> Any:
        wait: Pending[None] = self._reactor.pending()
        self._reactor.call_later(most_ms, wait.complete, None)
        yield wait

    def _read_all(self) -> Any:
        yield from self._wait_for_session()
        for path in (*SHARED, HERE, QUEUE):
            yield from self._exists(path)
        for path in PARENTS:
            yield from self._children(path)

    # ---- reads

    def _watch(self, path: str, *, is_child: bool = False) -> Watch | None:
        if not self._entropy.chance(70) or self._rests:
            return None
        watch = Watch(self._checker, self.name, path, is_child=is_child)
        self.watches.append(watch)
        return watch

    def _get(self) -> Any:
        path = self._path()
        watch, asked = self._watch(path), self._checker.ask(self._now_ns())
        try:
            data, stat = yield self._client.get(path, watch)
        except NoNode:
            self._forget(watch)
            self._checker.answered(self, asked, path, None)
        except (ConnectionLoss, SessionExpired):
            self._forget(watch)
        else:
            self._versions[path] = stat.version
            self._checker.answered(self, asked, path, stat, data=data, watch=watch)

    def _exists(self, path: str = "") -> Any:
        path = path or self._path()
        watch, asked = self._watch(path), self._checker.ask(self._now_ns())
        try:
            stat: Stat | None = yield self._client.exists(path, watch)
        except (ConnectionLoss, SessionExpired):
            self._forget(watch)
        else:
            if stat is not None:
                self._versions[path] = stat.version
            self._checker.answered(self, asked, path, stat, watch=watch)

    def _children(self, path: str = "") -> Any:
        path = path or self._entropy.choose((*PARENTS, *SHARED))
        watch, asked = self._watch(path, is_child=True), self._checker.ask(self._now_ns())
        try:
            names, stat = yield self._client.children(path, watch)
        except NoNode:
            self._forget(watch)
            self._checker.answered(self, asked, path, None)
        except (ConnectionLoss, SessionExpired):
            self._forget(watch)
        else:
            self._checker.answered(self, asked, path, stat, names=names, watch=watch)

    def _forget(self, watch: Watch | None) -> None:
        """Forget a watch that no answer has left."""
        if watch is not None and watch in self.watches:
            self.watches.remove(watch)

    # ---- writes

    def _set(self) -> Any:
        path = self._path()
        yield from self._write([SetData(path, self._value(), self._version(path))])

    def _create(self) -> Any:
        yield from self._write([Create(self._path(), self._value(), ephemeral=self._entropy.chance(20))])

    def _delete(self) -> Any:
        path = self._path()
        yield from self._write([Delete(path, self._version(path))])

    def _come(self) -> Any:
        """Be there as long as the session, in the place of what an earlier one may have left."""
        path = f"{HERE}/{self.name}"
        create = Create(path, self._value(), ephemeral=True)
        yield from self._write([create] if self._entropy.chance(60) else [Delete(path), create])

    def _queue(self) -> Any:
        if len(self._queued) >= MOST_IN_QUEUE:
            yield from self._write([Delete(self._queued.pop(0))])
            return
        ephemeral = self._entropy.chance(50)
        results = yield from self._write([Create(f"{QUEUE}/{self.name}-", self._value(), ephemeral, sequential=True)])
        self._queued += [result.path for result in results if isinstance(result, Created) and not ephemeral]

    def _transact(self) -> Any:
        path, other = self._path(), self._path()
        operations: list[Operation] = [Check(path, self._version(path)), SetData(other, self._value())]
        if self._entropy.chance(30):
            operations = [Delete(path), Create(path, self._value()), SetData(QUEUE, self._value())]
        elif self._entropy.chance(30):
            operations.append(Create(f"{QUEUE}/{self.name}-", self._value(), ephemeral=True, sequential=True))
        if self._entropy.chance(30):  # what comes first is undone where the rest is refused
            operations.insert(0, SetData(HERE, self._value()))
        yield from self._write(operations)

    def _burst(self) -> Any:
        """Send some writes before the first is answered, and a read behind them."""
        path = self._path()
        sent = [self._send([SetData(path, self._value())]) for _ in range(self._entropy.between(2, 5))]
        asked, answer = self._checker.ask(self._now_ns()), self._client.exists(path)
        for one in sent:
            yield from self._settle(*one)
        try:
            stat: Stat | None = yield answer
        except (ConnectionLoss, SessionExpired):
            return
        self._checker.answered(self, asked, path, stat)

    def _write(self, operations: Sequence[Operation]) -> Any:
        return (yield from self._settle(*self._send(operations)))

    def _send(self, operations: Sequence[Operation]) -> tuple[Asked, Pending[list[Result]]]:
        return self._checker.ask_to_write(tuple(operations), self._now_ns()), self._client.multi(operations)

    def _settle(self, asked: Asked, answer: Pending[list[Result]]) -> Any:
        try:
            results = yield answer
        except ConnectionLoss:
            return []
        except SessionExpired:
            self._checker.not_carried_out(asked)
            return []
        except CoordinatorError as error:
            self._checker.refused(self, asked, error)
            return []
        self._checker.acknowledged(self, asked, results)
        return results

    # ---- draws

    def _path(self) -> str:
        return self._entropy.choose(SHARED)

    def _version(self, path: str) -> int:
        return ANY_VERSION if self._entropy.chance(70) else self._versions.get(path, 0)

    def _value(self) -> bytes:
        self._writes += 1
        return b"%s.%d." % (self.name.encode(), self._writes) + b"x" * self._entropy.below(80)

    def _now_ns(self) -> int:
        return self.process.scheduler.now_ns
