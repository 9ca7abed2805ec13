"""The README's first command on a checkout that has nothing built, in an environment that has nothing set."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(600)]

ROOT = pathlib.Path(__file__).parent.parent.parent
# How this machine reaches its package registry is the only thing that a clean environment keeps.
KEPT = re.compile(r"PIP_|SSL_|REQUESTS_|https?_proxy|no_proxy", re.IGNORECASE)


def test_make_up_in_a_fresh_clone_serves_kcat(tmp_path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, clone], check=True)
    assert not list(clone.glob("fastlog/*.so"))
    python = pathlib.Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    environment = {name: value for name, value in os.environ.items() if KEPT.match(name)}
    environment |= {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path)}
    with (tmp_path / "make.err").open("w+") as errors:
        up = subprocess.Popen(
            ["make", "up", f"PYTHON={python}", "PORT=0"],
            cwd=clone,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        try:
            assert up.stdout is not None
            ready = next((line for line in up.stdout if line.startswith("ready ")), None)
            assert ready is not None, (tmp_path / "make.err").read_text()
            fields = dict(field.split("=", 1) for field in ready.split()[1:])
            kcat = ["kcat", "-b", fields["bootstrap"], "-t", "first"]
            subprocess.run([*kcat, "-P"], input="hello\n", text=True, check=True, timeout=60)
            consume = [*kcat, "-C", "-e", "-q", "-o", "beginning"]
            assert subprocess.run(consume, check=True, capture_output=True, text=True, timeout=60).stdout == "hello\n"
        finally:
            os.killpg(up.pid, signal.SIGTERM)
            up.wait(60)
            assert up.stdout is not None
            up.stdout.close()
