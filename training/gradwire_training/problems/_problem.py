"""A problem: a known function, how it is sampled, and the network and optimiser that suit it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, final

import keras
import numpy as np

from gradwire._errors import UsageError
from gradwire_training._data import Derivatives, Provenance, Samples, Table, Truth
from gradwire_training._models import mlp
from gradwire_training._objective import Loss, losses
from gradwire_training.optimizers._auto import Auto
from gradwire_training.optimizers._optimizer import Optimizer

# Stream of random numbers behind simulated labels, apart from the one behind the points.
LABELS: Final = 1
WIDTHS: Final = (32, 32)
LOSSES: Final = tuple(losses.names())  # the default first


def _auto(_: int) -> Optimizer:
    return Auto()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A function with a known truth, to be fitted.

    Attributes:
        truth: the function, its derivative, its domain.
        count: default number of samples.
        pins: points and values that fix the constant which derivatives leave open.
        widths: of the network's hidden layers.
        activation: of the network's hidden layers.
        is_scaled: whether the network begins and ends with layers that scale by means and standard deviations.
        build: seed and samples -> a fresh Keras model, of another kind than a multilayer perceptron.
        spacing: default spacing of the samples.
        simulate: points and random numbers -> unbiased values and derivatives, as a simulation gives them; None where
            labels are the truth.
        optimizer: number of samples -> the optimiser that suits it; ``auto`` unless there is a reason against it.
        steps: of that optimiser; None for its own number.
    """

    truth: Truth
    count: int
    pins: Samples
    widths: tuple[int, ...] = WIDTHS
    activation: str = "tanh"
    is_scaled: bool = True
    build: Callable[[int, Samples], keras.Model] | None = None
    spacing: str = "linear"
    simulate: Callable[[Table, np.random.Generator], tuple[Table, Derivatives]] | None = None
    optimizer: Callable[[int], Optimizer] = _auto
    steps: int | None = None

    @property
    def name(self) -> str:
        """Its name in ``problems.get``."""
        return self.truth.name

    def samples(
        self, count: int | None = None, *, spacing: str | None = None, seed: int = 0, exact: bool = False
    ) -> Samples:
        """Sample the function and its derivatives.

        Args:
            count: number of rows; the problem's own by default.
            spacing: ``"linear"``, ``"log"``, ``"chebyshev"``, ``"random"`` or ``"sobol"`` (see
                ``Truth.points``); the problem's own by default.
            seed: of scattered points, and of simulated labels.
            exact: whether labels are the truth also where the problem simulates them.

        Returns:
            Samples with their provenance.

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
        """Build a fresh network of the size that suits the problem.

        Args:
            seed: of its initial weights.
            samples: that it will be fitted to: their means and standard deviations are part of most networks; by
                default the problem's own.
            **layers: ``widths`` or ``activation`` of the hidden layers, in place of the problem's own.

        Raises:
            UsageError: the problem has a network of another kind, whose layers cannot be set.
        """
        samples = self.samples() if samples is None else samples
        if self.build is None:
            settings = {"widths": self.widths, "activation": self.activation, **layers}
            inputs, outputs = (
                {each.name: each.shape for each in side} for side in (self.truth.inputs, self.truth.outputs)
            )
            return mlp(inputs=inputs, outputs=outputs, seed=seed, scale=samples if self.is_scaled else None, **settings)
        if layers:
            raise UsageError(
                f"{self.name} has a network of its own, whose {', '.join(layers)} cannot be set: leave it out"
            )
        return self.build(seed, samples)

    def loss(self, name: str) -> Loss:
        """Return a loss by its name, with the problem's pins where it needs some.

        Args:
            name: one of ``losses.names()``.

        Raises:
            UsageError: another name.
        """
        return losses.get(name, pins=self.pins)
