"""Noise that is larger at some rows than at others: its profile over what the network predicts there.

Payoffs of simulated paths, counts, and whatever is measured to a percentage are noisier where they are larger. With
one noise for all rows their spread would be taken for that of the function, which is larger in places too. So the
variance is taken from the errors on fitted rows with like predictions (a variance function; Carroll and Ruppert,
Transformation and Weighting in Regression, 1988), and believed where held-out rows are likelier with it.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = "NDArray[np.float64]"

NEIGHBOURS: Final = 20  # rows, or a tenth of them if that is more: of fewer the variance is chance
SHARE: Final = 0.1
SHRINKAGE: Final = 1.0  # rows of the mean variance that count beside the neighbours


def noise_profile(fitted: Array, errors: Array, predicted: Array) -> Array:
    """Return the variance of the labels' noise at rows over its mean there.

    Args:
        fitted: the predictions of values at fitted rows, ``(fitted rows, output elements)``.
        errors: of each label there, ``(fitted rows, output elements, 1 + input elements)``; NaN for none.
        predicted: the values at the rows, ``(rows, output elements)``.

    Returns:
        ``(rows, output elements, 1 + input elements)``; ones where too few labels tell.
    """
    profile = np.ones((len(predicted), *errors.shape[1:]))
    for element, kind in np.ndindex(*errors.shape[1:]):
        known = np.isfinite(errors[:, element, kind])
        count = int(known.sum())
        neighbours = max(NEIGHBOURS, round(SHARE * count))
        if count < 2 * neighbours:
            continue
        order = np.argsort(fitted[known, element], kind="stable")
        squares = errors[known, element, kind][order] ** 2
        sums = np.concatenate([[0.0], np.cumsum(squares)])
        middle = np.searchsorted(fitted[known, element][order], predicted[:, element])
        first = np.clip(middle - neighbours // 2, 0, count - neighbours)
        local = sums[first + neighbours] - sums[first] + SHRINKAGE * squares.mean()
        if (mean := local.mean()) > 0:
            profile[:, element, kind] = local / mean
    return profile
