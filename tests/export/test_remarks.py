"""What TensorFlow's derivatives miss and the export cannot make right: warned of by name, and nothing else is."""

from __future__ import annotations

import keras
import pytest
import tensorflow as tf

from gradwire_export._analysis.requirements import require_derivatives
from gradwire_export._gradients import right_gradients
from gradwire_export._sources.function import function_of

FOUR = {"x": tf.TensorSpec((None, 4), tf.float64)}


def square(x, size=2):
    """Rows as symmetric matrices."""
    matrix = tf.reshape(tf.tile(x, [1, size * size // 4]), [-1, size, size])
    return matrix + tf.linalg.matrix_transpose(matrix)


def segments(x):
    """Products of the first and last two elements."""
    return tf.transpose(tf.math.unsorted_segment_prod(tf.transpose(x), tf.constant([0, 0, 1, 1]), 2))


def looped(x):
    """A loop whose body holds its argument fixed."""
    return tf.while_loop(lambda i, _: i < 2, lambda i, y: (i + 1, x + tf.stop_gradient(y)), [tf.constant(0), x])[1]


def flattened(x):
    """A product along an axis whose length the graph does not know."""
    return tf.reduce_prod(tf.boolean_mask(x, [True, False, True, True], axis=1), 1, keepdims=True)


def resized(x):
    """A picture of float64, enlarged."""
    return tf.image.resize(tf.reshape(x, [-1, 2, 2, 1]), (3, 3))[:, 0, :, 0]


WARNED = {
    "eigenvalues": (lambda x: tf.linalg.eigvalsh(square(x)), "SelfAdjointEigV2", "where two eigenvalues are equal"),
    "singular values": (
        lambda x: tf.linalg.svd(square(x), compute_uv=False),
        "Svd",
        "where two singular values are equal",
    ),
    "a determinant": (
        lambda x: tf.linalg.det(square(x, 4))[:, None],
        "MatrixDeterminant",
        "every signature but value fails",
    ),
    "a selection beside a pole": (
        lambda x: tf.where(x > 0, tf.math.log(x), x),
        "SelectV2",
        "has Log ('Log') of what",
    ),
    "sin x / x": (lambda x: tf.where(tf.equal(x, 0), tf.ones_like(x), tf.sin(x) / x), "SelectV2", "has RealDiv"),
    "products of segments": (segments, "UnsortedSegmentProd", "second derivatives are NaN"),
    "Spence's function": (tf.math.special.spence, "Spence", "at 1 the second derivative is NaN"),
    "a product of unknown length": (flattened, "Prod", "along an axis of unknown length"),
    "held fixed": (lambda x: x * tf.stop_gradient(x), "StopGradient", "holds its argument fixed"),
    "held fixed in a loop": (looped, "StopGradient", "holds its argument fixed"),
    "float32 in between": (lambda x: tf.cast(tf.cast(x, tf.float32), tf.float64), "Cast", "computes in float32"),
}


@pytest.mark.parametrize("name", WARNED)
def test_what_derivatives_miss_is_named(name):
    """The operation, where, and what is missing, once."""
    call, operation, text = WARNED[name]
    with right_gradients():
        (warning,) = require_derivatives(function_of(call, inputs=FOUR), ()).warnings
    assert warning.startswith(f"output 'f' goes through {operation} ('")
    assert text in warning


QUIET = {
    "a harmless argument is selected first": lambda x: tf.where(x > 0, tf.math.log(tf.where(x > 0, x, 1.0)), x),
    "kinks": lambda x: (
        tf.nn.relu(x) + tf.abs(x) + tf.maximum(x, 0.5) + tf.minimum(x, 0.25) + tf.clip_by_value(x, -1, 1)
    ),
    "a maximum and a minimum of others": lambda x: tf.maximum(x[:, :2], x[:, 2:]) + tf.minimum(x[:, :2], x[:, 1:3]),
    "ties, which take one side": lambda x: (
        keras.ops.logaddexp(x[:, :2], x[:, 2:]) + keras.ops.hypot(x[:, :2], x[:, 2:])
    ),
    "celu": keras.activations.celu,
    "an absolute value, squared": lambda x: tf.abs(x) ** 2,
    "a shift that cancels": lambda x: tf.reduce_logsumexp(x, 1, keepdims=True) + tf.reduce_logsumexp(x, 1)[:, None],
    "the softmax of Keras": keras.activations.softmax,
    "a variance": lambda x: tf.nn.moments(x, [1], keepdims=True)[1],
    "products of known length": lambda x: tf.reduce_prod(x, 1, keepdims=True) + tf.math.cumprod(x, 1),
    "a small determinant": lambda x: tf.linalg.det(square(x))[:, None],
    "held fixed, and constant anyway": lambda x: x * tf.stop_gradient(tf.cast(tf.shape(x)[1], x.dtype)),
    "a pole of something else": lambda x: tf.where(x[:, :2] > 0, tf.math.log(x[:, 2:]), x[:, 2:]),
}


@pytest.mark.parametrize("name", QUIET)
def test_what_is_right_is_not_remarked_on(name):
    """Kinks, guarded poles, shifts that cancel, and what has a right gradient here."""
    with right_gradients():
        assert require_derivatives(function_of(QUIET[name], inputs=FOUR), ()).warnings == ()


def test_resizing_says_that_it_computes_in_float32():
    """Whatever the policy: a float64 package has float32's accuracy there."""
    with right_gradients():
        warnings = require_derivatives(function_of(lambda x: tf.cast(resized(x), x.dtype), inputs=FOUR), ()).warnings
    assert any("ResizeBilinear" in text and "computes in float32 whatever the policy" in text for text in warnings)
