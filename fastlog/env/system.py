"""The machine as the seam: every real version put together, for the process that runs one broker."""

from __future__ import annotations

import gc

from fastlog._core import give_back_memory
from fastlog.env.clock import SystemClock
from fastlog.env.disk import SystemDisk
from fastlog.env.entropy import SystemRandom
from fastlog.env.flusher import ThreadedFlusher
from fastlog.env.network import SocketNetwork, raise_descriptor_limit
from fastlog.env.reactor import Reactor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

COLLECT_AT: Final = (10_000, 3, 100)
"""So many more objects begin a collection of young ones, so many of these one of middle ones, so many of those one of all."""

GIVE_BACK_AFTER_MS: Final = 500
"""So long after a start the kernel gets back what only the start needed: a client that waits for the start is served by then."""


def collect_seldom() -> None:
    """Have this process collect cyclic garbage seldom, from now on, and never look at what is there now.

    Requests, connections, flows and what is stored come and go by reference counts: they make no cycles, which is what
    tests/cli/test_garbage.py is about. A look at all of them finds next to nothing, and holds up a turn.
    """
    gc.freeze()
    gc.set_threshold(*COLLECT_AT)
    gc.enable()


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

    def started(self) -> None:
        """Go over from a start to serving: garbage is collected seldom, and memory that only the start needed is given back."""
        collect_seldom()
        self.reactor.call_later(GIVE_BACK_AFTER_MS, self.flusher.submit, give_back_memory, _given_back)

    def close(self) -> None:
        """End the flusher's threads, then close what is still open of the network."""
        self.flusher.close()
        self.network.close()


def _given_back(_bytes: int | None, _error: BaseException | None) -> None:
    """Nothing waits for it."""
