"""Kafka's own command line tools, of its versions 4 and 3.9, at work on fastlog: topics grow, records come and go, directories
and offsets are told."""

from __future__ import annotations

import json
import re

import pytest

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(300)]

TOOLS = "org.apache.kafka.tools"
RECORDS = 3_000


@pytest.fixture
def tool(broker, either_java):
    """Run one of Kafka's tools, of either version, on the broker and return what it prints."""

    def run(name, *arguments):
        return either_java.run(f"{TOOLS}.{name}", "--bootstrap-server", broker.bootstrap, *arguments).stdout

    return run


def offsets(tool, time):
    """Return {partition: offset} of topic t at a time, as GetOffsetShell tells them."""
    lines = tool("GetOffsetShell", "--topic", "t", "--time", time).split()
    return {int(partition): int(offset) for partition, offset in (line.split(":")[1:] for line in lines)}


def test_a_topic_through_kafkas_tools(broker, either_java, tool, tmp_path):
    tool("TopicCommand", "--create", "--topic", "t", "--partitions", 2, "--replication-factor", 1)
    properties = [f"bootstrap.servers={broker.bootstrap}"]
    produce = ["--topic", "t", "--num-records", RECORDS, "--record-size", 100, "--throughput", -1]
    # Version 3.9 has the option by this name alone.
    either_java.run(f"{TOOLS}.ProducerPerformance", *produce, "--producer-props", *properties)
    ends = offsets(tool, "latest")
    assert sum(ends.values()) == RECORDS and len(ends) == 2
    # Without keys the producer shares them out by its batches: on a busy machine one partition may get everything.
    fuller, other = sorted(ends, key=ends.__getitem__, reverse=True)
    # As a group's only member; here too version 3.9 has the option by its old name alone.
    consumed = tool("ConsumerPerformance", "--topic", "t", "--messages", RECORDS, "--timeout", 60_000)
    assert int(consumed.strip().splitlines()[-1].split(", ")[4]) == RECORDS, consumed

    tool("TopicCommand", "--alter", "--topic", "t", "--partitions", 5)
    described = tool("TopicCommand", "--describe", "--topic", "t")
    assert re.search(r"PartitionCount: 5\s+ReplicationFactor: 1", described), described
    assert len(re.findall(r"Partition: \d+\s+Leader: 1\s+Replicas: 1\s+Isr: 1", described)) == 5, described
    assert offsets(tool, "latest") == {**ends, 2: 0, 3: 0, 4: 0}

    wanted = tmp_path / "delete.json"
    partitions = [{"topic": "t", "partition": fuller, "offset": 100}, {"topic": "t", "partition": other, "offset": -1}]
    wanted.write_text(json.dumps({"version": 1, "partitions": partitions}))
    deleted = tool("DeleteRecordsCommand", "--offset-json-file", wanted)
    # The tool tells its partitions in no particular order.
    marks = dict(re.findall(r"partition: t-(\d)\s+low_watermark: (\d+)", deleted))
    assert marks == {str(fuller): "100", str(other): str(ends[other])}, deleted
    assert offsets(tool, "earliest") == {fuller: 100, other: ends[other], 2: 0, 3: 0, 4: 0}
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
    assert tool("TopicCommand", "--list", "--exclude-internal").split() == []


def said(printed):
    """Return what a verifiable tool says, an object a line, by its name."""
    events = {}
    for line in printed.splitlines():
        event = json.loads(line)
        events.setdefault(event["name"], []).append(event)
    return events


def test_the_verifiable_producer_and_consumer(tool):
    """What the producer was acknowledged, and nothing else, is what the consumers of one group read, one after the other."""
    tool("TopicCommand", "--create", "--topic", "t", "--partitions", 3, "--replication-factor", 1)
    seen = dict.fromkeys(range(3), 0)
    for value_prefix in (1, 2):
        produced = said(
            tool(
                "VerifiableProducer",
                *("--topic", "t", "--max-messages", RECORDS, "--acks", -1),
                *("--repeating-keys", 50, "--value-prefix", value_prefix),
            )
        )
        (summary,) = produced["tool_data"]
        assert (summary["sent"], summary["acked"]) == (RECORDS, RECORDS)
        assert "producer_send_error" not in produced
        acknowledged = {
            (one["partition"], one["offset"]): (one["key"], one["value"]) for one in produced["producer_send_success"]
        }
        assert {value for _, value in acknowledged.values()} == {f"{value_prefix}.{number}" for number in range(RECORDS)}
        of_key = {key: {where for (where, _), (its, _) in acknowledged.items() if its == key} for key, _ in acknowledged.values()}
        assert len(of_key) == 50 and all(len(places) == 1 for places in of_key.values()), "a key has one partition"

        consumed = said(tool("VerifiableConsumer", "--topic", "t", "--group-id", "g", "--max-messages", RECORDS, "--verbose"))
        read = {(one["partition"], one["offset"]): (one["key"], one["value"]) for one in consumed["record_data"]}
        assert read == acknowledged
        assert len(consumed["record_data"]) == RECORDS
        for partition, offset in sorted(read):
            assert offset == seen[partition], "each partition's offsets follow each other, from where the last run ended"
            seen[partition] += 1
        assigned = [one["partition"] for event in consumed["partitions_assigned"] for one in event["partitions"]]
        assert sorted(assigned) == [0, 1, 2]
        committed = {one["partition"]: one["offset"] for event in consumed["offsets_committed"] for one in event["offsets"]}
        assert all(event["success"] for event in consumed["offsets_committed"])
        assert committed == seen == offsets(tool, "latest")
