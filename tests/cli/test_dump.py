"""`fastlog dump` over what Kafka 4.3.1 wrote (tests/data), whole and broken on purpose, and over fastlog's own directories."""

import json
import struct
import tarfile
from pathlib import Path

import pytest

from fastlog._core import BatchBuilder, crc32c
from fastlog.cli.main import run
from fastlog.coordinator.journal import Journal
from fastlog.coordinator.tree import Create, OpenSession, Transaction

SAMPLE = Path(__file__).parents[1] / "data" / "kafka-4.3.1-data.tar.gz"
LOG, INDEX, TIME_INDEX = (f"{0:020d}.{suffix}" for suffix in ("log", "index", "timeindex"))


@pytest.fixture
def kafkas(tmp_path):
    with tarfile.open(SAMPLE) as sample:
        sample.extractall(tmp_path, filter="data")
    return tmp_path


@pytest.fixture
def dump(capsys):
    """`dump(path, ...)` returns the items, each with its file's name alone, and checks the exit code against them."""

    def dump_one(*arguments):
        code = run(["dump", "--json", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert err == ""
        items = [json.loads(line) for line in out.splitlines()]
        assert code == any(item["kind"] == "problem" for item in items)
        return [{**item, "file": Path(item["file"]).name} for item in items]

    return dump_one


def of_kind(items, kind):
    return [{key: value for key, value in item.items() if key not in ("kind", "file")} for item in items if item["kind"] == kind]


def problems(items):
    return [(item["file"], item.get("position"), item["reason"]) for item in items if item["kind"] == "problem"]


# ---- as Kafka wrote it ----


@pytest.mark.parametrize("which", ["clean", "live"])
def test_nothing_is_wrong_with_what_kafka_wrote(kafkas, dump, which):
    items = dump(kafkas / which)
    assert problems(items) == []
    assert {item["kind"] for item in items} >= {
        "segment", "batch", "offset index", "time index", "transaction index", "aborted transaction", "leader epoch",
        "checkpoint", "checkpointed", "meta properties", "partition metadata",
    }  # fmt: skip


def test_batches_and_records_of_transactions(kafkas, dump):
    items = dump(kafkas / "clean" / "txn-0", "--records")
    batches = of_kind(items, "batch")
    assert [(batch["base_offset"], batch["last_offset"]) for batch in batches][:3] == [(0, 9), (10, 10), (11, 20)]
    assert [(batch["is_transactional"], batch["is_control"], batch["base_sequence"]) for batch in batches][:2] == [
        (True, False, 0),
        (True, True, -1),
    ]
    records = of_kind(items, "record")
    assert [record["offset"] for record in records] == list(range(68))
    assert [(record["offset"], record["control"], record["coordinator_epoch"]) for record in records if "control" in record] == [
        (10, "commit", 0), (21, "abort", 0), (32, "commit", 0), (43, "abort", 0), (54, "commit", 0), (65, "abort", 0),
        (67, "commit", 0),
    ]  # fmt: skip
    assert [(one["first_offset"], one["last_offset"]) for one in of_kind(items, "aborted transaction")] == [
        (11, 21), (33, 43), (55, 65),
    ]  # fmt: skip
    (producer,) = of_kind(items, "producer")
    assert (producer["producer_id"], producer["last_sequence"], producer["last_offset"]) == (1, 60, 66)


def test_records_of_compressed_batches_and_the_indexes_over_them(kafkas, dump):
    items = dump(kafkas / "clean" / "zipped-0" / LOG, "--records")
    assert {batch["codec"] for batch in of_kind(items, "batch")} == {"gzip", "snappy", "lz4", "zstd"}
    assert [record["offset"] for record in of_kind(items, "record")] == list(range(8000))
    assert [(entry["offset"], entry["position"]) for entry in of_kind(items, "index entry")] == [
        (3999, 7952), (5999, 22545), (7999, 38868),
    ]  # fmt: skip
    assert of_kind(items, "time index entry")[0] == {"entry": 0, "timestamp_ms": 1795372677737, "offset": 3999}


def test_small_files(kafkas, dump):
    items = dump(*(kafkas / "clean" / name for name in ("meta.properties", "recovery-point-offset-checkpoint")))
    assert of_kind(items, "meta properties")[0]["cluster.id"] == "AAAAAAAAQACAAAAAAAAAAA"
    assert {"topic": "txn", "partition": 0, "offset": 68} in of_kind(items, "checkpointed")
    (metadata,) = of_kind(dump(kafkas / "live" / "txn-0" / "partition.metadata"), "partition metadata")
    assert metadata["topic_id"] == "X3fwKRJTR5-TcdgmJFH00w"


def test_nothing_is_changed(kafkas, dump):
    def all_files():
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in kafkas.rglob("*") if path.is_file()}

    before = all_files()
    dump(kafkas, "--records")
    assert all_files() == before


# ---- broken ----


def changed(data, position, replacement):
    return data[:position] + replacement + data[position + len(replacement) :]


def huge_length(data):
    return changed(data, 151 + 8, struct.pack(">i", 1_000_000_000))


def valid_crc(data):
    """Give the sample's first batch (151 bytes) the CRC that goes with its bytes."""
    return changed(data, 17, struct.pack(">I", crc32c(data[21:151])))


BROKEN = {
    "a flipped bit": ("txn-0", LOG, lambda data: changed(data, 300, b"\xee"), [(LOG, 229, "CRC mismatch")]),
    "a torn end": (
        "txn-0", LOG, lambda data: data[:-10], [
            (LOG, 1446, "a batch of 78 bytes that is cut short; 68 bytes from here on are no batches"),
            (TIME_INDEX, 0, "it has offset 67, and the batches end at 67"),
            ("recovery-point-offset-checkpoint", None, "68 for txn-0, whose log ends at 67"),
            ("replication-offset-checkpoint", None, "68 for txn-0, whose log ends at 67"),
        ],
    ),
    "zeros at the end": (
        "txn-0", LOG, lambda data: data + bytes(500), [(LOG, 1524, "zeros; 500 bytes from here on are no batches")],
    ),
    "a length that leads nowhere": (
        "txn-0", LOG, huge_length, [
            (LOG, 151, "a batch of 1000000012 bytes that is cut short; 1373 bytes from here on are no batches"),
            (TIME_INDEX, 0, "it has offset 67, and the batches end at 10"),
            ("recovery-point-offset-checkpoint", None, "68 for txn-0, whose log ends at 10"),
            ("replication-offset-checkpoint", None, "68 for txn-0, whose log ends at 10"),
        ],
    ),
    "offsets that go back": (
        "txn-0", LOG, lambda data: changed(data, 151, struct.pack(">q", 9)), [
            (LOG, 151, "offsets 9 to 9 after the beginning of offset 10"),
        ],
    ),
    "another leader epoch": (
        "txn-0", LOG, lambda data: changed(data, 12, struct.pack(">i", 3)), [
            (LOG, 0, "offsets 0 to 9 are of leader epoch 3, and leader-epoch-checkpoint says 0; further ones are not listed"),
        ],
    ),
    "a codec that nobody knows": (
        "txn-0", LOG, lambda data: valid_crc(changed(data, 21, b"\0\x17")), [(LOG, 0, "unknown codec")],
    ),
    "records that decompress to nothing": (
        "txn-0", LOG, lambda data: valid_crc(changed(data, 21, b"\0\x14")), [
            (LOG, 0, "the records of offsets 0 to 9: the zstd data cannot be decompressed"),
        ],
    ),
    "an index that points between batches": (
        "zipped-0", INDEX, lambda data: changed(data, 8 + 4, struct.pack(">i", 22546)), [
            (INDEX, 8, "offset 5999 is said to be at position 22546, where no batch begins"),
        ],
    ),
    "an index that goes back": (
        "zipped-0", INDEX, lambda data: changed(data, 8, struct.pack(">i", 5)), [(INDEX, 8, "the entries do not ascend")],
    ),
    "an index with the offset of an earlier batch": (
        "zipped-0", INDEX, lambda data: changed(data, 0, struct.pack(">i", 5)), [
            (INDEX, 0, "offset 5 is before the batch at position 7952, of offsets 2000 to 3999"),
        ],
    ),
    "an index that is cut": (
        "zipped-0", INDEX, lambda data: data[:-3], [(INDEX, 16, "21 bytes are no multiple of 8")],
    ),
    "an index past the log": (
        "zipped-0", INDEX, lambda data: changed(data, 16 + 4, struct.pack(">i", 1 << 30)), [
            (INDEX, 16, "offset 7999 is said to be at position 1073741824, and the batches end at 45638"),
        ],
    ),
    "a time index with another time": (
        "zipped-0", TIME_INDEX, lambda data: changed(data, 0, struct.pack(">q", 1795372677738)), [
            (TIME_INDEX, 0, "timestamp 1795372677738 is not of the batch with offset 3999"),
        ],
    ),
    "a transaction index without a marker": (
        "txn-0", f"{0:020d}.txnindex", lambda data: changed(data, 2, struct.pack(">q", 7)), [
            (f"{0:020d}.txnindex", None, "producer 7 has no abort marker at offset 21"),
        ],
    ),
    "a transaction index that is torn": (
        "txn-0", f"{0:020d}.txnindex", lambda data: data + b"\0", [(f"{0:020d}.txnindex", 102, "the last entry is torn")],
    ),
    "a producer snapshot": (
        "txn-0", f"{68:020d}.snapshot", lambda data: changed(data, 30, b"\x77"), [
            (f"{68:020d}.snapshot", None, "the producer snapshot's CRC does not match"),
        ],
    ),
    "leader epochs": (
        "txn-0", "leader-epoch-checkpoint", lambda data: b"0\n2\n0 0\n", [
            ("leader-epoch-checkpoint", None, "1 entries where 2 are announced"),
        ],
    ),
    "leader epochs past the end": (
        "txn-0", "leader-epoch-checkpoint", lambda data: b"0\n2\n0 0\n1 100\n", [
            ("leader-epoch-checkpoint", None, "epoch 1 begins at 100, and the log ends at 68"),
        ],
    ),
    "partition.metadata": (
        "txn-0", "partition.metadata", lambda data: b"version: 0\ntopic_id: me\n", [
            ("partition.metadata", None, "no partition metadata: 'me' is not a topic id"),
        ],
    ),
    "meta.properties": (
        ".", "meta.properties", lambda data: b"version=7\n", [
            ("meta.properties", None, "version=7 is not known: the directory was written by something newer"),
        ],
    ),
    "a checkpoint": (
        ".", "replication-offset-checkpoint", lambda data: b"0\n1\ntxn 0 sixty\n", [
            ("replication-offset-checkpoint", None, "'txn 0 sixty' is not 'topic partition offset'"),
        ],
    ),
    "a log that is gone": (
        "zipped-0", LOG, None, [
            (INDEX, None, "there is no log beside it"),
            (TIME_INDEX, None, "there is no log beside it"),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_named(kafkas, dump, what):
    directory, name, change, expected = BROKEN[what]
    path = kafkas / "clean" / directory / name
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    found = problems(dump(kafkas / "clean"))
    for file, position, reason in expected:
        assert any((one[0], one[1]) == (file, position) and one[2].startswith(reason) for one in found), found
    if what != "a log that is gone":
        assert len(found) == len(expected), found


def test_the_batches_behind_a_broken_one_are_read(kafkas, dump):
    path = kafkas / "clean" / "txn-0" / LOG
    path.write_bytes(changed(path.read_bytes(), 300, b"\xee"))
    assert [batch["base_offset"] for batch in of_kind(dump(path), "batch")][-1] == 67


def test_garbage_of_any_name_is_only_a_problem(kafkas, dump):
    for number, path in enumerate(sorted(path for path in (kafkas / "clean").rglob("*") if path.is_file())):
        path.write_bytes(bytes((number * 7 + index * 31) % 256 for index in range(300)))
    assert len(problems(dump(kafkas / "clean"))) > 10


# ---- its own ----


def test_segments_beside_one_another(dump, tmp_path):
    for base_offset, count in ((0, 3), (5, 2), (6, 1)):
        builder = BatchBuilder(base_offset=base_offset)
        for _ in range(count):
            builder.append(1, b"\xff", None, [("name", b"\xfe")])
        (tmp_path / f"{base_offset:020d}.log").write_bytes(builder.build())
    items = dump(tmp_path, "--records")
    assert of_kind(items, "gap") == [{"from_offset": 3, "to_offset": 4}]
    assert problems(items) == [
        (f"{5:020d}.log", 0, "offsets 5 to 6 reach into the next segment, which begins with 6"),
    ]
    assert of_kind(items, "record")[0] == {
        "offset": 0, "timestamp_ms": 1, "sequence": -1, "key": {"base64": "/w=="}, "value": None,
        "headers": [["name", {"base64": "/g=="}]],
    }  # fmt: skip


@pytest.fixture
def coordinators(new_machine, tmp_path):
    """A coordinator's journal of two transactions, on the disk."""
    machine = new_machine()
    journal, _ = Journal.open(machine.reactor, machine.disk, machine.flusher, "/c")
    journal.append(Transaction(1, 5, 9, OpenSession(9, 6000)))
    journal.append(Transaction(2, 6, 9, (Create("/a", b"\xffdata"),)))
    machine.settle()
    journal.close()
    machine.settle()
    for path, data in machine.disk.contents().items():
        (tmp_path / Path(path).name).write_bytes(data)
    return tmp_path


def test_the_coordinators_journal(dump, coordinators):
    items = dump(coordinators)
    assert problems(items) == []
    head, opened, created, end = of_kind(items, "frame")
    assert (head["holds"], end["holds"], end["zxid"]) == ("head", "end", 2)
    assert (opened["holds"], opened["opened"], opened["timeout_ms"]) == ("open session", 9, 6000)
    assert created["operations"] == [
        {
            "operation": "Create",
            "path": "/a",
            "data": {"base64": "/2RhdGE="},
            "ephemeral": False,
            "sequential": False,
            "acl": [[31, "world", "anyone"]],
            "container": False,
            "ttl_ms": 0,
        }
    ]


def test_a_corrupt_and_a_torn_journal(dump, coordinators):
    path = coordinators / "journal.0000000000000001"
    data = path.read_bytes()
    path.write_bytes(changed(data, 60, b"\xee"))
    ((file, position, reason),) = problems(dump(coordinators))
    assert (file, reason) == (path.name, "the record's CRC is wrong") and 0 < position <= 60
    path.write_bytes(data[:-5])
    items = dump(path)
    assert problems(items) == []
    assert [one["size_bytes"] for one in of_kind(items, "torn tail")] == [
        len(data) - of_kind(items, "torn tail")[0]["position"] - 5
    ]


def test_a_coordinators_snapshot(dump, tmp_path):
    (tmp_path / "snapshot.0000000000000005").write_bytes(bytes(40))
    assert problems(dump(tmp_path / "snapshot.0000000000000005")) == [
        ("snapshot.0000000000000005", 0, "the snapshot's CRC is wrong")
    ]


def test_a_directory_of_up(up, dump, tmp_path, monkeypatch):
    broker = up("--data", tmp_path / "data")
    monkeypatch.setenv("FASTLOG_BOOTSTRAP", broker.bootstrap)
    (tmp_path / "lines").write_bytes(b"".join(b"line %d\n" % number for number in range(1000)))
    assert run(["topic", "create", "lines"]) == 0
    assert run(["produce", "lines", str(tmp_path / "lines"), "--compression", "zstd"]) == 0
    running = dump(tmp_path / "data", "--records")
    assert problems(running) == []
    assert sum(batch["count"] for batch in of_kind(running, "batch")) == 1000
    assert broker.end() == 0
    stopped = dump(tmp_path / "data", "--records")
    assert problems(stopped) == []
    assert [record["value"] for record in of_kind(stopped, "record")] == [f"line {number}" for number in range(1000)]
    assert {"producer snapshot", "journal", "partition metadata"} <= {item["kind"] for item in stopped}


# ---- as text ----


def test_text(kafkas, capsys):
    assert run(["dump", "--records", str(kafkas / "clean" / "txn-0")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{kafkas}/clean/txn-0/leader-epoch-checkpoint"
    assert lines[-1] == "7 files, 0 problems"
    assert any(
        line.startswith("    batch position=151 size_bytes=78 base_offset=10 ") and line.endswith("is_control=yes")
        for line in lines
    )
    assert any(
        line.startswith("      record offset=10 ") and line.endswith("control=commit coordinator_epoch=0") for line in lines
    )


def test_only_problems(kafkas, capsys):
    path = kafkas / "clean" / "txn-0" / LOG
    path.write_bytes(changed(path.read_bytes(), 300, b"\xee"))
    assert run(["dump", "--problems", str(path)]) == 1
    assert capsys.readouterr().out == f"{path}\n  PROBLEM at 229: CRC mismatch\n4 files, 1 problems\n"


def test_a_name_that_means_nothing(tmp_path, capsys):
    (tmp_path / "server.properties").write_text("")
    assert run(["dump", str(tmp_path / "server.properties")]) == 2
    assert "has no name of a data directory's file" in capsys.readouterr().err
    assert run(["dump", str(tmp_path / "nowhere")]) == 2
