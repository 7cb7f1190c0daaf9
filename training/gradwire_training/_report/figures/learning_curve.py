"""The learning curve of a study: error against number of samples, with derivatives and without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from gradwire._pages import COLORS, DERIVATIVE_COLOR, INK, VALUE_COLOR, Plot, legend, panels

Curve: TypeAlias = "list[tuple[int, float, float, float]]"  # number of samples; smallest, median and largest error

MOST_PANELS: Final = 6  # of the tensors, the first
ACROSS: Final = 3
PANEL: Final = (4.6, 3.6)  # inches
LABELS: Final = {"value": "values alone", "sobolev": "values and derivatives", "derivative": "derivatives alone"}
LOSS_COLORS: Final = {"value": VALUE_COLOR, "sobolev": DERIVATIVE_COLOR, "derivative": COLORS[2]}
MEASURES: Final = {"max": "largest error", "rmse": "root mean square error"}


def learning_curve_plot(curves: Mapping[str, Mapping[str, Curve]], *, measure: str, seeds: int) -> Plot:
    """Plot a panel for each tensor, from curves by tensor and loss: medians as lines, ranges of the seeds as bands."""
    shown = list(curves.items())[:MOST_PANELS]
    across, down = min(len(shown), ACROSS), -(-len(shown) // ACROSS)
    figure, grid = panels(down, across, size=(PANEL[0] * across, PANEL[1] * down))
    for axes, (tensor, by_loss) in zip(grid.flat, shown, strict=False):
        _panel(axes, tensor, by_loss, measure)
    for axes in list(grid.flat)[len(shown) :]:
        axes.remove()
    legend(grid[0, 0])
    caption = f"Error against the number of samples: medians of {seeds} seeds, and their ranges."
    return Plot("study", caption, figure)


def _panel(axes: Axes, tensor: str, by_loss: Mapping[str, Curve], measure: str) -> None:
    for loss, curve in by_loss.items():
        if not curve:
            continue
        counts, low, median, high = zip(*curve, strict=True)
        color = LOSS_COLORS.get(loss, COLORS[3])
        axes.fill_between(counts, low, high, color=color, alpha=0.2, linewidth=0)
        axes.plot(counts, median, "o-", color=color, markersize=4.5, linewidth=1.5, label=LABELS.get(loss, loss))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted({count for curve in by_loss.values() for count, *_ in curve})))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("samples")
    axes.set_ylabel(MEASURES[measure])
    axes.set_title(tensor, loc="left", color=INK, parse_math=False)
