"""All plots of a fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gradwire._errors import PackageError
from gradwire._pages import Plot
from gradwire_training._fit import Result
from gradwire_training._report.figures.curve import curve_plots, is_curve
from gradwire_training._report.figures.history import history_plot
from gradwire_training._report.figures.parity import parity_plots


def draw(result: Result, *, to: str | Path) -> list[Path]:
    """Plot a fit.

    A fit of a scalar function of a scalar gets ``value.png`` (fit against reference), ``derivative.png`` (the same of
    the derivative) and ``error.png`` (the error of both, logarithmic); any other ``values.png`` and ``derivatives.png``
    (predicted against expected, tensor by tensor, and the errors). Both get ``history.png`` (loss and mean absolute
    error by step). The reference is the problem's truth, the held-out rows, or the samples, as in ``Result.errors``.

    Args:
        result: of a fit.
        to: the directory; it is made, and plots in it are overwritten.

    Returns:
        The files.

    Raises:
        PackageError: the directory cannot be written.
    """
    return save(plots_of(result), to)


def plots_of(result: Result) -> list[Plot]:
    """Plot a fit, without writing anything (see ``draw``)."""
    plots = curve_plots(result) if is_curve(result) else parity_plots(result.comparison)
    return [*plots, history_plot(result)]


def save(plots: Sequence[Plot], to: str | Path) -> list[Path]:
    """Write plots into a directory."""
    to = Path(to)
    try:
        to.mkdir(parents=True, exist_ok=True)
        return [plot.save(to) for plot in plots]
    except OSError as error:
        raise PackageError(f"cannot write plots to {to}: {error.strerror}; give another place") from error
