"""When sessions of clients outside end for want of a sign of life. Pure: the time is handed in.

What a session is and who may attach to it is in the tree, which knows it after a restart too; here is only how long each may be
silent, on the monotonic clock. After a restart every session has its whole timeout again.
"""

from __future__ import annotations

import heapq

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


MIN_TIMEOUT_MS: Final = 1_000
MAX_TIMEOUT_MS: Final = 60_000
_NS_PER_MS: Final = 1_000_000


def negotiate(wanted_ms: int) -> int:
    """Return the timeout that a session gets."""
    return min(max(wanted_ms, MIN_TIMEOUT_MS), MAX_TIMEOUT_MS)


class Deadlines:
    """Until when each session lives. A sign of life costs no more than two look-ups: the heap is put right when it is asked."""

    def __init__(self) -> None:
        self._timeouts_ns: dict[int, int] = {}
        self._deadlines_ns: dict[int, int] = {}
        self._heap: list[tuple[int, int]] = []
        self._entries_ns: dict[int, int] = {}
        """Which entry of the heap is a session's: at its deadline or before it. Others are left over, and go when they come
        up."""

    def __len__(self) -> int:
        return len(self._deadlines_ns)

    def begin(self, session_id: int, timeout_ms: int, now_ns: int) -> None:
        """Let a session live from now on; one that lives already gets this timeout."""
        self._timeouts_ns[session_id] = timeout_ms * _NS_PER_MS
        self.touch(session_id, now_ns)
        deadline_ns = self._deadlines_ns[session_id]
        if self._entries_ns.get(session_id, deadline_ns + 1) > deadline_ns:
            self._push(session_id, deadline_ns)

    def touch(self, session_id: int, now_ns: int) -> None:
        """Take a sign of life."""
        self._deadlines_ns[session_id] = now_ns + self._timeouts_ns[session_id]

    def timeout_ms(self, session_id: int) -> int:
        """Return a living session's timeout."""
        return self._timeouts_ns[session_id] // _NS_PER_MS

    def end(self, session_id: int) -> None:
        """Forget a session; one that is not there too."""
        self._timeouts_ns.pop(session_id, None)
        self._deadlines_ns.pop(session_id, None)
        self._entries_ns.pop(session_id, None)

    def next_ns(self) -> int | None:
        """Return when the next session ends if nothing is heard of it; None when there is none."""
        while self._heap:
            found_ns, session_id = self._heap[0]
            if self._entries_ns.get(session_id) == found_ns:
                deadline_ns = self._deadlines_ns[session_id]
                if deadline_ns == found_ns:
                    return found_ns
                heapq.heappop(self._heap)
                self._push(session_id, deadline_ns)
            else:
                heapq.heappop(self._heap)
        return None

    def _push(self, session_id: int, deadline_ns: int) -> None:
        self._entries_ns[session_id] = deadline_ns
        heapq.heappush(self._heap, (deadline_ns, session_id))

    def take_expired(self, now_ns: int) -> list[int]:
        """Forget the sessions whose time is over, and return them in the order of their deadlines."""
        expired = []
        while (next_ns := self.next_ns()) is not None and next_ns <= now_ns:
            _, session_id = heapq.heappop(self._heap)
            self.end(session_id)
            expired.append(session_id)
        return expired
