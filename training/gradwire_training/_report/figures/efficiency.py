"""The picture of a study: error against number of samples, with derivatives and without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matplotlib.ticker import FixedLocator, NullLocator

from gradwire_training._report.figures.figure import (
    COLORS,
    INK,
    SLOPE_COLOR,
    VALUE_COLOR,
    Picture,
    legend,
    panels,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gradwire_training._report import Study

MOST_PANELS: Final = 6  # of the tensors, the first
ACROSS: Final = 3
PANEL: Final = (4.6, 3.6)  # inches
LABELS: Final = {
    "value": "values alone",
    "sobolev": "values and derivatives",
    "derivative": "derivatives alone",
}
LOSS_COLORS: Final = {"value": VALUE_COLOR, "sobolev": SLOPE_COLOR, "derivative": COLORS[2]}
MEASURES: Final = {"max": "largest error", "rmse": "root mean square error"}


def efficiency_picture(study: Study) -> Picture:
    """Draws a panel for each tensor: medians over the seeds as lines, from the smallest to the largest as bands."""
    tensors = study.tensors[:MOST_PANELS]
    across, down = min(len(tensors), ACROSS), -(-len(tensors) // ACROSS)
    figure, grid = panels(down, across, size=(PANEL[0] * across, PANEL[1] * down))
    for axes, tensor in zip(grid.flat, tensors, strict=False):
        _panel(axes, study, tensor)
    for axes in list(grid.flat)[len(tensors) :]:
        axes.remove()
    legend(grid[0, 0])
    seeds = study.settings["seeds"]
    caption = f"Error against the number of samples: medians of {seeds} seeds, and their ranges."
    return Picture("study", caption, figure)


def _panel(axes: Axes, study: Study, tensor: str) -> None:
    counts = sorted({trial.samples for trial in study.trials})
    for loss in study.losses:
        found = [(count, study.spread(tensor, count, loss)) for count in counts]
        known = [(count, spread) for count, spread in found if spread is not None]
        if not known:
            continue
        x = [count for count, _ in known]
        color = LOSS_COLORS.get(loss, COLORS[3])
        low, high = [spread.low for _, spread in known], [spread.high for _, spread in known]
        axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
        medians = [spread.median for _, spread in known]
        axes.plot(x, medians, "o-", color=color, markersize=4.5, linewidth=1.5, label=LABELS.get(loss, loss))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(counts))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("samples")
    axes.set_ylabel(MEASURES[study.measure])
    axes.set_title(tensor, loc="left", color=INK, parse_math=False)
