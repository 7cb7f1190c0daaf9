"""The Jacobian in one sweep against TensorFlow's tape, differences, and closed forms."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from gradwire import UsageError
from gradwire_training import Derivative, Samples, Sobolev, Value, mlp, with_dtype
from gradwire_training._jacobian.activations import KNOWN
from gradwire_training._jacobian.read_graph import read_graph
from gradwire_training._jacobian.residuals import Swept, Taped, residuals_of

GENERATOR = np.random.default_rng(5)
A, B = GENERATOR.uniform(-1, 1, (9, 2)), GENERATOR.uniform(-1, 1, (9, 1))


def _holed(column):
    column = np.array(column, np.float64)
    column.ravel()[::4] = np.nan
    return column


PAIRS = Samples(
    {"a": A, "b": B},
    {"price": _holed(A[:, :1] + B), "pair": np.stack([A[:, 0] ** 2, B[:, 0] * A[:, 1]], axis=1)},
    {
        "price": {"a": A[:, ::-1], "b": _holed(np.ones(9))},
        "pair": {"b": _holed(GENERATOR.normal(size=(9, 2, 1)))},
    },
    x_dot={"a": GENERATOR.normal(size=(9, 2)), "b": GENERATOR.normal(size=(9, 1))},
    y_dot={"pair": _holed(GENERATOR.normal(size=(9, 2)))},
)
CURVE = Samples(np.linspace(-1, 1, 6), np.sin(np.linspace(-1, 1, 6)), np.cos(np.linspace(-1, 1, 6)))


def _shaken(model):
    model = with_dtype(model, "float64")
    generator = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(weight + 0.3 * generator.normal(size=weight.shape))
    return model


def _pairs(activation="tanh", scale=None):
    shapes = {"inputs": {"a": 2, "b": 1}, "outputs": {"price": 1, "pair": 2}}
    return _shaken(mlp(**shapes, widths=(4, 3), activation=activation, scale=scale))


GRADIENTS = {"a": GENERATOR.normal(size=(9, 2)), "b": GENERATOR.normal(size=(9, 1))}
FULL = Samples(
    PAIRS.x,
    {"price": B, "pair": A},
    {"price": GRADIENTS, "pair": {name: np.repeat(column[:, None], 2, axis=1) for name, column in GRADIENTS.items()}},
)


def _reduced():
    """Two components of the three elements of the inputs."""
    shapes = {"inputs": {"a": 2, "b": 1}, "outputs": {"price": 1, "pair": 2}}
    return _shaken(mlp(**shapes, widths=(4,), activation="tanh", scale=FULL, reduce=2))


def _residual_network():
    """A skip connection, an activation of its own, a layer without bias, and one that is not trained."""
    x = keras.Input((1,), name="x")
    first = keras.layers.Dense(4, "sigmoid", use_bias=False)(x)
    second = keras.layers.Activation("tanh")(keras.layers.Dense(4, trainable=False)(first))
    return _shaken(keras.Model(x, keras.layers.Dense(1)(keras.layers.Add()([first, second]))))


def _point(objective):
    return np.concatenate([np.array(variable).ravel() for variable in objective.trainable])


CASES = {
    "chain": (lambda: _shaken(mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(3, 3))), CURVE, Sobolev()),
    "values": (lambda: _shaken(mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(3,))), CURVE, Value()),
    "pins": (
        lambda: _shaken(mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(3,), scale=CURVE)),
        CURVE,
        Derivative(Samples([0.0, 0.5], [0.0, 1.0])),
    ),
    "several": (_pairs, PAIRS, Sobolev()),
    "scaled": (lambda: _pairs("swish", PAIRS), PAIRS, Sobolev(value_weight=2.0)),
    "components": (_reduced, FULL, Sobolev()),
    "components and what misses some": (_reduced, PAIRS, Sobolev()),
    "skips": (_residual_network, CURVE, Sobolev()),
}


@pytest.mark.slow
@pytest.mark.parametrize(("build", "samples", "loss"), CASES.values(), ids=CASES)
def test_both_ways_give_the_same_residuals_and_jacobian(objective, build, samples, loss):
    """In the same order, to rounding: missing labels, pins, directions, several inputs and outputs."""
    problem = objective(build(), samples, loss)
    graph = read_graph(problem.model, problem.trainable)
    swept, taped = Swept(problem, graph), Taped(problem)
    assert isinstance(residuals_of(problem), Swept)
    point = _point(problem)
    ((errors, jacobian),) = swept.blocks(point)
    # One model is compiled as it is in a fit; the others run eagerly, for compiling takes most of the time.
    expected, expected_jacobian = (
        next(taped.blocks(point))
        if samples is CURVE and loss.pins is None
        else (np.array(part) for part in taped._jacobian(tf.constant(point)))
    )
    assert jacobian.shape == (swept.count, swept.weights) == (taped.count, taped.weights)
    np.testing.assert_allclose(errors, expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(jacobian, expected_jacobian, rtol=1e-10, atol=1e-12)
    again, mae = swept.at(point)
    np.testing.assert_allclose(again, errors, rtol=1e-12, atol=1e-13)
    assert mae == pytest.approx(float(problem.loss_and_mae()[1]), rel=1e-12)
    np.testing.assert_array_equal(next(swept.blocks(point))[1], jacobian)  # from the signals that ``at`` kept
    assert errors @ errors == pytest.approx(float(problem.loss_and_mae()[0]), rel=1e-12)


@pytest.mark.parametrize("activation", KNOWN)
def test_every_activation_agrees_with_keras_and_with_differences(objective, activation):
    """Values are Keras's; the Jacobian of values and derivatives is the residuals' slope, by central differences."""
    x = np.linspace(-2.1, 2.0, 7)
    model = _shaken(mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(3, 2), activation=activation))
    problem = objective(model, Samples(x, x, x), Sobolev(balanced=False))
    swept = Swept(problem, read_graph(model, problem.trainable))
    point = _point(problem)
    ((errors, jacobian),) = swept.blocks(point)
    np.testing.assert_allclose(errors[:7] * np.sqrt(7), np.array(model(x[:, None]))[:, 0] - x, atol=1e-12)
    direction = np.random.default_rng(3).normal(size=point.shape)
    h = 1e-6
    slope = (swept.at(point + h * direction)[0] - swept.at(point - h * direction)[0]) / (2 * h)
    np.testing.assert_allclose(jacobian @ direction, slope, rtol=1e-6, atol=1e-6 * np.abs(slope).max())


def test_a_straight_lines_jacobian_is_known(objective, line):
    """For f = w x + b: x and 1 for the values, 1 and 0 for the slopes."""
    x = np.array([1.0, 2.0, 4.0])
    problem = objective(line(3.0, -1.0), Samples(x, x, x), Sobolev(balanced=False))
    ((errors, jacobian),) = residuals_of(problem).blocks(np.array([3.0, -1.0]))
    root = np.sqrt(3)
    np.testing.assert_allclose(errors * root, [1, 3, 7, 2, 1, -1], rtol=1e-14)
    np.testing.assert_allclose(jacobian * root, [[1, 1], [2, 1], [4, 1], [1, 0], [1, 0], [1, 0]], rtol=1e-14)


def test_blocks_of_rows_hold_the_same_residuals(objective):
    """However small the blocks, J^T J and J^T r are those of the whole."""
    problem = objective(_pairs(), PAIRS, Sobolev())
    graph, point = read_graph(problem.model, problem.trainable), _point(problem)
    ((errors, jacobian),) = Swept(problem, graph).blocks(point)
    blocks = list(Swept(problem, graph, block_bytes=10_000).blocks(point))
    assert len(blocks) > 2
    np.testing.assert_allclose(sum(j.T @ j for _, j in blocks), jacobian.T @ jacobian, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(sum(r @ j for r, j in blocks), errors @ jacobian, rtol=1e-11, atol=1e-13)


def _sequential(*layers):
    return with_dtype(keras.Sequential([keras.Input((1,)), *layers, keras.layers.Dense(1)]), "float64")


@keras.saving.register_keras_serializable(package="tests")
def squared(z):
    """An activation that only TensorFlow knows."""
    return z * z


UNREAD = {
    "own activation": lambda: _sequential(keras.layers.Dense(2, squared)),
    "batch normalisation": lambda: _sequential(keras.layers.BatchNormalization()),
    "convolution": lambda: _sequential(keras.layers.Reshape((1, 1)), keras.layers.Conv1D(2, 1), keras.layers.Flatten()),
    "activity regulariser": lambda: _sequential(keras.layers.Dense(2, activity_regularizer="l2")),
}


@pytest.mark.parametrize("build", UNREAD.values(), ids=UNREAD)
def test_other_layers_are_left_to_tensorflow(objective, build):
    """A model that is not understood as a whole is not read at all."""
    problem = objective(build(), CURVE, Value())
    assert isinstance(residuals_of(problem), Taped)


def test_a_jacobian_that_memory_does_not_hold_is_refused(objective, monkeypatch):
    """The tape makes it whole: 320 frames of six atoms took 40 GB."""
    problem = objective(UNREAD["own activation"](), CURVE, Value())

    def exhausted(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "Out of memory while trying to allocate 40.66GiB.")

    residuals = Taped(problem)
    monkeypatch.setattr(residuals, "_value_and_jacobian", exhausted)
    with pytest.raises(UsageError, match=r"labels with respect to 7 weights.*use adam or lbfgs, or fewer rows"):
        list(residuals.blocks(_point(problem)))
