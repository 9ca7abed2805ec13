"""The script: every API that fastlog serves, in every version, with what is right and what is wrong about its requests.

`steps` gives the same requests in the same order each time. A step's label is `API vN what`; `CASES` of an API hold what is asked
in one version, and what that version has no field for is left out. An API without cases of its own is asked with an empty
request, so that nothing is served and never compared. Each case uses topics of its own, or leaves them as they were.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fastlog import codecs
from fastlog._core import BatchBuilder, crc32c
from fastlog.errors import EncodeError
from fastlog.wire.api import APIS
from fastlog.wire.messages.alter_configs import AlterConfigsRequest
from fastlog.wire.messages.api_versions import ApiVersionsRequest
from fastlog.wire.messages.create_partitions import CreatePartitionsRequest
from fastlog.wire.messages.create_topics import CreateTopicsRequest
from fastlog.wire.messages.delete_records import DeleteRecordsRequest
from fastlog.wire.messages.delete_topics import DeleteTopicsRequest
from fastlog.wire.messages.describe_cluster import DescribeClusterRequest
from fastlog.wire.messages.describe_configs import DescribeConfigsRequest
from fastlog.wire.messages.describe_log_dirs import DescribeLogDirsRequest
from fastlog.wire.messages.describe_producers import DescribeProducersRequest
from fastlog.wire.messages.describe_topic_partitions import DescribeTopicPartitionsRequest
from fastlog.wire.messages.fetch import FetchRequest
from fastlog.wire.messages.incremental_alter_configs import IncrementalAlterConfigsRequest
from fastlog.wire.messages.init_producer_id import InitProducerIdRequest
from fastlog.wire.messages.list_config_resources import ListConfigResourcesRequest
from fastlog.wire.messages.list_offsets import ListOffsetsRequest
from fastlog.wire.messages.metadata import MetadataRequest
from fastlog.wire.messages.offset_for_leader_epoch import OffsetForLeaderEpochRequest
from fastlog.wire.messages.produce import ProduceRequest
from recorded_truth.answers import SCRIPTED_PRODUCER_IDS
from recorded_truth.damaged import damaged
from recorded_truth.peer import Peer

T0 = 1_700_000_000_000
NOWHERE = b"\x5a" * 16
"""The id of no topic."""
OLD_PRODUCE_VERSION = 9
NEWEST_ALTER_CONFIGS = 2
MOST_ATTEMPTS = 300
FIRST_VERSION_WITH_IDS = 13
"""Of Produce and Fetch."""
NOT_COMPARED = {(35, "negative topics"), (37, "negative topics.assignments")}
"""Requests that are damaged so that they ask for the sizes of all logs, and for what a broker of Kafka may have no time for."""


@dataclass
class Step:
    """One request. `build(peer)` makes the message, or the bytes where `raw`.

    `before(peer)` makes what it is about; `settle` says what to wait for behind it.
    """

    label: str
    key: int
    version: int
    build: Callable[[Peer], Any]
    before: Callable[[Peer], None] | None = None
    raw: bool = False
    answers: bool = True
    may_be_silent: bool = False
    is_compared: bool = True
    settle: dict[str, int] = field(default_factory=dict)
    remember: Callable[[Peer, Any], None] | None = None

    def run(self, peer: Peer) -> Any:
        """Put the request to a broker; return the answer."""
        if self.before is not None:
            self.before(peer)
        request = self.build(peer)
        if self.raw:
            answer = peer.send_alone(request, self.key, self.version)
        else:
            answer = peer.ask(request, self.version, answers=self.answers, may_be_silent=self.may_be_silent)
        if self.remember is not None:
            self.remember(peer, answer)
        if self.settle:
            peer.settle(self.settle)
        return answer


@dataclass
class Case:
    """What is asked in one version of an API."""

    what: str
    build: Callable[[Peer], Any]
    before: Callable[[Peer], None] | None = None
    answers: bool = True
    may_be_silent: bool = False
    settle: dict[str, int] = field(default_factory=dict)
    remember: Callable[[Peer, Any], None] | None = None


def said(what: str, message: Any, **more: Any) -> Case:
    """A case whose message is the same for every broker."""
    return Case(what, lambda _: message, **more)


def steps(served: dict[int, tuple[int, int]]) -> Iterator[Step]:
    """Yield the script for a broker that serves these versions (by key)."""
    from recorded_truth.groups import GROUP_CASES, await_coordinator  # it builds upon this module

    yield from _preparations()
    yield Step("prepare groups", 60, 0, lambda _: DescribeClusterRequest(), await_coordinator, is_compared=False)
    for key, (least, most) in sorted(served.items()):
        name = APIS[key].request_class.__name__.removesuffix("Request")
        cases = CASES.get(key) or GROUP_CASES.get(key, _empty)
        first = max(least, APIS[key].request_class.MIN_VERSION)  # Produce is advertised from 0 on and served from 3 on
        for version in range(first, most + 1):
            for case in cases(key, version):
                if _fits(case, version):
                    yield Step(
                        f"{name} v{version} {case.what}",
                        key,
                        version,
                        case.build,
                        case.before,
                        answers=case.answers,
                        may_be_silent=case.may_be_silent,
                        settle=case.settle,
                        remember=case.remember,
                    )
        yield from _wrong_frames(key, name, least, most)
    yield from _no_frames()


class _AnyPeer(Peer):
    """Stands in where only the shape of a message matters."""

    def __init__(self) -> None:
        class Ids(dict[str, bytes]):
            def __missing__(self, name: str) -> bytes:
                return NOWHERE

        self.ids = Ids()
        self.remembered = {"session": 1}


def _fits(case: Case, version: int) -> bool:
    try:
        case.build(_AnyPeer()).encode(version)
    except EncodeError:
        return False
    return True


def _empty(key: int, version: int) -> Iterator[Case]:
    yield said("with nothing in it", APIS[key].request_class())


# ---- topics and records to ask about -----------------------------------------------------------------------------------------

TOPICS = {"read": 2, "many": 4, "stamped": 1, "deleted-from": 2, "producers": 1, "epochs": 2, "altered": 1}
OPTIONS = {"stamped": {"message.timestamp.type": "LogAppendTime"}}
WRITTEN_PARTITIONS = 8


def make_topics(peer: Peer, counts: dict[str, int]) -> None:
    """Create topics that cases need; their records are old, and stay."""
    wanted = [
        CreateTopicsRequest.CreatableTopic(
            name=name,
            num_partitions=count,
            replication_factor=1,
            configs=[
                CreateTopicsRequest.CreatableTopicConfig(name=option, value=value)
                for option, value in {"retention.ms": "-1", **OPTIONS.get(name, {})}.items()
            ],
        )
        for name, count in counts.items()
    ]
    peer.ask(CreateTopicsRequest(topics=wanted, timeout_ms=30_000), 7)
    peer.settle(counts)


def batch(*values: bytes, codec: int = 0, timestamp_ms: int = T0, keys: bool = False, **fields: int) -> bytes:
    """Return a batch of these values, a second apart."""
    builder = BatchBuilder(**fields)
    for number, value in enumerate(values or (b"value",)):
        key = b"key %d" % number if keys else None
        builder.append(timestamp_ms + 1000 * number, key, value, [("header", b"h"), ("null", None)] if keys else [])
    return builder.build(codecs.compress(codec, builder.payload()), codec) if codec else builder.build()


def _preparations() -> Iterator[Step]:
    written = {f"written-{version}": WRITTEN_PARTITIONS for version in range(14)}
    yield Step(
        "prepare topics",
        60,
        0,
        lambda _: DescribeClusterRequest(),
        lambda peer: make_topics(peer, {**TOPICS, **written}),
        is_compared=False,
    )
    pid = SCRIPTED_PRODUCER_IDS
    for topic, index, records in (
        ("read", 0, batch(b"a", b"b", b"c", keys=True)),
        ("read", 0, batch(b"d" * 100, b"e" * 100, codec=codecs.GZIP)),
        ("read", 0, batch(b"f", producer_id=pid, producer_epoch=3, base_sequence=0, timestamp_ms=T0 - 5000)),
        ("deleted-from", 0, batch(*[b"x"] * 20)),
        ("epochs", 0, batch(b"a", b"b")),
        ("producers", 0, batch(b"a", b"b", producer_id=pid + 1, producer_epoch=2, base_sequence=0)),
        ("producers", 0, batch(b"c", producer_id=pid + 1, producer_epoch=2, base_sequence=2)),
        ("producers", 0, batch(b"d", producer_id=pid + 2, producer_epoch=0, base_sequence=0)),
    ):
        message = ProduceRequest(
            acks=-1,
            timeout_ms=30_000,
            topic_data=[
                ProduceRequest.TopicProduceData(
                    name=topic, partition_data=[ProduceRequest.PartitionProduceData(index=index, records=records)]
                )
            ],
        )
        yield Step("prepare records", 0, 9, lambda _, message=message: message, is_compared=False)


# ---- Produce -----------------------------------------------------------------------------------------------------------------


def produce(version: int, topic: str, partitions: list[tuple[int, Any]], acks: int = -1, **fields: Any) -> Callable[[Peer], Any]:
    """Return what builds a Produce request for one topic, by name or by id as the version wants it."""

    def build(peer: Peer) -> ProduceRequest:
        by_id = version >= FIRST_VERSION_WITH_IDS
        named = {"topic_id": peer.ids.get(topic, NOWHERE) if topic else bytes(16)} if by_id else {"name": topic}
        data = [ProduceRequest.PartitionProduceData(index=index, records=records) for index, records in partitions]
        more = {"acks": acks, "timeout_ms": 10_000, **fields}
        return ProduceRequest(topic_data=[ProduceRequest.TopicProduceData(partition_data=data, **named)], **more)

    return build


def _with_crc(data: bytes | bytearray) -> bytes:
    changed = bytearray(data)
    changed[17:21] = crc32c(bytes(changed[21:])).to_bytes(4, "big")
    return bytes(changed)


def _changed(data: bytes, position: int, new: bytes, *, mend_crc: bool = True) -> bytes:
    changed = bytearray(data)
    changed[position : position + len(new)] = new
    return _with_crc(changed) if mend_crc else bytes(changed)


def _message_set(magic: int) -> bytes:
    """Return one message of the formats before record batches (KIP-32)."""
    from zlib import crc32

    timestamp = T0.to_bytes(8, "big") if magic else b""
    body = bytes([magic, 0]) + timestamp + (-1).to_bytes(4, "big", signed=True) + (1).to_bytes(4, "big") + b"v"
    message = crc32(body).to_bytes(4, "big") + body
    return bytes(8) + len(message).to_bytes(4, "big") + message


def _produce(key: int, version: int) -> Iterator[Case]:
    good = batch(b"one", b"two", keys=True)

    topic = f"written-{version}"
    partitions_of_their_own = iter(range(2, WRITTEN_PARTITIONS))

    def case(what: str, records: Any, *, may_be_silent: bool = False, alone: bool = False, **more: Any) -> Case:
        """Write to partition 0, or to one of its own where one broker may take what the other refuses, so that offsets agree."""
        index = next(partitions_of_their_own) if alone else 0
        return Case(what, produce(version, topic, [(index, records)], **more), may_be_silent=may_be_silent)

    yield case("good", good)
    yield case("good with acks=1", good, acks=1)
    yield Case("good with acks=0", produce(version, topic, [(0, good)], acks=0), answers=False)
    for name, codec in (("gzip", codecs.GZIP), ("snappy", codecs.SNAPPY), ("lz4", codecs.LZ4), ("zstd", codecs.ZSTD)):
        yield case(name, batch(b"x" * 500, b"y" * 500, codec=codec), alone=codec == codecs.ZSTD and version < 7)
    yield Case("stamped by the broker", produce(version, "stamped", [(0, good)]))
    yield Case("two partitions", produce(version, topic, [(0, good), (1, good)]))
    yield Case("an unknown partition", produce(version, topic, [(7, good), (0, good)]))
    yield Case("a negative partition", produce(version, topic, [(-1, good)]))
    yield Case("an unknown topic", produce(version, "nope", [(0, good)]))
    yield said("no topics", ProduceRequest(acks=-1, timeout_ms=1000))
    yield Case("no partitions", produce(version, topic, []))
    yield Case("a topic without a name", produce(version, "", [(0, good)]))
    yield Case("a bad name", produce(version, "a b", [(0, good)]))
    yield case("no time", good, timeout_ms=0)
    yield case("a negative time", good, timeout_ms=-1)
    yield case("acks=2", good, acks=2)
    yield case("acks=-2", good, acks=-2)
    if version == OLD_PRODUCE_VERSION:
        yield case("null records", None, may_be_silent=True)
    yield case("empty records", b"")
    yield case("few bytes", b"abc")
    yield case("two batches", good + good)
    yield case("a batch that is cut off", good[:-1])
    yield case("bytes behind the batch", good + b"more", alone=True)
    yield case("a wrong CRC", _changed(good, 17, b"\0\0\0\0", mend_crc=False))
    yield case("a flipped bit", _changed(good, len(good) - 1, b"\xff", mend_crc=False))
    yield case("magic 0", _message_set(0))
    yield case("magic 1", _message_set(1))
    yield case("magic 3", _changed(good, 16, b"\3"))
    yield case("base offset 5", _changed(good, 0, (5).to_bytes(8, "big")))
    yield case("a count of 3 for 2 records", _changed(good, 57, (3).to_bytes(4, "big")))
    yield case("a last offset delta of 5 for 2 records", _changed(good, 23, (5).to_bytes(4, "big")))
    yield case("a count of 0", _changed(good, 57, bytes(4)))
    yield case("an unknown codec", _changed(good, 21, (7).to_bytes(2, "big")))
    yield case("a codec that the payload doesn't have", _changed(good, 21, (1).to_bytes(2, "big")), alone=True)
    yield case("log append time by the client", _changed(good, 21, (8).to_bytes(2, "big")), alone=True)
    yield case("control records", _changed(good, 21, (0x20).to_bytes(2, "big")))
    yield case("over max.message.bytes", batch(b"x" * 1_100_000))
    yield case("a timestamp two hours ahead", batch(timestamp_ms=4_000_000_000_000))
    yield case("no timestamp", batch(timestamp_ms=-1))
    pid = SCRIPTED_PRODUCER_IDS + 100 * (version + 1)
    for what, epoch, sequence in (
        ("the first sequence", 1, 0),
        ("a repetition", 1, 0),
        ("the next sequence", 1, 2),
        ("a gap", 1, 9),
        ("an old epoch", 0, 4),
        ("a new epoch that begins at 3", 2, 3),
        ("a new epoch", 2, 0),
        ("an old sequence", 2, 0),
    ):
        yield case(f"idempotent: {what}", batch(b"1", b"2", producer_id=pid, producer_epoch=epoch, base_sequence=sequence))
    yield case("idempotent: an unknown producer at 5", batch(producer_id=pid + 1, producer_epoch=0, base_sequence=5))
    yield case(
        "idempotent: no sequence", _changed(batch(producer_id=pid + 2, producer_epoch=0, base_sequence=0), 53, b"\xff" * 4)
    )
    yield case(
        "idempotent: no epoch",
        _changed(batch(producer_id=pid + 3, producer_epoch=0, base_sequence=0), 51, b"\xff" * 2),
        alone=True,
    )
    transactional = batch(producer_id=pid + 4, producer_epoch=0, base_sequence=0, attributes=0x10)
    yield case("transactional records without an id", transactional)
    yield case("transactional, where no transaction is", transactional, transactional_id=f"nobody-{version}")


# ---- Fetch -------------------------------------------------------------------------------------------------------------------


def fetch(
    version: int,
    topic: str,
    partitions: list[dict[str, Any]],
    session: tuple[int, int] = (0, -1),
    *,
    topics: bool = False,
    forgotten: bool = False,
    **fields: Any,
) -> Any:
    """Return what builds a Fetch request for one topic, which is named also without partitions where `topics`."""

    def build(peer: Peer) -> FetchRequest:
        by_id = version >= FIRST_VERSION_WITH_IDS
        named = {"topic_id": peer.ids.get(topic, NOWHERE) if topic else bytes(16)} if by_id else {"topic": topic}
        asked = [FetchRequest.FetchPartition(**{"partition_max_bytes": 1 << 20, **one}) for one in partitions]
        session_id = peer.remembered["session"] if session[0] < 0 else session[0]
        return FetchRequest(
            **{
                "max_bytes": 1 << 20,
                "min_bytes": 0,
                "session_id": session_id,
                "session_epoch": session[1],
                "topics": [FetchRequest.FetchTopic(partitions=asked, **named)] if asked or topics else [],
                "forgotten_topics_data": [FetchRequest.ForgottenTopic(partitions=[1], **named)] if forgotten else [],
                **fields,
            }
        )

    return build


def _remember_session(peer: Peer, answer: Any) -> None:
    peer.remembered["session"] = answer.session_id


def _fetch(key: int, version: int) -> Iterator[Case]:
    def case(what: str, *partitions: dict[str, Any], topic: str = "read", **more: Any) -> Case:
        return Case(what, fetch(version, topic, list(partitions), **more))

    for offset in (0, 1, 3, 4, 5, 6, 7, -1):
        yield case(f"offset {offset}", {"partition": 0, "fetch_offset": offset})
    yield case("read committed", {"partition": 0}, isolation_level=1)
    yield case("both partitions", {"partition": 0}, {"partition": 1})
    yield case("a partition twice", {"partition": 0}, {"partition": 0, "fetch_offset": 3})
    yield case("unknown partitions", {"partition": 9}, {"partition": -1})
    yield case("an unknown topic", {"partition": 0}, topic="nope")
    yield case("a topic without a name", {"partition": 0}, topic="")
    yield case("a bad name", {"partition": 0}, topic="a b")
    yield case("nothing")
    yield Case("no partitions", fetch(version, "read", [], topics=True))
    yield case("another isolation", {"partition": 0}, isolation_level=7)
    yield case(
        "negative times and sizes", {"partition": 0, "partition_max_bytes": -1}, max_wait_ms=-1, min_bytes=-1, max_bytes=-1
    )
    for replica_id in (-2, 7):
        yield case(f"as replica {replica_id}", {"partition": 0}, replica_id=replica_id)
    if version >= 7:
        yield Case("forgotten without a session", fetch(version, "read", [{"partition": 0}], forgotten=True))
    yield case("little from each partition", {"partition": 0, "partition_max_bytes": 10})
    yield case("little in all", {"partition": 0}, max_bytes=10)
    yield case("nothing in all", {"partition": 0}, max_bytes=0)
    yield case("one batch's bytes", {"partition": 0, "partition_max_bytes": 150})
    yield case("at the end, without waiting", {"partition": 0, "fetch_offset": 6}, min_bytes=1, max_wait_ms=0)
    yield case("at the end, waiting", {"partition": 0, "fetch_offset": 6}, min_bytes=1, max_wait_ms=50)
    for epoch in (0, 1, -2):
        yield case(f"leader epoch {epoch}", {"partition": 0, "current_leader_epoch": epoch})
    for epoch, offset in ((0, 3), (0, 9), (1, 3), (5, 0)):
        yield case(
            f"last fetched epoch {epoch} at {offset}", {"partition": 0, "fetch_offset": offset, "last_fetched_epoch": epoch}
        )
    yield case("of another cluster", {"partition": 0}, cluster_id="another")
    yield case("with a rack", {"partition": 0}, rack_id="somewhere")
    yield case("an unknown session", {"partition": 0}, session=(12345, 1))
    yield case("a session's epoch without one", {"partition": 0}, session=(0, 7))
    if version >= 7:
        begin = case("a session begins", {"partition": 0}, {"partition": 1}, session=(0, 0))
        begin.remember = _remember_session
        yield begin
        yield case("the session goes on with nothing new", session=(-1, 1))
        yield case("the session goes on with another offset", {"partition": 0, "fetch_offset": 3}, session=(-1, 2))
        yield case("the session gets a wrong epoch", session=(-1, 9))
        yield case("the session ends", session=(-1, -1))


# ---- offsets -----------------------------------------------------------------------------------------------------------------


def _list_offsets(key: int, version: int) -> Iterator[Case]:
    def case(what: str, *asked: tuple[str, int, int, int], **more: Any) -> Case:
        topics: dict[str, list[Any]] = {}
        for topic, index, timestamp, epoch in asked:
            topics.setdefault(topic, []).append(
                ListOffsetsRequest.ListOffsetsPartition(partition_index=index, timestamp=timestamp, current_leader_epoch=epoch)
            )
        listed = [ListOffsetsRequest.ListOffsetsTopic(name=name, partitions=found) for name, found in topics.items()]
        return said(what, ListOffsetsRequest(**{"replica_id": -1, "topics": listed, "timeout_ms": 1000, **more}))

    for timestamp in range(-1, -9, -1):
        yield case(f"special time {timestamp}", ("read", 0, timestamp, -1), ("read", 1, timestamp, -1))
    for delay_ms in (-6000, -5000, -1, 0, 1, 1000, 2000, 2001):
        yield case(f"T0 {delay_ms:+}", ("read", 0, T0 + delay_ms, -1), ("read", 1, T0 + delay_ms, -1))
    yield case("time 0", ("read", 0, 0, -1))
    yield case("read committed", ("read", 0, -1, -1), isolation_level=1)
    yield case("another isolation", ("read", 0, -1, -1), isolation_level=7)
    yield case("unknown partitions", ("read", 9, -1, -1), ("read", -1, -1, -1), ("nope", 0, -1, -1), ("a b", 0, -1, -1))
    yield case("a partition twice", ("read", 0, -1, -1), ("read", 0, -2, -1), ("read", 1, -1, -1))
    for epoch in (0, 1, -2):
        yield case(f"leader epoch {epoch}", ("read", 0, -1, epoch))
    yield case("as a broker", ("read", 0, -1, -1), replica_id=1)
    yield case("as a debugger", ("read", 0, -1, -1), replica_id=-2)
    yield case("a topic without a name", ("", 0, -1, -1))
    yield case("without time", ("read", 0, -1, -1), timeout_ms=0)
    yield case("nothing")
    yield said("no partitions", ListOffsetsRequest(replica_id=-1, topics=[ListOffsetsRequest.ListOffsetsTopic(name="read")]))


def _offset_for_leader_epoch(key: int, version: int) -> Iterator[Case]:
    def case(what: str, *asked: tuple[str, int, int, int], replica_id: int = -1) -> Case:
        topics = [
            OffsetForLeaderEpochRequest.OffsetForLeaderTopic(
                topic=topic,
                partitions=[
                    OffsetForLeaderEpochRequest.OffsetForLeaderPartition(
                        partition=index, leader_epoch=epoch, current_leader_epoch=current
                    )
                ],
            )
            for topic, index, epoch, current in asked
        ]
        return said(what, OffsetForLeaderEpochRequest(replica_id=replica_id, topics=topics))

    for epoch in (-2, -1, 0, 1):
        yield case(f"epoch {epoch}", ("epochs", 0, epoch, -1), ("epochs", 1, epoch, -1))
    for current in (-2, 0, 1):
        yield case(f"leader epoch {current}", ("epochs", 0, 0, current))
    yield case("unknown partitions", ("epochs", 9, 0, -1), ("epochs", -1, 0, -1), ("nope", 0, 0, -1), ("a b", 0, 0, -1))
    yield case("a partition twice", ("epochs", 0, 0, -1), ("epochs", 0, 0, -1))
    yield case("a topic without a name", ("", 0, 0, -1))
    for replica_id in (-2, -5, 1):
        yield case(f"as replica {replica_id}", ("epochs", 0, 0, -1), replica_id=replica_id)
    yield case("nothing")


def _delete_records(key: int, version: int) -> Iterator[Case]:
    def case(what: str, *asked: tuple[str, list[tuple[int, int]]], timeout_ms: int = 10_000) -> Case:
        topics = [
            DeleteRecordsRequest.DeleteRecordsTopic(
                name=name,
                partitions=[
                    DeleteRecordsRequest.DeleteRecordsPartition(partition_index=index, offset=offset) for index, offset in offsets
                ],
            )
            for name, offsets in asked
        ]
        return said(what, DeleteRecordsRequest(topics=topics, timeout_ms=timeout_ms))

    first = 5 * version
    yield case("good", ("deleted-from", [(0, first + 2), (1, 0)]))
    yield case("below the start", ("deleted-from", [(0, first + 1)]))
    yield case("past the end", ("deleted-from", [(0, 21)]))
    yield case("negative offsets", ("deleted-from", [(0, -2), (1, -3)]))
    yield case("to the high watermark", ("deleted-from", [(1, -1)]))
    yield case("unknown partitions", ("deleted-from", [(9, 0), (-1, 0)]), ("nope", [(0, 0)]), ("a b", [(0, 0)]), ("", [(0, 0)]))
    yield case("a partition twice", ("deleted-from", [(0, first + 4), (0, first + 3)]))
    yield case("a topic twice", ("deleted-from", [(0, first + 5)]), ("deleted-from", [(0, first + 4)]))
    yield case("without time", ("deleted-from", [(0, first + 4)]), timeout_ms=0)
    yield case("no partitions", ("deleted-from", []), ("nope", []))
    yield case("nothing")


def _describe_producers(key: int, version: int) -> Iterator[Case]:
    def case(what: str, *asked: tuple[str, list[int]]) -> Case:
        topics = [DescribeProducersRequest.TopicRequest(name=name, partition_indexes=indexes) for name, indexes in asked]
        return said(what, DescribeProducersRequest(topics=topics))

    yield case("good", ("producers", [0]), ("many", [0, 1]))
    yield case("a partition twice", ("producers", [0, 0]), ("producers", [0]))
    yield case("unknown partitions", ("producers", [9, -1]), ("nope", [0]))
    yield case("bad names", ("", [0]), ("a b", [0]), ("..", [0]))
    yield case("nothing", ("producers", []))
    yield case("no topics")


# ---- the cluster -------------------------------------------------------------------------------------------------------------


def _api_versions(key: int, version: int) -> Iterator[Case]:
    for what, name, software in (
        ("good", "truth", "1.0"),
        ("no name", "", "1.0"),
        ("no version", "truth", ""),
        ("a bad name", "tr uth", "1.0"),
        ("a bad version", "truth", "-1"),
    ):
        yield said(what, ApiVersionsRequest(client_software_name=name, client_software_version=software))


def _metadata(key: int, version: int) -> Iterator[Case]:
    def topic(name: str | None, topic_id: bytes = bytes(16)) -> Any:
        return MetadataRequest.MetadataRequestTopic(name=name, topic_id=topic_id)

    def case(what: str, topics: list[Any] | None, **more: Any) -> Case:
        more = {"allow_auto_topic_creation": version < 4, **more}
        return said(what, MetadataRequest(topics=topics, **more))

    yield case("all topics", None)
    yield case("an empty list", [])
    yield case("two topics", [topic("read"), topic("many")])
    yield case("a topic twice", [topic("read"), topic("read")])
    if version >= 4:
        yield case("an unknown topic", [topic("nope"), topic("read")])
        yield case("internal topics", [topic("__consumer_offsets"), topic("__cluster_metadata")])
    yield case("bad names", [topic(""), topic("a b"), topic(".."), topic("x" * 250)])
    if version >= 4:
        yield case("an unknown topic that may be created", [topic("a b"), topic("")], allow_auto_topic_creation=True)
    yield case("authorised operations", [topic("read")], include_topic_authorized_operations=True)
    yield case("the cluster's operations", [], include_cluster_authorized_operations=True)
    yield case("an unknown id", [topic(None, NOWHERE)])
    yield case("no name and no id", [topic(None)])
    yield Case("by id", lambda peer: MetadataRequest(topics=[topic(None, peer.ids["read"])], allow_auto_topic_creation=False))
    yield Case(
        "by name and id", lambda peer: MetadataRequest(topics=[topic("read", peer.ids["read"])], allow_auto_topic_creation=False)
    )
    created = case("created by asking", [topic(f"asked-{version}")], allow_auto_topic_creation=True)
    created.settle = {f"asked-{version}": 1}
    yield created


def _describe_cluster(key: int, version: int) -> Iterator[Case]:
    yield said("good", DescribeClusterRequest())
    yield said("authorised operations", DescribeClusterRequest(include_cluster_authorized_operations=True))
    yield said("fenced brokers", DescribeClusterRequest(include_fenced_brokers=True))
    for endpoint_type in (0, 2, 9):
        yield said(f"endpoint type {endpoint_type}", DescribeClusterRequest(endpoint_type=endpoint_type))


def _describe_topic_partitions(key: int, version: int) -> Iterator[Case]:
    def case(what: str, names: list[str], limit: int = 2000, cursor: tuple[str, int] | None = None) -> Case:
        return said(
            what,
            DescribeTopicPartitionsRequest(
                topics=[DescribeTopicPartitionsRequest.TopicRequest(name=name) for name in names],
                response_partition_limit=limit,
                cursor=None
                if cursor is None
                else DescribeTopicPartitionsRequest.Cursor(topic_name=cursor[0], partition_index=cursor[1]),
            ),
        )

    yield case("all topics", [])
    yield case("two topics", ["read", "many"])
    yield case("a topic twice", ["read", "read"])
    yield case("unknown topics", ["nope", "read", "__consumer_offsets"])
    yield case("bad names", ["", "a b"])
    for limit in (3, 1, 0, -1):
        yield case(f"limit {limit}", ["read", "many"], limit)
    for cursor in (("many", 1), ("many", 4), ("many", 9), ("n", 0), ("read", -1), ("", 0)):
        yield case(f"from {cursor[0]} {cursor[1]}, all topics", [], cursor=cursor)
        yield case(f"from {cursor[0]} {cursor[1]}", ["many", "read"], cursor=cursor)
    yield case("limit 2 from many 1", ["many", "read"], 2, ("many", 1))


def _describe_log_dirs(key: int, version: int) -> Iterator[Case]:
    def case(what: str, asked: list[tuple[str, list[int]]] | None) -> Case:
        topics = asked and [DescribeLogDirsRequest.DescribableLogDirTopic(topic=name, partitions=found) for name, found in asked]
        return said(what, DescribeLogDirsRequest(topics=topics))

    yield case("a partition", [("read", [0])])
    yield case("two topics", [("read", [0, 1]), ("epochs", [0])])
    yield case("unknown partitions", [("read", [9, -1]), ("nope", [0])])
    yield case("a partition twice", [("read", [0, 0]), ("read", [0])])
    yield case("nothing", [])
    yield case("no partitions", [("read", [])])


def _wait_for_producer_ids(peer: Peer) -> None:
    """A broker of Kafka fetches its first block of ids when somebody asks."""
    for _ in range(MOST_ATTEMPTS):
        answer = peer.ask(InitProducerIdRequest(transactional_id=None), 0)
        if answer.error_code == 0:
            return
        time.sleep(0.1)
    raise AssertionError(f"no producer ids: {answer}")


def _init_producer_id(key: int, version: int) -> Iterator[Case]:
    def case(what: str, transactional_id: str | None, **more: Any) -> Case:
        return said(
            what, InitProducerIdRequest(**{"transactional_id": transactional_id, "transaction_timeout_ms": 60_000, **more})
        )

    good = case("good", None)
    good.before = _wait_for_producer_ids
    yield good
    yield case("a timeout of 0", None, transaction_timeout_ms=0)
    yield case("an empty transactional id", "")
    yield case("a transactional id", f"somebody-{version}")
    yield case("a producer id without an epoch", None, producer_id=SCRIPTED_PRODUCER_IDS)
    yield case("an epoch without a producer id", None, producer_epoch=3)
    yield case("producer id and epoch", None, producer_id=SCRIPTED_PRODUCER_IDS, producer_epoch=3)


# ---- topics come, grow and go ------------------------------------------------------------------------------------------------


def _create_topics(key: int, version: int) -> Iterator[Case]:
    def topic(name: str, partitions: int = 1, factor: int = 1, assignments: Any = (), **options: str | None) -> Any:
        return CreateTopicsRequest.CreatableTopic(
            name=name,
            num_partitions=partitions,
            replication_factor=factor,
            assignments=[
                CreateTopicsRequest.CreatableReplicaAssignment(partition_index=index, broker_ids=brokers)
                for index, brokers in assignments
            ],
            configs=[
                CreateTopicsRequest.CreatableTopicConfig(name=name.replace("_", "."), value=value)
                for name, value in options.items()
            ],
        )

    def case(what: str, *topics: Any, settle: dict[str, int] | None = None, **more: Any) -> Case:
        request = CreateTopicsRequest(**{"topics": list(topics), "timeout_ms": 30_000, **more})
        return said(what, request, settle=settle or {})

    new = f"new-{version}"
    yield case("good", topic(f"{new}-a", 3), settle={f"{new}-a": 3})
    yield case("two topics", topic(f"{new}-b"), topic(f"{new}-c"), settle={f"{new}-b": 1, f"{new}-c": 1})
    yield case("only checked", topic(f"{new}-d", 2), validate_only=True)
    yield case("there already", topic(f"{new}-a"), topic("read", 0, 0))
    yield case("a name twice", topic(f"{new}-e"), topic(f"{new}-e", 2), topic(f"{new}-f"), validate_only=True)
    yield case("with options", topic(f"{new}-g", retention_ms="5000", segment_bytes="2000000"), settle={f"{new}-g": 1})
    assigned = topic(f"{new}-h", -1, -1, [(1, [1]), (0, [1])])
    yield case("with an assignment", assigned, settle={f"{new}-h": 2})
    yield case("without time", topic(f"{new}-i"), timeout_ms=0)
    yield case("bad names", *(topic(name) for name in ("", ".", "..", "a b", "a/b", "x" * 250, "ä")))
    yield case("names of Kafka's own", topic("__cluster_metadata"))
    yield case("names that collide", topic(f"{new}.q_r"), topic(f"{new}_q.r"), topic("read.x"), validate_only=True)
    yield case("a name that collides", topic(f"{new}-a.b"), settle={f"{new}-a.b": 1})
    yield case("a name that collides with one that is there", topic(f"{new}-a_b"))
    yield case("a negative time", topic(f"{new}-s"), timeout_ms=-1)
    yield case("partition counts", *(topic(f"{new}-j{count}", count) for count in (0, -1, -2)), validate_only=True)
    yield case("replication factors", *(topic(f"{new}-k{factor}", 1, factor) for factor in (0, -1, -2, 2, 5)), validate_only=True)
    yield case("too many partitions", topic(f"{new}-l", 10_001), validate_only=True)
    for what, assignments in (
        ("from 1", [(1, [1])]),
        ("with a gap", [(0, [1]), (2, [1])]),
        ("of a partition twice", [(0, [1]), (0, [1])]),
        ("of a broker twice", [(0, [1, 1])]),
        ("of an unknown broker", [(0, [9])]),
        ("of no brokers", [(0, [])]),
        ("of partition -1", [(-1, [1])]),
    ):
        yield case(f"an assignment {what}", topic(f"{new}-m", -1, -1, assignments), validate_only=True)
    yield case("an assignment and a count", topic(f"{new}-n", 1, -1, [(0, [1])]), validate_only=True)
    yield case("an assignment and a factor", topic(f"{new}-o", -1, 1, [(0, [1])]), validate_only=True)
    for name, value in (
        ("nope", "1"),
        ("retention_ms", "soon"),
        ("retention_ms", "-2"),
        ("retention_ms", ""),
        ("retention_ms", None),
        ("segment_bytes", "1"),
        ("cleanup_policy", "shred"),
        ("message_timestamp_type", "Never"),
        ("preallocate", "maybe"),
        ("min_insync_replicas", "0"),
        ("compression_type", "brotli"),
        ("unclean_leader_election_enable", "perhaps"),
    ):
        what = f"{name.replace('_', '.')}={value}"
        yield case(f"with {what}", topic(f"{new}-p", **{name: value}), validate_only=True)
    twice = topic(f"{new}-t", retention_ms="5000")
    twice.configs.append(CreateTopicsRequest.CreatableTopicConfig(name="retention.ms", value="7000"))
    yield case("with an option twice", twice, validate_only=True)
    nameless = topic(f"{new}-u")
    nameless.configs.append(CreateTopicsRequest.CreatableTopicConfig(name="", value="1"))
    yield case("with an option without a name", nameless, validate_only=True)
    yield case("nothing")


def _create_partitions(key: int, version: int) -> Iterator[Case]:
    def topic(name: str, count: int, brokers: list[list[int]] | None = None) -> Any:
        given = brokers and [CreatePartitionsRequest.CreatePartitionsAssignment(broker_ids=one) for one in brokers]
        return CreatePartitionsRequest.CreatePartitionsTopic(name=name, count=count, assignments=given)

    def case(what: str, *topics: Any, settle: dict[str, int] | None = None, **more: Any) -> Case:
        request = CreatePartitionsRequest(**{"topics": list(topics), "timeout_ms": 30_000, **more})
        return said(what, request, settle=settle or {})

    grows = f"grows-{version}"
    first = case("only checked", topic(grows, 3), validate_only=True)
    first.before = lambda peer: make_topics(peer, {grows: 2})
    yield first
    yield case("good", topic(grows, 3), settle={grows: 3})
    yield case("with brokers", topic(grows, 5, [[1], [1]]), settle={grows: 5})
    yield case("as many as there are", topic(grows, 5))
    for count in (1, 0, -1):
        yield case(f"{count}", topic(grows, count))
    yield case("unknown topics", topic("nope", 2), topic("a b", 2), topic("", 2), topic("__cluster_metadata", 2))
    for what, brokers in (
        ("too few", [[1]]),
        ("too many", [[1], [1], [1]]),
        ("none", []),
        ("an empty list", [[1], []]),
        ("a broker twice", [[1], [1, 1]]),
        ("an unknown broker", [[1], [9]]),
        ("a negative broker", [[-1], [1]]),
    ):
        yield case(f"with brokers: {what}", topic(grows, 7, brokers), validate_only=True)
    yield case("a topic twice", topic(grows, 6), topic(grows, 7), topic("read", 3), validate_only=True)
    yield case("too many partitions", topic(grows, 10_006), validate_only=True)
    yield case("without time", topic(grows, 6), timeout_ms=0)
    yield case("nothing")


def _delete_topics(key: int, version: int) -> Iterator[Case]:
    def case(what: str, *names: str, settle: dict[str, int] | None = None, **more: Any) -> Case:
        named = {"topics": [DeleteTopicsRequest.DeleteTopicState(name=name) for name in names]} if version >= 6 else {}
        request = DeleteTopicsRequest(
            **{"topic_names": list(names) if version < 6 else [], "timeout_ms": 30_000, **named, **more}
        )
        return said(what, request, settle=settle or {})

    def by(what: str, *states: tuple[str | None, str]) -> Case:
        def build(peer: Peer) -> DeleteTopicsRequest:
            return DeleteTopicsRequest(
                topics=[
                    DeleteTopicsRequest.DeleteTopicState(name=name, topic_id=peer.ids.get(of, NOWHERE) if of else bytes(16))
                    for name, of in states
                ],
                timeout_ms=30_000,
            )

        return Case(what, build)

    names = [f"goes-{version}-{one}" for one in "abc"]
    first = case("nothing")
    first.before = lambda peer: make_topics(peer, dict.fromkeys(names, 1))
    yield first
    yield case("without time", names[0], timeout_ms=0)
    yield case("a name twice", names[0], names[0])
    yield case("good", names[0], settle={names[0]: 0})
    yield case("gone already", names[0])
    yield case("one of two", names[1], "nope", settle={names[1]: 0})
    yield case("bad names", "", "a b", "__cluster_metadata")
    if version >= 6:
        yield by("by name and id", (names[2], names[2]))
        yield by("by neither", (None, ""))
        yield by("by an unknown id", (None, "nope"))
        yield by("by name, and by id", (names[2], ""), (None, names[2]))
        gone = by("by id", (None, names[2]))
        gone.settle = {names[2]: 0}
        yield gone


# ---- configs -----------------------------------------------------------------------------------------------------------------


def _describe_configs(key: int, version: int) -> Iterator[Case]:
    def case(what: str, *resources: tuple[int, str, list[str] | None], **more: Any) -> Case:
        asked = [
            DescribeConfigsRequest.DescribeConfigsResource(resource_type=kind, resource_name=name, configuration_keys=keys)
            for kind, name, keys in resources
        ]
        return said(what, DescribeConfigsRequest(resources=asked, **more))

    yield case("a topic's option", (2, "read", ["retention.ms"]))
    yield case("an option that is set", (2, "stamped", ["message.timestamp.type"]), include_synonyms=True)
    yield case("a topic's options", (2, "read", None))
    yield case("with synonyms", (2, "read", ["retention.ms", "max.message.bytes"]), include_synonyms=True)
    yield case("with documentation", (2, "read", ["retention.ms"]), include_documentation=True)
    yield case("no options", (2, "read", []))
    yield case("an unknown option", (2, "read", ["nope"]))
    yield case("unknown topics", (2, "nope", None), (2, "a b", None), (2, "", None))
    yield case("a broker's options", (4, "1", ["num.partitions", "log.retention.ms", "message.max.bytes"]), include_synonyms=True)
    yield case("the cluster's defaults", (4, "", ["message.max.bytes"]))
    yield case("unknown brokers", (4, "9", None), (4, "x", None), (4, "-1", None))
    yield case("unknown kinds", (3, "x", None), (0, "x", None), (99, "x", None))
    yield case("a topic twice", (2, "read", ["retention.ms"]), (2, "read", ["retention.ms"]))
    yield case("an option twice", (2, "read", ["retention.ms", "retention.ms"]))
    yield case("an option without a name", (2, "read", [""]))
    yield case("a topic and a broker", (2, "read", ["retention.ms"]), (4, "1", ["num.partitions"]))
    yield case("loggers of unknown brokers", (8, "9", None), (8, "x", None), (8, "", None))
    yield case("options of metrics' subscriptions", (16, "nope", None))
    yield case("options of no group", (32, "", None))
    yield case("nothing")


def _alter_configs(key: int, version: int) -> Iterator[Case]:
    def case(what: str, *resources: tuple[int, str, dict[str, str | None]], **more: Any) -> Case:
        asked = [
            AlterConfigsRequest.AlterConfigsResource(
                resource_type=kind,
                resource_name=name,
                configs=[AlterConfigsRequest.AlterableConfig(name=option, value=value) for option, value in options.items()],
            )
            for kind, name, options in resources
        ]
        return said(what, AlterConfigsRequest(resources=asked, **more))

    yield case("good", (2, "altered", {"retention.ms": "-1", "max.message.bytes": "2000000"}))
    yield case("only checked", (2, "altered", {"retention.ms": "7"}), validate_only=True)
    yield case("fewer options", (2, "altered", {"retention.ms": "-1"}))
    yield case("an unknown option", (2, "altered", {"nope": "1"}))
    yield case("a bad value", (2, "altered", {"retention.ms": "soon"}))
    yield case("no value", (2, "altered", {"retention.ms": None}))
    yield case("unknown topics", (2, "nope", {"retention.ms": "7"}), (2, "a b", {}), (2, "", {}))
    yield case("unknown brokers", (4, "9", {"message.max.bytes": "2000000"}), (4, "x", {}))
    yield case("a read-only option of a broker", (4, "1", {"broker.id": "7"}), validate_only=True)
    yield case("an option of all brokers", (4, "", {"message.max.bytes": "2000000"}))
    yield case("no option of all brokers", (4, "", {}))
    yield case("an option without a name", (2, "altered", {"": "1"}))
    yield case("nothing")
    if version == NEWEST_ALTER_CONFIGS:
        for silent in (
            case("unknown kinds", (3, "x", {}), (99, "x", {})),
            case("a topic twice", (2, "altered", {"retention.ms": "-1"}), (2, "altered", {"retention.ms": "-1"})),
        ):
            silent.may_be_silent = True
            yield silent


def _incremental_alter_configs(key: int, version: int) -> Iterator[Case]:
    def case(what: str, *resources: tuple[int, str, list[tuple[str, int, str | None]]], **more: Any) -> Case:
        asked = [
            IncrementalAlterConfigsRequest.AlterConfigsResource(
                resource_type=kind,
                resource_name=name,
                configs=[
                    IncrementalAlterConfigsRequest.AlterableConfig(name=option, config_operation=operation, value=value)
                    for option, operation, value in changes
                ],
            )
            for kind, name, changes in resources
        ]
        return said(what, IncrementalAlterConfigsRequest(resources=asked, **more))

    put, drop, append, subtract = range(4)
    yield case("good", (2, "altered", [("retention.ms", put, "-1"), ("max.message.bytes", put, "2000000")]))
    yield case("a deletion", (2, "altered", [("max.message.bytes", drop, None)]))
    yield case("a deletion of what is not set", (2, "altered", [("segment.ms", drop, None)]))
    yield case("an element more", (2, "altered", [("cleanup.policy", append, "delete")]))
    yield case("an element less", (2, "altered", [("cleanup.policy", subtract, "compact")]))
    yield case("an element more of no list", (2, "altered", [("retention.ms", append, "1")]))
    yield case("an unknown operation", (2, "altered", [("retention.ms", 9, "1")]))
    yield case("only checked", (2, "altered", [("retention.ms", put, "7")]), validate_only=True)
    yield case("an option twice", (2, "altered", [("retention.ms", put, "-1"), ("retention.ms", drop, None)]))
    yield case("an unknown option", (2, "altered", [("nope", put, "1")]))
    yield case("a bad value", (2, "altered", [("retention.ms", put, "soon")]))
    yield case("no value", (2, "altered", [("retention.ms", put, None)]))
    yield case("unknown topics", (2, "nope", [("retention.ms", put, "7")]), (2, "a b", []), (2, "", []))
    yield case("unknown brokers", (4, "9", [("message.max.bytes", put, "2000000")]), (4, "x", []))
    yield case("a read-only option of a broker", (4, "1", [("broker.id", put, "7")]), validate_only=True)
    yield case("an option of all brokers", (4, "", [("message.max.bytes", put, "2000000")]))
    yield case("an option of all brokers goes", (4, "", [("message.max.bytes", drop, None)]))
    yield case("an option of one broker for all", (4, "", [("listeners", put, "PLAINTEXT://:1")]), validate_only=True)
    yield case("loggers", (8, "1", [("nope", put, "INFO")]), (8, "9", [("root", put, "INFO")]), validate_only=True)
    yield case("a logger's unknown level", (8, "1", [("root", put, "LOUD")]), validate_only=True)
    yield case("a logger's element more", (8, "1", [("root", append, "INFO")]), validate_only=True)
    yield case("an option without a name", (2, "altered", [("", put, "1")]))
    yield case("no options", (2, "altered", []))
    yield case("unknown kinds", (3, "x", []), (99, "x", []))
    yield case("a topic twice", (2, "altered", [("retention.ms", put, "-1")]), (2, "altered", [("segment.ms", drop, None)]))
    yield case("nothing")


def _list_config_resources(key: int, version: int) -> Iterator[Case]:
    for kinds in ([], [2], [4], [16], [2, 4], [8], [32], [99], [0]):
        yield said(f"kinds {kinds}", ListConfigResourcesRequest(resource_types=kinds))


CASES: dict[int, Callable[[int, int], Iterator[Case]]] = {
    0: _produce,
    1: _fetch,
    2: _list_offsets,
    3: _metadata,
    18: _api_versions,
    19: _create_topics,
    20: _delete_topics,
    21: _delete_records,
    22: _init_producer_id,
    23: _offset_for_leader_epoch,
    32: _describe_configs,
    33: _alter_configs,
    35: _describe_log_dirs,
    37: _create_partitions,
    44: _incremental_alter_configs,
    60: _describe_cluster,
    61: _describe_producers,
    74: _list_config_resources,
    75: _describe_topic_partitions,
}

# ---- bytes that are no requests ----------------------------------------------------------------------------------------------


def _raw(label: str, key: int, version: int, data: bytes) -> Step:
    return Step(label, key, version, lambda _: data, raw=True)


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _wrong_frames(key: int, name: str, least: int, most: int) -> Iterator[Step]:
    """A version below and one above the range, and in each version lengths and counts that cannot be."""
    request = APIS[key].request_class
    for version in (least - 1, most + 1):
        if version >= 0 and key != 18:
            header = key.to_bytes(2, "big") + version.to_bytes(2, "big") + (7).to_bytes(4, "big") + b"\xff\xff"
            yield _raw(f"{name} v{version} not served", key, version, _framed(header + bytes(20)))
    for version in range(max(least, request.MIN_VERSION), most + 1):
        for what, data in damaged(key, version):
            if (key, what) in NOT_COMPARED:
                continue
            yield _raw(f"{name} v{version} damaged: {what}", key, version, data)


def _no_frames() -> Iterator[Step]:
    yield _raw("bytes: an unknown key", -1, 0, _framed(b"\x7f\x00\x00\x00\x00\x00\x00\x07\xff\xff"))
    yield _raw("bytes: a negative key", -1, 0, _framed(b"\xff\xff\x00\x00\x00\x00\x00\x07\xff\xff"))
    yield _raw("bytes: a size of 0", -1, 0, bytes(4))
    yield _raw("bytes: a negative size", -1, 0, b"\xff\xff\xff\xff")
    yield _raw("bytes: a size of 2 GB", -1, 0, b"\x7f\xff\xff\xff")
    yield _raw("bytes: a header that ends early", -1, 0, _framed(b"\x00\x12\x00\x00"))
    yield _raw("bytes: a client id that ends late", -1, 0, _framed(b"\x00\x12\x00\x00\x00\x00\x00\x07\x00\x50abc"))
    yield _raw(
        "ApiVersions v0 from a client whose id is no UTF-8", 18, 0, _framed(b"\x00\x12\x00\x00\x00\x00\x00\x07\x00\x02\xff\xfe")
    )
    name = b"\x00\x00\x00\x01\x00\x02\xff\xfe\x00"
    yield _raw("Metadata v4 of a topic whose name is no UTF-8", 3, 4, _framed(b"\x00\x03\x00\x04\x00\x00\x00\x07\xff\xff" + name))
    yield _raw("bytes: HTTP", -1, 0, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    yield _raw("bytes: TLS", -1, 0, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500))
    yield _raw("bytes: ApiVersions v99", 18, 99, _framed(b"\x00\x12\x00\x63\x00\x00\x00\x07\xff\xff\x00"))
