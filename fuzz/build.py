"""Build the compiled core for fuzzing: `python fuzz/build.py fuzz|asan DIRECTORY`.

`fuzz`: with clang, the core reports its coverage to libFuzzer, which is built as the extension `engine`.
`asan`: with gcc, the core under AddressSanitizer and UndefinedBehaviorSanitizer, for `fuzz/sanitized.py`.
Both need `fastlog/_core.c`, which `make build` generates.
"""

import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
INCLUDE = sysconfig.get_paths()["include"]
COMMON = ["-shared", "-fPIC", "-g1", "-fno-omit-frame-pointer", "-fwrapv", f"-I{INCLUDE}", "-Wno-everything"]
UNDEFINED = "-fsanitize=undefined"
"""Every check but those that Python's and Cython's own ways of calling functions fail."""


def run(*command: object) -> None:
    """Run a command, and end with its exit code when it fails."""
    finished = subprocess.run(list(map(str, command)), check=False)
    if finished.returncode:
        sys.exit(finished.returncode)


def build_fuzz(out: Path) -> None:
    """Build `_core` with coverage and `engine` with libFuzzer in it."""
    resources = subprocess.run(["clang", "-print-resource-dir"], check=True, capture_output=True, text=True).stdout.strip()
    libraries = list(Path(resources).glob(f"lib/*/libclang_rt.fuzzer_no_main-{platform.machine()}.a"))
    if not libraries:
        sys.exit(f"there is no libFuzzer under {resources}: Debian has it in libclang-rt-VERSION-dev")
    run(sys.executable, "-m", "cython", "-3", "-X", "auto_pickle=False", ROOT / "fuzz/engine.pyx", "-o", out / "engine.c")
    run("clang", *COMMON, "-O2", out / "engine.c", libraries[0], "-lstdc++", "-lm", "-lpthread", "-o", out / f"engine{SUFFIX}")
    run(
        "clang", *COMMON, "-O2", "-fsanitize=fuzzer-no-link", "-mllvm", "-sanitizer-coverage-prune-blocks=1",
        ROOT / "fastlog/_core.c", "-o", out / f"_core{SUFFIX}",
    )  # fmt: skip


def build_asan(out: Path) -> None:
    """Build `_core` under both sanitizers, every finding the end of the process."""
    flags = [flag for flag in COMMON if flag != "-Wno-everything"]
    run(
        "gcc", *flags, "-w", "-O1", "-fsanitize=address", UNDEFINED, "-fno-sanitize-recover=all",
        ROOT / "fastlog/_core.c", "-o", out / f"_core{SUFFIX}",
    )  # fmt: skip


if __name__ == "__main__":
    compiler, build = {"fuzz": ("clang", build_fuzz), "asan": ("gcc", build_asan)}[sys.argv[1]]
    if shutil.which(compiler) is None:
        sys.exit(f"this is built with {compiler}, which is not here: install it first")
    directory = Path(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    build(directory)
