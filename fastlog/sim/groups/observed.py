"""The product's own way to groups, with the checker looking on: each request as it is sent, each answer as it comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from fastlog.client.groups import COORDINATOR_TRIES, Groups

if TYPE_CHECKING:
    from fastlog.client.cluster import Cluster
    from fastlog.env.reactor import Pending
    from fastlog.sim.groups.checker import Attempt, GroupChecker
    from fastlog.wire.schema import Message

T = TypeVar("T")


class ObservedGroups(Groups):
    """`Groups` of one process."""

    def __init__(self, cluster: Cluster, checker: GroupChecker, who: str) -> None:
        super().__init__(cluster)
        self._checker = checker
        self._who = who

    def ask(
        self,
        group_id: str,
        request: Callable[[], Message],
        response_type: type[Message],
        result: Callable[..., T],
        *,
        timeout_ms: float | None = None,
        tries: int = COORDINATOR_TRIES,
    ) -> Pending[T]:
        attempts: list[Attempt] = []

        def sent() -> Message:
            message = request()
            attempts.append(self._checker.sent(self._who, group_id, message))
            return message

        def answered(answer: Message) -> T:
            self._checker.answered(attempts[-1], answer)
            return result(answer)

        return super().ask(group_id, sent, response_type, answered, timeout_ms=timeout_ms, tries=tries)
