"""What the requests of options (DescribeConfigs, AlterConfigs, IncrementalAlterConfigs, ListConfigResources) are about.

Resource types have the numbers of Kafka's `ConfigResource.Type`. Those that fastlog has no options of are refused by name.
"""

from __future__ import annotations

from typing import Final

from fastlog.errors import InvalidRequest

RESOURCE_TOPIC: Final = 2
RESOURCE_BROKER: Final = 4
RESOURCE_BROKER_LOGGER: Final = 8
RESOURCE_CLIENT_METRICS: Final = 16
RESOURCE_GROUP: Final = 32

SET: Final = 0
DELETE: Final = 1
APPEND: Final = 2
SUBTRACT: Final = 3

Change = tuple[str, int, str | None]
"""(option, operation, value): what becomes of one option, as a request has it."""

_WITHOUT_OPTIONS: Final = {
    RESOURCE_CLIENT_METRICS: "client metrics are not built",
    RESOURCE_GROUP: "groups have no options of their own",
}


def broker_of(name: str, own_id: int) -> int | None:
    """Return the broker that a resource of type BROKER names, None for all brokers; InvalidRequest for any but this one."""
    if not name:
        return None
    if not name.removeprefix("-").isascii() or not name.removeprefix("-").isdecimal():
        raise InvalidRequest(f"A broker's id is a number, not {name!r}.")
    if int(name) != own_id:
        raise InvalidRequest(f"This is broker {own_id}, and options of broker {name} were asked for: ask that one.")
    return own_id


def logging_broker(name: str, own_id: int) -> None:
    """Raise InvalidRequest for a resource of type BROKER_LOGGER that is not this broker."""
    if broker_of(name, own_id) is None:
        raise InvalidRequest("Log levels are a single broker's: name it by its id.")


def unsupported(resource_type: int) -> InvalidRequest:
    """Return the error for a resource type without options."""
    why = _WITHOUT_OPTIONS.get(resource_type, "Kafka has none such")
    return InvalidRequest(f"There are no options of resource type {resource_type} here: {why}.")
