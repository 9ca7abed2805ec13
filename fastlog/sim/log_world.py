"""A world of logs: a machine with a broker, producers and a consumer, and the checker of what was acknowledged and read.

Traffic is batches acknowledged. When everything has healed the consumer reads to the end, the broker stops cleanly, and the logs
are checked as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from fastlog import _core
from fastlog.sim import ondisk
from fastlog.sim.checker import Checker, Place
from fastlog.sim.consumer import Consumer
from fastlog.sim.entropy import Entropy
from fastlog.sim.fault import LOG_FAULTS, Fault
from fastlog.sim.machine import BrokerProgram
from fastlog.sim.producer import Producer
from fastlog.sim.scheduler import NANOSECONDS_PER_MILLISECOND, NANOSECONDS_PER_SECOND
from fastlog.sim.violation import Violation
from fastlog.sim.world import DRAIN_LIMIT_NS, TRAFFIC_LIMIT_NS, Outcome, World

if TYPE_CHECKING:
    from fastlog.env import Environment
    from fastlog.sim.ondisk import LoggedBatch

BROKER = "broker"
PORT = 9092
DATA = "/data"
MOST_TOPICS = 2
MOST_PARTITIONS = 3
LEAST_BATCHES_MORE = 15
MOST_BATCHES_MORE = 40
SEGMENT_BYTES = (4_000, 10_000, 30_000, 1 << 20)
MOST_TIMES_MORE = 10
QUIET_NS = NANOSECONDS_PER_SECOND
"""How long after the last answer what is still under way (batches with acks=0) may take to arrive."""


PRODUCERS: tuple[tuple[tuple[bool, int], ...], ...] = (
    ((True, -1),),
    ((False, 1),),
    ((False, -1),),
    ((True, -1), (False, 0)),
    ((True, -1), (False, 1)),
)
"""Who produces in a run: (idempotent, acks) of each."""


class Settings(NamedTuple):
    """What a seed draws for its broker: options under Kafka's names, and what the checker must know of them."""

    options: dict[str, str]
    all_flushed: bool
    retention_ms: int = -1
    retention_bytes: int = -1


def draw_settings(entropy: Entropy, partitions: int, *, must_roll: bool) -> Settings:
    """Return the options of a run's broker: small segments, so that they roll; now and then a flush before each answer.

    Retention, where there is any, is by time or by size, so that the checker can tell what it may take.
    """
    all_flushed = entropy.chance(30)
    options = {
        "listeners": f"PLAINTEXT://{BROKER}:{PORT}",
        "log.dirs": DATA,
        "log.segment.bytes": str(entropy.choose(SEGMENT_BYTES if not must_roll else SEGMENT_BYTES[:1])),
        "log.index.interval.bytes": str(entropy.choose((0, 500, 4_096))),
        "log.flush.offset.checkpoint.interval.ms": str(entropy.choose((50, 500, 60_000))),
        "num.partitions": str(partitions),
    }
    if all_flushed:
        options["log.flush.interval.messages"] = "1"
    elif entropy.chance(30):
        options["log.flush.interval.messages"] = str(entropy.between(2, 50))
    if entropy.chance(30):
        options["log.flush.interval.ms"] = str(entropy.between(1, 500))
    retention_ms = retention_bytes = -1
    if entropy.chance(40):
        if entropy.chance(50):
            retention_ms = entropy.choose((300, 1_500, 10_000))
        else:
            retention_bytes = entropy.choose((0, 4_000, 12_000))
        options["log.retention.check.interval.ms"] = str(entropy.between(20, 500))
        options["log.segment.delete.delay.ms"] = str(entropy.choose((0, 100, 60_000)))
    options["log.retention.ms"] = str(retention_ms)
    options["log.retention.bytes"] = str(retention_bytes)
    return Settings(options, all_flushed, retention_ms, retention_bytes)


class LogWorld(World[BrokerProgram]):
    """One run of one seed. `make_program(settings)(environment)` makes the broker that is under test."""

    KIND: ClassVar = "logs"

    def __init__(
        self,
        seed: int,
        make_program: Callable[[Settings], Callable[[Environment], BrokerProgram]],
        printer: Callable[[str], object] | None = None,
    ) -> None:
        super().__init__(seed, LOG_FAULTS, printer)
        partitions = self._entropy.between(1, MOST_PARTITIONS)
        self.topics = {f"topic{number}": partitions for number in range(self._entropy.between(1, MOST_TOPICS))}
        self._draw_faults()
        self.settings = draw_settings(
            self._root.fork("settings"), partitions, must_roll=any(fault.kind == "bit flip" for fault in self.faults)
        )
        self.checker = Checker(retention_ms=self.settings.retention_ms, retention_bytes=self.settings.retention_bytes)
        self.verdict = self.checker
        self._make_machine(BROKER, make_program(self.settings))
        self.producers = self._make_producers(self._root.fork("producers"))
        consumer = self.client_process("consumer")
        self.consumer = Consumer(consumer, self.checker, self._root.fork("consumer"), (BROKER, PORT), self.topics)
        self._times_more = 0

    # ---- making

    def _make_producers(self, entropy: Entropy) -> list[Producer]:
        """Make one or two; those that get acknowledgements send enough for every fault to come."""
        kinds = entropy.choose(PRODUCERS)
        needed = sum(fault.after for fault in self.faults) // sum(acks != 0 for _, acks in kinds)
        return [
            Producer(
                self.client_process(f"producer{index}"),
                self.checker,
                entropy.fork(f"{index}"),
                (BROKER, PORT),
                self.topics,
                idempotent=idempotent,
                acks=acks,
                batch_count=needed + entropy.between(LEAST_BATCHES_MORE, MOST_BATCHES_MORE),
            )
            for index, (idempotent, acks) in enumerate(kinds)
        ]

    # ---- running

    def _counts(self) -> dict[str, int]:
        return {
            "batches acknowledged": self.checker.acknowledged_count,
            "records polled": self.checker.polled_count,
            "acknowledged batches excused after a lost machine": self.checker.excused_count,
            "deleted by retention": self.checker.expired_count,
            "damaged ones found": self.checker.damage_found_count,
        }

    def _says(self) -> str:
        return f"options {self.settings.options} "

    def _play(self) -> None:
        self.machine.start()
        for producer in self.producers:
            producer.start()
        self.consumer.start()
        self._step_until(self._traffic_is_over, TRAFFIC_LIMIT_NS, "the producers")
        self._heal_for_good()
        quiet_ns = self.scheduler.now_ns + QUIET_NS
        self._step_until(lambda: self.scheduler.now_ns >= quiet_ns and self._is_drained(), DRAIN_LIMIT_NS, "the consumer")
        self._check_retention()
        self._stop_cleanly()
        self.checker.finish(self._logs())
        for name in ondisk.partition_directories(self.machine.drive, DATA):
            for wrong in ondisk.wrong_index_entries(self.machine.drive, f"{DATA}/{name}"):
                raise Violation("index", wrong)

    def _traffic(self) -> int:
        return self.checker.acknowledged_count

    def _look(self, program: BrokerProgram) -> None:
        for state in program.partition_states():
            place = (state.topic, state.partition)
            if state.log_start_offset > self.checker.log_start(place):
                self._expired(place, state.log_start_offset)
            self.checker.state(
                place,
                state.log_start_offset,
                state.last_stable_offset,
                state.high_watermark,
                state.log_end_offset,
            )

    def _needs_traffic(self, missing: int) -> None:
        """Let the producers send more, so that the next fault finds traffic; in vain too often, the run is thin."""
        if not self._producers_are_done():
            return
        if self._times_more == MOST_TIMES_MORE:
            self._thin = True
            self._waiting_faults.clear()
            return
        self._times_more += 1
        for producer in self.producers:
            producer.send_more(missing + 1)

    def _producers_are_done(self) -> bool:
        return all(producer.is_done for producer in self.producers)

    def _traffic_is_over(self) -> bool:
        return self._producers_are_done() and self._faults_are_over()

    def _is_drained(self) -> bool:
        """Tell whether the consumer has read all that the broker holds, acknowledged or not."""
        program = self.machine.program
        if program is None or not program.is_ready():
            return False
        ends = {(state.topic, state.partition): state.log_end_offset for state in program.partition_states()}
        return all(self.consumer.position(place) == end for place, end in ends.items())

    # ---- faults

    def _strike_elsewhere(self, fault: Fault) -> None:
        assert fault.kind == "bit flip", fault.kind
        self._flip_bit()
        self._over()

    def _flip_bit(self) -> None:
        """Flip a bit of some record in a segment that is written no more, where there is one."""
        sealed = []
        for place, log in self._logs().items():
            sealed += [(place, batch) for batch in log if batch.path != log[-1].path and not batch.is_damaged]
        if not sealed:
            return
        place, batch = self._entropy.choose(sealed)
        node = self.machine.drive.find_file(batch.path)
        at = self._entropy.between(_core.BATCH_OVERHEAD_BYTES, batch.size_bytes - 1)
        self.trace.record("world", f"flips a bit of {batch.path} {batch.position}+{at}")
        self.checker.damaged(batch, place)
        node.damaged[batch.position] = batch.size_bytes
        node.flip(batch.position + at, self._entropy.below(8))
        self.consumer.go_back(place, batch.base_offset)

    def _before_loss(self) -> None:
        self.checker.machine_lost(self._logs(), self._log_starts())

    def _check_restart(self) -> None:
        starts = self._log_starts()
        for place, start in starts.items():
            if start > self.checker.log_start(place):
                self._expired(place, start)
        ends = self.checker.restarted(self._logs(), starts, lost=self._was_lost, all_flushed=self.settings.all_flushed)
        self.consumer.truncated(ends)

    def _expired(self, place: Place, log_start: int) -> None:
        """Tell the checker that retention took something; after a loss the size that is left says nothing of what it left."""
        process = self.machine.process
        assert process is not None
        size_bytes = None if self._was_lost else sum(self._segment_sizes(place).values())
        wall_ms = process.clock.wall_ms() + process.busy_ns // NANOSECONDS_PER_MILLISECOND + 1
        self.checker.expired(place, log_start, wall_ms=wall_ms, size_bytes=size_bytes)

    def _check_retention(self) -> None:
        """Look at what is left in the end: what was due when the quiet began is gone by now."""
        process = self.machine.process
        if process is None or "log.retention.check.interval.ms" not in self.settings.options:
            return
        logs, wall_ms = self._logs(), process.clock.wall_ms() - QUIET_NS // NANOSECONDS_PER_MILLISECOND
        for place, log in logs.items():
            sizes = self._segment_sizes(place)
            newest_ms = max((self.checker.timestamp_ms(batch) for batch in log if batch.path == log[0].path), default=wall_ms)
            self.checker.must_have_expired(place, list(sizes.values()), newest_ms, wall_ms)

    def _segment_sizes(self, place: Place) -> dict[int, int]:
        return ondisk.segment_sizes(self.machine.drive, f"{DATA}/{place[0]}-{place[1]}")

    def _log_starts(self) -> dict[Place, int]:
        return {place: min(self._segment_sizes(place), default=0) for place in self._logs()}

    def _logs(self) -> dict[Place, list[LoggedBatch]]:
        logs: dict[Place, list[LoggedBatch]] = {}
        for name in ondisk.partition_directories(self.machine.drive, DATA):
            topic, _, number = name.rpartition("-")
            logs[topic, int(number)] = ondisk.read_log(self.machine.drive, f"{DATA}/{name}")
        return logs


def run_seed(
    seed: int,
    make_program: Callable[[Settings], Callable[[Environment], BrokerProgram]],
    printer: Callable[[str], object] | None = None,
) -> Outcome:
    """Run one seed and return what became of it."""
    return LogWorld(seed, make_program, printer).run()
