"""Pictures of a fit: the function, its derivative, the errors of both, and the way there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gradwire._errors import PackageError, UsageError
from gradwire_training._measure import POINTS, evaluate
from gradwire_training._rows import Rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from gradwire_training._result import Result
    from gradwire_training._truth import Truth

SIZE: Final = (7.2, 4.5)  # inches
DPI: Final = 150  # 1,080 pixels wide: sharp in a README on a dense screen
MODEL_COLOR: Final = "#0072b2"  # blue, vermilion and grey of Okabe and Ito: told apart by every eye
SLOPE_COLOR: Final = "#d55e00"
TRUTH_COLOR: Final = "#9a9a9a"
TINY: Final = 1e-16  # errors of float64: an axis of logarithms cannot begin at zero
INK: Final = "#333333"


def draw(result: Result, truth: Truth, *, to: str | Path) -> list[Path]:
    """Draws a fit of a function of one number.

    Writes ``value.png`` (fit against truth), ``derivative.png`` (the same of the derivative), ``error.png``
    (the error of both, logarithmic) and ``history.png`` (loss and mean absolute error by step, logarithmic).

    Args:
        result: of a fit to samples of a known function.
        truth: that function, with one input and one output of one number.
        to: the directory; it is made, and pictures in it are overwritten.

    Returns:
        The pictures.

    Raises:
        UsageError: the function is not a curve.
        PackageError: the directory cannot be written.
    """
    if not (truth.is_curve and len(truth.outputs) == 1 and truth.outputs[0].shape == (1,)):
        raise UsageError(f"{truth.name!r} is not a function of one number: only those are drawn")
    curve = _Curve(result, truth)
    figures = {
        "value.png": _draw_value(curve),
        "derivative.png": _draw_derivative(curve),
        "error.png": _draw_errors(curve),
        "history.png": _draw_history(result),
    }
    to = Path(to)
    try:
        to.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            figure.savefig(to / name, dpi=DPI)
    except OSError as error:
        raise PackageError(f"cannot write pictures to {to}: {error.strerror}; give another place") from error
    return [to / name for name in figures]


class _Curve:
    """Everything that the pictures of a curve show, as flat arrays."""

    def __init__(self, result: Result, known: Truth) -> None:
        (self.wrt,), (self.output,) = known.domain, (quantity.name for quantity in known.outputs)
        points, samples = known.test_points(POINTS), result.request.samples
        truth, slope = known.f(points), known.df(points)
        value, derivative = evaluate(result.model, result.ports, points, slope)
        self.known = known
        self.x = points[self.wrt].ravel()
        self.truth, self.value = truth[self.output].ravel(), value[self.output].ravel()
        self.slope = slope[self.output][self.wrt].ravel()
        self.derivative = derivative[self.output][self.wrt].ravel()
        rows = Rows.of(samples, result.request.loss)  # only labels that were fitted are shown
        self.sample_x = rows.x[self.wrt].ravel()
        self.sample_y = rows.fitted[self.output].ravel()
        missing = {self.wrt: np.full_like(self.sample_x, np.nan)}
        self.sample_slope = rows.slopes.get(self.output, missing)[self.wrt].ravel()


def _draw_value(curve: _Curve) -> Figure:
    figure, axes = _axes(f"{curve.output}({curve.wrt}): the fit and {curve.known.formula}", curve.wrt)
    _fit_against_truth(axes, curve.x, curve.value, curve.truth, curve.known.formula, MODEL_COLOR)
    _samples(axes, curve.sample_x, curve.sample_y)
    axes.legend(frameon=False)
    return figure


def _draw_derivative(curve: _Curve) -> Figure:
    title = f"d{curve.output}/d{curve.wrt}: the fit's derivative and {curve.known.derivative_formula}"
    figure, axes = _axes(title, curve.wrt)
    formula = curve.known.derivative_formula
    _fit_against_truth(axes, curve.x, curve.derivative, curve.slope, formula, SLOPE_COLOR)
    _samples(axes, curve.sample_x, curve.sample_slope)
    axes.legend(frameon=False)
    return figure


def _draw_errors(curve: _Curve) -> Figure:
    figure, axes = _axes("Absolute error against the truth", curve.wrt)
    axes.set_yscale("log")
    value, slope = np.abs(curve.value - curve.truth), np.abs(curve.derivative - curve.slope)
    _error_line(axes, curve.x, value, f"{curve.output} - {curve.known.formula}", MODEL_COLOR)
    name = f"d{curve.output}/d{curve.wrt} - {curve.known.derivative_formula}"
    _error_line(axes, curve.x, slope, name, SLOPE_COLOR)
    errors = np.concatenate([value, slope])
    if np.isfinite(errors).all():
        # A curve that crosses the truth dives to zero there: all but the deepest hundredth of the dives is
        # shown.
        axes.set_ylim(bottom=max(np.percentile(errors, 1), TINY))
    axes.legend(frameon=False)
    return figure


def _draw_history(result: Result) -> Figure:
    figure, axes = _axes(f"The way there: {result.request.loss.name} loss", "step")
    step, history = result.history["step"], result.history
    axes.set_yscale("log")
    axes.plot(step, history["loss"], color=MODEL_COLOR, linewidth=1.2, label="loss")
    axes.plot(step, history["mae"], color=SLOPE_COLOR, linewidth=1.2, label="mean absolute error")
    names = history["optimizer"]
    for change in np.nonzero(names[1:] != names[:-1])[0] + 1:
        axes.axvline(step[change], color=TRUTH_COLOR, linewidth=0.8, linestyle=":")
        axes.annotate(
            f" {names[change]}",
            (step[change], 1),
            xycoords=("data", "axes fraction"),
            va="top",
            color=INK,
            fontsize=9,
        )
    axes.legend(frameon=False)
    return figure


def _axes(title: str, x_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    FigureCanvasAgg(figure)  # draws into memory: no window, no state that figures share
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", color=INK)
    axes.set_xlabel(x_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _fit_against_truth(
    axes: Axes, x: NDArray[Any], fit: NDArray[Any], truth: NDArray[Any], formula: str, color: str
) -> None:
    axes.plot(x, truth, color=TRUTH_COLOR, linewidth=5, alpha=0.6, solid_capstyle="round", label=formula)
    axes.plot(x, fit, color=color, linewidth=1.5, label="fit")


def _samples(axes: Axes, x: NDArray[Any], y: NDArray[Any]) -> None:
    if np.isfinite(y).any():
        axes.plot(
            x, y, "o", markersize=4.5, markerfacecolor="white", markeredgecolor=INK, label="samples", zorder=3
        )


def _error_line(axes: Axes, x: NDArray[Any], error: NDArray[Any], name: str, color: str) -> None:
    axes.plot(x, error, color=color, linewidth=1.2, label=f"|{name}|, at most {error.max():.1e}")
