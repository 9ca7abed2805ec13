"""A coordinator as a process of its own: opened, served, stopped."""

from __future__ import annotations

import os
from collections.abc import Generator

from fastlog.base_errors import UsageError, cannot_listen, cannot_use
from fastlog.coordinator.journal import JOURNAL_FILE_BYTES, CorruptJournal
from fastlog.coordinator.server import CoordinatorServer
from fastlog.coordinator.service import Coordinator
from fastlog.env import DirectoryLock, Environment, Listener
from fastlog.env.reactor import Pending
from fastlog.light import Logger, NamedTuple, log_to_stderr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


logger = Logger(__name__)


def open_coordinator(
    environment: Environment, path: str, journal_file_bytes: int = JOURNAL_FILE_BYTES
) -> tuple[Coordinator, DirectoryLock]:
    """Lock the directory and read what it holds; UsageError when that cannot be."""
    try:
        environment.disk.make_directories(path)
        lock = environment.disk.lock_directory(path)
    except BlockingIOError:
        raise UsageError(
            f"the coordinator's directory {path} is held by another process: stop that one, or choose another directory"
        ) from None
    except OSError as error:
        raise cannot_use(f"the coordinator's directory {path}", error) from None
    try:
        coordinator = Coordinator(
            environment.reactor, environment.disk, environment.flusher, environment.random, path, journal_file_bytes
        )
        return coordinator, lock
    except CorruptJournal as error:
        lock.release()
        raise UsageError(str(error)) from error
    except OSError as error:
        lock.release()
        raise cannot_use(f"the coordinator's directory {path}", error) from None


def listen(server: CoordinatorServer, host: str, port: int) -> Listener:
    """Let clients in at an address; UsageError when it cannot be bound."""
    try:
        return server.listen(host, port)
    except OSError as error:
        raise cannot_listen("the coordinator", host, port, error) from None


def address_of(listener: Listener) -> str:
    """Return where clients go, as it is written in a list of servers."""
    host = listener.host
    return f"[{host}]:{listener.port}" if ":" in host else f"{host}:{listener.port}"


class CoordinatorOptions(NamedTuple):
    """What `fastlog coordinator` is told; `journal_file_bytes` by the simulator alone."""

    host: str = "127.0.0.1"
    port: int = 2181
    data: str = "fastlog-data/coordinator"
    journal_file_bytes: int = JOURNAL_FILE_BYTES


class CoordinatorProcess:
    """A coordinator that is all of its process, on any environment: opened and listening once it is made."""

    def __init__(self, environment: Environment, options: CoordinatorOptions) -> None:
        """Read the journal and let clients in; UsageError when that cannot be."""
        self.coordinator, self._lock = open_coordinator(environment, options.data, options.journal_file_bytes)
        self._reactor = environment.reactor
        try:
            self._server = CoordinatorServer(environment, self.coordinator, os.path.abspath(options.data))
            self._listener = listen(self._server, options.host, options.port)
        except UsageError:
            self.release()
            raise

    @property
    def address(self) -> str:
        """Where clients go."""
        return address_of(self._listener)

    def stop(self) -> Pending[None]:
        """Serve nobody any more and close the journal; fails when that cannot be done."""
        return self._reactor.spawn(self._stop())

    def _stop(self) -> Generator[Pending[Any], Any, None]:
        self._server.close()
        if self.coordinator.failed is None:
            yield self.coordinator.close()

    def release(self) -> None:
        """Give up the directory, when nothing is done with it any more."""
        self._lock.release()


def run_coordinator(options: CoordinatorOptions) -> int:
    """Run a coordinator until it is asked to stop; return the exit code. UsageError when it cannot start.

    When clients can attach it prints one line and flushes: `ready coordinator=HOST:PORT coordinator_pid=P`. A journal that can
    no longer be written ends the process: whoever starts it again learns what is on the disk.
    """
    from fastlog.env.signals import on_stop_request  # noqa: PLC0415 - not for a simulated one
    from fastlog.env.system import SystemEnvironment  # noqa: PLC0415

    log_to_stderr()
    environment = SystemEnvironment()
    reactor = environment.reactor
    outcome: list[BaseException] = []

    def stopped(settled: Pending[None]) -> None:
        try:
            settled.result()
        except Exception as error:
            outcome.append(error)
        reactor.stop()

    def lost() -> None:
        assert process.coordinator.failed is not None
        outcome.append(process.coordinator.failed)
        reactor.stop()

    def unhandled(error: BaseException) -> None:
        logger.error("a mistake in the coordinator; it goes on without what was being done", exc_info=error)

    try:
        process = CoordinatorProcess(environment, options)
        try:
            process.coordinator.on_lost.append(lost)
            on_stop_request(reactor.call_from_thread, lambda: process.stop().then(stopped))
            reactor.on_unhandled = unhandled
            print(f"ready coordinator={process.address} coordinator_pid={os.getpid()}", flush=True)
            environment.started()
            reactor.run()
        finally:
            process.release()
    finally:
        environment.close()
    if outcome:
        raise outcome[0]
    return 0
