"""The common look of the plots of fits and evaluations, and their two forms: a PNG file, and SVG inside a page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any, Final, final

from numpy.typing import NDArray

from gradwire._extras import import_extra

EXTRA: Final = "plot"
SIZE: Final = (7.2, 4.5)  # inches
TITLE_WIDTH: Final = 72  # characters of a line
DPI: Final = 150  # 1,080 pixels wide: sharp in a README on a dense screen
# Blue, vermilion, green, purple and grey of Okabe and Ito: told apart by every eye, and on white and black paper.
VALUE_COLOR: Final = "#0072b2"
DERIVATIVE_COLOR: Final = "#d55e00"
COLORS: Final = (VALUE_COLOR, DERIVATIVE_COLOR, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
TRUTH_COLOR: Final = "#9a9a9a"
INK: Final = "#333333"
GRID: Final = "#e6e6e6"
PAPER: Final = "#ffffff"
# In a page these three follow its light or dark theme: its own variables.
THEME: Final = {INK: "currentColor", GRID: "var(--grid)", PAPER: "var(--paper)"}
# Text stays text; and without the date and a random salt a plot is the same every time.
STYLE: Final[dict[Any, Any]] = {"svg.fonttype": "none", "svg.hashsalt": "gradwire"}
NO_METADATA: Final[dict[str, Any]] = dict.fromkeys(("Date", "Creator", "Format", "Type"))


@final
@dataclass(frozen=True, slots=True)
class Plot:
    """A figure with a name and a caption."""

    name: str  # of its file, without the suffix
    caption: str
    figure: Any  # of matplotlib

    def save(self, directory: Path) -> Path:
        """Write it as a PNG file on white."""
        path = directory / f"{self.name}.png"
        self.figure.savefig(path, dpi=DPI)
        return path

    def svg(self) -> str:
        """Return it as an SVG element whose ink, grid and paper are the page's (``THEME``), on a clear background."""
        text = io.StringIO()
        with import_extra("matplotlib", EXTRA).rc_context(STYLE):
            self.figure.savefig(text, format="svg", transparent=True, metadata=NO_METADATA, dpi=DPI)
        element = text.getvalue()
        element = element[element.index("<svg") :]  # without the XML declaration, which HTML has no place for
        for color, themed in THEME.items():
            element = element.replace(color, themed)
        return (
            element.replace('id="', f'id="{self.name}-')
            .replace('"#', f'"#{self.name}-')
            .replace("url(#", f"url(#{self.name}-")
        )  # fmt: skip - ids are unique in a page of several plots


def panels(rows: int, columns: int, *, size: tuple[float, float] = SIZE, **options: Any) -> tuple[Any, Any]:
    """Return an empty figure and its axes, an array of ``(rows, columns)``, in the common look."""
    figure = import_extra("matplotlib.figure", EXTRA).Figure(figsize=size, layout="constrained")
    import_extra("matplotlib.backends.backend_agg", EXTRA).FigureCanvasAgg(
        figure
    )  # draws into memory: no window, no state that figures share
    grid = figure.subplots(rows, columns, squeeze=False, **options)
    for axes in grid.flat:
        _plain(axes)
    return figure, grid


def with_unit(label: str, unit: str | None) -> str:
    """Return the label of an axis: with its unit, unless that is unknown or the axis has pure numbers."""
    return label if unit in (None, "1") else f"{label} [{unit}]"


def single(title: str, x_label: str) -> tuple[Any, Any]:
    """Return a figure of one panel; a long title takes several lines."""
    figure, grid = panels(1, 1)
    axes = grid[0, 0]
    axes.set_title(fill(title, TITLE_WIDTH), loc="left", color=INK, parse_math=False)
    axes.set_xlabel(x_label, parse_math=False)
    return figure, axes


def legend(axes: Any) -> None:
    """Add a legend where there are labels; its box has the paper's colour, so that lines behind it do not disturb."""
    if not axes.get_legend_handles_labels()[0]:
        return
    shown = axes.legend(frameon=True, framealpha=0.8, facecolor=PAPER, edgecolor="none", labelcolor=INK, fontsize=9)
    for text in shown.get_texts():
        text.set_parse_math(False)  # names are data: "$" in one is not TeX


def thinned(steps: NDArray[Any], columns: Sequence[NDArray[Any]], most: int) -> tuple[NDArray[Any], list[NDArray[Any]]]:
    """Leave out points of long lines, evenly, but never the last."""
    every = max(1, -(-len(steps) // most))
    keep = slice(len(steps) - 1 - (len(steps) - 1) // every * every, None, every)
    return steps[keep], [column[keep] for column in columns]


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(which="both", colors=INK)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
