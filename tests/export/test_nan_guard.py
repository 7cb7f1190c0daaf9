"""Export with a guard against NaN: a row of which an input is NaN has NaN everywhere, and no other row changes."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import gradwire
from gradwire_export import export

pytestmark = pytest.mark.slow  # exports each model with every signature


@pytest.fixture(scope="module")
def packages(run_in_one_process, tmp_path_factory):
    """A typical network, without the guard and with it: {guarded: what was exported}."""
    keras.utils.set_random_seed(0)
    a, b = keras.Input((1,), name="a"), keras.Input((2,), name="b")
    joined = keras.layers.Concatenate()([a, b])
    normalize = keras.layers.Normalization()
    normalize.adapt(np.random.default_rng(0).normal(size=(100, 3)))
    hidden = keras.layers.Dense(16, "relu")(normalize(joined))
    hidden = keras.layers.BatchNormalization()(keras.layers.Dropout(0.2)(hidden))
    outputs = {"f": keras.layers.Dense(1)(hidden), "g": keras.layers.Dense(2)(hidden)}
    model, to = keras.Model([a, b], outputs), tmp_path_factory.mktemp("models")
    return {guard: export(model, to=to / str(guard), nan_guard=guard) for guard in (False, True)}


def predictions(exported, rows):
    """What every signature returns."""
    with gradwire.load(exported.path) as model:
        return {
            name: model.predict(name, **{key: rows[key] for key in signature.inputs})
            for name, signature in model.signatures.items()
            if name != "card"
        }


def test_a_typical_network_is_proved(packages):
    """Its ReLU takes NaN for 0: without the guard that is reported, with the way out, and fails nothing."""
    for guarded, exported in packages.items():
        assert exported.left_out == {}
        assert exported.card.checks["proof"]["passed"]
        notes = [finding.get("note", "") for finding in exported.card.checks["non_finite"]["findings"]]
        assert any("--nan-guard" in note for note in notes) == (not guarded)


def test_rows_of_nan_are_nan_and_others_are_the_same_to_the_bit(packages):
    """In every tensor of every signature, one element of an input being enough."""
    rng = np.random.default_rng(1)
    sizes = {"a": 1, "b": 2, "a_dot": 1, "b_dot": 2, "f_bar": 1, "g_bar": 2}
    rows = {name: rng.normal(size=(6, size)).astype(np.float32) for name, size in sizes.items()}
    clean = predictions(packages[False], rows)
    rows["a"][2], rows["b"][4, 1] = np.nan, np.nan
    guarded = predictions(packages[True], rows)
    others = [0, 1, 3, 5]
    for signature, outputs in clean.items():
        for name, array in outputs.items():
            assert np.isnan(guarded[signature][name][[2, 4]]).all(), (signature, name)
            assert np.array_equal(guarded[signature][name][others], array[others]), (signature, name)
    assert not all(np.isnan(array[[2, 4]]).all() for array in predictions(packages[False], rows)["value"].values())
