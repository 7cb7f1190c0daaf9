"""Where the values lie in a response."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, final

import numpy as np
from google.protobuf.message import DecodeError

from gradwire._package import BFLOAT16, BY_NAME, BY_NUMBER, MOST_AXES, STRING, Signature, TensorSpec
from gradwire._wire import proto
from gradwire._wire.call import Call, Prediction

_OUTPUTS: Final = 0x0A  # PredictResponse.outputs; of field 1 as below: number · 8 + wire type
_MODEL_SPEC: Final = 0x12  # PredictResponse.model_spec
_KEY: Final = 0x0A  # of a map's entry
_VALUE: Final = 0x12  # of a map's entry
_CONTENT: Final = 0x22  # TensorProto.tensor_content
_HEAD: Final = (0x08, 0x12, 0x18)  # TensorProto.dtype, tensor_shape, version_number
_TYPED: Final = {0x2A: "float_val", 0x32: "double_val", 0x4A: "scomplex_val", 0x62: "dcomplex_val"}

_MORE: Final = 0x80  # set on every byte of a varint but the last, and on the first of a field above 15
_BITS: Final = 7
_LONGEST_VARINT: Final = 35  # bits: lengths are below 2 GiB
_MOST_FIELDS: Final = 256  # of a message: more are left to protobuf


class _Values(NamedTuple):
    """The values of one tensor: ``size`` of ``dtype`` from ``start`` on."""

    name: str
    dtype: np.dtype[Any]
    size: int
    start: int
    shape: tuple[int, ...]


@final
class ResponseLayout:
    """The places of all requested tensors in a response, and all bytes but those of their values.

    The places follow from these other bytes, so a response with the same ones has the same layout.
    """

    __slots__ = ("_bytes", "_signature", "_size", "_tensors", "_version")

    def __init__(self, data: bytes, signature: Signature, tensors: list[_Values], version: int) -> None:
        self._signature = signature
        self._size = len(data)
        self._version = version
        self._tensors = tensors
        self._bytes: list[tuple[int, bytes]] = []
        at = 0
        for values in sorted(tensors, key=lambda values: values.start):
            self._bytes.append((at, data[at : values.start]))
            at = values.start + values.size * values.dtype.itemsize
        self._bytes.append((at, data[at:]))

    def fits(self, data: bytes, signature: Signature) -> bool:
        """Whether another response to a request of the same form has this layout."""
        if len(data) != self._size or signature is not self._signature:
            return False
        for at, piece in self._bytes:  # noqa: SIM110 - a generator would take as long as all comparisons
            if not data.startswith(piece, at):
                return False
        return True

    def read(self, data: bytes) -> Prediction:
        """Read the tensors; the arrays are read-only views."""
        outputs: dict[str, Any] = {}
        for name, dtype, size, start, shape in self._tensors:
            outputs[name] = np.frombuffer(data, dtype, size, start).reshape(shape)
        return Prediction(outputs, self._version)


def find_layout(data: bytes, call: Call, rows: int | None) -> ResponseLayout | None:
    """Find the layout of a response; None where it is not of the plain kind, or does not fit the request.

    Plain is a response with each requested tensor once and no other, its values in one piece of fixed width and as many
    as its shape has.

    Args:
        data: the message.
        call: what was requested.
        rows: how many of its rows were sent; None where it has none.
    """
    try:
        return _find_layout(data, call, rows)
    except (_UnusualError, IndexError, ValueError, DecodeError):
        return None


class _UnusualError(Exception):
    """Something that is left to protobuf."""


def _find_layout(data: bytes, call: Call, rows: int | None) -> ResponseLayout:
    specs = call.signature.outputs
    requested = list(specs if call.outputs is None else call.outputs)
    tensors: dict[str, _Values] = {}
    version = 0
    for tag, _, start, end in _fields(data, 0, len(data)):
        if tag == _OUTPUTS:
            key, value = list(_fields(data, start, end))
            name = data[key[2] : key[3]].decode()
            if key[0] != _KEY or value[0] != _VALUE or name in tensors or name not in requested:
                raise _UnusualError
            tensors[name] = _values(data, name, value[2], value[3])
            if not _fits(tensors[name].shape, specs[name], rows):
                raise _UnusualError
        elif tag == _MODEL_SPEC:
            version = proto.ModelSpec.FromString(data[start:end]).version.value
        else:
            raise _UnusualError
    if len(tensors) < len(requested):
        raise _UnusualError
    return ResponseLayout(data, call.signature, [tensors[name] for name in requested], version)


def _values(data: bytes, name: str, start: int, end: int) -> _Values:
    head, values = b"", None
    for tag, begin, at, stop in _fields(data, start, end):
        if tag in _HEAD:
            head += data[begin:stop]
        elif values is None and (tag == _CONTENT or tag in _TYPED):
            values = (tag, at, stop)
        else:
            raise _UnusualError
    message = proto.Tensor.FromString(head)
    dtype = BY_NUMBER.get(message.dtype)
    shape = tuple(dim.size for dim in message.tensor_shape.dim)
    if values is None or dtype is None or dtype.name in (STRING, BFLOAT16) or message.tensor_shape.unknown_rank:
        raise _UnusualError
    tag, at, stop = values
    count = math.prod(shape)
    if (
        len(shape) > MOST_AXES
        or min(shape, default=0) < 0
        or stop - at != count * dtype.raw.itemsize
        or _TYPED.get(tag, dtype.field) != dtype.field
    ):
        raise _UnusualError
    return _Values(name, dtype.numpy, count, at, shape)


def _fits(shape: tuple[int, ...], spec: TensorSpec, rows: int | None) -> bool:
    if spec.any_rank or spec.dtype not in BY_NAME:
        return False
    expected = (rows, *spec.row_shape) if spec.is_batch_first else spec.shape
    return len(shape) == len(expected) and all(
        size in (None, actual) for actual, size in zip(shape, expected, strict=True)
    )


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield the fields of a message: the tag, where it stands, and from where to where its value is."""
    count = 0
    while at < end:
        begin, tag = at, data[at]
        count += 1
        if tag & _MORE or count > _MOST_FIELDS:
            raise _UnusualError
        at, length = _read_varint(data, at + 1)
        match tag & 0b111:
            case 0:  # a number
                start, stop = begin + 1, at
            case 2:  # bytes or a message
                start, stop = at, at + length
            case _:
                raise _UnusualError
        if stop > end:
            raise _UnusualError
        yield tag, begin, start, stop
        at = stop


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return where a varint ends, and its value."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & ~_MORE) << shift
        if not byte & _MORE:
            return at, number
        shift += _BITS
        if shift > _LONGEST_VARINT:
            raise _UnusualError


def varint(number: int) -> bytes:
    """Write a length."""
    out = bytearray()
    while number >= _MORE:
        out.append(number & (_MORE - 1) | _MORE)
        number >>= _BITS
    out.append(number)
    return bytes(out)
