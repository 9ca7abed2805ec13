"""Which leader epoch began at which offset (KIP-101, KIP-279), and its file `leader-epoch-checkpoint`.

Invariant: epochs and start offsets both ascend strictly in epochs, and never descend in offsets. Divergence between replicas, and
between a consumer and the log (KIP-320), is found by asking where an epoch ended.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

from fastlog.errors import CorruptRecord
from fastlog.storage.checkpoints import format_lines, parse_lines

FILE_NAME = "leader-epoch-checkpoint"
UNKNOWN_EPOCH = -1
UNKNOWN_OFFSET = -1


def parse(data: bytes, path: str) -> list[tuple[int, int]]:
    """Return (epoch, start offset) of each line; CorruptRecord when one is no pair of ascending numbers."""
    entries: list[tuple[int, int]] = []
    for line in parse_lines(data, path):
        try:
            epoch, start_offset = (int(field) for field in line.split())
        except ValueError:
            raise CorruptRecord(f"{path}: {line!r} is not 'epoch offset'") from None
        if epoch < 0 or start_offset < 0 or (entries and (epoch <= entries[-1][0] or start_offset < entries[-1][1])):
            raise CorruptRecord(f"{path}: {line!r} does not ascend")
        entries.append((epoch, start_offset))
    return entries


class LeaderEpochs:
    """The epochs of one log in ascending order. `changed` is called after each change with the file's new content."""

    __slots__ = ("_changed", "_epochs", "_starts", "latest")

    def __init__(self, entries: list[tuple[int, int]], changed: Callable[[bytes], None]) -> None:
        self._epochs = [epoch for epoch, _ in entries]
        self._starts = [start for _, start in entries]
        self._changed = changed
        self.latest = self._epochs[-1] if entries else UNKNOWN_EPOCH
        """The latest epoch, -1 when there is none."""

    def entries(self) -> list[tuple[int, int]]:
        """Return (epoch, start offset), ascending."""
        return list(zip(self._epochs, self._starts, strict=True))

    def content(self) -> bytes:
        """Return what the file is to hold."""
        return format_lines([f"{epoch} {start}" for epoch, start in self.entries()])

    def assign(self, epoch: int, start_offset: int) -> None:
        """Let `epoch` begin at `start_offset`. An epoch that is not later than the latest changes nothing.

        Earlier epochs that would begin at or past it never held a record, and go.
        """
        if epoch <= self.latest:
            return
        while self._starts and self._starts[-1] >= start_offset:
            self._starts.pop()
            self._epochs.pop()
        self._epochs.append(epoch)
        self._starts.append(start_offset)
        self._update()

    def epoch_of(self, offset: int) -> int:
        """Return the epoch in which `offset` was, or would be, written; -1 before the first epoch's start."""
        index = bisect_right(self._starts, offset) - 1
        return self._epochs[index] if index >= 0 else UNKNOWN_EPOCH

    def end_of(self, epoch: int, log_end_offset: int) -> tuple[int, int]:
        """Return (the greatest epoch <= `epoch`, the offset at which the next greater one began), as OffsetForLeaderEpoch
        answers.

        The latest epoch ends at `log_end_offset`. (-1, -1) for an epoch later than all; an epoch before the first gives itself
        and the first one's start.
        """
        if epoch == UNKNOWN_EPOCH or epoch > self.latest:
            return UNKNOWN_EPOCH, UNKNOWN_OFFSET
        if epoch == self.latest:
            return epoch, log_end_offset
        index = bisect_right(self._epochs, epoch)
        return (self._epochs[index - 1] if index else epoch), self._starts[index]

    def truncate_from_end(self, end_offset: int) -> None:
        """Forget epochs that began at or past `end_offset`."""
        if self._starts and self._starts[-1] >= end_offset:
            while self._starts and self._starts[-1] >= end_offset:
                self._starts.pop()
                self._epochs.pop()
            self._update()

    def truncate_from_start(self, start_offset: int) -> None:
        """Forget epochs that ended at or before `start_offset`; the one it lies in begins there from now on."""
        index = bisect_right(self._starts, start_offset) - 1
        if index >= 0 and self._starts[index] != start_offset:
            del self._starts[:index], self._epochs[:index]
            self._starts[0] = start_offset
            self._update()
        elif index > 0:
            del self._starts[:index], self._epochs[:index]
            self._update()

    def _update(self) -> None:
        self.latest = self._epochs[-1] if self._epochs else UNKNOWN_EPOCH
        self._changed(self.content())
