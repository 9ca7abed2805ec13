"""The four-letter words: what an operator asks the coordinator's port in plain text, and monitoring too.

Source: ZooKeeper's administrator's guide, "The Four Letter Words". The lines are those that ZooKeeper's own tools and clients
parse. The version is the one whose protocol is spoken; behind it stands whose server this is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fastlog import __version__
from fastlog.coordinator.jute import MAX_REQUEST_BYTES
from fastlog.coordinator.protocol import Op
from fastlog.coordinator.sessions import MAX_TIMEOUT_MS, MIN_TIMEOUT_MS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from fastlog.coordinator.server import Connection, CoordinatorServer

ZOOKEEPER_VERSION: Final = f"3.9.3-fastlog-{__version__}"


def answer_to(word: str, server: CoordinatorServer) -> bytes:
    """Return the answer to a word; one that is not known is told so."""
    found = WORDS.get(word.encode())
    return found(server).encode() if found else f"{word} is not executed because it is not in the whitelist.\n".encode()


def _lines(lines: Iterable[str]) -> str:
    return "".join(line + "\n" for line in lines)


def _outstanding(server: CoordinatorServer) -> int:
    return sum(connection.under_way for connection in server.connections.values())


def _summary(server: CoordinatorServer) -> str:
    numbers, tree = server.statistics, server.coordinator.tree
    latency = f"{numbers.latency_min_ms}/{numbers.latency_average_ms:.4f}/{numbers.latency_max_ms}"
    return _lines(
        [
            f"Latency min/avg/max: {latency}",
            f"Received: {numbers.received}",
            f"Sent: {numbers.sent}",
            f"Connections: {len(server.connections)}",
            f"Outstanding: {_outstanding(server)}",
            f"Zxid: {tree.zxid:#x}",
            "Mode: standalone",
            f"Node count: {len(tree.nodes)}",
        ]
    )


def _version() -> str:
    return f"Zookeeper version: {ZOOKEEPER_VERSION}\n"


def _srvr(server: CoordinatorServer) -> str:
    return _version() + _summary(server)


def _short(connection: Connection) -> str:
    return (
        f" /{connection.peer_host}:{connection.peer_port}[{int(connection.client.session_id != 0)}]"
        f"(queued={connection.under_way},recved={connection.received},sent={connection.sent}"
    )


def _stat(server: CoordinatorServer) -> str:
    clients = _lines(_short(connection) + ")" for connection in server.connections.values())
    return f"{_version()}Clients:\n{clients}\n{_summary(server)}"


def _cons(server: CoordinatorServer) -> str:
    lines = []
    for connection in server.connections.values():
        client, more = connection.client, ")"
        if client.session_id in server.dispatcher.clients:
            op = Op(client.last_op).name if client.last_op in Op.__members__.values() else "NA"
            more = (
                f",sid={client.session_id:#x},lop={op},est={connection.since_ms},to={server.dispatcher.timeout_ms(client)},"
                f"lcxid={client.last_xid:#x},lzxid={client.last_zxid:#x})"
            )
        lines.append(_short(connection) + more)
    return _lines(lines) + "\n"


def _mntr(server: CoordinatorServer) -> str:
    numbers, tree, watches = server.statistics, server.coordinator.tree, server.coordinator.watches
    values = {
        "version": ZOOKEEPER_VERSION,
        "server_state": "standalone",
        "avg_latency": f"{numbers.latency_average_ms:.4f}",
        "min_latency": numbers.latency_min_ms,
        "max_latency": numbers.latency_max_ms,
        "packets_received": numbers.received,
        "packets_sent": numbers.sent,
        "num_alive_connections": len(server.connections),
        "outstanding_requests": _outstanding(server),
        "uptime": server.uptime_ms,
        "znode_count": len(tree.nodes),
        "watch_count": len(watches),
        "ephemerals_count": sum(len(tree.ephemerals(session_id)) for session_id in tree.sessions),
        "global_sessions": len(tree.sessions),
    }
    return _lines(f"zk_{name}\t{value}" for name, value in values.items())


def _conf(server: CoordinatorServer) -> str:
    return _lines(
        [
            f"clientPort={server.listener.port if server.listener else 0}",
            f"dataDir={server.data_directory}",
            f"dataLogDir={server.data_directory}",
            f"minSessionTimeout={MIN_TIMEOUT_MS}",
            f"maxSessionTimeout={MAX_TIMEOUT_MS}",
            f"jute.maxbuffer={MAX_REQUEST_BYTES}",
            "serverId=0",
        ]
    )


def _envi(server: CoordinatorServer) -> str:
    return _lines(["Environment:", f"zookeeper.version={ZOOKEEPER_VERSION}"])


def _dump(server: CoordinatorServer) -> str:
    tree = server.coordinator.tree
    owners = {session_id: paths for session_id in sorted(tree.sessions) if (paths := tree.ephemerals(session_id))}
    lines = [
        "SessionTracker dump:",
        f"Global Sessions({len(tree.sessions)}):",
        *(f"{session_id:#x}\t{session.timeout_ms}ms" for session_id, session in sorted(tree.sessions.items())),
        "ephemeral nodes dump:",
        f"Sessions with Ephemerals ({len(owners)}):",
    ]
    for session_id, paths in owners.items():
        lines += [f"{session_id:#x}:", *(f"\t{path}" for path in paths)]
    return _lines(lines)


def _wchs(server: CoordinatorServer) -> str:
    watches = server.coordinator.watches
    return f"{watches.watcher_count} connections watching {watches.path_count} paths\nTotal watches:{len(watches)}\n"


WORDS: Final[dict[bytes, Callable[[CoordinatorServer], str]]] = {
    b"ruok": lambda server: "imok" if server.coordinator.failed is None else "",
    b"srvr": _srvr,
    b"stat": _stat,
    b"mntr": _mntr,
    b"conf": _conf,
    b"isro": lambda server: "rw",
    b"cons": _cons,
    b"dump": _dump,
    b"wchs": _wchs,
    b"envi": _envi,
}
