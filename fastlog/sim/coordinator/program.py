"""The coordinator under test: the product's own process on a simulated environment, as a program of a simulated machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fastlog.coordinator.journal import CorruptJournal
from fastlog.coordinator.process import CoordinatorOptions, CoordinatorProcess
from fastlog.errors import UsageError

if TYPE_CHECKING:
    from fastlog.coordinator.tree import Tree
    from fastlog.env import Environment
    from fastlog.env.reactor import Pending


class SimulatedCoordinator:
    """One process of a coordinator. Implements `machine.Program`."""

    def __init__(self, environment: Environment, options: CoordinatorOptions, end: Callable[[str], object]) -> None:
        """`end(reason)` is called where a real process would end by itself."""
        self._process: CoordinatorProcess | None = None
        try:
            process = CoordinatorProcess(environment, options)
        except UsageError as error:
            if isinstance(error.__cause__, CorruptJournal):
                raise
            end(str(error))
            return
        process.coordinator.on_lost.append(lambda: end(str(process.coordinator.failed)))
        self._process = process

    def is_ready(self) -> bool:
        return self._process is not None and self._process.coordinator.failed is None

    @property
    def tree(self) -> Tree:
        """The tree of one that is ready."""
        assert self._process is not None
        return self._process.coordinator.tree

    def stop(self, stopped: Callable[[], None]) -> None:
        process = self._process
        assert process is not None, "only one that was ready is stopped"

        def ended(outcome: Pending[None]) -> None:
            outcome.result()
            process.release()
            stopped()

        process.stop().then(ended)
