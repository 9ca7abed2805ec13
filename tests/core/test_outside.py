"""The wheel carries what other Cython modules need: one is compiled against it, and against nothing of this tree."""

import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

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
@pytest.mark.timeout(300)
def test_an_outside_module_compiles_against_the_wheel(tmp_path):
    source, wheels, installed, outside = (tmp_path / name for name in ("source", "wheels", "installed", "outside"))
    shutil.copytree(ROOT / "fastlog", source / "fastlog", ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    output = run(["-m", "pip", "wheel", "-v", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, "."], source)
    assert "warning: fastlog" not in output, "Cython warned"
    assert "_core.c:" not in output, "the C compiler warned"

    (wheel,) = wheels.glob("fastlog-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    shipped = {path.name for path in (installed / "fastlog").rglob("*") if path.is_file()}
    native = {path.name for path in (ROOT / "fastlog/native").glob("*.pxi")}
    assert shipped >= {"py.typed", "_core.pyi", "_core.pxd", "_core.pyx", *native}
    assert not any(name.endswith(".c") for name in shipped)

    shutil.copytree(HERE, outside)
    (outside / "setup.py").write_text(SETUP)
    output = run(["setup.py", "build_ext", "--inplace"], outside, installed)
    assert "warning:" not in output
    run([outside / "use.py", tmp_path], outside, installed, outside)
