"""The signatures of a package, as one plain module that Serving can restore (docs/contract.md).

Saving a Keras model, or a module that holds one, writes a package that loads and then fails on every call, for
Serving restores only what the graph's own restore op knows. A module of our own that holds the plain variables is
restored (docs/contract.md, "A trap").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import tensorflow as tf

from gradwire._package import contract
from gradwire_export._derivatives import (
    Gradients,
    Tensors,
    row_hessian,
    row_hvp,
    row_jvp,
    row_jvp_by_contraction,
    row_vjp,
    swept_derivatives,
    swept_hessian,
    swept_hvp,
)
from gradwire_export._package.blocks import in_blocks
from gradwire_export._package.eager import value_and_gradients
from gradwire_export._package.spec import Plan
from gradwire_export._package.xla import compiled
from gradwire_export._sources import Function

Body: TypeAlias = Callable[[Tensors], Tensors]


class PackageModule(tf.Module):
    """Holds what the signatures need to be restored: variables, the card's file, tables."""

    def __init__(self, function: Function, card: Path) -> None:
        """Args: the function, and the card's file, which is copied into the package's assets."""
        super().__init__(name="gradwire")
        self.held = list(function.variables)
        self.holder = function.holder
        self.card = tf.saved_model.Asset(str(card))


@dataclass(frozen=True)
class RowSignature:
    """A signature whose rows are computed one by one, independently.

    Attributes:
        body: what it computes, ``{name: (batch, …)}`` in and out.
        inputs: specs by name, the model's inputs first.
    """

    body: Body
    inputs: dict[str, tf.TensorSpec]


def trace_signatures(plan: Plan, module: PackageModule) -> dict[str, Any]:
    """Traces every signature of a package.

    Args:
        plan: what the package holds.
        module: holds the card's asset.

    Returns:
        Concrete functions by signature name, as ``tf.saved_model.save`` takes them.
    """

    def card(tensors: Tensors) -> Tensors:
        rows = tf.shape(tensors[contract.CARD_QUERY])[0]
        return {contract.CARD_ANSWER: tf.fill([rows], tf.io.read_file(module.card.asset_path))}

    query = {contract.CARD_QUERY: tf.TensorSpec((None,), tf.int32, name=contract.CARD_QUERY)}
    by_row = {name: row_signature(plan, name) for name in plan.signatures if name != contract.CARD}
    return {name: _concrete(_in_blocks(plan, name, found), found.inputs) for name, found in by_row.items()} | {
        contract.CARD: _concrete(card, query)
    }


def _in_blocks(plan: Plan, name: str, signature: RowSignature) -> Body:
    copies = plan.copies(name)
    if plan.xla:
        return compiled(name, signature.body, signature.inputs, copies=copies)
    return in_blocks(signature.body, signature.inputs, copies=copies)


def row_signature(plan: Plan, name: str) -> RowSignature:
    """Gives a signature of the contract, any but `card`.

    Args:
        plan: what the package holds.
        name: the signature's name.
    """
    function = plan.function
    body, more = _BODIES[name], {}
    if name in (contract.JVP, contract.HVP):
        more = {contract.tangent_name(wrt): function.inputs[wrt] for wrt in function.wrt}
    if name == contract.VJP:
        more = {contract.cotangent_name(output): spec for output, spec in function.outputs.items()}
    more = {extra: tf.TensorSpec(spec.shape, spec.dtype, name=extra) for extra, spec in more.items()}
    return RowSignature(lambda tensors: body(plan, tensors), function.inputs | more)


def _value(plan: Plan, tensors: Tensors) -> Tensors:
    return plan.function.call(tensors)


def _value_and_gradients(plan: Plan, tensors: Tensors) -> Tensors:
    if plan.by_turns(contract.SERVING_DEFAULT):
        values, gradients = swept_derivatives(plan.function.call, tensors, plan.wanted, plan.shapes)
    else:
        values, gradients = value_and_gradients(plan.function, tensors, plan.zeros)
    return values | _named(plan, tensors, gradients)


def _jvp(plan: Plan, tensors: Tensors) -> Tensors:
    x, tangents = _inputs(plan, tensors), _tangents(plan, tensors)
    if plan.jvp_by_contraction:
        values, pushed = row_jvp_by_contraction(plan.function.call, x, tangents, plan.wanted, plan.shapes)
    else:
        values, pushed = row_jvp(plan.function.call, x, tangents, plan.wanted)
    return values | {
        contract.tangent_name(output): pushed[output] if output in pushed else tf.zeros_like(values[output])
        for output in plan.function.outputs
    }


def _vjp(plan: Plan, tensors: Tensors) -> Tensors:
    x = _inputs(plan, tensors)
    cotangents = {output: tensors[contract.cotangent_name(output)] for output in plan.wanted}
    values, pulled = row_vjp(plan.function.call, x, cotangents, plan.wanted)
    return values | {
        contract.cotangent_name(wrt): pulled[wrt] if wrt in pulled else tf.zeros_like(x[wrt])
        for wrt in plan.function.wrt
    }


def _hvp(plan: Plan, tensors: Tensors) -> Tensors:
    x, tangents = _inputs(plan, tensors), _tangents(plan, tensors)
    compute = swept_hvp if plan.by_turns(contract.HVP) else row_hvp
    values, gradients, second = compute(plan.function.call, x, tangents, plan.wanted, plan.shapes)
    along = _named(plan, x, second)
    return values | _named(plan, x, gradients) | {contract.tangent_name(name): part for name, part in along.items()}


def _hessian(plan: Plan, tensors: Tensors) -> Tensors:
    x = _inputs(plan, tensors)
    compute = swept_hessian if plan.by_turns(contract.HESSIAN) else row_hessian
    values, gradients, found = compute(plan.function.call, x, plan.wanted, plan.shapes)
    answers = values | _named(plan, x, gradients)
    for output, pairs in plan.seconds.items():
        for one, others in pairs.items():
            for other, name in others.items():
                part = found.get(output, {}).get(one, {}).get(other)
                answers[name] = _zeros(plan, x, output, one, other) if part is None else part
    return answers


def _inputs(plan: Plan, tensors: Tensors) -> Tensors:
    return {name: tensors[name] for name in plan.function.inputs}


def _tangents(plan: Plan, tensors: Tensors) -> Tensors:
    return {wrt: tensors[contract.tangent_name(wrt)] for wrt in plan.function.wrt}


def _named(plan: Plan, x: Tensors, gradients: Gradients) -> Tensors:
    """First derivatives by their names, with zeros for the pairs that were declared so."""
    return {
        name: _zeros(plan, x, output, wrt) if (output, wrt) in plan.zeros else gradients[output][wrt]
        for output, by_input in plan.names.items()
        for wrt, name in by_input.items()
    }


def _zeros(plan: Plan, x: Tensors, output: str, *inputs: str) -> Any:
    first, *second = (plan.row(wrt) for wrt in inputs)
    shape = (
        *contract.derivative_shape(plan.shapes[output], first),
        *(size for row in second for size in row),
    )
    return tf.zeros([tf.shape(x[inputs[0]])[0], *shape], plan.function.outputs[output].dtype)


_BODIES: Final[dict[str, Callable[[Plan, Tensors], Tensors]]] = {
    contract.SERVING_DEFAULT: _value_and_gradients,
    contract.VALUE: _value,
    contract.JVP: _jvp,
    contract.VJP: _vjp,
    contract.HVP: _hvp,
    contract.HESSIAN: _hessian,
}


def _concrete(body: Body, specs: Mapping[str, tf.TensorSpec]) -> Any:
    def positional(*tensors: tf.Tensor) -> Tensors:
        answers = body(dict(zip(specs, tensors, strict=True)))
        # A signature may not hand back its own input, or Serving would answer under the input's name.
        return {name: tf.identity(answer) for name, answer in answers.items()}

    return tf.function(positional).get_concrete_function(*specs.values())
