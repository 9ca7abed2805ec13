"""Whole brokers in the simulator on one coordinator elsewhere, while servers, brokers, machines and connections come and go.

What must hold: never do two brokers lead a partition under one epoch, and never two work as controller under one; a topic
that was acknowledged is there and led in the end, one whose deletion was acknowledged is not; every broker is registered by
its living session, and all have the same image.
"""

import json

import pytest
from zookeeper_model import Ensemble

from fastlog.config import Config, Setting
from fastlog.metadata import follower
from fastlog.metadata.controller import NewTopic
from fastlog.metadata.driver import ControllerDriver
from fastlog.metadata.image import Image
from fastlog.metadata.view import ClusterView
from fastlog.node import Node
from fastlog.sim.entropy import Entropy
from fastlog.sim.machine import Machine

MS = 1_000_000
WALL_START_MS = 1_750_000_000_000
STRIKING_MS = 20_000
PARTITIONS = 3
FAULTS = ("kill server", "lose server", "pause server", "reset", "cut", "kill", "lose", "pause", "clock jump")


class Program:
    def __init__(self, broker, environment):
        self.broker = broker
        self.node = Node(broker.config, environment)
        self.node.start().then(self.started)

    def started(self, outcome):
        try:
            outcome.result()
        except Exception as error:
            self.broker.world.start_failed(self.broker, error)

    def is_ready(self):
        return self.node.is_ready

    def stop(self, stopped):
        def ended(outcome):
            outcome.result()
            stopped()

        self.node.stop().then(ended)

    def partition_states(self):
        return []


class SimulatedMember:
    def __init__(self, world, broker_id):
        self.world, self.broker_id = world, broker_id
        host = f"broker{broker_id}"
        options = {
            "broker.id": str(broker_id),
            "listeners": f"PLAINTEXT://{host}:9092",
            "log.dirs": "/data",
            "zookeeper.connect": "zk1:2181,zk2:2181/fl",
            "zookeeper.session.timeout.ms": "2000",
            "zookeeper.connection.timeout.ms": "20000",
        }
        self.config = Config(Setting(name, text, "test") for name, text in options.items())
        small = world.small
        self.machine = Machine(
            host, small.scheduler, small.wires, world.entropy.fork(host), small.trace, WALL_START_MS, self.boot
        )
        self.machine.on_crash = lambda: world.crashed(self)
        self.machine.start()

    def boot(self, environment):
        return Program(self, environment)

    @property
    def node(self):
        return self.machine.program.node if self.machine.is_ready() else None


class World:
    def __init__(self, small_world, seed, broker_count=2):
        self.small = small_world(seed)
        self.scheduler = self.small.scheduler
        self.entropy = Entropy(seed).fork("brokers")
        self.ensemble = Ensemble(self.scheduler, self.small.wires, self.entropy.fork("ensemble"))
        self.members = [SimulatedMember(self, number + 1) for number in range(broker_count)]
        self.kept, self.deleted, self.asked = {}, {}, 0
        self.led = {}
        self.controllers = {}
        self.is_healed = False
        self.faults = []

    # ---- running

    def run(self):
        self.until(lambda: all(member.node is not None for member in self.members))
        self.scheduler.after(0, self.ask)
        self.scheduler.after(500 * MS, self.strike)
        end_ns = self.scheduler.now_ns + STRIKING_MS * MS
        self.until(lambda: self.scheduler.now_ns >= end_ns)
        self.is_healed = True
        for server in self.ensemble.servers.values():
            server.start()
            server.resume()
        self.until(self.is_settled)
        self.check()
        return self

    def until(self, condition):
        steps = 0
        end_ns = self.scheduler.now_ns + 120_000 * MS
        while steps % 8 or not condition():
            assert self.scheduler.now_ns < end_ns, self.why_not()
            assert self.scheduler.step()
            steps += 1
            self.look()

    def crashed(self, member):
        self.scheduler.after(self.entropy.between(20, 4_000) * MS, self.restart, member)

    def restart(self, member):
        if not member.machine.is_up:
            member.machine.start()

    def start_failed(self, member, error):
        """Only a coordinator that is away for long keeps a broker from starting; whoever runs it starts it again."""
        assert "cannot be reached" in str(error), error
        self.scheduler.after(0, member.machine.kill)

    # ---- what people do, and what happens to them

    def ask(self):
        if self.is_healed:
            return
        node = self.entropy.choose([member.node for member in self.members])
        if node is not None:
            name = self.entropy.choose(tuple(self.kept)) if self.kept and self.entropy.chance(30) else None
            if name is None:
                self.create(node)
            else:
                self.delete(node, name)
        self.scheduler.after(self.entropy.between(100, 800) * MS, self.ask)

    def create(self, node):
        self.asked += 1
        name, topic_id = f"t{self.asked}", self.asked.to_bytes(2, "big") * 8
        free = sorted(name for name in self.deleted.values() if name not in self.kept)
        if free and self.entropy.chance(50):  # made again: another topic, whoever was away while the first one went
            name = self.entropy.choose(free)
        assignment = tuple((self.entropy.choose(self.members).broker_id,) for _ in range(PARTITIONS))

        def answered(outcome):
            if self.is_done(outcome):
                self.kept[name] = topic_id

        node._driver.create_topic(NewTopic(name, topic_id, assignment, {})).then(answered)
        node.environment.reactor.network.process.touch()

    def delete(self, node, name):
        topic_id = self.kept.pop(name)

        def answered(outcome):
            if self.is_done(outcome):
                self.deleted[topic_id] = name

        node._driver.delete_topic(name).then(answered)
        node.environment.reactor.network.process.touch()

    @staticmethod
    def is_done(outcome):
        from fastlog.errors import KafkaError

        try:
            outcome.result()
        except KafkaError:
            return False
        return True

    def strike(self):
        if self.is_healed:
            return
        entropy = self.entropy
        server = self.ensemble.servers[entropy.choose(tuple(self.ensemble.servers))]
        member = entropy.choose(self.members)
        kind = entropy.choose(FAULTS)
        self.faults.append(kind)
        lasts_ns = entropy.between(10, 5_000) * MS
        process = member.machine.process
        match kind:
            case "kill server" | "lose server":
                getattr(server, kind.split()[0])()
                self.scheduler.after(lasts_ns, server.start)
            case "pause server":
                server.pause()
                self.scheduler.after(lasts_ns, server.resume)
            case "reset":
                self.small.wires.reset_one()
            case "cut":
                self.small.wires.cut(lasts_ns // 4)
            case "kill" | "lose" if process in self.scheduler._processes:
                getattr(member.machine, kind)()
            case "pause" if process in self.scheduler._processes:
                self.scheduler.remove(process)
                self.scheduler.after(lasts_ns, self.go_on, process)
            case "clock jump" if process is not None:
                process.clock.jump(entropy.between(-3_600_000, 3_600_000))
        self.scheduler.after(entropy.between(100, 2_500) * MS, self.strike)

    def go_on(self, process):
        if process.alive:
            self.scheduler.add(process)
            process.touch()

    # ---- what must hold

    def look(self):
        """After each step: one leader for each epoch of a partition, one controller for each of the cluster."""
        for member in self.members:
            node = member.node
            if node is None:
                continue
            for partition in node.partitions:
                if partition.is_leader:
                    key = partition.topic_id, partition.index, partition.leader_epoch
                    incarnation = member.machine.process
                    leader = self.led.setdefault(key, incarnation)
                    assert leader is incarnation, f"{key} is led twice"
            if node._driver.is_active:
                epoch = node.view.image.controller_epoch
                assert self.controllers.setdefault(epoch, incarnation_of(member)) is incarnation_of(member), epoch

    def znode(self, path):
        node = self.ensemble.nodes.get(f"/fl{path}")
        return None if node is None else json.loads(node.data)

    def is_settled(self):
        nodes = [member.node for member in self.members]
        if None in nodes:
            return False
        images = [node.view.image._replace(generation=0) for node in nodes]
        return (
            all(image == images[0] for image in images)
            and sum(node._driver.is_active for node in nodes) == 1
            and len(images[0].brokers) == len(nodes)
            and (self.znode("/controller") or {}).get("brokerid") == images[0].controller_id
            and set(self.kept) <= set(images[0].topics)
            and not [path for path in self.ensemble.nodes if path.startswith("/fl/admin/delete_topics/")]
            and all(map(self.is_led, images[0].topics.values()))
        )

    def is_led(self, topic):
        for index, state in enumerate(topic.partitions):
            (broker_id,) = state.replicas
            partition = self.members[broker_id - 1].node.partitions.get(topic.name, index)
            if state.leader != broker_id or partition is None or not partition.is_leader:
                return False
            if (partition.leader_epoch, partition.topic_id) != (state.leader_epoch, topic.id):
                return False
        return True

    def why_not(self):
        images = [member.node and member.node.view.image for member in self.members]
        return f"it never settles after {self.faults}: {images}"

    def check(self):
        image = self.members[0].node.view.image
        for name, topic_id in self.kept.items():
            assert image.topics[name].id == topic_id
        for topic_id in self.deleted:
            assert topic_id not in image.topic_names
            for member in self.members:
                assert all(partition.topic_id != topic_id for partition in member.node.partitions)
        for member in self.members:
            registered = self.ensemble.nodes[f"/fl/brokers/ids/{member.broker_id}"]
            assert registered.owner == member.node._client.session_id
            assert registered.czxid == image.brokers[member.broker_id].epoch


def incarnation_of(member):
    return member.machine.process


@pytest.mark.parametrize("seed", range(4))
def test_two_brokers_come_through_whatever_happens(small_world, seed):
    world = World(small_world, seed).run()
    assert len(world.kept) + len(world.deleted) > 3


def test_a_broker_alone_comes_through_whatever_happens(small_world):
    for seed in range(3):
        World(small_world, 100 + seed, broker_count=1).run()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_seeds(small_world):
    worlds = [World(small_world, 1_000 + seed, broker_count=1 + seed % 3).run() for seed in range(60)]
    assert sum(len(world.deleted) for world in worlds) > 30
    assert max(max(world.controllers) for world in worlds) > 3


def finds(small_world, seeds=30):
    """Return how many seeds it takes until something is found wrong."""
    for seed in range(seeds):
        try:
            World(small_world, seed).run()
        except AssertionError:
            return seed + 1
    return None


@pytest.mark.slow
def test_a_broker_that_leads_what_its_earlier_life_was_given_is_found(small_world, monkeypatch):
    own_changes = follower.Follower._own_changes

    def whatever_is_written(self, topics):
        view, self._view = self._view, ClusterView(Image())
        try:
            return list(own_changes(self, topics))
        finally:
            self._view = view

    monkeypatch.setattr(follower.Follower, "_own_changes", whatever_is_written)
    assert finds(small_world)


@pytest.mark.slow
def test_a_broker_that_does_not_register_again_is_found(small_world, monkeypatch):
    session_changed = ControllerDriver._session_changed

    def forgetful(self, state):
        session_changed(self, state)
        self._must_register = False

    monkeypatch.setattr(ControllerDriver, "_session_changed", forgetful)
    assert finds(small_world)


@pytest.mark.slow
def test_a_controller_that_trusts_its_image_after_a_lost_session_is_found(small_world, monkeypatch):
    take_over = ControllerDriver._take_over

    def trusting(self):
        if self._view.image.topics:
            self._in_doubt = False
            return
        yield from take_over(self)

    monkeypatch.setattr(ControllerDriver, "_take_over", trusting)
    assert finds(small_world)
