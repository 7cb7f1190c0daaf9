r"""Products with the Jacobian of a batched function, row by row: :math:`J\dot x` and :math:`J^\top\bar f`.

:math:`J^\top\bar f` is one reverse sweep. :math:`J\dot x` is two: the sweep :math:`u \mapsto J^\top u` is linear in its
cotangent u, so the reverse sweep over *it*, with :math:`\dot x` as cotangent, returns :math:`J\dot x` at the price of a
few evaluations however many outputs there are (Christianson's "two-reverse trick"; ``ForwardAccumulator`` fails on GRU,
LSTM and some loops, and in a graph silently ignores ``custom_gradient``). Where a gradient operation has itself no
gradient, the Jacobian from repeated rows is contracted instead; for a scalar output that is cheaper anyway.
"""

from __future__ import annotations

import math

import tensorflow as tf

from gradwire_export._derivatives.repeated_rows import RepeatedRows
from gradwire_export._derivatives.strategy import Differentiable, Tensors, row_of


def row_vjp(function: Differentiable, x: Tensors, cotangents: Tensors) -> tuple[Tensors, Tensors]:
    """Evaluate a function, and pull cotangents of its outputs back to its inputs.

    Args:
        function: what to differentiate.
        x: the inputs, ``(batch, *input)``.
        cotangents: of every differentiated output, ``(batch, *output)``.

    Returns:
        The outputs, and input -> cotangent ``(batch, *input)``.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([x[wrt] for wrt in function.wrt])
        values = function.call(x)
    pulled_back = tape.gradient(
        [values[output] for output in function.differentiated],
        {wrt: x[wrt] for wrt in function.wrt},
        output_gradients=[cotangents[output] for output in function.differentiated],
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    return values, {wrt: tf.convert_to_tensor(pulled_back[wrt]) for wrt in function.wrt}


def row_jvp(function: Differentiable, x: Tensors, tangents: Tensors) -> tuple[Tensors, Tensors]:
    """Evaluate a function, and push tangents of its inputs forward, by two reverse sweeps.

    Args:
        function: what to differentiate.
        x: the inputs, ``(batch, *input)``.
        tangents: of every input in ``function.wrt``, ``(batch, *input)``.

    Returns:
        The outputs, and differentiated output -> tangent ``(batch, *output)``.
    """
    outputs = list(function.differentiated)
    with tf.GradientTape(watch_accessed_variables=False) as inner:
        inner.watch([x[wrt] for wrt in function.wrt])
        values = function.call(x)
    with tf.GradientTape(watch_accessed_variables=False) as outer:
        dual = [tf.zeros_like(values[output]) for output in outputs]  # any values do: the sweep is linear in them
        outer.watch(dual)
        swept = inner.gradient(
            [values[output] for output in outputs], [x[wrt] for wrt in function.wrt], output_gradients=dual
        )
        pulled_back = {
            wrt: tf.convert_to_tensor(part) for wrt, part in zip(function.wrt, swept, strict=True) if part is not None
        }
    pushed_forward = outer.gradient(
        list(pulled_back.values()),
        dual,
        output_gradients=[tangents[wrt] for wrt in pulled_back],
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    return values, {output: tf.convert_to_tensor(part) for output, part in zip(outputs, pushed_forward, strict=True)}


def row_jvp_by_contraction(function: Differentiable, x: Tensors, tangents: Tensors) -> tuple[Tensors, Tensors]:
    """Do what ``row_jvp`` does, from the whole Jacobian: no gradient of a gradient is needed.

    Args:
        function: what to differentiate.
        x: the inputs, ``(batch, *input)``.
        tangents: of every input in ``function.wrt``, ``(batch, *input)``.

    Returns:
        The outputs, and differentiated output -> tangent ``(batch, *output)``.
    """
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
