"""The built-in problems, and the samples that they make."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gradwire._errors import UsageError
from gradwire_training import Derivative, Sobolev, Value, problems
from gradwire_training._data.truth import Quantity
from gradwire_training._models.io_binding import IoBinding


def test_linear_samples_of_the_logarithm_are_the_posts(log):
    """19 linear samples are arange(0.1, 2, 0.1), log x and 1/x."""
    samples = log.samples(19, spacing="linear")
    x = np.arange(0.1, 2, 0.1)
    np.testing.assert_allclose(samples.x["x"].ravel(), x, rtol=1e-14)
    np.testing.assert_allclose(samples.y["f"].ravel(), np.log(x), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(samples.dydx["f"]["x"].ravel(), 1 / x, rtol=1e-13)
    assert samples.provenance.truth is log.truth


def test_spacings_place_points_inside_the_domain(log):
    """Log spacing has constant ratios; random points follow the seed."""
    even = log.samples(60, spacing="log").x["x"].ravel()
    np.testing.assert_allclose(even[1:] / even[:-1], (1.9 / 0.1) ** (1 / 59), rtol=1e-12)
    first, again, other = (log.samples(50, spacing="random", seed=seed).x["x"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.min() >= 0.1
    assert first.max() <= 1.9


EVERY = [*problems.names(), "rosenbrock-5", "styblinski-tang-1"]


@pytest.mark.parametrize("name", EVERY)
def test_truth_and_derivative_of_every_problem_agree(name):
    """The derivatives that a problem gives are those of its function: a complex step of each number, to rounding."""
    truth = problems.get(name).truth
    x = truth.points(20, spacing="random", seed=6)
    exact = truth.df(x)
    assert list(exact) == [quantity.name for quantity in truth.outputs]
    for output, by in exact.items():
        assert list(by) == [quantity.name for quantity in truth.inputs]
        for wrt, column in by.items():
            assert column.shape == x[wrt].shape
            for place in np.ndindex(column.shape[1:]):
                moved = x[wrt].astype(complex)
                moved[(slice(None), *place)] += 1e-30j
                step = truth.f({**x, wrt: moved})[output][:, 0].imag / 1e-30
                np.testing.assert_allclose(
                    column[(slice(None), *place)], step, rtol=1e-12, atol=1e-14 * abs(column).max()
                )


@pytest.mark.parametrize("name", EVERY)
def test_every_problem_is_ready_to_be_fitted(name):
    """Its name finds it; samples fit the network, which is the seed's; the pins are true."""
    problem = problems.get(name)
    assert problem.name == name
    samples = problem.samples(8 if problem.spacing != "linear" else None, seed=1)
    model = problem.network(seed=1, samples=samples)
    binding = IoBinding.of(model, samples)
    assert [tensor.name for tensor in binding.inputs] == list(samples.x)
    outputs = binding.call(model, samples.x, training=False)
    assert {output: tuple(value.shape) for output, value in outputs.items()} == {
        output: column.shape for output, column in samples.y.items()
    }
    for output, pinned in problem.pins.y.items():
        np.testing.assert_allclose(pinned, problem.truth.f(problem.pins.x)[output], atol=1e-12)


@pytest.mark.parametrize(("name", "kind"), [("value", Value), ("sobolev", Sobolev), ("derivative", Derivative)])
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
        r"spacing 'odd', expected one of linear, log, random, sobol, chebyshev",
    ),
    "count": (lambda log: log.samples(0), r"0 points, expected 1 or more"),
    "log of negative": (
        lambda log: replace(log.truth, domain={"x": (-1.0, 1.0)}).points(5, spacing="log"),
        r"spacing 'log' needs a domain above 0, one begins at -1",
    ),
    "grid": (
        lambda log: replace(log.truth, inputs=(Quantity("x", shape=(2,)),)).points(5),
        r"spacing 'linear' lays a grid of k points along each of 2 axes: 5 is none, 4 and 9 are",
    ),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_what_a_problem_refuses(log, call, message):
    """Unknown words list the known ones."""
    with pytest.raises(UsageError, match=message):
        call(log)


def test_problems_bring_the_optimiser_that_suits_them():
    """Auto but for noise, which it would fit, and networks whose Jacobian is slow; batches grow with the samples."""
    basket = problems.get("basket")
    assert [basket.optimizer(count).settings()["batch_size"] for count in (1_024, 4_096, 16_384)] == [
        256,
        256,
        1_024,
    ]
    assert problems.get("lennard-jones").optimizer(100).name == "lbfgs"
    auto = [name for name in problems.names() if problems.get(name).optimizer(100).name == "auto"]
    assert auto == ["log", "black-scholes", "styblinski-tang", "rosenbrock"]
