"""The error bars of a fit in its package: by the package's names, in every signature's checks, or with a reason."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import gradwire
from gradwire import verify
from gradwire_export import export
from gradwire_export._export import _without_clashes
from gradwire_export._sources.function import function_of
from gradwire_export._sources.source import ErrorBars, Source
from gradwire_training import Samples, Value, fit, hold_out, mlp, optimizers


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small fit of two inputs and two outputs, some rows held out."""
    generator = np.random.default_rng(0)
    x, t = generator.uniform(-1, 1, (60, 2)), generator.uniform(0, 1, (60, 1))
    y = {"f": x[:, :1] * t, "g": np.concatenate([x[:, 1:], t], axis=1)}
    y = {name: column + 0.01 * generator.standard_normal(column.shape) for name, column in y.items()}
    fitted, held_out = hold_out(Samples({"x": x, "t": t}, y), share=0.3)
    model = mlp(inputs={"x": 2, "t": 1}, outputs={"f": 1, "g": 2}, widths=(4,), activation="tanh", scale=fitted)
    result = fit(model, fitted, loss=Value(), validation=held_out, optimizer=optimizers.Lm(), steps=40)
    return result.save(tmp_path_factory.mktemp("build") / "pair")


@pytest.fixture(scope="module")
def renamed(saved):
    """Its package under other names, outputs in another order, without second derivatives, which take long."""
    to = saved.parent / "models" / "pair"
    return export(
        saved,
        to=to,
        inputs={"where": "x", "time": "t"},
        outputs={"h": "g", "f": "f"},
        signatures=["uncertainty"],
    )


@pytest.mark.slow  # it exports a fit
def test_the_package_returns_what_the_fit_knows(saved, renamed):
    """Each bar under the name of its tensor in the package; the card's entries go with them."""
    own = keras.models.load_model(saved / "uncertainty.keras")
    generator = np.random.default_rng(1)
    x, t = generator.uniform(-1, 1, (5, 2)).astype(np.float32), generator.uniform(0, 1, (5, 1)).astype(np.float32)
    expected = {name: np.asarray(std) for name, std in own({"x": x, "t": t}).items()}
    names = {"h_std": "g_std", "f_std": "f_std", "dh_dwhere_std": "dg_dx_std", "df_dtime_std": "df_dt_std"}
    with gradwire.load(renamed.path) as model:
        stds, slopes = model.uncertainty(x, t[:, 0])
        raw = model.predict("uncertainty", where=x, time=t)
        assert list(stds) == ["h", "f"]
        assert slopes["h"]["where"].shape == (5, 2, 2)
        assert model.is_trusted(where=x, time=t[:, 0]).shape == (5,)
        assert verify(model, points=8).passed
    assert set(raw) == {*names, "dh_dtime_std", "df_dwhere_std"} == set(renamed.card.uncertainty["bars"])
    for name, other in names.items():
        np.testing.assert_allclose(raw[name], expected[other], rtol=1e-5)
        assert (raw[name] > 0).all()


@pytest.mark.slow
def test_the_checks_of_export_hold_for_the_bars(renamed):
    """Against the model in a fresh process, in float64, in any batch, and that they are finite and not negative."""
    checks = renamed.card.checks
    assert set(checks["trained_model"]["worst_eps"]["uncertainty"]) == set(renamed.card.uncertainty["bars"])
    subjects = [finding["subject"] for name in ("adjoint", "reference", "rows") for finding in checks[name]["findings"]]
    for subject in ("uncertainty: finite and not negative", "f_std of uncertainty", "uncertainty: no rows"):
        assert subject in subjects


@pytest.mark.slow  # a fit, its bars and its export
def test_a_network_of_other_layers_has_bars_in_its_package(tmp_path):
    """Layer normalisation, a gate and a sum, one layer frozen: from the fit to a fresh process and the client."""
    generator = np.random.default_rng(0)
    x = generator.uniform(-1, 1, (80, 2))
    y = np.sin(2 * x[:, :1]) * x[:, 1:] + 0.02 * generator.standard_normal((80, 1))
    fitted, held_out = hold_out(Samples(x, y), share=0.3)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((2,))
    hidden = keras.layers.Dense(6, trainable=False)(inputs)
    gate = keras.layers.Dense(6, "sigmoid")(keras.layers.LayerNormalization()(hidden))
    hidden = keras.layers.Add()([hidden, keras.layers.Multiply()([keras.layers.Dense(6, "tanh")(hidden), gate])])
    model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    result = fit(model, fitted, loss=Value(), validation=held_out, optimizer="lbfgs", steps=60)
    saved = result.save(tmp_path / "fit")
    own = keras.models.load_model(saved / "uncertainty.keras")
    exported = export(saved, to=tmp_path / "models" / "gated", signatures=["uncertainty"])
    checks = exported.card.checks
    assert set(checks["trained_model"]["worst_eps"]["uncertainty"]) == {"f_std", "df_dx_std"}
    points = generator.uniform(-1, 1, (50, 2)).astype(np.float32)
    with gradwire.load(exported.path) as model:
        std, slopes = model.uncertainty(points)
        values = model.value(points)
        assert verify(model, points=8).passed
    expected = {name: np.asarray(each) for name, each in own({"x": points}).items()}
    np.testing.assert_allclose(std.reshape(50, 1), expected["f_std"], rtol=1e-5)
    np.testing.assert_allclose(slopes.reshape(50, 2), expected["df_dx_std"], rtol=1e-5)
    errors = np.abs(values.reshape(50) - np.sin(2 * points[:, 0]) * points[:, 1])
    assert np.mean(errors <= 1.96 * std.reshape(50)) >= 0.7
    assert std.max() < 0.2


def test_bars_that_are_negative_or_not_finite_are_found():
    """The proof names them, and the signature that they are of."""
    card = gradwire.Card(
        name="log",
        inputs=(gradwire.CardTensor("x", "float64", (1,), domain=gradwire.Domain([0.5], [1.5])),),
        outputs=(gradwire.CardTensor("f", "float64", (1,)),),
        derivatives={"f": {"x": "df_dx"}},
        signatures=("serving_default", "uncertainty"),
    )
    for wrong in (lambda x: x - 1, lambda x: np.full_like(x, np.inf)):
        functions = {
            "serving_default": lambda x: {"f": np.log(x), "df_dx": 1 / x},
            "uncertainty": lambda x, wrong=wrong: {"f_std": wrong(x), "df_dx_std": np.ones_like(x)},
        }
        found = verify(gradwire.Model(gradwire.FakeTransport(functions, card=card)), points=8)
        assert "adjoint: uncertainty: finite and not negative" in found.failures
        assert "uncertainty" in found.wrong_signatures()


def test_a_model_with_a_tensor_by_the_name_of_a_bar_has_none():
    """Prices come with a price_std of their own: the package keeps that, and says why it has no bars."""
    x = keras.Input((1,), name="x")
    bars = ErrorBars({"bars": {}}, keras.Model({"x": x}, {"f_std": keras.layers.Dense(1)(x)}))
    function = function_of(lambda x: {"f": x, "f_std": x}, inputs={"x": tf.TensorSpec((None, 1), tf.float32)})
    left = _without_clashes(bars, function, {})
    assert left.model is None
    assert left.record["reason"] == "the model has a tensor 'f_std' of its own"


def test_a_function_that_was_not_fitted_has_a_reason():
    """It is the one of every source that is no fit."""
    assert "not fitted by Gradwire" in Source(model=tf.math.log).bars.record["reason"]
