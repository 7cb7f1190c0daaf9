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


def check_spacing(spacing: str) -> None:
    """Raise if a spacing is unknown.

    Raises:
        UsageError: it is not one of ``SPACINGS``.
    """
    if spacing not in SPACINGS:
        raise UsageError(f"spacing {spacing!r}, expected one of {', '.join(SPACINGS)}")


def grid(bounds: Sequence[tuple[float, float]], count: int, spacing: str) -> NDArray[np.float64]:
    """Return a product grid over a box: the same number of points along every axis, the last axis fastest.

    Args:
        bounds: lowest and highest value of each axis.
        count: of points in all: a whole power of the number of axes.
        spacing: ``"linear"`` or ``"log"`` (evenly, both ends included), or ``"chebyshev"`` (the roots of the
            Chebyshev polynomial, cos((2k + 1) pi / 2n), denser towards the ends, ends not included).

    Returns:
        ``(count, axes)``.

    Raises:
        UsageError: a count that no such grid has, or ``"log"`` over an axis that is not above 0.
    """
    side = _side(count, len(bounds), spacing)
    axes = [_axis(lower, upper, side, spacing) for lower, upper in bounds]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(count, len(bounds))


def cloud(dimensions: int, count: int, spacing: str, *, seed: int) -> NDArray[np.float64]:
    """Return points scattered over the unit cube.

    Args:
        dimensions: of the cube.
        count: of points.
        spacing: ``"random"`` (independent, uniform), or ``"sobol"`` (the first points of a Sobol sequence with
            Owen's scrambling: each uniform, together far more even. Owen, J. Complexity 14, 1998; by SciPy).
        seed: of the random numbers, or of the scrambling.

    Returns:
        ``(count, dimensions)``, each in [0, 1).
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


def _side(count: int, axes: int, spacing: str) -> int:
    """Return the number of points along an axis."""
    side = round(count ** (1 / axes))
    if side**axes == count:
        return side
    below = math.floor(count ** (1 / axes))
    raise UsageError(
        f"spacing {spacing!r} lays a grid of k points along each of {axes} axes: {count} is none, "
        f"{below**axes} and {(below + 1) ** axes} are; or use 'sobol', which has any count"
    )
