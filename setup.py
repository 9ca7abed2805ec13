"""Build of the compiled core. All other packaging facts are in pyproject.toml.

FASTLOG_DEBUG=1 builds it with assertions, bounds checks, line tracing and no optimisation. The CPU flags are the architecture's
baseline: what needs newer instructions asks the CPU when the module loads (see native/crc32c.pxi).
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("FASTLOG_DEBUG") == "1"
MODE = "debug" if DEBUG else "release"
MODE_FILE = Path("build/core-mode")

# Neither Cython nor setuptools sees that flags have changed: a build under other ones, or under an older setup.py, is done anew.
same_flags = MODE_FILE.exists() and MODE_FILE.read_text() == MODE and MODE_FILE.stat().st_mtime >= Path(__file__).stat().st_mtime

core = Extension(
    "fastlog._core",
    sources=["fastlog/_core.pyx"],
    depends=[f"fastlog/native/{name}" for name in sorted(os.listdir("fastlog/native")) if name.endswith(".pxi")],
    extra_compile_args=["-O0", "-g", "-UNDEBUG"] if DEBUG else ["-O2", "-g1", "-fno-plt"],
    define_macros=[("CYTHON_TRACE_NOGIL", "1")] if DEBUG else [("CYTHON_WITHOUT_ASSERTIONS", "1")],
)

setup(
    ext_modules=cythonize(
        [core],
        force=not same_flags,
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": False,
            "cdivision": True,
            "linetrace": DEBUG,
            "embedsignature": False,
            "auto_pickle": False,
            "autotestdict": False,
        },
        annotate=False,
        emit_linenums=DEBUG,
    ),
    options={} if same_flags else {"build_ext": {"force": True}},
)

if MODE_FILE.parent.is_dir():
    MODE_FILE.write_text(MODE)
