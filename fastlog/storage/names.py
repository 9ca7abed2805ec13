"""Names that become paths: topics, partition directories, segment files.

A topic's name comes from a client and ends in a path, so it is checked here again whoever checked it before. The patterns are
those of Kafka's data directory: `T-P` for a partition, `T-P.<32 hex digits>-delete` for one that is being removed,
`T-P.<32 hex digits>-stray` for one that belongs to no topic any more and is kept, 20 digits for a segment.
"""

from __future__ import annotations

import re

from fastlog.errors import InvalidTopic

MAX_TOPIC_NAME_CHARACTERS = 249
MAX_FILE_NAME_BYTES = 255
MAX_PARTITION = (1 << 31) - 1

LOG_SUFFIX = ".log"
OFFSET_INDEX_SUFFIX = ".index"
TIME_INDEX_SUFFIX = ".timeindex"
TRANSACTION_INDEX_SUFFIX = ".txnindex"
SNAPSHOT_SUFFIX = ".snapshot"
DELETED_SUFFIX = ".deleted"
REPLACEMENT_SUFFIX = ".cleaned"
"""A file that is being written to replace another; what is left of one is removed at the next start."""
DELETE_DIRECTORY_SUFFIX = "-delete"
STRAY_DIRECTORY_SUFFIX = "-stray"

METADATA_TOPIC = "__cluster_metadata"
"""The log of a KRaft controller: no partition of this broker's, and left alone."""

_TOPIC_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_PARTITION_DIRECTORY = re.compile(r"([a-zA-Z0-9._-]{1,249})-(0|[1-9][0-9]{0,9})")
_DELETE_DIRECTORY = re.compile(r"[a-zA-Z0-9._-]+\.[0-9a-f]{32}-delete")
_OFFSET_DIGITS = 20


def check_topic_name(name: str) -> None:
    """Raise InvalidTopic unless `name` is 1 to 249 of `[a-zA-Z0-9._-]` and neither `.` nor `..`."""
    if name in (".", ".."):
        raise InvalidTopic(f"a topic cannot be named {name!r}")
    if _TOPIC_NAME.fullmatch(name) is None:
        shown = name if len(name) <= MAX_TOPIC_NAME_CHARACTERS else name[:MAX_TOPIC_NAME_CHARACTERS] + "..."
        raise InvalidTopic(
            f"topic name {shown!r} is not 1 to {MAX_TOPIC_NAME_CHARACTERS} of the characters a-z, A-Z, 0-9, '.', '_' and '-'"
        )


def partition_directory(topic: str, partition: int) -> str:
    """Return the directory name of a partition; InvalidTopic when the name is not fit for a path."""
    check_topic_name(topic)
    if not 0 <= partition <= MAX_PARTITION:
        raise InvalidTopic(f"partition {partition} of topic {topic} is not between 0 and {MAX_PARTITION}")
    name = f"{topic}-{partition}"
    if len(name) > MAX_FILE_NAME_BYTES:
        raise InvalidTopic(
            f"partition {partition} of a topic with a name of {len(topic)} characters has no name for its directory"
        )
    return name


def parse_partition_directory(name: str) -> tuple[str, int] | None:
    """Return (topic, partition) of a directory name, None when it is none of a partition's."""
    match = _PARTITION_DIRECTORY.fullmatch(name)
    if match is None or match[1] in (".", "..") or int(match[2]) > MAX_PARTITION:
        return None
    return match[1], int(match[2])


def delete_directory(topic: str, partition: int, unique_hex: str) -> str:
    """Return the name under which a partition's directory waits for its removal, cut to what a file name may be."""
    return _hidden_directory(topic, partition, unique_hex, DELETE_DIRECTORY_SUFFIX)


def stray_directory(topic: str, partition: int, unique_hex: str) -> str:
    """Return the name under which a partition's directory is kept out of sight, cut to what a file name may be."""
    return _hidden_directory(topic, partition, unique_hex, STRAY_DIRECTORY_SUFFIX)


def _hidden_directory(topic: str, partition: int, unique_hex: str, kind: str) -> str:
    suffix = f"-{partition}.{unique_hex}{kind}"
    return topic[: MAX_FILE_NAME_BYTES - len(suffix)] + suffix


def is_delete_directory(name: str) -> bool:
    """Tell whether a directory waits for its removal."""
    return _DELETE_DIRECTORY.fullmatch(name) is not None


def offset_file(offset: int, suffix: str) -> str:
    """Return the name of a segment's (or snapshot's) file."""
    return f"{offset:0{_OFFSET_DIGITS}d}{suffix}"


def parse_offset_file(name: str, suffix: str) -> int | None:
    """Return the offset in a file's name, None when the name is not 20 digits and `suffix`."""
    digits = name[:_OFFSET_DIGITS]
    if len(name) != _OFFSET_DIGITS + len(suffix) or not name.endswith(suffix) or not (digits.isascii() and digits.isdigit()):
        return None
    offset = int(digits)
    return offset if offset < 1 << 63 else None
