"""Which outputs of a traced function depend on which inputs, and through what.

A tape returns None only where no path at all has a gradient: its derivative of ``x + floor(x)`` is 1. So every
operation through which an output depends on an input is examined, in called functions, branches and loops too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import tensorflow as tf
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

from gradwire_export._analysis.operations import (
    BRANCHES,
    CALLS,
    CONSTANTS,
    HELD,
    LOOPS,
    SELECTS,
    STEPS,
    STRAIGHT_THROUGH,
    GradientProbe,
)
from gradwire_export._gradients import remark_on

CUSTOM_GRADIENT: Final = "CustomGradient"


@dataclass(frozen=True)
class Obstacle:
    """An operation on the way from an input to an output whose gradient is not its derivative."""

    # A step jumps, and its derivative is zero in between; straight-through, it jumps and its gradient is another
    # function's; missing, it has a derivative and TensorFlow has no gradient for it; remark, its gradient is wrong
    # at some points, or as far as the text says.
    kind: Literal["step", "straight-through", "missing", "remark"]
    operation: str  # such as Floor
    name: str
    text: str = ""


# The obstacles through which a tensor depends on the inputs; None where it does not depend on them.
Dependence: TypeAlias = frozenset[Obstacle] | None
# The dependences of an operation's outputs, by those of its inputs; for operations that call no function.
_Rule: TypeAlias = Callable[[tf.Operation, list[Dependence]], list[Dependence]]


class DependenceAnalysis:
    """The dependences within one graph; bodies of functions and gradients of operations are looked up once."""

    def __init__(self, graph: tf.Graph) -> None:
        """Args: the graph of a traced function."""
        self._graph = graph
        self._probe = GradientProbe()
        self._library = {definition.signature.name: definition for definition in graph.as_graph_def().library.function}
        self._bodies: dict[str, Any] = {}

    def obstacles(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> list[frozenset[Obstacle]]:
        """Return, for each output, the obstacles on any path from any input.

        Those inside a ``custom_gradient``, which are deliberate, are left out.
        """
        return self._collect(self._gradients, inputs, outputs)

    def remarks(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> list[frozenset[Obstacle]]:
        """Return, for each output, the operations on any path from any input whose derivatives deserve a remark.

        The graph must be of the function alone: operations of its derivatives look like other uses of what they read.
        """
        return self._collect(_remarks, inputs, outputs)

    def _collect(self, rule: _Rule, inputs: Sequence[Any], outputs: Sequence[Any]) -> list[frozenset[Obstacle]]:
        dependences = self._propagate(rule, self._graph, {tensor.name: frozenset() for tensor in inputs})
        return [dependences.get(tensor.name) or frozenset() for tensor in outputs]

    def _propagate(self, rule: _Rule, graph: tf.Graph, start: Mapping[str, Dependence]) -> dict[str, Dependence]:
        """Propagate dependences through a graph, whose operations are in the order of creation."""
        dependences: dict[str, Dependence] = dict(start)
        for operation in graph.get_operations():
            incoming = [dependences.get(tensor.name) for tensor in operation.inputs]
            if any(dependence is not None for dependence in incoming):
                outgoing = self._after(rule, operation, incoming)
                dependences |= {
                    tensor.name: dependence for tensor, dependence in zip(operation.outputs, outgoing, strict=True)
                }
        return dependences

    def _after(self, rule: _Rule, operation: tf.Operation, incoming: list[Dependence]) -> list[Dependence]:
        if operation.type in CALLS:
            return self._through_function(rule, operation.get_attr("f").name, incoming)
        if operation.type in BRANCHES:
            ends = [self._through_function(rule, name, incoming[1:]) for name in _branches(operation)]
            return [_union(dependences) for dependences in zip(*ends, strict=True)]
        if operation.type in LOOPS:
            return self._through_loop(rule, operation.get_attr("body").name, incoming)
        return rule(operation, incoming)

    def _gradients(self, operation: tf.Operation, incoming: list[Dependence]) -> list[Dependence]:
        if operation.type in CONSTANTS:
            return [None] * len(operation.outputs)
        if operation.type in SELECTS:
            return [_union(incoming[1:])]
        return _custom(operation, incoming) or [
            self._plain(operation, incoming, output) for output in operation.outputs
        ]

    def _through_function(self, rule: _Rule, name: str, incoming: list[Dependence]) -> list[Dependence]:
        if name not in self._bodies:
            self._bodies[name] = function_def_to_graph(self._library[name])
        body = self._bodies[name]
        start = {tensor.name: dependence for tensor, dependence in zip(body.inputs, incoming, strict=True)}
        dependences = self._propagate(rule, body, start)
        return [dependences.get(tensor.name) for tensor in body.outputs]

    def _through_loop(self, rule: _Rule, name: str, incoming: list[Dependence]) -> list[Dependence]:
        """Iterate a loop's body until no dependence changes; its condition is a kink, as in any branch."""
        while True:
            outgoing = self._through_function(rule, name, incoming)
            after = [_union(both) for both in zip(incoming, outgoing, strict=True)]
            if after == incoming:
                return after
            incoming = after

    def _plain(self, operation: tf.Operation, incoming: list[Dependence], output: Any) -> Dependence:
        inherited = _union(incoming) or frozenset()
        carrying = [
            i for i, dependence in enumerate(incoming) if dependence is not None and _carries(operation.inputs[i])
        ]
        if not carrying:
            return inherited  # integers, on their way from a step to a floating-point number
        if operation.type in STRAIGHT_THROUGH:
            return inherited | {Obstacle("straight-through", operation.type, operation.name)}
        if operation.type in STEPS or not _carries(output):
            return inherited | {Obstacle("step", operation.type, operation.name)}
        if any(tensor.dtype == tf.variant for tensor in (*operation.inputs, output)):
            return inherited  # lists of tensors, which pass gradients on
        if not all(self._probe.passes(operation, i) for i in carrying):
            return inherited | {Obstacle("missing", operation.type, operation.name)}
        return inherited


def _remarks(operation: tf.Operation, incoming: list[Dependence]) -> list[Dependence]:
    if operation.type in CONSTANTS and operation.type not in HELD:
        return [None] * len(operation.outputs)
    custom = _custom(operation, incoming)
    if custom is not None:
        return custom
    inherited = _union(incoming[1:] if operation.type in SELECTS else incoming)
    if inherited is None or not any(_carries(tensor) for tensor in operation.outputs):
        return [None] * len(operation.outputs)  # what jumps has no derivative to remark on
    text = remark_on(operation)
    own = frozenset({Obstacle("remark", operation.type, operation.name, text)}) if text else frozenset()
    return [inherited | own] * len(operation.outputs)


def _custom(operation: tf.Operation, incoming: list[Dependence]) -> list[Dependence] | None:
    """Return the dependences after a custom gradient: what lies before its arguments counts, what lies inside does not.

    ``tf.custom_gradient`` combines results and arguments in one IdentityN, results first. An obstacle that a result
    shares with an argument after it lies before the arguments.
    """
    attribute = operation.node_def.attr.get("_gradient_op_type")
    if attribute is None:
        return None
    if operation.type != "IdentityN" or not attribute.s.decode().startswith(CUSTOM_GRADIENT):
        return [_union(incoming)] * len(operation.outputs)
    outgoing = []
    for i, dependence in enumerate(incoming):
        before = _union(incoming[i + 1 :])
        if dependence is None or i == len(incoming) - 1:
            outgoing.append(dependence)
        elif before is None:  # it depends on an input that is not an argument
            outgoing.append(dependence | {Obstacle("missing", CUSTOM_GRADIENT, operation.name)})
        else:
            outgoing.append(dependence & before)
    return outgoing


def _branches(operation: tf.Operation) -> list[str]:
    if operation.type.endswith("Case"):
        return [branch.name for branch in operation.get_attr("branches")]
    return [operation.get_attr(side).name for side in ("then_branch", "else_branch")]


def _union(dependences: Sequence[Dependence]) -> Dependence:
    known = [dependence for dependence in dependences if dependence is not None]
    return frozenset().union(*known) if known else None


def _carries(tensor: Any) -> bool:
    """Whether a tensor's dtype can carry a derivative."""
    return tensor.dtype.is_floating or tensor.dtype.is_complex or tensor.dtype == tf.variant
