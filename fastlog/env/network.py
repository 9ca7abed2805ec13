"""TCP sockets and their readiness behind the seam's `Network`, over `selectors`.

Sockets are non-blocking and level-triggered; Nagle's algorithm is off, since the reactor itself joins what one turn has to say.
IPv4 and IPv6 are served alike: `::` takes both families where the system can, and an IPv4 peer of such a socket is named by its
IPv4 address. Sockets are those of `_socket`: the enumerations and files that `socket` puts upon them are not used here, and take
a tenth of a coordinator's start and half a megabyte.

Invariants:

* The last `RESERVED_DESCRIPTORS` below the process's limit are never given to accepted connections, so that the log can always
  open a file: `accept` fails with EMFILE first. Descriptors are numbered upwards from the least free one, so the number tells.
* An endpoint that a callback closed or unwatched may still be in the list that the present `poll` returned: callbacks check.
"""

from __future__ import annotations

import _socket as socket
import errno
import resource
import selectors
from collections.abc import Callable, Sequence

from fastlog._core import send_buffers
from fastlog.light import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fastlog.env import Endpoint, ReadyCallback

RESERVED_DESCRIPTORS = 64
_V4_MAPPED = "::ffff:"
_NANOSECONDS_PER_SECOND = 1e9


def raise_descriptor_limit() -> int:
    """Raise this process's soft limit of open descriptors to the hard one and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _numeric(address: Sequence[Any]) -> tuple[str, int]:
    host = str(address[0])
    return (host[len(_V4_MAPPED) :] if host.startswith(_V4_MAPPED) and "." in host else host), int(address[1])


def takes_both_families() -> bool:
    """Return whether this machine has sockets of IPv6 that take connections of IPv4 too."""
    try:
        probe = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    except OSError:
        return False
    try:
        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    except OSError:
        return False
    finally:
        probe.close()
    return True


class SocketTransport:
    """One side of a connected TCP stream."""

    __slots__ = ("_descriptor", "_network", "_socket", "peer_host", "peer_port", "receive_into")

    def __init__(self, network: SocketNetwork, connected: socket.socket, peer: tuple[str, int]) -> None:
        self._network = network
        self._socket = connected
        self._descriptor = connected.fileno()
        self.peer_host, self.peer_port = peer
        # The socket's own method: one Python frame less for every readiness.
        self.receive_into = connected.recv_into
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        network.opened(self)

    def fileno(self) -> int:
        """Return the descriptor, -1 when closed."""
        return self._descriptor

    def send(self, buffers: Sequence[Any], skip: int = 0) -> int:
        """Send as much as goes of the buffers after their first `skip` bytes; see `Transport.send`."""
        return send_buffers(self._descriptor, buffers, skip)

    def close(self) -> None:
        """Close; closing twice is allowed."""
        if self._descriptor >= 0:
            self._network.forget(self)
            self._descriptor = -1
            self._socket.close()


class SocketListener:
    """A bound, listening TCP socket."""

    __slots__ = ("_accept", "_descriptor", "_family", "_network", "_socket", "host", "port")

    def __init__(self, network: SocketNetwork, listening: socket.socket) -> None:
        self._network = network
        self._socket = listening
        self._accept: Callable[[], tuple[int, Any]] = listening._accept  # type: ignore[attr-defined]
        self._family = listening.family
        self._descriptor = listening.fileno()
        self.host, self.port = _numeric(listening.getsockname())
        network.opened(self)

    def fileno(self) -> int:
        """Return the descriptor, -1 when closed."""
        return self._descriptor

    def accept(self) -> SocketTransport:
        """Accept one connection; EMFILE already when only the reserved descriptors are left."""
        descriptor, address = self._accept()
        accepted = socket.socket(self._family, socket.SOCK_STREAM, 0, descriptor)
        if descriptor >= self._network.descriptor_bound:
            accepted.close()
            raise OSError(errno.EMFILE, "only the reserved descriptors are left")
        try:
            return SocketTransport(self._network, accepted, _numeric(address))
        except OSError:  # the peer has gone already, and the system refuses options of its socket
            accepted.close()
            raise

    def close(self) -> None:
        """Close; closing twice is allowed."""
        if self._descriptor >= 0:
            self._network.forget(self)
            self._descriptor = -1
            self._socket.close()


SocketEndpoint = SocketTransport | SocketListener


class Stream(Protocol):
    """What the system can wait for besides sockets: a pipe, a terminal."""

    def fileno(self) -> int:
        """Return the descriptor."""


class SocketNetwork:
    """The machine's TCP."""

    def __init__(self, *, receive_buffer_bytes: int = -1, send_buffer_bytes: int = -1) -> None:
        """Buffer sizes are the kernel's, for accepted connections; -1 leaves them to the kernel, which lets them grow."""
        self._buffer_options = [
            (option, size)
            for option, size in ((socket.SO_RCVBUF, receive_buffer_bytes), (socket.SO_SNDBUF, send_buffer_bytes))
            if size >= 0
        ]
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        reserved = min(RESERVED_DESCRIPTORS, limit // 4)
        self.descriptor_bound = limit - reserved
        """Accepted connections have descriptors below it. Raise the limit before the network is made."""
        self._selector = selectors.DefaultSelector()
        self._endpoints: dict[Any, int] = {}
        """Every open endpoint and the events it is watched for."""
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ, None)

    def listen(self, host: str, port: int, backlog: int = 128) -> SocketListener:
        """Bind and listen; an empty host means every address of both families."""
        family, address = self._resolve(host or "::", port, passive=True)
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setblocking(False)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host in ("", "::") else 1)
            for option, size in self._buffer_options:  # accepted sockets inherit them
                listening.setsockopt(socket.SOL_SOCKET, option, size)
            listening.bind(address)
            listening.listen(backlog)
        except OSError:
            listening.close()
            raise
        return SocketListener(self, listening)

    def connect(self, host: str, port: int) -> SocketTransport:
        """Begin to connect. A name is looked up at once by the system's resolver; IPv4 is preferred, as Java does."""
        family, address = self._resolve(host, port, passive=False)
        connecting = socket.socket(family, socket.SOCK_STREAM)
        transport = SocketTransport(self, connecting, _numeric(address))
        # Whatever comes of it (refused at once included) shows when the transport gets writable.
        connecting.connect_ex(address)
        return transport

    @staticmethod
    def _resolve(host: str, port: int, *, passive: bool) -> tuple[int, Any]:
        flags = socket.AI_PASSIVE if passive else 0
        if passive and host == "::" and not takes_both_families():
            host = "0.0.0.0"  # every address was asked for, and this is what the machine has
        # Text goes through IDNA, whose tables are a megabyte; most names need none of it.
        name = host.encode() if host.isascii() else host
        try:
            found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=flags)
        except UnicodeError:
            raise OSError(errno.EINVAL, "no host can have that name") from None
        family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
        return family, address

    def watch(self, endpoint: Endpoint, events: int, callback: ReadyCallback) -> None:
        """Call `callback(ready_events)` in each poll in which one of `events` is ready; `events` 0 stops watching."""
        selectable: Any = endpoint
        watched = self._endpoints[endpoint]
        self._endpoints[endpoint] = events
        if events and watched:
            self._selector.modify(selectable, events, callback)
        elif events:
            self._selector.register(selectable, events, callback)
        elif watched:
            self._selector.unregister(selectable)

    def watch_stream(self, stream: Stream, events: int, callback: ReadyCallback) -> None:
        """Watch something that the network doesn't own, as `watch` does; `events` 0 must come before it is closed."""
        if events:
            self._selector.register(stream, events, callback)
        else:
            self._selector.unregister(stream)

    def opened(self, endpoint: SocketEndpoint) -> None:
        """Own an endpoint until it closes."""
        self._endpoints[endpoint] = 0

    def forget(self, endpoint: SocketEndpoint) -> None:
        """Stop watching an endpoint that is about to close."""
        if self._endpoints.pop(endpoint, 0):
            self._selector.unregister(endpoint)

    def poll(self, timeout_ns: int | None) -> list[tuple[ReadyCallback, int]]:
        """Wait at most `timeout_ns` and return what is ready, in the order in which the system tells it."""
        ready = self._selector.select(None if timeout_ns is None else timeout_ns / _NANOSECONDS_PER_SECOND)
        result = []
        for key, events in ready:
            if key.data is None:
                self._drain_wakes()
            else:
                result.append((key.data, events))
        return result

    def wake(self) -> None:
        """End the present or next poll early; safe in other threads and signal handlers."""
        try:
            self._wake_writer.send(b"\0")
        except BlockingIOError:
            pass  # full of wakes already
        except OSError:
            pass  # closed: nobody polls any more

    def _drain_wakes(self) -> None:
        try:
            while len(self._wake_reader.recv(4096)) == 4096:
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Close the network and every endpoint of it."""
        for endpoint in list(self._endpoints):
            endpoint.close()
        self._selector.close()
        self._wake_reader.close()
        self._wake_writer.close()
