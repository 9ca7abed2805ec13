"""A member of a group against the scripted broker, as its coordinator."""

import pytest

from fastlog import errors
from fastlog.client.consumer import Consumer
from fastlog.client.groups import Groups
from fastlog.client.member import Member
from fastlog.wire.messages.find_coordinator import FindCoordinatorResponse
from fastlog.wire.messages.leave_group import LeaveGroupResponse
from fastlog.wire.messages.offset_commit import OffsetCommitResponse


@pytest.mark.parametrize("error", [errors.NONE, errors.UnknownTopicOrPartition.code, errors.TopicAuthorizationFailed.code])
def test_a_member_leaves_also_where_its_last_commit_is_refused(world, error):
    w = world()
    gone = []

    def find(request, version):
        (group,) = request.coordinator_keys
        coordinator = FindCoordinatorResponse.Coordinator(key=group, node_id=1, host="broker", port=9092)
        return FindCoordinatorResponse(coordinators=[coordinator])

    def commit(request, version):
        partition = OffsetCommitResponse.OffsetCommitResponsePartition(partition_index=0, error_code=error)
        return OffsetCommitResponse(topics=[OffsetCommitResponse.OffsetCommitResponseTopic(name="t", partitions=[partition])])

    def leave(request, version):
        gone.extend(member.member_id for member in request.members)
        return LeaveGroupResponse()

    w.broker.FindCoordinator, w.broker.OffsetCommit, w.broker.LeaveGroup = find, commit, leave
    w.broker.ranges |= {10: (4, 6), 8: (7, 9), 13: (3, 5)}
    member = Member(w.cluster, Groups(w.cluster), Consumer(w.cluster), "g", ["t"])
    member.member_id, member.generation, member.owned = "m", 1, (("t", 0),)
    member.done("t", 0, 7)
    w.wait(member.leave())
    assert gone == ["m"]
