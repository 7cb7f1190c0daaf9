"""Rows against a signature: what is sent fits it, what comes back fits it, and no rows need no call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gradwire._errors import ServerError, ShapeError
from gradwire._model.cast import DEFAULT_CASTING, cast
from gradwire._model.points import check_names, fits
from gradwire._package import BY_NAME
from gradwire._wire import count_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gradwire._model.cast import Casting
    from gradwire._package import Signature


def read_rows(
    inputs: Mapping[str, Any], signature: Signature, casting: Casting = DEFAULT_CASTING
) -> dict[str, NDArray[Any]]:
    """Casts the inputs of a raw call, and checks them.

    Args:
        inputs: by name, ``(batch, …)``.
        signature: what is called.
        casting: what a cast may lose.

    Returns:
        Arrays in the signature's dtypes.

    Raises:
        InputError: names, shapes or dtypes do not fit; a class for each.
    """
    check_names(inputs, list(signature.inputs), signature.optional)
    specs = {name: signature.inputs[name] for name in inputs}
    rows = {name: cast(inputs[name], spec.dtype, name, casting) for name, spec in specs.items()}
    for name, spec in specs.items():
        if not spec.any_rank and not fits(rows[name].shape, spec.shape):
            raise ShapeError(f"input {name!r} has shape {rows[name].shape}, expected {_shown(spec.shape)}")
    lengths = {name: len(rows[name]) for name, spec in specs.items() if spec.is_batch_first}
    if len(set(lengths.values())) > 1:
        raise ShapeError(f"the inputs have different numbers of rows: {lengths}; expected the same for all")
    return rows


def _shown(shape: Sequence[int | None]) -> str:
    sizes = [
        "batch" if axis == 0 and size is None else "any" if size is None else str(size)
        for axis, size in enumerate(shape)
    ]
    return "(" + ", ".join(sizes) + ("," if len(sizes) == 1 else "") + ")"


def no_rows(
    signature: Signature, rows: Mapping[str, NDArray[Any]], outputs: Sequence[str]
) -> dict[str, NDArray[Any]] | None:
    """Answers a call of no rows here, for TensorFlow Serving with batching lets it wait for ever.

    Args:
        signature: what is called.
        rows: its inputs.
        outputs: the names wanted.

    Returns:
        Empty arrays of the right dtypes and row shapes (an open size is 0); None where there are rows.

    Raises:
        ShapeError: an output has no batch axis, so that only the server could tell it.
    """
    if count_rows(signature, rows) != 0:
        return None
    specs = [signature.outputs[name] for name in outputs]
    for spec in specs:
        if not spec.is_batch_first or spec.dtype not in BY_NAME:
            raise ShapeError(f"no rows, and output {spec.name!r} has no batch axis: expected at least one row")
    return {spec.name: np.empty([size or 0 for size in spec.shape], BY_NAME[spec.dtype].numpy) for spec in specs}


def check_answer(
    found: Mapping[str, NDArray[Any]],
    signature: Signature,
    rows: Mapping[str, NDArray[Any]],
    outputs: Sequence[str],
) -> dict[str, NDArray[Any]]:
    """Checks an answer against its signature.

    Args:
        found: the answer.
        signature: what was called.
        rows: what was sent.
        outputs: the names wanted.

    Returns:
        The outputs wanted, each an array of the caller's own.

    Raises:
        ServerError: an output is missing, or has another dtype, shape or number of rows.
    """
    count = count_rows(signature, rows)
    answer: dict[str, NDArray[Any]] = {}
    for name in outputs:
        if name not in found:
            raise ServerError(
                f"the answer lacks {name!r}, it has {sorted(found)}: ask the server's operator",
                code="INTERNAL",
            )
        array, spec = found[name], signature.outputs[name]
        shape = (count, *spec.row_shape) if spec.is_batch_first else spec.shape
        dtype = BY_NAME[spec.dtype].numpy if spec.dtype in BY_NAME else None
        if array.dtype != dtype or not (spec.any_rank or fits(array.shape, shape)):
            raise ServerError(
                f"the answer's {name!r} is {array.dtype} {array.shape}, expected {spec.dtype} {_shown(shape)} by the "
                "signature: a new version may have come, so connect again",
                code="INTERNAL",
            )
        answer[name] = array if array.flags.writeable else array.copy()
    return answer
