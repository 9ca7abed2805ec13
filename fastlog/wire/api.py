"""The table of APIs: keys, names, versions, header versions, and the message classes, imported when they are asked for.

The constants (`api.PRODUCE`, `api.FETCH`, ...) are API keys. Versions are those that Kafka 4.3.1's listeners advertise by default
(an unstable latest version is left out); for LeaderAndIsr, StopReplica, UpdateMetadata and ControlledShutdown those of 3.9.1.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from fastlog.errors import UnsupportedVersion
from fastlog.wire.messages.api_table import *  # noqa: F403 - the constants of API keys
from fastlog.wire.messages.api_table import API_VERSIONS, CONTROLLED_SHUTDOWN, ROWS

if TYPE_CHECKING:
    from fastlog.wire.schema import Message


class Api(NamedTuple):
    """One row: an API and the range of versions that Kafka serves."""

    key: int
    name: str
    module: str
    min_version: int
    max_version: int
    flexible_since: int | None
    listeners: tuple[str, ...]
    """Kinds of listeners that serve it: "broker", "controller"; "zkBroker" for what ended with ZooKeeper."""

    def is_flexible(self, version: int) -> bool:
        """Tell whether a version uses compact lengths and tagged fields, in header and body."""
        return self.flexible_since is not None and version >= self.flexible_since

    def request_header_version(self, version: int) -> int:
        """Return the version of the request header that goes with a version of the API."""
        if self.is_flexible(version):
            return 2
        return 0 if self.key == CONTROLLED_SHUTDOWN and version == 0 else 1

    def response_header_version(self, version: int) -> int:
        """Return the version of the response header: always 0 for ApiVersions (KIP-511), for clients that know no better."""
        return 1 if self.key != API_VERSIONS and self.is_flexible(version) else 0

    @property
    def request_class(self) -> type[Message]:
        """The class of its requests."""
        return _message_class(self.module, f"{self.name}Request")

    @property
    def response_class(self) -> type[Message]:
        """The class of its responses."""
        return _message_class(self.module, f"{self.name}Response")


APIS: dict[int, Api] = {row[0]: Api._make(row) for row in ROWS}
"""API key -> API, in the order of keys."""


def api(key: int) -> Api:
    """Return an API by its key; UnsupportedVersion when there is none such, as Kafka calls it."""
    found = APIS.get(key)
    if found is None:
        raise UnsupportedVersion(f"There is no API with key {key}.")
    return found


def request_class(key: int) -> type[Message]:
    """Return the class of an API's requests. Raises as `api` does."""
    return api(key).request_class


def response_class(key: int) -> type[Message]:
    """Return the class of an API's responses. Raises as `api` does."""
    return api(key).response_class


@cache  # it is asked for with every request
def _message_class(module: str, name: str) -> type[Message]:
    found: type[Message] = getattr(import_module(f"fastlog.wire.messages.{module}"), name)
    return found
