"""How to compute the derivatives of a batched function row by row: the interface, and what the strategies share.

What a sweep or a product of a group of elements returns belongs, entry by entry, to one element of the group, which the
structure of the Jacobian tells.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
import tensorflow as tf

from gradwire._package import derivative_shape, second_derivative_shape
from gradwire_export._derivatives.function import (
    Differentiable,
    Gradients,
    SecondDerivatives,
    Tensors,
    row_of,
)
from gradwire_export._derivatives.linearised import Linearised
from gradwire_export._derivatives.plan import Group, Plan, places

# What is differentiated: an output's name, or (output, input) for a derivative.
Key: TypeAlias = Hashable


class Swept(ABC):
    """What the sweeps or products of some groups returned."""

    @abstractmethod
    def pick(self, name: Key, groups: Sequence[int], axis: int) -> Any:
        """Return what some groups, in this order, returned of a tensor, side by side along an axis after the batch's.

        Args:
            name: of the tensor.
            groups: their numbers.
            axis: 1, or -1 behind the tensor's own.
        """


class Strategy(ABC):
    """A way to take a reverse sweep, or a forward product, of each of several groups of elements.

    Inputs and tangents are ``(batch, *input)``; derivatives are ``(batch, *shape)`` with the shapes of the contract.
    """

    name: ClassVar[str]  # as people know it

    def __init__(self, plan: Plan | None = None) -> None:
        """Take the plan of the groups; by default each output element is swept alone."""
        self._plan = plan

    @abstractmethod
    def n_repeats(self, n_sweeps: int) -> int:
        """Return how often the rows are repeated for a number of sweeps."""

    def gradients(self, function: Differentiable, x: Tensors) -> tuple[Tensors, Gradients]:
        """Evaluate a function and its first derivatives."""
        plan = self.plan_of(function)
        values, rows, columns = self._swept(function, x, plan)
        return values, assembled(function, plan, x, rows, columns)

    def hvp(self, function: Differentiable, x: Tensors, tangents: Tensors) -> tuple[Tensors, Gradients, Gradients]:
        """Evaluate a function, its first derivatives, and their derivatives along tangents of all inputs in ``wrt``."""
        if not self.plan_of(function).forward:
            return self._hvp_by_sweeps(function, x, tangents)
        pairs = [(output, wrt) for output, inputs in function.differentiated.items() for wrt in inputs]
        linear: Linearised[Key] = Linearised(lambda x: _flat(*self.gradients(function, x)), x, function.wrt, pairs)
        pushed = linear.push({wrt: tangents[wrt] for wrt in function.wrt}, pairs)
        values, gradients = _unflat(linear.values)
        return values, gradients, _unflat(pushed)[1]

    def hessian(self, function: Differentiable, x: Tensors) -> tuple[Tensors, Gradients, SecondDerivatives]:
        """Evaluate a function, its first derivatives and its Hessians, each pair of inputs once in the order of x.

        The plan has sweeps or products alone. A second sweep that finds no path returns zeros: a function that is
        linear in its inputs has that Hessian. That the path is not merely hidden by an operation without a gradient is
        what ``_analysis`` ensures.
        """
        plan = self.plan_of(function)
        if not plan.forward:
            return self._hessian_by_sweeps(function, x)
        pairs = [(output, wrt) for output, inputs in function.differentiated.items() for wrt in inputs]
        flat, swept = self._products(
            lambda x: _flat(*self.gradients(function, x)), x, (function.wrt, pairs), plan.forward
        )
        values, gradients = _unflat(flat)
        second: SecondDerivatives = {}
        for output, one, other in input_pairs(function, x):
            block = picked(swept, (output, one), places(plan.forward, other, math.prod(row_of(x[other]))), -1)
            shape = second_derivative_shape(function.shapes[output], row_of(x[one]), row_of(x[other]))
            mask = second_mask(function, plan, x, (output, one, other))
            second.setdefault(output, {}).setdefault(one, {})[other] = shaped(block, x, shape, mask)
        return values, gradients, second

    def plan_of(self, function: Differentiable) -> Plan:
        """Return the groups of a function's elements."""
        return self._plan or Plan.of_every_element(function.sizes)

    @abstractmethod
    def _swept(self, function: Differentiable, x: Tensors, plan: Plan) -> tuple[Tensors, Swept, Swept]:
        """Evaluate a function, sweep back from groups of outputs, and push groups of inputs forward."""

    @abstractmethod
    def _products(
        self, call: Any, x: Tensors, blocks: tuple[Sequence[str], Sequence[Key]], groups: Sequence[Group]
    ) -> tuple[Mapping[Key, Any], Swept]:
        """Evaluate a function of tensors, and push groups of its inputs forward to some of its outputs."""

    @abstractmethod
    def _hvp_by_sweeps(
        self, function: Differentiable, x: Tensors, tangents: Tensors
    ) -> tuple[Tensors, Gradients, Gradients]:
        """Do what ``hvp`` does by sweeps over sweeps."""

    @abstractmethod
    def _hessian_by_sweeps(self, function: Differentiable, x: Tensors) -> tuple[Tensors, Gradients, SecondDerivatives]:
        """Do what ``hessian`` does by sweeps over sweeps."""


def assembled(function: Differentiable, plan: Plan, x: Tensors, rows: Swept, columns: Swept) -> Gradients:
    """Put the rows and columns of the Jacobian into derivatives of the contract's shapes."""
    gradients: Gradients = {}
    for output, inputs in function.differentiated.items():
        gradients[output] = {}
        for wrt in inputs:
            row = row_of(x[wrt])
            if (output, wrt) in plan.pushed:
                block = picked(columns, output, places(plan.forward, wrt, math.prod(row)), -1)
            else:
                block = picked(rows, wrt, places(plan.backward, output, function.sizes[output]), 1)
            shape = derivative_shape(function.shapes[output], row)
            gradients[output][wrt] = shaped(block, x, shape, plan.structure.get((output, wrt)))
    return gradients


def shaped(block: Any, x: Tensors, shape: Sequence[int], mask: np.ndarray | None) -> Any:
    """Give a derivative its shape, and zeros where it has no entry, whatever stands there of another element."""
    if block is None:
        first = next(iter(x.values()))
        return tf.zeros([tf.shape(first)[0], *shape], first.dtype)
    # Most have their shape already, the batch axis apart.
    block = block if row_of(block) == list(shape) else tf.reshape(block, [tf.shape(block)[0], *shape])
    if mask is None:
        return block
    return tf.where(tf.constant(mask.reshape(1, *shape)), block, tf.zeros([], block.dtype))


def input_pairs(function: Differentiable, x: Tensors) -> list[tuple[str, str, str]]:
    """Return every output with each pair of its inputs once, in the order of x."""
    triples: list[tuple[str, str, str]] = []
    for output in function.differentiated:
        order = [wrt for wrt in x if wrt in function.differentiated[output]]
        triples += [(output, one, other) for i, one in enumerate(order) for other in order[i:]]
    return triples


def second_mask(function: Differentiable, plan: Plan, x: Tensors, triple: tuple[str, str, str]) -> np.ndarray | None:
    """Return which second derivatives may not be zero: the output element depends on both elements of the inputs."""
    output, *inputs = triple
    known = [plan.structure.get((output, wrt)) for wrt in inputs]
    if all(block is None for block in known):
        return None
    first, second = (
        np.ones((function.sizes[output], math.prod(row_of(x[wrt]))), np.bool_) if block is None else block
        for block, wrt in zip(known, inputs, strict=True)
    )
    return first[:, :, None] & second[:, None, :]


def _flat(values: Tensors, gradients: Gradients) -> dict[Key, Any]:
    return {**values, **{(output, wrt): part for output, by in gradients.items() for wrt, part in by.items()}}


def _unflat(tensors: Mapping[Any, Any]) -> tuple[Tensors, Gradients]:
    values, gradients = Tensors(), Gradients()
    for key, tensor in tensors.items():
        if isinstance(key, tuple):
            gradients.setdefault(key[0], {})[key[1]] = tensor
        else:
            values[key] = tensor
    return values, gradients


def picked(swept: Swept, name: Key, groups: Sequence[int], axis: int) -> Any:
    """Return what the groups of a block's elements returned; None where none has an entry."""
    known = [group for group in groups if group >= 0]
    return swept.pick(name, [group if group >= 0 else known[0] for group in groups], axis) if known else None
