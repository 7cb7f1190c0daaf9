"""What the remainders tell, on a function whose derivatives are known: right Hessians from wrong ones, in float32."""

from __future__ import annotations

import numpy as np
import pytest

from gradwire._numerics import Remainders, multiples
from gradwire._verify.taylor import LEAST_EVEN_SLOPE

EPS = 2.0**-23
POINTS = np.round(np.linspace(-0.98, 0.98, 64) * 2**20) / 2**20


def even_remainders(k: float, *, fault: float = 0.0) -> Remainders:
    """Of tanh(kx) in float32 on [-1, 1], with its Hessian times 1 + fault."""
    halvings = 12
    steps = 2.0 ** np.floor(np.log2(np.minimum(0.25, 1 - np.abs(POINTS))))[:, None]
    moves = steps * multiples(halvings, 2.0**-halvings)
    f, second = np.tanh(k * POINTS), -2 * k * k * np.tanh(k * POINTS) / np.cosh(k * POINTS) ** 2
    values = np.tanh(k * (POINTS[:, None] + moves)).astype(np.float32).astype(np.float64)
    r = values - f.astype(np.float32)[:, None] - moves**2 / 2 * (second * (1 + fault))[:, None]
    return Remainders(r[:, :, None], moves[:, : halvings + 1], np.full(1, EPS), np.zeros((64, 1))).even()


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_a_hessian_off_by_a_hundredth_bends_the_law(k: float):
    """Where a few points are steep and most are flat, the law of h⁴ holds; a fault's h² shows below it."""
    right, wrong = even_remainders(k), even_remainders(k, fault=0.01)
    slope, slope_of_wrong = right.fitted_slope(right.noise()), wrong.fitted_slope(wrong.noise())
    assert slope is not None
    assert slope_of_wrong is not None
    assert slope > 3.5
    assert slope_of_wrong < LEAST_EVEN_SLOPE
