"""The examples that need no broker do what they say."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def run(arguments, stdin=b""):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, input=stdin, capture_output=True, check=False)


def test_partition_keys(tmp_path):
    # The partitions are those of Java's client, as in test_murmur2.py.
    expected = b"0\tfoobar\n3\t21\n4\tabc\n2\t\n"
    result = run(["examples/core/partition_keys.py", "7"], b"foobar\n21\nabc\n\n")
    assert (result.stdout, result.stderr) == (expected, b"")
    (tmp_path / "keys").write_bytes(b"foobar\n21\nabc\n\n")
    assert run(["examples/core/partition_keys.py", "7", str(tmp_path / "keys")]).stdout == expected
    for wrong in ([], ["0"], ["x"]):
        result = run(["examples/core/partition_keys.py", *wrong])
        assert result.returncode == 1
        assert result.stderr.startswith(b"usage")


def segment_program(program, *arguments, stdin=b""):
    result = run([f"examples/core/{program}", *map(str, arguments)], stdin)
    assert (result.returncode, result.stderr) == (0, b"")
    return result.stdout


def test_what_one_program_writes_the_other_reads(tmp_path):
    lines = [b"line %d" % number for number in range(1700)]
    told = segment_program("write_segment.py", tmp_path / "new", stdin=b"\n".join(lines[:1201]))
    log = tmp_path / "new" / f"{0:020d}.log"
    assert told == b"offsets 0..1200, %d bytes\n" % log.stat().st_size
    with log.open("ab") as file:
        file.write(b"torn")
    assert segment_program("write_segment.py", tmp_path / "new", stdin=b"\n".join(lines[1201:])).startswith(
        b"offsets 1201..1699, "
    )

    read = [line.split(b"\t") for line in segment_program("read_segment.py", log).splitlines()]
    assert [(int(offset), key, value) for offset, _, key, value in read] == [
        (number, b"%d" % number, line) for number, line in enumerate(lines)
    ]
    assert len(segment_program("read_segment.py", log, 1650).splitlines()) == 50
    assert segment_program("read_segment.py", log, 1700) == b""
