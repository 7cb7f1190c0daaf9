"""A known function: its formula, its derivative, its domain, and points within it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import UsageError
from gradwire_training._data.columns import Derivatives, Table
from gradwire_training._data.designs import GRIDS, SPACINGS, cloud, grid

TRUTH_SEED: Final = 20_261_101  # of the test points of functions of several inputs: the same for every fit
EDGE: Final = 2.0**-31  # uniform numbers stay as far from 0 and 1: Sobol's have 30 bits, and may be 0


@final
@dataclass(frozen=True, slots=True)
class Quantity:
    """An input or output of a problem.

    Attributes:
        name: in samples, models and packages.
        unit: physical unit, ``"1"`` for a pure number.
        shape: row shape.
    """

    name: str
    unit: str = "1"
    shape: tuple[int, ...] = (1,)


@final
@dataclass(frozen=True, slots=True)
class SamplingDistribution:
    """How the points of a function are distributed, where they do not fill a box evenly.

    Attributes:
        place: ``(rows, elements)`` within (0, 1), as many elements as the inputs have together -> points.
        text: such as ``"Gaussian about 1"``.
    """

    place: Callable[[NDArray[np.float64]], Table]
    text: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """A function with its derivative.

    Attributes:
        name: of the problem that it belongs to.
        inputs: in the model's order.
        outputs: in the model's order.
        domain: input -> lowest and highest value of each of its elements.
        f: name -> ``(rows, *row shape)`` in, the true outputs out.
        df: name -> ``(rows, *row shape)`` in, output -> input -> true derivative out, with the contract's shapes.
        formula: as text, such as ``"log x"``.
        derivative_formula: of its derivative, such as ``"1/x"``.
        source: where the problem comes from.
        distribution: how points lie; None spreads them evenly over the domain.
    """

    name: str
    inputs: tuple[Quantity, ...]
    outputs: tuple[Quantity, ...]
    domain: Mapping[str, tuple[float, float]]
    f: Callable[[Table], Table]
    df: Callable[[Table], Derivatives]
    formula: str
    derivative_formula: str
    source: str
    distribution: SamplingDistribution | None = None

    def points(self, count: int, *, spacing: str = "linear", seed: int = 0) -> Table:
        """Return points of the domain, or of the distribution.

        Args:
            count: how many.
            spacing: ``"linear"``, ``"log"`` or ``"chebyshev"`` lay a grid over the domain (for several elements
                the same number of points along each, so that only whole powers are possible); ``"random"`` and
                ``"sobol"`` scatter any count over it, or follow the distribution (see ``designs.py``).
            seed: of scattered points.

        Raises:
            UsageError: fewer than one point, an unknown spacing, or one that the domain, the distribution or the count
                does not allow.
        """
        if count < 1:
            raise UsageError(f"{count} points, expected 1 or more")
        if spacing not in SPACINGS:
            raise UsageError(f"spacing {spacing!r}, expected one of {', '.join(SPACINGS)}")
        if spacing in GRIDS:
            if self.distribution is not None:
                raise UsageError(
                    f"spacing {spacing!r} lays a grid, the points of {self.name!r} follow a distribution "
                    f"({self.distribution.text}): use 'random' or 'sobol'"
                )
            return self._split(grid(self._bounds(), count, spacing))
        numbers = cloud(len(self._bounds()), count, spacing, seed=seed)
        if self.distribution is not None:
            return self.distribution.place(np.clip(numbers, EDGE, 1 - EDGE))
        lower, upper = np.array(self._bounds()).T
        return self._split(lower + (upper - lower) * numbers)

    def test_points(self, count: int) -> Table:
        """Return points to evaluate a fit on: evenly for a curve, else at random, always the same."""
        return self.points(count) if self.is_curve else self.points(count, spacing="random", seed=TRUTH_SEED)

    @property
    def units(self) -> dict[str, str]:
        """The physical unit of every input and output."""
        return {quantity.name: quantity.unit for quantity in (*self.inputs, *self.outputs)}

    @property
    def is_curve(self) -> bool:
        """Whether it is a function of one scalar, which can be drawn and evenly sampled."""
        return len(self.inputs) == 1 and self.inputs[0].shape == (1,)

    @property
    def where(self) -> str:
        """Where its points lie, as text: ``"[0.1, 1.9]"``, ``"[-2, 2]^5"``, or the distribution's."""
        if self.distribution is not None:
            return self.distribution.text
        sides: list[str] = []
        for quantity in self.inputs:
            (lower, upper), numbers = self.domain[quantity.name], int(np.prod(quantity.shape))
            sides.append(f"[{lower:g}, {upper:g}]" + (f"^{numbers}" if numbers > 1 else ""))
        return " x ".join(sides)

    def _bounds(self) -> list[tuple[float, float]]:
        """The bounds of every element of the inputs, in order."""
        return [self.domain[quantity.name] for quantity in self.inputs for _ in range(int(np.prod(quantity.shape)))]

    def _split(self, numbers: NDArray[np.float64]) -> Table:
        """Return ``(rows, elements)`` as the inputs by name."""
        ends = np.cumsum([0, *(int(np.prod(quantity.shape)) for quantity in self.inputs)])
        return {
            quantity.name: numbers[:, begin:end].reshape(-1, *quantity.shape)
            for quantity, (begin, end) in zip(self.inputs, pairwise(ends), strict=True)
        }
