"""Checks of a written package against the model that it was made from."""

from gradwire_export._checks.model_check import (
    CHECK_POINTS,
    check_package,
    complete_card,
    draw_directions,
    draw_points,
)

__all__ = ["CHECK_POINTS", "check_package", "complete_card", "draw_directions", "draw_points"]
