"""From an answer to a flat table of its fields, with everything that cannot be equal on two brokers named in place of shown.

A field's name is its path, where an element of an array stands under what identifies it: `topics[t].partitions[0].error_code`.
The order of such elements is not compared, as Kafka's is that of hash maps; alike ones are numbered by their fields. Normalised
are: topic ids (to the topic's name), hosts, ports, cluster ids, directories, sizes of disks, producer and session ids, wall
times, and texts for people (to whether there is one).
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

from fastlog._core import scan
from fastlog.wire.schema import Struct
from recorded_truth.peer import CLOSED

KEYS = (
    ("name",),
    ("topic",),
    ("topic_id",),
    ("resource_type", "resource_name"),
    ("topic_name",),
    ("partition_index",),
    ("partition",),
    ("index",),
    ("api_key",),
    ("broker_id",),
    ("node_id",),
    ("log_dir",),
    ("producer_id",),
    ("group_id",),
    ("member_id",),
    ("key",),
)
"""What identifies an element of an array: the first of these that it has."""

TEXTS = ("error_message", "batch_index_error_message", "documentation")
PLACES = ("host", "cluster_id", "log_dir")
SIZES = ("port", "total_bytes", "usable_bytes")
NEW_NUMBERS = ("session_id", "finalized_features_epoch")
MEMBERS = ("member_id", "leader")
A_LONG_ID = 36
A_DAY_MS = 86_400_000
SCRIPTED_PRODUCER_IDS = 1_000_000
"""Producer ids from here on are the script's own and shown as they are."""


class Flattener:
    """Flattens the answers of one broker. `ids` are its topic ids by name."""

    def __init__(self, ids: dict[str, bytes]) -> None:
        self._ids = ids

    def flatten(self, answer: Any) -> dict[str, Any]:
        """Return the fields of an answer, by path; of no answer, what there is in place of it."""
        if answer is None or answer == CLOSED:
            return {"connection": "no answer" if answer is None else CLOSED}
        if isinstance(answer, bytes):
            return {"bytes": answer.hex()}
        fields: dict[str, Any] = {}
        self._struct("", answer, fields)
        return fields

    def _struct(self, path: str, value: Struct, into: dict[str, Any]) -> None:
        for field in value.FIELDS:
            self._value(f"{path}.{field.name}" if path else field.name, field.name, field.type, getattr(value, field.name), into)

    def _value(self, path: str, name: str, kind: str, value: Any, into: dict[str, Any]) -> None:
        if isinstance(value, Struct):
            self._struct(path, value, into)
        elif isinstance(value, list) and kind[2:3].isupper():
            into[f"{path}.count"] = len(value)
            alike: dict[str, list[dict[str, Any]]] = {}
            for element in value:
                fields: dict[str, Any] = {}
                self._struct("", element, fields)
                alike.setdefault(self._key(element), []).append(fields)
            for key, elements in alike.items():
                for number, fields in enumerate(sorted(elements, key=str), 1):
                    place = f"{path}[{key}#{number}]" if number > 1 else f"{path}[{key}]"
                    into.update({f"{place}.{name}": field for name, field in fields.items()})
        elif kind == "records":
            self._records(path, value, into)
        else:
            into[path] = self._normal(name, kind, value)

    def _key(self, element: Struct) -> str:
        names = {field.name: field.type for field in element.FIELDS}
        for key in KEYS:
            if all(name in names for name in key):
                values = [self._normal(name, names[name], getattr(element, name)) for name in key]
                if values[0] not in ("", None) or not any(getattr(element, "topic_id", b"")):
                    return ",".join(map(str, values))
        return "-"

    def _normal(self, name: str, kind: str, value: Any) -> Any:
        if kind == "uuid":
            return self._topic(value)
        if name in TEXTS:
            return None if value is None else "a text"
        if name in PLACES and value:
            return f"a {name}"
        if name in SIZES and value > 0:
            return f"a {name}"
        if name in NEW_NUMBERS and value > 0:
            return f"a {name}"
        if name in MEMBERS and isinstance(value, str) and len(value) > A_LONG_ID:
            return f"a {name}"
        if name == "producer_id" and 0 <= value < SCRIPTED_PRODUCER_IDS:
            return "a producer_id"
        if isinstance(value, int) and kind == "int64" and abs(value - time.time() * 1000) < A_DAY_MS:
            return "now"
        if isinstance(value, list):
            return str(value)
        return value

    def _topic(self, topic_id: bytes) -> str:
        if not any(topic_id):
            return "no id"
        return next((f"id of {name}" for name, known in self._ids.items() if known == topic_id), "an unknown id")

    def _records(self, path: str, value: Any, into: dict[str, Any]) -> None:
        if value is None:
            into[path] = None
            return
        data = bytes(value)
        batches = scan(data, allow_partial=True)
        into[f"{path}.bytes"] = len(data)
        into[f"{path}.batches"] = len(batches)
        for number, batch in enumerate(batches):
            place = f"{path}[{number}]"
            for name in ("base_offset", "last_offset", "leader_epoch", "attributes", "base_timestamp_ms", "max_timestamp_ms"):
                into[f"{place}.{name}"] = self._normal(name, "int64", getattr(batch, name))
            for name in ("producer_id", "producer_epoch", "base_sequence", "count"):
                into[f"{place}.{name}"] = getattr(batch, name)
            into[f"{place}.payload"] = hashlib.sha256(bytes(batch.payload)).hexdigest()[:16]
