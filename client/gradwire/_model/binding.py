"""Which tensors of a signature a method takes and returns, from the contract's table and the card.

Tensors are looked up in the card and never by their names; only tangents and cotangents are named by the contract.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

from gradwire._errors import PackageError, ShapeError
from gradwire._model.info import PackageInfo
from gradwire._model.selection import EVERYTHING, Selection
from gradwire._package import SIGNATURES, VALUE, Card, Part, Signature, cotangent_name, std_name, tangent_name


@final
@dataclass(frozen=True, slots=True)
class SignatureBinding:
    """A signature, seen as a function of points; made once for each model and method.

    Attributes:
        signature: what is called.
        inputs: in the model's order.
        wrt: those of them that are selected, or all, in the order of the results.
        has_outputs: whether results have a level for the output: ``{output: …}``.
        has_inputs: whether they have one for the input.
        directions: the tangents or cotangents that it takes, and the input or the output that each belongs to.
        arguments: the names that a caller may give, in order: the inputs, and the directions of what is selected.
        tensors: by part, the tensors that it returns: ``{output: tensor}``, ``{input: tensor}``,
            ``{output: {input: tensor}}`` or ``{output: {input: {input: tensor}}}``.
        names: of all those tensors.
    """

    signature: Signature
    inputs: tuple[str, ...]
    wrt: tuple[str, ...]
    has_outputs: bool
    has_inputs: bool
    directions: Mapping[str, str]
    arguments: tuple[str, ...]
    tensors: Mapping[Part, Mapping[str, Any]]
    names: tuple[str, ...]


def bind_signature(
    package: PackageInfo, name: str, parts: Iterable[Part], selection: Selection = EVERYTHING
) -> SignatureBinding:
    """Bind some parts of what a signature returns.

    Args:
        package: its signatures and its card, in the model's order. Without a card it has values alone, sorted by name.
        name: of the signature; `serving_default` stands in for a missing `value`.
        parts: what is to be returned.
        selection: of which outputs, and with respect to which inputs.

    Raises:
        SignatureNotFound: the package has no such signature, or no card, so that nothing tells which tensor is which.
        PackageError: the card has no derivative, or names tensors that the signature does not have.
        InputNameError: the selection names an output, an input or a derivative that is not there.
        ShapeError: an input has no batch axis.
    """
    signature = package.value_signature() if name == VALUE else None
    if signature is not None and not package.has_card:
        inputs, outputs = tuple(signature.inputs), tuple(signature.outputs)
        by_part: dict[Part, Mapping[str, Any]] = {Part.OUTPUTS: dict(zip(outputs, outputs, strict=True))}
        direction, wrt = None, ()
    else:
        card = package.card
        signature = signature or package.signature(name)
        inputs, outputs = (tuple(tensor.name for tensor in side) for side in (card.inputs, card.outputs))
        by_part, direction = _tensors(card), SIGNATURES[name].direction
        wrt = tuple(by_part[Part.INPUT_COTANGENTS])
    selection.check(outputs, inputs, wrt)
    tensors = {part: selection.of_part(part, by_part[part]) for part in parts}
    directions: Mapping[str, str] = {} if direction is None else by_part[direction]
    chosen = selection.of if direction is Part.COTANGENTS else selection.wrt
    own = [tensor for owner in chosen or directions.values() for tensor, other in directions.items() if other == owner]
    is_plain = len(inputs) == len(outputs) == 1
    binding = SignatureBinding(
        signature=signature,
        inputs=inputs,
        wrt=selection.wrt or inputs,
        has_outputs=not (selection.is_one_output or (is_plain and selection.of is None)),
        has_inputs=not (selection.is_one_input or (is_plain and selection.wrt is None)),
        directions=directions,
        arguments=(*inputs, *own),
        tensors=tensors,
        names=tuple(leaf for part in tensors.values() for leaf in _leaves(part)),
    )
    _check(binding, package.address)
    return binding


def _tensors(card: Card) -> dict[Part, Mapping[str, Any]]:
    """The tensors of every part, in the model's order; outputs and inputs without a derivative are left out."""
    outputs, inputs = [tensor.name for tensor in card.outputs], [tensor.name for tensor in card.inputs]
    by_output = {output: card.derivatives.get(output, {}) for output in outputs}
    derivatives = {
        output: {wrt: tensors[wrt] for wrt in inputs if wrt in tensors}
        for output, tensors in by_output.items()
        if tensors
    }
    differentiated = [wrt for wrt in inputs if any(wrt in tensors for tensors in derivatives.values())]
    return {
        Part.TANGENTS: {tangent_name(wrt): wrt for wrt in differentiated},
        Part.COTANGENTS: {cotangent_name(output): output for output in outputs},
        Part.OUTPUTS: {output: output for output in outputs},
        Part.DERIVATIVES: derivatives,
        Part.SECOND_DERIVATIVES: card.second_derivatives,
        Part.OUTPUT_TANGENTS: {output: tangent_name(output) for output in derivatives},
        Part.INPUT_COTANGENTS: {wrt: cotangent_name(wrt) for wrt in differentiated},
        Part.DERIVATIVE_TANGENTS: {
            output: {wrt: tangent_name(tensor) for wrt, tensor in tensors.items()}
            for output, tensors in derivatives.items()
        },
        Part.OUTPUT_STDS: {output: std_name(output) for output in outputs},
        Part.DERIVATIVE_STDS: {
            output: {wrt: std_name(tensor) for wrt, tensor in tensors.items()}
            for output, tensors in derivatives.items()
        },
    }


def _check(binding: SignatureBinding, address: str) -> None:
    signature = binding.signature
    strange = {*binding.inputs, *binding.directions} ^ set(signature.inputs)
    strange |= set(binding.names) - set(signature.outputs)
    if strange:
        raise PackageError(
            f"the card of {address} and its signature {signature.name!r} disagree about {sorted(strange)}: "
            "a new version may have come, so connect again; or export the package anew"
        )
    if not all(binding.tensors.values()):
        raise PackageError(
            f"the card of {address} names no tensor for {signature.name!r}: export the package with derivatives"
        )
    for spec in signature.inputs.values():
        if not spec.is_batch_first:
            raise ShapeError(f"input {spec.name!r} of {signature.name!r} has no batch axis: call it with predict()")


def _leaves(tensors: Mapping[str, Any]) -> Iterator[str]:
    for entry in tensors.values():
        if isinstance(entry, str):
            yield entry
        else:
            yield from _leaves(entry)
