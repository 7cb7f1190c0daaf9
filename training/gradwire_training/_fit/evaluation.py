"""A fitted model's values and derivatives beside those that it should have, and its errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias, TypeVar, final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from gradwire._errors import ConversionError
from gradwire._package import Alias, derivative_name, derivative_unit, tangent_name
from gradwire_export import row_derivatives
from gradwire_training._data import ColumnKey, Derivatives, Samples, Table, known_counts
from gradwire_training._fit.request import Request
from gradwire_training._models import IoBinding
from gradwire_training._objective import FittedRows
from gradwire_training._progress import percent

# A tensor is overfitted where it misses by so much, as a fraction of the labels' spread, and by so many times more than
# on the rows that were fitted. Noise alone makes the latter some 1.5.
WORTH_A_WARNING: Final = 0.01
PARTED: Final = 2.0
MOST_TIMES: Final = 1_000
POINTS: Final = 1_000  # of the domain: the targets are stated on as many
FITTED_POINTS: Final = 10_000  # of the fitted rows, at random where there are more: enough for an rmse to a percent
FITTED_STREAM: Final = 6  # of random numbers, apart from those behind points, weights and splits

Kind: TypeAlias = "Literal['value', 'derivative', 'directional']"
Reference: TypeAlias = "Literal['truth', 'held-out rows', 'fitted rows']"
# What the labels of a tensor were for; those along directions tell a combination of partial derivatives.
Labels: TypeAlias = "Literal['fitted', 'along directions', 'not fitted', 'never labelled']"


@final
@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """What a fit is measured on; expected values are NaN where a label is missing."""

    x: Table
    y: Table
    dydx: Derivatives
    directions: tuple[Table, Table, Table]  # rows, their directions, and the derivatives along them
    units: Mapping[str, str]
    against: str
    reference: Reference
    weights: NDArray[np.float64] | None = None  # of the rows; None where every row counts the same

    @classmethod
    def of(cls, samples: Samples, validation: Samples | None) -> EvaluationSet:
        """Choose the rows that were held out, the problem's truth, or the samples themselves."""
        rows = samples if validation is None else validation
        directions = rows.x, rows.x_dot, rows.y_dot
        if validation is None and samples.provenance is not None:
            truth = samples.provenance.truth
            x = truth.test_points(POINTS)
            against = f"{truth.formula} on {POINTS} points of {truth.where}"
            return cls(x, truth.f(x), truth.df(x), directions, samples.units, against, "truth")
        if validation is None:
            against, reference = f"the {rows.count} samples that it was fitted to (none was held out)", "fitted rows"
        else:
            weighted = "" if rows.row_weights is None else " by weight"
            against, reference = f"{rows.count:,} held-out rows{weighted}", "held-out rows"
        return cls(rows.x, rows.y, rows.dydx, directions, samples.units, against, reference, rows.row_weights)

    @classmethod
    def fitted(cls, fitted: FittedRows, units: Mapping[str, str]) -> EvaluationSet:
        """Return the rows and the labels that the loss saw."""
        count = len(next(iter(fitted.x.values())))
        rows = np.arange(count)
        if count > FITTED_POINTS:
            generator = np.random.default_rng(np.random.SeedSequence((0, FITTED_STREAM)))
            rows = np.sort(generator.choice(count, FITTED_POINTS, replace=False))
        x, y = ({name: column[rows] for name, column in table.items()} for table in (fitted.x, fitted.known))
        labels = {key: column[rows] for key, column in fitted.labels.items()}
        y = {name: labels.get(ColumnKey("y", name), np.full_like(column, np.nan)) for name, column in y.items()}
        dydx: Derivatives = {}
        for key, column in labels.items():
            if key.role == "dydx":
                dydx.setdefault(key.output, {})[key.input] = column
        along = {key.output: column for key, column in labels.items() if key.role == "y_dot"}
        x_dot = {name: column[rows] for name, column in fitted.directions.items()} if along else {}
        weights = None if fitted.weights is None else fitted.weights[rows]
        return cls(x, y, dydx, (x, x_dot, along), units, "the fitted rows", "fitted rows", weights)


@final
@dataclass(frozen=True, slots=True)
class TensorComparison:
    """An output or a derivative as the model predicts it, and as it should be."""

    name: str  # in a package, such as "price" or "dprice_dspot"
    kind: Kind  # "directional": the derivative along the rows' own directions
    unit: str | None
    predicted: NDArray[np.float64]  # (rows, *shape); NaN where the model has no such derivative
    expected: NDArray[np.float64]  # the same shape; NaN where a label is missing
    labels: Labels = "fitted"
    training_rmse: float | None = None  # over the labels that were fitted; None if none was, or where rmse is that
    weights: NDArray[np.float64] | None = None  # of the rows; None where every row counts the same

    @property
    def _counts(self) -> NDArray[np.float64] | None:
        """The weights of the elements that have a label, flat."""
        return None if self.weights is None else known_counts(self.expected, self.weights)[~np.isnan(self.expected)]

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
        return float(np.sqrt(np.average(errors**2, weights=self._counts))) if _is_sound(errors) else None

    @property
    def relative(self) -> float | None:
        """The rmse as a fraction of the labels' standard deviation: 1 is no better than its mean. None as above."""
        rmse = self.rmse
        spread = 0.0 if rmse is None else _spread(self.labelled()[1], self._counts)
        return rmse / spread if rmse is not None and spread > 0 else None

    @property
    def is_overfitted(self) -> bool:
        """Whether the error on other rows is far above that on the fitted ones, and not small."""
        rmse, relative, training = self.rmse, self.relative, self.training_rmse
        if rmse is None or relative is None or training is None:
            return False
        return relative > WORTH_A_WARNING and rmse > PARTED * training


@final
@dataclass(frozen=True, slots=True)
class Unmeasured:
    """A derivative that the model has, and of which the evaluation set has no label."""

    name: str
    unit: str | None
    labels: Labels
    training_rmse: float | None = None


Compared = TypeVar("Compared", TensorComparison, Unmeasured)


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """A fitted model on its evaluation set: what tables, figures and records tell of its errors."""

    x: Table  # the points
    tensors: tuple[TensorComparison, ...]  # outputs, then derivatives, then derivatives along directions
    against: str  # the rows, or the function
    reference: Reference
    unmeasured: tuple[Unmeasured, ...] = ()
    aliases: Mapping[str, Alias] = field(default_factory=dict[str, Alias])

    def by_alias(self) -> Comparison:
        """Return the same with derivatives by the names that people gave them, in their sign and size."""
        names = {derivative_name(a.output, a.input): (name, a.factor) for name, a in self.aliases.items()}
        return replace(
            self,
            tensors=tuple(_renamed(tensor, *names.get(tensor.name, (tensor.name, 1.0))) for tensor in self.tensors),
            unmeasured=tuple(_renamed(each, *names.get(each.name, (each.name, 1.0))) for each in self.unmeasured),
        )

    @property
    def is_truth(self) -> bool:
        """Whether what is expected is known all over the domain, and not only at some rows."""
        return self.reference == "truth"

    @property
    def points(self) -> int:
        """Number of points."""
        return len(next(iter(self.x.values())))

    @property
    def is_of_values_alone(self) -> bool:
        """Whether no derivative was fitted."""
        derivatives = [tensor for tensor in self.tensors if tensor.kind != "value"]
        return all(tensor.labels in ("not fitted", "never labelled") for tensor in (*derivatives, *self.unmeasured))

    @property
    def where(self) -> str:
        """What the errors are measured on, in a word or two."""
        return {"truth": "the truth", "held-out rows": "held-out rows", "fitted rows": "the fitted rows"}[
            self.reference
        ]

    @property
    def largest_relative(self) -> float:
        """The largest rmse of a fitted tensor on rows that were not fitted, as a fraction of spread; 0 without any."""
        if self.reference == "fitted rows":
            return 0.0
        return max((tensor.relative or 0.0 for tensor in self.tensors if tensor.labels == "fitted"), default=0.0)

    def warnings(self, *, remedies: str) -> tuple[str, ...]:
        """Return a line on overfitting, with what helps; none where there is none."""
        overfitted = [tensor for tensor in self.by_alias().tensors if tensor.is_overfitted]
        if not overfitted:
            return ()
        worst = max(overfitted, key=lambda tensor: tensor.relative or 0.0)
        others = f" (and {len(overfitted) - 1} more)" if len(overfitted) > 1 else ""
        ratio = (worst.rmse or 0.0) / max(worst.training_rmse or 0.0, np.finfo(float).tiny)
        error = f"{percent(worst.relative or 0.0)} of its spread, {_times(ratio)} as much as the fitted rows"
        return (f"overfitted: {worst.name}{others} misses {self.where} by {error}; {remedies}",)

    def errors(self) -> dict[str, Any]:
        """Return the errors by tensor, named as in a package, and what they were measured against.

        ``{tensor: {"max", "rmse", "training_rmse", "labels"}, "points", "against", "second_derivatives"}``
        """
        measured = {tensor.name: _entry(tensor.max, tensor.rmse, tensor) for tensor in self.tensors}
        unmeasured = {tensor.name: _entry(None, None, tensor) for tensor in self.unmeasured}
        about = {"points": self.points, "against": self.against, "second_derivatives": "never labelled"}
        return {**measured, **unmeasured, **about}


def _times(ratio: float) -> str:
    return f"{ratio:.2g} times" if ratio < MOST_TIMES else "many times"  # of a fit that meets its labels exactly


def _renamed(tensor: Compared, name: str, factor: float) -> Compared:
    scaled = None if tensor.training_rmse is None else abs(factor) * tensor.training_rmse
    tensor = replace(tensor, name=name, training_rmse=scaled)
    if isinstance(tensor, TensorComparison):
        return replace(tensor, predicted=factor * tensor.predicted, expected=factor * tensor.expected)
    return tensor


def _entry(largest: float | None, rmse: float | None, tensor: TensorComparison | Unmeasured) -> dict[str, Any]:
    return {"max": largest, "rmse": rmse, "training_rmse": tensor.training_rmse, "labels": tensor.labels}


def compare(model: keras.Model, binding: IoBinding, request: Request) -> Comparison:
    """Evaluate a fitted model, once, on its evaluation set, and on the rows that it was fitted to."""
    rows = EvaluationSet.of(request.samples, request.validation)
    fitted = FittedRows.of(request.samples, request.loss)
    training: dict[str, float | None] = {}
    if rows.reference != "fitted rows":
        seen = EvaluationSet.fitted(fitted, rows.units)
        training = {tensor.name: tensor.rmse for tensor in _tensors(model, binding, seen)}

    compared: list[TensorComparison] = []
    for tensor in _tensors(model, binding, rows):
        labels = _labels(tensor.name, fitted, is_measured=bool(tensor.errors.size))
        compared.append(replace(tensor, labels=labels, training_rmse=training.get(tensor.name)))
    tensors = tuple(tensor for tensor in compared if tensor.kind == "value" or tensor.errors.size)
    measured = {tensor.name for tensor in tensors}
    unmeasured: list[Unmeasured] = []
    for output in binding.outputs:
        for wrt in binding.inputs:
            name = derivative_name(output.name, wrt.name)
            if wrt.is_floating and name not in measured:
                unit = derivative_unit(rows.units.get(output.name), rows.units.get(wrt.name))
                labels = _labels(name, fitted, is_measured=False)
                unmeasured.append(Unmeasured(name, unit, labels, training.get(name)))
    aliases = request.samples.aliases
    return Comparison(rows.x, tensors, rows.against, rows.reference, tuple(unmeasured), aliases)


def _labels(name: str, fitted: FittedRows, *, is_measured: bool) -> Labels:
    """Tell what the labels of a tensor were for."""
    for key in fitted.labels:
        if name == _name(key):
            return "fitted"
    if any(
        name == derivative_name(key.output, wrt)
        for key in fitted.labels
        if key.role == "y_dot"
        for wrt, directions in fitted.directions.items()
        if directions.any()
    ):
        return "along directions"
    return "not fitted" if is_measured else "never labelled"


def _name(key: ColumnKey) -> str:
    """Return the name of a column of labels in a package."""
    match key.role:
        case "dydx":
            return derivative_name(key.output, key.input)
        case "y_dot":
            return tangent_name(key.output)
        case _:
            return key.output


def _tensors(model: keras.Model, binding: IoBinding, rows: EvaluationSet) -> Iterator[TensorComparison]:
    values, derivatives = evaluate(model, binding, rows.x, rows.dydx)
    units = rows.units
    for name, value in values.items():
        yield _tensor(rows, name, "value", units.get(name), value, rows.y[name])
    for output, columns in rows.dydx.items():
        for wrt, expected in columns.items():
            predicted = derivatives.get(output, {}).get(wrt, np.full_like(expected, np.nan))
            unit = derivative_unit(units.get(output), units.get(wrt))
            yield _tensor(rows, derivative_name(output, wrt), "derivative", unit, predicted, expected)
    x, x_dot, y_dot = rows.directions
    if not y_dot:
        return
    _, derivatives = evaluate(model, binding, x, dict.fromkeys(y_dot, x_dot))
    for output, expected in y_dot.items():
        predicted = np.zeros((len(expected), expected[0].size))
        for wrt, column in x_dot.items():
            direction = np.nan_to_num(column.reshape(len(expected), -1))
            shape = (*predicted.shape, direction.shape[1])
            jacobian = derivatives.get(output, {}).get(wrt, np.full(shape, np.nan)).reshape(shape)
            predicted += np.einsum("bof,bf->bo", jacobian, direction)
        yield _tensor(rows, tangent_name(output), "directional", None, predicted, expected)


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
    rows: EvaluationSet,
    name: str,
    kind: Kind,
    unit: str | None,
    predicted: NDArray[Any],
    expected: NDArray[np.float64],
) -> TensorComparison:
    predicted = predicted.astype(np.float64).reshape(expected.shape)
    return TensorComparison(name, kind, unit, predicted, expected, weights=rows.weights)


def _spread(labels: NDArray[np.float64], weights: NDArray[np.float64] | None) -> float:
    return float(np.sqrt(np.average((labels - np.average(labels, weights=weights)) ** 2, weights=weights)))


def _is_sound(errors: NDArray[np.float64]) -> bool:
    return bool(errors.size) and bool(np.isfinite(errors).all())
