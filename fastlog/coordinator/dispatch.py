"""What a client outside asks for, done: sessions attached, requests carried out, answers and events in their order.

No sockets: a `Client` is handed frames to send. Every answer and every event goes through `Coordinator.when_visible`, so each
client gets them in the order in which its requests were carried out, an event before any answer that shows what made it, and
nobody sees what is not durable. The rules are ZooKeeper's (programmer's guide, "ZooKeeper Sessions", "ZooKeeper Watches").

Watches belong to the connection that left them: a client that attaches again leaves them again (`SetWatches`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from fastlog.coordinator import protocol
from fastlog.coordinator.acl import (
    OPEN_ACL,
    Acl,
    Identity,
    Permission,
    allows,
    bytes_of_auth,
    digest_identity,
    resolve,
    user_name,
    without_digests,
)
from fastlog.coordinator.errors import (
    AuthFailed,
    BadArguments,
    ConnectionLoss,
    CoordinatorError,
    InvalidACL,
    MarshallingError,
    MultiFailed,
    NoAuth,
    NoNode,
    NoWatcher,
    ReconfigDisabled,
    SessionExpired,
    Unimplemented,
    codes_of_failed_multi,
)
from fastlog.coordinator.jute import MAX_REQUEST_BYTES, JuteError
from fastlog.coordinator.protocol import NO_PASSWORD, PASSWORD_BYTES, Connect, Op
from fastlog.coordinator.sessions import Deadlines, negotiate
from fastlog.coordinator.tree import NO_PASSWORD as OF_THIS_PROCESS
from fastlog.coordinator.tree import NO_SESSION, CloseSession, Create, OpenSession, Operation, SetAcl
from fastlog.coordinator.watches import EventType, Watcher, WatcherType, WatchEvent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from fastlog.coordinator.service import Coordinator
    from fastlog.coordinator.tree import Stat
    from fastlog.env import Random
    from fastlog.env.reactor import Reactor, Timer

MAX_IDENTITIES: Final = 100
"""How many identities one connection may collect."""
MAX_IDENTITY_BYTES: Final = 1_024
"""How long the name of one may be."""
MAX_AUTH_BYTES: Final = MAX_REQUEST_BYTES
"""By how much a request may grow when `auth` in its lists is replaced: a journal's record has room for twice a request."""
MAX_ANSWERS_BYTES: Final = 8 << 20
"""How much the answers to the questions of one request may take together."""
_PERSISTENT: Final = 0
_RECURSIVE: Final = 1
_NS_PER_MS: Final = 1_000_000


class NotServed(Exception):
    """Bytes or claims with which no connection goes on; it is closed without an answer."""


class Client:
    """One connection and whom it speaks for. It is itself the watcher of its watches."""

    __slots__ = (
        "answer",
        "close",
        "ended",
        "finish",
        "identities",
        "last_op",
        "last_xid",
        "last_zxid",
        "session_id",
        "tell",
        "waiting_bytes",
    )

    def __init__(
        self,
        peer_host: str,
        answer: Callable[[bytes], object],
        tell: Callable[[bytes], object],
        finish: Callable[[], object],
        close: Callable[[str], object],
    ) -> None:
        """`answer` and `tell` send a frame; `finish` closes when all is sent, `close` at once, for a reason."""
        self.answer = answer
        self.tell = tell
        self.finish = finish
        self.close = close
        self.session_id = NO_SESSION
        self.ended = False
        """Nothing more of it is to be handled: its last answer is made."""
        self.identities = [Identity("ip", peer_host)]
        self.waiting_bytes = 0
        """Of answers that are made, and wait until what they show is durable."""
        self.last_op = 0
        self.last_xid = 0
        self.last_zxid = 0

    def hang_up(self) -> None:
        """Be heard by nobody any more: what is still to be said to it is lost, and it holds nothing of its connection."""
        self.answer = self.tell = self.finish = self.close = _unheard

    def __call__(self, event: WatchEvent, zxid: int, /) -> None:
        self.tell(protocol.encode_event(event, zxid))


def _unheard(*said: object) -> None:
    """Take what nobody hears."""


class Dispatcher:
    """All clients outside, attached to the sessions of one coordinator."""

    def __init__(self, reactor: Reactor, coordinator: Coordinator, random: Random) -> None:
        self._reactor = reactor
        self._coordinator = coordinator
        self._tree = coordinator.tree
        self._random = random
        self._deadlines = Deadlines()
        self._clients: dict[int, Client] = {}
        self._timer: Timer | None = None
        self._timer_ns = 0
        self._closed = False
        coordinator.may_hear = self._may_hear
        coordinator.on_lost.append(self._lost)
        now_ns = reactor.clock.monotonic_ns()
        for session_id, session in self._tree.sessions.items():
            if session.password != OF_THIS_PROCESS:
                self._deadlines.begin(session_id, session.timeout_ms, now_ns)
        self._set_timer()

    @property
    def clients(self) -> dict[int, Client]:
        """The attached clients by their sessions."""
        return self._clients

    def timeout_ms(self, client: Client) -> int:
        """Return the timeout of an attached client's session."""
        return self._deadlines.timeout_ms(client.session_id)

    # ---- sessions ----

    def connect(self, client: Client, data: bytes) -> None:
        """Take what a client says first, and attach it to a session, a new one or its own; NotServed."""
        try:
            connect = protocol.decode_connect(data)
        except JuteError as error:
            raise NotServed(f"no connect record: {error}") from None
        if connect.last_zxid > self._tree.zxid:
            raise NotServed(f"it has seen zxid {connect.last_zxid:#x}, and here is only {self._tree.zxid:#x}")
        if connect.session_id == NO_SESSION:
            self._open(client, connect)
        else:
            self._attach_again(client, connect)

    def _open(self, client: Client, connect: Connect) -> None:
        session_id, timeout_ms = self._coordinator.new_session_id(), negotiate(connect.timeout_ms)
        password = self._random.random_bytes(PASSWORD_BYTES)
        try:
            self._coordinator.carry_out(NO_SESSION, OpenSession(session_id, timeout_ms, password))
        except ConnectionLoss as error:
            raise NotServed(str(error)) from None
        self._attach(client, session_id, timeout_ms)
        answer = protocol.encode_connect_answer(connect, timeout_ms, session_id, password)
        self._answer(client, answer)

    def _attach_again(self, client: Client, connect: Connect) -> None:
        session_id = connect.session_id
        session = self._tree.sessions.get(session_id)
        if session is None or session.password == OF_THIS_PROCESS or not _are_equal(session.password, connect.password):
            client.ended = True
            answer = protocol.encode_connect_answer(connect, 0, 0, NO_PASSWORD)
            self._answer(client, answer)
            self._coordinator.when_visible(client.finish)
            return
        before = self._clients.get(session_id)
        if before is not None:
            self.gone(before)
            before.close("its session has moved to another connection")
        timeout_ms = negotiate(connect.timeout_ms)
        self._attach(client, session_id, timeout_ms)
        answer = protocol.encode_connect_answer(connect, timeout_ms, session_id, session.password)
        self._answer(client, answer)

    def _attach(self, client: Client, session_id: int, timeout_ms: int) -> None:
        client.session_id = session_id
        self._clients[session_id] = client
        self._deadlines.begin(session_id, timeout_ms, self._reactor.now_ns)
        self._set_timer()

    def gone(self, client: Client) -> None:
        """Forget a connection; its session lives on for as long as its timeout lets it."""
        self._coordinator.watches.drop(client)
        if self._clients.get(client.session_id) is client:
            del self._clients[client.session_id]

    def _set_timer(self) -> None:
        deadline_ns = self._deadlines.next_ns()
        if self._timer is not None:
            if deadline_ns is not None and deadline_ns >= self._timer_ns:
                return  # it comes early enough, and is set anew then
            self._timer.cancel()
            self._timer = None
        if deadline_ns is not None and not self._closed:
            self._timer_ns = deadline_ns
            delay_ms = max(0, deadline_ns - self._reactor.clock.monotonic_ns()) / _NS_PER_MS
            self._timer = self._reactor.call_later(delay_ms, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self._coordinator.failed is not None:
            return
        for session_id in self._deadlines.take_expired(self._reactor.now_ns):
            client = self._clients.get(session_id)
            if client is not None:
                self.gone(client)
                client.close("its session has expired")
            self._coordinator.carry_out(NO_SESSION, CloseSession(session_id))
        self._set_timer()

    def close(self) -> None:
        """Serve nobody any more; sessions live on in the journal."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _lost(self) -> None:
        for client in list(self._clients.values()):
            client.close("the coordinator cannot write any more")

    def _may_hear(self, watcher: Watcher, acl: Acl) -> bool:
        return not isinstance(watcher, Client) or allows(acl, Permission.READ, watcher.identities)

    # ---- requests ----

    def handle(self, client: Client, data: bytes) -> None:
        """Carry out one request of an attached client; NotServed when it is none."""
        coordinator = self._coordinator
        if coordinator.failed is not None:
            raise NotServed("the coordinator cannot write any more")
        try:
            xid, op = protocol.decode_head(data)
        except JuteError as error:
            raise NotServed(str(error)) from None
        client.last_xid, client.last_op = xid, op
        body, code, is_last = b"", 0, False
        try:
            if client.session_id not in self._tree.sessions:
                raise SessionExpired(detail=f"{client.session_id:#x}")
            self._deadlines.touch(client.session_id, self._reactor.now_ns)
            request = protocol.decode_request(data, op)
            body = _HANDLERS[type(request)](self, client, request)
            is_last = isinstance(request, protocol.CloseSession)
        except JuteError:
            code = MarshallingError.code
        except ConnectionLoss as error:
            raise NotServed(str(error)) from None
        except CoordinatorError as error:
            code = error.code
            is_last = isinstance(error, SessionExpired | Unimplemented | AuthFailed)
        zxid = client.last_zxid = self._tree.zxid
        self._answer(client, protocol.encode_answer(xid, zxid, body, code))
        if is_last:
            client.ended = True
            self.gone(client)
            coordinator.when_visible(client.finish)

    def _answer(self, client: Client, frame: bytes) -> None:
        client.waiting_bytes += len(frame)
        self._coordinator.when_visible(partial(_send_answer, client, frame))

    def _write(self, client: Client, write: protocol.Write) -> bytes:
        if not write.operations:
            return protocol.encode_results(write, [])
        try:
            operations = _resolved(write.operations, client)
            results = self._coordinator.carry_out(client.session_id, operations, client.identities)
        except MultiFailed as failed:
            return protocol.encode_failed_multi(codes_of_failed_multi(failed, write.operations))
        except (ConnectionLoss, SessionExpired):
            raise
        except CoordinatorError as error:
            if not write.is_multi:
                raise
            return protocol.encode_failed_multi([error.code])
        return protocol.encode_results(write, results)

    def _stat(self, path: str, permission: int, client: Client) -> Stat:
        """Return a znode's stat if the client has the permission; NoNode, also of what is no path at all, NoAuth."""
        if path not in self._tree:
            raise NoNode(path)
        acl = self._tree.acl(path)
        if acl is not OPEN_ACL and not allows(acl, permission, client.identities):
            raise NoAuth(path)
        return self._tree.stat(path)

    def _get_data(self, client: Client, request: protocol.GetData) -> bytes:
        stat = self._stat(request.path, Permission.READ, client)
        if request.watch:
            self._coordinator.watches.watch_data(request.path, client)
        return protocol.encode_buffer(self._tree.nodes[request.path].data) + protocol.encode_stat(stat)

    def _exists(self, client: Client, request: protocol.Exists) -> bytes:
        if "\0" in request.path:
            raise BadArguments(request.path)
        stat = self._stat(request.path, Permission.READ, client) if request.path in self._tree else None
        if request.watch:
            self._coordinator.watches.watch_data(request.path, client)
        if stat is None:
            raise NoNode(request.path)
        return protocol.encode_stat(stat)

    def _get_children(self, client: Client, request: protocol.GetChildren) -> bytes:
        stat = self._stat(request.path, Permission.READ, client)
        if request.watch:
            self._coordinator.watches.watch_children(request.path, client)
        names = protocol.encode_strings(self._tree.children(request.path))
        return names + protocol.encode_stat(stat) if request.with_stat else names

    def _multi_read(self, client: Client, request: protocol.MultiRead) -> bytes:
        answers: list[tuple[Op, bytes, int]] = []
        size_bytes = 0
        for question in request.questions:
            op = Op.GET_DATA if isinstance(question, protocol.GetData) else Op.GET_CHILDREN
            try:
                body, code = _HANDLERS[type(question)](self, client, question), 0
            except CoordinatorError as error:
                body, code = b"", error.code
            answers.append((op, body, code))
            size_bytes += len(body)
            if size_bytes > MAX_ANSWERS_BYTES:
                raise MarshallingError(detail=f"answers of more than {MAX_ANSWERS_BYTES} bytes")
        return protocol.encode_multi_read(answers)

    def _get_acl(self, client: Client, request: protocol.GetAcl) -> bytes:
        stat = self._stat(request.path, Permission.READ | Permission.ADMIN, client)
        acl = self._tree.acl(request.path)
        if not allows(acl, Permission.ADMIN, client.identities):
            acl = without_digests(acl)
        return protocol.encode_acl(acl) + protocol.encode_stat(stat)

    def _sync(self, client: Client, request: protocol.Sync) -> bytes:
        return protocol.encode_string(request.path)

    def _ping(self, client: Client, request: protocol.Ping) -> bytes:
        return b""

    def _get_ephemerals(self, client: Client, request: protocol.GetEphemerals) -> bytes:
        found = self._tree.ephemerals(client.session_id)
        return protocol.encode_strings([path for path in found if path.startswith(request.prefix)])

    def _count_below(self, client: Client, request: protocol.CountBelow) -> bytes:
        self._stat(request.path, Permission.READ, client)
        return protocol.encode_integer(self._tree.count_below(request.path))

    def _who_am_i(self, client: Client, request: protocol.WhoAmI) -> bytes:
        return protocol.encode_identities(Identity(one.scheme, user_name(one)) for one in client.identities)

    def _auth(self, client: Client, request: protocol.Auth) -> bytes:
        if request.scheme == "digest":
            identity = digest_identity(request.credentials)
            if identity not in client.identities:
                if len(client.identities) >= MAX_IDENTITIES or len(identity.id.encode()) > MAX_IDENTITY_BYTES:
                    raise AuthFailed(
                        detail=f"more than {MAX_IDENTITIES} identities, or a name of over {MAX_IDENTITY_BYTES} bytes"
                    )
                client.identities.append(identity)
        elif request.scheme != "ip":  # which every connection has already
            raise AuthFailed(detail=f"scheme {request.scheme!r}")
        return b""

    def _sasl(self, client: Client, request: protocol.Sasl) -> bytes:
        raise AuthFailed(detail="SASL is not spoken here")

    def _reconfig(self, client: Client, request: protocol.Reconfig) -> bytes:
        raise ReconfigDisabled

    def _close_session(self, client: Client, request: protocol.CloseSession) -> bytes:
        self._coordinator.carry_out(NO_SESSION, CloseSession(client.session_id))  # of which its own watches hear
        self._deadlines.end(client.session_id)
        return b""

    # ---- watches ----

    def _set_watches(self, client: Client, request: protocol.SetWatches) -> bytes:
        nodes, watches, seen = self._tree.nodes, self._coordinator.watches, request.last_zxid
        for path in request.data:
            node = nodes.get(path)
            if node is None:
                self._tell(client, EventType.DELETED, path)
            elif node.mzxid > seen:
                self._tell(client, EventType.DATA_CHANGED, path)
            else:
                watches.watch_data(path, client)
        for path in request.exist:
            if path in nodes:
                self._tell(client, EventType.CREATED, path)
            else:
                watches.watch_data(path, client)
        for path in request.child:
            node = nodes.get(path)
            if node is None:
                self._tell(client, EventType.DELETED, path)
            elif node.pzxid > seen:
                self._tell(client, EventType.CHILDREN_CHANGED, path)
            else:
                watches.watch_children(path, client)
        for path in request.persistent:
            watches.watch_for_good(path, client, recursive=False)
        for path in request.recursive:
            watches.watch_for_good(path, client, recursive=True)
        return b""

    def _tell(self, client: Client, event: EventType, path: str) -> None:
        node = self._tree.nodes.get(path)
        if node is None or node.acl is OPEN_ACL or self._may_hear(client, node.acl):
            self._coordinator.when_visible(partial(client, WatchEvent(event, path), protocol.NO_ZXID))

    def _add_watch(self, client: Client, request: protocol.AddWatch) -> bytes:
        if request.mode not in (_PERSISTENT, _RECURSIVE):
            raise MarshallingError(request.path, f"watch mode {request.mode}")
        self._coordinator.watches.watch_for_good(request.path, client, recursive=request.mode == _RECURSIVE)
        return protocol.encode_integer(0)

    def _check_watches(self, client: Client, request: protocol.CheckWatches) -> bytes:
        if not self._coordinator.watches.has(request.path, client, _watcher_type(request.kind)):
            raise NoWatcher(request.path)
        return b""

    def _remove_watches(self, client: Client, request: protocol.RemoveWatches) -> bytes:
        if not self._coordinator.watches.remove(request.path, client, _watcher_type(request.kind)):
            raise NoWatcher(request.path)
        return b""


def _send_answer(client: Client, frame: bytes) -> None:
    client.waiting_bytes -= len(frame)
    client.answer(frame)


def _are_equal(password: bytes, given: bytes) -> bool:
    """Compare in a time that tells nothing of either."""
    from hmac import compare_digest  # noqa: PLC0415 - with it comes OpenSSL, which a start has no need of

    return compare_digest(password, given)


def _watcher_type(kind: int) -> WatcherType:
    try:
        return WatcherType(kind)
    except ValueError:
        raise MarshallingError(detail=f"watcher type {kind}") from None


def _resolved(operations: tuple[Operation, ...], client: Client) -> tuple[Operation, ...]:
    """Return the operations with the lists that theirs stand for; InvalidACL, or MultiFailed, when these are far larger."""
    grown_bytes = 0
    resolved: list[Operation] = []
    for index, operation in enumerate(operations):
        if isinstance(operation, Create | SetAcl) and operation.acl is not OPEN_ACL:
            grown_bytes += bytes_of_auth(operation.acl, client.identities)
            if grown_bytes > MAX_AUTH_BYTES:
                error = InvalidACL(operation.path, f"what auth stands for takes more than {MAX_AUTH_BYTES} bytes")
                raise error if len(operations) == 1 else MultiFailed(index, error)
            resolved.append(operation._replace(acl=resolve(operation.acl, client.identities)))
        else:
            resolved.append(operation)
    return tuple(resolved)


_HANDLERS: Final[dict[type, Callable[[Dispatcher, Client, Any], bytes]]] = {
    protocol.Write: Dispatcher._write,
    protocol.GetData: Dispatcher._get_data,
    protocol.Exists: Dispatcher._exists,
    protocol.GetChildren: Dispatcher._get_children,
    protocol.MultiRead: Dispatcher._multi_read,
    protocol.GetAcl: Dispatcher._get_acl,
    protocol.Sync: Dispatcher._sync,
    protocol.GetEphemerals: Dispatcher._get_ephemerals,
    protocol.CountBelow: Dispatcher._count_below,
    protocol.SetWatches: Dispatcher._set_watches,
    protocol.AddWatch: Dispatcher._add_watch,
    protocol.CheckWatches: Dispatcher._check_watches,
    protocol.RemoveWatches: Dispatcher._remove_watches,
    protocol.Auth: Dispatcher._auth,
    protocol.Ping: Dispatcher._ping,
    protocol.WhoAmI: Dispatcher._who_am_i,
    protocol.CloseSession: Dispatcher._close_session,
    protocol.Reconfig: Dispatcher._reconfig,
    protocol.Sasl: Dispatcher._sasl,
}
