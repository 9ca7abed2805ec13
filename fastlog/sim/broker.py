"""The broker under test: the product's own `Node` on a simulated environment, as a program of a simulated machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from fastlog.config import Config, Setting
from fastlog.node import Node
from fastlog.sim.machine import PartitionState

if TYPE_CHECKING:
    from fastlog.env import Environment
    from fastlog.env.reactor import Pending
    from fastlog.sim.log_world import Settings


class SimulatedBroker:
    """One process of a broker. Implements `machine.BrokerProgram`."""

    def __init__(self, options: Mapping[str, str], environment: Environment) -> None:
        self.node = Node(Config(Setting(name, text, "sim") for name, text in options.items()), environment)
        self.node.start().then(lambda outcome: outcome.result())

    def is_ready(self) -> bool:
        return self.node.is_ready

    def stop(self, stopped: Callable[[], None]) -> None:
        def ended(outcome: Pending[None]) -> None:
            outcome.result()
            stopped()

        self.node.stop().then(ended)

    def partition_states(self) -> Iterator[PartitionState]:
        for partition in self.node.partitions:
            log = partition.log
            yield PartitionState(
                partition.topic,
                partition.index,
                log.log_start_offset,
                log.last_stable_offset,
                log.high_watermark,
                log.log_end_offset,
            )


def broker_maker(settings: Settings) -> Callable[[Environment], SimulatedBroker]:
    """Return what boots a broker with these settings in a new process."""
    return partial(SimulatedBroker, settings.options)
