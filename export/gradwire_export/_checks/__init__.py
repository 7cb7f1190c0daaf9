"""Checks of a written package against the model that it was made from."""

from gradwire_export._checks.card_checks import prove
from gradwire_export._checks.model_check import CHECK_POINTS, check_package
from gradwire_export._checks.points import draw_points, draw_vectors, read_domain

__all__ = ["CHECK_POINTS", "check_package", "draw_points", "draw_vectors", "prove", "read_domain"]
