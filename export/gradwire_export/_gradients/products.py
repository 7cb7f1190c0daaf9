r"""Products: the gradients of ``reduce_prod`` and ``cumprod`` without a division, right at zeros to every order.

TensorFlow divides by the factor that it leaves out, and takes 0/0 for 0: the derivative of ``cumprod([0, 2, 3])`` comes
out as (0, 0, 0) where it is (9, 0, 0), and that of ``reduce_prod``, which is made of ``cumprod``, is wrong from the
second on. Here the factors before and after the one left out are multiplied:

.. math:: y_k = \prod_{i \le k} x_i, \quad
    \sum_k g_k \frac{\partial y_k}{\partial x_j} = \Big(\prod_{i < j} x_i\Big) s_j, \quad
    s_j = g_j + x_{j+1} s_{j+1}.

The recurrence is solved by doubling (Hillis and Steele, 1986): :math:`\log_2 n` steps of products and sums, which have
right derivatives themselves.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from gradwire_export._gradients.registry import Gradient


def gradient_of_cumprod(own: Gradient | None) -> Gradient:
    """Return the gradient of Cumprod; TensorFlow's own where the length of the axis is not known, or for complex x."""

    def gradient(operation: Any, cotangent: Any) -> Any:
        x, axis = operation.inputs[0], tf.get_static_value(operation.inputs[1])
        if axis is None or not has_known_axes(x, [axis]):
            return own(operation, cotangent) if own else None
        axis = int(axis) % x.shape.rank
        flip = (lambda y: tf.reverse(y, [axis])) if operation.get_attr("reverse") else tf.identity
        x, cotangent = flip(x), flip(cotangent)
        if operation.get_attr("exclusive"):  # y_k is the product up to k - 1
            cotangent = _shifted(cotangent, axis, 1)
        before = tf.math.cumprod(x, axis, exclusive=True)
        return [flip(before * _solved(_shifted(x, axis, 1), cotangent, axis)), None]

    return gradient


def gradient_of_prod(own: Gradient | None) -> Gradient:
    """Return the gradient of Prod, with the same exceptions."""

    def gradient(operation: Any, cotangent: Any) -> Any:
        x, axes = operation.inputs[0], tf.get_static_value(operation.inputs[1])
        if axes is None or not has_known_axes(x, axes.reshape(-1)):
            return own(operation, cotangent) if own else None
        rank = x.shape.rank
        reduced = sorted({int(axis) % rank for axis in axes.reshape(-1)})
        if not reduced:
            return [cotangent, None]
        order = [*(axis for axis in range(rank) if axis not in reduced), *reduced]
        last = tf.transpose(x, order)
        batch = tf.shape(last)[: rank - len(reduced)]
        row = tf.reshape(last, tf.concat([batch, [-1]], 0))
        row = tf.ensure_shape(row, [*last.shape[: rank - len(reduced)], math.prod(x.shape[axis] for axis in reduced)])
        before, after = (tf.math.cumprod(row, -1, exclusive=True, reverse=reverse) for reverse in (False, True))
        others = tf.transpose(tf.reshape(before * after, tf.shape(last)), tf.math.invert_permutation(order))
        spread = tf.tensor_scatter_nd_update(tf.shape(x), [[axis] for axis in reduced], [1] * len(reduced))
        return [tf.reshape(cotangent, spread) * others, None]

    return gradient


def has_known_axes(x: Any, axes: Any) -> bool:
    """Whether the gradients here apply: real numbers, and known lengths of the axes that are multiplied."""
    rank = x.shape.rank
    return x.dtype.is_floating and rank is not None and all(x.shape[int(axis) % rank] is not None for axis in axes)


def _solved(factor: Any, term: Any, axis: int) -> Any:
    """Return s with s_j = term_j + factor_j s_{j+1}, and s = 0 after the end."""
    step = 1
    while step < factor.shape[axis]:
        term = term + factor * _shifted(term, axis, step)
        factor = factor * _shifted(factor, axis, step)
        step *= 2
    return term


def _shifted(tensor: Any, axis: int, steps: int) -> Any:
    """Return y with y_j = x_{j + steps}, and zeros after the end."""
    here = [steps if other == axis else 0 for other in range(tensor.shape.rank)]
    rest = tf.slice(tensor, here, [-1] * tensor.shape.rank)
    return tf.ensure_shape(tf.pad(rest, [[0, size] for size in here]), tensor.shape)
