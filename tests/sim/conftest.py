"""A small world of processes for tests of the simulated environment itself."""

import contextlib
from typing import ClassVar

import pytest

from fastlog import _core, errors
from fastlog.env import READABLE, WRITABLE
from fastlog.sim import ondisk
from fastlog.sim.entropy import Entropy
from fastlog.sim.machine import PartitionState
from fastlog.sim.network import SimulatedNetwork, Wires
from fastlog.sim.process import Process
from fastlog.sim.scheduler import Scheduler
from fastlog.sim.trace import Trace
from fastlog.wire import api, frames


class SmallWorld:
    """A scheduler, wires, and processes by name."""

    def __init__(self, seed=1):
        self.lines = []
        self.trace = Trace(self.lines.append)
        self.entropy = Entropy(seed)
        self.scheduler = Scheduler(self.entropy.fork("order"), self.trace)
        self.wires = Wires(self.scheduler, self.entropy.fork("wires"), self.trace)

    def process(self, name):
        process = Process(name, self.scheduler, self.entropy.fork(name), wall_start_ms=1_700_000_000_000)
        network = SimulatedNetwork(self.wires, process, name)
        process.boot(network, network.has_ready)
        return process

    def run_until(self, condition, most_steps=20_000):
        for _ in range(most_steps):
            if condition():
                return
            assert self.scheduler.step(), "nothing left to do"
        raise AssertionError("the condition never held")


@pytest.fixture
def small_world():
    return SmallWorld


class ToyBroker:
    """The least broker that keeps the promises: one file a partition, everything in memory besides, no segments, no sessions.

    It tests the simulator and its checker without the product; subclasses break a promise each.
    """

    ranges: ClassVar = {18: (0, 3), 3: (4, 9), 22: (0, 2), 0: (3, 8), 1: (4, 11), 2: (1, 5)}

    def __init__(self, settings, environment):
        self.environment = environment
        self.flushes = settings.all_flushed
        self.partition_count = int(settings.options["num.partitions"])
        self.disk = environment.disk
        self.logs = {}
        self.connections = {}
        self.parked = []
        self.stopped = None
        self.disk.make_directories("/data")
        self.disk.sync_directory("/")
        for name in self.disk.list_directory("/data"):
            if name.rpartition("-")[2].isdigit():
                self.open_log((name.rpartition("-")[0], int(name.rpartition("-")[2])))
        self.listener = environment.network.listen("broker", 9092)
        environment.network.watch(self.listener, READABLE, self.accept)

    def is_ready(self):
        return self.stopped is None

    def partition_states(self):
        for (topic, number), log in self.logs.items():
            yield PartitionState(topic, number, 0, log.end, log.end, log.end)

    def stop(self, stopped):
        self.stopped = stopped
        self.environment.network.close()
        for log in self.logs.values():
            log.file.fdatasync()
        stopped()

    def open_log(self, place):
        path = f"/data/{place[0]}-{place[1]}"
        self.disk.make_directories(path)
        log = self.logs[place] = self.make_log(self.disk.open(f"{path}/{0:020}.log", create=True))
        self.disk.sync_directory(path)
        self.disk.sync_directory("/data")
        return log

    def make_log(self, file):
        return ToyLog(file)

    def accept(self, events):
        transport = self.listener.accept()
        connection = self.connections[transport.key] = [transport, bytearray(), bytearray()]
        self.environment.network.watch(transport, READABLE, lambda events: self.on_ready(connection, events))

    def on_ready(self, connection, events):
        transport, inbox, *_ = connection
        try:
            if events & READABLE:
                chunk = bytearray(65536)
                count = transport.receive_into(chunk)
                if count == 0:
                    raise ConnectionResetError
                inbox += chunk[:count]
                while len(inbox) >= 4 and len(inbox) >= 4 + int.from_bytes(inbox[:4], "big"):
                    size = int.from_bytes(inbox[:4], "big")
                    self.serve(connection, bytes(inbox[4 : 4 + size]))
                    del inbox[: 4 + size]
            self.send(connection)
        except BlockingIOError:
            pass
        except OSError:
            transport.close()
            del self.connections[transport.key]

    def send(self, connection):
        transport, _, outbox, *_ = connection
        with contextlib.suppress(BlockingIOError):
            if outbox:
                del outbox[: transport.send([outbox])]
        watched = READABLE | WRITABLE if outbox else READABLE
        self.environment.network.watch(transport, watched, lambda events: self.on_ready(connection, events))

    def serve(self, connection, frame):
        header, position = frames.decode_request_header(frame)
        key, version = header.request_api_key, header.request_api_version
        request = api.request_class(key).decode(frame, version, position)
        answer = getattr(self, {18: "versions", 3: "metadata", 22: "init", 0: "produce", 1: "fetch", 2: "offsets"}[key])(request)
        if answer is not None:
            connection[2].extend(frames.encode_response(answer, version, header.correlation_id))

    def versions(self, request):
        answer = api.response_class(18)
        keys = [answer.ApiVersion(api_key=key, min_version=low, max_version=high) for key, (low, high) in self.ranges.items()]
        return answer(api_keys=keys)

    def metadata(self, request):
        answer = api.response_class(3)
        topics = []
        for topic in request.topics:
            partitions = []
            for index in range(self.partition_count):
                if (topic.name, index) not in self.logs:
                    self.open_log((topic.name, index))
                partitions.append(
                    answer.MetadataResponsePartition(partition_index=index, leader_id=1, replica_nodes=[1], isr_nodes=[1])
                )
            topics.append(answer.MetadataResponseTopic(name=topic.name, partitions=partitions))
        return answer(topics=topics)

    def init(self, request):
        try:
            file = self.disk.open("/data/next", create=True)
            number = int.from_bytes(file.pread(8, 0).rjust(8, b"\0"), "big")
            file.pwritev([(number + 1).to_bytes(8, "big")], 0)
            file.fdatasync()
            self.disk.sync_directory("/data")
        except OSError:
            return api.response_class(22)(error_code=errors.CoordinatorNotAvailable.code)
        return api.response_class(22)(producer_id=number, producer_epoch=0)

    def produce(self, request):
        answer = api.response_class(0)
        topics = []
        for topic in request.topic_data:
            partitions = []
            for partition in topic.partition_data:
                code, offset = self.append(self.logs[topic.name, partition.index], partition.records)
                partitions.append(answer.PartitionProduceResponse(index=partition.index, error_code=code, base_offset=offset))
            topics.append(answer.TopicProduceResponse(name=topic.name, partition_responses=partitions))
        return answer(responses=topics) if request.acks else None

    def append(self, log, records):
        try:
            (batch,) = _core.scan(bytearray(records))
        except _core.CorruptBatch:
            return errors.CorruptMessage.code, -1
        try:
            return log.append(batch, self.flushes)
        except OSError:
            return errors.KafkaStorageError.code, -1

    def offsets(self, request):
        answer = api.response_class(2)
        return answer(
            topics=[
                answer.ListOffsetsTopicResponse(
                    name=topic.name,
                    partitions=[
                        answer.ListOffsetsPartitionResponse(
                            partition_index=partition.partition_index, offset=self.logs[topic.name, partition.partition_index].end
                        )
                        for partition in topic.partitions
                    ],
                )
                for topic in request.topics
            ]
        )

    def fetch(self, request):
        answer = api.response_class(1)
        topics = []
        for topic in request.topics:
            partitions = []
            for partition in topic.partitions:
                log = self.logs[topic.topic, partition.partition]
                data = answer.PartitionData(
                    partition_index=partition.partition, high_watermark=log.end, last_stable_offset=log.end
                )
                try:
                    if partition.fetch_offset > log.end:
                        data.error_code = errors.OffsetOutOfRange.code
                    else:
                        data.records = log.read(partition.fetch_offset)
                except OSError:
                    data.error_code = errors.KafkaStorageError.code
                partitions.append(data)
            topics.append(answer.FetchableTopicResponse(topic=topic.topic, partitions=partitions))
        return answer(responses=topics)


class ToyLog:
    """One file of batches; recovery keeps the valid prefix."""

    def __init__(self, file):
        self.file = file
        self.end = self.size = 0
        self.positions = []
        self.sequences = {}
        self.failed = False
        file.drop_cache()
        for batch in self.find_batches(file.pread(file.size_bytes(), 0)):
            self.take(batch)
        file.ftruncate(self.size)
        file.fdatasync()

    def find_batches(self, content):
        return ondisk.valid_batches(content)

    def take(self, batch):
        self.positions.append((batch.base_offset, self.size))
        self.size += len(batch)
        self.end = batch.last_offset + 1
        if batch.producer_id >= 0:
            recent = self.sequences.setdefault((batch.producer_id, batch.producer_epoch), [])
            recent.append((batch.base_sequence, batch.last_sequence, batch.base_offset))

    def duplicate_of(self, batch):
        recent = self.sequences.get((batch.producer_id, batch.producer_epoch), [])
        return next((offset for first, _, offset in recent if first == batch.base_sequence), None)

    def append(self, batch, flushes):
        if self.failed:
            raise OSError("fenced")
        if batch.producer_id >= 0:
            offset = self.duplicate_of(batch)
            if offset is not None:
                return errors.NONE, offset
            recent = self.sequences.get((batch.producer_id, batch.producer_epoch))
            if recent and recent[-1][1] + 1 != batch.base_sequence:
                return errors.OutOfOrderSequenceNumber.code, -1
        batch.assign(self.end, 0)
        self.write(batch)
        if flushes:
            self.sync()
        self.take(batch)
        return errors.NONE, batch.base_offset

    def write(self, batch):
        try:
            if self.file.pwritev([batch], self.size) != len(batch):
                raise OSError("short")
        except OSError:
            self.undo()
            raise

    def undo(self):
        try:
            self.file.ftruncate(self.size)
        except OSError:
            self.failed = True
            raise

    def sync(self):
        try:
            self.file.fdatasync()
        except OSError:
            self.failed = True
            raise

    def read(self, offset):
        position = max((position for base, position in self.positions if base <= offset), default=0)
        return b"" if offset >= self.end else self.file.pread(min(20_000, self.size - position), position)


@pytest.fixture
def toy_broker():
    return ToyBroker


@pytest.fixture
def toy_log():
    return ToyLog
