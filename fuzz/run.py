"""Fuzz the targets one after another, and say how many executions there were: `make fuzz [SECONDS=N] [TARGETS="a b"] [ROUNDS=N]`.

Each target runs in a process of its own under libFuzzer (`engine`), on its committed corpus and on one that grows in DIRECTORY;
its share of the time is in `targets.TARGETS`. The executions of all runs so far are counted in DIRECTORY/executions.json. An
input that breaks a target is left in DIRECTORY, and the exit code is 1: `fuzz/run.py --replay FILE ...` shows the trace. Mend
the cause, and leave a test behind.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXECUTIONS = re.compile(rb"stat::number_of_executed_units:\s*(\d+)")
TIMEOUT_S = 10
MAX_RSS_MB = 1024


def load_instrumented(directory: Path, *names: str) -> None:
    """Import the core (and the engine) from `directory` under the names by which everything else imports them."""
    for name in names:
        (path,) = directory.glob(f"{name}.*.so")
        full = "fastlog._core" if name == "_core" else name
        spec = importlib.util.spec_from_file_location(full, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[full] = module
        spec.loader.exec_module(module)


def run_one(name: str, directory: Path, arguments: list[str]) -> None:
    """Become the fuzzer of one target; never returns."""
    sys.path[:0] = [str(ROOT), str(ROOT / "fuzz"), str(ROOT / "tests" / "support")]
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)  # the core finds what coverage calls in the engine
    load_instrumented(directory, "engine", "_core")
    import corpus  # noqa: PLC0415
    import engine  # noqa: PLC0415
    import targets  # noqa: PLC0415

    target = targets.TARGETS[name]
    for data in list(targets.seeds(name)):
        target.run(data)  # what is imported and compiled once is no input's
    grown = directory / "corpus" / name
    grown.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate([*targets.seeds(name), *corpus.read(name)]):
        (grown / f"committed-{number}").write_bytes(data)
    gc.freeze()  # what is there now is not looked at again for garbage, over and over
    engine.fuzz(
        target.run,
        [
            str(_again(name, directory)),
            f"-max_len={target.longest}",
            f"-artifact_prefix={directory}/{name}-",
            "-print_final_stats=1",
            *arguments,
        ],
        fixed_bytes=target.fixed_bytes,
        bytes_per_byte=target.bytes_per_byte,
    )


def fuzz(name: str, directory: Path, seconds: int, executions: dict[str, int]) -> bool:
    """Fuzz one target in a process of its own; add to its executions, and tell whether nothing was found."""
    arguments = [
        f"-max_total_time={seconds}", f"-timeout={TIMEOUT_S}", f"-rss_limit_mb={MAX_RSS_MB}", "-verbosity=0", "-detect_leaks=0",
        str(directory / "corpus" / name),
    ]  # fmt: skip
    finished = start(name, directory, arguments)
    counted = EXECUTIONS.search(finished.stderr)
    count = int(counted[1]) if counted else 0
    executions[name] = executions.get(name, 0) + count
    (directory / "executions.json").write_text(json.dumps(executions, indent=1))
    print(
        f"{name:14} {count:12,} executions in {seconds} s, {executions[name]:14,} in all, exit {finished.returncode}", flush=True
    )
    if finished.returncode:
        print(finished.stderr.decode(errors="replace")[-4000:], flush=True)
    return not finished.returncode


def start(name: str, directory: Path, arguments: list[str]) -> subprocess.CompletedProcess[bytes]:
    """Run the fuzzer of one target in a process of its own, whose allocations can be measured."""
    return subprocess.run(
        [sys.executable, __file__, "--directory", directory, "--one", name, "--", *arguments],
        check=False, capture_output=True, env={**os.environ, "PYTHONMALLOC": "malloc"},
    )  # fmt: skip


def _again(name: str, directory: Path) -> Path:
    """Write the command by which libFuzzer starts this target again for a merge; return its path."""
    path = (directory / f"again-{name}").resolve()
    command = shlex.join([sys.executable, __file__, "--directory", str(directory.resolve()), "--one", name])
    path.write_text(f'#!/bin/sh\nexec {command} -- "$@"\n')
    path.chmod(0o755)
    return path


def pack(name: str, directory: Path) -> bool:
    """Make the committed corpus of a target from what grew: of inputs that reach the same, one."""
    import corpus  # noqa: PLC0415

    grown = directory / "corpus" / name
    with tempfile.TemporaryDirectory(dir=directory) as merged:
        finished = start(name, directory, ["-merge=1", f"-rss_limit_mb={MAX_RSS_MB}", "-detect_leaks=0", merged, str(grown)])
        if finished.returncode:
            print(finished.stderr.decode(errors="replace")[-4000:], flush=True)
            return False
        inputs, others = ([path.read_bytes() for path in Path(one).iterdir()] for one in (merged, grown))
    print(f"{name:14} {corpus.write(name, inputs, others)} inputs, of {len(inputs)} merged and {len(others)} grown", flush=True)
    return True


def main() -> int:
    """Run as the command line says; the exit code is 1 when something was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--directory", type=Path, default=ROOT / ".build" / "fuzz")
    parser.add_argument("--seconds", type=int, default=60, help="of one round over all targets")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--targets", nargs="*", default=[])
    parser.add_argument("--pack", action="store_true", help="write the committed corpus from what has grown")
    parser.add_argument("--replay", type=Path, nargs="+", help="run inputs, and say what they break")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs="*")
    given = parser.parse_args()
    if given.one:
        run_one(given.one, given.directory, given.rest)
    sys.path[:0] = [str(ROOT), str(ROOT / "fuzz"), str(ROOT / "tests" / "support")]
    from targets import TARGETS  # noqa: PLC0415

    counts = given.directory / "executions.json"
    executions: dict[str, int] = json.loads(counts.read_text()) if counts.exists() else {}
    names = given.targets or list(TARGETS)
    fine = True
    if given.pack:
        for name in names:
            fine &= pack(name, given.directory)
        return 0 if fine else 1
    if given.replay:
        for path in given.replay:
            TARGETS[path.name.partition("-")[0]].run(path.read_bytes())
        return 0
    shares = sum(TARGETS[name].share for name in names)
    for _ in range(given.rounds):
        for name in names:
            fine &= fuzz(name, given.directory, max(1, given.seconds * TARGETS[name].share // shares), executions)
    print(f"{sum(executions.values()):,} executions in all")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
