"""The recorded truth: real Kafka and fastlog are asked the same, and what they answer is compared field by field.

What differs has to be in docs/differences.md, with its reason; what is there has to differ.
"""

from __future__ import annotations

import time
from collections import Counter

import pytest
from recorded_truth import differences
from recorded_truth.answers import Flattener
from recorded_truth.peer import Peer
from recorded_truth.script import steps

from fastlog.wire.messages.api_versions import ApiVersionsRequest

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(600)]

KNOWN = "docs/differences.md"
MOST_SHOWN = 60


def served(peer: Peer) -> dict[int, tuple[int, int]]:
    """Return the versions of each API that a broker tells of."""
    answer = peer.ask(ApiVersionsRequest(client_software_name="truth", client_software_version="1"), 3)
    return {row.api_key: (row.min_version, row.max_version) for row in answer.api_keys}


def test_what_kafka_answers_fastlog_answers(broker, real_kafka, tmp_path, pytestconfig, capsys):
    known = differences.read(pytestconfig.rootpath / KNOWN)
    settings = {
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        # What `fastlog up` sets:
        "offsets.topic.num.partitions": 16,
        "group.initial.rebalance.delay.ms": 0,
    }
    found: list[differences.Difference] = []
    requests: Counter[str] = Counter()
    fields = 0
    began = time.monotonic()
    with real_kafka(tmp_path / "kafka", **settings) as bootstrap:
        kafka, fastlog = Peer(bootstrap), Peer(broker.bootstrap)
        flatteners = Flattener(kafka.ids), Flattener(fastlog.ids)
        for step in steps(served(fastlog)):
            answers = [flattener.flatten(step.run(peer)) for peer, flattener in zip((kafka, fastlog), flatteners, strict=True)]
            if step.is_compared:
                requests[step.label.split()[0]] += 1
                fields += len(answers[0].keys() | answers[1].keys())
                found += differences.compare(step.label, *answers)
        kafka.end()
        fastlog.end()

    unknown = []
    for difference in found:
        rows = [row for row in known if row.covers(difference)]
        for row in rows:
            row.found.append(difference)
        if not rows:
            unknown.append(difference)
    useless = [row for row in known if not row.found]
    with capsys.disabled():
        print(
            f"\nrecorded truth: {requests.total()} requests of {len(requests)} kinds, {fields} fields compared, "
            f"{len(found)} of them differ, {time.monotonic() - began:.0f} s"
        )
        for row in known:
            print(
                f"  {len(row.found):5} x {row.patterns[0]}: {row.patterns[1]} is {row.patterns[2]} of Kafka, "
                f"{row.patterns[3]} of fastlog: {row.why}"
            )
        print(f"  {len(unknown)} differences are not in {KNOWN}, {len(useless)} rows of it are out of date")
    assert not unknown, "\n".join(differences.grouped(unknown)[:MOST_SHOWN])
    assert not useless, "\n".join(f"{KNOWN}:{row.line}: no such difference: {' | '.join(row.patterns)}" for row in useless)


def test_what_is_missing_or_useless_in_the_list_is_found(tmp_path):
    table = tmp_path / "differences.md"
    table.write_text(
        "| request | field | Kafka 4.3.1 | fastlog | why |\n|---|---|---|---|---|\n"
        "| `Fetch *` | `topics[*].error` | `1` | `*` | Because. |\n| `Fetch *` | `size` | `1` | `2` | Because. |\n\n"
        "| request | field | other |\n|---|---|---|\n| `*` | `*` | not a row of the list |\n"
    )
    known = differences.read(table)
    kafka = {"topics.count": 1, "topics[t].error": 1, "topics[u].a": 1, "topics[u].b": 2, "size": 7, "there": None}
    fastlog = {"topics.count": 1, "topics[t].error": 0, "size": 7, "there": True}
    found = differences.compare("Fetch v4 good", kafka, fastlog)
    assert [difference[1:] for difference in found] == [
        ("topics[t].error", "1", "0"),
        ("topics[u]", "there", "absent"),
        ("there", "null", "true"),
    ]
    assert [[row.covers(difference) for row in known] for difference in found] == [[True, False], [False, False], [False, False]]
    table.write_text("| request | field | Kafka 4.3.1 | fastlog | why |\n|---|---|---|---|---|\n| `*` | `*` | `*` | `*` | |\n")
    with pytest.raises(ValueError, match="not empty"):
        differences.read(table)
