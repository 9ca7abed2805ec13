"""What a handler knows about the request that it answers, and the two questions that stand in every request's way.

A `RequestContext` is made for every request and is also its place in the order of its connection's answers: `respond` puts the
answer in that place, and the connection sends it when those before it are there. Handlers of decoded messages return their answer
instead; `respond` is for those that write their own bytes (Produce, Fetch).

Operations and resource types have the numbers of Kafka's ACL requests (`AclOperation`, `ResourceType`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from fastlog._core import ProduceRun, Region

OPERATION_READ: Final = 3
OPERATION_WRITE: Final = 4
OPERATION_CREATE: Final = 5
OPERATION_DELETE: Final = 6
OPERATION_ALTER: Final = 7
OPERATION_DESCRIBE: Final = 8
OPERATION_CLUSTER_ACTION: Final = 9
OPERATION_DESCRIBE_CONFIGS: Final = 10
OPERATION_ALTER_CONFIGS: Final = 11
OPERATION_IDEMPOTENT_WRITE: Final = 12

RESOURCE_TOPIC: Final = 2
RESOURCE_GROUP: Final = 3
RESOURCE_CLUSTER: Final = 4
RESOURCE_TRANSACTIONAL_ID: Final = 5
CLUSTER_RESOURCE_NAME: Final = "kafka-cluster"

ANONYMOUS: Final = "User:ANONYMOUS"

NO_ANSWER: Final = b""
"""The answer of a request that gets none (acks=0): its place in the order is given up."""

Answer = "bytes | list[bytes | Region | Buffer]"


class Policy(Protocol):
    """Who may do what, and how fast."""

    def authorize(self, context: RequestContext, operation: int, resource_type: int, resource_name: str) -> bool:
        """Tell whether the context's principal may do `operation` on a resource."""

    def throttle(self, context: RequestContext, quota: str, amount: int) -> int:
        """Count `amount` against a quota ("produce", "fetch": bytes; "request": 1) and return by how many ms it is exceeded."""


class AllowAll:
    """The policy of a broker without authorizer and quotas."""

    def authorize(self, context: RequestContext, operation: int, resource_type: int, resource_name: str) -> bool:
        return True

    def throttle(self, context: RequestContext, quota: str, amount: int) -> int:
        return 0


class Origin(Protocol):
    """The connection that a request came from, as far as a handler may know it."""

    listener_name: str
    principal: str
    peer_host: str
    peer_port: int
    policy: Policy
    closed: bool
    dirty: bool
    """Whether it knows already that there is something to send when the turn ends."""

    def answered(self) -> None:
        """Take note that there is an answer to send."""

    def abort(self, reason: str) -> None:
        """Close the connection, once the requests before have their answers, with one log line."""

    def mute(self, duration_ms: int) -> None:
        """Read nothing more for a time (KIP-219: the throttled answer goes out at once)."""


class RequestContext:
    """One request: whose, from where, which version; and its answer.

    Or a run of them (`run`), which are alike but for their correlation ids and are answered together.
    """

    __slots__ = (
        "answer",
        "api_key",
        "api_version",
        "client_id",
        "correlation_id",
        "on_close",
        "origin",
        "received_ns",
        "request_count",
        "run",
    )

    def __init__(
        self, origin: Origin, api_key: int, api_version: int, correlation_id: int, client_id: str | None, received_ns: int = 0
    ) -> None:
        self.origin = origin
        self.api_key = api_key
        self.api_version = api_version
        self.correlation_id = correlation_id
        self.client_id = client_id
        self.received_ns = received_ns
        self.answer: bytes | list[bytes | Region | Buffer] | None = None
        self.run: ProduceRun | None = None
        self.request_count = 1
        self.on_close: Callable[[], object] | None = None
        """Called when the connection closes before the answer is there, so that whoever parked the request lets it go."""

    @property
    def principal(self) -> str:
        return self.origin.principal

    @property
    def listener_name(self) -> str:
        return self.origin.listener_name

    @property
    def peer_host(self) -> str:
        return self.origin.peer_host

    def authorize(self, operation: int, resource_type: int, resource_name: str) -> bool:
        """Tell whether the principal may do this; what is refused is the handler's to answer."""
        return self.origin.policy.authorize(self, operation, resource_type, resource_name)

    def throttle(self, quota: str, amount: int) -> int:
        """Count against a quota, mute the connection when it is exceeded, and return the milliseconds to tell the client."""
        duration_ms = self.origin.policy.throttle(self, quota, amount)
        if duration_ms > 0:
            self.origin.mute(duration_ms)
        return duration_ms

    def respond(self, answer: bytes | list[bytes | Region | Buffer]) -> None:
        """Give the answer: a whole frame with its size, as bytes or as buffers to be sent one after another."""
        self.answer = answer
        if not self.origin.dirty:
            self.origin.answered()

    def abort(self, reason: str) -> None:
        """Give no answer and close the connection, as Kafka does where the protocol has no way to say what is wrong."""
        self.answer = NO_ANSWER
        self.origin.abort(reason)
