"""Designs of experiments: points on grids, or scattered over a cube."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from gradwire._errors import UsageError

GRIDS: Final = ("linear", "log", "chebyshev")  # the same coordinates along every axis
CLOUDS: Final = ("random", "sobol")  # of any count in any number of dimensions
SPACINGS: Final = ("linear", "log", "random", "sobol", "chebyshev")


def grid(bounds: Sequence[tuple[float, float]], count: int, spacing: str) -> NDArray[np.float64]:
    """Return a product grid over a box, ``(count, axes)``: as many points along every axis, the last axis fastest.

    The ends are included, but by ``"chebyshev"``: the roots of the Chebyshev polynomial, cos((2k + 1) pi / 2n).
    """
    axes_count = len(bounds)
    side = round(count ** (1 / axes_count))
    if side**axes_count != count:
        below = math.floor(count ** (1 / axes_count))
        raise UsageError(
            f"spacing {spacing!r} lays a grid of k points along each of {axes_count} axes: {count} is none, "
            f"{below**axes_count} and {(below + 1) ** axes_count} are; or use 'sobol', which has any count"
        )
    axes = [_axis(lower, upper, side, spacing) for lower, upper in bounds]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(count, axes_count)


def cloud(dimensions: int, count: int, spacing: str, *, seed: int) -> NDArray[np.float64]:
    """Return points scattered over the unit cube, ``(count, dimensions)``, each in [0, 1).

    ``"sobol"`` takes the first points of a Sobol sequence with Owen's scrambling (J. Complexity 14, 1998; by SciPy):
    each is uniform, together they are far more even than independent ones.
    """
    generator = np.random.default_rng(seed)
    if spacing == "random":
        return generator.random((count, dimensions))
    # A power of two is drawn, as SciPy warns of any other count, and cut: the sequence's beginning is the same.
    exponent = max(count - 1, 0).bit_length()
    sequence = qmc.Sobol(dimensions, scramble=True, seed=generator)  # pyright: ignore[reportCallIssue] - rng is of SciPy 1.15
    return sequence.random_base2(exponent)[:count]


def _axis(lower: float, upper: float, count: int, spacing: str) -> NDArray[np.float64]:
    match spacing:
        case "linear":
            return np.linspace(lower, upper, count)
        case "log":
            if lower <= 0:
                raise UsageError(f"spacing 'log' needs a domain above 0, one begins at {lower}: use 'linear'")
            return np.geomspace(lower, upper, count)
        case _:
            angles = (2 * np.arange(count)[::-1] + 1) * np.pi / (2 * count)
            return (lower + upper) / 2 + (upper - lower) / 2 * np.cos(angles)
