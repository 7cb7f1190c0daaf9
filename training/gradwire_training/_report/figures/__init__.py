"""Plots of fits and studies, one kind a file."""

from gradwire_training._report.figures.draw import draw, plots_of, save
from gradwire_training._report.figures.learning_curve import learning_curve_plot

__all__ = ["draw", "learning_curve_plot", "plots_of", "save"]
