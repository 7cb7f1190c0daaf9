r"""Functions whose gradient in TensorFlow is wrong, NaN or missing at points where the function is smooth.

* ``x log y`` and its like (:math:`0 \log 0 = 0`): TensorFlow's derivative with respect to x is 0 wherever x is 0; it is
  :math:`\log y` unless y is 0 too.
* Bessel functions of order 1: TensorFlow's derivative of :math:`I_1` at 0 is 1 (it is 1/2), and second ones are NaN.
* The remainder of a division that truncates has no gradient, and softsign no second one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from gradwire_export._gradients.broadcast import unbroadcast
from gradwire_export._gradients.registry import Gradient


def gradient_of_xlogy(_: Gradient | None) -> Gradient:
    """Return the gradient of Xlogy."""
    return _product(tf.math.log, lambda y: y, 0.0)


def gradient_of_xlog1py(_: Gradient | None) -> Gradient:
    """Return the gradient of Xlog1py."""
    return _product(tf.math.log1p, lambda y: y + 1, -1.0)


def _product(log: Callable[[Any], Any], argument: Callable[[Any], Any], bound: float) -> Gradient:
    """Return the gradient of x times a logarithm that is not defined up to a bound."""

    def gradient(operation: Any, cotangent: Any) -> list[Any]:
        x, y = operation.inputs
        undefined = tf.logical_and(tf.equal(x, 0), y <= bound)
        safe = tf.where(undefined, tf.constant(1, y.dtype), y)
        by_x = tf.where(undefined, tf.constant(0, y.dtype), log(safe))
        return unbroadcast(x, y, cotangent * by_x, cotangent * tf.math.xdivy(x, argument(y)))

    return gradient


def gradient_of_xdivy(_: Gradient | None) -> Gradient:
    """Return the gradient of Xdivy."""

    def gradient(operation: Any, cotangent: Any) -> list[Any]:
        x, y = operation.inputs
        undefined = tf.logical_and(tf.equal(x, 0), tf.equal(y, 0))
        safe = tf.where(undefined, tf.constant(1, y.dtype), y)
        by_x = tf.where(undefined, tf.constant(0, y.dtype), 1 / safe)
        return unbroadcast(x, y, cotangent * by_x, cotangent * tf.math.xdivy(-x, y**2))

    return gradient


def gradient_of_bessel_i1(_: Gradient | None) -> Gradient:
    r"""Return the gradient of BesselI1, :math:`I_0 - I_1/x`."""
    return _first_order(lambda x, y, over: tf.math.bessel_i0(x) - y / over)


def gradient_of_bessel_i1e(_: Gradient | None) -> Gradient:
    r"""Return the gradient of BesselI1e, :math:`I_1 e^{-|x|}`."""
    return _first_order(lambda x, y, over: tf.math.bessel_i0e(x) - y * (tf.sign(x) + 1 / over))


def gradient_of_bessel_j1(_: Gradient | None) -> Gradient:
    r"""Return the gradient of BesselJ1, :math:`J_0 - J_1/x`."""
    return _first_order(lambda x, y, over: tf.math.special.bessel_j0(x) - y / over)


def _first_order(derivative: Callable[[Any, Any, Any], Any]) -> Gradient:
    """Return the gradient of a Bessel function of order 1: 1/2 at zero, where its second derivative is 0."""

    def gradient(operation: Any, cotangent: Any) -> Any:
        x, y = operation.inputs[0], operation.outputs[0]
        is_zero = tf.equal(x, 0)
        over = tf.where(is_zero, tf.ones_like(x), x)
        return cotangent * tf.where(is_zero, tf.constant(0.5, x.dtype), derivative(x, y, over))

    return gradient


def gradient_of_truncate_mod(_: Gradient | None) -> Gradient:
    """Return the gradient of TruncateMod, between its jumps."""

    def gradient(operation: Any, cotangent: Any) -> list[Any]:
        x, y = operation.inputs
        return unbroadcast(x, y, cotangent, -cotangent * tf.stop_gradient((x - operation.outputs[0]) / y))

    return gradient


def gradient_of_softsign_grad(_: Gradient | None) -> Gradient:
    r"""Return the gradient of SoftsignGrad, :math:`g / (1 + |x|)^2`, with respect to g and x."""

    def gradient(operation: Any, cotangent: Any) -> list[Any]:
        outer, x = operation.inputs
        by_x = -2 * tf.sign(x) * cotangent * outer / (1 + tf.abs(x)) ** 3
        return [tf.raw_ops.SoftsignGrad(gradients=cotangent, features=x), by_x]

    return gradient
