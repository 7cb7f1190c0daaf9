"""The results on a package's card: reference points, the checks of ``gradwire.verify``, and the digest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from gradwire import load, verify
from gradwire._package import CARD_FILE, Card, file_digests, joined_digest
from gradwire_export._checks.reference_points import reference_points


def complete_card(package: Path, card: Card, checks: dict[str, Any]) -> Card:
    """Complete a package's card; the graph that the checks run on is not touched.

    A check of derivatives against values that fails is recorded, not raised: a model may deliberately have a gradient
    (a straight-through estimator, a clipped one) that is not the derivative. That the package returns what TensorFlow
    differentiates was checked before, and would have raised.

    Args:
        package: a version directory, its graph and variables written.
        card: without checks, reference and digest.
        checks: the results so far.

    Returns:
        The card as it was written.
    """
    with load(package) as model:
        card = replace(card, reference=reference_points(package, card, model))
        _write(package, card)  # verify reads it through the model
        verification = verify(model)
    proof = {"passed": verification.passed, "points": verification.points, "seed": verification.seed}
    files = file_digests(package)
    card = replace(
        card,
        checks=checks | verification.to_dict() | {"proof": proof},
        digest=joined_digest(files),
        files=files,
    )
    _write(package, card)
    return card


def _write(package: Path, card: Card) -> None:
    (package / CARD_FILE).write_text(card.to_json())
