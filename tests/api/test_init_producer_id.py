"""InitProducerId over a source of ids that the test plays."""

import pytest

from fastlog.api.context import AllowAll
from fastlog.api.init_producer_id import InitProducerIdHandler
from fastlog.coordinator.errors import ConnectionLoss
from fastlog.errors import ClusterAuthorizationFailed, CoordinatorLoadInProgress, InvalidRequest, UnsupportedVersion
from fastlog.wire.messages.init_producer_id import InitProducerIdRequest


class Ids:
    def __init__(self, reactor):
        self.reactor = reactor
        self.pending = []

    def next(self):
        self.pending.append(self.reactor.pending())
        return self.pending[-1]


@pytest.fixture
def make(make_rig):
    def made(**options):
        rig = make_rig(**options)
        ids = Ids(rig.reactor)
        api = InitProducerIdHandler(rig.reactor, ids).api()
        rig.registry.add(api)
        return rig, ids

    return made


@pytest.mark.parametrize("version", range(6))
def test_every_version_gives_a_new_id_at_epoch_0(make, version):
    rig, ids = make()
    client = rig.connect()
    known = {"producer_id": 7, "producer_epoch": 3} if version >= 3 else {}
    client.send(InitProducerIdRequest(transactional_id=None, **known), version)
    rig.settle()
    ids.pending[0].complete(1234)
    rig.settle()
    [(_, answer)] = client.answers()
    assert (answer.error_code, answer.producer_id, answer.producer_epoch) == (0, 1234, 0)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"transactional_id": "tx"}, UnsupportedVersion.code),
        ({"transactional_id": ""}, InvalidRequest.code),
        ({"transactional_id": None, "producer_id": 5}, InvalidRequest.code),
        ({"transactional_id": None, "producer_epoch": 5}, InvalidRequest.code),
    ],
)
def test_what_is_refused(make, fields, code):
    rig, ids = make()
    answer = rig.connect().ask(InitProducerIdRequest(**fields), 4)
    assert (answer.error_code, answer.producer_id, answer.producer_epoch) == (code, -1, -1)
    assert ids.pending == []


def test_an_unreachable_coordinator_is_a_reason_to_try_again(make, caplog):
    rig, ids = make()
    client = rig.connect()
    client.send(InitProducerIdRequest(transactional_id=None), 4)
    rig.settle()
    ids.pending[0].fail(ConnectionLoss("/latest_producer_id_block"))
    rig.settle()
    [(_, answer)] = client.answers()
    assert answer.error_code == CoordinatorLoadInProgress.code and not caplog.records


class Deny(AllowAll):
    def authorize(self, context, operation, resource_type, resource_name):
        return (operation, resource_type, resource_name) != (12, 4, "kafka-cluster")


def test_idempotent_writing_may_be_forbidden(make):
    rig, _ = make(policy=Deny())
    answer = rig.connect().ask(InitProducerIdRequest(transactional_id=None), 4)
    assert answer.error_code == ClusterAuthorizationFailed.code
