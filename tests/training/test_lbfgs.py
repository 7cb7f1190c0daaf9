"""L-BFGS in float64, value and gradient from one compiled call."""

from __future__ import annotations

import numpy as np
import pytest

from gradwire_training import Sobolev, fit
from gradwire_training.optimizers._lbfgs import Surface


@pytest.mark.slow
def test_value_and_gradient_come_from_one_call_in_float64(objective, small, log):
    """The flat gradient is that of the flat function, by central differences; nothing is rounded to float32."""
    target = objective(small(), log.samples(), Sobolev())
    surface = Surface(target)
    point = np.concatenate([np.array(variable).ravel() for variable in target.trainable])
    loss, gradient = surface.evaluate(point)
    assert (point.dtype, gradient.dtype, gradient.shape) == (np.float64, np.float64, point.shape)
    direction = np.random.default_rng(0).normal(size=point.shape)
    h = 1e-6
    above, below = (surface.evaluate(point + sign * h * direction)[0] for sign in (1, -1))
    assert gradient @ direction == pytest.approx((above - below) / (2 * h), rel=1e-7)
    assert surface.evaluate(point)[0] == loss
    assert surface.compiled.xla


@pytest.mark.slow
def test_its_loss_never_rises(log):
    """Each step's line search ends lower than it began."""
    history = fit(log.network(), log.samples(), optimizer="lbfgs", steps=60).history
    assert set(history["optimizer"]) == {"lbfgs"}
    assert np.all(np.diff(history["loss"]) <= 0)


@pytest.mark.slow
def test_time_ends_it(log):
    """It stops at the report after the seconds are over, as completed, with the weights of its last step."""
    result = fit(log.network(), log.samples(), optimizer="lbfgs", steps=10**6, seconds=0.2)
    assert result.status == "completed"
    assert result.message.startswith("completed: the time was up after")
    assert result.loss == pytest.approx(result.history["loss"][-1], rel=1e-6)
