"""Products with the Jacobian of a batched function, row by row, of cotangents or tangents that a caller gives.

Where a gradient operation has itself no gradient, a tangent is multiplied with the Jacobian from repeated rows; for a
scalar output that is cheaper anyway.
"""

from __future__ import annotations

import math

import tensorflow as tf

from gradwire_export._derivatives.function import Differentiable, Tensors, row_of
from gradwire_export._derivatives.linearised import Linearised
from gradwire_export._derivatives.repeated_rows import RepeatedRows


def row_vjp(function: Differentiable, x: Tensors, cotangents: Tensors) -> tuple[Tensors, Tensors]:
    """Evaluate a function, and pull cotangents of its outputs, ``(batch, *output)``, back to its inputs."""
    linear = Linearised(function.call, x, function.wrt, list(function.differentiated))
    return dict(linear.values), linear.pull(
        {output: cotangents[output] for output in function.differentiated}, function.wrt
    )


def row_jvp(function: Differentiable, x: Tensors, tangents: Tensors) -> tuple[Tensors, Tensors]:
    """Evaluate a function, and push tangents of its inputs, ``(batch, *input)``, forward, by two reverse sweeps."""
    linear = Linearised(function.call, x, function.wrt, list(function.differentiated))
    return dict(linear.values), linear.push({wrt: tangents[wrt] for wrt in function.wrt}, function.differentiated)


def row_jvp_by_contraction(function: Differentiable, x: Tensors, tangents: Tensors) -> tuple[Tensors, Tensors]:
    """Do what ``row_jvp`` does, from the whole Jacobian: no gradient of a gradient is needed."""
    values, gradients = RepeatedRows().gradients(function, x)
    pushed_forward = {}
    for output, by_input in gradients.items():
        total = None
        for wrt, gradient in by_input.items():
            rows, size = tf.shape(gradient)[0], math.prod(row_of(tangents[wrt]))
            jacobian = tf.reshape(gradient, [rows, function.sizes[output], size])
            part = tf.reduce_sum(jacobian * tf.reshape(tangents[wrt], [rows, 1, size]), axis=2)
            part = tf.reshape(part, [rows, *function.shapes[output]])
            total = part if total is None else total + part
        pushed_forward[output] = total
    return values, pushed_forward
