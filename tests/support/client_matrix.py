"""Which Kafka client has which feature, said once: the conformance suite runs each cell, the README shows them.

`python tests/support/client_matrix.py` prints the table; `--write` puts it between the README's markers.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Callable, Collection
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
    "keyed": "the same key on the same partition, in order",
    "group-share": "groups: members share, join, leave, are killed",
    "group-resume": "... go on at the commit, or from the start",
    "group-cooperative": "... rebalance cooperatively",
    "group-static": "... static members",
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
    "list-groups": "list groups",
    "describe-group": "describe a group",
    "group-offset": "read a group's offsets",
    "alter-group-offset": "... set them",
    "delete-group-offset": "... delete them",
    "delete-group": "delete a group",
}
"""Feature -> how the README names it, in its order."""

GROUPS = ("group-share", "group-resume", "group-cooperative", "group-static")
"""What `test_groups.py` tests; everything else is `test_client_matrix.py`'s."""

MEMBER = {"group-share", "group-resume"}
RECORDS = {
    "acks-1",
    "keyed",
    "consume-offset",
    "consume-time",
    "list-offsets",
    "produce-error",
    *(f"produce-{codec}" for codec in CODECS),
}
TOPICS = {"create-topic", "create-topic-options", "create-topic-error", "list-topics", "describe-topic", "delete-topic"}
ADMIN = TOPICS | {"create-partitions", "delete-records", "describe-cluster", "describe-configs", "alter-configs"}
JAVA = {"null-header", "incremental-alter-configs", "describe-log-dirs", "describe-producers"}
GROUP_ADMIN = {"list-groups", "describe-group", "group-offset", "alter-group-offset", "delete-group"}
ALL_GROUP_ADMIN = GROUP_ADMIN | {"delete-group-offset"}
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
        _client("confluent-kafka", MOST, {*GROUPS}, {"null-header", "incremental-alter-configs"}, GROUP_ADMIN),
        _client(
            "kafka-python 3",
            MOST,
            {*GROUPS},
            {"incremental-alter-configs", "list-config-resources", "describe-log-dirs", "describe-producers"},
            ALL_GROUP_ADMIN,
        ),
        # With acks=0 kafka-python 2.3 leaves a request in its buffer until it sends another one.
        _client("kafka-python 2.3", MOST - {"acks-0"}, MEMBER, {"group-static"}, GROUP_ADMIN - {"alter-group-offset"}),
        _client("aiokafka", MOST, MEMBER, {"null-header", "group-static"}, {"list-groups", "describe-group", "group-offset"}),
        _client("kcat", RECORDS - {"list-offsets"}, {"null-header", "acks-0", "idempotent", "list-topics", "describe-topic"}),
        _client("Java 3.9", MOST, {*GROUPS}, JAVA, ALL_GROUP_ADMIN),
        # Version 4 of Kafka's own client has no request for all options at once any more.
        _client("Java 4", MOST - {"alter-configs"}, {*GROUPS}, JAVA, {"list-config-resources"}, ALL_GROUP_ADMIN),
        _client(
            "franz-go",
            MOST,
            {*GROUPS},
            {"null-header", "incremental-alter-configs", "list-config-resources", "describe-log-dirs", "describe-producers"},
            ALL_GROUP_ADMIN,
        ),
        _client(
            "sarama",
            MOST,
            {*GROUPS},
            {"null-header", "incremental-alter-configs", "describe-log-dirs"},
            ALL_GROUP_ADMIN,
        ),
        _client(
            "kafka-go",
            MOST - {"idempotent", "delete-records"},
            MEMBER,
            {"null-header", "incremental-alter-configs"},
            ALL_GROUP_ADMIN,
        ),
        _client("kafkajs", MOST, MEMBER, GROUP_ADMIN),
        _client(
            "confluent-kafka-javascript",
            RECORDS,
            TOPICS,
            {*GROUPS},
            {"acks-0", "idempotent", "create-partitions", "delete-records"},
            GROUP_ADMIN - {"alter-group-offset"},
        ),
        _client(
            "rskafka",
            RECORDS - {"acks-1", "keyed"},
            {"create-topic", "create-topic-error", "list-topics", "delete-topic", "delete-records"},
        ),
    )
}

MURMUR2 = {"kafka-python 3", "kafka-python 2.3", "aiokafka", "Java 3.9", "Java 4", "franz-go", "kafka-go", "kafkajs"}
"""Clients that choose partitions as Java's does."""
NO_EMPTY_BYTES = {"kcat", "kafka-go"}
"""Clients that cannot tell empty bytes from none."""
KEEPS_OPTIONS = {"kafka-python 3"}
"""Clients that, setting all options at once, first read those that are set and send them along."""
READS_ITS_OWN_MEMBERS = {"kafka-go"}
"""Clients that cannot read what members of newer clients say of themselves."""
NO_EMPTY_HEADERS = {"kafka-go"}
"""Clients that read an empty header as one without a value."""
NO_REPEATED_HEADERS = {"rskafka"}
"""Clients that hold a record's headers as a map."""


def cells(features: Collection[str]) -> list[tuple[str, str]]:
    """Return every (client, feature) of these features that there is to run, client after client."""
    return [
        (client.name, feature) for client in CLIENTS.values() for feature in FEATURES if feature in client.features & {*features}
    ]


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
