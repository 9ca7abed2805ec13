"""kcat, one process for each operation; it has no null header values on its command line and no admin requests but Metadata."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

from driver import decoded, decoded_headers, record_answer, serve

KCAT = ["kcat", "-b", sys.argv[1]]
TIMEOUT_S = 30
# Longer than anything that a test's records hold, so that it can stand between keys and values.
KEY_SEPARATOR = "\x01\x02key\x03"
RECORD_SEPARATOR = "\x01\x02record\x03"


class Failed(Exception):
    """kcat ended with an error."""


def kcat(*arguments: str, stdin: bytes = b"") -> bytes:
    finished = subprocess.run([*KCAT, *arguments], input=stdin, capture_output=True, check=False, timeout=TIMEOUT_S)
    if finished.returncode:
        raise Failed(finished.stderr.decode(errors="replace"))
    return finished.stdout


def version(_: dict[str, Any]) -> Any:
    printed = subprocess.run(["kcat", "-V"], capture_output=True, text=True, check=True, timeout=TIMEOUT_S).stdout
    return {"version": re.search(r"Version (\S+)", printed)[1]}  # type: ignore[index]


def produce(request: dict[str, Any]) -> Any:
    """Records with headers go alone (kcat's headers hold for all it sends); those without, together."""
    settings = [
        "-z",
        request["codec"],
        "-X",
        f"acks={request['acks']}",
        "-X",
        f"enable.idempotence={request['idempotent']}".lower(),
    ]
    settings += ["-X", "message.max.bytes=20000000", "-X", "linger.ms=50"]
    where = [] if request["partition"] is None else ["-p", str(request["partition"])]
    to = ["-P", "-t", request["topic"], *where, "-Z", "-K", KEY_SEPARATOR, "-D", RECORD_SEPARATOR]
    together: list[bytes] = []

    def send(records: list[bytes], headers: list[tuple[str, bytes | None]]) -> None:
        named = [f"{name}={value.decode()}" if value is not None else name for name, value in headers]
        options = [option for header in named for option in ("-H", header)]
        kcat(*to, *settings, *options, stdin=RECORD_SEPARATOR.encode().join(records))

    for record in request["records"]:
        line = (decoded(record["key"]) or b"") + KEY_SEPARATOR.encode() + (decoded(record["value"]) or b"")
        headers = decoded_headers(record)
        if not headers:
            together.append(line)
            continue
        if together:
            send(together, [])
            together = []
        send([line], headers)
    if together:
        send(together, [])
    return {"offsets": None}


def consume(request: dict[str, Any]) -> Any:
    start = str(request.get("offset", f"s@{request['time']}" if "time" in request else "beginning"))
    # Sizes come first (-1 is null), so that keys and values may hold any byte.
    shape = "%o %T %K %S %h\\n%k%s"
    where = ["-t", request["topic"], "-p", str(request["partition"]), "-o", start, "-c", str(request["count"]), "-e", "-q"]
    printed = kcat("-C", *where, "-f", shape)
    records = []
    at = 0
    while at < len(printed):
        end_of_head = printed.index(b"\n", at)
        offset, timestamp, key_size, value_size, headers = printed[at:end_of_head].split(b" ", 4)
        at = end_of_head + 1
        parts: list[bytes | None] = []
        for size in (int(key_size), int(value_size)):
            parts.append(None if size < 0 else printed[at : at + size])
            at += max(0, size)
        pairs = [header.partition(b"=") for header in headers.split(b",")] if headers else []
        named = [(name.decode(), None if value == b"NULL" else value) for name, _, value in pairs]
        records.append(record_answer(int(offset), int(timestamp), parts[0], parts[1], named))
    return {"records": records}


def list_topics(_: dict[str, Any]) -> Any:
    return {"topics": sorted(topic["topic"] for topic in json.loads(kcat("-L", "-J"))["topics"])}


def describe_topic(request: dict[str, Any]) -> Any:
    (topic,) = json.loads(kcat("-L", "-J", "-t", request["topic"]))["topics"]
    return {
        "partitions": [
            [one["partition"], one["leader"], [node["id"] for node in one["replicas"]], [node["id"] for node in one["isrs"]]]
            for one in topic["partitions"]
        ]
    }


def error_code(error: Exception) -> int | None:
    return 10 if "Message size too large" in str(error) else None


OPERATIONS = [version, produce, consume, list_topics, describe_topic]
serve({operation.__name__: operation for operation in OPERATIONS}, error_code)
