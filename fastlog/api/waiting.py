"""Waiting for something for so long and no longer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from fastlog.errors import RequestTimedOut

if TYPE_CHECKING:
    from fastlog.env.reactor import Pending, Reactor

T = TypeVar("T")


def within(reactor: Reactor, awaited: Pending[T], timeout_ms: int) -> Pending[T]:
    """Return what settles as `awaited` does, or fails with RequestTimedOut after `timeout_ms`; what is awaited goes on."""
    outcome: Pending[T] = reactor.pending()

    def expire() -> None:
        outcome.fail(RequestTimedOut())

    timer = reactor.call_later(timeout_ms, expire)

    def settled(source: Pending[Any]) -> None:
        if outcome.done:
            return
        timer.cancel()
        try:
            value = source.result()
        except Exception as error:
            outcome.fail(error)
        else:
            outcome.complete(value)

    awaited.then(settled)
    return outcome
