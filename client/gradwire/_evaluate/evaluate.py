"""Evaluation: a model's errors on rows whose values and derivatives are known."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from os import PathLike
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradwire._errors import UsageError
from gradwire._evaluate.columns import Columns, LabelColumn
from gradwire._evaluate.errors import ErrorRatio, Errors, ErrorSums, Floats, LabelSpread, PointSample, RatioSums
from gradwire._model import Model, PackageInfo, outside_of, package_of, trusted
from gradwire._numerics import eps_of
from gradwire._package import SERVING_DEFAULT, UNCERTAINTY, VALUE, Card, std_name
from gradwire.batch import BLOCK_ROWS, open_source


@final
@dataclass(frozen=True, slots=True)
class TensorErrors:
    """The errors of an output, or of a derivative.

    Attributes:
        name: the output's, the derivative's in the package, or, where the labels have an alias's name, the alias; the
            numbers have the alias's sign and factor then.
        tensor: its name in the package.
        output: the output, or the one that is differentiated.
        input: with respect to which it is; empty for a value.
        unit: of a value, where the card has it.
        spread: the standard deviation of the labels, over all rows.
        all: on all rows.
        inside: on the rows inside of the domain on the card.
        outside: on the others.
        trusted: on the rows that ``Model.is_trusted`` tells; None where the package has no error bars.
        untrusted: on the others; None likewise.
        ratio: of the rmse to that of the baseline, on all rows; None where there is none, or it has no such tensor.
        points: some of the pairs of label and prediction, the worst among them, ``(2, points)``.
    """

    name: str
    tensor: str
    output: str
    input: str
    unit: str | None
    spread: float
    all: Errors
    inside: Errors
    outside: Errors
    trusted: Errors | None = None
    untrusted: Errors | None = None
    ratio: ErrorRatio | None = None
    points: NDArray[Any] = field(default_factory=lambda: np.zeros((2, 0)), repr=False, compare=False)

    def relative(self, errors: Errors) -> float | None:
        """Return an rmse as a fraction of the labels' spread: 1 is no better than a constant."""
        return None if errors.rmse is None or not self.spread else errors.rmse / self.spread

    def to_dict(self) -> dict[str, Any]:
        """Return the errors as plain data, without the points."""
        about = {key: getattr(self, key) for key in ("name", "tensor", "output", "input", "unit", "spread")}
        parts = {key: asdict(errors) | {"relative": self.relative(errors)} for key, errors in self.parts().items()}
        return about | parts | {"ratio": None if self.ratio is None else self.ratio.to_dict()}

    def parts(self) -> dict[str, Errors]:
        """Return the errors by rows: ``all``, ``inside``, ``outside``, and ``trusted`` and ``untrusted`` if known."""
        parts = {name: getattr(self, name) for name in ("all", "inside", "outside", "trusted", "untrusted")}
        return {name: errors for name, errors in parts.items() if errors is not None}


@final
@dataclass(frozen=True, slots=True)
class Evaluation:
    """The errors of a model.

    Attributes:
        model: its name on the card.
        against: the file, or "the mapping".
        rows: how many rows there are.
        outside: how many of them lie outside of the domain on the card.
        untrusted: how many of them are not trusted, those outside among them; None where the package has no error bars.
        tensors: outputs, then derivatives, of which there are labels.
        unlabelled: the tensors of the package of which there is no column.
        left_out: the columns that were not used.
    """

    model: str
    against: str
    rows: int
    outside: int
    untrusted: int | None
    tensors: tuple[TensorErrors, ...]
    unlabelled: tuple[str, ...]
    left_out: tuple[str, ...]

    def __getitem__(self, name: str) -> TensorErrors:
        """Return the errors of one tensor, by its name here or in the package."""
        for each in self.tensors:
            if name in (each.name, each.tensor):
                return each
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Return the evaluation as plain data."""
        names = ("model", "against", "rows", "outside", "untrusted", "unlabelled", "left_out")
        about = {name: getattr(self, name) for name in names}
        return about | {"tensors": [each.to_dict() for each in self.tensors]}


def evaluate(
    model: Model,
    rows: str | PathLike[str] | Mapping[str, ArrayLike],
    *,
    baseline: Model | None = None,
    inputs: Mapping[str, str] | None = None,
    outputs: Mapping[str, str] | None = None,
    derivatives: Mapping[str, Sequence[str]] | None = None,
    ignore: Collection[str] = (),
    decimal: str = ".",
    block_rows: int = BLOCK_ROWS,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Measure a model's errors on rows of inputs and labels: values, and derivatives where there are columns of them.

    A file is read a block at a time (Parquet and Arrow; other formats are in memory), so that it may be of any size. A
    missing label (an empty cell, a null, NaN) is not measured.

    Args:
        model: in process (``gradwire.load``) or remote (``gradwire.connect``); a package with a card.
        rows: a file (formats: docs/data.md), or ``{column: array}``. A column has the name of the input, output or
            derivative in the package (``cl``, ``dcl_dmach``; ``x[0]``, ``x[1]``, … for rows of several elements), or of
            the derivative's alias on the card, whose sign and factor then apply.
        baseline: another model, such as the version that serves: its errors on the same rows, and the ratio to them.
        inputs: ``{input: column}`` where the column has another name.
        outputs: ``{output: column}`` likewise.
        derivatives: columns of derivatives under further names, ``{"vega": ("0.01*px", "vol")}``, output and input,
            with a sign or a factor, and the column as a third entry where it has another name.
        ignore: columns to leave out.
        decimal: the decimal mark of CSV, a point or a comma.
        block_rows: rows held at a time.
        on_progress: called with rows done and rows in all after each block.

    Returns:
        The errors by tensor, inside and outside of the domain on the card, and of rows that are trusted and others.

    Raises:
        UsageError: a name that the package does not have, or a baseline with other inputs.
        DataError: the file cannot be read, has no column for an input, no label, or something that is not a number.
        SignatureNotFound: the package has no card.
    """
    card = model.card
    source = open_source(rows, decimal=decimal, block_rows=block_rows)
    columns = Columns.of(
        card,
        [name for name in source.columns if name not in ignore],
        source.what,
        inputs=inputs or {},
        outputs=outputs or {},
        derivatives=derivatives or {},
    )
    _require_inputs(card, baseline)
    sums = [_TensorSums(label, _baseline_tensor(label, card, baseline)) for label in columns.labels]
    specs, done = package_of(model).signature(SERVING_DEFAULT).inputs, 0
    counts: Counter[str] = Counter()
    for block in source.blocks():
        x = {name: source.read(block, replace(specs[name], name=c), done) for name, c in columns.inputs.items()}
        predicted, std = _predictions(model, x, [each.label.tensor for each in sums])
        groups = _groups(package_of(model), x, std)
        others = {} if baseline is None else _run(baseline, x, [each.other for each in sums if each.other])
        for each in sums:
            labels = source.read_labels(block, each.label.column, each.label.shape, done) / each.label.factor
            each.add(labels, predicted, std, others, groups, done)
        counts.update({name: int(rows.sum()) for name, rows in groups.items()})
        done = counts["all"]
        if on_progress is not None:
            on_progress(done, source.rows)
    units = {tensor.name: tensor.unit for tensor in card.outputs}
    errors = tuple(each.result(units.get(each.label.tensor)) for each in sums)
    left_out = (*columns.left_out, *(name for name in source.columns if name in ignore))
    return Evaluation(
        card.name,
        source.what,
        done,
        counts["outside"],
        counts.get("untrusted"),
        errors,
        columns.unlabelled,
        left_out,
    )


def _groups(
    package: PackageInfo, x: Mapping[str, NDArray[Any]], std: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[np.bool_]]:
    """Return which rows belong to which part of an evaluation."""
    outside = outside_of(package, x)
    groups = {"all": np.ones_like(outside), "inside": ~outside, "outside": outside}
    if std or package.is_trusted_by_distances:
        near = trusted(package, x, {std_name(name): bars for name, bars in std.items()})
        groups |= {"trusted": near, "untrusted": ~near}
    return groups


@final
class _TensorSums:
    """One tensor's sums; ``other`` is its name in the baseline, empty where there is none."""

    def __init__(self, label: LabelColumn, other: str) -> None:
        self.label, self.other = label, other
        self._parts: defaultdict[str, ErrorSums] = defaultdict(ErrorSums)
        self._ratio = RatioSums(eps_of(label.dtype))
        self._spread, self._points = LabelSpread(), PointSample()

    def add(
        self,
        labels: Floats,
        predicted: Mapping[str, NDArray[Any]],
        std: Mapping[str, NDArray[Any]],
        others: Mapping[str, NDArray[Any]],
        groups: Mapping[str, NDArray[np.bool_]],
        first_row: int,
    ) -> None:
        """Add a block; ``labels`` are in the tensor's own sign and size."""
        label = _flat(labels)
        value, bar = _flat(predicted[self.label.tensor]), None
        error, numbers = _undefined(value) - label, first_row + np.arange(len(label))
        if self.label.tensor in std:
            bar = _flat(std[self.label.tensor])
        for name, rows in groups.items():
            self._parts[name].add(error[rows], numbers[rows], None if bar is None else bar[rows])
        if self.other:
            self._ratio.add(error, _undefined(_flat(others[self.other])) - label, label)
        known = np.isfinite(error)
        self._spread.add(label[~np.isnan(label)])
        self._points.add(label[known], value[known])

    def result(self, unit: str | None) -> TensorErrors:
        """Return the errors, in the labels' sign and size."""
        label, factor = self.label, self.label.factor
        parts = {name: _times(sums.errors(), factor) for name, sums in self._parts.items()}
        ratio = self._ratio.ratio() if self.other else None
        if ratio is not None and ratio.rmse is not None and ratio.baseline is not None:
            ratio = replace(ratio, rmse=abs(factor) * ratio.rmse, baseline=abs(factor) * ratio.baseline)
        spread, points = abs(factor) * self._spread.value(), factor * self._points.points()
        names = (label.name, label.tensor, label.output, label.input)
        return TensorErrors(*names, unit, spread, **parts, ratio=ratio, points=points)


def _undefined(predicted: Floats) -> Floats:
    """Return predictions with infinity for NaN, which stands for a missing label in an error."""
    return np.where(np.isnan(predicted), np.inf, predicted)


def _flat(rows: NDArray[Any]) -> Floats:
    return np.asarray(rows, np.float64).reshape(len(rows), -1)


def _times(errors: Errors, factor: float) -> Errors:
    if factor == 1 or errors.rmse is None or errors.max is None or errors.bias is None:
        return errors
    size = abs(factor)
    return replace(errors, rmse=size * errors.rmse, max=size * errors.max, bias=factor * errors.bias)


def _predictions(
    model: Model, x: Mapping[str, NDArray[Any]], tensors: Sequence[str]
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Return the model's tensors at some rows, and their standard deviations where the package knows them."""
    predicted = _run(model, x, tensors)
    if UNCERTAINTY not in model.signatures:
        return predicted, {}
    names = dict.fromkeys(
        [*tensors, *(tensor.name for tensor in model.card.outputs)]
    )  # the latter tell what is trusted
    stds = {std_name(tensor): tensor for tensor in names}
    outputs = model.run(UNCERTAINTY, x, [name for name in stds if name in model.signatures[UNCERTAINTY].outputs])
    return predicted, {stds[name]: array for name, array in outputs.items()}


def _run(model: Model, x: Mapping[str, NDArray[Any]], tensors: Sequence[str]) -> dict[str, NDArray[Any]]:
    outputs = {tensor.name for tensor in model.card.outputs}
    values_alone = outputs.issuperset(tensors) and VALUE in model.signatures
    return model.run(VALUE if values_alone else SERVING_DEFAULT, x, list(tensors))


def _require_inputs(card: Card, baseline: Model | None) -> None:
    if baseline is None:
        return
    ours, theirs = ({tensor.name: tuple(tensor.shape) for tensor in each.inputs} for each in (card, baseline.card))
    if ours != theirs:
        raise UsageError(f"the baseline has inputs {theirs}, expected {ours}: rows of the one are none of the other")


def _baseline_tensor(label: LabelColumn, card: Card, baseline: Model | None) -> str:
    """Return the name of a tensor in the baseline; empty where it has none of that shape."""
    if baseline is None:
        return ""
    shapes = [{tensor.name: tuple(tensor.shape) for tensor in each.outputs} for each in (card, baseline.card)]
    if shapes[0][label.output] != shapes[1].get(label.output):
        return ""
    return baseline.card.derivatives.get(label.output, {}).get(label.input, "") if label.input else label.output
