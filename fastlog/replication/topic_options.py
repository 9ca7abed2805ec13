"""From a topic's options as text, and the broker's, to what its logs are told."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastlog.config import Config, parse_topic_options
from fastlog.errors import UsageError
from fastlog.metadata.controller import config_of_adopted
from fastlog.storage.log_config import LogConfig

if TYPE_CHECKING:
    from fastlog.metadata.broker_options import BrokerOptions

logger = logging.getLogger(__name__)


def log_config(config: Config, options: Mapping[str, str]) -> LogConfig:
    """Return what the logs of a topic with these options are told; UsageError names the first option that is wrong."""
    values = {**config.topic_defaults(), **parse_topic_options(options)}
    fields: dict[str, Any] = {
        name.replace(".", "_"): ",".join(value) if isinstance(value, tuple) else value for name, value in values.items()
    }
    return LogConfig(**fields)


def honoured(options: Mapping[str, str]) -> tuple[Mapping[str, str], list[UsageError]]:
    """Return which options of a topic are in force, and what is wrong with the others.

    Others than fastlog may have written them. Where one cannot be honoured, nothing of the topic is ever deleted for its age or
    size: a topic that was meant to be compacted must not lose what it holds.
    """
    kept: dict[str, str] = {}
    mistakes = []
    for name, text in options.items():
        try:
            parse_topic_options({name: text})
        except UsageError as error:
            mistakes.append(error)
        else:
            kept[name] = text
    return ({**kept, "retention.ms": "-1", "retention.bytes": "-1"} if mistakes else kept), mistakes


class TopicOptions:
    """The options of the logs of every topic that this broker hosts."""

    def __init__(self, broker: BrokerOptions) -> None:
        self._config = broker.config
        self._texts: dict[str, Mapping[str, str]] = {}
        self._by_topic: dict[str, LogConfig] = {}
        self._defaults = log_config(broker.config, {})
        broker.on_change(self._broker_changed)

    def log_config_for(self, topic: str) -> LogConfig:
        """Return what a topic's logs are told; of one that the coordinator doesn't know, what it gets when it is adopted."""
        known = self._by_topic.get(topic)
        if known is None:
            options = config_of_adopted(topic)
            return log_config(self._config, options) if options else self._defaults
        return known

    def learn(self, topic: str, options: Mapping[str, str]) -> None:
        """Take over a topic's options as the coordinator holds them; see `honoured`."""
        effective, mistakes = honoured(options)
        for mistake in mistakes:
            logger.error("topic %s: %s; until then its records are kept for ever", topic, mistake)
        self._texts[topic] = effective
        self._by_topic[topic] = log_config(self._config, effective)

    def forget(self, topic: str) -> None:
        """Drop what is known of a topic that is gone."""
        self._texts.pop(topic, None)
        self._by_topic.pop(topic, None)

    def _broker_changed(self, config: Config) -> None:
        self._config = config
        self._defaults = log_config(config, {})
        self._by_topic = {topic: log_config(config, texts) for topic, texts in self._texts.items()}
