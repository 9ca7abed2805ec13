"""`partition.metadata` in a partition's directory: the topic id that its log belongs to (KIP-516), version 0."""

from __future__ import annotations

import base64
import binascii

from fastlog.errors import CorruptRecord

FILE_NAME = "partition.metadata"
VERSION = 0
TOPIC_ID_BYTES = 16
NO_TOPIC_ID = bytes(TOPIC_ID_BYTES)


def format_topic_id(topic_id: bytes) -> str:
    """Return a topic id as Kafka writes it: 22 characters of URL-safe base64."""
    return base64.urlsafe_b64encode(topic_id).rstrip(b"=").decode()


def parse_topic_id(text: str) -> bytes:
    """Return the 16 bytes of a topic id; ValueError when the text is none."""
    try:
        topic_id = base64.b64decode(text + "==", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{text!r} is not a topic id") from None
    if len(topic_id) != TOPIC_ID_BYTES:
        raise ValueError(f"{text!r} is not a topic id")
    return topic_id


def content(topic_id: bytes) -> bytes:
    """Return the file's bytes."""
    return f"version: {VERSION}\ntopic_id: {format_topic_id(topic_id)}".encode()


def parse(data: bytes, path: str) -> bytes | None:
    """Return the topic id, None when the file is empty (it never reached the disk); CorruptRecord when it is something else."""
    if not data.strip(b"\0 \n"):
        return None
    try:
        fields = dict(line.split(": ", 1) for line in data.decode().splitlines() if line)
        version, topic_id = int(fields["version"]), parse_topic_id(fields["topic_id"])
    except (ValueError, KeyError) as error:
        raise CorruptRecord(f"{path}: no partition metadata: {error}") from None
    if version != VERSION:
        raise CorruptRecord(f"{path}: version {version} where {VERSION} is known")
    return topic_id if topic_id != NO_TOPIC_ID else None
