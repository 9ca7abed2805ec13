"""A process of the workload: one member of a group after another, the product's own, that commits, leaves, and comes back.

It reads no records: what stands in the consumer's place takes the partitions, and each commit is of an offset that no other
commit of the run has. Everything goes through `ObservedGroups`, and so past the checker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fastlog.client.cluster import Address, Cluster
from fastlog.client.consumer import EARLIEST, LATEST
from fastlog.client.member import Member
from fastlog.errors import FencedInstanceId, KafkaError, NetworkException, RequestTimedOut
from fastlog.sim.groups.observed import ObservedGroups

if TYPE_CHECKING:
    from fastlog.client.assignments import TopicPartition
    from fastlog.env.reactor import Pending
    from fastlog.sim.entropy import Entropy
    from fastlog.sim.groups.checker import GroupChecker
    from fastlog.sim.process import Process

SESSION_TIMEOUTS_MS = (1_000, 1_500, 2_500)
REBALANCE_TIMEOUTS_MS = (1_000, 3_000)
REQUEST_TIMEOUT_MS = 2_000
MOST_PAUSES_MS = (50, 150, 400)
LEAVES_PERCENT = 1.5
LATE_COMMITS_PERCENT = 10


class NoReader:
    """Stands where a member has its consumer, over partitions that hold nothing and end wherever. Implements `member.Reader`."""

    def __init__(self, cluster: Cluster, checker: GroupChecker) -> None:
        self._cluster = cluster
        self._checker = checker

    def assign(self, offsets: Mapping[TopicPartition, int]) -> None:
        pass

    def offsets(self, timestamps_ms: Mapping[TopicPartition, int]) -> Pending[dict[TopicPartition, int]]:
        found: Pending[dict[TopicPartition, int]] = self._cluster.reactor.pending()
        found.complete(
            {where: 0 if timestamp == EARLIEST else self._checker.next_offset() for where, timestamp in timestamps_ms.items()}
        )
        return found


class GroupWorker:
    """A process that is a member of a group most of the time; a static one where it has an instance id."""

    def __init__(
        self,
        name: str,
        process: Process,
        checker: GroupChecker,
        entropy: Entropy,
        address: tuple[str, int],
        group_id: str,
        topics: Sequence[str],
        instance_id: str | None,
    ) -> None:
        self.name = name
        self.process = process
        self.group_id = group_id
        self.instance_id = instance_id
        self.member: Member | None = None
        self.is_over = False
        """Somebody else has its instance id: it comes back no more."""
        self._checker = checker
        self._entropy = entropy
        self._topics = topics
        self._cluster = Cluster(
            process.reactor,
            [Address(*address)],
            client_id=name,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            connect_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        self.groups = ObservedGroups(self._cluster, checker, name)
        self._session_timeout_ms = entropy.choose(SESSION_TIMEOUTS_MS)
        self._rebalance_timeout_ms = entropy.choose(REBALANCE_TIMEOUTS_MS)
        self._most_pause_ms = entropy.choose(MOST_PAUSES_MS)
        self._rests = False
        process.reactor.on_unhandled = checker.mistake
        process.reactor.spawn(self._work()).then(lambda outcome: outcome.result())
        process.touch()

    def rest(self) -> None:
        """Be a member and commit nothing more."""
        self._rests = True

    def _work(self) -> Any:
        yield from self._find_topics()
        while not self.is_over:
            self.member = Member(
                self._cluster,
                self.groups,
                NoReader(self._cluster, self._checker),
                self.group_id,
                self._topics,
                session_timeout_ms=self._session_timeout_ms,
                rebalance_timeout_ms=self._rebalance_timeout_ms,
                begin=LATEST,
                instance_id=self.instance_id,
            )
            yield from self._take_part(self.member)
            self.member = None
            yield self._cluster.sleep(self._entropy.between(0, self._most_pause_ms))

    def _find_topics(self) -> Any:
        for topic in self._topics:
            while True:
                try:
                    yield self._cluster.topic(topic, may_create=True)
                    break
                except KafkaError:
                    yield self._cluster.sleep(self._most_pause_ms)

    def _take_part(self, member: Member) -> Any:
        """Be a member until it wants to leave, or what it meets ends it."""
        outcome = member.run()
        try:
            while not outcome.done:
                yield self._cluster.sleep(self._entropy.between(0, self._most_pause_ms))
                if self._rests:
                    continue
                if self._entropy.chance(LEAVES_PERCENT):
                    yield member.leave()
                    yield outcome
                    return
                if self._entropy.chance(LATE_COMMITS_PERCENT):
                    self.process.reactor.spawn(self._commit_late(member))
                for topic, partition in member.owned:
                    if self._entropy.chance(60):
                        member.done(topic, partition, self._checker.next_offset())
            outcome.result()
        except FencedInstanceId:
            self.is_over = True
        except KafkaError as error:
            if not error.retriable or isinstance(error, NetworkException | RequestTimedOut):
                raise  # it outlives a broker that is away
            # It was tried often enough: a program that ends there is started again.

    def _commit_late(self, member: Member) -> Any:
        """Commit beside the member's own commits and after a while, as programs do from elsewhere: its generation may be over."""
        member_id, generation, owned = member.member_id, member.generation, member.owned
        if not owned:
            return
        yield self._cluster.sleep(self._entropy.between(0, 3 * self._session_timeout_ms))
        if self._rests:
            return
        offsets = {self._entropy.choose(owned): self._checker.next_offset()}
        with suppress(KafkaError):  # the checker sees what is answered
            yield self.groups.commit(
                self.group_id, offsets, member_id=member_id, generation=generation, instance_id=self.instance_id
            )
