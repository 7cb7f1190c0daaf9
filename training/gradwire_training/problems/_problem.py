"""A known function to be learnt: how it is sampled, by which network, and for which loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from gradwire_training._data import Provenance, Samples, Truth
from gradwire_training._objective import Loss, losses
from gradwire_training.optimizers._auto import Auto
from gradwire_training.optimizers._optimizer import Optimizer

if TYPE_CHECKING:
    import keras

    from gradwire_training._data import Derivatives, Table

# Of random numbers: the one behind simulated labels, apart from the one behind the points.
LABELS: Final = 1
LOSSES: Final = tuple(losses.names())  # the default first


def _auto(_: int) -> Optimizer:
    return Auto()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A function with a known truth, to be learnt.

    Attributes:
        truth: the function, its derivative, its domain.
        count: samples unless told otherwise.
        pins: points and values that fix the constant which derivatives leave open.
        build: seed and samples -> a fresh Keras model, which may take its scaling layers from the samples; and the
            keywords ``widths`` and ``activation`` of the hidden layers.
        spacing: of the samples unless told otherwise.
        simulate: points and random numbers -> values and derivatives that are right on average only, as a
            simulation gives them; None where labels are the truth.
        optimizer: number of samples -> the optimiser that suits it; ``auto`` unless there is a reason against it.
        steps: of that optimiser; None for its own number.
    """

    truth: Truth
    count: int
    pins: Samples
    build: Callable[..., keras.Model]
    spacing: str = "linear"
    simulate: Callable[[Table, np.random.Generator], tuple[Table, Derivatives]] | None = None
    optimizer: Callable[[int], Optimizer] = _auto
    steps: int | None = None

    @property
    def name(self) -> str:
        """By which ``problems.get`` finds it."""
        return self.truth.name

    def samples(
        self, count: int | None = None, *, spacing: str | None = None, seed: int = 0, exact: bool = False
    ) -> Samples:
        """Samples the function and its derivatives.

        Args:
            count: how many rows; the problem's own number by default.
            spacing: ``"linear"``, ``"log"``, ``"chebyshev"``, ``"random"`` or ``"sobol"`` (see
                ``Truth.points``); the problem's own by default.
            seed: of scattered points, and of simulated labels.
            exact: the truth as labels also where the problem simulates them.

        Returns:
            Samples that remember where they come from.

        Raises:
            UsageError: fewer than one row, an unknown spacing, or one that the domain does not allow.
        """
        spacing = self.spacing if spacing is None else spacing
        x = self.truth.points(self.count if count is None else count, spacing=spacing, seed=seed)
        simulated = self.simulate is not None and not exact
        provenance = Provenance(truth=self.truth, spacing=spacing, seed=seed, simulated=simulated)
        if exact or self.simulate is None:
            return Samples(x, self.truth.f(x), self.truth.df(x), provenance=provenance)
        generator = np.random.default_rng(np.random.SeedSequence((seed, LABELS)))
        return Samples(x, *self.simulate(x, generator), provenance=provenance)

    def network(self, *, seed: int = 0, samples: Samples | None = None, **layers: Any) -> keras.Model:
        """Builds a fresh network of the size that suits the problem.

        Args:
            seed: of its initial weights.
            samples: that it is to be fitted to: means and spreads of them are part of most networks; by default
                the problem's own.
            **layers: ``widths`` or ``activation`` of the hidden layers, where they are to be others than the
                problem's own.
        """
        return self.build(seed, self.samples() if samples is None else samples, **layers)

    def loss(self, name: str) -> Loss:
        """Return a loss by its name, with the problem's pins where it needs some.

        Args:
            name: one of ``losses.names()``.

        Raises:
            UsageError: another name.
        """
        return losses.get(name, pins=self.pins)
