"""The optimisers on problems whose solution is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gradwire._errors import UsageError
from gradwire_training import Samples, Value, fit, optimizers

X = np.linspace(-1, 1, 9)
LINE = Samples(X, 2 * X - 1)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tolerance"), [("sgd", 1e-5), ("adam", 1e-3), ("lbfgs", 1e-9), ("auto", 1e-9)])
def test_every_optimizer_finds_a_straight_line(line, name, tolerance):
    """Least squares of a line has one minimum: weight 2, bias -1."""
    result = fit(line(0.0, 0.0), LINE, loss=Value(), optimizer=name, steps=2000, dtype="float64")
    weight, bias = result.model.get_weights()
    np.testing.assert_allclose([weight.item(), bias.item()], [2, -1], atol=tolerance)
    assert result.request.precision == "float64"


def test_lbfgs_ends_when_nothing_is_left_to_gain(line):
    """It needs a handful of steps for a parabola, and says that it stopped by itself."""
    result = fit(line(0.0, 0.0), LINE, loss=Value(), optimizer="lbfgs", steps=2000)
    assert result.status == "completed"
    assert result.steps < 50
    assert result.message == f"completed: nothing left to gain after {result.steps} of 2,000 steps"


def test_one_step_of_adam_is_the_learning_rate(line):
    """Adam's first step has the size of its learning rate, whatever the gradient's."""
    result = fit(line(0.0, 0.0), LINE, loss=Value(), optimizer=optimizers.Adam(learning_rate=0.25), steps=1)
    np.testing.assert_allclose(np.abs([weight.item() for weight in result.model.get_weights()]), 0.25, rtol=1e-3)


def test_adam_decays_along_a_cosine(line):
    """With gradients that hardly change, the steps' sizes follow half a cosine to zero."""
    steps, far = 8, Samples(X, np.full(9, 1e6))  # the mean absolute error falls as the bias rises
    result = fit(line(0.0, 0.0), far, loss=Value(), optimizer="adam", steps=steps, dtype="float64")
    sizes = -np.diff(result.history["mae"])
    expected = [0.01 * 0.5 * (1 + math.cos(math.pi * step / steps)) for step in range(steps - 1)]
    np.testing.assert_allclose(sizes, expected, rtol=1e-3)


@pytest.mark.parametrize("name", optimizers.names())
def test_settings_make_the_optimizer_again(name):
    """What a record keeps is enough to repeat it."""
    first = optimizers.get(name)
    assert optimizers.get(name, **first.settings()) == first


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: optimizers.get("rmsprop"),
            rf"optimizer 'rmsprop', expected one of {', '.join(optimizers.names())}",
        ),
        (lambda: optimizers.get("sgd", momentum=0.9), r"optimizer 'sgd': .*momentum.*its settings are"),
        (
            lambda: optimizers.Sgd(learning_rate=0.0),
            r"sgd: learning_rate is 0.0, expected a finite number above 0",
        ),
        (lambda: optimizers.Adam(learning_rate=math.inf), r"adam: learning_rate is inf"),
        (lambda: optimizers.Lbfgs(memory=0), r"lbfgs: memory is 0"),
    ],
)
def test_bad_settings_are_refused(call, message):
    """Names and settings are checked when the optimiser is made."""
    with pytest.raises(UsageError, match=message):
        call()
