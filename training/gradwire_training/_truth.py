"""A function that is known: its formula, its derivative, its domain, and points within it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

import numpy as np

from gradwire._errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Table: TypeAlias = "dict[str, NDArray[np.float64]]"  # by name, (rows, *row shape)
Derivatives: TypeAlias = "dict[str, Table]"  # by output and input, with the contract's shapes

SPACINGS: Final = ("linear", "log", "random")
TRUTH_SEED: Final = 20_261_101  # of the points on which several inputs are measured: the same for every fit


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
@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """A function with its derivative.

    Attributes:
        name: of the problem that it belongs to.
        inputs: in the model's order.
        outputs: in the model's order.
        domain: input -> lowest and highest value of each of its numbers.
        f: name -> ``(rows, *row shape)`` in, the true outputs out.
        df: name -> ``(rows, *row shape)`` in, output -> input -> true derivative out, with the contract's shapes.
        formula: in words, such as ``"log x"``.
        derivative_formula: of its derivative, such as ``"1/x"``.
        source: where the problem comes from.
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

    def points(self, count: int, *, spacing: str = "linear", seed: int = 0) -> Table:
        """Places points in the domain.

        Args:
            count: how many.
            spacing: ``"linear"`` or ``"log"`` (evenly over the domain, both ends included; for one input of
                one number), or ``"random"`` (uniformly over the domain).
            seed: of random points.

        Raises:
            UsageError: fewer than one point, an unknown spacing, or one that the domain does not allow.
        """
        if count < 1:
            raise UsageError(f"{count} points, expected 1 or more")
        if spacing not in SPACINGS:
            raise UsageError(f"spacing {spacing!r}, expected one of {', '.join(SPACINGS)}")
        if spacing == "random":
            return _random(self, count, seed)
        if not self.is_curve:
            raise UsageError(
                f"spacing {spacing!r} needs one input of one number, {self.name!r} has more: use 'random'"
            )
        (name, (lower, upper)) = next(iter(self.domain.items()))
        if spacing == "log" and lower <= 0:
            raise UsageError(
                f"spacing 'log' needs a domain above 0, {name!r} begins at {lower}: use 'linear'"
            )
        column = (
            np.linspace(lower, upper, count) if spacing == "linear" else np.geomspace(lower, upper, count)
        )
        return {name: column[:, None]}

    def test_points(self, count: int) -> Table:
        """Places points to measure a fit on: evenly for a curve, else at random, always the same."""
        return self.points(count) if self.is_curve else self.points(count, spacing="random", seed=TRUTH_SEED)

    @property
    def is_curve(self) -> bool:
        """Whether it is a function of one number, which can be drawn and evenly sampled."""
        return len(self.inputs) == 1 and self.inputs[0].shape == (1,)


def _random(truth: Truth, count: int, seed: int) -> Table:
    generator = np.random.default_rng(seed)
    shapes: dict[str, Any] = {quantity.name: quantity.shape for quantity in truth.inputs}
    return {
        name: generator.uniform(lower, upper, (count, *shapes[name]))
        for name, (lower, upper) in truth.domain.items()
    }  # fmt: skip - as the other tables
