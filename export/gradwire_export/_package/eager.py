"""The derivatives of a Function: the first as packages have them, and both by the slow way that those are held against."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import tensorflow as tf

from gradwire._package import derivative_shape
from gradwire_export._derivatives import Gradients, Tensors, row_derivatives
from gradwire_export._sources import Function, Pair, row_shape


def value_and_gradients(function: Function, tensors: Tensors, zeros: Collection[Pair]) -> tuple[Tensors, Gradients]:
    """Computes the outputs and their first derivatives by every input that is differentiated.

    Args:
        function: the batched function; its rows must be independent.
        tensors: an array for each input, ``(batch, *input)``.
        zeros: pairs (output, input) that are not connected and declared to be zero.

    Returns:
        The outputs, ``(batch, *output)``; and ``{output: {input: derivative}}`` with the contract's shapes.
    """
    wanted = {output: [wrt for wrt in function.wrt if (output, wrt) not in zeros] for output in function.outputs}
    shapes = {output: row_shape(spec) for output, spec in function.outputs.items()}
    asked = {output: inputs for output, inputs in wanted.items() if inputs}
    values, gradients = row_derivatives(function.call, tensors, asked, shapes)
    for output, wrt in zeros:
        shape = derivative_shape(shapes[output], row_shape(function.inputs[wrt]))
        rows = tf.shape(tensors[wrt])[0]
        gradients.setdefault(output, {})[wrt] = tf.zeros([rows, *shape], function.outputs[output].dtype)
    return values, gradients


def derivative_by_component(function: Function, tensors: Tensors, output: str, component: Sequence[int]) -> Tensors:
    """Differentiates one number of one output by all inputs, eagerly: the slow way that the fast one is held against.

    Args:
        function: the batched function.
        tensors: an array for each input, ``(batch, *input)``.
        output: the output's name.
        component: index into the output's row shape.

    Returns:
        ``{input: (batch, *input)}``.
    """
    by = {wrt: tensors[wrt] for wrt in function.wrt}
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(by)
        number = function.call(tensors)[output][(slice(None), *component)]
    return tape.gradient(number, by, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def second_derivative_by_component(
    function: Function, tensors: Tensors, tangents: Tensors, output: str, component: Sequence[int]
) -> Tensors:
    """Differentiates the gradient of one number of one output along a tangent, eagerly, one tape over another.

    Args:
        function: the batched function.
        tensors: an array for each input, ``(batch, *input)``.
        tangents: likewise, for each input that is differentiated.
        output: the output's name.
        component: index into the output's row shape.

    Returns:
        ``{input: (batch, *input)}``.
    """
    by = {wrt: tensors[wrt] for wrt in function.wrt}
    with tf.GradientTape(watch_accessed_variables=False) as outer:
        outer.watch(by)
        first = derivative_by_component(function, tensors, output, component)
        slope = tf.add_n([tf.reduce_sum(first[wrt] * tangents[wrt]) for wrt in by])
    return outer.gradient(slope, by, unconnected_gradients=tf.UnconnectedGradients.ZERO)
