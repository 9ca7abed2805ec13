"""Bytes in by `produce`, the same bytes out by `consume`."""

import json
import os
import pty
import signal
import time

import pytest

from fastlog._core import partition_for_key
from fastlog.cli import produce

ODD = (
    b"plain\n\xff\xfe not text\nwith\ttab and \r return\n\n  blank line before\n"
    + bytes(range(1, 10))
    + b"\n"
    + "ä€😀\n".encode()
)


@pytest.fixture
def topic(call, request):
    name = request.node.name.translate(str.maketrans("[]", "__"))[:200]
    assert call("topic", "create", name, "--partitions", 3) == (0, b"", b"")
    return name


@pytest.fixture
def file(tmp_path):
    def write(content, name="input"):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_lines_come_back_byte_for_byte(call, topic, file, compression):
    text = ODD * 300
    assert call("produce", topic, file(text), "--compression", compression, "--partition", 1) == (0, b"", b"")
    assert call("consume", topic, "--exit-at-end") == (0, text, b"")
    assert call("consume", topic, "--exit-at-end", "--raw") == (0, text.replace(b"\n", b""), b"")


def test_a_last_line_without_its_end_and_other_separators(call, topic, file):
    for name, content in (("one", b"a;b;;c"), ("two", b";d;")):
        assert call("produce", topic, file(content, name), "--separator", ";", "--partition", 0)[0] == 0
    assert call("consume", topic, "--exit-at-end", "--separator", r"\x00\n") == (0, b"a\0\nb\0\n\0\nc\0\n\0\nd\0\n", b"")


def test_keys_go_to_the_partitions_that_java_chooses(call, topic, file):
    lines = [b"k%d=v%d=x" % (number % 11, number) for number in range(500)]
    assert call("produce", topic, file(b"\n".join(lines)), "--key-separator", "=")[0] == 0
    for partition in range(3):
        wanted = [line for line in lines if partition_for_key(line.partition(b"=")[0], 3) == partition]
        _, out, _ = call("consume", topic, "--exit-at-end", "--partition", partition, "--keys", "--key-separator", "=")
        assert out.splitlines() == wanted
        _, out, _ = call("consume", topic, "--exit-at-end", "--partition", partition)
        assert out.splitlines() == [line.partition(b"=")[2] for line in wanted]


def test_a_line_longer_than_a_chunk(call, topic, file):
    text = b"0" * 500_000 + b"\n" + b"z" * 1_040_000 + b"\n" + b"last"  # a record's most, over a chunk's edge
    assert call("produce", topic, file(text), "--partition", 0)[0] == 0
    assert call("consume", topic, "--exit-at-end") == (0, text + b"\n", b"")


def test_a_line_without_an_end(call, topic, file, monkeypatch):
    monkeypatch.setattr(produce, "MAX_LINE_BYTES", 2_000_000)
    code, out, err = call("produce", topic, file(b"fine\n" + bytes(4_000_000)))
    assert (code, out) == (1, b"") and b"a line of more than 2000000 bytes" in err and err.count(b"\n") == 1


def test_what_the_broker_refuses_is_told_with_the_count(call, topic, file):
    code, out, err = call("produce", topic, file(b"z" * 3_000_000 + b"\nfine\n"), "--partition", 0)
    assert (code, out) == (1, b"")
    assert err.startswith(b"fastlog: 1 of 2 records were not delivered: ") and err.count(b"\n") == 1
    assert call("consume", topic, "--exit-at-end") == (0, b"fine\n", b"")


def test_what_was_delivered_is_told_as_json(call, topic, file):
    code, out, err = call("produce", topic, file(b"one\ntwo\n"), "--json")
    told = json.loads(out)
    assert (code, err, out.count(b"\n")) == (0, b"", 1)
    assert told.pop("seconds") > 0 and told.pop("bytes") > len(b"onetwo")
    assert told == {"topic": topic, "records": 2, "failed": 0}
    code, out, err = call("produce", topic, file(b"z" * 3_000_000 + b"\nfine\n"), "--partition", 0, "--json")
    assert (code, json.loads(out)["records"], json.loads(out)["failed"]) == (1, 1, 1)
    assert err.startswith(b"fastlog: 1 of 2 records were not delivered: ")


def test_whole_files(call, topic, file):
    contents = {b"a": ODD, b"b": b"", b"c": bytes(range(256)) * 100}
    files = [file(content, name.decode()) for name, content in contents.items()]
    assert call("produce", topic, *files, "--whole", "--name-as-key")[0] == 0
    for name, content in contents.items():
        where = partition_for_key(name, 3)
        _, out, _ = call("consume", topic, "--exit-at-end", "--partition", where, "--keys", "--separator", "<end>")
        assert name + b"\t" + content + b"<end>" in out


def test_where_to_begin_and_when_to_stop(call, topic, file):
    assert call("produce", topic, file(b"".join(b"%d\n" % number for number in range(1000))), "--partition", 2)[0] == 0
    one = ("consume", topic, "--partition", 2, "--exit-at-end")
    assert call(*one, "--offset", 997) == (0, b"997\n998\n999\n", b"")
    assert call(*one, "--offset", "end") == (0, b"", b"")
    assert call(*one, "--offset", 5, "--max", 2) == (0, b"5\n6\n", b"")
    assert call(*one, "--max", 0) == (0, b"", b"")
    assert call(*one, "--max", 2, "--offsets") == (0, b"2:0\t0\n2:1\t1\n", b"")
    assert call("consume", topic, "--partition", 2, "--max", 1000, "--offset", "beginning")[1].count(b"\n") == 1000
    code, _, err = call(*one, "--offset", 2000)
    assert code == 1 and b"2000" in err and err.count(b"\n") == 1
    code, _, err = call("consume", topic, "--partition", 3)
    assert (code, err) == (2, b"fastlog: --partition 3: %s has 3, the last is 2\n" % topic.encode())


def test_by_time(call, topic, file):
    assert call("produce", topic, file(b"old\n", "old"), "--partition", 0)[0] == 0
    (record,) = [json.loads(line) for line in call("consume", topic, "--exit-at-end", "--json")[1].splitlines()]
    stamp = record["timestamp_ms"]
    while time.time_ns() // 1_000_000 <= stamp:
        pass
    assert call("produce", topic, file(b"new\n", "new"), "--partition", 0)[0] == 0
    one = ("consume", topic, "--exit-at-end", "--time")
    assert call(*one, stamp) == (0, b"old\nnew\n", b"")
    assert call(*one, record["time"]) == (0, b"old\nnew\n", b"")
    assert call(*one, stamp + 1) == (0, b"new\n", b"")
    assert call(*one, "9999-01-01") == (0, b"", b"")
    assert call(*one, "1970-01-01T00:00:00Z", "--timestamps")[1].startswith(record["time"].encode() + b"\told\n")


def test_json_says_everything_and_headers_are_shown(call, topic, broker):
    from fastlog.client.blocking import Client

    with Client(broker.bootstrap) as client, client.producer() as producer:
        producer.send(
            topic, "wört\n".encode(), key=b"\xff", headers=[("h", b"1"), ("h", None)], partition=1, timestamp_ms=86_400_000
        )
        producer.send(topic, None, partition=1, timestamp_ms=-1)
    _, out, _ = call("consume", topic, "--exit-at-end", "--json")
    first, second = (json.loads(line) for line in out.splitlines())
    assert first == {
        "topic": topic,
        "partition": 1,
        "offset": 0,
        "timestamp_ms": 86_400_000,
        "time": "1970-01-02T00:00:00.000Z",
        "key": {"base64": "/w=="},
        "value": "wört\n",
        "headers": [["h", "1"], ["h", None]],
    }
    assert (second["key"], second["value"], second["headers"]) == (None, None, [])
    assert call("consume", topic, "--exit-at-end", "--headers", "--max", 1)[1] == "h=1,h=\twört\n\n".encode()


def test_no_such_topic(call):
    assert call("consume", "nowhere") == (1, b"", b"fastlog: no such topic: nowhere\n")


def test_a_topic_is_made_by_producing_to_it(call, file):
    assert call("produce", "made-by-produce", file(b"x\n"))[0] == 0
    assert call("consume", "made-by-produce", "--exit-at-end") == (0, b"x\n", b"")


def test_what_is_typed_is_sent_before_the_input_ends(program, broker, topic):
    where = ("--bootstrap", broker.bootstrap)
    consumer = program("consume", topic, *where)
    producer = program("produce", topic, *where, stdin=-1)
    for line in (b"first\n", b"second\n"):
        producer.stdin.write(line)
        producer.stdin.flush()
        assert consumer.stdout.readline() == line
    assert program.finish(producer, b"third") == (0, b"", b"")
    assert consumer.stdout.readline() == b"third\n"
    consumer.send_signal(signal.SIGINT)
    assert program.finish(consumer)[0] == 130


def test_whoever_reads_may_leave(program, broker, topic, call, file):
    assert call("produce", topic, file(b"line\n" * 200_000))[0] == 0
    consumer = program("consume", topic, "--exit-at-end", "--bootstrap", broker.bootstrap)
    assert consumer.stdout.read(5) == b"line\n"
    consumer.stdout.close()
    assert consumer.stderr.read() == b""
    assert consumer.wait(timeout=60) == 141


def test_progress_is_shown_on_a_terminal_and_nowhere_else(program, broker, topic, file):
    ours, theirs = pty.openpty()
    producer = program("produce", topic, file(b"line\n" * 1000), "--bootstrap", broker.bootstrap, stderr=theirs)
    os.close(theirs)
    assert producer.wait(timeout=60) == 0
    said = os.read(ours, 10_000)
    os.close(ours)
    assert b"1,000 records, 0.0 MB, " in said and b" MB/s" in said and said.endswith(b"\n")
