"""The coordinator's client in the simulator: servers that crash, pause and come back, connections that go, clocks that jump.

What must hold, each checked against what the servers have on record: an acknowledged write was carried out, once and where
its answer says, and a refused one was not; within a session nothing older is seen after something newer; a watch is told
once, of a change that was made after it was left, before that change is seen, and not left untold; a session is over only
when the servers ended it.
"""

import contextlib

import pytest
from zookeeper_model import Ensemble

from fastlog.coordinator import client_session
from fastlog.coordinator.client import SessionState
from fastlog.coordinator.errors import ConnectionLoss, CoordinatorError, NodeExists, NoNode, SessionExpired
from fastlog.coordinator.remote import RemoteClient
from fastlog.coordinator.tree import Check, Create, Delete, SetData
from fastlog.sim.entropy import Entropy

MS = 1_000_000
PATHS = tuple(f"/root/shared{number}" for number in range(5))
STEPS = 60
QUIET_MS = 5_000


class Watch:
    """One watch that was left, and what it was told."""

    def __init__(self, worker, path, zxid):
        self.worker, self.path, self.zxid, self.told = worker, path, zxid, 0
        self.session_id = worker.client.session_id

    def __call__(self, event):
        self.told += 1
        worker = self.worker
        assert self.told == 1, f"{self.path} was told of twice"
        assert worker.changed_after(self.path, self.zxid), f"{self.path}: told of nothing"


class Worker:
    """A process with a client: reads, watches and writes, and holds what comes of it against the record."""

    def __init__(self, world, number):
        self.world, self.number = world, number
        self.process = world.process(f"worker{number}")
        self.entropy = world.entropy.fork(f"worker{number} choices")
        self.reactor = self.process.reactor
        self.timeout_ms = self.entropy.choose((1_000, 2_000, 4_000))
        self.client = RemoteClient(self.reactor, world.random, world.ensemble.addresses, root="/root", timeout_ms=self.timeout_ms)
        self.client.on_session(self.session_changed)
        self.sessions = []
        self.states = []
        self.watches = []
        self.seen = {}
        self.acknowledged, self.refused, self.unknown = [], [], []
        self.writes = 0
        self.done = self.reactor.spawn(self.work())
        self.process.touch()

    def session_changed(self, state):
        self.states.append(state)
        if state is SessionState.CONNECTED:
            self.sessions.append(self.client.session_id)
        if state is SessionState.EXPIRED:
            assert self.sessions[-1] in self.world.ensemble.expired, "nobody ended the session"
            self.seen.clear()

    def changed_after(self, path, zxid):
        return any(one.zxid > zxid and one.path == f"/root{path}" for one in self.world.ensemble.written)

    def work(self):
        for _ in range(STEPS):
            wait = self.reactor.pending()
            self.reactor.call_later(self.entropy.below(120), wait.complete, None)
            yield wait
            step = self.entropy.choose((self.read, self.read, self.write, self.write, self.transact, self.come_and_go))
            try:
                yield from step()
            except (ConnectionLoss, SessionExpired):
                continue

    def read(self):
        path = self.entropy.choose(PATHS).removeprefix("/root")
        if self.entropy.chance(50):
            yield from self.look(path, self.client.exists)
            return
        try:
            yield from self.look(path, self.client.get)
        except NoNode:
            self.saw(path, None)

    def look(self, path, question):
        watch = Watch(self, path, None) if self.entropy.chance(70) else None
        answer = yield question(path, watch)
        stat = answer[1] if question == self.client.get else answer
        self.saw(path, stat)
        if watch is not None:
            # What an answer without a stat had seen is not told: what was known of the znode's end, or nothing.
            watch.zxid = self.gone_at(path) if stat is None else stat.mzxid
            watch.session_id = self.client.session_id
            self.watches.append(watch)

    def gone_at(self, path):
        """Return the zxid of the newest end of a znode: a deletion that was answered for has been carried out by now."""
        return max(
            (one.zxid for one in self.world.ensemble.written if one.path == f"/root{path}" and one.data is None), default=0
        )

    def saw(self, path, stat):
        if stat is None:
            return
        assert stat.mzxid >= self.seen.get(path, 0), f"{path} went back"
        self.seen[path] = stat.mzxid
        for watch in self.watches:
            if watch.path == path and not watch.told and watch.session_id == self.client.session_id:
                assert stat.mzxid <= watch.zxid, f"{path}: the change was seen before it was told"

    def value(self):
        self.writes += 1
        return b"%d.%d" % (self.number, self.writes)

    def write(self):
        path, values = self.entropy.choose(PATHS).removeprefix("/root"), [self.value() for _ in range(4)]
        for value, answer in [(value, self.client.set(path, value)) for value in values]:
            with contextlib.suppress(ConnectionLoss, SessionExpired):
                yield from self.settle(answer, value, lambda stat: stat.mzxid)

    def transact(self):
        """Write under a check of the version that was read: nobody else's write is lost."""
        path, value = self.entropy.choose(PATHS).removeprefix("/root"), self.value()
        data, stat = yield self.client.get(path)
        del data
        operations = [Check(path, stat.version), SetData(path, value, stat.version)]
        yield from self.settle(self.client.multi(operations), value, lambda results: results[1].mzxid)

    def come_and_go(self):
        """Be there as long as the session, and replace what an earlier session has left."""
        path, value = f"/here{self.number}", self.value()
        stale = yield self.client.exists(path)
        operations = [Create(path, value, ephemeral=True)]
        if stale is not None:
            operations.insert(0, Delete(path, stale.version))
        yield from self.settle(self.client.multi(operations), value, lambda results: results[-1].stat.czxid)

    def settle(self, answer, value, zxid_of):
        try:
            result = yield answer
        except (ConnectionLoss, SessionExpired):
            self.unknown.append(value)
            raise
        except CoordinatorError:
            self.refused.append(value)
        else:
            self.acknowledged.append((value, zxid_of(result)))


class World:
    """Servers, workers and faults of one seed."""

    def __init__(self, small_world, seed):
        self.small = small_world(seed)
        self.entropy, self.process = Entropy(seed).fork("client world"), self.small.process
        self.random = self.entropy.fork("client randomness")
        self.scheduler = self.small.scheduler
        self.ensemble = Ensemble(self.scheduler, self.small.wires, self.entropy.fork("ensemble"))
        self.ensemble.apply(0, [("create", "/root", b"", 0)])
        for path in PATHS:
            self.ensemble.apply(0, [("create", path, b"", 0)])
        self.workers = [Worker(self, number) for number in range(3)]
        self.faults = []

    def run(self):
        self.scheduler.after(300 * MS, self.strike)
        self.small.run_until(lambda: all(worker.done.done for worker in self.workers), most_steps=300_000)
        for worker in self.workers:
            worker.done.result()
        self.faults.append("healed")
        for server in self.ensemble.servers.values():
            server.start()
            server.resume()
        # Each session is asked once more, so that what it still has to be told is told before the answer.
        end_ns = self.scheduler.now_ns + QUIET_MS * MS
        self.small.run_until(lambda: self.scheduler.now_ns >= end_ns, most_steps=300_000)
        last = [worker.client.exists(path.removeprefix("/root")) for worker in self.workers for path in PATHS]
        for worker in self.workers:
            worker.process.touch()
        self.small.run_until(lambda: all(answer.done for answer in last), most_steps=300_000)
        for answer in last:
            assert answer.result() is not None
        self.check()
        return self

    def strike(self):
        """Let something happen, and the next thing a while later; until the workers are done."""
        if "healed" in self.faults:
            return
        entropy = self.entropy
        server = self.ensemble.servers[entropy.choose(tuple(self.ensemble.servers))]
        worker = entropy.choose(self.workers)
        kind = entropy.choose(("kill", "lose", "pause", "reset", "reset", "cut", "worker pauses", "clock jumps", "nothing"))
        self.faults.append(kind)
        lasts_ns = entropy.between(10, 5_000) * MS
        match kind:
            case "kill" | "lose":
                getattr(server, kind)()
                self.scheduler.after(lasts_ns, server.start)
            case "pause":
                server.pause()
                self.scheduler.after(lasts_ns, server.resume)
            case "reset":
                self.small.wires.reset_one()
            case "cut":
                self.small.wires.cut(lasts_ns // 4)
            case "worker pauses" if worker.process in self.scheduler._processes:
                self.scheduler.remove(worker.process)
                self.scheduler.after(lasts_ns, self.go_on, worker)
            case "clock jumps":
                worker.process.clock.jump(entropy.between(-3_600_000, 3_600_000))
        self.scheduler.after(entropy.between(50, 1_500) * MS, self.strike)

    def go_on(self, worker):
        self.scheduler.add(worker.process)
        worker.process.touch()

    def check(self):
        zxids = {one.data: one.zxid for one in self.ensemble.written if one.data is not None}
        values = [one.data for one in self.ensemble.written if one.data]
        assert len(values) == len(set(values)), "a write was carried out twice"
        for worker in self.workers:
            for value, zxid in worker.acknowledged:
                assert zxids.get(value) == zxid, f"acknowledged {value} is lost"
            for value in worker.refused:
                assert value not in zxids, f"refused {value} was carried out"
            assert worker.states[-1] is SessionState.CONNECTED
            assert worker.client.session_id in self.ensemble.sessions
            for watch in worker.watches:
                if watch.session_id == worker.client.session_id and worker.changed_after(watch.path, watch.zxid):
                    assert watch.told, f"{watch.path}: the watch was lost"
            owner = {node.owner for path, node in self.ensemble.nodes.items() if path == f"/root/here{worker.number}"}
            assert owner <= {worker.client.session_id}, "an ephemeral znode outlived its session"


@pytest.mark.parametrize("seed", range(15))
def test_nothing_acknowledged_is_lost_and_no_watch_is_lost_or_early(small_world, seed):
    world = World(small_world, seed).run()
    assert sum(len(worker.acknowledged) for worker in world.workers) > 10
    assert sum(len(worker.watches) for worker in world.workers) > 10


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_seeds_come_across_everything(small_world):
    worlds = [World(small_world, 1_000 + seed).run() for seed in range(80)]
    workers = [worker for world in worlds for worker in world.workers]
    assert any(SessionState.EXPIRED in worker.states for worker in workers)
    assert sum(worker.states.count(SessionState.DISCONNECTED) for worker in workers) > 100
    assert sum(len(worker.unknown) for worker in workers) > 30
    assert sum(watch.told for worker in workers for watch in worker.watches) > 500


def finds(small_world, seeds=60):
    """Return how many seeds it takes until something is found wrong."""
    for seed in range(seeds):
        try:
            World(small_world, seed).run()
        except AssertionError:
            return seed + 1
    return None


def test_watches_that_are_not_left_again_are_found_missing(small_world, monkeypatch):
    monkeypatch.setattr(client_session.ClientSession, "_batches_of_watches", lambda self: iter(()))
    assert finds(small_world)


def test_watches_left_as_of_the_beginning_are_found_early(small_world, monkeypatch):
    encode = client_session.requests.encode_set_watches
    monkeypatch.setattr(client_session.requests, "encode_set_watches", lambda zxid, *paths: encode(0, *paths))
    assert finds(small_world)


def test_writes_that_are_sent_again_are_found_twice(small_world, monkeypatch):
    monkeypatch.setattr(client_session, "Write", ())  # taken for a read when the connection is lost
    assert finds(small_world)


def test_a_session_that_is_thought_over_is_found_alive(small_world, monkeypatch):
    lost = client_session.ClientSession.lost

    def expire(self, now_ns):
        was_attached = self.phase is client_session.Phase.ATTACHED
        lost(self, now_ns)
        if was_attached and self.phase is not client_session.Phase.CLOSED:
            self._expired()
            self.effects.pop()

    monkeypatch.setattr(client_session.ClientSession, "lost", expire)
    assert finds(small_world)


def test_names_of_errors_are_those_of_the_protocol():
    from fastlog.coordinator.errors import error_for_code

    assert isinstance(error_for_code(-110, "/a"), NodeExists)
    assert "-9999" in str(error_for_code(-9999, "/a"))
