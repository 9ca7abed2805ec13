"""The APIs of groups, put together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastlog.api.delete_groups import DeleteGroupsHandler
from fastlog.api.describe_groups import DescribeGroupsHandler
from fastlog.api.find_coordinator import FindCoordinatorHandler
from fastlog.api.heartbeat import HeartbeatHandler
from fastlog.api.join_group import JoinGroupHandler
from fastlog.api.leave_group import LeaveGroupHandler
from fastlog.api.list_groups import ListGroupsHandler
from fastlog.api.offset_commit import OffsetCommitHandler
from fastlog.api.offset_delete import OffsetDeleteHandler
from fastlog.api.offset_fetch import OffsetFetchHandler
from fastlog.api.sync_group import SyncGroupHandler

if TYPE_CHECKING:
    from fastlog.api.registry import Api
    from fastlog.env.reactor import Reactor
    from fastlog.groups.coordinator import GroupCoordinator
    from fastlog.groups.topic import OffsetsTopic
    from fastlog.metadata.view import ClusterView


def group_apis(reactor: Reactor, view: ClusterView, groups: GroupCoordinator, topic: OffsetsTopic) -> Iterator[Api]:
    """Yield every API that is about groups."""
    for handler in (
        FindCoordinatorHandler(reactor, view, topic),
        JoinGroupHandler(reactor, groups),
        SyncGroupHandler(reactor, groups),
        HeartbeatHandler(groups),
        LeaveGroupHandler(groups),
        OffsetCommitHandler(reactor, view, groups),
        OffsetFetchHandler(view, groups),
        OffsetDeleteHandler(reactor, view, groups),
        ListGroupsHandler(groups),
        DescribeGroupsHandler(groups),
        DeleteGroupsHandler(reactor, groups),
    ):
        yield handler.api()
