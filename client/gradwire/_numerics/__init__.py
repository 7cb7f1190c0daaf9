"""The numerics of verification: random points, rounding noise, and Taylor remainders."""

from gradwire._numerics.noise import CENTRE, GRID, deviation, on_grid, spacing
from gradwire._numerics.points import reach, sample_directions, sample_points
from gradwire._numerics.remainders import SAFETY, Remainders, multiples

__all__ = [
    "CENTRE",
    "GRID",
    "SAFETY",
    "Remainders",
    "deviation",
    "multiples",
    "on_grid",
    "reach",
    "sample_directions",
    "sample_points",
    "spacing",
]
