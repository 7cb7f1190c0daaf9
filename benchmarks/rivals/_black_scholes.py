"""The call of PyChebyshev's own benchmark (its compare_tensor_train.py): Black-Scholes in five inputs."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

# Spot, strike, years, volatility and rate, with a dividend yield that is fixed.
BOUNDS = ((80.0, 120.0), (90.0, 110.0), (0.25, 1.0), (0.15, 0.35), (0.01, 0.08))
YIELD = 0.02


def price(x: np.ndarray) -> np.ndarray:
    """Return the price at points ``(points, 5)``, ``(points,)``."""
    spot, strike, years, _, rate = x.T
    upper, lower = _arguments(x)
    return spot * np.exp(-YIELD * years) * ndtr(upper) - strike * np.exp(-rate * years) * ndtr(lower)


def greeks(x: np.ndarray) -> np.ndarray:
    """Return its derivatives with respect to all five, ``(points, 5)``; the first is delta."""
    spot, strike, years, volatility, rate = x.T
    upper, lower = _arguments(x)
    held, owed = np.exp(-YIELD * years), np.exp(-rate * years)
    vega = spot * held * np.sqrt(years) * np.exp(-(upper**2) / 2) / np.sqrt(2 * np.pi)
    carry = strike * owed * ndtr(lower)
    by_years = rate * carry - YIELD * spot * held * ndtr(upper) + vega * volatility / (2 * years)
    return np.stack([held * ndtr(upper), -owed * ndtr(lower), by_years, vega, years * carry], axis=1)


def _arguments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    spot, strike, years, volatility, rate = x.T
    deviation = volatility * np.sqrt(years)
    upper = (np.log(spot / strike) + (rate - YIELD + volatility**2 / 2) * years) / deviation
    return upper, upper - deviation
