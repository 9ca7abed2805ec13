"""A scripted broker on the simulated network: what it answers, and what goes wrong, is the test's to say."""

import pytest

from fastlog import _core, errors
from fastlog.client.cluster import Address, Cluster
from fastlog.env import READABLE
from fastlog.sim.entropy import Entropy
from fastlog.sim.network import SimulatedNetwork, Wires
from fastlog.sim.process import Process
from fastlog.sim.scheduler import Scheduler
from fastlog.sim.trace import Trace
from fastlog.wire import api, frames
from fastlog.wire.messages.api_versions import ApiVersionsResponse
from fastlog.wire.messages.create_topics import CreateTopicsResponse
from fastlog.wire.messages.delete_topics import DeleteTopicsResponse
from fastlog.wire.messages.fetch import FetchResponse
from fastlog.wire.messages.init_producer_id import InitProducerIdResponse
from fastlog.wire.messages.list_offsets import ListOffsetsResponse
from fastlog.wire.messages.metadata import MetadataResponse
from fastlog.wire.messages.produce import ProduceResponse

KEPT_BATCHES = 5


class Partition:
    """A log of batches, and what the broker remembers of each producer: its last batches and where they are."""

    def __init__(self):
        self.batches = []
        self.end = 0
        self.start = 0
        self.producers = {}

    def has(self, records):
        """Tell whether a batch was appended before."""
        (batch,) = _core.scan(bytearray(records))
        known = self.producers.get((batch.producer_id, batch.producer_epoch), ())
        return any((first, last) == (batch.base_sequence, batch.last_sequence) for first, last, _ in known)

    def append(self, records):
        """Append as Kafka does; return (error code, base offset)."""
        (batch,) = _core.scan(bytearray(records))
        known = self.producers.get((batch.producer_id, batch.producer_epoch))
        if batch.producer_id >= 0:
            for first, last, offset in known or ():
                if (first, last) == (batch.base_sequence, batch.last_sequence):
                    return 0, offset
            if known and batch.base_sequence != known[-1][1] + 1:
                return errors.OutOfOrderSequenceNumber.code, -1
            kept = [*(known or ()), (batch.base_sequence, batch.last_sequence, self.end)]
            self.producers[batch.producer_id, batch.producer_epoch] = kept[-KEPT_BATCHES:]
        offset = self.end
        batch.assign(offset, 0)
        self.batches.append(batch)
        self.end = batch.last_offset + 1
        return 0, offset

    def values(self):
        return [bytes(record.value) for batch in self.batches for record in batch.records()]


class ScriptedBroker:
    """Answers in order. `script` is asked what to do with each Produce: see `produce`."""

    def __init__(self, process, node_id=1, host="broker", port=9092):
        self.process = process
        self.node_id = node_id
        self.address = Address(host, port)
        self.brokers = {node_id: self.address}
        self.topics = {}
        self.ids = {}
        self.leaders = {}
        self.auto_create = False
        self.script = iter(())
        self.producer_ids = self.topics_made = 0
        self.ranges = {18: (0, 4), 3: (4, 12), 22: (0, 4), 0: (3, 12), 1: (4, 12), 2: (1, 8), 19: (2, 7), 20: (1, 5)}
        self.requests = []
        self.silent = False
        self.listener = process.network.listen(host, port)
        process.network.watch(self.listener, READABLE, self.accept)

    def create(self, topic, partitions=1):
        self.topics[topic] = [Partition() for _ in range(partitions)]
        self.topics_made += 1
        self.ids[topic] = self.topics_made.to_bytes(16, "big")

    def accept(self, _):
        transport = self.listener.accept()
        receiver = _core.Receiver(1 << 24)
        unsent = bytearray()

        def flush():
            while unsent:
                try:
                    count = transport.send([bytes(unsent)])
                except BlockingIOError:
                    self.process.reactor.call_later(1, flush)
                    return
                except OSError:
                    return
                del unsent[:count]

        def ready(_):
            try:
                count = transport.receive_into(receiver)
            except OSError:
                count = 0
            if count == 0:
                transport.close()
                return
            receiver.received(count)
            while (frame := receiver.next_frame()) is not None:
                try:
                    answer = self.answer(frame)
                except ConnectionAbortedError:
                    transport.close()
                    return
                if answer is not None:
                    unsent.extend(answer)
            flush()

        self.process.network.watch(transport, READABLE, ready)

    def answer(self, frame):
        header, position = frames.decode_request_header(frame)
        key, version = header.request_api_key, header.request_api_version
        self.requests.append((key, version))
        if self.silent:
            return None
        low, high = self.ranges[key]
        if key == 18 and not low <= version <= high:
            response = ApiVersionsResponse(
                error_code=35,
                api_keys=[ApiVersionsResponse.ApiVersion(api_key=18, min_version=low, max_version=high)],
            )
            return frames.encode_response(response, 0, header.correlation_id)
        assert low <= version <= high, (key, version)
        request = api.request_class(key).decode(frame, version, position)
        response = getattr(self, api.api(key).name)(request, version)
        return None if response is None else frames.encode_response(response, version, header.correlation_id)

    def ApiVersions(self, request, version):
        keys = [ApiVersionsResponse.ApiVersion(api_key=k, min_version=a, max_version=b) for k, (a, b) in self.ranges.items()]
        return ApiVersionsResponse(api_keys=keys)

    def Metadata(self, request, version):
        topics = []
        for name in self.topics if request.topics is None else [topic.name for topic in request.topics]:
            if name not in self.topics and self.auto_create and request.allow_auto_topic_creation:
                self.create(name)
            if name not in self.topics:
                topics.append(MetadataResponse.MetadataResponseTopic(error_code=3, name=name))
                continue
            partitions = [
                MetadataResponse.MetadataResponsePartition(
                    partition_index=index,
                    leader_id=self.leaders.get((name, index), self.node_id),
                    leader_epoch=0,
                    replica_nodes=[1],
                    isr_nodes=[1],
                )
                for index in range(len(self.topics[name]))
            ]
            topics.append(MetadataResponse.MetadataResponseTopic(name=name, topic_id=self.ids[name], partitions=partitions))
        brokers = [MetadataResponse.MetadataResponseBroker(node_id=n, host=h, port=p) for n, (h, p) in self.brokers.items()]
        return MetadataResponse(brokers=brokers, controller_id=self.node_id, cluster_id="c", topics=topics)

    def InitProducerId(self, request, version):
        self.producer_ids += 1
        return InitProducerIdResponse(producer_id=self.producer_ids, producer_epoch=0)

    def Produce(self, request, version):
        """Ask the script about each batch: None, an error code, or a word.

        "lose" ends the connection before the append and "lose answer" after it; "doubt" appends and answers REQUEST_TIMED_OUT;
        "forget" forgets the producers of the partition, and answers UNKNOWN_PRODUCER_ID.
        """
        responses = []
        lose = False
        for topic in request.topic_data:
            answers = []
            for data in topic.partition_data:
                act = next(self.script, None)
                partition = self.topics[topic.name][data.index]
                if act == "lose":
                    raise ConnectionAbortedError
                if act == "forget":
                    partition.producers.clear()
                    act = errors.UnknownProducerId.code
                refused = isinstance(act, int) and not partition.has(data.records)
                code, offset = (act, -1) if refused else partition.append(data.records)
                if act == "doubt" and code == 0:
                    code, offset = errors.RequestTimedOut.code, -1
                lose = lose or act == "lose answer"
                answers.append(ProduceResponse.PartitionProduceResponse(index=data.index, error_code=code, base_offset=offset))
            responses.append(ProduceResponse.TopicProduceResponse(name=topic.name, partition_responses=answers))
        if lose:
            raise ConnectionAbortedError
        return ProduceResponse(responses=responses) if request.acks else None

    def Fetch(self, request, version):
        responses = []
        for topic in request.topics:
            answers = []
            for asked in topic.partitions:
                partitions = self.topics.get(topic.topic)
                code, records, partition = 3, b"", Partition()
                if partitions is not None:
                    partition = partitions[asked.partition]
                    code = next(self.script, 0) or 0
                    if not code and not partition.start <= asked.fetch_offset <= partition.end:
                        code = 1
                    if not code:
                        wanted = [bytes(batch) for batch in partition.batches if batch.last_offset >= asked.fetch_offset]
                        records = b"".join(wanted)
                        first = len(wanted[0]) if wanted else 0
                        records = records[: max(asked.partition_max_bytes, first)]
                answers.append(
                    FetchResponse.PartitionData(
                        partition_index=asked.partition,
                        error_code=code,
                        high_watermark=partition.end,
                        log_start_offset=partition.start,
                        records=records,
                    )
                )
            responses.append(FetchResponse.FetchableTopicResponse(topic=topic.topic, partitions=answers))
        return FetchResponse(responses=responses)

    def ListOffsets(self, request, version):
        topics = []
        for topic in request.topics:
            answers = []
            for asked in topic.partitions:
                partition = self.topics[topic.name][asked.partition_index]
                found = {-1: partition.end, -2: partition.start}.get(asked.timestamp)
                if found is None:
                    records = [r for batch in partition.batches for r in batch.records() if r.timestamp_ms >= asked.timestamp]
                    found = records[0].offset if records else -1
                code = next(self.script, 0) or 0
                answers.append(
                    ListOffsetsResponse.ListOffsetsPartitionResponse(
                        partition_index=asked.partition_index, offset=-1 if code else found, error_code=code
                    )
                )
            topics.append(ListOffsetsResponse.ListOffsetsTopicResponse(name=topic.name, partitions=answers))
        return ListOffsetsResponse(topics=topics)

    def CreateTopics(self, request, version):
        (topic,) = request.topics
        code = next(self.script, 0) or (36 if topic.name in self.topics else 0)
        if not code:
            self.create(topic.name, max(topic.num_partitions, 1))
        return CreateTopicsResponse(
            topics=[CreateTopicsResponse.CreatableTopicResult(name=topic.name, error_code=code, error_message=None)]
        )

    def DeleteTopics(self, request, version):
        (name,) = request.topic_names
        code = 0 if self.topics.pop(name, None) else 3
        return DeleteTopicsResponse(responses=[DeleteTopicsResponse.DeletableTopicResult(name=name, error_code=code)])


class World:
    """One broker, one client process, simulated time."""

    def __init__(self, seed=1, **options):
        entropy = Entropy(seed)
        self.trace = Trace()
        self.scheduler = Scheduler(entropy.fork("order"), self.trace)
        self.wires = Wires(self.scheduler, entropy.fork("wires"), self.trace)
        self.entropy = entropy
        self.broker = ScriptedBroker(self.process("broker"))
        self.client = self.process("client")
        self.cluster = Cluster(self.client.reactor, [self.broker.address], **options)

    def process(self, name):
        process = Process(name, self.scheduler, self.entropy.fork(name), wall_start_ms=1_700_000_000_000)
        network = SimulatedNetwork(self.wires, process, name)
        process.boot(network, network.has_ready)
        return process

    def run_until(self, condition, most_steps=200_000):
        for _ in range(most_steps):
            if condition():
                return
            assert self.scheduler.step(), "nothing left to do"
        raise AssertionError("the condition never held")

    def wait(self, pending):
        self.run_until(lambda: pending.done)
        return pending.result()


@pytest.fixture(scope="session")
def world():
    """Return the class: `world(seed=..., **options of Cluster)`."""
    return World
