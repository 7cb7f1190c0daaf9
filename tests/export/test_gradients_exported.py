"""Right gradients in whole packages: exported, and run in a process that knows neither the model nor the gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from gradwire_export import export

STEP = 1e-3
WHOLE = tf.TensorSpec((None, 1), tf.int32)


@dataclass(frozen=True)
class Case:
    """A source, and how it is exported."""

    make: Callable[[], Any]
    inputs: dict[str, tf.TensorSpec] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    saved: bool = False


def residual(normalisation: Callable[[], Any]) -> keras.Model:
    """A residual network of one block."""
    x = keras.Input((3,), name="x")
    hidden = keras.layers.Dense(4, "tanh")(x)
    hidden = keras.layers.Add()([hidden, keras.layers.Dense(4, "tanh")(normalisation()(hidden))])
    return keras.Model(x, keras.layers.Dense(1, name="f")(hidden))


def mixed() -> keras.Model:
    """An embedding of an integer beside a normalised layer."""
    n, x = keras.Input((1,), name="n", dtype="int32"), keras.Input((3,), name="x")
    row = keras.layers.Flatten()(keras.layers.Embedding(3, 4)(n))
    hidden = keras.layers.Multiply()([row, keras.layers.Dense(4)(x)])
    return keras.Model([n, x], keras.layers.Dense(1, name="f")(keras.layers.LayerNormalization()(hidden)))


class Normalised(tf.Module):
    """A plain module with a variable, whose loop normalises."""

    def __init__(self) -> None:
        self.weight = tf.Variable(tf.constant(np.diag([1.0, -2, 0.5]) + 0.1))

    def __call__(self, x):
        def step(i, y):
            mean, variance = tf.nn.moments(y, [1], keepdims=True)
            return i + 1, x + (y - mean) / tf.sqrt(variance + 0.1)

        looped = tf.while_loop(lambda i, _: i < 2, step, [tf.constant(0), x @ self.weight])[1]
        return {"f": tf.reduce_sum(tf.sin(looped), 1, keepdims=True)}


THREE = {"x": tf.TensorSpec((None, 3), tf.float64)}
CASES = {
    "LayerNormalization": Case(lambda: residual(keras.layers.LayerNormalization)),
    "GroupNormalization, compiled": Case(
        lambda: residual(lambda: keras.layers.GroupNormalization(2)), options={"compile": "xla"}
    ),
    "softsign": Case(lambda: residual(lambda: keras.layers.Activation("softsign"))),
    "with an integer parameter": Case(mixed, options={"wrt": ["x"], "domain": {"n": (0, 2)}}),
    "a loaded SavedModel with a loop": Case(Normalised, THREE, saved=True),
}


@pytest.fixture(autouse=True)
def double_precision():
    """Keras in float64, and the same weights each time."""
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    keras.utils.set_random_seed(3)
    yield
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(policy)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_second_derivatives_are_differences_of_first_ones(name, run_in_one_process, without_card_checks, tmp_path):
    """Hessian and hvp of a package, as another process computes them, and the model's own first derivatives."""
    case = CASES[name]
    model, source = case.make(), None
    call = model if case.inputs else lambda x, **others: model([tf.constant(others["n"]), x] if others else x)
    if case.saved:
        traced = tf.function(model.__call__).get_concrete_function(THREE["x"])
        tf.saved_model.save(model, str(tmp_path / "saved"), signatures={"serving_default": traced})
        source = tmp_path / "saved"
    signatures = ["hvp", "hessian"]
    export(source or model, to=tmp_path / "m", signatures=signatures, **case.options)
    by = {
        request.signature: (request.inputs, response.outputs) for request, response in reversed(run_in_one_process.last)
    }
    inputs, outputs = by["hessian"]
    x, others = inputs["x"], {key: rows for key, rows in inputs.items() if key != "x"}

    def gradient(rows):
        with tf.GradientTape() as tape:
            tape.watch(rows)
            value = call(rows, **others)
            value = value["f"] if isinstance(value, dict) else value
        return np.asarray(tape.gradient(value, rows))

    weights = {3: 1, 2: -9, 1: 45, -1: -45, -2: 9, -3: -1}
    hessian = np.stack(
        [
            sum(w * gradient(tf.constant(x + k * STEP * axis)) for k, w in weights.items()) / (60 * STEP)
            for axis in np.eye(3)
        ],
        axis=2,
    )
    scale = np.abs(hessian).max()
    np.testing.assert_allclose(outputs["d2f_dx2"].reshape(hessian.shape), hessian, rtol=0, atol=1e-8 * scale)
    inputs, outputs = by["hvp"]
    along = np.einsum("bij,bj->bi", hessian, inputs["x_dot"])
    np.testing.assert_allclose(outputs["df_dx_dot"], along, rtol=0, atol=1e-8 * scale)


def tied(x):
    """Smooth functions of maxima, absolute values and ReLUs, at ties too."""
    a, b, c = x[:, :1], x[:, 1:2], x[:, 2:]
    return keras.ops.logaddexp(a, b) + keras.ops.hypot(a + 1, c) + keras.activations.celu(b - c) ** 2


PROVED = {
    "ties": tied,
    "cumprod": lambda x: tf.reduce_sum(tf.math.cumprod(x, 1), 1, keepdims=True),
    "whole powers": lambda x: tf.reduce_sum(x ** tf.constant([1.0, 2, 3], tf.float64), 1, keepdims=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROVED)
def test_the_proof_passes_where_data_hit_zeros(name, run_in_one_process, tmp_path):
    """Nothing is left out, and nothing warned about: the domain's corners and faces are zeros."""
    exported = export(PROVED[name], to=tmp_path / "m", inputs=THREE, domain={"x": (0, 3)})
    assert exported.card.checks["proof"]["passed"]
    assert exported.card.checks["warnings"] == []
    assert {"hvp", "hessian"} <= set(exported.card.signatures)
