"""Pictures of a fit of any shape: what the model gives against what it should, tensor by tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gradwire_training._report.figures.figure import (
    INK,
    SLOPE_COLOR,
    TRUTH_COLOR,
    VALUE_COLOR,
    Picture,
    panels,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from gradwire_training._report import Comparison, Pair

ACROSS: Final = 3  # panels side by side: more are too small to read on a page
MOST_PANELS: Final = 12  # of the tensors, those of the largest relative errors
PANEL: Final = (3.6, 5.0)  # inches: the parity, and under it the errors
MOST_POINTS: Final = 2_000  # of a panel, so that a page stays light: the worst, and others at random
WORST: Final = 200


def parity_pictures(comparison: Comparison) -> list[Picture]:
    """Draws values, and derivatives where there are any."""
    values = [pair for pair in comparison.pairs if not pair.is_derivative]
    derivatives = [pair for pair in comparison.pairs if pair.is_derivative]
    caption = "{what} as the model gives them against the truth; below, the errors. On the grey line both are equal."
    pictures = [Picture("values", caption.format(what="Values"), _draw(values, VALUE_COLOR))]
    if derivatives:
        figure = _draw(derivatives, SLOPE_COLOR)
        pictures.append(Picture("derivatives", caption.format(what="Derivatives"), figure))
    return pictures


def _draw(pairs: Sequence[Pair], color: str) -> Figure:
    shown = sorted(pairs, key=lambda pair: -(pair.relative or 0.0))[:MOST_PANELS]
    shown = [pair for pair in pairs if pair in shown]
    across, down = min(len(shown), ACROSS), -(-len(shown) // ACROSS)
    size = (max(PANEL[0] * across, PANEL[0] * 1.4), PANEL[1] * down)
    figure, grid = panels(2 * down, across, size=size, height_ratios=[2, 1] * down)
    for index in range(across * down):
        row, column = 2 * (index // ACROSS), index % ACROSS
        upper, lower = grid[row, column], grid[row + 1, column]
        if index < len(shown):
            _panel(upper, lower, shown[index], color)
        else:
            upper.remove()
            lower.remove()
    if len(shown) < len(pairs):
        figure.suptitle(f"the {len(shown)} of {len(pairs)} with the largest relative errors", fontsize=10, color=INK)
    return figure


def _panel(upper: Axes, lower: Axes, pair: Pair, color: str) -> None:
    wanted, given, errors = _some(pair)
    label = pair.name if pair.unit in (None, "1") else f"{pair.name} [{pair.unit}]"
    upper.set_title(label, loc="left", fontsize=10, color=INK, parse_math=False)
    lower.set_xlabel("truth")
    upper.set_ylabel("model")
    lower.set_ylabel("model - truth")
    if not wanted.size:
        upper.annotate("no finite answer", (0.5, 0.5), xycoords="axes fraction", ha="center", color=INK)
        return
    ends = [min(wanted.min(), given.min()), max(wanted.max(), given.max())]
    upper.plot(ends, ends, color=TRUTH_COLOR, linewidth=1.2, zorder=1)
    dots: dict[str, Any] = {"s": 7, "color": color, "alpha": 0.45, "linewidths": 0, "rasterized": True}
    upper.scatter(wanted, given, **dots)
    lower.axhline(0.0, color=TRUTH_COLOR, linewidth=1.2, zorder=1)
    lower.scatter(wanted, errors, **dots)
    lower.set_xlim(upper.get_xlim())
    lower.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    text = f"max {pair.max:.2g}\nrmse {pair.rmse:.2g}"
    upper.annotate(text, (0.04, 0.96), xycoords="axes fraction", va="top", fontsize=9, color=INK)


def _some(pair: Pair) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Gives finite points: all of a few, or the worst and others evenly chosen."""
    order = np.argsort(-np.abs(pair.errors))  # NaN comes last
    order = order[np.isfinite(pair.given[order])]
    if len(order) > MOST_POINTS:
        others = np.random.default_rng(0).choice(order[WORST:], MOST_POINTS - WORST, replace=False)
        order = np.concatenate([order[:WORST], others])
    return pair.wanted[order], pair.given[order], pair.errors[order]
