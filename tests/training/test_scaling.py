"""Scaling layers: what they do to numbers and derivatives, in both precisions, and through a file."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from gradwire._errors import DataError
from gradwire_training import Samples, mlp, with_dtype
from gradwire_training._fit import evaluate
from gradwire_training._models.io_binding import IoBinding
from gradwire_training._models.scaling import output_scales, units_of

GENERATOR = np.random.default_rng(4)
SPOT = GENERATOR.normal(100, 20, (60, 2))
TIME = GENERATOR.uniform(0, 1e-3, (60, 2, 1))
SAMPLES = Samples(
    {"spot": SPOT, "time": TIME},
    {"price": SPOT.sum(axis=1), "pair": np.stack([SPOT[:, 0] * 1e3, TIME[:, 0, 0]], axis=1)},
)
ROWS = {"inputs": {"spot": 2, "time": (2, 1)}, "outputs": {"price": 1, "pair": 2}}
ONE = Samples(np.linspace(50, 150, 9), np.linspace(2e5, 3e5, 9))


def _answers(model, samples, **wanted):
    return evaluate(model, IoBinding.of(model, samples), samples.x, wanted)


def test_the_network_inside_sees_and_gives_numbers_of_mean_0_and_spread_1():
    """With all weights zero the outputs are the samples' means; the layers' inputs are standardised."""
    model = with_dtype(mlp(**ROWS, widths=(3,), scale=SAMPLES), "float64")
    for name, column in SAMPLES.x.items():
        seen = np.array(model.get_layer(f"{name}_scaled")(column))
        np.testing.assert_allclose(seen.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(seen.std(axis=0), 1, rtol=1e-6)
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape))
    values, _ = _answers(model, SAMPLES)
    for name, column in SAMPLES.y.items():
        np.testing.assert_allclose(values[name], np.broadcast_to(column.mean(axis=0), column.shape), rtol=1e-6)


def test_derivatives_follow_the_chain_rule():
    """df/dx of the scaled model is s_f / s_x times the inner network's slope, and agrees with differences."""
    model = with_dtype(mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(4,), activation="tanh", scale=ONE), "float64")
    inner = with_dtype(keras.Sequential([keras.Input((1,)), *model.layers[1:-1]]), "float64")
    _, slopes = _answers(model, ONE, f=["x"])
    seen = np.array(model.layers[0](ONE.x["x"]))
    _, inside = _answers(inner, Samples(seen, ONE.y["f"]), f=["x"])
    ratio = float(np.squeeze(model.layers[-1].scale)) * float(np.squeeze(model.layers[0].scale))
    np.testing.assert_allclose(slopes["f"]["x"], ratio * inside["f"]["x"], rtol=1e-12)
    h = 1e-3
    above, below = (np.array(model(ONE.x["x"] + sign * h)) for sign in (1, -1))
    np.testing.assert_allclose(slopes["f"]["x"], (above - below) / (2 * h), rtol=1e-6)


def test_constants_are_the_same_in_both_precisions_and_in_a_file(tmp_path):
    """A twin and a loaded copy are one function: constants are float32's numbers, kept in full in float64."""
    model = mlp(**ROWS, widths=(3,), scale=SAMPLES)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    twins = [with_dtype(each, "float64") for each in (model, loaded, with_dtype(model, "float64"))]
    first, *others = ([layer for layer in twin.layers if isinstance(layer, keras.layers.Rescaling)] for twin in twins)
    assert len(first) == 4
    for layer in first:
        assert np.asarray(layer.scale).dtype == np.float64
        np.testing.assert_array_equal(layer.scale, np.asarray(layer.scale, np.float32))
    for layers in others:
        for one, other in zip(first, layers, strict=True):
            np.testing.assert_array_equal(one.scale, other.scale)
            np.testing.assert_array_equal(one.offset, other.offset)
    values = [_answers(twin, SAMPLES)[0]["price"] for twin in twins]
    np.testing.assert_array_equal(values[0], values[1])
    np.testing.assert_array_equal(values[0], values[2])
    assert values[0].dtype == np.float64


def test_a_scaled_model_computes_in_float64_throughout():
    """Keras takes plain numbers through float32: the layers' arrays do not go that way."""
    model = with_dtype(mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(2,), scale=ONE), "float64")
    scale, offset = (np.asarray(part) for part in (model.layers[0].scale, model.layers[0].offset))
    x = np.array([[1.0 + 2.0**-40]])
    np.testing.assert_array_equal(np.array(model.layers[0](x)), x * scale + offset)


def test_the_units_of_a_model_are_read_from_its_layers():
    """A loss finds what the first layers divide by and the last multiply by, and 1 without them."""
    model = mlp(**ROWS, widths=(3,), scale=SAMPLES)
    units = units_of(model, IoBinding.of(model, SAMPLES))
    np.testing.assert_allclose(units.inputs["spot"], SPOT.std(axis=0), rtol=1e-6)
    np.testing.assert_allclose(units.outputs["pair"], SAMPLES.y["pair"].std(axis=0), rtol=1e-6)
    plain = mlp(inputs={"x": 1}, outputs={"f": 1})
    units = units_of(plain, IoBinding.of(plain, ONE))
    assert (units.inputs["x"], units.outputs["f"]) == (1, 1)
    scaled = mlp(inputs={"x": 1}, outputs={"f": 1}, scale=ONE)
    units = units_of(scaled, IoBinding.of(scaled, ONE))
    np.testing.assert_allclose(
        [units.inputs["x"], units.outputs["f"]], [ONE.x["x"].std(axis=0), ONE.y["f"].std(axis=0)]
    )


def test_columns_that_do_not_vary_keep_their_unit():
    """A constant column is moved to 0 and not divided by rounding; an output without values takes its slopes' size."""
    x = np.linspace(0, 2, 5)
    constant = Samples({"x": x, "c": np.full(5, 0.1)}, {"f": np.full(5, np.nan)}, {"f": {"x": np.full(5, 3.0)}})
    model = with_dtype(mlp(inputs={"x": 1, "c": 1}, outputs={"f": 1}, widths=(2,), scale=constant), "float64")
    np.testing.assert_allclose(np.array(model.get_layer("c_scaled")(constant.x["c"])), 0, atol=1e-8)
    assert output_scales(constant)["f"].spread == pytest.approx(3 * x.std())


def test_samples_of_other_columns_are_refused():
    """The message lists both sides."""
    with pytest.raises(DataError, match=r"scale has x \{'x': \(1,\)\}, the network \{'a': \(1,\)\}"):
        mlp(inputs={"a": 1}, outputs={"f": 1}, scale=ONE)
