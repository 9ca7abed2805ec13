"""What one log may be told: Kafka's topic-level options that the storage room honours, as one frozen value.

Field names are Kafka's with underscores for dots; defaults are those of Kafka 4.3. Parsing, bounds for what people type, and
the broker-level names they fall back to belong to `fastlog.config`, which makes these values from its table.
A value that this room cannot honour is refused when the value is made, so that no option is read and then ignored.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastlog.errors import UsageError

MAX_INT64 = (1 << 63) - 1
CREATE_TIME = "CreateTime"
LOG_APPEND_TIME = "LogAppendTime"
PRODUCER = "producer"
COMPRESSION_TYPES = (PRODUCER, "uncompressed", "gzip", "snappy", "lz4", "zstd")

DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """Options of one log. Sizes are bytes, times milliseconds; -1 means without limit for `retention_*`."""

    segment_bytes: int = 1 << 30
    segment_ms: int = 7 * DAY_MS
    segment_jitter_ms: int = 0
    segment_index_bytes: int = 10 << 20
    index_interval_bytes: int = 4096
    max_message_bytes: int = (1 << 20) + 12
    message_timestamp_type: str = CREATE_TIME
    message_timestamp_before_max_ms: int = MAX_INT64
    message_timestamp_after_max_ms: int = 60 * 60 * 1000
    retention_ms: int = 7 * DAY_MS
    retention_bytes: int = -1
    file_delete_delay_ms: int = 60_000
    flush_messages: int = MAX_INT64
    flush_ms: int = MAX_INT64
    preallocate: bool = False
    min_insync_replicas: int = 1
    compression_type: str = PRODUCER
    compression_gzip_level: int = -1
    compression_lz4_level: int = 9
    compression_zstd_level: int = 3
    unclean_leader_election_enable: bool = False
    cleanup_policy: str = "delete"

    def __post_init__(self) -> None:
        """Refuse what cannot be honoured; raises UsageError that names the option."""
        if self.cleanup_policy not in ("delete", ""):
            raise UsageError(f"cleanup.policy={self.cleanup_policy} is not supported yet: use cleanup.policy=delete")
        if self.compression_type not in COMPRESSION_TYPES:
            raise UsageError(f"compression.type={self.compression_type} is not {' or '.join(COMPRESSION_TYPES)}")
        if self.unclean_leader_election_enable:
            raise UsageError("unclean.leader.election.enable=true is not supported yet: leave it false")
        if self.message_timestamp_type not in (CREATE_TIME, LOG_APPEND_TIME):
            raise UsageError(f"message.timestamp.type={self.message_timestamp_type} is not {CREATE_TIME} or {LOG_APPEND_TIME}")
        if self.segment_index_bytes < SMALLEST_INDEX_BYTES:
            raise UsageError(f"segment.index.bytes={self.segment_index_bytes} is under {SMALLEST_INDEX_BYTES}")


SMALLEST_INDEX_BYTES = 24
"""Two entries of the wider index: one for a batch, one that closes the segment."""
