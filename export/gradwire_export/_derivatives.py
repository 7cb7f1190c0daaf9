r"""First derivatives of a batched function, by reverse mode inside the graph.

For rows that do not depend on one another the gradient of :math:`\sum_b f(x_b)` by :math:`x` holds, row by row, the
gradient of every :math:`f(x_b)`. With one output number that is one plain reverse sweep. With K output numbers the
rows are repeated K times, the model runs once on them, and one reverse sweep with a tiled identity as cotangent gives
all K: no loop and no pfor (``batch_jacobian`` fails at zero rows and cannot trace some loops).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import tensorflow as tf

from gradwire._contract import derivative_shape
from gradwire._errors import ConversionError, UsageError
from gradwire_export._function import Function, Tensors, row_shape

Gradients = dict[str, Tensors]
Pair = tuple[str, str]


def value_and_gradients(
    function: Function, tensors: Tensors, zeros: Collection[Pair]
) -> tuple[Tensors, Gradients]:
    """Computes the outputs and their first derivatives by every input.

    Args:
        function: the batched function; its rows must be independent.
        tensors: an array for each input, ``(batch, *input)``.
        zeros: pairs (output, input) that are not connected and declared to be zero.

    Returns:
        The outputs, ``(batch, *output)``; and ``{output: {input: derivative}}`` with the contract's shapes.
    """
    sizes = {name: math.prod(row_shape(spec)) for name, spec in function.outputs.items()}
    total = sum(sizes.values())
    batch = tf.shape(next(iter(tensors.values())))[0]
    repeated = tensors if total == 1 else {name: _repeat(tensor, total) for name, tensor in tensors.items()}
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(list(repeated.values()))
        outputs = function.call(repeated)
    cotangents = _identity_cotangents(function.outputs, sizes, batch) if total > 1 else None
    swept = tape.gradient(
        [outputs[name] for name in function.outputs],
        repeated,
        output_gradients=cotangents,
        unconnected_gradients=tf.UnconnectedGradients.ZERO,  # every pair not in `zeros` was found connected before
    )
    values = outputs if total == 1 else {name: tensor[:batch] for name, tensor in outputs.items()}
    gradients = _by_output(function, sizes, swept, batch)
    for output, wrt in zeros:
        gradients[output][wrt] = tf.zeros_like(gradients[output][wrt])
    return values, gradients


def _repeat(tensor: tf.Tensor, times: int) -> tf.Tensor:
    return tf.tile(tensor, [times] + [1] * (tensor.shape.rank - 1))


def _identity_cotangents(
    specs: Mapping[str, tf.TensorSpec], sizes: Mapping[str, int], batch: tf.Tensor
) -> list[tf.Tensor]:
    """Gives one cotangent an output, ``(K * batch, *output)``: block k picks output number k."""
    total, start, cotangents = sum(sizes.values()), 0, []
    for name, spec in specs.items():
        picked = tf.eye(total, dtype=spec.dtype)[:, start : start + sizes[name]]
        rows = tf.repeat(picked, tf.fill([total], batch), axis=0)
        cotangents.append(tf.reshape(rows, [total * batch, *row_shape(spec)]))
        start += sizes[name]
    return cotangents


def _by_output(
    function: Function, sizes: Mapping[str, int], swept: Mapping[str, Any], batch: tf.Tensor
) -> Gradients:
    total, start = sum(sizes.values()), 0
    gradients: Gradients = {}
    for output, spec in function.outputs.items():
        gradients[output] = {}
        for wrt, wrt_spec in function.inputs.items():
            row = row_shape(wrt_spec)
            blocks = tf.reshape(tf.convert_to_tensor(swept[wrt]), [total, batch, *row])[
                start : start + sizes[output]
            ]
            rows_first = tf.transpose(blocks, [1, 0, *range(2, 2 + len(row))])
            shape = derivative_shape(row_shape(spec), row)
            gradients[output][wrt] = tf.reshape(rows_first, [batch, *shape])
        start += sizes[output]
    return gradients


def require_derivatives(function: Function, zeros: Collection[Pair]) -> None:
    """Refuses a function that lacks a first derivative, naming the output and the input.

    Args:
        function: the batched function.
        zeros: pairs (output, input) that may be disconnected.

    Raises:
        ConversionError: an input or output is not a real floating number, or TensorFlow has no gradient for a pair.
        UsageError: ``zeros`` names a pair that is not there, or that is connected.
    """
    for role, specs in (("input", function.inputs), ("output", function.outputs)):
        for name, spec in specs.items():
            if not spec.dtype.is_floating:
                raise ConversionError(
                    f"{role} {name!r} is {spec.dtype.name}: only floating numbers have derivatives"
                )
    if len({spec.dtype for spec in (*function.inputs.values(), *function.outputs.values())}) > 1:
        raise ConversionError(
            "inputs and outputs have different dtypes: cast them to one, float32 or float64"
        )
    _require_known_pairs(function, zeros)
    for output in function.outputs:
        for wrt, connected in _connections(function, output).items():
            if connected and (output, wrt) in zeros:
                raise UsageError(f"the derivative of {output!r} by {wrt!r} was declared zero, and is not")
            if not connected and (output, wrt) not in zeros:
                raise ConversionError(
                    f"output {output!r} has no derivative by input {wrt!r}: TensorFlow finds no differentiable path; "
                    f"where it is truly zero, declare it: zeros=[({output!r}, {wrt!r})]"
                )


def _require_known_pairs(function: Function, zeros: Collection[Pair]) -> None:
    for output, wrt in zeros:
        if output not in function.outputs or wrt not in function.inputs:
            raise UsageError(
                f"zeros names ({output!r}, {wrt!r}), expected an output of {sorted(function.outputs)} "
                f"and an input of {sorted(function.inputs)}"
            )


def _connections(function: Function, output: str) -> dict[str, bool]:
    found: dict[str, bool] = {}

    def trace(tensors: Tensors) -> None:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(list(tensors.values()))
            value = function.call(tensors)[output]
        try:
            gradients = tape.gradient(value, tensors)
        except LookupError as error:
            raise ConversionError(f"output {output!r} cannot be differentiated: {error}") from error
        found.update({name: gradient is not None for name, gradient in gradients.items()})

    tf.function(trace).get_concrete_function(function.inputs)
    return found


def derivative_by_component(
    function: Function, tensors: Tensors, output: str, component: Sequence[int]
) -> Tensors:
    """Differentiates one number of one output by all inputs, eagerly: the slow way that the fast one is held against.

    Args:
        function: the batched function.
        tensors: an array for each input, ``(batch, *input)``.
        output: the output's name.
        component: index into the output's row shape.

    Returns:
        ``{input: (batch, *input)}``.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(list(tensors.values()))
        number = function.call(tensors)[output][(slice(None), *component)]
    return tape.gradient(number, tensors, unconnected_gradients=tf.UnconnectedGradients.ZERO)
