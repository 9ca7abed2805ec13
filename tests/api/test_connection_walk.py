"""Every request is answered, in order, once, whatever comes between: also where connections stand in line.

A test is one seed: some clients, strangers at first, with requests of every kind (answered at once, later, with errors, not at
all, pipelined, waited for, large) that come in pieces of any size, while answers find no room, quotas mute, memory is short,
turns serve all of the line or one, and clients hang up or send what is no request. Bounds are made small, so that a few requests
reach them. Then all that is late comes: whoever stayed has every answer and is still heard, and of the others nothing is left.
"""

from __future__ import annotations

from random import Random

import pytest

from fastlog.api import connection, server
from fastlog.api.context import AllowAll
from fastlog.api.registry import Api
from fastlog.api.server import TRIM_INTERVAL_MS, Limits
from fastlog.errors import InvalidRequest
from fastlog.wire.frames import encode_request
from fastlog.wire.messages.api_versions import ApiVersionsRequest
from fastlog.wire.messages.list_groups import ListGroupsRequest, ListGroupsResponse
from fastlog.wire.messages.offset_commit import OffsetCommitRequest, OffsetCommitResponse

FAST_SEEDS = 150
SEEDS = 2_000

POLL_MS = 40
NO_REQUESTS = (b"\xff\xff\xff\xff", b"\0\0\0\x02\0\0", b"\0\0\0\x0a" + b"\0\0\0\x09" * 3)
NO_LARGE_REQUEST = b"\0\x01\0\0" + b"\0\0\x03\xe7" + bytes(65_528)
"""As much as is looked at of a frame of 64 KiB whose API is not served."""
STEPS = 60
ALL = 1 << 40


class Throttles(AllowAll):
    """Exceeds a quota now and then."""

    random = Random(0)

    def throttle(self, context, quota, amount):
        return self.random.choice([0] * 6 + [1, 7])


class Walker:
    """One client: what it is still to send, and the answers that it is to get."""

    def __init__(self, walk, client):
        random = self.random = walk.random
        self.walk = walk
        self.client = client
        self.expected = []  # correlation ids
        self.got = []
        self.unsent = bytearray()
        self.begun = []  # contexts of those that this test's handlers were asked for
        self.muted_until_ns = 0
        self.has_hung_up = False
        kinds = random.sample(list(self.KINDS), random.randint(1, len(self.KINDS)))
        for _ in range(random.choice([1, 3, 10, 30])):
            random.choice(kinds)(self)
        self.is_foul = random.random() < 0.1
        if self.is_foul:
            self.unsent += random.choice([*NO_REQUESTS, NO_LARGE_REQUEST])

    def write(self, request, version, *, has_answer=True, answered_as=None):
        self.client.correlation_id += 1
        correlation_id = self.client.correlation_id
        self.client.asked[correlation_id] = request.API_KEY, version if answered_as is None else answered_as
        self.unsent += encode_request(request, version, correlation_id, "walker")
        if has_answer:
            self.expected.append(correlation_id)

    def versions(self):
        self.write(ApiVersionsRequest(client_software_name="test", client_software_version="1"), 3)

    def unknown_versions(self):
        begin = len(self.unsent)
        self.write(ApiVersionsRequest(), 2, answered_as=0)
        self.unsent[begin + 6 : begin + 8] = b"\0\x63"

    def groups(self):
        what = self.random.choice(["now", "now", "later", "refused", "large"])
        self.write(ListGroupsRequest(states_filter=[what]), 4)

    def commits(self):
        for _ in range(self.random.choice([1, 1, 3, 9])):
            self.write(OffsetCommitRequest(group_id=self.random.choice(["now", "later"])), 8)

    def produces(self):
        acks = self.random.choice([1, 1, -1, 0])
        for _ in range(self.random.choice([1, 1, 3, 9])):
            self.write(self.walk.produce({"t": {0: self.walk.batch()}}, acks=acks, timeout_ms=1 << 30), 9, has_answer=acks != 0)

    def produces_much(self):
        self.write(self.walk.produce({"t": {0: self.walk.large_batch}}, timeout_ms=1 << 30), 9)

    def fetches(self):
        self.write(self.walk.fetch({"t": {0: 0}}, max_bytes=2_000), 11)

    def polls(self):
        self.write(self.walk.fetch({"quiet": {0: 0}}, max_wait_ms=POLL_MS), 11)

    KINDS = (versions, unknown_versions, groups, commits, produces, produces_much, fetches, polls)

    def begins(self, context, *, is_pipelined):
        """Take note of a request that is begun beside others than its like, out of order, or while there is a reason to wait."""
        port, mine = self.client.transport.peer_port, context.correlation_id
        under_way = [one for one in self.begun if one.answer is None]
        if not all(is_pipelined and one.api_key == context.api_key for one in under_way):
            self.walk.faults.append(f"{port}: {mine} is begun beside {[one.correlation_id for one in under_way]}")
        if self.begun and self.begun[-1].correlation_id >= mine:
            self.walk.faults.append(f"{port}: {mine} is begun behind {self.begun[-1].correlation_id}")
        if context.origin.closed or self.walk.rig.clock.now_ns < self.muted_until_ns:
            self.walk.faults.append(f"{port}: {mine} is begun though it is closed or muted")
        self.begun = [*under_way, context]
        self.muted_until_ns = self.walk.rig.clock.now_ns + 1_000_000 * context.throttle("request", 1)

    def deliver(self, count):
        self.client.send_bytes(self.unsent[:count])
        del self.unsent[:count]

    def read(self):
        self.got += [correlation_id for correlation_id, _ in self.client.answers()]

    def hang_up(self):
        self.has_hung_up = True
        setattr(self.client.transport, self.random.choice(["ended", "reset"]), True)


class Walk:
    """What the seed decides, on a broker that outlives it."""

    def __init__(self, seed, rig, batch, large_batch, produce, fetch):
        self.random = rig.server.policy.random = Random(seed)
        self.rig, self.batch, self.large_batch, self.produce, self.fetch = rig, batch, large_batch, produce, fetch
        self.faults = []
        self.pendings = []
        self.walkers = {}  # by port

    def join(self):
        client = self.rig.connect()
        self.walkers[client.transport.peer_port] = Walker(self, client)

    def list_groups(self, context, request):
        self.walkers[context.origin.peer_port].begins(context, is_pipelined=False)
        [what] = request.states_filter
        if what == "refused":
            raise InvalidRequest("as it wanted")
        text = "x" * (3_000 if what == "large" else 3)
        return self.answer(what, ListGroupsResponse(groups=[ListGroupsResponse.ListedGroup(group_id=text)]))

    def commit(self, context, request):
        self.walkers[context.origin.peer_port].begins(context, is_pipelined=True)
        return self.answer(request.group_id, OffsetCommitResponse())

    def answer(self, when, message):
        if when != "later":
            return message
        self.pendings.append((self.rig.reactor.pending(), message))
        return self.pendings[-1][0]

    def complete(self):
        if self.pendings:
            pending, message = self.pendings.pop(self.random.randrange(len(self.pendings)))
            pending.complete(message)

    def step(self):
        random, rig = self.random, self.rig
        walker = random.choice(list(self.walkers.values()))
        what = random.random()
        if what < 0.4:
            walker.deliver(random.choice([1, 3, 30, 300, 3_000, ALL]))
        elif what < 0.5:
            walker.client.transport.room = random.choice([0, 10, 1_000, ALL])
        elif what < 0.6:
            self.complete()
        elif what < 0.64:
            rig.clock.now_ns += random.choice([1, 10, POLL_MS, TRIM_INTERVAL_MS]) * 1_000_000
        elif what < 0.66:
            walker.hang_up()
        elif what < 0.7 and len(self.walkers) < 12:
            self.join()
        elif what < 0.72:
            walker.read()
        else:
            self.turn()

    def turn(self):
        self.rig.turn()
        line = self.rig.server._line
        assert len(set(line)) == len(line), "each stands there once"
        assert not line or self.rig.reactor.next_deadline_ns() <= self.rig.clock.now_ns, "the next turn comes at once"
        assert not self.faults

    def finish(self):
        """Let all come that is late, and see what has become of everybody."""
        rig = self.rig
        for walker in self.walkers.values():
            walker.deliver(ALL)
            walker.client.transport.room = ALL
        for _ in range(2_000):
            rig.advance(10)
            for _ in range(len(self.pendings)):
                self.complete()
            for walker in self.walkers.values():
                walker.read()
            if not self.pendings and all(self.is_done(walker) for walker in self.walkers.values()):
                break
        assert not self.faults
        for port, walker in self.walkers.items():
            assert walker.got == walker.expected[: len(walker.got)], port
            if not walker.has_hung_up:
                assert walker.got == walker.expected, port
                assert walker.client.closed == walker.is_foul, port
        self.pass_time()
        for walker in self.walkers.values():
            if not walker.client.closed:
                assert walker.client.ask(ApiVersionsRequest(), 2).error_code == 0, "it is still heard"
                walker.client.transport.ended = True
        self.pass_time()
        assert not rig.server._connections and not rig.server._line and not rig.server._stopped
        assert rig.server.held_bytes == 0
        assert rig.parked_fetches.count == rig.parked_produces.count == 0

    def pass_time(self):
        """Let whoever is throttled, also by one request after another, be read again."""
        for _ in range(100):
            self.rig.advance(10)

    @staticmethod
    def is_done(walker):
        if walker.has_hung_up or walker.is_foul:
            return walker.client.closed
        return walker.client.closed or len(walker.got) >= len(walker.expected)


@pytest.fixture
def walk(make_rig, monkeypatch, batch, produce_request, fetch_request):
    """Walk from one seed."""
    monkeypatch.setattr(connection, "MAX_UNDER_WAY", 5)
    monkeypatch.setattr(connection, "MAX_ALIKE_UNDER_WAY", 3)
    monkeypatch.setattr(connection, "MAX_UNSENT_BYTES", 1_000)
    monkeypatch.setattr(connection, "READ_AHEAD_BYTES", 500)
    monkeypatch.setattr(server, "FAIR_SHARE_BYTES", 6_000)
    monkeypatch.setattr(server, "TRIMS_AT_ONCE", 2)
    rigs, walks = [], []  # of the walks the last one goes on

    def commit(context, request):
        return walks[-1].commit(context, request)

    for limit_bytes in (50_000, -1):
        rig = make_rig(limits=Limits(queued_max_request_bytes=limit_bytes), policy=Throttles())
        rig.registry.add(Api(8, "OffsetCommit", 2, 10, commit, is_pipelined=True))
        rig.add_topic("t")
        rig.add_topic("quiet")
        rigs.append(rig)
    large_batch = batch(bytes(30_000))

    def run(seed):
        rig = rigs[seed % 2]
        one = Walk(seed, rig, batch, large_batch, produce_request, fetch_request)
        walks.append(one)
        rig.on_list_groups = one.list_groups
        for name in ("LEAST_SPARE_NS", "LEAST_SPARE_BESIDE_RECORDS_NS"):  # the clock stands still: one a turn, or all
            monkeypatch.setattr(server, name, one.random.choice([0, 1]))
        for _ in range(one.random.randint(1, 8)):
            one.join()
        for _ in range(one.random.choice([0, STEPS // 4, STEPS, 3 * STEPS])):
            one.step()
        one.finish()

    return run


def test_every_request_is_answered_in_order_once(walk):
    for seed in range(FAST_SEEDS):
        walk(seed)


@pytest.mark.slow
def test_every_request_is_answered_in_order_once_from_many_seeds(walk):
    for seed in range(FAST_SEEDS, SEEDS):
        walk(seed)
