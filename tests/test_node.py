"""A whole broker: how it starts, stops, crashes and refuses to start; on a simulated machine, and as a process."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from fastlog import _core
from fastlog.errors import KafkaStorageError, UsageError
from fastlog.wire.messages.create_topics import CreateTopicsRequest
from fastlog.wire.messages.delete_topics import DeleteTopicsRequest
from fastlog.wire.messages.init_producer_id import InitProducerIdRequest
from fastlog.wire.messages.metadata import MetadataRequest
from fastlog.wire.messages.produce import ProduceRequest

DATA = "/kafka/data"


def create(broker, name, partitions=1, **options):
    topic = CreateTopicsRequest.CreatableTopic(
        name=name,
        num_partitions=partitions,
        replication_factor=1,
        configs=[
            CreateTopicsRequest.CreatableTopicConfig(name=option.replace("_", "."), value=value)
            for option, value in options.items()
        ],
    )
    answer = broker.call(CreateTopicsRequest(topics=[topic], timeout_ms=2_000), 7).topics[0]
    assert answer.error_code == 0, answer.error_message
    return answer.topic_id


def produce(broker, topic, value=b"value", partition=0):
    """Produce one record and return (error code, offset)."""
    builder = _core.BatchBuilder()
    builder.append(1_700_000_000_000, None, value)
    data = ProduceRequest.PartitionProduceData(index=partition, records=builder.build())
    topics = [ProduceRequest.TopicProduceData(name=topic, partition_data=[data])]
    answer = broker.call(ProduceRequest(acks=-1, timeout_ms=1_000, topic_data=topics), 9)
    partition = answer.responses[0].partition_responses[0]
    return partition.error_code, partition.base_offset


def epochs(broker, topic):
    answer = broker.call(MetadataRequest(topics=[MetadataRequest.MetadataRequestTopic(name=topic)]), 12)
    return [one.leader_epoch for one in answer.topics[0].partitions]


@pytest.mark.parametrize("how", ["stop", "kill", "lose"])
def test_a_restart_finds_everything_again(broker, how):
    topic_id = create(broker, "t", 2, retention_ms="123456")
    assert [produce(broker, "t", b"%d" % number) for number in range(3)] == [(0, 0), (0, 1), (0, 2)]
    cluster_id = broker.node.view.image.cluster_id
    producer_id = broker.call(InitProducerIdRequest(transactional_id=None), 4).producer_id
    broker.restart(how)
    image = broker.node.view.image
    assert (image.cluster_id, image.topics["t"].id) == (cluster_id, topic_id)
    log = broker.node.partitions.get("t", 0).log
    assert log.config.retention_ms == 123456
    assert log.topic_id == topic_id
    if how != "lose":  # nothing had asked for the records to be synced
        assert produce(broker, "t") == (0, 3)
    assert broker.call(InitProducerIdRequest(transactional_id=None), 4).producer_id >= producer_id + 1000
    assert epochs(broker, "t") == [1, 1], "each incarnation leads under an epoch of its own"


def test_a_broker_that_can_store_nothing_any_more_says_so(broker):
    create(broker, "t")
    lost = []
    broker.node.on_lost.append(lost.append)
    broker.node.partitions.get("t", 0).log.directory.fail("test", OSError(errno.EIO, "broken"))
    assert lost == []
    broker.run_until(lambda: lost)
    assert [str(why) for why in lost] == [f"log directory {DATA} is fenced: test: [Errno 5] broken"]


def test_a_broker_whose_coordinator_can_write_nothing_any_more_says_so(broker):
    lost = []
    broker.node.on_lost.append(lost.append)
    broker.machine.faults.sync_error_percent = 100
    topic = CreateTopicsRequest.CreatableTopic(name="t", num_partitions=1, replication_factor=1)
    assert broker.call(CreateTopicsRequest(topics=[topic], timeout_ms=1), 7).topics[0].error_code != 0
    broker.run_until(lambda: lost)
    assert [why.errno for why in lost] == [errno.EIO]


def test_a_deletion_whose_names_cannot_be_synced_is_refused_and_finished_by_the_next_start(broker, monkeypatch):
    create(broker, "t")
    disk = broker.node.logs.environment.disk
    sync_directory = disk.sync_directory

    def fail(path):
        if path == DATA:
            raise OSError(errno.EIO, "broken")
        sync_directory(path)

    monkeypatch.setattr(disk, "sync_directory", fail)
    request = DeleteTopicsRequest(topics=[DeleteTopicsRequest.DeleteTopicState(name="t")], timeout_ms=1_000)
    assert broker.call(request, 6).responses[0].error_code == KafkaStorageError.code
    assert [str(failure) for failure in broker.node.logs.failures] == [
        f"log directory {DATA} is fenced: the names of deleted logs were not synced: [Errno 5] broken"
    ]
    monkeypatch.undo()
    broker.restart("lose")
    assert list(broker.node.view.image.topics) == []
    assert [path for path, _ in broker.machine.drive.files() if path.startswith(f"{DATA}/t-0/")] == []


def test_a_deletion_that_finds_no_descriptor_fences_nothing_and_is_tried_again(broker, monkeypatch):
    create(broker, "t")
    disk = broker.node.logs.environment.disk
    sync_directory = disk.sync_directory
    refused = []

    def fail(path):
        if path == DATA and not refused:
            refused.append(path)
            raise OSError(errno.EMFILE, "too many open files")
        sync_directory(path)

    monkeypatch.setattr(disk, "sync_directory", fail)
    request = DeleteTopicsRequest(topics=[DeleteTopicsRequest.DeleteTopicState(name="t")], timeout_ms=1_000)
    assert broker.call(request, 6).responses[0].error_code in (0, KafkaStorageError.code)
    assert refused == [DATA] and broker.node.logs.failures == []
    broker.run_until(lambda: "/brokers/topics/t" not in broker.node._coordinator.tree.nodes)
    create(broker, "t")
    assert produce(broker, "t") == (0, 0)


@pytest.mark.parametrize("waits", [False, True], ids=["logs", "coordinator too"])
def test_a_stop_on_a_full_disk_ends_and_is_no_loss(broker, waits):
    """Where nothing is ever written again only a new start helps; a stop that finds no room leaves it a recovery."""
    create(broker, "t")
    assert produce(broker, "t") == (0, 0)
    lost = []
    broker.node.on_lost.append(lost.append)
    drive = broker.machine.drive
    if waits:
        drive.capacity_bytes = drive.used_bytes()
        topic = CreateTopicsRequest.CreatableTopic(name="u", num_partitions=1, replication_factor=1)
        assert broker.call(CreateTopicsRequest(topics=[topic], timeout_ms=1_000), 7).topics[0].error_code != 0
    drive.capacity_bytes = drive.used_bytes()
    broker.stop()
    assert lost == []
    assert f"{DATA}/.kafka_cleanshutdown" not in dict(drive.files())
    drive.capacity_bytes = None
    broker.start()
    assert produce(broker, "t") == (0, 1)


def test_a_clean_stop_is_marked_and_reads_no_log(broker):
    create(broker, "t")
    produce(broker, "t")
    broker.stop()
    marks = [path for path, _ in broker.machine.drive.files() if path == f"{DATA}/.kafka_cleanshutdown"]
    assert marks
    broker.start()
    assert broker.node.logs.was_clean_stop
    broker.restart("kill")
    assert not broker.node.logs.was_clean_stop


def test_a_stop_while_it_starts_marks_nothing(broker):
    create(broker, "t")
    broker.machine.kill()
    broker.begin()
    broker.run_until(lambda: broker.node is not None)
    assert not broker.node.is_ready
    broker.stop()
    assert f"{DATA}/.kafka_cleanshutdown" not in [path for path, _ in broker.machine.drive.files()]
    broker.start()
    assert not broker.node.logs.was_clean_stop
    assert produce(broker, "t") == (0, 0)


def test_nobody_is_served_before_it_is_ready(broker):
    create(broker, "t")
    produce(broker, "t")
    broker.machine.kill()
    broker.begin()
    broker.run_until(lambda: broker.node is not None and broker.node.endpoints)
    assert not broker.node.is_ready
    peer = broker.peer()
    assert broker.node.is_ready
    request = MetadataRequest(topics=[MetadataRequest.MetadataRequestTopic(name="t")], allow_auto_topic_creation=False)
    assert broker.wait(broker.send(request, 12, peer)).topics[0].error_code == 0


@pytest.mark.parametrize("seed", range(12))
def test_an_answered_topic_survives_whatever_happens(new_broker, seed):
    """Crashes in the middle of disk operations, while topics are created and deleted one after another."""
    broker = new_broker(seed=seed).start()
    kept, deleted = {}, []
    for number in range(6):
        broker.machine.strike_within(5 + 7 * (seed % 5) + number, machine=seed % 2 == 0)
        try:
            for step in range(3):
                name = f"t{number}.{step}"
                kept[name] = create(broker, name, 2)
                if step == 1:
                    gone = f"t{number}.0"
                    del kept[gone]
                    deleted.append(gone)
                    from fastlog.wire.messages.delete_topics import DeleteTopicsRequest

                    states = [DeleteTopicsRequest.DeleteTopicState(name=gone)]
                    answer = broker.call(DeleteTopicsRequest(topics=states, timeout_ms=2_000), 6).responses[0]
                    assert answer.error_code == 0
        except Exception as error:
            assert type(error).__name__ == "ConnectionLost"
            if deleted and deleted[-1].startswith(f"t{number}."):
                deleted.pop()  # nobody was told whether it went
        if broker.machine.is_up:
            broker.machine.kill()
        broker._peer = None
        broker.start()
        topics = broker.node.view.image.topics
        for name, topic_id in kept.items():
            assert topics[name].id == topic_id
            assert [one.leader for one in topics[name].partitions] == [1, 1]
            assert all(broker.node.partitions.get(name, index).is_leader for index in (0, 1))
        assert not [name for name in deleted if name in topics]
        assert len(broker.node.logs) == sum(len(topic.partitions) for topic in topics.values())


# ---- directories of others ----


def write(drive, path, data):
    from fastlog.sim.drive import FileNode

    directory, name = drive.root, path.rpartition("/")[2]
    for part in path.split("/")[1:-1]:
        if part not in directory.entries:
            drive.make_directory(directory, part)
        directory = directory.entries[part]
    node = FileNode()
    node.write(0, data)
    directory.entries[name] = node


KAFKA_META = b"#\n#Sun Nov 22 18:29:22 UTC 2026\nbroker.id=1\nversion=0\ncluster.id=W9xFwbjfREqsSjM9Rjxkbw\n"
KAFKA_PARTITION = b"version: 0\ntopic_id: FtlDJIbUTFKFk_zR-cvEBA"


@pytest.fixture
def kafkas(new_broker):
    """A machine whose data directory Kafka wrote: `plain` with two partitions and one record."""
    broker = new_broker()
    builder = _core.BatchBuilder()
    builder.append(1_700_000_000_000, b"k", b"of Kafka")
    drive = broker.machine.drive
    write(drive, f"{DATA}/meta.properties", KAFKA_META)
    for index in (0, 1):
        write(drive, f"{DATA}/plain-{index}/partition.metadata", KAFKA_PARTITION)
        write(drive, f"{DATA}/plain-{index}/leader-epoch-checkpoint", b"0\n1\n4 0\n")
        for suffix, data in ((".log", builder.build() if index else b""), (".index", b""), (".timeindex", b"")):
            write(drive, f"{DATA}/plain-{index}/{0:020d}{suffix}", data)
    write(drive, f"{DATA}/__consumer_offsets-3/{0:020d}.log", b"")
    write(drive, f"{DATA}/recovery-point-offset-checkpoint", b"0\n0\n")
    return broker


def test_a_directory_that_kafka_wrote_is_adopted(kafkas):
    kafkas.start()
    image = kafkas.node.view.image
    assert image.cluster_id == "W9xFwbjfREqsSjM9Rjxkbw"
    assert len(image.topics["plain"].partitions) == 2
    assert image.topics["plain"].id == image.topics["plain"].id
    assert produce(kafkas, "plain", partition=1) == (0, 1)
    assert image.topics["__consumer_offsets"].config == {"retention.ms": "-1"}
    assert kafkas.node.partitions.get("__consumer_offsets", 3).log.config.retention_ms == -1
    topic_id = image.topics["plain"].id
    kafkas.restart("lose")
    assert kafkas.node.view.image.topics["plain"].id == topic_id
    assert kafkas.node.view.image.cluster_id == "W9xFwbjfREqsSjM9Rjxkbw"


def test_a_leader_epoch_of_kafka_is_not_led_under_again(kafkas):
    kafkas.start()
    partition = kafkas.node.partitions.get("plain", 1)
    assert partition.leader_epoch > 4


def test_another_clusters_directory_is_refused(new_broker):
    broker = new_broker().start()
    broker.stop()
    write(broker.machine.drive, f"{DATA}/meta.properties", KAFKA_META)
    with pytest.raises(UsageError, match="W9xFwbjfREqsSjM9Rjxkbw"):
        broker.start()


# ---- what keeps it from starting ----


def test_another_brokers_directory_is_refused(new_broker):
    broker = new_broker()
    write(broker.machine.drive, f"{DATA}/meta.properties", KAFKA_META.replace(b"broker.id=1", b"broker.id=7"))
    with pytest.raises(UsageError, match=r"meta\.properties.*broker 7"):
        broker.start()


def test_a_corrupt_journal_is_named_with_its_position(broker):
    for number in range(3):
        create(broker, f"t{number}")
    broker.stop()
    path, node = next(
        (path, node) for path, node in broker.machine.drive.files() if path.startswith("/kafka/coordinator/journal.")
    )
    node.write(100, b"\xff\xff")
    with pytest.raises(UsageError, match=rf"{path}: corrupt at position \d+"):
        broker.start()


def test_a_failed_start_gives_everything_back(broker):
    broker.stop()
    node = next(node for path, node in broker.machine.drive.files() if "journal." in path)
    before = bytes(node.cache)
    node.write(10, b"\xff\xff")
    with pytest.raises(UsageError):
        broker.start()
    assert broker.machine.process is not None, "the process goes on, and holds nothing any more"
    environment = broker.node.environment
    assert environment.disk.lock_directory(DATA)
    environment.network.listen("broker", 9092).close()
    broker.machine.kill()
    node.write(10, before[10:12])
    broker.start()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"listeners": "PLAINTEXT://0.0.0.0:9092"}, r"advertised\.listeners=PLAINTEXT://HOST:9092"),
        ({"listeners": "A://broker:9092,B://broker:9092", "listener.security.protocol.map": "A:PLAINTEXT,B:PLAINTEXT"}, "9092"),
    ],
)
def test_wrong_listeners(new_broker, options, message):
    with pytest.raises(UsageError, match=message):
        new_broker(options).start()


# ---- as a process ----

UP = (
    "import sys; from fastlog.node import UpOptions, run_up; sys.exit(run_up(UpOptions(port=int(sys.argv[1]), data=sys.argv[2])))"
)


@pytest.fixture
def up(tmp_path, request):
    """`up(port=0)` starts a broker in a process; what is left of it ends with the test."""
    processes = []

    def start(port=0, data="data"):
        process = subprocess.Popen(
            [sys.executable, "-c", UP, str(port), str(tmp_path / data)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(request.config.rootpath)},
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ready_line(process):
    line = process.stdout.readline()
    assert line.startswith("ready "), process.communicate()[1]
    return dict(field.split("=", 1) for field in line.split()[1:])


def test_says_when_it_is_ready_and_stops_cleanly(up, tmp_path):
    process = up()
    fields = ready_line(process)
    assert fields["bootstrap"].startswith("127.0.0.1:")
    assert fields["pids"] == fields["coordinator_pid"] == str(process.pid)
    assert fields["coordinator"].startswith("127.0.0.1:")
    assert (tmp_path / "data" / "broker-1" / "meta.properties").exists()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err
    assert (tmp_path / "data" / "broker-1" / ".kafka_cleanshutdown").exists()


def test_a_port_or_a_directory_in_use_is_said_so(up):
    first = up()
    port = int(ready_line(first)["bootstrap"].rpartition(":")[2])
    for process, what in ((up(port, "other"), f"cannot listen on 127.0.0.1:{port}"), (up(), "is held by another process")):
        _, err = process.communicate(timeout=30)
        assert process.returncode != 0
        assert f"UsageError: {what}" in err or what in err.splitlines()[-1]


def test_a_second_signal_ends_it_at_once(up):
    process = up()
    ready_line(process)
    os.kill(process.pid, signal.SIGSTOP)  # so that both are there before the first is looked at
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    os.kill(process.pid, signal.SIGCONT)
    process.communicate(timeout=30)
    assert process.returncode in (128 + signal.SIGINT, 128 + signal.SIGTERM)


@pytest.mark.parametrize("version", [4, 11, 12, 18])
def test_a_fetch_of_nothing_has_empty_records_and_not_none(broker, version):
    """Kafka never answers null there, and librdkafka takes it for a protocol error."""
    from fastlog.wire.messages.fetch import FetchRequest

    topic_id = create(broker, "t")
    named = {"topic_id": topic_id} if version >= 13 else {"topic": "t"}
    wanted = FetchRequest.FetchPartition(partition=0, fetch_offset=0, partition_max_bytes=1000)
    topics = [FetchRequest.FetchTopic(partitions=[wanted], **named)]
    answer = broker.call(FetchRequest(max_wait_ms=1, min_bytes=0, topics=topics), version)
    partition = answer.responses[0].partitions[0]
    assert (partition.error_code, partition.records is not None, bytes(partition.records)) == (0, True, b"")
