"""Which operations a principal may do on a resource, as the bit field that Metadata and DescribeCluster tell (KIP-430)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastlog.api import context as operations
from fastlog.api.context import CLUSTER_RESOURCE_NAME, RESOURCE_CLUSTER, RESOURCE_GROUP, RESOURCE_TOPIC

if TYPE_CHECKING:
    from fastlog.api.context import RequestContext

NOT_ASKED: Final = -(1 << 31)
"""What stands in the field when the client did not ask."""

_OF_TOPICS: Final = (
    operations.OPERATION_READ,
    operations.OPERATION_WRITE,
    operations.OPERATION_CREATE,
    operations.OPERATION_DELETE,
    operations.OPERATION_ALTER,
    operations.OPERATION_DESCRIBE,
    operations.OPERATION_DESCRIBE_CONFIGS,
    operations.OPERATION_ALTER_CONFIGS,
)
_OF_GROUPS: Final = (
    operations.OPERATION_READ,
    operations.OPERATION_DELETE,
    operations.OPERATION_DESCRIBE,
    operations.OPERATION_DESCRIBE_CONFIGS,
    operations.OPERATION_ALTER_CONFIGS,
)
_OF_THE_CLUSTER: Final = (
    operations.OPERATION_CREATE,
    operations.OPERATION_ALTER,
    operations.OPERATION_DESCRIBE,
    operations.OPERATION_CLUSTER_ACTION,
    operations.OPERATION_DESCRIBE_CONFIGS,
    operations.OPERATION_ALTER_CONFIGS,
    operations.OPERATION_IDEMPOTENT_WRITE,
)


def on_topic(context: RequestContext, topic: str) -> int:
    """Return what the context's principal may do with a topic."""
    return sum(1 << operation for operation in _OF_TOPICS if context.authorize(operation, RESOURCE_TOPIC, topic))


def on_group(context: RequestContext, group_id: str) -> int:
    """Return what the context's principal may do with a group."""
    return sum(1 << operation for operation in _OF_GROUPS if context.authorize(operation, RESOURCE_GROUP, group_id))


def on_cluster(context: RequestContext) -> int:
    """Return what the context's principal may do with the cluster; nothing when it may not even look."""
    if not context.authorize(operations.OPERATION_DESCRIBE, RESOURCE_CLUSTER, CLUSTER_RESOURCE_NAME):
        return 0
    return sum(
        1 << operation for operation in _OF_THE_CLUSTER if context.authorize(operation, RESOURCE_CLUSTER, CLUSTER_RESOURCE_NAME)
    )
