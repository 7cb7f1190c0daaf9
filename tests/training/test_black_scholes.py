"""The Black-Scholes problem against published values and relations that hold for every call."""

from __future__ import annotations

import numpy as np
import pytest

from gradwire_training import problems
from gradwire_training.problems._black_scholes import STRIKE


@pytest.fixture(scope="module")
def truth():
    """Price, delta, vega, minus theta and rho."""
    return problems.get("black-scholes").truth


def at(spot, volatility, maturity, rate):
    """One point as columns."""
    values = {"spot": spot, "volatility": volatility, "maturity": maturity, "rate": rate}
    return {name: np.array([[float(value)]]) for name, value in values.items()}


# spot, strike, volatility, maturity, rate, price: Hull, Options, Futures and Other Derivatives (the standard example),
# and Haug, The Complete Guide to Option Pricing Formulas, section 1.1.1 (its price has four digits).
PUBLISHED = [(42, 40, 0.2, 0.5, 0.1, 4.7594), (60, 65, 0.3, 0.25, 0.08, 2.1334)]


@pytest.mark.parametrize(("spot", "strike", "volatility", "maturity", "rate", "price"), PUBLISHED)
def test_published_prices(truth, spot, strike, volatility, maturity, rate, price):
    """Spot, strike and price scale together, so that the fixed strike stands for any."""
    scale = STRIKE / strike
    scaled = truth.f(at(spot * scale, volatility, maturity, rate))["price"].item() / scale
    assert scaled == pytest.approx(price, abs=5e-5)


def test_the_greeks_obey_the_equation_that_the_price_solves(truth):
    """Theta + 1/2 sigma^2 S^2 gamma + r S delta = r C, gamma by a complex step of delta."""
    x = truth.points(200, spacing="sobol", seed=1)
    derivatives = truth.df(x)["price"]
    moved = truth.df({**x, "spot": x["spot"] + 1e-30j})["price"]["spot"]
    gamma = moved.imag / 1e-30
    left = (
        -derivatives["maturity"]
        + (x["volatility"] * x["spot"]) ** 2 * gamma / 2
        + x["rate"] * x["spot"] * derivatives["spot"]
    )
    np.testing.assert_allclose(left, x["rate"] * truth.f(x)["price"], atol=1e-12)


def test_prices_stay_between_the_bounds_of_arbitrage(truth):
    """max(S - K exp(-rT), 0) <= C <= S, delta between 0 and 1, vega and rho not negative."""
    x = truth.points(500, spacing="random", seed=4)
    price, derivatives = truth.f(x)["price"], truth.df(x)["price"]
    least = np.maximum(x["spot"] - STRIKE * np.exp(-x["rate"] * x["maturity"]), 0)
    assert (price >= least - 1e-12).all()
    assert (price <= x["spot"]).all()
    assert ((derivatives["spot"] >= 0) & (derivatives["spot"] <= 1)).all()
    assert min(derivatives["volatility"].min(), derivatives["rate"].min()) >= 0
