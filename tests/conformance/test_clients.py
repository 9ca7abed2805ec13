"""What single clients do besides what `test_client_matrix.py` asks of all: kcat's lines, confluent-kafka's batches of topics."""

from __future__ import annotations

import subprocess

import pytest

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(180)]


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_kcat_round_trip(broker, codec) -> None:
    broker.topic("lines")
    lines = "".join(f"key{number}:line number {number}\n" for number in range(1_000))
    kcat = ["kcat", "-b", broker.bootstrap, "-t", "lines"]
    subprocess.run([*kcat, "-P", "-K:", "-z", codec], input=lines, text=True, check=True, timeout=60)
    consume = [*kcat, "-C", "-K:", "-e", "-q", "-o", "beginning"]
    assert subprocess.run(consume, check=True, capture_output=True, text=True, timeout=60).stdout == lines
    one = subprocess.run(
        [*kcat, "-C", "-e", "-q", "-o", "500", "-c", "1", "-f", "%o %k %s"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert one.stdout == "500 key500 line number 500"


def test_kcat_lists_the_cluster_and_creates_a_topic_by_producing(broker) -> None:
    subprocess.run(
        ["kcat", "-b", broker.bootstrap, "-P", "-t", "made-by-producing"], input="hello\n", text=True, check=True, timeout=60
    )
    listed = subprocess.run(["kcat", "-b", broker.bootstrap, "-L"], check=True, capture_output=True, text=True, timeout=60).stdout
    assert 'topic "made-by-producing" with 1 partitions' in listed
    assert f"at {broker.bootstrap}" in listed


def test_admin_clients_create_describe_and_delete(broker) -> None:
    from confluent_kafka.admin import AdminClient, NewTopic
    from confluent_kafka.error import KafkaException

    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    created = admin.create_topics([NewTopic("made", 5, 1), NewTopic("not/a/name", 1, 1)])
    assert created["made"].result(30) is None
    with pytest.raises(KafkaException, match="TOPIC_EXCEPTION"):
        created["not/a/name"].result(30)
    with pytest.raises(KafkaException, match="TOPIC_ALREADY_EXISTS"):
        admin.create_topics([NewTopic("made", 5, 1)])["made"].result(30)
    assert len(admin.list_topics("made", timeout=30).topics["made"].partitions) == 5
    assert [node.port for node in admin.describe_cluster().result(30).nodes] == [broker.port]
    assert admin.delete_topics(["made"])["made"].result(30) is None
    assert "made" not in admin.list_topics(timeout=30).topics
