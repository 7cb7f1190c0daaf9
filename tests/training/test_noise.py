"""Noise: adding it, seeing it, and not fitting it."""

from __future__ import annotations

import numpy as np
import pytest

from gradwire._errors import UsageError
from gradwire_training import Samples, fit, with_noise
from gradwire_training._data.replicates import shows_noise

pytestmark = pytest.mark.slow  # whole fits with the default


def test_noise_is_a_share_of_every_columns_spread(pair_samples):
    """Values and derivatives, number by number; points, the truth behind them and missing labels stay."""
    x = np.linspace(0, 1, 4000)
    samples = Samples(x, np.where(x < 0.5, np.nan, 10 * x), 100 * x, x_dot=np.ones(4000), y_dot=1000 * x)
    noisy = with_noise(samples, 0.01, seed=3)
    np.testing.assert_array_equal(noisy.x["x"], samples.x["x"])
    np.testing.assert_array_equal(np.isnan(noisy.y["f"]), np.isnan(samples.y["f"]))
    pairs = [(noisy.dydx["f"]["x"], samples.dydx["f"]["x"]), (noisy.y_dot["f"], samples.y_dot["f"])]
    for after, before in pairs:
        assert np.std(after - before) == pytest.approx(0.01 * before.std(), rel=0.05)
        assert abs(np.mean(after - before)) < 0.01 * before.std() / 10
    assert np.nanstd(noisy.y["f"] - samples.y["f"]) == pytest.approx(0.01 * np.nanstd(samples.y["f"]), rel=0.05)
    several = with_noise(pair_samples, 0.5)
    assert several.dydx["pair"]["a"].shape == pair_samples.dydx["pair"]["a"].shape
    np.testing.assert_array_equal(several.dydx["price"]["b"], pair_samples.dydx["price"]["b"])  # does not vary


def test_a_seed_decides_the_noise(log):
    """The same seed gives the same labels, another others; none gives the samples back; the truth stays known."""
    samples = log.samples(30)
    first, again, other = (with_noise(samples, 0.01, seed=seed).y["f"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0
    assert with_noise(samples, 0.0) is samples
    assert with_noise(samples, 0.01).provenance == samples.provenance
    assert "noise of 0.01 standard deviations" in with_noise(samples, 0.01).notes[-1]


def test_noise_says_once_that_points_occur_twice():
    """What was noticed of the samples stays one line each."""
    x = np.array([1.0, 1.0, 2.0])
    notes = with_noise(Samples(x, x, notes=["a line"]), 0.1).notes
    assert [note.split()[0] for note in notes] == ["a", "noise", "1"]


@pytest.mark.parametrize("fraction", [-0.1, float("nan"), float("inf")])
def test_a_share_that_is_none_is_refused(log, fraction):
    """It is a finite number of 0 or more."""
    with pytest.raises(UsageError, match=r"noise is .*expected a finite number of 0 or more"):
        with_noise(log.samples(), fraction)


def test_noise_is_seen_where_a_point_has_several_values():
    """Values that differ by rounding are the same, and points with one value tell nothing."""
    x = {"x": np.array([[1.0], [2.0], [1.0], [2.0]])}
    assert shows_noise(x, {"f": np.array([1.0, 2.0, 1.1, 2.0])})
    assert not shows_noise(x, {"f": np.array([1.0, 2.0, 1.0 + 1e-15, np.nan])})
    assert not shows_noise({"x": np.arange(4.0)[:, None]}, {"f": np.array([1.0, 2.0, 1.1, 2.0])})


@pytest.mark.parametrize("seed", [0, 1])
def test_the_default_does_not_fit_the_noise(log, seed):
    """With 1% noise on 100 points, the end is no worse than after a tenth of the steps, in values and in slopes."""
    noisy = with_noise(log.samples(100), 0.01, seed=seed)
    whole = fit(log.network(seed=seed), noisy)
    tenth = fit(log.network(seed=seed), noisy, steps=whole.steps // 10)
    for tensor in ("f", "df_dx"):
        for size in ("max", "rmse"):
            assert whole.errors[tensor][size] <= tenth.errors[tensor][size]
    assert whole.errors["f"]["max"] < 0.01  # the noise's own is up to 0.02
