"""The requirements on a function: it has all first derivatives, and no operation that a package may not hold."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import tensorflow as tf

from gradwire._errors import ConversionError, UsageError
from gradwire._package import cotangent_name
from gradwire_export._analysis.dependence import DependenceAnalysis, Obstacle
from gradwire_export._analysis.operations import LOOPS, why_forbidden
from gradwire_export._derivatives import Differentiable, Tensors, row_jvp
from gradwire_export._gradients import operations_of
from gradwire_export._reasons import refused
from gradwire_export._sources import Function, Pair

_WARNINGS: Final = {
    "step": "a step: its jumps are in the values and not in the derivatives",
    "straight-through": "a step with a made-up gradient: the derivatives are not those of the values",
}


class DerivativeWarning(UserWarning):
    """A derivative that omits something, or a signature that had to be left out; the message names it."""


@dataclass(frozen=True)
class Support:
    """The derivatives that a function's operations allow."""

    warnings: tuple[str, ...]  # what the first derivatives omit, a sentence each
    # Gradient operations have gradients with respect to their cotangents, so that a JVP is two reverse sweeps.
    two_sweeps: bool
    # Operations whose gradients have no gradient with respect to the inputs, which rules out second derivatives.
    without_second: tuple[str, ...]
    loops: bool


def require_derivatives(function: Function, zeros: Collection[Pair]) -> Support:
    """Raise if a function lacks a first derivative that ``zeros`` does not declare; return what it supports beyond."""
    _require_floats(function)
    _require_known_pairs(function, zeros)
    swept = _sweep(function)
    loops = _require_servable(swept.graph)
    analysis = DependenceAnalysis(swept.graph)
    warnings: list[str] = []
    for wrt in function.wrt:
        by_output = analysis.obstacles([swept.inputs[wrt]], list(swept.values.values()))
        for output, obstacles in zip(function.outputs, by_output, strict=True):
            _require_connection((output, wrt), swept.gradients[output][wrt] is not None, zeros, obstacles)
            warnings += _require_gradients(output, wrt, obstacles)
    warnings += _remarks(function)
    inputs = [swept.inputs[wrt] for wrt in function.wrt]
    gradients = [part for by_input in swept.gradients.values() for part in by_input.values() if part is not None]
    without_two_sweeps = _missing(analysis.obstacles(list(swept.cotangents.values()), gradients))
    without_second = _missing(analysis.obstacles(inputs, gradients))
    return Support(tuple(warnings), not without_two_sweeps, tuple(without_second), loops)


def has_second_products(function: Function, differentiable: Differentiable) -> bool:
    """Whether forward products have forward products themselves: whether every gradient on their way has a gradient."""
    specs = {output: function.outputs[output] for output in differentiable.differentiated}

    def pushed(x: Tensors) -> Tensors:
        return row_jvp(differentiable, x, {wrt: tf.ones_like(x[wrt]) for wrt in differentiable.wrt})[1]

    try:
        swept = _sweep(replace(function, call=pushed, outputs=specs))
    except ConversionError:
        return False
    analysis = DependenceAnalysis(swept.graph)
    inputs = [swept.inputs[wrt] for wrt in function.wrt]
    gradients = [part for by_input in swept.gradients.values() for part in by_input.values() if part is not None]
    return not _missing(analysis.obstacles(inputs, list(swept.values.values()))) and not _missing(
        analysis.obstacles(list(swept.cotangents.values()), gradients)
    )


def _remarks(function: Function) -> list[str]:
    """Return a warning for every operation whose derivatives deserve a remark, once for each output."""

    def positional(*tensors: Any) -> Tensors:
        return function.call(dict(zip(function.inputs, tensors, strict=True)))

    traced = tf.function(positional).get_concrete_function(*function.inputs.values())
    inputs, outputs = dict(zip(function.inputs, traced.inputs, strict=False)), traced.structured_outputs
    analysis = DependenceAnalysis(traced.graph)
    by_output = analysis.remarks([inputs[wrt] for wrt in function.wrt], [outputs[name] for name in function.outputs])
    return [
        f"output {output!r} goes through {remark.operation} ({remark.name!r}), {remark.text}"
        for output, remarks in zip(function.outputs, by_output, strict=True)
        for remark in sorted(remarks, key=lambda remark: remark.name)
    ]


def _missing(by_tensor: Iterable[Collection[Obstacle]]) -> list[str]:
    obstacles = {obstacle for of_tensor in by_tensor for obstacle in of_tensor}
    return sorted({obstacle.operation for obstacle in obstacles if obstacle.kind == "missing"})


def _require_floats(function: Function) -> None:
    dtypes = {f"input {wrt!r}": function.inputs[wrt].dtype for wrt in function.wrt}
    dtypes |= {f"output {name!r}": spec.dtype for name, spec in function.outputs.items()}
    for role, dtype in dtypes.items():
        if not dtype.is_floating:
            leave = (
                "differentiate with respect to others, wrt=[…]"
                if role.startswith("input")
                else "leave it out, outputs=[…]"
            )
            raise ConversionError(f"{role} is {dtype.name}: only floating-point numbers have derivatives; {leave}")
    for name, spec in function.inputs.items():
        if not (spec.dtype.is_floating or spec.dtype.is_integer):
            raise ConversionError(
                f"input {name!r} is {spec.dtype.name}, expected floating-point numbers, or integers as parameters"
            )
    if len(set(dtypes.values())) > 1:
        listed = ", ".join(f"{role} {dtype.name}" for role, dtype in dtypes.items())
        raise ConversionError(
            f"outputs and differentiated inputs have different dtypes ({listed}): cast them to one, float32 or float64, "
            "so that the precision of a derivative is clear"
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
    traced: list[Any] = []
    duals = {
        output: tf.TensorSpec(spec.shape, spec.dtype, name=cotangent_name(output))
        for output, spec in function.outputs.items()
    }

    def trace(x: Tensors, cotangents: Tensors) -> None:
        watched = {wrt: x[wrt] for wrt in function.wrt}
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(watched)
            values = function.call(x)
        gradients = {}
        for output in function.outputs:
            gradients[output] = _gradient(tape, (output, values[output]), watched, cotangents[output])
        traced[:] = [x, {name: values[name] for name in function.outputs}, cotangents, _dense(gradients)]

    with refused("the function cannot be differentiated"):
        graph = tf.function(trace).get_concrete_function(function.inputs, duals).graph
    return _Swept(graph, *traced)


def _gradient(tape: tf.GradientTape, target: tuple[str, Any], watched: Tensors, cotangent: Any) -> Tensors:
    """Sweep back from an output; a ConversionError names the input that cannot be reached."""
    output, value = target
    try:
        return tape.gradient(value, watched, output_gradients=cotangent)
    except Exception:  # a gradient is code of TensorFlow or of a user
        for wrt, tensor in watched.items():
            with refused(f"output {output!r} cannot be differentiated with respect to input {wrt!r}"):
                tape.gradient(value, tensor, output_gradients=cotangent)
        raise


def _dense(gradients: dict[str, Tensors]) -> dict[str, Tensors]:
    return {
        output: {wrt: None if part is None else tf.convert_to_tensor(part) for wrt, part in by_input.items()}
        for output, by_input in gradients.items()
    }


def _require_servable(graph: tf.Graph) -> bool:
    """Raise if an operation may not be in a package; return whether there are loops."""
    loops = False
    for operation in operations_of(graph):
        reason = why_forbidden(operation)
        if reason is not None:
            raise ConversionError(f"{operation.type} ({operation.name!r}) {reason}")
        loops = loops or operation.type in LOOPS
    return loops


def _require_connection(pair: Pair, connected: bool, zeros: Collection[Pair], obstacles: Collection[Obstacle]) -> None:
    output, wrt = pair
    if connected and pair in zeros:
        raise UsageError(f"the derivative of {output!r} with respect to {wrt!r} was declared zero, and is not")
    if not connected and pair not in zeros:
        names = ", ".join(sorted({f"{obstacle.operation} ({obstacle.name!r})" for obstacle in obstacles}))
        raise ConversionError(
            f"output {output!r} has no derivative with respect to input {wrt!r}: "
            + (f"every path goes through {names}; " if names else "TensorFlow finds no differentiable path; ")
            + f"where it is truly zero, declare it: zeros=[({output!r}, {wrt!r})]"
        )


def _require_gradients(output: str, wrt: str, obstacles: Collection[Obstacle]) -> list[str]:
    """Raise if a part of the derivative would silently be missing; return a warning for every other obstacle."""
    in_order = sorted(obstacles, key=lambda obstacle: obstacle.name)
    for obstacle in in_order:
        if obstacle.kind == "missing":
            raise ConversionError(
                f"output {output!r} depends on input {wrt!r} through {obstacle.operation} ({obstacle.name!r}), for which "
                "TensorFlow has no gradient with respect to that argument: its part of the derivative would silently be "
                "missing. Write it in other operations, give it a tf.custom_gradient, or fix it with tf.stop_gradient"
            )
    return [
        f"output {output!r} depends on input {wrt!r} through {obstacle.operation} ({obstacle.name!r}), "
        f"{_WARNINGS[obstacle.kind]}"
        for obstacle in in_order
    ]
