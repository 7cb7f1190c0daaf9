"""The caller's arrays and the rows that travel: one rule for every transport.

See docs/contract.md, "The caller's arrays". A signature takes ``(batch, *row)``. A caller gives points in any form: a one-number input as an array of rank
0 or 1, or of higher rank ending in 1; an input of n > 1 numbers as ``(…, n)``. What comes back has the form
of what was given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradwire._errors import InputNameError, ShapeError
from gradwire._model.cast import DEFAULT_CASTING, cast
from gradwire._package import name_mismatch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gradwire._model.cast import Casting
    from gradwire._package import TensorSpec


@dataclass(frozen=True, slots=True)
class Points:
    """The rows of one call, and the form in which the caller gave them.

    Attributes:
        rows: by input name, ``(batch, *row)``.
        batch: the batch shape of the caller's arrays: what is left of each without its row.
        one_kept: one-number inputs that were given with a trailing 1.
        one_number: the one-number inputs.
    """

    rows: Mapping[str, NDArray[Any]]
    batch: tuple[int, ...]
    one_kept: frozenset[str]
    one_number: frozenset[str]

    def value(self, array: NDArray[Any]) -> NDArray[Any]:
        """Gives an output's rows the caller's form.

        Args:
            array: ``(rows, *output)``.

        Returns:
            ``(…, *output)``; of a one-number output ``(…)``, or ``(…, 1)`` where every input was given with
            its 1.
        """
        return array.reshape(self.batch + self.output_part(array.shape[1:]))

    def derivative(self, array: NDArray[Any], *wrt: str) -> NDArray[Any]:
        """Gives a derivative's rows the caller's form.

        Args:
            array: ``(rows, *input)`` for a one-number output, else ``(rows, *output, *input)``; of a second
                derivative with the parts of both inputs.
            *wrt: the inputs, one or two.

        Returns:
            For a one-number output, the form of the input; else ``(…, *output, *input)``, where a one-number
            input that was given without a trailing 1 has no part of its own.
        """
        own = sum(self.rows[name].ndim - 1 for name in wrt)  # axes of the inputs; those before are the output's
        output = array.shape[1 : array.ndim - own]
        return array.reshape(self.batch + output + tuple(size for name in wrt for size in self.part(name)))

    def matrix(self, array: NDArray[Any], wrt: str) -> NDArray[Any]:
        """Gives a first derivative's rows as a matrix a point, ``(…, m, n)``: m numbers out, n in."""
        numbers = math.prod(self.rows[wrt].shape[1:])
        return array.reshape((*self.batch, math.prod(array.shape[1:]) // max(1, numbers), numbers))

    def part(self, wrt: str) -> tuple[int, ...]:
        """The shape of one row of an input, as the caller gave it: ``()`` or ``(1,)`` for a one-number input."""
        if wrt in self.one_number:
            return (1,) if wrt in self.one_kept else ()
        return self.rows[wrt].shape[1:]

    def output_part(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """The shape of one row of an output, as the caller gets it from ``value``."""
        if row in ((), (1,)):
            return (1,) if self.one_kept == frozenset(self.rows) else ()
        return row

    def repeated(self, count: int) -> Points:
        """Gives the same points ``count`` times, along a new first axis of the batch."""
        rows = {
            name: np.broadcast_to(array, (count, *array.shape)).reshape(-1, *array.shape[1:])
            for name, array in self.rows.items()
        }
        return Points(rows, (count, *self.batch), self.one_kept, self.one_number)


def bind(
    positional: Sequence[Any],
    named: Mapping[str, Any],
    order: Sequence[str],
    optional: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Puts inputs in order, by position or by name.

    Args:
        positional: in the model's order.
        named: by name.
        order: the model's input names.
        optional: names that may be left out.

    Returns:
        Every input given, by name, in the model's order.

    Raises:
        InputNameError: an input is missing, unknown, or given twice.
    """
    if not named and len(positional) == len(order):
        return dict(zip(order, positional, strict=True))
    twice = set(named) & set(order[: len(positional)])
    if twice:
        raise InputNameError(f"given by position and by name: {_braced(twice)}; give each input once")
    if len(positional) > len(order):
        raise InputNameError(f"{len(positional)} inputs by position, expected at most {len(order)}: {_braced(order)}")
    given = dict(zip(order, positional, strict=False)) | dict(named)
    check_names(given, order, optional)
    return {name: given[name] for name in order if name in given}


def check_names(sent: Mapping[str, Any], known: Sequence[str], optional: frozenset[str] = frozenset()) -> None:
    """Checks that exactly the inputs of a signature are given.

    Args:
        sent: what was given, by name.
        known: the names of the signature.
        optional: names that may be left out.

    Raises:
        InputNameError: with both sides of the difference.
    """
    difference = name_mismatch(sent, known, optional)
    if difference:
        raise InputNameError(f"{difference}; the inputs are {_braced(known)}")


def _braced(names: Any) -> str:
    return "{" + ", ".join(sorted(names)) + "}"


def read_points(
    inputs: Mapping[str, Any], specs: Mapping[str, TensorSpec], casting: Casting = DEFAULT_CASTING
) -> Points:
    """Turns a caller's arrays into rows.

    Args:
        inputs: by name, complete.
        specs: of the same names, and perhaps others; batch first.
        casting: what a cast may lose.

    Returns:
        The rows, all of one length, and how to give an answer the caller's form.

    Raises:
        DTypeError: an array cannot be cast to its spec's dtype without loss beyond rounding.
        ShapeError: an array has a shape that its spec does not take, or two arrays have different batch
            shapes.
    """
    arrays = {name: cast(value, specs[name].dtype, name, casting) for name, value in inputs.items()}
    batches = {name: _batch_shape(array, specs[name]) for name, array in arrays.items()}
    one_number = {name: array for name, array in arrays.items() if specs[name].is_scalar}
    single = {name for name, array in one_number.items() if array.ndim == 0}  # one number for all points
    batch = _common({name: batches[name] for name in arrays if name not in single} or batches)
    count = math.prod(batch)
    for name in single:
        arrays[name] = np.broadcast_to(arrays[name], (count,))
    return Points(
        rows={name: array.reshape(count, *_row(array, specs[name])) for name, array in arrays.items()},
        batch=batch,
        one_kept=frozenset(name for name, array in one_number.items() if array.ndim > 1),
        one_number=frozenset(one_number),
    )


def _row(array: NDArray[Any], spec: TensorSpec) -> tuple[int, ...]:
    """The row shape in which an array travels."""
    rank = len(spec.row_shape)
    return (1,) * rank if spec.is_scalar else array.shape[array.ndim - rank :]


def _batch_shape(array: NDArray[Any], spec: TensorSpec) -> tuple[int, ...]:
    if spec.is_scalar:
        if array.ndim > 1 and array.shape[-1] != 1:
            raise ShapeError(
                f"input {spec.name!r} has shape {array.shape}, expected one number a point: rank 0 or 1, or (…, 1)"
            )
        return array.shape[:-1] if array.ndim > 1 else array.shape
    row = spec.row_shape
    rank = len(row)
    given = array.shape[array.ndim - rank :] if array.ndim >= rank else ()
    if len(given) != rank or not fits(given, row):
        wanted = ", ".join("any" if size is None else str(size) for size in row)
        raise ShapeError(f"input {spec.name!r} has shape {array.shape}, expected (…, {wanted})")
    return array.shape[: array.ndim - rank]


def fits(shape: Sequence[int], expected: Sequence[int | None]) -> bool:
    """Whether a shape is of the expected rank and sizes, None standing for any size."""
    return len(shape) == len(expected) and all(
        want is None or size == want for size, want in zip(shape, expected, strict=True)
    )


def _common(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    (first, shape), *others = shapes.items()
    for name, other in others:
        if other != shape:
            raise ShapeError(
                f"inputs {first!r} and {name!r} have the batch shapes {shape} and {other}, expected the same; "
                "only a single number (rank 0) is used for every point"
            )
    return shape
