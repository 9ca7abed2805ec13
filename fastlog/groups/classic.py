"""The classic protocol of consumer groups as a pure state machine: no socket, no log, no clock, no timer.

Rules: Kafka's group coordinator as its answers show them; KIP-62 (session and rebalance timeouts), KIP-134 (the initial delay),
KIP-345 (static members and their fencing), KIP-389 (the size limit), KIP-394 (member ids are given before a member counts),
KIP-429 (cooperative rebalancing: whoever stays keeps its assignment, so followers that rejoin unchanged are answered at once),
KIP-814 (a static leader that comes back assigns nothing).

    Empty -> PreparingRebalance -> CompletingRebalance -> Stable          (and from each but Dead back to PreparingRebalance)
             members join          the leader assigns    everybody owns

Whoever drives it calls `join`, `sync`, `heartbeat`, `leave` and `tick` with the monotonic time in milliseconds, then takes what
came of it by `take`: answers for the requests that were given as opaque tokens, and what has to be stored. A `Save` is settled by
`saved`, and what depends on it is answered only then. `wake_ms` tells when `tick` is due.

Invariants: a generation has one leader, and its assignment is handed out once, from the leader's one sync; each token is
answered exactly once; a member that is gone or fenced is answered nothing but errors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

from fastlog.errors import (
    NONE,
    CoordinatorNotAvailable,
    FencedInstanceId,
    GroupMaxSizeReached,
    IllegalGeneration,
    InconsistentGroupProtocol,
    MemberIdRequired,
    RebalanceInProgress,
    UnknownMemberId,
)
from fastlog.groups.member import (
    UNKNOWN_MEMBER_ID,
    GroupSnapshot,
    JoinAnswer,
    JoinedMember,
    JoinRequest,
    Member,
    MemberSnapshot,
    Protocol,
    SyncAnswer,
)

NEVER_MS: Final = 1 << 62
NEW_MEMBER_JOIN_TIMEOUT_MS: Final = 300_000
"""How long a join may wait that came without a member id: nobody could ever ask for it again."""


MAX_ID_BYTES: Final = 0x7FFF
"""The protocol's longest string, which a client's name may have already."""

LEAST_REBALANCE_TIMEOUT_MS: Final = 10
"""What a rebalance waits at least, whatever its members say: one that is tried again at once would keep the broker busy."""


class State(Enum):
    """Where a group stands; the values are Kafka's names."""

    EMPTY = "Empty"
    PREPARING_REBALANCE = "PreparingRebalance"
    COMPLETING_REBALANCE = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


class Limits(NamedTuple):
    """What the broker's options say of every group."""

    max_size: int
    initial_rebalance_delay_ms: int


class Save:
    """Something that has to be in the log before the group goes on: the group as it is to be stored, and what comes after.

    `then(error, now_ms)` is the machine's own; `ClassicGroup.saved` calls it.
    """

    __slots__ = ("snapshot", "then")

    def __init__(self, snapshot: GroupSnapshot, then: Callable[[int, int], None]) -> None:
        self.snapshot = snapshot
        self.then = then


class Ready(NamedTuple):
    """What came of a step: (token, answer) pairs, and what is to be stored, both in order."""

    answers: Sequence[tuple[Any, JoinAnswer | SyncAnswer]]
    saves: Sequence[Save]


_NOTHING: Final = Ready((), ())


class ClassicGroup:
    """One group of the classic protocol."""

    def __init__(self, group_id: str, limits: Limits, new_id: Callable[[], str]) -> None:
        """Begin empty; `new_id()` returns what no other member id ends in."""
        self.group_id = group_id
        self.state = State.EMPTY
        self.generation = 0
        self.protocol_type: str | None = None
        self.protocol_name: str | None = None
        self.leader_id: str | None = None
        self.members: dict[str, Member] = {}
        self.static_members: dict[str, str] = {}
        """Instance id -> member id."""
        self.wake_ms = NEVER_MS
        """Nothing happens by itself before; it may be earlier than need be."""
        self._limits = limits
        self._new_id = new_id
        self._pending_ids: dict[str, int] = {}
        """Member ids that were given and not used yet -> when they lapse (KIP-394)."""
        self._unsynced: dict[str, None] = {}
        self._awaiting_join_count = 0
        self._speakers: Counter[str] = Counter()
        """Protocol -> members that speak it."""
        self._rebalance_deadline_ms = NEVER_MS
        self._initial_remaining_ms: int | None = None
        self._joined_meanwhile = False
        self._sync_deadline_ms = NEVER_MS
        self._answers: list[tuple[Any, JoinAnswer | SyncAnswer]] = []
        self._saves: list[Save] = []

    @classmethod
    def restore(
        cls, group_id: str, limits: Limits, new_id: Callable[[], str], snapshot: GroupSnapshot, now_ms: int
    ) -> ClassicGroup:
        """Return a group as it was stored; its members have a session's time to be heard of."""
        group = cls(group_id, limits, new_id)
        group.generation = snapshot.generation
        group.protocol_type = snapshot.protocol_type or None
        group.protocol_name = snapshot.protocol_name
        for one in snapshot.members:
            protocols = (Protocol(snapshot.protocol_name or "", one.metadata),)
            request = JoinRequest(
                one.member_id,
                one.instance_id,
                one.client_id,
                one.client_host,
                snapshot.protocol_type,
                protocols,
                one.session_timeout_ms,
                one.rebalance_timeout_ms if one.rebalance_timeout_ms >= 0 else one.session_timeout_ms,
            )
            member = Member(one.member_id, request, one.assignment)
            group._enter(member)
            group._heard_of(member, now_ms)
        if group.members:
            group.leader_id = snapshot.leader_id if snapshot.leader_id in group.members else next(iter(group.members))
            group.state = State.STABLE
            if len(group.members) > limits.max_size:
                group._prepare_rebalance(now_ms)
        return group

    # ---- what others ask --------------------------------------------------------------------------------------------------

    def snapshot(self) -> GroupSnapshot:
        """Return the group as it is stored."""
        return GroupSnapshot(
            self.protocol_type or "",
            self.generation,
            self.protocol_name,
            self.leader_id,
            tuple(
                MemberSnapshot(
                    one.member_id,
                    one.instance_id,
                    one.client_id,
                    one.client_host,
                    one.rebalance_timeout_ms,
                    one.session_timeout_ms,
                    one.metadata_for(self.protocol_name),
                    one.assignment,
                )
                for one in self.members.values()
            ),
        )

    @property
    def is_vacant(self) -> bool:
        """Whether nobody is in it, nor about to join."""
        return not self.members and not self._pending_ids and self.state in (State.EMPTY, State.DEAD)

    def why_no_commit(self, member_id: str, instance_id: str | None, generation: int) -> int:
        """Return the error code for a commit of offsets, 0 when it is allowed."""
        if self.state is State.DEAD:
            return CoordinatorNotAvailable.code
        if generation < 0 and self.state is State.EMPTY:
            return NONE  # an admin, or a consumer that assigns partitions to itself
        if generation < 0 and member_id == UNKNOWN_MEMBER_ID and instance_id is None:
            return UnknownMemberId.code
        error = self._why_not_member(member_id, instance_id)
        if error:
            return error
        if generation != self.generation:
            return IllegalGeneration.code
        if self.state is State.COMPLETING_REBALANCE:
            return RebalanceInProgress.code  # it knows the generation, but not yet what it owns in it
        return NONE

    def heard_of(self, member_id: str, now_ms: int) -> None:
        """A member has shown by some request that it lives."""
        member = self.members.get(member_id)
        if member is not None:
            self._heard_of(member, now_ms)

    # ---- requests ---------------------------------------------------------------------------------------------------------

    def join(self, request: JoinRequest, token: Any, now_ms: int) -> None:
        """Somebody joins, or rejoins; `token` is answered with a JoinAnswer, now or when the rebalance completes."""
        names = {protocol.name: protocol for protocol in reversed(request.protocols)}
        if len(names) < len(request.protocols):  # the first of each name counts
            request = request._replace(protocols=tuple(reversed(names.values())))
        error = self._why_no_join(request)
        if error:
            self._refuse_join(token, request.member_id, error)
        elif request.member_id != UNKNOWN_MEMBER_ID:
            self._rejoin(request, token, now_ms)
        else:
            self._join_new(request, token, now_ms)
        self._complete_join_when_all_are_there(now_ms)

    def sync(
        self,
        member_id: str,
        instance_id: str | None,
        generation: int,
        protocol_type: str | None,
        protocol_name: str | None,
        assignments: Mapping[str, bytes],
        token: Any,
        now_ms: int,
    ) -> None:
        """A member asks what it owns, and the leader says what everybody does; `token` is answered with a SyncAnswer."""
        error = self._why_no_sync(member_id, instance_id, generation, protocol_type, protocol_name)
        if error:
            self._answers.append((token, SyncAnswer(error)))
            return
        member = self.members[member_id]
        self._unsynced.pop(member_id, None)
        if self.state is State.STABLE:
            self._heard_of(member, now_ms)
            self._answers.append((token, SyncAnswer(NONE, self.protocol_type, self.protocol_name, member.assignment)))
            return
        self._answer_sync(member, RebalanceInProgress.code)  # one that it has given up, and asks again
        member.awaiting_sync = token
        member.session_deadline_ms = None
        if member_id == self.leader_id:
            self._save_assignment(assignments)

    def heartbeat(self, member_id: str, instance_id: str | None, generation: int, now_ms: int) -> int:
        """Return the error code that a member's heartbeat is answered with."""
        if self.state is State.DEAD:
            return CoordinatorNotAvailable.code
        error = self._why_not_member(member_id, instance_id)
        if error:
            return error
        if generation != self.generation:
            return IllegalGeneration.code
        self.heard_of(member_id, now_ms)
        return RebalanceInProgress.code if self.state is State.PREPARING_REBALANCE else NONE

    def leave(self, member_id: str, instance_id: str | None, now_ms: int) -> int:
        """Let a member go; an instance id alone names it too. Returns the error code for it."""
        if member_id == UNKNOWN_MEMBER_ID:
            member_id = self.static_members.get(instance_id, "") if instance_id is not None else ""
            if not member_id:
                return UnknownMemberId.code
        elif self._pending_ids.pop(member_id, None) is not None:
            self._complete_join_when_all_are_there(now_ms)
            return NONE
        error = self._why_not_member(member_id, instance_id)
        if error:
            return error
        self._remove_and_rebalance(self.members[member_id], now_ms)
        return NONE

    def tick(self, now_ms: int) -> None:
        """Let happen what was due until now."""
        lapsed = [member_id for member_id, deadline_ms in self._pending_ids.items() if deadline_ms <= now_ms]
        for member_id in lapsed:
            del self._pending_ids[member_id]
        if lapsed:
            self._complete_join_when_all_are_there(now_ms)
        for member in list(self.members.values()):
            deadline_ms = member.session_deadline_ms
            if deadline_ms is not None and deadline_ms <= now_ms and self.members.get(member.member_id) is member:
                self._remove_and_rebalance(member, now_ms)
        if self._rebalance_deadline_ms <= now_ms:
            self._rebalance_is_due(now_ms)
        if self._sync_deadline_ms <= now_ms:
            self._sync_is_overdue(now_ms)
        self.wake_ms = min(self._deadlines(), default=NEVER_MS)

    def die(self, error: int) -> None:
        """The group goes from this broker: whoever waits is answered with `error`, and nobody is taken in any more."""
        for member in self.members.values():
            if member.awaiting_join is not None:
                self._answer_join(member, JoinAnswer(member.member_id, error))
            self._answer_sync(member, error)
        self.members.clear()
        self.static_members.clear()
        self._pending_ids.clear()
        self._unsynced.clear()
        self._rebalance_deadline_ms = self._sync_deadline_ms = self.wake_ms = NEVER_MS
        self.state = State.DEAD

    # ---- what came of it --------------------------------------------------------------------------------------------------

    def take(self) -> Ready:
        """Return what has come of the steps since the last call."""
        if not self._answers and not self._saves:
            return _NOTHING
        ready = Ready(self._answers, self._saves)
        self._answers, self._saves = [], []
        return ready

    def saved(self, save: Save, error: int, now_ms: int) -> None:
        """What was to be stored is in the log, or is not, for the reason that `error` is the code of."""
        save.then(error, now_ms)

    # ---- joining ----------------------------------------------------------------------------------------------------------

    def _why_no_join(self, request: JoinRequest) -> int:
        if self.state is State.DEAD:
            return CoordinatorNotAvailable.code
        known = self.members.get(request.member_id)
        is_stranger = request.member_id == UNKNOWN_MEMBER_ID
        # One that comes back under its instance id takes its own place.
        place = self.members.get(self.static_members.get(request.instance_id or "", "")) if is_stranger else known
        if self.state is State.PREPARING_REBALANCE:
            is_counted = place is not None and place.awaiting_join is not None
            is_full = not is_counted and self._awaiting_join_count >= self._limits.max_size
        else:
            is_full = place is None and len(self.members) >= self._limits.max_size
        if place is None and is_stranger and request.requires_known_member_id:
            is_full = is_full or len(self._pending_ids) >= self._limits.max_size
        if is_full:
            self._pending_ids.pop(request.member_id, None)
            if known is not None:
                self._leave(known)
            return GroupMaxSizeReached.code
        return NONE if self._is_understood(request) else InconsistentGroupProtocol.code

    def _is_understood(self, request: JoinRequest) -> bool:
        if not request.protocol_type or not request.protocols:
            return False
        if self.state is State.EMPTY:
            return True
        everybody = len(self.members)
        return self.protocol_type == request.protocol_type and any(
            self._speakers[protocol.name] == everybody for protocol in request.protocols
        )

    def _refuse_join(self, token: Any, member_id: str, error: int) -> None:
        self._answers.append((token, JoinAnswer(member_id, error)))

    def _join_new(self, request: JoinRequest, token: Any, now_ms: int) -> None:
        name = request.client_id if request.instance_id is None else request.instance_id
        unique = f"-{self._new_id()}"
        begin = name.encode()[: MAX_ID_BYTES - len(unique)].decode(errors="ignore")  # a longer one fits no message
        member_id = begin + unique
        known_as = self.static_members.get(request.instance_id) if request.instance_id is not None else None
        if known_as is not None:
            self._replace_static(self.members[known_as], member_id, request, token, now_ms)
        elif request.instance_id is None and request.requires_known_member_id:
            self._pending_ids[member_id] = self._due(now_ms + request.session_timeout_ms)
            self._refuse_join(token, member_id, MemberIdRequired.code)
        else:
            self._add(member_id, request, token, now_ms)

    def _rejoin(self, request: JoinRequest, token: Any, now_ms: int) -> None:
        member_id = request.member_id
        if request.instance_id is None and self._pending_ids.pop(member_id, None) is not None:
            self._add(member_id, request, token, now_ms)
            return
        error = self._why_not_member(member_id, request.instance_id)
        if error or self.state is State.EMPTY:
            self._refuse_join(token, member_id, error or UnknownMemberId.code)
            return
        member = self.members[member_id]
        is_leader = member_id == self.leader_id
        is_unchanged = member.protocols == request.protocols and (
            self.state is State.COMPLETING_REBALANCE or (self.state is State.STABLE and not is_leader)
        )
        if is_unchanged:  # it has missed the answer, or asks without need: the generation stands
            self._answers.append((token, self._joined(member)))
            self.heard_of(member_id, now_ms)
            return
        self._update(member, request, token)
        self._maybe_prepare_rebalance(now_ms)

    def _add(self, member_id: str, request: JoinRequest, token: Any, now_ms: int) -> None:
        member = Member(member_id, request)
        member.is_new = True
        member.session_deadline_ms = self._due(now_ms + NEW_MEMBER_JOIN_TIMEOUT_MS)
        if not self.members:
            self.protocol_type = request.protocol_type
        self._enter(member)
        self._await_join(member, token)
        if self.leader_id is None:
            self.leader_id = member_id
        self._joined_meanwhile = True
        self._maybe_prepare_rebalance(now_ms)

    def _update(self, member: Member, request: JoinRequest, token: Any) -> None:
        self._take_over(member, request)
        if member.awaiting_join is not None:  # a request that it has given up
            self._answer_join(member, JoinAnswer(member.member_id, RebalanceInProgress.code))
        self._await_join(member, token)
        if not member.is_new:
            member.session_deadline_ms = None

    def _take_over(self, member: Member, request: JoinRequest) -> None:
        self._speakers.subtract(protocol.name for protocol in member.protocols)
        self._speakers.update(protocol.name for protocol in request.protocols)
        member.protocols = request.protocols
        member.client_id, member.client_host = request.client_id, request.client_host
        member.session_timeout_ms = request.session_timeout_ms
        member.rebalance_timeout_ms = request.rebalance_timeout_ms

    def _replace_static(self, member: Member, member_id: str, request: JoinRequest, token: Any, now_ms: int) -> None:
        """A static member has come back without its id: it gets a new one, and whoever has the old one is fenced."""
        before = JoinRequest(
            member.member_id,
            member.instance_id,
            member.client_id,
            member.client_host,
            request.protocol_type,
            member.protocols,
            member.session_timeout_ms,
            member.rebalance_timeout_ms,
        )
        leader_before = self.leader_id
        if member.awaiting_join is not None:
            self._answer_join(member, JoinAnswer(member.member_id, FencedInstanceId.code))
        self._answer_sync(member, FencedInstanceId.code)
        self._rename(member, member_id)
        self._take_over(member, request)
        if self.state is State.STABLE and self.protocol_name == self._choose_protocol():
            self._heard_of(member, now_ms)

            def stored(error: int, now_ms: int) -> None:
                if error and self.members.get(member_id) is member and self.state is State.STABLE:
                    self._rename(member, before.member_id)
                    self._take_over(member, before)
                    self._heard_of(member, now_ms)
                if error or self.members.get(member_id) is not member:
                    is_replaced = request.instance_id in self.static_members
                    self._refuse_join(
                        token,
                        UNKNOWN_MEMBER_ID,
                        error or (FencedInstanceId.code if is_replaced else UnknownMemberId.code),
                    )
                    return
                answer = self._joined(member)
                if request.skips_assignment:
                    answer = answer._replace(skip_assignment=member_id == self.leader_id)
                else:
                    answer = answer._replace(leader_id=leader_before or "", members=())
                self._answers.append((token, answer))

            self._saves.append(Save(self.snapshot(), stored))
            return
        self._await_join(member, token)
        member.session_deadline_ms = None
        self._maybe_prepare_rebalance(now_ms)

    def _rename(self, member: Member, member_id: str) -> None:
        """Give a static member another id, in its place among the others."""
        assert member.instance_id is not None
        old_id = member.member_id
        self.members = {member_id if key == old_id else key: one for key, one in self.members.items()}
        self._unsynced = {member_id if key == old_id else key: None for key in self._unsynced}
        if self.leader_id == old_id:
            self.leader_id = member_id
        member.member_id = member_id
        self.static_members[member.instance_id] = member_id

    # ---- rebalancing ------------------------------------------------------------------------------------------------------

    def _maybe_prepare_rebalance(self, now_ms: int) -> None:
        if self.state in (State.EMPTY, State.STABLE, State.COMPLETING_REBALANCE):
            self._prepare_rebalance(now_ms)

    def _prepare_rebalance(self, now_ms: int) -> None:
        for member in self.members.values():
            if self.state is State.COMPLETING_REBALANCE:
                member.assignment = b""
            if member.awaiting_sync is not None:
                self._answer_sync(member, RebalanceInProgress.code)
                self._heard_of(member, now_ms)
        self._unsynced.clear()
        self._sync_deadline_ms = NEVER_MS
        timeout_ms = self._rebalance_timeout_ms()
        self._initial_remaining_ms = None
        if self.state is State.EMPTY:
            delay_ms = self._limits.initial_rebalance_delay_ms
            self._initial_remaining_ms = max(timeout_ms - delay_ms, 0)
            self._joined_meanwhile = False
            timeout_ms = delay_ms
        self._rebalance_deadline_ms = self._due(now_ms + timeout_ms)
        self.state = State.PREPARING_REBALANCE

    def _rebalance_timeout_ms(self) -> int:
        longest_ms = max((member.rebalance_timeout_ms for member in self.members.values()), default=0)
        return max(longest_ms, LEAST_REBALANCE_TIMEOUT_MS)

    def _rebalance_is_due(self, now_ms: int) -> None:
        remaining_ms = self._initial_remaining_ms
        if remaining_ms and self._joined_meanwhile:  # more came: wait for yet more, within the rebalance timeout
            delay_ms = min(self._limits.initial_rebalance_delay_ms, remaining_ms)
            if delay_ms > 0:
                self._joined_meanwhile = False
                self._initial_remaining_ms = remaining_ms - delay_ms
                self._rebalance_deadline_ms = self._due(now_ms + delay_ms)
                return
        self._complete_join(now_ms)

    def _complete_join_when_all_are_there(self, now_ms: int) -> None:
        """End the rebalance early; the first one of a group waits for members that nobody knows of yet."""
        if (
            self.state is State.PREPARING_REBALANCE
            and (self._initial_remaining_ms is None or self._limits.initial_rebalance_delay_ms <= 0)
            and self._awaiting_join_count == len(self.members)
            and not self._pending_ids
        ):
            self._complete_join(now_ms)

    def _complete_join(self, now_ms: int) -> None:
        for member in [one for one in self.members.values() if one.awaiting_join is None and one.instance_id is None]:
            self._leave(member)
        if self.members and not self._elect_leader():
            self._rebalance_deadline_ms = self._due(now_ms + self._rebalance_timeout_ms())
            self._initial_remaining_ms = None
            return  # static members alone, and none of them is here: they keep their places while their sessions last
        self._rebalance_deadline_ms = NEVER_MS
        self._initial_remaining_ms = None
        self.generation += 1
        self._unsynced.clear()
        if not self.members:
            self._become_empty()
            return
        self.protocol_name = self._choose_protocol()
        self.state = State.COMPLETING_REBALANCE
        for member in self.members.values():
            self._unsynced[member.member_id] = None
            member.is_new = False
            if member.awaiting_join is not None:
                self._answer_join(member, self._joined(member))
                self._heard_of(member, now_ms)
        self._sync_deadline_ms = self._due(now_ms + self._rebalance_timeout_ms())

    def _become_empty(self) -> None:
        self.protocol_name = None
        self.leader_id = None
        self.state = State.EMPTY

        def stored(error: int, now_ms: int) -> None:
            """Nobody waits for it, and an old generation of no members is as good when it is read again."""

        self._saves.append(Save(self.snapshot(), stored))

    def _elect_leader(self) -> bool:
        """Let one of those who are here lead; False when nobody is."""
        leader = self.members.get(self.leader_id) if self.leader_id is not None else None
        if leader is not None and leader.awaiting_join is not None:
            return True
        here = next((one.member_id for one in self.members.values() if one.awaiting_join is not None), None)
        if here is not None:
            self.leader_id = here
        return here is not None

    def _choose_protocol(self) -> str:
        """Return the protocol that all speak and most like best; of equals the one that the first member names first."""
        everybody = len(self.members)
        votes: Counter[str] = Counter()
        for member in self.members.values():
            votes[next(one.name for one in member.protocols if self._speakers[one.name] == everybody)] += 1
        return max(votes, key=votes.__getitem__)

    def _joined(self, member: Member) -> JoinAnswer:
        members: tuple[JoinedMember, ...] = ()
        if member.member_id == self.leader_id:
            members = tuple(
                JoinedMember(one.member_id, one.instance_id, one.metadata_for(self.protocol_name))
                for one in self.members.values()
            )
        return JoinAnswer(
            member.member_id, NONE, self.generation, self.protocol_type, self.protocol_name, self.leader_id or "", False, members
        )

    # ---- assigning --------------------------------------------------------------------------------------------------------

    def _why_no_sync(
        self, member_id: str, instance_id: str | None, generation: int, protocol_type: str | None, protocol_name: str | None
    ) -> int:
        if self.state is State.DEAD:
            return CoordinatorNotAvailable.code
        error = self._why_not_member(member_id, instance_id)
        if error:
            return error
        if generation != self.generation:
            return IllegalGeneration.code
        if protocol_type not in (None, self.protocol_type) or protocol_name not in (None, self.protocol_name):
            return InconsistentGroupProtocol.code
        if self.state is State.EMPTY:
            return UnknownMemberId.code
        return RebalanceInProgress.code if self.state is State.PREPARING_REBALANCE else NONE

    def _save_assignment(self, assignments: Mapping[str, bytes]) -> None:
        generation = self.generation
        snapshot = self.snapshot()
        members = tuple(one._replace(assignment=assignments.get(one.member_id, b"")) for one in snapshot.members)

        def stored(error: int, now_ms: int) -> None:
            if self.state is not State.COMPLETING_REBALANCE or self.generation != generation:
                return  # a new rebalance has begun meanwhile and has told everybody so
            if error:
                for member in self.members.values():
                    if member.awaiting_sync is not None:
                        self._answer_sync(member, error)
                        self._heard_of(member, now_ms)
                self._prepare_rebalance(now_ms)
                return
            self.state = State.STABLE
            for member in self.members.values():
                member.assignment = assignments.get(member.member_id, b"")
                if member.awaiting_sync is not None:
                    self._answer_sync(member, NONE)
                    self._heard_of(member, now_ms)

        self._saves.append(Save(snapshot._replace(members=members), stored))

    def _sync_is_overdue(self, now_ms: int) -> None:
        self._sync_deadline_ms = NEVER_MS
        late = [self.members[member_id] for member_id in self._unsynced if member_id in self.members]
        if late and self.state in (State.COMPLETING_REBALANCE, State.STABLE):
            for member in late:
                self._leave(member)
            self._prepare_rebalance(now_ms)
            self._complete_join_when_all_are_there(now_ms)

    # ---- members ----------------------------------------------------------------------------------------------------------

    def _why_not_member(self, member_id: str, instance_id: str | None) -> int:
        if instance_id is not None:
            current = self.static_members.get(instance_id)
            if current is None:
                return UnknownMemberId.code
            return NONE if current == member_id else FencedInstanceId.code
        return NONE if member_id in self.members else UnknownMemberId.code

    def _enter(self, member: Member) -> None:
        self.members[member.member_id] = member
        if member.instance_id is not None:
            self.static_members[member.instance_id] = member.member_id
        self._speakers.update(protocol.name for protocol in member.protocols)

    def _leave(self, member: Member) -> None:
        """Take a member out; a join or sync of it that waits is told that nobody knows it."""
        if member.awaiting_join is not None:
            self._answer_join(member, JoinAnswer(UNKNOWN_MEMBER_ID, UnknownMemberId.code))
        self._answer_sync(member, UnknownMemberId.code)
        del self.members[member.member_id]
        self._unsynced.pop(member.member_id, None)
        if member.instance_id is not None:
            del self.static_members[member.instance_id]
        self._speakers.subtract(protocol.name for protocol in member.protocols)
        if member.member_id == self.leader_id:
            self.leader_id = next(iter(self.members), None)

    def _remove_and_rebalance(self, member: Member, now_ms: int) -> None:
        self._leave(member)
        self._maybe_prepare_rebalance(now_ms)
        self._complete_join_when_all_are_there(now_ms)

    def _await_join(self, member: Member, token: Any) -> None:
        member.awaiting_join = token
        self._awaiting_join_count += 1

    def _answer_join(self, member: Member, answer: JoinAnswer) -> None:
        self._answers.append((member.awaiting_join, answer))
        member.awaiting_join = None
        self._awaiting_join_count -= 1

    def _answer_sync(self, member: Member, error: int) -> None:
        if member.awaiting_sync is None:
            return
        answer = SyncAnswer(error) if error else SyncAnswer(NONE, self.protocol_type, self.protocol_name, member.assignment)
        self._answers.append((member.awaiting_sync, answer))
        member.awaiting_sync = None

    # ---- time -------------------------------------------------------------------------------------------------------------

    def _heard_of(self, member: Member, now_ms: int) -> None:
        if member.awaiting_join is None and member.awaiting_sync is None:
            member.session_deadline_ms = self._due(now_ms + member.session_timeout_ms)

    def _due(self, deadline_ms: int) -> int:
        self.wake_ms = min(self.wake_ms, deadline_ms)
        return deadline_ms

    def _deadlines(self) -> Iterator[int]:
        yield self._rebalance_deadline_ms
        yield self._sync_deadline_ms
        yield from self._pending_ids.values()
        for member in self.members.values():
            if member.session_deadline_ms is not None:
                yield member.session_deadline_ms
