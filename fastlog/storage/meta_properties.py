"""`meta.properties` in each data directory: whose it is, so that a broker never serves another cluster's data.

Written as version 0 (`broker.id`), which Kafka up to 3.9 loads under ZooKeeper; version 1 (`node.id`, `directory.id`), as KRaft
writes it, is read as well, and a file that is there is left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastlog.errors import UsageError
from fastlog.properties import parse_properties

FILE_NAME = "meta.properties"
NODE_ID_KEY_BY_VERSION = {"0": "broker.id", "1": "node.id"}


@dataclass(frozen=True, slots=True)
class MetaProperties:
    """The identity that a data directory holds."""

    cluster_id: str | None
    node_id: int | None

    def content(self) -> bytes:
        """Return the file's bytes."""
        lines = ["version=0"]
        if self.node_id is not None:
            lines.append(f"broker.id={self.node_id}")
        if self.cluster_id is not None:
            lines.append(f"cluster.id={self.cluster_id}")
        return "\n".join([*lines, ""]).encode()


def parse(data: bytes, path: str) -> MetaProperties:
    """Return the identity in a file; UsageError that says what is wrong with it."""
    values = {item.key: item.value for item in parse_properties(data.decode("utf-8", "replace"), path)}
    version = values.get("version", "0")
    key = NODE_ID_KEY_BY_VERSION.get(version)
    if key is None:
        raise UsageError(f"{path}: version={version} is not known: the directory was written by something newer")
    node_id = values.get(key)
    if node_id is not None and not (node_id.isascii() and node_id.isdigit()):
        raise UsageError(f"{path}: {key}={node_id} is not a number")
    return MetaProperties(values.get("cluster.id"), None if node_id is None else int(node_id))


def check(found: MetaProperties, cluster_id: str, node_id: int, path: str) -> None:
    """Raise UsageError when a directory belongs to another cluster or broker."""
    if found.cluster_id not in (None, cluster_id):
        raise UsageError(
            f"{path}: the data is of cluster {found.cluster_id}, and this is cluster {cluster_id}: "
            "point log.dirs at this cluster's data, or the broker at that cluster"
        )
    if found.node_id not in (None, node_id):
        raise UsageError(
            f"{path}: the data is of broker {found.node_id}, and this is broker {node_id}: "
            f"set broker.id={found.node_id}, or choose other log.dirs"
        )
