"""The caller's values in the dtype of a signature, or a refusal that names what would be lost.

Rounding a float64 to a float32 input is allowed, for it is what every caller means (NumPy's own arrays are float64,
most packages float32); whatever changes a value beyond rounding is not: overflow to infinity, integers longer than the
mantissa, complex numbers, booleans and text as numbers. A caller may allow less (``"exact"``: not even rounding) or
more (``"allow"``: whatever NumPy does). NaN, infinities, negative zeros and denormals keep their bits where the dtype
stays.
"""

from __future__ import annotations

import warnings
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import DTypeError, ShapeError
from gradwire._package import BFLOAT16, BY_NAME, STRING, numpy_dtype

Casting: TypeAlias = Literal["exact", "round", "allow"]
CASTINGS: Final = ("exact", "round", "allow")
DEFAULT_CASTING: Final[Casting] = "round"

_MANTISSA_BITS: Final = {BFLOAT16: 8, "float16": 11, "float32": 24, "float64": 53}  # the hidden bit counted
_PLAIN: Final = {name: known.numpy for name, known in BY_NAME.items() if name not in (STRING, BFLOAT16)}
_BFLOAT16_MAX: Final = float.fromhex("0x1.ffp127")  # from here on, rounding goes to infinity


def cast(value: Any, dtype: str, name: str, casting: Casting = DEFAULT_CASTING) -> NDArray[Any]:
    """Return an array of the NumPy form of a dtype.

    Args:
        value: a scalar, nested lists, or anything with ``__array__``.
        dtype: the dtype that the signature names.
        name: of the input, for messages.
        casting: what may be lost: nothing (``"exact"``), what rounding loses (``"round"``), or anything
            (``"allow"``).

    Returns:
        The array; ``value`` itself when nothing had to be done.

    Raises:
        DTypeError: ``dtype`` cannot hold the values without changing them beyond rounding.
        ShapeError: the lists are ragged.
    """
    if type(value) is np.ndarray and dtype in _PLAIN and value.dtype == _PLAIN[dtype]:
        return value  # what nearly every caller gives
    array = _array(value, name)
    target = numpy_dtype(name, dtype)
    if array.dtype == target and dtype not in (STRING, BFLOAT16):
        return array
    if dtype == STRING:
        return _to_strings(array, name)
    if casting == "allow" and array.dtype.kind in "biufc":
        return _to_anything(array, target)
    out = _cast(array, dtype, target, name)
    if casting == "exact" and _differ(array, out, dtype):
        raise DTypeError(
            f"input {name!r} has values that {dtype} cannot hold to the last digit, and cast='exact' allows no rounding: "
            f"round them first, or serve the model in {array.dtype.name}"
        )
    return out


def _to_anything(array: NDArray[Any], target: np.dtype[Any]) -> NDArray[Any]:
    """Cast as NumPy does: digits, imaginary parts and overflows are lost silently, as the caller allows."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
        return array.astype(target)


def _differ(array: NDArray[Any], out: NDArray[Any], dtype: str) -> bool:
    held = _to_bfloat16(out) if dtype == BFLOAT16 else out
    return not np.array_equal(held.astype(array.dtype), array, equal_nan=array.dtype.kind in "fc")


def _to_bfloat16(array: NDArray[Any]) -> NDArray[Any]:
    """Truncate float32 to the upper half of its bits; enough to see whether anything is lost."""
    return (array.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def _cast(array: NDArray[Any], dtype: str, target: np.dtype[Any], name: str) -> NDArray[Any]:
    if dtype in _MANTISSA_BITS:
        return _to_floats(array, dtype, target, name)
    if target.kind == "c" and array.dtype.kind in "fc" and array.dtype.itemsize <= target.itemsize:
        return array.astype(target)
    if target.kind in "iu" and array.dtype.kind in "iu":
        return _to_integers(array, target, name)
    raise _refusal(name, array, dtype)


def check_dtype(source: str, dtype: str, name: str) -> None:
    """Check that some values of one dtype go into another, before there are any values: while a program is traced.

    Args:
        source: NumPy's name of the dtype of the values.
        dtype: the dtype that the signature names.
        name: of the input, for messages.

    Raises:
        DTypeError: none do, whatever they are.
    """
    if source == BFLOAT16:
        source = "float32"  # which holds each of its values
    if dtype in BY_NAME and dtype != source:
        cast(np.zeros(0, source), dtype, name)


def _array(value: Any, name: str) -> NDArray[Any]:
    if np.ma.is_masked(value):
        raise DTypeError(f"input {name!r} has masked values, expected plain numbers: fill them first")
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ShapeError(f"input {name!r} is not a regular array ({error}): give rows of equal length") from error


def _refusal(name: str, array: NDArray[Any], dtype: str) -> DTypeError:
    got = "objects" if array.dtype == object else array.dtype.name
    return DTypeError(
        f"input {name!r} holds {got}, expected {dtype}: convert it first, so that the loss is your choice"
    )


def _to_strings(array: NDArray[Any], name: str) -> NDArray[Any]:
    out = np.empty(array.shape, dtype=object)
    for index, entry in np.ndenumerate(array):
        if not isinstance(entry, str | bytes):
            raise _refusal(name, array, STRING)
        out[index] = entry.encode() if isinstance(entry, str) else bytes(entry)
    return out


def _to_floats(array: NDArray[Any], dtype: str, target: np.dtype[Any], name: str) -> NDArray[Any]:
    if array.dtype.kind in "iu":
        limit = 1 << _MANTISSA_BITS[dtype]
        if array.size and (int(array.max()) > limit or int(array.min()) < -limit):
            raise DTypeError(
                f"input {name!r} has integers beyond ±{limit}, which {dtype} cannot hold to the last digit"
            )
        return array.astype(target)
    if array.dtype.kind != "f":
        raise _refusal(name, array, dtype)
    narrows = array.dtype.itemsize > target.itemsize or dtype == BFLOAT16
    with np.errstate(over="ignore"):  # checked right below
        out = array.astype(target, copy=False)
    if narrows and _overflows(array, out, dtype):
        raise DTypeError(
            f"input {name!r} has finite values that become infinite in {dtype}: scale them, or use float64"
        )
    return out


def _overflows(array: NDArray[Any], out: NDArray[Any], dtype: str) -> bool:
    ends = np.abs(out) >= _BFLOAT16_MAX if dtype == BFLOAT16 else np.isinf(out)
    return bool((ends & np.isfinite(array)).any())


def _to_integers(array: NDArray[Any], target: np.dtype[Any], name: str) -> NDArray[Any]:
    info = np.iinfo(target)
    if array.size and (int(array.max()) > info.max or int(array.min()) < info.min):
        raise DTypeError(f"input {name!r} has integers out of {target.name}'s range, {info.min} to {info.max}")
    return array.astype(target)
