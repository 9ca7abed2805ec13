"""The expected answers are those of Kafka 4.3.1."""

import pytest

from fastlog.wire.messages.describe_cluster import DescribeClusterRequest

NOT_ASKED = -(1 << 31)


@pytest.mark.parametrize("version", [0, 1, 2])
def test_every_version(broker, version):
    answer = broker.call(DescribeClusterRequest(), version)
    assert (answer.error_code, answer.error_message, answer.endpoint_type) == (0, None, 1)
    assert (answer.cluster_id, answer.controller_id) == (broker.node.view.image.cluster_id, 1)
    assert [(one.broker_id, one.host, one.port, one.rack, one.is_fenced) for one in answer.brokers] == [
        (1, "broker", 9092, None, False)
    ]
    assert answer.cluster_authorized_operations == NOT_ASKED


def test_fenced_brokers_may_be_asked_for(broker):
    assert len(broker.call(DescribeClusterRequest(include_fenced_brokers=True), 2).brokers) == 1


@pytest.mark.parametrize(("endpoint_type", "code"), [(2, 114), (9, 115)])
def test_other_endpoint_types(broker, endpoint_type, code):
    answer = broker.call(DescribeClusterRequest(endpoint_type=endpoint_type), 1)
    assert (answer.error_code, answer.endpoint_type, answer.cluster_id, answer.brokers) == (code, 1, "", [])
    assert answer.error_message


def test_authorised_operations(broker):
    answer = broker.call(DescribeClusterRequest(include_cluster_authorized_operations=True), 0)
    assert answer.cluster_authorized_operations == 8096


class NotEvenLooking:
    def authorize(self, context, operation, resource_type, resource_name):
        return operation != 8

    def throttle(self, context, quota, amount):
        return 0


def test_who_may_not_look_has_no_operations(broker):
    broker.node._server.policy = NotEvenLooking()
    broker._peer = None
    answer = broker.call(DescribeClusterRequest(include_cluster_authorized_operations=True), 0)
    assert answer.cluster_authorized_operations == 0
