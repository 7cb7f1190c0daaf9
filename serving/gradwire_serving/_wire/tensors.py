"""TensorProto to array and back, by TensorFlow's own rules (``Tensor::FromProto``, ``AsProtoField``).

The dtypes are those of ordinary tensors; quantised, four- and eight-bit ones and variants count as malformed. In:
``tensor_content`` wins over typed fields; of typed values the last repeats, extra ones are cut, none means zeros; a
shape is never checked against the signature here. Out: typed fields, as TensorFlow Serving responds by default.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final, final

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from typing_extensions import override

from gradwire._package import BFLOAT16, BY_NUMBER, DType
from gradwire_serving._core import Allowance, invalid_argument
from gradwire_serving._wire.protobuf import Part, field, field_head, read_varint, varint

MAX_RANK: Final = 254  # TensorShape::MaxDimensions
MAX_ELEMENTS: Final = 2**63 - 1
STRINGS_AT_ONCE: Final = 2**16  # between two looks at the deadline
STRING_BYTES: Final = 64  # that an empty string takes: a bytes object, its place in the array, and TensorFlow's copy

TENSOR_CONTENT_FIELD: Final = 4

RESOURCE_MESSAGE: Final = (
    "Invalid resource type hash code: 0(name:  type: ). Perhaps a resource tensor was being provided as a feed? That is "
    "not currently allowed. Please file an issue at https://github.com/tensorflow/tensorflow/issues/new, ideally with a "
    "short code snippet that leads to this error message."
)


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one dtype travels in its typed field."""

    field: str  # the field of TensorProto that carries it
    array: np.dtype[Any]  # NumPy's dtype of a tensor
    item: np.dtype[Any]  # NumPy's dtype of the field's values: of a complex number, its parts
    packed: int | None = None  # the field's number where its wire form is the array's own bytes, else None


# Where an item of the field is not an element: a half travels as its bits, in an int32 that is cut as TensorFlow cuts
# it, negative or not; a complex number travels as its two parts.
_ITEMS: Final = {"int_val": "i4", "half_val": "i4", "scomplex_val": "f4", "dcomplex_val": "f8"}
_PACKED: Final = {"float_val": 5, "double_val": 6, "scomplex_val": 9, "dcomplex_val": 12}


def _kind(dtype: DType) -> _Kind:
    array = np.dtype(tf.bfloat16.as_numpy_dtype) if dtype.name == BFLOAT16 else dtype.numpy
    return _Kind(dtype.field, array, np.dtype(_ITEMS.get(dtype.field, array)), _PACKED.get(dtype.field))


_KINDS: Final = {number: _kind(dtype) for number, dtype in BY_NUMBER.items()}


@final
class TensorMap(Mapping[str, np.ndarray]):
    """A request's inputs as arrays, each decoded when it is read.

    TensorFlow Serving finds the model and checks the names before it parses a tensor, and reports errors in that order.
    """

    __slots__ = ("_allowance", "_tensors")

    def __init__(self, tensors: Mapping[str, tensor_pb2.TensorProto], allowance: Allowance | None = None) -> None:
        self._tensors = tensors
        self._allowance = allowance or Allowance()

    @override
    def __getitem__(self, alias: str) -> np.ndarray:
        if alias not in self._tensors:  # a message's map would make an entry of it
            raise KeyError(alias)
        return decode(self._tensors[alias], alias, self._allowance)

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    @override
    def __len__(self) -> int:
        return len(self._tensors)


def decode(tensor: tensor_pb2.TensorProto, alias: str, allowance: Allowance | None = None) -> np.ndarray:
    """Decode a tensor, read-only where it shares the request's memory; strings as an object array of bytes."""
    allowance = allowance or Allowance()
    if tensor.dtype == tf.resource.as_datatype_enum:
        raise invalid_argument(RESOURCE_MESSAGE)
    try:
        kind = _KINDS[tensor.dtype]
        shape = _shape(tensor)
        count = math.prod(shape)
        if not count:
            return np.empty(shape, kind.array)
        if tensor.tensor_content:
            return _from_content(kind, tensor.tensor_content, count, alias, allowance).reshape(shape)
        return _from_field(kind, getattr(tensor, kind.field), count, alias, allowance).reshape(shape)
    except (KeyError, ValueError, IndexError, OverflowError) as error:
        raise invalid_argument(f"tensor parsing error: {alias}") from error


def content_type(tensor: tensor_pb2.TensorProto) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return dtype and shape of a tensor whose content is its array's bytes; ValueError for any other."""
    kind = _KINDS.get(tensor.dtype)
    if kind is None or kind.field == "string_val":
        raise ValueError(tensor.dtype)
    return kind.array, _shape(tensor)


def encode(array: np.ndarray, *, as_content: bool = False) -> list[Part]:
    """Encode an array in the wire form of TensorProto, into its typed field or into ``tensor_content``."""
    head = encode_head(array.dtype, array.shape, as_content=as_content)
    if head is not None:
        return [head, _bytes(array)]
    tensor = _without_values(array.dtype, array.shape)
    if not array.size:
        return [tensor.SerializeToString()]
    kind = _KINDS[tensor.dtype]
    if as_content:
        return [tensor.SerializeToString(), *field(TENSOR_CONTENT_FIELD, *_content(array))]
    items = array.reshape(-1)
    getattr(tensor, kind.field).extend((items.view(np.uint16) if kind.field == "half_val" else items).tolist())
    return [tensor.SerializeToString()]


@lru_cache(1024)
def encode_head(dtype: np.dtype[Any], shape: tuple[int, ...], *, as_content: bool) -> bytes | None:
    """Return what stands before the array's bytes in its TensorProto; None where its bytes do not stand there."""
    kind = _KINDS[_dtype_number(dtype)]
    number = TENSOR_CONTENT_FIELD if as_content and kind.field != "string_val" else None if as_content else kind.packed
    size = math.prod(shape) * kind.array.itemsize
    if number is None or not size:
        return None
    return b"".join([_without_values(dtype, shape).SerializeToString(), field_head(number, size)])


def _without_values(dtype: np.dtype[Any], shape: tuple[int, ...]) -> tensor_pb2.TensorProto:
    tensor = tensor_pb2.TensorProto(dtype=_dtype_number(dtype))
    tensor.tensor_shape.SetInParent()
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


@cache
def _dtype_number(dtype: np.dtype[Any]) -> int:
    return (tf.string if dtype.hasobject else tf.as_dtype(dtype)).as_datatype_enum


def _shape(tensor: tensor_pb2.TensorProto) -> tuple[int, ...]:
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    elements = 1
    for size in shape:
        elements *= size
        if size < 0 or elements > MAX_ELEMENTS:
            raise ValueError(shape)
    if len(shape) > MAX_RANK:
        raise ValueError(shape)
    return shape


def _from_content(kind: _Kind, content: bytes, count: int, alias: str, allowance: Allowance) -> np.ndarray:
    if kind.field == "string_val":
        if count > len(content):  # each takes a byte for its length
            raise ValueError(count)
        allowance.expand(STRING_BYTES * count, alias)
        return _split_strings(content, count, allowance)
    if len(content) != count * kind.array.itemsize:
        raise ValueError(len(content))
    return np.frombuffer(content, kind.array)


def _from_field(kind: _Kind, values: Sequence[Any], count: int, alias: str, allowance: Allowance) -> np.ndarray:
    per_element = kind.array.itemsize // kind.item.itemsize if kind.packed else 1
    sent = min(len(values) // per_element, count)
    is_string = kind.field == "string_val"
    allowance.expand((STRING_BYTES if is_string else kind.array.itemsize) * (count - sent), alias)
    array = np.empty(count, kind.array)
    if is_string:
        array[:sent] = values[:sent]
        array[sent:] = values[sent - 1] if sent else b""
        return array
    items = np.fromiter(values, kind.item, sent * per_element)
    if kind.field == "half_val":
        array[:sent] = items.astype(np.uint16).view(kind.array)
    else:
        array[:sent] = items.astype(kind.array) if kind.field == "int_val" else items.view(kind.array)
    array[sent:] = array[sent - 1] if sent else np.zeros((), kind.array)
    return array


def _split_strings(content: bytes, count: int, allowance: Allowance) -> np.ndarray:
    lengths, start = [], 0
    for index in range(count):
        if not index % STRINGS_AT_ONCE:
            allowance.check_deadline()
        length, start = read_varint(content, start)
        lengths.append(length)
    if start + sum(lengths) != len(content):
        raise ValueError(len(content))
    array = np.empty(count, object)
    for index, length in enumerate(lengths):
        if not index % STRINGS_AT_ONCE:
            allowance.check_deadline()
        array[index] = content[start : start + length]
        start += length
    return array


def _content(array: np.ndarray) -> list[Part]:
    strings = array.reshape(-1).tolist()
    return [b"".join(varint(len(string)) for string in strings), *strings]


def _bytes(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
