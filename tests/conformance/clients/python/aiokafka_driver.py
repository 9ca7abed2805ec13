"""aiokafka."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code
from driver import decoded, decoded_headers, encoded, record_answer, serve

BOOTSTRAP = sys.argv[1]
TIMEOUT_S = 30


async def version(_: dict[str, Any]) -> Any:
    return {"version": aiokafka.__version__}


async def produce(request: dict[str, Any]) -> Any:
    producer = AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP,
        compression_type=None if request["codec"] == "none" else request["codec"],
        acks={"0": 0, "1": 1, "all": "all"}[request["acks"]],
        enable_idempotence=request["idempotent"],
        linger_ms=50,
        max_request_size=20_000_000,
    )
    await producer.start()
    try:
        futures = [
            await producer.send(
                request["topic"],
                decoded(record["value"]),
                decoded(record["key"]),
                request["partition"],
                record.get("timestamp"),
                decoded_headers(record),
            )
            for record in request["records"]
        ]
        sent = await asyncio.wait_for(asyncio.gather(*futures), TIMEOUT_S)
        return {"offsets": [None if one is None else one.offset for one in sent]}
    finally:
        await producer.stop()


async def consume(request: dict[str, Any]) -> Any:
    partition = TopicPartition(request["topic"], request["partition"])
    consumer = AIOKafkaConsumer(bootstrap_servers=BOOTSTRAP, enable_auto_commit=False, auto_offset_reset="none")
    await consumer.start()
    try:
        consumer.assign([partition])
        if "offset" in request:
            consumer.seek(partition, request["offset"])
        elif "time" in request:
            found = await consumer.offsets_for_times({partition: request["time"]})
            consumer.seek(partition, found[partition].offset)
        else:
            await consumer.seek_to_beginning(partition)
        records = [await asyncio.wait_for(consumer.getone(), TIMEOUT_S) for _ in range(request["count"])]
    finally:
        await consumer.stop()
    return {"records": [record_answer(one.offset, one.timestamp, one.key, one.value, list(one.headers)) for one in records]}


class Member:
    """The member of a group that this process is at present."""

    consumer: AIOKafkaConsumer

    async def group_join(self, request: dict[str, Any]) -> Any:
        self.consumer = AIOKafkaConsumer(
            bootstrap_servers=BOOTSTRAP,
            group_id=request["group"],
            group_instance_id=request.get("instance"),
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=request["session_ms"],
            heartbeat_interval_ms=request["heartbeat_ms"],
        )
        await self.consumer.start()
        self.consumer.subscribe([request["topic"]])
        return {}

    async def group_poll(self, request: dict[str, Any]) -> Any:
        polled = await self.consumer.getmany(timeout_ms=request["ms"])
        return {
            "records": [
                [one.partition, one.offset, encoded(one.key), encoded(one.value)]
                for records in polled.values()
                for one in records
            ],
            "owned": sorted(one.partition for one in self.consumer.assignment()),
        }

    async def group_commit(self, _: dict[str, Any]) -> Any:
        await self.consumer.commit()
        return {}

    async def group_leave(self, _: dict[str, Any]) -> Any:
        await self.consumer.stop()
        return {}


member = Member()


async def list_offset(request: dict[str, Any]) -> Any:
    partition = TopicPartition(request["topic"], request["partition"])
    consumer = AIOKafkaConsumer(bootstrap_servers=BOOTSTRAP)
    await consumer.start()
    try:
        if request["at"] == "earliest":
            return {"offset": (await consumer.beginning_offsets([partition]))[partition]}
        if request["at"] == "latest":
            return {"offset": (await consumer.end_offsets([partition]))[partition]}
        return {"offset": (await consumer.offsets_for_times({partition: request["at"]}))[partition].offset}
    finally:
        await consumer.stop()


def _check(code: int, message: str | None = None) -> None:
    if code:
        raise for_code(code)(message)


def _with_admin(operation: Callable[[AIOKafkaAdminClient, dict[str, Any]], Awaitable[Any]]) -> Callable[[dict[str, Any]], Any]:
    async def run(request: dict[str, Any]) -> Any:
        admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
        await admin.start()
        try:
            return await operation(admin, request)
        finally:
            await admin.close()

    run.__name__ = operation.__name__
    return run


@_with_admin
async def create_topic(admin: AIOKafkaAdminClient, request: dict[str, Any]) -> Any:
    topic = NewTopic(request["topic"], request["partitions"], 1, topic_configs=request["configs"])
    answer = await admin.create_topics([topic])
    for _, code, message, *_ in answer.topic_errors:
        _check(code, message)
    return {}


@_with_admin
async def list_topics(admin: AIOKafkaAdminClient, _: dict[str, Any]) -> Any:
    return {"topics": sorted(await admin.list_topics())}


@_with_admin
async def describe_topic(admin: AIOKafkaAdminClient, request: dict[str, Any]) -> Any:
    (topic,) = await admin.describe_topics([request["topic"]])
    _check(topic["error_code"])
    names = ("partition", "leader", "replicas", "isr")
    return {"partitions": sorted([partition[name] for name in names] for partition in topic["partitions"])}


@_with_admin
async def delete_topic(admin: AIOKafkaAdminClient, request: dict[str, Any]) -> Any:
    answer = await admin.delete_topics([request["topic"]])
    for _, code in answer.topic_error_codes:
        _check(code)
    return {}


@_with_admin
async def create_partitions(admin: AIOKafkaAdminClient, request: dict[str, Any]) -> Any:
    await admin.create_partitions({request["topic"]: NewPartitions(request["total"])})
    return {}


@_with_admin
async def delete_records(admin: AIOKafkaAdminClient, request: dict[str, Any]) -> Any:
    partition = TopicPartition(request["topic"], request["partition"])
    return {"low_watermark": (await admin.delete_records({partition: RecordsToDelete(request["before"])}))[partition]}


def _resource(request: dict[str, Any], configs: dict[str, Any] | None = None) -> ConfigResource:
    return ConfigResource(ConfigResourceType[request["type"].upper()], request["name"], configs)


@_with_admin
async def describe_configs(admin: AIOKafkaAdminClient, request: dict[str, Any]) -> Any:
    (answer,) = await admin.describe_configs([_resource(request)])
    ((code, message, _, _, entries),) = answer.resources
    _check(code, message)
    return {"configs": {entry[0]: entry[1] for entry in entries}}


@_with_admin
async def alter_configs(admin: AIOKafkaAdminClient, request: dict[str, Any]) -> Any:
    for answer in await admin.alter_configs([_resource(request, request["set"])]):
        for code, message, *_ in answer.resources:
            _check(code, message)
    return {}


@_with_admin
async def describe_cluster(admin: AIOKafkaAdminClient, _: dict[str, Any]) -> Any:
    cluster = await admin.describe_cluster()
    return {
        "cluster_id": cluster["cluster_id"],
        "controller": cluster["controller_id"],
        "brokers": [[one["node_id"], one["host"], one["port"]] for one in cluster["brokers"]],
    }


@_with_admin
async def list_groups(admin: AIOKafkaAdminClient, _: dict[str, Any]) -> Any:
    return {"groups": sorted(group for group, *_ in await admin.list_consumer_groups())}


@_with_admin
async def describe_group(admin: AIOKafkaAdminClient, request: dict[str, Any]) -> Any:
    (answer,) = await admin.describe_consumer_groups([request["group"]])
    ((code, _, state, _, _, members, *_),) = answer.groups
    _check(code)
    return {"state": state, "members": len(members)}


@_with_admin
async def group_offset(admin: AIOKafkaAdminClient, request: dict[str, Any]) -> Any:
    partition = TopicPartition(request["topic"], request["partition"])
    found = await admin.list_consumer_group_offsets(request["group"])
    return {"offset": found[partition].offset if partition in found else None}


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
    describe_cluster,
    list_groups,
    describe_group,
    group_offset,
]


# The loop has a thread of its own: a member's heartbeats go on while no request is at work.
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()


def _blocking(operation: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda request: asyncio.run_coroutine_threadsafe(operation(request), loop).result()


serve({operation.__name__: _blocking(operation) for operation in OPERATIONS}, error_code)
