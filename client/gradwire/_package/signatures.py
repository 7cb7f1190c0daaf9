"""The signatures of a package: those that the contract implies for a card, and those that a server lists."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from gradwire._errors import PackageError
from gradwire._package.card import Card, CardTensor
from gradwire._package.contract import (
    CARD_ANSWER,
    CARD_QUERY,
    SIGNATURES,
    Part,
    Signature,
    TensorSpec,
    cotangent_name,
    derivative_shape,
    second_derivative_shape,
    std_name,
    tangent_name,
)
from gradwire._package.dtypes import STRING, name_of
from gradwire._package.forms import MOST_AXES
from gradwire._package.solve import solve_signature

Specs = dict[str, TensorSpec]

_LARGEST_ROW: Final = 2**27  # elements: 512 MiB of float32, the largest response that is taken
_PRIVATE: Final = "__saved_model"  # pseudo-signatures that TensorFlow keeps for itself; calling one fails


def signatures_of(card: Card) -> dict[str, Signature]:
    """Return every signature that the contract (docs/contract.md) has for a card, by name.

    Args:
        card: with the inputs, the outputs and the tensors of their derivatives.
    """
    inputs, outputs, first = _specs(card.inputs), _specs(card.outputs), _first(card)
    differentiated = {wrt for by_input in card.derivatives.values() for wrt in by_input}
    wrt = _specs(tensor for tensor in card.inputs if tensor.name in differentiated)
    parts: dict[Part, Specs] = {
        Part.INPUTS: inputs,
        Part.TANGENTS: _named(tangent_name, wrt),
        Part.COTANGENTS: _named(cotangent_name, outputs),
        Part.OUTPUTS: outputs,
        Part.DERIVATIVES: first,
        Part.ALIASES: _aliases(card, first),
        Part.SECOND_DERIVATIVES: _second(card),
        Part.OUTPUT_TANGENTS: _named(tangent_name, outputs),
        Part.INPUT_COTANGENTS: _named(cotangent_name, wrt),
        Part.DERIVATIVE_TANGENTS: _named(tangent_name, first),
        Part.OUTPUT_STDS: _named(std_name, outputs),
        Part.DERIVATIVE_STDS: _named(std_name, first),
        Part.CARD_QUERY: {CARD_QUERY: TensorSpec(CARD_QUERY, "int32", (None,))},
        Part.CARD: {CARD_ANSWER: TensorSpec(CARD_ANSWER, STRING, (None,))},
    }
    by_table = {
        kind.name: Signature(kind.name, _joined(parts, kind.takes), _joined(parts, kind.gives))
        for kind in SIGNATURES.values()
    }
    return by_table | {name: solve_signature(name, solve, inputs, outputs) for name, solve in card.solves.items()}


def _joined(parts: Mapping[Part, Specs], names: Iterable[Part]) -> Specs:
    return {name: spec for part in names for name, spec in parts[part].items()}


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


def _aliases(card: Card, first: Specs) -> Specs:
    """The first derivatives that are served under names of their own."""
    specs = {name: first.get(card.derivative_of(name) or "") for name, alias in card.aliases.items() if alias.served}
    return {name: TensorSpec(name, spec.dtype, spec.shape) for name, spec in specs.items() if spec is not None}


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


def read_signatures(signature_defs: Mapping[str, Any]) -> dict[str, Signature]:
    """Read a map of SignatureDefs.

    Args:
        signature_defs: by signature name, messages of ``gradwire._wire.proto.SignatureDef``.

    Returns:
        The callable signatures by name, sorted, as are their tensors.

    Raises:
        PackageError: a tensor's rows are larger than any message.
    """
    return {
        name: Signature(
            name=name,
            inputs=_read_specs(signature_defs[name].inputs),
            outputs=_read_specs(signature_defs[name].outputs),
            optional=frozenset(signature_defs[name].defaults),
        )
        for name in sorted(signature_defs)
        if not name.startswith(_PRIVATE)
    }


def _read_specs(tensors: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {name: _read_spec(name, tensors[name]) for name in sorted(tensors)}


def _read_spec(name: str, info: Any) -> TensorSpec:
    sizes = tuple(None if dim.size < 0 else int(dim.size) for dim in info.tensor_shape.dim)
    if len(sizes) > MOST_AXES or math.prod(size or 1 for size in sizes[1:]) > _LARGEST_ROW:
        raise PackageError(
            f"tensor {name!r} has rows of {sizes[1:]} in its signature, expected at most {MOST_AXES} axes and "
            f"{_LARGEST_ROW:,} elements, for no message holds more"
        )
    return TensorSpec(name, name_of(info.dtype), sizes, any_rank=bool(info.tensor_shape.unknown_rank))
