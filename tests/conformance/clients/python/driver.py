"""What the drivers of the Python clients share: a request a line on stdin, its answer a line on stdout.

A request is `{"op": NAME, ...}`, an answer `{"ok": {...}}` or `{"error": {"code": N, "message": "..."}}` with the Kafka error
code where there is one. Bytes travel as base64, null stays null. `tests/conformance/test_clients_matrix.py` lists the operations.
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
