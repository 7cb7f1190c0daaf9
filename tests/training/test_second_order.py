"""The gradient of a loss of derivatives: second derivatives of the model, where TensorFlow's own are wrong."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from gradwire_export import right_gradients
from gradwire_training import Samples, fit
from gradwire_training._models import IoBinding
from gradwire_training._objective import Objective, Sobolev, Value

pytestmark = pytest.mark.slow  # compiles a fit with second derivatives each

LAYERS = {
    "LayerNormalization": keras.layers.LayerNormalization,
    "GroupNormalization": lambda **named: keras.layers.GroupNormalization(2, **named),
    "softsign": lambda **named: keras.layers.Activation("softsign", **named),
}
RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (20, 2))
SAMPLES = Samples({"x": X}, {"f": X[:, :1] * X[:, 1:]}, {"f": {"x": X[:, ::-1]}})


def network(layer) -> keras.Model:
    """A small network with a layer in the middle, in float64."""
    keras.utils.set_random_seed(1)
    x = keras.Input((2,), name="x", dtype="float64")
    hidden = keras.layers.Dense(8, "tanh", dtype="float64")(x)
    hidden = keras.layers.Dense(4, "tanh", dtype="float64")(layer(dtype="float64")(hidden))
    return keras.Model(x, keras.layers.Dense(1, name="f", dtype="float64")(hidden))


@pytest.mark.parametrize("name", LAYERS)
def test_the_gradient_of_a_loss_is_its_difference(name):
    """With respect to every weight, along a random direction."""
    model = network(LAYERS[name])
    objective = Objective(model, IoBinding.of(model, SAMPLES), SAMPLES, Sobolev(), dtype="float64")
    with right_gradients():
        gradient = tf.function(lambda: objective.gradient()[2])()
    loss = tf.function(lambda: objective.loss_and_mae()[0])
    start = objective.snapshot()
    directions = [np.random.default_rng(2).normal(size=weight.shape) for weight in start]

    def at(step):
        objective.restore([weight + step * direction for weight, direction in zip(start, directions, strict=True)])
        return float(loss())

    weights = {3: 1, 2: -9, 1: 45, -1: -45, -2: 9, -3: -1}
    slope = sum(weight * at(1e-5 * k) for k, weight in weights.items()) / 60e-5
    assert sum(np.sum(part * direction) for part, direction in zip(gradient, directions, strict=True)) == pytest.approx(
        slope, rel=1e-6
    )


def test_a_fit_uses_them():
    """The weights after one step of L-BFGS are along the right gradient, not along TensorFlow's."""
    model = network(keras.layers.LayerNormalization)
    objective = Objective(model, IoBinding.of(model, SAMPLES), SAMPLES, Sobolev(), dtype="float64")
    with right_gradients():
        gradient = np.concatenate([np.ravel(part) for part in tf.function(lambda: objective.gradient()[2])()])
    result = fit(model, SAMPLES, optimizer="lbfgs", steps=1, loss=Sobolev(), dtype="float64")
    before, after = (np.concatenate([np.ravel(part) for part in each.get_weights()]) for each in (model, result.model))
    moved = before - after
    np.testing.assert_allclose(moved / np.linalg.norm(moved), gradient / np.linalg.norm(gradient), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "loss", "xla"),
    [("LayerNormalization", Sobolev(), False), ("LayerNormalization", Value(), True), ("softsign", Sobolev(), True)],
)
def test_a_graph_of_its_own_is_not_compiled(name, loss, xla):
    """XLA would compile its second derivatives anew in every step, for seconds each."""
    result = fit(network(LAYERS[name]), SAMPLES, loss=loss, optimizer="lbfgs", steps=5, dtype="float64")
    assert result.xla == xla
