"""What the drivers of the Python clients share: a request a line on stdin, its answer a line on stdout.

A request is `{"op": NAME, ...}`, an answer `{"ok": {...}}` or `{"error": {"code": N, "message": "..."}}` with the Kafka error
code where there is one. Bytes travel as base64, null stays null. `tests/conformance/test_client_matrix.py` shows by its use what
the operations are. A `partition` of null in `produce` leaves the choice to the client's own partitioner, as it is by default.

A driver can be one member of a group at a time, and its client's background work goes on between requests:

* `group_join {group, topic, session_ms, heartbeat_ms, instance?, cooperative?}` makes a consumer that starts where nothing is
  committed at the earliest offset and never commits by itself; with `instance` it is a static member, with `cooperative` it
  rebalances incrementally, and otherwise as the client does by default. It does not wait for partitions. `{}`
* `group_poll {ms}` lets the client take part in rebalances and hand out records, for about that long or until there are some.
  `{"records": [[partition, offset, key, value], ...], "owned": [partition, ...]}`: what was handed out, in order, and the
  partitions that the member now knows to be its own, sorted: none while it waits for an assignment. Records that a client fetched
  but did not hand out before it lost their partition are never handed out.
* `group_commit {}` commits the position behind what was handed out of the owned partitions, and waits for the answer. `{}`
* `group_leave {}` closes the consumer without a commit; a member that is not static leaves its group by that. `{}`
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from typing import Any


def encoded(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(bytes(data)).decode()


def decoded(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def decoded_headers(record: dict[str, Any]) -> list[tuple[str, bytes | None]]:
    return [(name, decoded(value)) for name, value in record["headers"]]


def record_answer(
    offset: int, timestamp: int, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]] | None
) -> dict[str, Any]:
    return {
        "offset": offset,
        "timestamp": timestamp,
        "key": encoded(key),
        "value": encoded(value),
        "headers": [[name, encoded(header)] for name, header in headers or []],
    }


def serve(operations: dict[str, Callable[[dict[str, Any]], Any]], error_code: Callable[[Exception], int | None]) -> None:
    """Answer requests until stdin ends; `error_code` finds a client's exception's Kafka error code."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"ok": operations[request["op"]](request)}
        except Exception as error:
            answer = {"error": {"code": error_code(error), "message": f"{type(error).__name__}: {error}"}}
        print(json.dumps(answer), flush=True)
