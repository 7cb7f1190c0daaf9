"""A known function: where its points lie, and in which words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtri

from gradwire._errors import UsageError
from gradwire_training import problems
from gradwire_training._data.truth import SamplingDistribution


@pytest.fixture
def black_scholes():
    """A function of four inputs."""
    return problems.get("black-scholes").truth


@pytest.mark.parametrize("spacing", ["random", "sobol", "linear", "chebyshev"])
def test_points_of_several_inputs_fill_the_domain(black_scholes, spacing):
    """Each input gets a column over its own range."""
    x = black_scholes.points(256, spacing=spacing, seed=2)
    assert list(x) == ["spot", "volatility", "maturity", "rate"]
    for name, column in x.items():
        lower, upper = black_scholes.domain[name]
        assert column.shape == (256, 1)
        assert lower <= column.min() < lower + 0.1 * (upper - lower)
        assert upper >= column.max() > upper - 0.1 * (upper - lower)


def test_the_numbers_of_one_input_are_shared_out_in_order():
    """A grid over x of two numbers gives rows of two."""
    x = problems.get("rosenbrock").truth.points(4, spacing="linear")["x"]
    assert x.tolist() == [[-2, -2], [-2, 2], [2, -2], [2, 2]]


def test_a_law_places_scattered_points(log):
    """Numbers in (0, 1) go to the distribution, never 0 or 1; grids are refused, for they have no place in it."""
    distribution = SamplingDistribution(place=lambda numbers: {"x": np.exp(ndtri(numbers))}, text="lognormal")
    truth = replace(log.truth, distribution=distribution)
    for spacing in ("random", "sobol"):
        x = truth.points(4_096, spacing=spacing, seed=1)["x"]
        assert abs(np.log(x).mean()) < 0.05
        assert abs(np.log(x).std() - 1) < 0.05
    edges = replace(log.truth, distribution=replace(distribution, place=lambda numbers: {"x": numbers}))
    assert edges.points(100_000, spacing="random")["x"].min() > 0
    with pytest.raises(UsageError, match=r"'log' follow a distribution \(lognormal\): use 'random' or 'sobol'"):
        truth.points(5, spacing="chebyshev")


def test_words_for_the_domain():
    """Boxes, powers of intervals and laws."""
    where = {name: problems.get(name).truth.where for name in ("log", "black-scholes", "rosenbrock-5", "basket")}
    assert where == {
        "log": "[0.1, 1.9]",
        "black-scholes": "[50, 150] x [0.1, 0.5] x [0.25, 2] x [0, 0.1]",
        "rosenbrock-5": "[-2, 2]^5",
        "basket": "seven correlated spots, Gaussian about 1",
    }


def test_fits_are_measured_on_the_same_points_whatever_the_seed(black_scholes):
    """Several inputs: scattered points, always the same, that no sample shares."""
    first, again = (black_scholes.test_points(100)["spot"] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    samples = problems.get("black-scholes").samples(100, spacing="random", seed=0)
    assert not np.isin(samples.x["spot"], first).any()
