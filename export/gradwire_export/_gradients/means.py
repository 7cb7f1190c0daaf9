r"""The mean that a variance subtracts: ``tf.nn.moments`` takes it through a ``StopGradient``.

For :math:`v = \sum_i (x_i - m)^2` with :math:`m` the mean of the :math:`x_i`,

.. math:: \frac{\partial v}{\partial m} = -2 \sum_i (x_i - m) = 0,

so that the first derivative is right without the path through m. The second is not: :math:`\partial v/\partial x_i =
2 (x_i - m)` depends on every x through m, and the StopGradient hides that from every further sweep. LayerNormalization
and GroupNormalization are made of it.

The sum is zero only with equal weights: every square must be summed, or averaged, over at least the axes of the mean,
with nothing in between. That is read off the graph. Where it cannot be shown, the StopGradient stays: then it changes
first derivatives too, and its author may have meant it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import tensorflow as tf

from gradwire_export._gradients.registry import Gradient

STOP: Final = "StopGradient"
# Uses of a tensor that do not matter: of its shape alone, and what TensorFlow adds to a graph that it differentiates,
# to hand intermediate results to the reverse sweep.
_IGNORED: Final = frozenset(("Shape", "ShapeN", "Size", "Rank", "TensorListPushBack", "OptionalFromValue"))
_RESHAPES: Final = frozenset(("Identity", "Reshape", "ExpandDims", "Squeeze"))
_SUMS: Final = frozenset(("Mean", "Sum"))


def gradient_of_stop(_: Gradient | None) -> Gradient:
    """Return the gradient of StopGradient: the identity's for the mean of a variance, otherwise none."""

    def gradient(operation: Any, cotangent: Any) -> Any:
        return cotangent if is_mean_of_variance(operation) else None

    return gradient


def is_mean_of_variance(operation: Any) -> bool:
    """Whether an operation is a StopGradient that leaves first derivatives alone and makes the second ones wrong."""
    if not isinstance(operation, tf.Operation) or operation.type != STOP:
        return False
    mean = operation.inputs[0].op
    axes = _axes(mean) if mean.type == "Mean" and mean.get_attr("keep_dims") else None
    if not axes:
        return False
    squares = list(_squared_differences(operation.outputs[0], mean.inputs[0]))
    return bool(squares) and all(square is not None and _is_summed(square, axes) for square in squares)


def is_shift(operation: Any) -> bool:
    r"""Whether an operation is a StopGradient whose value cancels, as in ``tf.reduce_logsumexp``.

    :math:`\log \sum_i e^{x_i - c} + c` does not depend on c, so that derivatives of any order are right.
    """
    if operation.type != STOP:
        return False
    shift = operation.outputs[0]
    differences = [use for use in _uses(shift) if use.type == "Sub" and use.inputs[1] is shift]
    aliases = {id(alias) for alias in _aliases(shift)}
    other = [use for alias in _aliases(shift) for use in _uses(alias) if use.type not in {"Sub", *_RESHAPES}]
    logs = [end for difference in differences for end in _ends(difference, ("Exp", "Sum", "Log"))]
    sums = [use for log in logs if log is not None for alias in _aliases(log.outputs[0]) for use in _uses(alias)]
    ends = {id(use) for use in sums if use.type in ("Add", "AddV2") and any(id(part) in aliases for part in use.inputs)}
    return bool(logs) and None not in logs and bool(other) and {id(use) for use in other} == ends


def _squared_differences(mean: Any, x: Any) -> Iterator[Any | None]:
    """Yield, for each use of a mean, the squared difference from x that it is in, or None for any other use."""
    for use in _uses(mean):
        others = [part for part in use.inputs if part is not mean]
        if use.type == "SquaredDifference" and len(others) == 1 and others[0] is x:
            yield use.outputs[0]
        elif use.type == "Sub" and len(others) == 1 and others[0] is x:
            squares = _uses(use.outputs[0])
            yield from (square.outputs[0] if square.type == "Square" else None for square in squares or [None])
        else:
            yield None


def _is_summed(square: Any, axes: set[int]) -> bool:
    """Whether nothing but sums and means over at least some axes see a tensor."""
    uses, graph = _uses(square), square.graph
    # The outputs as traced, where the graph has them: what is differentiated gets intermediate results as outputs too.
    outputs = getattr(graph, "structured_outputs", None)
    outputs = getattr(graph, "outputs", []) if outputs is None else tf.nest.flatten(outputs)
    if any(output is square for output in outputs):
        return False
    return bool(uses) and all(use.type in _SUMS and axes <= (_axes(use) or set()) for use in uses)


def _axes(reduction: Any) -> set[int] | None:
    """Return the axes of a reduction, from 0, or None where the graph does not say."""
    axes, rank = tf.get_static_value(reduction.inputs[1]), reduction.inputs[0].shape.rank
    return None if axes is None or rank is None else {int(axis) % rank for axis in axes.reshape(-1)}


def _uses(tensor: Any) -> list[Any]:
    return [use for use in tensor.consumers() if use.type not in _IGNORED]


def _aliases(tensor: Any) -> list[Any]:
    """Return a tensor, and what is made of it by reshaping."""
    reshaped = [use.outputs[0] for use in _uses(tensor) if use.type in _RESHAPES and use.inputs[0] is tensor]
    return [tensor, *(alias for part in reshaped for alias in _aliases(part))]


def _ends(start: Any, types: tuple[str, ...]) -> list[Any | None]:
    """Follow every use of an operation's result through operations of these types; None for a use of another type."""
    ends: list[Any | None] = [start]
    for kind in types:
        uses = [_uses(end.outputs[0]) if end is not None else [None] for end in ends]
        ends = [use if use is not None and use.type == kind else None for each in uses for use in each or [None]]
    return ends
