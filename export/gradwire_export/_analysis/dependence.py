"""Walks the graph of a traced function: what lies between its inputs and its outputs.

A tape says None only where no path at all has a gradient: the derivative of ``x + floor(x)`` is given as 1. So every
operation through which an output depends on an input is looked at, in called functions, branches and loops too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import tensorflow as tf
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

from gradwire_export._analysis.operations import (
    BRANCHES,
    CALLS,
    CONSTANTS,
    LOOPS,
    SELECTS,
    STEPS,
    STRAIGHT_THROUGH,
    Probe,
)

CUSTOM_GRADIENT: Final = "CustomGradient"


@dataclass(frozen=True)
class Finding:
    """An operation that keeps a derivative from being that of the values.

    Attributes:
        kind: ``"step"``, it jumps and its derivative is zero in between; ``"straight-through"``, it jumps and its gradient
            is another function's; ``"missing"``, it has a derivative and TensorFlow has no gradient for it.
        operation: its type, such as ``Floor``.
        name: its name in the graph.
    """

    kind: Literal["step", "straight-through", "missing"]
    operation: str
    name: str


# What a tensor depends on the inputs through; None where it does not depend on them.
Trail: TypeAlias = frozenset[Finding] | None


def operations_of(graph: tf.Graph) -> Iterator[tf.Operation]:
    """Gives every operation of a graph and of the functions that it calls.

    Args:
        graph: of a traced function.
    """
    yield from graph.get_operations()
    for definition in graph.as_graph_def().library.function:
        yield from function_def_to_graph(definition).get_operations()


class Walker:
    """Walks one graph, as often as asked; what it has read of it, it remembers."""

    def __init__(self, graph: tf.Graph) -> None:
        """Args: graph, of a traced function."""
        self._graph = graph
        self._probe = Probe()
        self._library = {definition.signature.name: definition for definition in graph.as_graph_def().library.function}
        self._bodies: dict[str, Any] = {}

    def between(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> list[frozenset[Finding]]:
        """Finds what lies on the paths from some tensors to others.

        Args:
            inputs: tensors of the graph.
            outputs: likewise.

        Returns:
            The findings on any path from any input, an entry an output; those inside a ``custom_gradient`` are its
            author's, and left out.
        """
        trails = self._through(self._graph, {tensor.name: frozenset() for tensor in inputs})
        return [trails.get(tensor.name) or frozenset() for tensor in outputs]

    def _through(self, graph: tf.Graph, start: Mapping[str, Trail]) -> dict[str, Trail]:
        """Follows trails through a graph, whose operations lie in the order of their making."""
        trails: dict[str, Trail] = dict(start)
        for operation in graph.get_operations():
            incoming = [trails.get(tensor.name) for tensor in operation.inputs]
            if any(trail is not None for trail in incoming):
                outgoing = self._after(operation, incoming)
                trails |= {tensor.name: trail for tensor, trail in zip(operation.outputs, outgoing, strict=True)}
        return trails

    def _after(self, operation: tf.Operation, incoming: list[Trail]) -> list[Trail]:
        if operation.type in CALLS:
            return self._into(operation.get_attr("f").name, incoming)
        if operation.type in BRANCHES:
            ends = [self._into(name, incoming[1:]) for name in _branches(operation)]
            return [_union(trails) for trails in zip(*ends, strict=True)]
        if operation.type in LOOPS:
            return self._around(operation.get_attr("body").name, incoming)
        if operation.type in CONSTANTS:
            return [None] * len(operation.outputs)
        if operation.type in SELECTS:
            return [_union(incoming[1:])]
        return _custom(operation, incoming) or [
            self._plain(operation, incoming, output) for output in operation.outputs
        ]

    def _into(self, name: str, incoming: list[Trail]) -> list[Trail]:
        if name not in self._bodies:
            self._bodies[name] = function_def_to_graph(self._library[name])
        body = self._bodies[name]
        start = {tensor.name: trail for tensor, trail in zip(body.inputs, incoming, strict=True)}
        trails = self._through(body, start)
        return [trails.get(tensor.name) for tensor in body.outputs]

    def _around(self, name: str, incoming: list[Trail]) -> list[Trail]:
        """Goes round a loop until nothing new is found; what ends it is a kink, as in any branch."""
        while True:
            after = [_union(pair) for pair in zip(incoming, self._into(name, incoming), strict=True)]
            if after == incoming:
                return after
            incoming = after

    def _plain(self, operation: tf.Operation, incoming: list[Trail], output: Any) -> Trail:
        found = _union(incoming) or frozenset()
        carrying = [i for i, trail in enumerate(incoming) if trail is not None and _carries(operation.inputs[i])]
        if not carrying:
            return found  # integers, on their way from a step to a number
        if operation.type in STRAIGHT_THROUGH:
            return found | {Finding("straight-through", operation.type, operation.name)}
        if operation.type in STEPS or not _carries(output):
            return found | {Finding("step", operation.type, operation.name)}
        if any(tensor.dtype == tf.variant for tensor in (*operation.inputs, output)):
            return found  # lists of tensors, which pass gradients on
        if not all(self._probe.passes(operation, i) for i in carrying):
            return found | {Finding("missing", operation.type, operation.name)}
        return found


def _custom(operation: tf.Operation, incoming: list[Trail]) -> list[Trail] | None:
    """Where a gradient was given by hand: what it takes is on the trail, what lies inside is not.

    ``tf.custom_gradient`` ties results and arguments together in one IdentityN, results first. What a result and an
    argument after it have both seen lies before the arguments.
    """
    attribute = operation.node_def.attr.get("_gradient_op_type")
    if attribute is None:
        return None
    if operation.type != "IdentityN" or not attribute.s.decode().startswith(CUSTOM_GRADIENT):
        return [_union(incoming)] * len(operation.outputs)
    outgoing = []
    for i, trail in enumerate(incoming):
        before = _union(incoming[i + 1 :])
        if trail is None or i == len(incoming) - 1:
            outgoing.append(trail)
        elif before is None:  # it depends on an input that is no argument
            outgoing.append(trail | {Finding("missing", CUSTOM_GRADIENT, operation.name)})
        else:
            outgoing.append(trail & before)
    return outgoing


def _branches(operation: tf.Operation) -> list[str]:
    if operation.type.endswith("Case"):
        return [branch.name for branch in operation.get_attr("branches")]
    return [operation.get_attr(side).name for side in ("then_branch", "else_branch")]


def _union(trails: Sequence[Trail]) -> Trail:
    known = [trail for trail in trails if trail is not None]
    return frozenset().union(*known) if known else None


def _carries(tensor: Any) -> bool:
    """Whether a tensor's dtype can carry a derivative."""
    return tensor.dtype.is_floating or tensor.dtype.is_complex or tensor.dtype == tf.variant
