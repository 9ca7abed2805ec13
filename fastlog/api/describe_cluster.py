"""DescribeCluster (key 60): the cluster's id, its controller and its brokers (KIP-700).

Versions 0-2. 1: the client says whether it wants brokers or controllers (KIP-919); this is a broker's listener, so controllers
are refused. 2: fenced brokers may be asked for (KIP-1073); a broker that is not live is not registered here, so there are none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastlog.api import authorized_operations
from fastlog.api.registry import Api
from fastlog.errors import KafkaError, MismatchedEndpointType, UnsupportedEndpointType
from fastlog.wire.messages.describe_cluster import DescribeClusterRequest, DescribeClusterResponse

if TYPE_CHECKING:
    from fastlog.api.context import RequestContext
    from fastlog.metadata.view import ClusterView

ENDPOINT_BROKERS: Final = 1
ENDPOINT_CONTROLLERS: Final = 2


class DescribeClusterHandler:
    """Tells of the cluster."""

    def __init__(self, view: ClusterView) -> None:
        self._view = view

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(60, "DescribeCluster", 0, 2, self.handle, self.refuse)

    def handle(self, context: RequestContext, request: DescribeClusterRequest) -> DescribeClusterResponse:
        """Answer with the brokers that the request's listener can reach."""
        if request.endpoint_type == ENDPOINT_CONTROLLERS:
            raise MismatchedEndpointType("This endpoint is a broker's, and a controller's was asked for.")
        if request.endpoint_type != ENDPOINT_BROKERS:
            raise UnsupportedEndpointType(f"There is no endpoint type {request.endpoint_type}.")
        image = self._view.image
        response = DescribeClusterResponse(
            throttle_time_ms=context.throttle("request", 1),
            endpoint_type=ENDPOINT_BROKERS,
            cluster_id=image.cluster_id,
            controller_id=image.controller_id,
        )
        for broker in image.brokers.values():
            endpoint = broker.endpoint(context.listener_name)
            if endpoint is not None:
                response.brokers.append(
                    DescribeClusterResponse.DescribeClusterBroker(
                        broker_id=broker.id, host=endpoint.host, port=endpoint.port, rack=broker.rack
                    )
                )
        if request.include_cluster_authorized_operations:
            response.cluster_authorized_operations = authorized_operations.on_cluster(context)
        return response

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> DescribeClusterResponse:
        """Return the answer that tells of an error."""
        return DescribeClusterResponse(error_code=error.code, error_message=error.message)
