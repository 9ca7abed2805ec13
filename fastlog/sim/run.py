"""Many seeds, one after another: progress, what they met, and for each violation the command that shows it again.

A seed is of one kind of world: `world_of` says which.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from fastlog.sim.broker import broker_maker
from fastlog.sim.coordinator.world import CoordinatorWorld
from fastlog.sim.groups.world import GroupWorld
from fastlog.sim.log_world import LogWorld
from fastlog.sim.world import Outcome, World

MOST_FAILURES = 5
MOST_THIN_PERCENT = 20
EXIT_VIOLATION = 1


def world_of(seed: int, printer: Callable[[str], object] | None = None) -> World[Any]:
    """Return the world of a seed, not yet run."""
    match seed % 3:
        case 0:
            return CoordinatorWorld(seed, printer)
        case 1:
            return LogWorld(seed, broker_maker, printer)
        case _:
            return GroupWorld(seed, printer)


class KindTotals:
    """Sums over the runs of one kind of world that count."""

    def __init__(self) -> None:
        self.seeds = 0
        self.cpu_seconds = 0.0
        self.counts: dict[str, int] = {}

    def add(self, outcome: Outcome, cpu_seconds: float) -> None:
        self.seeds += 1
        self.cpu_seconds += cpu_seconds
        for what, count in outcome.counts.items():
            self.counts[what] = self.counts.get(what, 0) + count


class Totals:
    """Sums over runs."""

    def __init__(self) -> None:
        self.counted = 0
        self.thin = 0
        self.failed: list[Outcome] = []
        self.events = 0
        self.kinds: dict[str, KindTotals] = {}
        self.faults: dict[str, int] = {}

    def add(self, outcome: Outcome, cpu_seconds: float) -> None:
        if outcome.violation is not None:
            self.failed.append(outcome)
        elif outcome.thin:
            self.thin += 1
            return
        self.counted += 1
        self.events += outcome.events
        self.kinds.setdefault(outcome.kind, KindTotals()).add(outcome, cpu_seconds)
        for fault in outcome.faults:
            self.faults[fault] = self.faults.get(fault, 0) + 1


def cpu_seconds() -> float:
    """Return the CPU time that this process has taken, user and system."""
    times = os.times()
    return times.user + times.system


def replay_command(seed: int) -> str:
    """Return the command that runs a seed again and shows its timeline."""
    return f"python -m fastlog.sim --seed {seed} --verbose"


def in_words(counts: dict[str, int]) -> str:
    """Return counts as a list in a sentence."""
    return ", ".join(f"{count} {what}" for what, count in counts.items())


def run_many(count: int, first: int, out: TextIO) -> int:
    """Run seeds from `first` on until `count` have counted or too many have failed; return the exit code."""
    totals = Totals()
    seed, began = first, cpu_seconds()
    while totals.counted < count and len(totals.failed) < MOST_FAILURES:
        before = cpu_seconds()
        outcome = world_of(seed).run()
        totals.add(outcome, cpu_seconds() - before)
        if outcome.violation is not None:
            _clear(out)
            out.write(f"seed {seed}: {outcome.violation}\n  faults: {', '.join(outcome.faults) or 'none'}\n")
            out.write(f"  replay: {replay_command(seed)}\n")
        seed += 1
        if out.isatty():
            spent = (cpu_seconds() - began) / (seed - first)
            out.write(f"\r{totals.counted}/{count} seeds, {len(totals.failed)} failed, {spent:.3f} CPU s/seed ")
            out.flush()
        if totals.thin > 10 + (seed - first) * MOST_THIN_PERCENT // 100:
            _clear(out)
            out.write(f"{totals.thin} of {seed - first} runs had too little traffic to count\n")
            return EXIT_VIOLATION
    _clear(out)
    spent = (cpu_seconds() - began) / max(1, seed - first)
    out.write(
        f"{totals.counted} seeds ({first} to {seed - 1}), {len(totals.failed)} with a violation, "
        f"{totals.thin} too thin to count; {spent:.3f} CPU s/seed, {totals.events} events\n"
    )
    for kind, of_kind in sorted(totals.kinds.items()):
        out.write(f"{kind}: {of_kind.seeds} seeds, {of_kind.cpu_seconds / of_kind.seeds:.3f} CPU s each; ")
        out.write(f"{in_words(of_kind.counts)}\n")
    out.write(f"faults: {', '.join(f'{name} {times}' for name, times in sorted(totals.faults.items()))}\n")
    return EXIT_VIOLATION if totals.failed else 0


def run_one(seed: int, verbose: bool, out: TextIO) -> int:
    """Run one seed, with its timeline when asked; return the exit code."""
    if verbose:
        handler = logging.StreamHandler(out)
        handler.setFormatter(logging.Formatter(f"{'':13} %(name)s | %(message)s"))
        logging.getLogger("fastlog").addHandler(handler)
    outcome = world_of(seed, out.write if verbose else None).run()
    if verbose and outcome.violation is not None and outcome.violation.__cause__ is not None:
        out.write("".join(traceback.format_exception(outcome.violation.__cause__)))
    out.write(
        f"seed {seed}, {outcome.kind}: {outcome.violation or 'no violation'}"
        f"{' (too thin to count)' if outcome.thin else ''}\n"
        f"trace {outcome.digest}, {outcome.events} events, {outcome.virtual_ns / 1e9:.3f} virtual s, "
        f"{in_words(outcome.counts)}\n"
    )
    return EXIT_VIOLATION if outcome.violation is not None else 0


def _clear(out: TextIO) -> None:
    if out.isatty():
        out.write("\r\x1b[K")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fastlog.sim", description="Run simulated worlds, each from its seed.")
    parser.add_argument("--seeds", type=int, default=500, metavar="N", help="how many seeds (default 500)")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first of them (default 0)")
    parser.add_argument("--seed", type=int, metavar="SEED", help="run this one only")
    parser.add_argument("--verbose", action="store_true", help="with --seed: print the timeline")
    chosen = parser.parse_args(arguments)
    if chosen.verbose and chosen.seed is None:
        parser.error("--verbose wants --seed")
    logging.getLogger("fastlog").addHandler(logging.NullHandler())
    if chosen.seed is not None:
        return run_one(chosen.seed, chosen.verbose, sys.stdout)
    return run_many(chosen.seeds, chosen.first, sys.stdout)
