"""The proof that a package carries: reference points, the checks of ``verify``, and the digest, on its card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from gradwire import load, verify
from gradwire._package import CARD_FILE, Card, file_digests, joined_digest
from gradwire_export._checks.reference_points import reference_points


def prove(package: Path, card: Card, checks: dict[str, Any]) -> Card:
    """Completes a package's card; the graph that the checks run on is not touched.

    A check of derivatives against values that fails is recorded, not raised: a model may have a gradient of its own
    (a straight-through estimator, a clipped one) that is not the derivative, on purpose. That the package gives what
    TensorFlow differentiates has been checked before, and did raise.

    Args:
        package: a version directory, its graph and variables written.
        card: without checks, reference and digest.
        checks: what was found so far.

    Returns:
        The card as it was written.
    """
    with load(package) as model:
        card = replace(card, reference=reference_points(package, card, model))
        _write(package, card)  # the model reads it when verify asks for it
        found = verify(model)
    proof = {"passed": found.passed, "points": found.points, "seed": found.seed}
    files = file_digests(package)
    card = replace(
        card,
        checks=checks | found.to_dict() | {"proof": proof},
        digest=joined_digest(files),
        files=files,
    )
    _write(package, card)
    return card


def _write(package: Path, card: Card) -> None:
    (package / CARD_FILE).write_text(card.to_json())
