"""The function that a package's signatures compute: its inputs, its outputs, and which tensor is which derivative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from gradwire._errors import PackageError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gradwire._card import Card
    from gradwire._contract import Signature


@final
@dataclass(frozen=True, slots=True)
class Function:
    """One signature, seen as a function of points.

    Made once for each model, so that a call has only arrays to deal with.

    Attributes:
        signature: what is called.
        inputs: in the model's order.
        outputs: in the model's order.
        derivatives: ``{output: {input: tensor}}``; no outputs where only values are wanted.
        wanted: every tensor to ask for.
    """

    signature: Signature
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    derivatives: Mapping[str, Mapping[str, str]]
    wanted: tuple[str, ...]

    @property
    def is_plain(self) -> bool:
        """Whether there is one input and one output, so that callers get plain arrays."""
        return len(self.inputs) == len(self.outputs) == 1


def function_of(signature: Signature, card: Card | None, *, derivatives: bool, address: str) -> Function:
    """Finds a function's tensors in a signature, through the card and never by their names.

    Args:
        signature: what is to be called.
        card: None where the package has none; all of the signature's tensors are then inputs and outputs.
        derivatives: whether the first derivatives are wanted; needs a card.
        address: of the package, for messages.

    Returns:
        The function.

    Raises:
        PackageError: the card names tensors that the signature does not have.
        ShapeError: an input has no batch axis.
    """
    inputs = tuple(signature.inputs) if card is None else tuple(tensor.name for tensor in card.inputs)
    outputs = tuple(signature.outputs) if card is None else tuple(tensor.name for tensor in card.outputs)
    tensors: dict[str, dict[str, str]] = {}
    if derivatives and card is not None:
        by_output = {name: card.derivatives.get(name, {}) for name in outputs}
        tensors = {
            name: {wrt: by_output[name].get(wrt, f"d{name}/d{wrt}") for wrt in inputs} for name in outputs
        }
    wanted = (*outputs, *(tensor for of_output in tensors.values() for tensor in of_output.values()))
    _check(signature, inputs, wanted, address)
    return Function(signature, inputs, outputs, tensors, wanted)


def _check(signature: Signature, inputs: Sequence[str], wanted: Sequence[str], address: str) -> None:
    strange = (set(inputs) ^ set(signature.inputs)) | (set(wanted) - set(signature.outputs))
    if strange:
        raise PackageError(
            f"the card of {address} and its signature {signature.name!r} disagree about {sorted(strange)}: "
            "a new version may have come, so connect again; or export the package anew"
        )
    for spec in signature.inputs.values():
        if not spec.is_batch_first:
            raise ShapeError(
                f"input {spec.name!r} of {signature.name!r} has no batch axis: call it with predict()"
            )
