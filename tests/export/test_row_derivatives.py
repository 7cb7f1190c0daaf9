"""Values and derivatives from one sweep, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from gradwire._errors import ConversionError
from gradwire_export import row_derivatives

A = np.random.default_rng(0).normal(size=(5, 3))
B = np.random.default_rng(1).normal(size=(5, 1))
SHAPES = {"one": (1,), "flat": (), "vector": (3,), "matrix": (2, 3)}


def _function(x):
    a, b = x["a"], x["b"]
    return {
        "one": tf.reduce_sum(a**2, axis=1, keepdims=True) * b,
        "flat": tf.reduce_sum(tf.sin(a), axis=1),
        "vector": a * b,
        "matrix": tf.stack([a, a * b], axis=1),
    }


EYE = np.broadcast_to(np.eye(3), (5, 3, 3))
TRUE = {
    ("one", "a"): 2 * A * B,
    ("one", "b"): np.sum(A**2, axis=1, keepdims=True),
    ("flat", "a"): np.cos(A),
    ("vector", "a"): EYE * B[:, :, None],
    ("vector", "b"): A[:, :, None],
    ("matrix", "a"): np.stack([EYE, EYE * B[:, :, None]], axis=1),
    ("matrix", "b"): np.stack([np.zeros((5, 3)), A], axis=1)[..., None],
}


def _evaluate(wanted):
    return row_derivatives(_function, {"a": tf.constant(A), "b": tf.constant(B)}, wanted, SHAPES)


@pytest.mark.parametrize(("output", "wrt"), TRUE)
def test_each_derivative_equals_its_closed_form(output, wrt):
    """Every pair has the contract's shape and the closed form's numbers."""
    _, derivatives = _evaluate({output: [wrt]})
    np.testing.assert_allclose(derivatives[output][wrt], TRUE[output, wrt], rtol=1e-14)


def test_all_derivatives_come_from_one_sweep():
    """Asked for together, they are what they are alone, and the values are the function's."""
    values, derivatives = _evaluate({"one": ["a", "b"], "flat": ["a"], "vector": ["a", "b"], "matrix": ["a", "b"]})
    for (output, wrt), truth in TRUE.items():
        np.testing.assert_allclose(derivatives[output][wrt], truth, rtol=1e-14)
    for name, value in _function({"a": tf.constant(A), "b": tf.constant(B)}).items():
        np.testing.assert_array_equal(values[name], value)


def test_nothing_wanted_calls_the_function_once_on_the_rows_themselves():
    """Without derivatives no row is repeated."""
    values, derivatives = _evaluate({})
    assert derivatives == {}
    assert values["matrix"].shape == (5, 2, 3)


def test_an_input_without_influence_is_named():
    """A derivative that does not exist is refused by the input's name."""
    with pytest.raises(ConversionError, match=r"have no derivative by input 'b'"):
        _evaluate({"flat": ["b"]})
