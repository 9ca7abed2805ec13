"""A world of consumer groups: a broker on a machine, members in processes of their own, and what befalls both.

Traffic is commits acknowledged and assignments given. When everything has healed each group comes to rest, and is looked at; then
the broker is stopped, started again, and what is committed is read once more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from fastlog.errors import KafkaError
from fastlog.sim.broker import SimulatedBroker
from fastlog.sim.fault import GROUP_FAULTS, Fault
from fastlog.sim.groups.checker import GroupChecker
from fastlog.sim.groups.worker import SESSION_TIMEOUTS_MS, GroupWorker
from fastlog.sim.scheduler import NANOSECONDS_PER_MILLISECOND
from fastlog.sim.world import DRAIN_LIMIT_NS, LEAST_DOWN_NS, MOST_DOWN_NS, TRAFFIC_LIMIT_NS, World

if TYPE_CHECKING:
    from fastlog.client.assignments import TopicPartition
    from fastlog.sim.process import Process

BROKER = "broker"
PORT = 9092
TOPIC = "topic"
MORE_TRAFFIC = 15
LAST_CRASH_PERCENT = 40
LEAST_COMMITS = 10
LEAST_GENERATIONS = 2
"""A run with fewer commits or generations doesn't count."""
REST_NS = (max(SESSION_TIMEOUTS_MS) + 1_000) * NANOSECONDS_PER_MILLISECOND
"""A group that has not changed for so long has lost every member that is no more."""


class GroupWorld(World[SimulatedBroker]):
    """One run of one seed."""

    KIND: ClassVar = "groups"

    def __init__(self, seed: int, printer: Callable[[str], object] | None = None) -> None:
        super().__init__(seed, GROUP_FAULTS, printer)
        self._draw_faults()
        self.checker = self.verdict = GroupChecker()
        entropy = self._entropy
        self.all_flushed = entropy.chance(70)
        self.partitions: list[TopicPartition] = [(TOPIC, index) for index in range(entropy.between(2, 5))]
        self.options = {
            "listeners": f"PLAINTEXT://{BROKER}:{PORT}",
            "log.dirs": "/data",
            "num.partitions": str(len(self.partitions)),
            "offsets.topic.num.partitions": str(entropy.between(1, 3)),
            "offsets.topic.segment.bytes": str(entropy.choose((3_000, 1 << 20))),
            "group.min.session.timeout.ms": "500",
            "group.initial.rebalance.delay.ms": str(entropy.choose((0, 0, 100, 500))),
        }
        if self.all_flushed:
            self.options["log.flush.interval.messages"] = "1"
        self._make_machine(BROKER, partial(SimulatedBroker, self.options))
        self._workers_made = 0
        self.workers: dict[str, GroupWorker | None] = {}
        """By their processes' names; None for one that has crashed and is not there again."""
        self.members: dict[str, tuple[str, str | None]] = {}
        """The group and the instance id of each process that was ever started."""
        for group in range(entropy.between(1, 2)):
            for number in range(entropy.between(2, 3)):
                name = f"member{group}{number}"
                self.members[name] = (f"group{group}", f"instance{number}" if entropy.chance(35) else None)
                self.workers[name] = None
        self._seen_rest: object = None
        self._rests_since_ns = 0

    def _start_worker(self, name: str) -> None:
        self._workers_made += 1
        group_id, instance_id = self.members[name]
        self.workers[name] = GroupWorker(
            f"{name}.{self._workers_made}",
            self.client_process(name),
            self.checker,
            self._entropy.fork(f"{name} {self._workers_made}"),
            (BROKER, PORT),
            group_id,
            [TOPIC],
            instance_id,
        )

    # ---- running

    def _counts(self) -> dict[str, int]:
        checker = self.checker
        return {
            "commits acknowledged": checker.committed_count,
            "refused": checker.refused_count,
            "attempts unanswered": checker.unanswered_count,
            "generations": checker.generation_count,
            "assignments": checker.assigned_count,
            "readings of offsets": checker.read_count,
        }

    def _says(self) -> str:
        return f"options {self.options} members {self.members} "

    def _play(self) -> None:
        self.machine.start()
        for name in list(self.workers):
            self._start_worker(name)
        self._step_until(self._faults_are_over, TRAFFIC_LIMIT_NS, "the faults")
        enough = self._traffic() + MORE_TRAFFIC
        self._step_until(lambda: self._traffic() >= enough, TRAFFIC_LIMIT_NS, "the traffic")
        self._heal_for_good()
        self._step_until(lambda: self.machine.is_ready() and None not in self.workers.values(), DRAIN_LIMIT_NS, "the restarts")
        for worker in self._living():
            worker.process.resume()
            worker.rest()
        for group_id in self._group_ids():
            if len(self._members(group_id)) > 1 and self._entropy.chance(LAST_CRASH_PERCENT):
                self._crash_for_good(self._entropy.choose(self._members(group_id)))
        self._step_until(self._is_at_rest, DRAIN_LIMIT_NS, "the groups", "unsettled")
        self._look_from_outside("before the stop", self._check_groups)
        self._thin = self.checker.committed_count < LEAST_COMMITS or self.checker.generation_count < LEAST_GENERATIONS
        self._stop_cleanly()
        self.machine.start()
        self._look_from_outside("after the stop", self._check_offsets)

    def _crash_for_good(self, worker: GroupWorker) -> None:
        """Kill a member that nothing replaces: the others have to miss it."""
        self.trace.record("world", f"{worker.name} crashes for good")
        worker.process.kill()
        del self.workers[worker.process.name]

    def _living(self) -> list[GroupWorker]:
        return [worker for worker in self.workers.values() if worker is not None]

    def _members(self, group_id: str) -> list[GroupWorker]:
        return [worker for worker in self._living() if worker.group_id == group_id and not worker.is_over]

    def _group_ids(self) -> list[str]:
        """Return the groups that somebody is in. A lost machine may not know who came in whose place: then all may be fenced."""
        group_ids = dict.fromkeys(group_id for group_id, _ in self.members.values())
        return [group_id for group_id in group_ids if self._members(group_id) or not self.checker.may_be_deserted(group_id)]

    def _is_at_rest(self) -> bool:
        """Tell whether every group has stood for `REST_NS` as it should."""
        standing: list[object] = []
        for group_id in self._group_ids():
            members = [worker.member for worker in self._members(group_id)]
            owned = [where for member in members if member is not None for where in member.owned]
            is_right = all(one is not None and one.is_reading for one in members) and sorted(owned) == sorted(self.partitions)
            standing.append(
                [(one.member_id, one.generation, one.owned) for one in members if one is not None] if is_right else object()
            )
        if standing != self._seen_rest:
            self._seen_rest, self._rests_since_ns = standing, self.scheduler.now_ns
        return self.scheduler.now_ns - self._rests_since_ns >= REST_NS

    def _look_from_outside(self, when: str, look: Callable[[GroupWorker], Any]) -> None:
        """Let somebody who is no member look at each group, until it is answered."""
        for group_id in self._group_ids():
            worker = self._members(group_id)[0]
            looked = worker.process.reactor.spawn(self._ask_until_answered(worker, look))
            worker.process.touch()
            self._step_until(partial(_is_done, looked), DRAIN_LIMIT_NS, f"a look at {group_id} {when}")

    def _ask_until_answered(self, worker: GroupWorker, look: Callable[[GroupWorker], Any]) -> Any:
        while True:
            try:
                yield from look(worker)
                return
            except KafkaError:
                wait = worker.process.reactor.pending()
                worker.process.reactor.call_later(50, wait.complete, None)
                yield wait

    def _check_groups(self, worker: GroupWorker) -> Any:
        yield from self._check_offsets(worker)
        described = yield worker.groups.describe(worker.group_id)
        members = [one.member for one in self._members(worker.group_id) if one.member is not None]
        generations = list(dict.fromkeys(member.generation for member in members))
        if len(generations) != 1:
            self.checker.fail("unsettled", f"members of {worker.group_id} are in generations {generations}")
        owned = {member.member_id: member.owned for member in members}
        self.checker.check_rest(described, owned, generations[0], self.partitions)

    def _check_offsets(self, worker: GroupWorker) -> Any:
        yield worker.groups.offsets(worker.group_id)

    def _traffic(self) -> int:
        return self.checker.committed_count + self.checker.assigned_count

    # ---- faults

    def _before_loss(self) -> None:
        if not self.all_flushed:
            self.checker.machine_lost()

    def _clients(self) -> list[Process]:
        return [worker.process for worker in self._living()]

    def _client_crashed(self, process: Process) -> None:
        self.workers[process.name] = None
        self.scheduler.after(self._entropy.between(LEAST_DOWN_NS, 2 * MOST_DOWN_NS), self._start_worker, process.name)

    def _strike_elsewhere(self, fault: Fault) -> None:
        """Start a static member a second time, elsewhere, while the first one is paused or goes on."""
        assert fault.kind == "client double", fault.kind
        statics = [worker for worker in self._living() if worker.instance_id is not None and not worker.is_over]
        if statics:
            first = self._entropy.choose(statics)
            if self._entropy.chance(60):
                first.process.pause()
                self.scheduler.after(fault.duration_ns, first.process.resume)
            name = f"{first.process.name}+"
            while name in self.workers:
                name += "+"
            self.members[name] = (first.group_id, first.instance_id)
            self._start_worker(name)
        self._over()


def _is_done(outcome: Any) -> bool:
    return bool(outcome.done)
