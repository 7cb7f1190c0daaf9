"""Rows held out of a fit, to measure it on what it has not seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from gradwire._errors import UsageError
from gradwire_training._data.replicates import points

if TYPE_CHECKING:
    from gradwire_training._data.samples import Samples

SHARE: Final = 0.2  # enough to measure by, and four fifths of the labels are left to learn from
LEAST: Final = 20  # rows: of fewer, each is worth more to the fit than to its measurement
STREAM: Final = 2  # of random numbers, apart from those behind points and weights


def hold_out(
    samples: Samples, *, share: float = SHARE, seed: int = 0, least: int = LEAST
) -> tuple[Samples, Samples | None]:
    """Splits rows at random into those to fit and those to measure by.

    Rows with the same inputs stay together, so that nothing is measured that was fitted.

    Args:
        samples: all rows.
        share: of the points that are held out, from 0 to below 1; default a fifth.
        seed: of the choice.
        least: how many rows there must be; of fewer, none is held out. Default 20.

    Returns:
        The rows to fit, and the rows held out, both in their order; None where none is held out.

    Raises:
        UsageError: a share out of range.
    """
    if not 0 <= share < 1:
        raise UsageError(f"share {share} is to be held out, expected 0 or more and below 1")
    numbers = points(samples.x)
    different = int(numbers.max()) + 1
    held = min(round(share * different), different - 1)
    if samples.count < least or held == 0:
        return samples, None
    order = np.random.default_rng(np.random.SeedSequence((seed, STREAM))).permutation(different)
    out = np.isin(numbers, order[:held])
    return samples.take(np.flatnonzero(~out)), samples.take(np.flatnonzero(out))
