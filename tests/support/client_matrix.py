"""Which Kafka client has which feature, said once: the conformance suite runs each cell, the README shows them.

`python tests/support/client_matrix.py` prints the table; `--write` puts it between the README's markers.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Callable
from dataclasses import dataclass

README = pathlib.Path(__file__).parent.parent.parent / "README.md"
BEGIN = "<!-- clients: written by `python tests/support/client_matrix.py --write` -->"
END = "<!-- end of clients -->"

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")

FEATURES = {
    **{f"produce-{codec}": f"produce and consume, {codec}" for codec in CODECS},
    "null-header": "... headers without a value",
    "acks-0": "produce, acks=0",
    "acks-1": "produce, acks=1",
    "idempotent": "produce, idempotent",
    "produce-error": "a refused record is told by name",
    "consume-offset": "consume from an offset",
    "consume-time": "consume from a time",
    "list-offsets": "offsets: first, last, by time",
    "create-topic": "create a topic",
    "create-topic-options": "... with options",
    "create-topic-error": "... and read why not",
    "list-topics": "list topics",
    "describe-topic": "describe a topic",
    "delete-topic": "delete a topic",
    "create-partitions": "add partitions",
    "delete-records": "delete records",
    "describe-cluster": "describe the cluster",
    "describe-configs": "describe options",
    "alter-configs": "set options, all at once",
    "incremental-alter-configs": "set and reset single options",
    "list-config-resources": "list what has options",
    "describe-log-dirs": "describe log directories",
    "describe-producers": "describe producers",
}
"""Feature -> how the README names it, in its order."""

RECORDS = {"acks-1", "consume-offset", "consume-time", "list-offsets", "produce-error", *(f"produce-{codec}" for codec in CODECS)}
TOPICS = {"create-topic", "create-topic-options", "create-topic-error", "list-topics", "describe-topic", "delete-topic"}
ADMIN = TOPICS | {"create-partitions", "delete-records", "describe-cluster", "describe-configs", "alter-configs"}
JAVA = {"null-header", "incremental-alter-configs", "describe-log-dirs", "describe-producers"}
MOST = RECORDS | ADMIN | {"acks-0", "idempotent"}


@dataclass(frozen=True, slots=True)
class Client:
    """One client: the column's name, the suite that drives it, and what it has."""

    name: str
    features: frozenset[str]


def _client(name: str, *features: set[str]) -> Client:
    had = frozenset().union(*features)
    return Client(name, frozenset(had))


CLIENTS = {
    client.name: client
    for client in (
        _client("confluent-kafka", MOST, {"null-header", "incremental-alter-configs"}),
        _client(
            "kafka-python 3",
            MOST,
            {"incremental-alter-configs", "list-config-resources", "describe-log-dirs", "describe-producers"},
        ),
        # With acks=0 kafka-python 2.3 leaves a request in its buffer until it sends another one.
        _client("kafka-python 2.3", MOST - {"acks-0"}),
        _client("aiokafka", MOST, {"null-header"}),
        _client("kcat", RECORDS - {"list-offsets"}, {"null-header", "acks-0", "idempotent", "list-topics", "describe-topic"}),
        _client("Java 3.9", MOST, JAVA),
        # Version 4 of Kafka's own client has no request for all options at once any more.
        _client("Java 4", MOST - {"alter-configs"}, JAVA, {"list-config-resources"}),
        _client(
            "franz-go",
            MOST,
            {"null-header", "incremental-alter-configs", "list-config-resources", "describe-log-dirs", "describe-producers"},
        ),
        _client("sarama", MOST, {"null-header", "incremental-alter-configs", "describe-log-dirs"}),
        _client("kafka-go", MOST - {"idempotent", "delete-records"}, {"null-header", "incremental-alter-configs"}),
        _client("kafkajs", MOST),
        _client(
            "confluent-kafka-javascript",
            RECORDS,
            TOPICS,
            {"acks-0", "idempotent", "create-partitions", "delete-records"},
        ),
        _client(
            "rskafka",
            RECORDS - {"acks-1"},
            {"create-topic", "create-topic-error", "list-topics", "delete-topic", "delete-records"},
        ),
    )
}

NO_EMPTY_BYTES = {"kcat", "kafka-go"}
"""Clients that cannot tell empty bytes from none."""
KEEPS_OPTIONS = {"kafka-python 3"}
"""Clients that, setting all options at once, first read those that are set and send them along."""
NO_EMPTY_HEADERS = {"kafka-go"}
"""Clients that read an empty header as one without a value."""
NO_REPEATED_HEADERS = {"rskafka"}
"""Clients that hold a record's headers as a map."""


def cells() -> list[tuple[str, str]]:
    """Return every (client, feature) that there is to run, client after client."""
    return [(client.name, feature) for client in CLIENTS.values() for feature in FEATURES if feature in client.features]


def render(cell: Callable[[str, str], str]) -> str:
    """Return the table as Markdown; `cell(client, feature)` gives what stands in each place."""
    lines = ["| | " + " | ".join(CLIENTS) + " |", "|---" * (len(CLIENTS) + 1) + "|"]
    for feature, label in FEATURES.items():
        lines.append(f"| {label} | " + " | ".join(cell(client, feature) for client in CLIENTS) + " |")
    return "\n".join(lines)


def declared(client: str, feature: str) -> str:
    """Return a cell as it is declared here: yes, or a dash where the client has no such thing."""
    return "yes" if feature in CLIENTS[client].features else "–"


def readme_block(text: str) -> str:
    """Return what stands between the README's markers."""
    return text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into the README")
    table = render(declared)
    if parser.parse_args().write:
        text = README.read_text()
        begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
        README.write_text(f"{text[:begin]}\n{table}\n{text[end:]}")
    else:
        print(table)


if __name__ == "__main__":
    main()
