"""L-BFGS that stops where rows held out are predicted best."""

from __future__ import annotations

import numpy as np
import pytest

from gradwire_training import Samples, Value, fit, mlp, with_dtype, with_noise
from gradwire_training._progress import Monitor
from gradwire_training.optimizers import _early_stop
from gradwire_training.optimizers._early_stop import choose_stop
from gradwire_training.optimizers._ridges import Choice

pytestmark = pytest.mark.slow  # whole fits


@pytest.fixture(scope="module")
def noisy():
    """Fifty values of a sine with 30 % noise."""
    x = np.linspace(-1, 1, 50)
    return with_noise(Samples(x, np.sin(3 * x)), 0.3)


def _model(samples):
    return mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(12,), activation="tanh", scale=samples)


def test_the_stop_is_where_the_error_on_rows_held_out_is_smallest(objective, noisy, monkeypatch):
    """Before the last step, at the error that a fit of so many steps to the other rows has there."""
    monkeypatch.setattr(_early_stop, "EVERY", 2)
    whole = objective(with_dtype(_model(noisy), "float64"), noisy, Value())
    before = whole.snapshot()
    part = np.arange(50) % 5 == 0
    stop = choose_stop(whole, Monitor(1, ()), [part], steps=300)
    assert 0 < stop.steps < 300
    for one, other in zip(before, whole.snapshot(), strict=True):
        np.testing.assert_array_equal(one, other)
    inner, held_out = noisy.take(np.flatnonzero(~part)), noisy.take(np.flatnonzero(part))

    def error(steps):
        model, settings = _model(noisy), {"loss": Value(), "dtype": "float64", "validation": held_out}
        result = fit(model, inner, optimizer="lbfgs", steps=steps, **settings)
        return result.errors["f"]["rmse"] / noisy.y["f"].std()

    assert stop.error == pytest.approx(error(stop.steps), rel=0.02)
    assert stop.error < error(300)


@pytest.mark.parametrize("ahead", [True, False])
def test_the_better_of_the_two_is_taken(noisy, monkeypatch, ahead):
    """L-BFGS only if it predicts the same rows better than the best ridge; both errors are told."""
    part = np.arange(50) % 5 == 0
    choice = Choice(ridge=1e-4, error=0.3, fitted=0.25, last=0.5, tried=9, rows="10 rows", parts=(part,), beside=0.2)
    monkeypatch.setattr("gradwire_training.optimizers._auto.choose_ridge", lambda *_, **__: choice)
    stop = _early_stop.Stop(30, 0.19 if ahead else 0.21)
    monkeypatch.setattr("gradwire_training.optimizers._auto.choose_stop", lambda *_, **__: stop)
    result = fit(_model(noisy), noisy, loss=Value(), steps=200)
    assert set(result.history["optimizer"]) == {"lbfgs" if ahead else "lm"}
    assert (result.steps == 30) == ahead
    assert result.selection_reason.startswith("lbfgs, 30 steps: " if ahead else "lm with a ridge of 0.0001: ")
    assert ("20 %" in result.selection_reason) == ahead
    assert ("to 21 %)" in result.selection_reason) != ahead
