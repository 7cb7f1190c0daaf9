"""The caller's arrays and the rows that travel: one rule for every transport.

See docs/contract.md, "The caller's arrays". A signature takes ``(batch, *row)``. A caller gives points in any form: a
scalar input as an array of rank 0 or 1, or of higher rank ending in 1; an input of n > 1 elements as ``(…, n)``. What
comes back has the form of what was given. ``read_rows`` is for raw calls, whose arrays have the signature's own shapes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import InputNameError, ShapeError
from gradwire._model.cast import DEFAULT_CASTING, Casting, cast
from gradwire._package import Signature, TensorSpec, name_mismatch


class Points(NamedTuple):
    """The rows of one call, and the form in which the caller gave them.

    Attributes:
        rows: by input name, ``(batch, *row)``.
        batch: the batch shape of the caller's arrays: what is left of each without its row.
        scalars: the scalar inputs.
        with_axis: those of them that were given with a trailing 1.
    """

    rows: Mapping[str, NDArray[Any]]
    batch: tuple[int, ...]
    scalars: frozenset[str]
    with_axis: frozenset[str]

    def value(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return an output's rows in the caller's form.

        Args:
            array: ``(rows, *output)``.

        Returns:
            ``(…, *output)``; of a scalar output ``(…)``, or ``(…, 1)`` where every input was given with its 1.
        """
        return array.reshape(self.batch + self.output_form(array.shape[1:]))

    def derivative(self, array: NDArray[Any], *wrt: str) -> NDArray[Any]:
        """Return a derivative's rows in the caller's form.

        Args:
            array: ``(rows, *input)`` for a scalar output, else ``(rows, *output, *input)``; a second derivative has
                the axes of both inputs.
            *wrt: the inputs, one or two.

        Returns:
            For a scalar output, the form of the input; else ``(…, *output, *input)``, where a scalar input that was
            given without a trailing 1 has no axis of its own.
        """
        own, form = 0, ()  # axes of the inputs, in the response and for the caller; those before are the output's
        for name in wrt:
            own += self.rows[name].ndim - 1
            form += self.row_form(name)
        return array.reshape(self.batch + array.shape[1 : array.ndim - own] + form)

    def matrix(self, array: NDArray[Any], wrt: str) -> NDArray[Any]:
        """Return a first derivative's rows as a matrix a point, ``(…, m, n)``: m elements out, n in."""
        size = math.prod(self.rows[wrt].shape[1:])
        return array.reshape((*self.batch, math.prod(array.shape[1:]) // max(1, size), size))

    def row_form(self, name: str) -> tuple[int, ...]:
        """Return the shape of one row of an input, as the caller gave it: ``()`` or ``(1,)`` for a scalar input."""
        if name in self.scalars:
            return (1,) if name in self.with_axis else ()
        return self.rows[name].shape[1:]

    def output_form(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the shape of one row of an output, as the caller gets it from ``value``."""
        if row in ((), (1,)):
            return (1,) if self.with_axis and self.with_axis == frozenset(self.rows) else ()
        return row

    def repeated(self, count: int) -> Points:
        """Return the same points ``count`` times, along a new first axis of the batch."""
        rows = {
            name: np.broadcast_to(array, (count, *array.shape)).reshape(-1, *array.shape[1:])
            for name, array in self.rows.items()
        }
        return Points(rows, (count, *self.batch), self.scalars, self.with_axis)


def bind(
    positional: Sequence[Any],
    named: Mapping[str, Any],
    order: Sequence[str],
    optional: Iterable[str] = (),
) -> dict[str, Any]:
    """Put inputs in order, by position or by name.

    Args:
        positional: in the model's order.
        named: by name.
        order: the model's input names.
        optional: names that may be left out.

    Returns:
        The inputs by name, in the model's order.

    Raises:
        InputNameError: an input is missing, unknown, or there twice.
    """
    if not named and len(positional) == len(order):
        return dict(zip(order, positional, strict=True))
    twice = set(named) & set(order[: len(positional)])
    if twice:
        raise InputNameError(f"given by position and by name: {_braced(twice)}; give each input once")
    if len(positional) > len(order):
        raise InputNameError(f"{len(positional)} inputs by position, expected at most {len(order)}: {_braced(order)}")
    inputs = dict(zip(order, positional, strict=False)) | dict(named)
    require_names(inputs, order, optional)
    return {name: inputs[name] for name in order if name in inputs}


def require_names(inputs: Iterable[str], expected: Sequence[str], optional: Iterable[str] = ()) -> None:
    """Check that exactly the inputs of a signature are there.

    Args:
        inputs: their names.
        expected: the names of the signature.
        optional: names that may be left out.

    Raises:
        InputNameError: with both sides of the difference.
    """
    mismatch = name_mismatch(inputs, expected, optional)
    if mismatch:
        raise InputNameError(f"{mismatch}; the inputs are {_braced(expected)}")


def _braced(names: Iterable[str]) -> str:
    return "{" + ", ".join(sorted(names)) + "}"


def read_points(
    inputs: Mapping[str, Any], specs: Mapping[str, TensorSpec], casting: Casting = DEFAULT_CASTING
) -> Points:
    """Turn a caller's arrays into rows.

    Args:
        inputs: by name, complete.
        specs: of the same names, and perhaps others; batch first.
        casting: what a cast may lose.

    Returns:
        The rows, all of one length, and the form to give a response.

    Raises:
        DTypeError: an array cannot be cast to its spec's dtype without loss beyond rounding.
        ShapeError: an array has a shape that its spec does not take, or two arrays have different batch
            shapes.
    """
    arrays: dict[str, NDArray[Any]] = {}
    batches: dict[str, tuple[int, ...]] = {}
    scalars: list[str] = []
    for name, value in inputs.items():
        spec = specs[name]
        array = arrays[name] = cast(value, spec.dtype, name, casting)
        if spec.is_scalar:
            scalars.append(name)
            batches[name] = _batch_of_scalars(array, name)
        else:
            batches[name] = _batch_of_vectors(array, name, spec.row_shape)
    if len(arrays) == 1:  # what most models have
        single, batch = (), next(iter(batches.values()))
    else:
        single = [name for name in scalars if not arrays[name].ndim]  # one value for all points
        batch = _common({name: batches[name] for name in arrays if name not in single} or batches)
    count = math.prod(batch)
    rows: dict[str, NDArray[Any]] = {}
    for name, array in arrays.items():
        rank = len(specs[name].shape) - 1
        row = (1,) * rank if name in scalars else array.shape[array.ndim - rank :]
        whole = np.broadcast_to(array, (count,)) if name in single and count != 1 else array
        rows[name] = whole.reshape((count, *row))
    return Points(rows, batch, frozenset(scalars), frozenset([name for name in scalars if arrays[name].ndim > 1]))


def _batch_of_scalars(array: NDArray[Any], name: str) -> tuple[int, ...]:
    shape = array.shape
    if len(shape) < 2:  # noqa: PLR2004 - see the rule above
        return shape
    if shape[-1] != 1:
        raise ShapeError(f"input {name!r} has shape {shape}, expected a scalar a point: rank 0 or 1, or (…, 1)")
    return shape[:-1]


def _batch_of_vectors(array: NDArray[Any], name: str, row: tuple[int | None, ...]) -> tuple[int, ...]:
    rank = len(row)
    if array.ndim < rank or not fits(array.shape[array.ndim - rank :], row):
        sizes = ", ".join("any" if size is None else str(size) for size in row)
        raise ShapeError(f"input {name!r} has shape {array.shape}, expected (…, {sizes})")
    return array.shape[: array.ndim - rank]


def fits(shape: Sequence[int], expected: Sequence[int | None]) -> bool:
    """Whether a shape is of the expected rank and sizes, None standing for any size."""
    return len(shape) == len(expected) and all(
        expected_size in (None, size) for size, expected_size in zip(shape, expected, strict=True)
    )


def _common(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    (first, shape), *others = shapes.items()
    for name, other in others:
        if other != shape:
            raise ShapeError(
                f"inputs {first!r} and {name!r} have the batch shapes {shape} and {other}, expected the same; "
                "only a scalar (rank 0) is used for every point"
            )
    return shape


def read_rows(
    inputs: Mapping[str, Any], signature: Signature, casting: Casting = DEFAULT_CASTING
) -> dict[str, NDArray[Any]]:
    """Cast the inputs of a raw call, and check them.

    Args:
        inputs: by name, ``(batch, …)``.
        signature: what is called.
        casting: what a cast may lose.

    Returns:
        Arrays in the signature's dtypes.

    Raises:
        InputError: names, shapes or dtypes do not fit; a class for each.
    """
    require_names(inputs, list(signature.inputs), signature.optional)
    specs = {name: signature.inputs[name] for name in inputs}
    rows = {name: cast(inputs[name], spec.dtype, name, casting) for name, spec in specs.items()}
    for name, spec in specs.items():
        if not spec.any_rank and not fits(rows[name].shape, spec.shape):
            raise ShapeError(f"input {name!r} has shape {rows[name].shape}, expected {show_shape(spec.shape)}")
    lengths = {name: len(rows[name]) for name, spec in specs.items() if spec.is_batch_first}
    if len(set(lengths.values())) > 1:
        raise ShapeError(f"the inputs have different numbers of rows: {lengths}; expected the same for all")
    return rows


def show_shape(shape: Sequence[int | None]) -> str:
    """Return a shape as messages have it, with the batch axis named."""
    sizes = [
        "batch" if axis == 0 and size is None else "any" if size is None else str(size)
        for axis, size in enumerate(shape)
    ]
    return "(" + ", ".join(sizes) + ("," if len(sizes) == 1 else "") + ")"
