import pytest

from fastlog.errors import UsageError
from fastlog.storage.log_config import LogConfig


@pytest.mark.parametrize(
    ("field", "value", "option"),
    [
        ("cleanup_policy", "compact", "cleanup.policy=compact"),
        ("cleanup_policy", "compact,delete", "cleanup.policy=compact,delete"),
        ("compression_type", "brotli", "compression.type=brotli"),
        ("message_timestamp_type", "Sometimes", "message.timestamp.type=Sometimes"),
        ("unclean_leader_election_enable", True, "unclean.leader.election.enable=true"),
        ("segment_index_bytes", 12, "segment.index.bytes=12"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(field, value, option):
    with pytest.raises(UsageError, match=option):
        LogConfig(**{field: value})


def test_what_is_honoured_is_kept():
    config = LogConfig(retention_ms=5, message_timestamp_type="LogAppendTime")
    assert (config.retention_ms, config.message_timestamp_type) == (5, "LogAppendTime")
