"""Keras layers and TensorFlow operations read as programs for one row: the right numbers, or refused by name."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from gradwire._errors import ConversionError
from gradwire_export._conversion import FlatGraph
from gradwire_export._native.c_source import Routine
from gradwire_export._native.derivatives import cotangents
from gradwire_export._native.program import Program
from gradwire_export._native.read_program import read_program

keras.utils.set_random_seed(0)


def flat(function: Callable[[tf.Tensor], tf.Tensor], width: int = 4) -> FlatGraph:
    """A function of one input as the package's graph would be."""
    concrete = tf.function(function).get_concrete_function(tf.TensorSpec((None, width), tf.float32, name="x"))
    frozen = convert_variables_to_constants_v2(concrete)
    return FlatGraph(frozen.graph.as_graph_def(), {"x": frozen.inputs[0].name}, {"f": frozen.outputs[0].name})


def residual() -> keras.Model:
    """Additions, products, a concatenation and a normalisation."""
    x = keras.Input((4,))
    hidden = layers.Dense(6, "tanh")(layers.LayerNormalization()(x))
    hidden = layers.Add()([hidden, layers.Dense(6, "softplus")(hidden)])
    joined = layers.Concatenate()([layers.Multiply()([hidden, hidden]), x])
    return keras.Model(x, layers.Dense(2)(joined))


READ = {
    **{
        f"Dense, {name}": keras.Sequential([keras.Input((4,)), layers.Dense(5, name), layers.Dense(3)])
        for name in (
            "linear",
            "relu",
            "elu",
            "selu",
            "tanh",
            "sigmoid",
            "softplus",
            "silu",
            "exponential",
            "leaky_relu",
        )
    },
    "residual, normalised": residual(),
    "batch normalised": keras.Sequential([keras.Input((4,)), layers.BatchNormalization(), layers.Dense(2)]),
    "scaled": keras.Sequential(
        [keras.Input((4,)), layers.Rescaling(0.5, 1.0), layers.Dense(2), layers.Reshape((2, 1))]
    ),
    "reshaped": keras.Sequential([keras.Input((4,)), layers.Reshape((2, 2)), layers.Rescaling(2.0), layers.Flatten()]),
    "transposed": keras.Sequential(
        [keras.Input((4,)), layers.Reshape((2, 2)), layers.Permute((2, 1)), layers.Flatten()]
    ),
    "sums": lambda x: tf.stack([tf.reduce_sum(x * x, axis=1), tf.reduce_mean(x, axis=-1)], axis=1),
    "columns": lambda x: tf.concat([x[:, 2:3] ** 3, tf.reverse(x, [1]), x[:, ::2] / (1.5 + x[:, :1] ** 2)], axis=1),
    "gathered": lambda x: tf.gather(x, [3, 0, 0], axis=1) * tf.constant([1.0, 2.0, 3.0]) - tf.sin(x[:, 1:2]),
    "split": lambda x: tf.add_n(tf.unstack(x, axis=1))[:, None] * tf.exp(-x),
}
REFUSED = {
    "Reshape": keras.Sequential([keras.Input((4,)), layers.Reshape((2, 2)), layers.Dense(3), layers.Flatten()]),
    "Conv": keras.Sequential([keras.Input((4,)), layers.Reshape((4, 1)), layers.Conv1D(2, 2), layers.Flatten()]),
    "Softmax": keras.Sequential([keras.Input((4,)), layers.Dense(3, "softmax")]),
    "two functions of the inputs": lambda x: tf.matmul(x[:, None], x[:, :, None])[:, 0],
    "mixes rows": lambda x: x - tf.reduce_mean(x, axis=0),
    "Floor": tf.floor,
    "depends on their values": lambda x: tf.gather(x, tf.argmax(x, axis=1), axis=1, batch_dims=1)[:, None],
    "number of rows": lambda x: x / tf.cast(tf.shape(x)[0], tf.float32),
    "exponent": lambda x: x**2.5,
}


@pytest.mark.parametrize("name", READ)
def test_models_are_read(compiled: Callable, name: str):
    """Values as TensorFlow has them, and the derivatives of its own tape."""
    function = READ[name]
    program, inputs, outputs = read_program(flat(function))
    width = program.width(outputs["f"])
    seeds = np.random.default_rng(1).normal(size=width)
    bar = cotangents(program, {outputs["f"]: program.constant(seeds)}, [inputs["x"]])[0]
    kernels = compiled(program, [Routine("both", inputs, {"f": outputs["f"], "x_bar": bar})])
    x = np.random.default_rng(2).normal(size=(37, 4)).astype(np.float32)
    result = kernels.run("both", x=x)
    with tf.GradientTape() as tape:
        variable = tf.constant(x)
        tape.watch(variable)
        f = tf.reshape(function(variable), (37, -1))
        weighted = tf.reduce_sum(f * seeds.astype(np.float32))
    np.testing.assert_allclose(result["f"], f, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result["x_bar"], tape.gradient(weighted, variable), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_others_are_refused_by_name(name: str):
    """And nothing is guessed."""
    with pytest.raises(ConversionError, match=name):
        read_program(flat(REFUSED[name]))


def test_equal_operations_are_one():
    """So that derivatives may be written down as the rules have them."""
    program = Program(np.dtype(np.float64))
    x = program.input("x", 3)
    assert program.mul(x, x) == program.mul(x, x)
    assert program.value(program.mul(program.constant(np.full(3, 2.0)), program.constant(np.arange(3)))).tolist() == [
        0,
        2,
        4,
    ]
    assert program.mul(x, program.constant(np.ones(3))) == x
    assert program.is_zero(program.mul(x, program.zeros(3)))
