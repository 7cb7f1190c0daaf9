"""The first derivatives of an exported function, and the refusal of those that it does not have."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import tensorflow as tf

from gradwire._contract import derivative_shape
from gradwire._errors import ConversionError, UsageError
from gradwire_export._function import Function, row_shape
from gradwire_export._row_derivatives import Gradients, Tensors, row_derivatives

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
    wanted = {
        output: [wrt for wrt in function.inputs if (output, wrt) not in zeros] for output in function.outputs
    }
    shapes = {output: row_shape(spec) for output, spec in function.outputs.items()}
    asked = {output: inputs for output, inputs in wanted.items() if inputs}
    values, gradients = row_derivatives(function.call, tensors, asked, shapes)
    for output, wrt in zeros:
        shape = derivative_shape(shapes[output], row_shape(function.inputs[wrt]))
        rows = tf.shape(tensors[wrt])[0]
        gradients.setdefault(output, {})[wrt] = tf.zeros([rows, *shape], function.outputs[output].dtype)
    return values, gradients


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
