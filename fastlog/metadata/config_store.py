"""Options of topics and brokers that change while brokers run: written to the coordinator, announced there, taken over.

Who alters options writes them under the version that it read, and in the same transaction announces whose they are by a
numbered znode under `/config/changes`. Every broker watches those (anew when it has been away), reads the options that an
announcement is about anew, and puts them in force. So a change that any broker or tool makes in Kafka's way reaches all of
them, and none is lost to another made at the same time. An announcement is deleted when it is `ANNOUNCED_MS` old: by then a
broker has seen it, or it reads everything at its start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from fastlog.coordinator.client import SessionState
from fastlog.coordinator.errors import BadVersion, CoordinatorError, MultiFailed, NodeExists, NoNode
from fastlog.coordinator.tree import Check, Create, Operation, SetData
from fastlog.errors import KafkaStorageError, RequestTimedOut, UnknownTopicOrPartition
from fastlog.metadata import layout
from fastlog.metadata.layout import Entity

if TYPE_CHECKING:
    from fastlog.coordinator.client import CoordinatorClient
    from fastlog.coordinator.watches import WatchEvent
    from fastlog.env.reactor import Flow, Pending, Reactor

logger = logging.getLogger(__name__)

ANNOUNCED_MS: Final = 900_000
ALTER_TRIES: Final = 10
"""How often an alteration is begun anew because somebody else altered the same options meanwhile."""

Options = Mapping[str, str]


class ConfigStore:
    """The options in the coordinator, as one broker reads and writes them."""

    def __init__(
        self, reactor: Reactor, client: CoordinatorClient, put_in_force: Callable[[Entity], Pending[None] | None]
    ) -> None:
        """`put_in_force(entity)` is called for everything whose options changed; what it returns is waited for."""
        self._reactor = reactor
        self._client = client
        self._put_in_force = put_in_force
        self._announced: dict[str, int] = {}
        self._newest: Pending[None] | None = None
        self._closed = False
        self._is_started = False
        client.on_session(self._session_changed)

    def start(self) -> Flow[None]:
        """Watch for announcements from now on. Options that are read afterwards are of this moment or later."""
        names, _ = yield self._client.children(layout.CONFIG_CHANGES, self._fired)
        yield from self._read_announcements(names)
        self._is_started = True

    def close(self) -> None:
        """Take over nothing more."""
        self._closed = True

    def read(self, entity: Entity) -> Flow[dict[str, str]]:
        """Read something's options; none where it has none, or where what lies there cannot be read."""
        try:
            data, _ = yield self._client.get(entity.path)
            return layout.decode_config(entity, data)
        except NoNode:
            return {}
        except layout.BadZnode as error:
            logger.error("%s: the options are ignored", error)
            return {}

    def alter(self, entity: Entity, change: Callable[[Options], Options]) -> Pending[None]:
        """Write what `change` makes of something's options; completes when that is durable, and in force on this broker.

        What `change` raises is raised; UnknownTopicOrPartition for a topic that is not there.
        """
        return self._reactor.spawn(self._alter(entity, change))

    def _alter(self, entity: Entity, change: Callable[[Options], Options]) -> Flow[None]:
        guard = [Check(layout.topic_path(entity.name))] if entity.kind == "topics" else []
        for _ in range(ALTER_TRIES):
            try:
                if (yield from self._try_to_alter(entity, change, guard)):
                    yield self.take_over()
                return
            except MultiFailed as error:
                if guard and error.index == 0:
                    raise UnknownTopicOrPartition(f"The topic '{entity.name}' does not exist.") from None
                if not isinstance(error.error, (BadVersion, NodeExists, NoNode)):
                    raise KafkaStorageError(f"The options could not be written: {error}") from None
            except CoordinatorError as error:
                raise KafkaStorageError(f"The options could not be written: {error}") from None
        raise RequestTimedOut("Others alter the same options all the time.")

    def _try_to_alter(
        self, entity: Entity, change: Callable[[Options], Options], guard: Sequence[Operation]
    ) -> Generator[Pending[Any], Any, bool]:
        """Write and announce once; False when there is nothing to write."""
        write: Operation
        try:
            data, stat = yield self._client.get(entity.path)
        except NoNode:
            before: Options = {}
            after = change(before)
            write = Create(entity.path, layout.encode_config(after))
        else:
            before = layout.decode_config(entity, data)
            after = change(before)
            write = SetData(entity.path, layout.encode_config(after), stat.version)
        if after == before:
            return False
        announce = Create(layout.CONFIG_CHANGE, layout.encode_config_change(entity), sequential=True)
        yield self._client.multi([*guard, write, announce])
        return True

    # ---- taking over ----

    def _fired(self, _: WatchEvent) -> None:
        if not self._closed:
            self.take_over().then(self._taken_over)

    def _session_changed(self, state: SessionState) -> None:
        if state is SessionState.CONNECTED and self._is_started and not self._closed:
            self.take_over().then(self._taken_over)

    def _taken_over(self, outcome: Pending[None]) -> None:
        try:
            outcome.result()
        except CoordinatorError as error:
            if not self._closed:
                logger.error("changes of options could not be read: %s", error)

    def take_over(self) -> Pending[None]:
        """Put in force all that is announced and was not yet; completes when that is done."""
        self._newest = self._reactor.spawn(self._take_over(self._newest))
        return self._newest

    def _take_over(self, before: Pending[None] | None) -> Flow[None]:
        if before is not None:  # one after another, so that older options never come last
            with suppress(Exception):
                yield before
        names, _ = yield self._client.children(layout.CONFIG_CHANGES, self._fired)
        for entity in (yield from self._read_announcements(names)):
            waited_for = self._put_in_force(entity)
            if waited_for is not None:
                yield waited_for
        oldest_ms = self._reactor.clock.wall_ms() - ANNOUNCED_MS
        for name in [name for name, created_ms in self._announced.items() if created_ms < oldest_ms]:
            with suppress(NoNode):  # another broker was quicker
                yield self._client.delete(f"{layout.CONFIG_CHANGES}/{name}")
            del self._announced[name]

    def _read_announcements(self, names: Sequence[str]) -> Generator[Pending[Any], Any, list[Entity]]:
        """Read the announcements that are new here; return whose options they are about, each once."""
        known = self._announced
        self._announced = {name: known[name] for name in names if name in known}
        asked = [
            (f"{layout.CONFIG_CHANGES}/{name}", name, self._client.get(f"{layout.CONFIG_CHANGES}/{name}"))
            for name in names
            if name not in known
        ]
        entities: dict[Entity, None] = {}
        for path, name, answer in asked:
            try:
                data, stat = yield answer
                self._announced[name] = stat.ctime_ms
                entities[layout.decode_config_change(path, data)] = None
            except NoNode:
                continue
            except layout.BadZnode as error:
                logger.error("%s", error)
        return list(entities)
