"""The examples of the bridges run as they stand, against the server that they name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ["ase", "scipy", "jax", "torch", "tensorflow", "openmdao", "umbridge", "pymc", "casadi", "numpyro"]


def test_there_is_one_for_every_bridge():
    """No example is left out here."""
    found = {path.stem.removeprefix("bridge_") for path in EXAMPLES.glob("bridge_*.py")}
    assert found == {*NAMES, "server"}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_example(address, tmp_path, name):
    """It ends well and says what it found."""
    environment = os.environ | {"OPENMDAO_REPORTS": "0", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, str(EXAMPLES / f"bridge_{name}.py"), address]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=280, cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip()


@pytest.mark.slow
def test_the_page_runs(address, tmp_path):
    """The Python blocks of docs/bridges.md, in order, as one program."""
    text = (EXAMPLES.parent / "docs" / "bridges.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    program = "\n".join(blocks).replace("localhost:8500", address)
    environment = os.environ | {"OPENMDAO_REPORTS": "0", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, timeout=280, cwd=tmp_path, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
