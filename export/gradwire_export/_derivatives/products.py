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
from gradwire_export._derivatives.strategy import Differentiable, Tensors, row_of, sweep_back


def row_vjp(function: Differentiable, x: Tensors, cotangents: Tensors) -> tuple[Tensors, Tensors]:
    """Evaluate a function, and pull cotangents of its outputs, ``(batch, *output)``, back to its inputs."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([x[wrt] for wrt in function.wrt])
        values = function.call(x)
    outputs = [values[output] for output in function.differentiated]
    duals = [cotangents[output] for output in function.differentiated]
    return values, sweep_back(tape, outputs, {wrt: x[wrt] for wrt in function.wrt}, duals)


def row_jvp(function: Differentiable, x: Tensors, tangents: Tensors) -> tuple[Tensors, Tensors]:
    """Evaluate a function, and push tangents of its inputs, ``(batch, *input)``, forward, by two reverse sweeps."""
    with tf.GradientTape(watch_accessed_variables=False) as inner:
        inner.watch([x[wrt] for wrt in function.wrt])
        values = function.call(x)
    with tf.GradientTape(watch_accessed_variables=False) as outer:
        # Any values do: the sweep is linear in them.
        dual = {output: tf.zeros_like(values[output]) for output in function.differentiated}
        outer.watch(list(dual.values()))
        swept = inner.gradient(
            [values[output] for output in dual], [x[wrt] for wrt in function.wrt], output_gradients=list(dual.values())
        )
        pulled_back = {
            wrt: tf.convert_to_tensor(part) for wrt, part in zip(function.wrt, swept, strict=True) if part is not None
        }
    return values, sweep_back(outer, list(pulled_back.values()), dual, [tangents[wrt] for wrt in pulled_back])


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
