"""Values of a model together with its first derivatives, row by row, from one reverse sweep."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import tensorflow as tf

from gradwire._contract import derivative_shape
from gradwire._errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Tensors: TypeAlias = "dict[str, Any]"
Wanted: TypeAlias = "Mapping[str, Sequence[str]]"
Function: TypeAlias = "Callable[[Tensors], Tensors]"


def values_and_derivatives(
    function: Function, x: Tensors, wanted: Wanted, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[Tensors, dict[str, Tensors]]:
    """Evaluates a function of independent rows, and the derivatives that are asked for.

    The rows are repeated once for each number of the outputs to be differentiated, and the r-th copy gets the
    r-th unit cotangent: one run and one sweep give every derivative, without a loop or a dense Jacobian. It
    is exact because rows do not depend on one another.

    Args:
        function: name -> tensor in, name -> tensor out, each ``(batch, *row shape)``.
        x: the inputs; the batch is known when the graph is built.
        wanted: output -> the inputs by which it is differentiated; empty takes no tape.
        shapes: row shape of every wanted output.

    Returns:
        The outputs, and output -> input -> derivative ``(batch, *shape)`` with the shapes of the contract.

    Raises:
        UsageError: no wanted output depends on an input in a way that can be differentiated.
    """
    if not wanted:
        return function(x), {}
    sizes = {output: math.prod(shapes[output]) for output in wanted}
    copies = sum(sizes.values())
    rows = int(next(iter(x.values())).shape[0])
    repeated = {name: tf.tile(column, [copies] + [1] * (len(column.shape) - 1)) for name, column in x.items()}
    by = list(dict.fromkeys(wrt for inputs in wanted.values() for wrt in inputs))
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([repeated[wrt] for wrt in by])
        outputs = function(repeated)
    gradients = tape.gradient(
        [outputs[output] for output in wanted],
        {wrt: repeated[wrt] for wrt in by},
        output_gradients=[_cotangent(block, rows, outputs[name]) for name, block in _blocks(sizes).items()],
    )
    if missing := [wrt for wrt in by if gradients[wrt] is None]:
        raise UsageError(
            f"outputs {list(wanted)} have no derivative by the input {missing[0]!r}: leave it out of dydx"
        )
    values = {name: output[:rows] for name, output in outputs.items()}
    return values, _split(gradients, x, wanted, shapes, sizes)


def _blocks(sizes: Mapping[str, int]) -> dict[str, NDArray[np.float64]]:
    """The columns of the identity that belong to each output: ``(copies, numbers of the output)``."""
    columns = np.split(np.eye(sum(sizes.values())), np.cumsum(list(sizes.values()))[:-1], axis=1)
    return dict(zip(sizes, columns, strict=True))


def _cotangent(block: NDArray[np.float64], rows: int, output: Any) -> Any:
    return tf.reshape(tf.constant(np.repeat(block, rows, axis=0), output.dtype), tf.shape(output))


def _split(
    gradients: Tensors,
    x: Tensors,
    wanted: Wanted,
    shapes: Mapping[str, tuple[int, ...]],
    sizes: Mapping[str, int],
) -> dict[str, Tensors]:
    derivatives: dict[str, Tensors] = {}
    first = 0
    for output, inputs in wanted.items():
        derivatives[output] = {}
        for wrt in inputs:
            rows, *row = x[wrt].shape
            mine = tf.reshape(gradients[wrt], [-1, rows, *row])[first : first + sizes[output]]
            by_row = tf.transpose(mine, [1, 0, *range(2, len(row) + 2)])
            derivatives[output][wrt] = tf.reshape(by_row, [rows, *derivative_shape(shapes[output], row)])
        first += sizes[output]
    return derivatives
