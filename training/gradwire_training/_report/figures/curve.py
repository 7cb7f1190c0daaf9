"""Plots of a fit of a scalar function of a scalar: the function, its derivative, and the errors of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradwire._package import BAND, COVERAGE, derivative_name, std_name
from gradwire._pages import (
    DERIVATIVE_COLOR,
    INK,
    PAPER,
    TRUTH_COLOR,
    VALUE_COLOR,
    Plot,
    legend,
    single,
    with_unit,
)
from gradwire_training._data import ColumnKey
from gradwire_training._fit import POINTS, Result, evaluate
from gradwire_training._objective import FittedRows
from gradwire_training._uncertainty import Uncertainty

Array: TypeAlias = "NDArray[np.float64]"

TINY: Final = 1e-16  # errors of float64: a logarithmic axis cannot begin at zero
SCALAR: Final = (1,)


def is_curve(result: Result) -> bool:
    """Return whether a fit has one input and one output, a scalar each."""
    shapes = [tensor.shape for tensor in (*result.binding.inputs, *result.binding.outputs)]
    return shapes == [SCALAR, SCALAR]


def curve_plots(result: Result) -> list[Plot]:
    """Plot value, derivative and errors of a fit for which ``is_curve`` holds."""
    curve = _Curve.of(result)
    value, derivative = curve.value, curve.derivative
    where = ", all over the domain. It dives where a curve crosses the truth." if curve.is_truth else "."
    bars = f" The band: {COVERAGE:.0%} error bars." if np.isfinite(value.std).any() else ""
    if np.isfinite([*derivative.expected, *derivative.samples]).any():
        title, of = f"{derivative.name}: the fit's derivative and {derivative.formula}", "both"
        caption = (
            f"The derivative of the fit, over that of {value.formula}, and the samples of it that the loss saw.{bars}"
        )
    else:
        title, of = f"{derivative.name}: the fit's derivative, never labelled", "the value"
        caption = f"The derivative of the fit. No label of it is known, and so no error.{bars}"
    return [
        Plot(
            "value",
            f"{value.name} as fitted (blue) over {value.formula} (grey), and the samples that the loss saw.{bars}",
            _draw_fit(curve, value, f"{value.name}({curve.wrt}): the fit and {value.formula}"),
        ),
        Plot("derivative", caption, _draw_fit(curve, derivative, title)),
        Plot("error", f"The error of {of} against {value.formula}{where}", _draw_errors(curve)),
    ]


@final
@dataclass(frozen=True, slots=True)
class _Function:
    """The value of a curve, or its derivative; NaN where unknown."""

    name: str  # as in "f" or "df/dx"
    formula: str  # of the truth, or "the held-out rows" and the like
    color: str
    unit: str | None
    expected: Array  # at the curve's x
    predicted: Array  # likewise
    fit: Array  # at even_x
    std: Array  # error bars of the fit, likewise
    samples: Array  # what the loss saw at sample_x


@final
@dataclass(frozen=True, slots=True)
class _Curve:
    """Everything that the plots of a curve show."""

    wrt: str
    wrt_unit: str | None
    is_truth: bool
    x: Array  # where the truth is known
    even_x: Array  # evenly over the domain
    sample_x: Array
    value: _Function
    derivative: _Function

    @classmethod
    def of(cls, result: Result) -> _Curve:
        binding, comparison = result.binding, result.comparison
        (wrt,), (output,) = ([tensor.name for tensor in side] for side in (binding.inputs, binding.outputs))
        tensors = {tensor.kind: tensor for tensor in comparison.tensors}
        x = comparison.x[wrt].ravel()
        rows = FittedRows.of(result.request.samples, result.request.loss)  # only labels that were fitted are shown
        sample_x = rows.x[wrt].ravel()
        samples = {
            "value": rows.labels.get(ColumnKey("y", output)),
            "derivative": rows.labels.get(ColumnKey("dydx", output, wrt)),
        }
        points = np.concatenate([x, sample_x])
        if comparison.is_truth and (x.min(), x.max()) == (points.min(), points.max()):
            even_x = x  # the truth's points are even, and the model has been evaluated there
            fits = {kind: tensor.predicted for kind, tensor in tensors.items()}
        else:
            even_x = np.linspace(points.min(), points.max(), POINTS)
            values, derivatives = evaluate(result.model, binding, {wrt: even_x[:, None]}, {output: [wrt]})
            fits = {"value": values[output], "derivative": derivatives.get(output, {}).get(wrt)}

        bars = result.uncertainty()
        stds: dict[str, Any] = {}
        if isinstance(bars, Uncertainty):
            stds = bars.model({wrt: even_x[:, None].astype(result.model.variable_dtype)})

        def function(kind: str, name: str, shown: str, formula: str, color: str) -> _Function:
            tensor = tensors.get(kind)
            return _Function(
                shown,
                formula,
                color,
                None if tensor is None else tensor.unit,
                expected=_flat(None if tensor is None else tensor.expected, x),
                predicted=_flat(None if tensor is None else tensor.predicted, x),
                fit=_flat(fits.get(kind), even_x),
                std=_flat(stds.get(std_name(name)), even_x),
                samples=_flat(samples[kind], sample_x),
            )

        formula, derivative_formula = _formulas(result)
        value = function("value", output, output, formula, VALUE_COLOR)
        slope, shown = derivative_name(output, wrt), f"d{output}/d{wrt}"
        derivative = function("derivative", slope, shown, derivative_formula, DERIVATIVE_COLOR)
        return cls(
            wrt, result.request.samples.units.get(wrt), comparison.is_truth, x, even_x, sample_x, value, derivative
        )


def _flat(column: Any, x: Array) -> Array:
    return np.full_like(x, np.nan) if column is None else np.asarray(column, np.float64).ravel()


def _formulas(result: Result) -> tuple[str, str]:
    provenance = result.request.samples.provenance
    if result.request.validation is not None:
        return "the held-out rows", "the held-out rows"
    if provenance is None:
        return "the samples", "the samples"
    return provenance.truth.formula, provenance.truth.derivative_formula


def _draw_fit(curve: _Curve, function: _Function, title: str) -> Figure:
    figure, axes = single(title, with_unit(curve.wrt, curve.wrt_unit))
    axes.set_ylabel(with_unit(function.name, function.unit), parse_math=False)
    style: dict[str, Any] = {"color": TRUTH_COLOR, "label": function.formula}
    if curve.is_truth:
        axes.plot(curve.x, function.expected, linewidth=5, alpha=0.6, solid_capstyle="round", **style)
    elif np.isfinite(function.expected).any():
        axes.plot(curve.x, function.expected, "x", markersize=6, **style)
    axes.plot(curve.even_x, function.fit, color=function.color, linewidth=1.5, label="fit")
    if np.isfinite(function.std).any():
        edges = [function.fit + sign * BAND * function.std for sign in (-1, 1)]
        style = {"color": function.color, "alpha": 0.2, "linewidth": 0, "label": f"{COVERAGE:.0%} error bars"}
        axes.fill_between(curve.even_x, *edges, **style)
    if np.isfinite(function.samples).any():
        style = {"markersize": 4.5, "markerfacecolor": PAPER, "markeredgecolor": INK, "zorder": 3}
        axes.plot(curve.sample_x, function.samples, "o", label="samples", **style)
    legend(axes)
    return figure


def _draw_errors(curve: _Curve) -> Figure:
    title = f"Absolute error against {'the truth' if curve.is_truth else curve.value.formula}"
    figure, axes = single(title, with_unit(curve.wrt, curve.wrt_unit))
    axes.set_yscale("log")
    style: dict[str, Any] = {"linewidth": 1.2} if curve.is_truth else {"linestyle": "", "marker": ".", "markersize": 5}
    every: list[Array] = []
    for function in (curve.value, curve.derivative):
        errors = np.abs(function.predicted - function.expected)
        labelled = ~np.isnan(errors)
        if labelled.any():
            name = f"|{function.name} - {function.formula}|" if curve.is_truth else function.name
            label = f"{name}, at most {errors[labelled].max():.1e}"
            axes.plot(curve.x[labelled], errors[labelled], color=function.color, label=label, **style)
            every.append(errors[labelled])
    if every and np.isfinite(errors := np.concatenate(every)).all():
        # A curve that crosses the truth dives to zero there: all but the deepest hundredth is shown.
        axes.set_ylim(bottom=max(np.percentile(errors, 1), TINY))
    legend(axes)
    return figure
