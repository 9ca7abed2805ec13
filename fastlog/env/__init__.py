"""The seam to the outside world: everything that is not a pure function of its arguments is asked for here.

The protocols below are what the rest of fastlog sees. Their real versions live beside this file (`clock`, `disk`, `network`,
`entropy`, `flusher`); the simulated ones live in `fastlog.sim`. Nothing behind the seam reads a clock, opens a
socket or a file, starts a thread, or draws a random number by itself.

Invariants that every version keeps:

* Completions always arrive on a later turn of the reactor, also where the result was known at once.
* Monotonic time never goes back and has no relation to wall time; deadlines, timeouts and sessions use it alone.
* A name is durable only after `Disk.sync_directory` of its directory; bytes only after `File.fdatasync`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastlog.light import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from typing_extensions import Buffer

    from fastlog._core import File
    from fastlog.env.reactor import Reactor

    T = TypeVar("T")


READABLE = 1
WRITABLE = 2


class Clock(Protocol):
    """Wall time and monotonic time, apart."""

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch; may jump in either direction."""

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary point; never goes back."""


class Random(Protocol):
    """Randomness: for identifiers and jitter, never for secrets that outlive the process."""

    def random_bytes(self, count: int) -> bytes:
        """Return `count` random bytes."""

    def below(self, bound: int) -> int:
        """Return a uniform integer in [0, bound)."""


class DirectoryLock(Protocol):
    """An exclusive lock on a directory, given up when the process ends."""

    def release(self) -> None:
        """Give the lock up; releasing twice is allowed."""


class Disk(Protocol):
    """Names of files and directories. Contents are read and written through `_core.File`, which `open` returns.

    Paths are absolute or relative strings with forward slashes. Errors are `OSError` with errno, as the system reports them.
    """

    def open(self, path: str, *, create: bool = False, exclusive: bool = False, read_only: bool = False) -> File:
        """Open a file for reading and writing (or only for reading).

        `create` makes it when it is missing; `exclusive` (with `create`) raises FileExistsError when it is not.
        """

    def exists(self, path: str) -> bool:
        """Tell whether a file or directory of that name exists."""

    def size_bytes(self, path: str) -> int:
        """Return a file's size; FileNotFoundError when there is none."""

    def space_bytes(self, path: str) -> tuple[int, int]:
        """Return (size, free space for this process) of the file system that a path lies on."""

    def list_directory(self, path: str) -> list[str]:
        """Return the names in a directory, sorted."""

    def make_directories(self, path: str) -> None:
        """Make a directory and its missing parents; an existing one is fine."""

    def rename(self, source: str, target: str) -> None:
        """Rename atomically, replacing `target`."""

    def unlink(self, path: str) -> None:
        """Remove a file."""

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""

    def sync_directory(self, path: str) -> None:
        """Make the names in a directory durable."""

    def lock_directory(self, path: str) -> DirectoryLock:
        """Lock a directory against other processes (its `.lock` file); BlockingIOError when another holds it."""

    def boot_id(self) -> str:
        """Name this boot of the machine: it changes when the machine restarts and so loses what was never synced."""


class Transport(Protocol):
    """One side of a connected, non-blocking byte stream."""

    peer_host: str
    peer_port: int

    def receive_into(self, buffer: Buffer) -> int:
        """Receive into a writable buffer and return the count; 0 at end of stream; BlockingIOError when nothing is there."""

    def send(self, buffers: Sequence[Any], skip: int = 0) -> int:
        """Send as much as goes of some buffers (bytes-like objects, `_core.Region`s) in order, leaving out the first `skip` bytes
        (they went before); return the count of bytes sent now.

        BlockingIOError when nothing goes; BrokenPipeError or ConnectionResetError when the other side has gone.
        """

    def close(self) -> None:
        """Close; closing twice is allowed. The endpoint is no longer watched."""


class Listener(Protocol):
    """A bound, listening endpoint."""

    host: str
    port: int

    def accept(self) -> Transport:
        """Accept one connection; BlockingIOError when none waits; OSError (EMFILE, ENFILE) when descriptors are out."""

    def close(self) -> None:
        """Close; closing twice is allowed. The endpoint is no longer watched."""


Endpoint = Transport | Listener
ReadyCallback = Callable[[int], None]


class Network(Protocol):
    """Sockets and their readiness."""

    def listen(self, host: str, port: int, backlog: int = 128) -> Listener:
        """Bind and listen; port 0 picks a free one. OSError EADDRINUSE when the port is taken."""

    def connect(self, host: str, port: int) -> Transport:
        """Begin to connect. The transport becomes writable when it is connected or has failed; sending then tells which."""

    def watch(self, endpoint: Endpoint, events: int, callback: ReadyCallback) -> None:
        """Call `callback(ready_events)` in each poll in which one of `events` is ready; `events` 0 stops watching."""

    def poll(self, timeout_ns: int | None) -> list[tuple[ReadyCallback, int]]:
        """Wait at most `timeout_ns` (None: without end; 0: not at all) and return what is ready, in a fixed order."""

    def wake(self) -> None:
        """End the present or next poll early; the only method that other threads and signal handlers may call."""

    def close(self) -> None:
        """Close the network and what is still open in it."""


class Flusher(Protocol):
    """Slow disk work off the reactor: fsync, preallocation, deletes, recovery scans, cold reads."""

    def submit(self, job: Callable[[], T], done: Callable[[T | None, BaseException | None], None]) -> None:
        """Run `job()` on a flusher thread, then `done(result, error)` on a later turn of the reactor.

        A job is one call into `_core` that releases the GIL: a Python loop off the reactor would cost the reactor milliseconds.
        Jobs that were submitted under way to the same file keep no order unless the caller waits for `done`.
        """

    def close(self) -> None:
        """Finish what was submitted and end the threads."""


class Environment(Protocol):
    """All of the seam, as one broker gets it."""

    @property
    def reactor(self) -> Reactor:
        """The loop over `clock` and `network`."""

    @property
    def clock(self) -> Clock: ...

    @property
    def network(self) -> Network: ...

    @property
    def disk(self) -> Disk: ...

    @property
    def flusher(self) -> Flusher: ...

    @property
    def random(self) -> Random: ...
