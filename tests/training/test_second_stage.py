"""A second network on what the first one leaves: errors fall, the package is the sum, and noise is left alone."""

from __future__ import annotations

import json
from dataclasses import replace

import keras
import numpy as np
import pytest

import gradwire
from gradwire._errors import DataError, UsageError
from gradwire_export import export
from gradwire_training import Derivative, Samples, Value, fit, mlp, optimizers, refine, repeat, with_noise
from gradwire_training._fit import second_stage
from gradwire_training._fit.evaluation import evaluate

pytestmark = pytest.mark.slow  # fits two networks each


@pytest.fixture(scope="module", autouse=True)
def _short():
    """Fewer steps of the second stage."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(second_stage, "STEPS", 300)
        patch.setattr(second_stage, "TRIAL", 120)
        yield


def _first(samples, **settings):
    model = mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(6,), activation="tanh", seed=2, scale=samples)
    return fit(model, samples, **{"optimizer": optimizers.Lm(), "steps": 60, "dtype": "float64", **settings})


@pytest.fixture(scope="module")
def clean(log):
    """A first fit of the logarithm."""
    return _first(log.samples(40, spacing="log"))


@pytest.fixture(scope="module")
def refined(clean):
    """Both stages."""
    return refine(clean)


def test_clean_errors_fall(clean, refined):
    """Against the truth, values and derivatives; history, steps and notes tell of both fits."""
    for tensor in ("f", "df_dx"):
        assert refined.errors[tensor]["max"] < 0.2 * clean.errors[tensor]["max"]
    assert refined.loss < 1e-3 * clean.loss
    assert (refined.stages, refined.steps) == (2, clean.steps + 300)
    assert list(refined.history["step"]) == list(range(1, refined.steps + 1))
    assert refined.history["optimizer"][-1] == "lm on the residuals"
    assert "a second network, fitted to what the first one leaves, lowers the rmse: f " in refined.notes[-1]


@pytest.mark.slow  # an export checks itself in a fresh process
def test_a_package_of_two_stages_has_the_derivative_of_their_sum(refined, tmp_path):
    """It is a difference of the package's values, which are the model's; the record repeats the fit."""
    saved = refined.save(tmp_path / "fit")
    assert json.loads((saved / "fit.json").read_text())["trained"]["stages"] == 2
    assert repeat(saved).loss == refined.loss
    x, h = np.linspace(0.2, 1.8, 9), 1e-3
    with gradwire.load(export(saved, to=tmp_path / "log", signatures=()).path) as model:
        values, slopes = model.value_and_grad(x)
        near = {k: model.value(x + k * h) for k in (-2, -1, 1, 2)}
    expected, _ = evaluate(refined.model, refined.binding, {"x": x[:, None]}, {})
    np.testing.assert_allclose(values, expected["f"].ravel(), rtol=0, atol=1e-14)
    np.testing.assert_allclose(slopes, (near[-2] - 8 * near[-1] + 8 * near[1] - near[2]) / (12 * h), rtol=1e-7)


def test_several_inputs_and_outputs(monkeypatch):
    """The sum is taken by name; rows of one element and of several keep their shapes."""
    monkeypatch.setattr(second_stage, "GAIN", np.inf)  # 30 rows are few for a trial
    rows = np.stack(np.meshgrid(np.linspace(-1, 1, 6), np.linspace(-1, 1, 5)), axis=-1).reshape(30, 2)
    sums = rows.sum(axis=1)
    pair, price = np.stack([np.sin(sums), sums**2], axis=1), np.exp(sums)
    slopes = np.stack([np.cos(sums), 2 * sums], axis=1)[:, :, None]
    samples = Samples(
        {"a": rows[:, :1], "b": rows[:, 1]},
        {"pair": pair, "price": price},
        {
            "pair": {"a": slopes, "b": slopes},
            "price": {"a": price, "b": price},
        },
    )
    keras.utils.set_random_seed(6)
    a, b = keras.Input((1,), name="a"), keras.Input((), name="b")  # b has rows of shape (), the second network (1,)
    hidden = keras.layers.Dense(5, "tanh")(keras.layers.Concatenate()([a, keras.layers.Reshape((1,))(b)]))
    outputs = {"pair": keras.layers.Dense(2)(hidden), "price": keras.layers.Dense(1)(hidden)}
    first = fit(keras.Model({"a": a, "b": b}, outputs), samples, optimizer="lm", steps=60, dtype="float64")
    both = refine(first)
    x = {"a": rows[:, :1], "b": rows[:, 1]}
    assert both.model(x)["pair"].shape == (30, 2)
    assert [tensor.name for tensor in both.binding.outputs] == [tensor.name for tensor in first.binding.outputs]
    assert both.errors["pair"]["rmse"] < 0.1 * first.errors["pair"]["rmse"]


def test_pins_are_refined_too(log):
    """A fit of derivatives alone keeps its constant."""
    samples = log.samples(40, spacing="log")
    first = _first(samples, loss=Derivative(log.pins))
    both = refine(first)
    assert both.stages == 2
    assert both.errors["f"]["max"] < 0.5 * first.errors["f"]["max"]


LEFT_OUT = {
    "noise": (lambda clean: _first(with_noise(clean.request.samples, 0.01)), "on rows that it is not fitted to"),
    "interrupted": (lambda clean: replace(clean, status="interrupted"), "the first fit is interrupted"),
    "one row": (lambda _: _first(Samples([1.0], [0.0], [1.0]), steps=5), "a single point"),
}


@pytest.mark.parametrize(("build", "reason"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_where_it_does_not_help_it_is_left_out(clean, build, reason):
    """The result stays, and says why."""
    first = build(clean)
    result = refine(first)
    assert (result.stages, result.model) == (1, first.model)
    assert "the second stage was left out: " in result.notes[-1]
    assert reason in result.notes[-1]


def _with(result, **changes):
    return replace(result, request=replace(result.request, **changes))


def _along():
    return Samples([0.0, 1.0], [0.0, 1.0], x_dot=[1.0, 1.0], y_dot=[1.0, 1.0])


REFUSED = {
    "float32": (lambda clean: _with(clean, dtype="float32"), UsageError, "needs a fit in float64, this one is float32"),
    "a third": (lambda clean: replace(clean, stages=2), UsageError, "has 2 stages already"),
    "directions": (lambda clean: _with(clean, samples=_along()), DataError, "these are along directions"),
    "many": (
        lambda clean: _with(clean, samples=Samples(np.arange(4e3), np.zeros(4_000)), loss=Value()),
        DataError,
        "4,000 labels are too many",
    ),
}


@pytest.mark.parametrize(("build", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_second_stage_is_refused(clean, build, kind, message):
    """By name, with the way out."""
    with pytest.raises(kind, match=message):
        refine(build(clean))
