"""``out=``: results in arrays of the caller's, as NumPy's functions have it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import DTypeError, ShapeError, UsageError
from gradwire._model.request import Arrays, PreparedRequest
from gradwire._package import BY_NAME, TensorSpec
from gradwire._wire import Call

Array = NDArray[Any]

_FORM: Final = "expected the form of the result"


def written_to(request: PreparedRequest, out: Any) -> PreparedRequest:
    """Return the same request with a result that is written into arrays of the caller's.

    They receive the values as they are read from the response, and no other array is made, where their elements lie one
    after the other; else by one copy more. An input that shares memory with them is copied before.

    Args:
        request: of a method.
        out: an array, or a tuple or a dict of arrays, just as the result will be.

    Raises:
        UsageError: it has another form, an array is read-only or shares memory with another one, or the package leaves
            sizes of the result open.
        ShapeError: an array has another shape.
        DTypeError: an array has another dtype.
    """
    signature, rows = request.call.signature, request.call.rows or 0
    empty = {name: _without_memory(signature.outputs[name], rows) for name in request.outputs}
    places = list(_places(out, request.unpack(empty), "out"))
    arrays = [array for array, _ in places]
    for one, other in combinations(arrays, 2):
        if np.may_share_memory(one, other):
            raise UsageError("two arrays of out share memory, expected separate ones")
    tensors = {_address(array): name for name, array in empty.items()}
    targets = {
        tensors[_address(like)]: array.reshape(empty[tensors[_address(like)]].shape)
        for array, like in places
        if array.flags.c_contiguous and _address(like) in tensors
    }
    inputs = {
        name: rows.copy() if any(np.may_share_memory(rows, array) for array in arrays) else rows
        for name, rows in request.call.inputs.items()
    }

    def unpack(response: Arrays) -> Any:
        for array, result in _places(out, request.unpack(response), "out"):
            if not np.may_share_memory(array, result):
                np.copyto(array, result)
        return out

    return request._replace(call=Call(signature, inputs, request.call.outputs, targets), unpack=unpack)


def _without_memory(spec: TensorSpec, rows: int) -> Array:
    """An array of the shape that a tensor of a response will have."""
    if None in spec.row_shape or spec.dtype not in BY_NAME:
        raise UsageError(f"the package leaves the size of {spec.name!r} open: leave out= away")
    return np.broadcast_to(np.zeros((), BY_NAME[spec.dtype].numpy), (rows, *cast("tuple[int, ...]", spec.row_shape)))


def _address(array: Array) -> int:
    return array.__array_interface__["data"][0]


def _places(out: object, result: object, name: str) -> Iterator[tuple[Array, Array]]:
    """Yield every array of out beside that of the result in its place."""
    if isinstance(result, tuple):
        parts = cast("tuple[object, ...]", result)
        listed = cast("tuple[object, ...]", out) if isinstance(out, tuple) else ()
        if len(listed) != len(parts):
            raise UsageError(f"{name} is {_kind(out)}, {_FORM}: a tuple of {len(parts)}")
        for index, (array, part) in enumerate(zip(listed, parts, strict=True)):
            yield from _places(array, part, f"{name}[{index}]")
    elif isinstance(result, dict):
        entries = cast("dict[str, object]", result)
        own: Mapping[str, object] = cast("Mapping[str, object]", out) if isinstance(out, Mapping) else {}
        if set(own) != set(entries):
            raise UsageError(f"{name} is {_kind(out)}, {_FORM}: a dict of {list(entries)}")
        for key, part in entries.items():
            yield from _places(own[key], part, f"{name}[{key!r}]")
    else:
        yield _checked(out, cast("Array", result), name), cast("Array", result)


def _checked(array: object, like: Array, name: str) -> Array:
    if not isinstance(array, np.ndarray):
        raise UsageError(f"{name} is {_kind(array)}, {_FORM}: an array")
    plain = np.asarray(cast("Array", array))
    if plain.shape != like.shape:
        raise ShapeError(f"{name} has shape {plain.shape}, expected {like.shape}")
    if plain.dtype != like.dtype:
        raise DTypeError(f"{name} has dtype {plain.dtype}, expected the server's, {like.dtype}")
    if not plain.flags.writeable:
        raise UsageError(f"{name} is read-only, expected an array to write to")
    return plain


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a dict of {list(cast('Mapping[str, object]', value))}"
    if isinstance(value, tuple):
        return f"a tuple of {len(cast('tuple[object, ...]', value))}"
    return f"of type {type(value).__name__}"
