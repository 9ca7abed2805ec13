"""The machine as the seam: every real version put together, for the process that runs one broker."""

from __future__ import annotations

from fastlog.env.clock import SystemClock
from fastlog.env.disk import SystemDisk
from fastlog.env.entropy import SystemRandom
from fastlog.env.flusher import ThreadedFlusher
from fastlog.env.network import SocketNetwork, raise_descriptor_limit
from fastlog.env.reactor import Reactor


class SystemEnvironment:
    """Implements `fastlog.env.Environment`."""

    def __init__(self, *, receive_buffer_bytes: int = -1, send_buffer_bytes: int = -1) -> None:
        """Raise the limit of descriptors and put everything together; buffer sizes as `SocketNetwork` takes them."""
        raise_descriptor_limit()
        self.clock = SystemClock()
        self.network = SocketNetwork(receive_buffer_bytes=receive_buffer_bytes, send_buffer_bytes=send_buffer_bytes)
        self.reactor = Reactor(self.clock, self.network)
        self.disk = SystemDisk()
        self.flusher = ThreadedFlusher(self.reactor.call_from_thread)
        self.random = SystemRandom()

    def close(self) -> None:
        """End the flusher's threads, then close what is still open of the network."""
        self.flusher.close()
        self.network.close()
