"""Predicted against expected, tensor by tensor, and the errors below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any, Final, final

from numpy.typing import NDArray

from gradwire._pages.figure import INK, TRUTH_COLOR, panels, with_unit

ACROSS: Final = 3  # panels side by side: more are too small to read on a page
MOST_PANELS: Final = 12  # of the tensors, those of the largest relative errors
PANEL: Final = (3.6, 5.0)  # inches: the parity, and under it the errors
TITLE_WIDTH: Final = 36  # characters of a line: more would run into the next panel


@final
@dataclass(frozen=True, slots=True)
class Parity:
    """What a panel shows.

    Attributes:
        name: of the tensor.
        unit: where it is known.
        expected: the truth or the labels, flat and finite.
        predicted: the model's, of the same length.
        max: the largest absolute error, of all points.
        rmse: the root mean square error.
        relative: the rmse as a fraction of spread, by which panels are chosen where there are too many.
    """

    name: str
    unit: str | None
    expected: NDArray[Any]
    predicted: NDArray[Any]
    max: float | None
    rmse: float | None
    relative: float | None


def parity_figure(tensors: Sequence[Parity], color: str, word: str) -> Any:
    """Draw a panel for each tensor.

    Args:
        tensors: one or more.
        color: of the points.
        word: what is expected: ``"label"`` or ``"truth"``.
    """
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


def _panel(upper: Any, lower: Any, tensor: Parity, color: str, word: str) -> None:
    expected, predicted = tensor.expected, tensor.predicted
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
    lower.scatter(expected, predicted - expected, **dots)
    lower.set_xlim(upper.get_xlim())
    lower.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    text = f"max {tensor.max:.2g}\nrmse {tensor.rmse:.2g}" if tensor.max is not None else "not finite everywhere"
    upper.annotate(text, (0.04, 0.96), xycoords="axes fraction", va="top", fontsize=9, color=INK)
