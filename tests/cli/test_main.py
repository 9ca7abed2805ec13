"""What the command line says when it is asked, and when it is asked wrongly."""

import subprocess
import sys

import pytest

from fastlog import __version__
from fastlog.cli.main import COMMANDS, run


def usage_error(capsys, *arguments):
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("fastlog: ") and err.count("\n") == 1, err
    return err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert run([command, "--help"]) == 0
    assert f"Usage: fastlog {command}" in capsys.readouterr().out


def test_help_and_version(capsys):
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {command} " in out for command in COMMANDS)
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"fastlog {__version__}\n"


def test_a_program_without_stdout_is_told_nothing_and_fails_at_nothing():
    command = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "fastlog", "--version"]
    done = subprocess.run(command, stderr=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_goes_wrong_without_stderr_is_not_said_to_whoever_reads_stdout():
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-m", "fastlog", "consume", "t", "--raw", "--keys"]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nope"], "No such command 'nope'"),
        (["up", "--foo"], "No such option"),
        (["up", "--port", "70000"], "70000"),
        (["up", "-o", "num.partitions"], "-o wants NAME=VALUE, not 'num.partitions'"),
        (["up", "-o", "log.dirs=/x"], "-o: log.dirs cannot be set here: use --data"),
        (["up", "-o", "node.id=7"], "-o: node.id cannot be set here"),
        (["up", "-o", "listeners=PLAINTEXT://:1", "--port", "9"], "leave one out"),
        (["broker"], "Missing option '--config'"),
        (["broker", "--config", "/nowhere/server.properties"], "/nowhere/server.properties: cannot be read: No such file"),
        (["topic", "create"], "Missing argument 'TOPIC'"),
        (["topic", "create", "t", "--partitions", "0"], "'--partitions'"),
        (["topic", "list", "--bootstrap", "nowhere:"], "bootstrap wants HOST:PORT[,HOST:PORT...], not 'nowhere:'"),
        (["produce", "t", "/nowhere/file"], "'/nowhere/file' does not exist"),
        (["produce", "t", "--acks", "2"], "'--acks'"),
        (["produce", "t", "--separator", r"\q"], r"'\\q' is no escape"),
        (["produce", "t", "--separator", ""], "--separator must not be empty"),
        (["produce", "t", "--whole", "--key-separator", ":"], "--whole takes files as they are"),
        (["produce", "t", "--name-as-key"], "--name-as-key goes with --whole"),
        (["consume", "t", "--offset", "-1"], "--offset wants a number, beginning or end, not '-1'"),
        (["consume", "t", "--offset", "0", "--time", "0"], "leave one out"),
        (["consume", "t", "--time", "yesterday"], "--time wants ISO 8601"),
        (["consume", "t", "--raw", "--keys"], "--raw prints values and nothing else"),
        (["consume", "t", "--json", "--headers"], "--json prints every field"),
        (["consume", "t", "--key-separator", ":"], "add --keys"),
    ],
)
def test_a_wrong_call_is_told_in_one_line_and_exits_with_2(arguments, says, capsys):
    assert says in usage_error(capsys, *arguments)


def test_nothing_listens_there(capsys):
    assert run(["topic", "list", "--bootstrap", "127.0.0.1:1"]) == 1
    assert capsys.readouterr().err == "fastlog: 127.0.0.1:1: Connection refused\n"


def test_nothing_heavy_is_imported_before_it_is_needed():
    program = """
import sys
import fastlog.cli.plain, fastlog.node
heavy = ("numpy", "cramjam", "asyncio", "ssl", "click", "fastlog.client", "fastlog.sim")
print([name for name in heavy if name in sys.modules], file=sys.stderr)
"""
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60).stderr
    assert said.splitlines() == ["[]"]


def test_help_imports_no_command():
    program = """
import sys
from fastlog.cli.main import run
run(["--help"])
print([name for name in sys.modules if name.startswith("fastlog.")], file=sys.stderr)
"""
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60).stderr
    assert said.splitlines() == ["['fastlog.cli', 'fastlog.base_errors', 'fastlog.cli.outcome', 'fastlog.cli.main']"]


def test_an_interrupt_while_commands_are_still_imported_is_no_traceback():
    interrupted = """
import sys
class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
from fastlog.__main__ import main
main()
"""
    process = subprocess.run([sys.executable, "-c", interrupted], capture_output=True, timeout=60, check=False)
    assert (process.returncode, process.stdout, process.stderr) == (130, b"", b"")
