"""Kafka's own command line tools at work on fastlog: topics grow, records go, directories and offsets are told."""

from __future__ import annotations

import json
import re

import pytest

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(300)]

TOOLS = "org.apache.kafka.tools"
RECORDS = 3_000


@pytest.fixture
def tool(broker, java):
    """Run one of Kafka's tools on the broker and return what it prints."""

    def run(name, *arguments):
        return java.run(f"{TOOLS}.{name}", "--bootstrap-server", broker.bootstrap, *arguments).stdout

    return run


def offsets(tool, time):
    """Return {partition: offset} of topic t at a time, as GetOffsetShell tells them."""
    lines = tool("GetOffsetShell", "--topic", "t", "--time", time).split()
    return {int(partition): int(offset) for partition, offset in (line.split(":")[1:] for line in lines)}


def test_a_topic_through_kafkas_tools(broker, java, tool, tmp_path):
    tool("TopicCommand", "--create", "--topic", "t", "--partitions", 2, "--replication-factor", 1)
    properties = [f"bootstrap.servers={broker.bootstrap}"]
    produce = ["--topic", "t", "--num-records", RECORDS, "--record-size", 100, "--throughput", -1]
    java.run(f"{TOOLS}.ProducerPerformance", *produce, "--command-property", *properties)
    ends = offsets(tool, "latest")
    assert sum(ends.values()) == RECORDS and len(ends) == 2

    tool("TopicCommand", "--alter", "--topic", "t", "--partitions", 5)
    described = tool("TopicCommand", "--describe", "--topic", "t")
    assert re.search(r"PartitionCount: 5\s+ReplicationFactor: 1", described), described
    assert len(re.findall(r"Partition: \d+\s+Leader: 1\s+Replicas: 1\s+Isr: 1", described)) == 5, described
    assert offsets(tool, "latest") == {**ends, 2: 0, 3: 0, 4: 0}

    wanted = tmp_path / "delete.json"
    partitions = [{"topic": "t", "partition": 0, "offset": 100}, {"topic": "t", "partition": 1, "offset": -1}]
    wanted.write_text(json.dumps({"version": 1, "partitions": partitions}))
    deleted = tool("DeleteRecordsCommand", "--offset-json-file", wanted)
    # The tool tells its partitions in no particular order.
    marks = dict(re.findall(r"partition: t-(\d)\s+low_watermark: (\d+)", deleted))
    assert marks == {"0": "100", "1": str(ends[1])}, deleted
    assert offsets(tool, "earliest") == {0: 100, 1: ends[1], 2: 0, 3: 0, 4: 0}
    assert offsets(tool, "latest") == {**ends, 2: 0, 3: 0, 4: 0}

    told = tool("LogDirsCommand", "--describe", "--topic-list", "t")
    (of_broker,) = json.loads(told.splitlines()[-1])["brokers"]
    (directory,) = of_broker["logDirs"]
    assert (of_broker["broker"], directory["error"], directory["logDir"]) == (1, None, str(broker.log_directory))
    sizes = {one["partition"]: one["size"] for one in directory["partitions"]}
    on_disk = {
        f"t-{index}": sum(file.stat().st_size for file in (broker.log_directory / f"t-{index}").glob("*.log"))
        for index in range(5)
    }
    assert sizes == on_disk

    tool("TopicCommand", "--delete", "--topic", "t")
    assert tool("TopicCommand", "--list").split() == []
