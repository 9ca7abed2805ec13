"""InitProducerId (key 22): an id for an idempotent producer.

Versions 0-5. 1: throttling answers first (KIP-219). 2: flexible. 3: the producer may tell the id and epoch that it has (KIP-360).
4: PRODUCER_FENCED may be answered. 5: as 4, for transactions of version 2 (KIP-890).

A producer without transactional id gets a new id with epoch 0, whatever it had before, as in Kafka. There are no transactions
yet, and FindCoordinator is not advertised: a transactional id is refused with UNSUPPORTED_VERSION, which clients take as final.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastlog.api.context import CLUSTER_RESOURCE_NAME, OPERATION_IDEMPOTENT_WRITE, RESOURCE_CLUSTER, RequestContext
from fastlog.api.registry import Api
from fastlog.coordinator.errors import CoordinatorError
from fastlog.errors import ClusterAuthorizationFailed, CoordinatorLoadInProgress, InvalidRequest, KafkaError, UnsupportedVersion
from fastlog.wire.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse

if TYPE_CHECKING:
    from fastlog.env.reactor import Flow, Pending, Reactor
    from fastlog.metadata.producer_ids import ProducerIds

NO_PRODUCER_ID = -1
NO_PRODUCER_EPOCH = -1


class InitProducerIdHandler:
    """Gives producer ids out."""

    def __init__(self, reactor: Reactor, producer_ids: ProducerIds) -> None:
        self._reactor = reactor
        self._producer_ids = producer_ids

    def api(self) -> Api:
        """Return the API for the registry."""
        return Api(22, "InitProducerId", 0, 5, self.handle, self.refuse)

    def handle(self, context: RequestContext, request: InitProducerIdRequest) -> Pending[InitProducerIdResponse]:
        """Answer with a new producer id."""
        if request.transactional_id is not None:
            if not request.transactional_id:
                raise InvalidRequest("the transactional id is empty")
            raise UnsupportedVersion("transactions are not supported")
        if (request.producer_id == NO_PRODUCER_ID) != (request.producer_epoch == NO_PRODUCER_EPOCH):
            raise InvalidRequest("a producer id without an epoch, or the other way round")
        if not context.authorize(OPERATION_IDEMPOTENT_WRITE, RESOURCE_CLUSTER, CLUSTER_RESOURCE_NAME):
            raise ClusterAuthorizationFailed
        return self._reactor.spawn(self._answer(context))

    def _answer(self, context: RequestContext) -> Flow[InitProducerIdResponse]:
        try:
            producer_id = yield self._producer_ids.next()
        except CoordinatorError as error:
            raise CoordinatorLoadInProgress(f"no producer ids at the moment: {error}") from error  # what Kafka says, retriable
        return InitProducerIdResponse(producer_id=producer_id, producer_epoch=0, throttle_time_ms=context.throttle("request", 1))

    def refuse(self, context: RequestContext, request: Any, error: KafkaError) -> InitProducerIdResponse:
        """Return the answer that tells of an error."""
        return InitProducerIdResponse(error_code=error.code, producer_id=NO_PRODUCER_ID, producer_epoch=NO_PRODUCER_EPOCH)
