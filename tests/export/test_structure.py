"""The structure of Jacobians by the graph: exact where each operation is known, never too little elsewhere."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from gradwire_export._analysis import jacobian_structure, structure
from gradwire_export._sources.function import function_of

RNG = np.random.default_rng(0)
BAND = np.triu(np.tril(RNG.normal(size=(6, 6)), 1))  # two diagonals
SELECTED = [[0, 2], [1, 3]]
SIX, PAIRS, SCALAR = (tf.TensorSpec((None, *row), tf.float64) for row in ((6,), (3, 2), (1,)))


@tf.custom_gradient
def _reversed_gradient(x):
    """A square, whose gradient is another one on purpose: no structure of its own may be assumed."""
    return x * x, lambda up: tf.reverse(up, [1])


def _looped(x):
    return tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.sin(y)), [tf.constant(0), x])[1]


# Functions whose operations are all known: what the graph tells is what there is.
EXACT = {
    "elementwise": (lambda x: tf.sin(x) * tf.exp(x) + 1, SIX),
    "a constant matrix with zeros": (lambda x: tf.tanh(x @ tf.constant(BAND)), SIX),
    "transposed": (lambda x: tf.matmul(x, tf.constant(BAND), transpose_b=True) ** 2, SIX),
    "slices": (lambda x: tf.concat([x[:, :1], x[:, 1:] * x[:, :-1], tf.ones_like(x[:, :2])], 1), SIX),
    "a function that is called": (tf.function(lambda x: tf.reverse(x, [1]) ** 3), SIX),
    "gathered and stacked": (lambda x: tf.stack([tf.gather(x, SELECTED, axis=1)[:, 0], x[:, 4:]], 1), SIX),
    "split": (lambda x: tf.stack(tf.split(x, 3, 1), 1)[:, 1:] ** 2, SIX),
    "split by sizes": (lambda x: tf.concat(tf.split(tf.sin(x), [1, 2, 3], 1)[::-1], 1), SIX),
    "padded and tiled": (lambda x: tf.tile(tf.pad(x * x, [[0, 0], [1, 2]]), [1, 2]), SIX),
    "reduced": (lambda x: tf.reduce_sum(tf.sin(x), axis=2), PAIRS),
    "softmax of rows": (tf.nn.softmax, PAIRS),
    "broadcast": (lambda x: x * x[:, :1, :], PAIRS),
    "transposed and flat": (lambda x: tf.reshape(tf.transpose(x, [0, 2, 1]), [-1, 6]) ** 2, PAIRS),
    "batched product": (lambda x: tf.matmul(x, x, transpose_b=True), PAIRS),
    "einsum": (lambda x: tf.einsum("bij,bkj->bik", x, x), PAIRS),
    "dense": (lambda x: tf.tanh(x @ tf.constant(RNG.normal(size=(6, 4)))), SIX),
}
# Whatever the graph does not tell is taken to be there.
MIXED = {
    "a custom gradient": (_reversed_gradient, SIX),
    "a loop": (_looped, SIX),
    "sorted": (lambda x: tf.sort(x, axis=1), SIX),
    "cumulative": (lambda x: tf.cumsum(x, axis=1), SIX),
}


def _entries(name: str, table) -> tuple[np.ndarray, np.ndarray]:
    """Return which entries may be other than zero by the graph, and the derivatives at some points."""
    call, spec = table[name]
    function = function_of(call, inputs={"x": spec})
    x = tf.constant(RNG.uniform(0.5, 1.5, (3, *spec.shape[1:])))
    with tf.GradientTape() as tape:
        tape.watch(x)
        values = call(x)
    jacobian = tape.batch_jacobian(values, x).numpy().reshape(3, values[0].numpy().size, -1)
    known = jacobian_structure(function)
    return known.get(("f", "x"), np.ones(jacobian.shape[1:], bool)), jacobian


@pytest.mark.parametrize("name", EXACT)
def test_the_graph_tells_every_entry(name):
    """Where it says zero there is zero, and where it does not there is something."""
    entries, jacobian = _entries(name, EXACT)
    np.testing.assert_array_equal(entries, (jacobian != 0).any(axis=0))


@pytest.mark.parametrize("name", MIXED)
def test_what_is_not_known_is_taken_to_mix(name):
    """An operation that is not in the table, a loop or a custom gradient leaves no entry out."""
    assert _entries(name, MIXED)[0].all()


def test_a_large_tensor_is_taken_to_mix(monkeypatch):
    """Beyond what fits, nothing is claimed."""
    monkeypatch.setattr(structure, "MOST_ENTRIES", 80)
    assert _entries("slices", EXACT)[0].all()


def test_pairs_that_are_not_connected_are_all_zero():
    """Of several inputs and outputs, by pair; those that are dense are not listed."""
    function = function_of(
        lambda a, b: {"f": a * a, "g": tf.reduce_sum(a) * b + tf.reduce_sum(a, 1, keepdims=True)},
        inputs={"a": SIX, "b": SCALAR},
    )
    known = jacobian_structure(function)
    assert known.keys() == {("f", "a"), ("f", "b")}
    np.testing.assert_array_equal(known["f", "a"], np.eye(6))
    assert not known["f", "b"].any()


def test_layers_of_keras_have_the_structure_of_their_operations():
    """A dense layer for each of three steps keeps the steps apart."""
    x = keras.Input((3, 2), name="x")
    model = keras.Model(x, keras.layers.TimeDistributed(keras.layers.Dense(4, "tanh"))(x))
    [entries] = jacobian_structure(function_of(model)).values()
    np.testing.assert_array_equal(entries, np.kron(np.eye(3), np.ones((4, 2))))
