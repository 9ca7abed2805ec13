"""confluent-kafka (librdkafka)."""

from __future__ import annotations

import sys
from typing import Any

import confluent_kafka
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
)
from driver import decoded, decoded_headers, encoded, record_answer, serve

BOOTSTRAP = {"bootstrap.servers": sys.argv[1]}
TIMEOUT_S = 30
admin = AdminClient(BOOTSTRAP)


def version(_: dict[str, Any]) -> Any:
    return {"version": confluent_kafka.__version__}


def produce(request: dict[str, Any]) -> Any:
    producer = Producer(
        BOOTSTRAP
        | {
            "compression.type": request["codec"],
            "acks": request["acks"],
            "enable.idempotence": request["idempotent"],
            "linger.ms": 50,
            "message.timeout.ms": TIMEOUT_S * 1000,
            "message.max.bytes": 20_000_000,
        }
    )
    offsets: list[int | None] = []

    def on_delivery(error: Any, message: Message) -> None:
        if error is not None:
            raise KafkaException(error)
        offsets.append(message.offset())

    for record in request["records"]:
        extra = {} if record.get("timestamp") is None else {"timestamp": record["timestamp"]}
        producer.produce(
            request["topic"],
            decoded(record["value"]),
            decoded(record["key"]),
            -1 if request["partition"] is None else request["partition"],
            headers=decoded_headers(record),
            on_delivery=on_delivery,
            **extra,
        )
    if producer.flush(TIMEOUT_S):
        raise TimeoutError("records are left in the producer")
    return {"offsets": offsets}


def consume(request: dict[str, Any]) -> Any:
    consumer = Consumer(BOOTSTRAP | {"group.id": "unused", "enable.auto.commit": False, "auto.offset.reset": "error"})
    try:
        start = TopicPartition(request["topic"], request["partition"], confluent_kafka.OFFSET_BEGINNING)
        if "offset" in request:
            start.offset = request["offset"]
        if "time" in request:
            start.offset = request["time"]
            (start,) = consumer.offsets_for_times([start], TIMEOUT_S)
        consumer.assign([start])
        records: list[dict[str, Any]] = []
        while len(records) < request["count"]:
            message = consumer.poll(TIMEOUT_S)
            if message is None:
                raise TimeoutError(f"{len(records)} of {request['count']} records came")
            if message.error():
                raise KafkaException(message.error())
            records.append(
                record_answer(message.offset(), message.timestamp()[1], message.key(), message.value(), message.headers())
            )
        return {"records": records}
    finally:
        consumer.close()


class Member:
    """The member of a group that this process is at present."""

    consumer: Consumer

    def group_join(self, request: dict[str, Any]) -> Any:
        more: dict[str, Any] = {}
        if request.get("instance"):
            more["group.instance.id"] = request["instance"]
        if request.get("cooperative"):
            more["partition.assignment.strategy"] = "cooperative-sticky"
        self.consumer = Consumer(
            BOOTSTRAP
            | {
                "group.id": request["group"],
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "session.timeout.ms": request["session_ms"],
                "heartbeat.interval.ms": request["heartbeat_ms"],
                **more,
            }
        )
        self.consumer.subscribe([request["topic"]])
        return {}

    def group_poll(self, request: dict[str, Any]) -> Any:
        first = self.consumer.poll(request["ms"] / 1000)
        messages = [] if first is None else [first, *self.consumer.consume(500, 0)]
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
        return {
            "records": [[one.partition(), one.offset(), encoded(one.key()), encoded(one.value())] for one in messages],
            "owned": sorted(one.partition for one in self.consumer.assignment()),
        }

    def group_commit(self, _: dict[str, Any]) -> Any:
        try:
            self.consumer.commit(asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._NO_OFFSET:
                raise
        return {}

    def group_leave(self, _: dict[str, Any]) -> Any:
        self.consumer.close()
        return {}


member = Member()


def list_offset(request: dict[str, Any]) -> Any:
    at = request["at"]
    specs = {"earliest": OffsetSpec.earliest, "latest": OffsetSpec.latest}
    spec = specs[at]() if at in specs else OffsetSpec.for_timestamp(at)
    (future,) = admin.list_offsets({TopicPartition(request["topic"], request["partition"]): spec}).values()
    return {"offset": future.result(TIMEOUT_S).offset}


def create_topic(request: dict[str, Any]) -> Any:
    topic = NewTopic(request["topic"], request["partitions"], 1, config=request["configs"])
    admin.create_topics([topic])[request["topic"]].result(TIMEOUT_S)
    return {}


def list_topics(_: dict[str, Any]) -> Any:
    return {"topics": sorted(admin.list_topics(timeout=TIMEOUT_S).topics)}


def describe_topic(request: dict[str, Any]) -> Any:
    (future,) = admin.describe_topics(TopicCollection([request["topic"]])).values()
    partitions = future.result(TIMEOUT_S).partitions
    return {
        "partitions": [
            [one.id, one.leader.id, [node.id for node in one.replicas], [node.id for node in one.isr]] for one in partitions
        ]
    }


def delete_topic(request: dict[str, Any]) -> Any:
    admin.delete_topics([request["topic"]])[request["topic"]].result(TIMEOUT_S)
    return {}


def create_partitions(request: dict[str, Any]) -> Any:
    admin.create_partitions([NewPartitions(request["topic"], request["total"])])[request["topic"]].result(TIMEOUT_S)
    return {}


def delete_records(request: dict[str, Any]) -> Any:
    (future,) = admin.delete_records([TopicPartition(request["topic"], request["partition"], request["before"])]).values()
    return {"low_watermark": future.result(TIMEOUT_S).low_watermark}


def _resource(request: dict[str, Any], **options: Any) -> ConfigResource:
    return ConfigResource(ConfigResource.Type[request["type"].upper()], request["name"], **options)


def describe_configs(request: dict[str, Any]) -> Any:
    (future,) = admin.describe_configs([_resource(request)]).values()
    return {"configs": {entry.name: entry.value for entry in future.result(TIMEOUT_S).values()}}


def alter_configs(request: dict[str, Any]) -> Any:
    (future,) = admin.alter_configs([_resource(request, set_config=request["set"])]).values()
    future.result(TIMEOUT_S)
    return {}


def incremental_alter_configs(request: dict[str, Any]) -> Any:
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in request["set"].items()]
    entries += [ConfigEntry(name, None, incremental_operation=AlterConfigOpType.DELETE) for name in request["delete"]]
    (future,) = admin.incremental_alter_configs([_resource(request, incremental_configs=entries)]).values()
    future.result(TIMEOUT_S)
    return {}


def describe_cluster(_: dict[str, Any]) -> Any:
    cluster = admin.describe_cluster().result(TIMEOUT_S)
    return {
        "cluster_id": cluster.cluster_id,
        "controller": cluster.controller.id,
        "brokers": [[node.id, node.host, node.port] for node in cluster.nodes],
    }


def list_groups(_: dict[str, Any]) -> Any:
    listed = admin.list_consumer_groups().result(TIMEOUT_S)
    if listed.errors:
        raise listed.errors[0]
    return {"groups": sorted(one.group_id for one in listed.valid)}


def describe_group(request: dict[str, Any]) -> Any:
    group = admin.describe_consumer_groups([request["group"]])[request["group"]].result(TIMEOUT_S)
    return {"state": group.state.name.capitalize(), "members": len(group.members)}


def _offset(request: dict[str, Any], *offset: int) -> ConsumerGroupTopicPartitions:
    return ConsumerGroupTopicPartitions(request["group"], [TopicPartition(request["topic"], request["partition"], *offset)])


def group_offset(request: dict[str, Any]) -> Any:
    (found,) = admin.list_consumer_group_offsets([_offset(request)])[request["group"]].result(TIMEOUT_S).topic_partitions
    return {"offset": found.offset if found.offset >= 0 else None}


def alter_group_offset(request: dict[str, Any]) -> Any:
    asked = [_offset(request, request["offset"])]
    (altered,) = admin.alter_consumer_group_offsets(asked)[request["group"]].result(TIMEOUT_S).topic_partitions
    if altered.error is not None:
        raise KafkaException(altered.error)
    return {}


def delete_group(request: dict[str, Any]) -> Any:
    admin.delete_consumer_groups([request["group"]])[request["group"]].result(TIMEOUT_S)
    return {}


def error_code(error: Exception) -> int | None:
    return error.args[0].code() if isinstance(error, KafkaException) else None


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
    list_groups,
    describe_group,
    group_offset,
    alter_group_offset,
    delete_group,
]
serve({operation.__name__: operation for operation in OPERATIONS}, error_code)
