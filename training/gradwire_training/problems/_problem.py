"""A known function to be learnt: how it is sampled, by which network, and for which loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from gradwire._errors import UsageError
from gradwire_training._losses import Derivative, Loss, Sobolev, Value
from gradwire_training._samples import Origin, Samples
from gradwire_training._truth import Truth

if TYPE_CHECKING:
    import keras

LOSSES: Final = (Sobolev.name, Value.name, Derivative.name)  # the default first


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A function with a known truth, to be learnt.

    Attributes:
        truth: the function, its derivative, its domain.
        count: samples unless told otherwise.
        pins: points and values that fix the constant which derivatives leave open.
        build: seed -> a fresh Keras model.
    """

    truth: Truth
    count: int
    pins: Samples
    build: Callable[[int], keras.Model]

    @property
    def name(self) -> str:
        """By which ``problems.get`` finds it."""
        return self.truth.name

    def samples(self, count: int | None = None, *, spacing: str = "linear", seed: int = 0) -> Samples:
        """Samples the function and its derivatives.

        Args:
            count: how many rows; the problem's own number by default.
            spacing: ``"linear"``, ``"log"`` or ``"random"`` (see ``Truth.points``).
            seed: of random points.

        Returns:
            Samples that remember where they come from.

        Raises:
            UsageError: fewer than one row, an unknown spacing, or one that the domain does not allow.
        """
        x = self.truth.points(self.count if count is None else count, spacing=spacing, seed=seed)
        origin = Origin(truth=self.truth, spacing=spacing, seed=seed)
        return Samples(x, self.truth.f(x), self.truth.df(x), origin=origin)

    def network(self, *, seed: int = 0) -> keras.Model:
        """Builds a fresh network of the size that suits the problem.

        Args:
            seed: of its initial weights.
        """
        return self.build(seed)

    def loss(self, name: str) -> Loss:
        """Gives a loss by its name, with the problem's pins where it needs some.

        Args:
            name: ``"sobolev"``, ``"value"`` or ``"derivative"``.

        Raises:
            UsageError: another name.
        """
        match name:
            case Sobolev.name:
                return Sobolev()
            case Value.name:
                return Value()
            case Derivative.name:
                return Derivative(self.pins)
            case _:
                raise UsageError(f"loss {name!r}, expected one of {', '.join(LOSSES)}")
