"""Members that do whatever they like, at any time, in any order: what must hold of a group all the same."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fastlog.errors import NotCoordinator
from fastlog.groups.classic import NEVER_MS, NEW_MEMBER_JOIN_TIMEOUT_MS, ClassicGroup, Limits, State
from fastlog.groups.member import JoinAnswer, JoinRequest, Protocol

MAX_SIZE = 4
SESSION_MS = 10_000
REBALANCE_MS = 20_000


class Asked:
    """A request under way: what it was, and who asked."""

    def __init__(self, kind, client, member_id):
        self.kind, self.client, self.member_id = kind, client, member_id


class Client:
    def __init__(self, number, instance_id):
        self.number = number
        self.instance_id = instance_id
        self.member_id = ""
        self.generation = -1
        self.is_leader = False
        self.members = ()


class Group(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.now_ms = 0
        self.ids = 0
        self.limits = Limits(MAX_SIZE, 0)
        self.group = ClassicGroup("g", self.limits, self.new_id)
        self.clients = [Client(number, f"instance{number}" if number < 2 else None) for number in range(6)]
        self.waiting = set()
        self.saves = []
        self.stored = None
        self.assigned_by = {}
        """generation -> the leader whose assignment counts."""

    def new_id(self):
        self.ids += 1
        return str(self.ids)

    def collect(self):
        ready = self.group.take()
        for token, answer in ready.answers:
            assert token in self.waiting, "answered twice, or never asked"
            self.waiting.discard(token)
            client = token.client
            if isinstance(answer, JoinAnswer):
                self.joined(client, token, answer)
            elif not answer.error:
                leader, generation, owner = answer.assignment.decode().split("/") if answer.assignment else ("", "", "")
                if answer.assignment:
                    assert int(generation) == self.group.generation, "an assignment of another generation"
                    assert self.assigned_by.setdefault(generation, leader) == leader, "two leaders assigned one generation"
                    assert owner == token.member_id or client.instance_id is not None, "what belongs to another"
        self.saves += ready.saves

    def joined(self, client, token, answer):
        assert token.kind == "join"
        if answer.error == 0:
            assert answer.generation == self.group.generation
            client.member_id, client.generation = answer.member_id, answer.generation
            client.is_leader = answer.leader_id == answer.member_id and not answer.skip_assignment
            client.members = [one.member_id for one in answer.members]
        elif answer.member_id and client.member_id == "":
            client.member_id = answer.member_id  # the one it has to ask with again

    @rule(number=st.integers(0, 5), knows=st.booleans(), change=st.integers(0, 1), version=st.sampled_from([3, 5, 9]))
    def join(self, number, knows, change, version):
        client = self.clients[number]
        token = Asked("join", client, client.member_id)
        self.waiting.add(token)
        self.group.join(
            JoinRequest(
                client.member_id if knows else "",
                client.instance_id,
                f"c{number}",
                "/host",
                "consumer",
                (Protocol("range", b"%d" % change), Protocol("sticky", b"%d" % number)),
                SESSION_MS,
                REBALANCE_MS,
                requires_known_member_id=version >= 4,
                skips_assignment=version >= 9,
            ),
            token,
            self.now_ms,
        )
        self.collect()

    @rule(number=st.integers(0, 5))
    def sync(self, number):
        client = self.clients[number]
        token = Asked("sync", client, client.member_id)
        self.waiting.add(token)
        assignments = {}
        if client.is_leader:
            assignments = {one: f"{client.member_id}/{client.generation}/{one}".encode() for one in client.members}
        self.group.sync(
            client.member_id, client.instance_id, client.generation, "consumer", None, assignments, token, self.now_ms
        )
        self.collect()

    @rule(number=st.integers(0, 5))
    def heartbeat(self, number):
        client = self.clients[number]
        error = self.group.heartbeat(client.member_id, client.instance_id, client.generation, self.now_ms)
        assert error or client.member_id in self.group.members
        self.collect()

    @rule(number=st.integers(0, 5))
    def commit(self, number):
        client = self.clients[number]
        if client.generation >= 0 and not self.group.why_no_commit(client.member_id, client.instance_id, client.generation):
            assert client.member_id in self.group.members, "a commit of one that is gone"
            assert client.generation == self.group.generation
            if client.instance_id is not None:
                assert self.group.static_members[client.instance_id] == client.member_id, "a commit of a fenced member"

    @rule(number=st.integers(0, 5))
    def leave(self, number):
        client = self.clients[number]
        if not self.group.leave(client.member_id, client.instance_id, self.now_ms):
            assert client.member_id not in self.group.members
        self.collect()

    @precondition(lambda self: self.saves)
    @rule(error=st.sampled_from([0, 0, 0, NotCoordinator.code]))
    def saved(self, error):
        save = self.saves.pop(0)
        if not error:
            self.stored = save.snapshot
        self.group.saved(save, error, self.now_ms)
        self.collect()

    @rule(ms=st.sampled_from([1, 1_000, 9_999, 10_000, 20_000, 300_000]))
    def wait(self, ms):
        until_ms = self.now_ms + ms
        for _ in range(1_000):
            if self.group.wake_ms > until_ms:
                break
            self.now_ms = max(self.now_ms, self.group.wake_ms)
            self.group.tick(self.now_ms)
            self.collect()
        else:
            raise AssertionError("it never comes to rest")
        self.now_ms = until_ms

    @precondition(lambda self: self.stored is not None)
    @rule()
    def restart(self):
        """The broker is lost: whoever waits hears nothing, and what was stored is all there is."""
        self.waiting.clear()
        self.saves.clear()
        self.group = ClassicGroup.restore("g", self.limits, self.new_id, self.stored, self.now_ms)
        self.assigned_by.clear()
        self.collect()

    @invariant()
    def is_whole(self):
        group = self.group
        assert sum(member.awaiting_join is not None for member in group.members.values()) <= MAX_SIZE
        assert (group.leader_id in group.members) if group.members else group.leader_id is None
        for instance_id, member_id in group.static_members.items():
            assert group.members[member_id].instance_id == instance_id
        owed = [one for member in group.members.values() for one in (member.awaiting_join, member.awaiting_sync) if one]
        in_saves = len(self.waiting) - len(owed)
        assert 0 <= in_saves <= len(self.saves), "a request that nobody remembers"
        for member in group.members.values():
            assert member.session_deadline_ms is None or group.wake_ms <= member.session_deadline_ms
            assert member.awaiting_join is not None or member.awaiting_sync is not None or member.session_deadline_ms is not None
        if group.state is State.PREPARING_REBALANCE:
            assert group.wake_ms < NEVER_MS, "a rebalance that nothing ends"

    def teardown(self):
        """Whoever is silent is forgotten in time, and one who does as it should gets all."""
        while self.saves:
            self.saved(0)
        self.wait(NEW_MEMBER_JOIN_TIMEOUT_MS + REBALANCE_MS + SESSION_MS)
        assert (self.group.state, dict(self.group.members)) == (State.EMPTY, {})
        assert not self.waiting
        client = self.clients[5]
        client.member_id = ""
        self.join(5, True, 0, 9)
        self.join(5, True, 0, 9)
        self.wait(1)
        self.sync(5)
        while self.saves:
            self.saved(0)
        assert self.group.state is State.STABLE
        assert list(self.group.members) == [client.member_id]


TestGroup = Group.TestCase
TestGroup.settings = settings(max_examples=60, derandomize=True, stateful_step_count=40, deadline=None)
