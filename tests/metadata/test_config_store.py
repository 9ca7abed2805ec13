import pytest

from fastlog.coordinator.tree import Create, SetData
from fastlog.errors import RequestTimedOut, UnknownTopicOrPartition
from fastlog.metadata import layout
from fastlog.metadata.config_store import ALTER_TRIES, ANNOUNCED_MS, ConfigStore

ENTITY = layout.broker_entity(None)


class Rig:
    def __init__(self, one_broker):
        self.broker = one_broker.start()
        self.machine, self.client = one_broker.machine, one_broker.client
        self.in_force = []
        self.store = ConfigStore(self.machine.reactor, self.client, self.put)
        self.machine.wait(self.machine.reactor.spawn(self.store.start()))

    def put(self, entity):
        self.in_force.append(entity)

    def alter(self, entity=ENTITY, **options):
        return self.machine.wait(self.store.alter(entity, lambda before: {**before, **options}))

    def read(self, entity=ENTITY):
        return self.machine.wait(self.machine.reactor.spawn(self.store.read(entity)))

    def announcements(self):
        return [path for path in self.broker.znodes() if path.startswith(layout.CONFIG_CHANGE)]


@pytest.fixture
def rig(one_broker):
    return Rig(one_broker)


def test_an_alteration_is_in_force_when_it_is_done(rig):
    assert rig.read() == {}
    rig.alter(a="1")
    rig.alter(b="2")
    assert rig.read() == {"a": "1", "b": "2"}
    assert rig.in_force == [ENTITY, ENTITY]
    rig.alter(b="2")
    assert len(rig.announcements()) == 2, "nothing changed"


def test_an_alteration_is_begun_anew_when_another_was_quicker(rig):
    seen = []

    def change(before):
        seen.append(dict(before))
        if len(seen) < 3:  # somebody writes between our reading and our writing
            write = SetData if before else Create
            rig.client.multi([write(ENTITY.path, layout.encode_config({"other": str(len(seen))}))])
        return {**before, "own": "1"}

    rig.machine.wait(rig.store.alter(ENTITY, change))
    assert seen == [{}, {"other": "1"}, {"other": "2"}]
    assert rig.read() == {"other": "2", "own": "1"}


def test_it_is_not_begun_anew_for_ever(rig):
    rig.alter(a="0")
    tries = []

    def change(before):
        tries.append(1)
        rig.client.set(ENTITY.path, layout.encode_config({"a": str(len(tries))}))
        return {"own": "1"}

    with pytest.raises(RequestTimedOut):
        rig.machine.wait(rig.store.alter(ENTITY, change))
    assert len(tries) == ALTER_TRIES


def test_a_topic_that_is_not_there_gets_no_options(rig):
    with pytest.raises(UnknownTopicOrPartition, match="'t'"):
        rig.alter(layout.topic_entity("t"), a="1")
    assert rig.read(layout.topic_entity("t")) == {}
    rig.broker.create("t")
    rig.alter(layout.topic_entity("t"), a="1")
    assert rig.in_force == [layout.topic_entity("t")]


def test_what_was_announced_before_the_start_is_not_put_in_force_again(rig):
    rig.alter(a="1")
    later = Rig.__new__(Rig)
    later.in_force, later.machine = [], rig.machine
    store = ConfigStore(rig.machine.reactor, rig.client, later.put)
    rig.machine.wait(rig.machine.reactor.spawn(store.start()))
    rig.machine.wait(store.take_over())
    assert later.in_force == []
    rig.alter(a="2")
    rig.machine.settle()
    assert later.in_force == [ENTITY]
    store.close()
    rig.alter(a="3")
    rig.machine.settle()
    assert later.in_force == [ENTITY]


def test_old_announcements_are_deleted(rig):
    rig.alter(a="1")
    rig.machine.clock.now_ns += ANNOUNCED_MS * 1_000_000
    rig.alter(a="2")
    assert len(rig.announcements()) == 2
    rig.machine.clock.now_ns += 1 * 1_000_000
    rig.alter(a="3")
    assert rig.announcements() == [f"{layout.CONFIG_CHANGE}{number:010d}" for number in (1, 2)]


def test_what_cannot_be_read_is_passed_over(rig, caplog):
    rig.machine.wait(rig.client.create(layout.CONFIG_CHANGE, b"?", sequential=True))
    rig.machine.wait(rig.client.create(ENTITY.path, b"?"))
    rig.machine.settle()
    assert rig.read() == {}
    assert "/config/changes/config_change_0000000000 is not JSON" in caplog.text
    assert "/config/brokers/<default> is not JSON" in caplog.text
    rig.broker.create("t")
    rig.alter(layout.topic_entity("t"), a="1")
    assert rig.in_force == [layout.topic_entity("t")]
