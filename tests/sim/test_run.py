"""The product's own broker in the simulation, and the command that runs it."""

import io
import os
import subprocess
import sys

import pytest

from fastlog.sim import run
from fastlog.sim.broker import broker_maker
from fastlog.sim.log_world import run_seed

SEEDS = (1, 2, 3, 4)
"""Some of each kind of world."""


def test_the_broker_keeps_its_promises():
    outcomes = [run_seed(seed, broker_maker) for seed in range(10)]
    assert [str(outcome.violation) for outcome in outcomes] == ["None"] * 10
    assert all(outcome.counts[what] >= 8 for outcome in outcomes for what in ("batches acknowledged", "records polled"))
    assert not any(outcome.thin for outcome in outcomes)


def test_a_seed_gives_the_same_trace_again_and_in_another_process(request):
    digests = [run.world_of(seed).run().digest for seed in SEEDS]
    assert [run.world_of(seed).run().digest for seed in SEEDS] == digests
    assert len(dict.fromkeys(digests)) == len(SEEDS)
    other = subprocess.run(
        [sys.executable, "-c", "import sys; from fastlog.sim.run import main; [main(['--seed', seed]) for seed in sys.argv[1:]]"]
        + [str(seed) for seed in SEEDS],
        env={**os.environ, "PYTHONHASHSEED": "4242", "PYTHONPATH": str(request.config.rootpath)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split()[1].rstrip(",") for line in other.stdout.splitlines() if line.startswith("trace ")] == digests


def test_many_seeds_sum_up_what_they_met():
    out = io.StringIO()
    assert run.run_many(3, 0, out) == 0
    said = out.getvalue()
    assert said.startswith("3 seeds (0 to 2), 0 with a violation, 0 too thin to count")
    assert "CPU s/seed" in said
    assert "coordinator: 1 seeds, " in said and " watches told, " in said
    assert "groups: 1 seeds, " in said and " generations, " in said
    assert "logs: 1 seeds, " in said and " records polled, " in said
    assert "\r" not in said, "progress is for terminals"


def test_a_terminal_sees_progress():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    run.run_many(2, 0, out)
    assert "\r1/2 seeds, 0 failed, " in out.getvalue()


def test_a_failing_seed_tells_how_to_see_it_again(monkeypatch, toy_broker):
    class Wavering(toy_broker):
        def partition_states(self):
            for state in super().partition_states():
                yield state._replace(high_watermark=state.log_end_offset + 1)

    monkeypatch.setattr(run, "broker_maker", lambda settings: lambda environment: Wavering(settings, environment))
    out = io.StringIO()
    assert run.run_many(100, 7, out) == run.EXIT_VIOLATION
    assert "seed 7: offsets: " in out.getvalue()
    assert "replay: python -m fastlog.sim --seed 7 --verbose" in out.getvalue()
    assert out.getvalue().count("replay: ") == run.MOST_FAILURES


def test_verbose_prints_the_timeline(capsys):
    assert run.main(["--seed", "1", "--verbose"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "world      seed 1 options" in lines[0]
    assert any("broker     write /data/topic0-0/00000000000000000000.log" in line for line in lines)
    assert lines[-2] == "seed 1, logs: no violation"


def test_verbose_without_a_seed_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        run.main(["--verbose"])
    assert ended.value.code == 2
    assert "--seed" in capsys.readouterr().err
