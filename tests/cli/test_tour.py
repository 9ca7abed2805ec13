"""docs/tour.md, run as it stands: every command, in the terminals that it names, and what each is said to print.

Comments say what the text says to its reader: `in NAME` that the next block is in a terminal where a program goes on, or is what
such a terminal prints next (in any order, as partitions have none among each other); `repeat` that the next command is asked
again until its answer is as shown; `Ctrl-C in NAME`.
"""

import itertools
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = pathlib.Path(__file__).parents[2]
TOUR = ROOT / "docs" / "tour.md"
PIECE = re.compile(
    r"^(?:<!-- (?P<mark>in|repeat) ?(?P<name>\S*) -->\n)?```(?P<kind>sh|text)\n(?P<text>.*?)^```$"
    r"|^<!-- Ctrl-C in (?P<interrupted>\S+) -->$|^## (?P<step>\d+)\. ",
    re.MULTILINE | re.DOTALL,
)
PORTS = ("2181", "9092", "9093", "9094")
PATIENCE_S = 60
INTERRUPTED = 130


def matches(shown, printed):
    """Tell whether lines are as shown, where `...` may be anything."""
    patterns = [".*".join(map(re.escape, line.split("..."))) for line in shown]
    return len(shown) == len(printed) and all(map(re.fullmatch, patterns, printed))


class Terminal:
    """A program that goes on; what it prints is read by a thread."""

    def __init__(self, command, directory, errors):
        self.errors = errors
        with errors.open("a") as out:
            self.process = subprocess.Popen(
                command, cwd=directory, stdout=subprocess.PIPE, stderr=out, text=True, start_new_session=True
            )
        self.lines = []
        self.thread = threading.Thread(target=lambda: self.lines.extend(iter(self.process.stdout.readline, "")))
        self.thread.start()

    def end(self, number):
        """Have everything in it end, as Ctrl-C does."""
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        self.thread.join()
        self.process.stdout.close()
        return code


class Tour:
    def __init__(self, directory):
        self.directory = directory
        self.terminals = {}
        self.ports = {port: str(free_port()) for port in PORTS}
        self.is_shown = True
        self.printed = []

    def command(self, text, is_alone=False):
        """Return a block as it runs here: on other ports, with this interpreter; without a shell around it where it is alone."""
        for port, instead in self.ports.items():
            text = text.replace(port, instead)
        text = text.replace(".venv/bin/python", sys.executable)
        fastlog = f"exec {sys.executable} -m fastlog"
        if is_alone:
            text = re.sub(r"\Afastlog(?= )", fastlog, text)
        environment = f"export PYTHONPATH={ROOT} FASTLOG_BOOTSTRAP=127.0.0.1:{self.ports['9092']}"
        return ["bash", "-c", f'set -eu -o pipefail; {environment}; fastlog() ( {fastlog} "$@" )\n{text}']

    def as_in_the_tour(self, lines):
        text = "".join(lines)
        for port, instead in self.ports.items():
            text = text.replace(f":{instead}", f":{port}")
        return text.splitlines()

    def run(self, text, shown, repeat):
        """Run a command to its end."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            done = subprocess.run(self.command(text), cwd=self.directory, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, ""), text
            printed = self.as_in_the_tour(done.stdout)
            if matches(shown, printed):
                return
            assert repeat and time.monotonic() < deadline, f"{text}printed {printed} in place of {shown}"

    def start(self, name, text):
        """Run a command that goes on, in a terminal of its own."""
        assert name not in self.terminals
        self.terminals[name] = Terminal(self.command(text, True), self.directory, self.directory / f"{name}.err")

    def await_lines(self, name, shown):
        terminal = self.terminals[name]
        deadline = time.monotonic() + PATIENCE_S
        while len(terminal.lines) < len(shown):
            assert time.monotonic() < deadline, f"{name} printed {terminal.lines}, not {shown}; {terminal.errors.read_text()}"
            time.sleep(0.02)
        printed = self.as_in_the_tour(terminal.lines[: len(shown)])
        del terminal.lines[: len(shown)]
        if len(shown) > 1:
            assert sorted(printed) == sorted(shown), name
        else:
            assert matches(shown, printed), f"{name} printed {printed}, not {shown}"

    def interrupt(self, name):
        terminal = self.terminals.pop(name)
        code = terminal.end(signal.SIGINT)
        assert code == (INTERRUPTED if name in ("left", "right") else 0), terminal.errors.read_text()
        assert terminal.lines == [], f"{name} printed more than is shown"


@pytest.fixture
def tour(tmp_path):
    made = Tour(tmp_path)
    yield made
    for terminal in made.terminals.values():
        terminal.end(signal.SIGKILL)


def test_every_step_does_what_it_says(tour):
    text = TOUR.read_text()
    pieces = [found.groupdict() for found in PIECE.finditer(text)]
    assert [int(piece["step"]) for piece in pieces if piece["step"]] == list(range(1, 11))
    assert sum(piece["kind"] is not None for piece in pieces) * 2 == len(re.findall(r"^```", text, re.MULTILINE))
    assert sum(piece["mark"] is not None or piece["interrupted"] is not None for piece in pieces) == text.count("<!--")
    for piece, behind in itertools.pairwise([*pieces, {}]):
        if piece["interrupted"]:
            tour.interrupt(piece["interrupted"])
        elif piece["kind"] == "text" and piece["name"]:
            tour.await_lines(piece["name"], piece["text"].splitlines())
        elif piece["kind"] == "sh" and piece["name"]:
            tour.start(piece["name"], piece["text"])
        elif piece["kind"] == "sh":
            is_shown = behind.get("kind") == "text" and not behind["name"]
            tour.run(piece["text"], behind["text"].splitlines() if is_shown else [], piece["mark"] == "repeat")
    assert tour.terminals == {}, "nothing is left running"
