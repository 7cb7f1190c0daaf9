"""Models of every kind that export takes, as a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from gradwire_export._function import Function, function_of


@dataclass(frozen=True)
class Case:
    """A model, how it is named, and where it is at home."""

    make: Callable[[], Any]
    inputs: dict[str, tf.TensorSpec] | None = None
    outputs: tuple[str, ...] | None = None
    domain: tuple[float, float] = (-1.0, 1.0)

    def function(self) -> Function:
        keras.utils.set_random_seed(7)
        return function_of(self.make(), inputs=self.inputs, outputs=self.outputs)


def _row(*shape: int, dtype: Any = tf.float32) -> tf.TensorSpec:
    return tf.TensorSpec((None, *shape), dtype)


def _network() -> keras.Model:
    layers = [keras.layers.Dense(20, activation="sigmoid") for _ in range(2)]
    return keras.Sequential([keras.Input((1,), name="x"), *layers, keras.layers.Dense(1)])


def _two_by_two() -> keras.Model:
    x, t = keras.Input((3,), name="x"), keras.Input((1,), name="t")
    hidden = keras.layers.Dense(8, activation="tanh")(keras.layers.Concatenate()([x, t]))
    matrix = keras.layers.Reshape((2, 2))(keras.layers.Dense(4)(hidden))
    return keras.Model([x, t], {"price": keras.layers.Dense(1)(hidden), "matrix": matrix})


def _inputs_in_a_dict() -> keras.Model:
    z, a = keras.Input((1,), name="z"), keras.Input((1,), name="a")
    return keras.Model({"z": z, "a": a}, keras.layers.Subtract()([z, keras.layers.Multiply()([a, a])]))


def _convolution() -> keras.Model:
    x = keras.Input((6, 2), name="x")
    y = keras.layers.Conv1D(3, 3, activation="softplus")(x)
    return keras.Model(x, keras.layers.Dense(1)(keras.layers.Flatten()(y)))


def _recurrent() -> keras.Model:
    x = keras.Input((4, 2), name="x")
    return keras.Model(x, keras.layers.Dense(1)(keras.layers.LSTM(5)(x)))


def _normalised() -> keras.Model:
    x = keras.Input((3,), name="x")
    y = keras.layers.BatchNormalization()(keras.layers.Dense(5, activation="tanh")(x))
    return keras.Model(x, keras.layers.Dense(2)(y))


CASES = {
    "log": Case(lambda: tf.math.log, {"x": _row(1, dtype=tf.float64)}, domain=(0.1, 1.9)),
    "log of flat rows": Case(lambda: tf.math.log, {"x": _row(dtype=tf.float64)}, domain=(0.1, 1.9)),
    "log network": Case(_network, domain=(0.1, 1.9)),
    "two inputs, two outputs": Case(_two_by_two),
    "inputs in a dict": Case(_inputs_in_a_dict),
    "three outputs of one": Case(
        lambda: lambda x: (tf.sin(x), tf.cos(x), x * x), {"x": _row(1)}, outputs=("s", "c", "q")
    ),
    "vector to vector": Case(
        lambda: lambda x: tf.stack([x[:, 0] * x[:, 1], tf.exp(x[:, 0])], axis=1),
        {"x": _row(2, dtype=tf.float64)},
    ),
    "matrix input": Case(
        lambda: lambda a: tf.reduce_sum(a @ a, axis=[1, 2]), {"a": _row(2, 2, dtype=tf.float64)}
    ),
    "convolution": Case(_convolution),
    "LSTM": Case(_recurrent),
    "batch normalisation at inference": Case(_normalised),
    "while loop": Case(
        lambda: (
            lambda x: tf.while_loop(
                lambda i, _: i < 3, lambda i, y: (i + 1, tf.sin(y) + x), [tf.constant(0), x]
            )[1]
        ),
        {"x": _row(1)},
    ),
}


@pytest.fixture(params=CASES, scope="session")
def case(request: pytest.FixtureRequest) -> Case:
    """Every model of the table in turn."""
    return CASES[request.param]


def draw(
    function: Function, domain: tuple[float, float], rows: int = 5, seed: int = 0
) -> dict[str, np.ndarray]:
    """Draws rows for every input of a function."""
    generator = np.random.default_rng(seed)
    return {
        name: generator.uniform(*domain, (rows, *spec.shape[1:])).astype(spec.dtype.as_numpy_dtype)
        for name, spec in function.inputs.items()
    }


@pytest.fixture(scope="session")
def draw_rows() -> Callable[..., dict[str, np.ndarray]]:
    """The function that draws rows for every input of a function."""
    return draw
