"""Commands run as a person runs them, against `fastlog up` processes on free ports."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from fastlog.cli.main import run

ROOT = pathlib.Path(__file__).parent.parent.parent


def environment():
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FASTLOG_")}
    return {**clean, "PYTHONPATH": str(ROOT)}


def start(*arguments, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment(), **options}
    return subprocess.Popen([sys.executable, "-m", "fastlog", *map(str, arguments)], **options)


def finish(process, text=b""):
    """Wait for a process and return (exit code, stdout, stderr)."""
    out, err = process.communicate(text, timeout=60)
    return process.returncode, out, err


@pytest.fixture(scope="session", autouse=True)
def interrupts_are_heard():
    """Whoever runs the tests behind a script's `&` has them ignore SIGINT, and every program they start inherits that."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Up:
    """A broker's process, and what its line said."""

    def __init__(self, process):
        self.process = process
        self.line = process.stdout.readline().decode()
        if not self.line.startswith("ready "):
            raise AssertionError(f"{self.line!r} {process.stderr.read()!r}")
        self.fields = dict(field.split("=", 1) for field in self.line.split()[1:])
        self.bootstrap = self.fields["bootstrap"]

    def end(self, number=signal.SIGTERM):
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        with self.process:
            return self.process.wait(timeout=60)


@pytest.fixture
def up():
    """Start brokers that end with the test: `up("--data", directory, ...)`."""
    with contextlib.ExitStack() as stack:

        def start_one(*arguments):
            started = Up(start("up", "--port", 0, *arguments))
            stack.callback(lambda: started.process.poll() is None and started.end(signal.SIGKILL))
            return started

        yield start_one


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """Return one broker for a module's tests; each uses topics of its own."""
    started = Up(start("up", "--port", 0, "--data", tmp_path_factory.mktemp("broker")))
    yield started
    assert started.end() == 0


@pytest.fixture
def call(broker, capfdbinary, monkeypatch):
    """Run a command in this process against the module's broker; return (exit code, stdout, stderr)."""
    monkeypatch.setenv("FASTLOG_BOOTSTRAP", broker.bootstrap)

    def call_one(*arguments):
        code = run([str(argument) for argument in arguments])
        out, err = capfdbinary.readouterr()
        return code, out, err

    return call_one


@pytest.fixture
def program():
    """Start a command as a process of its own: `program("up", ...)` returns a Popen; `program.finish` waits for one."""
    started = []

    def start_one(*arguments, **options):
        started.append(start(*arguments, **options))
        return started[-1]

    start_one.finish = finish
    yield start_one
    for process in started:
        if process.poll() is None:
            process.kill()
        with process:
            pass
