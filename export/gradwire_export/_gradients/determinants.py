r"""Determinants of up to three rows: their gradient is the matrix of cofactors, polynomials in the entries.

TensorFlow's is :math:`\det(A) A^{-\top}`, and a batch with one singular matrix fails as a whole.
"""

from __future__ import annotations

from typing import Any, Final

import tensorflow as tf

from gradwire_export._gradients.registry import Gradient

LARGEST: Final = 3  # rows; the cofactors of more are determinants themselves


def gradient_of_determinant(own: Gradient | None) -> Gradient:
    """Return the gradient of MatrixDeterminant; TensorFlow's own for larger matrices, or for complex ones."""

    def gradient(operation: Any, cotangent: Any) -> Any:
        matrix = operation.inputs[0]
        if not has_cofactors(matrix):
            return own(operation, cotangent) if own else None
        return cotangent[..., None, None] * _cofactors(matrix)

    return gradient


def has_cofactors(matrix: Any) -> bool:
    """Whether the gradient here applies."""
    size = matrix.shape[-1] if matrix.shape.rank else None
    return matrix.dtype.is_floating and size is not None and 0 < size <= LARGEST


def _cofactors(matrix: Any) -> Any:
    rows = tf.unstack(matrix, axis=-2)
    if len(rows) == 1:
        return tf.ones_like(matrix)
    if len(rows) == LARGEST:
        one, two, three = rows
        return tf.stack([tf.linalg.cross(two, three), tf.linalg.cross(three, one), tf.linalg.cross(one, two)], axis=-2)
    (a, b), (c, d) = (tf.unstack(row, axis=-1) for row in rows)
    return tf.stack([tf.stack([d, -c], axis=-1), tf.stack([-b, a], axis=-1)], axis=-2)
