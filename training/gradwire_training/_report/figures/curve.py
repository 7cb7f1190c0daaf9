"""Pictures of a fit of one number by one number: the function, its derivative, and the errors of both."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from gradwire_training._fit import POINTS, evaluate_what_there_is, yardstick
from gradwire_training._objective import Rows
from gradwire_training._report.figures.figure import (
    INK,
    PAPER,
    SLOPE_COLOR,
    TRUTH_COLOR,
    VALUE_COLOR,
    Picture,
    legend,
    single,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from gradwire_training._fit import Result

TINY: Final = 1e-16  # errors of float64: an axis of logarithms cannot begin at zero
ONE_NUMBER: Final = (1,)


def is_curve(result: Result) -> bool:
    """Says whether a fit is one of these: one input and one output, a number each."""
    shapes = [port.shape for port in (*result.ports.inputs, *result.ports.outputs)]
    return shapes == [ONE_NUMBER, ONE_NUMBER]


def curve_pictures(result: Result) -> list[Picture]:
    """Draws value, derivative and errors of a fit for which ``is_curve`` holds."""
    curve = _Curve.of(result)
    names = {"wrt": curve.wrt, "output": curve.output, "truth": curve.formula}
    value = "{output} as fitted (blue) over {truth} (grey), and the samples that the loss saw."
    slope = "The derivative of the fit, over that of {truth}, and the samples of it that the loss saw."
    error = "How far both are from {truth}, all over the domain. Where a curve crosses the truth it dives."
    if not curve.known:
        error = "How far both are from {truth}."
    return [
        Picture("value", value.format(**names), _draw_value(curve)),
        Picture("derivative", slope.format(**names), _draw_derivative(curve)),
        Picture("error", error.format(**names), _draw_errors(curve)),
    ]


@final
@dataclass(frozen=True, slots=True)
class _Line:
    """A function and its derivative along x, flat."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    slope: NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class _Curve:
    """Everything that the pictures of a curve show.

    Attributes:
        wrt: name of the input.
        output: name of the output.
        formula: of the truth; ``"the rows held out"`` or the like where it is not known.
        slope_formula: of its derivative.
        known: whether the truth is known everywhere, and not only at some rows.
        fit: the model, evenly over the domain.
        wanted: what it should be: a line where it is known, else points.
        given: the model at the points of ``wanted``.
        samples: what the loss saw; NaN for what it did not.
    """

    wrt: str
    output: str
    formula: str
    slope_formula: str
    known: bool
    fit: _Line
    wanted: _Line
    given: _Line
    samples: _Line

    @classmethod
    def of(cls, result: Result) -> _Curve:
        request = result.request
        (wrt,), (output,) = ([port.name for port in ports] for ports in (result.ports.inputs, result.ports.outputs))
        x, y, dydx, _ = yardstick(request.samples, request.validation)
        slope = dydx.get(output, {}).get(wrt, np.full_like(y[output], np.nan))
        rows = Rows.of(request.samples, request.loss)  # only labels that were fitted are shown
        seen = {wrt: np.full_like(rows.x[wrt], np.nan)}
        points = np.concatenate([x[wrt].ravel(), rows.x[wrt].ravel()])
        line = np.linspace(points.min(), points.max(), POINTS)
        known = request.validation is None and request.samples.provenance is not None
        formula, slope_formula = _formulas(result)
        return cls(
            wrt=wrt,
            output=output,
            formula=formula,
            slope_formula=slope_formula,
            known=known,
            fit=_model_line(result, line),
            wanted=_Line(x[wrt].ravel(), y[output].ravel(), slope.ravel()),
            given=_model_line(result, x[wrt].ravel()),
            samples=_Line(rows.x[wrt].ravel(), rows.fitted[output].ravel(), rows.slopes.get(output, seen)[wrt].ravel()),
        )  # fmt: skip - one thing a line


def _formulas(result: Result) -> tuple[str, str]:
    if result.request.validation is not None:
        return "the rows held out", "the rows held out"
    provenance = result.request.samples.provenance
    if provenance is None:
        return "the samples", "the samples"
    return provenance.truth.formula, provenance.truth.derivative_formula


def _model_line(result: Result, x: NDArray[np.float64]) -> _Line:
    (wrt,), (output,) = ([port.name for port in ports] for ports in (result.ports.inputs, result.ports.outputs))
    points = {wrt: x[:, None]}
    values, slopes = evaluate_what_there_is(result.model, result.ports, points, {output: points})
    missing = {wrt: np.full_like(x, np.nan)}
    return _Line(x, values[output].ravel(), slopes.get(output, missing)[wrt].ravel())


def _draw_value(curve: _Curve) -> Figure:
    title = f"{curve.output}({curve.wrt}): the fit and {curve.formula}"
    return _draw_fit(curve, title, curve.formula, VALUE_COLOR, attrgetter("y"))


def _draw_derivative(curve: _Curve) -> Figure:
    title = f"d{curve.output}/d{curve.wrt}: the fit's derivative and {curve.slope_formula}"
    return _draw_fit(curve, title, curve.slope_formula, SLOPE_COLOR, attrgetter("slope"))


def _draw_fit(
    curve: _Curve, title: str, formula: str, color: str, of: Callable[[_Line], NDArray[np.float64]]
) -> Figure:
    figure, axes = single(title, curve.wrt)
    _wanted(axes, curve, of(curve.wanted), formula)
    axes.plot(curve.fit.x, of(curve.fit), color=color, linewidth=1.5, label="fit")
    _samples(axes, curve.samples.x, of(curve.samples))
    legend(axes)
    return figure


def _draw_errors(curve: _Curve) -> Figure:
    figure, axes = single(f"Absolute error against {'the truth' if curve.known else curve.formula}", curve.wrt)
    axes.set_yscale("log")
    value = np.abs(curve.given.y - curve.wanted.y)
    slope = np.abs(curve.given.slope - curve.wanted.slope)
    value_name, slope_name = curve.output, f"d{curve.output}/d{curve.wrt}"
    if curve.known:
        value_name, slope_name = (
            f"|{value_name} - {curve.formula}|",
            f"|{slope_name} - {curve.slope_formula}|",
        )
    _errors(axes, curve, value, value_name, VALUE_COLOR)
    _errors(axes, curve, slope, slope_name, SLOPE_COLOR)
    errors = np.concatenate([value, slope])
    errors = errors[~np.isnan(errors)]
    if errors.size and np.isfinite(errors).all():
        # A curve that crosses the truth dives to zero there: all but the deepest hundredth is shown.
        axes.set_ylim(bottom=max(np.percentile(errors, 1), TINY))
    legend(axes)
    return figure


def _wanted(axes: Axes, curve: _Curve, wanted: NDArray[Any], formula: str) -> None:
    x = curve.wanted.x
    if curve.known:
        axes.plot(x, wanted, color=TRUTH_COLOR, linewidth=5, alpha=0.6, solid_capstyle="round", label=formula)
    elif np.isfinite(wanted).any():
        axes.plot(x, wanted, "x", color=TRUTH_COLOR, markersize=6, label=formula)


def _samples(axes: Axes, x: NDArray[Any], y: NDArray[Any]) -> None:
    if np.isfinite(y).any():
        axes.plot(x, y, "o", markersize=4.5, markerfacecolor=PAPER, markeredgecolor=INK, label="samples", zorder=3)


def _errors(axes: Axes, curve: _Curve, errors: NDArray[Any], name: str, color: str) -> None:
    there = ~np.isnan(errors)
    if not there.any():
        return
    style: dict[str, Any] = {"linewidth": 1.2} if curve.known else {"linestyle": "", "marker": ".", "markersize": 5}
    label = f"{name}, at most {errors[there].max():.1e}"
    axes.plot(curve.wanted.x[there], errors[there], color=color, label=label, **style)
