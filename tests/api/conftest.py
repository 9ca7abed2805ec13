"""A broker without a process: real logs on a temporary disk, a network and a clock that tests drive turn by turn."""

import contextlib
import errno
import os
import tempfile

import pytest

from fastlog._core import BatchBuilder, File
from fastlog.api.api_versions import ApiVersionsHandler
from fastlog.api.cold_reads import ColdReads
from fastlog.api.fetch import FetchHandler
from fastlog.api.fetch_sessions import FetchSessions
from fastlog.api.list_offsets import ListOffsetsHandler
from fastlog.api.parked import ParkedRequests
from fastlog.api.produce import ProduceHandler
from fastlog.api.registry import Api, Registry
from fastlog.api.server import Limits, Server
from fastlog.api.topic_metrics import BrokerTopicMetrics
from fastlog.env import READABLE, WRITABLE
from fastlog.env.disk import SystemDisk
from fastlog.env.reactor import Reactor
from fastlog.metadata.image import Image
from fastlog.metadata.image import Partition as ImagePartition
from fastlog.metadata.image import Topic as ImageTopic
from fastlog.metadata.view import ClusterView
from fastlog.metrics import Metrics
from fastlog.replication.partition import Partition
from fastlog.replication.partition_set import PartitionSet
from fastlog.storage.environment import StorageEnvironment
from fastlog.storage.log_config import LogConfig
from fastlog.storage.log_manager import LogManager, StorageConfig
from fastlog.wire.api import api as wire_api
from fastlog.wire.frames import decode_response, encode_request
from fastlog.wire.messages.fetch import FetchRequest
from fastlog.wire.messages.list_groups import ListGroupsResponse
from fastlog.wire.messages.produce import ProduceRequest

WALL_MS = 1_700_000_000_000


class ManualClock:
    def __init__(self):
        self.now_ns = 1_000_000_000

    def wall_ms(self):
        return WALL_MS + self.now_ns // 1_000_000

    def monotonic_ns(self):
        return self.now_ns


class CountingRandom:
    def __init__(self):
        self.drawn = 0

    def random_bytes(self, count):
        self.drawn += 1
        return self.drawn.to_bytes(count, "big")

    def below(self, bound):
        self.drawn += 1
        return self.drawn % bound


class InlineFlusher:
    """Runs a job at once, or keeps it while `held`; its end is told on a later turn in any case."""

    def __init__(self, reactor):
        self.reactor = reactor
        self.held = False
        self.jobs = []

    def submit(self, job, done):
        self.jobs.append((job, done))
        if not self.held:
            self.run()

    def run(self):
        jobs, self.jobs = self.jobs, []
        for job, done in jobs:
            try:
                result = job()
            except Exception as error:
                self.reactor.call_soon(done, None, error)
            else:
                self.reactor.call_soon(done, result, None)


class FaultyFile(File):
    def pwritev(self, buffers, position):
        if self.disk.error and self.disk.failing in self.path:
            if self.disk.short:
                data = b"".join(buffers)
                return super().pwritev([data[: len(data) // 2]], position)
            raise OSError(self.disk.error, os.strerror(self.disk.error))
        return super().pwritev(buffers, position)

    def is_resident(self, position, size):
        return not any(part in self.path for part in self.disk.cold)

    def pread(self, size, position):
        if self.disk.read_error and not self.is_resident(position, size):
            raise OSError(self.disk.read_error, os.strerror(self.disk.read_error))
        return super().pread(size, position)

    def fdatasync(self):
        pass  # no machine is lost here, and a real one takes its time


class FaultyDisk(SystemDisk):
    """The real disk without its syncs; writes to paths with a certain part fail when a test says so."""

    failing = ""
    error = 0
    short = False  # half of what is written goes before it fails
    read_error = 0

    def __init__(self):
        super().__init__()
        self.cold = set()  # parts of the paths of files that the page cache does not hold

    def fail_writes(self, path_part, number):
        self.failing, self.error = path_part, number

    def sync_directory(self, path):
        pass

    def open(self, path, **how):
        real = super().open(path, **how)
        file = FaultyFile(path, os.dup(real.descriptor()))
        real.close()
        file.disk = self
        return file


class FakeTransport:
    """The broker's side of a connection; the test writes `inbox` and reads `outbox`."""

    def __init__(self, network, peer_host, peer_port):
        self.network = network
        self.peer_host = peer_host
        self.peer_port = peer_port
        self.inbox = bytearray()
        self.outbox = bytearray()
        self.room = 1 << 40  # bytes that go before sending blocks
        self.ended = False
        self.reset = False
        self.closed = False
        self.receives = 0
        self.sends = 0

    def receive_into(self, buffer):
        self.receives += 1
        if self.reset:
            raise ConnectionResetError
        if self.inbox:
            with memoryview(buffer) as view:
                count = min(len(view), len(self.inbox))
                view[:count] = self.inbox[:count]
            del self.inbox[:count]
            return count
        if self.ended:
            return 0
        raise BlockingIOError

    def send(self, buffers, skip=0):
        if self.reset:
            raise BrokenPipeError
        data = b"".join(bytes(memoryview(one)) for one in buffers)[skip:][: self.room]
        if not data:
            raise BlockingIOError
        self.sends += 1
        self.room -= len(data)
        self.outbox += data
        return len(data)

    def close(self):
        self.closed = True
        self.network.watched.pop(self, None)

    def ready(self):
        events = READABLE if self.inbox or self.ended or self.reset else 0
        return events | (WRITABLE if self.room or self.reset else 0)


class FakeListener:
    def __init__(self, network, host, port):
        self.network = network
        self.host = host
        self.port = port
        self.waiting = []
        self.failures = []
        self.closed = False

    def accept(self):
        if not self.waiting:
            raise BlockingIOError
        if self.failures:
            number = self.failures.pop(0)
            if number == errno.ECONNABORTED:
                self.waiting.pop(0)
            raise OSError(number, os.strerror(number))
        return self.waiting.pop(0)

    def close(self):
        self.closed = True
        self.network.watched.pop(self, None)

    def ready(self):
        return READABLE if self.waiting else 0


class FakeNetwork:
    def __init__(self):
        self.watched = {}
        self.ports = 1000

    def listen(self, host, port, backlog=128):
        self.ports += 1
        return FakeListener(self, host, port or self.ports)

    def watch(self, endpoint, events, callback):
        assert not endpoint.closed
        if events:
            self.watched[endpoint] = (events, callback)
        else:
            self.watched.pop(endpoint, None)

    def poll(self, timeout_ns):
        found = []
        for endpoint, (events, callback) in self.watched.items():
            ready = endpoint.ready() & events
            if ready:
                found.append((callback, ready))
        return found

    def wake(self):
        raise AssertionError("no threads here")


class Client:
    """What a test says and hears on one connection."""

    def __init__(self, rig, transport):
        self.rig = rig
        self.transport = transport
        self.correlation_id = 0
        self.asked = {}

    @property
    def closed(self):
        return self.transport.closed

    def send(self, request, version):
        """Send a request message without running the broker; return its correlation id."""
        self.correlation_id += 1
        self.asked[self.correlation_id] = (request.API_KEY, version)
        self.transport.inbox += encode_request(request, version, self.correlation_id, "tester")
        return self.correlation_id

    def send_bytes(self, data):
        self.transport.inbox += data

    def frames(self):
        """Take the whole answer frames that have come."""
        frames, data = [], self.transport.outbox
        while len(data) >= 4 and len(data) >= 4 + int.from_bytes(data[:4], "big"):
            size = int.from_bytes(data[:4], "big")
            frames.append(bytes(data[4 : 4 + size]))
            del data[: 4 + size]
        return frames

    def answers(self):
        """Take the answers that have come, as (correlation id, message)."""
        decoded = []
        for frame in self.frames():
            key, version = self.asked[int.from_bytes(frame[:4], "big")]
            decoded.append(decode_response(wire_api(key).response_class, frame, version))
        return decoded

    def ask(self, request, version):
        """Send a request, run the broker, and return the only answer's message."""
        correlation_id = self.send(request, version)
        self.rig.settle()
        [(answered_id, message)] = self.answers()
        assert answered_id == correlation_id
        return message


class Rig:
    def __init__(self, directory, limits=None, policy=None):
        self.directory = directory
        self.clock = ManualClock()
        self.network = FakeNetwork()
        self.reactor = Reactor(self.clock, self.network)
        self.flusher = InlineFlusher(self.reactor)
        self.random = CountingRandom()
        self.metrics = Metrics()
        self.disk = FaultyDisk()
        self.environment = StorageEnvironment(self.clock, self.disk, self.flusher, self.random, self.reactor.call_later)
        self.configs = {}
        self.logs = LogManager(
            self.environment, StorageConfig(log_dirs=(self.directory,)), lambda topic: self.configs.get(topic, LogConfig())
        )
        self.logs.lock()
        self.logs.identify("tests", 1)
        self.logs.load(lambda result, error: None)
        self.partitions = PartitionSet()
        self.view = ClusterView(Image())
        self.registry = Registry()
        self.topic_metrics = BrokerTopicMetrics(self.metrics)
        self.parked_fetches = ParkedRequests(self.reactor, self.metrics, "Fetch")
        self.parked_produces = ParkedRequests(self.reactor, self.metrics, "Produce")
        self.sessions = FetchSessions(self.clock, self.random, self.metrics, 10)
        self.produce = ProduceHandler(self.partitions, self.view, self.parked_produces, self.topic_metrics)
        self.fetch = FetchHandler(
            self.partitions,
            self.view,
            self.sessions,
            self.parked_fetches,
            ColdReads(self.flusher),
            self.topic_metrics,
            55 << 20,
        )
        for handler in (
            self.produce,
            self.fetch,
            ListOffsetsHandler(self.reactor, self.partitions, self.view),
            ApiVersionsHandler(self.registry),
        ):
            self.registry.add(handler.api())
        # ListGroups stands for any API of messages: a test puts in what it does.
        self.on_list_groups = lambda context, request: ListGroupsResponse()

        def handle(context, request):
            return self.on_list_groups(context, request)

        def refuse(context, request, error):
            return ListGroupsResponse(error_code=error.code)

        self.registry.add(Api(16, "ListGroups", 0, 5, handle, refuse))
        self.server = Server(self.reactor, self.network, self.registry, self.metrics, limits or Limits(), policy)
        for hook in (
            self.logs.commit_staged,
            self.produce.answer_staged,
            self.parked_produces.wake,
            self.parked_fetches.wake,
            self.server.flush,
        ):
            self.reactor.at_turn_end(hook)
        self.reactor.after_turn(self.server.serve_line)
        self.listener = self.server.listen("PLAINTEXT", "127.0.0.1", 0)
        self.clients_made = 0

    def add_topic(self, name, count=1, **options):
        """Host a topic of `count` partitions and return them; its id is made of its name."""
        topic_id = name.encode().ljust(16, b"\0")[:16]
        self.configs[name] = LogConfig(**options)
        made = []
        for index in range(count):
            partition = Partition(name, topic_id, index, 1, self.logs.create(name, index, topic_id))
            partition.become(1, 0, (1,), (1,))
            self.partitions.add(partition)
            made.append(partition)
        self.view.publish(
            self.view.image.with_topics([ImageTopic(name, topic_id, tuple(ImagePartition((1,), 1, 0, (1,)) for _ in made))])
        )
        return made

    def connect(self, host="10.0.0.1", listener=None):
        """Return a client whose connection waits to be accepted."""
        self.clients_made += 1
        transport = FakeTransport(self.network, host, 40_000 + self.clients_made)
        (listener or self.listener).waiting.append(transport)
        return Client(self, transport)

    def turn(self):
        self.reactor.run_turn()

    def settle(self):
        """Run turns until nothing is left to do at this moment."""
        for _ in range(1000):
            self.turn()
            deadline_ns = self.reactor.next_deadline_ns()
            if (deadline_ns is None or deadline_ns > self.clock.now_ns) and not self.network.poll(0):
                return
        raise AssertionError("the broker never comes to rest")

    def advance(self, duration_ms):
        self.clock.now_ns += duration_ms * 1_000_000
        self.settle()

    def values(self):
        return {name: metric.value for name, metric in self.metrics if hasattr(metric, "value")}

    def close(self):
        self.server.close()
        with contextlib.suppress(OSError):
            self.logs.close()


@pytest.fixture
def make_rig():
    # In memory where there is such a directory: a disk that is busy with something else makes every file cost milliseconds.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    rigs = []
    with tempfile.TemporaryDirectory(prefix="fastlog-api-", dir=memory) as directory:

        def make(**options):
            rigs.append(Rig(f"{directory}/{len(rigs)}", **options))
            return rigs[-1]

        yield make
        for rig in rigs:
            rig.close()


@pytest.fixture
def rig(make_rig):
    return make_rig()


@pytest.fixture
def batch():
    """Build a batch of these values (or of `count` values of `size` bytes)."""

    def build(*values, timestamp_ms=WALL_MS, **fields):
        builder = BatchBuilder(**fields)
        for value in values or (b"value",):
            assert builder.append(timestamp_ms, None, value)
        return builder.build()

    return build


@pytest.fixture
def produce_request():
    """Build a Produce request of {topic: {partition: records}} (topics by name, or by id as bytes)."""

    def build(data, acks=1, timeout_ms=1000, transactional_id=None):
        topics = []
        for topic, partitions in data.items():
            named = {"topic_id": topic} if isinstance(topic, bytes) else {"name": topic}
            topics.append(
                ProduceRequest.TopicProduceData(
                    **named,
                    partition_data=[
                        ProduceRequest.PartitionProduceData(index=index, records=records) for index, records in partitions.items()
                    ],
                )
            )
        return ProduceRequest(acks=acks, timeout_ms=timeout_ms, transactional_id=transactional_id, topic_data=topics)

    return build


@pytest.fixture
def fetch_request():
    """Build a Fetch request of {topic: {partition: offset}}."""

    def build(
        data,
        *,
        max_wait_ms=0,
        min_bytes=1,
        max_bytes=1 << 20,
        partition_max_bytes=1 << 20,
        session=(0, -1),
        forgotten=(),
        isolation_level=0,
        leader_epoch=-1,
        replica_id=-1,
    ):
        def named(topic):
            return {"topic_id": topic} if isinstance(topic, bytes) else {"topic": topic}

        return FetchRequest(
            replica_id=replica_id,
            max_wait_ms=max_wait_ms,
            min_bytes=min_bytes,
            max_bytes=max_bytes,
            isolation_level=isolation_level,
            session_id=session[0],
            session_epoch=session[1],
            topics=[
                FetchRequest.FetchTopic(
                    **named(topic),
                    partitions=[
                        FetchRequest.FetchPartition(
                            partition=index,
                            fetch_offset=offset,
                            partition_max_bytes=partition_max_bytes,
                            current_leader_epoch=leader_epoch,
                        )
                        for index, offset in partitions.items()
                    ],
                )
                for topic, partitions in data.items()
            ],
            forgotten_topics_data=[
                FetchRequest.ForgottenTopic(**named(topic), partitions=list(indexes)) for topic, indexes in forgotten
            ],
        )

    return build
