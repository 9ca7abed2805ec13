import pytest

from fastlog.coordinator.errors import NoNode
from fastlog.metadata import layout
from fastlog.metadata.producer_ids import BLOCK_SIZE, MAX_PRODUCER_ID, ProducerIds, ProducerIdsExhausted


@pytest.fixture
def ids(one_broker):
    one_broker.start()
    return ProducerIds(one_broker.machine.reactor, one_broker.client, 1)


def test_every_id_is_given_once(one_broker, ids):
    machine = one_broker.machine
    waiting = [ids.next() for _ in range(2 * BLOCK_SIZE + 1)]
    machine.settle()
    assert [pending.result() for pending in waiting] == list(range(2 * BLOCK_SIZE + 1))
    assert one_broker.znodes()[layout.PRODUCER_IDS] == b'{"version":1,"broker":1,"block_start":"2000","block_end":"2999"}'
    assert machine.wait(ids.next()) == 2 * BLOCK_SIZE + 1


def test_nobody_gets_an_id_before_the_block_is_durable(one_broker, ids):
    machine = one_broker.machine
    machine.flusher.held = True
    pending = ids.next()
    machine.turn(20)
    assert not pending.done
    machine.flusher.release()
    assert machine.wait(pending) == 0


def test_two_brokers_and_a_restart_never_share_a_block(one_broker, ids):
    machine = one_broker.machine
    other = ProducerIds(machine.reactor, one_broker.client, 2)
    first, second = ids.next(), other.next()
    machine.settle()
    assert sorted([first.result(), second.result()]) == [0, 1000]
    restarted = ProducerIds(machine.reactor, one_broker.client, 1)
    assert machine.wait(restarted.next()) == 2000


def test_goes_on_after_kafkas_block(one_broker, ids):
    machine = one_broker.machine
    machine.wait(one_broker.client.set(layout.PRODUCER_IDS, b'{"version":1,"broker":3,"block_start":"7000","block_end":"7999"}'))
    assert machine.wait(ids.next()) == 8000


def test_errors_reach_everybody_and_the_next_try_is_new(one_broker, ids):
    machine, client = one_broker.machine, one_broker.client
    machine.wait(client.delete(layout.PRODUCER_IDS))
    waiting = [ids.next(), ids.next()]
    for pending in waiting:
        with pytest.raises(NoNode):
            machine.wait(pending)
    machine.wait(client.create(layout.PRODUCER_IDS, None))
    assert machine.wait(ids.next()) == 0
    last = layout.encode_producer_ids(layout.ProducerIdBlock(1, 0, (1 << 63) - 500))
    machine.wait(client.set(layout.PRODUCER_IDS, last))
    with pytest.raises(ProducerIdsExhausted):
        machine.wait(ProducerIds(machine.reactor, client, 1).next())


def test_begins_behind_the_ids_that_logs_know_of(one_broker, ids):
    machine = one_broker.machine
    spawn = machine.reactor.spawn
    machine.wait(spawn(ids.begin_behind([])))
    assert not one_broker.znodes()[layout.PRODUCER_IDS]
    machine.wait(spawn(ids.begin_behind([3, 2999, MAX_PRODUCER_ID, 7])))
    assert one_broker.znodes()[layout.PRODUCER_IDS] == b'{"version":1,"broker":1,"block_start":"2000","block_end":"2999"}'
    machine.wait(spawn(ids.begin_behind([2000])))
    assert machine.wait(ids.next()) == 3000
    machine.wait(one_broker.client.set(layout.PRODUCER_IDS, b"{"))
    machine.wait(spawn(ids.begin_behind([5000])))
    assert one_broker.znodes()[layout.PRODUCER_IDS] == b"{"


def test_begins_behind_although_another_broker_is_given_ids_meanwhile(one_broker, ids, monkeypatch):
    machine, client = one_broker.machine, one_broker.client
    get = client.get
    others = layout.encode_producer_ids(layout.ProducerIdBlock(2, 0, BLOCK_SIZE - 1))
    given = []

    def overtaken(path):
        asked = get(path)
        if not given:
            given.append(client.set(path, others))
        return asked

    monkeypatch.setattr(client, "get", overtaken)
    machine.wait(machine.reactor.spawn(ids.begin_behind([5000])))
    assert given[0].done
    assert machine.wait(ids.next()) == 6000
