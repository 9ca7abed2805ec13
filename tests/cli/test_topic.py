"""Topics by the command line."""

import json

import pytest

from fastlog.client.admin import Admin
from fastlog.errors import UnknownTopicOrPartition


def test_a_topic_from_birth_to_death(call):
    assert call("topic", "create", "one", "--partitions", 3, "-o", "retention.ms=1000") == (0, b"", b"")
    assert call("topic", "create", "two") == (0, b"", b"")
    assert call("topic", "list") == (0, b"one\ntwo\n", b"")
    code, out, err = call("topic", "describe", "one")
    assert (code, err) == (0, b"")
    assert out.startswith(b"one  id=") and b" partitions=3 replication_factor=1\n" in out
    assert out.endswith(b"  2  leader=1 epoch=0 replicas=1 in_sync=1\n")
    _, out, _ = call("topic", "describe", "--json")
    described = [json.loads(line) for line in out.splitlines()]
    assert [one["topic"] for one in described] == ["one", "two"]
    assert [one["leader"] for one in described[0]["partitions"]] == [1, 1, 1]
    assert call("topic", "delete", "one", "two") == (0, b"", b"")
    assert call("topic", "list") == (0, b"", b"")


def test_what_goes_wrong_is_one_line(call):
    assert call("topic", "create", "there") == (0, b"", b"")
    code, _, err = call("topic", "create", "there")
    assert (code, err) == (1, b"fastlog: the topic there is there already; delete it first, or use --if-not-exists\n")
    assert call("topic", "create", "there", "--if-not-exists") == (0, b"", b"")
    for arguments, says in (
        (("alter", "there", "-o", "retention.ms=soon"), b"retention.ms wants a whole number of ms, not 'soon'"),
        (("alter", "there", "-o", "cleanup.policy=compact"), b"compaction is not built yet"),
        (("alter", "there", "--partitions", 1), b"partition"),
        (("alter", "nowhere", "-o", "retention.ms=1"), b"no such topic: nowhere"),
        (("alter", "nowhere", "--partitions", 2), b"no such topic: nowhere"),
        (("create", "a/b"), b"a/b"),
        (("create", "x", "-o", "retention.mss=1"), b"unknown topic option 'retention.mss'; did you mean retention.ms?"),
        (("create", "x", "--replication-factor", 2), b"Replication factor 2"),
        (("describe", "nowhere"), b"no such topic: nowhere"),
        (("delete", "nowhere"), b"no such topic: nowhere"),
    ):
        code, out, err = call("topic", *arguments)
        assert (code, out) == (1, b"") and err.startswith(b"fastlog: ") and err.count(b"\n") == 1 and says in err, err


def test_a_topic_is_altered(call):
    assert call("topic", "create", "changing", "--partitions", 2, "-o", "retention.ms=1000", "-o", "segment.ms=9") == (
        0,
        b"",
        b"",
    )
    _, out, _ = call("topic", "describe", "changing")
    assert b"\n  retention.ms=1000\n  segment.ms=9\n  0  leader=1" in out
    arguments = ("-o", "retention.ms=2000", "-o", "compression.type=zstd", "--delete", "segment.ms", "--partitions", 3)
    assert call("topic", "alter", "changing", *arguments) == (0, b"", b"")
    _, out, _ = call("topic", "describe", "changing")
    assert b" partitions=3 " in out and b"\n  compression.type=zstd\n  retention.ms=2000\n  0  leader=1" in out
    _, out, _ = call("topic", "describe", "changing", "--all")
    assert b"\n  retention.ms=2000  (topic)\n" in out and b"\n  segment.ms=604800000  (default)\n" in out
    _, out, _ = call("topic", "describe", "changing", "--json")
    described = json.loads(out)
    assert described["options"]["compression.type"] == {"value": "zstd", "source": "topic"}
    assert described["options"]["segment.ms"] == {"value": "604800000", "source": "default"}
    assert len(described["partitions"]) == 3
    _, out, _ = call("topic", "list", "--json")
    listed = {one["topic"]: one for one in map(json.loads, out.splitlines())}
    assert listed["changing"] == {"topic": "changing", "id": described["id"], "internal": False, "partitions": 3}


def test_of_an_alteration_that_cannot_be_nothing_is_done(call):
    assert call("topic", "create", "kept", "--partitions", 2) == (0, b"", b"")
    for arguments in (
        ("-o", "retention.ms=1", "--partitions", 1),
        ("-o", "retention.ms=1", "-o", "nope=1", "--partitions", 3),
    ):
        code, out, err = call("topic", "alter", "kept", *arguments)
        assert (code, out) == (1, b"") and err.count(b"\n") == 1
    _, out, _ = call("topic", "describe", "kept")
    assert b" partitions=2 " in out and b"retention.ms" not in out


def test_what_no_alteration_can_mean_is_told_before_a_broker_is_asked(call):
    for arguments, says in (
        ((), b"give -o NAME=VALUE, --delete NAME or --partitions N"),
        (("-o", "retention.ms=1", "--delete", "retention.ms"), b"contradict each other"),
        (("-o", "retention.ms"), b"-o wants NAME=VALUE"),
    ):
        code, out, err = call("topic", "alter", "any", *arguments)
        assert (code, out) == (2, b"") and says in err and err.count(b"\n") == 1, err


def test_what_was_done_is_told_as_json(call):
    def told(*arguments):
        code, out, err = call(*arguments, "--json")
        assert (code, err) == (0, b""), err
        return [json.loads(line) for line in out.splitlines()]

    (created,) = told("topic", "create", "jason", "--partitions", 2, "-o", "retention.ms=5")
    assert (created["topic"], created["created"], len(created["partitions"])) == ("jason", True, 2)
    assert created["options"]["retention.ms"] == {"value": "5", "source": "topic"}
    (there,) = told("topic", "create", "jason", "--if-not-exists")
    assert (there["id"], there["created"]) == (created["id"], False)
    (altered,) = told("topic", "alter", "jason", "--partitions", 3, "--delete", "retention.ms")
    assert (altered["id"], len(altered["partitions"])) == (created["id"], 3)
    assert altered["options"]["retention.ms"]["source"] == "default"
    assert [one["topic"] for one in told("topic", "list") if one["topic"] == "jason"] == ["jason"]
    assert told("topic", "delete", "jason") == [{"topic": "jason", "deleted": True}]


@pytest.mark.parametrize("late", ["topics", "topic_configs"])
def test_a_broker_that_hears_late_of_a_new_topic_is_asked_again(call, monkeypatch, late):
    ask, answers = getattr(Admin, late), []

    def ask_too_early(admin, names=None):
        answers.append(names)
        if len(answers) < 3:
            raise UnknownTopicOrPartition
        return ask(admin, names)

    monkeypatch.setattr(Admin, late, ask_too_early)
    code, out, err = call("topic", "create", f"late.{late}", "--json")
    told = json.loads(out)
    assert (code, err, told["topic"], told["created"], len(answers)) == (0, b"", f"late.{late}", True, 3)
