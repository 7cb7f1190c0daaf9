"""The history of a fit: loss and error by step, a colour for each optimiser at work."""

from __future__ import annotations

from itertools import cycle
from typing import Final

import numpy as np

from gradwire._pages import COLORS, INK, TRUTH_COLOR, Plot, legend, single, thinned
from gradwire_training._fit import Result
from gradwire_training._report.summary import phases_of

MOST_POINTS: Final = 2_000  # of a line: more than two a pixel show nothing more


def history_plot(result: Result) -> Plot:
    """Plot loss by step in a colour for each phase, and the mean absolute error."""
    figure, axes = single(f"Loss by step: {result.request.loss.name}", "step")
    history = result.history
    if (np.nan_to_num(history["loss"]) > 0).any():  # else a logarithm has nothing to show
        axes.set_yscale("log")
    if (history["mae"] > 0).any():
        steps, (mae,) = thinned(history["step"], [history["mae"]], MOST_POINTS)
        axes.plot(steps, mae, color=TRUTH_COLOR, linewidth=1.0, label="mean absolute error of the values")
    begin = 0
    for phase, color in zip(phases_of(result), cycle(COLORS), strict=False):
        end = begin + phase.steps
        part = slice(max(begin - 1, 0), end)  # a phase begins where the one before it ended: no gap in the line
        steps, (loss,) = thinned(history["step"][part], [history["loss"][part]], MOST_POINTS)
        axes.plot(steps, loss, color=color, linewidth=1.4, label=f"loss: {phase.optimizer}, {phase.steps:,} steps")
        if begin:
            axes.axvline(float(history["step"][begin]), color=INK, linewidth=0.8, linestyle=":")
        begin = end
    legend(axes)
    return Plot(
        "history", "Loss and mean absolute error by step; a dotted line where another optimiser takes over.", figure
    )
