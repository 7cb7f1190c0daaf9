r"""Powers: the gradient of ``x ** y`` where y may be 0.

TensorFlow's is :math:`y x^{y-1}`, which for y = 0 is :math:`0 \cdot x^{-1}`: NaN at x = 0, where the power is the
constant 1. First derivatives of ``x ** 1`` are powers with that exponent, so that second derivatives of
:math:`\sum_i x_i^{p_i}` with some :math:`p_i = 1` are NaN at zeros. Here the exponent of the gradient is 0 instead of
-1 where y is 0; everywhere else it is TensorFlow's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from gradwire_export._gradients.broadcast import unbroadcast
from gradwire_export._gradients.registry import Gradient


def gradient_of_pow(own: Gradient | None) -> Gradient:
    """Return the gradient of Pow; TensorFlow's own where the graph shows that no exponent is 0."""

    def gradient(operation: Any, cotangent: Any) -> Any:
        x, y = operation.inputs
        known = _static(y)
        if not x.dtype.is_floating or (known is not None and not (known == 0).any()):
            return own(operation, cotangent) if own else None
        if known is not None:
            exponent = tf.constant(np.where(known == 0, 0, known - 1), y.dtype)
        else:
            exponent = tf.where(tf.equal(y, 0), tf.zeros_like(y), y - 1)
        by_x = cotangent * y * tf.pow(x, exponent)
        is_positive = x > 0  # elsewhere there is no derivative with respect to y, and TensorFlow returns 0
        log = tf.where(is_positive, tf.math.log(tf.where(is_positive, x, tf.ones_like(x))), tf.zeros_like(x))
        by_y = None if known is not None else cotangent * operation.outputs[0] * log
        return unbroadcast(x, y, by_x, by_y)

    return gradient


def _static(tensor: Any) -> Any:
    """Return what the graph says about a tensor's value, differences of constants included: gradients make those."""
    value = tf.get_static_value(tensor)
    if value is None and isinstance(tensor, tf.Tensor) and not hasattr(tensor, "numpy") and tensor.op.type == "Sub":
        left, right = map(_static, tensor.op.inputs)
        value = None if left is None or right is None else left - right
    return value
