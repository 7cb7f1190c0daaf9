"""The order in which results are shown and written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradwire import _contract as contract

if TYPE_CHECKING:
    from gradwire._model import Model


def result_names(model: Model) -> tuple[str, ...]:
    """Names what ``serving_default`` gives for a row: each output, followed by its derivatives, in the card's order.

    Args:
        model: with or without a card; without one the names are sorted.
    """
    signature = model.signatures[contract.SERVING_DEFAULT]
    if contract.CARD not in model.signatures:
        return tuple(sorted(signature.outputs))
    card = model.card
    return tuple(
        name
        for output in card.outputs
        for name in (output.name, *card.derivatives.get(output.name, {}).values())
    )
