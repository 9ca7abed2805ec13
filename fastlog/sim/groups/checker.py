"""What must hold of consumer groups, whatever happens. Every request that a member sends passes here, and every answer.

A generation counts as established from the first answer on that gave a member its assignment in it: that answer comes after the
group was stored. The anomalies:

* two-owners: in one generation a partition belongs to two members. A static member that comes back under its instance id is the
  same one. two-assignments: in one generation a member is told two different things.
* generation-back: who asked after a generation was established is let into an older one, or gets its assignment there.
* fenced-commit: a commit is acknowledged that was sent by a member of a generation after a newer one was established, or by one
  whose instance id somebody else had taken.
* lost-offset: what is said to be committed is not the last that was acknowledged, nor anything that may have come after it.
  refused-offset: it is something that was refused. phantom-offset: it is something that nobody committed.
* unsettled: faults are over, and a group does not come to rest: all of its members in one generation, each partition with one
  of them, and the broker of the same mind.

After a lost machine that holds for what was flushed; where not all was, the checker forgets what it knew (`machine_lost`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fastlog.client.assignments import TopicPartition, decode_assignment
from fastlog.errors import (
    NONE,
    FencedInstanceId,
    GroupIdNotFound,
    IllegalGeneration,
    RebalanceInProgress,
    UnknownMemberId,
)
from fastlog.sim.violation import Verdict
from fastlog.wire.messages.join_group import JoinGroupRequest, JoinGroupResponse
from fastlog.wire.messages.offset_commit import OffsetCommitRequest, OffsetCommitResponse
from fastlog.wire.messages.offset_fetch import OffsetFetchResponse
from fastlog.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse

if TYPE_CHECKING:
    from fastlog.client.groups import DescribedGroup
    from fastlog.wire.schema import Message

REFUSALS = (
    UnknownMemberId.code,
    IllegalGeneration.code,
    FencedInstanceId.code,
    RebalanceInProgress.code,
    GroupIdNotFound.code,
)
"""What says of a commit that it was not carried out; after any other error nobody knows."""
NEVER = 1 << 62


class Commit:
    """One offset that somebody commits, in one attempt or several."""

    __slots__ = (
        "acknowledged_at",
        "attempts",
        "generation",
        "generation_over_at",
        "offset",
        "refused",
        "sent_at",
        "settled",
        "settled_at",
        "who",
    )

    def __init__(self, who: str, offset: int, generation: int) -> None:
        self.who = who
        self.offset = offset
        self.generation = generation
        self.generation_over_at = NEVER
        self.attempts = self.settled = self.refused = 0
        """How many were sent, have an answer that says what became of them, and were refused."""
        self.settled_at = NEVER
        self.sent_at = -1
        """When the attempt was sent that was acknowledged."""
        self.acknowledged_at = NEVER

    @property
    def over_at(self) -> int:
        """From when on it is not carried out any more: what has no answer may be under way as long as its generation lasts."""
        return self.settled_at if self.settled == self.attempts else self.generation_over_at

    def __str__(self) -> str:
        return f"{self.offset} of {self.who} in generation {self.generation}"


class Attempt:
    """A request on its way, and what was known when it was sent."""

    __slots__ = ("commits", "established", "group_id", "is_fenced", "request", "sent_at", "who")

    def __init__(self, who: str, group_id: str, request: Message, sent_at: int, established: int) -> None:
        self.who = who
        self.group_id = group_id
        self.request = request
        self.sent_at = sent_at
        self.established = established
        self.is_fenced = False
        self.commits: list[tuple[TopicPartition, Commit]] = []


class GroupHistory:
    """What is known of one group."""

    def __init__(self, group_id: str) -> None:
        self.group_id = group_id
        self.established = 0
        """The newest generation in which somebody has an assignment."""
        self.owners: dict[tuple[int, TopicPartition], str] = {}
        self.assignments: dict[tuple[int, str], list[TopicPartition]] = {}
        self.commits: dict[TopicPartition, dict[int, Commit]] = {}
        """By offset, in the order of sending: no two commits of a run have the same offset."""
        self.instances: dict[str, dict[str, int]] = {}
        """Instance id -> member ids that have joined under it -> when that was told."""
        self.replaced: dict[str, list[str]] = {}
        """Member id -> those in whose place it was let in. They are fenced once it has its assignment: only then it is stored."""
        self.fenced: dict[str, None] = {}
        self.lost_at = -1
        """When a lost machine took what was not flushed."""


class GroupChecker(Verdict):
    """Takes the events of one run and raises `Violation` at the first that may not be."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: dict[str, GroupHistory] = {}
        self.committed_count = 0
        self.refused_count = 0
        self.unanswered_count = 0
        self.assigned_count = 0
        self.generation_count = 0
        self.read_count = 0
        self._now = 0
        self._offsets = 0

    def _group(self, group_id: str) -> GroupHistory:
        group = self.groups.get(group_id)
        if group is None:
            group = self.groups[group_id] = GroupHistory(group_id)
        return group

    def next_offset(self) -> int:
        """Return an offset that nobody has committed."""
        self._offsets += 1
        return self._offsets

    def machine_lost(self) -> None:
        """Forget what only held as long as the machine was there."""
        for group in self.groups.values():
            group.established, group.lost_at = 0, self._now
            group.owners.clear()
            group.assignments.clear()
            group.instances.clear()
            group.replaced.clear()
            group.fenced.clear()

    def may_be_deserted(self, group_id: str) -> bool:
        """Whether all static members of a group may have been fenced: a machine was lost with what it knew of them."""
        return self._group(group_id).lost_at >= 0

    # ---- requests

    def sent(self, who: str, group_id: str, request: Message) -> Attempt:
        """Note that a request is sent now."""
        self._now += 1
        group = self._group(group_id)
        attempt = Attempt(who, group_id, request, self._now, group.established)
        if isinstance(request, OffsetCommitRequest):
            attempt.is_fenced = request.member_id in group.fenced
            for topic in request.topics:
                for one in topic.partitions:
                    where = (topic.name, one.partition_index)
                    commit = group.commits.setdefault(where, {}).get(one.committed_offset)
                    if commit is None:
                        commit = Commit(who, one.committed_offset, request.generation_id_or_member_epoch)
                        group.commits[where][one.committed_offset] = commit
                        if commit.generation < group.established:
                            commit.generation_over_at = self._now
                    commit.attempts += 1
                    attempt.commits.append((where, commit))
                    self.unanswered_count += 1
        return attempt

    def answered(self, attempt: Attempt, answer: Message) -> None:
        """Note what a request was answered."""
        self._now += 1
        group, request = self._group(attempt.group_id), attempt.request
        if attempt.sent_at <= group.lost_at:
            return
        if isinstance(answer, JoinGroupResponse) and isinstance(request, JoinGroupRequest):
            self._joined(group, attempt, request, answer)
        elif isinstance(answer, SyncGroupResponse) and isinstance(request, SyncGroupRequest):
            self._synced(group, attempt, request, answer)
        elif isinstance(answer, OffsetCommitResponse):
            self._committed(group, attempt, answer)
        elif isinstance(answer, OffsetFetchResponse):
            self._read(group, attempt, answer)

    def _joined(self, group: GroupHistory, attempt: Attempt, request: JoinGroupRequest, answer: JoinGroupResponse) -> None:
        if answer.error_code:
            return
        if answer.generation_id < attempt.established:
            self.fail(
                "generation-back",
                f"{attempt.who} joined {group.group_id} in generation {answer.generation_id}, after {attempt.established}",
            )
        if request.group_instance_id is not None:
            known = group.instances.setdefault(request.group_instance_id, {})
            group.replaced[answer.member_id] = [
                member_id for member_id, told_at in known.items() if member_id != answer.member_id and told_at < attempt.sent_at
            ]
            known.setdefault(answer.member_id, self._now)

    def _synced(self, group: GroupHistory, attempt: Attempt, request: SyncGroupRequest, answer: SyncGroupResponse) -> None:
        if answer.error_code:
            return
        generation, name = request.generation_id, request.group_instance_id or request.member_id
        owned = decode_assignment(bytes(answer.assignment))
        what = f"{attempt.who} ({name}) has {owned} in generation {generation} of {group.group_id}"
        if generation < attempt.established:
            self.fail("generation-back", f"{what}, asked after {attempt.established} was established")
        before = group.assignments.setdefault((generation, name), owned)
        if before != owned:
            self.fail("two-assignments", f"{what}, and had {before}")
        for where in owned:
            owner = group.owners.setdefault((generation, where), name)
            if owner != name:
                self.fail("two-owners", f"{what}, and {where[0]}-{where[1]} is {owner}'s")
        self.assigned_count += 1
        group.fenced.update(dict.fromkeys(group.replaced.get(request.member_id, ())))
        if generation > group.established:
            self._establish(group, generation)

    def _establish(self, group: GroupHistory, generation: int) -> None:
        group.established = generation
        self.generation_count += 1
        for commits in group.commits.values():
            for commit in commits.values():
                if commit.generation < generation:
                    commit.generation_over_at = min(commit.generation_over_at, self._now)

    def _committed(self, group: GroupHistory, attempt: Attempt, answer: OffsetCommitResponse) -> None:
        request = attempt.request
        assert isinstance(request, OffsetCommitRequest)
        errors = {(topic.name, one.partition_index): one.error_code for topic in answer.topics for one in topic.partitions}
        for where, commit in attempt.commits:
            error = errors[where]
            if error != NONE and error not in REFUSALS:
                continue
            commit.settled += 1
            commit.settled_at = self._now
            self.unanswered_count -= 1
            if error != NONE:
                commit.refused += 1
                self.refused_count += 1
                continue
            what = f"{commit} of {group.group_id}, {where[0]}-{where[1]}, was acknowledged"
            if 0 <= commit.generation < attempt.established:
                self.fail("fenced-commit", f"{what}; it was sent after generation {attempt.established} was established")
            if attempt.is_fenced:
                self.fail("fenced-commit", f"{what}; {request.group_instance_id} was somebody else when it was sent")
            commit.sent_at, commit.acknowledged_at = attempt.sent_at, self._now
            self.committed_count += 1

    # ---- offsets

    def _read(self, group: GroupHistory, attempt: Attempt, answer: OffsetFetchResponse) -> None:
        for said in answer.groups:
            if said.error_code:
                continue
            self.read_count += 1
            found = {(topic.name, one.partition_index): one.committed_offset for topic in said.topics for one in topic.partitions}
            for where in dict.fromkeys([*found, *group.commits]):
                self._check_offset(group, where, found.get(where, -1), attempt)

    def _check_offset(self, group: GroupHistory, where: TopicPartition, offset: int, attempt: Attempt) -> None:
        commits = group.commits.get(where, {})
        what = f"{attempt.who} reads {offset} for {where[0]}-{where[1]} of {group.group_id}"
        commit = commits.get(offset)
        if commit is None and offset != -1:
            self.fail("phantom-offset", f"{what}, which nobody committed")
        if commit is not None and commit.refused == commit.attempts:
            self.fail("refused-offset", f"{what}, which was refused")
        over_at = -1 if commit is None else commit.over_at
        for later in commits.values():
            if group.lost_at < later.acknowledged_at < attempt.sent_at and later.sent_at > over_at:
                self.fail("lost-offset", f"{what}, and {later} was acknowledged later")

    # ---- the end

    def check_rest(
        self,
        described: DescribedGroup,
        members: Mapping[str, Sequence[TopicPartition]],
        generation: int,
        partitions: Sequence[TopicPartition],
    ) -> None:
        """Check what the broker says of a group at rest: its members (by id) and what they own, in a generation."""
        group = self._group(described.group_id)
        said = {member.member_id: sorted(member.owns) for member in described.members}
        known = {member_id: sorted(owns) for member_id, owns in members.items()}
        if described.state != "Stable" or said != known:
            self.fail("unsettled", f"{group.group_id} is {described.state} with {said}; its members have {known}")
        if sorted(where for owns in known.values() for where in owns) != sorted(partitions):
            self.fail("unsettled", f"of {partitions}, the members of {group.group_id} have {known}")
        if generation < group.established:
            self.fail("generation-back", f"{group.group_id} rests in generation {generation}, after {group.established}")
