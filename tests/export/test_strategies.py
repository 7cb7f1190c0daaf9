"""Derivatives of independent rows by each strategy, and products with the Jacobian, against closed forms in float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from gradwire._errors import ConversionError
from gradwire_export import row_derivatives
from gradwire_export._derivatives import (
    Blocks,
    Differentiable,
    RepeatedRows,
    SeparateSweeps,
    row_jvp,
    row_jvp_by_contraction,
    row_vjp,
)

RNG = np.random.default_rng(0)
ROWS = 5
A, B = RNG.normal(size=(ROWS, 3)), RNG.normal(size=(ROWS, 1))
A_DOT, B_DOT = RNG.normal(size=(ROWS, 3)), RNG.normal(size=(ROWS, 1))
SHAPES = {"one": (1,), "flat": (), "vector": (3,), "matrix": (2, 3), "linear": (3,)}
BARS = {name: RNG.normal(size=(ROWS, *shape)) for name, shape in SHAPES.items()}
DIFFERENTIATED = {"one": ["a", "b"], "flat": ["a"], "vector": ["a", "b"], "matrix": ["a", "b"], "linear": ["a"]}
EYE = np.broadcast_to(np.eye(3), (ROWS, 3, 3))
# Which entries of the derivatives of `_call` may not be zero, as its graph tells.
STRUCTURE = {
    ("vector", "a"): np.eye(3, dtype=bool),
    ("matrix", "a"): np.vstack([np.eye(3, dtype=bool)] * 2),
    ("matrix", "b"): np.arange(6)[:, None] >= 3,
    ("linear", "a"): np.eye(3, dtype=bool),
}
INPUTS = {"a": 3, "b": 1}
SIZES = {"one": 1, "flat": 1, "vector": 3, "matrix": 6, "linear": 3}
DENSE, SPARSE = (Blocks(DIFFERENTIATED, SIZES, INPUTS, structure) for structure in ({}, STRUCTURE))
PLANS = {
    "every element": None,
    "products": DENSE.pushed(),
    "coloured sweeps": SPARSE.swept(),
    "coloured products": SPARSE.pushed(),
}
STRATEGIES = [
    pytest.param(kind(plan), id=f"{kind.__name__}, {name}")
    for kind in (RepeatedRows, SeparateSweeps)
    for name, plan in PLANS.items()
]
# Products for what depends on b, and sweeps for the others; the sparse one has sweeps and products of several elements.
MIXED_STRATEGIES = [
    pytest.param(
        kind(blocks.mixed(frozenset(pair for pair in blocks.pairs if pair[1] == "b"))), id=f"{kind.__name__}, {name}"
    )
    for kind in (RepeatedRows, SeparateSweeps)
    for name, blocks in {"mixed": DENSE, "mixed and coloured": SPARSE}.items()
]


def _call(x):
    a, b = x["a"], x["b"]
    return {
        "one": tf.reduce_sum(a**3, axis=1, keepdims=True) * b,
        "flat": tf.reduce_sum(tf.sin(a), axis=1),
        "vector": a * a * b,
        "matrix": tf.stack([a, a * b], axis=1),
        "linear": 2 * a,
    }


FUNCTION = Differentiable(_call, DIFFERENTIATED, SHAPES)
FIRST = {
    ("one", "a"): 3 * A**2 * B,
    ("one", "b"): np.sum(A**3, axis=1, keepdims=True),
    ("flat", "a"): np.cos(A),
    ("vector", "a"): EYE * (2 * A * B)[:, :, None],
    ("vector", "b"): (A**2)[:, :, None],
    ("matrix", "a"): np.stack([EYE, EYE * B[:, :, None]], axis=1),
    ("matrix", "b"): np.stack([np.zeros((ROWS, 3)), A], axis=1)[..., None],
    ("linear", "a"): 2 * EYE,
}
CUBE = np.einsum("ij,jk->ijk", np.eye(3), np.eye(3))
MIXED = np.stack([np.zeros((ROWS, 3, 3)), EYE], axis=1)[..., None]
SECOND = {
    ("one", "a", "a"): EYE * (6 * A * B)[:, :, None],
    ("one", "a", "b"): (3 * A**2)[:, :, None],
    ("one", "b", "b"): np.zeros((ROWS, 1, 1)),
    ("flat", "a", "a"): -EYE * np.sin(A)[:, :, None],
    ("vector", "a", "a"): 2 * CUBE * B[:, :, None, None],
    ("vector", "a", "b"): EYE[..., None] * (2 * A)[:, :, None, None],
    ("vector", "b", "b"): np.zeros((ROWS, 3, 1, 1)),
    ("matrix", "a", "a"): np.zeros((ROWS, 2, 3, 3, 3)),
    ("matrix", "a", "b"): MIXED,
    ("matrix", "b", "b"): np.zeros((ROWS, 2, 3, 1, 1)),
    ("linear", "a", "a"): np.zeros((ROWS, 3, 3, 3)),
}


def _x():
    return {"a": tf.constant(A), "b": tf.constant(B)}


def _tangents():
    return {"a": tf.constant(A_DOT), "b": tf.constant(B_DOT)}


def _require_values(values):
    for name, value in _call(_x()).items():
        np.testing.assert_allclose(values[name], value, rtol=1e-14)


def _require_first(first):
    for (output, wrt), expected in FIRST.items():
        assert first[output][wrt].shape == expected.shape
        np.testing.assert_allclose(first[output][wrt], expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("output", "wrt"), FIRST)
def test_each_derivative_equals_its_closed_form(output, wrt):
    """Every pair alone has the contract's shape and the closed form's values."""
    _, derivatives = row_derivatives(_call, _x(), {output: [wrt]}, SHAPES)
    np.testing.assert_allclose(derivatives[output][wrt], FIRST[output, wrt], rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("strategy", [*STRATEGIES, *MIXED_STRATEGIES])
@pytest.mark.parametrize("wrapped", [False, True])
def test_all_gradients_have_their_closed_forms(wrapped, strategy):
    """Computed together, they are what they are alone, and the values are the function's."""

    def compute(x):
        return strategy.gradients(FUNCTION, x)

    values, first = (tf.function(compute) if wrapped else compute)(_x())
    _require_first(first)
    _require_values(values)


def test_without_derivatives_the_function_is_called_once_on_the_rows_themselves():
    """Nothing is repeated."""
    values, derivatives = row_derivatives(_call, _x(), {}, SHAPES)
    assert derivatives == {}
    assert values["matrix"].shape == (ROWS, 2, 3)


def test_an_input_without_influence_is_named():
    """A derivative that does not exist is refused by the input's name."""
    with pytest.raises(ConversionError, match=r"have no derivative with respect to input 'b'"):
        row_derivatives(_call, _x(), {"flat": ["b"]}, SHAPES)


@pytest.mark.parametrize("product", [row_jvp, row_jvp_by_contraction])
@pytest.mark.parametrize("wrapped", [False, True])
def test_jvp_has_the_closed_form(product, wrapped):
    """Two sweeps, and the whole Jacobian contracted, eagerly and in a graph."""

    def compute(x, tangents):
        return product(FUNCTION, x, tangents)

    values, pushed_forward = (tf.function(compute) if wrapped else compute)(_x(), _tangents())
    for output, inputs in DIFFERENTIATED.items():
        expected = sum(
            np.einsum(
                "bkj,bj->bk", FIRST[output, wrt].reshape(ROWS, FUNCTION.sizes[output], -1), _tangents()[wrt].numpy()
            )
            for wrt in inputs
        ).reshape(ROWS, *SHAPES[output])
        np.testing.assert_allclose(pushed_forward[output], expected, rtol=1e-13, atol=1e-13)
    _require_values(values)


def test_vjp_has_the_closed_form():
    """The cotangents of all outputs, pulled back in one sweep."""
    _, pulled_back = row_vjp(FUNCTION, _x(), {name: tf.constant(bar) for name, bar in BARS.items()})
    for wrt, size in (("a", 3), ("b", 1)):
        expected = sum(
            np.einsum("bkj,bk->bj", FIRST[output, wrt].reshape(ROWS, -1, size), np.reshape(BARS[output], (ROWS, -1)))
            for output, inputs in DIFFERENTIATED.items()
            if wrt in inputs
        )
        np.testing.assert_allclose(pulled_back[wrt], expected, rtol=1e-13, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("wrapped", [False, True])
def test_hessians_have_their_closed_forms(wrapped, strategy):
    """Each pair of inputs once, in the order of the inputs; zero where the function is linear."""

    def compute(x):
        return strategy.hessian(FUNCTION, x)

    values, first, second = (tf.function(compute) if wrapped else compute)(_x())
    by_pair = {
        (output, one, other): array
        for output, pairs in second.items()
        for one, others in pairs.items()
        for other, array in others.items()
    }
    assert by_pair.keys() == SECOND.keys()
    for key, expected in SECOND.items():
        assert by_pair[key].shape == expected.shape
        np.testing.assert_allclose(by_pair[key], expected, rtol=1e-13, atol=1e-13)
    _require_first(first)
    _require_values(values)


@pytest.mark.parametrize("strategy", [*STRATEGIES, *MIXED_STRATEGIES])
@pytest.mark.parametrize("wrapped", [False, True])
def test_hvp_is_the_hessian_times_the_tangent(wrapped, strategy):
    """All pairs of inputs take part, the mixed ones on both sides."""

    def compute(x, tangents):
        return strategy.hvp(FUNCTION, x, tangents)

    _, first, along = (tf.function(compute) if wrapped else compute)(_x(), _tangents())
    for output, inputs in DIFFERENTIATED.items():
        for wrt in inputs:
            expected = 0.0
            for other in inputs:
                swapped = (output, wrt, other) not in SECOND
                block = SECOND[(output, other, wrt) if swapped else (output, wrt, other)]
                block = block.reshape(ROWS, FUNCTION.sizes[output], *block.shape[-2:])
                subscripts = "bkji,bj->bki" if swapped else "bkij,bj->bki"
                expected = expected + np.einsum(subscripts, block, _tangents()[other].numpy())
            np.testing.assert_allclose(np.reshape(along[output][wrt], expected.shape), expected, rtol=1e-13, atol=1e-13)
    _require_first(first)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_rows_return_no_rows(strategy):
    """Zero rows go through every strategy, with the shapes of rows."""
    x = {"a": tf.zeros((0, 3), tf.float64), "b": tf.zeros((0, 1), tf.float64)}
    _, first, second = tf.function(lambda x: strategy.hessian(FUNCTION, x))(x)
    _, _, along = tf.function(lambda x: strategy.hvp(FUNCTION, x, x))(x)
    _, pushed_forward = tf.function(lambda x: row_jvp(FUNCTION, x, x))(x)
    assert first["vector"]["a"].shape == (0, 3, 3)
    assert second["vector"]["a"]["b"].shape == (0, 3, 3, 1)
    assert along["one"]["a"].shape == (0, 3)
    assert pushed_forward["flat"].shape == (0,)
