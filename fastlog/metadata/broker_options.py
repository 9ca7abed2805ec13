"""The options of this broker as they are now: those of its file and command line, and over them the dynamic ones (KIP-226)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from fastlog.config import parse_dynamic_options
from fastlog.errors import UsageError

if TYPE_CHECKING:
    from fastlog.config import Config

logger = logging.getLogger(__name__)


class BrokerOptions:
    """Holds the present `Config` and tells who wants to know of each new one, in the order of asking."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._listeners: list[Callable[[Config], object]] = []

    def on_change(self, listener: Callable[[Config], object]) -> None:
        """Call `listener(config)` after every change."""
        self._listeners.append(listener)

    def learn(self, cluster: Mapping[str, str], broker: Mapping[str, str]) -> None:
        """Take over the dynamic options of all brokers and of this one, as the coordinator holds them.

        Others may have written them: what cannot be honoured is left out with a line in the log.
        """
        changed = self.config.with_dynamic(_honoured(cluster), _honoured(broker))
        if changed.layers != self.config.layers:
            self.config = changed
            for listener in self._listeners:
                listener(changed)


def _honoured(texts: Mapping[str, str]) -> dict[str, str]:
    honoured = {}
    for name, text in texts.items():
        try:
            parse_dynamic_options({name: text})
        except UsageError as error:
            logger.error("a broker's dynamic option is left out: %s", error)
        else:
            honoured[name] = text
    return honoured
