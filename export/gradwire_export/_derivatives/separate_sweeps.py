r"""Derivatives of a batched function from one evaluation, and a sweep or a product of each group of elements.

With K groups of output elements the function runs once and K sweeps go back over it; for a Hessian, one more over each
of those for every input element. Where there are fewer input elements, products go forward along those; for a Hessian,
products along each of what these return. Against repeated rows that saves K - 1 evaluations and the memory of K
copies (2.6 against 20 evaluations' time for 3 to 8 elements at 64k rows), and it costs graph: each sweep is a copy of
the backward graph. Loops, whose backward graphs are large, stay with repeated rows.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, final

import numpy as np
import tensorflow as tf
from typing_extensions import override

from gradwire._package import second_derivative_shape
from gradwire_export._derivatives.function import (
    Differentiable,
    Gradients,
    SecondDerivatives,
    Tensors,
    row_of,
    sweep_back,
)
from gradwire_export._derivatives.linearised import Linearised
from gradwire_export._derivatives.plan import Group, Plan, places
from gradwire_export._derivatives.strategy import (
    Strategy,
    Swept,
    assembled,
    input_pairs,
    picked,
    second_mask,
    shaped,
)


@final
class SeparateSweeps(Strategy):
    """A sweep or a product for each group, over one evaluation."""

    name: ClassVar[str] = "separate sweeps"

    @override
    def n_repeats(self, n_sweeps: int) -> int:
        return 1

    @override
    def _swept(self, function: Differentiable, x: Tensors, plan: Plan) -> tuple[Tensors, Swept, Swept]:
        linear = Linearised(function.call, x, function.wrt, list(function.differentiated))
        rows = [_pull(linear, function, plan, group) for group in plan.backward]
        columns = [
            _push(linear, x, group, [output for output in function.differentiated if _is_pushed(plan, output, group)])
            for group in plan.forward
        ]
        return dict(linear.values), _Parts(rows), _Parts(columns)

    @override
    def _products(
        self, call: Any, x: Tensors, blocks: tuple[Sequence[str], Sequence[Hashable]], groups: Sequence[Group]
    ) -> tuple[Mapping[Hashable, Any], Swept]:
        linear: Linearised[Hashable] = Linearised(call, x, *blocks)
        return linear.values, _Parts([_push(linear, x, group, blocks[1]) for group in groups])

    @override
    def _hvp_by_sweeps(
        self, function: Differentiable, x: Tensors, tangents: Tensors
    ) -> tuple[Tensors, Gradients, Gradients]:
        plan = self.plan_of(function)
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch([x[wrt] for wrt in function.wrt])
            values, first = _first_sweeps(function, x, plan)
        second = [
            sweep_back(
                tape,
                list(gradients.values()),
                {wrt: x[wrt] for wrt in gradients},
                [tangents[wrt] for wrt in gradients],
            )
            for gradients in first
        ]
        nothing = _Parts([])
        gradients, along = (assembled(function, plan, x, _Parts(parts), nothing) for parts in (first, second))
        return values, gradients, along

    @override
    def _hessian_by_sweeps(self, function: Differentiable, x: Tensors) -> tuple[Tensors, Gradients, SecondDerivatives]:
        plan = self.plan_of(function)
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch([x[wrt] for wrt in function.wrt])
            values, first = _first_sweeps(function, x, plan)
        order = [wrt for wrt in x if wrt in function.wrt]
        swept = _Parts(
            [
                {
                    (one, other): part
                    for i, one in enumerate([wrt for wrt in order if wrt in gradients])
                    for other, part in _derivatives_of_gradient(
                        tape,
                        gradients[one],
                        {other: x[other] for other in [wrt for wrt in order if wrt in gradients][i:]},
                    ).items()
                }
                for gradients in first
            ]
        )
        second: SecondDerivatives = {}
        for output, one, other in input_pairs(function, x):
            block = picked(swept, (one, other), places(plan.backward, output, function.sizes[output]), 1)
            shape = second_derivative_shape(function.shapes[output], row_of(x[one]), row_of(x[other]))
            mask = second_mask(function, plan, x, (output, one, other))
            second.setdefault(output, {}).setdefault(one, {})[other] = shaped(block, x, shape, mask)
        return values, assembled(function, plan, x, _Parts(first), _Parts([])), second


@final
class _Parts(Swept):
    """What each group returned, tensor by tensor."""

    def __init__(self, parts: Sequence[Mapping[Any, Any]]) -> None:
        self._parts = parts

    @override
    def pick(self, name: Hashable, groups: Sequence[int], axis: int) -> Any:
        once = list(dict.fromkeys(groups))
        parts = [self._parts[group][name] for group in once]
        if len(parts) == 1:
            stacked = tf.expand_dims(parts[0], axis)
        elif axis == 1:
            stacked = tf.stack(parts, axis=1)
        else:  # a third of the time that TensorFlow takes to stack along the last axis
            stacked = tf.transpose(tf.stack(parts, axis=1), [0, *range(2, parts[0].shape.rank + 1), 1])
        return stacked if len(once) == len(groups) else tf.gather(stacked, [once.index(g) for g in groups], axis=axis)


def _first_sweeps(function: Differentiable, x: Tensors, plan: Plan) -> tuple[Tensors, list[Tensors]]:
    linear = Linearised(function.call, x, function.wrt, list(function.differentiated))
    return dict(linear.values), [_pull(linear, function, plan, group) for group in plan.backward]


def _pull(linear: Linearised[str], function: Differentiable, plan: Plan, group: Group) -> Tensors:
    """Sweep back from a group of output elements, to the inputs that some of their outputs are swept for."""
    outputs = list(dict.fromkeys(output for output, _ in group))
    wrt = [
        wrt
        for wrt in function.wrt
        if any(wrt in function.differentiated[output] and (output, wrt) not in plan.pushed for output in outputs)
    ]
    return linear.pull({output: _picking(linear.values[output], output, group) for output in outputs}, wrt)


def _push(linear: Linearised[Any], x: Tensors, group: Group, outputs: Sequence[Hashable]) -> dict[Hashable, Any]:
    return linear.push({wrt: _picking(x[wrt], wrt, group) for wrt in dict.fromkeys(wrt for wrt, _ in group)}, outputs)


def _is_pushed(plan: Plan, output: str, group: Group) -> bool:
    return any((output, wrt) in plan.pushed for wrt, _ in group)


def _derivatives_of_gradient(tape: tf.GradientTape, gradient: Any, wrt: Tensors) -> Tensors:
    """Sweep back from each element of a gradient: by input, ``(batch, elements, *input)``."""
    size = math.prod(row_of(gradient))
    parts = [sweep_back(tape, gradient, wrt, _picking(gradient, "", [("", element)])) for element in range(size)]
    return {name: tf.stack([part[name] for part in parts], axis=1) for name in wrt}


def _picking(tensor: Any, name: str, group: Sequence[tuple[str, int]]) -> Any:
    """Return the tangent or cotangent that picks a group's elements of each row of a tensor of some name."""
    row = row_of(tensor)
    picked_elements = np.zeros(math.prod(row), np.bool_)
    picked_elements[[element for owner, element in group if owner == name]] = True
    picked_row = tf.constant(picked_elements.reshape(1, *row), tensor.dtype)
    return tf.broadcast_to(picked_row, tf.shape(tensor))
