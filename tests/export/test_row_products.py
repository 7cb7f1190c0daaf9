"""Products with the Jacobian and second derivatives of independent rows, against closed forms, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from gradwire_export._derivatives.products import row_jvp, row_jvp_by_contraction, row_vjp
from gradwire_export._derivatives.second_derivatives import row_hessian, row_hvp
from gradwire_export._derivatives.separate_sweeps import swept_derivatives, swept_hessian, swept_hvp

RNG = np.random.default_rng(0)
ROWS = 5
A, B = RNG.normal(size=(ROWS, 3)), RNG.normal(size=(ROWS, 1))
A_DOT, B_DOT = RNG.normal(size=(ROWS, 3)), RNG.normal(size=(ROWS, 1))
SHAPES = {"one": (1,), "flat": (), "vector": (3,), "linear": (3,)}
BARS = {name: RNG.normal(size=(ROWS, *shape)) for name, shape in SHAPES.items()}
WANTED = {"one": ["a", "b"], "flat": ["a"], "vector": ["a", "b"], "linear": ["a"]}
EYE = np.broadcast_to(np.eye(3), (ROWS, 3, 3))


def _function(x):
    a, b = x["a"], x["b"]
    return {
        "one": tf.reduce_sum(a**3, axis=1, keepdims=True) * b,
        "flat": tf.reduce_sum(tf.sin(a), axis=1),
        "vector": a * a * b,
        "linear": 2 * a,
    }


FIRST = {
    ("one", "a"): 3 * A**2 * B,
    ("one", "b"): np.sum(A**3, axis=1, keepdims=True),
    ("flat", "a"): np.cos(A),
    ("vector", "a"): EYE * (2 * A * B)[:, :, None],
    ("vector", "b"): (A**2)[:, :, None],
    ("linear", "a"): 2 * EYE,
}
CUBE = np.einsum("ij,jk->ijk", np.eye(3), np.eye(3))
SECOND = {
    ("one", "a", "a"): EYE * (6 * A * B)[:, :, None],
    ("one", "a", "b"): (3 * A**2)[:, :, None],
    ("one", "b", "b"): np.zeros((ROWS, 1, 1)),
    ("flat", "a", "a"): -EYE * np.sin(A)[:, :, None],
    ("vector", "a", "a"): 2 * CUBE * B[:, :, None, None],
    ("vector", "a", "b"): EYE[..., None] * (2 * A)[:, :, None, None],
    ("vector", "b", "b"): np.zeros((ROWS, 3, 1, 1)),
    ("linear", "a", "a"): np.zeros((ROWS, 3, 3, 3)),
}


def _x():
    return {"a": tf.constant(A), "b": tf.constant(B)}


def _dots():
    return {"a": tf.constant(A_DOT), "b": tf.constant(B_DOT)}


def _along(derivative, dots, wrt, output):
    """Contracts a derivative with a tangent: (rows, *output)."""
    size = int(np.prod(SHAPES[output]))
    flat = np.reshape(derivative, (ROWS, size, -1))
    return np.einsum("bkj,bj->bk", flat, dots[wrt].numpy()).reshape(ROWS, *SHAPES[output])


@pytest.mark.parametrize("by_contraction", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
def test_jvp_has_the_closed_form(by_contraction, wrapped):
    """Two sweeps, and the whole Jacobian contracted, eagerly and in a graph."""

    def compute(x, dots):
        if by_contraction:
            return row_jvp_by_contraction(_function, x, dots, WANTED, SHAPES)
        return row_jvp(_function, x, dots, WANTED)

    values, pushed = (tf.function(compute) if wrapped else compute)(_x(), _dots())
    for output, inputs in WANTED.items():
        expected = sum(_along(FIRST[output, wrt], _dots(), wrt, output) for wrt in inputs)
        np.testing.assert_allclose(pushed[output], expected, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(values[output], _function(_x())[output], rtol=1e-14)


def test_vjp_has_the_closed_form():
    """The cotangents of all outputs, pulled back in one sweep."""
    _, pulled = row_vjp(_function, _x(), {name: tf.constant(bar) for name, bar in BARS.items()}, WANTED)
    for wrt, shape in (("a", 3), ("b", 1)):
        expected = sum(
            np.einsum(
                "bkj,bk->bj",
                np.reshape(FIRST[output, wrt], (ROWS, -1, shape)),
                np.reshape(BARS[output], (ROWS, -1)),
            )
            for output, inputs in WANTED.items()
            if wrt in inputs
        )
        np.testing.assert_allclose(pulled[wrt], expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("way", [row_hessian, swept_hessian])
@pytest.mark.parametrize("wrapped", [False, True])
def test_hessians_have_their_closed_forms(wrapped, way):
    """Each pair of inputs once, in the order of the inputs; zero where the function is linear. In copies and by turns."""

    def compute(x):
        return way(_function, x, WANTED, SHAPES)

    values, first, second = (tf.function(compute) if wrapped else compute)(_x())
    found = {
        (output, one, other): array
        for output, pairs in second.items()
        for one, others in pairs.items()
        for other, array in others.items()
    }
    assert found.keys() == SECOND.keys()
    for key, expected in SECOND.items():
        assert found[key].shape == expected.shape
        np.testing.assert_allclose(found[key], expected, rtol=1e-13, atol=1e-13)
    for (output, wrt), expected in FIRST.items():
        np.testing.assert_allclose(first[output][wrt], expected, rtol=1e-13, atol=1e-13)
    for name, value in _function(_x()).items():
        np.testing.assert_allclose(values[name], value, rtol=1e-14)


@pytest.mark.parametrize("way", [row_hvp, swept_hvp])
@pytest.mark.parametrize("wrapped", [False, True])
def test_hvp_is_the_hessian_times_the_tangent(wrapped, way):
    """All pairs of inputs take part, the mixed ones on both sides. In copies and by turns."""

    def compute(x, dots):
        return way(_function, x, dots, WANTED, SHAPES)

    _, first, along = (tf.function(compute) if wrapped else compute)(_x(), _dots())
    for output, inputs in WANTED.items():
        for wrt in inputs:
            expected = 0.0
            for other in inputs:
                swapped = (output, wrt, other) not in SECOND
                block = SECOND[(output, other, wrt) if swapped else (output, wrt, other)]
                size = int(np.prod(SHAPES[output]))
                block = block.reshape(ROWS, size, *block.shape[-2:])
                expected = expected + np.einsum(
                    "bkji,bj->bki" if swapped else "bkij,bj->bki", block, _dots()[other].numpy()
                )
            np.testing.assert_allclose(np.reshape(along[output][wrt], expected.shape), expected, rtol=1e-13, atol=1e-13)
            np.testing.assert_allclose(first[output][wrt], FIRST[output, wrt], rtol=1e-13, atol=1e-13)


def test_sweeps_by_turns_have_the_closed_form():
    """First derivatives of all outputs, from one evaluation and a sweep for each number."""
    values, first = tf.function(lambda x: swept_derivatives(_function, x, WANTED, SHAPES))(_x())
    for (output, wrt), expected in FIRST.items():
        assert first[output][wrt].shape == expected.shape
        np.testing.assert_allclose(first[output][wrt], expected, rtol=1e-13, atol=1e-13)
    for name, value in _function(_x()).items():
        np.testing.assert_allclose(values[name], value, rtol=1e-14)


@pytest.mark.parametrize(("hessian", "hvp"), [(row_hessian, row_hvp), (swept_hessian, swept_hvp)])
def test_no_rows_give_no_rows(hessian, hvp):
    """Zero rows go through every way, with the shapes of rows."""
    x = {"a": tf.zeros((0, 3), tf.float64), "b": tf.zeros((0, 1), tf.float64)}
    _, first, second = tf.function(lambda x: hessian(_function, x, WANTED, SHAPES))(x)
    _, _, along = tf.function(lambda x: hvp(_function, x, x, WANTED, SHAPES))(x)
    _, pushed = tf.function(lambda x: row_jvp(_function, x, x, WANTED))(x)
    assert first["vector"]["a"].shape == (0, 3, 3)
    assert second["vector"]["a"]["b"].shape == (0, 3, 3, 1)
    assert along["one"]["a"].shape == (0, 3)
    assert pushed["flat"].shape == (0,)
