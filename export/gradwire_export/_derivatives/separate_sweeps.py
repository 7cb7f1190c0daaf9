r"""Derivatives of a batched function from one evaluation and a reverse sweep for each number.

With K output numbers the function runs once and K sweeps go back over it, each from one number; for a Hessian, one more
over each of those for every input number. Against repeated rows that saves K - 1 evaluations and the memory of K copies
(2.6 against 20 evaluations' time for 3 to 8 numbers at 64k rows), and it costs graph: so many sweeps are so many copies
of the backward graph. Loops, whose backward graphs are large, stay with repeated rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from gradwire._package import derivative_shape, second_derivative_shape
from gradwire_export._derivatives.repeated_rows import (
    Call,
    Gradients,
    Shapes,
    Tensors,
    Wanted,
    differentiated,
    row_of,
)
from gradwire_export._derivatives.second_derivatives import Seconds

_ZERO = tf.UnconnectedGradients.ZERO
_Sweeps = dict[str, list[Tensors]]  # output -> for each of its numbers, input -> gradient


def swept_derivatives(call: Call, x: Tensors, wanted: Wanted, shapes: Shapes) -> tuple[Tensors, Gradients]:
    """Does what ``row_derivatives`` does, with a sweep for each output number.

    Args:
        call: ``{input: tensor}`` in, ``{output: tensor}`` out.
        x: the inputs, ``(batch, *input)``.
        wanted: output -> the inputs by which it is differentiated, at least one.
        shapes: row shape of every wanted output.

    Returns:
        The outputs, and output -> input -> derivative ``(batch, *shape)`` with the shapes of the contract.
    """
    values, first = _first_sweeps(call, x, wanted, shapes)
    return values, _stacked(first, x, wanted, shapes)


def swept_hvp(
    call: Call, x: Tensors, tangents: Tensors, wanted: Wanted, shapes: Shapes
) -> tuple[Tensors, Gradients, Gradients]:
    """Does what ``row_hvp`` does, with two sweeps for each output number.

    Args:
        call: ``{input: tensor}`` in, ``{output: tensor}`` out.
        x: the inputs, ``(batch, *input)``.
        tangents: of every input by which something is differentiated, ``(batch, *input)``.
        wanted: output -> the inputs by which it is differentiated, at least one.
        shapes: row shape of every wanted output.

    Returns:
        The outputs, output -> input -> derivative, and output -> input -> its derivative along the tangents.
    """
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch([x[wrt] for wrt in differentiated(wanted)])
        values, first = _first_sweeps(call, x, wanted, shapes)
    second = {
        output: [
            _dense(
                tape.gradient(
                    list(gradients.values()),
                    {wrt: x[wrt] for wrt in gradients},
                    output_gradients=[tangents[wrt] for wrt in gradients],
                    unconnected_gradients=_ZERO,
                )
            )
            for gradients in by_number
        ]
        for output, by_number in first.items()
    }
    return values, _stacked(first, x, wanted, shapes), _stacked(second, x, wanted, shapes)


def swept_hessian(call: Call, x: Tensors, wanted: Wanted, shapes: Shapes) -> tuple[Tensors, Gradients, Seconds]:
    """Does what ``row_hessian`` does, with a second sweep for each output number and input number.

    Args:
        call: ``{input: tensor}`` in, ``{output: tensor}`` out.
        x: the inputs, ``(batch, *input)``.
        wanted: output -> the inputs by which it is differentiated, at least one.
        shapes: row shape of every wanted output.

    Returns:
        The outputs, output -> input -> derivative, and output -> first input -> second input -> second derivative, each
        pair once in the order of ``x``.
    """
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch([x[wrt] for wrt in differentiated(wanted)])
        values, first = _first_sweeps(call, x, wanted, shapes)
    second: Seconds = {}
    for output, by_number in first.items():
        order = [wrt for wrt in x if wrt in wanted[output]]
        second[output] = {}
        for i, one in enumerate(order):
            after = {other: x[other] for other in order[i:]}
            rows = [_rows_of_hessian(tape, gradients[one], after) for gradients in by_number]
            second[output][one] = {
                other: _shaped(
                    tf.stack([part[other] for part in rows], axis=1),
                    second_derivative_shape(shapes[output], row_of(x[one]), row_of(x[other])),
                )
                for other in after
            }
    return values, _stacked(first, x, wanted, shapes), second


def _first_sweeps(call: Call, x: Tensors, wanted: Wanted, shapes: Shapes) -> tuple[Tensors, _Sweeps]:
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch([x[wrt] for wrt in differentiated(wanted)])
        values = call(x)
    return values, {
        output: [
            _dense(
                tape.gradient(
                    values[output],
                    {wrt: x[wrt] for wrt in inputs},
                    output_gradients=_pick(values[output], shapes[output], number),
                    unconnected_gradients=_ZERO,
                )
            )
            for number in range(math.prod(shapes[output]))
        ]
        for output, inputs in wanted.items()
    }


def _rows_of_hessian(tape: tf.GradientTape, gradient: Any, by: Tensors) -> Tensors:
    """Sweeps back from each number of a gradient: by input, ``(batch, numbers, *input)``."""
    row = row_of(gradient)
    parts = [
        _dense(tape.gradient(gradient, by, output_gradients=_pick(gradient, row, number), unconnected_gradients=_ZERO))
        for number in range(math.prod(row))
    ]
    return {wrt: tf.stack([part[wrt] for part in parts], axis=1) for wrt in by}


def _pick(tensor: Any, row: Sequence[int], number: int) -> Any:
    """The cotangent that picks one number of each row."""
    picked = tf.reshape(tf.one_hot(number, math.prod(row), dtype=tensor.dtype), [1, *row])
    return tf.broadcast_to(picked, tf.shape(tensor))


def _stacked(sweeps: _Sweeps, x: Tensors, wanted: Wanted, shapes: Shapes) -> Gradients:
    return {
        output: {
            wrt: _shaped(
                tf.stack([gradients[wrt] for gradients in by_number], axis=1),
                derivative_shape(shapes[output], row_of(x[wrt])),
            )
            for wrt in wanted[output]
        }
        for output, by_number in sweeps.items()
    }


def _shaped(tensor: Any, row: Sequence[int]) -> Any:
    return tf.reshape(tensor, [tf.shape(tensor)[0], *row])


def _dense(gradients: Tensors) -> Tensors:
    return {wrt: tf.convert_to_tensor(gradient) for wrt, gradient in gradients.items()}
