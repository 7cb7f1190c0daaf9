"""What ``serving_default`` takes and gives, in the order in which it is shown and written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradwire._errors import SignatureNotFound
from gradwire._package import contract

if TYPE_CHECKING:
    from gradwire._model.model import Model
    from gradwire._package import Signature


def default_signature(model: Model) -> Signature:
    """Gives the signature that returns values and derivatives.

    Raises:
        SignatureNotFound: the package has none.
    """
    if contract.SERVING_DEFAULT not in model.signatures:
        raise SignatureNotFound(
            f"{model!r} has signatures {sorted(model.signatures)}, expected {contract.SERVING_DEFAULT!r} among them: "
            "export the model with gradwire"
        )
    return model.signatures[contract.SERVING_DEFAULT]


def result_names(model: Model) -> tuple[str, ...]:
    """Names what ``serving_default`` gives for a row: each output, followed by its derivatives, in the card's order.

    Args:
        model: with or without a card; without one the names are sorted.

    Raises:
        SignatureNotFound: the package has no ``serving_default``.
    """
    signature = default_signature(model)
    if contract.CARD not in model.signatures:
        return tuple(sorted(signature.outputs))
    card = model.card
    return tuple(
        name for output in card.outputs for name in (output.name, *card.derivatives.get(output.name, {}).values())
    )
