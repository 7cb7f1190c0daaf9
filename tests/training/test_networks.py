"""The networks that come along."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from gradwire._errors import UsageError
from gradwire_training import mlp


def test_one_input_and_output_make_the_posts_sequential(log):
    """The logarithm's network is that of the reference problem: Sequential 1-20-20-1, sigmoid, linear output, 481 parameters."""
    model = log.network(seed=0)
    assert isinstance(model, keras.Sequential)
    assert [layer.units for layer in model.layers] == [20, 20, 1]
    assert [layer.activation.__name__ for layer in model.layers] == ["sigmoid", "sigmoid", "linear"]
    assert (model.count_params(), model.dtype) == (481, "float32")


def test_several_inputs_and_outputs_keep_their_names_and_shapes():
    """Rows of any shape go in and come out by name."""
    model = mlp(inputs={"a": (2, 3), "b": 1}, outputs={"p": 1, "q": (2, 2)}, widths=(5,))
    given = model({"a": np.ones((4, 2, 3)), "b": np.ones((4, 1))})
    assert {name: tuple(value.shape) for name, value in given.items()} == {"p": (4, 1), "q": (4, 2, 2)}


def test_a_seed_decides_the_weights():
    """One seed gives the same weights, another others, and no two layers of one size are alike."""
    first, again, other = (mlp(inputs={"x": 3}, outputs={"f": 3}, widths=(3, 3), seed=seed) for seed in (7, 7, 8))
    kernels = [model.get_weights()[::2] for model in (first, again, other)]
    for one, same in zip(kernels[0], kernels[1], strict=True):
        np.testing.assert_array_equal(one, same)
    distinct = kernels[0] + kernels[2]
    assert all(np.abs(a - b).max() > 0.01 for i, a in enumerate(distinct) for b in distinct[:i])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": (0,)}, r"width 0: size 0, expected 1 or more"),
        ({"inputs": {"x": -1}}, r"input 'x': size -1"),
        ({"outputs": {"f": (2, 0)}}, r"output 'f': size 0"),
        ({"activation": "nope"}, r"activation 'nope' is unknown to Keras"),
        ({"outputs": {"x": 1}}, r"the name 'x' would stand for"),
    ],
)
def test_networks_that_cannot_be_built_are_refused(change, message):
    """Shapes, widths, names and activations are checked."""
    with pytest.raises(UsageError, match=message):
        mlp(**{"inputs": {"x": 1}, "outputs": {"f": 1}, **change})
