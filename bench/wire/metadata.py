"""Metadata v12 of 1,000 partitions: encoding and decoding here, and by kio in the same run, in turns.

usage: PYTHONPATH=. python bench/wire/metadata.py [--partitions 1000] [--topics 1] [--rounds 7]

Prints the median of the rounds for each, and how many times as fast fastlog is. Exits with 1 when encoding is not at least
five times as fast as kio's. Both give the same bytes, which is checked first.
"""

import argparse
import io
import statistics
import sys
import time
import uuid

from kio.schema.metadata.v12 import response as kio
from kio.serial import entity_reader, entity_writer

from fastlog.wire.messages.metadata import MetadataResponse

VERSION = 12
LEAST_RATIO = 5
ROUND_SECONDS = 0.3


def fastlog_response(topics, partitions):
    names = [f"topic-{number}" for number in range(topics)]
    return MetadataResponse(
        brokers=[
            MetadataResponse.MetadataResponseBroker(node_id=node, host=f"broker-{node}.example", port=9092, rack=f"rack-{node}")
            for node in range(3)
        ],
        cluster_id="a-cluster-id-of-22-char",
        controller_id=1,
        topics=[
            MetadataResponse.MetadataResponseTopic(
                name=name,
                topic_id=uuid.uuid5(uuid.NAMESPACE_DNS, name).bytes,
                partitions=[
                    MetadataResponse.MetadataResponsePartition(
                        partition_index=index,
                        leader_id=index % 3,
                        leader_epoch=5,
                        replica_nodes=[0, 1, 2],
                        isr_nodes=[0, 1, 2],
                        offline_replicas=[],
                    )
                    for index in range(partitions // topics)
                ],
            )
            for name in names
        ],
    )


def timed(call, seconds):
    """Return the seconds that one call takes, over as many calls as fill `seconds`."""
    call()
    count, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        call()
        count += 1
    return spent / count


def main():
    parser = argparse.ArgumentParser(description="Encode and decode a large Metadata answer, beside kio.")
    parser.add_argument("--partitions", type=int, default=1000)
    parser.add_argument("--topics", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()

    ours = fastlog_response(arguments.topics, arguments.partitions)
    data = ours.encode(VERSION)
    read, write = entity_reader(kio.MetadataResponse), entity_writer(kio.MetadataResponse)
    theirs, _ = read(data, 0)

    def kio_encode():
        buffer = io.BytesIO()
        write(buffer, theirs)
        return buffer.getvalue()

    assert kio_encode() == data
    assert MetadataResponse.decode(data, VERSION) == ours
    contestants = {
        ("encode", "fastlog"): lambda: ours.encode(VERSION),
        ("encode", "kio"): kio_encode,
        ("decode", "fastlog"): lambda: MetadataResponse.decode(data, VERSION),
        ("decode", "kio"): lambda: read(data, 0),
    }
    times = {name: [] for name in contestants}
    for _ in range(arguments.rounds):
        for name, call in contestants.items():
            times[name].append(timed(call, ROUND_SECONDS))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"Metadata v{VERSION}, {arguments.partitions} partitions in {arguments.topics} topics, {len(data)} bytes, ms (median)")
    ratios = {}
    for action in ("encode", "decode"):
        fastlog, other = (medians[action, who] * 1000 for who in ("fastlog", "kio"))
        ratios[action] = other / fastlog
        print(f"  {action}: fastlog {fastlog:.3f}, kio {other:.3f}: {ratios[action]:.1f} times as fast")
    if ratios["encode"] < LEAST_RATIO:
        print(f"encoding is not {LEAST_RATIO} times as fast as kio's")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
