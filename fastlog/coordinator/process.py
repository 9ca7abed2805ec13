"""A coordinator as a process of its own: opened, served, stopped."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from fastlog.coordinator.journal import CorruptJournal
from fastlog.coordinator.server import CoordinatorServer
from fastlog.coordinator.service import Coordinator
from fastlog.env import DirectoryLock, Environment, Listener
from fastlog.env.reactor import Pending
from fastlog.errors import UsageError, cannot_listen, cannot_write

logger = logging.getLogger(__name__)


def open_coordinator(environment: Environment, path: str) -> tuple[Coordinator, DirectoryLock]:
    """Lock the directory and read what it holds; UsageError when that cannot be."""
    try:
        environment.disk.make_directories(path)
        lock = environment.disk.lock_directory(path)
    except BlockingIOError:
        raise UsageError(
            f"the coordinator's directory {path} is held by another process: stop that one, or choose another directory"
        ) from None
    except OSError as error:
        raise cannot_write(f"the coordinator's directory {path}", error) from None
    try:
        return Coordinator(environment.reactor, environment.disk, environment.flusher, environment.random, path), lock
    except CorruptJournal as error:
        lock.release()
        raise UsageError(str(error)) from error
    except OSError as error:
        lock.release()
        raise cannot_write(f"the coordinator's directory {path}", error) from None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorOptions:
    """What `fastlog coordinator` is told."""

    host: str = "127.0.0.1"
    port: int = 2181
    data: str = "fastlog-data/coordinator"


def run_coordinator(options: CoordinatorOptions) -> int:
    """Run a coordinator until it is asked to stop; return the exit code. UsageError when it cannot start.

    When clients can attach it prints one line and flushes: `ready coordinator=HOST:PORT coordinator_pid=P`. A journal that can
    no longer be written ends the process: whoever starts it again learns what is on the disk.
    """
    from fastlog.env.signals import on_stop_request  # noqa: PLC0415 - not for a simulated one
    from fastlog.env.system import SystemEnvironment  # noqa: PLC0415

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    environment = SystemEnvironment()
    reactor = environment.reactor
    outcome: list[BaseException] = []

    def stop() -> Generator[Pending[Any], Any, None]:
        server.close()
        if coordinator.failed is None:
            yield coordinator.close()

    def stopped(settled: Pending[None]) -> None:
        try:
            settled.result()
        except Exception as error:
            outcome.append(error)
        reactor.stop()

    def lost() -> None:
        assert coordinator.failed is not None
        outcome.append(coordinator.failed)
        reactor.stop()

    def unhandled(error: BaseException) -> None:
        logger.error("a mistake in the coordinator; it goes on without what was being done", exc_info=error)

    try:
        coordinator, lock = open_coordinator(environment, options.data)
        try:
            server = CoordinatorServer(environment, coordinator, os.path.abspath(options.data))
            listener = listen(server, options.host, options.port)
            coordinator.on_lost.append(lost)
            on_stop_request(reactor.call_from_thread, lambda: reactor.spawn(stop()).then(stopped))
            reactor.on_unhandled = unhandled
            print(f"ready coordinator={address_of(listener)} coordinator_pid={os.getpid()}", flush=True)
            reactor.run()
        finally:
            lock.release()
    finally:
        environment.close()
    if outcome:
        raise outcome[0]
    return 0
