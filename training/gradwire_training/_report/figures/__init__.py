"""Figures of fits, one kind a file."""

from gradwire_training._report.figures.draw import draw, pictures_of, save
from gradwire_training._report.figures.efficiency import efficiency_picture

__all__ = ["draw", "efficiency_picture", "pictures_of", "save"]
