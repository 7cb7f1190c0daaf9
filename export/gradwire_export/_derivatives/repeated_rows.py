r"""Derivatives of a batched function, row by row, from one reverse sweep; for packages and for losses.

For rows that do not depend on one another the gradient of :math:`\sum_b f(x_b)` with respect to :math:`x` holds, row by
row, the gradient of every :math:`f(x_b)`. With a scalar output that is one plain reverse sweep. With K output elements
the rows are repeated K times, the model runs once on them, and one reverse sweep with a tiled identity as cotangent
returns all K: no loop and no pfor (``batch_jacobian`` fails at zero rows and cannot trace some loops).

Second derivatives are one reverse sweep over another. With n input elements, ``hvp`` repeats the rows K times (copy k
holds output element k) and sweeps back twice; ``hessian`` repeats them K·n times, and in copy (k, j) the first sweep
starts from output element k, the second from element j of what the first returned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import tensorflow as tf
from typing_extensions import override

from gradwire._errors import ConversionError
from gradwire._package import derivative_shape, second_derivative_shape
from gradwire_export._derivatives.strategy import (
    Differentiable,
    Gradients,
    SecondDerivatives,
    Strategy,
    TensorFunction,
    Tensors,
    row_count,
    row_of,
    sweep_back,
)


def row_derivatives(
    call: TensorFunction,
    x: Tensors,
    differentiated: Mapping[str, Sequence[str]],
    shapes: Mapping[str, tuple[int, ...]],
) -> tuple[Tensors, Gradients]:
    """Evaluate a function of independent rows and its first derivatives.

    Args:
        call: ``{input: tensor}`` in, ``{output: tensor}`` out, each ``(batch, *row shape)``.
        x: the inputs, by name.
        differentiated: output -> the inputs that it is differentiated with respect to; empty takes no tape.
        shapes: row shape of every differentiated output.

    Returns:
        The outputs, and output -> input -> derivative ``(batch, *shape)`` with the shapes of the contract.

    Raises:
        ConversionError: no differentiated output depends on an input in a way that TensorFlow can differentiate.
    """
    return RepeatedRows().gradients(Differentiable(call, differentiated, shapes), x)


@final
class RepeatedRows(Strategy):
    """One sweep over rows that are repeated once for each element."""

    @override
    def n_repeats(self, n_sweeps: int) -> int:
        return n_sweeps

    @override
    def gradients(self, function: Differentiable, x: Tensors) -> tuple[Tensors, Gradients]:
        if not function.differentiated:
            return function.call(x), {}
        rows = row_count(x)
        outputs, swept = _sweep(function, _repeat(x, function.size), rows, unconnected=tf.UnconnectedGradients.NONE)
        if missing := [wrt for wrt, gradient in swept.items() if gradient is None]:
            raise ConversionError(
                f"outputs {list(function.differentiated)} have no derivative with respect to input {missing[0]!r}: "
                "leave it out"
            )
        return _first_copy(outputs, function.size, rows), _split_copies(function, swept, rows)

    @override
    def hvp(self, function: Differentiable, x: Tensors, tangents: Tensors) -> tuple[Tensors, Gradients, Gradients]:
        n_copies, rows = function.size, row_count(x)
        repeated = _repeat(x, n_copies)
        directions = _repeat({wrt: tangents[wrt] for wrt in function.wrt}, n_copies)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([repeated[wrt] for wrt in function.wrt])
            outputs, first = _first_sweep(function, repeated, rows)
        second = sweep_back(
            tape, list(first.values()), {wrt: repeated[wrt] for wrt in first}, [directions[wrt] for wrt in first]
        )
        return (
            _first_copy(outputs, n_copies, rows),
            _split_copies(function, first, rows),
            _split_copies(function, second, rows),
        )

    @override
    def hessian(self, function: Differentiable, x: Tensors) -> tuple[Tensors, Gradients, SecondDerivatives]:
        sizes = {wrt: math.prod(row_of(x[wrt])) for wrt in x if wrt in function.wrt}
        n_copies, n_inner = function.size, sum(sizes.values())
        rows = row_count(x)
        repeated = _repeat(x, n_copies * n_inner)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([repeated[wrt] for wrt in sizes])
            outputs, first = _first_sweep(function, repeated, n_inner * rows)
        picked = _pick_inputs(first, sizes, rows, n_copies)
        second = sweep_back(
            tape, list(first.values()), {wrt: repeated[wrt] for wrt in first}, [picked[wrt] for wrt in first]
        )
        return (
            {name: output[:rows] for name, output in outputs.items()},
            _split_copies(function, _first_inner_copy(first, n_copies, n_inner, rows), rows),
            _split_input_pairs(function, second, rows, sizes),
        )


def _repeat(x: Tensors, n_copies: int) -> Tensors:
    """Repeat the whole batch, ``(copies * batch, *row)``; one copy is the tensors themselves."""
    if n_copies == 1:
        return x
    return {name: tf.tile(column, [n_copies] + [1] * (column.shape.rank - 1)) for name, column in x.items()}


def _first_copy(outputs: Tensors, n_copies: int, rows: Any) -> Tensors:
    return outputs if n_copies == 1 else {name: output[:rows] for name, output in outputs.items()}


def _sweep(
    function: Differentiable, repeated: Tensors, rows: Any, *, unconnected: tf.UnconnectedGradients
) -> tuple[Tensors, Tensors]:
    """Evaluate repeated rows, ``rows`` a copy, and sweep back from output element k in copy k."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([repeated[wrt] for wrt in function.wrt])
        outputs = function.call(repeated)
    swept = tape.gradient(
        [outputs[output] for output in function.differentiated],
        {wrt: repeated[wrt] for wrt in function.wrt},
        output_gradients=None if function.size == 1 else _pick_outputs(outputs, function.sizes, rows),
        unconnected_gradients=unconnected,
    )
    return outputs, swept


def _pick_outputs(outputs: Tensors, sizes: Mapping[str, int], rows: Any) -> list[Any]:
    """Return a cotangent for each output, shaped as it is: copy k picks output element k."""
    n_copies, start, cotangents = sum(sizes.values()), 0, []
    for name, size in sizes.items():
        picked = tf.eye(n_copies, dtype=outputs[name].dtype)[:, start : start + size]
        by_row = tf.repeat(picked, tf.fill([n_copies], rows), axis=0)
        cotangents.append(tf.reshape(by_row, tf.shape(outputs[name])))
        start += size
    return cotangents


def _first_sweep(function: Differentiable, repeated: Tensors, rows: Any) -> tuple[Tensors, Tensors]:
    outputs, swept = _sweep(function, repeated, rows, unconnected=tf.UnconnectedGradients.ZERO)
    return outputs, {wrt: tf.convert_to_tensor(gradient) for wrt, gradient in swept.items()}


def _pick_inputs(first: Tensors, sizes: Mapping[str, int], rows: Any, n_copies: int) -> Tensors:
    """Return a cotangent for each first derivative: copy (k, j) picks element j of all inputs."""
    total, start, cotangents = sum(sizes.values()), 0, Tensors()
    for wrt, size in sizes.items():
        picked = tf.eye(total, dtype=first[wrt].dtype)[:, start : start + size]
        by_row = tf.repeat(picked, tf.fill([total], rows), axis=0)
        cotangents[wrt] = tf.reshape(tf.tile(by_row, [n_copies, 1]), tf.shape(first[wrt]))
        start += size
    return cotangents


def _first_inner_copy(first: Tensors, n_copies: int, n_inner: int, rows: Any) -> Tensors:
    """Return one of the ``n_inner`` equal first derivatives."""
    return {
        wrt: tf.reshape(
            tf.reshape(part, [n_copies, n_inner, rows, *row_of(part)])[:, 0], [n_copies * rows, *row_of(part)]
        )
        for wrt, part in first.items()
    }


def _split_copies(function: Differentiable, swept: Mapping[str, Any], rows: Any) -> Gradients:
    """Sort the gradients of all copies, ``(copies * rows, *input)``, into derivatives of the contract's shapes."""
    start = 0
    gradients: Gradients = {}
    for output, size in function.sizes.items():
        gradients[output] = {}
        for wrt in function.differentiated[output]:
            gradient = tf.convert_to_tensor(swept[wrt])
            row = row_of(gradient)
            copies = tf.reshape(gradient, [function.size, rows, *row])[start : start + size]
            rows_first = tf.transpose(copies, [1, 0, *range(2, 2 + len(row))])
            gradients[output][wrt] = tf.reshape(rows_first, [rows, *derivative_shape(function.shapes[output], row)])
        start += size
    return gradients


def _split_input_pairs(
    function: Differentiable, second: Tensors, rows: Any, sizes: Mapping[str, int]
) -> SecondDerivatives:
    n_inner = sum(sizes.values())
    order, start, derivatives = list(sizes), 0, SecondDerivatives()
    copies = {wrt: tf.reshape(part, [function.size, n_inner, rows, *row_of(part)]) for wrt, part in second.items()}
    for output, size in function.sizes.items():
        of_output = {wrt: copies[wrt][start : start + size] for wrt in order if wrt in function.differentiated[output]}
        derivatives[output] = {one: {} for one in of_output}
        for one in of_output:
            begin = sum(sizes[wrt] for wrt in order[: order.index(one)])
            for other in list(of_output)[list(of_output).index(one) :]:
                elements = of_output[other][:, begin : begin + sizes[one]]
                rows_first = tf.transpose(elements, [2, 0, 1, *range(3, elements.shape.rank)])
                shape = second_derivative_shape(function.shapes[output], row_of(second[one]), row_of(second[other]))
                derivatives[output][one][other] = tf.reshape(rows_first, [rows, *shape])
        start += size
    return derivatives
