"""Models of every kind that export takes, as a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from gradwire_export._package.spec import PackageSpec, package_spec
from gradwire_export._sources.function import Function, function_of

SEED = 7


@dataclass(frozen=True)
class Case:
    """A model, how it is exported, and on which domain.

    Attributes:
        make: builds the model, in Keras's current float dtype.
        inputs: row shapes, for a callable; dtypes are those of ``integers`` and ``dtype``.
        dtype: of the package.
        integers: inputs that are int32.
        saved: whether it is exported from a SavedModel of it.
        options: more for ``export``.
        domain: of every input.
        slow: whether its export takes some five seconds alone.
    """

    make: Callable[[], Any]
    inputs: dict[str, tuple[int, ...]] | None = None
    dtype: str = "float32"
    integers: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    saved: bool = False
    domain: tuple[float, float] = (-1.0, 1.0)
    slow: bool = False

    def specs(self, dtype: str) -> dict[str, tf.TensorSpec] | None:
        """Specs of the inputs, for ``export``."""
        if self.inputs is None:
            return None
        return {
            name: tf.TensorSpec((None, *row), "int32" if name in self.integers else dtype)
            for name, row in self.inputs.items()
        }

    def model(self) -> Any:
        """The model in the package's dtype."""
        return _seeded(self.make, self.dtype)

    def double(self) -> Function:
        """The same function in float64, with the same weights."""
        model = _seeded(self.make, "float64")
        if isinstance(model, keras.Model):
            model.set_weights(self.model().get_weights())
        named = {name: self.options[name] for name in ("outputs", "wrt") if name in self.options}
        return function_of(model, inputs=self.specs("float64"), **named)

    def spec(self) -> PackageSpec:
        """What its package holds."""
        named = {name: self.options[name] for name in ("outputs", "wrt") if name in self.options}
        function = function_of(self.model(), inputs=self.specs(self.dtype), **named)
        return package_spec(function, self.options.get("zeros", ()), self.options.get("signatures"))


def _seeded(make: Callable[[], Any], dtype: str) -> Any:
    keras.utils.set_random_seed(SEED)
    before = keras.config.floatx()
    try:
        keras.config.set_floatx(dtype)
        keras.config.set_dtype_policy(dtype)
        return make()
    finally:
        keras.config.set_floatx(before)
        keras.config.set_dtype_policy(before)


def _network() -> keras.Model:
    layers = [keras.layers.Dense(20, activation="sigmoid") for _ in range(2)]
    return keras.Sequential([keras.Input((1,), name="x"), *layers, keras.layers.Dense(1)])


def _three_to_two() -> keras.Model:
    layers = [keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(2)]
    return keras.Sequential([keras.Input((3,), name="x"), *layers])


def _two_by_two() -> keras.Model:
    x, t = keras.Input((3,), name="x"), keras.Input((1,), name="t")
    hidden = keras.layers.Dense(8, activation="tanh")(keras.layers.Concatenate()([x, t]))
    matrix = keras.layers.Reshape((2, 2))(keras.layers.Dense(4)(hidden))
    return keras.Model([x, t], {"price": keras.layers.Dense(1)(hidden), "matrix": matrix})


def _inputs_in_a_dict() -> keras.Model:
    z, a = keras.Input((1,), name="z"), keras.Input((1,), name="a")
    return keras.Model({"z": z, "a": a}, keras.layers.Subtract()([z, keras.layers.Multiply()([a, a])]))


def _convolution() -> keras.Model:
    x = keras.Input((5, 2), name="x")
    y = keras.layers.Conv1D(3, 3, activation="softplus")(x)
    return keras.Model(x, keras.layers.Dense(1)(keras.layers.Flatten()(y)))


def _recurrent() -> keras.Model:
    x = keras.Input((3, 2), name="x")
    return keras.Model(x, keras.layers.Dense(1)(keras.layers.LSTM(4)(x)))


def _gated() -> keras.Model:
    x = keras.Input((3, 2), name="x")
    return keras.Model(x, keras.layers.Dense(2)(keras.layers.GRU(4)(x)))


def _normalised() -> keras.Model:
    x = keras.Input((3,), name="x")
    y = keras.layers.BatchNormalization()(keras.layers.Dense(5, activation="tanh")(x))
    return keras.Model(x, keras.layers.Dense(2)(y))


def _rescaled() -> keras.Model:
    layers = [keras.layers.Rescaling(2.0, offset=-1.0), keras.layers.Dense(8, "softplus")]
    return keras.Sequential([keras.Input((2,), name="x"), *layers, keras.layers.Dense(1)])


class _Rectifier(keras.layers.Layer):
    """A layer written in keras.ops."""

    def call(self, x):
        return keras.ops.relu(x - 0.3) * x + keras.ops.maximum(x, -0.2)


def _rectified() -> keras.Model:
    x = keras.Input((2,), name="x")
    return keras.Model(x, keras.layers.Dense(1)(_Rectifier()(x)))


def _attentive() -> keras.Model:
    x = keras.Input((3, 2), name="x")
    y = keras.layers.MultiHeadAttention(2, 2)(x, x)
    return keras.Model(x, keras.layers.Dense(1)(keras.layers.Flatten()(y)))


class _Weighted(tf.Module):
    """A plain module with a variable that its loop reads."""

    def __init__(self) -> None:
        self.weight = tf.Variable([[0.5, -0.3], [0.2, 0.8]], dtype=keras.config.floatx())

    def __call__(self, x, t):
        turns = tf.while_loop(lambda i, _: i < 2, lambda i, y: (i + 1, tf.tanh(y @ self.weight)), [tf.constant(0), x])[
            1
        ]
        return {"f": tf.reduce_sum(turns * t, axis=1, keepdims=True), "g": turns}


def _loop(x):
    return tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.sin(y) + x), [tf.constant(0), x])[1]


@tf.custom_gradient
def _softened(x):
    """The square, whose gradient is given by hand."""
    return x * x, lambda up: up * 2 * x


def _chosen(n, x):
    """One of three functions, by an integer."""
    table = tf.constant([[1.0, 0.5], [2.0, -1.0], [0.0, 3.0]], x.dtype)
    row = tf.gather(table, n[:, 0] % 3)
    return row[:, :1] * tf.sin(x) + row[:, 1:] * x * x


CASES = {
    "log": Case(lambda: tf.math.log, {"x": (1,)}, "float64", domain=(0.1, 1.9)),
    "log of flat rows": Case(lambda: tf.math.log, {"x": ()}, "float64", domain=(0.1, 1.9)),
    "log network": Case(_network, domain=(0.1, 1.9)),
    "three elements to two": Case(_three_to_two),
    "two named inputs, a scalar and a matrix": Case(_two_by_two, slow=True),
    "inputs in a dict": Case(_inputs_in_a_dict),
    "float64 network": Case(_three_to_two, dtype="float64"),
    "tf.function, three outputs of one": Case(
        lambda: tf.function(lambda x: (tf.sin(x), tf.cos(x), x * x)),
        {"x": (1,)},
        options={"outputs": ("s", "c", "q")},
        slow=True,
    ),
    "vector to vector": Case(
        lambda: lambda x: tf.stack([x[:, 0] * x[:, 1], tf.exp(x[:, 0])], axis=1), {"x": (2,)}, "float64"
    ),
    "matrix to matrix": Case(lambda: lambda a: {"b": a @ a}, {"a": (2, 2)}, "float64", slow=True),
    "Conv1D": Case(_convolution),
    "LSTM": Case(_recurrent, slow=True),
    "GRU": Case(_gated, options={"signatures": ("jvp", "vjp", "hvp")}, slow=True),
    "BatchNormalization at inference": Case(_normalised),
    "tf.while_loop": Case(lambda: _loop, {"x": (1,)}, "float64", slow=True),
    "tf.cond, two outputs": Case(
        lambda: lambda x: {"f": tf.cond(tf.size(x) > 0, lambda: tf.sin(x) * x, lambda: x), "g": x * x},
        {"x": (2,)},
        "float64",
        slow=True,
    ),
    "keras.ops with ReLU": Case(_rectified),
    "Rescaling and Dense": Case(_rescaled),
    "attention within a row": Case(_attentive, slow=True),
    "Cholesky factor": Case(
        lambda: lambda x: tf.linalg.cholesky(tf.eye(2, dtype=x.dtype) * 3 + tf.einsum("bi,bj->bij", x, x))[:, 1, :],
        {"x": (2,)},
        "float64",
        slow=True,
    ),
    "custom gradient": Case(lambda: lambda x: _softened(tf.sin(x)), {"x": (1,)}, "float64"),
    "a loaded SavedModel": Case(_Weighted, {"x": (2,), "t": (1,)}, options={"wrt": ("x",)}, saved=True, slow=True),
    "integer parameter": Case(
        lambda: _chosen, {"n": (1,), "x": (1,)}, "float64", ("n",), {"wrt": ("x",)}, domain=(0.0, 2.0)
    ),
    "disconnected pair, and a linear output": Case(
        lambda: lambda x, t: {"f": x * x * t, "g": 3 * t},
        {"x": (1,), "t": (1,)},
        "float64",
        options={"zeros": [("g", "x")]},
    ),
}


def draw(function: Function, domain: tuple[float, float], rows: int = 5, seed: int = 0) -> dict[str, np.ndarray]:
    """Draws rows for every input of a function; floats that float32 holds exactly."""
    generator = np.random.default_rng(seed)
    return {
        name: generator.uniform(*domain, (rows, *spec.shape[1:]))
        .round(0 if spec.dtype.is_integer else 6)
        .astype(np.int32 if spec.dtype.is_integer else np.float32)
        .astype(spec.dtype.as_numpy_dtype)
        for name, spec in function.inputs.items()
    }
