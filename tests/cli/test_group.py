"""`fastlog group` and `fastlog consume --group`, as people run them."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from fastlog.cli.main import run
from fastlog.client.assignments import (
    assign_ranges,
    decode_assignment,
    decode_subscription,
    encode_assignment,
    encode_subscription,
)
from fastlog.client.blocking import Client
from fastlog.client.groups import Groups


def fastlog(broker, *arguments, text=None, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "fastlog", *map(str, arguments), "--bootstrap", broker.bootstrap],
        input=text,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture
def topic(broker, request):
    """Return the name of a topic with three partitions and 30 records."""
    name = request.node.name.replace("[", ".").replace("]", "")
    fastlog(broker, "topic", "create", name, "--partitions", 3)
    fastlog(broker, "produce", name, "--key-separator", ":", text="".join(f"k{n}:v{n}\n" for n in range(30)))
    return name


def described(broker, group):
    return json.loads(fastlog(broker, "group", "describe", group, "--json"))


@pytest.mark.slow
def test_a_group_goes_on_where_it_was(broker, topic):
    group = f"g.{topic}"
    first = fastlog(broker, "consume", topic, "--group", group, "--max", 12).split()
    second = fastlog(broker, "consume", topic, "--group", group, "--exit-at-end").split()
    assert sorted(first + second) == sorted(f"v{n}" for n in range(30))
    assert fastlog(broker, "consume", topic, "--group", group, "--exit-at-end") == ""
    other = fastlog(broker, "consume", topic, "--group", f"other.{topic}", "--exit-at-end").split()
    assert sorted(other) == sorted(first + second)
    assert {f"other.{topic}", group} <= set(fastlog(broker, "group", "list").split())
    told = described(broker, group)
    assert (told["state"], told["members"]) == ("Empty", [])
    assert [(one["partition"], one["lag"]) for one in told["partitions"]] == [(0, 0), (1, 0), (2, 0)]
    assert sum(one["committed"] for one in told["partitions"]) == 30


@pytest.mark.slow
def test_two_members_share(broker, topic):
    group = f"g.{topic}"
    command = [sys.executable, "-m", "fastlog", "consume", topic, "--group", group, "--bootstrap", broker.bootstrap]
    members = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    try:
        while True:
            told = described(broker, group) if group in fastlog(broker, "group", "list").split() else None
            owners = {one["member"] for one in told["partitions"]} if told else set()
            if told and told["state"] == "Stable" and len(owners) == 2 and None not in owners:
                break
        text = fastlog(broker, "group", "describe", group)
        assert text.startswith(f"{group}  state=Stable type=consumer protocol=range coordinator=1 members=2 ")
        assert "NON_EMPTY" not in fastlog(broker, "group", "list")
        assert "has members: stop them first" in fastlog(broker, "group", "delete", group, code=1)
        assert "has members: stop them first" in fastlog(broker, "group", "reset-offsets", group, topic, "--to", 0, code=1)
    finally:
        for member, number in zip(members, (signal.SIGINT, signal.SIGTERM), strict=True):
            member.send_signal(number)
        outputs = [member.communicate(timeout=60) for member in members]
    assert [member.returncode for member in members] == [130, 130], outputs
    assert {f"v{n}" for n in range(30)} == set(b"".join(out for out, _ in outputs).decode().split())
    assert described(broker, group)["state"] == "Empty", "whoever is interrupted or terminated leaves its group"


@pytest.mark.slow
def test_offsets_are_reset_and_groups_deleted(broker, topic):
    group = f"g.{topic}"
    fastlog(broker, "consume", topic, "--group", group, "--exit-at-end")
    ends = {one["partition"]: one["end"] for one in described(broker, group)["partitions"]}
    fastlog(broker, "group", "reset-offsets", group, topic, "--to", "beginning", "--dry-run")
    assert fastlog(broker, "consume", topic, "--group", group, "--exit-at-end") == ""
    shown = fastlog(broker, "group", "reset-offsets", group, f"{topic}:1", "--to", "beginning")
    assert shown == f"{topic}  1  {ends[1]} -> 0\n"
    assert len(fastlog(broker, "consume", topic, "--group", group, "--exit-at-end").split()) == ends[1]
    fastlog(broker, "group", "reset-offsets", group, topic, "--shift", -1)
    assert len(fastlog(broker, "consume", topic, "--group", group, "--exit-at-end").split()) == 3
    fastlog(broker, "group", "reset-offsets", group, topic, "--to", 10_000)
    assert fastlog(broker, "consume", topic, "--group", group, "--exit-at-end") == ""
    fastlog(broker, "group", "reset-offsets", group, topic, "--time", 0)
    assert len(fastlog(broker, "consume", topic, "--group", group, "--exit-at-end").split()) == 30
    assert "no such group: ''" in fastlog(broker, "group", "describe", "", code=1)
    assert json.loads(fastlog(broker, "group", "delete", group, "--json")) == {"group": group, "deleted": True}
    assert group not in fastlog(broker, "group", "list").split()
    assert f"no such group: {group}" in fastlog(broker, "group", "delete", group, code=1)
    assert f"no such group: {group}" in fastlog(broker, "group", "describe", group, code=1)


@pytest.mark.slow
def test_all_that_a_group_has_committed_is_reset(broker, topic):
    group, other = f"g.{topic}", f"other.{topic}"
    fastlog(broker, "topic", "create", other, "--partitions", 1)
    for name in (topic, other):
        fastlog(broker, "consume", name, "--group", group, "--exit-at-end")
    ends = {(one["topic"], one["partition"]): one["end"] for one in described(broker, group)["partitions"]}
    assert len(ends) == 4, "what it began with is committed too, where there was nothing to read"
    told = fastlog(broker, "group", "reset-offsets", group, "--all", "--to", "beginning", "--json")
    assert [json.loads(line) for line in told.splitlines()] == [
        {"topic": name, "partition": partition, "before": end, "after": 0} for (name, partition), end in sorted(ends.items())
    ]
    assert {one["committed"] for one in described(broker, group)["partitions"]} == {0}
    once = fastlog(broker, "group", "reset-offsets", group, topic, f"{topic}:1", topic, "--to", "end")
    assert len(once.splitlines()) == 3
    fastlog(broker, "topic", "delete", other)
    assert len(fastlog(broker, "group", "reset-offsets", group, "--all", "--to", "end").splitlines()) == 3
    nobody = fastlog(broker, "group", "reset-offsets", f"nobody.{topic}", "--all", "--to", "end", code=1)
    assert nobody == f"fastlog: the group nobody.{topic} has committed no offsets: name the topics\n"


@pytest.mark.slow
def test_a_group_that_began_at_the_end_goes_on_there(broker, topic):
    group = f"g.{topic}"
    assert fastlog(broker, "consume", topic, "--group", group, "--offset", "end", "--exit-at-end") == ""
    fastlog(broker, "produce", topic, text="new\n")
    assert fastlog(broker, "consume", topic, "--group", group, "--exit-at-end") == "new\n"


@pytest.mark.slow
def test_what_was_committed_and_is_gone_is_begun_anew(broker, topic):
    group = f"g.{topic}"
    with Client(broker.bootstrap) as client:
        client.wait(Groups(client.cluster).commit(group, {(topic, 0): 1_000, (topic, 1): 1_000}))
    read = fastlog(broker, "consume", topic, "--group", group, "--exit-at-end").split()
    assert sorted(read) == sorted(f"v{n}" for n in range(30))


@pytest.mark.slow
def test_what_could_not_be_printed_is_not_committed(broker, topic):
    group = f"g.{topic}"
    command = [sys.executable, "-m", "fastlog", "consume", topic, "--group", group, "--bootstrap", broker.bootstrap]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=buffered, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, b"fastlog: No space left on device\n")
    printed = fastlog(broker, "consume", topic, "--group", group, "--exit-at-end").split()
    assert sorted(printed) == sorted(f"v{n}" for n in range(30))


ASKED_TO_STOP_RIGHT_AFTER_IT_PRINTED = """
import os, signal, sys, types
from fastlog.cli.main import run
stdout = sys.stdout
def flush():
    stdout.flush()
    os.kill(os.getpid(), signal.SIGTERM)
sys.stdout = types.SimpleNamespace(buffer=types.SimpleNamespace(write=stdout.buffer.write, flush=flush), flush=stdout.flush)
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.slow
def test_what_was_printed_is_committed_whenever_it_is_asked_to_stop(broker, topic):
    arguments = ["consume", topic, "--group", f"g.{topic}", "--bootstrap", broker.bootstrap]
    command = [sys.executable, "-c", ASKED_TO_STOP_RIGHT_AFTER_IT_PRINTED, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.strip()) == (130, "")
    assert done.stdout
    later = fastlog(broker, "consume", topic, "--group", f"g.{topic}", "--exit-at-end")
    assert sorted((done.stdout + later).split()) == sorted(f"v{n}" for n in range(30))


@pytest.mark.slow
def test_a_member_outlives_its_broker(up, tmp_path):
    data = tmp_path / "data"
    first = up("--data", data)
    fastlog(first, "topic", "create", "t", "--partitions", 2)
    fastlog(first, "produce", "t", text="before\n")
    command = [sys.executable, "-m", "fastlog", "consume", "t", "--group", "g", "--bootstrap", first.bootstrap]
    member = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert member.stdout.readline() == "before\n"
        while sum(one["committed"] or 0 for one in described(first, "g")["partitions"]) < 1:
            pass
        first.end(signal.SIGKILL)
        time.sleep(7)  # longer than a request is tried again
        again = up("--data", data, "--port", first.bootstrap.rpartition(":")[2])
        fastlog(again, "produce", "t", text="after\n")
        assert member.stdout.readline() == "after\n"
    finally:
        member.send_signal(signal.SIGTERM)
        out, errors = member.communicate(timeout=60)
    assert (member.returncode, out, errors.strip()) == (130, "", "")
    told = described(again, "g")
    assert (told["state"], sum(one["lag"] for one in told["partitions"])) == ("Empty", 0)


@pytest.mark.slow
def test_partitions_that_are_added_are_shared_out_too(broker, topic):
    group = f"g.{topic}"
    command = [sys.executable, "-m", "fastlog", "consume", topic, "--group", group, "--bootstrap", broker.bootstrap]
    member = subprocess.Popen([*command, "--offset", "end"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while group not in fastlog(broker, "group", "list").split() or described(broker, group)["state"] != "Stable":
            pass
        fastlog(broker, "topic", "alter", topic, "--partitions", 4)
        while len(described(broker, group)["partitions"]) < 4:
            pass
        fastlog(broker, "produce", topic, "--partition", 3, text="there\n")
        assert member.stdout.readline() == "there\n"
    finally:
        member.send_signal(signal.SIGTERM)
        member.communicate(timeout=60)


@pytest.mark.slow
def test_whoever_owns_nothing_is_at_its_end(broker, topic):
    group, narrow = f"g.{topic}", f"narrow.{topic}"
    fastlog(broker, "topic", "create", narrow, "--partitions", 1)
    command = [sys.executable, "-m", "fastlog", "consume", narrow, "--group", group, "--bootstrap", broker.bootstrap]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        while group not in fastlog(broker, "group", "list").split() or described(broker, group)["state"] != "Stable":
            pass
        for _ in range(2):  # whichever of the two the partition falls to
            fastlog(broker, "consume", narrow, "--group", group, "--exit-at-end")
    finally:
        owner.send_signal(signal.SIGTERM)
        owner.communicate(timeout=60)
    assert owner.returncode == 130


@pytest.mark.parametrize(
    "arguments",
    [
        ["group", "reset-offsets", "g", "--to", "end"],
        ["group", "reset-offsets", "g", "t", "--all", "--to", "end"],
        ["group", "reset-offsets", "", "t", "--to", "end"],
        ["consume", "t", "--group", ""],
        ["group", "reset-offsets", "g", "t"],
        ["group", "reset-offsets", "g", "t", "--to", "1", "--shift", "1"],
        ["group", "reset-offsets", "g", "t", "--to", "somewhere"],
        ["group", "reset-offsets", "g", "t", "--time", "noon"],
        ["consume", "t", "--group", "g", "--partition", "0"],
        ["consume", "t", "--group", "g", "--offset", "5"],
    ],
)
def test_what_makes_no_sense_is_refused(arguments):
    assert run(arguments) == 2


def test_ranges_are_kafkas():
    wanted = {"b": ["t", "u"], "a": ["t"], "c": ["t"]}
    assert assign_ranges(wanted, {"t": 7, "u": 2}) == {
        "a": [("t", 0), ("t", 1), ("t", 2)],
        "b": [("t", 3), ("t", 4), ("u", 0), ("u", 1)],
        "c": [("t", 5), ("t", 6)],
    }
    assert assign_ranges({"a": [], "b": ["t"]}, {"t": 1}) == {"a": [], "b": [("t", 0)]}
    assert decode_assignment(encode_assignment([("t", 1), ("u", 0), ("t", 2)])) == [("t", 1), ("t", 2), ("u", 0)]
    assert decode_assignment(b"") == []
    assert decode_subscription(encode_subscription(["t", "u"])) == ["t", "u"]
