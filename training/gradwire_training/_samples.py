"""Samples of a function and of its derivatives, checked once, when they are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

import numpy as np

from gradwire._contract import check_names, derivative_shape
from gradwire._errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from gradwire_training._truth import Derivatives, Table, Truth

LONE_INPUT: Final = "x"  # the name of an input that is given as a plain array
LONE_OUTPUT: Final = "f"  # the name of an output that is given as a plain array
# NumPy's kinds of real numbers; bool is left out, for it is hardly ever meant as one.
NUMBER_KINDS: Final = "iuf"
ROWS_SHOWN: Final = 5  # in a message; the rest are counted


@final
@dataclass(frozen=True, slots=True)
class Origin:
    """Where samples come from, when the function behind them is known.

    Attributes:
        truth: the function behind them, with its units.
        spacing: how the points lie in the domain.
        seed: of randomly placed points.
    """

    truth: Truth
    spacing: str
    seed: int


@final
class Samples:
    """Rows of inputs, of outputs, and of derivatives of outputs by inputs.

    Missing labels are NaN in ``y`` and ``dydx``. Rows of one number may be given as ``(rows,)``; they are
    kept as ``(rows, 1)``. All numbers are kept as float64.

    Args:
        x: name -> array ``(rows, *row shape)``; a plain array is the input ``"x"``.
        y: name -> array ``(rows, *row shape)``; a plain array is the output ``"f"``.
        dydx: output -> input -> array ``(rows, *shape)``, where shape is the input's for an output of one
            number, else the output's followed by the input's; pairs may be left out; a plain array for one
            input and output.
        origin: the problem that made them, if any.

    Attributes:
        x: the inputs by name.
        y: the outputs by name.
        dydx: the derivatives by output and input.
        count: number of rows.
        origin: as given.

    Raises:
        DataError: no rows, rows that do not match, a shape that the contract does not allow, an unknown name,
            text, infinity anywhere, or NaN among the inputs.
        UsageError: names that a package cannot have.
    """

    __slots__ = ("count", "dydx", "origin", "x", "y")

    def __init__(
        self,
        x: Mapping[str, ArrayLike] | ArrayLike,
        y: Mapping[str, ArrayLike] | ArrayLike,
        dydx: Mapping[str, Mapping[str, ArrayLike]] | ArrayLike | None = None,
        *,
        origin: Origin | None = None,
    ) -> None:
        self.x: Table = _columns("x", x, LONE_INPUT)
        self.y: Table = _columns("y", y, LONE_OUTPUT)
        check_names(self.x, self.y)
        self.count: int = len(next(iter(self.x.values())))
        self.dydx: Derivatives = _derivatives(dydx, self.x, self.y)
        self.origin = origin
        for label, column in _labelled(self):
            _check_rows(label, column, self.count)
        for name, column in self.x.items():
            _refuse(f"x {name!r}", np.isnan(column), "NaN", "an input must be known: drop the row")

    def __repr__(self) -> str:
        derivatives = [f"d{output}_d{wrt}" for output, by in self.dydx.items() for wrt in by]
        return f"Samples(rows={self.count}, x={list(self.x)}, y={list(self.y)}, dydx={derivatives})"

    @property
    def value_labels(self) -> int:
        """How many numbers of ``y`` are known."""
        return sum(int(np.isfinite(column).sum()) for column in self.y.values())

    @property
    def derivative_labels(self) -> int:
        """How many numbers of ``dydx`` are known."""
        return sum(int(np.isfinite(column).sum()) for by in self.dydx.values() for column in by.values())


def _columns(role: str, given: Mapping[str, ArrayLike] | ArrayLike, lone: str) -> Table:
    named = given if isinstance(given, Mapping) else {lone: given}
    if not named:
        raise DataError(f"{role} has no columns: give at least one, name -> array")
    return {name: _rows(_numbers(f"{role} {name!r}", column)) for name, column in named.items()}


def _numbers(label: str, given: ArrayLike) -> NDArray[np.float64]:
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise DataError(f"{label} is no array ({error}): give rows of one shape") from error
    if array.dtype.kind not in NUMBER_KINDS:
        raise DataError(f"{label} has dtype {array.dtype}, expected real numbers: convert it first")
    if array.ndim == 0:
        raise DataError(f"{label} is a single number, expected rows: give an array of shape (rows, ...)")
    if array.size == 0:
        raise DataError(f"{label} is empty, shape {array.shape}: give at least one row")
    return array.astype(np.float64)


def _rows(column: NDArray[np.float64]) -> NDArray[np.float64]:
    return column[:, None] if column.ndim == 1 else column


def _derivatives(
    given: Mapping[str, Mapping[str, ArrayLike]] | ArrayLike | None, x: Table, y: Table
) -> Derivatives:
    match given:
        case None:
            return {}
        case Mapping():
            return {output: _derivatives_of(output, by, x, y) for output, by in given.items()}
        case _ if len(x) == len(y) == 1:
            (wrt,), (output,) = x, y
            return {output: _derivatives_of(output, {wrt: given}, x, y)}
        case _:
            raise DataError(
                f"dydx is a plain array, but there are inputs {list(x)} and outputs {list(y)}: "
                "give {output: {input: array}}"
            )


def _derivatives_of(output: str, given: Mapping[str, ArrayLike], x: Table, y: Table) -> Table:
    if output not in y:
        raise DataError(f"dydx names the output {output!r}, y has {list(y)}: use one of those")
    if not isinstance(given, Mapping):
        raise DataError(f"dydx[{output!r}] is {type(given).__name__}, expected a mapping: input -> array")
    if unknown := [wrt for wrt in given if wrt not in x]:
        raise DataError(f"dydx[{output!r}] names the input {unknown[0]!r}, x has {list(x)}: use one of those")
    table: Table = {}
    for wrt, column in given.items():
        label = f"dydx[{output!r}][{wrt!r}]"
        table[wrt] = _rows(_numbers(label, column))
        expected = derivative_shape(y[output].shape[1:], x[wrt].shape[1:])
        if table[wrt].shape[1:] != expected:
            wanted = ", ".join(["rows", *map(str, expected)])
            raise DataError(f"{label} has shape {table[wrt].shape}, expected ({wanted}): output, then input")
    return table


def _labelled(samples: Samples) -> list[tuple[str, NDArray[np.float64]]]:
    inputs = [(f"x {name!r}", column) for name, column in samples.x.items()]
    outputs = [(f"y {name!r}", column) for name, column in samples.y.items()]
    return (
        inputs
        + outputs
        + [
            (f"dydx[{output!r}][{wrt!r}]", column)
            for output, by in samples.dydx.items()
            for wrt, column in by.items()
        ]
    )  # fmt: skip - one list, told apart by its labels


def _check_rows(label: str, column: NDArray[np.float64], rows: int) -> None:
    if len(column) != rows:
        raise DataError(f"{label} has {len(column)} rows, the first input has {rows}: give one row a sample")
    _refuse(label, np.isinf(column), "infinity", "drop the row, or write NaN for a label that is missing")


def _refuse(label: str, bad: NDArray[np.bool_], what: str, advice: str) -> None:
    rows = np.unique(np.nonzero(bad)[0])
    if rows.size:
        shown = ", ".join(map(str, rows[:ROWS_SHOWN]))
        more = f" and {rows.size - ROWS_SHOWN} more" if rows.size > ROWS_SHOWN else ""
        raise DataError(f"{label} holds {what} at row {shown}{more} (counted from 0): {advice}")
