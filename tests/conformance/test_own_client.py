"""fastlog's own client and commands against a real Kafka, and the README's programs against fastlog."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
from functools import partial

import pytest

from fastlog._core import partition_for_key
from fastlog.client.blocking import Client
from fastlog.codecs import NAMES

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(300)]

ROOT = pathlib.Path(__file__).parent.parent.parent


def test_a_real_kafka_takes_and_gives_back_every_codec(real_kafka, tmp_path, java) -> None:
    values = [b"value %d " % number * (number % 7) for number in range(2_000)]
    with real_kafka(tmp_path / "kafka") as bootstrap, Client(bootstrap) as client:
        for codec in NAMES:
            client.wait(client.admin().create_topic(codec, partitions=3))
            where = {}

            def deliver(delivery, number, where=where) -> None:
                assert delivery.error is None
                where[number] = delivery.partition, delivery.offset

            with client.producer(compression=codec, batch_bytes=20_000) as producer:
                for number, value in enumerate(values):
                    key, headers = b"k%d" % (number % 17), [("n", b"%d" % number)]
                    producer.send(codec, value, key=key, headers=headers, on_delivery=partial(deliver, number=number))
            assert len(where) == len(values)
            stored = {}
            for fetched in client.consumer([(codec, partition) for partition in range(3)]).batches(stop_at_end=True):
                assert fetched.batch.codec == NAMES.index(codec)
                for record in fetched.records():
                    stored[fetched.partition, record.offset] = bytes(record.key), bytes(record.value), bytes(record.headers[0][1])
            assert len(stored) == len(values)
            for number, value in enumerate(values):
                assert where[number][0] == partition_for_key(b"k%d" % (number % 17), 3)
                assert stored[where[number]] == (b"k%d" % (number % 17), value, b"%d" % number)
        # Java decompresses what was written: the broker checked it, and so does its reader of log files.
        logs = ",".join(f"{tmp_path}/kafka/{codec}-{index}/00000000000000000000.log" for codec in NAMES for index in range(3))
        read = java.run("org.apache.kafka.tools.DumpLogSegments", "--files", logs, "--deep-iteration")
        assert read.stderr == ""
        assert read.stdout.count("| offset:") == len(NAMES) * len(values)


def test_the_commands_against_a_real_kafka(real_kafka, tmp_path) -> None:
    text = b"".join(b"k%d:line %d\n" % (number % 5, number) for number in range(50_000))
    (tmp_path / "lines").write_bytes(text)
    with real_kafka(tmp_path / "kafka") as bootstrap:

        def fastlog(*arguments: object) -> bytes:
            command = [sys.executable, "-m", "fastlog", *map(str, arguments), "--bootstrap", bootstrap]
            return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120).stdout

        fastlog("topic", "create", "lines", "--partitions", 2)
        fastlog("produce", "lines", tmp_path / "lines", "--key-separator", ":")
        out = fastlog("consume", "lines", "--exit-at-end", "--keys", "--key-separator", ":")
        assert sorted(out.splitlines()) == sorted(text.splitlines())
        assert b"lines\n" in fastlog("topic", "list")
        fastlog("topic", "delete", "lines")


def test_the_programs_of_the_readme_run(broker, tmp_path) -> None:
    programs = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(programs) >= 2
    for number, program in enumerate(programs):
        path = tmp_path / f"program{number}.py"
        path.write_text(program.replace("127.0.0.1:9092", broker.bootstrap))
        ran = subprocess.run(
            [sys.executable, path], check=False, capture_output=True, text=True, timeout=60, env={"PYTHONPATH": str(ROOT)}
        )
        assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
        assert "b'hello'" in ran.stdout
