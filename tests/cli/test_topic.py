"""Topics by the command line."""

import json


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
        (("create", "a/b"), b"a/b"),
        (("create", "x", "-o", "retention.mss=1"), b"unknown topic option 'retention.mss'; did you mean retention.ms?"),
        (("create", "x", "--replication-factor", 2), b"Replication factor 2"),
        (("describe", "nowhere"), b"no such topic: nowhere"),
        (("delete", "nowhere"), b"no such topic: nowhere"),
    ):
        code, out, err = call("topic", *arguments)
        assert (code, out) == (1, b"") and err.startswith(b"fastlog: ") and err.count(b"\n") == 1 and says in err, err
