"""Differential principal components: found from derivatives, fitted along, exported with the network."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import gradwire
from gradwire._errors import DataError, UsageError
from gradwire_export import DerivativeWarning, export
from gradwire_training import Samples, Sobolev, fit, mlp, optimizers, repeat, with_dtype
from gradwire_training._data import ColumnKey
from gradwire_training._models import components_of, reduction_of
from gradwire_training._models.io_binding import IoBinding
from gradwire_training._objective import FittedRows
from gradwire_training._objective.weighting import MINOR

ROWS = 40
INPUTS, OUTPUTS = {"a": 2, "b": 1, "c": 1}, {"f": 1, "g": 2}
NAMES = list(INPUTS)
U, V = np.array([1.0, 0.0, 1.0]), np.array([0.0, 1.0, -2.0])  # the only directions, of a0, a1 and b


def _samples(*, constant=3.0, weight=1.0, missing=()):
    """Sample f = sin u and g = (u v, weight v) with u = a0 + b, v = a1 - 2 b; c is a constant."""
    generator = np.random.default_rng(11)
    x = generator.uniform(-1, 1, (ROWS, 3)) * [1.0, 5.0, 0.2] + [0.0, 100.0, 7.0]
    u, v = x @ U, x @ V
    gradients = {
        "f": (np.cos(u)[:, None] * U)[:, None],
        "g": np.stack([v[:, None] * U + u[:, None] * V, np.broadcast_to(weight * V, (ROWS, 3))], axis=1),
    }
    dydx = {name: {"a": column[..., :2], "b": column[..., 2:]} for name, column in gradients.items()}
    dydx["f"] = {name: column[:, 0] for name, column in dydx["f"].items()}
    for row in missing:
        dydx["f"]["b"][row] = np.nan
    x = {"a": x[:, :2], "b": x[:, 2:], "c": np.full(ROWS, constant)}
    return Samples(x, {"f": np.sin(u), "g": np.stack([u * v, weight * v], axis=1)}, dydx)


def _model(samples, reduce="auto", **changes):
    layers = {"widths": (6,), "activation": "tanh", "seed": 1, **changes}
    return mlp(inputs=INPUTS, outputs=OUTPUTS, scale=samples, reduce=reduce, **layers)


def _kernel(model):
    return model.get_layer("principal_components").get_weights()[0].astype(np.float64)


def test_auto_finds_the_subspace_of_the_gradients():
    """Two directions of three: the kernel spans them in units of the inputs; the constant passes beside them."""
    samples = _samples()
    kernel = _kernel(_model(samples))
    spreads = np.concatenate([samples.x["a"], samples.x["b"]], axis=1).std(axis=0)
    basis = np.linalg.qr(np.stack([U, V], axis=1) * spreads[:, None])[0]
    assert kernel.shape == (4, 3)
    np.testing.assert_allclose(kernel[:3, :2], basis @ (basis.T @ kernel[:3, :2]), atol=1e-6)
    np.testing.assert_array_equal(kernel[3], [0, 0, 1])
    np.testing.assert_array_equal(kernel[:3, 2], 0)


def test_a_weight_of_two_is_the_row_twice():
    """In the directions, in their spreads, and in what they carry; rows without weight change nothing."""
    samples, weights = _samples(weight=0.3), np.arange(ROWS) % 4
    repeated = samples.take(np.repeat(np.arange(ROWS), weights))
    weighted = samples.weighted(weights)
    for reduce in ("auto", 1):
        kernels = [_kernel(_model(each, reduce)) for each in (weighted, repeated)]
        np.testing.assert_allclose(np.abs(kernels[0]), np.abs(kernels[1]), rtol=1e-5, atol=1e-7)
        told = [reduction_of(_model(each, reduce), each, NAMES).fraction for each in (weighted, repeated)]
        assert told[0] == pytest.approx(told[1], rel=1e-6)
    assert not np.allclose(np.abs(kernels[0]), np.abs(_kernel(_model(samples, 1))), rtol=1e-2)


def test_components_have_mean_zero_and_spread_one():
    """So that the hidden layers see what they see of scaled inputs."""
    samples, model = _samples(), _model(_samples())
    inner = keras.Model(model.inputs, model.get_layer("principal_components").output)
    seen = inner({name: column.astype(np.float32) for name, column in samples.x.items()}).numpy()
    np.testing.assert_allclose(seen.mean(axis=0), [0, 0, 0], atol=1e-4)
    np.testing.assert_allclose(seen.std(axis=0), [1, 1, 0], atol=1e-4)


def test_the_fraction_is_that_of_the_output_that_loses_most():
    """One direction: f depends on u alone and keeps all, g would lose; the text rounds down."""
    samples = _samples()
    reduction = reduction_of(_model(samples, reduce=1), samples, NAMES)
    spread = np.concatenate([samples.x["a"], samples.x["b"]], axis=1).std(axis=0)
    direction = _kernel(_model(samples, reduce=1))[:3, 0]
    direction /= np.linalg.norm(direction)
    expected = []
    for output, by_input in samples.dydx.items():
        size = samples.y[output][0].size
        parts = [by_input[name].reshape(ROWS, size, -1) for name in ("a", "b")]
        gradient = np.concatenate(parts, axis=2) * spread / samples.y[output].std(axis=0)[:, None]
        expected.append(((gradient @ direction) ** 2).sum() / (gradient**2).sum())
    assert reduction.fraction == pytest.approx(min(expected), rel=1e-6)
    assert str(reduction) == f"1 of 3 directions carry {np.floor(min(expected) * 1e6) / 1e4:g} % of the gradient"
    assert str(reduction_of(_model(samples), samples, NAMES)) == "2 of 3 directions carry 99.9999 % of the gradient"
    assert (
        str(reduction_of(_model(samples, reduce=3), samples, NAMES)) == "3 of 3 directions carry 100 % of the gradient"
    )
    assert reduction_of(_model(samples, reduce=None), samples, NAMES) is None


def test_no_output_is_lost_for_being_small():
    """Outputs count in units of their spread: a thousandth of g's second element changes nothing."""
    assert _kernel(_model(_samples(weight=1e-3))).shape == (4, 3)


def _without(output, name):
    samples = _samples()
    del samples.dydx[output][name]
    return samples


CASES = {
    "no samples": (lambda: mlp(inputs=INPUTS, outputs=OUTPUTS, reduce="auto"), UsageError, "reduce 'auto' needs scale"),
    "none": (lambda: _model(_samples(), reduce=0), UsageError, "reduce 0, expected 'auto' or a number from 1 to 3"),
    "more": (lambda: _model(_samples(), reduce=4), UsageError, "reduce 4, expected 'auto' or a number from 1 to 3"),
    "a word": (lambda: _model(_samples(), reduce="all"), UsageError, "reduce 'all', expected 'auto'"),
    "an input": (lambda: _model(_without("g", "b")), DataError, "derivatives of 'g' with respect to every input"),
    "all zero": (
        lambda: mlp(
            inputs={"x": 2},
            outputs={"f": 1},
            scale=Samples(np.eye(2), [1.0, 1.0], np.zeros((2, 2))),
            reduce=1,
        ),
        DataError,
        "all of them are zero",
    ),
}


@pytest.mark.parametrize(("build", "kind", "message"), CASES.values(), ids=CASES)
def test_what_cannot_be_reduced_is_refused(build, kind, message):
    """By name: no derivatives, no such number."""
    with pytest.raises(kind, match=message):
        build()


def _along(samples, model):
    components = components_of(model, IoBinding.of(model, samples))
    return components.basis, FittedRows.of(samples, Sobolev()).along(components).labels


def test_along_the_basis_each_component_moves_alone():
    """A move by basis e_k moves component k by one and no other; labels are the derivatives along it."""
    samples = _samples()
    model = with_dtype(_model(samples), "float64")
    basis, labels = _along(samples, model)
    inner = keras.Model(model.inputs, model.get_layer("principal_components").output)
    flat = np.concatenate(list(samples.x.values()), axis=1)
    seen = {k: inner(dict(zip(NAMES, np.split(flat + basis[:, k], (2, 3), axis=1), strict=True))) for k in range(3)}
    start = inner(samples.x).numpy()
    for k in range(3):
        np.testing.assert_allclose(seen[k].numpy() - start, np.tile(np.eye(3)[k], (ROWS, 1)), atol=1e-10)
    gradient = np.concatenate([samples.dydx["g"]["a"], samples.dydx["g"]["b"]], axis=2)
    expected = gradient @ basis[:3, :2]
    np.testing.assert_allclose(labels[ColumnKey("dydx", "g")][..., :2], expected, rtol=1e-12)
    assert np.isnan(labels[ColumnKey("dydx", "g")][..., 2]).all()  # nobody knows the derivative by the constant


def test_derivatives_are_fitted_along_the_components(objective):
    """The loss is the mean square of values and of derivatives by the components, each in units of its own size."""
    samples = _samples()
    model = with_dtype(_model(samples), "float64")
    _, labels = _along(samples, model)
    layer = model.get_layer("principal_components")
    rest = keras.Model(layer.output, model.outputs)
    seen = tf.constant(keras.Model(model.inputs, layer.output)(samples.x))
    errors = {"y": [], "dydx": []}
    for index, (name, values) in enumerate(samples.y.items()):
        with tf.GradientTape() as tape:
            tape.watch(seen)
            predicted = rest(seen)[index]
        jacobian = tape.batch_jacobian(predicted, seen).numpy()[..., :2]
        along = labels[ColumnKey("dydx", name)][..., :2]
        size = np.sqrt((along**2).mean(axis=0))
        errors["y"].append(((predicted.numpy() - values) / values.std(axis=0)).ravel())
        errors["dydx"].append(((jacobian - along) / np.maximum(size, MINOR * values.std(axis=0)[:, None])).ravel())
    squares = np.concatenate([*errors["y"], *errors["dydx"]]) ** 2  # by default every label counts the same
    expected = squares[: 3 * ROWS].mean() / 3 + squares[3 * ROWS :].mean() * 2 / 3
    assert float(objective(model, samples, Sobolev()).loss_and_mae()[0]) == pytest.approx(expected, rel=1e-6)


def test_rows_that_miss_a_derivative_keep_the_others():
    """Their components are not known; what is known stays a label of its own."""
    samples = _samples(missing=(0, 5))
    _, labels = _along(samples, with_dtype(_model(samples), "float64"))
    a, along = labels[ColumnKey("dydx", "f", "a")], labels[ColumnKey("dydx", "f")]
    assert np.flatnonzero(np.isfinite(a).all(axis=1)).tolist() == [0, 5]
    assert np.flatnonzero(np.isnan(along[:, 0, 0])).tolist() == [0, 5]
    assert not {ColumnKey("dydx", "f", "b"), ColumnKey("dydx", "g", "a")} & set(labels)


@pytest.mark.slow  # an export checks itself in a fresh process
def test_a_reduced_package_has_the_derivatives_of_all_inputs(tmp_path):
    """They are differences of the float64 model's values; the fit, its record and the card name the directions."""
    samples = _samples()
    result = fit(_model(samples), samples, optimizer=optimizers.Lm(), steps=60, dtype="float64")
    assert "2 of 3 directions carry 99.9999 % of the gradient" in result.notes
    assert result.errors["dg_da"]["max"] < 0.5  # of some 90
    saved = result.save(tmp_path / "fit")
    assert json.loads((saved / "fit.json").read_text())["trained"]["reduction"]["directions"] == 2
    assert repeat(saved).loss == result.loss
    with pytest.warns(DerivativeWarning, match="'c' is constant"):
        package = export(saved, to=tmp_path / "f", signatures=()).path
    with gradwire.load(package) as model:
        assert model.card.trained["reduction"]["of"] == 3
        x = {name: column[:7] for name, column in samples.x.items()}
        values, grads = model.value_and_grad(**x)
        for name in NAMES:
            for element in range(x[name].shape[1]):
                step = np.zeros_like(x[name])
                step[:, element] = 1e-4
                up, down = (model.value(**{**x, name: x[name] + sign * step}) for sign in (1, -1))
                for output, size in (("f", 1), ("g", 2)):
                    difference = (up[output] - down[output]).reshape(7, size) / (2 * step[:, [element]])
                    exact = grads[output][name].reshape(7, size, -1)[..., element]
                    np.testing.assert_allclose(exact, difference, rtol=1e-5, atol=1e-6 * np.abs(values[output]).max())
