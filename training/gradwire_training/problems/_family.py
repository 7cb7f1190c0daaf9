"""Functions of any number of dimensions, and their problems."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from gradwire._errors import UsageError
from gradwire_training._data import Derivatives, Quantity, Samples, Table, Truth
from gradwire_training.problems._problem import Problem

ROWS_A_DIMENSION: Final = 50
CZARNECKI: Final = "learned with derivatives by Czarnecki et al., arXiv 1706.04859"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A function f of one input x, in any number of dimensions."""

    name: str  # of its problem in two dimensions
    title: str
    source: str
    domain: tuple[float, float]  # of every element of x
    lowest: float  # every element of x at the minimum, whose value is pinned
    f: Callable[[Table], Table]
    df: Callable[[Table], Derivatives]
    fewest: int = 1  # dimensions

    def problem(self, name: str, dimensions: int) -> Problem:
        """Return the problem in a number of dimensions."""
        if dimensions < self.fewest:
            raise UsageError(f"{self.name} in {dimensions} dimensions, expected {self.fewest} or more")
        lowest = {"x": np.full((1, dimensions), self.lowest)}
        return Problem(
            truth=Truth(
                name=name,
                inputs=(Quantity("x", shape=(dimensions,)),),
                outputs=(Quantity("f"),),
                domain={"x": self.domain},
                f=self.f,
                df=self.df,
                formula=f"{self.title} in {dimensions} dimensions",
                derivative_formula="its gradient",
                source=f"{self.source}; {CZARNECKI}",
            ),
            count=ROWS_A_DIMENSION * dimensions,
            spacing="sobol",
            pins=Samples(lowest, self.f(lowest)),
        )
