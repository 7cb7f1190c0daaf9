"""Plots and pages in one look: those of a fit, and those of an evaluation; matplotlib and jinja2 are imported late."""

from gradwire._pages.figure import (
    COLORS,
    DERIVATIVE_COLOR,
    GRID,
    INK,
    PAPER,
    TRUTH_COLOR,
    VALUE_COLOR,
    Plot,
    legend,
    panels,
    single,
    thinned,
    with_unit,
)
from gradwire._pages.page import number_text, write_page
from gradwire._pages.parity import Parity, parity_figure

__all__ = [
    "COLORS",
    "DERIVATIVE_COLOR",
    "GRID",
    "INK",
    "PAPER",
    "TRUTH_COLOR",
    "VALUE_COLOR",
    "Parity",
    "Plot",
    "legend",
    "number_text",
    "panels",
    "parity_figure",
    "single",
    "thinned",
    "with_unit",
    "write_page",
]
