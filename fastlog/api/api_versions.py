"""ApiVersions (key 18): which requests this listener takes.

Versions 0-4. 1: throttle time. 2: throttling answers first (KIP-219). 3: flexible; the client tells its software's name and
version (KIP-511); features (KIP-584). 4: features with a least version of 0 may be told. The answer's header is version 0 always,
and a version beyond 4 is answered by a version 0 body that tells UNSUPPORTED_VERSION and this API's own range, so that any client
can find out what to ask with.

No features are told: `transaction.version` would make Java's producer use transactions of version 2.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from fastlog.api.registry import API_VERSIONS_KEY, Api
from fastlog.errors import InvalidRequest, KafkaError, UnsupportedVersion
from fastlog.wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse

if TYPE_CHECKING:
    from fastlog.api.context import RequestContext
    from fastlog.api.registry import Registry

MIN_VERSION = 0
MAX_VERSION = 4
_SOFTWARE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")


class ApiVersionsHandler:
    """Tells of what is in a registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(API_VERSIONS_KEY, "ApiVersions", MIN_VERSION, MAX_VERSION, self.handle, self.refuse)

    def handle(self, context: RequestContext, request: ApiVersionsRequest) -> ApiVersionsResponse:
        """Answer with the APIs of the registry."""
        if context.api_version >= 3:
            for what, text in (("name", request.client_software_name), ("version", request.client_software_version)):
                if not _SOFTWARE.fullmatch(text):
                    raise InvalidRequest(f"the client's software {what} is {text[:50]!r}")
        return ApiVersionsResponse(
            api_keys=[_row(*api.advertised) for api in self._registry], throttle_time_ms=context.throttle("request", 1)
        )

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> ApiVersionsResponse:
        """Return the answer that tells of an error; of a version that is not known, with the range that is."""
        rows = [_row(API_VERSIONS_KEY, MIN_VERSION, MAX_VERSION)] if isinstance(error, UnsupportedVersion) else []
        return ApiVersionsResponse(error_code=error.code, api_keys=rows)


def _row(key: int, min_version: int, max_version: int) -> ApiVersionsResponse.ApiVersion:
    return ApiVersionsResponse.ApiVersion(api_key=key, min_version=min_version, max_version=max_version)
