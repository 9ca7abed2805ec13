"""How much one answer may take: a request of a few bytes can ask for something large, many times over.

A handler whose answer is larger than its request by more than a constant factor counts what it puts in. What finds no room is
answered by an error of its own (INVALID_REQUEST), so a client that asks for too much gets the first of it, and can ask for the
rest by itself. The first thing always finds room: else nobody could ever ask for it.
"""

from __future__ import annotations

from typing import Final

from fastlog.errors import InvalidRequest

MAX_ANSWER_BYTES: Final = 64 << 20
OBJECT_BYTES: Final = 256
"""What an object of an answer takes in memory beside the bytes in it, until the answer is encoded."""


class AnswerRoom:
    """What is left of the room for one answer."""

    __slots__ = ("_is_untouched", "_left_bytes")

    def __init__(self) -> None:
        self._left_bytes = MAX_ANSWER_BYTES
        self._is_untouched = True

    def check(self) -> None:
        """Raise InvalidRequest where nothing more finds room."""
        if self._left_bytes <= 0:
            raise InvalidRequest(f"The answer is larger than {MAX_ANSWER_BYTES} bytes: ask for less at a time.")

    def take(self, size_bytes: int, object_count: int = 0) -> None:
        """Take room for bytes and the objects that hold them. InvalidRequest, now and from now on, where it is too small."""
        size_bytes += object_count * OBJECT_BYTES
        if size_bytes > self._left_bytes and not self._is_untouched:
            self._left_bytes = 0  # else whatever is small would still be looked for behind it
            self.check()
        self._is_untouched = False
        self._left_bytes -= size_bytes
