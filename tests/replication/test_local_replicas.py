"""What the replicas on a broker are told, in which order they look for their logs."""

from fastlog.config import Config
from fastlog.errors import KafkaStorageError
from fastlog.metadata.broker_options import BrokerOptions
from fastlog.metadata.controller import Change
from fastlog.metadata.image import Partition, Topic
from fastlog.replication.local_replicas import LocalReplicas
from fastlog.replication.partition_set import PartitionSet
from fastlog.replication.topic_options import TopicOptions


class Logs:
    """Has none, and makes none."""

    def __init__(self):
        self.asked = []

    def claim(self, topic, partition, topic_id):
        return None

    def create(self, topic, partition, topic_id, *, is_new):
        self.asked.append((topic, partition, is_new))
        raise KafkaStorageError("nowhere")


def test_logs_that_may_be_missing_come_before_new_ones(machine):
    """A directory that holds nothing is not to get a new log, and with it a mark, before it is known whether one is missing."""
    logs = Logs()
    replicas = LocalReplicas(machine.reactor, logs, PartitionSet(), TopicOptions(BrokerOptions(Config([]))), 1)
    changes = []
    for name, epochs in (("new", (0, 0)), ("old", (3, 1))):
        partitions = tuple(Partition((1,), leader=1, leader_epoch=epoch, isr=(1,)) for epoch in epochs)
        topic = Topic(name, name[:1].encode() * 16, partitions, {})
        changes += [Change(topic, index, partition) for index, partition in enumerate(partitions)]
    failed = machine.wait(replicas.lead(changes))
    assert logs.asked == [("old", 0, False), ("old", 1, False), ("new", 0, True), ("new", 1, True)]
    assert sorted(failed) == [("new", 0), ("new", 1), ("old", 0), ("old", 1)]
