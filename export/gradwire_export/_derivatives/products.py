r"""Products with the Jacobian of a batched function, row by row: :math:`J\dot x` and :math:`J^\top\bar f`.

:math:`J^\top\bar f` is one reverse sweep. :math:`J\dot x` is two: the sweep :math:`u \mapsto J^\top u` is linear in its
cotangent u, so the reverse sweep over *it*, with :math:`\dot x` as cotangent, gives :math:`J\dot x` at the price of a few
evaluations however many outputs there are (Christianson's "two-reverse trick"; ``ForwardAccumulator`` fails on GRU, LSTM
and some loops, and in a graph ignores ``custom_gradient`` without a word). Where a gradient operation has itself no
gradient, the Jacobian from repeated rows is contracted instead; with one output number that is the cheaper way anyhow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from gradwire_export._derivatives.repeated_rows import (
    Call,
    Gradients,
    Shapes,
    Tensors,
    Wanted,
    differentiated,
    row_derivatives,
)


def row_vjp(call: Call, x: Tensors, cotangents: Tensors, wanted: Wanted) -> tuple[Tensors, Tensors]:
    """Evaluates a function of independent rows, and pulls cotangents of its outputs back to its inputs.

    Args:
        call: ``{input: tensor}`` in, ``{output: tensor}`` out.
        x: the inputs, ``(batch, *input)``.
        cotangents: of every wanted output, ``(batch, *output)``.
        wanted: output -> the inputs by which it is differentiated, at least one.

    Returns:
        The outputs, and input -> cotangent ``(batch, *input)``.
    """
    by = differentiated(wanted)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([x[wrt] for wrt in by])
        values = call(x)
    swept = tape.gradient(
        [values[output] for output in wanted],
        {wrt: x[wrt] for wrt in by},
        output_gradients=[cotangents[output] for output in wanted],
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    return values, {wrt: tf.convert_to_tensor(swept[wrt]) for wrt in by}


def row_jvp(call: Call, x: Tensors, tangents: Tensors, wanted: Wanted) -> tuple[Tensors, Tensors]:
    """Evaluates a function of independent rows, and pushes tangents forward, by two reverse sweeps.

    Args:
        call: ``{input: tensor}`` in, ``{output: tensor}`` out.
        x: the inputs, ``(batch, *input)``.
        tangents: of every input by which something is differentiated, ``(batch, *input)``.
        wanted: output -> the inputs by which it is differentiated, at least one.

    Returns:
        The outputs, and wanted output -> tangent ``(batch, *output)``.
    """
    by = differentiated(wanted)
    with tf.GradientTape(watch_accessed_variables=False) as inner:
        inner.watch([x[wrt] for wrt in by])
        values = call(x)
    with tf.GradientTape(watch_accessed_variables=False) as outer:
        dual = [tf.zeros_like(values[output]) for output in wanted]  # any numbers do: the sweep is linear in them
        outer.watch(dual)
        swept = inner.gradient([values[output] for output in wanted], [x[wrt] for wrt in by], output_gradients=dual)
        pulled = {wrt: tf.convert_to_tensor(part) for wrt, part in zip(by, swept, strict=True) if part is not None}
    pushed = outer.gradient(
        list(pulled.values()),
        dual,
        output_gradients=[tangents[wrt] for wrt in pulled],
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    return values, {output: tf.convert_to_tensor(part) for output, part in zip(wanted, pushed, strict=True)}


def row_jvp_by_contraction(
    call: Call, x: Tensors, tangents: Tensors, wanted: Wanted, shapes: Shapes
) -> tuple[Tensors, Tensors]:
    """Does what ``row_jvp`` does, from the whole Jacobian: no gradient of a gradient is needed.

    Args:
        call: ``{input: tensor}`` in, ``{output: tensor}`` out.
        x: the inputs, ``(batch, *input)``.
        tangents: of every input by which something is differentiated, ``(batch, *input)``.
        wanted: output -> the inputs by which it is differentiated, at least one.
        shapes: row shape of every wanted output.

    Returns:
        The outputs, and wanted output -> tangent ``(batch, *output)``.
    """
    values, gradients = row_derivatives(call, x, wanted, shapes)
    return values, contract_tangents(gradients, tangents, shapes)


def contract_tangents(gradients: Gradients, tangents: Mapping[str, Any], shapes: Shapes) -> Tensors:
    """Sums Jacobian times tangent over the inputs.

    Args:
        gradients: output -> input -> derivative, shaped as the contract says.
        tangents: by input, ``(batch, *input)``.
        shapes: row shapes of the outputs.

    Returns:
        Output -> tangent ``(batch, *output)``.
    """
    pushed = {}
    for output, by_input in gradients.items():
        size, total = math.prod(shapes[output]), None
        for wrt, gradient in by_input.items():
            rows, numbers = tf.shape(gradient)[0], math.prod(tangents[wrt].shape.as_list()[1:])
            jacobian = tf.reshape(gradient, [rows, size, numbers])
            part = tf.reduce_sum(jacobian * tf.reshape(tangents[wrt], [rows, 1, numbers]), axis=2)
            part = tf.reshape(part, [rows, *shapes[output]])
            total = part if total is None else total + part
        pushed[output] = total
    return pushed
