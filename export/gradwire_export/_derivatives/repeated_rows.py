r"""Derivatives of a batched function, row by row, from one reverse sweep; for packages and for losses.

For rows that do not depend on one another the gradient of :math:`\sum_b f(x_b)` with respect to :math:`x` holds, row by
row, the gradient of every :math:`f(x_b)`. With a scalar output that is one plain reverse sweep. With K output elements
the rows are repeated K times, the model runs once on them, and one reverse sweep with a tiled identity as cotangent
returns all K: no loop and no pfor (``batch_jacobian`` fails at zero rows and cannot trace some loops). With fewer input
elements the rows are repeated once for each of those, and one product goes forward.

Second derivatives are one reverse sweep over another. With n input elements, ``hvp`` repeats the rows K times (copy k
holds output element k) and sweeps back twice; ``hessian`` repeats them K·n times, and in copy (k, j) the first sweep
starts from output element k, the second from element j of what the first returned.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar, final

import tensorflow as tf
from typing_extensions import override

from gradwire._errors import ConversionError
from gradwire._package import second_derivative_shape
from gradwire_export._derivatives.function import (
    Differentiable,
    Gradients,
    SecondDerivatives,
    TensorFunction,
    Tensors,
    row_count,
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
    second_mask,
    shaped,
)

Key = TypeVar("Key", bound=Hashable)


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
    """One sweep, or one product, over rows that are repeated once for each group."""

    name: ClassVar[str] = "repeated rows"

    @override
    def n_repeats(self, n_sweeps: int) -> int:
        return n_sweeps

    @override
    def gradients(self, function: Differentiable, x: Tensors) -> tuple[Tensors, Gradients]:
        return super().gradients(function, x) if function.differentiated else (function.call(x), {})

    @override
    def _swept(self, function: Differentiable, x: Tensors, plan: Plan) -> tuple[Tensors, Swept, Swept]:
        values: Tensors = {}
        rows = columns = _Copies({}, 0, 0)
        if plan.forward:
            outputs = [output for output in function.differentiated if any(output == of for of, _ in plan.pushed)]
            wrt = list(dict.fromkeys(name for group in plan.forward for name, _ in group))
            pushed, columns = self._products(function.call, x, (wrt, outputs), plan.forward)
            values = {str(name): value for name, value in pushed.items()}
        if plan.backward:
            n_rows, n_copies = row_count(x), len(plan.backward)
            repeated = _repeat(x, n_copies)
            outputs, gradients = _sweep(function, plan.backward, repeated, unconnected=tf.UnconnectedGradients.NONE)
            if missing := [wrt for wrt, gradient in gradients.items() if gradient is None]:
                raise ConversionError(
                    f"outputs {list(function.differentiated)} have no derivative with respect to input {missing[0]!r}: "
                    "leave it out"
                )
            rows = _Copies(gradients, n_copies, n_rows)
            values = _first_copy(outputs, n_copies, n_rows)
        return values, rows, columns

    @override
    def _products(
        self, call: Any, x: Tensors, blocks: tuple[Sequence[str], Sequence[Hashable]], groups: Sequence[Group]
    ) -> tuple[Mapping[Hashable, Any], Swept]:
        n_rows, n_copies = row_count(x), len(groups)
        repeated = _repeat(x, n_copies)
        linear: Linearised[Hashable] = Linearised(call, repeated, *blocks)
        tangents = {wrt: _picking(repeated[wrt], wrt, groups) for wrt in blocks[0]}
        pushed = linear.push(tangents, blocks[1])
        return _first_copy(linear.values, n_copies, n_rows), _Copies(pushed, n_copies, n_rows)

    @override
    def _hvp_by_sweeps(
        self, function: Differentiable, x: Tensors, tangents: Tensors
    ) -> tuple[Tensors, Gradients, Gradients]:
        groups, rows = self.plan_of(function).backward, row_count(x)
        repeated = _repeat(x, len(groups))
        directions = _repeat({wrt: tangents[wrt] for wrt in function.wrt}, len(groups))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([repeated[wrt] for wrt in function.wrt])
            outputs, first = _sweep(function, groups, repeated, unconnected=tf.UnconnectedGradients.ZERO)
        second = sweep_back(
            tape, list(first.values()), {wrt: repeated[wrt] for wrt in first}, [directions[wrt] for wrt in first]
        )
        gradients, along = (
            assembled(function, self.plan_of(function), x, _Copies(part, len(groups), rows), _Copies({}, 0, 0))
            for part in (first, second)
        )
        return _first_copy(outputs, len(groups), rows), gradients, along

    @override
    def _hessian_by_sweeps(self, function: Differentiable, x: Tensors) -> tuple[Tensors, Gradients, SecondDerivatives]:
        plan = self.plan_of(function)
        sizes = {wrt: math.prod(row_of(x[wrt])) for wrt in x if wrt in function.wrt}
        n_groups, n_inner = len(plan.backward), sum(sizes.values())
        rows = row_count(x)
        repeated = _repeat(x, n_groups * n_inner)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([repeated[wrt] for wrt in sizes])
            outputs, first = _sweep(function, plan.backward, repeated, unconnected=tf.UnconnectedGradients.ZERO)
        elements = [((wrt, element),) for wrt, size in sizes.items() for element in range(size)]
        picked_inputs = {wrt: _picking(first[wrt], wrt, elements, times=n_groups) for wrt in first}
        swept = sweep_back(
            tape, list(first.values()), {wrt: repeated[wrt] for wrt in first}, [picked_inputs[wrt] for wrt in first]
        )
        second: SecondDerivatives = {}
        by_element = _Copies(swept, n_groups * n_inner, rows)
        starts = {wrt: elements.index(((wrt, 0),)) for wrt in sizes}
        for output, one, other in input_pairs(function, x):
            chosen = [
                group * n_inner + starts[one] + element
                for group in places(plan.backward, output, function.sizes[output])
                for element in range(sizes[one])
            ]
            shape = second_derivative_shape(function.shapes[output], row_of(x[one]), row_of(x[other]))
            mask = second_mask(function, plan, x, (output, one, other))
            block = by_element.pick(other, [max(copy, 0) for copy in chosen], 1)
            second.setdefault(output, {}).setdefault(one, {})[other] = shaped(block, x, shape, mask)
        once = _Copies(_first_inner_copy(first, n_groups, n_inner, rows), n_groups, rows)
        return (
            {name: output[:rows] for name, output in outputs.items()},
            assembled(function, plan, x, once, _Copies({}, 0, 0)),
            second,
        )


@final
class _Copies(Swept):
    """What all copies of the rows returned, ``(copies * rows, *row)``."""

    def __init__(self, tensors: Mapping[Any, Any], n_copies: int, rows: Any) -> None:
        self._tensors = tensors
        self._n_copies, self._rows = n_copies, rows

    @override
    def pick(self, name: Hashable, groups: Sequence[int], axis: int) -> Any:
        tensor = self._tensors[name]
        row, first = row_of(tensor), groups[0]
        copies = tf.reshape(tensor, [self._n_copies, self._rows, *row])
        if list(groups) == list(range(first, first + len(groups))):
            copies = copies[first : first + len(groups)]
        else:
            copies = tf.gather(copies, groups)
        own = range(2, 2 + len(row))
        return tf.transpose(copies, [1, 0, *own] if axis == 1 else [1, *own, 0])


def _repeat(x: Tensors, n_copies: int) -> Tensors:
    """Repeat the whole batch, ``(copies * batch, *row)``; one copy is the tensors themselves."""
    if n_copies == 1:
        return x
    return {name: tf.tile(column, [n_copies] + [1] * (column.shape.rank - 1)) for name, column in x.items()}


def _first_copy(outputs: Mapping[Key, Any], n_copies: int, rows: Any) -> dict[Key, Any]:
    return dict(outputs) if n_copies == 1 else {name: output[:rows] for name, output in outputs.items()}


def _sweep(
    function: Differentiable, groups: Sequence[Group], repeated: Tensors, *, unconnected: tf.UnconnectedGradients
) -> tuple[Tensors, Tensors]:
    """Evaluate repeated rows, and sweep back from a group in each copy, or the copies that belong to it."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([repeated[wrt] for wrt in function.wrt])
        outputs = function.call(repeated)
    cotangents = None
    if function.size > 1:
        cotangents = [_picking(outputs[output], output, groups) for output in function.differentiated]
    swept = tape.gradient(
        [outputs[output] for output in function.differentiated],
        {wrt: repeated[wrt] for wrt in function.wrt},
        output_gradients=cotangents,
        unconnected_gradients=unconnected,
    )
    for wrt, gradient in swept.items():
        if gradient is not None:
            swept[wrt] = tf.convert_to_tensor(gradient)
            swept[wrt].set_shape(repeated[wrt].shape)  # which TensorFlow loses on the way
    return outputs, swept


def _picking(tensor: Any, name: str, groups: Sequence[Group], *, times: int = 1) -> Any:
    """Return the tangent or cotangent of a tensor of some name that picks in each copy the elements of its group.

    Copies are in the order of the groups, and all of them some times over; each has as many of the rows as any other.
    """
    picked = tf.one_hot(places(groups, name, math.prod(row_of(tensor))), len(groups), axis=0, dtype=tensor.dtype)
    by_row = tf.repeat(picked, tf.shape(tensor)[0] // (len(groups) * times), axis=0)
    return tf.reshape(by_row if times == 1 else tf.tile(by_row, [times, 1]), tf.shape(tensor))


def _first_inner_copy(first: Tensors, n_copies: int, n_inner: int, rows: Any) -> Tensors:
    """Return one of the ``n_inner`` equal first derivatives."""
    return {
        wrt: tf.reshape(
            tf.reshape(part, [n_copies, n_inner, rows, *row_of(part)])[:, 0], [n_copies * rows, *row_of(part)]
        )
        for wrt, part in first.items()
    }
