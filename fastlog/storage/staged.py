"""The answer to one append, from the moment its offsets are given until the end of the turn that writes it."""

from __future__ import annotations

NO_TIMESTAMP = -1


class StagedAppend:
    """What became of one produced batch. It is final when the turn's writes were committed (`LogManager.commit_staged`).

    `error` is a Kafka error code, 0 for none. `log_append_time_ms` is -1 unless the log stamps records itself or the batch is a
    repetition. It may be acknowledged when `Log.acknowledged_end_offset` is past `last_offset`.
    """

    __slots__ = ("base_offset", "error", "error_message", "last_offset", "log_append_time_ms", "log_start_offset")

    def __init__(
        self,
        base_offset: int,
        last_offset: int,
        log_append_time_ms: int,
        log_start_offset: int,
        error: int = 0,
        error_message: str | None = None,
    ) -> None:
        self.base_offset = base_offset
        self.last_offset = last_offset
        self.log_append_time_ms = log_append_time_ms
        self.log_start_offset = log_start_offset
        self.error = error
        self.error_message = error_message

    def fail(self, error: int, message: str) -> None:
        """Make it a refusal: nothing of it is in the log."""
        self.base_offset = self.last_offset = -1
        self.log_append_time_ms = NO_TIMESTAMP
        self.error = error
        self.error_message = message


def refused(error: int, message: str, log_start_offset: int = -1) -> StagedAppend:
    """Return the answer to a batch that is not appended."""
    return StagedAppend(-1, -1, NO_TIMESTAMP, log_start_offset, error, message)
