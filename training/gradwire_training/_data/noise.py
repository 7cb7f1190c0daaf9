"""Noise added to the labels of a known function."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import UsageError
from gradwire_training._data.columns import mean_and_deviation
from gradwire_training._data.samples import Samples

NOISE_SEED: Final = 7_351  # beside the caller's: noise must not draw the numbers that placed the points


def with_noise(samples: Samples, fraction: float, *, seed: int = 0) -> Samples:
    """Return samples with Gaussian noise on every label.

    Each element of ``y``, ``dydx`` and ``y_dot`` gets noise whose standard deviation is a fraction of that element's
    own standard deviation over the rows. The provenance stays, so that errors are measured against the truth.

    Args:
        samples: with labels that vary; they are left as they are.
        fraction: of the standard deviation, 0 or more; 0 returns the samples themselves.
        seed: the same seed gives the same noise.

    Raises:
        UsageError: a negative fraction, or one that is not finite.
    """
    if not (math.isfinite(fraction) and fraction >= 0):
        raise UsageError(f"noise is {fraction}, expected a finite number of 0 or more, such as 0.01")
    if not fraction:
        return samples
    generator = np.random.default_rng((NOISE_SEED, seed))

    def noisy(column: NDArray[np.float64]) -> NDArray[np.float64]:
        _, deviation = mean_and_deviation(column)
        return column + fraction * deviation * generator.standard_normal(column.shape)

    return samples.map_labels(noisy, note=f"noise of {fraction:g} standard deviations was added to every label")
