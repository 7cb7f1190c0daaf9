"""Models of every structure, called by the samples' names."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from gradwire._errors import DataError, UsageError
from gradwire_training import Samples
from gradwire_training._models.io_binding import IoBinding, ordered_tensors

ROWS = {"a": np.ones((3, 2)), "b": np.full(3, 2.0)}
TWO = Samples(ROWS, {"p": np.ones(3), "q": np.ones((3, 2))})


def _inputs():
    return keras.Input((2,), name="a"), keras.Input((), name="b")


def _outputs(a, b, names=("p", "q")):
    column = keras.layers.Reshape((1,))(b)
    joined = keras.layers.Concatenate()([a, column])
    ones = keras.initializers.Ones()
    return [
        keras.layers.Dense(size, kernel_initializer=ones, name=name)(joined)
        for size, name in zip((1, 2), names, strict=True)
    ]


def _dicts():
    a, b = _inputs()
    p, q = _outputs(a, b, ("first", "second"))
    return keras.Model({"b": b, "a": a}, {"q": q, "p": p})


def _lists():
    a, b = _inputs()
    return keras.Model([b, a], _outputs(a, b))


@pytest.mark.parametrize(("build", "outputs"), [(_dicts, ["q", "p"]), (_lists, ["p", "q"])], ids=["dicts", "lists"])
def test_a_model_is_called_by_the_samples_names(build, outputs):
    """Dict and list models alike take and give tensors by name, in the order in which they were built."""
    model = build()
    binding = IoBinding.of(model, TWO)
    assert [tensor.name for tensor in binding.inputs] == ["b", "a"]
    assert [tensor.name for tensor in binding.outputs] == outputs
    assert [tensor.name for tensor in ordered_tensors(model)[0]] == ["b", "a"]
    x = {tensor.name: np.float32(TWO.x[tensor.name].reshape(-1, *tensor.shape)) for tensor in binding.inputs}
    called = binding.call(model, x, training=False)
    assert list(called) == outputs
    np.testing.assert_allclose(called["q"], np.full((3, 2), 4.0))


@pytest.mark.parametrize("wrap", [lambda tensor: tensor, lambda tensor: [tensor], lambda tensor: {"k": tensor}])
def test_a_lone_input_or_output_goes_by_the_samples_name(wrap):
    """With one of each, the model's own names do not matter, nor whether it wraps them."""
    x = keras.Input((1,), name="k")
    model = keras.Model(wrap(x), wrap(keras.layers.Dense(1)(x)))
    binding = IoBinding.of(model, Samples({"spot": [1.0, 2.0]}, {"price": [1.0, 2.0]}))
    assert (binding.inputs[0].name, binding.outputs[0].name) == ("spot", "price")
    assert list(binding.call(model, {"spot": np.ones((2, 1), np.float32)}, training=False)) == ["price"]


MISMATCHED = {
    "names": (
        Samples({"a": ROWS["a"], "c": ROWS["b"]}, {"p": np.ones(3), "q": np.ones((3, 2))}),
        r"x does not match the model: sent extra: \['c'\]; missing but required: \['b'\]",
    ),
    "outputs": (Samples(ROWS, {"p": np.ones(3)}), r"y does not match .*missing but required: \['q'\]"),
    "row": (
        Samples({**ROWS, "a": np.ones((3, 5))}, {"p": np.ones(3), "q": np.ones((3, 2))}),
        r"x 'a' has rows of shape \(5,\), the model's 'a' takes \(rows, 2\)",
    ),
    "rank": (
        Samples({**ROWS, "a": np.ones((3, 2, 1))}, {"p": np.ones(3), "q": np.ones((3, 2))}),
        r"x 'a' has rows of shape \(2, 1\), the model's 'a' takes \(rows, 2\)",
    ),
}


@pytest.mark.parametrize(("samples", "message"), MISMATCHED.values(), ids=MISMATCHED)
def test_samples_that_do_not_fit_the_model_are_refused(samples, message):
    """Both sides of a mismatch are named."""
    with pytest.raises(DataError, match=message):
        IoBinding.of(_lists(), samples)


class _Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize("model", [_Subclassed(), keras.Sequential([keras.layers.Dense(1)])])
def test_a_model_that_hides_its_inputs_is_refused(model):
    """A subclassed or unbuilt model is refused, and the way out is named."""
    with pytest.raises(UsageError, match=r"does not tell its inputs: make it a built Functional or Sequential"):
        IoBinding.of(model, Samples([1.0], [1.0]))
