"""The numerics of verification: points and directions, rounding noise, Taylor remainders, distances between arrays."""

from gradwire._numerics.batches import ALLOWED_EPS, Batch, poisoned
from gradwire._numerics.compare import (
    TINY,
    compare,
    distance,
    eps_of,
    flat_rows,
    largest,
    ulp_of,
    worst_ratio,
)
from gradwire._numerics.hessian import hessian_product
from gradwire._numerics.noise import CENTRE, GRID, Measured, by_point, deviation, grid_around, measure
from gradwire._numerics.points import (
    evaluate_along,
    finest_step,
    nearest_points,
    points_along,
    reach,
    require_resolved,
    resolved_halvings,
    sample_directions,
    sample_points,
    signed_eighths,
)
from gradwire._numerics.remainders import SAFETY, Remainders, multiples

__all__ = [
    "ALLOWED_EPS",
    "CENTRE",
    "GRID",
    "SAFETY",
    "TINY",
    "Batch",
    "Measured",
    "Remainders",
    "by_point",
    "compare",
    "deviation",
    "distance",
    "eps_of",
    "evaluate_along",
    "finest_step",
    "flat_rows",
    "grid_around",
    "hessian_product",
    "largest",
    "measure",
    "multiples",
    "nearest_points",
    "points_along",
    "poisoned",
    "reach",
    "require_resolved",
    "resolved_halvings",
    "sample_directions",
    "sample_points",
    "signed_eighths",
    "ulp_of",
    "worst_ratio",
]
