"""The dtypes of TensorFlow that travel: their numbers, their NumPy forms, the fields of their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from gradwire._errors import DTypeError

STRING: Final = "string"
BFLOAT16: Final = "bfloat16"


@dataclass(frozen=True, slots=True)
class DType:
    """One dtype of the wire.

    Attributes:
        name: NumPy's name; ``"string"`` for bytes, and ``"bfloat16"``, which NumPy has not.
        number: TensorFlow's (types.proto).
        field: of the TensorProto, where a server puts the values.
        raw: how one element lies in ``tensor_content``.
        numpy: what callers receive: ``raw`` in the machine's byte order; float32 for bfloat16 (widened exactly),
            an object array of ``bytes`` for strings.
        wire_bytes: the most bytes that one element takes in a response.
    """

    name: str
    number: int
    field: str
    raw: np.dtype[np.generic]
    numpy: np.dtype[np.generic]
    wire_bytes: int

    @property
    def is_fixed_width(self) -> bool:
        """Whether ``field`` arrives as raw bytes (packed fixed32 or fixed64), not as varints."""
        return self.field in _FIXED_WIDTH

    @property
    def scalar_bytes(self) -> int:
        """Bytes of one scalar in a fixed-width field: half an element of a complex dtype."""
        return _FIXED_WIDTH[self.field]


_FIXED_WIDTH: Final = {"float_val": 4, "double_val": 8, "scomplex_val": 4, "dcomplex_val": 8}
_NEGATIVE_VARINT: Final = 10  # bytes: a negative int32 travels as a sign-extended 64-bit varint
_STRING_GUESS: Final = 1024  # bytes: strings have no size before they arrive; a card is a few kilobytes


def _dtype(name: str, number: int, field: str, wire_bytes: int) -> DType:
    native = np.dtype(name)
    return DType(name, number, field, native.newbyteorder("<"), native, wire_bytes)


_ALL: Final = (
    _dtype("float32", 1, "float_val", 4),
    _dtype("float64", 2, "double_val", 8),
    _dtype("int32", 3, "int_val", _NEGATIVE_VARINT),
    _dtype("uint8", 4, "int_val", 2),
    _dtype("int16", 5, "int_val", _NEGATIVE_VARINT),
    _dtype("int8", 6, "int_val", _NEGATIVE_VARINT),
    DType(STRING, 7, "string_val", np.dtype(object), np.dtype(object), _STRING_GUESS),
    _dtype("complex64", 8, "scomplex_val", 8),
    _dtype("int64", 9, "int64_val", _NEGATIVE_VARINT),
    _dtype("bool", 10, "bool_val", 1),
    DType(BFLOAT16, 14, "half_val", np.dtype("<u2"), np.dtype(np.float32), 3),
    _dtype("uint16", 17, "int_val", 3),
    _dtype("complex128", 18, "dcomplex_val", 16),
    _dtype("float16", 19, "half_val", 3),
    _dtype("uint32", 22, "uint32_val", 5),
    _dtype("uint64", 23, "uint64_val", _NEGATIVE_VARINT),
)
BY_NAME: Final = {dtype.name: dtype for dtype in _ALL}
BY_NUMBER: Final = {dtype.number: dtype for dtype in _ALL}


def numpy_dtype(tensor: str, dtype: str) -> np.dtype[Any]:
    """Return the dtype of an input's arrays in NumPy.

    Args:
        tensor: the input's name, for the message.
        dtype: what the signature names.

    Raises:
        DTypeError: there are no arrays of it.
    """
    if dtype not in BY_NAME:
        raise DTypeError(f"input {tensor!r} has the dtype {dtype} in the signature: it cannot be sent")
    return BY_NAME[dtype].numpy


def name_of(number: int) -> str:
    """Return the name of TensorFlow's dtype number; one that cannot travel becomes ``"DT_20"``."""
    return BY_NUMBER[number].name if number in BY_NUMBER else f"DT_{number}"
