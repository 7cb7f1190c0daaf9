"""Are the rows independent of one another? The same rows among others, beside NaN and alone give the same answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from gradwire._errors import ConversionError
from gradwire_export._checks.compare import ALLOWED_EPS, compare
from gradwire_export._checks.fresh_process import Answer, Call

Arrays = dict[str, np.ndarray]

LONE_ROWS: Final = 3  # rows that are run alone and among other neighbours
ALL: Final = "all rows"
BESIDE: Final = ("beside others", "beside NaN")
# A model may refuse NaN (a Cholesky factor does); then there is nothing to compare.
MAY_FAIL: Final = ("beside NaN",)


def independence_calls(signature: str, points: Arrays, neighbours: Arrays) -> dict[str, Call]:
    """Gives the calls that tell whether rows depend on one another.

    Args:
        signature: the name of the signature to call.
        points: rows, ``{input: (rows, *input)}``.
        neighbours: as many other rows, put beside the same first rows.

    Returns:
        Calls by label.
    """
    kept = {name: rows[:LONE_ROWS] for name, rows in points.items()}

    def beside(others: Arrays) -> Call:
        return Call(signature, {name: np.concatenate([kept[name], others[name][LONE_ROWS:]]) for name in points})

    poisoned = {
        name: np.full_like(rows, np.nan) if rows.dtype.kind == "f" else rows for name, rows in neighbours.items()
    }
    calls = {
        ALL: Call(signature, dict(points)),
        BESIDE[0]: beside(neighbours),
        BESIDE[1]: beside(poisoned),
    }
    for row in range(LONE_ROWS):
        calls[_alone(row)] = Call(signature, {name: rows[row : row + 1] for name, rows in points.items()})
    return calls


def _alone(row: int) -> str:
    return f"row {row} alone"


def require_independence(answers: Mapping[str, Answer]) -> dict[str, Any]:
    """Compares the answers to ``independence_calls``.

    Args:
        answers: by label; only those of ``MAY_FAIL`` may have failed.

    Returns:
        What was found, for the card.

    Raises:
        ConversionError: a row's result depends on its neighbours.
    """
    reference = answers[ALL].outputs
    worst = 0.0
    tried = [label for label in BESIDE if answers[label].failure is None]
    for label in tried:
        worst = max(worst, _same_rows(label, reference, answers[label].outputs, range(LONE_ROWS)))
    for row in range(LONE_ROWS):
        worst = max(worst, _same_rows("alone", reference, answers[_alone(row)].outputs, [row]))
    return {
        "rows": LONE_ROWS,
        "tried": [*tried, "alone"],
        "worst_eps": round(worst, 3),
        "allowed_eps": ALLOWED_EPS,
    }


def _same_rows(label: str, reference: Arrays, found: Arrays, rows: Sequence[int]) -> float:
    worst = 0.0
    for name, array in found.items():
        # The scale is that of all rows: a single row may happen to be near zero.
        replaced = reference[name].copy()
        replaced[list(rows)] = array[: len(rows)]
        comparison = compare(reference[name], replaced)
        if comparison.eps > ALLOWED_EPS:
            raise ConversionError(
                f"{name!r} of a row depends on the other rows of the batch ({label}): {comparison.text}; such a model has no "
                "derivative row by row, and server-side batching would change its answers. Batch normalisation in "
                "training mode, attention over the batch and normalising by the batch do this: export the inference form"
            )
        worst = max(worst, comparison.eps)
    return worst
