"""What is released is whole: the wheel comes from the sdist, and another Cython module is compiled against what pip installed."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
HERE = pathlib.Path(__file__).parent / "outside"

SETUP = """
from Cython.Build import cythonize
from setuptools import Extension, setup

setup(ext_modules=cythonize([Extension("outside", ["outside.pyx"])]))
"""


def run(arguments, directory, *paths):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    result = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_outside_module_compiles_against_the_installed_package(tmp_path):
    source, dist, unpacked, installed, outside = (
        tmp_path / name for name in ("source", "dist", "unpacked", "installed", "outside")
    )
    shutil.copytree(ROOT / "fastlog", source / "fastlog", ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__"))
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    run(["-c", "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])", dist], source)
    (sdist,) = dist.glob("fastlog-*.tar.gz")
    run(["-m", "tarfile", "-e", sdist, unpacked], tmp_path)  # early versions of Python 3.11 have no filters to name
    (unpacked,) = unpacked.iterdir()
    assert not list(unpacked.rglob("*.c")), "generated code is no source"
    output = run(["-m", "pip", "wheel", "-v", "--no-deps", "--no-build-isolation", "--wheel-dir", dist, "."], unpacked)
    assert "warning: fastlog" not in output, "Cython warned"
    assert "_core.c:" not in output, "the C compiler warned"

    (wheel,) = dist.glob("fastlog-*.whl")
    run(["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", installed, wheel], tmp_path)
    shipped = {path.name for path in (installed / "fastlog").rglob("*") if path.is_file()}
    native = {path.name for path in (ROOT / "fastlog/native").glob("*.pxi")}
    assert shipped >= {"py.typed", "_core.pyi", "_core.pxd", "_core.pyx", *native}
    assert not any(name.endswith(".c") for name in shipped)
    assert (installed / "bin" / "fastlog").is_file()

    shutil.copytree(HERE, outside)
    (outside / "setup.py").write_text(SETUP)
    output = run(["setup.py", "build_ext", "--inplace"], outside, installed)
    assert "warning:" not in output
    run([outside / "use.py", tmp_path], outside, installed, outside)
