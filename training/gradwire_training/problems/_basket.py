"""A call on a basket of seven correlated assets in Bachelier's model, learned from simulated payoffs.

The setting of Huge and Savine (arXiv 2005.02347, and the notebook that they published with it): the state is the
seven spots at time T1, a sample's label is the payoff of one simulated path from T1 to T2, and its derivatives are
those of that payoff. Labels are unbiased, not exact; the truth is the closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from gradwire_training._data import Derivatives, Quantity, Samples, SamplingDistribution, Table, Truth
from gradwire_training.optimizers._adam import Adam
from gradwire_training.problems._problem import Problem

# The parameters of Huge and Savine. Theirs have no unit; here USD and years.
ASSETS: Final = 7
SPOT: Final = 1.0  # of every asset, today
STRIKE: Final = 1.1
YEARS: Final = 1.0  # from today to T1, and from T1 to T2
VOLATILITY: Final = 0.2  # of the basket, USD per square root of a year
WIDENING: Final = 1.5  # of the volatility until T1, so that more samples lie in the wings
TESTED: Final = 0.5  # their test domain: so far from today's spot, widened for several dimensions

MARKET_SEED: Final = 2_005_02347  # of weights, volatilities and correlations, which they draw at random as well
# Huge and Savine's 100 epochs of 16 batches. Their rate rises to 0.1 and falls; this one falls from 0.03 along half a
# cosine. A second-order optimiser would fit the noise of the labels.
ROWS: Final = 4_096
STEPS: Final = 1_600
BATCHES: Final = 16
SMALLEST_BATCH: Final = 256
LEARNING_RATE: Final = 0.03


@final
@dataclass(frozen=True, slots=True)
class Market:
    """What the prices depend on, and the prices."""

    weights: NDArray[np.float64]  # (assets,), of each asset in the basket; their sum is 1
    root: NDArray[np.float64]  # (assets, assets), lower triangle; root @ root.T is the covariance of a year

    @classmethod
    def drawn(cls, seed: int, assets: int = ASSETS) -> Market:
        """Draw weights of 1 to 10 parts, volatilities of 5 to 50 parts, and correlations of random factors."""
        generator = np.random.default_rng(seed)
        factors = generator.uniform(-1, 1, (2 * assets, assets))
        covariance = factors.T @ factors
        sizes = 1 / np.sqrt(np.diag(covariance))
        correlation = covariance * np.outer(sizes, sizes)
        weights = generator.uniform(1, 10, assets)
        weights /= weights.sum()
        volatilities = generator.uniform(5, 50, assets)
        of_basket = weights * volatilities
        volatilities *= VOLATILITY / np.sqrt(of_basket @ correlation @ of_basket)
        root = np.asarray(np.linalg.cholesky(correlation * np.outer(volatilities, volatilities)), np.float64)
        return cls(weights=weights, root=root)

    def values(self, x: Table) -> Table:
        """Return the price in closed form."""
        deviation = VOLATILITY * np.sqrt(YEARS)
        above = (self._basket(x["spots"]) - STRIKE) / deviation
        density = np.exp(-(above**2) / 2) / np.sqrt(2 * np.pi)
        return {"price": deviation * (above * ndtr(above) + density)}

    def derivatives(self, x: Table) -> Derivatives:
        """Return the deltas in closed form."""
        above = (self._basket(x["spots"]) - STRIKE) / (VOLATILITY * np.sqrt(YEARS))
        return {"price": {"spots": ndtr(above) * self.weights}}

    def place(self, uniform: NDArray[np.float64]) -> Table:
        """Return spots at T1: Gaussian about today's, with a volatility that is widened."""
        return {"spots": SPOT + WIDENING * np.sqrt(YEARS) * ndtri(uniform) @ self.root.T}

    def simulate(
        self, x: Table, generator: np.random.Generator, *, antithetic: bool = False
    ) -> tuple[Table, Derivatives]:
        """Return the payoff of one path a row, from its spots at T1 to T2, and its derivatives.

        Antithetic takes the mean of each path and its mirror image, as Huge and Savine's notebook does: a label then
        has a ninth of the variance, a derivative a quarter, for twice the paths.
        """
        moves = np.sqrt(YEARS) * generator.standard_normal(x["spots"].shape) @ self.root.T
        ends = [self._basket(x["spots"] + sign * moves) for sign in ((1, -1) if antithetic else (1,))]
        payoff = np.mean([np.maximum(end - STRIKE, 0.0) for end in ends], axis=0)
        exercised = np.mean([end > STRIKE for end in ends], axis=0)
        return {"price": payoff}, {"price": {"spots": exercised * self.weights}}

    def _basket(self, spots: NDArray[Any]) -> NDArray[Any]:
        return (spots @ self.weights)[:, None]

    def problem(self, name: str, count: str) -> Problem:
        """Return the problem of this market; the number of its assets is in words."""
        assets = len(self.weights)
        half = TESTED * (1 + 0.5 * np.sqrt((assets - 1) * 2 * TESTED / 12))  # so that baskets fill the test domain
        today = {"spots": np.full((1, assets), SPOT)}
        return Problem(
            truth=Truth(
                name=name,
                inputs=(Quantity("spots", "USD", (assets,)),),
                outputs=(Quantity("price", "USD"),),
                domain={"spots": (round(float(SPOT - half), 4), round(float(SPOT + half), 4))},
                f=self.values,
                df=self.derivatives,
                formula="Bachelier's call on a basket",
                derivative_formula="its deltas",
                source="Huge and Savine, Differential machine learning, arXiv 2005.02347, and its notebook",
                distribution=SamplingDistribution(
                    place=self.place, text=f"{count} correlated spots, Gaussian about {SPOT:g}"
                ),
            ),
            count=ROWS,
            spacing="random",
            pins=Samples(today, self.values(today)),
            widths=(20, 20, 20, 20),
            activation="softplus",
            simulate=self.simulate,
            optimizer=_optimizer,
            steps=STEPS,
        )


def _optimizer(count: int) -> Adam:
    return Adam(learning_rate=LEARNING_RATE, batch_size=max(SMALLEST_BATCH, count // BATCHES))


MARKET: Final = Market.drawn(MARKET_SEED)
BASKET: Final = MARKET.problem("basket", "seven")
