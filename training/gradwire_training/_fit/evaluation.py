"""A fitted model's values and derivatives beside those that it should have, and its errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from gradwire._errors import ConversionError
from gradwire._package import derivative_name, tangent_name
from gradwire_export import row_derivatives
from gradwire_training._data import Derivatives, Samples, Table
from gradwire_training._models import IoBinding

POINTS: Final = 1_000  # of the domain: the targets are stated on as many

Kind: TypeAlias = "Literal['value', 'derivative', 'directional']"


@final
@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """What a fit is measured on; expected values are NaN where a label is missing."""

    x: Table
    y: Table
    dydx: Derivatives
    directional: Samples  # compared along their own directions, where they have some
    units: Mapping[str, str]
    against: str
    is_truth: bool = False  # known all over the domain, and not only at some rows

    @classmethod
    def of(cls, samples: Samples, validation: Samples | None) -> EvaluationSet:
        """Choose the rows that were held out, the problem's truth, or the samples themselves."""
        rows = samples if validation is None else validation
        if validation is None and samples.provenance is not None:
            truth = samples.provenance.truth
            x = truth.test_points(POINTS)
            against = f"{truth.formula} on {POINTS} points of {truth.where}"
            return cls(x, truth.f(x), truth.df(x), rows, samples.units, against, is_truth=True)
        if validation is None:
            against = f"the {rows.count} samples that it was fitted to (no other truth is known)"
        else:
            against = f"{rows.count:,} rows that were held out of the fit"
        return cls(rows.x, rows.y, rows.dydx, rows, samples.units, against)


@final
@dataclass(frozen=True, slots=True)
class TensorComparison:
    """An output or a derivative as the model predicts it, and as it should be."""

    name: str  # in a package, such as "price" or "dprice_dspot"
    kind: Kind  # "directional": the derivative along the rows' own directions
    unit: str | None
    predicted: NDArray[np.float64]  # (rows, *shape); NaN where the model has no such derivative
    expected: NDArray[np.float64]  # the same shape; NaN where a label is missing

    def labelled(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the predicted and the expected elements that have a label, flat."""
        mask = ~np.isnan(self.expected)
        return self.predicted[mask], self.expected[mask]

    @property
    def errors(self) -> NDArray[np.float64]:
        """Predicted minus expected, of the elements that have a label, flat."""
        predicted, expected = self.labelled()
        return predicted - expected

    @property
    def max(self) -> float | None:
        """The largest absolute error; None where there is no label, or a prediction is not finite."""
        errors = self.errors
        return float(np.abs(errors).max()) if _is_sound(errors) else None

    @property
    def rmse(self) -> float | None:
        """The root mean square error; None as above."""
        errors = self.errors
        return float(np.sqrt(np.mean(errors**2))) if _is_sound(errors) else None

    @property
    def relative(self) -> float | None:
        """The rmse as a fraction of the truth's standard deviation: 1 is no better than its mean. None as above."""
        rmse = self.rmse
        spread = 0.0 if rmse is None else float(np.std(self.labelled()[1]))
        return rmse / spread if rmse is not None and spread > 0 else None


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """A fitted model on its evaluation set: what tables, figures and records tell of its errors."""

    x: Table  # the points
    tensors: tuple[TensorComparison, ...]  # outputs, then derivatives, then derivatives along directions
    against: str  # what the truth is
    is_truth: bool  # known all over the domain, and not only at some rows

    @property
    def points(self) -> int:
        """Number of points."""
        return len(next(iter(self.x.values())))

    def errors(self) -> dict[str, Any]:
        """Return ``{tensor: {"max": …, "rmse": …}, "points": …, "against": …}``, tensors named as in a package."""
        tensors = {tensor.name: {"max": tensor.max, "rmse": tensor.rmse} for tensor in self.tensors}
        return {**tensors, "points": self.points, "against": self.against}


def compare(model: keras.Model, binding: IoBinding, rows: EvaluationSet) -> Comparison:
    """Evaluate a model, once, on an evaluation set."""
    return Comparison(rows.x, tuple(_tensors(model, binding, rows)), rows.against, rows.is_truth)


def _tensors(model: keras.Model, binding: IoBinding, rows: EvaluationSet) -> Iterator[TensorComparison]:
    values, derivatives = evaluate(model, binding, rows.x, rows.dydx)
    units = rows.units
    for name, value in values.items():
        yield _tensor(name, "value", units.get(name), value, rows.y[name])
    for output, columns in rows.dydx.items():
        for wrt, expected in columns.items():
            predicted = derivatives.get(output, {}).get(wrt, np.full_like(expected, np.nan))
            unit = _ratio(units.get(output), units.get(wrt))
            yield _tensor(derivative_name(output, wrt), "derivative", unit, predicted, expected)
    samples = rows.directional
    if not samples.y_dot:
        return
    _, derivatives = evaluate(model, binding, samples.x, dict.fromkeys(samples.y_dot, samples.x_dot))
    for output, expected in samples.y_dot.items():
        predicted = np.zeros((samples.count, expected[0].size))
        for wrt, column in samples.x_dot.items():
            direction = np.nan_to_num(column.reshape(samples.count, -1))
            shape = (*predicted.shape, direction.shape[1])
            jacobian = derivatives.get(output, {}).get(wrt, np.full(shape, np.nan)).reshape(shape)
            predicted += np.einsum("bof,bf->bo", jacobian, direction)
        yield _tensor(tangent_name(output), "directional", None, predicted, expected)


def evaluate(
    model: keras.Model, binding: IoBinding, x: Table, pairs: Mapping[str, Iterable[str]]
) -> tuple[Table, Derivatives]:
    """Compute a model's values and derivatives as arrays.

    ``pairs`` names, by output, the inputs of its derivatives. Those that the model does not have are left out: a fit of
    values alone may end all the same.
    """
    floats = model.variable_dtype
    inputs = {
        tensor.name: tf.constant(
            x[tensor.name].reshape(-1, *tensor.shape), floats if tensor.is_floating else tensor.dtype
        )
        for tensor in binding.inputs
    }
    shapes = {tensor.name: tensor.shape for tensor in binding.outputs}
    floating = {tensor.name for tensor in binding.inputs if tensor.is_floating}
    possible = {output: [name for name in wrt if name in floating] for output, wrt in pairs.items()}

    def differentiate(pairs: dict[str, list[str]]) -> tuple[Any, Any]:
        return row_derivatives(lambda columns: binding.call(model, columns, training=False), inputs, pairs, shapes)

    try:
        values, derivatives = differentiate({output: names for output, names in possible.items() if names})
    except ConversionError:
        values, derivatives = differentiate({})
    return (
        {name: np.asarray(value) for name, value in values.items()},
        {output: {wrt: np.asarray(value) for wrt, value in by.items()} for output, by in derivatives.items()},
    )


def _tensor(
    name: str, kind: Kind, unit: str | None, predicted: NDArray[Any], expected: NDArray[np.float64]
) -> TensorComparison:
    return TensorComparison(name, kind, unit, predicted.astype(np.float64).reshape(expected.shape), expected)


def _is_sound(errors: NDArray[np.float64]) -> bool:
    return bool(errors.size) and bool(np.isfinite(errors).all())


def _ratio(output: str | None, wrt: str | None) -> str | None:
    """Return the unit of a derivative."""
    if output is None or wrt is None:
        return None
    if output == wrt:
        return "1"
    return output if wrt == "1" else f"{output}/({wrt})" if "/" in wrt else f"{output}/{wrt}"
