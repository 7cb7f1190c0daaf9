"""The signatures that a package with a certain card has, by the contract (docs/contract.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradwire._package.contract import (
    CARD,
    CARD_ANSWER,
    CARD_QUERY,
    HESSIAN,
    HVP,
    JVP,
    SERVING_DEFAULT,
    VALUE,
    VJP,
    Signature,
    TensorSpec,
    cotangent_name,
    derivative_shape,
    second_derivative_shape,
    tangent_name,
)
from gradwire._package.dtypes import STRING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gradwire._package.card import Card, CardTensor

    Specs = dict[str, TensorSpec]


def signatures_of(card: Card) -> dict[str, Signature]:
    """Gives every signature that the card allows for, by name.

    Args:
        card: says inputs, outputs and the tensors of their derivatives.
    """
    inputs, outputs = _specs(card.inputs), _specs(card.outputs)
    first, second = _first(card), _second(card)
    taken = {wrt for by_input in card.derivatives.values() for wrt in by_input}
    wrt = [tensor for tensor in card.inputs if tensor.name in taken]
    tangents = _named(tangent_name, _specs(wrt))
    answer = TensorSpec(CARD_ANSWER, STRING, (None,))
    query = TensorSpec(CARD_QUERY, "int32", (None,))
    tensors: dict[str, tuple[Mapping[str, TensorSpec], Mapping[str, TensorSpec]]] = {
        SERVING_DEFAULT: (inputs, outputs | first),
        VALUE: (inputs, outputs),
        JVP: (inputs | tangents, outputs | _named(tangent_name, outputs)),
        VJP: (inputs | _named(cotangent_name, outputs), outputs | _named(cotangent_name, _specs(wrt))),
        HVP: (inputs | tangents, outputs | first | _named(tangent_name, first)),
        HESSIAN: (inputs, outputs | first | second),
        CARD: ({CARD_QUERY: query}, {CARD_ANSWER: answer}),
    }
    return {name: Signature(name, takes, gives) for name, (takes, gives) in tensors.items()}


def _specs(tensors: Iterable[CardTensor]) -> Specs:
    return {tensor.name: TensorSpec(tensor.name, tensor.dtype, (None, *tensor.shape)) for tensor in tensors}


def _named(rename: Callable[[str], str], specs: Specs) -> Specs:
    return {rename(name): TensorSpec(rename(name), spec.dtype, spec.shape) for name, spec in specs.items()}


def _first(card: Card) -> Specs:
    """The first derivatives, in the card's order."""
    return {
        name: TensorSpec(name, output.dtype, (None, *derivative_shape(output.shape, wrt.shape)))
        for output in card.outputs
        for wrt in card.inputs
        if (name := card.derivatives.get(output.name, {}).get(wrt.name)) is not None
    }


def _second(card: Card) -> Specs:
    """The second derivatives, each pair once, in the card's order."""
    specs: Specs = {}
    for output in card.outputs:
        of_output = card.second_derivatives.get(output.name, {})
        for first in card.inputs:
            for second in card.inputs:
                name = of_output.get(first.name, {}).get(second.name)
                if name is not None:
                    shape = second_derivative_shape(output.shape, first.shape, second.shape)
                    specs[name] = TensorSpec(name, output.dtype, (None, *shape))
    return specs
