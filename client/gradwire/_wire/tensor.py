"""Arrays to the wire and back: TensorProto.

Sent: always ``tensor_content``, the raw bytes (strings: ``string_val``). Read: both encodings. The rules for values
that do not fill the shape are Serving's own (tensorflow/core/framework/tensor.cc, ``FromProtoField``): fewer, and the
last one repeats. With none TensorFlow takes zeros, which no server writes so: that is refused, as is whatever else does
not fit the shape, never a wrong number.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from google.protobuf.unknown_fields import UnknownFieldSet
from numpy.typing import NDArray

from gradwire._errors import ServerError
from gradwire._package import BFLOAT16, BY_NAME, BY_NUMBER, MOST_AXES, STRING, DType

_BFLOAT16_SHIFT: Final = 16  # a bfloat16 is the upper half of a float32
_VALUE_FIELDS: Final = frozenset(dtype.field for dtype in BY_NAME.values())
_VARINT_MORE: Final = 0x80  # set on every byte of a varint but the last
_VARINT_BITS: Final = 7
_LONGEST_VARINT: Final = 70  # bits: the ten bytes of a 64-bit integer
_MOST_FILLED: Final = 2**24  # values that a few may stand for, where no shape is expected
MOST_BYTES: Final = 2**29  # of a response beside those that came: of values that others stand for


def encode(array: NDArray[Any], dtype: str, message: Any) -> None:
    """Write an array into a TensorProto.

    Args:
        array: of any layout and byte order, already of the NumPy form of ``dtype``.
        dtype: the dtype that the signature names.
        message: the empty TensorProto to fill.
    """
    target = BY_NAME[dtype]
    message.dtype = target.number
    dims = message.tensor_shape.dim
    for size in array.shape:
        dims.add(size=size)
    if dtype == STRING:
        message.string_val.extend(array.reshape(-1).tolist())
    elif target.is_fixed_width and array.size > 1 and is_constant(array):
        getattr(message, target.field).append(array.flat[0].astype(target.raw).tobytes())  # the last value repeats
    else:
        raw = narrowed(array) if dtype == BFLOAT16 else array.astype(target.raw, copy=False)
        message.tensor_content = raw.tobytes()


def decode(message: Any, name: str, expected: tuple[int | None, ...] | None = None) -> NDArray[Any]:
    """Read a TensorProto.

    Args:
        message: the TensorProto.
        name: of the tensor, for messages.
        expected: the shape that it is to have, with None for any size; None for any shape. Nothing is filled before it
            is known to have it.

    Returns:
        The array, in the machine's byte order. It may be a read-only view.

    Raises:
        ServerError: the dtype is unknown, or the values do not fit the shape.
    """
    dtype = BY_NUMBER.get(message.dtype)
    if dtype is None:
        raise _fault(name, f"has TensorFlow's dtype number {message.dtype}", "a number, a bool or a string")
    if message.tensor_shape.unknown_rank:
        raise _fault(name, "has no shape", "a shape beside the values")
    shape = tuple(dim.size for dim in message.tensor_shape.dim)
    if len(shape) > MOST_AXES or any(size < 0 for size in shape):
        raise _fault(name, f"has the shape {shape}", f"at most {MOST_AXES} axes, none of a negative size")
    if expected is not None and not _fits(shape, expected):
        raise _fault(name, f"has the shape {shape}", f"{expected}" + ", None being any size" * (None in expected))
    count = math.prod(shape)
    is_open = expected is None or None in expected
    most = _MOST_FILLED if is_open else MOST_BYTES // dtype.raw.itemsize
    if count > most and count > message.ByteSize():  # a value takes a byte at least
        raise _fault(name, f"has the shape {shape} in {message.ByteSize()} bytes", "values that fill it")
    values = _content(message, dtype, count, name) if message.tensor_content else _field(message, dtype, count, name)
    if dtype.name == BFLOAT16:
        values = (values.astype(np.uint32) << _BFLOAT16_SHIFT).view(np.float32)
    return values.astype(dtype.numpy, copy=False).reshape(shape)


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(
        size in (None, actual) for actual, size in zip(shape, expected, strict=True)
    )


def _fault(name: str, got: str, expected: str) -> ServerError:
    message = f"the response's tensor {name!r} {got}, expected {expected}: the server or a proxy on the way is at fault"
    return ServerError(message, code="INTERNAL")


def is_constant(array: NDArray[Any]) -> bool:
    """Whether one value in memory stands for all, as ``numpy.broadcast_to`` makes it."""
    return not any(stride for stride, size in zip(array.strides, array.shape, strict=True) if size > 1)


def narrowed(array: NDArray[Any]) -> NDArray[Any]:
    """Round float32 to bfloat16, ties to even; a NaN keeps its sign and stays a NaN."""
    bits = array.astype(np.float32, copy=False).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> _BFLOAT16_SHIFT) & 1)) >> _BFLOAT16_SHIFT
    quiet = (bits >> _BFLOAT16_SHIFT) | 0x40
    return np.where(np.isnan(array), quiet, rounded).astype("<u2")


def _content(message: Any, dtype: DType, count: int, name: str) -> NDArray[Any]:
    content = message.tensor_content
    if dtype.name == STRING:
        return _strings(content, count, name)
    if len(content) != count * dtype.raw.itemsize:
        raise _fault(name, f"has {len(content)} bytes", f"{count} values of {dtype.name} for its shape")
    return np.frombuffer(content, dtype.raw)


def _strings(content: bytes, count: int, name: str) -> NDArray[Any]:
    """Read strings from ``tensor_content``: every length as a varint, then the bytes one after the other."""
    lengths: list[int] = []
    at = 0
    while len(lengths) < count and at < len(content):
        length = shift = 0
        more = True
        while more and at < len(content) and shift < _LONGEST_VARINT:
            length |= (content[at] & ~_VARINT_MORE) << shift
            more = bool(content[at] & _VARINT_MORE)
            shift, at = shift + _VARINT_BITS, at + 1
        lengths.append(length)
    if len(lengths) != count or at + sum(lengths) != len(content):
        raise _fault(name, f"has {len(content)} bytes", f"{count} strings with their lengths before them")
    out = np.empty(count, dtype=object)
    for index, length in enumerate(lengths):
        out[index] = content[at : at + length]
        at += length
    return out


def _field(message: Any, dtype: DType, count: int, name: str) -> NDArray[Any]:
    values = _packed(message, dtype, name) if dtype.is_fixed_width else _varints(message, dtype, name)
    if len(values) == count:
        return values
    unpacked = _unpacked(message, dtype)
    if len(unpacked):
        if len(values) or len(unpacked) != count:
            raise _fault(name, f"has {len(values)} packed and {len(unpacked)} single values", f"{count} for its shape")
        return unpacked
    return _filled(message, values, dtype, count, name)


def _packed(message: Any, dtype: DType, name: str) -> NDArray[Any]:
    parts = getattr(message, dtype.field)
    joined = parts[0] if len(parts) == 1 else b"".join(parts)  # a packed field may come in several parts
    if len(joined) % dtype.raw.itemsize:
        raise _fault(name, f"has {len(joined)} bytes of values", f"a multiple of {dtype.raw.itemsize}")
    return np.frombuffer(joined, dtype.raw)


def _varints(message: Any, dtype: DType, name: str) -> NDArray[Any]:
    field = getattr(message, dtype.field)
    if dtype.name == STRING:
        out = np.empty(len(field), dtype=object)
        out[:] = list(field)
        return out
    values = np.array(field, dtype=np.uint64 if dtype.name == "uint64" else np.int64)
    bits = "<u2" if dtype.field == "half_val" else dtype.raw
    narrow = values.astype(bits)
    if (narrow != values).any():
        raise _fault(name, "has values out of range", f"values of {dtype.name}")
    return narrow.view(dtype.raw)


def _unpacked(message: Any, dtype: DType) -> NDArray[Any]:
    """Values that an encoder wrote one by one, not packed: protobuf keeps them as unknown fields here."""
    if not dtype.is_fixed_width:
        return np.empty(0, dtype.raw)
    number = message.DESCRIPTOR.fields_by_name[dtype.field].number
    values = [field.data for field in UnknownFieldSet(message) if field.field_number == number]
    words = np.array(values, dtype=f"<u{dtype.scalar_bytes}")
    return words[: len(words) - len(words) % (dtype.raw.itemsize // dtype.scalar_bytes)].view(dtype.raw)


def _filled(message: Any, values: NDArray[Any], dtype: DType, count: int, name: str) -> NDArray[Any]:
    """Fill the shape: the last value repeats."""
    others = [field for field in sorted(_VALUE_FIELDS - {dtype.field}) if len(getattr(message, field))]
    if not 0 < len(values) <= count:
        got = f"has {len(values)} values of {dtype.name}" + "".join(f" and some in {field}" for field in others)
        raise _fault(name, got, f"{count} for its shape")
    out = np.full(count, values[-1], dtype=dtype.raw)
    out[: len(values)] = values
    return out
