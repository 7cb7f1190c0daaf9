"""Columns and derivatives under a user's names, from the file to what is served."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from typer.testing import CliRunner

import gradwire
from gradwire import Alias, batch
from gradwire._cli.main import app
from gradwire._errors import UsageError
from gradwire_export import export
from gradwire_export._sources import function_of, read_source
from gradwire_training._fit.record import read

pytestmark = pytest.mark.slow  # fits and exports through the command

ROWS = 40
COLUMNS = ["--inputs", "q=q (m),qd=q_dot", "--outputs", "energy=E, total", "--ignore", "weight"]
DERIVATIVES = ["--derivatives", "force=-energy:q,slope='dE/dq_dot'=0.5*energy:qd"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A fit of the energy q² + q qd of one run, and its package, which serves the force."""
    place = tmp_path_factory.mktemp("names")
    q, qd = np.random.default_rng(0).uniform(-1, 1, (2, ROWS))
    table = {"q_dot": qd, "E; total": q**2 + q * qd, "force": -2 * q - qd, "dE/dq_dot": 0.5 * q, "q (m)": q}
    frame = pd.DataFrame(table | {"weight": 1.0, "run": [f"r{i}" for i in range(ROWS)]})
    frame.to_csv(place / "data.csv", index=False)
    columns = [text.replace("E, total", "'E; total'") for text in COLUMNS]
    run = CliRunner().invoke(
        app,
        ["train", str(place / "data.csv"), *columns, *DERIVATIVES, "--network", "20,20", "--to", str(place / "fit")],
    )
    assert run.exit_code == 0, run.output
    (place / "train.txt").write_text(run.output)
    options = ["--serve-aliases", "--signatures", "hvp", "--to", str(place / "models" / "f")]
    run = CliRunner().invoke(app, ["export", str(place / "fit"), *options])
    assert run.exit_code == 0, run.output
    return place


def test_the_record_and_the_report_have_the_names(place):
    """Errors are those of the force, in its sign; the record has what the names stand for."""
    shown = (place / "train.txt").read_text()
    assert (
        "inputs q (q (m)), qd (q_dot); outputs energy (E; total); derivatives force = -denergy_dq, slope = 0.5 "
        in shown
    )
    assert "columns left out: run, weight" in shown
    assert {"force", "slope"} <= {
        row.split()[1] for row in shown.splitlines() if row.startswith("│") and len(row.split()) > 1
    }
    record = json.loads((place / "fit" / "fit.json").read_text())
    assert record["aliases"] == {
        "force": {"output": "energy", "input": "q", "factor": -1.0},
        "slope": {"output": "energy", "input": "qd", "factor": 0.5},
    }
    assert record["errors"]["denergy_dq"]["max"] < 0.1
    assert read(place / "fit").samples.aliases == {
        "force": Alias("energy", "q", -1.0),
        "slope": Alias("energy", "qd", 0.5),
    }


def test_the_package_serves_the_force(place, tmp_path):
    """Minus the derivative to the last bit, near the truth; proved and accepted by verify, diff and batch."""
    with gradwire.load(place / "models" / "f") as model:
        assert [tensor.name for tensor in model.card.inputs] == ["q", "qd"]
        assert model.card.aliases["force"] == Alias("energy", "q", -1.0, served=True)
        points = {"q": np.array([[0.25], [-0.5]], np.float32), "qd": np.array([[0.5], [0.75]], np.float32)}
        served = model.predict("serving_default", **points)
        np.testing.assert_array_equal(served["force"], -served["denergy_dq"])
        np.testing.assert_array_equal(served["slope"], 0.5 * served["denergy_dqd"])
        np.testing.assert_allclose(served["force"], -2 * points["q"] - points["qd"], atol=0.1)
        np.testing.assert_array_equal(model.derivative("force", 0.25, 0.5), served["force"][0, 0])
        assert gradwire.verify(model).passed
        assert gradwire.diff(model, model).card == ()
        pd.DataFrame({name: rows[:, 0] for name, rows in points.items()}).to_parquet(tmp_path / "points.parquet")
        batch.run(tmp_path / "points.parquet", tmp_path / "out.parquet", model=model)
        np.testing.assert_array_equal(pd.read_parquet(tmp_path / "out.parquet")["force"], served["force"][:, 0])


def test_a_fit_can_be_renamed_when_it_is_exported(place):
    """Domain, errors and aliases go with the names; what the record knows of nothing else is lost."""
    source = read_source(place / "fit")
    renamed = source.renamed({"speed": "qd", "x": "q"}, {"e": "energy"})
    assert renamed.domain.keys() == {"x", "speed"}
    assert renamed.domain["x"] == source.domain["q"]
    assert {"e", "de_dx", "de_dspeed"} <= renamed.errors.keys()
    assert renamed.errors["de_dx"] == source.errors["denergy_dq"]
    assert renamed.aliases["force"] == Alias("e", "x", -1.0)
    function = function_of(renamed.model, inputs=renamed.inputs, outputs={"e": "energy"}, named=renamed.outputs)
    assert (list(function.inputs), list(function.outputs)) == (["speed", "x"], ["e"])
    with pytest.raises(UsageError, match=r"inputs names \['q'\], and the fit's are \['q', 'qd'\]"):
        source.renamed(["q"], None)


def test_a_function_gets_names_for_its_derivatives(tmp_path):
    """Where there was no fit the caller declares them; the order of a package's signatures is the contract's."""
    inputs = {"r": tf.TensorSpec((None, 3), tf.float64)}
    declared = {"forces": ("-energy", "r")}
    package = export(
        lambda r: {"energy": tf.reduce_sum(r**3, axis=1, keepdims=True)},
        to=tmp_path / "f",
        inputs=inputs,
        derivatives=declared,
        serve_aliases=True,
        signatures=[],
    )
    with gradwire.load(package.path) as model:
        x = np.array([[1.0, 2.0, -0.5]])
        np.testing.assert_array_equal(model.predict("serving_default", r=x)["forces"], -3 * x**2)
    refused = {
        "'forces' is the derivative of 'e'": {"derivatives": {"forces": ("-e", "r")}},
        "the name 'r' would stand for": {"derivatives": {"r": ("energy", "r")}},
        "no derivative has a name of its own": {"serve_aliases": True},
        r"expected \(output, input\)": {"derivatives": {"forces": "-energy:r"}},
    }
    for message, arguments in refused.items():
        with pytest.raises(UsageError, match=message):
            export(lambda r: {"energy": r[:, :1]}, to=tmp_path / "g", inputs=inputs, **arguments)
    assert not (tmp_path / "g").exists()
