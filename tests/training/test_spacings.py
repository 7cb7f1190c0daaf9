"""How points are laid out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.polynomial import chebyshev
from scipy.stats import qmc

from gradwire._errors import UsageError
from gradwire_training._data.designs import CLOUDS, GRIDS, SPACINGS, cloud, grid

BOX = [(1.0, 3.0), (10.0, 1_000.0)]


def test_every_spacing_is_a_grid_or_a_cloud():
    """No spacing is forgotten."""
    assert sorted(SPACINGS) == sorted([*GRIDS, *CLOUDS])


def test_a_linear_grid_holds_every_pair_once():
    """Several numbers: the same number of points along each axis, the last fastest."""
    points = grid(BOX, 9, "linear")
    assert points.tolist() == [[a, b] for a in (1, 2, 3) for b in (10, 505, 1_000)]


def test_a_log_grid_has_constant_ratios_along_every_axis():
    """Ends included."""
    points = grid(BOX, 16, "log")
    for axis, (lower, upper) in enumerate(BOX):
        column = np.unique(points[:, axis].round(9))
        np.testing.assert_allclose(column[1:] / column[:-1], (upper / lower) ** (1 / 3), rtol=1e-8)
        np.testing.assert_allclose((column[0], column[-1]), (lower, upper), rtol=1e-8)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_chebyshev_points_are_the_roots_of_its_polynomial(count):
    """T_n vanishes at all n of them, which rise, within the ends."""
    points = grid([(-1.0, 1.0)], count, "chebyshev").ravel()
    np.testing.assert_allclose(chebyshev.chebval(points, [0] * count + [1]), 0, atol=1e-14)
    assert (np.diff(points) > 0).all()
    assert abs(points).max() < 1
    moved = grid([(2.0, 6.0)], count, "chebyshev").ravel()
    np.testing.assert_allclose(moved, 4 + 2 * points, rtol=1e-15)


@pytest.mark.parametrize("spacing", CLOUDS)
def test_clouds_follow_the_seed(spacing):
    """The same seed, the same points; another, others; all within the cube."""
    first, again, other = (cloud(3, 100, spacing, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (100, 3)
    assert first.min() >= 0
    assert first.max() < 1


def test_sobol_points_are_more_even_than_random_ones():
    """Their discrepancy is far smaller, and each half of each axis gets its half of 2^k points."""
    even, random = (cloud(4, 256, spacing, seed=5) for spacing in ("sobol", "random"))
    assert qmc.discrepancy(even) < 0.2 * qmc.discrepancy(random)
    assert ((even < 0.5).sum(axis=0) == 128).all()


def test_a_sobol_sequence_is_continued_not_begun_anew():
    """More points are the same points and more, so that a study of sample sizes is nested."""
    np.testing.assert_array_equal(cloud(2, 100, "sobol", seed=3)[:37], cloud(2, 37, "sobol", seed=3))


def test_grids_that_cannot_be_are_refused():
    """The message names the counts beside it; an axis that begins at zero has no logarithm."""
    with pytest.raises(UsageError, match=r"along each of 2 axes: 20 is none, 16 and 25 are; or use 'sobol'"):
        grid(BOX, 20, "linear")
    with pytest.raises(UsageError, match=r"spacing 'log' needs a domain above 0, one begins at 0"):
        grid([(0.0, 1.0)], 4, "log")
