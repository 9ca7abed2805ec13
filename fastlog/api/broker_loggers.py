"""Log levels as options of a broker (resource type BROKER_LOGGER, KIP-412): fastlog's own loggers, Kafka's names of levels.

They are kept by this process alone, and altered by IncrementalAlterConfigs alone. `root` is the logger of everything else.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Final

from fastlog.api.config_resources import DELETE, SET, Change
from fastlog.errors import InvalidConfig, InvalidRequest

ROOT: Final = "root"
SOURCE: Final = 6
"""Where a log level comes from, as Kafka tells it (DYNAMIC_BROKER_LOGGER_CONFIG)."""

_PACKAGE: Final = "fastlog"
_TRACE: Final = 5
_LEVELS: Final = {
    "FATAL": logging.CRITICAL,
    "ERROR": logging.ERROR,
    "WARN": logging.WARNING,
    "INFO": logging.INFO,
    "DEBUG": logging.DEBUG,
    "TRACE": _TRACE,
}


def levels() -> dict[str, str]:
    """Return the level in force of every logger by name."""
    return {name: _level_name(logger.getEffectiveLevel()) for name, logger in sorted(_loggers().items())}


def alter(changes: Collection[Change], *, validate_only: bool = False) -> None:
    """Set levels, or delete them so that the next logger above counts: all of them, or none.

    InvalidConfig for a logger or a level that is none; InvalidRequest for what cannot be done to a level.
    """
    loggers = _loggers()
    new_levels = []
    for name, operation, value in changes:
        logger = loggers.get(name)
        if logger is None:
            raise InvalidConfig(f"There is no logger {name}.")
        if operation == SET:
            if value not in _LEVELS:
                raise InvalidConfig(f"The level of logger {name} may be {' or '.join(_LEVELS)}, not {value!r}.")
            new_levels.append((logger, _LEVELS[value]))
        elif operation == DELETE:
            if name == ROOT:
                raise InvalidRequest("The root logger's level can be set, not deleted.")
            new_levels.append((logger, logging.NOTSET))
        else:
            raise InvalidRequest(f"The level of logger {name} can be set and deleted, nothing else.")
    if not validate_only:
        for logger, level in new_levels:
            logger.setLevel(level)


def _loggers() -> dict[str, logging.Logger]:
    known = logging.Logger.manager.loggerDict.items()
    own = {
        name: logger
        for name, logger in known
        if isinstance(logger, logging.Logger) and (name == _PACKAGE or name.startswith(f"{_PACKAGE}."))
    }
    return {ROOT: logging.getLogger(), **own}


def _level_name(level: int) -> str:
    return next((name for name, number in _LEVELS.items() if level >= number), "TRACE")
