"""Refuses a function that lacks a derivative, and says what its derivatives leave out."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

import tensorflow as tf

from gradwire._errors import ConversionError, UsageError
from gradwire._package import cotangent_name
from gradwire_export._analysis.dependence import Finding, Walker, operations_of
from gradwire_export._analysis.operations import LOOPS, why_forbidden
from gradwire_export._derivatives import Tensors
from gradwire_export._sources import Function, Pair

_SAID: Final = {
    "step": "a step: its jumps are in the values and not in the derivatives",
    "straight-through": "a step with a made-up gradient: the derivatives are not those of the values",
}


class DerivativeWarning(UserWarning):
    """A package's derivatives leave something out, or a signature had to be left out; the message names what."""


@dataclass(frozen=True)
class Support:
    """What a function's operations allow.

    Attributes:
        warnings: what the first derivatives leave out, a sentence each.
        two_sweeps: the gradient operations have gradients by their cotangents, so that a JVP is two reverse sweeps.
        without_second: operations whose gradients have no gradient by the inputs, which rules out second derivatives.
        loops: there are loops.
    """

    warnings: tuple[str, ...]
    two_sweeps: bool
    without_second: tuple[str, ...]
    loops: bool


def require_derivatives(function: Function, zeros: Collection[Pair]) -> Support:
    """Refuses a function that lacks a first derivative, naming the output and the input.

    Args:
        function: the batched function.
        zeros: pairs (output, input) that may be disconnected.

    Returns:
        What else its operations allow.

    Raises:
        ConversionError: an input or output is not a real floating number, TensorFlow has no gradient for a pair or for an
            operation on its way, or an operation may not be in a package.
        UsageError: ``zeros`` names a pair that is not there, or that is connected.
    """
    _require_numbers(function)
    _require_known_pairs(function, zeros)
    swept = _sweep(function)
    loops = _require_servable(swept.graph)
    walker = Walker(swept.graph)
    warnings: list[str] = []
    for wrt in function.wrt:
        found = walker.between([swept.inputs[wrt]], list(swept.values.values()))
        for output, findings in zip(function.outputs, found, strict=True):
            _require_connection((output, wrt), swept.gradients[output][wrt] is not None, zeros, findings)
            warnings += _require_gradients(output, wrt, findings)
    by = [swept.inputs[wrt] for wrt in function.wrt]
    gradients = [part for by_input in swept.gradients.values() for part in by_input.values() if part is not None]
    linear = _missing(walker.between(list(swept.cotangents.values()), gradients))
    return Support(tuple(warnings), not linear, tuple(_missing(walker.between(by, gradients))), loops)


def _missing(found: Iterable[Collection[Finding]]) -> list[str]:
    every = {finding for findings in found for finding in findings}
    return sorted({finding.operation for finding in every if finding.kind == "missing"})


def _require_numbers(function: Function) -> None:
    wanted = {f"input {wrt!r}": function.inputs[wrt].dtype for wrt in function.wrt}
    wanted |= {f"output {name!r}": spec.dtype for name, spec in function.outputs.items()}
    for role, dtype in wanted.items():
        if not dtype.is_floating:
            leave = "differentiate by others, wrt=[…]" if role.startswith("input") else "leave it out, outputs=[…]"
            raise ConversionError(f"{role} is {dtype.name}: only floating numbers have derivatives; {leave}")
    for name, spec in function.inputs.items():
        if not (spec.dtype.is_floating or spec.dtype.is_integer):
            raise ConversionError(
                f"input {name!r} is {spec.dtype.name}, expected numbers: floating, or integers as parameters"
            )
    if len(set(wanted.values())) > 1:
        found = ", ".join(f"{role} {dtype.name}" for role, dtype in wanted.items())
        raise ConversionError(
            f"what is differentiated and by what have different dtypes ({found}): cast them to one, float32 or float64, "
            "so that it is clear which digits a derivative has"
        )


def _require_known_pairs(function: Function, zeros: Collection[Pair]) -> None:
    for output, wrt in zeros:
        if output not in function.outputs or wrt not in function.wrt:
            raise UsageError(
                f"zeros names ({output!r}, {wrt!r}), expected an output of {sorted(function.outputs)} "
                f"and an input of {sorted(function.wrt)}"
            )


@dataclass(frozen=True)
class _Swept:
    """A trace of the function and of a sweep from each output, in one graph."""

    graph: tf.Graph
    inputs: Tensors
    values: Tensors
    cotangents: Tensors
    gradients: dict[str, Tensors]


def _sweep(function: Function) -> _Swept:
    found: list[Any] = []
    duals = {
        output: tf.TensorSpec(spec.shape, spec.dtype, name=cotangent_name(output))
        for output, spec in function.outputs.items()
    }

    def trace(x: Tensors, cotangents: Tensors) -> None:
        by = {wrt: x[wrt] for wrt in function.wrt}
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(by)
            values = function.call(x)
        gradients = {}
        for output in function.outputs:
            try:
                gradients[output] = tape.gradient(values[output], by, output_gradients=cotangents[output])
            except LookupError as error:
                raise ConversionError(f"output {output!r} cannot be differentiated: {error}") from error
        found[:] = [x, {name: values[name] for name in function.outputs}, cotangents, _dense(gradients)]

    graph = tf.function(trace).get_concrete_function(function.inputs, duals).graph
    return _Swept(graph, *found)


def _dense(gradients: dict[str, Tensors]) -> dict[str, Tensors]:
    return {
        output: {wrt: None if part is None else tf.convert_to_tensor(part) for wrt, part in by_input.items()}
        for output, by_input in gradients.items()
    }


def _require_servable(graph: tf.Graph) -> bool:
    """Refuses what no package may hold, and says whether there are loops."""
    loops = False
    for operation in operations_of(graph):
        reason = why_forbidden(operation)
        if reason is not None:
            raise ConversionError(f"{operation.type} ({operation.name!r}) {reason}")
        loops = loops or operation.type in LOOPS
    return loops


def _require_connection(pair: Pair, connected: bool, zeros: Collection[Pair], found: Collection[Finding]) -> None:
    output, wrt = pair
    if connected and pair in zeros:
        raise UsageError(f"the derivative of {output!r} by {wrt!r} was declared zero, and is not")
    if not connected and pair not in zeros:
        names = ", ".join(sorted({f"{finding.operation} ({finding.name!r})" for finding in found}))
        raise ConversionError(
            f"output {output!r} has no derivative by input {wrt!r}: "
            + (f"every path goes through {names}; " if names else "TensorFlow finds no differentiable path; ")
            + f"where it is truly zero, declare it: zeros=[({output!r}, {wrt!r})]"
        )


def _require_gradients(output: str, wrt: str, found: Collection[Finding]) -> list[str]:
    """Refuses what would be missing without a word, and words a warning for the rest."""
    for finding in sorted(found, key=lambda finding: finding.name):
        if finding.kind == "missing":
            raise ConversionError(
                f"output {output!r} depends on input {wrt!r} through {finding.operation} ({finding.name!r}), for which "
                "TensorFlow has no gradient by that argument: its part of the derivative would be missing without a word. "
                "Write it in other operations, give it a tf.custom_gradient, or hold it fixed with tf.stop_gradient"
            )
    return [
        f"output {output!r} depends on input {wrt!r} through {finding.operation} ({finding.name!r}), {_SAID[finding.kind]}"
        for finding in sorted(found, key=lambda finding: finding.name)
    ]
