"""Producer ids: each broker takes blocks of a thousand from the coordinator, so that no id is ever given out twice.

`/latest_producer_id_block` holds the block given out last, whoever got it; a block is taken by a write under a check of the
znode's version. What is left of a block when a broker stops is never used.

The coordinator may know less than the logs do, as it is another one, or lost its data: an id that a log has records under is not
given out again either, as the sequences of another producer would be taken for repetitions.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import suppress
from typing import Any, Final

from fastlog.coordinator.client import CoordinatorClient
from fastlog.coordinator.errors import BadVersion
from fastlog.env.reactor import Pending, Reactor
from fastlog.metadata import layout

BLOCK_SIZE: Final = 1000
MAX_PRODUCER_ID: Final = (1 << 63) - 1
MAX_BELIEVED: Final = (1 << 62) - 1
"""A log may have records under any id that a client thought of: one past this was given out by nobody, and would leave none."""

Flow = Generator[Pending[Any], Any, None]

logger = logging.getLogger(__name__)


class ProducerIdsExhausted(Exception):
    """There is no producer id left (there were 2^63)."""


class ProducerIds:
    """Gives out producer ids on one broker."""

    def __init__(self, reactor: Reactor, client: CoordinatorClient, broker_id: int) -> None:
        self._reactor = reactor
        self._client = client
        self._broker_id = broker_id
        self._next = 0
        self._last = -1
        self._waiting: deque[Pending[int]] = deque()
        self._asking = False

    def next(self) -> Pending[int]:
        """Return a producer id that nobody had before; fails as the coordinator does, or with ProducerIdsExhausted."""
        answer: Pending[int] = self._reactor.pending()
        if self._next <= self._last and not self._waiting:
            answer.complete(self._next)
            self._next += 1
            return answer
        self._waiting.append(answer)
        if not self._asking:
            self._asking = True
            self._reactor.spawn(self._take_block()).then(self._taken)
        return answer

    def begin_behind(self, seen: Iterable[int]) -> Flow:
        """See to it that nobody is given an id up to those that logs have records under."""
        latest_seen = max((one for one in seen if one <= MAX_BELIEVED), default=-1)
        while True:
            data, stat = yield self._client.get(layout.PRODUCER_IDS)
            try:
                latest = layout.decode_producer_ids(data)
            except layout.BadZnode as error:  # then none is given out, which is for whoever asks for one
                logger.error("%s", error)
                return
            if latest_seen <= (-1 if latest is None else latest.last):
                return
            first = latest_seen // BLOCK_SIZE * BLOCK_SIZE
            block = layout.ProducerIdBlock(self._broker_id, first, first + BLOCK_SIZE - 1)
            with suppress(BadVersion):  # another broker was quicker
                yield self._client.set(layout.PRODUCER_IDS, layout.encode_producer_ids(block), stat.version)

    def _take_block(self) -> Generator[Pending[Any], Any, layout.ProducerIdBlock]:
        while True:
            data, stat = yield self._client.get(layout.PRODUCER_IDS)
            latest = layout.decode_producer_ids(data)
            first = 0 if latest is None else latest.last + 1
            if first > MAX_PRODUCER_ID - BLOCK_SIZE:
                raise ProducerIdsExhausted
            block = layout.ProducerIdBlock(self._broker_id, first, first + BLOCK_SIZE - 1)
            try:
                yield self._client.set(layout.PRODUCER_IDS, layout.encode_producer_ids(block), stat.version)
            except BadVersion:
                continue  # another broker was quicker
            return block

    def _taken(self, outcome: Pending[layout.ProducerIdBlock]) -> None:
        self._asking = False
        try:
            block = outcome.result()
        except Exception as error:
            waiting, self._waiting = self._waiting, deque()
            for answer in waiting:
                answer.fail(error)
            return
        self._next, self._last = block.first, block.last
        while self._waiting and self._next <= self._last:
            self._waiting.popleft().complete(self._next)
            self._next += 1
        if self._waiting:
            self._asking = True
            self._reactor.spawn(self._take_block()).then(self._taken)
