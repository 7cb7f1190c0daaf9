"""Plots of a fit of a scalar function of a scalar: the function, its derivative, and the errors of both."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from gradwire_training._fit import POINTS, evaluate
from gradwire_training._objective import Rows
from gradwire_training._report.figures.figure import (
    DERIVATIVE_COLOR,
    INK,
    PAPER,
    TRUTH_COLOR,
    VALUE_COLOR,
    Plot,
    legend,
    single,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from gradwire_training._fit import Result

TINY: Final = 1e-16  # errors of float64: a logarithmic axis cannot begin at zero
SCALAR: Final = (1,)


def is_curve(result: Result) -> bool:
    """Return whether a fit has one input and one output, a scalar each."""
    shapes = [tensor.shape for tensor in (*result.binding.inputs, *result.binding.outputs)]
    return shapes == [SCALAR, SCALAR]


def curve_plots(result: Result) -> list[Plot]:
    """Plot value, derivative and errors of a fit for which ``is_curve`` holds."""
    curve = _Curve.of(result)
    names = {"output": curve.output, "truth": curve.formula}
    value = "{output} as fitted (blue) over {truth} (grey), and the samples that the loss saw."
    derivative = "The derivative of the fit, over that of {truth}, and the samples of it that the loss saw."
    error = "The error of both against {truth}, all over the domain. It dives where a curve crosses the truth."
    if not curve.is_truth:
        error = "The error of both against {truth}."
    return [
        Plot("value", value.format(**names), _draw_value(curve)),
        Plot("derivative", derivative.format(**names), _draw_derivative(curve)),
        Plot("error", error.format(**names), _draw_errors(curve)),
    ]


@final
@dataclass(frozen=True, slots=True)
class _Points:
    """A function and its derivative at some x, flat; NaN where unknown."""

    x: NDArray[np.float64]
    value: NDArray[np.float64]
    derivative: NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class _Curve:
    """Everything that the plots of a curve show.

    Attributes:
        wrt: name of the input.
        output: name of the output.
        formula: of the truth; ``"the rows held out"`` or the like where it is not known.
        derivative_formula: of its derivative.
        is_truth: whether the truth is known everywhere, and not only at some rows.
        fit: the model, evenly over the domain.
        expected: the truth: everywhere if it is known, else at some rows.
        predicted: by the model at the same points.
        samples: what the loss saw; NaN for what it did not.
    """

    wrt: str
    output: str
    formula: str
    derivative_formula: str
    is_truth: bool
    fit: _Points
    expected: _Points
    predicted: _Points
    samples: _Points

    @classmethod
    def of(cls, result: Result) -> _Curve:
        (wrt,), (output,) = (
            [tensor.name for tensor in side] for side in (result.binding.inputs, result.binding.outputs)
        )
        comparison = result.comparison
        value = comparison.tensors[0]
        derivative = next((tensor for tensor in comparison.tensors if tensor.kind == "derivative"), None)
        x = comparison.x[wrt].ravel()
        missing = np.full_like(x, np.nan)
        expected, predicted = (
            _Points(
                x, getattr(value, side).ravel(), missing if derivative is None else getattr(derivative, side).ravel()
            )
            for side in ("expected", "predicted")
        )
        samples = _samples_of(result, wrt, output)
        points = np.concatenate([x, samples.x])
        covers = comparison.is_truth and (x.min(), x.max()) == (points.min(), points.max())
        formula, derivative_formula = _formulas(result)
        return cls(
            wrt=wrt,
            output=output,
            formula=formula,
            derivative_formula=derivative_formula,
            is_truth=comparison.is_truth,
            # The truth's points are even, and the model has been evaluated there.
            fit=predicted if covers else _evaluated(result, np.linspace(points.min(), points.max(), POINTS)),
            expected=expected,
            predicted=predicted,
            samples=samples,
        )


def _samples_of(result: Result, wrt: str, output: str) -> _Points:
    """Return the labels that were fitted."""
    rows = Rows.of(result.request.samples, result.request.loss)
    missing = {wrt: np.full_like(rows.x[wrt], np.nan)}
    return _Points(rows.x[wrt].ravel(), rows.fitted[output].ravel(), rows.slopes.get(output, missing)[wrt].ravel())


def _formulas(result: Result) -> tuple[str, str]:
    if result.request.validation is not None:
        return "the rows held out", "the rows held out"
    provenance = result.request.samples.provenance
    if provenance is None:
        return "the samples", "the samples"
    return provenance.truth.formula, provenance.truth.derivative_formula


def _evaluated(result: Result, x: NDArray[np.float64]) -> _Points:
    (wrt,), (output,) = ([tensor.name for tensor in side] for side in (result.binding.inputs, result.binding.outputs))
    values, derivatives = evaluate(result.model, result.binding, {wrt: x[:, None]}, {output: [wrt]})
    missing = {wrt: np.full_like(x, np.nan)}
    return _Points(x, values[output].ravel(), derivatives.get(output, missing)[wrt].ravel())


def _draw_value(curve: _Curve) -> Figure:
    title = f"{curve.output}({curve.wrt}): the fit and {curve.formula}"
    return _draw_fit(curve, title, curve.formula, VALUE_COLOR, attrgetter("value"))


def _draw_derivative(curve: _Curve) -> Figure:
    title = f"d{curve.output}/d{curve.wrt}: the fit's derivative and {curve.derivative_formula}"
    return _draw_fit(curve, title, curve.derivative_formula, DERIVATIVE_COLOR, attrgetter("derivative"))


def _draw_fit(
    curve: _Curve, title: str, formula: str, color: str, of: Callable[[_Points], NDArray[np.float64]]
) -> Figure:
    figure, axes = single(title, curve.wrt)
    _expected(axes, curve, of(curve.expected), formula)
    axes.plot(curve.fit.x, of(curve.fit), color=color, linewidth=1.5, label="fit")
    _samples(axes, curve.samples.x, of(curve.samples))
    legend(axes)
    return figure


def _draw_errors(curve: _Curve) -> Figure:
    figure, axes = single(f"Absolute error against {'the truth' if curve.is_truth else curve.formula}", curve.wrt)
    axes.set_yscale("log")
    value, derivative = (
        np.abs(of(curve.predicted) - of(curve.expected)) for of in (attrgetter("value"), attrgetter("derivative"))
    )
    value_name, derivative_name = curve.output, f"d{curve.output}/d{curve.wrt}"
    if curve.is_truth:
        value_name = f"|{value_name} - {curve.formula}|"
        derivative_name = f"|{derivative_name} - {curve.derivative_formula}|"
    _errors(axes, curve, value, value_name, VALUE_COLOR)
    _errors(axes, curve, derivative, derivative_name, DERIVATIVE_COLOR)
    errors = np.concatenate([value, derivative])
    errors = errors[~np.isnan(errors)]
    if errors.size and np.isfinite(errors).all():
        # A curve that crosses the truth dives to zero there: all but the deepest hundredth is shown.
        axes.set_ylim(bottom=max(np.percentile(errors, 1), TINY))
    legend(axes)
    return figure


def _expected(axes: Axes, curve: _Curve, expected: NDArray[Any], formula: str) -> None:
    x = curve.expected.x
    if curve.is_truth:
        axes.plot(x, expected, color=TRUTH_COLOR, linewidth=5, alpha=0.6, solid_capstyle="round", label=formula)
    elif np.isfinite(expected).any():
        axes.plot(x, expected, "x", color=TRUTH_COLOR, markersize=6, label=formula)


def _samples(axes: Axes, x: NDArray[Any], y: NDArray[Any]) -> None:
    if np.isfinite(y).any():
        axes.plot(x, y, "o", markersize=4.5, markerfacecolor=PAPER, markeredgecolor=INK, label="samples", zorder=3)


def _errors(axes: Axes, curve: _Curve, errors: NDArray[Any], name: str, color: str) -> None:
    labelled = ~np.isnan(errors)
    if not labelled.any():
        return
    style: dict[str, Any] = {"linewidth": 1.2} if curve.is_truth else {"linestyle": "", "marker": ".", "markersize": 5}
    label = f"{name}, at most {errors[labelled].max():.1e}"
    axes.plot(curve.expected.x[labelled], errors[labelled], color=color, label=label, **style)
