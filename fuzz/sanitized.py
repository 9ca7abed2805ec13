"""Run tests with the core under AddressSanitizer and UndefinedBehaviorSanitizer: `make sanitize [SANITIZE="tests/core ..."]`.

`python fuzz/sanitized.py DIRECTORY PYTEST-ARGUMENT ...`, with the core that `build.py asan` put into DIRECTORY. Python's
allocations are malloc's, so that a read past the end of a bytes object is seen like any other. Any finding ends the process
with its
report.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from run import ROOT, load_instrumented

RUNTIMES = ("libasan.so", "libubsan.so")
OPTIONS = {
    # Python leaves much to the end of the process; several copies of one global are its modules' own.
    "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1:detect_stack_use_after_return=0",
    "UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:print_stacktrace=1",
    "PYTHONMALLOC": "malloc",
}


def main(directory: Path, arguments: list[str]) -> int:
    """Begin again under the sanitizers' runtime, or, there already, run pytest on the sanitized core."""
    if "FASTLOG_SANITIZED" not in os.environ:
        found = [
            subprocess.run(["gcc", f"-print-file-name={name}"], check=True, capture_output=True, text=True).stdout.strip()
            for name in RUNTIMES
        ]
        environment = {**os.environ, **OPTIONS, "LD_PRELOAD": " ".join(found), "FASTLOG_SANITIZED": "1"}
        os.execve(sys.executable, [sys.executable, __file__, str(directory), *arguments], environment)
    for name in ("LD_PRELOAD", "FASTLOG_SANITIZED", *OPTIONS):
        del os.environ[name]  # what tests start are ordinary programs
    sys.path.insert(0, str(ROOT))
    load_instrumented(directory, "_core")
    import pytest  # noqa: PLC0415

    code = int(pytest.main(arguments))
    print(f"with {sys.modules['fastlog._core'].__file__}", flush=True)
    return code


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:]))
