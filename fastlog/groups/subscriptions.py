"""What members of type `consumer` say of themselves, as far as the broker reads it: the topics that they subscribe to."""

from __future__ import annotations

import struct
from typing import Final

from fastlog.errors import DecodeError
from fastlog.wire.messages.consumer_protocol_subscription import ConsumerProtocolSubscription

CONSUMER_PROTOCOL_TYPE: Final = "consumer"
_VERSION: Final = struct.Struct(">h")


def subscribed_topics(metadata: bytes) -> list[str] | None:
    """Return the topics of a member's subscription; None when its bytes are none.

    A version beyond the newest that is known is read as that one: Kafka's rule for what a client writes there.
    """
    if len(metadata) < _VERSION.size:
        return None
    version = _VERSION.unpack_from(metadata)[0]
    if version < ConsumerProtocolSubscription.MIN_VERSION:
        return None
    try:
        known = min(version, ConsumerProtocolSubscription.MAX_VERSION)
        return ConsumerProtocolSubscription.decode(metadata, known, _VERSION.size).topics
    except DecodeError:
        return None
