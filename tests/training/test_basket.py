"""The basket of Huge and Savine: its market, its closed form, and the labels that it simulates."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gradwire_training import fit, problems, repeat
from gradwire_training.problems._basket import ASSETS, MARKET, MARKET_SEED, STRIKE, VOLATILITY, Market


@pytest.fixture(scope="module")
def basket():
    """Simulated labels, unless exact ones are asked for."""
    return problems.get("basket")


def test_the_market_is_the_papers():
    """Weights sum to 1, the basket has a volatility of 0.2, correlations are real and below 1."""
    assert MARKET.weights.sum() == pytest.approx(1)
    covariance = MARKET.root @ MARKET.root.T
    assert np.sqrt(MARKET.weights @ covariance @ MARKET.weights) == pytest.approx(VOLATILITY)
    sizes = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(sizes, sizes)
    assert abs(correlation - np.eye(ASSETS)).max() < 1
    assert abs(correlation - np.eye(ASSETS)).max() > 0.1


def test_the_closed_form_is_the_mean_of_the_payoff(basket):
    """E max(B - K, 0) of a Gaussian B by Gauss-Hermite quadrature over either side of the strike."""
    x = basket.truth.points(20, spacing="random", seed=3)
    levels = x["spots"] @ MARKET.weights
    nodes, masses = np.polynomial.legendre.leggauss(200)
    for level, price in zip(levels, basket.truth.f(x)["price"].ravel(), strict=True):
        upper = max(level, STRIKE) + 9 * VOLATILITY
        end = STRIKE + (nodes + 1) / 2 * (upper - STRIKE)
        density = np.exp(-(((end - level) / VOLATILITY) ** 2) / 2) / (VOLATILITY * np.sqrt(2 * np.pi))
        mean = ((end - STRIKE) * density * masses).sum() * (upper - STRIKE) / 2
        assert price == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize("antithetic", [False, True])
def test_simulated_labels_are_right_on_average(basket, antithetic):
    """At one point, the mean payoff and the mean of its derivatives are price and deltas, within four errors."""
    rows = 40_000
    x = {"spots": np.tile(np.linspace(0.9, 1.3, ASSETS), (rows, 1))}
    y, dydx = MARKET.simulate(x, np.random.default_rng(1), antithetic=antithetic)
    for simulated, true in (
        (y["price"], basket.truth.f(x)["price"]),
        (dydx["price"]["spots"], basket.truth.df(x)["price"]["spots"]),
    ):
        assert simulated.shape == true.shape
        error = abs(simulated.mean(axis=0) - true[0])
        assert (error < 4 * simulated.std(axis=0) / np.sqrt(rows)).all()


def test_derivatives_are_those_of_the_path(basket):
    """With the same random numbers, a payoff moves by its derivative times the move (but at the kink)."""
    x = basket.truth.points(500, spacing="random", seed=8)
    move = 1e-7 * np.random.default_rng(2).standard_normal(x["spots"].shape)
    before, gradients = MARKET.simulate(x, np.random.default_rng(5))
    after, _ = MARKET.simulate({"spots": x["spots"] + move}, np.random.default_rng(5))
    expected = (gradients["price"]["spots"] * move).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(after["price"] - before["price"], expected, atol=1e-14)


def test_samples_are_simulated_unless_exact_ones_are_asked_for(basket):
    """The same points either way; a seed decides the labels."""
    first, again, other = (basket.samples(64, seed=seed) for seed in (1, 1, 2))
    exact = basket.samples(64, seed=1, exact=True)
    np.testing.assert_array_equal(first.x["spots"], exact.x["spots"])
    np.testing.assert_array_equal(first.y["price"], again.y["price"])
    assert not np.array_equal(first.y["price"], other.y["price"])
    assert set(np.unique(first.dydx["price"]["spots"] / MARKET.weights).round(9)) == {0, 1}
    np.testing.assert_array_equal(exact.y["price"], basket.truth.f(exact.x)["price"])


@pytest.mark.slow
def test_a_record_says_that_labels_were_simulated(basket, tmp_path):
    """A fit to simulated labels is measured against the closed form, says so, and can be repeated."""
    samples = basket.samples(32, seed=1)
    result = fit(basket.network(seed=1, samples=samples), samples, optimizer="adam", steps=20, seed=1)
    assert result.errors["against"] == (
        "Bachelier's call on a basket on 1000 points of seven correlated spots, Gaussian about 1"
    )
    record = json.loads((result.save(tmp_path / "basket") / "fit.json").read_text())
    assert record["trained"]["samples"]["simulated"] is True
    again = repeat(tmp_path / "basket")
    assert again.request.samples.provenance == samples.provenance
    assert again.loss == pytest.approx(result.loss, rel=1e-6)


def test_a_market_of_twenty_assets_has_a_problem_of_its_own():
    """Its deltas are differences of its prices, which follow from the basket alone; its box is the notebook's."""
    problem = Market.drawn(MARKET_SEED, 20).problem("basket-20", "twenty")
    x = problem.truth.points(5, spacing="random", seed=1)
    step = 1e-6 * np.random.default_rng(2).standard_normal(20)
    up, down = (problem.truth.f({"spots": x["spots"] + sign * step})["price"] for sign in (1, -1))
    deltas = problem.truth.df(x)["price"]["spots"]
    np.testing.assert_allclose((up - down).ravel() / 2, deltas @ step, rtol=1e-6, atol=1e-15)
    assert problem.truth.domain["spots"] == (0.1854, 1.8146)
    assert problem.samples(8).x["spots"].shape == (8, 20)
