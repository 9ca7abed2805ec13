"""From a topic's options as text, and the broker's, to what its logs are told."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastlog.config import Config, parse_topic_options
from fastlog.errors import UsageError
from fastlog.metadata.controller import config_of_adopted
from fastlog.storage.log_config import LogConfig

logger = logging.getLogger(__name__)


def log_config(config: Config, options: Mapping[str, str]) -> LogConfig:
    """Return what the logs of a topic with these options are told; UsageError names the first option that is wrong."""
    values = {**config.topic_defaults(), **parse_topic_options(options)}
    fields: dict[str, Any] = {
        name.replace(".", "_"): ",".join(value) if isinstance(value, tuple) else value for name, value in values.items()
    }
    return LogConfig(**fields)


class TopicOptions:
    """The options of the logs of every topic that this broker hosts."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._by_topic: dict[str, LogConfig] = {}
        self._defaults = log_config(config, {})

    def log_config_for(self, topic: str) -> LogConfig:
        """Return what a topic's logs are told; of one that the coordinator doesn't know, what it gets when it is adopted."""
        known = self._by_topic.get(topic)
        if known is None:
            options = config_of_adopted(topic)
            return log_config(self._config, options) if options else self._defaults
        return known

    def learn(self, topic: str, options: Mapping[str, str]) -> LogConfig:
        """Take over a topic's options as the coordinator holds them.

        Others may have written them. One that cannot be honoured is left out with a line in the log, and then nothing of the
        topic is ever deleted for its age or size: a topic that was meant to be compacted must not lose what it holds.
        """
        try:
            learned = log_config(self._config, options)
        except UsageError:
            honoured: dict[str, str] = {}
            for name, text in options.items():
                try:
                    log_config(self._config, {**honoured, name: text})
                except UsageError as error:
                    logger.error("topic %s: %s; until then its records are kept for ever", topic, error)
                else:
                    honoured[name] = text
            learned = log_config(self._config, {**honoured, "retention.ms": "-1", "retention.bytes": "-1"})
        self._by_topic[topic] = learned
        return learned

    def forget(self, topic: str) -> None:
        """Drop what is known of a topic that is gone."""
        self._by_topic.pop(topic, None)
