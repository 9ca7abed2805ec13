"""A broker's metadata over a coordinator in memory."""

import pytest


class KeptReplicas:
    """Stands for a broker's partitions: remembers its orders, fails where the test says."""

    def __init__(self, reactor):
        self._reactor = reactor
        self.leading = {}
        self.deleted = []
        self.failing = {}
        self.keeping = {}
        self.orders = []

    def lead(self, changes):
        self.orders.append([(change.topic.name, change.partition_index) for change in changes])
        failed = {}
        for change in changes:
            key = change.topic.name, change.partition_index
            if key in self.failing:
                failed[key] = self.failing[key]
            else:
                self.leading[key] = change
        outcome = self._reactor.pending()
        outcome.complete(failed)
        return outcome

    def delete(self, topics):
        for topic in topics:
            self.deleted.append(topic.name)
            for index in range(len(topic.partitions)):
                self.leading.pop((topic.name, index), None)
        outcome = self._reactor.pending()
        errors = [self.keeping[topic.name] for topic in topics if topic.name in self.keeping]
        outcome.settle(None, errors[0] if errors else None)
        return outcome


def remote_like_client(reactor, coordinator):
    """Return one of several sessions of a coordinator in memory, that can be lost as one over a wire can."""
    from fastlog.coordinator.client import SessionState
    from fastlog.coordinator.errors import ConnectionLoss
    from fastlog.coordinator.local import LocalClient

    class RemoteLikeClient(LocalClient):
        def __init__(self):
            self.closed = False
            self.answers_lost = 0
            self._reactor, self._coordinator, self._listeners = reactor, coordinator, []
            self._open()

        def _open(self):
            self.session_id, opened = self._coordinator.open_session(18_000)
            opened.then(self._opened)

        def _write(self, operations, convert):
            answer = super()._write(operations, convert)
            if not self.answers_lost:
                return answer
            self.answers_lost -= 1
            return self._refused(ConnectionLoss(detail="carried out, but the answer was lost"))

        def lose_connection(self):
            """Be away for a moment; the session stays."""
            self._tell(SessionState.DISCONNECTED)
            self._tell(SessionState.CONNECTED)

        def expire(self):
            """Lose the session with all that is its own, and begin the next."""
            self._end()
            self._tell(SessionState.DISCONNECTED)
            self._tell(SessionState.EXPIRED)
            self._open()

        def crash(self):
            """End for good, as with the process; the coordinator has found out by now."""
            self._end()
            self.closed = True

        def _end(self):
            self._coordinator.watches.forget(lambda watcher: watcher.client is self)
            self._coordinator.close_session(self.session_id)

    return RemoteLikeClient()


class OneBroker:
    """A broker's metadata over a coordinator in memory, up to where `node` would start its logs."""

    def __init__(self, machine, broker_id=1, coordinator=None):
        from fastlog.coordinator.local import LocalClient
        from fastlog.coordinator.service import Coordinator
        from fastlog.metadata.driver import ControllerDriver
        from fastlog.metadata.image import Endpoint, Image
        from fastlog.metadata.view import ClusterView

        self.machine = machine
        self.broker_id = broker_id
        self.endpoints = (Endpoint("PLAINTEXT", "127.0.0.1", 9092),)
        self.coordinator = coordinator or Coordinator(machine.reactor, machine.disk, machine.flusher, machine.random, "/c")
        if coordinator is None:
            self.client = LocalClient(machine.reactor, self.coordinator)
        else:
            self.client = remote_like_client(machine.reactor, coordinator)
        self.view = ClusterView(Image())
        self.replicas = KeptReplicas(machine.reactor)
        self.driver = ControllerDriver(machine.reactor, self.client, machine.random, self.view, self.replicas, broker_id)

    def start(self, found=(), known_cluster_id=None):
        from fastlog.metadata import registration

        def flow():
            yield from registration.make_persistent_paths(self.client)
            cluster_id = yield from registration.settle_cluster_id(self.client, self.machine.random, known_cluster_id)
            self.view.publish(self.view.image.with_cluster_id(cluster_id))
            yield from self.register()
            yield self.driver.start(found, register=self.register)

        self.machine.wait(self.machine.reactor.spawn(flow()))
        return self

    def register(self):
        from fastlog.metadata import registration

        yield from registration.register(self.client, self.broker_id, self.endpoints, 1_700_000_000_000)

    def new_topic(self, name, partitions=1, config=None):
        from fastlog.metadata.controller import NewTopic
        from fastlog.metadata.registration import new_id

        return NewTopic(name, new_id(self.machine.random), ((self.broker_id,),) * partitions, config or {})

    def create(self, name, partitions=1, config=None):
        return self.machine.wait(self.driver.create_topic(self.new_topic(name, partitions, config)))

    def znodes(self):
        return {path: node.data for path, node in self.coordinator._tree.nodes.items()}


@pytest.fixture
def one_broker(machine):
    return OneBroker(machine)


@pytest.fixture
def new_metadata_broker():
    return OneBroker
