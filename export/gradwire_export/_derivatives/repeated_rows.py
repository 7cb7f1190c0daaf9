r"""First derivatives of a batched function, row by row, from one reverse sweep; for packages and for losses.

For rows that do not depend on one another the gradient of :math:`\sum_b f(x_b)` by :math:`x` holds, row by row, the
gradient of every :math:`f(x_b)`. With one output number that is one plain reverse sweep. With K output numbers the
rows are repeated K times, the model runs once on them, and one reverse sweep with a tiled identity as cotangent gives
all K: no loop and no pfor (``batch_jacobian`` fails at zero rows and cannot trace some loops).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

from gradwire._errors import ConversionError
from gradwire._package import derivative_shape

Tensors: TypeAlias = dict[str, Any]  # tf.Tensor; TensorFlow types what a tape gives as a wider union
Gradients: TypeAlias = dict[str, Tensors]
Wanted: TypeAlias = Mapping[str, Sequence[str]]
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
Call: TypeAlias = Callable[[Tensors], Tensors]


def row_derivatives(call: Call, x: Tensors, wanted: Wanted, shapes: Shapes) -> tuple[Tensors, Gradients]:
    """Evaluates a function of independent rows, and the derivatives that are asked for.

    Args:
        call: ``{input: tensor}`` in, ``{output: tensor}`` out, each ``(batch, *row shape)``.
        x: the inputs.
        wanted: output -> the inputs by which it is differentiated; empty takes no tape.
        shapes: row shape of every wanted output.

    Returns:
        The outputs, and output -> input -> derivative ``(batch, *shape)`` with the shapes of the contract.

    Raises:
        ConversionError: no wanted output depends on an input in a way that TensorFlow can differentiate.
    """
    if not wanted:
        return call(x), {}
    copies = sum(math.prod(shapes[output]) for output in wanted)
    rows = tf.shape(next(iter(x.values())))[0]
    outputs, swept = sweep_copies(
        call, repeat_rows(x, copies), wanted, shapes, rows, unconnected=tf.UnconnectedGradients.NONE
    )
    if missing := [wrt for wrt, gradient in swept.items() if gradient is None]:
        raise ConversionError(f"outputs {list(wanted)} have no derivative by input {missing[0]!r}: leave it out")
    values = outputs if copies == 1 else {name: output[:rows] for name, output in outputs.items()}
    return values, split_copies(swept, rows, wanted, shapes)


def differentiated(wanted: Wanted) -> list[str]:
    """Gives every input by which some output is differentiated, once."""
    return list(dict.fromkeys(wrt for inputs in wanted.values() for wrt in inputs))


def row_of(tensor: Any) -> list[int]:
    """Gives the shape of a row, without the batch axis."""
    return [size or 0 for size in tensor.shape.as_list()[1:]]


def sweep_copies(
    call: Call,
    repeated: Tensors,
    wanted: Wanted,
    shapes: Shapes,
    rows: Any,
    *,
    unconnected: tf.UnconnectedGradients,
) -> tuple[Tensors, Tensors]:
    """Evaluates repeated rows, and sweeps back from output number k in copy k.

    Args:
        call: ``{input: tensor}`` in, ``{output: tensor}`` out.
        repeated: the inputs, ``(copies * rows, *input)``.
        wanted: output -> the inputs by which it is differentiated, at least one.
        shapes: row shape of every wanted output; copies is the number of their numbers.
        rows: how many rows a copy has.
        unconnected: what the sweep gives for an input that no wanted output depends on.

    Returns:
        The outputs of the repeated rows, and by input what the sweep gave, ``(copies * rows, *input)``.
    """
    sizes = {output: math.prod(shapes[output]) for output in wanted}
    by = differentiated(wanted)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([repeated[wrt] for wrt in by])
        outputs = call(repeated)
    swept = tape.gradient(
        [outputs[output] for output in wanted],
        {wrt: repeated[wrt] for wrt in by},
        output_gradients=None if sum(sizes.values()) == 1 else pick_outputs(outputs, sizes, rows),
        unconnected_gradients=unconnected,
    )
    return outputs, swept


def repeat_rows(x: Tensors, copies: int) -> Tensors:
    """Repeats the whole batch, ``(copies * batch, *row)``; the tensors themselves for one copy."""
    if copies == 1:
        return x
    return {name: tf.tile(column, [copies] + [1] * (column.shape.rank - 1)) for name, column in x.items()}


def pick_outputs(outputs: Tensors, sizes: Mapping[str, int], rows: Any) -> list[Any]:
    """Gives one cotangent an output: copy k picks output number k.

    Args:
        outputs: of the repeated rows, ``(copies * rows, *output)``.
        sizes: of the outputs that are differentiated, how many numbers they have; copies is their sum.
        rows: how many rows a copy has.

    Returns:
        Cotangents shaped as the outputs, in the order of ``sizes``.
    """
    copies, first, cotangents = sum(sizes.values()), 0, []
    for name, size in sizes.items():
        picked = tf.eye(copies, dtype=outputs[name].dtype)[:, first : first + size]
        by_row = tf.repeat(picked, tf.fill([copies], rows), axis=0)
        cotangents.append(tf.reshape(by_row, tf.shape(outputs[name])))
        first += size
    return cotangents


def split_copies(swept: Mapping[str, Any], rows: Any, wanted: Wanted, shapes: Shapes) -> Gradients:
    """Sorts what a sweep over the copies gave into derivatives of the contract's shapes.

    Args:
        swept: by input, ``(copies * rows, *input)``.
        rows: how many rows a copy has.
        wanted: output -> the inputs by which it is differentiated.
        shapes: row shape of every wanted output; copies is the number of their numbers.

    Returns:
        Output -> input -> derivative ``(rows, *shape)``.
    """
    copies, first = sum(math.prod(shapes[output]) for output in wanted), 0
    gradients: Gradients = {}
    for output, inputs in wanted.items():
        size, gradients[output] = math.prod(shapes[output]), {}
        for wrt in inputs:
            gradient = tf.convert_to_tensor(swept[wrt])
            row = row_of(gradient)
            blocks = tf.reshape(gradient, [copies, rows, *row])[first : first + size]
            rows_first = tf.transpose(blocks, [1, 0, *range(2, 2 + len(row))])
            gradients[output][wrt] = tf.reshape(rows_first, [rows, *derivative_shape(shapes[output], row)])
        first += size
    return gradients
