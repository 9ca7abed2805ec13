"""A broker's own entries in the coordinator: the paths that must be there, the cluster's id, and its registration."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import Any

from fastlog.coordinator.client import CoordinatorClient
from fastlog.coordinator.errors import CoordinatorError, MultiFailed, NodeExists, NoNode
from fastlog.coordinator.tree import Create, Created, Delete, Operation, Stat
from fastlog.env import Random
from fastlog.env.reactor import Pending, Reactor
from fastlog.errors import UsageError
from fastlog.metadata import layout
from fastlog.metadata.image import Broker, Endpoint

Flow = Generator[Pending[Any], Any, Any]


def new_id(random: Random) -> bytes:
    """Return a random id that may be used for a topic or a cluster."""
    made = None
    while made is None:
        made = layout.id_from_random(random.random_bytes(16))
    return made


def make_persistent_paths(client: CoordinatorClient) -> Flow:
    """Create the znodes under which everything lies, where they are missing."""
    missing = []
    for path in layout.PERSISTENT_PATHS:
        if (yield client.exists(path)) is None:
            missing.append(path)
    for path in missing:
        with suppress(NodeExists):  # another broker was quicker
            yield client.create(path, None)


def settle_cluster_id(client: CoordinatorClient, random: Random, known: str | None) -> Generator[Pending[Any], Any, str]:
    """Return the cluster's id: the coordinator's, else the one `known` from the data directory, else a new one.

    UsageError when the data directory belongs to another cluster.
    """
    proposed = known or layout.id_to_text(new_id(random))
    try:
        yield client.create(layout.CLUSTER_ID, layout.encode_cluster_id(proposed))
    except NodeExists:
        data, _ = yield client.get(layout.CLUSTER_ID)
        cluster_id = layout.decode_cluster_id(data)
    else:
        return proposed
    if known is not None and known != cluster_id:
        raise UsageError(
            f"the data directory belongs to cluster {known}, the coordinator holds cluster {cluster_id}; "
            "use the directory that belongs to this coordinator, or the coordinator that belongs to this directory"
        )
    return cluster_id


def wait_for_no_other(reactor: Reactor, client: CoordinatorClient, broker_id: int, timeout_ms: int) -> Flow:
    """Wait until nobody is registered under a broker's id; UsageError after `timeout_ms`.

    For a data directory that never was in the cluster: a registration that is there is not one of its own earlier lives.
    """
    gone: Pending[None] = reactor.pending()

    def settle(error: UsageError | None) -> None:
        if not gone.done:
            gone.settle(None, error)

    def look(_: object) -> None:
        client.exists(layout.broker_path(broker_id), look).then(looked)

    def looked(answer: Pending[Stat | None]) -> None:
        try:
            if answer.result() is None:
                settle(None)
        except CoordinatorError:
            return  # until somebody can tell, it is taken for registered

    timer = reactor.call_later(timeout_ms, settle, _taken(broker_id))
    look(None)
    yield gone
    timer.cancel()


def _taken(broker_id: int) -> UsageError:
    return UsageError(
        f"broker {broker_id} is registered in the coordinator already, by a broker with another data directory: "
        "stop that one, or give this one another broker.id"
    )


def register(
    client: CoordinatorClient, broker_id: int, endpoints: Sequence[Endpoint], timestamp_ms: int
) -> Generator[Pending[Any], Any, Broker]:
    """Register a broker for as long as its session lives, and return it with its epoch.

    The caller holds the lock of the broker's data directory, so a registration that is there already is its own of an earlier
    life, whose session the coordinator has not given up yet: it is replaced in one transaction.
    """
    path = layout.broker_path(broker_id)
    create = Create(path, layout.encode_broker(endpoints, timestamp_ms), ephemeral=True)
    while True:
        stale = yield client.exists(path)
        operations: list[Operation] = [create] if stale is None else [Delete(path, stale.version), create]
        try:
            results = yield client.multi(operations)
        except (NodeExists, NoNode, MultiFailed):
            continue  # it came or went between the two calls
        created: Created = results[-1]
        return Broker(broker_id, created.stat.czxid, tuple(endpoints))
