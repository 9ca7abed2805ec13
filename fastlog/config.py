"""Every option of a broker, in one table: Kafka's name, type, default, unit, bounds, topic-level name, dynamic or not.

Only options that fastlog honours are in the table. A known option of Kafka that it does not honour is refused by name with the
reason, an unknown one with the nearest name: nothing is parsed and then ignored. Names, types and bounds are those of Kafka
4.3.1's configuration reference; where a default differs, the doc line says so. Imports only `errors` and `properties`.

A value is `int`, `bool`, `str`, a tuple of `str`, or None where the option was not set and another one stands in for it.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from fastlog.errors import UsageError
from fastlog.properties import parse_properties

Value = int | bool | str | tuple[str, ...] | None
Kind = Literal["short", "int", "long", "boolean", "string", "list"]
Dynamic = Literal["no", "broker", "cluster"]
"""Who may change an option while the broker runs: nobody, for one broker, or for all at once (Kafka's update modes)."""


class Source(enum.IntEnum):
    """Who said a value, the strongest first; the numbers are those of Kafka's answers."""

    TOPIC = 1
    BROKER = 2
    """This broker's dynamic option, in `/config/brokers/ID`."""
    CLUSTER = 3
    """All brokers' dynamic option, in `/config/brokers/<default>`."""
    STATIC = 4
    """The broker's file or command line."""
    DEFAULT = 5


INT_MAX: Final = (1 << 31) - 1
LONG_MAX: Final = (1 << 63) - 1
_RANGES: Final = {"short": (-32_768, 32_767), "int": (-INT_MAX - 1, INT_MAX), "long": (-LONG_MAX - 1, LONG_MAX)}
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}")
_MS_PER_MINUTE: Final = 60_000
_MS_PER_HOUR: Final = 3_600_000
_MIB: Final = 1 << 20


class Option(NamedTuple):
    """One row of the table.

    `low`, `high`, `gap` (a number between them that is none) and `choices` bound the value. `topic` is the topic-level name of
    the same setting; several may share one (`log.retention.ms`, `.minutes`, `.hours`): the first in the table's order that is set
    wins, times `factor`.
    """

    name: str
    kind: Kind
    default: Value
    doc: str
    unit: str = ""
    low: int | None = None
    high: int | None = None
    choices: tuple[str, ...] = ()
    topic: str | None = None
    factor: int = 1
    dynamic: Dynamic = "no"
    may_be_empty: bool = False
    gap: int | None = None

    def parse(self, text: str) -> Value:
        """Return the value that `text` means; ValueError says what is wrong with it and what would be right."""
        text = text.strip()
        if self.kind == "boolean":
            if text.lower() not in ("true", "false"):
                raise ValueError(f"wants true or false, not {text!r}")
            if self.choices and text.lower() not in self.choices:
                raise ValueError(f"wants {' or '.join(self.choices)}, not {text!r}{_why_not(self.name, text.lower())}")
            return text.lower() == "true"
        if self.kind in _RANGES:
            return self._parse_integer(text)
        parts = tuple(part.strip() for part in text.split(",")) if self.kind == "list" else (text,)
        if parts == ("",):
            if self.may_be_empty:
                return ()
            raise ValueError("must not be empty")
        if self.choices:
            parts = tuple(dict.fromkeys(parts))
        for part in parts:
            if not part:
                raise ValueError(f"has an empty entry in {text!r}")
            if self.choices and part not in self.choices:
                raise ValueError(f"wants {' or '.join(self.choices)}, not {part!r}{_why_not(self.name, part)}")
        return parts if self.kind == "list" else text

    def _parse_integer(self, text: str) -> int:
        if not _INTEGER.fullmatch(text):
            raise ValueError(f"wants a whole number{f' of {self.unit}' if self.unit else ''}, not {text!r}")
        least, most = _RANGES[self.kind]
        low = least if self.low is None else self.low
        high = most if self.high is None else self.high
        value = int(text)
        if value < low:
            raise ValueError(f"wants at least {low}{f' {self.unit}' if self.unit else ''}, not {value}")
        if value > high:
            raise ValueError(f"wants at most {high}{f' {self.unit}' if self.unit else ''}, not {value}")
        if value == self.gap:
            raise ValueError(f"has no {value}: it wants {low} to {high} but that")
        return value


# fmt: off
OPTIONS: Final[Mapping[str, Option]] = {option.name: option for option in (
    # -- the broker and its listeners ---------------------------------------------------------------------------------------
    Option("broker.id", "int", 1, "This broker's number in its cluster, kept in meta.properties. Kafka has no default.", low=0),
    Option("node.id", "int", None, "Kafka 4's name of broker.id; when both are set they must be equal.", low=0),
    Option("listeners", "list", ("PLAINTEXT://127.0.0.1:9092",), "NAME://HOST:PORT to listen on; an empty HOST is every address, "
           "port 0 a free port. Kafka's default listens on every address."),
    Option("advertised.listeners", "list", None, "NAME://HOST:PORT that clients are told; unset: what `listeners` says."),
    Option("listener.security.protocol.map", "list", ("PLAINTEXT:PLAINTEXT",), "NAME:PROTOCOL for each listener's name; the only "
           "protocol as yet is PLAINTEXT."),
    # -- the coordinator (Kafka's names up to 3.9) --------------------------------------------------------------------------
    Option("zookeeper.connect", "string", None, "HOST:PORT,HOST:PORT.../ROOT of the ZooKeeper that holds the cluster's metadata; "
           "unset: a coordinator inside the broker."),
    Option("zookeeper.session.timeout.ms", "int", 18_000, "A broker that the coordinator does not hear from for so long is gone.",
           unit="ms", low=1),
    Option("zookeeper.connection.timeout.ms", "int", None, "A start gives up when no coordinator answers for so long; unset: "
           "zookeeper.session.timeout.ms.", unit="ms", low=1),
    # -- limits of connections and requests ---------------------------------------------------------------------------------
    Option("socket.request.max.bytes", "int", 100 * _MIB, "Largest request accepted; a larger one closes its connection.",
           unit="bytes", low=1),
    Option("socket.receive.buffer.bytes", "int", -1, "Kernel's receive buffer of a connection; -1: the system's default, that "
           "grows with the load. Kafka's default is 102400.", unit="bytes", low=-1),
    Option("socket.send.buffer.bytes", "int", -1, "Kernel's send buffer of a connection; -1: the system's default, that "
           "grows with the load. Kafka's default is 102400.", unit="bytes", low=-1),
    Option("socket.listen.backlog.size", "int", 50, "Connections that may wait to be accepted.", low=1),
    Option("max.connections", "int", 20_000, "Connections at a time; more wait to be accepted. Kafka has no limit.",
           low=0, dynamic="cluster"),
    Option("max.connections.per.ip", "int", 10_000, "Connections at a time from one address; others are closed. Kafka: no limit.",
           low=0, dynamic="cluster"),
    Option("connections.max.idle.ms", "long", 600_000, "A connection that is idle for longer is closed.", unit="ms"),
    Option("queued.max.request.bytes", "long", 256 * _MIB, "Bytes of requests and answers in flight; past it only small requests "
           "are read. Kafka has no limit (-1).", unit="bytes", low=-1),
    Option("fetch.max.bytes", "int", 55 * _MIB, "Most bytes of records in one answer to a fetch.", unit="bytes", low=1024),
    Option("max.request.partition.size.limit", "int", 2_000, "Most partitions in one answer to DescribeTopicPartitions.", low=1),
    Option("max.incremental.fetch.session.cache.slots", "int", 1000, "Fetch sessions that are kept (KIP-227).", low=0),
    # -- topics -------------------------------------------------------------------------------------------------------------
    Option("num.partitions", "int", 1, "Partitions of a topic whose creator doesn't say.", low=1),
    Option("default.replication.factor", "int", 1, "Replicas of a topic whose creator doesn't say.", low=1, high=32_767),
    Option("min.insync.replicas", "int", 1, "Replicas that must be in sync for a produce with acks=all.",
           low=1, topic="min.insync.replicas", dynamic="cluster"),
    Option("auto.create.topics.enable", "boolean", True, "Create a topic when a client asks for its metadata and allows it."),
    Option("delete.topic.enable", "boolean", True, "Allow topics to be deleted."),
    Option("message.max.bytes", "int", 1_048_588, "Largest record batch that is appended.",
           unit="bytes", low=0, topic="max.message.bytes", dynamic="cluster"),
    Option("compression.type", "string", "producer", "Codec on disk; `producer` leaves batches as they were sent, others are "
           "compressed anew by the broker's one thread.",
           choices=("producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"), topic="compression.type", dynamic="cluster"),
    Option("compression.gzip.level", "int", -1, "Level of a compression.type of gzip, 1 to 9; -1: gzip's own default, 6.",
           low=-1, high=9, gap=0, topic="compression.gzip.level", dynamic="cluster"),
    Option("compression.lz4.level", "int", 9, "Level of a compression.type of lz4.",
           low=1, high=17, topic="compression.lz4.level", dynamic="cluster"),
    Option("compression.zstd.level", "int", 3, "Level of a compression.type of zstd.",
           low=-131_072, high=22, topic="compression.zstd.level", dynamic="cluster"),
    Option("unclean.leader.election.enable", "boolean", False, "Only replicas that are in sync lead.",
           choices=("false",), topic="unclean.leader.election.enable", dynamic="cluster"),
    # -- the log on disk ----------------------------------------------------------------------------------------------------
    Option("log.dirs", "list", None, "Directories of partitions, separated by commas; unset: log.dir."),
    Option("log.dir", "string", "fastlog-data", "Directory of partitions. Kafka's default is /tmp/kafka-logs."),
    Option("log.segment.bytes", "int", 1 << 30, "A segment that would grow past it is rolled. Kafka 4 wants at least 1 MiB.",
           unit="bytes", low=14, topic="segment.bytes", dynamic="cluster"),
    Option("log.roll.ms", "long", None, "A segment is rolled at this age of its first record; unset: log.roll.hours.",
           unit="ms", low=1, topic="segment.ms", dynamic="cluster"),
    Option("log.roll.hours", "int", 168, "Like log.roll.ms, in hours.",
           unit="hours", low=1, topic="segment.ms", factor=_MS_PER_HOUR),
    Option("log.roll.jitter.ms", "long", None, "A roll by age comes up to so much earlier; unset: log.roll.jitter.hours.",
           unit="ms", low=0, topic="segment.jitter.ms", dynamic="cluster"),
    Option("log.roll.jitter.hours", "int", 0, "Like log.roll.jitter.ms, in hours.",
           unit="hours", low=0, topic="segment.jitter.ms", factor=_MS_PER_HOUR),
    Option("log.index.interval.bytes", "int", 4096, "An index entry is added about once in so many bytes.",
           unit="bytes", low=0, topic="index.interval.bytes", dynamic="cluster"),
    Option("log.index.size.max.bytes", "int", 10 * _MIB, "A segment whose index is full is rolled. Kafka wants at least 4.",
           unit="bytes", low=24, topic="segment.index.bytes", dynamic="cluster"),
    Option("log.preallocate", "boolean", False, "Reserve a new segment's blocks before they are written.",
           topic="preallocate", dynamic="cluster"),
    Option("log.cleanup.policy", "list", ("delete",), "What becomes of old segments; empty: they stay for ever.",
           choices=("delete",), topic="cleanup.policy", dynamic="cluster", may_be_empty=True),
    Option("log.retention.bytes", "long", -1, "Oldest segments of a partition beyond this size are deleted; -1: never.",
           unit="bytes", low=-1, topic="retention.bytes", dynamic="cluster"),
    Option("log.retention.ms", "long", None, "Segments whose newest record is older go; -1: never; unset: log.retention.minutes.",
           unit="ms", low=-1, topic="retention.ms", dynamic="cluster"),
    Option("log.retention.minutes", "int", None, "Like log.retention.ms, in minutes; unset: log.retention.hours.",
           unit="minutes", low=-1, topic="retention.ms", factor=_MS_PER_MINUTE),
    Option("log.retention.hours", "int", 168, "Like log.retention.ms, in hours.",
           unit="hours", low=-1, topic="retention.ms", factor=_MS_PER_HOUR),
    Option("log.retention.check.interval.ms", "long", 300_000, "How often retention is looked at.", unit="ms", low=1),
    Option("log.segment.delete.delay.ms", "long", 60_000, "A deleted segment's files stay for so long as .deleted.",
           unit="ms", low=0, topic="file.delete.delay.ms", dynamic="cluster"),
    Option("log.flush.interval.messages", "long", LONG_MAX, "Records after which a partition is flushed; 1 acknowledges nothing "
           "before it is on disk.", unit="records", low=1, topic="flush.messages", dynamic="cluster"),
    Option("log.flush.interval.ms", "long", None, "A record waits no longer for a flush; unset: log.flush.scheduler.interval.ms.",
           unit="ms", low=0, topic="flush.ms", dynamic="cluster"),
    Option("log.flush.scheduler.interval.ms", "long", LONG_MAX, "Stands in for log.flush.interval.ms where that is unset.",
           unit="ms", low=1, topic="flush.ms"),
    Option("log.flush.offset.checkpoint.interval.ms", "int", 60_000, "How often recovery points are written.", unit="ms", low=0),
    Option("log.flush.start.offset.checkpoint.interval.ms", "int", 60_000, "How often log starts are written.", unit="ms", low=0),
    Option("log.message.timestamp.type", "string", "CreateTime", "Whose clock stamps records: the producer's or the broker's.",
           choices=("CreateTime", "LogAppendTime"), topic="message.timestamp.type", dynamic="cluster"),
    Option("log.message.timestamp.before.max.ms", "long", LONG_MAX, "Records stamped further in the past are refused.",
           unit="ms", low=0, topic="message.timestamp.before.max.ms", dynamic="cluster"),
    Option("log.message.timestamp.after.max.ms", "long", 3_600_000, "Records stamped further in the future are refused.",
           unit="ms", low=0, topic="message.timestamp.after.max.ms", dynamic="cluster"),
    # -- idempotent producers -----------------------------------------------------------------------------------------------
    Option("producer.id.expiration.ms", "int", 86_400_000, "A producer's sequences are forgotten after so long without a batch.",
           unit="ms", low=1, dynamic="cluster"),
    # -- consumer groups ----------------------------------------------------------------------------------------------------
    Option("group.min.session.timeout.ms", "int", 6_000, "Least time unheard of before a member is taken for dead.",
           unit="ms"),
    Option("group.max.session.timeout.ms", "int", 1_800_000, "Most time of that kind.", unit="ms"),
    Option("group.initial.rebalance.delay.ms", "int", 3_000, "How long the first rebalance of an empty group waits for more "
           "members. `fastlog up` sets 0.", unit="ms", low=0),
    Option("group.max.size", "int", 10_000, "Most members of a group. Kafka has no limit.", low=1),
    Option("offset.metadata.max.bytes", "int", 4096, "Longest text that may go with a committed offset.", unit="bytes"),
    Option("offsets.commit.timeout.ms", "int", 5_000, "A commit that is not acknowledged in this time fails.", unit="ms", low=1),
    Option("offsets.retention.minutes", "int", 10_080, "Offsets go so long after their group stood empty, or, of consumers that "
           "assign partitions to themselves, after their commit.", unit="minutes", low=1),
    Option("offsets.retention.check.interval.ms", "long", 600_000, "How often that is looked at.", unit="ms", low=1),
    Option("offsets.topic.num.partitions", "int", 50, "Partitions of __consumer_offsets, when it is made. `fastlog up` sets 16.",
           low=1),
    Option("offsets.topic.replication.factor", "short", 1, "Replicas of __consumer_offsets, when made. Kafka's default is 3.",
           low=1),
    Option("offsets.topic.segment.bytes", "int", 100 * _MIB, "Size of its segments, when it is made.", unit="bytes", low=1),
)}

_COMPACTION: Final = "compaction is not built yet"

REFUSED: Final[Mapping[str, str]] = {name: reason for reason, names in (
    # Names, or prefixes of names where they end in a dot; the longest that fits gives the reason.
    ("TLS, SASL and ACLs are not built yet",
     "ssl. sasl. security. delegation.token. principal.builder.class authorizer.class.name super.users early.start.listeners "
     "allow.everyone.if.no.acl.found connections.max.reauth.ms connection.failed.authentication.delay.ms"),
    ("fastlog has no KRaft quorum: metadata is in its coordinator",
     "process.roles controller. metadata. internal.metadata. broker.heartbeat.interval.ms broker.session.timeout.ms unstable. "
     "initial.broker.registration.timeout.ms server.max.startup.time.ms"),
    ("connections to the coordinator have neither TLS nor ACLs yet, and need no tuning",
     "zookeeper.ssl. zookeeper.set.acl zookeeper.clientCnxnSocket zookeeper.max.in.flight.requests zookeeper.metadata."),
    ("broker.id is set, never generated", "broker.id.generation.enable reserved.broker.max.id"),
    ("brokers don't replicate yet",
     "replica. num.replica. inter.broker. leader. follower. controlled.shutdown. broker.rack eligible.leader.replicas.enable "
     "auto.leader.rebalance.enable unclean.leader.election.interval.ms socket.connection.setup. request.timeout.ms "
     "log.dir.failure.timeout.ms"),
    ("groups of the newer protocols are not built yet",
     "group.consumer. group.share. group.streams. group.coordinator.rebalance.protocols share."),
    ("groups need no threads, buffers and batches of their own", "group.coordinator. offsets.load.buffer.size"),
    ("the records of __consumer_offsets are written uncompressed", "offsets.topic.compression.codec"),
    ("transactions are not built yet", "transaction. transactional.id.expiration.ms add.partitions.to.txn."),
    (_COMPACTION, "log.cleaner. delete.retention.ms min.cleanable.dirty.ratio min.compaction.lag.ms max.compaction.lag.ms"),
    ("there is no tiered storage", "remote. log.local. local."),
    ("quotas are not built yet",
     "quota. controller.quota. replication.quota. client.quota. leader.replication. follower.replication. "
     "max.connection.creation.rate max.connections.per.ip.overrides"),
    ("one thread runs a broker: there is nothing to set",
     "num.network.threads num.io.threads background.threads queued.max.requests num.recovery.threads.per.data.dir "
     "fetch.purgatory. producer.purgatory. delete.records.purgatory."),
    ("metrics are not exported yet", "metric. metrics. kafka.metrics. telemetry."),
    ("it names what belongs to the Java virtual machine",
     "auto.include.jmx.reporter create.topic.policy.class.name alter.config.policy.class.name config.providers"),
    ("Kafka 4 no longer has it",
     "inter.broker.protocol.version control.plane.listener.name password.encoder. log.message.downconversion.enable "
     "log.message.format.version log.message.timestamp.difference.max.ms"),
    ("partitions are not moved between directories yet", "alter.log.dirs. cordoned.log.dirs"),
    ("background tasks keep to their own intervals", "log.initial.task.delay.ms producer.id.expiration.check.interval.ms"),
    ("it is internal to Kafka's tests", "internal."),
) for name in names.split()}
# fmt: on

TOPIC_OPTIONS: Final[Mapping[str, tuple[Option, ...]]] = {
    topic: tuple(option for option in OPTIONS.values() if option.topic == topic)
    for topic in dict.fromkeys(option.topic for option in OPTIONS.values() if option.topic is not None)
}
"""For each topic-level name the broker-level options behind it, in the order in which they are asked."""


class Setting(NamedTuple):
    """What somebody wrote: a name, a text, and where (`file:line`, `-o`)."""

    name: str
    text: str
    where: str


class ListenerAddress(NamedTuple):
    """One listener: its name, its host (empty: every address), its port (0: a free one)."""

    name: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.name}://{host}:{self.port}"


class CoordinatorAddress(NamedTuple):
    """Where the coordinator is: its servers (host, port), and the path below which everything lies (empty: the root)."""

    servers: tuple[tuple[str, int], ...]
    root: str


class Config(Mapping[str, Value]):
    """The options of one broker, every one of the table present. Immutable."""

    def __init__(
        self, settings: Iterable[Setting] = (), cluster: Mapping[str, str] | None = None, broker: Mapping[str, str] | None = None
    ) -> None:
        """Check and take `settings`, later ones over earlier ones; UsageError names the first that is wrong.

        Over them stand the dynamic options of all brokers (`cluster`), and over those this broker's own.
        """
        self._settings: Final = tuple(settings)
        self._values: dict[str, Value] = {name: option.default for name, option in OPTIONS.items()}
        self._where: dict[str, str] = {}
        static: dict[str, str] = {}
        for setting in self._settings:
            self._values[setting.name] = _parse(setting)
            self._where[setting.name] = setting.where
            static[setting.name] = setting.text.strip()
        self.layers: Final[Sequence[tuple[Source, Mapping[str, str]]]] = (
            (Source.BROKER, dict(broker or {})),
            (Source.CLUSTER, dict(cluster or {})),
            (Source.STATIC, static),
        )
        """What was said of options, as text, the strongest first."""
        for _, texts in self.layers[1::-1]:
            self._values.update(parse_dynamic_options(texts))
        self._settle_broker_id()
        self.listeners: Final = self._addresses("listeners")
        self.advertised_listeners: Final = self._advertised()
        self.coordinator: Final = self._coordinator()
        """Where the coordinator is, None for one inside the broker."""

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def where(self, name: str) -> str | None:
        """Say where an option was set (`file:line`, `-o`), None when it has its default."""
        return self._where.get(name)

    def integer(self, name: str) -> int:
        """Return an int or long option."""
        value = self._values[name]
        assert isinstance(value, int) and not isinstance(value, bool), name
        return value

    def boolean(self, name: str) -> bool:
        """Return a boolean option."""
        value = self._values[name]
        assert isinstance(value, bool), name
        return value

    def text(self, name: str) -> str:
        """Return a string option."""
        value = self._values[name]
        assert isinstance(value, str), name
        return value

    @property
    def broker_id(self) -> int:
        """`broker.id`, or `node.id` where only that was set."""
        return self.integer("broker.id")

    @property
    def log_directories(self) -> tuple[str, ...]:
        """`log.dirs`, or `log.dir` where that was not set."""
        directories = self._values["log.dirs"]
        return directories if isinstance(directories, tuple) else (self.text("log.dir"),)

    def with_dynamic(self, cluster: Mapping[str, str], broker: Mapping[str, str]) -> Config:
        """Return the options of the same broker under other dynamic ones; UsageError names the first that is wrong."""
        return Config(self._settings, cluster, broker)

    def said(self, name: str) -> list[tuple[Source, str]]:
        """Return everything that was said of an option, the strongest first, and its default last where it has one."""
        found = [(source, texts[name]) for source, texts in self.layers if name in texts]
        text = value_text(OPTIONS[name].default)
        return found if text is None else [*found, (Source.DEFAULT, text)]

    def topic_defaults(self) -> dict[str, Value]:
        """Return the value of every topic-level option for a topic that sets none, under topic-level names."""
        return {name: _first_set(options, self._values) for name, options in TOPIC_OPTIONS.items()}

    def _settle_broker_id(self) -> None:
        node_id = self._values["node.id"]
        if node_id is None:
            self._values["node.id"] = self._values["broker.id"]
            return
        if "broker.id" in self._where and self._values["broker.id"] != node_id:
            raise UsageError(
                f"{self._where['node.id']}: node.id is {node_id} but broker.id is {self._values['broker.id']}; set one of them"
            )
        self._values["broker.id"] = node_id

    def _addresses(self, option: str) -> tuple[ListenerAddress, ...]:
        texts = self._values[option]
        assert isinstance(texts, tuple)
        prefix = f"{self._where[option]}: " if option in self._where else ""
        protocols = self._protocols()
        addresses: list[ListenerAddress] = []
        for text in texts:
            address = _parse_address(text)
            if address is None:
                raise UsageError(f"{prefix}{option} wants NAME://HOST:PORT, not {text!r}")
            if address.name not in protocols:
                raise UsageError(
                    f"{prefix}{option} names {address.name}; add {address.name}:PLAINTEXT to listener.security.protocol.map"
                )
            if any(address.name == other.name for other in addresses):
                raise UsageError(f"{prefix}{option} names {address.name} twice; give each listener a name of its own")
            if address.port and any(address[1:] == other[1:] for other in addresses):
                raise UsageError(
                    f"{prefix}{option} has {address.host}:{address.port} twice; give each listener a port of its own"
                )
            addresses.append(address)
        return tuple(addresses)

    def _advertised(self) -> tuple[ListenerAddress, ...]:
        """Return what each listener of `listeners` is advertised as, in that order; port 0 stands for the port that it gets."""
        if self._values["advertised.listeners"] is None:
            return self.listeners
        advertised = {address.name: address for address in self._addresses("advertised.listeners")}
        prefix = f"{self._where['advertised.listeners']}: "
        for address in advertised.values():
            if address.host in ("", "0.0.0.0", "::"):
                raise UsageError(f"{prefix}advertised.listeners must name a host that clients can reach, not {str(address)!r}")
            if all(address.name != listener.name for listener in self.listeners):
                raise UsageError(f"{prefix}advertised.listeners names {address.name}, which is not in listeners")
        return tuple(advertised.get(listener.name, listener) for listener in self.listeners)

    def _coordinator(self) -> CoordinatorAddress | None:
        option = "zookeeper.connect"
        if self._values[option] is None:
            return None
        address = _parse_coordinator(self.text(option))
        if address is None:
            where = self._where[option]
            name = where if where.startswith("--") else f"{where}: {option}"
            raise UsageError(f"{name} wants HOST:PORT[,HOST:PORT...][/ROOT], not {self.text(option)!r}")
        return address

    def _protocols(self) -> set[str]:
        option = "listener.security.protocol.map"
        entries = self._values[option]
        assert isinstance(entries, tuple)
        prefix = f"{self._where[option]}: " if option in self._where else ""
        names = set()
        for entry in entries:
            name, separator, protocol = entry.partition(":")
            if not separator or not name:
                raise UsageError(f"{prefix}{option} wants NAME:PROTOCOL, not {entry!r}")
            if protocol not in ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"):
                raise UsageError(f"{prefix}{option} names the protocol {protocol!r}; PLAINTEXT is the only one as yet")
            if protocol == "PLAINTEXT":
                names.add(name.upper())
        return names


def read_properties(path: str) -> list[Setting]:
    """Return the settings of a `server.properties` file; UsageError when it cannot be read."""
    try:
        with open(path, "rb") as file:
            text = file.read().decode("utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    return [Setting(key, value, f"{path}:{line}") for key, value, line in parse_properties(text, path)]


def parse_override(text: str, where: str = "-o") -> Setting:
    """Return the setting of a command line's NAME=VALUE."""
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise UsageError(f"{where} wants NAME=VALUE, not {text!r}")
    return Setting(name.strip(), value, where)


def parse_topic_options(texts: Mapping[str, str]) -> dict[str, Value]:
    """Return the values of a topic's own options under topic-level names; UsageError names the first that is wrong."""
    values: dict[str, Value] = {}
    for name, text in texts.items():
        options = TOPIC_OPTIONS.get(name)
        if options is None:
            raise UsageError(_unknown(name, TOPIC_OPTIONS, "topic option"))
        try:
            values[name] = options[0].parse(text)
        except ValueError as error:
            raise UsageError(f"{name} {error}") from None
    return values


def parse_dynamic_options(texts: Mapping[str, str]) -> dict[str, Value]:
    """Return the values of a broker's dynamic options; UsageError names the first that is wrong or cannot be changed so."""
    values = {}
    for name, text in texts.items():
        values[name] = _parse(Setting(name, text, ""))
        if OPTIONS[name].dynamic == "no":
            raise UsageError(f"{name} cannot be changed while a broker runs; set it in its file or by -o and start it again")
    return values


def value_text(value: Value) -> str | None:
    """Return a value as text, as Kafka's answers tell it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(value)
    return None if value is None else str(value)


def why_refused(name: str) -> str | None:
    """Say why an option of Kafka is not honoured, None when it is not among those."""
    fitting = [refused for refused in REFUSED if name == refused or (refused.endswith(".") and name.startswith(refused))]
    return REFUSED[max(fitting, key=len)] if fitting else None


def _parse(setting: Setting) -> Value:
    option = OPTIONS.get(setting.name)
    place = f"{setting.where}: " if setting.where else ""
    if option is None:
        raise UsageError(f"{place}{_unknown(setting.name, OPTIONS, 'option')}")
    try:
        return option.parse(setting.text)
    except ValueError as error:
        raise UsageError(f"{place}{setting.name} {error}") from None


def _first_set(options: tuple[Option, ...], values: Mapping[str, Value]) -> Value:
    for option in options:
        value = values[option.name]
        if value is None:
            continue
        if option.factor != 1:
            assert isinstance(value, int)
            return max(value * option.factor, -1)
        return value
    raise AssertionError(f"no default behind {options[0].topic}")


def _unknown(name: str, known: Iterable[str], noun: str) -> str:
    reason = why_refused(name)
    if reason is not None:
        return f"{name} is not honoured by fastlog: {reason}; remove it"
    if name in TOPIC_OPTIONS:
        return f"{name} is a topic's option; the broker's is {TOPIC_OPTIONS[name][0].name}"
    if name in OPTIONS:
        topic = OPTIONS[name].topic
        return f"{name} is a broker's option; " + (f"a topic's is {topic}" if topic else "topics have no such option")
    import difflib  # noqa: PLC0415 - only for a mistake

    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f"unknown {noun} {name!r}; " + (f"did you mean {nearest[0]}?" if nearest else "remove it")


def _why_not(name: str, value: str) -> str:
    """Say why a value that Kafka knows is no choice here."""
    if name == "log.cleanup.policy" and value == "compact":
        return f" ({_COMPACTION})"
    if name == "unclean.leader.election.enable":
        return " (only replicas that are in sync are elected)"
    return ""


def _parse_coordinator(text: str) -> CoordinatorAddress | None:
    places, slash, root = text.partition("/")
    servers = []
    for place in places.split(","):
        host, colon, port = place.strip().rpartition(":")
        host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) <= 65_535:
            return None
        servers.append((host, int(port)))
    parts = root.split("/") if root else []
    if any(part in ("", ".", "..") or not part.isprintable() for part in parts):
        return None
    return CoordinatorAddress(tuple(servers), slash + root if root else "")


def _parse_address(text: str) -> ListenerAddress | None:
    name, separator, rest = text.partition("://")
    host, colon, port = rest.rpartition(":")
    if not separator or not name or not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        return None
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    return ListenerAddress(name.upper(), host, int(port))
