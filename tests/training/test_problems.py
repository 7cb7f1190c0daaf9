"""The problems that come along, and the samples that they make."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gradwire._errors import UsageError
from gradwire_training import Derivative, Sobolev, Value, problems
from gradwire_training.problems import Quantity


def test_linear_samples_of_the_logarithm_are_the_posts(log):
    """19 linear samples are arange(0.1, 2, 0.1), log x and 1/x."""
    samples = log.samples(19, spacing="linear")
    x = np.arange(0.1, 2, 0.1)
    np.testing.assert_allclose(samples.x["x"].ravel(), x, rtol=1e-14)
    np.testing.assert_allclose(samples.y["f"].ravel(), np.log(x), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(samples.dydx["f"]["x"].ravel(), 1 / x, rtol=1e-13)
    assert samples.origin.truth is log.truth


def test_spacings_place_points_inside_the_domain(log):
    """Log spacing has constant ratios; random points follow the seed."""
    even = log.samples(60, spacing="log").x["x"].ravel()
    np.testing.assert_allclose(even[1:] / even[:-1], (1.9 / 0.1) ** (1 / 59), rtol=1e-12)
    first, again, other = (log.samples(50, spacing="random", seed=seed).x["x"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.min() >= 0.1
    assert first.max() <= 1.9


def test_truth_and_derivative_of_every_problem_agree():
    """The derivative that a problem gives is that of its function."""
    for truth in (problems.get(name).truth for name in problems.names()):
        x = truth.points(20, spacing="random")
        for wrt, column in x.items():
            step = 1e-6 * np.abs(column).max()
            up, down = (truth.f({**x, wrt: column + sign * step}) for sign in (1, -1))
            for output, by in truth.df(x).items():
                np.testing.assert_allclose(by[wrt], (up[output] - down[output]) / (2 * step), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "kind"), [("value", Value), ("sobolev", Sobolev), ("derivative", Derivative)]
)
def test_losses_by_name(log, name, kind):
    """A problem knows each loss, with the pin f(1) = 0 for derivatives."""
    loss = log.loss(name)
    assert isinstance(loss, kind)
    if loss.pins is not None:
        assert (loss.pins.x["x"].item(), loss.pins.y["f"].item()) == (1.0, 0.0)


REFUSED = {
    "problem": (lambda log: problems.get("sqrt"), r"problem 'sqrt', expected one of log"),
    "loss": (lambda log: log.loss("huber"), r"loss 'huber', expected one of sobolev, value, derivative"),
    "spacing": (
        lambda log: log.samples(spacing="odd"),
        r"spacing 'odd', expected one of linear, log, random",
    ),
    "count": (lambda log: log.samples(0), r"0 points, expected 1 or more"),
    "log of negative": (
        lambda log: replace(log.truth, domain={"x": (-1.0, 1.0)}).points(5, spacing="log"),
        r"spacing 'log' needs a domain above 0, 'x' begins at -1",
    ),
    "grid": (
        lambda log: replace(log.truth, inputs=(Quantity("x", shape=(2,)),)).points(5),
        r"spacing 'linear' needs one input of one number, 'log' has more: use 'random'",
    ),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_what_a_problem_refuses(log, call, message):
    """Unknown words list the known ones."""
    with pytest.raises(UsageError, match=message):
        call(log)
