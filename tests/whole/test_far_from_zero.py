"""Tables with inputs far from zero, from the file to a verified package: Unix seconds and UTM metres."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

import gradwire
import gradwire_export
from gradwire._cli.choices import DType
from gradwire._cli.commands import train as command_module
from gradwire._errors import DataError

pytestmark = pytest.mark.slow  # fits and exports through the command

TABLES = Path(__file__).parents[1] / "cases" / "tables"
CENTRES = {"unix": 1.7e9, "utm": 5.4e6}  # f = sin((x - centre) / 200)


def _verified(directory, name, dtype):
    """Train, export and load; return the verification, and the errors of f and df at rows that the dtype has."""
    path = TABLES / f"{name}.parquet"
    command_module.command(source=str(path), to=directory / "fit", dtype=DType(dtype), steps=200)
    exported = gradwire_export.export(directory / "fit", to=directory / name)
    assert not exported.left_out
    x = pyarrow.parquet.read_table(path).column(0).to_numpy().astype(dtype)
    offsets = x.astype(np.float64) - CENTRES[name]
    with gradwire.load(directory / name) as model:
        value, derivative = (np.ravel(part) for part in model.value_and_grad(x))
        verification = gradwire.verify(model)
    return (
        verification,
        np.abs(value - np.sin(offsets / 200)).max(),
        np.abs(derivative - np.cos(offsets / 200) / 200).max(),
    )


@pytest.mark.parametrize(("name", "dtype"), [("utm", "float32"), ("unix", "float64")])
def test_the_package_is_right_and_its_proof_says_so(tmp_path, capfd, name, dtype):
    """The network subtracts before it divides, and the checks step from number to number of the dtype."""
    verification, error, slope = _verified(tmp_path, name, dtype)
    assert verification.passed, verification.failures
    assert error < 1e-4
    assert slope < 2e-6
    assert ("float32 rounds it by up to" in capfd.readouterr().err) == (dtype == "float32")


def test_unix_seconds_in_float32_are_refused_with_the_way_out(tmp_path):
    """Its steps of 128 seconds leave eight points of 1,000 seconds; nothing is written."""
    with pytest.raises(DataError, match=r"x 't' lies near 1\.7e\+09 with a spread of 2\d\d: .*--dtype float64"):
        command_module.command(source=str(TABLES / "unix.parquet"), to=tmp_path / "fit", steps=5)
    assert not list(tmp_path.iterdir())
