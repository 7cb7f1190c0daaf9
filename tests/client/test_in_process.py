"""`load`: a package in this process, through the embedded server's Servable."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import gradwire
from gradwire import _errors


def write(path: Path, card: gradwire.Card, dtype: Any = tf.float64) -> None:
    """Writes log x as a package, as the contract has it."""
    module = tf.Module()
    file = path.parent / "card.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(card.to_json())
    module.card = tf.saved_model.Asset(str(file))
    spec = tf.TensorSpec([None, 1], dtype, name="x")

    @tf.function(input_signature=[spec])
    def both(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"f": tf.math.log(x), "df_dx": 1 / x}

    @tf.function(input_signature=[spec])
    def value(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"f": tf.math.log(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="query")])
    def answer(query: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"card": tf.fill(tf.shape(query), tf.io.read_file(module.card))}

    signatures = {"serving_default": both, "value": value, "card": answer}
    if dtype == tf.bfloat16:
        signatures = {"serving_default": both}
    tf.saved_model.save(module, str(path), signatures=signatures)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """models/log/9 and 10, and models/rough/1 in bfloat16."""
    root = tmp_path_factory.mktemp("models")
    card = gradwire.Card(
        name="log",
        inputs=(gradwire.CardTensor("x", "float64", (1,), domain=gradwire.Domain([0.1], [1.9])),),
        outputs=(gradwire.CardTensor("f", "float64", (1,)),),
        derivatives={"f": {"x": "df_dx"}},
        signatures=("serving_default", "value", "card"),
    )
    for version in ("9", "10"):
        write(root / "log" / version, card)
    write(root / "rough" / "1", card, tf.bfloat16)
    (root / "log" / "card.json").unlink()
    return root


def test_load(packages: Path):
    """A package in process is the same Model: values, derivatives, card, status, verify."""
    x = np.linspace(0.1, 1.9, 100)
    with gradwire.load(packages / "log") as log:
        f, df = log.value_and_grad(x)
        assert np.allclose(f, np.log(x), rtol=1e-15, atol=1e-16)
        assert np.array_equal(df, 1 / x)
        assert np.array_equal(log.value(x.astype(">f8")), f)
        assert log.value([]).shape == (0,)
        assert list(log.signatures) == ["card", "serving_default", "value"]
        assert log.card.inputs[0].domain == gradwire.Domain([0.1], [1.9])
        assert log.status() == [(10, "AVAILABLE", "")]
        assert gradwire.verify(log).passed
        assert f.flags.writeable


def test_a_version(packages: Path):
    """A version's own directory loads that version."""
    with gradwire.load(str(packages / "log" / "9")) as log:
        assert log.status() == [(9, "AVAILABLE", "")]


def test_bfloat16(packages: Path):
    """bfloat16 goes in from float32, and comes out as float32, exactly."""
    with gradwire.load(packages / "rough") as rough:
        found = rough.predict("serving_default", x=[[2.0], [4.0]])
        assert found["df_dx"].dtype == np.float32
        assert found["df_dx"].tolist() == [[0.5], [0.25]]


def test_pickles_as_its_path(packages: Path):
    """A pickle holds the path and loads where it is opened."""
    with gradwire.load(packages / "log") as log:
        data = pickle.dumps(log)
    assert len(data) < 400
    with pickle.loads(data) as again:
        assert again.value(1.0) == 0


def test_closed_and_forked(packages: Path, monkeypatch: pytest.MonkeyPatch):
    """A closed package says so, and one that was loaded before a fork refuses instead of hanging."""
    log = gradwire.load(packages / "log")
    own = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: own + 1)
    with pytest.raises(gradwire.UsageError, match="before a fork"):
        log.value(1.0)
    monkeypatch.undo()
    log.close()
    log.close()
    with pytest.raises(gradwire.UsageError, match="was closed"):
        log.value(1.0)


def test_what_is_missing_is_named(packages: Path, tmp_path: Path):
    """A directory that is no package is told with what it lacks."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "hollow" / "3").mkdir(parents=True)
    (tmp_path / "bad" / "1").mkdir(parents=True)
    (tmp_path / "bad" / "1" / "saved_model.pb").write_bytes(b"\xff" * 200)
    for path, message in [
        ("nope", "nope is not a directory"),
        ("empty", r"empty has neither saved_model.pb nor a numbered version .*gradwire export"),
        ("hollow", r"hollow/3 has no saved_model.pb"),
        ("bad", r"cannot load .*bad/1"),
    ]:
        with pytest.raises(gradwire.PackageError, match=message):
            gradwire.load(tmp_path / path)


def test_without_tensorflow(packages: Path, monkeypatch: pytest.MonkeyPatch):
    """Where the extra is not installed, its name is told."""
    monkeypatch.setitem(sys.modules, "gradwire_serving", None)
    with pytest.raises(_errors.MissingExtra, match=r"pip install 'gradwire\[serve\]'"):
        gradwire.load(packages / "log")
