"""Which brokers get a new topic's replicas, as Kafka decides it without racks. Pure: the two random numbers are handed in.

The rule: leaders go round robin over the brokers from a random one on; each partition's followers come behind its leader with a
shift that starts at random and grows by one with every full round, so that one broker's followers are spread over all others.
"""

from __future__ import annotations

from collections.abc import Sequence


def assign_replicas(
    broker_ids: Sequence[int], partition_count: int, replication_factor: int, start: int, shift: int, first_partition: int = 0
) -> list[tuple[int, ...]]:
    """Return each partition's replicas, leader first.

    `start` and `shift` lie in [0, number of brokers); `first_partition` is the number of the first one, for a topic that grows.
    ValueError when there are fewer brokers than replicas.
    """
    count = len(broker_ids)
    if not 0 < replication_factor <= count:
        raise ValueError(f"{replication_factor} replicas on {count} brokers")
    assignment = []
    for partition in range(first_partition, first_partition + partition_count):
        if partition > 0 and partition % count == 0:
            shift += 1
        leader = (partition + start) % count
        followers = (
            broker_ids[(leader + 1 + (shift + following) % (count - 1)) % count] for following in range(replication_factor - 1)
        )
        assignment.append((broker_ids[leader], *followers))
    return assignment
