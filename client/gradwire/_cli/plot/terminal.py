"""A slice in the terminal, in braille dots: values above, derivatives below."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any, Final

import numpy as np
from rich.text import Text

from gradwire._cli.console import plain
from gradwire._cli.plot.slices import Line, Slice, with_unit
from gradwire._extras import import_extra

EXTRA: Final = "plot"
HEIGHT: Final = 12  # terminal rows of each chart
WIDEST: Final = 100  # terminal columns; beyond, a line gets no clearer
EDGE_DOTS: Final = 60  # of either edge of a band: apart from one another, and so from a line
MARGIN: Final = 20  # columns of the axis, its numbers and its name
NARROWEST: Final = 20
COLORS: Final = (
    "bright_blue",
    "bright_red",
    "bright_green",
    "bright_magenta",
    "bright_yellow",
    "bright_cyan",
)


def draw(each: Slice, width: int) -> Text:
    """Draw a slice.

    Args:
        each: the slice.
        width: columns of the terminal.

    Raises:
        MissingExtra: plotille is not installed.
    """
    plotille = import_extra("plotille", EXTRA)
    columns = max(NARROWEST, min(width, WIDEST) - MARGIN)
    label = with_unit(each.along, each.unit)
    text = plain(f"along {label}{f', at {each.fixed}' if each.fixed else ''}\n")
    if each.far.any():
        text.append_text(plain(f"far from the samples, as the bars tell: {label} {_stretches(each)}\n"))
    for output in dict.fromkeys(line.output for line in each.values):
        for lines in (each.values, each.derivatives):
            if of_output := [line for line in lines if line.output == output]:
                text.append_text(_chart(plotille, label, each.x, of_output, columns))
    return text


def _stretches(each: Slice) -> str:
    """Return where a slice is far from the samples, as text."""
    steps = np.flatnonzero(np.diff(np.concatenate([[False], each.far, [False]]).astype(int)))
    return ", ".join(f"{each.x[first]:.4g} to {each.x[end - 1]:.4g}" for first, end in steps.reshape(-1, 2))


def _chart(plotille: Any, along: str, x: Any, lines: Sequence[Line], columns: int) -> Text:
    figure = plotille.Figure()
    figure.width, figure.height, figure.color_mode = columns, HEIGHT, "names"
    figure.x_label, figure.y_label = along, lines[0].label if len(lines) == 1 else lines[0].name
    figure.origin = False  # its lines would look like data
    figure.x_ticks_fkt = figure.y_ticks_fkt = _tick
    figure.set_x_limits(float(x.min()), float(x.max()))
    heading = Text()
    for color, line in zip(cycle(COLORS), lines, strict=False):
        finite = np.isfinite(line.y)
        if finite.any():
            figure.plot(x[finite].tolist(), line.y[finite].tolist(), lc=color)
        text = f"  ── {with_unit(line.label, line.unit)}"
        if line.band is not None:
            for edge in line.band:
                dots = np.flatnonzero(np.isfinite(edge))[:: max(1, len(x) // EDGE_DOTS)]
                figure.scatter(x[dots].tolist(), edge[dots].tolist(), lc=color)
            text += ", dots: its 95 % band"
        heading.append(plain(text).plain, color)
    return heading.append("\n").append_text(Text.from_ansi(figure.show())).append("\n")


def _tick(smallest: float, _largest: float) -> str:
    """Format a tick; plotille passes the range of its cell and expects at most ten characters."""
    return f"{smallest:.4g}"
