"""Plots of a fit of any shape: predicted against expected, tensor by tensor, and the errors."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradwire_training._fit import Comparison, TensorComparison
from gradwire_training._report.figures.figure import (
    DERIVATIVE_COLOR,
    INK,
    TRUTH_COLOR,
    VALUE_COLOR,
    Plot,
    panels,
    with_unit,
)

ACROSS: Final = 3  # panels side by side: more are too small to read on a page
MOST_PANELS: Final = 12  # of the tensors, those of the largest relative errors
PANEL: Final = (3.6, 5.0)  # inches: the parity, and under it the errors
TITLE_WIDTH: Final = 36  # characters of a line: more would run into the next panel
MOST_POINTS: Final = 2_000  # of a panel, so that a page stays light: the worst, and others at random
WORST: Final = 200


def parity_plots(comparison: Comparison) -> list[Plot]:
    """Plot values, and derivatives where there are any."""
    comparison = comparison.by_alias()
    values, derivatives = (
        [tensor for tensor in comparison.tensors if tensor.kind == kind] for kind in ("value", "derivative")
    )
    expected = "the truth" if comparison.is_truth else f"the labels of {comparison.reference}"
    caption = f"{{what}} of the model against {expected}; below, the errors. On the grey line both are equal."
    word = "truth" if comparison.is_truth else "label"
    plots = [Plot("values", caption.format(what="Values"), _draw(values, VALUE_COLOR, word))]
    if derivatives:
        figure = _draw(derivatives, DERIVATIVE_COLOR, word)
        plots.append(Plot("derivatives", caption.format(what="Derivatives"), figure))
    return plots


def _draw(tensors: Sequence[TensorComparison], color: str, word: str) -> Figure:
    worst = sorted(range(len(tensors)), key=lambda index: -(tensors[index].relative or 0.0))[:MOST_PANELS]
    shown = [tensors[index] for index in sorted(worst)]
    across, down = min(len(shown), ACROSS), -(-len(shown) // ACROSS)
    size = (max(PANEL[0] * across, PANEL[0] * 1.4), PANEL[1] * down)
    figure, grid = panels(2 * down, across, size=size, height_ratios=[2, 1] * down)
    for index in range(across * down):
        row, column = 2 * (index // ACROSS), index % ACROSS
        upper, lower = grid[row, column], grid[row + 1, column]
        if index < len(shown):
            _panel(upper, lower, shown[index], color, word)
        else:
            upper.remove()
            lower.remove()
    if len(shown) < len(tensors):
        figure.suptitle(f"the {len(shown)} of {len(tensors)} with the largest relative errors", fontsize=10, color=INK)
    return figure


def _panel(upper: Axes, lower: Axes, tensor: TensorComparison, color: str, word: str) -> None:
    expected, predicted, errors = _some(tensor)
    upper.set_title(
        fill(with_unit(tensor.name, tensor.unit), TITLE_WIDTH), loc="left", fontsize=10, color=INK, parse_math=False
    )
    lower.set_xlabel(with_unit(word, tensor.unit), parse_math=False)
    upper.set_ylabel(with_unit("model", tensor.unit), parse_math=False)
    lower.set_ylabel(f"model - {word}")
    if not expected.size:
        upper.annotate("no finite prediction", (0.5, 0.5), xycoords="axes fraction", ha="center", color=INK)
        return
    ends = [min(expected.min(), predicted.min()), max(expected.max(), predicted.max())]
    upper.plot(ends, ends, color=TRUTH_COLOR, linewidth=1.2, zorder=1)
    dots: dict[str, Any] = {"s": 7, "color": color, "alpha": 0.45, "linewidths": 0, "rasterized": True}
    upper.scatter(expected, predicted, **dots)
    lower.axhline(0.0, color=TRUTH_COLOR, linewidth=1.2, zorder=1)
    lower.scatter(expected, errors, **dots)
    lower.set_xlim(upper.get_xlim())
    lower.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    text = f"max {tensor.max:.2g}\nrmse {tensor.rmse:.2g}"
    upper.annotate(text, (0.04, 0.96), xycoords="axes fraction", va="top", fontsize=9, color=INK)


def _some(tensor: TensorComparison) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return finite points and their errors: all of a few, or the worst and others at random."""
    predicted, expected = tensor.labelled()
    order = np.argsort(-np.abs(predicted - expected))  # NaN comes last
    order = order[np.isfinite(predicted[order])]
    if len(order) > MOST_POINTS:
        others = np.random.default_rng(0).choice(order[WORST:], MOST_POINTS - WORST, replace=False)
        order = np.concatenate([order[:WORST], others])
    return expected[order], predicted[order], (predicted - expected)[order]
