"""The composition root: one broker put together from its rooms, started, run and stopped. The only file that knows every room.

`Node` is a broker over whatever environment it is handed: the real one, or the simulator's. `run_up` and `run_broker` run one
as a process of its own.

A start goes: the data directories are locked, the coordinator's journal is read (where the coordinator is not elsewhere), the
listeners are bound (so that a wrong address is known before anything is written); then, as a flow on the reactor, the broker
finds its cluster, loads its logs, registers, and takes part in the controller's election; when every partition that it leads can
be produced to, it begins to accept connections.
A stop goes the other way, and leaves logs closed and marked so. Whatever is wrong with what a person gave is a UsageError.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from fastlog.api.alter_configs import AlterConfigsHandler
from fastlog.api.api_versions import ApiVersionsHandler
from fastlog.api.cold_reads import ColdReads
from fastlog.api.config_changes import ConfigChanges
from fastlog.api.create_partitions import CreatePartitionsHandler
from fastlog.api.create_topics import CreateTopicsHandler
from fastlog.api.delete_records import DeleteRecordsHandler
from fastlog.api.delete_topics import DeleteTopicsHandler
from fastlog.api.describe_cluster import DescribeClusterHandler
from fastlog.api.describe_configs import DescribeConfigsHandler
from fastlog.api.describe_log_dirs import DescribeLogDirsHandler
from fastlog.api.describe_producers import DescribeProducersHandler
from fastlog.api.describe_topic_partitions import DescribeTopicPartitionsHandler
from fastlog.api.fetch import FetchHandler
from fastlog.api.fetch_sessions import FetchSessions
from fastlog.api.group_apis import group_apis
from fastlog.api.incremental_alter_configs import IncrementalAlterConfigsHandler
from fastlog.api.init_producer_id import InitProducerIdHandler
from fastlog.api.list_config_resources import ListConfigResourcesHandler
from fastlog.api.list_offsets import ListOffsetsHandler
from fastlog.api.metadata import MetadataHandler
from fastlog.api.offset_for_leader_epoch import OffsetForLeaderEpochHandler
from fastlog.api.parked import ParkedRequests
from fastlog.api.produce import ProduceHandler
from fastlog.api.registry import Registry
from fastlog.api.server import Limits, Server
from fastlog.api.topic_metrics import BrokerTopicMetrics
from fastlog.config import Config, ListenerAddress, Setting
from fastlog.coordinator.client import CoordinatorClient
from fastlog.coordinator.errors import ConnectionLoss, NoNode, SessionExpired
from fastlog.coordinator.local import LocalClient
from fastlog.coordinator.process import address_of, listen, open_coordinator
from fastlog.coordinator.remote import RemoteClient
from fastlog.coordinator.server import CoordinatorServer
from fastlog.coordinator.service import Coordinator
from fastlog.env import DirectoryLock, Environment, Listener
from fastlog.env.reactor import Pending
from fastlog.errors import FastlogError, UsageError, cannot_listen, cannot_use
from fastlog.groups import classic
from fastlog.groups.appender import Appender
from fastlog.groups.coordinator import GroupCoordinator, GroupOptions
from fastlog.groups.topic import OffsetsTopic, OffsetsTopicOptions
from fastlog.light import log_to_stderr
from fastlog.metadata import layout, registration
from fastlog.metadata.broker_options import BrokerOptions
from fastlog.metadata.config_store import ConfigStore
from fastlog.metadata.controller import FoundPartition
from fastlog.metadata.driver import ControllerDriver
from fastlog.metadata.image import NO_LEADER, Endpoint, Image
from fastlog.metadata.producer_ids import ProducerIds
from fastlog.metadata.topic_plan import TopicPlanner
from fastlog.metadata.view import ClusterView
from fastlog.metrics import Metrics
from fastlog.replication.local_replicas import LocalReplicas
from fastlog.replication.partition_set import PartitionSet
from fastlog.replication.topic_options import TopicOptions, log_config
from fastlog.storage.environment import StorageEnvironment
from fastlog.storage.log_manager import LogManager, StorageConfig
from fastlog.storage.meta_properties import MetaProperties

logger = logging.getLogger(__name__)

COORDINATOR_DIRECTORY: Final = "coordinator"
DEFAULT_COORDINATOR_PORT: Final = 2181
_MS_PER_MINUTE: Final = 60_000
_UNROUTABLE: Final = ("0.0.0.0", "::")

Flow = Generator[Pending[Any], Any, None]
T = TypeVar("T")


class CoordinatorAddress(NamedTuple):
    """Where a coordinator inside a broker's process listens for others; `or_any_port` when `port` is in use."""

    host: str
    port: int
    or_any_port: bool = False


class Node:
    """One broker, with the coordinator inside its process or, by `zookeeper.connect`, elsewhere."""

    def __init__(
        self,
        config: Config,
        environment: Environment,
        coordinator_directory: str | None = None,
        coordinator_address: CoordinatorAddress | None = None,
    ) -> None:
        """Put a broker together; nothing is read or written before `start`.

        The coordinator's directory lies beside the first of `log.dirs` where none is given (once made, beside any of them): never
        in it, where Kafka would take it for a partition.
        """
        self.config = config
        self.environment = environment
        self.metrics = Metrics()
        self.view = ClusterView(Image())
        self.partitions = PartitionSet()
        self.is_ready = False
        self.endpoints: tuple[Endpoint, ...] = ()
        """Where clients are told to reach this broker, one entry for each listener; known once `start` has returned."""
        self._coordinator_directories = (
            tuple(map(_beside, config.log_directories)) if coordinator_directory is None else (coordinator_directory,)
        )
        self._coordinator_address = coordinator_address
        self._coordinator_lock: DirectoryLock | None = None
        self._coordinator_server: CoordinatorServer | None = None
        self.coordinator_listener: Listener | None = None
        """Where clients outside reach the coordinator inside this process, if they do; known once `start` has returned."""
        self._coordinator: Coordinator | None = None
        self._client: CoordinatorClient | None = None
        self._remote: RemoteClient | None = None
        self._driver: ControllerDriver | None = None
        self._server: Server | None = None
        self._groups: GroupCoordinator | None = None
        self._starting: Flow | None = None
        self._stopping: Pending[None] | None = None
        self._store: ConfigStore | None = None
        self._producer_ids: ProducerIds | None = None
        self.options = BrokerOptions(config)
        """The options as they are now, dynamic ones included."""
        self._options = TopicOptions(self.options)
        self.on_lost: list[Callable[[BaseException], object]] = []
        """Called, on a later turn, when only a new start can help: every log directory is fenced, or the journal of the own
        coordinator can no longer be written.
        """
        reactor = environment.reactor
        self.logs = LogManager(
            StorageEnvironment(environment.clock, environment.disk, environment.flusher, environment.random, reactor.call_later),
            _storage_config(config),
            self._options.log_config_for,
        )
        self.logs.on_all_failed = self._lost
        self._topic_metrics = BrokerTopicMetrics(self.metrics)
        self.view.on_change(self._forget_metrics)

    # ---- starting ---------------------------------------------------------------------------------------------------------

    def start(self) -> Pending[None]:
        """Start the broker; completes when clients can produce, and fails, with everything given back, when that cannot be.

        UsageError for what can be told at once: a directory in use or not writable, a corrupt journal, a port in use.
        """
        identity = self.logs.lock()
        try:
            reactor = self.environment.reactor
            self._client = self._open_client(identity)
            self._put_together(self._client)
            self._bind()
        except BaseException:
            self._give_back()
            raise
        started: Pending[None] = reactor.pending()
        self._starting = self._start(identity)

        def settled(outcome: Pending[None]) -> None:
            if self._stopping is not None:
                return
            try:
                outcome.result()
            except Exception as error:
                self._give_back()
                started.fail(error)
            else:
                started.complete(None)

        reactor.spawn(self._starting).then(settled)
        return started

    def _open_client(self, identity: MetaProperties | None) -> CoordinatorClient:
        environment, address = self.environment, self.config.coordinator
        if address is None:
            return LocalClient(environment.reactor, self._open_coordinator(self._find_coordinator(identity)))
        self._remote = RemoteClient(
            environment.reactor,
            environment.random,
            address.servers,
            root=address.root,
            timeout_ms=self.config.integer("zookeeper.session.timeout.ms"),
        )
        return self._remote

    def _find_coordinator(self, identity: MetaProperties | None) -> str:
        """Return the directory of the own coordinator.

        UsageError where one would be made for data of which only a part is there: it would take that for all there is.
        """
        first = self._coordinator_directories[0]
        if identity is None:
            return first
        for path in self._coordinator_directories:
            try:
                if self.environment.disk.exists(path):
                    return path
            except OSError as error:
                raise cannot_use(f"the coordinator's directory {path}", error) from None
        self._refuse_a_part(f"there is no coordinator at {first}")
        return first

    def _refuse_a_part(self, why: str) -> None:
        lacking = self.logs.lacking
        if lacking:
            raise UsageError(
                f"{why}, and log directory {lacking[0]} holds nothing or cannot be used: "
                "mount what is missing, or take that directory out of log.dirs to have topics made of what is in the others"
            )

    def _open_coordinator(self, path: str) -> Coordinator:
        coordinator, self._coordinator_lock = open_coordinator(self.environment, path)
        self._coordinator = coordinator
        coordinator.on_lost.append(lambda: self._lost(coordinator.failed))
        if self._coordinator_address is not None:
            self._coordinator_server = CoordinatorServer(self.environment, self._coordinator, os.path.abspath(path))
            self.coordinator_listener = self._listen_for_coordinator(self._coordinator_server, self._coordinator_address)
        return self._coordinator

    @staticmethod
    def _listen_for_coordinator(server: CoordinatorServer, address: CoordinatorAddress) -> Listener:
        try:
            return listen(server, address.host, address.port)
        except UsageError:
            if not address.or_any_port:
                raise
            return listen(server, address.host, 0)

    def _put_together(self, client: CoordinatorClient) -> None:
        config, environment = self.config, self.environment
        reactor, view, partitions = environment.reactor, self.view, self.partitions
        replicas = LocalReplicas(reactor, self.logs, partitions, self._options, config.broker_id)
        driver = self._driver = ControllerDriver(reactor, client, environment.random, view, replicas, config.broker_id)
        planner = TopicPlanner(
            environment.random,
            config.integer("num.partitions"),
            config.integer("default.replication.factor"),
            lambda options: log_config(self.options.config, options),
        )
        store = self._store = ConfigStore(reactor, client, self._config_changed)
        changes = ConfigChanges(self.options, view, store)
        parked_produces = ParkedRequests(reactor, self.metrics, "Produce")
        parked_fetches = ParkedRequests(reactor, self.metrics, "Fetch")
        sessions = FetchSessions(
            environment.clock,
            environment.random,
            self.metrics,
            config.integer("max.incremental.fetch.session.cache.slots"),
        )
        produce = ProduceHandler(partitions, view, parked_produces, self._topic_metrics)
        appender = Appender(reactor, config.integer("offsets.commit.timeout.ms"))
        offsets_topic = OffsetsTopic(reactor, view, planner, driver, _offsets_topic_options(config))
        groups = self._groups = GroupCoordinator(
            reactor, environment.random, view, partitions, appender, _group_options(config), self.metrics
        )
        producer_ids = self._producer_ids = ProducerIds(reactor, client, config.broker_id)
        registry = Registry()
        for handler in (
            produce,
            FetchHandler(
                partitions,
                view,
                sessions,
                parked_fetches,
                ColdReads(environment.flusher),
                self._topic_metrics,
                config.integer("fetch.max.bytes"),
            ),
            ListOffsetsHandler(reactor, partitions, view),
            MetadataHandler(reactor, view, planner, driver, auto_create=config.boolean("auto.create.topics.enable")),
            ApiVersionsHandler(registry),
            CreateTopicsHandler(reactor, self.options, view, planner, driver),
            DeleteTopicsHandler(reactor, view, driver, is_enabled=config.boolean("delete.topic.enable")),
            InitProducerIdHandler(reactor, producer_ids),
            DescribeClusterHandler(view),
            CreatePartitionsHandler(reactor, view, planner, driver),
            DeleteRecordsHandler(partitions, view),
            OffsetForLeaderEpochHandler(partitions, view),
            DescribeTopicPartitionsHandler(view, config.integer("max.request.partition.size.limit")),
            DescribeLogDirsHandler(reactor, self.logs, os.path.abspath),
            DescribeProducersHandler(partitions, view),
            DescribeConfigsHandler(reactor, self.options, view),
            AlterConfigsHandler(reactor, changes),
            IncrementalAlterConfigsHandler(reactor, changes),
            ListConfigResourcesHandler(view),
        ):
            registry.add(handler.api())
        for api in group_apis(reactor, view, groups, offsets_topic):
            registry.add(api)
        server = self._server = Server(reactor, environment.network, registry, self.metrics, _limits(config), accepting=False)

        def options_changed(config: Config) -> None:
            server.limit_connections(config.integer("max.connections"), config.integer("max.connections.per.ip"))
            self.logs.config = _storage_config(config)
            replicas.configure_all()

        self.options.on_change(options_changed)
        for hook in (
            self.logs.commit_staged,
            produce.answer_staged,
            appender.settle,
            parked_produces.wake,
            parked_fetches.wake,
            self._server.flush,
        ):
            reactor.at_turn_end(hook)
        reactor.after_turn(self._server.serve_line)
        self._add_gauges()

    def _bind(self) -> None:
        assert self._server is not None
        backlog = self.config.integer("socket.listen.backlog.size")
        endpoints = []
        for address, advertised in zip(self.config.listeners, self.config.advertised_listeners, strict=True):
            if advertised.host in _UNROUTABLE:
                raise UsageError(
                    f"listener {address} is reached by no one at {advertised.host}: "
                    f"set advertised.listeners={address.name}://HOST:{address.port} to the name that clients use"
                )
            listener = self._listen(address, backlog)
            endpoints.append(Endpoint(address.name, advertised.host or os.uname().nodename, advertised.port or listener.port))
        self.endpoints = tuple(endpoints)

    def _listen(self, address: ListenerAddress, backlog: int) -> Listener:
        assert self._server is not None
        try:
            return self._server.listen(address.name, address.host, address.port, backlog)
        except OSError as error:
            raise cannot_listen("the broker", address.host, address.port, error) from None

    def _start(self, identity: MetaProperties | None) -> Flow:
        client, driver, server, producer_ids = self._client, self._driver, self._server, self._producer_ids
        assert client is not None
        assert producer_ids is not None
        assert driver is not None
        assert server is not None
        assert self._store is not None
        environment, config = self.environment, self.config
        cluster_id, has_had_topics = yield from self._insist(partial(self._find_cluster, client, identity))
        self.view.publish(self.view.image.with_cluster_id(cluster_id))
        self.logs.identify(cluster_id, config.broker_id)
        yield from self._insist(self._store.start)
        yield from self._insist(self._learn_broker_options)
        yield from self._insist(partial(self._learn_topic_options, client))
        loaded: Pending[None] = environment.reactor.pending()
        self.logs.load(loaded.settle)
        yield loaded
        found = [
            FoundPartition(
                log.topic, log.partition, log.topic_id, log.leader_epochs.latest, self.logs.is_twice(log.topic, log.partition)
            )
            for log in self.logs
        ]
        seen = [one for _, logs in self.logs.directories() for log in logs for one in log.producer_ids]
        yield from self._insist(partial(producer_ids.begin_behind, seen))
        yield from self._insist(partial(self._register, client))
        # A coordinator elsewhere knows all topics but those that a cluster brings along as its first broker starts on it. That
        # may take some attempts: one is refused, or killed, when it has brought the cluster's id and no topics yet.
        may_adopt = self._coordinator is not None or not has_had_topics
        register = partial(self._register, client)
        yield from self._insist(partial(self._join, driver, found, may_adopt, register))
        self.logs.start()
        server.start_accepting()
        self.is_ready = True

    def _insist(self, step: Callable[[], Generator[Pending[Any], Any, T]]) -> Generator[Pending[Any], Any, T]:
        """Take a step of the start, and take it again when the connection or the session is lost meanwhile.

        UsageError when the coordinator cannot be reached.
        """
        while True:
            if self._remote is not None:
                yield from self._reach(self._remote)
            try:
                return (yield from step())
            except (ConnectionLoss, SessionExpired):
                if self._remote is None:
                    raise

    def _reach(self, remote: RemoteClient) -> Flow:
        option = "zookeeper.connection.timeout.ms"
        timeout_ms = self.config.integer("zookeeper.session.timeout.ms" if self.config[option] is None else option)
        try:
            yield remote.opened(timeout_ms)
        except ConnectionLoss as error:
            connect = self.config.text("zookeeper.connect")
            raise UsageError(
                f"the coordinator at {connect} cannot be reached ({error}): start it, or say where it is "
                "(zookeeper.connect, --coordinator)"
            ) from None

    def _find_cluster(
        self, client: CoordinatorClient, identity: MetaProperties | None
    ) -> Generator[Pending[Any], Any, tuple[str, bool]]:
        """Return the cluster's id, and whether the coordinator has ever had a topic of it."""
        config, reactor = self.config, self.environment.reactor
        if self._remote is not None:
            yield self._remote.make_root()
        yield from registration.make_persistent_paths(client)
        is_new = (yield client.exists(layout.CLUSTER_ID)) is None
        if self._remote is not None and is_new and identity is not None:
            self._refuse_a_part(f"the coordinator at {config.text('zookeeper.connect')} knows no cluster")
        known = None if identity is None else identity.cluster_id
        cluster_id = yield from registration.settle_cluster_id(client, self.environment.random, known)
        if self._remote is not None and identity is None:
            wait_ms = config.integer("zookeeper.session.timeout.ms") * 3 // 2
            yield from registration.wait_for_no_other(reactor, client, config.broker_id, wait_ms)
        _, topics = yield client.children(layout.TOPICS)
        return cluster_id, topics.cversion > 0

    def _register(self, client: CoordinatorClient) -> Flow:
        yield from registration.register(client, self.config.broker_id, self.endpoints, self.environment.clock.wall_ms())

    def _join(self, driver: ControllerDriver, found: list[FoundPartition], may_adopt: bool, register: Callable[[], Flow]) -> Flow:
        yield driver.start(found, may_adopt=may_adopt, is_all=not self.logs.lacking, register=register)

    def _learn_broker_options(self) -> Flow:
        assert self._store is not None
        cluster = yield from self._store.read(layout.broker_entity(None))
        broker = yield from self._store.read(layout.broker_entity(self.config.broker_id))
        self.options.learn(cluster, broker)

    def _config_changed(self, entity: layout.Entity) -> Pending[None] | None:
        """Put in force what was altered; Kafka's other kinds (users, clients, addresses) have no options here."""
        assert self._driver is not None
        if entity.kind == "topics":
            return self._driver.read_topic_config(entity.name)
        if entity in (layout.broker_entity(None), layout.broker_entity(self.config.broker_id)):
            return self.environment.reactor.spawn(self._learn_broker_options())
        return None

    def _learn_topic_options(self, client: CoordinatorClient) -> Flow:
        """Logs are loaded under their topics' options, so these come before everything else of the cluster's metadata."""
        names, _ = yield client.children(layout.TOPIC_CONFIGS)
        for name, answer in [(name, client.get(layout.topic_config_path(name))) for name in names]:
            try:
                data, _ = yield answer
                self._options.learn(name, layout.decode_config(layout.topic_entity(name), data))
            except NoNode:
                continue
            except layout.BadZnode as error:
                logger.error("%s", error)

    def _lost(self, why: BaseException | None) -> None:
        if self._stopping is None:  # what cannot be written by a stop is for the log, and for the next start
            for callback in self.on_lost:
                self.environment.reactor.call_soon(callback, why)

    # ---- stopping ---------------------------------------------------------------------------------------------------------

    def stop(self) -> Pending[None]:
        """Stop the broker in order: no more requests, logs flushed and closed, the registration gone, the coordinator closed.

        A broker that is still starting is given up at once: what was not looked at cannot be marked as cleanly closed.
        """
        if self._stopping is None:
            if self.is_ready:
                self._stopping = self.environment.reactor.spawn(self._stop())
            else:
                self._stopping = self.environment.reactor.pending()
                self._give_back()
                self._stopping.complete(None)
            self.is_ready = False
        return self._stopping

    def _stop(self) -> Flow:
        if self._groups is not None:
            self._groups.close()
        if self._server is not None:
            self.logs.commit_staged()
            self._server.flush()
            self._server.close()
        if self._store is not None:
            self._store.close()
        if self._driver is not None:
            self._driver.close()
        self.logs.close()
        try:
            if self._client is not None and (self._coordinator is None or self._coordinator.failed is None):
                closed = self._client.close()
                if self._coordinator is not None:
                    closed = self._coordinator.close()  # with what the client wrote; where there is no room, it waits for none
                yield closed
        except (OSError, FastlogError) as error:
            logger.error("the coordinator was not closed cleanly: %s", error)
        finally:
            if self._coordinator_server is not None:
                self._coordinator_server.close()
            if self._coordinator_lock is not None:
                self._coordinator_lock.release()

    def _give_back(self) -> None:
        """Undo a start that failed or is broken off: nothing stays locked, bound or open."""
        if self._starting is not None:
            self._starting.close()
        if self._groups is not None:
            self._groups.close()
        if self._server is not None:
            self._server.close()
        if self._store is not None:
            self._store.close()
        if self._driver is not None:
            self._driver.close()
        if self._remote is not None:
            self._remote.abandon()
        self.logs.release()
        if self._coordinator_server is not None:
            self._coordinator_server.close()
        if self._coordinator_lock is not None:
            self._coordinator_lock.release()

    # ---- metrics ----------------------------------------------------------------------------------------------------------

    def _add_gauges(self) -> None:
        gauge, view, partitions = self.metrics.gauge, self.view, self.partitions
        broker_id = self.config.broker_id

        def controller(name: str) -> str:
            return f"kafka.controller:type=KafkaController,name={name}"

        def replica_manager(name: str) -> str:
            return f"kafka.server:type=ReplicaManager,name={name}"

        gauge(controller("ActiveControllerCount"), lambda: int(view.image.controller_id == broker_id))
        gauge(controller("ActiveBrokerCount"), lambda: len(view.image.brokers))
        gauge(controller("GlobalTopicCount"), lambda: len(view.image.topics))
        gauge(
            controller("GlobalPartitionCount"),
            lambda: sum(len(topic.partitions) for topic in view.image.topics.values()),
        )
        gauge(
            controller("OfflinePartitionsCount"),
            lambda: sum(one.leader == NO_LEADER for topic in view.image.topics.values() for one in topic.partitions),
        )
        gauge(replica_manager("PartitionCount"), lambda: len(partitions))
        gauge(replica_manager("LeaderCount"), lambda: sum(partition.is_leader for partition in partitions))

    def _forget_metrics(self, before: Image, now: Image) -> None:
        for topic in before.topics:
            if topic not in now.topics:
                self._topic_metrics.forget(topic)


def _beside(log_directory: str) -> str:
    parent = os.path.dirname(log_directory.rstrip("/"))
    return os.path.join(parent, COORDINATOR_DIRECTORY)


def _limits(config: Config) -> Limits:
    return Limits(
        max_request_bytes=config.integer("socket.request.max.bytes"),
        max_connections=config.integer("max.connections"),
        max_connections_per_ip=config.integer("max.connections.per.ip"),
        max_idle_ms=config.integer("connections.max.idle.ms"),
        queued_max_request_bytes=config.integer("queued.max.request.bytes"),
    )


def _group_options(config: Config) -> GroupOptions:
    return GroupOptions(
        min_session_timeout_ms=config.integer("group.min.session.timeout.ms"),
        max_session_timeout_ms=config.integer("group.max.session.timeout.ms"),
        limits=classic.Limits(
            max_size=config.integer("group.max.size"),
            initial_rebalance_delay_ms=config.integer("group.initial.rebalance.delay.ms"),
        ),
        max_metadata_bytes=config.integer("offset.metadata.max.bytes"),
        retention_ms=config.integer("offsets.retention.minutes") * _MS_PER_MINUTE,
        retention_check_interval_ms=config.integer("offsets.retention.check.interval.ms"),
    )


def _offsets_topic_options(config: Config) -> OffsetsTopicOptions:
    return OffsetsTopicOptions(
        partitions=config.integer("offsets.topic.num.partitions"),
        replication_factor=config.integer("offsets.topic.replication.factor"),
        segment_bytes=config.integer("offsets.topic.segment.bytes"),
    )


def _storage_config(config: Config) -> StorageConfig:
    return StorageConfig(
        log_dirs=config.log_directories,
        log_retention_check_interval_ms=config.integer("log.retention.check.interval.ms"),
        log_flush_offset_checkpoint_interval_ms=config.integer("log.flush.offset.checkpoint.interval.ms"),
        log_flush_start_offset_checkpoint_interval_ms=config.integer("log.flush.start.offset.checkpoint.interval.ms"),
        producer_id_expiration_ms=config.integer("producer.id.expiration.ms"),
    )


# ---- a process of its own -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What `fastlog up` is told. `settings` stand over everything that the command itself sets."""

    host: str = "127.0.0.1"
    port: int = 9092
    data: str = "fastlog-data"
    coordinator: str | None = None
    coordinator_port: int | None = None
    """None: ZooKeeper's, or any free one where that is in use or `port` is 0."""
    settings: tuple[Setting, ...] = ()


def run_up(options: UpOptions) -> int:
    """Run one broker with data under `DATA/broker-1`, its own coordinator's under `DATA/coordinator`; return the exit code."""
    where = "fastlog up"
    host = f"[{options.host}]" if ":" in options.host else options.host
    config = Config(
        [
            Setting("broker.id", "1", where),
            Setting("listeners", f"PLAINTEXT://{host}:{options.port}", where),
            Setting("log.dirs", os.path.join(options.data, "broker-1"), where),
            *([] if options.coordinator is None else [Setting("zookeeper.connect", options.coordinator, "--coordinator")]),
            Setting("group.initial.rebalance.delay.ms", "0", where),
            Setting("offsets.topic.num.partitions", "16", where),
            *options.settings,
        ]
    )
    port, is_open = options.coordinator_port, options.coordinator_port is None
    if port is None:
        port = DEFAULT_COORDINATOR_PORT if options.port else 0
    address = CoordinatorAddress(options.host, port, is_open)
    return run_broker(config, os.path.join(options.data, COORDINATOR_DIRECTORY), address)


def run_broker(
    config: Config, coordinator_directory: str | None = None, coordinator_address: CoordinatorAddress | None = None
) -> int:
    """Run a broker until it is asked to stop; return the exit code. UsageError when it cannot start.

    When clients can produce it prints one line and flushes. It says where the coordinator is, and in which process: the own one
    when it is inside the broker (`in-process` when it listens on no port), `none` when it is elsewhere. A broker that can store
    nothing any more ends, with the error that keeps it from that: whoever starts it again learns what is on its disks.
    """
    from fastlog.env.signals import on_stop_request  # noqa: PLC0415 - not for a simulated node
    from fastlog.env.system import SystemEnvironment  # noqa: PLC0415

    log_to_stderr()
    environment = SystemEnvironment(
        receive_buffer_bytes=config.integer("socket.receive.buffer.bytes"),
        send_buffer_bytes=config.integer("socket.send.buffer.bytes"),
    )
    reactor = environment.reactor
    node = Node(config, environment, coordinator_directory, coordinator_address)
    outcome: list[BaseException | None] = []

    def ended(settled: Pending[None]) -> None:
        try:
            settled.result()
        except BaseException as error:
            outcome.append(error)
        else:
            outcome.append(None)
        reactor.stop()

    def started(settled: Pending[None]) -> None:
        try:
            settled.result()
        except BaseException:
            ended(settled)
            return
        gc.collect()  # what the start left
        environment.started()
        bootstrap = ",".join(f"{_bracketed(endpoint.host)}:{endpoint.port}" for endpoint in node.endpoints)
        coordinator, coordinator_pid = "in-process", str(os.getpid())
        if config.coordinator is not None:
            coordinator, coordinator_pid = config.text("zookeeper.connect").replace(" ", ""), "none"
        elif node.coordinator_listener is not None:
            coordinator = address_of(node.coordinator_listener)
        try:
            print(f"ready bootstrap={bootstrap} {coordinator=!s} pids={os.getpid()} {coordinator_pid=!s}", flush=True)
        except OSError as error:  # whoever waits for that line waits in vain
            outcome.append(error)
            node.stop().then(ended)

    def lost(why: BaseException) -> None:
        outcome.append(why)
        node.stop().then(ended)

    def unhandled(error: BaseException) -> None:
        logger.error("a mistake in the broker; it goes on without what was being done", exc_info=error)

    try:
        node.on_lost.append(lost)
        node.start().then(started)
        on_stop_request(reactor.call_from_thread, lambda: node.stop().then(ended))
        reactor.on_unhandled = unhandled
        reactor.run()
    finally:
        environment.close()
    if outcome and outcome[0] is not None:
        raise outcome[0]
    return 0


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
