"""Slices as an image: a column per slice; for each output an axis of values, and one of derivatives below."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import Any, Final

from gradwire._cli.plot.slices import Line, Slice, with_unit
from gradwire._errors import DataError
from gradwire._extras import import_extra
from gradwire._package import COVERAGE

EXTRA: Final = "plot"
WIDTH: Final = 4.2  # inches of a column
HEIGHT: Final = 3.0  # of an axis
DPI: Final = 150
STYLES: Final = ("-", "--", ":")  # so that a line shows beneath another
COLORS: Final = (
    "#1f5fa8",
    "#c8501e",
    "#3a8a4d",
    "#8a4a9e",
    "#a8861f",
    "#5a5a5a",
)  # distinct in grey print, too
LABEL_WIDTH: Final = 28  # characters of a line beside an axis
TITLE_WIDTH: Final = 46  # characters of a line of the fixed elements; more would run into the next column


def save(title: str, slices: Sequence[Slice], to: Path) -> None:
    """Draw slices and write them to an image.

    Args:
        title: above the figure.
        slices: one or more.
        to: the file; its suffix selects the format.

    Raises:
        MissingExtra: matplotlib is not installed.
        DataError: the file cannot be written.
    """
    figure = figure_of(title, slices)
    try:
        figure.savefig(to, dpi=DPI)
    except OSError as error:
        raise DataError(f"cannot write {to}: {error}") from error


def figure_of(title: str, slices: Sequence[Slice]) -> Any:
    """Draw slices as a figure (see ``save``)."""
    figures = import_extra("matplotlib.figure", EXTRA)
    outputs = list(dict.fromkeys(line.output for each in slices for line in each.values))
    rows = 2 * len(outputs)
    figure = figures.Figure(figsize=(WIDTH * max(len(slices), 1.4), HEIGHT * rows), layout="constrained")
    figure.suptitle(_literal(title))
    axes = figure.subplots(rows, len(slices), squeeze=False, sharex="col")
    for column, each in enumerate(slices):
        axes[0][column].set_title(_literal(fill(each.fixed, TITLE_WIDTH)), fontsize="small", color="0.35")
        for index, output in enumerate(outputs):
            for row, lines in ((2 * index, each.values), (2 * index + 1, each.derivatives)):
                _draw(axes[row][column], each, [line for line in lines if line.output == output])
        axes[-1][column].set_xlabel(_literal(with_unit(each.along, each.unit)))
    if told := _told(slices):
        figure.supxlabel(told, fontsize="small", color="0.35")
    return figure


def _told(slices: Sequence[Slice]) -> str:
    """Say what bands and grounds are, where there are any."""
    bands = any(line.band is not None for each in slices for line in (*each.values, *each.derivatives))
    far = any(each.far.any() for each in slices)
    return "; ".join([f"band: nominal {COVERAGE:.0%} error bars"] * bands + ["grey: far from the samples"] * far)


def _draw(axes: Any, each: Slice, lines: Sequence[Line]) -> None:
    for line, color, style in zip(lines, cycle(COLORS), cycle(STYLES), strict=False):
        if line.band is not None:
            axes.fill_between(each.x, *line.band, color=color, alpha=0.18, linewidth=0)
        axes.plot(each.x, line.y, color=color, label=_literal(line.label), linewidth=1.6, linestyle=style)
    if each.far.any():
        span = axes.get_ylim()
        axes.fill_between(each.x, *span, where=each.far, color="0.85", zorder=0, linewidth=0)
        axes.set_ylim(span)
    axes.grid(visible=True, color="0.9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if not lines:
        axes.text(0.5, 0.5, "no derivative", transform=axes.transAxes, ha="center", color="0.5")
        return
    label = with_unit(lines[0].label if len(lines) == 1 else lines[0].name, lines[0].unit)
    axes.set_ylabel(_literal(fill(label, LABEL_WIDTH)))
    if len(lines) > 1:
        axes.legend(edgecolor="none", framealpha=0.9, fontsize="small")


def _literal(text: str) -> str:
    """Escape dollars, which would start a formula: a card's text may come from a server."""
    return text.replace("$", r"\$")
