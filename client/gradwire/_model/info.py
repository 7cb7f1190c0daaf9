"""What a package says of itself: where it is, its signatures, and its card."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import PackageError, SignatureNotFound
from gradwire._model.trust import InputDomain, Trust, domains_of
from gradwire._package import (
    CARD,
    CARD_ANSWER,
    CARD_QUERY,
    DIFFERENTIABLE,
    SERVING_DEFAULT,
    STRING,
    UNCERTAINTY,
    VALUE,
    Card,
    Signature,
    TensorSpec,
    cotangent_name,
    std_name,
    tangent_name,
)
from gradwire._wire import Call

DIFFERENTIABLE_NAMES: Final = frozenset(kind.name for kind in DIFFERENTIABLE)
_CARD_ROWS: Final[Mapping[str, NDArray[Any]]] = {CARD_QUERY: np.zeros(1, np.int32)}  # one row is enough


def card_call(signatures: Mapping[str, Signature]) -> Call:
    """Return the call of the signature `card`, which must be among the signatures.

    Raises:
        PackageError: it is not that of the contract.
    """
    signature = signatures[CARD]
    query, answer = signature.inputs.get(CARD_QUERY), signature.outputs.get(CARD_ANSWER)
    if query is None or query.dtype != "int32" or answer is None or answer.dtype != STRING:
        raise PackageError(
            f"the signature 'card' takes {_dtypes(signature.inputs)} and returns {_dtypes(signature.outputs)}, expected "
            f"int32 {CARD_QUERY!r} and {STRING} {CARD_ANSWER!r}: export the package with gradwire"
        )
    return Call(signature, _CARD_ROWS)


def _dtypes(specs: Mapping[str, TensorSpec]) -> str:
    return ", ".join(f"{spec.dtype} {name!r}" for name, spec in specs.items()) or "nothing"


def read_card(outputs: Mapping[str, NDArray[Any]]) -> Card:
    """Read the response to ``card_call``.

    Raises:
        PackageError: it holds no card.
    """
    texts: list[Any] = outputs[CARD_ANSWER].reshape(-1).tolist() if CARD_ANSWER in outputs else []
    if not texts or not isinstance(texts[0], (bytes, str)):
        raise PackageError(f"the response to 'card' has {sorted(outputs)}, expected a card's text: ask its operator")
    return Card.from_json(texts[0])


def times(array: NDArray[Any], factor: float) -> NDArray[Any]:
    """Return a derivative times the factor of its alias, in its own dtype."""
    return array if factor == 1 else (array * factor).astype(array.dtype, copy=False)


def _agree(spec: TensorSpec, shape: tuple[int, ...]) -> bool:
    """Whether rows of a tensor have the shape on a card; a scalar may be written in two ways."""
    if spec.any_rank or (spec.is_scalar and shape in ((), (1,))):
        return True
    return len(spec.row_shape) == len(shape) and all(
        served in (None, own) for served, own in zip(spec.row_shape, shape, strict=True)
    )


@final
class PackageInfo:
    """A package's signatures and card.

    Args:
        address: where it is, for messages.
        signatures: by name.
        card: the card, or a function that fetches it when it is needed for the first time; None where there is none.
    """

    def __init__(
        self, address: str, signatures: Mapping[str, Signature], card: Card | Callable[[], Card] | None
    ) -> None:
        self.address = address
        self.signatures = signatures
        self._card = card

    @property
    def has_card(self) -> bool:
        """Whether it has a card, so that more is known than its signatures."""
        return CARD in self.signatures

    @cached_property
    def card(self) -> Card:
        """The card.

        Raises:
            SignatureNotFound: it has no signature `card`, so it was not made by ``gradwire export``.
            PackageError: it is none, or does not belong to the signatures.
        """
        if self._card is None or not self.has_card:
            raise SignatureNotFound(
                f"{self.address} has no signature 'card' to say which tensor is which derivative; "
                f"it has {sorted(self.signatures)}: call them with predict(), or export the model with gradwire"
            )
        card = self._card if isinstance(self._card, Card) else self._card()
        self._require_shapes(card)
        return card

    def _require_shapes(self, card: Card) -> None:
        """Raise PackageError where the card's rows have other shapes than those that are served."""
        for name in DIFFERENTIABLE_NAMES & self.signatures.keys():
            specs = {**self.signatures[name].inputs, **self.signatures[name].outputs}
            for tensor in (*card.inputs, *card.outputs):
                spec = specs.get(tensor.name)
                if spec is not None and not _agree(spec, tensor.shape):
                    raise PackageError(
                        f"the card of {self.address} and its signature {name!r} disagree about {tensor.name!r}: rows of "
                        f"{tensor.shape} and {spec.row_shape}; a new version may have come: connect again"
                    )

    @cached_property
    def domains(self) -> dict[str, InputDomain]:
        """What the samples covered, by input; see ``domains_of``."""
        return domains_of(self.card)

    @cached_property
    def trust(self) -> Trust:
        """The error bars up to which a point is trusted, as the card has them; see ``Trust.of``."""
        return Trust.of(self.card)

    @property
    def is_trusted_by_distances(self) -> bool:
        """Whether a point is trusted by the distances of its atoms alone, for want of error bars."""
        if UNCERTAINTY in self.signatures or not self.has_card:
            return False
        return any(tensor.distances is not None for tensor in self.card.inputs)

    def signature(self, name: str) -> Signature:
        """Return a signature.

        Raises:
            SignatureNotFound: there is none of that name.
        """
        if name == UNCERTAINTY and name not in self.signatures and self.has_card:
            raise SignatureNotFound(f"{self.address} has no error bars, because {self.card.no_uncertainty}")
        if name not in self.signatures:
            raise SignatureNotFound(
                f"{self.address} has no signature {name!r}, expected one of {sorted(self.signatures)}"
            )
        return self.signatures[name]

    def value_signature(self) -> Signature:
        """Return the signature that computes values: `value`, else `serving_default`.

        Raises:
            SignatureNotFound: there is neither the signature `value` nor a card.
        """
        if VALUE not in self.signatures and not self.has_card:
            raise SignatureNotFound(
                f"{self.address} has neither a signature 'value' nor a card, expected one of them; "
                f"it has {sorted(self.signatures)}: call them with predict()"
            )
        return self.signature(VALUE if VALUE in self.signatures else SERVING_DEFAULT)

    def result_names(self, name: str = SERVING_DEFAULT) -> tuple[str, ...]:
        """Name the results for a row: each output and its derivatives in the card's order, others, then the aliases.

        Args:
            name: of the signature.

        Raises:
            SignatureNotFound: the package has no such signature.
        """
        signature = self.signature(name)
        if not self.has_card:
            return tuple(sorted(signature.outputs))
        if name in self.card.solves:
            return self.card.solves[name].outputs
        names = in_order(_output_order(self.card), signature.outputs)
        aliases = [alias for alias, (tensor, _) in self.aliases().items() if tensor in names]
        return (*(each for each in names if each not in aliases), *aliases)

    def uncertainty_names(self) -> tuple[str, ...]:
        """Name the error bars for a row: of each output, followed by those of its derivatives, in card order.

        Raises:
            SignatureNotFound: the package has none; the message has the card's reason.
        """
        signature = self.signature(UNCERTAINTY)
        return tuple(name for name in map(std_name, self._tensors()) if name in signature.outputs)

    def _tensors(self) -> list[str]:
        """Return each output, followed by its derivatives, in card order."""
        derivatives = self.card.derivatives
        return [
            name for output in self.card.outputs for name in (output.name, *derivatives.get(output.name, {}).values())
        ]

    def aliases(self) -> dict[str, tuple[str, float]]:
        """Return the derivatives that have names of their own: name -> tensor, and what it is multiplied by."""
        if not self.has_card:
            return {}
        tensors = {name: (self.card.derivative_of(name), alias.factor) for name, alias in self.card.aliases.items()}
        return {name: (tensor, factor) for name, (tensor, factor) in tensors.items() if tensor is not None}


def _output_order(card: Card) -> list[str]:
    """Return every output of the contract in the card's order: each function, its derivatives, and their tangents."""
    names: list[str] = []
    for output in card.outputs:
        first = list(card.derivatives.get(output.name, {}).values())
        second = [
            name for by_input in card.second_derivatives.get(output.name, {}).values() for name in by_input.values()
        ]
        names += [output.name, tangent_name(output.name), *first, *map(tangent_name, first), *second]
        names += [std_name(output.name), *map(std_name, first)]
    return [*names, *(cotangent_name(tensor.name) for tensor in card.inputs)]


def in_order(order: Sequence[str], names: Mapping[str, object]) -> list[str]:
    """Return names, those of an order first."""
    return [name for name in order if name in names] + sorted(names.keys() - set(order))
