"""The table of APIs, and the way from a request's frame to its handler.

Rules (Kafka's `SocketServer` and `ApiVersionManager`, KIP-511): a key that isn't in the table, or a version outside of its range,
closes the connection, since nothing is known of the header or body that an answer would need; only ApiVersions of an unknown
version is answered, by version 0 of its answer. A body that cannot be decoded closes the connection too. An exception inside a
handler is answered with UNKNOWN_SERVER_ERROR and harms nothing else.

A handler of messages is called as `handler(context, request)` and returns the response message, or a `Pending` of it, or None
when the request has no answer; a `KafkaError` that it raises is answered by `refuse`. A handler of frames (`takes_frame`) is
called as `handler(context, frame, position)`, returns nothing, and calls `context.respond` in the same turn or later; it alone
knows what it has parsed, so it answers its errors itself, and what it lets escape closes the connection.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from fastlog.api.context import NO_ANSWER, RequestContext
from fastlog.env.reactor import Pending
from fastlog.errors import DecodeError, KafkaError, UnknownServerError, UnsupportedVersion
from fastlog.wire.api import request_class
from fastlog.wire.frames import body_position, encode_response

if TYPE_CHECKING:
    from fastlog._core import ProduceRun, Slice

API_VERSIONS_KEY = 18

logger = logging.getLogger(__name__)


class Refused(Exception):
    """The request cannot be answered: the connection has to close for the reason given."""


def decode_request(api_key: int, api_version: int, frame: Slice, position: int) -> Any:
    """Decode what follows the client id of a frame: a flexible header's tags, then the message. Raises DecodeError."""
    return request_class(api_key).decode(frame, api_version, body_position(frame, position, api_key, api_version))


def _refuse_nothing(context: RequestContext, request: Any, error: KafkaError) -> Any:
    raise error


@dataclass(frozen=True, slots=True)
class Api:
    """One API: its key, the versions that it takes, and who answers."""

    key: int
    name: str
    min_version: int
    max_version: int
    handler: Callable[..., Any]
    refuse: Callable[[RequestContext, Any, KafkaError], Any] = _refuse_nothing
    """`refuse(context, request, error)` returns the message that answers a decoded request with an error."""
    takes_frame: bool = False
    is_pipelined: bool = False
    """Whether it may be begun while others of its kind on the same connection have no answers yet (OffsetCommit)."""
    run_handler: Callable[[RequestContext, ProduceRun], bool] | None = None
    """Takes requests that are alike together, or as many of them as it can (Produce); False: the first goes to `handler`."""
    advertised_min_version: int | None = None
    """The least version that ApiVersions tells of, where it is not `min_version` (Produce, KAFKA-18659)."""

    @property
    def advertised(self) -> tuple[int, int, int]:
        """Return (key, min version, max version) as ApiVersions tells them."""
        least = self.min_version if self.advertised_min_version is None else self.advertised_min_version
        return self.key, least, self.max_version

    def serves(self, version: int) -> bool:
        """Tell whether requests of a version are answered."""
        return self.min_version <= version <= self.max_version


class Registry:
    """The APIs of one listener's clients."""

    def __init__(self) -> None:
        self._apis: dict[int, Api] = {}
        self.pipelined_keys: set[int] = set()
        self.frame_handlers: dict[int, Callable[[RequestContext, Slice, int], None]] = {}
        """Handlers of frames by `key << 16 | version`: the connection's short way to them."""
        self.run_handler: Callable[[RequestContext, ProduceRun], bool] = lambda context, run: False
        """Takes runs of Produce requests; without that API nobody does."""

    def add(self, api: Api) -> None:
        """Serve an API; ValueError when its key is taken."""
        if api.key in self._apis:
            raise ValueError(f"API key {api.key} has a handler already: {self._apis[api.key].name}")
        self._apis[api.key] = api
        if api.takes_frame:
            for version in range(api.min_version, api.max_version + 1):
                self.frame_handlers[api.key << 16 | version] = api.handler
        if api.is_pipelined:
            self.pipelined_keys.add(api.key)
        if api.run_handler is not None:
            self.run_handler = api.run_handler

    def describe(self, context: RequestContext) -> str:
        """Name a request for the log."""
        return f"{self._apis[context.api_key].name} version {context.api_version}"

    def __iter__(self) -> Iterator[Api]:
        """Iterate the APIs by key."""
        return iter(sorted(self._apis.values(), key=lambda api: api.key))

    def find(self, key: int, version: int) -> Api:
        """Return the API of a request. Raises Refused when it has no answer; ApiVersions has one for every version."""
        api = self._apis.get(key)
        if api is None:
            raise Refused(f"API key {key} is not served here")
        if not api.serves(version) and key != API_VERSIONS_KEY:
            raise Refused(f"{api.name} version {version} is not served here, only {api.min_version} to {api.max_version}")
        return api

    def dispatch(self, context: RequestContext, frame: Slice, position: int) -> None:
        """Have a request of messages answered, now or later. Raises Refused when its connection has to close."""
        api = self.find(context.api_key, context.api_version)
        if not api.serves(context.api_version):
            context.api_version = 0
            self._answer(api, context, api.refuse(context, None, UnsupportedVersion()))
            return
        try:
            request = decode_request(api.key, context.api_version, frame, position)
        except DecodeError as error:
            raise Refused(f"{self.describe(context)} cannot be decoded: {error}") from None
        try:
            answer = api.handler(context, request)
            if type(answer) is Pending:
                answer.then(partial(self._settled, api, context, request))
            else:
                self._answer(api, context, answer)
        except Exception as error:
            self._fail(api, context, request, error)

    def _settled(self, api: Api, context: RequestContext, request: Any, settled: Pending[Any]) -> None:
        try:
            self._answer(api, context, settled.result())
        except Exception as error:
            self._fail(api, context, request, error)

    def _fail(self, api: Api, context: RequestContext, request: Any, error: Exception) -> None:
        refusal = error if isinstance(error, KafkaError) else UnknownServerError()
        if refusal is not error:
            logger.error("%s of %s failed", self.describe(context), context.peer_host, exc_info=error)
        try:
            self._answer(api, context, api.refuse(context, request, refusal))
        except Exception as second:
            logger.error("%s has no answer for %s", self.describe(context), refusal.name, exc_info=second)
            context.abort(f"{self.describe(context)} could not be answered")

    def _answer(self, api: Api, context: RequestContext, message: Any) -> None:
        if message is None:
            context.respond(NO_ANSWER)
        else:
            context.respond(encode_response(message, context.api_version, context.correlation_id))
