"""Are rows independent of one another? The same rows among others, beside NaN and alone must have the same outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from gradwire._errors import ConversionError
from gradwire._numerics import ALLOWED_EPS, CENTRE, GRID, SAFETY, Batch, by_point, deviation, eps_of, largest, poisoned
from gradwire_export._checks.fresh_process import Arrays, Response

COMPARED_ROWS: Final = 3  # that are run alone and among other neighbours
BESIDE_OTHERS: Final = "beside others"
BESIDE_NAN: Final = "beside NaN"  # a model may refuse NaN (a Cholesky factor does); then there is nothing to compare
ALONE: Final = "alone"


def independence_batches(points: Arrays, neighbours: Arrays) -> list[Batch]:
    """Return the batches that show whether rows depend on one another: the first few among others, and alone."""
    origins = range(COMPARED_ROWS)
    return [
        Batch.beside(BESIDE_OTHERS, points, origins, neighbours),
        Batch.beside(BESIDE_NAN, points, origins, poisoned(neighbours)),
        *(Batch.part(f"row {row} {ALONE}", points, [row]) for row in origins),
    ]


def require_independence(grid: Arrays, batches: list[Batch], responses: Mapping[str, Response]) -> dict[str, Any]:
    """Compare the outputs of ``independence_batches`` with those of all rows, and return the card's entry.

    ``grid`` has the outputs of all rows on the fine grid. Only the batch beside NaN may have failed. A ConversionError
    where a row's result depends on its neighbours.
    """
    run = [batch for batch in batches if responses[batch.label].failure is None]
    whole = {name: array[CENTRE :: len(GRID)] for name, array in grid.items()}
    allowed = {name: _allowed(array) for name, array in grid.items()}
    worst = 0.0
    for batch in run:
        for name, comparison in batch.compare(whole, responses[batch.label].outputs).items():
            if comparison.eps > allowed[name]:
                raise ConversionError(
                    f"{name!r} of a row depends on the other rows of the batch ({batch.label}): {comparison.text}; such a "
                    "model has no derivative row by row, and server-side batching would change its responses. Batch "
                    "normalisation in training mode, attention over the batch and normalising by the batch do this: "
                    "export the inference form"
                )
            worst = max(worst, comparison.eps)
    return {
        "rows": COMPARED_ROWS,
        "tried": [*(batch.label for batch in run if not batch.label.endswith(ALONE)), ALONE],
        "worst_eps": round(worst, 3),
        "allowed_eps": round(max(allowed.values()), 3),
    }


def _allowed(grid: np.ndarray) -> float:
    """32 eps of the scale, or eight times the rounding of both sides where more was measured at the compared rows."""
    points = by_point(grid)
    unit = eps_of(str(grid.dtype)) * float(largest(points[:, CENTRE]).max(initial=0.0))
    noise = float(deviation(points, 0.0)[:COMPARED_ROWS].max(initial=0.0))
    return max(ALLOWED_EPS, 2 * SAFETY * noise / unit) if unit > 0 else ALLOWED_EPS
