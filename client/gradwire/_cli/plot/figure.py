"""Slices as an image: a column per slice, values above and derivatives below."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, Final

from gradwire._cli.plot.slices import Line, Slice
from gradwire._errors import DataError
from gradwire._extras import import_extra

EXTRA: Final = "plot"
WIDTH: Final = 4.2  # inches of a column
HEIGHT: Final = 6.0
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
MOST_IN_TITLE: Final = 40  # characters of the fixed elements; more would run into the next column


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
    figures = import_extra("matplotlib.figure", EXTRA)
    figure = figures.Figure(figsize=(WIDTH * max(len(slices), 1.4), HEIGHT), layout="constrained")
    figure.suptitle(_literal(title))
    axes = figure.subplots(2, len(slices), squeeze=False, sharex="col")
    for column, each in enumerate(slices):
        above, below = axes[0][column], axes[1][column]
        above.set_title(_literal(_wrapped(each.fixed)), fontsize="small", color="0.35")
        _draw(above, each, each.values)
        _draw(below, each, each.derivatives)
        below.set_xlabel(_literal(f"{each.along} [{each.unit}]" if each.unit else each.along))
    try:
        figure.savefig(to, dpi=DPI)
    except OSError as error:
        raise DataError(f"cannot write {to}: {error}") from error


def _draw(axes: Any, each: Slice, lines: Sequence[Line]) -> None:
    for line, color, style in zip(lines, cycle(COLORS), cycle(STYLES), strict=False):
        axes.plot(each.x, line.y, color=color, label=_literal(line.label), linewidth=1.6, linestyle=style)
    axes.grid(visible=True, color="0.9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if len(lines) == 1:
        axes.set_ylabel(_literal(lines[0].label))
    elif lines:
        axes.legend(edgecolor="none", framealpha=0.9, fontsize="small")
    else:
        axes.text(0.5, 0.5, "no derivative", transform=axes.transAxes, ha="center", color="0.5")


def _wrapped(text: str) -> str:
    return text if len(text) <= MOST_IN_TITLE else text[: MOST_IN_TITLE - 1] + "…"


def _literal(text: str) -> str:
    """Escape dollars, which would start a formula: a card's text may come from a server."""
    return text.replace("$", r"\$")
