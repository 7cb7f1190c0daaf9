"""The signatures of a package, as one plain module that Serving can restore (docs/contract.md).

Saving a Keras model, or a module that holds one, writes a package that loads and then fails on every call, for
Serving restores only what the graph's own restore op knows. A module of our own that holds the plain variables is
restored (docs/contract.md, "A trap").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import tensorflow as tf

from gradwire._package import (
    CARD,
    CARD_ANSWER,
    CARD_QUERY,
    HESSIAN,
    HVP,
    JVP,
    SERVING_DEFAULT,
    SIGNATURES,
    UNCERTAINTY,
    VALUE,
    VJP,
    Part,
    cotangent_name,
    derivative_shape,
    std_name,
    tangent_name,
)
from gradwire_export._derivatives import (
    Gradients,
    TensorFunction,
    Tensors,
    row_jvp,
    row_jvp_by_contraction,
    row_vjp,
)
from gradwire_export._package.blocks import in_blocks, trace
from gradwire_export._package.solve import solve_body
from gradwire_export._package.spec import PackageSpec
from gradwire_export._package.xla import compiled
from gradwire_export._reasons import refused
from gradwire_export._sources import Function

Parts: TypeAlias = dict[Part, dict[str, Any]]


class PackageModule(tf.Module):
    """What the signatures need to be restored: variables, the card's file, tables.

    The names of its attributes are saved: another name is another digest for every package.
    """

    def __init__(self, function: Function, card: Path, stds: Function | None = None) -> None:
        """Take the function, its standard deviations, and the card's file, which is copied into the assets."""
        super().__init__(name="gradwire")
        self.held = [*function.variables, *(() if stds is None else stds.variables)]
        self.holder = function.resources
        self.card = tf.saved_model.Asset(str(card))


def trace_signatures(spec: PackageSpec, module: PackageModule) -> dict[str, Any]:
    """Trace every signature of a package into concrete functions by name, as ``tf.saved_model.save`` takes them."""

    def card(tensors: Tensors) -> Tensors:
        rows = tf.shape(tensors[CARD_QUERY])[0]
        return {CARD_ANSWER: tf.fill([rows], tf.io.read_file(module.card.asset_path))}

    query = {CARD_QUERY: tf.TensorSpec((None,), tf.int32, name=CARD_QUERY)}
    by_row = {name: _traced(spec, name) for name in (*spec.row_signatures, *spec.solves)}
    return by_row | {CARD: _concrete(card, query)}


def _traced(spec: PackageSpec, name: str) -> Any:
    with refused(f"signature {name!r} cannot be built; where it is optional, leave it out of signatures"):
        return _concrete(_in_blocks(spec, name), spec.inputs(name))


def _in_blocks(spec: PackageSpec, name: str) -> TensorFunction:
    body, inputs, n_repeats = signature_body(spec, name), spec.inputs(name), spec.n_repeats(name)
    if spec.xla:
        return compiled(name, body, inputs, n_repeats=n_repeats)
    return in_blocks(body, inputs, n_repeats=n_repeats)


def signature_body(spec: PackageSpec, name: str) -> TensorFunction:
    """Return what a signature of the contract computes, any but the card."""
    if name in spec.solves:
        return solve_body(spec.function, spec.solves[name], spec.zeros, gathers=not spec.xla)

    def body(tensors: Tensors) -> Tensors:
        x = {wrt: tensors[wrt] for wrt in spec.function.inputs}
        parts = {part: _NAMED[part](spec, x, content) for part, content in _BODIES[name](spec, x, tensors).items()}
        outputs = {tensor: content for part in SIGNATURES[name].gives for tensor, content in parts[part].items()}
        return _guarded(x, outputs) if spec.nan_guard else outputs

    return body


def _guarded(x: Tensors, outputs: Tensors) -> Tensors:
    """Put NaN into every output of the rows of which an input is NaN; the others pass unchanged."""
    floats = [tensor for tensor in x.values() if tensor.dtype.is_floating]
    nan = tf.reduce_any(tf.concat([_flat(tf.math.is_nan(tensor)) for tensor in floats], axis=1), axis=1)
    return {
        name: tf.where(
            tf.reshape(nan, [-1, *(1 for _ in output.shape[1:])]), tf.constant(math.nan, output.dtype), output
        )
        for name, output in outputs.items()
    }


def _flat(tensor: Any) -> Any:
    return tf.reshape(tensor, [tf.shape(tensor)[0], math.prod(tensor.shape[1:])])


def _value(spec: PackageSpec, x: Tensors, _: Tensors) -> Parts:
    return {Part.OUTPUTS: spec.function.call(x)}


def _value_and_gradients(spec: PackageSpec, x: Tensors, _: Tensors) -> Parts:
    values, gradients = spec.strategy(SERVING_DEFAULT).gradients(spec.differentiable, x)
    return {Part.OUTPUTS: values, Part.DERIVATIVES: gradients, Part.ALIASES: gradients}


def _jvp(spec: PackageSpec, x: Tensors, tensors: Tensors) -> Parts:
    compute = row_jvp_by_contraction if spec.jvp_by_contraction else row_jvp
    values, pushed_forward = compute(spec.differentiable, x, _tangents(spec, tensors))
    missing = {output: tf.zeros_like(values[output]) for output in values if output not in pushed_forward}
    return {Part.OUTPUTS: values, Part.OUTPUT_TANGENTS: pushed_forward | missing}


def _vjp(spec: PackageSpec, x: Tensors, tensors: Tensors) -> Parts:
    function = spec.differentiable
    cotangents = {output: tensors[cotangent_name(output)] for output in function.differentiated}
    values, pulled_back = row_vjp(function, x, cotangents)
    missing = {wrt: tf.zeros_like(x[wrt]) for wrt in spec.function.wrt if wrt not in pulled_back}
    return {Part.OUTPUTS: values, Part.INPUT_COTANGENTS: pulled_back | missing}


def _hvp(spec: PackageSpec, x: Tensors, tensors: Tensors) -> Parts:
    values, gradients, along = spec.strategy(HVP).hvp(spec.differentiable, x, _tangents(spec, tensors))
    return {Part.OUTPUTS: values, Part.DERIVATIVE_TANGENTS: along, Part.DERIVATIVES: gradients}


def _hessian(spec: PackageSpec, x: Tensors, _: Tensors) -> Parts:
    values, gradients, second = spec.strategy(HESSIAN).hessian(spec.differentiable, x)
    return {Part.OUTPUTS: values, Part.DERIVATIVES: gradients, Part.SECOND_DERIVATIVES: second}


def _uncertainty(spec: PackageSpec, x: Tensors, _: Tensors) -> Parts:
    if spec.stds is None:
        raise ValueError(f"signature {UNCERTAINTY!r} of a function without standard deviations")
    stds = spec.stds.call(x)
    return {Part.OUTPUT_STDS: stds, Part.DERIVATIVE_STDS: stds}


# What each signature computes, by part, of x and of all its inputs.
_BODIES: Final[Mapping[str, Callable[[PackageSpec, Tensors, Tensors], Parts]]] = {
    SERVING_DEFAULT: _value_and_gradients,
    VALUE: _value,
    JVP: _jvp,
    VJP: _vjp,
    HVP: _hvp,
    HESSIAN: _hessian,
    UNCERTAINTY: _uncertainty,
}


def _tangents(spec: PackageSpec, tensors: Tensors) -> Tensors:
    return {wrt: tensors[tangent_name(wrt)] for wrt in spec.function.wrt}


def _derivatives(spec: PackageSpec, x: Tensors, gradients: Gradients) -> Tensors:
    return {
        name: _zeros(spec, x, output, wrt) if (output, wrt) in spec.zeros else gradients[output][wrt]
        for output, by_input in spec.derivatives.items()
        for wrt, name in by_input.items()
    }


def _aliases(spec: PackageSpec, x: Tensors, gradients: Gradients) -> Tensors:
    named = _derivatives(spec, x, gradients) if spec.aliases else {}
    return {
        name: named[tensor] if alias.factor == 1 else named[tensor] * tf.cast(alias.factor, named[tensor].dtype)
        for name, alias in spec.aliases.items()
        for tensor in [spec.derivatives[alias.output][alias.input]]
    }


def _second_derivatives(spec: PackageSpec, x: Tensors, second: dict[str, Gradients]) -> Tensors:
    tensors: Tensors = {}
    for output, pairs in spec.second_derivatives.items():
        for one, others in pairs.items():
            for other, name in others.items():
                part = second.get(output, {}).get(one, {}).get(other)
                tensors[name] = _zeros(spec, x, output, one, other) if part is None else part
    return tensors


# How the tensors of a part are named, with zeros for the derivatives that were declared so.
_NAMED: Final[Mapping[Part, Callable[[PackageSpec, Tensors, Any], Tensors]]] = {
    Part.OUTPUTS: lambda _spec, _x, values: values,
    Part.DERIVATIVES: _derivatives,
    Part.ALIASES: _aliases,
    Part.SECOND_DERIVATIVES: _second_derivatives,
    Part.OUTPUT_TANGENTS: lambda spec, _x, tangents: {tangent_name(f): tangents[f] for f in spec.function.outputs},
    Part.INPUT_COTANGENTS: lambda spec, _x, cotangents: {cotangent_name(x): cotangents[x] for x in spec.function.wrt},
    Part.DERIVATIVE_TANGENTS: lambda spec, x, along: {
        tangent_name(name): tangent for name, tangent in _derivatives(spec, x, along).items()
    },
    Part.OUTPUT_STDS: lambda spec, _x, stds: {std_name(f): stds[std_name(f)] for f in spec.function.outputs},
    Part.DERIVATIVE_STDS: lambda spec, x, stds: {
        std_name(name): _zeros(spec, x, output, wrt) if (output, wrt) in spec.zeros else stds[std_name(name)]
        for output, by_input in spec.derivatives.items()
        for wrt, name in by_input.items()
    },
}


def _zeros(spec: PackageSpec, x: Tensors, output: str, *inputs: str) -> Any:
    first, *second = (spec.input_shape(wrt) for wrt in inputs)
    shape = (*derivative_shape(spec.output_shape(output), first), *(size for row in second for size in row))
    return tf.zeros([tf.shape(x[inputs[0]])[0], *shape], spec.function.outputs[output].dtype)


def _concrete(body: TensorFunction, specs: Mapping[str, tf.TensorSpec]) -> Any:
    # A signature may not hand back its own input, or Serving would answer under the input's name.
    return trace(lambda tensors: {name: tf.identity(output) for name, output in body(tensors).items()}, specs)
