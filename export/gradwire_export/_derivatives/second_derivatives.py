r"""Second derivatives of a batched function, row by row: one reverse sweep over another.

With K output numbers and n input numbers, ``hvp`` repeats the rows K times (copy k carries output number k) and sweeps
back twice; ``hessian`` repeats them K·n times, and in copy (k, j) the first sweep starts from output number k, the second
from number j of what the first one gave. No loop, no pfor, no rows assumed.

A second sweep that finds no path gives zeros: a function that is linear in its inputs has that Hessian. That the path is
not merely hidden by an operation without a gradient is what ``_operations`` looks after.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import tensorflow as tf

from gradwire._package import second_derivative_shape
from gradwire_export._derivatives.repeated_rows import (
    Call,
    Gradients,
    Shapes,
    Tensors,
    Wanted,
    differentiated,
    repeat_rows,
    row_of,
    split_copies,
    sweep_copies,
)

Seconds: TypeAlias = dict[str, dict[str, Tensors]]


def row_hvp(
    call: Call, x: Tensors, tangents: Tensors, wanted: Wanted, shapes: Shapes
) -> tuple[Tensors, Gradients, Gradients]:
    """Evaluates a function of independent rows, its first derivatives, and their derivatives along a tangent.

    Args:
        call: ``{input: tensor}`` in, ``{output: tensor}`` out.
        x: the inputs, ``(batch, *input)``.
        tangents: of every input by which something is differentiated, ``(batch, *input)``.
        wanted: output -> the inputs by which it is differentiated, at least one.
        shapes: row shape of every wanted output.

    Returns:
        The outputs, output -> input -> derivative, and output -> input -> its derivative along the tangents, both
        ``(batch, *shape)`` with the shapes of the contract.
    """
    by = differentiated(wanted)
    copies = sum(math.prod(shapes[output]) for output in wanted)
    rows = tf.shape(next(iter(x.values())))[0]
    repeated = repeat_rows(x, copies)
    directions = repeat_rows({wrt: tangents[wrt] for wrt in by}, copies)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([repeated[wrt] for wrt in by])
        outputs, first = _first_sweep(call, repeated, wanted, shapes, rows)
    second = _second_sweep(tape, first, repeated, [directions[wrt] for wrt in first])
    values = outputs if copies == 1 else {name: output[:rows] for name, output in outputs.items()}
    return (
        values,
        split_copies(first, rows, wanted, shapes),
        split_copies(second, rows, wanted, shapes),
    )


def row_hessian(call: Call, x: Tensors, wanted: Wanted, shapes: Shapes) -> tuple[Tensors, Gradients, Seconds]:
    """Evaluates a function of independent rows, its first derivatives and its Hessians.

    Args:
        call: ``{input: tensor}`` in, ``{output: tensor}`` out.
        x: the inputs, ``(batch, *input)``.
        wanted: output -> the inputs by which it is differentiated, at least one.
        shapes: row shape of every wanted output.

    Returns:
        The outputs, output -> input -> derivative, and output -> first input -> second input -> second derivative, each
        pair once in the order of ``x``; all ``(batch, *shape)`` with the shapes of the contract.
    """
    some = differentiated(wanted)
    numbers = {wrt: math.prod(row_of(x[wrt])) for wrt in x if wrt in some}
    copies, inner = sum(math.prod(shapes[output]) for output in wanted), sum(numbers.values())
    rows = tf.shape(next(iter(x.values())))[0]
    repeated = repeat_rows(x, copies * inner)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([repeated[wrt] for wrt in numbers])
        outputs, first = _first_sweep(call, repeated, wanted, shapes, inner * rows)
    picked = _pick_inputs(first, numbers, rows, copies)
    second = _second_sweep(tape, first, repeated, [picked[wrt] for wrt in first])
    return (
        {name: output[:rows] for name, output in outputs.items()},
        split_copies(_first_of(first, copies, inner, rows), rows, wanted, shapes),
        _split_pairs(second, rows, wanted, shapes, numbers),
    )


def _first_sweep(call: Call, repeated: Tensors, wanted: Wanted, shapes: Shapes, rows: Any) -> tuple[Tensors, Tensors]:
    """Sweeps back from output number k in copy k of ``rows`` rows."""
    outputs, swept = sweep_copies(call, repeated, wanted, shapes, rows, unconnected=tf.UnconnectedGradients.ZERO)
    return outputs, {wrt: tf.convert_to_tensor(gradient) for wrt, gradient in swept.items()}


def _second_sweep(tape: tf.GradientTape, first: Tensors, repeated: Tensors, cotangents: list[Any]) -> Tensors:
    swept = tape.gradient(
        list(first.values()),
        {wrt: repeated[wrt] for wrt in first},
        output_gradients=cotangents,
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    return {wrt: tf.convert_to_tensor(swept[wrt]) for wrt in first}


def _pick_inputs(first: Tensors, numbers: dict[str, int], rows: Any, copies: int) -> Tensors:
    """Gives one cotangent an input: in copy (k, j) it picks number j of all inputs."""
    total, start, cotangents = sum(numbers.values()), 0, Tensors()
    for wrt, size in numbers.items():
        picked = tf.eye(total, dtype=first[wrt].dtype)[:, start : start + size]
        by_row = tf.repeat(picked, tf.fill([total], rows), axis=0)
        cotangents[wrt] = tf.reshape(tf.tile(by_row, [copies, 1]), tf.shape(first[wrt]))
        start += size
    return cotangents


def _first_of(first: Tensors, copies: int, inner: int, rows: Any) -> Tensors:
    """Keeps one of the ``inner`` equal first derivatives."""
    return {
        wrt: tf.reshape(tf.reshape(part, [copies, inner, rows, *row_of(part)])[:, 0], [copies * rows, *row_of(part)])
        for wrt, part in first.items()
    }


def _split_pairs(second: Tensors, rows: Any, wanted: Wanted, shapes: Shapes, numbers: dict[str, int]) -> Seconds:
    copies, inner = sum(math.prod(shapes[output]) for output in wanted), sum(numbers.values())
    order, start, found = list(numbers), 0, Seconds()
    by_pair = {wrt: tf.reshape(part, [copies, inner, rows, *row_of(part)]) for wrt, part in second.items()}
    for output, inputs in wanted.items():
        size = math.prod(shapes[output])
        mine = {wrt: by_pair[wrt][start : start + size] for wrt in order if wrt in inputs}
        found[output] = {one: {} for one in mine}
        for one in mine:
            begin = sum(numbers[wrt] for wrt in order[: order.index(one)])
            for other in list(mine)[list(mine).index(one) :]:
                block = mine[other][:, begin : begin + numbers[one]]
                rows_first = tf.transpose(block, [2, 0, 1, *range(3, block.shape.rank)])
                shape = second_derivative_shape(shapes[output], row_of(second[one]), row_of(second[other]))
                found[output][one][other] = tf.reshape(rows_first, [rows, *shape])
        start += size
    return found
