"""A ZooKeeper as its clients see it, for the simulator: it outlives its servers, and everything that it did is on record.

Not the product's coordinator and none of its code: an oracle. All servers of an `Ensemble` have the same znodes at every
moment, as if replication took no time; sessions and znodes survive their servers, watches and connections go with them.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from fastlog.env import READABLE, WRITABLE
from fastlog.sim.network import SimulatedNetwork
from fastlog.sim.process import Process

MS = 1_000_000
TICK_MS = 50
CREATED, DELETED, DATA_CHANGED, CHILDREN_CHANGED = 1, 2, 3, 4
NO_NODE, BAD_VERSION, NODE_EXISTS, NOT_EMPTY, NO_CHILDREN = -101, -103, -110, -111, -108


class Znode(NamedTuple):
    data: bytes | None
    czxid: int
    mzxid: int
    pzxid: int
    version: int
    cversion: int
    owner: int


class Written(NamedTuple):
    """One entry of the record: `data` is None for a deletion."""

    zxid: int
    path: str
    data: bytes | None


class Session:
    def __init__(self, timeout_ms, password):
        self.timeout_ms, self.password, self.deadline_ns = timeout_ms, password, 0


class Refusal(Exception):
    def __init__(self, code, index=0):
        super().__init__(code)
        self.code, self.index = code, index


def parent_of(path):
    return path.rpartition("/")[0] or "/"


class Ensemble:
    """What all servers share."""

    def __init__(self, scheduler, wires, entropy, names=("zk1", "zk2")):
        self.scheduler, self.wires, self.entropy = scheduler, wires, entropy
        self.zxid = 0
        self.nodes = {"/": Znode(b"", 0, 0, 0, 0, 0, 0)}
        self.sessions = {}
        self.expired = []
        self.closed = []
        self.written = []
        self.servers = {name: Server(self, name) for name in names}
        self._sessions_made = 0
        for server in self.servers.values():
            server.start()
        scheduler.after(TICK_MS * MS, self._tick)

    @property
    def addresses(self):
        return [(name, 2181) for name in self.servers]

    # ---- sessions

    def open_session(self, timeout_ms):
        self._sessions_made += 1
        session_id = 0x1000 + self._sessions_made
        self.sessions[session_id] = Session(timeout_ms, b"%016d" % self._sessions_made)
        self.touch(session_id)
        return session_id

    def touch(self, session_id):
        session = self.sessions[session_id]
        session.deadline_ns = self.scheduler.now_ns + session.timeout_ms * MS

    def end_session(self, session_id):
        del self.sessions[session_id]
        for path in [path for path, node in self.nodes.items() if node.owner == session_id]:
            self.apply(0, [("delete", path, -1)])
        for server in self.servers.values():
            server.session_ended(session_id)

    def _tick(self):
        alive = any(server.is_running for server in self.servers.values())
        for session_id, session in list(self.sessions.items()):
            if not alive:
                self.touch(session_id)
            elif session.deadline_ns <= self.scheduler.now_ns:
                self.expired.append(session_id)
                self.end_session(session_id)
        self.scheduler.after(TICK_MS * MS, self._tick)

    # ---- znodes

    def apply(self, session_id, operations):
        """Carry out all operations or none: results, or Refusal."""
        before, zxid = dict(self.nodes), self.zxid + 1
        results, events, written = [], [], []
        try:
            for index, operation in enumerate(operations):
                try:
                    results.append(self._apply(zxid, session_id, operation, events, written))
                except Refusal as refusal:
                    raise Refusal(refusal.code, index) from None
        except Refusal:
            self.nodes = before
            raise
        self.zxid = zxid
        self.written += written
        for kind, path in events:
            for server in self.servers.values():
                server.fire(kind, path)
        return results

    def _apply(self, zxid, session_id, operation, events, written):
        verb, path, *rest = operation
        node, parent = self.nodes.get(path), parent_of(path)
        if verb == "create":
            data, flags = rest
            if parent not in self.nodes:
                raise Refusal(NO_NODE)
            holder = self.nodes[parent]
            if flags & 2:
                path += f"{holder.cversion:010d}"
            if path in self.nodes:
                raise Refusal(NODE_EXISTS)
            if holder.owner:
                raise Refusal(NO_CHILDREN)
            self.nodes[path] = Znode(data, zxid, zxid, zxid, 0, 0, session_id if flags & 1 else 0)
            self.nodes[parent] = holder._replace(pzxid=zxid, cversion=holder.cversion + 1)
            events += [(CREATED, path), (CHILDREN_CHANGED, parent)]
            written.append(Written(zxid, path, data or b""))
            return path
        if node is None:
            raise Refusal(NO_NODE)
        version = rest[-1]
        if version not in (-1, node.version):
            raise Refusal(BAD_VERSION)
        if verb == "set":
            self.nodes[path] = node._replace(data=rest[0], mzxid=zxid, version=node.version + 1)
            events.append((DATA_CHANGED, path))
            written.append(Written(zxid, path, rest[0]))
        elif verb == "delete":
            if self.children(path):
                raise Refusal(NOT_EMPTY)
            del self.nodes[path]
            self.nodes[parent] = self.nodes[parent]._replace(pzxid=zxid, cversion=self.nodes[parent].cversion + 1)
            events += [(DELETED, path), (CHILDREN_CHANGED, parent)]
            written.append(Written(zxid, path, None))
        return path

    def children(self, path):
        prefix = path.rstrip("/") + "/"
        return [
            name[len(prefix) :]
            for name in self.nodes
            if name.startswith(prefix) and name != "/" and "/" not in name[len(prefix) :]
        ]

    def stat(self, path):
        node = self.nodes[path]
        numbers = (node.czxid, node.mzxid, 0, 0, node.version, node.cversion, 0, node.owner, len(node.data or b""))
        return struct.pack(">qqqqiiiqiiq", *numbers, len(self.children(path)), node.pzxid)


class Connection:
    def __init__(self, transport):
        self.transport = transport
        self.inbox, self.outbox = bytearray(), bytearray()
        self.session_id = None
        self.data_watches, self.child_watches = set(), set()
        self.is_closing = False


class Fields:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, layout):
        (value,) = struct.unpack_from(f">{layout}", self.data, self.at)
        self.at += struct.calcsize(f">{layout}")
        return value

    def buffer(self):
        size = self.take("i")
        if size < 0:
            return None
        self.at += size
        return self.data[self.at - size : self.at]

    def string(self):
        return self.buffer().decode()

    def strings(self):
        return [self.string() for _ in range(self.take("i"))]


def pack_buffer(data):
    return struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data


VERBS = {1: "create", 15: "create", 2: "delete", 5: "set", 13: "check"}
CODES = {"create": 15, "delete": 2, "set": 5, "check": 13}


class Server:
    """One server's process, and the connections to it."""

    def __init__(self, ensemble, name):
        self.ensemble, self.name = ensemble, name
        self.process = None
        self.is_running = False
        self.connections = []
        self.starts = 0

    # ---- faults

    def start(self):
        if self.process is not None:
            return
        ensemble = self.ensemble
        self.starts += 1
        self.process = Process(
            self.name, ensemble.scheduler, ensemble.entropy.fork(f"{self.name} {self.starts}"), 1_750_000_000_000
        )
        self.network = SimulatedNetwork(ensemble.wires, self.process, self.name)
        self.process.boot(self.network, self.network.has_ready)
        self.listener = self.network.listen(self.name, 2181)
        self.network.watch(self.listener, READABLE, self.accept)
        self.is_running = True
        self.process.touch()

    def kill(self):
        if self.process is not None:
            self.resume()
            self.process.kill()
            self.process, self.connections, self.is_running = None, [], False

    def lose(self):
        """Be gone without a word, as a machine whose network is cut."""
        if self.process is not None:
            self.network.vanish()
            self.kill()

    def pause(self):
        if self.is_running:
            self.ensemble.scheduler.remove(self.process)
            self.is_running = False

    def resume(self):
        if self.process is not None and not self.is_running:
            self.ensemble.scheduler.add(self.process)
            self.is_running = True
            self.process.touch()

    # ---- connections

    def accept(self, _):
        connection = Connection(self.listener.accept())
        self.connections.append(connection)
        self.network.watch(connection.transport, READABLE, lambda events: self.on_ready(connection, events))

    def on_ready(self, connection, events):
        try:
            if events & READABLE:
                chunk = bytearray(1 << 16)
                count = connection.transport.receive_into(chunk)
                if not count:
                    raise ConnectionResetError
                connection.inbox += chunk[:count]
                while len(connection.inbox) >= 4 and not connection.is_closing:
                    size = int.from_bytes(connection.inbox[:4], "big")
                    if len(connection.inbox) < 4 + size:
                        break
                    frame = bytes(connection.inbox[4 : 4 + size])
                    del connection.inbox[: 4 + size]
                    self.serve(connection, Fields(frame))
        except BlockingIOError:
            pass
        except OSError:
            self.drop(connection)
            return
        self.flush(connection)

    def send(self, connection, body):
        connection.outbox += struct.pack(">i", len(body)) + body
        if self.process is not None and connection.transport is not None:
            self.network.watch(connection.transport, READABLE | WRITABLE, lambda events: self.on_ready(connection, events))
            self.process.touch()

    def flush(self, connection):
        try:
            while connection.outbox:
                del connection.outbox[: connection.transport.send([bytes(connection.outbox)])]
        except BlockingIOError:
            return
        except OSError:
            self.drop(connection)
            return
        if connection.is_closing:
            self.drop(connection)
        elif connection in self.connections:
            self.network.watch(connection.transport, READABLE, lambda events: self.on_ready(connection, events))

    def drop(self, connection):
        if connection in self.connections:
            self.connections.remove(connection)
            connection.transport.close()

    def session_ended(self, session_id):
        for connection in self.connections:
            if connection.session_id == session_id:
                connection.is_closing = True
                self.process.reactor.call_soon(self.flush, connection)
                self.process.touch()

    def fire(self, kind, path):
        for connection in self.connections:
            told = kind == CHILDREN_CHANGED and path in connection.child_watches
            if kind != CHILDREN_CHANGED:
                told = path in connection.data_watches or (kind == DELETED and path in connection.child_watches)
                connection.data_watches.discard(path)
            if kind in (CHILDREN_CHANGED, DELETED):
                connection.child_watches.discard(path)
            if told:
                self.tell(connection, kind, path)

    def tell(self, connection, kind, path):
        self.send(connection, struct.pack(">iqiii", -1, -1, 0, kind, 3) + pack_buffer(path.encode()))

    # ---- requests

    def serve(self, connection, fields):
        ensemble = self.ensemble
        if connection.session_id is None:
            self.greet(connection, fields)
            return
        if connection.session_id not in ensemble.sessions:
            connection.is_closing = True
            return
        ensemble.touch(connection.session_id)
        xid, kind = fields.take("i"), fields.take("i")
        try:
            body = self.answer(connection, kind, fields)
            error = 0
        except Refusal as refusal:
            body, error = b"", refusal.code
        self.send(connection, struct.pack(">iqi", xid, ensemble.zxid, error) + body)
        if kind == -11:
            ensemble.closed.append(connection.session_id)
            ensemble.end_session(connection.session_id)

    def greet(self, connection, fields):
        ensemble = self.ensemble
        fields.take("i")
        last_zxid, timeout_ms, session_id, password = fields.take("q"), fields.take("i"), fields.take("q"), fields.buffer()
        if last_zxid > ensemble.zxid:
            raise ConnectionResetError
        session = ensemble.sessions.get(session_id)
        if session_id == 0:
            session_id = ensemble.open_session(timeout_ms)
            session = ensemble.sessions[session_id]
        elif session is None or session.password != password:
            self.send(connection, struct.pack(">iiq", 0, 0, 0) + pack_buffer(bytes(16)) + b"\0")
            connection.is_closing = True
            return
        for server in ensemble.servers.values():
            for other in list(server.connections):
                if other.session_id == session_id:
                    server.drop(other)
        connection.session_id = session_id
        ensemble.touch(session_id)
        self.send(connection, struct.pack(">iiq", 0, session.timeout_ms, session_id) + pack_buffer(session.password) + b"\0")

    def answer(self, connection, kind, fields):
        ensemble = self.ensemble
        if kind in (11, -11):
            return b""
        if kind == 101:
            self.set_watches(connection, fields)
            return b""
        if kind == 14:
            return self.multi(connection, fields)
        if kind in VERBS:
            operation = self.operation(kind, fields)
            (path,) = ensemble.apply(connection.session_id, [operation])
            return self.result(operation[0], path)
        path, watch = fields.string(), fields.take("?")
        is_there = path in ensemble.nodes
        if watch and (is_there or kind == 3):
            (connection.child_watches if kind == 12 else connection.data_watches).add(path)
        if not is_there:
            raise Refusal(NO_NODE)
        if kind == 3:
            return ensemble.stat(path)
        if kind == 4:
            return pack_buffer(ensemble.nodes[path].data) + ensemble.stat(path)
        assert kind == 12, kind
        names = ensemble.children(path)
        return struct.pack(">i", len(names)) + b"".join(pack_buffer(name.encode()) for name in names) + ensemble.stat(path)

    def operation(self, kind, fields):
        verb, path = VERBS[kind], fields.string()
        if verb == "create":
            data = fields.buffer()
            for _ in range(fields.take("i")):
                fields.take("i"), fields.string(), fields.string()
            return verb, path, data, fields.take("i")
        if verb == "set":
            return verb, path, fields.buffer(), fields.take("i")
        return verb, path, fields.take("i")

    def result(self, verb, path):
        if verb == "create":
            return pack_buffer(path.encode()) + self.ensemble.stat(path)
        return self.ensemble.stat(path) if verb == "set" else b""

    def multi(self, connection, fields):
        operations = []
        while True:
            kind, is_last, _ = fields.take("i"), fields.take("?"), fields.take("i")
            if is_last:
                break
            operations.append(self.operation(kind, fields))
        out = b""
        try:
            paths = self.ensemble.apply(connection.session_id, operations)
        except Refusal as refusal:
            for index in range(len(operations)):
                code = 0 if index < refusal.index else refusal.code if index == refusal.index else -2
                out += struct.pack(">i?ii", -1, False, code, code)
        else:
            for (verb, *_), path in zip(operations, paths, strict=True):
                out += struct.pack(">i?i", CODES[verb], False, -1) + (
                    self.result(verb, path) if path in self.ensemble.nodes or verb not in ("create", "set") else b""
                )
        return out + struct.pack(">i?i", -1, True, -1)

    def set_watches(self, connection, fields):
        since, nodes = fields.take("q"), self.ensemble.nodes
        data, exist, child = fields.strings(), fields.strings(), fields.strings()
        for path in data:
            if path not in nodes:
                self.tell(connection, DELETED, path)
            elif nodes[path].mzxid > since:
                self.tell(connection, DATA_CHANGED, path)
            else:
                connection.data_watches.add(path)
        for path in exist:
            if path in nodes:
                self.tell(connection, CREATED, path)
            else:
                connection.data_watches.add(path)
        for path in child:
            if path not in nodes:
                self.tell(connection, DELETED, path)
            elif nodes[path].pzxid > since:
                self.tell(connection, CHILDREN_CHANGED, path)
            else:
                connection.child_watches.add(path)
