"""One model, one digest: whatever else the process has done, and in another process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import gradwire_export
from gradwire._package.card import Card
from gradwire_export import _export
from gradwire_export._package.spec import package_spec
from gradwire_export._sources.function import function_of
from gradwire_export._sources.source import read_source

pytestmark = pytest.mark.slow  # exports in processes of their own

EXPORT = """
import sys
from pathlib import Path
import gradwire_export
from gradwire._package.card import Card
from gradwire_export import _export
from gradwire_export._sources.function import function_of
from gradwire_export._package.spec import package_spec
from gradwire_export._sources.source import read_source

source = read_source(Path(sys.argv[1]))
spec = package_spec(function_of(source.model, inputs=source.inputs, outputs=source.outputs), (), [])
_export._save(Path(sys.argv[2]), spec, Card("m", (), (), spec.derivatives, spec.signatures))
"""
CHANCE = {"fingerprint.pb", "card.json"}  # a random number; the time


def network(activation="tanh", seed=3):
    """A recurrent network: loops, gradients of loops, several variables of one name."""
    keras.utils.set_random_seed(seed)
    x = keras.Input((4, 2), name="x")
    hidden = keras.layers.Dense(3, activation=activation)(keras.layers.GRU(4)(x))
    return keras.Model(x, keras.layers.Dense(1)(hidden))


def result(directory: Path, model: keras.Model) -> Path:
    """A training result, as far as export reads it."""
    directory.mkdir()
    model.save(directory / "model.keras")
    tensor = {"unit": None, "domain": None}
    record = {
        "format": gradwire_export.RECORD_FORMAT,
        "name": "m",
        "inputs": [{"name": "x", **tensor}],
        "outputs": [{"name": "f", **tensor}],
        "trained": None,
        "errors": None,
    }
    (directory / "fit.json").write_text(json.dumps(record))
    return directory


def save(source, directory: Path, **named) -> str:
    """Writes the package's graph and variables, and gives the digest."""
    if isinstance(source, Path):
        read = read_source(source)
        source, named = read.model, {"inputs": read.inputs, "outputs": read.outputs}
    spec = package_spec(function_of(source, **named), (), [])
    _export._save(directory, spec, Card("m", (), (), spec.derivatives, spec.signatures))
    return gradwire_export.digest(directory)


def files(directory: Path) -> dict[str, bytes]:
    """All files that are not up to chance."""
    contents = {path.name: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    return {name: content for name, content in contents.items() if name not in CHANCE}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training result."""
    return result(tmp_path_factory.mktemp("build") / "m", network())


@pytest.fixture(scope="module")
def first(trained, tmp_path_factory):
    """Its package."""
    directory = tmp_path_factory.mktemp("first") / "1"
    save(trained, directory)
    return directory


def test_two_exports_give_the_same_files(trained, first, tmp_path):
    """Again in this process, which has counted on, and in another one: every file is the same, byte for byte."""
    network(seed=4)(np.zeros((1, 4, 2), np.float32))  # names and counters move on
    save(trained, tmp_path / "2")
    subprocess.run([sys.executable, "-c", EXPORT, trained, tmp_path / "3"], check=True, capture_output=True)
    assert {"saved_model.pb", "variables.index"} <= files(first).keys()
    for again in ("2", "3"):
        assert files(tmp_path / again) == files(first)


def test_the_whole_export_keeps_the_digest(run_in_one_process, tmp_path):
    """Two exports of one result through the front door differ in the card's time, and not in the digest."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((1,), name="x"), keras.layers.Dense(1)])
    trained = result(tmp_path / "build", model)
    one, two = (gradwire_export.export(trained, to=tmp_path / "m", signatures=[]) for _ in range(2))
    assert one.card.digest == two.card.digest == gradwire_export.digest(two.path)
    assert files(one.path) == files(two.path)
    assert one.card.compiled is None
    assert "batching_params.pbtxt" not in files(one.path)


def dense(activation="tanh"):
    """A small network; the same weights for each activation."""
    keras.utils.set_random_seed(5)
    x = keras.Input((1,), name="x")
    hidden = keras.layers.Dense(3, activation=activation, name="hidden")(x)
    return keras.Model(x, keras.layers.Dense(1, name="last")(hidden), name="net")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The small network's package."""
    directory = tmp_path_factory.mktemp("plain") / "1"
    save(dense(), directory)
    return directory


def test_a_weight_changed_in_its_last_bit_is_another_model(plain, tmp_path):
    """The digest follows every bit of every weight; the graph is the same."""
    model = dense()
    weights = model.get_weights()
    weights[-1] = np.nextafter(weights[-1], np.float32(np.inf))
    model.set_weights(weights)
    assert save(model, tmp_path / "1") != gradwire_export.digest(plain)
    assert files(tmp_path / "1")["saved_model.pb"] == files(plain)["saved_model.pb"]


def test_an_activation_changed_is_another_model(plain, tmp_path):
    """The digest follows the graph: the same weights in other operations."""
    assert save(dense("sigmoid"), tmp_path / "1") != gradwire_export.digest(plain)


@tf.custom_gradient
def cubed(y):
    """The third power, with its gradient by hand."""
    return y**3, lambda up: 3 * up * y**2


class Scaled(tf.Module):
    """Two variables of one name, read in an order that is not theirs."""

    def __init__(self) -> None:
        self.later, self.first = (tf.Variable(value, name="same", dtype=tf.float64) for value in (2.0, 3.0))

    def __call__(self, x):
        return cubed(x * self.first) + self.later * x


def test_what_lives_in_one_process_gives_the_same_files_too(tmp_path):
    """A module with custom gradients and variables of one name, made and exported twice."""
    spec = {"x": tf.TensorSpec((None, 1), tf.float64)}
    for name in ("1", "2"):
        save(Scaled(), tmp_path / name, inputs=spec)
    assert files(tmp_path / "1") == files(tmp_path / "2")


def test_the_canonical_form_still_loads_as_a_python_object(first):
    """Renamed functions are found by those who load the package in TensorFlow, not through a Session."""
    loaded = tf.saved_model.load(str(first))
    x = np.random.default_rng(0).uniform(-1, 1, (3, 4, 2)).astype(np.float32)
    outputs = loaded.signatures["serving_default"](x=tf.constant(x))
    np.testing.assert_allclose(outputs["f"], network()(x), rtol=1e-5)


def test_the_card_lies_nowhere_in_the_graph(first):
    """Neither the card's text nor the place where it was written first gets into what the digest covers."""
    assert tempfile.gettempdir().encode() not in (first / "saved_model.pb").read_bytes()
