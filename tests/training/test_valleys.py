"""Rosenbrock's function, and Styblinski and Tang's, in several dimensions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize, rosen, rosen_der

from gradwire._errors import UsageError
from gradwire_training import problems


@pytest.mark.parametrize("name", ["rosenbrock", "rosenbrock-5", "styblinski-tang", "styblinski-tang-3"])
def test_the_minimum_is_the_published_one(name):
    """The pin lies there, the gradient vanishes, and a search from nearby ends there."""
    problem = problems.get(name)
    truth, pin = problem.truth, problem.pins
    lowest = 0.0 if name.startswith("rosenbrock") else -39.16616570377142 * pin.x["x"].shape[1]
    assert pin.y["f"].item() == pytest.approx(lowest, abs=1e-12)
    np.testing.assert_allclose(truth.df(pin.x)["f"]["x"], 0, atol=1e-12)
    lowest = minimize(
        lambda x: (truth.f({"x": x[None]})["f"].item(), truth.df({"x": x[None]})["f"]["x"][0]),
        pin.x["x"][0] - 0.1,
        jac=True,
        tol=1e-12,
    )
    np.testing.assert_allclose(lowest.x, pin.x["x"][0], atol=1e-4)


def test_rosenbrock_is_scipys():
    """Value and gradient of a published implementation."""
    truth = problems.get("rosenbrock-4").truth
    x = truth.points(10, spacing="random")
    np.testing.assert_allclose(truth.f(x)["f"].ravel(), [rosen(row) for row in x["x"]], rtol=1e-13)
    np.testing.assert_allclose(truth.df(x)["f"]["x"], [rosen_der(row) for row in x["x"]], rtol=1e-11, atol=1e-11)


def test_names_carry_the_dimensions():
    """Two by default; names are those by which a record finds the problem again."""
    assert problems.get("rosenbrock-2") is problems.get("rosenbrock")
    five = problems.get("styblinski-tang-5")
    assert (five.name, five.truth.inputs[0].shape, five.count) == ("styblinski-tang-5", (5,), 250)
    assert problems.get("styblinski-tang-1").truth.is_curve
    assert problems.known("rosenbrock-7")
    assert not problems.known("log-2")
    assert not problems.known(None)


@pytest.mark.parametrize("name", ["rosenbrock-0", "rosenbrock-x", "rosenbrock-", "basket-3", "rosenbrock-99999"])
def test_names_that_mean_nothing_are_refused(name):
    """Only families have dimensions, and not any."""
    with pytest.raises(UsageError, match=r"expected one of log, .*as in rosenbrock-5"):
        problems.get(name)


def test_one_dimension_is_too_few_for_rosenbrock():
    """Each of its terms joins two numbers."""
    with pytest.raises(UsageError, match=r"rosenbrock in 1 dimensions, expected 2 or more"):
        problems.get("rosenbrock-1")
