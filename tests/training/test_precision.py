"""Copies of models in another precision."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from gradwire._errors import UsageError
from gradwire_training import mlp, with_dtype


@keras.saving.register_keras_serializable(package="tests")
class Inner(keras.layers.Layer):
    """Makes a layer of its own and does not pass dtype on."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(2)

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return self.dense(x)


@keras.saving.register_keras_serializable(package="tests")
class Stubborn(Inner):
    """Insists on single precision."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(2, dtype="float32")


def _functional():
    return mlp(inputs={"a": (2, 2), "b": 1}, outputs={"p": 1, "q": (2, 1)}, widths=(3,))


def _normalised():
    return keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5), Inner()])


def _mixed():
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, dtype="mixed_float16")])


@pytest.mark.parametrize("build", [_functional, _normalised, _mixed])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_twin_computes_in_the_precision_with_the_same_weights(build, dtype):
    """Every float in the twin is of the dtype, its weights are the model's, and it shares none of them."""
    model = build()
    twin = with_dtype(model, dtype)
    assert {tensor.dtype for tensor in (*twin.inputs, *twin.outputs)} == {dtype}
    assert {weight.dtype for weight in twin.weights} == {dtype}
    for ours, theirs in zip(twin.weights, model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours is not theirs
    assert keras.config.dtype_policy().name == "float32"


def test_integer_inputs_keep_their_dtype():
    """Tokens stay tokens."""
    tokens = keras.Input((3,), dtype="int32")
    twin = with_dtype(keras.Model(tokens, keras.layers.Flatten()(keras.layers.Embedding(5, 2)(tokens))), "float64")
    assert (twin.inputs[0].dtype, twin.outputs[0].dtype) == ("int32", "float64")


def test_a_layer_that_insists_on_its_precision_is_refused():
    """A twin that would quietly compute in single precision is not made."""
    with pytest.raises(UsageError, match=r"stays float32 where float64 was requested: let its layer pass dtype on"):
        with_dtype(keras.Sequential([keras.Input((2,)), Stubborn()]), "float64")


def test_a_layer_that_cannot_be_built_again_is_refused():
    """A layer whose configuration is not enough is refused with the way to mend it."""

    class Local(keras.layers.Layer):
        def __init__(self, size):
            super().__init__()
            self.size = size

        def call(self, x):
            return x * self.size

    with pytest.raises(UsageError, match=r"cannot be built from its configuration .*register_keras_serializable"):
        with_dtype(keras.Sequential([keras.Input((2,)), Local(3)]), "float64")


def test_other_dtypes_are_refused():
    """Only single and double precision are packages' dtypes."""
    with pytest.raises(UsageError, match=r"dtype 'float16', expected one of float32, float64"):
        with_dtype(_mixed(), "float16")
