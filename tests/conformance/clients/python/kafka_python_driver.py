"""kafka-python, versions 3 and 2.3: they share their producer and consumer, and differ in what their admin client returns."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import kafka
from driver import decoded, decoded_headers, encoded, record_answer, serve
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions, NewTopic
from kafka.errors import KafkaError, for_code
from kafka.structs import OffsetAndMetadata

BOOTSTRAP = sys.argv[1]
TIMEOUT_S = 30
IS_3 = kafka.__version__.startswith("3.")
admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)


def version(_: dict[str, Any]) -> Any:
    return {"version": kafka.__version__}


def produce(request: dict[str, Any]) -> Any:
    producer = KafkaProducer(
        bootstrap_servers=BOOTSTRAP,
        compression_type=None if request["codec"] == "none" else request["codec"],
        acks={"0": 0, "1": 1, "all": "all"}[request["acks"]],
        enable_idempotence=request["idempotent"],
        linger_ms=50,
        max_request_size=20_000_000,
    )
    futures = [
        producer.send(
            request["topic"],
            decoded(record["value"]),
            decoded(record["key"]),
            decoded_headers(record),
            request["partition"],
            record.get("timestamp"),
        )
        for record in request["records"]
    ]
    try:
        return {"offsets": [future.get(TIMEOUT_S).offset for future in futures]}
    finally:
        producer.close()


def consume(request: dict[str, Any]) -> Any:
    partition = TopicPartition(request["topic"], request["partition"])
    consumer = KafkaConsumer(
        bootstrap_servers=BOOTSTRAP, consumer_timeout_ms=TIMEOUT_S * 1000, enable_auto_commit=False, auto_offset_reset="none"
    )
    with contextlib.closing(consumer):
        consumer.assign([partition])
        if "offset" in request:
            consumer.seek(partition, request["offset"])
        elif "time" in request:
            consumer.seek(partition, consumer.offsets_for_times({partition: request["time"]})[partition].offset)
        else:
            consumer.seek_to_beginning(partition)
        records = [next(consumer) for _ in range(request["count"])]
    return {"records": [record_answer(one.offset, one.timestamp, one.key, one.value, one.headers) for one in records]}


class Member:
    """The member of a group that this process is at present."""

    consumer: KafkaConsumer

    def group_join(self, request: dict[str, Any]) -> Any:
        more: dict[str, Any] = {}
        if request.get("instance"):
            more["group_instance_id"] = request["instance"]
        if request.get("cooperative"):
            from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

            more["partition_assignment_strategy"] = [CooperativeStickyAssignor]
        self.consumer = KafkaConsumer(
            request["topic"],
            bootstrap_servers=BOOTSTRAP,
            group_id=request["group"],
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=request["session_ms"],
            heartbeat_interval_ms=request["heartbeat_ms"],
            **more,
        )
        return {}

    def group_poll(self, request: dict[str, Any]) -> Any:
        polled = self.consumer.poll(timeout_ms=request["ms"])
        if IS_3:
            # An assignment that comes just as a poll's time is over, version 3.0 never takes up, and its heartbeats end.
            joined = self.consumer._coordinator._join_task
            if joined is not None and joined.is_done:
                self.consumer._coordinator.request_rejoin()
        return {
            "records": [
                [one.partition, one.offset, encoded(one.key), encoded(one.value)]
                for records in polled.values()
                for one in records
            ],
            "owned": sorted(one.partition for one in self.consumer.assignment()),
        }

    def group_commit(self, _: dict[str, Any]) -> Any:
        self.consumer.commit()
        return {}

    def group_leave(self, _: dict[str, Any]) -> Any:
        self.consumer.close(autocommit=False)
        return {}


member = Member()


def list_offset(request: dict[str, Any]) -> Any:
    partition = TopicPartition(request["topic"], request["partition"])
    with contextlib.closing(KafkaConsumer(bootstrap_servers=BOOTSTRAP)) as consumer:
        if request["at"] == "earliest":
            return {"offset": consumer.beginning_offsets([partition])[partition]}
        if request["at"] == "latest":
            return {"offset": consumer.end_offsets([partition])[partition]}
        return {"offset": consumer.offsets_for_times({partition: request["at"]})[partition].offset}


def _check(code: int, message: str | None = None) -> None:
    if code:
        raise for_code(code)(message)


def create_topic(request: dict[str, Any]) -> Any:
    admin.create_topics([NewTopic(request["topic"], request["partitions"], 1, topic_configs=request["configs"])])
    return {}


def list_topics(_: dict[str, Any]) -> Any:
    return {"topics": sorted(admin.list_topics())}


def describe_topic(request: dict[str, Any]) -> Any:
    (topic,) = admin.describe_topics([request["topic"]])
    _check(topic["error_code"])
    names = ("partition_index", "leader_id", "replica_nodes", "isr_nodes") if IS_3 else ("partition", "leader", "replicas", "isr")
    return {"partitions": sorted([partition[name] for name in names] for partition in topic["partitions"])}


def delete_topic(request: dict[str, Any]) -> Any:
    admin.delete_topics([request["topic"]])
    return {}


def create_partitions(request: dict[str, Any]) -> Any:
    admin.create_partitions({request["topic"]: NewPartitions(request["total"])})
    return {}


def delete_records(request: dict[str, Any]) -> Any:
    partition = TopicPartition(request["topic"], request["partition"])
    deleted = admin.delete_records({partition: request["before"]})[partition]
    return {"low_watermark": deleted["low_watermark"]}


def _resource(request: dict[str, Any], configs: dict[str, Any] | None = None) -> ConfigResource:
    return ConfigResource(ConfigResourceType[request["type"].upper()], request["name"], configs)


def describe_configs(request: dict[str, Any]) -> Any:
    if IS_3:
        described = admin.describe_configs([_resource(request)], config_filter="all")[request["type"]][request["name"]]
        return {"configs": {name: entry["value"] for name, entry in described.items()}}
    ((code, message, _, _, entries),) = admin.describe_configs([_resource(request)])[0].resources
    _check(code, message)
    return {"configs": {entry[0]: entry[1] for entry in entries}}


def alter_configs(request: dict[str, Any]) -> Any:
    if IS_3:
        answer = admin.alter_configs([_resource(request, dict(request["set"]))], incremental=False)
        if answer[request["type"]][request["name"]] != "OK":
            raise KafkaError(answer)
    else:
        for code, message, *_ in admin.alter_configs([_resource(request, request["set"])]).resources:
            _check(code, message)
    return {}


def incremental_alter_configs(request: dict[str, Any]) -> Any:
    changes = {name: ("SET", value) for name, value in request["set"].items()}
    changes |= dict.fromkeys(request["delete"], ("DELETE", None))
    answer = admin.alter_configs([_resource(request, changes)], incremental=True)
    if answer[request["type"]][request["name"]] != "OK":
        raise KafkaError(answer)
    return {}


def describe_cluster(_: dict[str, Any]) -> Any:
    cluster = admin.describe_cluster()
    return {
        "cluster_id": cluster["cluster_id"],
        "controller": cluster["controller_id"],
        "brokers": [[one["broker_id" if IS_3 else "node_id"], one["host"], one["port"]] for one in cluster["brokers"]],
    }


def list_config_resources(_: dict[str, Any]) -> Any:
    return {"resources": {kind: sorted(names) for kind, names in admin.list_config_resources(["TOPIC", "BROKER"]).items()}}


def describe_log_dirs(_: dict[str, Any]) -> Any:
    (answer,) = admin.describe_log_dirs()
    return {
        "partitions": {
            f"{topic['name']}-{partition['partition_index']}": partition["partition_size"]
            for directory in answer["log_dirs"]
            for topic in directory["topics"]
            for partition in topic["partitions"]
        }
    }


def describe_producers(request: dict[str, Any]) -> Any:
    partition = TopicPartition(request["topic"], request["partition"])
    state = admin.describe_producers([partition])[partition]
    return {"producers": [[producer.producer_epoch, producer.last_sequence] for producer in state.active_producers]}


def list_groups(_: dict[str, Any]) -> Any:
    if IS_3:
        return {"groups": sorted(group["group_id"] for group in admin.list_groups())}
    return {"groups": sorted(group for group, _ in admin.list_consumer_groups())}


def describe_group(request: dict[str, Any]) -> Any:
    name = request["group"]
    if IS_3:
        described = admin.describe_groups([name])[name]
        return {"state": described["group_state"], "members": len(described["members"])}
    (group,) = admin.describe_consumer_groups([name])
    _check(group.error_code)
    return {"state": group.state, "members": len(group.members)}


def group_offset(request: dict[str, Any]) -> Any:
    name, partition = request["group"], TopicPartition(request["topic"], request["partition"])
    found = admin.list_group_offsets([name])[name] if IS_3 else admin.list_consumer_group_offsets(name)
    return {"offset": found[partition].offset if partition in found else None}


def alter_group_offset(request: dict[str, Any]) -> Any:
    partition = TopicPartition(request["topic"], request["partition"])
    admin.alter_group_offsets(request["group"], {partition: OffsetAndMetadata(request["offset"], "", -1)})
    return {}


def delete_group_offset(request: dict[str, Any]) -> Any:
    admin.delete_group_offsets(request["group"], [TopicPartition(request["topic"], request["partition"])])
    return {}


def delete_group(request: dict[str, Any]) -> Any:
    if IS_3:
        admin.delete_groups([request["group"]])
        return {}
    ((_, error),) = admin.delete_consumer_groups([request["group"]])
    _check(error.errno)
    return {}


def error_code(error: Exception) -> int | None:
    return getattr(error, "errno", None)


OPERATIONS = [
    version,
    produce,
    consume,
    member.group_join,
    member.group_poll,
    member.group_commit,
    member.group_leave,
    list_offset,
    create_topic,
    list_topics,
    describe_topic,
    delete_topic,
    create_partitions,
    delete_records,
    describe_configs,
    alter_configs,
    incremental_alter_configs,
    describe_cluster,
    list_config_resources,
    describe_log_dirs,
    describe_producers,
    list_groups,
    describe_group,
    group_offset,
    alter_group_offset,
    delete_group_offset,
    delete_group,
]
serve({operation.__name__: operation for operation in OPERATIONS}, error_code)
