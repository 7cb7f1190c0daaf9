"""PredictRequest and PredictResponse in wire form (``predict.proto``, ``tensor.proto``).

Reading a small request through protobuf's objects takes 50 µs, most of them for wrappers of messages and maps; by its
bytes, with what repeats from call to call cached, 10. What is written otherwise than clients write it is left to
protobuf.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, final

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import model_pb2, predict_pb2
from typing_extensions import override

from gradwire_serving._core import Allowance
from gradwire_serving._wire.protobuf import Part, field, field_head, read_varint
from gradwire_serving._wire.tensors import TensorMap, content_type, encode

CACHED: Final = 1024  # different pieces of requests and responses
PLACE: Final = 64  # TensorFlow copies an array that does not begin at a multiple of that many bytes
LARGE: Final = 2**16  # bytes; below, what `_placed` does beside copying takes longer than the second copy
CACHED_BYTES: Final = 256  # of a piece: callers can make up any number of them

# Tags, each a field's number and the wire type of bytes, of a PredictRequest, of an entry of its map, of a TensorProto.
_SPEC, _INPUT, _FILTER = 0x0A, 0x12, 0x1A
_KEY, _VALUE = 0x0A, 0x12
_DTYPE, _SHAPE, _CONTENT = 0x08, 0x12, 0x22
# Numbers of PredictResponse's fields, and of those of a map's entry.
_OUTPUTS: Final = 1
_MODEL_SPEC: Final = 2


@final
@dataclass(frozen=True, slots=True)
class PredictCall:
    """What a ``PredictRequest`` says.

    Attributes:
        spec: its ModelSpec, not to be changed; None for none.
        inputs: its tensors by name, each decoded when it is read.
        output_filter: the outputs that it selects.
    """

    spec: model_pb2.ModelSpec | None
    inputs: Mapping[str, np.ndarray]
    output_filter: Sequence[str]


def read_request(data: bytes, allowance: Allowance) -> PredictCall:
    """Read a ``PredictRequest``; DecodeError where it is none."""
    return _read_plain(data) or _read_any(data, allowance)


def _read_any(data: bytes, allowance: Allowance) -> PredictCall:
    request = predict_pb2.PredictRequest.FromString(data)
    spec = request.model_spec if request.HasField("model_spec") else None
    return PredictCall(spec, TensorMap(request.inputs, allowance), request.output_filter)


def _read_plain(data: bytes) -> PredictCall | None:
    """Read a request with one ModelSpec, and tensors of dtype, shape and content in that order; None for any other."""
    spec: bytes | None = None
    inputs: dict[str, tuple[bytes, int, int]] = {}
    output_filter: list[str] = []
    try:
        for tag, start, end in _fields(data, 0, len(data)):
            if tag == _INPUT:
                (key, key_start, key_end), (value, value_start, value_end) = _fields(data, start, end)
                if (key, value) != (_KEY, _VALUE):
                    return None
                head_end, content_start, content_end = _tensor(data, value_start, value_end)
                head = data[value_start:head_end]
                _, shape, itemsize = _head(head)
                if content_end - content_start != math.prod(shape) * itemsize or content_end == content_start:
                    return None
                inputs[data[key_start:key_end].decode()] = (head, content_start, content_end)
            elif tag == _SPEC and spec is None and end - start <= CACHED_BYTES:
                spec = data[start:end]
            elif tag == _FILTER:
                output_filter.append(data[start:end].decode())
            else:
                return None
        return None if spec is None else PredictCall(_spec(spec), _Contents(data, inputs), output_filter)
    except (IndexError, ValueError, DecodeError):  # what is wrong with it, protobuf says
        return None


def _fields(data: bytes, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield tag, start and end of fields of bytes, which fill their place."""
    while start < stop:
        tag = data[start]
        size, begin = read_varint(data, start + 1)
        start = begin + size
        if start > stop:
            raise ValueError(start)
        yield tag, begin, start


def _tensor(data: bytes, start: int, stop: int) -> tuple[int, int, int]:
    """Return the end of dtype and shape, and where the content is."""
    at = start
    if data[at] == _DTYPE:
        _, at = read_varint(data, at + 1)
    if data[at] == _SHAPE:
        size, at = read_varint(data, at + 1)
        at += size
    size, begin = read_varint(data, at + 1)
    if at - start > CACHED_BYTES or data[at] != _CONTENT or begin + size != stop:
        raise ValueError(at)
    return at, begin, stop


@lru_cache(CACHED)
def _head(head: bytes) -> tuple[np.dtype, tuple[int, ...], int]:
    """Return dtype, shape and item size of a tensor; ValueError where its content is not its array's bytes."""
    dtype, shape = content_type(tensor_pb2.TensorProto.FromString(head))
    return dtype, shape, dtype.itemsize


@lru_cache(CACHED)
def _spec(data: bytes) -> model_pb2.ModelSpec:
    return model_pb2.ModelSpec.FromString(data)


@final
class _Contents(Mapping[str, np.ndarray]):
    """Tensors whose bytes stand in a request."""

    __slots__ = ("_data", "_places")

    def __init__(self, data: bytes, places: Mapping[str, tuple[bytes, int, int]]) -> None:
        self._data = data
        self._places = places

    @override
    def __getitem__(self, alias: str) -> np.ndarray:
        head, start, end = self._places[alias]
        dtype, shape, itemsize = _head(head)
        array = np.frombuffer(self._data, dtype, (end - start) // itemsize, start).reshape(shape)
        if array.flags.aligned:
            return array
        return array.copy() if array.nbytes < LARGE else _placed(array)

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    @override
    def __len__(self) -> int:
        return len(self._places)


def _placed(array: np.ndarray) -> np.ndarray:
    """Copy an array to where TensorFlow reads it without another copy."""
    memory = np.empty(array.nbytes + PLACE, np.uint8)
    skipped = -memory.__array_interface__["data"][0] % PLACE
    placed = memory[skipped : skipped + array.nbytes].view(array.dtype).reshape(array.shape)
    placed[...] = array
    return placed


def response(outputs: Mapping[str, np.ndarray], name: str, version: int, signature: str, *, as_content: bool) -> bytes:
    """Write a ``PredictResponse``."""
    parts: list[Part] = []
    for alias, array in outputs.items():
        head, *values = encode(array, as_content=as_content)
        parts += (_entry(alias, bytes(head), sum(len(part) for part in values)), *values)
    return b"".join([*parts, _spec_field(name, version, signature)])


def _entry(alias: str, head: bytes, size: int) -> bytes:
    """Return an output up to its values, which take ``size`` bytes."""
    return (_cached_entry if len(head) <= CACHED_BYTES else _cached_entry.__wrapped__)(alias, head, size)


@lru_cache(CACHED)
def _cached_entry(alias: str, head: bytes, size: int) -> bytes:
    entry = b"".join([*field(1, alias.encode()), field_head(2, len(head) + size), head])
    return field_head(_OUTPUTS, len(entry) + size) + entry


@lru_cache(CACHED)
def _spec_field(name: str, version: int, signature: str) -> bytes:
    spec = model_pb2.ModelSpec(name=name, signature_name=signature)
    spec.version.value = version
    return b"".join(field(_MODEL_SPEC, spec.SerializeToString()))
